"""Plans: which values the trial of an index gets. They follow from the seed and earlier rounds."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn.tune.spaces import Region, Space
from tinygrad_bn.tune.trials import Direction, Row

Box: TypeAlias = dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Plan(ABC):
    """A search: how many trials, in generations of what size, and the values of each.

    A generation (None: all) begins when all trials before it have ended, and sees only those.
    """

    space: dict[str, Space]
    seed: int
    direction: Direction
    total: int
    generation: int | None

    @abstractmethod
    def values(self, index: int, earlier: Sequence[Row]) -> dict[str, Any]:
        """Return the values of a trial; ``earlier``: the rows of earlier generations."""

    @abstractmethod
    def terms(self) -> dict[str, Any]:
        """Return what else distinguishes this search from others, as JSON."""

    def start(self, index: int) -> int:
        """Return the first index of a trial's generation."""
        return index - index % self.generation if self.generation else 0

    def seed_of(self, index: int) -> int:
        """Return the seed of a trial's own randomness, apart from that of its values."""
        return int(np.random.SeedSequence([self.seed, index], spawn_key=(1,)).generate_state(1)[0])

    def drawn(self, index: int) -> dict[str, float]:
        """Draw a place from 0 to 1 for each dimension, from seed and index alone."""
        places = np.random.default_rng([self.seed, index]).random(len(self.space))
        return dict(zip(self.space, places.tolist(), strict=True))

    def merit(self, row: Row) -> float:
        """Return what is greater for the better trial."""
        return merit(row.value, self.direction)

    def boxes(self, rows: Sequence[Row]) -> list[Box]:  # noqa: ARG002  (for plans with rounds)
        """Return where each round drew its values; none without rounds."""
        return []


@dataclass(frozen=True)
class RandomPlan(Plan):
    """Every trial is drawn from the whole space."""

    def values(
        self,
        index: int,
        earlier: Sequence[Row],  # noqa: ARG002  (the zoom looks at them)
    ) -> dict[str, Any]:
        """Draw them."""
        return {name: self.space[name].from_unit(u) for name, u in self.drawn(index).items()}

    def terms(self) -> dict[str, Any]:
        """Return the name: it may be continued with more trials."""
        return {"search": "random_search"}


@dataclass(frozen=True)
class GridPlan(Plan):
    """Every trial is a point of a grid; the last dimension changes first."""

    points: tuple[tuple[Any, ...], ...]

    def values(
        self,
        index: int,
        earlier: Sequence[Row],  # noqa: ARG002  (the zoom looks at them)
    ) -> dict[str, Any]:
        """Take the point of that index."""
        point = next(itertools.islice(itertools.product(*self.points), index, None))
        return dict(zip(self.space, point, strict=True))

    def terms(self) -> dict[str, Any]:
        """Return the points."""
        named = zip(self.space, map(list, self.points), strict=True)
        return {"search": "grid_search", "points": dict(named)}


@dataclass(frozen=True)
class ZoomPlan(Plan):
    """Every round is drawn from a box about the best trial so far, smaller each time."""

    trials: int
    shrink: float

    def values(self, index: int, earlier: Sequence[Row]) -> dict[str, Any]:
        """Draw them in the box of the trial's round."""
        region = self.regions(index // self.trials, earlier)
        return {
            name: self.space[name].within(region[name], u) for name, u in self.drawn(index).items()
        }

    def terms(self) -> dict[str, Any]:
        """Return how it zooms; it may be continued with more rounds."""
        return {"search": "coarse_to_fine", "trials": self.trials, "shrink": self.shrink}

    def regions(self, number: int, rows: Sequence[Row]) -> dict[str, Region]:
        """Return the box of a round, in places from 0 to 1, and in indices of choices.

        It is a function of the rows of earlier rounds. A round without any finite value before it
        draws from the whole space, and does not count as a zoom.
        """
        before = [row for row in rows if row.index < number * self.trials]
        ranked = sorted(filter(finite, before), key=self.merit, reverse=True)
        if not ranked:
            return {name: space.whole() for name, space in self.space.items()}
        zooms = number - min(row.index for row in ranked) // self.trials
        return {
            name: space.around(
                ranked[0].values[name], self.shrink**zooms, [row.values[name] for row in ranked]
            )
            for name, space in self.space.items()
        }

    def boxes(self, rows: Sequence[Row]) -> list[Box]:
        """Return for each round the bounds of each dimension, or the choices left of it."""
        rounds = [self.regions(r, rows) for r in range(self.total // self.trials)]
        return [
            {name: self.space[name].bounds(region) for name, region in regions.items()}
            for regions in rounds
        ]


def finite(row: Row) -> bool:
    """Say whether a trial counts: it ran to its end, and its value is a finite number."""
    return row.state == "complete" and math.isfinite(row.value)


def merit(value: float, direction: Direction) -> float:
    """Return what is greater for the better value: nan and infinities are the worst of all."""
    if not math.isfinite(value):
        return -math.inf
    return value if direction == "maximize" else -value
