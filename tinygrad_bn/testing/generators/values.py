"""The kinds of numbers on which gradients are tested: each kind is a palette, simplest first.

Every number is exact in few bits (float16 has eleven), so that it is the same number in every
dtype, its neighbours at steps of powers of two are exact, and an example is readable.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import DTypeError, ShapeError

Domain: TypeAlias = tuple[float, float]
"""An interval, both ends included."""

Kind: TypeAlias = Literal["generic", "ties", "constant", "huge", "tiny", "mixed", "subnormal"]
"""One of ``KINDS``."""

KINDS: tuple[Kind, ...] = ("generic", "ties", "constant", "huge", "tiny", "mixed", "subnormal")
"""``generic``: multiples of 2**-8 in the domain, rarely equal. ``ties``: few values, 0 among them
where the domain has it. ``constant``: one value throughout. ``huge``: magnitudes from 2**10 to
2**40 (float16: below 2**12). ``tiny``: from 2**-40 to 2**-10 (float16: 2**-10 to 2**-8).
``mixed``: each element of another kind, so that coordinates are badly scaled. ``subnormal``: below
the smallest normal number, as nowhere else."""

DOMAIN: Domain = (-2.0, 2.0)

_GRID = 2.0**-8
_MIXED: tuple[Kind, ...] = ("generic", "huge", "tiny", "ties")


@functools.lru_cache(maxsize=1024)
def palette(kind: Kind, dtype: np.dtype[Any], domain: Domain = DOMAIN) -> npt.NDArray[Any]:
    """List the numbers of a kind, the simplest (fewest bits, nearest to 1) first; read-only.

    ``generic``, ``ties`` and ``constant`` keep to the domain. ``huge``, ``tiny`` and
    ``subnormal`` cannot, and keep to its signs: those of (0.1, 3.0) are positive. Integers and
    booleans have the first three kinds only. Raises DTypeError for a kind that a dtype does not
    have, ShapeError for an unknown kind and for an empty domain.

    >>> palette("ties", np.dtype("float64")).tolist()
    [0.0, 1.0, -1.0, 2.0, -2.0]
    >>> palette("generic", np.dtype("float64"), (0.1, 3.0))[:4].tolist()
    [1.0, 0.5, 2.0, 0.25]
    """
    if kind not in KINDS:
        raise ShapeError(f"There is no kind of values {kind!r}.", f"Use one of {', '.join(KINDS)}.")
    if not (math.isfinite(domain[0]) and math.isfinite(domain[1]) and domain[0] <= domain[1]):
        raise ShapeError(f"The domain {domain} is no interval.", "Give (low, high), both finite.")
    if dtype.kind in "biu":
        numbers = _integers(kind, dtype, domain)
    elif dtype.kind != "f":
        raise DTypeError(f"There are no values of dtype {dtype}.", "Use a dtype of real numbers.")
    elif kind == "mixed":
        numbers = _interleaved([palette(k, dtype, domain) for k in _MIXED])
    else:
        numbers = _floats(kind, dtype, domain)
    numbers.setflags(write=False)
    return numbers


def _floats(kind: Kind, dtype: np.dtype[Any], domain: Domain) -> npt.NDArray[Any]:
    half, far = dtype == np.float16, float(np.finfo(dtype).max)
    domain = (max(domain[0], -far), min(domain[1], far))
    if kind in ("generic", "constant"):
        return _simplest_first(_multiples(_fine(domain, dtype), domain)).astype(dtype)
    if kind == "ties":
        return _simplest_first(_multiples(_coarse(domain, dtype), domain)).astype(dtype)
    signs = _far_signs(domain) if kind == "huge" else _signs(domain)
    if kind == "subnormal":
        wide = np.promote_types(dtype, np.float64)
        sizes = np.arange(1, 256).astype(wide) * wide.type(np.finfo(dtype).smallest_subnormal)
    elif kind == "huge":
        sizes = _binades(10, 12 if half else 40)
    else:
        sizes = _binades(-10 if half else -40, -8 if half else -10)
    return _simplest_first(np.concat([s * sizes for s in signs])).astype(dtype)


def _integers(kind: Kind, dtype: np.dtype[Any], domain: Domain) -> npt.NDArray[Any]:
    if kind not in ("generic", "ties", "constant"):
        raise DTypeError(f"There are no {kind} values of dtype {dtype}.", "Use generic or ties.")
    if dtype.kind == "b":
        return np.array([False, True])
    limits = np.iinfo(dtype)
    low, high = max(domain[0], limits.min), min(domain[1], limits.max)
    return _simplest_first(_multiples(1.0, (low, high))).astype(dtype)


def _fine(domain: Domain, dtype: np.dtype[Any]) -> float:
    """Choose the spacing of generic values: 2**-8, but for very narrow, wide or far domains."""
    width, far = domain[1] - domain[0], max(abs(domain[0]), abs(domain[1]))
    if not width:
        return 0.0
    narrow = 2.0 ** math.floor(math.log2(width / 64))
    bits = np.finfo(dtype).nmant + 1
    held = 2.0 ** math.ceil(math.log2(far) - min(bits, 20))
    return max(min(_GRID, narrow), held, 2.0 ** math.ceil(math.log2(width / 4096)))


def _coarse(domain: Domain, dtype: np.dtype[Any]) -> float:
    """Choose a spacing that leaves four to nine values."""
    width = domain[1] - domain[0]
    return max(_fine(domain, dtype), 2.0 ** math.floor(math.log2(width / 4))) if width else 0.0


def _multiples(step: float, domain: Domain) -> npt.NDArray[Any]:
    """List the multiples of a step in an interval."""
    low, high = domain
    if not step:
        return np.array([low])
    numbers = np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step
    if not numbers.size:
        raise ShapeError(
            f"The domain {domain} holds no multiple of {step:g}.", "Give a wider interval."
        )
    return numbers


def _binades(low: int, high: int) -> npt.NDArray[Any]:
    """List numbers of five bits from 2**low to below 2**high."""
    return np.ldexp(1 + np.arange(16) / 16, np.arange(low, high)[:, None]).ravel()


def _signs(domain: Domain) -> tuple[float, ...]:
    """List the signs that numbers of a domain have."""
    return (1.0,) if domain[0] >= 0 else (-1.0,) if domain[1] <= 0 else (1.0, -1.0)


def _far_signs(domain: Domain) -> tuple[float, ...]:
    """List the signs of numbers far outside: where a domain goes further, if it is uneven."""
    low, high = domain
    return _signs(domain) if low * high >= 0 or -low == high else (1.0,) if high > -low else (-1.0,)


def _simplest_first(numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sort by the bits of the significand, then by the distance from 1 in powers of two."""
    fraction, exponent = np.frexp(numbers)
    whole = np.abs(fraction * 2.0**53).astype(np.int64)
    last = np.frexp((whole & -whole).astype(np.float64))[1]
    bits = np.where(whole == 0, 0, 54 - last)
    return np.asarray(numbers[np.lexsort((numbers < 0, np.abs(exponent - 1), bits))])


def _interleaved(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Mix palettes so that each has the same share and simple numbers stay in front."""
    length = max(p.size for p in parts)
    return np.stack([np.resize(p, length) for p in parts], axis=1).ravel()
