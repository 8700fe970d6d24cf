"""Deep nets with batch norm, without, and with noise after it; trained, and measured on the way.

Parameters are a list of layers, each a dict of arrays: weights ``w`` (inputs, units), ``gamma`` and
``beta`` (units,), so that layers of one step can be put together with layers of another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

import lecture
import tinygrad_bn as tg
from smoothness import Loss, Params, covariate_shift, flat, landscape, movement, shaped, slope

Batch: TypeAlias = "tuple[np.ndarray, np.ndarray]"

PLAIN, NORM, NOISY = "plain", "batch norm", "batch norm and noise"
PROBE = 500
"""How many training samples the loss is followed on."""


@dataclass(frozen=True)
class Setting:
    """A kind of net; gain: the variance of its weights times their fan-in."""

    name: str
    depth: int
    width: int
    activation: Callable[[Any], Any]
    gain: float

    @property
    def linear(self) -> bool:
        """Whether it is the deep linear net."""
        return self.name == "linear"

    @property
    def kinds(self) -> list[str]:
        """Which nets are compared."""
        return [PLAIN, NORM] if self.linear else [PLAIN, NORM, NOISY]


SETTINGS = (
    Setting("sigmoid", 4, 48, tg.sigmoid, 1.0),
    Setting("ReLU", 6, 48, tg.relu, 2.0),
    Setting("linear", 8, 16, lambda x: x, 1.0),
)


@dataclass
class Task:
    """A setting and its training samples."""

    setting: Setting
    x: np.ndarray
    y: np.ndarray

    @property
    def sizes(self) -> list[int]:
        """Units of each layer, from input to output."""
        hidden = [self.setting.width] * self.setting.depth
        return [self.x.shape[1], *hidden, self.y.shape[1] if self.setting.linear else 10]

    def draw(self, rng: np.random.Generator) -> Batch:
        """Draw a batch; the linear net gets all samples."""
        if self.setting.linear:
            return self.x, self.y
        rows = rng.choice(len(self.x), size=100, replace=False)
        return self.x[rows], self.y[rows]

    def loss(self, output: Any, y: Any) -> Any:
        """Mean squared error of the linear net, else cross-entropy."""
        return tg.mse_loss(output, y) if self.setting.linear else tg.cross_entropy(output, y)


def load(setting: Setting, samples: int, seed: int) -> Task:
    """Return pictures at half their size, standardised; or Gaussian vectors and a linear map."""
    if setting.linear:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(256, setting.width))
        return Task(setting, x, x @ rng.normal(size=(setting.width, setting.width)) / 4)
    split = lecture.images(seed, train=samples, test=10)
    x = split.x.astype(float)
    if x.shape[1] == 28 * 28:
        x = x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 14 * 14)
    return Task(setting, tg.data.Standardizer().fit(x).transform(x), split.y)


def initial(sizes: Sequence[int], gain: float, seed: int) -> Params:
    """Draw parameters. A plain net adds beta as its bias, and has no use for gamma."""
    rng = np.random.default_rng(seed)
    return [
        {"w": rng.normal(0, np.sqrt(gain / a), (a, b)), "gamma": np.ones(b), "beta": np.zeros(b)}
        for a, b in pairwise(sizes)
    ]


def noise(rng: np.random.Generator, samples: int, units: int) -> Batch:
    """Draw factors and offsets (samples, units), as Santurkar et al. (2018, section 2) inject.

    They are i.i.d. over samples, from a distribution of non-zero mean and non-unit variance that
    is each unit's own, and another at every call.
    """
    mean, scale = rng.uniform(-0.5, 0.5, units), rng.uniform(1, 1.25, units)
    offset = rng.uniform(mean - 0.1, mean + 0.1, (samples, units))
    return rng.normal(scale, 0.1, (samples, units)), offset


def forward(
    task: Task,
    kind: str,
    params: Any,
    x: Any,
    rng: np.random.Generator | None = None,
) -> tuple[Any, list[np.ndarray]]:
    """Return the output of a net, and what each activation receives. ``rng``: inject noise."""
    received = []
    for layer in params[:-1]:
        z = x @ layer["w"]
        norm = kind != PLAIN
        z = tg.batch_norm(z, layer["gamma"], layer["beta"]) if norm else z + layer["beta"]
        if rng is not None:
            factor, offset = noise(rng, *z.shape)
            z = z * factor + offset
        received.append(np.asarray(z))
        x = task.setting.activation(z)
    return x @ params[-1]["w"] + params[-1]["beta"], received


def loss_of(task: Task, kind: str, batch: Batch, rng: Any = None) -> Loss:
    """Return the loss on a batch as a function of the parameters."""
    return lambda params: task.loss(forward(task, kind, params, batch[0], rng)[0], batch[1])


# training ----------------------------------------------------------------------------------------


@dataclass
class Run:
    """What was seen of one training: the loss on the way, and measures at some of its steps."""

    rate: float
    at: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    points: list[int] = field(default_factory=list)
    measured: dict[str, list[Any]] = field(default_factory=dict)

    def mean_of(self, name: str) -> float:
        """Return the geometric mean of a measure over the points."""
        return float(np.exp(np.mean(np.log(self.measured[name]))))


def train(task: Task, kind: str, rate: float, steps: int, seed: int, points: int = 0) -> Run:
    """Train by gradient descent; ends early, with an infinite loss, if that diverges."""
    params = initial(task.sizes, task.setting.gain, seed)
    order, fresh = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    rng = fresh if kind == NOISY else None
    probe = loss_of(task, kind, (task.x[:PROBE], task.y[:PROBE]))
    run, at = Run(rate), np.linspace(steps / 20, steps, points).astype(int).tolist()
    for step in range(1, steps + 1):
        batch = task.draw(order)
        with np.errstate(over="ignore", invalid="ignore"):
            gradient = slope(loss_of(task, kind, batch, rng))(params)[1]
            after = shaped(flat(params) - rate * flat(gradient), params)
            if step % (steps // 20) == 0:
                loss = probe(after).item()
                run.at.append(step)
                run.loss.append(loss if np.isfinite(loss) else np.inf)
        if np.inf in run.loss:
            break
        if step in at:
            run.points.append(step)
            add(
                run,
                task,
                kind,
                (params, after),
                batch,
                rng,
                hessian=step in (at[points // 2], at[-1]),
            )
        params = after
    return run


def add(
    run: Run,
    task: Task,
    kind: str,
    step: tuple[Params, Params],
    batch: Batch,
    rng: Any,
    *,
    hessian: bool,
) -> None:
    """Measure around a step of training, given as the parameters before and after it."""
    seen = [forward(task, kind, params, task.x[:PROBE], rng)[1] for params in step]
    found: dict[str, Any] = {"movement": movement(*seen)}
    if kind != NOISY:
        loss = loss_of(task, kind, batch)
        found["first gradient"] = np.linalg.norm(slope(loss)(step[0])[1][0]["w"])
        found |= covariate_shift(slope(loss), *step)
        found |= landscape(loss, step[0], run.rate, hessian=hessian)
    for name, value in found.items():
        run.measured.setdefault(name, []).append(value)
