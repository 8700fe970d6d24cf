"""The derived tests of every row of the table, and the values that only edges show."""

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

import tinygrad_bn as tg
from tinygrad_bn import errors
from tinygrad_bn.graph import tensor as tensor_module
from tinygrad_bn.graph.namespaces import arrays, tensors
from tinygrad_bn.graph.primitive import table
from tinygrad_bn.primitives import movement
from tinygrad_bn.primitives.indexing import join_index
from tinygrad_bn.testing import check_gradients, mutants as mutation, rows, strategies
from tinygrad_bn.testing.generators.calls import Call, draw_call
from tinygrad_bn.testing.generators.choices import Seeded
from tinygrad_bn.testing.given import SEEDS

ROWS = list(table.values())
DIFFERENTIABLE = [op for op in ROWS if op.differentiable]
SAMPLES = [
    pytest.param(call, id=f"{op.name}-{rows.label(case)}")
    for op in ROWS
    for case, call in zip(op.cases, rows.samples(op), strict=True)
]
OWN = [p for p in SAMPLES if p.values[0].op.family != "custom"]


# the facts of every row ---------------------------------------------------------------------------


@pytest.mark.parametrize("fact", rows.FACTS.values(), ids=rows.FACTS)
@pytest.mark.parametrize("call", SAMPLES)
def test_fact_holds(call, fact):
    assert fact(call, 0) == []


@pytest.mark.parametrize("call", SAMPLES)
def test_cases_keep_away_from_kinks(call):
    assert call.margin > 0


def test_case_is_drawn_in_its_shapes_with_its_parameters_farther_from_kinks_than_at_random():
    op, case = table["max"], (((3, 4),), {"axis": 1})
    call = draw_call(Seeded(np.random.default_rng(0)), op, margin=np.inf, case=case)
    assert (call.operands[0].shape, call.params) == ((3, 4), {"axis": 1, "keepdims": False})
    others = [draw_call(Seeded(np.random.default_rng(i)), op, case=case).margin for i in range(9)]
    assert call.margin > np.median(others)


def test_call_in_another_dtype_keeps_integers_and_has_the_same_cotangent():
    (call, *_) = rows.samples("take")
    narrow = call.cast(np.float16)
    assert [x.dtype.name for x in narrow.operands] == ["float16", "int64"]
    assert narrow.cotangent(3).dtype == narrow.value.dtype == np.float16
    assert narrow.cotangent(3).tolist() == call.cotangent(3).tolist() != call.cotangent(4).tolist()


def test_call_is_a_container_of_its_differentiable_operands():
    (call, *_) = rows.samples("where")
    slopes = tg.grad(lambda c: (c() * call.cotangent()).sum())(call)
    assert isinstance(slopes, Call)
    assert slopes.operands[0] is call.operands[0]
    found = [slopes.operands[i].data for i in call.wrt]
    assert all(map(rows._identical, found, call.gradients(call.cotangent())))


# random calls -------------------------------------------------------------------------------------

PREMATURE = {"pow"}
"""Rows whose rule overflows for subnormal operands before its last factor makes it small."""

NOTHING = {name: [] for name in rows.EXACT}


def _share(part):
    """A share of the examples of the profile: every row gets as many."""
    return settings(max_examples=max(1, settings.default.max_examples // part))


def _overflows(call):
    """Whether the true gradient, in long double, is beyond all numbers of the call's dtype."""
    wide = call.cast(np.longdouble)
    largest = max(np.max(np.abs(g), initial=0.0) for g in wide.gradients(wide.cotangent()))
    return largest > np.finfo(np.result_type(*call.primals)).max


@pytest.mark.parametrize("name", [op.name for op in DIFFERENTIABLE])
@_share(10)
@given(data=st.data(), kind=strategies.kinds(), dtype=strategies.dtypes(half=False), seed=SEEDS)
def test_gradients_of_a_random_call_are_right(name, data, kind, dtype, seed):
    call = data.draw(strategies.calls(name, kind=kind, dtype=dtype))
    order = 1 if kind == "subnormal" else 2  # second derivatives there have no digits left
    with np.errstate(all="ignore"):
        report = check_gradients(call, *call.primals, order=order, directions=1, seed=seed)
    found = {verdict.kind for verdict in report.verdicts} - {"ok", "kink"}
    if kind not in rows.WITHIN:
        assume(found != {"inconclusive"})
    if kind == "subnormal" and (name in PREMATURE or _overflows(call)):
        found -= {"nonfinite"}
    assert not found, report.summary()


@pytest.mark.parametrize("name", [op.name for op in ROWS])
@_share(20)
@given(data=st.data(), kind=strategies.kinds())
def test_bits_and_dtypes_of_a_random_call_are_right(name, data, kind):
    call = data.draw(strategies.calls(name, kind=kind))
    with np.errstate(all="ignore"):
        assert {name: fact(call, 0) for name, fact in rows.EXACT.items()} == NOTHING


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_row_is_short_and_says_what_it_is_in_a_sentence(op):
    assert rows.documentation(op) == []


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_rules_are_short(op):
    rules = op.rules if isinstance(op.rules, tuple) else getattr(op.rules, "rules", (op.rules,))
    for rule in (getattr(r, "rule", r) for r in rules if r is not None):
        assert len(inspect.getsource(rule).splitlines()) <= 40


# equality with NumPy ------------------------------------------------------------------------------


def _key(operands, params):
    return join_index(params["index"], operands)


CALLS = {
    "concat": lambda f, xs, p: f(list(xs), **p),
    "stack": lambda f, xs, p: f(list(xs), **p),
    "einsum": lambda f, xs, p: f(p["subscripts"], *xs),
    "astype": lambda f, xs, p: f(xs[0], p["dtype"]),
    "tile": lambda f, xs, p: f(xs[0], p["repetitions"]),
    "searchsorted": lambda f, xs, p: f(*xs[:2], sorter=xs[2] if len(xs) > 2 else None, **p),
    "getitem": lambda f, xs, p: f(xs[0], _key(xs[1:], p)),
    "scatter_add": lambda f, xs, p: f(xs[0], _key(xs[1:], p), shape=p["shape"]),
    "last_written": lambda f, xs, p: f(_key(xs, p), shape=p["shape"]),
    **{
        f"index_{how}": lambda f, xs, p: f(xs[0], xs[1], _key(xs[2:], p))
        for how in ("set", "add", "multiply", "min", "max")
    },
}
"""How users call the rows whose operands come in another form."""


def _each_window(shape, windows, stride, dilation):
    """Pairs of an index into all windows and the place it stands for."""
    k = len(stride)
    lead = len(windows) - 2 * k
    for index in np.ndindex(*windows):
        position, offset = index[lead : lead + k], index[lead + k :]
        steps = zip(position, stride, offset, dilation, strict=True)
        yield index, (*index[:lead], *(i * s + j * d for i, s, j, d in steps))


def _windows(x, window, stride, dilation):
    k = len(window)
    lengths = zip(x.shape[-k:], window, stride, dilation, strict=True)
    positions = tuple((n - (w - 1) * d - 1) // s + 1 for n, w, s, d in lengths)
    windows = np.empty((*x.shape[:-k], *positions, *window), x.dtype)
    for index, place in _each_window(x.shape, windows.shape, stride, dilation):
        windows[index] = x[place]
    return windows


def _overlapped(x, shape, stride, dilation):
    total = np.zeros((*x.shape[: x.ndim - 2 * len(shape)], *shape), x.dtype)
    for index, place in _each_window(total.shape, x.shape, stride, dilation):
        total[place] += x[index]
    return total


def _updated(how, x, value, key):
    """An update by a loop over the places, in the order in which NumPy numbers them."""
    flat, places = np.array(x).ravel(), np.arange(np.size(x)).reshape(np.shape(x))[key]
    steps = {"set": lambda a, b: b, "add": np.add, "multiply": np.multiply}
    step = {**steps, "min": np.minimum, "max": np.maximum}[how]
    for place, v in zip(places.ravel(), np.broadcast_to(value, places.shape).ravel(), strict=True):
        flat[place] = step(flat[place], v)
    return flat.reshape(np.shape(x))


def _scattered_along(x, indices, shape, axis):
    total = np.zeros(shape, x.dtype)
    for index in np.ndindex(*x.shape):
        place = list(index)
        place[axis] = indices[index]
        total[tuple(place)] += x[index]
    return total


def _last(key, shape):
    places = np.arange(np.prod(shape)).reshape(shape)[key]
    later = places.ravel().tolist()
    kept = [place not in later[i + 1 :] for i, place in enumerate(later)]
    return np.array(kept).reshape(places.shape)


def _descending(x, axis=-1, *, descending=False, stable=True):
    return np.sort(x, axis=axis) if not descending else np.flip(np.sort(x, axis=axis), axis=axis)


def _order(x, axis=-1, *, descending=False, stable=True):
    return np.argsort(-(x.astype(float)) if descending else x, axis=axis, stable=stable)


REFERENCES = {
    "getitem": lambda x, key: x[key],
    "scatter_add": lambda x, key, shape: _updated("add", np.zeros(shape, x.dtype), x, key),
    "last_written": _last,
    "index_set": lambda x, v, key: _updated("set", x, v, key),
    "index_add": lambda x, v, key: _updated("add", x, v, key),
    "index_multiply": lambda x, v, key: _updated("multiply", x, v, key),
    "index_min": lambda x, v, key: _updated("min", x, v, key),
    "index_max": lambda x, v, key: _updated("max", x, v, key),
    "scatter_along_axis": _scattered_along,
    "sliding_windows": _windows,
    "overlap_add": _overlapped,
    "pad_constant": lambda x, widths, value=0.0: np.pad(x, widths, constant_values=value),
    "one_hot_rows": lambda labels, classes, dtype: np.eye(classes, dtype=dtype)[labels],
    "sort": _descending,
    "argsort": _order,
    "stop_gradient": lambda x: x,
    "einsum": lambda s, *xs: np.einsum(s, *xs, optimize=len(xs) > 2),
}
"""What rows compute that NumPy has under no name, or without a keyword, said in another way."""

IN_FLOAT32 = {"sum", "prod", "cumulative_sum", "cumulative_prod", "matmul", "einsum"}
"""Rows that accumulate float16 in float32: more accurate than NumPy."""


def _call(op, function, operands, params):
    call = CALLS.get(op.name, lambda f, xs, p: f(*xs, **p))
    return call(function, operands, params)


def _as_dtype(call, dtype):
    """Operands in a dtype; integers and booleans from doubled values, so that they differ."""
    if np.dtype(dtype).kind == "f":
        return call.cast(dtype).operands
    return tuple(np.round(2 * x).astype(dtype) if _is_float(x) else x for x in call.operands)


def _is_float(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _given(call):
    """The parameters that the case states; the others are left to the defaults."""
    return {
        k: v
        for k, v in call.params.items()
        if k not in call.op.static or call.op.static[k] is not v
    }


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "longdouble", "int64", "uint8", "bool"]
)
@pytest.mark.parametrize("call", OWN)
def test_value_and_dtype_are_numpys(call, dtype):
    op, operands, params = call.op, _as_dtype(call, dtype), _given(call)
    reference = REFERENCES.get(op.name) or getattr(np, op.name)
    with np.errstate(all="ignore"):
        try:
            expected = np.asarray(_call(op, reference, operands, params))
        except (TypeError, ValueError, OverflowError):
            assert np.dtype(dtype).kind != "f"
            with pytest.raises(errors.TinygradError, match=op.name):
                _call(op, getattr(tensors, op.name), operands, params)
            return
        found = _call(op, getattr(tensors, op.name), operands, params)
    assert found.dtype == expected.dtype
    if dtype != "float16" or op.name not in IN_FLOAT32:
        assert rows._identical(found.data, expected)


def test_float16_is_accumulated_in_float32():
    x = np.full(4096, 1.0, np.float16)
    assert tg.sum(x).item() == 4096.0
    assert tg.matmul(x, x).item() == 4096.0
    assert tg.cumulative_sum(x)[-1].item() == 4096.0
    assert tg.sum(x).dtype == tg.matmul(x, x).dtype == tg.cumulative_sum(x).dtype == np.float16
    assert tg.prod(np.array([256.0, 512.0, 0.125], np.float16)).item() == 2.0**14
    assert tg.einsum("ij->j", x[:, None]).item() == 4096.0


def test_float16_that_meets_at_one_place_is_accumulated_in_float32():
    zeros, one, many = np.zeros(5000, int), np.ones(1, np.float16), np.ones(5000, np.float16)
    reading = {
        "take": lambda w: tg.take(w, zeros, axis=0),
        "getitem": lambda w: w[zeros],
        "take_along_axis": lambda w: tg.take_along_axis(w, zeros, axis=0),
    }
    for read in reading.values():
        g = tg.grad(lambda w, read=read: read(w).sum())(one)
        assert (g.dtype, g.tolist()) == (np.float16, [5000.0])
    added = tg.Tensor(one).at[zeros].add(many)
    assert (added.dtype, added.tolist()) == (np.float16, [5000.0])
    windows = np.ones((3000, 3000), np.float16)
    total = tensors.overlap_add(windows, shape=(5999,), stride=(1,), dilation=(1,))
    assert (total.dtype, total[2999].item()) == (np.float16, 3000.0)


def test_ties_of_float16_are_counted_in_float32():
    x = np.ones(70_000, np.float16)
    for f in (tg.max, tg.min):
        g = tg.grad(f)(x)
        assert (g.dtype, set(g.tolist())) == (np.float16, {float(np.float16(1 / 70_000))})
    value = lambda v: tg.Tensor(x[:1]).at[np.zeros(70_000, int)].max(v)[0]  # noqa: E731  (used once)
    assert set(tg.grad(value)(x).tolist()) == {float(np.float16(1 / 70_001))}


VIEWS = {
    "transposed": (lambda x: x.mT, 1),
    "transposed with an axis of length one": (lambda x: tg.permute_dims(x[None], (2, 1, 0)), 1),
    "backwards": (lambda x: x[::-1], 0),
    "two axes of some columns": (lambda x: x[:, :2], (0, 1)),
    "all of some columns": (lambda x: x[:, :2], None),
    "axes in another order": (
        lambda x: tg.permute_dims(tg.reshape(x, (100, -1, 3)), (2, 1, 0)),
        (1, -1),
    ),
}


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(("view", "axis"), VIEWS.values(), ids=VIEWS)
def test_sum_of_a_view_is_as_accurate_as_of_a_copy_and_printed_alike(view, axis, keepdims):
    x = np.random.default_rng(0).random((1_000_000, 3), np.float32)
    trace = tg.trace(lambda x: tg.sum(view(x), axis=axis, keepdims=keepdims), x)
    found = trace.outputs.data
    exact = np.sum(view(tg.Tensor(x)).data, axis=axis, dtype=np.float64, keepdims=keepdims)
    # At most fifteen roundings on each level of blocks of sixteen.
    bound = 15 * np.ceil(np.log(x.size) / np.log(16)) * np.finfo(np.float32).eps / 2
    assert found.shape == exact.shape
    assert np.max(np.abs(found - exact) / exact) < bound
    assert rows._identical(np.asarray(trace.run()), found)


@pytest.mark.parametrize("call", [p for p in SAMPLES if not p.values[0].op.differentiable])
def test_result_of_a_row_without_rules_does_not_require_grad(call):
    operands = tuple(tg.Tensor(x, requires_grad=True) if _is_float(x) else x for x in call.operands)
    result = _call(call.op, getattr(tensors, call.op.name), operands, _given(call))
    assert not result.requires_grad
    assert result.op is None


# mutants ------------------------------------------------------------------------------------------

ALWAYS_FULL = {f"index_{how}" for how in ("set", "add", "multiply", "min", "max")}
"""Rows whose first operand has the shape of the result, whatever the others are."""

SYMMETRIC = {"add"}
"""Rows whose two rules are the same."""


def _reads_no_operand(op, operand):
    """Whether a gradient stays the same when all operands are drawn anew: a linear row's."""
    for call, other in zip(rows.samples(op), rows.samples(op, seed=1), strict=True):
        if call.differentiable and operand in call.wrt:
            v, place = call.cotangent(), call.wrt.index(operand)
            first, second = (c.gradients(v)[place] for c in (call, other))
            if not np.allclose(first, second, rtol=1e-12, atol=0):
                return False
    return True


def _exempt(mutant, drawn):
    """Whether no check could catch a mutant, for a reason that can be named.

    One that is not summed back is none if the rule itself sums, and a case shows it broadcast;
    one that reads stale values is none if the rule reads no values.
    """
    op, operand = table[mutant.op.name], mutant.operand
    moving = [c for c in drawn if c.differentiable and operand in c.wrt]
    found = [c.gradients(c.cotangent())[c.wrt.index(operand)] for c in moving]
    full = operand == 0 and op.name in ALWAYS_FULL
    reasons = {
        "swapped": lambda: op.name in SYMMETRIC,
        "unsummed": lambda: full or any(c.value.shape != c.operands[operand].shape for c in moving),
        "stale": lambda: _reads_no_operand(op, operand),
    }
    return not any(g.any() for g in found) or reasons.get(mutant.name, lambda: False)()


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_mutants_are_caught(op):
    drawn = [*rows.samples(op), *rows.samples(op, seed=1)]
    for mutant in mutation.mutants(op):
        if mutation.equivalent(mutant, drawn):
            assert _exempt(mutant, drawn), f"no case shows the mutant {mutant}"
        else:
            assert mutation.caught(mutant, drawn), f"{mutant} was not caught"


def test_rows_of_zero_gradient_are_those_that_are_constant_between_jumps():
    def is_flat(op):
        drawn = [c for c in rows.samples(op) if c.differentiable]
        return not any(g.any() for c in drawn for g in c.gradients(c.cotangent()))

    flat = {op.name for op in DIFFERENTIABLE if op.family == "elementwise" if is_flat(op)}
    assert flat == {"floor_divide", "sign", "ceil", "floor", "trunc", "round", "imag"}


def test_installed_mutant_is_seen_by_public_functions_and_removed_afterwards():
    mutant = next(m for m in mutation.mutants("tanh") if m.name == "negated")
    with mutation.installed(mutant):
        assert tg.grad(tg.tanh)(0.0).item() == -1.0
    assert tg.grad(tg.tanh)(0.0).item() == 1.0


@pytest.fixture
def own_rows():
    """Take rows that a test adds out of the table again."""
    before = set(table)
    yield
    for name in set(table) - before:
        for place in (table, vars(arrays), vars(tensors)):
            del place[name]


@pytest.mark.usefixtures("own_rows")
def test_wrong_row_of_a_user_is_reported_by_case_and_fact():
    @tg.custom_rule(vjp=lambda xp, g, out, x: g * xp.cos(x) * 1.001, cases=[(((4,),), {})])
    def wrong_sine(x):
        """Sine, with a slope that is too large."""
        return tg.sin(x)

    found = rows.check_row("wrong_sine")
    assert {line.split(",")[0] for line in found} == {"derivatives"}
    assert found[0].startswith("derivatives, (4,): mismatch: ")
    assert "derivatives, tg.wrong_sine(np.array([" in found[1]


@pytest.mark.usefixtures("own_rows")
def test_row_of_a_user_that_is_wrong_at_ties_alone_is_found_by_random_calls():
    @tg.families.elementwise(
        vjp=lambda xp, g, out, x: xp.where(x > 0, g, xp.where(x < 0, 0 * g, 2 * g)),
        margin=np.abs,
        analytic=False,
    )
    def leaning_relu(x: tg.Array):
        """The positive part, with a slope at 0 that is neither side's, nor between them."""
        return np.maximum(x, 0)

    found = rows.check_row("leaning_relu")
    assert found
    assert all(line.startswith("derivatives, tg.leaning_relu(") for line in found)


def row_at_a_prompt(text):
    """Make a row of a text that no file has."""
    scope = {"tg": tg, "np": np}
    exec(text, scope)  # noqa: S102  (our own text)
    return scope["row"]


@pytest.mark.usefixtures("own_rows")
def test_row_that_was_typed_at_a_prompt_is_checked_without_its_source():
    text = """
@tg.families.elementwise(vjp=lambda xp, g, out, x: {factor} * g * x)
def row(x: tg.Array, /):
    'Half the square.'
    return x * x / 2
"""
    row_at_a_prompt(text.format(factor=1))
    assert rows.check_row("row") == []
    del table["row"]
    for space in (arrays, tensors):
        delattr(space, "row")
    row_at_a_prompt(text.format(factor=2))
    assert {line.split(",")[0] for line in rows.check_row("row")} == {"derivatives", "complex_step"}


@pytest.mark.usefixtures("own_rows")
def test_row_that_writes_to_what_it_is_given_is_reported():
    @tg.families.elementwise(vjp=lambda xp, g, out, x: np.negative(g, out=g))
    def turned(x: tg.Array, /):
        """The operand with the other sign."""
        return -x

    found = rows.check_row("turned")
    assert any(line.startswith("untouched, (3,4): ValueError: ") for line in found)


@pytest.mark.usefixtures("own_rows")
def test_row_that_is_not_analytic_but_says_so_is_reported():
    @tg.families.elementwise(vjp=lambda xp, g, out, x: g * xp.sign(x), margin=np.abs)
    def length(x: tg.Array, /):
        """The absolute value, which is no analytic function."""
        return np.abs(x)

    facts = {line.split(",")[0] for line in rows.check_row("length")}
    assert facts == {"complex_step"}


@pytest.mark.usefixtures("own_rows")
def test_rule_that_narrows_is_reported():
    @tg.families.elementwise(vjp=lambda xp, g, out, x: xp.astype(g, np.float32) * 2)
    def doubled(x: tg.Array, /):
        """Twice the operand."""
        return x * 2

    found = rows.check_row("doubled")
    assert "dtypes, (3,4): operand 0 is float64, its rule returns float32" in found


@pytest.mark.usefixtures("own_rows")
def test_row_whose_domain_it_is_not_defined_in_is_reported():
    @tg.families.elementwise(vjp=lambda xp, g, out, x: g / x, domain=(-3.0, -1.0))
    def logarithm(x: tg.Array, /):
        """The logarithm, of negative numbers."""
        return np.log(x)

    with np.errstate(invalid="ignore"):
        (found,) = rows.check_row("logarithm")
    assert found.startswith("domain: logarithm: every draw of operands ((3, 4),) gives values")


@pytest.mark.usefixtures("own_rows")
def test_cases_on_kinks_alone_are_reported():
    @tg.families.elementwise(
        vjp=lambda xp, g, out, x: g * xp.sign(x), margin=np.abs, domain=(0.0, 0.0), analytic=False
    )
    def size(x: tg.Array, /):
        """The absolute value."""
        return np.abs(x)

    assert rows.check_row("size")[0].startswith("domain: size: all draws of operands ((3, 4),) lie")


def test_name_that_is_no_row_is_refused():
    with pytest.raises(errors.ShapeError, match="There is no primitive 'nonsense'"):
        rows.check_row("nonsense")


@pytest.mark.usefixtures("own_rows")
def test_row_with_a_poor_docstring_is_reported():
    @tg.families.elementwise(vjp=lambda xp, g, out, x: g)
    def same(x: tg.Array, /):
        """the operand"""
        return +x

    (found,) = rows.check_row("same")
    assert found == ("documentation: the first line of the docstring is no sentence: 'the operand'")


# the namespace ------------------------------------------------------------------------------------


def test_every_name_a_tensor_method_binds_exists():
    source = Path(tensor_module.__file__).read_text()
    names = set(re.findall(r"\btensors\.(\w+)", source))
    names |= {f"index_{how}" for how in re.findall(r'_update\("(\w+)"', source)}
    assert len(names) > 40
    assert [name for name in sorted(names) if not callable(getattr(tensors, name, None))] == []


def test_methods_of_a_tensor_have_the_keywords_of_their_functions():
    for node in ast.walk(ast.parse(inspect.getsource(tensor_module.Tensor))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "tensors" and node.keywords:
                known = inspect.signature(getattr(tensors, node.func.attr)).parameters
                assert {k.arg for k in node.keywords} <= set(known), node.func.attr


STANDARD = """
e inf nan newaxis pi
arange(start, /, stop=None, step=1, *, dtype=None, device=None)
asarray(obj, /, *, dtype=None, device=None, copy=None)
empty(shape, *, dtype=None, device=None)
empty_like(x, /, *, dtype=None, device=None)
eye(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None)
from_dlpack(x, /, *, device=None, copy=None)
full(shape, fill_value, *, dtype=None, device=None)
full_like(x, /, fill_value, *, dtype=None, device=None)
linspace(start, stop, /, num, *, dtype=None, device=None, endpoint=True)
meshgrid(*arrays, indexing="xy")
ones(shape, *, dtype=None, device=None)
ones_like(x, /, *, dtype=None, device=None)
tril(x, /, *, k=0)
triu(x, /, *, k=0)
zeros(shape, *, dtype=None, device=None)
zeros_like(x, /, *, dtype=None, device=None)
astype(x, dtype, /, *, copy=True, device=None)
can_cast(from_, to, /)
finfo(type, /)
iinfo(type, /)
isdtype(dtype, kind)
result_type(*arrays_and_dtypes)
bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128
abs(x, /) acos(x, /) acosh(x, /) asin(x, /) asinh(x, /) atan(x, /) atanh(x, /)
add(x1, x2, /) atan2(x1, x2, /) bitwise_and(x1, x2, /) bitwise_left_shift(x1, x2, /)
bitwise_invert(x, /) bitwise_or(x1, x2, /) bitwise_right_shift(x1, x2, /) bitwise_xor(x1, x2, /)
ceil(x, /) clip(x, /, min=None, max=None) conj(x, /) copysign(x1, x2, /) cos(x, /) cosh(x, /)
divide(x1, x2, /) equal(x1, x2, /) exp(x, /) expm1(x, /) floor(x, /) floor_divide(x1, x2, /)
greater(x1, x2, /) greater_equal(x1, x2, /) hypot(x1, x2, /) imag(x, /) isfinite(x, /) isinf(x, /)
isnan(x, /) less(x1, x2, /) less_equal(x1, x2, /) log(x, /) log1p(x, /) log2(x, /) log10(x, /)
logaddexp(x1, x2, /) logical_and(x1, x2, /) logical_not(x, /) logical_or(x1, x2, /)
logical_xor(x1, x2, /) maximum(x1, x2, /) minimum(x1, x2, /) multiply(x1, x2, /) negative(x, /)
nextafter(x1, x2, /) not_equal(x1, x2, /) positive(x, /) pow(x1, x2, /) real(x, /) reciprocal(x, /)
remainder(x1, x2, /) round(x, /) sign(x, /) signbit(x, /) sin(x, /) sinh(x, /) square(x, /)
sqrt(x, /) subtract(x1, x2, /) tan(x, /) tanh(x, /) trunc(x, /)
take(x, indices, /, *, axis=None)
take_along_axis(x, indices, /, *, axis=-1)
matmul(x1, x2, /)
matrix_transpose(x, /)
tensordot(x1, x2, /, *, axes=2)
vecdot(x1, x2, /, *, axis=-1)
broadcast_arrays(*arrays)
broadcast_to(x, /, shape)
concat(arrays, /, *, axis=0)
expand_dims(x, /, *, axis=0)
flip(x, /, *, axis=None)
moveaxis(x, source, destination, /)
permute_dims(x, /, axes)
repeat(x, repeats, /, *, axis=None)
reshape(x, /, shape, *, copy=None)
roll(x, /, shift, *, axis=None)
squeeze(x, /, axis)
stack(arrays, /, *, axis=0)
tile(x, repetitions, /)
unstack(x, /, *, axis=0)
argmax(x, /, *, axis=None, keepdims=False)
argmin(x, /, *, axis=None, keepdims=False)
count_nonzero(x, /, *, axis=None, keepdims=False)
nonzero(x, /)
searchsorted(x1, x2, /, *, side="left", sorter=None)
where(condition, x1, x2, /)
unique_all(x, /) unique_counts(x, /) unique_inverse(x, /) unique_values(x, /)
argsort(x, /, *, axis=-1, descending=False, stable=True)
sort(x, /, *, axis=-1, descending=False, stable=True)
cumulative_prod(x, /, *, axis=None, dtype=None, include_initial=False)
cumulative_sum(x, /, *, axis=None, dtype=None, include_initial=False)
max(x, /, *, axis=None, keepdims=False)
mean(x, /, *, axis=None, keepdims=False)
min(x, /, *, axis=None, keepdims=False)
prod(x, /, *, axis=None, dtype=None, keepdims=False)
std(x, /, *, axis=None, correction=0.0, keepdims=False)
sum(x, /, *, axis=None, dtype=None, keepdims=False)
var(x, /, *, axis=None, correction=0.0, keepdims=False)
all(x, /, *, axis=None, keepdims=False)
any(x, /, *, axis=None, keepdims=False)
diff(x, /, *, axis=-1, n=1, prepend=None, append=None)
__array_namespace_info__()
"""
"""The main namespace of the array API standard 2024.12."""

NAMES = re.findall(r"(\w+)(\([^)]*\))?(?:\s|$)", STANDARD)


@pytest.mark.parametrize(("name", "signature"), NAMES, ids=[name for name, _ in NAMES])
def test_standard_name_is_there_and_takes_the_standards_arguments(name, signature):
    found = getattr(tg, name)
    if not signature:
        return
    scope = {}
    exec(f"def standard{signature}: ...", scope)  # noqa: S102  (the standard's own text)
    ours = inspect.signature(found).parameters
    positional = [
        p for p in ours.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    for place, p in enumerate(inspect.signature(scope["standard"]).parameters.values()):
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            assert positional[place].default == p.default or p.default is None
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD):
            assert ours[p.name].kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
            assert ours[p.name].default == p.default
        if p.kind is p.VAR_POSITIONAL:
            assert any(q.kind is p.VAR_POSITIONAL for q in ours.values())


def test_namespace_of_a_tensor_is_the_package():
    x = tg.Tensor([1.0])
    assert x.__array_namespace__() is tg
    assert x.__array_namespace__(api_version="2024.12") is tg


# edges --------------------------------------------------------------------------------------------


def gradient(f, *xs):
    """Gradients of the sum of ``f``, as lists."""
    found = tg.grad(lambda *a: f(*a).sum(), tuple(range(len(xs))))(*map(np.asarray, xs))
    return [g.tolist() for g in found]


def second(f, x):
    """The Hessian of the sum of ``f``, as lists."""
    return tg.hessian(lambda a: f(a).sum())(np.asarray(x)).tolist()


def test_ties_of_max_and_min_share_equally():
    assert gradient(tg.max, [1.0, 3.0, 3.0]) == [[0.0, 0.5, 0.5]]
    assert gradient(tg.min, [1.0, 1.0, 1.0, 2.0]) == [[1 / 3, 1 / 3, 1 / 3, 0.0]]
    assert gradient(lambda x: tg.max(x, axis=0), [[1.0, 2.0], [1.0, 0.0]]) == [
        [[0.5, 1.0], [0.5, 0.0]]
    ]


def test_ties_of_maximum_and_minimum_share_equally():
    for f in (tg.maximum, tg.minimum):
        assert gradient(f, [2.0], [2.0]) == [[0.5], [0.5]]
        assert gradient(lambda x, f=f: f(x, x), [2.0]) == [[1.0]]
        assert gradient(lambda x, f=f: f(x, 2.0), [2.0]) == [[0.5]]


def test_infinite_extremes_share_too():
    assert gradient(tg.max, [np.inf, np.inf]) == [[0.5, 0.5]]
    assert gradient(tg.max, [-np.inf, -np.inf]) == [[0.5, 0.5]]


def test_kinks_of_abs_relu_and_clip_have_slope_zero():
    assert gradient(tg.abs, [0.0, -0.0]) == [[0.0, 0.0]]
    assert gradient(tg.relu, [0.0, -1.0, 2.0]) == [[0.0, 0.0, 1.0]]
    assert gradient(lambda x: tg.clip(x, 0.0, 1.0), [0.0, 0.5, 1.0]) == [[0.0, 1.0, 0.0]]


def test_clip_gives_each_gradient_to_one_of_the_three():
    x, lo, hi = (
        [0.0, 1.0, -1.0, 2.0, 0.5, -1.0, 0.5],
        [0.0] * 5 + [1.0, 1.0],
        [1.0] * 5 + [0.0, 0.0],
    )
    found = np.array(gradient(tg.clip, x, lo, hi))
    assert found.sum(0).tolist() == [1.0] * 7
    assert found[2].tolist() == [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0]


def test_hypot_at_the_origin_has_slope_zero_and_does_not_overflow():
    assert gradient(tg.hypot, [0.0], [0.0]) == [[0.0], [0.0]]
    x, y = gradient(tg.hypot, [3e200], [4e200])
    np.testing.assert_allclose([x[0], y[0]], [0.6, 0.8], rtol=4e-16)


def test_hypot_at_infinity_has_the_slopes_of_its_limits():
    inf = np.inf
    found = gradient(tg.hypot, [inf, -inf, 1.0, inf, -inf], [1.0, 3.0, -inf, inf, inf])
    half = 0.5**0.5
    assert found == [[1.0, -1.0, 0.0, half, -half], [0.0, 0.0, -1.0, half, half]]
    assert second(lambda x: tg.hypot(x, 1.0), [inf]) == [[0.0]]


def test_atan2_does_not_leave_the_range():
    for scale in (1e200, 1e-200):
        y, x = gradient(tg.atan2, [3 * scale], [4 * scale])
        np.testing.assert_allclose([y[0] * scale, x[0] * scale], [0.16, -0.12], rtol=1e-15)


def test_expm1_far_below_zero_keeps_its_slope():
    np.testing.assert_allclose(gradient(tg.expm1, [-40.0])[0], np.exp(-40.0), rtol=4e-16)


def test_square_root_at_zero_is_infinitely_steep():
    assert gradient(tg.sqrt, [0.0, 4.0]) == [[np.inf, 0.25]]


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_prod_and_its_second_derivative_are_exact_with_zeros(zeros):
    x = np.array([2.0, 3.0, 5.0])
    x[:zeros] = 0.0
    a, b, c = x
    assert gradient(tg.prod, x) == [[b * c, a * c, a * b]]
    assert second(tg.prod, x) == [[0.0, c, b], [c, 0.0, a], [b, a, 0.0]]


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_cumulative_prod_and_its_second_derivative_are_exact_with_zeros(zeros):
    x = np.array([2.0, 3.0, 5.0])
    x[:zeros] = 0.0
    a, b, c = x
    assert gradient(tg.cumulative_prod, x) == [[1 + b + b * c, a + a * c, a * b]]
    assert second(tg.cumulative_prod, x) == [[0.0, 1 + c, b], [1 + c, 0.0, a], [b, a, 0.0]]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,), (2, 0, 3)])
@pytest.mark.parametrize("name", ["prod", "sum", "max", "min"])
def test_reductions_of_empty_arrays_have_empty_gradients(name, shape):
    for axis in range(len(shape)):
        if shape[axis] or name in ("prod", "sum"):
            g = tg.grad(lambda x, axis=axis: getattr(tg, name)(x, axis=axis).sum())(np.zeros(shape))
            assert g.shape == shape


def test_margin_of_the_extrema_of_no_rows_is_empty():
    for name in ("max", "min"):
        assert table[name].margin(np.zeros((0, 3)), axis=1).size == 0


NUMBERS = {
    "sum": lambda x: tg.sum(x, axis=-1),
    "prod": lambda x: tg.prod(x, axis=0),
    "max": lambda x: tg.max(x, axis=0),
    "min": lambda x: tg.min(x, axis=-1, keepdims=True),
    "cumulative_sum": lambda x: tg.cumulative_sum(x, axis=0, include_initial=True),
    "cumulative_prod": lambda x: tg.cumulative_prod(x, axis=-1, include_initial=True),
    "take": lambda x: tg.take(x, np.array([0]), axis=0),
    "repeat": lambda x: tg.repeat(x, 1, axis=-1),
    "set": lambda x: 2.0 * x.at[()].set(0.5 * x),
    "add": lambda x: 2.0 * x.at[...].add(-0.5 * x),
    "max at": lambda x: 0.5 * x.at[None].max(2.0 * x),
}


@pytest.mark.parametrize("f", NUMBERS.values(), ids=NUMBERS)
def test_what_numpy_takes_of_a_number_has_a_gradient(f):
    assert gradient(f, 2.0) == [1.0]


def test_triangle_of_a_vector_sums_the_gradient_of_its_rows():
    weights = np.arange(9.0).reshape(3, 3)
    for name in ("tril", "triu"):
        f = getattr(tg, name)
        assert f(np.ones(3)).tolist() == getattr(np, name)(np.ones(3)).tolist()
        found = gradient(lambda x, f=f: f(x) * weights, np.ones(3))
        assert found == [getattr(np, name)(weights).sum(0).tolist()]


@pytest.mark.parametrize("record", [False, True])
def test_borders_of_a_concat_are_added_up_once_in_a_sweep(record, monkeypatch):
    calls = []
    accumulate = movement.itertools.accumulate
    monkeypatch.setattr(
        movement.itertools, "accumulate", lambda xs: calls.append(1) or accumulate(xs)
    )
    xs = [tg.Tensor(np.ones(n + 1), requires_grad=True) for n in range(5)]
    y, z = tg.concat(xs), tg.concat(xs[:2], axis=None)
    total = (y * np.arange(15.0)).sum() + (z * z).sum()
    total.backward(create_graph=record)
    assert len(calls) == 2
    assert [x.grad.tolist() for x in xs[2:4]] == [[3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0]]
    assert xs[1].grad.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 0.0, 1.0, 2.0, 3.0])
def test_power_of_zero_is_smooth_for_whole_exponents(exponent):
    first = {0: 0.0, 1: 1.0, 2: 0.0, 3: 0.0}[int(exponent)]
    curvature = {0: 0.0, 1: 0.0, 2: 2.0, 3: 0.0}[int(exponent)]
    assert gradient(lambda x: x**exponent, [0.0]) == [[first]]
    assert second(lambda x: x**exponent, [0.0]) == [[curvature]]
    base, slope = gradient(tg.pow, [0.0], [float(exponent)])
    assert (base, slope) == ([first], [0.0])
    assert second(lambda x: tg.pow(x, np.array([float(exponent)])), [0.0]) == [[curvature]]


def test_negative_base_has_a_gradient_for_whole_exponents():
    assert gradient(lambda x: x**3, [-2.0]) == [[12.0]]
    assert gradient(lambda x: x**-1, [-2.0]) == [[-0.25]]
    assert gradient(lambda x: tg.pow(x, np.array([3, 2])), [-2.0, -2.0]) == [[12.0, -4.0]]


def test_scalar_base_keeps_the_dtype_of_the_exponent():
    y = tg.Tensor(np.array([1.0, 3.0], np.float32), requires_grad=True)
    (2.0**y).sum().backward()
    assert y.grad.dtype == np.float32
    np.testing.assert_allclose(y.grad.data, np.float32(np.log(2)) * np.array([2, 8]), rtol=3e-7)
    assert gradient(lambda y: 0.0**y, [2.0]) == [[0.0]]


def test_logaddexp_of_equal_infinities_shares_and_far_apart_gives_all_to_the_larger():
    for infinity in (np.inf, -np.inf):
        assert gradient(tg.logaddexp, [infinity], [infinity]) == [[0.5], [0.5]]
    assert gradient(tg.logaddexp, [-np.inf, 1e4], [0.0, -1e4]) == [[0.0, 1.0], [1.0, 0.0]]
    assert second(lambda x: tg.logaddexp(x, 0.0), [1e4, -1e4, 0.0])[2] == [0.0, 0.0, 0.25]


def test_sort_gives_each_of_equal_elements_its_own_gradient():
    x, weights = [2.0, 1.0, 2.0, 3.0], np.array([1.0, 10.0, 100.0, 1000.0])
    assert gradient(lambda x: tg.sort(x) * weights, x) == [[10.0, 1.0, 100.0, 1000.0]]
    falling = gradient(lambda x: tg.sort(x, descending=True) * weights, x)
    assert falling == [[10.0, 1000.0, 100.0, 1.0]]


def test_repeated_indices_sum():
    assert gradient(lambda x: x[[0, 0, 2]], [1.0, 2.0, 3.0]) == [[2.0, 0.0, 1.0]]
    assert gradient(lambda x: tg.take(x, np.array([1, 1, -1])), [1.0, 2.0, 3.0]) == [
        [0.0, 2.0, 1.0]
    ]
    along = np.array([[0, 0], [1, -1]])
    found = gradient(lambda x: tg.take_along_axis(x, along, axis=1), np.ones((2, 3)))
    assert found == [[[2.0, 0.0, 0.0], [0.0, 1.0, 1.0]]]


def test_take_without_an_axis_counts_the_flattened_elements():
    found = gradient(lambda x: tg.take(x, np.array([0, 4, 4])), np.ones((3, 3)))
    assert found == [[[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]]


KEYS = {
    "negative": -1,
    "slice with negative step": np.s_[::-2],
    "newaxis": np.s_[:, None, 1],
    "ellipsis": np.s_[..., 1:],
    "mask": np.array([True, False, True]),
    "mask of all axes": np.arange(12).reshape(3, 4) % 5 == 1,
    "empty mask": np.zeros((3, 4), bool),
    "true": True,
    "false": False,
    "list": [2, 0, 2],
    "empty list": [],
    "tensor": tg.Tensor([1, 1]),
    "two arrays": ([0, 0, 2], [1, 1, -1]),
    "outer": (np.array([[0], [2]]), np.array([1, 1])),
    "array and slice": np.s_[1:, [3, 3]],
    "array and newaxis": (np.array([0, 0]), None, 2),
    "numpy integer": np.int64(1),
    "empty slice": np.s_[3:],
    "all": (),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_indexing_reads_like_numpy_and_its_gradient_counts(key):
    x = np.arange(12.0).reshape(3, 4)
    plain = key.data if isinstance(key, tg.Tensor) else key
    count = np.zeros(x.shape)
    np.add.at(count, plain, 1.0)
    assert tg.Tensor(x)[key].tolist() == x[plain].tolist()
    assert gradient(lambda x: x[key], x) == [count.tolist()]
    assert (
        second(lambda x: x[key] ** 2, x)
        == (2 * np.diag(count.ravel())).reshape(3, 4, 3, 4).tolist()
    )


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_updating_writes_like_numpy_and_gradients_go_to_who_is_read(key):
    x, plain = np.arange(12.0).reshape(3, 4), key.data if isinstance(key, tg.Tensor) else key
    written = x.copy()
    written[plain] = 7.0
    assert tg.Tensor(x).at[key].set(7.0).tolist() == written.tolist()
    rest = np.ones_like(x)
    rest[plain] = 0.0
    found = gradient(lambda x, v: x.at[key].set(v), x, 7.0)
    assert found[0] == rest.tolist()
    assert found[1] == (1 - rest).sum()
    added = x.copy()
    np.add.at(added, plain, 2.0)
    assert tg.Tensor(x).at[key].add(2.0).tolist() == added.tolist()
    assert gradient(lambda x, v: x.at[key].add(v), x, 2.0) == [
        np.ones_like(x).tolist(),
        x[plain].size,
    ]


def test_of_repeated_places_the_last_value_is_set_and_gets_the_gradient():
    x, v = [1.0, 2.0, 3.0], [10.0, 20.0, 30.0]
    assert tg.Tensor(x).at[[0, 0, 2]].set(v).tolist() == [20.0, 2.0, 30.0]
    assert gradient(lambda x, v: x.at[[0, 0, 2]].set(v), x, v) == [[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]


def test_repeated_places_add_up():
    found = gradient(lambda x, v: x.at[[0, 0, 2]].add(v) ** 2, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert found == [[8.0, 4.0, 12.0], [8.0, 8.0, 12.0]]


def test_updated_extremes_share_ties_among_old_and_new():
    for how in ("max", "min"):
        f = lambda x, v, how=how: getattr(x.at[[0, 0, 1]], how)(v)  # noqa: E731  (read inline)
        assert gradient(f, [5.0, 2.0], [5.0, 5.0, 2.0]) == [[1 / 3, 0.5], [1 / 3, 1 / 3, 0.5]]
    assert gradient(lambda x, v: x.at[0].max(v), [5.0, 2.0], 7.0) == [[0.0, 1.0], 1.0]
    assert gradient(lambda x, v: x.at[:].min(v), [5.0, 2.0], 3.0) == [[0.0, 1.0], 1.0]


def test_update_by_a_product_broadcasts_and_refuses_repeated_places():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    found = gradient(lambda x, v: x.at[[1, 0]].multiply(v), x, [10.0, 100.0])
    assert found == [[[10.0, 100.0], [10.0, 100.0]], [4.0, 6.0]]
    with pytest.raises(errors.ShapeError, match="repeated index"):
        tg.Tensor(x).at[[0, 0]].multiply(2.0)


@pytest.mark.parametrize("how", ["set", "add", "multiply", "min", "max"])
def test_update_refuses_a_value_that_would_be_cut_to_the_kind_of_the_tensor(how):
    x, v = tg.Tensor([1, 2]), tg.Tensor(2.5, requires_grad=True)
    with pytest.raises(
        errors.DTypeError, match="dtype float64 for a place in a tensor of dtype int"
    ):
        getattr(x.at[0], how)(v)
    assert getattr(x.at[0], how)(3).dtype == x.dtype
    narrow = tg.Tensor(np.ones(2, np.float32))
    assert getattr(narrow.at[[0, 1]], how)([2.5, 0.5]).dtype == np.float32


def test_updates_leave_the_tensor_as_it_was():
    x = tg.Tensor([1.0, 2.0])
    for how in ("set", "add", "multiply", "min", "max"):
        getattr(x.at[0], how)(9.0)
    assert x.tolist() == [1.0, 2.0]


def test_stop_gradient_passes_the_value_only():
    assert gradient(lambda x: x * tg.stop_gradient(x), [3.0]) == [[3.0]]


PLAIN = {
    "sum": 3.0, "prod": 3.0, "max": 3.0, "min": 3.0, "any": 3.0, "all": 3.0, "argmax": [3.0],
    "count_nonzero": 3.0, "cumulative_sum": [1.0, 2.0], "cumulative_prod": [1.0, 2.0],
    "sort": [2.0, 1.0], "argsort": [2.0, 1.0], "flip": [1.0, 2.0], "exp": 1.0, "abs": -1,
    "matrix_transpose": [[1.0, 2.0]], "expand_dims": 3.0, "tril": [[1.0, 2.0]], "isnan": 1.0,
    "repeat": 3.0, "astype": 3.0, "reshape": 3.0, "broadcast_to": 3.0, "stop_gradient": 3.0,
}  # fmt: skip
"""Numbers and lists that the functions take in place of arrays."""

FURTHER = {"repeat": (2,), "astype": ("float32",), "reshape": ((1,),), "broadcast_to": ((2,),)}


@pytest.mark.parametrize("name", PLAIN)
def test_numbers_and_lists_are_taken_like_arrays(name):
    given, further = PLAIN[name], FURTHER.get(name, ())
    found = getattr(tg, name)(given, *further)
    array = getattr(tg, name)(np.asarray(given), *further)
    assert isinstance(found, tg.Tensor)
    assert rows._identical(found.data, array.data)


def test_products_of_matrices_refuse_numbers():
    with pytest.raises(errors.TinygradError, match="matmul"):
        tg.matmul(2.0, [1.0])
