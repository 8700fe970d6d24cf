"""Elementwise primitives: every elementwise function of the array API standard 2024.12.

Operands broadcast against each other (the engine sums the gradient back). At kinks a rule gives
an element of the subdifferential: ties share equally, ``abs`` and ``clip`` give zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_bn.graph.primitive import Array
from tinygrad_bn.graph.sweep import unbroadcast
from tinygrad_bn.primitives.families import Case, default_cases, elementwise, flat

POSITIVE = (0.1, 3.0)
BITS: list[Case] = [((np.array([5, 3, 12]), np.array([[1], [2]])), {})]
TRUTHS: list[Case] = [((np.array([True, False]), np.array([[True], [False]])), {})]


def _to_integer(x: Array) -> Array:
    """Distance to the nearest integer; NaN where numbers are too large to have a fraction."""
    return np.where(np.spacing(np.abs(x)) < 0.5, np.abs(x - np.round(x)), np.nan)


def _to_multiple(x: Array, y: Array) -> Array:
    """Distance of ``x`` to the nearest multiple of ``y``; NaN where there are too many to count."""
    rest = np.abs(np.remainder(x, y))
    countable = np.spacing(np.abs(x / y)) < 0.5
    return np.where(countable, np.minimum(rest, np.abs(y) - rest), np.nan)


def _gap(x: Array, y: Array) -> Array:
    """Distance between two operands."""
    return np.abs(x - y)


def _log_of(xp: Any, base: float, like: Array) -> Array:
    """The natural logarithm of a base in the precision of an operand."""
    return xp.log(xp.full((), base, dtype=like.dtype))


# arithmetic --------------------------------------------------------------------------------------


@elementwise(
    np.add,
    vjp=(lambda xp, g, out, x, y: g, lambda xp, g, out, x, y: g),
    symbol="+",
)
def add(x: Array, y: Array, /) -> Array:
    """Sum ``x + y`` of each pair of elements.

    >>> add([1.0, 2.0], 0.5)
    Tensor([1.5, 2.5])
    """


@elementwise(
    np.subtract,
    vjp=(lambda xp, g, out, x, y: g, lambda xp, g, out, x, y: -unbroadcast(xp, g, y.shape)),
    symbol="−",
)
def subtract(x: Array, y: Array, /) -> Array:
    """Difference ``x - y`` of each pair of elements."""


@elementwise(
    np.multiply,
    vjp=(lambda xp, g, out, x, y: g * y, lambda xp, g, out, x, y: g * x),
    symbol="×",
)
def multiply(x: Array, y: Array, /) -> Array:
    """Product ``x * y`` of each pair of elements."""


@elementwise(
    np.divide,
    vjp=(
        lambda xp, g, out, x, y: g / y,
        lambda xp, g, out, x, y: -(unbroadcast(xp, g * out, y.shape) / y),
    ),
    domain=((-2.0, 2.0), POSITIVE),
    margin=lambda x, y: np.abs(y),
    symbol="÷",
)
def divide(x: Array, y: Array, /) -> Array:
    """Quotient ``x / y`` of each pair of elements."""


@elementwise(
    np.floor_divide,
    vjp=flat,
    domain=((-2.0, 2.0), POSITIVE),
    margin=_to_multiple,
    analytic=False,
)
def floor_divide(x: Array, y: Array, /) -> Array:
    """Quotient of each pair rounded down; the gradient is zero."""


def _floor_quotient(xp: Any, g: Array, out: Array, x: Array, y: Array) -> Array:
    return -(g * xp.floor_divide(x, y))


@elementwise(
    np.remainder,
    vjp=(lambda xp, g, out, x, y: g, _floor_quotient),
    domain=((-2.0, 2.0), POSITIVE),
    margin=_to_multiple,
    analytic=False,
)
def remainder(x: Array, y: Array, /) -> Array:
    """Remainder of each division, with the sign of the divisor."""


def _pow_base(xp: Any, g: Array, out: Array, x: Array, y: Array) -> Array:
    if isinstance(y, int | float):
        if y == 2:
            return g * (x + x)
        return xp.zeros_like(g) if y == 0 else g * (y * xp.pow(x, y - 1))
    origin = (x == 0) & (y == 0)
    return g * xp.where(origin, 0.0, y * xp.pow(x, xp.where(origin, 1.0, y - 1)))


def _pow_exponent(xp: Any, g: Array, out: Array, x: Array, y: Array) -> Array:
    if isinstance(x, int | float):
        return g * (out * _log_of(xp, x or 1, out))
    return g * (out * xp.log(xp.where(x == 0, 1.0, x)))


@elementwise(
    np.pow,
    vjp=(_pow_base, _pow_exponent),
    cases=[
        *default_cases("elementwise", 2),
        *((((3,), y), {}) for y in (0, 1, 2, 3, -1, 2.0, 0.5)),
        (((3,), np.array([0, 2, 3])), {}),
    ],
    domain=(POSITIVE, (-2.0, 2.0)),
    margin=lambda x, y: np.where(y == np.round(y), np.inf, np.abs(x)),
    symbol="^",
)
def pow(x: Array, y: Array, /) -> Array:
    """Power ``x ** y`` of each pair. Integer base and negative integer exponent is an error."""


@elementwise(np.negative, vjp=lambda xp, g, out, x: -g, symbol="−")
def negative(x: Array, /) -> Array:
    """Negation of each element."""


@elementwise(np.positive, vjp=lambda xp, g, out, x: g)
def positive(x: Array, /) -> Array:
    """Each element itself (a new array)."""


@elementwise(
    np.reciprocal, vjp=lambda xp, g, out, x: -(g * out * out), domain=POSITIVE, margin=np.abs
)
def reciprocal(x: Array, /) -> Array:
    """One over each element."""


@elementwise(np.square, vjp=lambda xp, g, out, x: g * (x + x), symbol="²")
def square(x: Array, /) -> Array:
    """Square of each element."""


@elementwise(
    np.sqrt, vjp=lambda xp, g, out, x: g / (out + out), domain=POSITIVE, margin=np.abs, symbol="√"
)
def sqrt(x: Array, /) -> Array:
    """Square root of each element; the derivative at 0 is infinite, as IEEE arithmetic gives."""


@elementwise(
    np.absolute,
    vjp=lambda xp, g, out, x: g * xp.sign(x),
    margin=np.abs,
    analytic=False,
    symbol="|x|",
)
def abs(x: Array, /) -> Array:
    """Absolute value of each element; the derivative at 0 is 0."""


@elementwise(np.sign, vjp=flat, margin=np.abs, analytic=False)
def sign(x: Array, /) -> Array:
    """-1, 0 or 1 for each element; the gradient is zero."""


# exponentials and logarithms ---------------------------------------------------------------------


@elementwise(np.exp, vjp=lambda xp, g, out, x: g * out)
def exp(x: Array, /) -> Array:
    """Exponential of each element."""


@elementwise(np.expm1, vjp=lambda xp, g, out, x: g * xp.exp(x))
def expm1(x: Array, /) -> Array:
    """``exp(x) - 1``, accurate near 0."""


@elementwise(np.log, vjp=lambda xp, g, out, x: g / x, domain=POSITIVE, margin=np.abs)
def log(x: Array, /) -> Array:
    """Natural logarithm of each element."""


@elementwise(
    np.log1p,
    vjp=lambda xp, g, out, x: g / (1 + x),
    domain=(-0.8, 2.0),
    margin=lambda x: np.abs(x + 1),
)
def log1p(x: Array, /) -> Array:
    """``log(1 + x)``, accurate near 0."""


@elementwise(
    np.log2, vjp=lambda xp, g, out, x: g / (x * _log_of(xp, 2, x)), domain=POSITIVE, margin=np.abs
)
def log2(x: Array, /) -> Array:
    """Logarithm to base 2 of each element."""


@elementwise(
    np.log10, vjp=lambda xp, g, out, x: g / (x * _log_of(xp, 10, x)), domain=POSITIVE, margin=np.abs
)
def log10(x: Array, /) -> Array:
    """Logarithm to base 10 of each element."""


def _share_of_exp(xp: Any, g: Array, x: Array, y: Array) -> Array:
    """``g * exp(x) / (exp(x) + exp(y))``: nothing overflows, at any order, also at infinities."""
    gap = xp.where((x == y) & xp.isinf(x), 0.0, y - x)
    low = gap <= 0
    small = xp.exp(xp.where(low, gap, -gap))
    return g * (xp.where(low, 1.0, small) / (1 + small))


@elementwise(
    np.logaddexp,
    vjp=(
        lambda xp, g, out, x, y: _share_of_exp(xp, g, x, y),
        lambda xp, g, out, x, y: _share_of_exp(xp, g, y, x),
    ),
    analytic=False,
)
def logaddexp(x: Array, y: Array, /) -> Array:
    """``log(exp(x) + exp(y))`` without overflow; two equal infinities share the gradient."""


# trigonometry ------------------------------------------------------------------------------------


@elementwise(np.sin, vjp=lambda xp, g, out, x: g * xp.cos(x))
def sin(x: Array, /) -> Array:
    """Sine of each element, in radians."""


@elementwise(np.cos, vjp=lambda xp, g, out, x: -(g * xp.sin(x)))
def cos(x: Array, /) -> Array:
    """Cosine of each element, in radians."""


@elementwise(
    np.tan,
    vjp=lambda xp, g, out, x: g * (1 + out * out),
    domain=(-1.2, 1.2),
    margin=lambda x: np.abs(np.cos(x)),
)
def tan(x: Array, /) -> Array:
    """Tangent of each element, in radians."""


@elementwise(
    np.asin,
    vjp=lambda xp, g, out, x: g / xp.sqrt((1 - x) * (1 + x)),
    domain=(-0.9, 0.9),
    margin=lambda x: 1 - np.abs(x),
)
def asin(x: Array, /) -> Array:
    """Inverse sine of each element, in radians."""


@elementwise(
    np.acos,
    vjp=lambda xp, g, out, x: -(g / xp.sqrt((1 - x) * (1 + x))),
    domain=(-0.9, 0.9),
    margin=lambda x: 1 - np.abs(x),
)
def acos(x: Array, /) -> Array:
    """Inverse cosine of each element, in radians."""


@elementwise(np.atan, vjp=lambda xp, g, out, x: g / (1 + x * x))
def atan(x: Array, /) -> Array:
    """Inverse tangent of each element, in radians."""


def _turn(xp: Any, g: Array, along: Array, across: Array) -> Array:
    """``g * along / (along**2 + across**2)`` where the squares would leave the range."""
    radius = xp.hypot(along, across)
    return g * (along / radius / radius)


@elementwise(
    np.atan2,
    vjp=(
        lambda xp, g, out, y, x: _turn(xp, g, x, y),
        lambda xp, g, out, y, x: -_turn(xp, g, y, x),
    ),
    domain=((-2.0, 2.0), POSITIVE),
    margin=lambda y, x: np.where(x > 0, np.hypot(x, y), np.abs(y)),
    analytic=False,
)
def atan2(y: Array, x: Array, /) -> Array:
    """Angle of each point ``(x, y)``, in radians in [-pi, pi]."""


@elementwise(np.sinh, vjp=lambda xp, g, out, x: g * xp.cosh(x))
def sinh(x: Array, /) -> Array:
    """Hyperbolic sine of each element."""


@elementwise(np.cosh, vjp=lambda xp, g, out, x: g * xp.sinh(x))
def cosh(x: Array, /) -> Array:
    """Hyperbolic cosine of each element."""


@elementwise(np.tanh, vjp=lambda xp, g, out, x: g * (1 - out * out))
def tanh(x: Array, /) -> Array:
    """Hyperbolic tangent of each element."""


@elementwise(np.asinh, vjp=lambda xp, g, out, x: g / xp.hypot(1.0, x))
def asinh(x: Array, /) -> Array:
    """Inverse hyperbolic sine of each element."""


@elementwise(
    np.acosh,
    vjp=lambda xp, g, out, x: g / (xp.sqrt(x - 1) * xp.sqrt(x + 1)),
    domain=(1.1, 3.0),
    margin=lambda x: np.abs(x - 1),
)
def acosh(x: Array, /) -> Array:
    """Inverse hyperbolic cosine of each element."""


@elementwise(
    np.atanh,
    vjp=lambda xp, g, out, x: g / ((1 - x) * (1 + x)),
    domain=(-0.9, 0.9),
    margin=lambda x: 1 - np.abs(x),
)
def atanh(x: Array, /) -> Array:
    """Inverse hyperbolic tangent of each element."""


def _hypot_part(xp: Any, g: Array, out: Array, x: Array, y: Array) -> Array:
    """``g * x / out``; at infinity the direction counts, on the diagonal where both are there."""
    far = xp.isinf(out)
    side = xp.where(xp.isinf(y), 0.5**0.5 * xp.sign(x), xp.sign(x))
    along = xp.where(far, xp.where(xp.isinf(x), side, 0.0), x)
    return g * (along / xp.where(far | (out == 0), 1.0, out))


@elementwise(
    np.hypot,
    vjp=(
        _hypot_part,
        lambda xp, g, out, x, y: _hypot_part(xp, g, out, y, x),
    ),
    margin=np.hypot,
    analytic=False,
)
def hypot(x: Array, y: Array, /) -> Array:
    """``sqrt(x**2 + y**2)`` of each pair without overflow; the gradient at the origin is 0."""


# order -------------------------------------------------------------------------------------------


def _winner(xp: Any, g: Array, wins: Array, tie: Array) -> Array:
    """All of ``g`` where an operand wins, half of it where the two tie."""
    return xp.where(wins, g, xp.where(tie, 0.5 * g, 0.0))


@elementwise(
    np.maximum,
    vjp=(
        lambda xp, g, out, x, y: _winner(xp, g, x > y, x == y),
        lambda xp, g, out, x, y: _winner(xp, g, y > x, x == y),
    ),
    margin=_gap,
    analytic=False,
)
def maximum(x: Array, y: Array, /) -> Array:
    """Larger element of each pair; ties share the gradient equally."""


@elementwise(
    np.minimum,
    vjp=(
        lambda xp, g, out, x, y: _winner(xp, g, x < y, x == y),
        lambda xp, g, out, x, y: _winner(xp, g, y < x, x == y),
    ),
    margin=_gap,
    analytic=False,
)
def minimum(x: Array, y: Array, /) -> Array:
    """Smaller element of each pair; ties share the gradient equally."""


def _inside(xp: Any, g: Array, out: Array, x: Array, lo: Array, hi: Array) -> Array:
    above = True if lo is None else x > lo
    below = True if hi is None else x < hi
    return g if above is below is True else xp.where(above & below, g, 0.0)


def _below(xp: Any, g: Array, out: Array, x: Array, lo: Array, hi: Array) -> Array:
    return xp.where((x <= lo) if hi is None else (x <= lo) & (lo < hi), g, 0.0)


def _above(xp: Any, g: Array, out: Array, x: Array, lo: Array, hi: Array) -> Array:
    """Where the bounds cross, the upper one is what NumPy returns."""
    return xp.where((x >= hi) if lo is None else (x >= hi) | (lo >= hi), g, 0.0)


def _clip_margin(x: Array, lo: Array, hi: Array) -> Array:
    gaps = [np.abs(x - bound) for bound in (lo, hi) if bound is not None]
    return np.stack(np.broadcast_arrays(*gaps)) if gaps else np.inf


@elementwise(
    np.clip,
    vjp=(_inside, _below, _above),
    cases=[
        (((3, 4), (4,), (3, 1)), {}),
        ((np.array([[-1.5], [0.125], [1.75]]), (1, 4), ()), {}),
        ((np.array([-0.5, 0.25, 1.5]), np.array([1.0, 1.0, 1.0]), np.array([0.5, 0.0, 0.5])), {}),
        (((5,), -0.5, 0.7), {}),
        (((5,), None, 0.7), {}),
        (((5,), 0.2, None), {}),
        (((5,), None, None), {}),
    ],
    domain=((-2.0, 2.0), (-1.0, -0.5), (0.5, 1.0)),
    margin=_clip_margin,
    analytic=False,
)
def clip(x: Array, /, min: Array = None, max: Array = None) -> Array:
    """Limit each element to ``[min, max]``; None is no bound. At a bound the gradient of x is 0.

    >>> clip([-1.0, 0.5, 2.0], 0.0, 1.0)
    Tensor([0. , 0.5, 1. ])
    """


@elementwise(
    np.where,
    vjp=(
        None,
        lambda xp, g, out, condition, x, y: xp.where(condition, g, 0.0),
        lambda xp, g, out, condition, x, y: xp.where(condition, 0.0, g),
    ),
    cases=[
        ((np.array([[True, False, True], [False, False, True]]), (2, 3), (3,)), {}),
        ((np.array([[True, False, True], [False, False, True]]), (2, 1), ()), {}),
        ((np.array([True, False]), (2, 1), 0.5), {}),
    ],
)
def where(condition: Array, x: Array, y: Array, /) -> Array:
    """``x`` where the condition holds, else ``y``, elementwise."""


@elementwise(
    np.copysign,
    vjp=(
        lambda xp, g, out, x, y: g * xp.sign(x) * xp.copysign(xp.ones_like(x), y),
        flat,
    ),
    margin=lambda x, y: np.stack(np.broadcast_arrays(np.abs(x), np.abs(y))),
    analytic=False,
)
def copysign(x: Array, y: Array, /) -> Array:
    """Magnitude of ``x`` with the sign of ``y``."""


@elementwise(np.nextafter, vjp=(lambda xp, g, out, x, y: g, flat), analytic=False)
def nextafter(x: Array, y: Array, /) -> Array:
    """Next floating-point number after ``x`` towards ``y``."""


# rounding ----------------------------------------------------------------------------------------


@elementwise(np.ceil, vjp=flat, margin=_to_integer, analytic=False)
def ceil(x: Array, /) -> Array:
    """Each element rounded up; the gradient is zero."""


@elementwise(np.floor, vjp=flat, margin=_to_integer, analytic=False)
def floor(x: Array, /) -> Array:
    """Each element rounded down; the gradient is zero."""


@elementwise(np.trunc, vjp=flat, margin=_to_integer, analytic=False)
def trunc(x: Array, /) -> Array:
    """Each element rounded towards zero; the gradient is zero."""


@elementwise(np.round, vjp=flat, margin=lambda x: 0.5 - _to_integer(x), analytic=False)
def round(x: Array, /) -> Array:
    """Each element rounded to the nearest integer, halves to even; the gradient is zero."""


# complex parts -----------------------------------------------------------------------------------


@elementwise(np.real, vjp=lambda xp, g, out, x: g, analytic=False)
def real(x: Array, /) -> Array:
    """Real part of each element."""


@elementwise(np.imag, vjp=flat, analytic=False)
def imag(x: Array, /) -> Array:
    """Imaginary part of each element."""


@elementwise(np.conj, vjp=lambda xp, g, out, x: g, analytic=False)
def conj(x: Array, /) -> Array:
    """Complex conjugate of each element."""


# comparisons, logic, bits: no gradients ----------------------------------------------------------


@elementwise(np.equal, vjp=None)
def equal(x: Array, y: Array, /) -> Array:
    """Whether the elements of each pair are equal."""


@elementwise(np.not_equal, vjp=None)
def not_equal(x: Array, y: Array, /) -> Array:
    """Whether the elements of each pair differ."""


@elementwise(np.less, vjp=None)
def less(x: Array, y: Array, /) -> Array:
    """Whether ``x < y`` for each pair."""


@elementwise(np.less_equal, vjp=None)
def less_equal(x: Array, y: Array, /) -> Array:
    """Whether ``x <= y`` for each pair."""


@elementwise(np.greater, vjp=None)
def greater(x: Array, y: Array, /) -> Array:
    """Whether ``x > y`` for each pair."""


@elementwise(np.greater_equal, vjp=None)
def greater_equal(x: Array, y: Array, /) -> Array:
    """Whether ``x >= y`` for each pair."""


@elementwise(np.isfinite, vjp=None)
def isfinite(x: Array, /) -> Array:
    """Whether each element is finite."""


@elementwise(np.isinf, vjp=None)
def isinf(x: Array, /) -> Array:
    """Whether each element is infinite."""


@elementwise(np.isnan, vjp=None)
def isnan(x: Array, /) -> Array:
    """Whether each element is NaN."""


@elementwise(np.signbit, vjp=None)
def signbit(x: Array, /) -> Array:
    """Whether the sign bit of each element is set."""


@elementwise(np.logical_and, vjp=None, cases=TRUTHS)
def logical_and(x: Array, y: Array, /) -> Array:
    """Whether both elements of each pair are true."""


@elementwise(np.logical_or, vjp=None, cases=TRUTHS)
def logical_or(x: Array, y: Array, /) -> Array:
    """Whether either element of each pair is true."""


@elementwise(np.logical_xor, vjp=None, cases=TRUTHS)
def logical_xor(x: Array, y: Array, /) -> Array:
    """Whether exactly one element of each pair is true."""


@elementwise(np.logical_not, vjp=None, cases=[((np.array([True, False]),), {})])
def logical_not(x: Array, /) -> Array:
    """Whether each element is false."""


@elementwise(np.bitwise_and, vjp=None, cases=BITS)
def bitwise_and(x: Array, y: Array, /) -> Array:
    """Bitwise and of each pair of integers or booleans."""


@elementwise(np.bitwise_or, vjp=None, cases=BITS)
def bitwise_or(x: Array, y: Array, /) -> Array:
    """Bitwise or of each pair of integers or booleans."""


@elementwise(np.bitwise_xor, vjp=None, cases=BITS)
def bitwise_xor(x: Array, y: Array, /) -> Array:
    """Bitwise exclusive or of each pair of integers or booleans."""


@elementwise(np.bitwise_left_shift, vjp=None, cases=BITS)
def bitwise_left_shift(x: Array, y: Array, /) -> Array:
    """Bits of ``x`` shifted left by ``y``."""


@elementwise(np.bitwise_right_shift, vjp=None, cases=BITS)
def bitwise_right_shift(x: Array, y: Array, /) -> Array:
    """Bits of ``x`` shifted right by ``y``."""


@elementwise(np.bitwise_invert, vjp=None, cases=[((np.array([5, -3]),), {})])
def bitwise_invert(x: Array, /) -> Array:
    """Each bit inverted."""


# ends and borders of the graph -------------------------------------------------------------------


@elementwise(vjp=None)
def stop_gradient(x: Array, /) -> Array:
    """Return the value of ``x``; no gradient passes. A trace shows where.

    >>> import tinygrad_bn as tg
    >>> tg.grad(lambda x: x * tg.stop_gradient(x))(3.0)
    Tensor(3.)
    """
    return x
