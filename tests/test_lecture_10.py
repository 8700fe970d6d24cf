"""Softmax: boundaries, the dial, soft forms, two classes, the loss, and y_hat - y."""

import hypothesis.strategies as st
import numpy as np
import pytest
import test_demos
from hypothesis import given

import tinygrad_bn as tg

EPS = np.finfo(float).eps
SETS = ("clouds", "spirals", "digits")
PLAIN, DEEP = "no hidden layer", "two hidden layers"


@pytest.fixture(scope="module")
def demo():
    return test_demos.load("10_softmax")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("10")


@pytest.fixture(scope="module")
def numbers(demo, out):
    return demo.main(["--fast", "--out", str(out), "--seed", "0"])


# four classes in the plane -----------------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_boundaries_are_lines_without_and_curves_with_hidden_layers(numbers, name):
    assert numbers[f"{name}, {PLAIN}: of what rounding allows, most"] <= 1
    assert numbers[f"{name}, {PLAIN}: bend, most"] < 100 * EPS
    assert numbers[f"{name}, {DEEP}: bend, least"] > 1e-3


@pytest.mark.parametrize("name", SETS)
def test_regions_without_hidden_layers_are_convex(numbers, name):
    # Halfway between two points of one half plane is a point of it.
    assert numbers[f"{name}, {PLAIN}: dented, most"] == 0


def test_spirals_need_hidden_layers(numbers):
    assert numbers[f"spirals, {PLAIN}: test accuracy, most"] < 0.6
    assert numbers[f"spirals, {DEEP}: test accuracy, least"] > 0.8
    assert numbers[f"spirals, {DEEP}: dented, least"] > 0.1
    assert numbers[f"clouds, {PLAIN}: test accuracy, least"] > 0.85
    assert numbers["spirals: gain by hidden layers, least"] == pytest.approx(
        numbers[f"spirals, {DEEP}: test accuracy, least"]
        - numbers[f"spirals, {PLAIN}: test accuracy, least"]
    )


def test_the_bend_of_a_known_curve_is_found(demo):
    angle = np.linspace(0, np.pi, 10_001)
    half_circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # The best line lies 2 / pi above the diameter; of the height the variance is 1/2 - 4 / pi^2.
    bend, extent = demo.bend(half_circle)
    assert bend == pytest.approx(np.sqrt(0.5 - 4 / np.pi**2), rel=1e-3)
    assert extent == pytest.approx(2)


def test_a_crossing_lies_where_two_known_logits_are_equal(demo):
    model = tg.nn.Linear(2, 4, rng=0)
    model.weight.assign(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
    model.bias.assign(np.array([0.5, 0.0, -50.0, -50.0]))
    found = demo.crossings(model, count=200, reach=1.0, seed=0)
    assert (found.between == [0, 1]).all()
    assert np.abs(found.points[:, 0] + 0.25).max() < 4 * EPS


# the dial ----------------------------------------------------------------------------------------


def test_both_ends_of_the_dial(numbers):
    # exp(-1 / 0.001) is 0 in float64, so the limits are reached.
    assert numbers["cold: distance from the hard maximum"] == 0
    assert numbers["cold, tied: distance from an equal share"] == 0
    assert numbers["cold, tied: distance from the hard maximum"] == 0.5
    # To first order (z - mean) / (4 T), of which the largest is 1.5 / 4e6; the next order is 1e-6
    # times smaller.
    assert numbers["hot: distance from uniform"] == pytest.approx(1.5 / 4e6, rel=1e-5)
    assert numbers["hot: distance from the first order in 1 / T"] < 1e-12


def test_the_entropy_rises_by_the_variance_of_the_logits_over_t_cubed(numbers):
    assert numbers["entropy: least slope along the dial"] > 0
    # At T = 100 the slope is a difference of terms some hundred times its size.
    assert numbers["entropy: slope against variance / T^3"] < 1e4 * EPS
    assert 0 < numbers["entropy: cold"] < 1e-6
    assert abs(numbers["entropy: hot, less log 4"]) < 1e-11


# hard and soft -----------------------------------------------------------------------------------

STEPS = ("hard maximum and softmax", "sort (the second) and SoftSort", "hard and straight through")


@pytest.mark.parametrize("name", STEPS)
def test_a_hard_choice_has_no_gradient_and_its_soft_form_has_one_everywhere(numbers, name):
    assert numbers[f"{name}: share with a gradient, hard"] == 0
    assert numbers[f"{name}: share with a gradient, soft"] == 1


def test_what_the_other_soft_forms_gain(numbers):
    share = {
        kind: numbers[f"ReLU and softplus: share with a gradient, {kind}"]
        for kind in ("hard", "soft")
    }
    assert share == {"hard": 0.5, "soft": 1}
    for name, jump in (("ReLU and softplus", 1), ("absolute value, hard and soft", 2)):
        assert numbers[f"{name}: largest jump of the derivative, hard"] == jump
        # Slopes of at most 1 / (4 T) and 1 / T, between points 4 / 799 apart.
        assert numbers[f"{name}: largest jump of the derivative, soft"] < 4 / 799 / 0.3
    assert numbers["hard maximum and sparsemax: share with a gradient, soft"] == 0.5


def test_straight_through_has_the_hard_value_and_the_soft_gradient(demo, numbers):
    assert numbers["straight through: distance from the hard maximum"] == 0
    z, weights = np.random.default_rng(0).normal(size=(2, 20, 5))
    slopes = [
        tg.grad(lambda z, f=f: (f(z) * weights).sum())(z).data
        for f in (demo.straight_through, tg.softmax)
    ]
    np.testing.assert_array_equal(*slopes)


@pytest.mark.parametrize("temperature", [1e-6, 0.3, 10.0])
def test_rows_of_soft_sort_are_weights_and_cold_ones_sort(demo, temperature):
    v = np.array([0.3, -1.0, 2.0, 0.5])
    weights = demo.places(v, lambda z: tg.softmax(z, temperature=temperature)).data
    assert np.abs(weights.sum(axis=1) - 1).max() <= 4 * EPS
    assert (weights.argmax(axis=1) == [2, 3, 0, 1]).all()
    assert (demo.places(v, tg.hardmax).data @ v == np.sort(v)[::-1]).all()
    if temperature == 1e-6:
        assert (weights @ v == np.sort(v)[::-1]).all()


def test_soft_sort_becomes_the_permutation(numbers):
    # Of 1000 vectors of 6, some pair would have to lie within 1e-5 or so: 15,000 pairs, 4e-6 each.
    assert numbers["SoftSort, cold: share of vectors off the permutation"] < 0.01


def test_nothing_is_learned_through_a_hard_maximum(numbers):
    start = numbers["best of five found, at the start"]
    assert numbers["best of five found, hard maximum"] == start < 0.35
    assert numbers["best of five found, softmax"] > 0.75
    # The objective is linear in the weights, so that both have one gradient, at all steps.
    assert numbers["best of five found, straight through"] == numbers["best of five found, softmax"]
    # No gradient reaches what sparsemax gives no weight.
    assert start < numbers["best of five found, sparsemax"] < numbers["best of five found, softmax"]


# two classes -------------------------------------------------------------------------------------

LOGITS = st.floats(-1e3, 1e3)

# The difference of the logits is rounded once, alike on both sides: a logit less the larger one is
# 0 or minus the rounded difference. Then two exponentials (an ulp each), two sums and two quotients
# (half an ulp each): 4 ulps apart at most.
ULPS = 4


def ulps(a, b):
    return abs(a - b) / np.spacing(max(abs(a), abs(b)))


@given(LOGITS, LOGITS)
def test_softmax_of_two_logits_is_the_sigmoid_of_their_difference(first, second):
    p = tg.softmax(np.array([first, second])).data
    for k, difference in ((0, first - second), (1, second - first)):
        assert ulps(p[k], tg.sigmoid(difference).item()) <= ULPS


@given(LOGITS, LOGITS, st.integers(0, 1))
def test_cross_entropy_of_two_logits_is_the_binary_one_of_their_difference(first, second, label):
    z, t = np.array([first, second]), float(label == 0)
    loss, slope = tg.value_and_grad(lambda z: tg.cross_entropy(z, label))(z)
    binary, binary_slope = tg.value_and_grad(lambda d: tg.binary_cross_entropy(d, t))(
        np.float64(first - second)
    )
    # A logarithm of 1 + exp, of relative condition below 1, takes one ulp more.
    assert ulps(loss.item(), binary.item()) <= ULPS + 1
    assert slope.data[0] == -slope.data[1]
    assert ulps(slope.data[0], binary_slope.item()) <= ULPS


def test_two_classes_agree_in_the_demo(numbers):
    for what in ("probabilities", "losses", "gradients"):
        assert numbers[f"two classes: {what} differ, ulps"] <= ULPS + 1


def test_both_learn_the_same_weights_where_one_rate_is_twice_the_other(numbers):
    # Each of 1000 contracting steps rounds a few numbers of size 10 or less.
    assert numbers["two classes: largest distance on the way, rate doubled"] < 1e-12
    assert numbers["two classes: largest distance on the way, same rate"] > 1e-2
    assert numbers["two classes: distance at the end, same rate"] < 1e-2
    assert numbers["two classes: drift of the sum of the weights"] < 1000 * 10 * EPS


# the loss ----------------------------------------------------------------------------------------


def test_the_loss_is_the_likelihood(numbers):
    # A product of 20 factors and an exponential of 20 losses: both amplify 20 relative errors.
    assert abs(numbers["likelihood against exp(-20 loss)"]) < 20 * 20 * EPS
    assert 0 < numbers["likelihood of 20 labels"] < 1
    assert numbers["constant logits: distance from the class frequencies"] < 1e-12
    assert abs(numbers["constant logits: loss less the entropy"]) < 1e-12


def test_the_error_of_fitted_parameters_is_that_of_the_fisher_information(numbers):
    # Of 8 fits of 9 parameters that go together the root mean square is known to a third or so.
    for n in (300, 1000, 3000):
        measured, theory = (
            numbers[f"{what}, {n} samples"]
            for what in ("error of the parameters", "error by theory")
        )
        assert 0.5 < measured / theory < 2
    assert numbers["error of the parameters: power of n"] == pytest.approx(-0.5, abs=0.2)


def test_the_gradient_is_y_hat_minus_y(numbers):
    assert numbers["gradient: distance as a share of the bound"] <= 1
    # Ten entries of size at most 1, each off by some eps.
    assert numbers["gradient: largest sum over the classes, eps"] < 100
    assert numbers["sure and right: y_hat - y"] == 0
    assert numbers["sure and right: gradient"] < 0
    assert numbers["sure and right: relative error of the gradient"] < 50 * EPS


@pytest.mark.parametrize("error", [1e-12, -1e-12])
def test_the_bound_of_the_gradient_would_catch_an_error(demo, error):
    z = np.array([[0.5, -1.0, 2.0]])
    y_hat, target = tg.softmax(z).data, np.array([[0.0, 1.0, 0.0]])
    off = np.abs(tg.grad(lambda z: tg.cross_entropy(z, [1]))(z).data + error - (y_hat - target))
    assert (off > demo.gradient_bound(z, y_hat, target)).all()


def test_arithmetic_is_safe(numbers):
    assert numbers["logits of 1000, naive"] == "nan"
    assert numbers["logits of 1000: distance from e / (1 + e)"] <= 2 * EPS
    assert numbers["masked: weight"] == numbers["masked: gradient"] == 0
    assert numbers["shifted by whole numbers: change"] == 0
    # z + 1000 is rounded to 512 eps; a ratio of exponentials feels two halves of that.
    assert numbers["shifted by 1000: relative change, eps"] <= 512 + 10
    assert numbers["sure and right by 40: loss, naive"] == 0
    assert numbers["sure and right by 40: relative error"] < 4 * EPS
    assert numbers["sure and wrong by 1000: loss, naive"] == "inf"
    assert numbers["sure and wrong by 1000: loss"] == 1000
    assert numbers["sure and wrong by 1000: gradient"] == [1, -1]


# claims and pictures -----------------------------------------------------------------------------


VERDICTS = {
    "Without a hidden layer": "yes",
    "With hidden layers": "yes",
    "Softmax is the soft form": "partly",
    "As T grows": "yes",
    "A soft form passes on": "partly",
    "With two classes": "yes",
    "The loss is": "yes",
    "The gradient of the loss": "yes",
    "Subtracting": "yes",
}


@pytest.mark.parametrize("begin", VERDICTS)
def test_a_claim_has_its_verdict(demo, numbers, begin):
    (claim,) = [c for c in demo.claims(numbers) if c.text.startswith(begin)]
    assert claim.reproduced == VERDICTS[begin]


@pytest.mark.parametrize(
    ("begin", "number", "value"),
    [
        ("Without a hidden layer", f"spirals, {PLAIN}: of what rounding allows, most", 2.0),
        ("With hidden layers", f"clouds, {DEEP}: bend, least", 0.0),
        ("Softmax is the soft form", "cold: distance from the hard maximum", 0.1),
        ("As T grows", "hot: distance from uniform", 0.1),
        ("With two classes", "two classes: losses differ, ulps", 100.0),
        ("The loss is", "error of the parameters: power of n", -1.0),
        ("The gradient of the loss", "gradient: distance as a share of the bound", 1.5),
        ("Subtracting", "shifted by whole numbers: change", 0.1),
        ("Classes that lines", "spirals: gain by hidden layers, least", -0.1),
        ("Through a hard maximum", "best of five found, hard maximum", 1.0),
    ],
)
def test_other_numbers_have_another_verdict(demo, numbers, begin, number, value):
    (claim,) = [c for c in demo.claims({**numbers, number: value}) if c.text.startswith(begin)]
    assert claim.reproduced in ("no", "partly")
    assert numbers[number] != value


def test_the_pictures_are_there(out):
    names = "lines curves temperature soft choices likelihood gradient safety"
    for name in names.split():
        assert 1000 < (out / "10_softmax" / f"{name}.png").stat().st_size < 110_000
