"""The gradient checker is itself checked: it finds what is wrong, and is quiet elsewhere."""

import itertools
import re
import time

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_bn as tg
from tinygrad_bn.errors import DTypeError, GradientError, ShapeError
from tinygrad_bn.graph.namespaces import arrays, tensors
from tinygrad_bn.graph.primitive import table
from tinygrad_bn.testing import check_gradients
from tinygrad_bn.testing.checking.differences import central, noise_of, one_sided
from tinygrad_bn.testing.checking.recorded import Recorded

DRAWN = np.random.default_rng(7).normal(size=(4, 3))
LABELS = np.array([0, 2, 1, 1])


@pytest.fixture
def rule():
    """Make rows with a given rule, and take them out of the table afterwards."""
    made = []

    def make(function, vjp, **options):
        def planted(x):
            return function(x)

        planted.__name__ = f"planted_{len(table)}"
        made.append(planted.__name__)
        return tg.custom_rule(vjp=vjp, **options)(planted)

    yield make
    for name in made:
        table.pop(name)
        delattr(arrays, name)
        delattr(tensors, name)


def kinds(report):
    return {v.kind for v in report.verdicts}


def off_by(error):
    def one_element(xp, g, out, x):
        return g * xp.cos(x) + error * (np.arange(x.size).reshape(x.shape) == x.size - 1)

    return one_element


WRONG = {
    "scaled by 1+1e-4": lambda xp, g, out, x: g * xp.cos(x) * (1 + 1e-4),
    "scaled by 1+1e-8": lambda xp, g, out, x: g * xp.cos(x) * (1 + 1e-8),
    "zero": lambda xp, g, out, x: xp.zeros_like(g),
    "negated": lambda xp, g, out, x: -g * xp.cos(x),
    "one element off by 1e-5": off_by(1e-5),
    "rolled": lambda xp, g, out, x: xp.roll(g * xp.cos(x), shift=1),
    "no cotangent": lambda xp, g, out, x: xp.cos(x),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_is_found_and_named_with_its_line(rule, name):
    planted = rule(tg.sin, WRONG[name])

    def model(x):
        return tg.softmax(tg.exp(planted(x * 2.0)) + x)

    report = check_gradients(model, DRAWN, seed=5)
    assert "mismatch" in kinds(report)
    assert f"first wrong rule: planted_{len(table) - 1}(" in report.culprit
    assert f"{__file__}:" in report.culprit
    with pytest.raises(GradientError, match="planted"):
        report.raise_if_wrong()
    text = str(report)
    assert "seed 5" in text
    assert re.search(r"worst element: x\[\d, \d\]: claimed", text)


def test_the_worst_element_is_named(rule):
    planted = rule(tg.sin, off_by(1e-5))
    report = check_gradients(lambda data: planted(data["a"]), {"a": DRAWN}, order=1)
    assert report.worst_coordinate.startswith("data['a'][3, 2]: claimed")
    large = np.linspace(0.1, 3.0, 300)
    report = check_gradients(planted, large, order=1, modes=("reverse",))
    assert report.worst_coordinate.startswith("x[299]: claimed")


def test_a_rule_wrong_only_when_differentiated_again_is_found(rule):
    def stopped(xp, g, out, x):
        return g * xp.astype(np.cos(np.asarray(x)), x.dtype)

    planted = rule(tg.sin, stopped)
    assert check_gradients(planted, DRAWN, order=1, modes=("reverse",)).ok
    report = check_gradients(planted, DRAWN)
    assert {v.order for v in report.verdicts if v.kind == "mismatch"} == {2}


def test_a_zero_gradient_of_a_small_function_is_a_mismatch(rule):
    planted = rule(lambda x: 1e-6 * x, lambda xp, g, out, x: xp.zeros_like(g))
    assert "mismatch" in kinds(check_gradients(planted, 1.3))


def test_a_gradient_cut_by_stop_gradient_is_a_mismatch_that_names_the_line():
    report = check_gradients(lambda x: x * tg.stop_gradient(x), 2.0)
    assert "mismatch" in kinds(report)
    assert "every rule is right" in report.culprit
    assert f"stop_gradient at {__file__}:" in report.culprit


def batch_norm(x, gamma, beta):
    return tg.batch_norm(x, gamma, beta)


CLOSED_OVER = tg.Tensor(DRAWN[:, :2].T @ DRAWN, requires_grad=True, name="w")

RIGHT = {
    "1e-6 x": (lambda x: 1e-6 * x, 1.3),
    "x squared at 1e12": (lambda x: x**2, 1e12),
    "float32 x squared at 100": (lambda x: x**2, np.float32(100)),
    "float16": (lambda x: tg.sin(x) * x, np.array([0.5, 2.0], np.float16)),
    "1e8 + sin": (lambda x: 1e8 + tg.sin(x), 0.7),
    "relu at 0": (tg.relu, np.array([0.0, 1.0, -1.0])),
    "abs at 0": (tg.abs, 0.0),
    "ties of max": (lambda x: tg.max(x, axis=0), np.array([[1.0, 2, 2], [1, 0, 2]])),
    "ties of sort": (tg.sort, np.array([1.0, 2, 2, 0, 2])),
    "a branch of Python at its border": (lambda x: x if x.item() > 0 else 2 * x, 0.0),
    "kinks that coincide": (lambda x: tg.relu(x) - tg.relu(-x), 0.0),
    "many kinks of mixed signs": (tg.relu, np.zeros(9)),
    "a kink at 1e-9": (tg.abs, np.array([1e-9, 1.0])),
    "product with a zero": (tg.prod, np.array([1.0, 0.0, 2.0, 0.5])),
    "softmax": (tg.softmax, DRAWN),
    "softmax at 1e4": (tg.softmax, 1e4 * DRAWN),
    "softmax in float32": (tg.softmax, (30 * DRAWN).astype(np.float32)),
    "sum of softmax": (lambda z: tg.softmax(z).sum(), DRAWN),
    "masked softmax": (tg.softmax, np.array([1.0, -np.inf, 0.3])),
    "cross_entropy": (tg.cross_entropy, DRAWN, LABELS),
    "batch_norm": (batch_norm, DRAWN, DRAWN[0], DRAWN[1]),
    "batch_norm at 1e6": (tg.batch_norm, 1e6 + DRAWN),
    "batch_norm in float32": (tg.batch_norm, DRAWN.astype(np.float32)),
    "batch_norm of a constant column": (tg.batch_norm, np.column_stack([DRAWN, np.ones(4)])),
    "a container": (lambda p: {"y": p["w"] @ p["b"][0]}, {"w": DRAWN, "b": [DRAWN[1]]}),
    "a closed-over parameter": (lambda x: tg.tanh(x @ CLOSED_OVER.T), DRAWN),
    "two dtypes": (lambda a, b: a * b, np.float32(3), np.array([1.5, 2.5])),
    "a constant function": (tg.zeros_like, DRAWN),
    "no elements": (lambda x: tg.sum(x * x), np.zeros((0, 3))),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right_gradients_pass(name):
    function, *arguments = RIGHT[name]
    report = check_gradients(function, *arguments)
    assert report.ok, str(report)
    assert report.raise_if_wrong() is report


@pytest.mark.parametrize(
    "name", ["relu at 0", "abs at 0", "ties of max", "a branch of Python at its border"]
)
def test_kinks_are_called_so_and_the_gradient_beside_them_is_checked(name):
    function, *arguments = RIGHT[name]
    report = check_gradients(function, *arguments)
    assert "kink" in {v.kind for v in report.verdicts if not v.nearby}
    assert {v.kind for v in report.verdicts if v.nearby} == {"ok"}


def test_a_claim_outside_the_slopes_of_a_kink_is_a_mismatch(rule):
    slope = lambda xp, g, out, x: g * xp.where(x == 0, 1.5, xp.sign(x))  # noqa: E731  (a rule)
    planted = rule(tg.abs, slope, margin=np.abs)
    report = check_gradients(planted, np.array([0.0, 1.0]), order=1)
    assert "mismatch" in kinds(report)
    assert "planted" in report.culprit
    assert report.worst_coordinate.startswith("x[0]: claimed")
    fine = rule(tg.abs, lambda xp, g, out, x: g * xp.where(x >= 0, 1.0, -1.0))
    assert kinds(check_gradients(fine, np.array([0.0, 1.0]), order=1)) <= {"kink", "ok"}


def test_a_wrong_rule_beside_a_kink_is_found(rule):
    slope = lambda xp, g, out, x: g * xp.where(x == 0, 0.0, 1.001 * xp.sign(x))  # noqa: E731  (a rule)
    planted = rule(tg.abs, slope, margin=np.abs)
    assert "mismatch" in kinds(check_gradients(planted, 0.0))


def test_a_random_function_is_nondeterministic():
    rng = np.random.default_rng(0)
    report = check_gradients(lambda x: x * rng.random(), 1.0)
    assert kinds(report) == {"nondeterministic"}
    assert not report.ok


def test_a_random_gradient_is_nondeterministic(rule):
    rng = np.random.default_rng(0)
    planted = rule(tg.sin, lambda xp, g, out, x: g * rng.random())
    assert kinds(check_gradients(planted, 1.0)) == {"nondeterministic"}


def test_values_and_gradients_that_are_not_finite_are_called_so():
    report = check_gradients(lambda x: tg.log(x).sum(), np.array([1.0, -1.0]))
    assert kinds(report) == {"nonfinite"}
    assert f"comes from log at {__file__}:" in str(report)
    assert kinds(check_gradients(tg.sqrt, 0.0)) == {"nonfinite"}
    assert kinds(check_gradients(tg.exp, np.float32(100.0))) == {"nonfinite"}


def test_what_differences_cannot_tell_is_inconclusive_and_no_pass(rule):
    def rough(x):
        return x + tg.astype(tg.astype(1e3 * tg.sin(x), tg.float16), tg.float64)

    planted = rule(rough, lambda xp, g, out, x: g * (1 + 1e3 * xp.cos(x)))
    report = check_gradients(planted, 0.7, order=1)
    assert kinds(report) == {"inconclusive", "ok"}
    assert {v.mode for v in report.verdicts if v.kind == "ok"} == {"adjoint", "linear"}
    assert not report.ok
    with pytest.raises(GradientError, match="NOT SHOWN RIGHT"):
        report.raise_if_wrong()


def test_a_cast_is_right_to_the_digits_of_its_dtype():
    def narrowed(x):
        return x + tg.astype(tg.astype(1e3 * tg.sin(x), tg.float16), tg.float64)

    report = check_gradients(narrowed, 0.7)
    assert report.ok, report
    assert report.worst < 2.0**-10


def test_a_gradient_wrong_in_float32_alone_is_found(rule):
    def narrow(xp, g, out, x):
        return g * xp.cos(x) * (1 + 1e-4 * (g.dtype == np.float32))

    planted = rule(tg.sin, narrow)
    assert check_gradients(planted, DRAWN).ok
    report = check_gradients(planted, DRAWN.astype(np.float32))
    assert [v.mode for v in report.verdicts if v.kind == "mismatch"] == ["float32"]


def test_integers_and_the_like_are_passed_through():
    seen = []

    def model(x, k, flag, index):
        seen.append((k, flag, index))
        return tg.take(x, index) * k if flag else x

    report = check_gradients(model, np.array([1.0, 2.0]), 3, True, np.array([1, 0, 1]))
    assert report.ok
    assert {v.argument for v in report.verdicts} == {"x"}
    assert all(k == 3 and flag is True and index.dtype == int for k, flag, index in seen)


def test_every_order_mode_argument_and_direction_has_a_verdict():
    report = check_gradients(lambda a, b: a * a * b, 2.0, 3.0, directions=2, order=3)
    asked = {(v.argument, v.mode, v.order, v.direction) for v in report.verdicts}
    modes = ("reverse", "forward", "adjoint")
    linear = {(name, "linear", 1, 0) for name in "ab"}
    assert asked == set(itertools.product("ab", modes, (1, 2, 3), (0, 1))) | linear
    assert report.worst < 1e-14
    for v in report.verdicts:
        assert abs(v.claimed - v.numeric) <= v.tolerance


def test_a_seed_gives_the_same_report_again_and_another_seed_another():
    one, two, other = (check_gradients(tg.sin, DRAWN, seed=s) for s in (1, 1, 2))
    assert one == two
    assert one.verdicts != other.verdicts


def test_nothing_to_check_is_refused():
    with pytest.raises(DTypeError, match="no argument has floating-point values"):
        check_gradients(lambda n: n, 3)
    with pytest.raises(DTypeError, match="returned no floating-point tensor"):
        check_gradients(tg.argmax, DRAWN)
    for wrong in ({"modes": ("sideways",)}, {"modes": ()}, {"order": 0}, {"directions": 0}):
        with pytest.raises(ShapeError, match="check_gradients with"):
            check_gradients(tg.sin, 1.0, **wrong)


UNARY = {
    "sin": tg.sin, "tanh": tg.tanh, "exp": tg.exp, "square": tg.square, "atan": tg.atan,
    "sigmoid": tg.sigmoid, "relu": tg.relu, "abs": tg.abs, "softplus": tg.softplus,
    "softmax": tg.softmax, "sort": tg.sort, "cumulative_sum": tg.cumulative_sum,
    "shifted": lambda x: x - tg.mean(x), "max": lambda x: x * tg.max(x),
    "divided": lambda x: x / (1 + x * x), "rolled": lambda x: tg.roll(x, 1) * x,
}  # fmt: skip

FEW_BITS = st.integers(-192, 192).map(lambda n: n / 64)
POINTS = st.one_of(
    st.lists(FEW_BITS, min_size=1, max_size=6),
    st.lists(st.integers(-2, 2).map(float), min_size=1, max_size=6),
    st.lists(st.floats(-3, 3, allow_subnormal=False), min_size=1, max_size=4),
)


@settings(max_examples=200)
@given(
    POINTS,
    st.lists(st.sampled_from(sorted(UNARY)), min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 99),
)
def test_no_false_alarm_on_compositions(point, chain, narrow, seed):
    def model(x):
        for name in chain:
            x = UNARY[name](x)
        return x

    x = np.array(point, np.float32 if narrow else np.float64)
    report = check_gradients(model, x, directions=1, seed=seed)
    assert "mismatch" not in kinds(report), f"{chain}: {report}"


@pytest.mark.parametrize(
    ("curve", "slope"),
    [
        (np.exp, 1),
        (lambda t: np.longdouble(1e8) + np.sin(t), 1),
        (lambda t: np.tanh(1e5 * t), 1e5),
        (lambda t: t * 0 + 3, 0),
        (lambda t: np.log(t + np.longdouble(0.2)), 5),
    ],
)
def test_the_error_bar_of_a_difference_holds(curve, slope):
    def at(t):
        with np.errstate(all="ignore"):
            return np.longdouble(curve(np.longdouble(t)))

    eps = float(np.finfo(np.longdouble).eps)
    noise = noise_of(at, np.longdouble, eps * abs(float(at(0))))
    for estimate in (
        central(at, noise, 0.125),
        one_sided(at, noise, 0.125, 1),
        one_sided(at, noise, 0.125, -1),
    ):
        assert estimate.trusted
        assert abs(estimate.value - slope) <= estimate.error
        assert estimate.error <= 1e-6 * max(abs(slope), 1)


def test_the_slopes_of_a_jump_diverge():
    estimate = one_sided(lambda t: np.longdouble(t >= 0), np.longdouble(1e-19), 0.125, -1)
    assert estimate.diverges


def test_a_check_of_batch_norm_takes_a_fraction_of_a_second():
    x = np.random.default_rng(0).normal(size=(32, 16))
    begin = time.process_time()
    assert check_gradients(tg.batch_norm, x, order=1, modes=("reverse",)).ok
    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize("name", ["x squared at 1e12", "ties of max", "batch_norm", "softmax"])
def test_without_long_double_right_passes_and_wrong_is_found(rule, monkeypatch, name):
    monkeypatch.setattr(Recorded, "extended", False)
    function, *arguments = RIGHT[name]
    report = check_gradients(function, *arguments)
    assert report.ok, str(report)
    planted = rule(tg.sin, WRONG["scaled by 1+1e-8"])
    assert "mismatch" in kinds(check_gradients(lambda x: tg.exp(planted(x)), DRAWN, order=1))


@pytest.mark.parametrize("mask", [True, False])
def test_masked_and_minus_infinite_entries_in_float32_are_no_alarm(mask):
    z = np.array([[1, 2, 3], [0, 1, 0]], np.float32)
    where = np.array([True, True, False]) if mask else None
    tg.testing.check_gradients(
        lambda z: tg.sum(tg.softmax(z, where=where) ** 2) + tg.cross_entropy(z, [0, 2]), z
    ).raise_if_wrong()


def test_a_wrong_parameter_is_named_by_its_path():
    model = tg.nn.Sequential(tg.nn.Linear(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1))
    report = tg.testing.check_gradients(lambda m: m(np.ones((2, 2))).sum(), model)
    names = {v.argument for v in report.verdicts}
    assert names == {f"m.layers.{i}.{p}" for i in (0, 1) for p in ("weight", "bias")}
