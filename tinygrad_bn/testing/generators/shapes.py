"""Random shapes, axes and permutations, of the kinds that show a wrong rule.

Sides differ, some are one and broadcast; axes are negative, tuples in any order, or all;
permutations are mostly none of those that undo themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from tinygrad_bn.testing.generators.choices import Choices

Shape: TypeAlias = tuple[int, ...]

_RANKS = (1, 2, 3, 2, 3, 1, 2, 0, 4)
_SIDES = (1, 2, 3, 4, 2, 3)


def draw_shape(
    choices: Choices, *, least: int = 0, most: int = 3, sides: Sequence[int] = _SIDES
) -> Shape:
    """Draw a shape of ``least`` to ``most`` axes (mostly one to three), sides mostly 2 to 4."""
    ranks = [r for r in _RANKS if least <= r <= most] or list(range(least, most + 1))
    return tuple(choices.among(sides) for _ in range(choices.among(ranks)))


def draw_smaller(choices: Choices, shape: Shape) -> Shape:
    """Draw a shape that broadcasts to ``shape``: itself, sides of one, leading axes left out."""
    if not choices.chance(1, 2):
        return shape
    kept = [1 if choices.chance(1, 3) else n for n in shape]
    return tuple(kept[choices.integer(0, len(shape)) :] if choices.chance(1, 2) else kept)


def draw_larger(choices: Choices, shape: Shape, *, most: int = 3) -> Shape:
    """Draw a shape that ``shape`` broadcasts to: sides of one widened, an axis in front."""
    wide = [choices.among(_SIDES) if n == 1 and choices.chance(1, 2) else n for n in shape]
    front = [choices.among(_SIDES)] if len(shape) < most and choices.chance(1, 4) else []
    return (*front, *wide)


def signed(choices: Choices, axis: int, ndim: int) -> int:
    """Write an axis from the front or, as often, from the end."""
    return axis - ndim if choices.chance(1, 2) else axis


def draw_axis(choices: Choices, ndim: int) -> int:
    """Draw one of ``ndim`` axes, counted from either end."""
    return signed(choices, choices.integer(0, ndim - 1), ndim)


def draw_axes(choices: Choices, ndim: int, *, least: int = 1) -> tuple[int, ...]:
    """Draw a tuple of at least ``least`` different axes, in any order, counted from either end."""
    count = choices.integer(least, ndim)
    return tuple(signed(choices, a, ndim) for a in choices.order(ndim)[:count])


def draw_permutation(choices: Choices, ndim: int) -> tuple[int, ...]:
    """Draw a permutation of the axes: as often as not a rotation, which does not undo itself."""
    if choices.chance(1, 2) and ndim > 2:
        turn = choices.integer(1, ndim - 1)
        order = [(a + turn) % ndim for a in range(ndim)]
    else:
        order = choices.order(ndim)
    return tuple(signed(choices, a, ndim) for a in order)


def draw_factors(choices: Choices, size: int) -> Shape:
    """Draw a shape of ``size`` elements; one side may be written -1."""
    sides: list[int] = []
    rest = size
    while rest > 1 and len(sides) < 3:
        sides.append(choices.among([d for d in range(rest, 1, -1) if rest % d == 0]))
        rest //= sides[-1]
    sides += [rest] if rest > 1 else []
    if choices.chance(1, 4) or not sides:
        sides.insert(choices.integer(0, len(sides)), 1)
    if choices.chance(1, 3):
        sides[choices.integer(0, len(sides) - 1)] = -1
    return tuple(sides)
