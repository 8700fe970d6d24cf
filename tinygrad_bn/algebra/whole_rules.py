"""The laws of whole arrays: one rule, one or two lines each, with how much of a value it keeps.

A rule says: what matches the pattern becomes the replacement, where that has the same shape and
dtype and the conditions hold. Letters stand for any term, ``n`` and ``m`` for Python numbers, the
values of keywords for parameters (``**k``: all of them). Commutative operations match in either
order. Every rule lowers the cost: operations, then elements computed, then operands.

Bitwise rules keep every bit of every value, NaN, infinities and signed zeros included (of a NaN
only that it is one). So ``x + 0`` is no bitwise rule (-0 + 0 is 0), nor is a negation taken out
of a sum (1 - 1 is 0 either way, its negation -0). No rule turns ``0 * x`` into 0, which is NaN
where ``x`` is infinite, and none makes a variance a difference of sums of squares.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_bn.algebra.axes import order, summed
from tinygrad_bn.algebra.patterns import Binding, Condition
from tinygrad_bn.algebra.rules import Exactness, Rule


def bitwise(name: str, left: str, right: str, *when: Condition) -> Rule:
    """Make a rule that keeps every bit."""
    return Rule(name, left, right, when, Exactness.BITWISE)


def rounding(name: str, left: str, right: str, *when: Condition) -> Rule:
    """Make a rule of floating-point numbers of one dtype that rounds more, less or otherwise."""
    when = (FLOATS, *when)
    return Rule(name, left, right, when, Exactness.ROUNDING)


# conditions --------------------------------------------------------------------------------------


def _whole(text: str, test: Callable[[Any, Binding], bool]) -> Condition:
    """Make a condition on the whole match."""
    return Condition("whole", text, test)


def _of_one_dtype(whole: Any, found: Binding) -> bool:
    return all(part.dtype == whole.dtype for part in found["parts"])


def _used_once(whole: Any, found: Binding) -> bool:
    """Whether all parts but the whole are gone when it is: the rule makes as many anew."""
    return all(part.uses <= 1 for part in found["parts"] if part is not whole)


def _is_larger(one: Any, *others: Any) -> bool:
    """Whether an operand has more elements than what others, not all numbers, broadcast to."""
    together = math.prod(np.broadcast_shapes(*(t.shape for t in others)))
    return one.size > together and not all(t.is_number for t in others)


FLOATS = _whole(
    "is of one floating-point dtype", lambda w, b: w.dtype.kind == "f" and _of_one_dtype(w, b)
)
ONE_DTYPE = _whole("is of one dtype", _of_one_dtype)
SIGNED = _whole("is of signed numbers", lambda w, b: w.dtype.kind in "fi")
INTEGERS = _whole("is of integers", lambda w, b: w.dtype.kind in "iu")
ONCE = _whole("uses what it goes into once", _used_once)
FEWER = Condition("y", "makes the larger array", lambda y, b: _is_larger(y, b["p"], b["q"]))


def ungraded(letter: str) -> Condition:
    """Require a term to which no gradient passes."""
    return Condition(letter, "gets no gradient", lambda x, b: not x.flows)


def larger(letter: str) -> Condition:
    """Require that the whole has more elements than an operand."""
    return Condition(letter, "is smaller than the whole", lambda x, b: x.size < b["whole"].size)


def smaller(letter: str) -> Condition:
    """Require that the whole has fewer elements than an operand."""
    return Condition(letter, "is larger than the whole", lambda x, b: x.size > b["whole"].size)


def smaller_than(letter: str, other: str) -> Condition:
    """Require an array that has fewer elements than another one."""
    return Condition(
        letter, f"is an array smaller than {other}", lambda p, b: _is_less(p, b[other])
    )


def _is_less(one: Any, other: Any) -> bool:
    return not one.is_number and one.size < other.size


def steady(letter: str, other: str) -> Condition:
    """Require a factor that is the same all along the summed axes, which the other one has."""
    return Condition(letter, "is constant where it is summed", lambda p, b: _steady(p, b[other], b))


def _steady(factor: Any, other: Any, found: Binding) -> bool:
    product = found["parts"][1]
    axes = summed(product.value.ndim, found["k"]["axis"])
    shape = (1,) * (product.value.ndim - len(factor.shape)) + factor.shape
    return other.shape == product.shape and all(shape[a] == 1 for a in axes)


LEADING = Condition(
    "x",
    "is only given leading axes",
    lambda x, b: b["parts"][1].shape == (1,) * (b["parts"][1].value.ndim - len(x.shape)) + x.shape,
)


def _repeated(x: Any, found: Binding) -> bool:
    spread = found["parts"][1]
    axes = summed(spread.value.ndim, found["k"]["axis"])
    shape = (1,) * (spread.value.ndim - len(x.shape)) + x.shape
    return all(shape[a] == 1 for a in axes)


REPEATED = Condition("x", "is repeated along what is summed", _repeated)


def _widens(whole: Any, found: Binding) -> bool:
    """Whether the inner conversion loses nothing and goes to the same kind."""
    x, inner = found["x"].dtype, found["parts"][1].dtype
    return bool(x.kind == inner.kind and inner.itemsize >= x.itemsize)


WIDENS = _whole("goes through a wider dtype of the same kind", _widens)


def _are_moderate(whole: Any, found: Binding) -> bool:
    limit = float(np.finfo(whole.dtype).max) ** 0.25
    return all(1 / limit <= abs(found[x].value) <= limit for x in "nm")


MODERATE = _whole("has numbers far from the ends of the range", _are_moderate)


# helpers of replacements -------------------------------------------------------------------------


def minus(n: Any) -> Any:
    """Return the opposite of a number; of zero the other zero."""
    return -n.value if n.value else -float(n.value)


def times(n: Any, m: Any) -> Any:
    """Return the product of two numbers."""
    return float(n.value) * float(m.value)


def over(n: Any, m: Any) -> Any:
    """Return the quotient of two numbers."""
    return float(n.value) / float(m.value)


def total(n: Any, m: Any) -> Any:
    """Return the sum of two numbers."""
    return float(n.value) + float(m.value)


def difference(n: Any, m: Any) -> Any:
    """Return the difference of two numbers."""
    return float(n.value) - float(m.value)


def shape_of(term: Any) -> tuple[int, ...]:
    """Return the shape of a term."""
    shape: tuple[int, ...] = term.shape
    return shape


def order_of(term: Any) -> tuple[int, ...]:
    """Return which axis of its operand each axis of a permuted term is."""
    return order(term.op.name, term.params, term.value.ndim)


def in_order(axes: tuple[int, ...]) -> bool:
    """Whether axes keep their order."""
    return axes == tuple(range(len(axes)))


def composed(whole: Any) -> tuple[int, ...]:
    """Return the order of axes of two permutations, one after the other."""
    inner = order_of(whole.args[0])
    return tuple(inner[a] for a in order_of(whole))


def both_axes(whole: Any) -> tuple[int, ...]:
    """Return the axes of a sum of a sum, as those of the innermost operand."""
    inner = whole.args[0]
    first = summed(inner.args[0].value.ndim, inner.params["axis"])
    kept = [a for a in range(inner.args[0].value.ndim) if a not in first]
    places = range(inner.value.ndim) if inner.params["keepdims"] else kept
    second = [list(places)[a] for a in summed(inner.value.ndim, whole.params["axis"])]
    return tuple(sorted({*first, *second}))


def count(whole: Any) -> float:
    """Return how many elements are added for each one of a sum."""
    return float(whole.args[0].size // whole.size) if whole.size else 0.0


IN_ORDER = _whole("is in the first order", lambda w, b: in_order(composed(w)))

HELPERS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (minus, times, over, total, difference, shape_of, composed, both_axes, count)
}
"""What a replacement may call besides operations."""


# the table ---------------------------------------------------------------------------------------

ROUNDERS = ("floor", "ceil", "trunc", "round")
SHAPERS = ("reshape", "expand_dims", "squeeze")
PERMUTERS = ("permute_dims", "matrix_transpose", "moveaxis")
EXACT_FUNCTIONS = ("negative", "abs", "square", "sqrt")
INEXACT_FUNCTIONS = ("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "reciprocal")
PAIRS = (
    *("add", "subtract", "multiply", "divide", "maximum", "minimum", "pow"),
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
)
COMMUTING = ("add", "multiply", "equal", "not_equal")


def _spread_operands() -> list[Rule]:
    """Make the rules for a broadcast that the next operation does anyway."""
    made = []
    for op in PAIRS:
        sides = [("{}, y", "x, y")] + [("y, {}", "y, x")] * (op not in COMMUTING)
        for left, right in sides:
            for inner, when in (("broadcast_to", ()), ("reshape", (LEADING,))):
                pattern = left.format(f"{inner}(x)")
                name = f"{inner} that {op} does anyway ({left.format('x')})"
                made.append(bitwise(name, f"{op}({pattern})", f"{op}({right})", *when))
    for i in range(3):
        letters = ["c", "x", "y"]
        right = ", ".join(letters)
        wanted = letters[i]
        letters[i] = f"broadcast_to({wanted})"
        name = f"broadcast_to that where does anyway ({wanted})"
        made.append(bitwise(name, f"where({', '.join(letters)})", f"where({right})"))
    return made


def _functions_of_spread() -> list[Rule]:
    """Make the rules that compute first and repeat then."""
    made = []
    for names, kind in ((EXACT_FUNCTIONS, bitwise), (INEXACT_FUNCTIONS, rounding)):
        for op in names:
            left, right = f"{op}(broadcast_to(x))", f"broadcast_to({op}(x), shape=shape_of(whole))"
            made.append(kind(f"{op} before repeating", left, right, ONCE, larger("x")))
    for op in ("add", "subtract", "multiply", "divide"):
        for left, right in (("broadcast_to(x), n", "x, n"), ("n, broadcast_to(x)", "n, x")):
            if (op, left[0]) not in {("add", "n"), ("multiply", "n")}:
                after = f"broadcast_to({op}({right}), shape=shape_of(whole))"
                name = f"{op} before repeating ({right})"
                made.append(bitwise(name, f"{op}({left})", after, ONCE, larger("x")))
    return made


RULES: tuple[Rule, ...] = (
    # nothing done
    bitwise("positive", "positive(x)", "x"),
    bitwise("real part of real", "real(x)", "x"),
    bitwise("conjugate of real", "conj(x)", "x"),
    bitwise("times one", "multiply(x, 1)", "x"),
    bitwise("over one", "divide(x, 1)", "x"),
    bitwise("minus zero", "subtract(x, 0)", "x"),
    bitwise("plus negative zero", "add(x, -0.0)", "x"),
    bitwise("integer plus zero", "add(x, 0)", "x", INTEGERS),
    bitwise("conversion to its own dtype", "astype(x)", "x"),
    bitwise("broadcast to its own shape", "broadcast_to(x)", "x"),
    bitwise("order of its own axes", "permute_dims(x)", "x",
            _whole("keeps the order", lambda w, b: in_order(order_of(w)))),
    bitwise("clip without bounds", "clip(x, None, None)", "x"),
    bitwise("stopped twice", "stop_gradient(stop_gradient(x))", "stop_gradient(x)"),
    bitwise("stopped without need", "stop_gradient(x)", "x", ungraded("x")),
    # signs
    bitwise("double negative", "negative(negative(x))", "x"),
    bitwise("minus a negative", "subtract(a, negative(b))", "add(a, b)", ONE_DTYPE),
    bitwise("plus a negative", "add(a, negative(b))", "subtract(a, b)", ONE_DTYPE),
    bitwise("product of negatives", "multiply(negative(a), negative(b))", "multiply(a, b)",
            ONE_DTYPE),
    bitwise("quotient of negatives", "divide(negative(a), negative(b))", "divide(a, b)", FLOATS),
    bitwise("times minus one", "multiply(x, -1)", "negative(x)"),
    bitwise("over minus one", "divide(x, -1)", "negative(x)"),
    bitwise("negative times a number", "multiply(negative(x), n)", "multiply(x, minus(n))", FLOATS),
    bitwise("negative over a number", "divide(negative(x), n)", "divide(x, minus(n))", FLOATS),
    bitwise("number over a negative", "divide(n, negative(x))", "divide(minus(n), x)", FLOATS),
    bitwise("negative of a multiple", "negative(multiply(x, n))", "multiply(x, minus(n))", FLOATS),
    bitwise("negative of a fraction", "negative(divide(x, n))", "divide(x, minus(n))", FLOATS),
    bitwise("negative of a ratio", "negative(divide(n, x))", "divide(minus(n), x)", FLOATS),
    bitwise("negative product of a negative", "negative(multiply(negative(a), b))",
            "multiply(a, b)", FLOATS),
    bitwise("negative quotient of a negative", "negative(divide(negative(a), b))",
            "divide(a, b)", FLOATS),
    bitwise("negative quotient by a negative", "negative(divide(a, negative(b)))",
            "divide(a, b)", FLOATS),
    bitwise("minus a negative product", "subtract(x, multiply(negative(a), b))",
            "add(x, multiply(a, b))", FLOATS, ONCE),
    bitwise("plus a negative product", "add(x, multiply(negative(a), b))",
            "subtract(x, multiply(a, b))", FLOATS, ONCE),
    bitwise("minus a negative quotient", "subtract(x, divide(negative(a), b))",
            "add(x, divide(a, b))", FLOATS, ONCE),
    bitwise("plus a negative quotient", "add(x, divide(negative(a), b))",
            "subtract(x, divide(a, b))", FLOATS, ONCE),
    bitwise("negative ratio over a number", "divide(divide(negative(x), y), n)",
            "divide(divide(x, y), minus(n))", FLOATS, ONCE),
    bitwise("negative ratio times a number", "multiply(divide(negative(x), y), n)",
            "multiply(divide(x, y), minus(n))", FLOATS, ONCE),
    bitwise("negative product over a number", "divide(multiply(negative(x), y), n)",
            "divide(multiply(x, y), minus(n))", FLOATS, ONCE),
    bitwise("negative product times a number", "multiply(multiply(negative(x), y), n)",
            "multiply(multiply(x, y), minus(n))", FLOATS, ONCE),
    bitwise("magnitude of a negative", "abs(negative(x))", "abs(x)", SIGNED),
    bitwise("magnitude of a magnitude", "abs(abs(x))", "abs(x)"),
    bitwise("magnitude of a square", "abs(square(x))", "square(x)", FLOATS),
    bitwise("magnitude of an exponential", "abs(exp(x))", "exp(x)"),
    bitwise("square of a negative", "square(negative(x))", "square(x)"),
    bitwise("square of a magnitude", "square(abs(x))", "square(x)"),
    bitwise("square", "multiply(x, x)", "square(x)"),
    bitwise("twice", "add(x, x)", "multiply(x, 2)"),
    bitwise("one over", "divide(1, x)", "reciprocal(x)"),
    bitwise("sign of a sign", "sign(sign(x))", "sign(x)"),
    # choices
    bitwise("equal cases", "where(c, x, x)", "x"),
    bitwise("other case", "where(logical_not(c), x, y)", "where(c, y, x)"),
    bitwise("case within a case", "where(c, where(c, x, y), z)", "where(c, x, z)", ONE_DTYPE),
    bitwise("case beside a case", "where(c, x, where(c, y, z))", "where(c, x, z)", ONE_DTYPE),
    bitwise("larger of the same", "maximum(x, x)", "x"),
    bitwise("smaller of the same", "minimum(x, x)", "x"),
    # truth
    bitwise("twice not", "logical_not(logical_not(x))", "x"),
    bitwise("not equal", "logical_not(equal(a, b))", "not_equal(a, b)"),
    bitwise("not different", "logical_not(not_equal(a, b))", "equal(a, b)"),
    bitwise("inverted twice", "bitwise_invert(bitwise_invert(x))", "x"),
    bitwise("both the same", "bitwise_and(x, x)", "x"),
    bitwise("either the same", "bitwise_or(x, x)", "x"),
    bitwise("true and the same", "logical_and(x, x)", "x"),
    bitwise("true or the same", "logical_or(x, x)", "x"),
    # rounding to integers
    *(bitwise(f"{r} of {s}", f"{r}({s}(x))", f"{s}(x)")
      for r, s in itertools.product(ROUNDERS, ROUNDERS)),
    # dtypes and shapes
    bitwise("conversion through a wider dtype", "astype(astype(x), **k)", "astype(x, **k)", WIDENS),
    bitwise("broadcast twice", "broadcast_to(broadcast_to(x), **k)", "broadcast_to(x, **k)"),
    bitwise("broadcast with leading axes", "broadcast_to(reshape(x), **k)",
            "broadcast_to(x, **k)", LEADING),
    bitwise("broadcast with inserted leading axes", "broadcast_to(expand_dims(x), **k)",
            "broadcast_to(x, **k)", LEADING),
    *(bitwise(f"{s} to its own shape", f"{s}(x)", "x") for s in SHAPERS),
    *(bitwise(f"{s} back from {t}", f"{s}({t}(x))", "x")
      for s, t in itertools.product(SHAPERS, SHAPERS)),
    *(bitwise(f"{s} of {t}", f"{s}({t}(x))", "reshape(x, shape=shape_of(whole))")
      for s, t in itertools.product(SHAPERS, SHAPERS)),
    bitwise("transposed twice", "matrix_transpose(matrix_transpose(x))", "x"),
    *(bitwise(f"{s} back from {t}", f"{s}({t}(x))", "x", IN_ORDER)
      for s, t in itertools.product(PERMUTERS, PERMUTERS)
      if {s, t} != {"matrix_transpose"}),
    *(bitwise(f"{s} of {t}", f"{s}({t}(x))", "permute_dims(x, axes=composed(whole))")
      for s, t in itertools.product(PERMUTERS, PERMUTERS)),
    bitwise("reversed twice", "flip(flip(x, **k), **k)", "x"),
    *_spread_operands(),
    *_functions_of_spread(),
    # roundings
    rounding("plus zero", "add(x, 0)", "x"),
    rounding("zero minus", "subtract(0, x)", "negative(x)"),
    rounding("minus negative zero", "subtract(x, -0.0)", "x"),
    rounding("negative difference", "negative(subtract(a, b))", "subtract(b, a)"),
    rounding("sum of negatives", "add(negative(a), negative(b))", "negative(add(a, b))", ONCE),
    rounding("number times a number", "multiply(multiply(x, n), m)", "multiply(x, times(n, m))",
             MODERATE),
    rounding("number over a number", "divide(divide(x, n), m)", "divide(x, times(n, m))",
             MODERATE),
    rounding("multiple of a fraction", "multiply(divide(x, n), m)", "multiply(x, over(m, n))",
             MODERATE),
    rounding("fraction of a multiple", "divide(multiply(x, n), m)", "multiply(x, over(n, m))",
             MODERATE),
    rounding("ratio to a multiple over a number", "divide(divide(x, multiply(y, n)), m)",
             "divide(x, multiply(y, times(n, m)))", ONCE, MODERATE),
    rounding("ratio to a multiple times a number", "multiply(divide(x, multiply(y, n)), m)",
             "divide(x, multiply(y, over(n, m)))", ONCE, MODERATE),
    rounding("number plus a number", "add(add(x, n), m)", "add(x, total(n, m))"),
    rounding("number minus a number", "subtract(add(x, n), m)", "add(x, difference(n, m))"),
    rounding("difference minus a number", "subtract(subtract(x, n), m)",
             "subtract(x, total(n, m))"),
    rounding("difference plus a number", "add(subtract(x, n), m)", "add(x, difference(m, n))"),
    rounding("times a reciprocal", "multiply(x, reciprocal(y))", "divide(x, y)"),
    rounding("over a reciprocal", "divide(x, reciprocal(y))", "multiply(x, y)"),
    rounding("twice reciprocal", "reciprocal(reciprocal(x))", "x"),
    rounding("reciprocal of a quotient", "reciprocal(divide(a, b))", "divide(b, a)"),
    rounding("power one", "pow(x, 1)", "x"),
    rounding("power two", "pow(x, 2)", "square(x)"),
    rounding("power minus one", "pow(x, -1)", "reciprocal(x)"),
    rounding("logarithm near one", "log(add(x, 1))", "log1p(x)"),
    rounding("exponential near zero", "subtract(exp(x), 1)", "expm1(x)"),
    rounding("cosine of a negative", "cos(negative(x))", "cos(x)"),
    rounding("hyperbolic cosine of a negative", "cosh(negative(x))", "cosh(x)"),
    # small arrays first
    rounding("small factors first", "multiply(multiply(p, y), q)", "multiply(multiply(p, q), y)",
             ONCE, FEWER),
    rounding("number to the smaller factor", "multiply(p, multiply(y, n))",
             "multiply(multiply(p, n), y)", ONCE, smaller_than("p", "y")),
    rounding("divisor to the smaller factor", "multiply(p, divide(y, n))",
             "multiply(divide(p, n), y)", ONCE, smaller_than("p", "y")),
    rounding("small terms first", "add(add(p, y), q)", "add(add(p, q), y)", ONCE, FEWER),
    rounding("small divisors first", "divide(divide(y, p), q)", "divide(y, multiply(p, q))",
             ONCE, FEWER),
    rounding("small quotient first", "multiply(divide(y, p), q)", "multiply(y, divide(q, p))",
             ONCE, FEWER),
    rounding("small fraction first", "divide(multiply(p, y), q)", "multiply(divide(p, q), y)",
             ONCE, FEWER),
    # sums
    rounding("negative out of a sum", "sum(negative(x), **k)", "negative(sum(x, **k))",
             ONCE, smaller("x")),
    rounding("negative sum of negatives", "negative(sum(negative(x), **k))", "sum(x, **k)"),
    rounding("factor out of a sum", "sum(multiply(p, x), **k)", "multiply(p, sum(x, **k))",
             ONCE, steady("p", "x"), smaller("x")),
    rounding("divisor out of a sum", "sum(divide(x, p), **k)", "divide(sum(x, **k), p)",
             ONCE, steady("p", "x"), smaller("x")),
    rounding("sum of repeated", "sum(broadcast_to(x), **k)", "multiply(x, count(whole))", REPEATED),
    rounding("sum of a sum", "sum(sum(x, axis=a), axis=b, keepdims=k)",
             "sum(x, axis=both_axes(whole), keepdims=k)"),
    rounding("sum of one", "sum(x, **k)", "reshape(x, shape=shape_of(whole))"),
    # matrices
    rounding("product of transposes",
             "matrix_transpose(matmul(matrix_transpose(a), matrix_transpose(b)))", "matmul(b, a)"),
    rounding("product with a negative", "matmul(negative(x), y)", "negative(matmul(x, y))",
             ONCE, smaller("x")),
    rounding("product by a negative", "matmul(y, negative(x))", "negative(matmul(y, x))",
             ONCE, smaller("x")),
    rounding("product with a multiple", "matmul(multiply(x, n), y)", "multiply(matmul(x, y), n)",
             ONCE, smaller("x")),
    rounding("product by a multiple", "matmul(y, multiply(x, n))", "multiply(matmul(y, x), n)",
             ONCE, smaller("x")),
)  # fmt: skip
"""Every law, the shortest results first among those of one pattern."""
