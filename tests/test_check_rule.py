"""Derivatives by hand under examination, and the traps that other checkers fall into."""

import numpy as np
import pytest
import test_footguns

import tinygrad_bn as tg
from tinygrad_bn.errors import DTypeError, GradientError
from tinygrad_bn.testing import check_gradients, check_rule

X = np.array([0.5, 2.0, -1.0])
WEIGHT = np.array([3.0, 1.0, 2.0])


@pytest.fixture(autouse=True)
def rows_are_gone_afterwards():
    with test_footguns.restored():
        yield


def kinds(report):
    return {v.kind for v in report.verdicts}


def notes(report):
    return " ".join(v.note for v in report.verdicts)


def relu(x):
    return np.maximum(x, 0)


def two(x, y):
    return x * y, np.sum(x)


def two_back(g, x, y):
    return g[0] * y + g[1], g[0] * x


RIGHT = {
    "one argument": (np.sin, lambda g, x: g * np.cos(x), X),
    "a 0-d argument": (np.sin, lambda g, x: g * np.cos(x), 0.5),
    "several results": (two, two_back, X, X + 1),
    "an integer argument": (lambda x, k: x**k, lambda g, x, k: g * k * x ** (k - 1), X, 3),
    "a gradient for it, too": (lambda x, i: x[i], lambda g, x, i: (add_at(g, x, i), None), X,
                               np.array([0, 2, 0])),
    "None for zero": (lambda x, y: x, lambda g, x, y: (g, None), X, X),
    "the cotangent itself": (lambda x, y: x + y, lambda g, x, y: (g, g), X, X),
    "float32": (np.sin, lambda g, x: g * np.cos(x), X.astype(np.float32)),
    "float16": (lambda x: x * x, lambda g, x: g * 2 * x, X.astype(np.float16)),
    "long double": (np.sin, lambda g, x: g * np.cos(x), X.astype(np.longdouble) / 3),
    "another byte order": (np.sin, lambda g, x: g * np.cos(x), X.astype(">f8")),
    "no elements": (np.sin, lambda g, x: g * np.cos(x), np.zeros((0, 3))),
    "relu at many zeros": (relu, lambda g, x: g * (x > 0), np.zeros(5)),
    "relu at zeros, from the right": (relu, lambda g, x: g * (x >= 0), np.zeros(5)),
    "float32 inside": (
        lambda x: np.sin(x).astype(np.float32).astype(x.dtype), lambda g, x: g * np.cos(x), X),
}  # fmt: skip


def add_at(g, x, i):
    found = np.zeros_like(x)
    np.add.at(found, i, g)
    return found


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("seed", range(3))
def test_right_rules_pass(name, seed):
    report = check_rule(*RIGHT[name], seed=seed)
    if name != "float32 inside":
        assert report.ok, str(report)
    assert kinds(report) <= {"ok", "kink", "inconclusive"}


def sorts_a_closure(g, x):
    WEIGHT.sort()
    return g * WEIGHT


def writes_to_its_argument(g, x):
    x *= 2
    return g


def writes_to_the_cotangent(g, x):
    g *= np.cos(x)
    return g


WRONG = {
    "scaled by 1 + 1e-8": (np.sin, lambda g, x: g * np.cos(x) * (1 + 1e-8), "mismatch"),
    "zero of 1e-6 x": (lambda x: 1e-6 * x, lambda g, x: 0 * g, "mismatch"),
    "outside the slopes at 0": (relu, lambda g, x: g * np.where(x == 0, 1.5, x > 0), "mismatch"),
    "a wrong shape": (np.sin, lambda g, x: np.sum(g * np.cos(x)), "mismatch"),
    "a wrong dtype": (np.sin, lambda g, x: (g * np.cos(x)).astype(np.float32), "mismatch"),
    "too many gradients": (np.sin, lambda g, x: (g, g), "mismatch"),
    "not linear: a clipped cotangent": (
        np.sin, lambda g, x: np.clip(g, -5, 5) * np.cos(x), "mismatch"),
    "not linear: no cotangent": (np.sin, lambda g, x: np.cos(x), "mismatch"),
    "memory of the argument": (lambda x: x * x / 2, lambda g, x: x, "aliased"),
    "an argument changed": (lambda x: x, writes_to_its_argument, "aliased"),
    "the cotangent changed": (np.sin, writes_to_the_cotangent, "aliased"),
    "a state changed": (lambda x: x * WEIGHT, sorts_a_closure, "aliased"),
    "a value that is not finite": (np.log, lambda g, x: g / x, "nonfinite"),
    "a period of the steps": (
        lambda x: np.sin(2 * np.pi * 2**14 * x), lambda g, x: 0 * g, "inconclusive"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_rules_do_not(name):
    value, vjp, kind = WRONG[name]
    point = np.zeros(2) if "at 0" in name else X
    try:
        report = check_rule(value, vjp, point)
    finally:
        WEIGHT[:] = [3.0, 1.0, 2.0]
    assert kind in kinds(report), str(report)
    assert not report
    with pytest.raises(GradientError):
        report.raise_if_wrong()


def test_a_rule_that_raises_is_reported_with_its_line():
    def broken(g, x):
        return {}[x.size]

    report = check_rule(np.sin, broken, X)
    assert kinds(report) == {"mismatch"}
    assert f"KeyError: 3, at {__file__}:" in notes(report)


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(DTypeError, match="no argument has floating-point values"):
        check_rule(lambda n: n, lambda g, n: g, 3)
    with pytest.raises(DTypeError, match="which is outside the graph"):
        check_gradients(lambda x: (tg.sin(x), np.cos(x.data)), X)


def test_a_kernel_of_ones_own_is_not_believed_to_be_analytic():
    zero = {"vjp": lambda xp, g, out, x: 0 * g}

    @tg.families.elementwise(**zero)
    def own_abs(x: tg.Array, /):
        return np.abs(x)

    @tg.families.elementwise(**zero)
    def own_square(x: tg.Array, /):
        return np.real(x * np.conj(x))

    for function in (own_abs, own_square):
        assert "mismatch" in kinds(check_gradients(function, X, order=1))


def quotient(x):
    safe = tg.where(x == 0, 1.0, x)
    return tg.where(x == 0, 1.0, tg.expm1(safe) / safe)


@pytest.mark.parametrize(
    "function",
    [quotient, lambda x: tg.where(x == 0, tg.stop_gradient(tg.sin(x)), tg.sin(x))],
    ids=["a removed singularity", "a cut branch"],
)
def test_a_branch_that_one_point_takes_excuses_nothing(function):
    assert "mismatch" in kinds(check_gradients(function, 0.0))


def test_a_kink_elsewhere_does_not_hide_what_no_point_beside_it_shows_right():
    def edged(x):
        return tg.relu(x[0]) + x[1] * tg.stop_gradient(x[1]) + tg.sqrt(1e-6 - (x[1] - 1) ** 2)

    assert "mismatch" in kinds(check_gradients(edged, np.array([0.0, 1.0])))


@pytest.mark.parametrize("slope", [1.01, 1.05, -1.01])
def test_a_claim_just_outside_the_slopes_of_one_kink_is_wrong(slope):
    @tg.custom_rule(
        vjp=lambda xp, g, out, x: g * xp.where(x == 0, slope, xp.sign(x)), margin=np.abs
    )
    def own_abs(x):
        return tg.abs(x)

    assert "mismatch" in kinds(check_gradients(own_abs, np.array([0.0, 1.0]), order=1))


def test_a_near_tie_does_not_hide_a_rule_that_is_wrong_in_float32():
    @tg.families.elementwise(vjp=lambda xp, g, out, x: g * (2 if x.dtype != np.float32 else -7))
    def double(x: tg.Array, /):
        return 2 * x

    near = np.array([1, 1 + 2e-7, 0.5], np.float32)
    assert "mismatch" in kinds(check_gradients(lambda x: tg.max(double(x)), near))

    @tg.families.elementwise(vjp=lambda xp, g, out, x: g * 3)
    def triple(x: tg.Array, /):
        return 2 * x

    many = np.random.default_rng(0).normal(size=200)
    cast = check_gradients(lambda x: tg.sort(triple(tg.astype(x, np.float32))), many, order=1)
    assert "mismatch" in kinds(cast)


def test_a_function_that_guards_its_domain_can_be_checked_inside():
    def guarded(p):
        if float(p.data) > 1:
            raise RuntimeError("above 1")
        return tg.square(p)

    assert check_gradients(guarded, 0.99).ok


def test_running_statistics_and_dropout_are_left_alone():
    dropout = tg.nn.Dropout(0.5)
    model = tg.nn.Sequential(tg.nn.BatchNorm(3), dropout)
    before = {name: np.array(value) for name, value in model.state_dict().items()}
    report = check_gradients(lambda m, x: m(x), model, np.arange(12.0).reshape(4, 3) ** 1.5)
    assert report.ok, str(report)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(np.array(value), before[name])
