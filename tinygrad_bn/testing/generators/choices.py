"""Where everything random comes from: one interface, so that one generator serves two masters.

With ``Seeded`` a generator of tests is fast and needs NumPy alone. With the choices of Hypothesis
(in ``strategies``) the same generator is a strategy whose examples shrink: every choice goes
towards its first or lowest answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from tinygrad_bn.testing.generators.values import DOMAIN, Domain, Kind, palette

T = TypeVar("T")


class Choices(Protocol):
    """A source of choices: ``integer`` and ``integers`` decide, all else follows from them."""

    def integer(self, low: int, high: int) -> int:
        """Choose an integer from ``low`` to ``high``, both included; shrinks towards ``low``."""

    def integers(self, shape: tuple[int, ...], low: int, high: int) -> npt.NDArray[np.int64]:
        """Choose an array of integers, each as ``integer`` does."""

    def part(self, make: Callable[[Choices], T]) -> T:
        """Make something that a shrinker may leave out as a whole: one step of several."""

    def among(self, items: Sequence[T]) -> T:
        """Choose an item; shrinks towards the first."""
        return items[self.integer(0, len(items) - 1)]

    def chance(self, share: int, whole: int) -> bool:
        """Say yes in ``share`` of ``whole`` cases; shrinks towards no."""
        return self.integer(1, whole) > whole - share

    def order(self, length: int) -> list[int]:
        """Choose a permutation of ``range(length)``; shrinks towards the identity."""
        places = list(range(length))
        for i in range(length - 1):
            j = self.integer(i, length - 1)
            places[i], places[j] = places[j], places[i]
        return places

    def array(
        self,
        shape: tuple[int, ...],
        *,
        kind: Kind = "generic",
        dtype: npt.DTypeLike = np.float64,
        domain: Domain = DOMAIN,
    ) -> npt.NDArray[Any]:
        """Choose an array of one of the ``values.KINDS``; see ``values.palette``.

        >>> Seeded(np.random.default_rng(0)).array((2,), kind="ties").shape
        (2,)
        """
        low, high = domain
        numbers = palette(kind, np.dtype(dtype), (low, high))
        if kind == "constant":
            return np.full(shape, numbers[self.integer(0, numbers.size - 1)])
        return np.asarray(numbers[self.integers(shape, 0, numbers.size - 1)])


class Seeded(Choices):
    """Choices made by a generator of NumPy: the same ones for the same seed.

    >>> choices = Seeded(np.random.default_rng(0))
    >>> choices.among("abc") in "abc", 1 <= choices.integer(1, 6) <= 6
    (True, True)
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._words: list[int] = []

    def integer(self, low: int, high: int) -> int:
        """Choose an integer: words of 32 bits are drawn in bulk, which is ten times as fast."""
        if not self._words:
            self._words = self._rng.integers(0, 2**32, 256).tolist()
        return low + (self._words.pop() * (high - low + 1) >> 32)

    def integers(self, shape: tuple[int, ...], low: int, high: int) -> npt.NDArray[np.int64]:
        """Choose an array of integers."""
        return np.asarray(self._rng.integers(low, high, shape, endpoint=True))

    def part(self, make: Callable[[Choices], T]) -> T:
        """Make it."""
        return make(self)
