"""Optimisers. Each is its printed equation, computed on arrays; nothing is recorded.

In the equations w is a parameter, g its gradient, t counts the updates from 1, and ``lr`` is the
learning rate at this step.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import DTypeError, GradientError, ShapeError
from tinygrad_bn.graph.tensor import Tensor, Variable, leaf
from tinygrad_bn.optim.schedules import Schedule, as_schedule

NDArray: TypeAlias = npt.NDArray[Any]
Slots: TypeAlias = list[NDArray]


class Optimiser(ABC):
    """Base of the optimisers: which parameters, at what rate, and what is remembered of each.

    A subclass names its memories in ``slots`` and writes its equation in ``update``. ``lr`` is a
    positive number, or a schedule ``step -> lr`` (steps from 0). A number set later as ``lr`` takes
    the place of the schedule from the next step on, and stands as ``override``; ``override = None``
    goes back to the schedule. Parameters whose gradient is None keep their value and their memory.
    Memories are kept in the parameter's dtype, those of float16 in float32.
    """

    slots: ClassVar[tuple[str, ...]] = ()

    def __init__(self, parameters: Iterable[Tensor], lr: float | Schedule) -> None:
        self.parameters = _checked(parameters, type(self).__name__)
        if not callable(lr):
            _within(type(self).__name__, "lr", lr, above=0.0)
        self.schedule = as_schedule(lr)
        self._override: float | None = None
        self.steps = 0
        self.counts = [0] * len(self.parameters)
        self.memory: list[Slots] = [
            [np.zeros(p.shape, np.result_type(p.dtype, np.float32)) for _ in self.slots]
            for p in self.parameters
        ]

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self._override if self._override is not None else float(self.schedule(self.steps))

    @lr.setter
    def lr(self, value: float) -> None:
        """Take a positive number as the rate of all steps to come."""
        self.override = value

    @property
    def override(self) -> float | None:
        """The number that stands in place of the schedule, or None."""
        return self._override

    @override.setter
    def override(self, value: float | None) -> None:
        """Take a positive number in place of the schedule, or None to go back to it."""
        if callable(value):
            raise DTypeError(
                f"{type(self).__name__}: the rate is set to a function.",
                "Give a schedule where the optimiser is made, and a number here.",
            )
        if value is not None:
            _within(type(self).__name__, "lr", value, above=0.0)
        self._override = None if value is None else float(value)

    @abstractmethod
    def update(self, w: NDArray, g: NDArray, memory: Slots, t: int, lr: float) -> tuple[Any, ...]:
        """Return the new value of one parameter, followed by its new memories."""

    def step(self) -> None:
        """Change every parameter that has a gradient.

        Raises GradientError if none has, ShapeError for a gradient of another shape or a schedule
        that gives a negative or infinite rate; nothing is then changed.
        """
        ready = [(i, p, p.grad) for i, p in enumerate(self.parameters) if p.grad is not None]
        lr = self._rate(len(ready))
        new = []
        for i, p, g in ready:
            _same_shape(p, g)
            t = self.counts[i] + 1
            new.append((i, p, self.update(p._data, g._data, self.memory[i], t, lr)))
        for i, p, (value, *memory) in new:
            p.assign(leaf(np.asarray(value, p.dtype)))
            self.memory[i] = [
                np.asarray(m, old.dtype) for m, old in zip(memory, self.memory[i], strict=True)
            ]
            self.counts[i] += 1
        self.steps += 1

    def _rate(self, ready: int) -> float:
        name = type(self).__name__
        if not ready:
            raise GradientError(
                f"{name}.step: none of the {len(self.parameters)} parameters has a gradient.",
                "Call loss.backward() first, on a loss computed from these very parameters.",
            )
        lr = self.lr
        if not 0 <= lr < math.inf:
            raise ShapeError(
                f"{name}: the schedule gave lr={lr} at step {self.steps}.",
                "Return a number from 0 upwards.",
            )
        return lr

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, NDArray]:
        """Return copies of all that is remembered: counts and memories, as arrays by name.

        Rates and other settings are not in it: they are given when the optimiser is made.
        """
        memories = {
            f"{slot}.{i}": self.memory[i][k].copy()
            for i in range(len(self.parameters))
            for k, slot in enumerate(self.slots)
        }
        return {"steps": np.asarray(self.steps), "counts": np.asarray(self.counts), **memories}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` gave, so that training goes on as if never interrupted.

        Raises one ShapeError that lists every missing and unexpected name and every mismatch of
        shape and dtype; nothing is then changed.
        """
        own = self.state_dict()
        given = {name: np.array(value) for name, value in state.items()}
        problems = [_misfit(name, own.get(name), given.get(name)) for name in {**own, **given}]
        if listed := [p for p in problems if p]:
            raise ShapeError(
                f"load_state_dict of {type(self).__name__}, {len(listed)} mismatches:\n  "
                + "\n  ".join(listed),
                "Make the same optimiser for the same parameters as when the state was saved.",
            )
        self.steps, self.counts = int(given["steps"]), given["counts"].tolist()
        self.memory = [
            [given[f"{slot}.{i}"] for slot in self.slots] for i in range(len(self.parameters))
        ]


class SGD(Optimiser):
    """Stochastic gradient descent, with momentum and Nesterov's form of it.

        g = g + weight_decay * w
        v = momentum * v + g
        w = w - lr * v                      (nesterov: w - lr * (g + momentum * v))

    Sources: Polyak (1964); Sutskever et al. (2013), with the rate outside of v, so that a change
    of ``lr`` acts at once. ``weight_decay`` is the factor of an L2 penalty of half the square.

    >>> w = Variable([1.0])
    >>> w.requires_grad = True
    >>> w.grad = Tensor([2.0])
    >>> SGD([w], lr=0.25).step()
    >>> w.tolist()
    [0.5]
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float | Schedule,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        _within("SGD", "momentum", momentum, below=1.0)
        _within("SGD", "weight_decay", weight_decay)
        if nesterov and momentum == 0:
            raise ShapeError("SGD: nesterov without momentum.", "Give momentum=0.9, say.")
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay
        self.slots = ("velocity",) if momentum else ()  # type: ignore[misc]  # of this instance
        super().__init__(parameters, lr)

    def update(
        self,
        w: NDArray,
        g: NDArray,
        memory: Slots,
        t: int,  # noqa: ARG002  (Adam counts)
        lr: float,
    ) -> tuple[Any, ...]:
        """Apply the equation above."""
        if self.weight_decay:
            g = g + self.weight_decay * w
        if not self.momentum:
            return (w - lr * g,)
        v = self.momentum * memory[0] + g
        return w - lr * (g + self.momentum * v if self.nesterov else v), v


class RMSprop(Optimiser):
    """Divide by the root of a running mean of squares.

        s = decay * s + (1 - decay) * g**2
        w = w - lr * g / (sqrt(s) + eps)

    Source: Tieleman & Hinton (2012), lecture 6.5, with ``eps`` outside the root.
    """

    slots = ("square",)

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float | Schedule = 1e-3,
        *,
        decay: float = 0.9,
        eps: float = 1e-8,
    ) -> None:
        _within("RMSprop", "decay", decay, below=1.0)
        _within("RMSprop", "eps", eps)
        self.decay, self.eps = decay, eps
        super().__init__(parameters, lr)

    def update(
        self,
        w: NDArray,
        g: NDArray,
        memory: Slots,
        t: int,  # noqa: ARG002  (Adam counts)
        lr: float,
    ) -> tuple[Any, ...]:
        """Apply the equation above."""
        s = self.decay * memory[0] + (1 - self.decay) * _square(g, memory[0])
        return w - lr * g / (np.sqrt(s) + self.eps), s


class Adam(Optimiser):
    """Momentum and RMSprop together, both without bias from their start at 0.

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        w = w - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)

    Source: Kingma & Ba (2015), algorithm 1: ``eps`` is added to the root of the corrected v.
    """

    slots = ("mean", "square")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float | Schedule = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        name = type(self).__name__
        _within(name, "beta1", beta1, below=1.0)
        _within(name, "beta2", beta2, below=1.0)
        _within(name, "eps", eps)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        super().__init__(parameters, lr)

    def update(self, w: NDArray, g: NDArray, memory: Slots, t: int, lr: float) -> tuple[Any, ...]:
        """Apply the equation above."""
        direction, m, v = self._direction(g, memory, t)
        return w - lr * direction, m, v

    def _direction(self, g: NDArray, memory: Slots, t: int) -> tuple[NDArray, NDArray, NDArray]:
        m = self.beta1 * memory[0] + (1 - self.beta1) * g
        v = self.beta2 * memory[1] + (1 - self.beta2) * _square(g, memory[1])
        root = np.sqrt(v / (1 - self.beta2**t))
        return (m / (1 - self.beta1**t)) / (root + self.eps), m, v


class AdamW(Adam):
    """Adam with decoupled weight decay, which the running means do not see.

        m, v as in Adam
        w = w - lr * ((m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps) + weight_decay * w)

    Source: Loshchilov & Hutter (2019), algorithm 2, where the rate multiplies the decay too.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float | Schedule = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        _within("AdamW", "weight_decay", weight_decay)
        self.weight_decay = weight_decay
        super().__init__(parameters, lr, beta1=beta1, beta2=beta2, eps=eps)

    def update(self, w: NDArray, g: NDArray, memory: Slots, t: int, lr: float) -> tuple[Any, ...]:
        """Apply the equation above."""
        direction, m, v = self._direction(g, memory, t)
        return w - lr * (direction + self.weight_decay * w), m, v


def _square(g: NDArray, like: NDArray) -> NDArray:
    """Square in the memory's dtype, where a float16 does not overflow."""
    wide: NDArray = g.astype(like.dtype, copy=False)
    return wide * wide


def _checked(parameters: Iterable[Tensor], name: str) -> list[Tensor]:
    """List the parameters, or say which cannot be one; a module is no list of them."""
    no_list = isinstance(parameters, Tensor | Mapping) or not isinstance(parameters, Iterable)
    if no_list or hasattr(parameters, "parameters"):
        raise DTypeError(
            f"{name}: the parameters are a {type(parameters).__name__}.",
            "Pass a list of parameters: model.parameters().",
        )
    listed = list(parameters)
    for i, p in enumerate(listed):
        if not isinstance(p, Variable):
            raise DTypeError(
                f"{name}: parameter {i} is a {type(p).__name__}, whose value cannot be assigned.",
                "Pass nn.Parameters: model.parameters().",
            )
    if not listed or len({id(p) for p in listed}) != len(listed):
        what = "a parameter is listed twice" if listed else "there are no parameters"
        raise ShapeError(f"{name}: {what}.", "Pass each parameter once: model.parameters().")
    return listed


def _within(
    name: str, setting: str, value: Any, *, above: float | None = None, below: float = math.inf
) -> None:
    """Check a setting: from 0 (or above a number) to below a number."""
    if not ((value >= 0 if above is None else value > above) and value < below):
        lower = "from 0" if above is None else f"above {above:g}"
        upper = f" to below {below:g}" if below < math.inf else ", finite"
        raise ShapeError(f"{name}: {setting}={value}.", f"Use a number {lower}{upper}.")


def _same_shape(p: Tensor, g: Tensor) -> None:
    if p.shape != g.shape:
        raise ShapeError(
            f"The gradient of {p.name or 'a parameter'} of shape {p.shape} has shape {g.shape}.",
            "Leave grad to backward, or set a gradient of the parameter's shape.",
        )


def _misfit(name: str, own: NDArray | None, given: NDArray | None) -> str:
    """Say how an entry of a state does not fit; empty if it does."""
    if own is None:
        return f"{name}: not in the optimiser"
    if given is None:
        return f"{name}: missing from the state"
    if own.shape != given.shape:
        return f"{name}: shape {given.shape} in the state, {own.shape} in the optimiser"
    if own.dtype != given.dtype:
        return f"{name}: dtype {given.dtype} in the state, {own.dtype} in the optimiser"
    return ""
