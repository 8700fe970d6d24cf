"""Stopping early: when a number of the epochs no longer gets better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from tinygrad_bn.errors import BoundsError, ShapeError
from tinygrad_bn.nn.checkpoints import Arrays
from tinygrad_bn.nn.module import Module

Better: TypeAlias = Literal["smaller", "larger"]


class EarlyStop:
    """Stop when ``monitor`` has not got better for ``patience`` epochs in a row.

    ``monitor``: the name of a number of an epoch, such as ``"validation loss"``. ``better``:
    ``"smaller"`` or ``"larger"``; by default larger for names that end in "accuracy". With
    ``restore_best`` the model gets the state of the best epoch back at the end. NaN is never
    better. Source: Prechelt (1998), Early stopping, but when?

    >>> stop = EarlyStop(patience=2)
    >>> [stop.update({"validation loss": loss}) for loss in (3.0, 2.0, 2.5, 2.0)]
    [False, False, False, True]
    >>> stop.best, stop.best_epoch
    (2.0, 2)
    """

    def __init__(
        self,
        monitor: str = "validation loss",
        *,
        patience: int = 5,
        better: Better | None = None,
        restore_best: bool = True,
    ) -> None:
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ShapeError(f"EarlyStop: patience={patience!r}.", "Give a number of epochs.")
        if better not in (None, "smaller", "larger"):
            raise ShapeError(f"EarlyStop: better={better!r}.", 'Use "smaller" or "larger".')
        self.monitor, self.patience, self.restore_best = monitor, patience, restore_best
        self.better: Better = better or ("larger" if monitor.endswith("accuracy") else "smaller")
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self.best = -math.inf if self.better == "larger" else math.inf
        self.epochs = self.best_epoch = 0
        self.best_state: Arrays = {}

    def check(self, names: Iterable[str]) -> None:
        """Raise BoundsError if what is monitored is not among the names."""
        names = list(names)
        if self.monitor not in names:
            raise BoundsError(
                f"EarlyStop monitors {self.monitor!r}, which epochs do not have.", _advice(names)
            )

    def update(self, numbers: Mapping[str, float], model: Module | None = None) -> bool:
        """Take in the numbers of an epoch; returns whether to stop.

        ``model``: its state is kept if this is the best epoch. Raises BoundsError where the
        numbers lack the one that is monitored.
        """
        self.check(numbers)
        value = numbers[self.monitor]
        self.epochs += 1
        if value > self.best if self.better == "larger" else value < self.best:
            self.best, self.best_epoch = value, self.epochs
            if model is not None and self.restore_best:
                self.best_state = model.state_dict()
        return self.epochs - self.best_epoch >= self.patience

    def restore(self, model: Module) -> None:
        """Give a model the state of the best epoch, if one is kept."""
        if self.best_state:
            model.load_state_dict(self.best_state)

    def reason(self) -> str:
        """Return why it stopped, in words."""
        if not self.best_epoch:
            return f"{self.monitor!r} was NaN or infinite in every epoch"
        since = self.epochs - self.best_epoch
        return (
            f"{self.monitor!r} was best in epoch {self.best_epoch} ({self.best:.4g}), "
            f"and no better in the {since} after it"
        )

    def seen(self) -> dict[str, float]:
        """Return how far it is, but for the state of the best epoch."""
        return {"best": self.best, "best_epoch": self.best_epoch, "epochs": self.epochs}

    def take_up(self, seen: Mapping[str, Any], best_state: Arrays) -> None:
        """Go on from what ``seen`` returned, and from the state of the best epoch."""
        self.best, self.best_epoch = seen["best"], seen["best_epoch"]
        self.epochs, self.best_state = seen["epochs"], best_state

    def settings(self) -> dict[str, Any]:
        """Return what it was made with."""
        names = ("monitor", "patience", "better", "restore_best")
        return {name: getattr(self, name) for name in names}


def _advice(names: list[str]) -> str:
    """Return how to mend the name of a number that is not there."""
    have = ", ".join(map(repr, names))
    measured = [name.removeprefix("training ") for name in names if name.startswith("training ")]
    if not measured or any(name.startswith("validation ") for name in names):
        return f"Name one that they have: {have}."
    added = ", ".join(repr(f"validation {name}") for name in measured)
    return f"Pass validation=(x, y) to fit, which adds {added}, or name one of {have}."
