"""What happened in training: numbers of each step, numbers of each epoch, and what was changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import BoundsError


class History:
    """The numbers of a training by name: one of each for every step and for every epoch.

    ``history["loss"]`` is the column of all steps; ``epochs`` a list of rows, such as
    ``{"epoch": 1, "step": 22, "training loss": 0.4, "validation loss": 0.5}``; ``changes`` lists
    what was changed while it ran, such as the learning rate; ``stopped`` says why an ``EarlyStop``
    ended it, and is empty where none did.

    >>> history = History()
    >>> history.add_step({"loss": 2.0, "lr": 0.1})
    >>> history.add_step({"loss": 1.0, "lr": 0.1})
    >>> history["loss"]
    array([2., 1.])
    >>> history.steps[-1]
    {'loss': 1.0, 'lr': 0.1}
    """

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {}
        self.epochs: list[dict[str, float]] = []
        self.changes: list[dict[str, Any]] = []
        self.stopped = ""

    def add_step(self, numbers: Mapping[str, float]) -> None:
        """Add the numbers of a step, under the same names each time."""
        for name, number in numbers.items():
            self._columns.setdefault(name, []).append(number)

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        """Return a column of the steps as float64. Raises BoundsError for another name."""
        if name not in self._columns:
            raise BoundsError(
                f"The history has no {name!r} of each step.",
                f"It has {', '.join(map(repr, self._columns)) or 'none yet'}; epochs has rows.",
            )
        return np.array(self._columns[name])

    def __len__(self) -> int:
        """Return how many steps were done."""
        return len(next(iter(self._columns.values()), ()))

    @property
    def steps(self) -> list[dict[str, float]]:
        """The numbers of each step, as rows."""
        columns = self._columns.values()
        return [dict(zip(self._columns, row, strict=True)) for row in zip(*columns, strict=True)]

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {number:.4g}" for name, number in self._last().items())
        far = (
            f"{len(self)} steps, {len(self.epochs)} epochs{', stopped early' * bool(self.stopped)}"
        )
        return f"History({far}{': ' * bool(last)}{last})"

    def _last(self) -> dict[str, float]:
        if self.epochs:
            return {k: v for k, v in self.epochs[-1].items() if k not in ("epoch", "step")}
        return self.steps[-1] if len(self) else {}

    # as a checkpoint keeps it --------------------------------------------------------------------

    def arrays(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the columns of the steps."""
        return {name: np.array(column) for name, column in self._columns.items()}

    def rows(self) -> dict[str, Any]:
        """Return the epochs and changes, as JSON."""
        return {"epochs": self.epochs, "changes": self.changes}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], rows: Mapping[str, Any]) -> None:
        """Take up what ``arrays`` and ``rows`` gave."""
        self._columns = {name: column.tolist() for name, column in arrays.items()}
        self.epochs, self.changes = list(rows["epochs"]), list(rows["changes"])
