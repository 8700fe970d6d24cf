"""A bar that shows how many trials have ended, whoever ran them, and the best value so far."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tinygrad_bn.errors import OptionalDependencyError
from tinygrad_bn.tune.plans import Plan, finite
from tinygrad_bn.tune.trials import Row


class Progress:
    """The bar, in a ``with`` block. ``show``: None for a bar if tqdm is installed."""

    def __init__(
        self, plan: Plan, rows: Callable[[], list[Row]], name: str, *, show: bool | None
    ) -> None:
        self.plan, self.rows = plan, rows
        self.bar = _bar(plan.total, name, must=bool(show)) if show in (None, True) else None

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.close()


def _bar(total: int, name: str, *, must: bool) -> Any:
    try:
        from tqdm import tqdm  # noqa: PLC0415  (optional)
    except ImportError as error:
        if must:
            raise OptionalDependencyError(
                "A bar needs tqdm.", 'Install the extra "demos": pip install "tinygrad_bn[demos]".'
            ) from error
        return None
    return tqdm(total=total, desc=name, unit="trial", ncols=88)
