"""A bar that shows how many trials have ended, whoever ran them, and the best value so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from tinygrad_bn.progress import tqdm_if
from tinygrad_bn.tune.plans import Plan, finite
from tinygrad_bn.tune.trials import Row


class Progress:
    """The bar, in a ``with`` block. ``show``: None for a bar if tqdm is installed."""

    def __init__(
        self, plan: Plan, rows: Callable[[], list[Row]], name: str, *, show: bool | None
    ) -> None:
        self.plan, self.rows = plan, rows
        bar = tqdm_if(wanted=show)
        self.bar: Any = bar and bar(total=plan.total, desc=name, unit="trial", ncols=88)

    def __enter__(self) -> Self:
        self.update()
        return self

    def update(self) -> None:
        """Show how things stand."""
        if self.bar is None:
            return
        rows = self.rows()
        if len(rows) == self.bar.n:
            return
        if values := [self.plan.merit(row) for row in rows if finite(row)]:
            top = max(values) if self.plan.direction == "maximize" else -max(values)
            self.bar.set_postfix(best=f"{top:.5g}", refresh=False)
        self.bar.update(len(rows) - self.bar.n)

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
