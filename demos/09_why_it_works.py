"""Why does batch norm work? Two explanations, and what measurements say of each.

Three nets of equal weights learn the digits: a plain one, one with batch norm, and one whose batch
norm is followed by noise that moves the distributions again at every step (Santurkar et al. 2018,
section 2.2). You will see

- ``training``: their losses, from two kinds of initial weights, each net at its own best rate;
- ``shift``: internal covariate shift, how far a layer's gradient turns when the layers before it
  are updated (their definition 2.1), and how much the distributions of activations move;
- ``landscape``: along the gradient, how much loss and gradient vary (their section 3.1);
- ``curvature``: the largest eigenvalue of the Hessian over training, raw and in units that the
  scale of the weights leaves alone;
- the same shift in a deep linear network under full-batch gradient descent.

    python demos/09_why_it_works.py [--fast] [--out DIR] [--seed N]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from tqdm import tqdm

import lecture
import tinygrad_bn as tg
from tinygrad_bn import nn

Kind: TypeAlias = Literal["plain", "batch norm", "noisy batch norm"]
Start: TypeAlias = Literal["small", "He"]
KINDS: tuple[Kind, ...] = ("plain", "batch norm", "noisy batch norm")
Case: TypeAlias = tuple[Kind, Start]
COLOURS = dict(zip(KINDS, (lecture.ORANGE, lecture.BLUE, lecture.PURPLE), strict=True))
WIDTHS = (64, *[40] * 6, 10)
RATES = (0.03, 0.1, 0.3, 1.0)
MULTIPLES = (0.5, 1.0, 2.0, 4.0)
"""Of the learning rate: how far to look along the gradient."""


class Noise(nn.Module):
    """Scale and shift every activation of every sample at random, from a law that itself changes.

    At each step each unit draws a mean from -0.5 to 0.5 and a scale from 1 to 1.25; each sample
    then draws its own shift and scale around them (Santurkar et al. 2018, appendix A.3).
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def forward(self, x: Any) -> Any:
        """Disturb in training; leave alone in evaluation."""
        if not self.training:
            return x
        units = x.shape[1]
        shift, scale = self.rng.uniform(-0.5, 0.5, units), self.rng.uniform(1, 1.25, units)
        shift = shift + self.rng.uniform(-0.1, 0.1, x.shape)
        scale = scale + self.rng.normal(0, 0.1, x.shape)
        return x * scale + shift


class Layer(nn.Module):
    """A linear map, what comes behind it, and a ReLU unless it is the last or the net is linear.

    Weights of start "small" lie between -1 and 1 over the root of the inputs, as PyTorch's layers
    begin; those of start "He" keep the scale of signals through ReLUs.
    """

    def __init__(
        self, inputs: int, outputs: int, kind: Kind | None, start: Start, seed: int, *, bend: bool
    ) -> None:
        rng, bound = np.random.default_rng(seed), 1 / np.sqrt(inputs)
        self.linear = nn.Linear(inputs, outputs, bias=kind in (None, "plain"), rng=rng)
        if start == "small":
            self.linear.weight.assign(rng.uniform(-bound, bound, (outputs, inputs)))
        self.norm = nn.BatchNorm(outputs) if kind in KINDS[1:] else None
        self.noise = Noise(seed) if kind == "noisy batch norm" else None
        self.bend = bend

    def forward(self, h: Any) -> Any:
        """Return the output; what the ReLU receives is kept as ``received``."""
        z = self.linear(h)
        for more in (self.norm, self.noise):
            z = z if more is None else more(z)
        self.received = z.data
        return tg.relu(z) if self.bend else z


class Net(nn.Module):
    """Layers one after another."""

    def __init__(
        self, widths: Sequence[int], kind: Kind, start: Start, seed: int, *, bend: bool = True
    ) -> None:
        last = len(widths) - 2
        self.layers = [
            Layer(a, b, None if i == last else kind, start, 100 * seed + i, bend=bend and i < last)
            for i, (a, b) in enumerate(pairwise(widths))
        ]

    def forward(self, x: Any) -> Any:
        """Apply them."""
        for layer in self.layers:
            x = layer(x)
        return x

    def still(self, seed: int) -> None:
        """Let the next pass draw the noise of a seed, so that two passes can be compared."""
        for i, layer in enumerate(self.layers):
            if layer.noise is not None:
                layer.noise.rng = np.random.default_rng([seed, i])


Arrays: TypeAlias = list[np.ndarray]


def gradients(model: Net, x: Any, y: Any, loss: Any, seed: int) -> tuple[float, Arrays]:
    """Return loss and gradient at the model's parameters, with the noise of a seed."""
    model.still(seed)
    model.zero_grad()
    value = loss(model(x), y)
    value.backward()
    return value.item(), [p.grad.data for p in model.parameters()]


def values(model: Net) -> Arrays:
    """Return the parameters."""
    return [p.data for p in model.parameters()]


def put(model: Net, arrays: Arrays) -> None:
    """Set the parameters."""
    for p, array in zip(model.parameters(), arrays, strict=True):
        p.assign(array)


def length(arrays: Arrays) -> float:
    """Return the Euclidean norm of all together."""
    return float(np.sqrt(sum(np.sum(a * a) for a in arrays)))


def moved(start: Arrays, direction: Arrays, by: float) -> Arrays:
    """Return start less ``by`` times the direction."""
    return [a - by * d for a, d in zip(start, direction, strict=True)]


# measures -----------------------------------------------------------------------------------------


def covariate_shift(
    model: Net, x: Any, y: Any, loss: Any, lr: float, seed: int
) -> dict[str, float]:
    """Return how far gradients turn when the layers before are updated; means over the layers."""
    start = values(model)
    _, g = gradients(model, x, y, loss, seed)
    after, owners = moved(start, g, lr), layer_of_each(model)
    cosines, changes = [], []
    for i in range(1, len(model.layers)):
        put(model, [a if o < i else s for a, s, o in zip(after, start, owners, strict=True)])
        _, again = gradients(model, x, y, loss, seed)
        k = owners.index(i)  # the layer's weight is its first parameter
        cosines.append(np.sum(g[k] * again[k]) / (np.linalg.norm(g[k]) * np.linalg.norm(again[k])))
        changes.append(np.linalg.norm(again[k] - g[k]) / np.linalg.norm(g[k]))
    put(model, start)
    return {"cosine": float(np.mean(cosines)), "change": float(np.mean(changes))}


def layer_of_each(model: Net) -> list[int]:
    """Return for each parameter the number of its layer."""
    return [int(name.split(".")[1]) for name, _ in model.named_parameters()]


def landscape(model: Net, x: Any, y: Any, loss: Any, lr: float, seed: int) -> dict[str, float]:
    """Look along the gradient: at multiples of the rate, and at one length relative to the weights.

    ``loss range``: largest less smallest loss; ``predictiveness``: the largest change of the
    gradient; ``smoothness``: that change over the distance; ``relative change``: of the gradient,
    after a step of a hundredth of the weights' length.
    """
    start = values(model)
    here, g = gradients(model, x, y, loss, seed)
    losses, changes = [here], []
    for multiple in MULTIPLES:
        put(model, moved(start, g, multiple * lr))
        there, again = gradients(model, x, y, loss, seed)
        losses.append(there)
        changes.append(length(moved(again, g, 1.0)))
    hundredth = 0.01 * length(start) / length(g)
    put(model, moved(start, g, hundredth))
    _, again = gradients(model, x, y, loss, seed)
    put(model, start)
    steps = [multiple * lr * length(g) for multiple in MULTIPLES]
    return {
        "loss range": max(losses) - min(losses),
        "predictiveness": max(changes),
        "smoothness": max(c / s for c, s in zip(changes, steps, strict=True)),
        "relative change": length(moved(again, g, 1.0)) / length(g),
    }


def curvature(
    model: Net, x: Any, y: Any, loss: Any, iterations: int, seed: int
) -> dict[str, float]:
    """Return the Hessian's eigenvalue of largest size, by power iteration on ``tg.hvp``."""
    rng = np.random.default_rng(seed)
    vector = model.map_tensors(lambda _, p: tg.Tensor(rng.normal(size=p.shape)))

    def at(m: Net) -> Any:
        m.still(seed)
        return loss(m(x), y)

    eigenvalue = 0.0
    for _ in range(iterations):
        scale = length(values(vector))
        vector = vector.map_tensors(lambda _, v, s=scale: tg.Tensor(v.data / s))
        product = tg.hvp(at, (model,), (vector,))
        pairs = zip(values(vector), values(product), strict=True)
        eigenvalue = float(sum(np.sum(a * b) for a, b in pairs))
        vector = product
    return {"eigenvalue": eigenvalue, "invariant": eigenvalue * length(values(model)) ** 2}


def movement(model: Net, probe: Any, step: Any) -> float:
    """Return how far a step moves the units' means, in standard deviations, in the median."""

    def means() -> tuple[np.ndarray, np.ndarray]:
        with tg.no_grad():
            model(probe)
        received = [layer.received for layer in model.layers if layer.bend]
        return np.mean(received, axis=1), np.std(received, axis=1)

    before, spread = means()
    step()
    return float(np.median(np.abs(means()[0] - before) / np.maximum(spread, 1e-12)))


# trainings ----------------------------------------------------------------------------------------


def steps_of(data: lecture.Split, count: int, seed: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Give batches of 64, epoch after epoch."""
    rng, given = np.random.default_rng(seed), 0
    while given < count:
        for batch in tg.data.batches(data.x, data.y, size=64, rng=rng, drop_last=True):
            if given < count:
                yield batch
            given += 1


def train(
    case: Case, data: lecture.Split, lr: float, steps: int, seed: int, every: int = 0
) -> dict[str, list[float]]:
    """Train; returns the loss of each step and, each ``every`` steps, all measures."""
    model = Net(WIDTHS, *case, seed)
    optimizer = tg.optim.SGD(model.parameters(), lr)
    found: dict[str, list[float]] = {"loss": []}

    def step() -> None:
        optimizer.zero_grad()
        loss = tg.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        found["loss"].append(loss.item())

    for count, (x, y) in enumerate(steps_of(data, steps, seed)):
        if not every or count % every:
            step()
            continue
        fixed = (model, x, y, tg.cross_entropy)
        measured = {
            **covariate_shift(*fixed, lr, count),
            **landscape(*fixed, lr, count),
            **curvature(*fixed, 5, count),
        }
        measured["movement"] = movement(model, data.x[:200], step)
        for name, number in measured.items():
            found.setdefault(name, []).append(number)
    return found


def best_rate(case: Case, data: lecture.Split, steps: int, seed: int) -> float:
    """Return the rate with the smallest loss over the last quarter of a training."""

    def ends(lr: float) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            loss = np.mean(train(case, data, lr, steps, seed)["loss"][-steps // 4 :])
        return float(loss) if np.isfinite(loss) else np.inf

    return min(RATES, key=ends)


def smooth(losses: Any) -> np.ndarray:
    """Return running means over 15 steps."""
    return np.apply_along_axis(lambda a: np.convolve(a, np.ones(15) / 15, "valid"), -1, losses)


def first_below(losses: np.ndarray, goal: float) -> float:
    """Return the step at which a smooth loss first gets below a goal; infinite if never."""
    below = np.flatnonzero(losses <= goal)
    return float(below[0] + 15) if below.size else np.inf


def deep_linear(seed: int, *, batch_norm: bool) -> dict[str, float]:
    """Measure the shift in a deep linear net under full-batch gradient descent.

    Ten layers of 16 units learn a random linear map of 100 normal samples by the squared error, as
    in the paper's appendix (25 layers there), from orthogonal weights.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(100, 16))
    y = x @ rng.normal(0, 0.25, (16, 16))
    model = Net((16,) * 11, "batch norm" if batch_norm else "plain", "small", seed, bend=False)
    for layer in model.layers:
        layer.linear.weight.assign(np.linalg.qr(rng.normal(size=(16, 16)))[0])
    rate, found = 0.03, []
    for count in range(60):
        if count % 10 == 0:
            found.append(covariate_shift(model, x, y, tg.mse_loss, rate, count))
        _, g = gradients(model, x, y, tg.mse_loss, count)
        put(model, moved(values(model), g, rate))
    return {name: float(np.mean([f[name] for f in found])) for name in found[0]}


def theorem(seed: int) -> float:
    """Return how far theorem 4.1 of the paper, with eps = 0, is from an equality, relatively.

    z = gamma * y_hat + beta, g the gradient at z: the squared gradient at y is gamma**2 / sigma**2
    times |g|**2 - <1, g>**2 / m - <g, y_hat>**2 / m.
    """
    rng = np.random.default_rng(seed)
    worst = 0.0
    for m in (4, 16, 64):
        y, g, gamma = rng.normal(2, 3, (m, 1)), rng.normal(size=(m, 1)), rng.normal(size=1)
        through = tg.grad(lambda y, g=g, w=gamma: tg.sum(tg.batch_norm(y, w, eps=0.0) * g))(y).data
        y_hat = (y - y.mean()) / y.std()
        bound = (gamma / y.std()) ** 2 * (
            np.sum(g * g) - g.sum() ** 2 / m - np.sum(g * y_hat) ** 2 / m
        )
        worst = max(worst, float(abs(np.sum(through**2) / bound - 1)[0]))
    return worst


# numbers and claims -------------------------------------------------------------------------------

LOWER = ("loss range", "predictiveness", "smoothness")
FREE = ("relative change", "invariant")
MEASURES = ("cosine", "change", "movement", *LOWER, *FREE, "eigenvalue")
GOAL = "steps to the plain net's best loss"
Where: TypeAlias = Literal["small", "small, one rate", "He"]
WHERE: tuple[Where, ...] = ("small", "small, one rate", "He")
"""The initial weights; each net at its own best rate, or all at the plain net's."""
Runs: TypeAlias = dict[tuple[Kind, Where], list[dict[str, list[float]]]]


def over_training(run: Mapping[str, list[float]], name: str) -> float:
    """Return the mean of a measure over a training; of what may be negative, of its size."""
    return float(np.mean(np.abs(run[name])))


def spread(numbers: Sequence[float]) -> str:
    """Write a median with its range."""
    return f"{np.median(numbers):.2g} ({min(numbers):.2g} to {max(numbers):.2g})"


def measure(runs: Runs) -> dict[str, Any]:
    """Return what the trainings say, a number for each seed."""
    numbers: dict[str, Any] = {}
    for where in WHERE:
        losses = {kind: smooth([r["loss"] for r in runs[kind, where]]) for kind in KINDS}
        goals = losses["plain"].min(axis=1)
        for kind in KINDS:
            steps = [first_below(a, goal) for a, goal in zip(losses[kind], goals, strict=True)]
            numbers[f"{where}, {kind}: {GOAL}"] = steps
            numbers[f"{where}, {kind}: final loss"] = losses[kind][:, -1].tolist()
            for name in MEASURES:
                found = [over_training(run, name) for run in runs[kind, where]]
                numbers[f"{where}, {kind}: {name}"] = found
    return numbers


def wins(numbers: Mapping[str, Any], where: str, name: str, a: Kind, b: Kind) -> int:
    """Return for how many seeds a measure is smaller for one net than for another."""
    pairs = zip(numbers[f"{where}, {a}: {name}"], numbers[f"{where}, {b}: {name}"], strict=True)
    return sum(x < y for x, y in pairs)


def graded(won: Sequence[int], seeds: int) -> lecture.Verdict:
    """Grade a claim by the seeds that each of its measures won: four of five count as all."""
    held = [5 * w >= 4 * seeds for w in won]
    return "yes" if all(held) else "partly" if any(held) else "no"


def told(numbers: Mapping[str, Any], where: str, name: str, *kinds: Kind) -> str:
    """Write a measure of some nets."""
    return "; ".join(f"{kind} {spread(numbers[f'{where}, {kind}: {name}'])}" for kind in kinds)


def accounts(numbers: Mapping[str, Any], where: Where) -> dict[str, lecture.Verdict]:
    """Grade both accounts: a smaller shift, a smoother landscape, and one at any scale."""
    plain, normed, _ = KINDS
    seeds = len(numbers[f"{where}, plain: cosine"])
    turns = wins(numbers, where, "cosine", plain, normed)
    verdicts = {"shift": graded([wins(numbers, where, "change", normed, plain), turns], seeds)}
    for name, measures in (("smoother", LOWER), ("at any scale", FREE)):
        verdicts[name] = graded([wins(numbers, where, m, normed, plain) for m in measures], seeds)
    return verdicts


def told_wins(numbers: Mapping[str, Any], where: Where, names: Sequence[str]) -> str:
    """Write for how many seeds each measure is smaller with batch norm."""
    plain, normed, _ = KINDS
    return ", ".join(f"{name} {wins(numbers, where, name, normed, plain)}" for name in names)


def claims(numbers: Mapping[str, Any]) -> list[lecture.Claim]:
    """Hold both explanations against the measures."""
    found = {where: accounts(numbers, where) for where in ("small", "He")}
    return [
        *speed(numbers),
        *(_shift(numbers, where, found[where]["shift"]) for where in found),
        _linear(numbers),
        *noise(numbers),
        *(_smooth(numbers, where, found[where]["smoother"]) for where in found),
        *(_scaled(numbers, where, found[where]["at any scale"]) for where in found),
        _better(found),
        _theorem(numbers),
    ]


def speed(numbers: Mapping[str, Any]) -> Iterator[lecture.Claim]:
    """Judge whether batch norm trains faster."""
    plain, normed, _ = KINDS
    for where in WHERE:
        seeds = len(numbers[f"{where}, plain: cosine"])
        yield lecture.Claim(
            f"Batch norm trains faster ({CONDITIONS[where]}).",
            "Ioffe & Szegedy (2015)",
            graded([wins(numbers, where, GOAL, normed, plain)], seeds),
            f"{GOAL}: {told(numbers, where, GOAL, plain, normed)}",
        )


CONDITIONS: dict[Where, str] = {
    "small": "small initial weights, each net at its own best rate",
    "small, one rate": "small initial weights, all at the plain net's rate",
    "He": "He's initial weights, each net at its own best rate",
}


def _shift(numbers: Mapping[str, Any], where: Where, verdict: lecture.Verdict) -> lecture.Claim:
    two = KINDS[:2]
    return lecture.Claim(
        f"Batch norm reduces internal covariate shift ({where} weights).",
        "Ioffe & Szegedy (2015); the lecture's first account",
        verdict,
        f"relative change of a layer's gradient: {told(numbers, where, 'change', *two)}; cosine: "
        f"{told(numbers, where, 'cosine', *two)}",
    )


def _linear(numbers: Mapping[str, Any]) -> lecture.Claim:
    plain, normed, _ = KINDS
    seeds = len(numbers["deep linear, plain: change"])
    fewer = wins(numbers, "deep linear", "change", normed, plain)
    return lecture.Claim(
        "In a deep linear net batch norm does not reduce it.",
        "Santurkar et al. (2018), section 2.2",
        "yes" if fewer <= 1 else "no" if fewer >= seeds - 1 else "partly",
        f"relative change: {told(numbers, 'deep linear', 'change', plain, normed)}",
    )


def noise(numbers: Mapping[str, Any]) -> Iterator[lecture.Claim]:
    """Judge the net whose distributions are disturbed on purpose."""
    plain, normed, noisy = KINDS
    seeds = len(numbers["small, plain: cosine"])
    yield lecture.Claim(
        "With noise after batch norm the distributions move more than in the plain net.",
        "Santurkar et al. (2018), section 2.2",
        graded([wins(numbers, "small", "movement", plain, noisy)], seeds),
        "movement of the units' means by a step, in their deviations: "
        + told(numbers, "small", "movement", *KINDS),
    )
    faster = graded([wins(numbers, "small", GOAL, noisy, plain)], seeds) == "yes"
    steps = [np.median(numbers[f"small, {kind}: {GOAL}"]) for kind in (normed, noisy)]
    yield lecture.Claim(
        "Yet it trains about as fast as batch norm, and faster than the plain net.",
        "Santurkar et al. (2018), section 2.2",
        ("yes" if steps[1] <= 1.5 * steps[0] else "partly") if faster else "no",
        f"{GOAL}: {told(numbers, 'small', GOAL, normed, noisy)}; final loss: "
        f"{told(numbers, 'small', 'final loss', normed, noisy)}",
    )


def _smooth(numbers: Mapping[str, Any], where: Where, verdict: lecture.Verdict) -> lecture.Claim:
    seeds = len(numbers[f"{where}, plain: cosine"])
    return lecture.Claim(
        f"Along the gradient, loss and gradient vary less with batch norm ({where} weights).",
        "Santurkar et al. (2018), section 3.1; the lecture's second account",
        verdict,
        f"of {seeds} seeds smaller with it: {told_wins(numbers, where, LOWER)}; smoothness: "
        f"{told(numbers, where, 'smoothness', *KINDS[:2])}",
    )


def _scaled(numbers: Mapping[str, Any], where: Where, verdict: lecture.Verdict) -> lecture.Claim:
    seeds = len(numbers[f"{where}, plain: cosine"])
    return lecture.Claim(
        f"So it is in measures that the scale of the weights leaves alone ({where} weights).",
        "asked here: weights before batch norm have no scale",
        verdict,
        f"of {seeds} seeds smaller with it: {told_wins(numbers, where, FREE)}; change of the "
        f"gradient: {told(numbers, where, 'relative change', *KINDS[:2])}",
    )


def _better(found: Mapping[Any, Mapping[str, lecture.Verdict]]) -> lecture.Claim:
    """Judge the lecture's conclusion: the first account wrong, the second right."""
    wrong = all(each["shift"] == "no" for each in found.values())
    right = {each[name] for each in found.values() for name in ("smoother", "at any scale")}
    return lecture.Claim(
        "The first account was wrong, and a smoother landscape is the better one.",
        "lecture",
        "yes" if wrong and right == {"yes"} else "no" if right == {"no"} else "partly",
        "; ".join(
            f"{where} weights: " + ", ".join(f"{name} {v}" for name, v in each.items())
            for where, each in found.items()
        ),
    )


def _theorem(numbers: Mapping[str, Any]) -> lecture.Claim:
    gap = numbers["theorem 4.1: largest relative deviation"]
    return lecture.Claim(
        "Theorem 4.1: batch norm takes from the gradient its mean and its part along y_hat.",
        "Santurkar et al. (2018), section 4",
        "yes" if gap < 1e-10 else "no",
        f"with eps = 0 an equality, to {gap:.0e}; with eps > 0 the inequality (a property test)",
    )


# pictures -----------------------------------------------------------------------------------------


def band(axes: Any, x: Any, curves: Any, kind: Kind, label: str | None = None) -> None:
    """Draw the median of curves and their range."""
    curves = np.asarray(curves)
    axes.plot(x, np.median(curves, axis=0), color=COLOURS[kind], label=label)
    axes.fill_between(
        x, curves.min(axis=0), curves.max(axis=0), color=COLOURS[kind], alpha=0.18, linewidth=0
    )


def draw_training(runs: Runs, rates: Mapping[Case, float], out: Path) -> None:
    """Draw the losses from both kinds of initial weights."""
    figure, grid = lecture.axes(1, 2, size=(5.2, 3.6), sharey=True)
    starts: tuple[Start, ...] = ("small", "He")
    for axes, start in zip(grid, starts, strict=True):
        for kind in KINDS:
            losses = smooth([run["loss"] for run in runs[kind, start]])
            label = f"{kind}, rate {rates[kind, start]:g}"
            band(axes, np.arange(losses.shape[1]) + 15, losses, kind, label)
        axes.set(xlabel="step", yscale="log", title=f"{start} initial weights")
        axes.legend(frameon=False)
    grid[0].set_ylabel("cross-entropy, mean of 15 steps")
    lecture.save(figure, out, "training")


TITLES = {
    "change": ("gradient's change when the\nlayers before are updated", "log"),
    "cosine": ("cosine of it before and after", "linear"),
    "movement": ("movement of the units' means\nby a step, in deviations", "log"),
    "loss range": ("range of the loss\nalong the gradient", "log"),
    "predictiveness": ("largest change of the gradient", "log"),
    "smoothness": ("that change over the distance", "log"),
    "eigenvalue": ("largest eigenvalue of the Hessian\n(its size)", "log"),
    "invariant": ("the same times the weights'\nsquared length", "log"),
    "relative change": ("change of the gradient over a\nhundredth of the weights' length", "log"),
}
PICTURES = {"shift": 0, "landscape": 3, "curvature": 6}


def draw_measures(runs: Runs, every: int, out: Path) -> None:
    """Draw nine measures over training in three pictures, a row for each kind of weights."""
    for file, first in PICTURES.items():
        figure, grid = lecture.axes(2, 3, size=(4.0, 2.7), sharex=True, sharey="col")
        starts: tuple[Where, ...] = ("small", "He")
        for row, start in zip(grid, starts, strict=True):
            for axes, name in zip(row, list(TITLES)[first : first + 3], strict=True):
                title, scale = TITLES[name]
                for kind in KINDS:
                    curves = np.abs([run[name] for run in runs[kind, start]])
                    band(axes, every * np.arange(curves.shape[1]), curves, kind, kind)
                axes.set(yscale=scale, title=title if start == "small" else "")
            row[0].set_ylabel(f"{start} weights")
        for axes in grid[1]:
            axes.set_xlabel("step")
        grid[0, 0].legend(frameon=False, fontsize=8)
        lecture.save(figure, out, file)


def trainings(
    data: lecture.Split, rates: Mapping[Case, float], seeds: Sequence[int], steps: int, every: int
) -> Runs:
    """Train every net from every start with every seed; what was run already is taken again."""
    runs: Runs = {(kind, where): [] for where in WHERE for kind in KINDS}
    for (kind, where), seed in tqdm(
        [(key, seed) for key in runs for seed in seeds], desc="trainings", unit="run", ncols=88
    ):
        start: Start = "He" if where == "He" else "small"
        lr = rates["plain", start] if where == "small, one rate" else rates[kind, start]
        if where == "small, one rate" and lr == rates[kind, start]:
            runs[kind, where].append(runs[kind, "small"][seeds.index(seed)])
        else:
            runs[kind, where].append(train((kind, start), data, lr, steps, seed, every))
    return runs


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the demo; returns the numbers that it prints."""
    options = lecture.options(__doc__, argv, out="09_why_it_works")
    count, steps, every = (2, 50, 49) if options.fast else (5, 300, 37)
    data, seeds = lecture.digits(options.seed), [options.seed + i for i in range(count)]
    cases: list[Case] = [(kind, start) for kind in KINDS for start in ("small", "He")]
    rates = {
        case: best_rate(case, data, 30 if options.fast else 150, options.seed + 100)
        for case in tqdm(cases, desc="rates", unit="net", ncols=88)
    }
    runs = trainings(data, rates, seeds, steps, every)
    numbers = {f"best rate, {kind}, {start} weights": lr for (kind, start), lr in rates.items()}
    numbers |= measure(runs)
    for kind, batch_norm in (("plain", False), ("batch norm", True)):
        found = [deep_linear(seed, batch_norm=batch_norm) for seed in seeds]
        for name in ("change", "cosine"):
            numbers[f"deep linear, {kind}: {name}"] = [f[name] for f in found]
    numbers["theorem 4.1: largest relative deviation"] = theorem(options.seed)
    draw_training(runs, rates, options.out)
    draw_measures(runs, every, options.out)
    lecture.report(numbers, claims(numbers), options.out)
    return numbers


if __name__ == "__main__":
    main()
