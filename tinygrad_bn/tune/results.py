"""What a search found: rows, a table, a file, importances, pictures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tinygrad_bn.errors import SearchError, ShapeError
from tinygrad_bn.tune.needs import quiet
from tinygrad_bn.tune.plans import Box, Plan, finite
from tinygrad_bn.tune.plotting import draw
from tinygrad_bn.tune.trials import Row, cell


@dataclass(frozen=True, eq=False)
class Result:
    """A finished search.

    ``trials``: its rows by index. ``boxes``: what each round of coarse to fine drew from, the
    bounds of each dimension, or the choices left of it. ``study``: the study of Optuna.
    """

    trials: list[Row]
    boxes: list[Box]
    study: Any
    plan: Plan

    @property
    def best(self) -> Row:
        """The best trial that ran to its end; the first of equals.

        Raises SearchError if none has a finite value.
        """
        counting = [row for row in self.trials if finite(row)]
        if not counting:
            raise SearchError(
                f"None of {len(self.trials)} trials ended with a finite value.",
                "Look at result.table(); smaller learning rates may help.",
            )
        return max(counting, key=self.plan.merit)

    def table(self, sort: Literal["number", "value"] = "number", limit: int | None = None) -> str:
        """Return the trials as text, a line each, by number or from the best on.

        ``limit``: how many lines. Durations are left out: the table is the same for any number of
        workers. Raises ShapeError for another order.
        """
        if sort not in ("number", "value"):
            raise ShapeError(f"table: sort={sort!r}.", 'Say "number" or "value".')
        rows = sorted(self.trials, key=self._rank) if sort == "value" else self.trials
        lines = [["trial", *self.plan.space, "value", "state"]]
        for row in rows[:limit]:
            values = [cell(row.values[name]) for name in self.plan.space]
            lines.append([str(row.index), *values, f"{row.value:.6g}", row.state])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
            for line in lines
        )

    def _rank(self, row: Row) -> tuple[bool, float, int]:
        return not finite(row), -self.plan.merit(row), row.index

    def to_csv(self, path: str | Path) -> None:
        """Write the trials as a table in full precision, without durations."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["trial", *self.plan.space, "value", "state"])
            for row in self.trials:
                writer.writerow([row.index, *row.values.values(), row.value, row.state])

    def importance(self) -> dict[str, float]:
        """Return the share of each dimension in what makes values differ, the largest first.

        Functional ANOVA (Hutter, Hoos & Leyton-Brown 2014), as Optuna computes it, of the trials
        that ran to their end, seeded by the search's seed. It is told the places on each space's
        own scale: on a plain one, nine tenths of a learning rate from 0.0001 to 1 would be its
        last decade. Interactions count for none; the shares add up to 1. Raises SearchError for
        fewer than two trials with finite values, OptionalDependencyError without scikit-learn.
        """
        rows = [row for row in self.trials if finite(row)]
        if len(rows) < 2:
            raise SearchError(
                f"The importance of {len(rows)} trials with finite values.", "Run more trials."
            )
        if len({row.value for row in rows}) == 1:
            raise SearchError(
                f"All {len(rows)} trials have the value {rows[0].value}: nothing explains it.",
                "Run trials whose values differ.",
            )
        with quiet() as engine:
            study = _on_own_scales(engine, self.plan, rows)
            evaluator = engine.importance.FanovaImportanceEvaluator(seed=self.plan.seed % 2**32)
            shares = engine.importance.get_param_importances(study, evaluator=evaluator)
        return {name: float(share) for name, share in shares.items()}

    def plot(self, path: str | Path) -> None:
        """Draw the value against each dimension, on its own scale, into a file.

        Pruned trials are hollow, trials without a finite value crosses at the foot; the boxes of
        coarse to fine are shaded. Raises OptionalDependencyError without matplotlib.
        """
        draw(self.plan, self.trials, self.boxes, Path(path))


def _on_own_scales(engine: Any, plan: Plan, rows: Sequence[Row]) -> Any:
    study = engine.create_study(direction=plan.direction)
    unit = engine.distributions.FloatDistribution(0.0, 1.0)
    own = {name: space.distribution() for name, space in plan.space.items() if space.unordered}
    distributions = {name: own.get(name, unit) for name in plan.space}
    for row in rows:
        places = {
            name: row.values[name] if name in own else space.to_unit(row.values[name])
            for name, space in plan.space.items()
        }
        study.add_trial(
            engine.trial.create_trial(params=places, distributions=distributions, value=row.value)
        )
    return study
