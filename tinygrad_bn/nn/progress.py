"""The bar that shows how far a training is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Self

from tinygrad_bn.progress import tqdm_if

SHOWN_EVERY = 0.2
"""Seconds between two looks at the numbers: writing them takes longer than a small step."""


class Progress:
    """A bar of tqdm over all steps with the last numbers; nothing where none is wanted.

    ``wanted``: True, False, or None for a bar if tqdm is installed.
    """

    def __init__(self, total: int, done: int, *, wanted: bool | None) -> None:
        bar = tqdm_if(wanted=wanted)
        self._bar: Any = bar and bar(total=total, initial=done, unit="step", dynamic_ncols=True)
        self._shown = 0.0

    def step(self, numbers: Mapping[str, float]) -> None:
        """Go on by one step."""
        if self._bar is None:
            return
        self._bar.update()
        if time.monotonic() - self._shown > SHOWN_EVERY:
            self.show(numbers)

    def show(self, numbers: Mapping[str, float]) -> None:
        """Show numbers behind the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(
                ", ".join(f"{name} {number:.4g}" for name, number in numbers.items())
            )
            self._shown = time.monotonic()

    def end(self, why: str) -> None:
        """Show that no step is left, and why: a bar that stops halfway looks unfinished."""
        if self._bar is not None:
            self._bar.total = self._bar.n
            self._bar.set_postfix_str(f"stopped early: {why}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
