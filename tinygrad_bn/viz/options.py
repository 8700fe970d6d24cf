"""Options that are numbers: refused, with what they should be, before anything is drawn."""

from __future__ import annotations

import operator
from numbers import Real
from typing import Any

from tinygrad_bn.errors import DTypeError, ShapeError


def whole(name: str, value: Any, *, least: int, otherwise: str = "") -> None:
    """Refuse what is no whole number from ``least``; ``otherwise`` tells what else there is.

    Raises DTypeError for what is no whole number, ShapeError for one that is too small.
    """
    what, fix = f"{name}={value!r}.", f"Use a whole number from {least}{otherwise}."
    try:
        number = operator.index(value)
    except TypeError:
        raise DTypeError(what, fix) from None
    if isinstance(value, bool):
        raise DTypeError(what, fix)
    if number < least:
        raise ShapeError(what, fix)


def seconds(name: str, value: Any) -> None:
    """Refuse what is no number above 0.

    Raises DTypeError for what is no number, ShapeError for one that is too small.
    """
    what, fix = f"{name}={value!r}.", "Use a number of seconds above 0."
    if isinstance(value, bool) or not isinstance(value, Real):
        raise DTypeError(what, fix)
    if not float(value) > 0:
        raise ShapeError(what, fix)
