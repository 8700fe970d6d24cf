"""The words of a diagram: names made harmless, shapes, numbers, values in a few words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_bn.viz.model import Line

LONGEST = 32
"""Longer names are cut: a card is no wider than it can be read."""

_NEGLIGIBLE = 1e-6
"""A mean this small against the largest element is rounding, and shown as about 0."""

_LETTERS = "abcdefgh"

_FEW = 8
"""Integers up to this many, such as labels and indices, are shown one by one."""


def letter(position: int) -> str:
    """Write what an operand is called where the order matters.

    >>> letter(0), letter(8)
    ('a', '8')
    """
    return _LETTERS[position] if position < len(_LETTERS) else str(position)


def clean(text: str, limit: int = LONGEST) -> str:
    r"""Return one printable line: no control characters, no surrogates, no bidirectional marks.

    >>> clean("two\nlines\x00")
    'two lines'
    """
    text = str(text)  # a name is whatever somebody gave
    if len(text) <= limit and text.isalnum():
        return text
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def few(names: Iterable[str], most: int = 4) -> str:
    """Join the first names of many.

    >>> few("abc"), few("abcdef")
    ('a b c', 'a b c d …')
    """
    listed = list(names)
    return " ".join(listed[:most] + ["…"] * (len(listed) > most))


def gradient_of(name: str) -> str:
    """Write the name of a gradient.

    >>> gradient_of("x"), gradient_of("x − μ")
    ('∂x', '∂(x − μ)')
    """
    return f"∂({name})" if " " in name else f"∂{name}"


def shape_text(shape: tuple[int, ...]) -> str:
    """Write a shape with multiplication signs.

    >>> shape_text((8, 4)), shape_text(())
    ('8×4', 'scalar')
    """
    return "×".join(map(str, shape)) or "scalar"


def number(value: Any, digits: int = 3) -> str:
    """Write a number in a few digits, with a true minus sign.

    >>> number(-0.00001234)
    '−1.23e−05'
    """
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, int | np.integer):
        return str(value).replace("-", "−")
    if isinstance(value, complex | np.complexfloating):
        sign = "−" if value.imag < 0 else "+"
        return f"{number(value.real, digits)} {sign} {number(abs(value.imag), digits)}i"
    return f"{value:.{digits}g}".replace("-", "−").replace("inf", "∞").replace("nan", "NaN")


def constant(value: Any) -> str:
    """Write a Python scalar as it stands in an operation: all its digits, up to six."""
    return "none" if value is None else number(value, 6)


def plain(value: Any) -> str:
    """Write a static parameter; nothing whose text differs from run to run."""
    if isinstance(value, tuple | list):
        return ",".join(map(plain, value))
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return str(np.dtype(value))
    if value is None or isinstance(value, bool | int | float | complex | np.generic):
        return constant(value)
    return value if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)


def index_text(template: Any) -> str:
    """Write an index as Python does; ``…`` stands for an index array.

    >>> index_text(((0, 1, None), (None, None, None), "array"))
    '[0:1, :, …]'
    """
    return f"[{', '.join(map(_index_item, template))}]"


def _index_item(item: Any) -> str:
    if isinstance(item, tuple):
        start, stop, step = ("" if part is None else str(part) for part in item)
        return f"{start}:{stop}" + (f":{step}" if step else "")
    return {"array": "…", Ellipsis: "...", None: "new"}.get(item, str(item))


_OUTCOMES = {
    "added": "added",
    "removed": "removed",
    "changed": "changed",
    "affected": "downstream",
    "": "the same",
}


def counted(counts: Mapping[str, int], signs: Mapping[str, str]) -> dict[str, str]:
    """Say how many nodes of two graphs are what, with the signs that mean it.

    >>> counted({"added": 2, "": 5}, {"added": "+"})
    {'added': '+ 2 added', '': '5 the same'}
    """
    return {
        change: f"{signs.get(change, '')} {counts[change]} {word}".strip()
        for change, word in _OUTCOMES.items()
        if counts.get(change)
    }


def summary(values: npt.NDArray[Any]) -> Line:
    """Say in a few words what an array holds; NaN and infinities come first, as an alarm.

    >>> summary(np.array([1.0, 3.0])).text
    'mean 2, std 1'
    >>> summary(np.array([1.0, np.nan]))
    Line(text='1 of 2 NaN', alarm=True)
    """
    if values.size == 0:
        return Line("empty")
    if values.dtype.kind in "fc" and not np.isfinite(values).all():
        return _alarm(values)
    if values.size == 1:
        return Line(number(values.reshape(())[()], 4))
    if values.dtype.kind == "b":
        return Line(f"{np.count_nonzero(values)} of {values.size} true")
    if values.dtype.kind in "iu" and values.ndim == 1 and values.size <= _FEW:
        return Line(f"[{', '.join(map(number, values))}]")
    if values.dtype.kind in "iu":
        return Line(f"min {number(values.min())}, max {number(values.max())}")
    return _moments(values)


def _alarm(values: npt.NDArray[Any]) -> Line:
    if values.size == 1:
        return Line(number(values.reshape(())[()]), alarm=True)
    below = np.isinf(values) & (values.real < 0 if values.dtype.kind == "f" else False)
    signs = ((np.isnan(values), "NaN"), (np.isinf(values) & ~below, "∞"), (below, "−∞"))
    counts = [(np.count_nonzero(where), what) for where, what in signs]
    found = [f"{count} of {values.size} {what}" for count, what in counts if count]
    return Line(", ".join(found), alarm=True)


def _moments(values: npt.NDArray[Any]) -> Line:
    wide = np.promote_types(values.dtype, np.float64)  # a sum of float16 is soon infinite
    with np.errstate(all="ignore"):
        spread = values.astype(wide)
        scale, mean, std = np.abs(spread).max(), spread.mean(), spread.std()
    if not math.isfinite(std):
        return Line(f"largest {number(scale)}")
    small = 0 < abs(mean) < _NEGLIGIBLE * scale
    return Line(f"mean {'≈0' if small else number(mean)}, std {number(std)}")
