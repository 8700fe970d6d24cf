"""Random inputs for tests of gradients: what they are like, and that they are what they say."""

import collections
import importlib
import inspect
import itertools
import random
import sys
import time
import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
import test_footguns
from hypothesis import find, given, settings
from hypothesis.extra import numpy as hnp
from hypothesis.vendor.pretty import pretty

import tinygrad_bn as tg
from tinygrad_bn.errors import DTypeError, OptionalDependencyError, ShapeError
from tinygrad_bn.functions import creation, manipulation
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.namespaces import tensors
from tinygrad_bn.graph.primitive import table
from tinygrad_bn.testing import check_gradients, strategies
from tinygrad_bn.testing.generators import compositions
from tinygrad_bn.testing.generators.calls import Call, domain_of, draw_call
from tinygrad_bn.testing.generators.choices import Seeded
from tinygrad_bn.testing.generators.compositions import draw_composition
from tinygrad_bn.testing.generators.models import draw_model
from tinygrad_bn.testing.generators.plans import draw_key, draw_plan
from tinygrad_bn.testing.generators.values import KINDS, palette

FLOATS = (np.float16, np.float32, np.float64, np.longdouble)
DOMAINS = ((-2.0, 2.0), (0.1, 3.0), (-0.9, 0.9), (1.1, 3.0), (-0.8, 2.0), (-1.0, -0.5))
ROWS = [op for op in table.values() if op.origin.startswith("tinygrad_bn.")]
DIFFERENTIABLE = [op for op in ROWS if op.differentiable]
MANY = settings(max_examples=300, derandomize=True, database=None)


def seeded(*seed):
    return Seeded(np.random.default_rng(seed))


def found(strategy, condition):
    """The simplest example of a strategy that fulfils a condition, the same in every run."""
    return find(strategy, condition, random=random.Random(0))  # noqa: S311  (a test)


def drawn(strategy, config=MANY):
    """All examples of a strategy."""
    examples = []

    @config
    @given(strategy)
    def collect(example):
        examples.append(example)

    collect()
    return examples


@pytest.fixture
def own_rows():
    """Take rows that a test adds out of the table again."""
    with test_footguns.restored():
        yield


# choices ------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_choices_again():
    first, second = seeded(3), seeded(3)
    for choices in (first, second):
        choices.record = [
            choices.integer(-2, 5),
            choices.among("abc"),
            choices.order(5),
            choices.array((2, 3)).tolist(),
            choices.part(lambda c: c.integer(0, 9)),
        ]
    assert first.record == second.record


def test_seeded_integers_are_uniform_and_reach_both_ends():
    choices = seeded(0)
    counts = collections.Counter(choices.integer(-1, 4) for _ in range(6000))
    assert set(counts) == {-1, 0, 1, 2, 3, 4}
    spread = np.sqrt(6000 * (1 / 6) * (5 / 6))
    assert all(abs(n - 1000) < 5 * spread for n in counts.values())
    assert set(choices.integers((2000,), -1, 4).tolist()) == set(counts)


def test_a_chance_comes_as_often_as_it_says():
    choices = seeded(1)
    hits = sum(choices.chance(1, 4) for _ in range(4000))
    assert abs(hits - 1000) < 5 * np.sqrt(4000 * 3 / 16)


def test_orders_are_permutations_and_all_of_them_come():
    choices = seeded(2)
    orders = {tuple(choices.order(3)) for _ in range(200)}
    assert len(orders) == 6
    assert all(sorted(order) == [0, 1, 2] for order in orders)


def test_choices_of_hypothesis_shrink_to_the_first_and_lowest():
    @st.composite
    def chosen(draw):
        choices = strategies.Drawn(draw)
        return (
            choices.integer(3, 9),
            choices.among("xyz"),
            choices.chance(1, 2),
            choices.order(3),
            choices.array((2,), domain=(0.1, 3.0)).tolist(),
        )

    assert found(chosen(), lambda _: True) == (3, "x", False, [0, 1, 2], [1.0, 1.0])


# values -------------------------------------------------------------------------------------------


def bits(numbers):
    """The number of bits of each significand."""
    wide = np.abs(numbers).astype(np.longdouble)
    whole = (np.frexp(wide)[0] * np.longdouble(2) ** 53).astype(np.int64)
    return np.where(whole == 0, 0, 54 - np.frexp((whole & -whole).astype(np.float64))[1])


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", KINDS)
def test_values_are_finite_exact_in_few_bits_and_simplest_first(kind, dtype, domain):
    numbers = palette(kind, np.dtype(dtype), domain)
    assert numbers.dtype == dtype
    assert np.isfinite(numbers).all()
    assert bits(numbers).max() <= 11
    assert not numbers.flags.writeable
    if kind != "mixed":
        assert (np.diff(bits(numbers)) >= 0).all()
        assert np.unique(numbers).size == numbers.size


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("kind", ["generic", "ties", "constant"])
def test_moderate_values_are_multiples_of_the_grid_in_the_domain(kind, domain):
    numbers = palette(kind, np.dtype(float), domain)
    assert numbers.min() >= domain[0]
    assert numbers.max() <= domain[1]
    assert (numbers * 2**8 == np.round(numbers * 2**8)).all()
    assert (0 in numbers) == (domain[0] <= 0 <= domain[1])


def test_ties_are_few_values():
    assert all(4 <= palette("ties", np.dtype(float), d).size <= 9 for d in DOMAINS)


@pytest.mark.parametrize(
    ("kind", "dtype", "low", "high"),
    [
        ("huge", np.float64, 10, 40),
        ("huge", np.float32, 10, 40),
        ("huge", np.float16, 10, 12),
        ("tiny", np.float64, -40, -10),
        ("tiny", np.float16, -10, -8),
    ],
)
def test_magnitudes_of_huge_and_tiny_values(kind, dtype, low, high):
    sizes = np.abs(palette(kind, np.dtype(dtype)).astype(float))
    assert sizes.min() == 2.0**low
    assert 2.0 ** (high - 1) < sizes.max() <= 2.0**high


@pytest.mark.parametrize("dtype", FLOATS)
def test_subnormal_numbers_are_in_their_own_kind_only(dtype):
    limit = np.finfo(dtype).smallest_normal
    for kind in KINDS:
        sizes = np.abs(palette(kind, np.dtype(dtype)))
        assert ((sizes > 0) & (sizes < limit)).all() == (kind == "subnormal")
        assert ((sizes > 0) & (sizes < limit)).any() == (kind == "subnormal")


@pytest.mark.parametrize("kind", ["huge", "tiny", "mixed", "subnormal"])
def test_extreme_values_keep_the_signs_of_the_domain(kind):
    assert (palette(kind, np.dtype(float), (0.1, 3.0)) > 0).all()
    assert (palette(kind, np.dtype(float), (-1.0, -0.5)) < 0).all()
    assert set(np.sign(palette(kind, np.dtype(float)))) >= {-1.0, 1.0}


def test_far_outside_an_uneven_domain_numbers_are_on_its_longer_side():
    assert (palette("huge", np.dtype(float), (-0.8, 2.0)) > 0).all()
    assert (palette("huge", np.dtype(float), (-2.0, 0.8)) < 0).all()


def test_a_mixed_array_has_every_kind_in_it():
    x = seeded(0).array((40,), kind="mixed")
    sizes = np.abs(x)
    assert (sizes >= 2.0**10).any()
    assert ((sizes > 0) & (sizes < 2.0**-10)).any()
    assert ((sizes >= 2.0**-8) & (sizes <= 2)).any()
    assert np.unique(x).size > 20


def test_a_constant_array_has_one_value():
    values = {tuple(np.unique(seeded(i).array((3, 4), kind="constant"))) for i in range(50)}
    assert all(len(v) == 1 for v in values)
    assert len(values) > 30


def test_narrow_wide_and_far_domains_have_values():
    assert palette("generic", np.dtype(float), (0.0, 1e-6)).size > 60
    assert palette("generic", np.dtype(float), (1000.0, 1001.0)).size == 257
    assert 1000 < palette("generic", np.dtype(float), (-1e6, 1e6)).size < 5000
    assert palette("generic", np.dtype(float), (0.3, 0.3)).tolist() == [0.3]
    assert np.isfinite(palette("generic", np.dtype(np.float16), (-1e6, 1e6))).all()


def test_integers_and_booleans_have_values_too():
    assert palette("generic", np.dtype(int), (-2.0, 2.0)).tolist() == [0, 1, -1, 2, -2]
    assert palette("ties", np.dtype(np.uint8), (-2.0, 2.0)).tolist() == [0, 1, 2]
    assert palette("constant", np.dtype(bool)).tolist() == [False, True]


def test_values_that_there_are_not_say_so():
    with pytest.raises(ShapeError, match="no kind of values 'odd'"):
        palette("odd", np.dtype(float))
    with pytest.raises(DTypeError, match="no huge values of dtype int64"):
        palette("huge", np.dtype(int))
    with pytest.raises(DTypeError, match="no values of dtype complex128"):
        palette("generic", np.dtype(complex))
    for domain in ((1.0, 0.0), (0.0, np.inf), (np.nan, 1.0)):
        with pytest.raises(ShapeError, match="no interval"):
            palette("generic", np.dtype(float), domain)
    with pytest.raises(ShapeError, match="holds no multiple"):
        palette("generic", np.dtype(np.float16), (2000.1, 2000.2))


# degenerate arrays --------------------------------------------------------------------------------


def share_of_flat_columns(examples):
    return np.mean([(np.ptp(x, axis=0) == 0).any() for x in examples])


def test_generic_arrays_have_hardly_a_column_without_variance():
    choices = seeded(0)
    assert share_of_flat_columns([choices.array((4, 4)) for _ in range(1000)]) == 0
    for kind in ("generic", "mixed"):
        assert share_of_flat_columns(drawn(strategies.arrays((4, 4), kind=kind))) < 0.05


def test_arrays_that_hypothesis_fills_mostly_have_one():
    elements = st.floats(-10, 10)
    usual = drawn(hnp.arrays(np.float64, (4, 4), elements=elements))
    assert share_of_flat_columns(usual) > 0.5


def test_up_to_24_elements_are_drawn_one_by_one_and_more_from_a_seed_of_25_choices():
    counted = []

    @st.composite
    def one(draw, shape):
        count = 0

        def counting(strategy):
            nonlocal count
            count += 1
            return draw(strategy)

        x = strategies.Drawn(counting).array(shape)
        counted.append((x.size, count))
        return x

    few = settings(max_examples=5, database=None)
    drawn(one((4, 6)), few)
    assert set(counted) == {(24, 24)}
    counted.clear()
    examples = drawn(one((5, 5)), settings(max_examples=20, database=None))
    assert set(counted) == {(25, 25)}
    assert all(np.unique(x).size > 20 for x in examples)
    counted.clear()
    drawn(one((30, 30)), few)
    assert set(counted) == {(900, 25)}


def test_shrunk_arrays_are_readable():
    x = found(strategies.arrays((2, 2)), lambda x: (x > 0.3).any())
    assert sorted(x.ravel().tolist()) == [0.0, 0.0, 0.0, 1.0]
    y = found(strategies.arrays((2,), kind="huge"), lambda x: (x < 0).all())
    assert y.tolist() == [-1024.0, -1024.0]


# shapes, axes, labels -----------------------------------------------------------------------------


@given(strategies.shapes(min_dims=1, max_dims=2, min_side=2, max_side=5))
def test_shapes_keep_their_limits(shape):
    assert 1 <= len(shape) <= 2
    assert all(2 <= n <= 5 for n in shape)


def test_shapes_broadcast_by_ones_and_by_axes_left_out():
    examples = drawn(strategies.broadcastable_shapes(2, max_dims=3))
    for first, second in examples:
        common = np.broadcast_shapes(first, second)
        assert len(common) <= 3
    assert any(len(a) != len(b) for a, b in examples)
    assert any(1 in a and np.broadcast_shapes(a, b) != a for a, b in examples)


@pytest.mark.parametrize("ndim", [0, 1, 3])
def test_axes_are_axes(ndim):
    examples = drawn(strategies.axes(ndim, least=0))
    x = np.ones((2,) * ndim)
    for axis in examples:
        x.sum(axis=axis)
    assert None in examples
    if ndim:
        assert any(isinstance(a, int) and a < 0 for a in examples)
    if ndim > 1:
        assert any(isinstance(a, tuple) and len(a) > 1 and a != tuple(sorted(a)) for a in examples)


def test_axes_are_of_the_forms_that_are_wanted():
    assert all(isinstance(a, int) for a in drawn(strategies.axes(2, none=False, several=False)))
    assert drawn(strategies.axes(0, several=False)) == [None]


def test_labels_are_classes():
    examples = drawn(strategies.labels((2, 2), 3))
    assert {int(label) for x in examples for label in x.ravel()} == {0, 1, 2}
    assert {x.dtype for x in examples} == {np.dtype(np.int64)}


def test_dtypes_are_those_that_are_wanted():
    half, double = np.dtype(np.float16), np.dtype(np.longdouble)
    assert half in drawn(strategies.dtypes())
    assert {half, double} & set(drawn(strategies.dtypes(half=False))) == set()
    assert double in drawn(strategies.dtypes(extended=True))


def test_shapes_of_arrays_are_given_drawn_or_one_number():
    few = settings(max_examples=5, database=None)
    assert {x.shape for x in drawn(strategies.arrays(3), few)} == {(3,)}
    assert {x.shape for x in drawn(strategies.arrays([2, 1]), few)} == {(2, 1)}
    shapes = strategies.shapes(min_dims=2, max_dims=2, min_side=2)
    assert all(x.ndim == 2 and min(x.shape) > 1 for x in drawn(strategies.arrays(shapes), few))


@given(
    strategies.tensors(
        strategies.shapes(max_dims=2), dtype=strategies.dtypes(), kind=strategies.kinds()
    ),
    strategies.tensors(requires_grad=False, domain=(0.1, 3.0)),
)
def test_tensors_are_leaves_of_the_kind_asked_for(x, y):
    assert x.requires_grad
    assert x.op is None
    assert not y.requires_grad
    assert (y.data > 0).all()


def test_without_hypothesis_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "tinygrad_bn.testing.strategies")
    with pytest.raises(OptionalDependencyError, match=r"pip install \"tinygrad_bn\[testing\]\""):
        importlib.import_module("tinygrad_bn.testing.strategies")


# calls --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_every_row_has_calls_of_every_kind(op):
    choices = seeded(7)
    for kind, dtype in itertools.product(KINDS, FLOATS):
        for _ in range(2):
            call = draw_call(choices, op, kind=kind, dtype=dtype)
            assert isinstance(call, Call)
            assert np.array_equal(call().data, call.value, equal_nan=True)
            if op.differentiable:
                assert call.wrt
                assert call.value.dtype.kind == "f"
                assert np.isfinite(call.value).all()
                assert all(x.dtype == dtype for x in call.primals)


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_calls_keep_away_from_kinks_as_far_as_asked(op):
    choices = seeded(8)
    for _ in range(40):
        call = draw_call(choices, op, margin=0.01)
        assert call.margin >= 0.01
        assert call.wrt


@pytest.mark.parametrize("op", [op for op in DIFFERENTIABLE if op.name != "astype"], ids=repr)
def test_the_gradient_of_a_random_call_is_right(op):
    call = draw_call(seeded(9), op, margin=0.01)
    assert check_gradients(call, *call.primals, order=1, directions=1).ok, call


def many(name, count=150):
    choices = seeded(5)
    return [draw_call(choices, name) for _ in range(count)]


def test_parameters_come_in_all_their_forms():
    axes = [c.params["axis"] for c in many("sum")]
    assert None in axes
    assert any(isinstance(a, int) and a < 0 for a in axes)
    assert any(isinstance(a, tuple) and len(a) == 2 for a in axes)
    assert {c.params["keepdims"] for c in many("max")} == {True, False}
    assert {c.params["descending"] for c in many("sort")} == {True, False}
    assert {c.params["include_initial"] for c in many("cumulative_prod")} == {True, False}
    orders = [[a % len(c.params["axes"]) for a in c.params["axes"]] for c in many("permute_dims")]
    turned = [order for order in orders if np.argsort(order).tolist() != order]
    assert len(turned) > len(orders) / 3
    assert any(isinstance(c.params["shift"], tuple) for c in many("roll"))
    assert any(-1 in c.params["shape"] for c in many("reshape"))
    assert any(isinstance(c.params["repeats"], tuple) for c in many("repeat"))
    assert any("aa" in c.params["subscripts"] for c in many("einsum"))
    assert any(len(c.operands) == 3 for c in many("einsum"))


def test_operands_have_the_shapes_that_show_faults():
    assert any(np.ndim(x) == 0 for c in many("multiply") for x in c.operands)
    assert any(isinstance(x, float) for c in many("multiply") for x in c.operands)
    assert any(c.operands[0].shape != c.value.shape for c in many("multiply") if c.wrt == (0, 1))
    assert any(1 in c.operands[0].shape and c.wrt == (0, 1) for c in many("add"))
    pairs = [(x.shape, y.shape) for x, y in (c.operands for c in many("matmul"))]
    assert any(len(x) == len(y) == 2 and len({*x, *y}) == 3 for x, y in pairs)
    assert any(len(x) == 1 for x, _ in pairs)
    assert any(len(x) == 3 > len(y) for x, y in pairs)
    for name in ("take", "getitem"):
        indices = [c.operands[1] for c in many(name) if len(c.operands) > 1]
        assert any((i < 0).any() for i in indices if i.dtype.kind == "i")
        assert any(np.unique(i).size < i.size for i in indices if i.dtype.kind == "i")
    conditions = [c.operands[0] for c in many("where")]
    assert {c.dtype for c in conditions} == {np.dtype(bool)}
    assert {type(e) for c in many("pow") for e in c.operands[1:]} == {np.ndarray, int, float}


@given(strategies.shapes(min_dims=1), st.booleans(), st.data())
def test_an_index_expression_picks_something(shape, repeats, data):
    key = draw_key(strategies.Drawn(data.draw), shape, repeats=repeats)
    places = np.arange(np.prod(shape)).reshape(shape)[key]
    assert places.size
    assert repeats or np.unique(places).size == places.size


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_a_plan_for_a_shape_has_an_operand_of_it(op):
    choices = seeded(6)
    made = 0
    for shape in ((2, 3), (3,), (), (2, 1, 3), (2, 2, 3, 1)):
        for _ in range(5):
            plan = draw_plan(choices, op, shape)
            if plan is not None:
                made += 1
                assert any(isinstance(g, tuple) and g == shape for g in plan.given)
                assert not any(value is inspect.Parameter.empty for value in plan.params.values())
    assert made


def test_a_call_of_huge_values_that_overflow_falls_back():
    choices = seeded(0)
    huge = [draw_call(choices, "square", kind="huge") for _ in range(10)]
    assert all(np.abs(c.operands[0]).min() >= 2.0**10 for c in huge)
    risen = [draw_call(choices, "exp", kind="huge") for _ in range(10)]
    assert all(np.isfinite(c.value).all() for c in risen)
    assert any(np.abs(c.operands[0]).max() <= 2 for c in risen)
    pairs = [draw_call(choices, "pow", kind="huge") for _ in range(40)]
    assert any(np.size(c.operands[0]) and np.max(c.operands[0]) >= 2.0**10 for c in pairs)


def test_rows_of_ones_own_are_drawn_too(own_rows):
    @tg.families.elementwise(vjp=lambda xp, g, out, x: g * xp.exp(x) / (1 + xp.exp(x)))
    def soft_plus_of_mine(x):
        """Softplus."""
        return np.log(1 + np.exp(x))

    @tg.families.reduction(
        vjp=lambda xp, g, out, x, axis, keepdims: xp.broadcast_to(
            g if keepdims else xp.expand_dims(g, axis=axis), x.shape
        ),
        cases=[(((2, 3),), {"axis": -1})],
    )
    def total_of_mine(x, /, *, axis: int = -1, keepdims: bool = False):
        """Sum along an axis."""
        return np.sum(x, axis=axis, keepdims=keepdims)

    @tg.custom_rule(
        vjp=lambda xp, g, out, x, power: g * power * xp.pow(x, power - 1),
        cases=[(((2, 3),), {"power": 3}), (((4,),), {"power": 2})],
        domain=(0.5, 2.0),
    )
    def power_of_mine(x, *, power=2):
        return tg.pow(x, power)

    shapes = set()
    for name in ("soft_plus_of_mine", "total_of_mine", "power_of_mine"):
        choices = seeded(1)
        for _ in range(30):
            call = draw_call(choices, name)
            shapes.add((name, call.operands[0].shape))
            assert np.array_equal(call().data, call.value)
        assert check_gradients(call, *call.primals, order=1, directions=1).ok
    assert {s for n, s in shapes if n == "power_of_mine"} == {(2, 3), (4,)}
    assert len({s for n, s in shapes if n == "soft_plus_of_mine"}) > 8
    assert len({s for n, s in shapes if n == "total_of_mine"}) > 8


def test_a_row_that_is_nowhere_finite_says_so(own_rows):
    @tg.families.elementwise(vjp=lambda xp, g, out, x: g, domain=(-2.0, -1.0))
    def root_of_mine(x):
        """Square root, in the wrong domain."""
        return np.sqrt(x)

    with pytest.raises(ShapeError, match="root_of_mine: every draw"):
        draw_call(seeded(0), "root_of_mine")
    with pytest.raises(ShapeError, match="no primitive 'nothing'"):
        draw_call(seeded(0), "nothing")


def test_a_domain_for_each_operand():
    assert domain_of(table["divide"], 0) == (-2.0, 2.0)
    assert domain_of(table["divide"], 1) == (0.1, 3.0)
    assert domain_of(table["log"], 3) == (0.1, 3.0)


def test_a_call_says_what_it_is():
    call = Call(table["sum"], (np.ones((2, 3)),), {**table["sum"].static, "axis": (0, -1)})
    assert repr(call) == "tg.sum(np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]), axis=(0, -1))"
    assert pretty(call) == repr(call)


@given(strategies.calls(["sin", "matmul"]), strategies.calls("take", kind="ties"))
def test_calls_are_of_the_rows_asked_for(one, other):
    assert one.op.name in ("sin", "matmul")
    assert other.op.name == "take"
    assert set(other.operands[0].ravel()) <= {-2.0, -1.0, 0.0, 1.0, 2.0}


def test_calls_shrink_to_simple_ones():
    call = found(strategies.calls(["sum", "tile"]), lambda c: c.value.size > 3)
    assert call.value.size == 4
    assert not call.operands[0].any()


# compositions -------------------------------------------------------------------------------------

CONSTANT = {
    "one_hot",  # of labels
    "RunningStats",  # a value, not a function
    *("nonzero", "unique_all", "unique_counts", "unique_inverse", "unique_values"),
    *("zeros", "ones", "empty", "zeros_like", "ones_like", "empty_like", "eye"),
    *("arange", "linspace", "from_dlpack"),  # of numbers, and of foreign arrays
    *("broadcast_shapes", "result_type", "can_cast", "finfo", "iinfo", "isdtype"),
    "__array_namespace_info__",
}
"""Public functions without a gradient."""


def test_no_composed_function_is_forgotten():
    listed = {n for n in dir(tg.functions) if callable(getattr(tg.functions, n))}
    for module in (creation, manipulation):
        listed |= {n for n, f in vars(module).items() if getattr(tensors, n, ...) is f}
    public = {n for n in listed if hasattr(tensors, n)}
    primitive = set(table) - {"einsum"}
    assert public - CONSTANT - primitive == set(compositions.NAMES)


def identical(first, second):
    pairs = zip(flatten(first)[0], flatten(second)[0], strict=True)
    return all(x.dtype == y.dtype and np.array_equal(x.data, y.data) for x, y in pairs)


@pytest.mark.parametrize("name", compositions.NAMES)
def test_every_composition_has_arguments_of_every_kind(name):
    choices = seeded(3)
    for kind, dtype in itertools.product(KINDS, FLOATS):
        function, arguments = draw_composition(choices, name, kind=kind, dtype=dtype)
        assert {x.dtype for x in arguments} == {np.dtype(dtype)}
        with np.errstate(all="ignore"):
            results = flatten(function(*arguments))[0]
            assert identical(results, flatten(function(*arguments))[0])
        assert all(np.isfinite(y.data).all() for y in results)


@pytest.mark.parametrize("name", compositions.NAMES)
def test_the_gradient_of_a_random_composition_is_right(name):
    function, arguments = draw_composition(seeded(4), name)
    assert check_gradients(function, *arguments, order=1, directions=1).ok, function


@pytest.mark.parametrize("name", compositions.NAMES)
def test_a_composition_prints_as_the_call_that_it_is(name):
    choices = seeded(5)
    for _ in range(3):
        function, arguments = draw_composition(choices, name)
        scope = {"np": np, "tg": tg} | {f"x{i}": x for i, x in enumerate(arguments, 1)}
        assert function.__name__ == name
        assert identical(eval(repr(function), scope), function(*arguments))  # noqa: S307  (our own text)


def test_keywords_come_in_their_variants():
    def seen(name, keyword):
        choices = seeded(6)
        cases = [draw_composition(choices, name).function for _ in range(80)]
        found = [case.keywords.get(keyword) for case in cases]
        return {"an array" if isinstance(v, np.ndarray) else v for v in found}

    assert {0, 1} <= seen("var", "correction")
    assert {"sum", "none"} <= seen("cross_entropy", "reduction")
    assert {None, 0.125} <= seen("cross_entropy", "label_smoothing")
    assert {None, -1, 0} <= seen("nll_loss", "ignore_index")
    assert compositions.OPEN in seen("cross_entropy", "weight")
    assert "an array" in seen("softmax", "where")
    assert compositions.OPEN in seen("softmax", "temperature")
    assert "zero" in seen("softmax", "empty")
    assert 2 in seen("conv2d", "groups")
    assert (compositions.OPEN, compositions.OPEN) in seen("batch_norm", "stats")
    assert {2, 1} <= seen("max_pool2d", "stride")
    assert {"edge", "reflect", "wrap"} <= seen("pad", "mode")


def test_a_composition_that_there_is_not_says_so():
    with pytest.raises(ShapeError, match="no composition 'nothing'"):
        draw_composition(seeded(0), "nothing")


# models -------------------------------------------------------------------------------------------


def test_models_are_functions_of_parameters_and_input():
    kinds = set()
    for i in range(40):
        model, x = draw_model(seeded(i), depth=(1, 3))
        kinds |= {type(layer).__name__ for layer in model}
        before = model.state_dict()
        assert np.array_equal(model(x).data, model(x).data)
        assert all(np.array_equal(v, before[k]) for k, v in model.state_dict().items())
        assert 1 <= sum(type(layer).__name__ == "Linear" for layer in model) <= 3
    assert {"Linear", "BatchNorm", "LayerNorm", "ReLU", "Tanh"} <= kinds


@pytest.mark.parametrize("seed", range(5))
def test_the_gradients_of_a_random_model_are_right(seed):
    drawn_model = draw_model(seeded(100 + seed), smooth=True)
    report = check_gradients(lambda m, x: m(x), *drawn_model, order=1, directions=1)
    assert report.ok, str(report)


# costs --------------------------------------------------------------------------------------------


def test_a_seeded_call_costs_well_under_a_millisecond():
    def seconds_each():
        choices = seeded(0)
        begin = time.perf_counter()
        for op in DIFFERENTIABLE:
            draw_call(choices, op, margin=0.01)
        return (time.perf_counter() - begin) / len(DIFFERENTIABLE)

    assert min(seconds_each() for _ in range(3)) < 1e-3


def test_drawing_raises_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in KINDS:
            for dtype in FLOATS:
                palette.cache_clear()
                seeded(0).array((3,), kind=kind, dtype=dtype)
