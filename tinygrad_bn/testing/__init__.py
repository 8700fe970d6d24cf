"""Tools for testing gradients: one's own and those of this package, and of other frameworks.

``check_gradients`` and ``check_rule`` need NumPy alone. ``strategies`` and ``given_gradients``
need Hypothesis (the extra ``testing``); they are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tinygrad_bn.testing.checking.checker import (
    check_gradients as check_gradients,
    check_rule as check_rule,
)
from tinygrad_bn.testing.checking.verdicts import (
    Report as Report,
    Verdict as Verdict,
    WrongGradientError as WrongGradientError,
)

if TYPE_CHECKING:
    from tinygrad_bn.testing import (
        adapters as adapters,
        laws as laws,
        mutants as mutants,
        rows as rows,
        strategies as strategies,
    )
    from tinygrad_bn.testing.given import given_gradients as given_gradients
    from tinygrad_bn.testing.rows import check_row as check_row

_MODULES = ("adapters", "laws", "mutants", "rows", "strategies")
_HOMES = {"given_gradients": "given", "check_row": "rows"}


def __getattr__(name: str) -> Any:
    """Import what is asked for the first time."""
    if name in _MODULES:
        return importlib.import_module(f"tinygrad_bn.testing.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"tinygrad_bn.testing.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'tinygrad_bn.testing' has no attribute {name!r}")
