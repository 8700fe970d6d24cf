"""What a formula looks like before it is written: sums, products and calls of symbols."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from fractions import Fraction
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Sign:
    """A symbol: a name, a number (a fraction), or a truth value; ``scalar``: it has no axes."""

    value: Any
    scalar: bool = False


@dataclass(frozen=True)
class Sum:
    """Items, each with whether it is subtracted."""

    items: tuple[tuple[bool, Shown], ...]


@dataclass(frozen=True)
class Product:
    """Factors above and below the line; ``last`` comes after the fraction.

    ``circled``: it stands beside matrix products, so that it is said to be elementwise.
    """

    above: tuple[Shown, ...]
    below: tuple[Shown, ...]
    last: tuple[Shown, ...] = ()
    circled: bool = False


@dataclass(frozen=True)
class Power:
    """A base with a number as exponent."""

    base: Shown
    exponent: Fraction


@dataclass(frozen=True)
class Call:
    """A named function of operands, ``mean`` or ``where``: its axes, its other parameters."""

    name: str
    operands: tuple[Shown, ...]
    axes: str = ""
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bound:
    """A reduction over indices that are written out: ``sum_k(x[i, k])``."""

    name: str
    letters: tuple[str, ...]
    body: Shown


@dataclass(frozen=True)
class Matrix:
    """A matrix product."""

    left: Shown
    right: Shown


@dataclass(frozen=True)
class Transposed:
    """A transpose; ``several``: of each matrix in a stack."""

    of: Shown
    several: bool = False


@dataclass(frozen=True)
class Element:
    """An array with its indices written out."""

    of: Shown
    places: tuple[Shown, ...]


Shown: TypeAlias = "Sign | Sum | Product | Power | Call | Bound | Matrix | Transposed | Element"


def number(value: Any) -> Sign:
    """Show a number."""
    return Sign(Fraction(value), scalar=True)


def product(above: list[Shown], below: list[Shown]) -> Shown:
    """Arrange factors: symbols in a fraction, sums after it."""
    flat: list[Shown] = []
    for part in above:
        plain = isinstance(part, Product) and not part.below and not part.last
        flat += part.above if plain else [part]  # type: ignore[union-attr]
    sums: list[Shown] = [p for p in flat if isinstance(p, Sum)]
    first: list[Shown] = sorted((p for p in flat if not isinstance(p, Sum)), key=weight)
    if not first and len(sums) == 1:
        first, sums = sums, []
    if not below and len(first) + len(sums) == 1:
        return (first + sums)[0]
    several = len(first) > 1 or below
    matrices = [p for p in first if isinstance(p, Matrix)] if several else []
    if matrices and (below or len(first) > len(matrices)):
        first = [p for p in first if p not in matrices]
        sums = [*matrices, *sums]
    if not first and not sums:
        return Product((number(1),), tuple(below))
    return Product(tuple(first), tuple(sorted(below, key=weight)), tuple(sums))


def transposed(shown: Shown, *, several: bool = False) -> Shown:
    """Show a transpose; that of a transpose is the array itself."""
    return shown.of if isinstance(shown, Transposed) else Transposed(shown, several)


def weight(shown: Shown) -> tuple[int, int]:
    """Say how late a factor or item stands: numbers, letters, then what is longer."""
    if isinstance(shown, Sign):
        return (0 if isinstance(shown.value, Fraction) else 1, 0)
    return (2, _length(shown))


def _length(shown: Any) -> int:
    if isinstance(shown, tuple):
        return sum(map(_length, shown))
    parts = getattr(shown, "__dict__", {}) if not isinstance(shown, Sign) else {}
    return 1 + sum(_length(v) for v in parts.values() if not isinstance(v, str | Fraction))


def parts_of(shown: Any) -> Iterator[Any]:
    """Yield the formulas in a formula."""
    for each in fields(shown):
        value = getattr(shown, each.name)
        for item in value if isinstance(value, tuple) else (value,):
            inner = item[1] if isinstance(item, tuple) else item
            if is_dataclass(inner):
                yield inner


def all_parts(shown: Any) -> Iterator[Any]:
    """Yield a formula and all that is in it."""
    yield shown
    for part in parts_of(shown):
        yield from all_parts(part)


def has_matrices(shown: Shown) -> bool:
    """Whether a formula has products or transposes of matrices."""
    return any(isinstance(p, Matrix | Transposed) for p in all_parts(shown))


def transposes(shown: Shown) -> int:
    """Count the transposes in a formula."""
    return sum(isinstance(p, Transposed) for p in all_parts(shown))


REDUCERS = ("sum", "mean", "var", "max", "min", "prod", "logsumexp")


def is_scalar(shown: Shown) -> bool:
    """Whether a formula surely has no axes: a number, a size, what is reduced over all axes."""
    if isinstance(shown, Sign):
        return shown.scalar
    if isinstance(shown, Call) and shown.name in REDUCERS:
        return not shown.axes
    return isinstance(shown, Power) and is_scalar(shown.base)


def rebuilt(shown: Any, change: Callable[[Any], Any]) -> Any:
    """Return a formula with its parts changed."""
    if isinstance(shown, tuple):
        return tuple(rebuilt(s, change) for s in shown)
    if not is_dataclass(shown):
        return shown
    values = {f.name: rebuilt(getattr(shown, f.name), change) for f in fields(shown)}
    kind: Any = type(shown)
    return change(kind(**values))


def with_circles(shown: Shown) -> Shown:
    """Return a formula whose elementwise products are told from its matrix products."""
    if not has_matrices(shown):
        return shown

    def circled(part: Any) -> Any:
        """Mark a product."""
        return replace(part, circled=True) if isinstance(part, Product) else part

    made: Shown = rebuilt(shown, circled)
    return made
