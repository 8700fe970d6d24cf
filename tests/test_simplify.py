"""Simplifying recorded graphs on whole arrays: bits, roundings, gradients, length, sharing."""

import ast
import itertools
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_bn as tg
from tinygrad_bn.algebra.patterns import parse
from tinygrad_bn.algebra.rules import Exactness
from tinygrad_bn.algebra.whole import EVEN, INDIFFERENT, LEVELS, Terms, cost, one_pass, simplified
from tinygrad_bn.algebra.whole_rules import RULES
from tinygrad_bn.errors import ShapeError, TinygradError
from tinygrad_bn.graph.namespaces import arrays as numpy_arrays
from tinygrad_bn.graph.primitive import table
from tinygrad_bn.graph.state import using
from tinygrad_bn.graph.sweep import sweep, tracked
from tinygrad_bn.testing import strategies

BITWISE = [r for r in RULES if r.exactness is Exactness.BITWISE]
ROUNDING = [r for r in RULES if r.exactness is Exactness.ROUNDING]
DIFFERENTIABLE = [
    op for op in table.values() if op.origin.startswith("tinygrad_bn.") and op.differentiable
]


def names(trace):
    return [n.op.name for n in trace.nodes]


def traced(function, *arguments):
    return tg.trace(function, *(tg.Tensor(x, requires_grad=True) for x in arguments))


def level_of(rule):
    return "exact" if rule.exactness is Exactness.BITWISE else "rounding"


# same bits ----------------------------------------------------------------------------------------


def same_bits(one, other):
    """Whether two arrays have the same dtype, shape and bits; of a NaN only that it is one."""
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.kind not in "fc":
        return np.array_equal(one, other)
    parts = [np.real, np.imag] if one.dtype.kind == "c" else [np.asarray]
    return all(
        np.array_equal(p(one), p(other), equal_nan=True)
        and np.array_equal(np.signbit(p(one))[~np.isnan(p(one))], np.signbit(p(other))[~np.isnan(p(one))])
        for p in parts
    )


def results(trace):
    with np.errstate(all="ignore"):
        found = trace.run()
    return found if isinstance(found, tuple) else (found,)


def all_same_bits(one, other):
    return all(same_bits(x, y) for x, y in zip(results(one), results(other), strict=True))


# how far rounding may go --------------------------------------------------------------------------

FOUR_UNITS = {op.name for op in table.values() if op.family == "elementwise"} - INDIFFERENT
"""NumPy's own functions keep within four units in the last place."""
COPYING = {"maximum", "minimum", "clip", "max", "min", "sort", "take", "take_along_axis", "getitem"}


def error_bound(answer):
    """Bound to first order what rounding did to a recorded number: eps * |adjoint| * |value|.

    An operation loses half a unit for each rounding and is charged a whole one, which leaves room
    for the terms of second order. A sum of n terms rounds n times, each at most at the size of
    all terms together, which its rule gives of the magnitudes of cotangent and operands.
    """
    if not answer.requires_grad:
        return 0.0
    nodes = tracked([answer])
    with np.errstate(all="ignore"):
        found = sweep({answer: np.ones(answer.shape)}, record=False, wanted=nodes)
        return sum(lost(node, np.abs(g)) for node, g in found.items())


def lost(node, g):
    if node.op is None or node.op.name in COPYING:
        return 0.0
    limits = np.finfo(node.dtype)
    least = float(limits.smallest_subnormal) * float(np.sum(g))
    if node.op.family in ("reduction", "contraction", "indexing") or node.op.name == "overlap_add":
        values = [np.abs(v) if getattr(v, "dtype", np.dtype(bool)).kind == "f" else v for v in node.values]
        out = np.abs(node.data)
        rules = node.op.rules
        pieces = [rules[i](numpy_arrays, g, out, *values, **node.params) for i in node.wrt]
        sizes = [float(np.sum(np.abs(p * values[i]))) for p, i in zip(pieces, node.wrt, strict=True)]
        terms = max(np.size(node.values[i]) for i in node.wrt)
        return float(limits.eps) * (terms + 1) * sum(sizes) + terms * least
    if node.op.family in ("movement", "sorting") and node.op.name != "astype":
        return 0.0
    units = 4 if node.op.name in FOUR_UNITS else 1
    return units * (float(limits.eps) * float(np.sum(g * np.abs(node.data))) + least)


def answers(trace, rng, order):
    """Return numbers that hang on all results of a trace, and on gradients of them, recorded."""
    inputs = [x for x in trace.inputs if x.requires_grad]
    live = [r for r in trace.results if r.requires_grad]
    with np.errstate(all="ignore"):
        found = [mixed(live, rng)]
        for _ in range(order):
            if not found[-1].requires_grad:
                break
            gradients = sweep({found[-1]: one_like(found[-1])}, record=True, wanted=set(inputs))
            found.append(mixed([gradients[x] for x in inputs if x in gradients], rng))
    return found


def one_like(tensor):
    return tg.Tensor(np.ones(tensor.shape, tensor.dtype))


def mixed(tensors, rng):
    total = tg.Tensor(0.0)
    for tensor in tensors:
        signs = rng.choice([-1.0, 1.0], tensor.shape).astype(tensor.dtype)
        total = total + tg.sum(tensor * signs)
    return total


def all_within_bounds(one, other, order=0):
    """Whether two traces agree in values and gradients as far as their roundings let them."""
    pairs = zip(
        answers(one, np.random.default_rng(7), order),
        answers(other, np.random.default_rng(7), order),
        strict=True,
    )
    return all(agree(x, y) for x, y in pairs)


def agree(one, other):
    x, y = float(one.data), float(other.data)
    limit = error_bound(one) + error_bound(other)
    return bool(np.isnan(x) and np.isnan(y)) or x == y or abs(x - y) <= limit


# instances of a rule ------------------------------------------------------------------------------

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -2.5e-310, 3e38, -1.0, 0.1, 7.0])
NUMBERS = [0.5, 2.0, 3.0, -1.5, 8.0, 1e-5, 1.0, -1.0, 0.3, 2, -3, 0.0, -0.0, 100.0]
TRUTHS = {"logical_not", "logical_and", "logical_or", "bitwise_invert", "bitwise_and", "bitwise_or"}


class Instance:
    """Random operands for the letters of a rule, and the traces of what it speaks of."""

    def __init__(self, rule, rng):
        self.rule, self.rng = rule, rng
        self.words = {n.id for n in ast.walk(rule.pattern) if isinstance(n, ast.Name)}
        self.exact = rule.exactness is Exactness.BITWISE
        self.params = {}
        self.shape = tuple(int(n) for n in rng.choice([1, 2, 3, 4, 40], rng.integers(0, 4), p=[0.3, 0.2, 0.2, 0.2, 0.1]))
        self.dtype = self._dtype()
        self.letters = {}
        self._prepare(rule.pattern)

    def _dtype(self):
        kinds = [np.float64, np.float32] + [np.float16, np.int64, np.int8, np.uint8] * self.exact
        return np.dtype(kinds[self.rng.integers(len(kinds))] if self.rng.random() < 0.6 else float)

    def _prepare(self, pattern, place=None):
        for child in getattr(pattern, "args", ()):
            name = ast.unparse(pattern.func)
            if isinstance(child, ast.Name):
                self.letters.setdefault(child.id, self._operand(child.id, name))
            self._prepare(child, name)

    def _operand(self, letter, op):
        if letter in "nm":
            return NUMBERS[self.rng.integers(len(NUMBERS))]
        if letter in "pq" and self.rng.random() < 0.2:
            return float(self.rng.choice([2.0, -0.5, 3.0]))
        shape = self._matrix(letter) if "matmul" in self.words else self._part()
        logical = op in TRUTHS or letter == "c"
        dtype = self._dtype() if self.rng.random() < 0.2 else self.dtype
        return self._lie(self._values(shape, np.dtype(bool) if logical and self.rng.random() < 0.7 else dtype))

    def _matrix(self, letter):
        left = "xy" if self.rule.left.startswith("matmul(y") else "yx"
        side = {"a": (3, 2), "b": (4, 3), left[0]: (30, 3), left[1]: (3, 30)}[letter]
        return side if self.rng.random() < 0.7 else (3, 3)

    def _part(self):
        if self.rng.random() < 0.5:
            return self.shape
        kept = self.shape[self.rng.integers(0, len(self.shape) + 1) :]
        return tuple(n if self.rng.random() < 0.6 else 1 for n in kept)

    def _values(self, shape, dtype):
        if dtype.kind == "b":
            return self.rng.random(shape) < 0.5
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            return self.rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        plain = self.rng.choice([-1.0, 1.0], shape) * self.rng.uniform(0.1, 3.0, shape)
        if self.exact:
            special = self.rng.choice(SPECIAL, shape)
            plain = np.where(self.rng.random(shape) < self.rng.choice([0.0, 0.3, 0.8]), special, plain)
        with np.errstate(all="ignore"):
            return np.asarray(plain, dtype)

    def _lie(self, x):
        """Let an array lie in memory in another order of its axes."""
        order = self.rng.permutation(x.ndim)
        return x if self.rng.random() < 0.5 else np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))

    def function(self, *operands):
        """Compute the left side; what a sum or a product of it is, shows how it lies in memory."""
        given = dict(zip(self.arrays, operands, strict=True))
        whole = self._of(self.rule.pattern, {**self.letters, **given})
        looks = self.exact and whole.dtype.kind == "f" and whole.ndim and self.rng.random() < 0.7
        return (whole, tg.sum(whole), tg.sum(whole, axis=0)) if looks else (whole,)

    @property
    def arrays(self):
        return [k for k, v in self.letters.items() if isinstance(v, np.ndarray)]

    def trace(self):
        leaves = [tg.Tensor(self.letters[k]) for k in self.arrays]
        graded = "stopped without need" not in self.rule.name
        leaves = [tg.Tensor(x.data, requires_grad=graded and x.dtype.kind == "f") for x in leaves]
        with np.errstate(all="ignore"):
            return tg.trace(self.function, *leaves)

    def _of(self, pattern, letters):
        if isinstance(pattern, ast.Name):
            return letters[pattern.id]
        if not isinstance(pattern, ast.Call):
            return ast.literal_eval(pattern)
        name = ast.unparse(pattern.func)
        operands = [self._of(a, letters) for a in pattern.args]
        key = ",".join(ast.unparse(k.value) for k in pattern.keywords) or id(pattern)
        if key not in self.params or key == id(pattern) or name == "sum":
            self.params[key] = self._params(name, operands[0])
        return getattr(tg, name)(*operands, **self.params[key])

    def _params(self, name, x):
        make = getattr(self, f"_{name}", None)
        return make(x) if make else {}

    def _axes(self, ndim):
        count = self.rng.integers(0, ndim + 1)
        return tuple(int(a) for a in self.rng.permutation(ndim)[:count])

    def _sum(self, x):
        forms = [None, self._axes(x.ndim)] + [int(self.rng.integers(-x.ndim, x.ndim))] * (x.ndim > 0)
        return {"axis": forms[self.rng.integers(len(forms))], "keepdims": bool(self.rng.random() < 0.5)}

    def _broadcast_to(self, x):
        if self.rng.random() < 0.3:
            return {"shape": x.shape}
        wide = tuple(int(self.rng.choice([1, 3, 5])) if n == 1 else n for n in x.shape)
        return {"shape": (*self.rng.integers(1, 4, self.rng.integers(0, 2)).tolist(), *wide)}

    def _reshape(self, x):
        forms = [x.shape, (-1,), (1, *x.shape), x.shape[::-1], (*x.shape, 1), self.shape]
        fitting = [f for f in forms if f == (-1,) or np.prod(f) == x.size]
        return {"shape": fitting[self.rng.integers(len(fitting))]}

    def _expand_dims(self, x):
        return {"axis": int(self.rng.integers(0, x.ndim + 1)) if self.rng.random() < 0.8 else ()}

    def _squeeze(self, x):
        return {"axis": tuple(a for a, n in enumerate(x.shape) if n == 1 and self.rng.random() < 0.6)}

    def _permute_dims(self, x):
        return {"axes": tuple(int(a) for a in self.rng.permutation(x.ndim))}

    def _moveaxis(self, x):
        return {"source": int(self.rng.integers(x.ndim)), "destination": int(self.rng.integers(-x.ndim, x.ndim))}

    def _flip(self, x):
        return {"axis": self._axes(x.ndim)}

    def _astype(self, x):
        kinds = [x.dtype, np.float64, np.float32, np.float16, np.int64, np.int8, np.bool_]
        return {"dtype": np.dtype(kinds[self.rng.integers(len(kinds))])}


WANTED, TRIES = 12, 3000
"""How many instances a rule is to apply to, among how many at most."""


def applied(rule, wanted=WANTED):
    """Yield traces to which a rule applies, with what it makes of them."""
    rng = np.random.default_rng(sum(map(ord, rule.name)))
    found = 0
    for _ in range(TRIES):
        try:
            before = Instance(rule, rng).trace()
        except (TinygradError, ValueError):
            continue
        plain, after = (one_pass(before, rules, level_of(rule)) for rules in ([], [rule]))
        if str(plain) != str(after):
            found += 1
            yield plain, after
        if found == wanted:
            return


def keeps(rule, before, after):
    """Whether a use of a rule keeps what its exactness promises."""
    if rule.exactness is Exactness.BITWISE:
        return all_same_bits(before, after)
    return all_within_bounds(before, after)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_every_rule_keeps_its_promise_and_lowers_the_cost(rule):
    count = 0
    for before, after in applied(rule):
        count += 1
        assert keeps(rule, before, after), f"{rule}\n{before}\n{after}"
        assert cost(after) < cost(before), f"{rule}\n{before}\n{after}"
    assert count == WANTED


# mutants of rules: each made wrong must be noticed by the test above


def caught(rule):
    """Whether the test of a rule fails: a broken promise, a cost not lowered, an error."""
    try:
        used = applied(rule, 4 * WANTED)
        return not all(keeps(rule, b, a) and cost(a) < cost(b) for b, a in used)
    except (RecursionError, ArithmeticError):
        return True


def opposite(rule):
    """Return a rule with the replacement's opposite."""
    truths = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"} | TRUTHS
    heads = {n.id for n in ast.walk(rule.pattern) if isinstance(n, ast.Name)}
    right = f"{'logical_not' if heads & truths else 'negative'}({rule.right})"
    return replace(rule, right=right, replacement=parse(right))


def without(rule, position):
    """Return a rule that lacks a condition."""
    return replace(rule, when=rule.when[:position] + rule.when[position + 1 :])


UNCONDITIONAL = [(r, i) for r in RULES for i in range(len(r.when))]


# random programs ----------------------------------------------------------------------------------


def check_program(program, level):
    leaves = [tg.Tensor(x, requires_grad=np.asarray(x).dtype.kind == "f") for x in program.inputs.values()]
    with np.errstate(all="ignore"):
        before = tg.trace(lambda *inputs: program(*inputs), *leaves)
    after = simplified(before, level)
    assert len(after.nodes) <= len(before.nodes)
    assert str(simplified(after, level)) == str(after)
    if level == "exact":
        assert all_same_bits(before, after), f"{before}\n{after}"
    assert all_within_bounds(before, after, order=2), f"{before}\n{after}"


@pytest.mark.parametrize("level", LEVELS)
def test_random_programs_keep_values_and_gradients(level):
    drawn = strategies.programs(ops=DIFFERENTIABLE, margin=0.01)

    @given(drawn)
    def check(program):
        check_program(program, level)

    check()
