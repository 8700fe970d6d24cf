"""Normalised inputs: rounder contours, larger rates, fewer steps; the scale of training at test."""

import numpy as np
import pytest
import test_demos

WAYS = ("raw", "centred", "standardised")


@pytest.fixture(scope="module")
def demo():
    return test_demos.load("06_normalise_inputs")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("06")


@pytest.fixture(scope="module")
def numbers(demo, out):
    return demo.main(["--fast", "--out", str(out), "--seed", "0"])


@pytest.mark.parametrize("name", ["diabetes", "wine", "breast_cancer"])
def test_the_condition_number_falls_with_each_way(numbers, name):
    ladder = [numbers[f"condition number, {name}, {way}"] for way in (*WAYS, "whitened")]
    assert ladder == sorted(ladder, reverse=True)
    most = numbers[f"condition number, {name}, standardised, most"]
    assert most < numbers[f"condition number, {name}, raw, least"] / 1e4
    # Rounding of the statistics is magnified by the square root of what whitening removes.
    rounding = 1e3 * np.finfo(float).eps * ladder[2]
    assert ladder[3] == pytest.approx(1, abs=rounding)


def test_two_features_have_rounder_contours(numbers):
    centred, standardised = (
        numbers[f"condition number, bmi and s5, {way}"] for way in ("centred", "standardised")
    )
    # Of two standardised features with correlation r it is (1 + |r|) / (1 - |r|).
    assert 1 < standardised < 5
    assert centred > 10 * standardised


@pytest.mark.parametrize("way", WAYS)
def test_the_largest_stable_rate_is_that_of_the_theory(numbers, way):
    measured, theory = (numbers[f"{what}, {way}"] for what in TERMS)
    # Bisection to 0.4 %; above the edge 300 steps must show what grows, by (2 r - 1) ** 600.
    assert measured == pytest.approx(theory, rel=0.02)


TERMS = ("largest stable rate", "2 / largest eigenvalue")


def test_a_larger_rate_is_stable(numbers):
    raw, centred, standardised = (numbers[f"largest stable rate, {way}"] for way in WAYS)
    assert raw < centred / 10 < standardised / 1000


def test_runs_go_as_the_spectrum_says(numbers):
    for way in WAYS:
        # The share of a gap of 1e-9 is a difference of losses of size 1: rounding 1e-16 / 1e-9.
        assert numbers[f"worst deviation of run from computed, {way}"] < 1e-5
    steps = numbers["steps, run, standardised"]
    assert steps == numbers["steps, computed, standardised"]
    assert steps < numbers["steps, computed, centred"] / 10
    assert steps < numbers["steps, computed, raw"] / 10_000
    assert numbers["steps, run, raw"] is None


def test_the_hessian_is_the_closed_form(demo):
    x, _, y, _ = demo.split(0)
    of = demo.problem("raw", x, y)
    inputs = np.column_stack([x, np.ones(len(x))])
    expected = 2 * inputs.T @ inputs / len(x)
    np.testing.assert_allclose(of.hessian, expected, rtol=len(x) * np.finfo(float).eps)


def test_the_test_set_is_scaled_as_the_training_set(numbers):
    same = numbers["test error, same"]
    assert same < 0.7  # of the variance
    assert numbers["test error, none"] > 100 * same
    assert numbers["test error, own, one by one"] > numbers["test error, own, in fives"] > same
    heavier = [numbers[f"test error, heavier half, {what}"] for what in ("same", "own")]
    assert heavier[0] < heavier[1]


def test_a_leak_of_mean_and_deviation_hardly_shows(numbers):
    least, most = (numbers[f"test error changed by a leak, {end}"] for end in ("least", "most"))
    assert -0.01 < least <= most < 0.01


def test_a_constant_feature_has_no_gradient(numbers):
    assert numbers["gradient of a constant feature"] == 0


def test_batch_norm_keeps_deep_contours_rounder(numbers):
    for depth in (3, 4, 5):
        with_and_without = [
            numbers[f"condition number, {depth} hidden layers, {b}"] for b in ("with", "not")
        ]
        assert with_and_without[0] < with_and_without[1] / 10


def test_the_verdicts_are_those_of_the_numbers(demo, numbers):
    found = {claim.text: claim.reproduced for claim in demo.claims(numbers)}
    assert found.pop("A standardiser fitted on the test samples too flatters the test error.") in (
        "no",
        "partly",
    )
    for text in (
        "Standardised inputs make the contours of the loss rounder.",
        "The largest stable learning rate is 2 / (largest eigenvalue of the Hessian).",
        "With standardised inputs a larger learning rate is stable.",
        "With standardised inputs gradient descent needs fewer steps.",
    ):
        assert found[text] == "yes"
    turned = numbers | {"steps, computed, raw": 1, "largest stable rate, raw": 1.0}
    verdicts = {claim.text: claim.reproduced for claim in demo.claims(turned)}
    assert verdicts["With standardised inputs gradient descent needs fewer steps."] == "no"
    assert verdicts["With standardised inputs a larger learning rate is stable."] == "no"


@pytest.mark.parametrize("name", ["contours", "spectrum", "steps", "hidden"])
def test_pictures_are_drawn(numbers, out, name):
    assert numbers
    assert 1000 < (out / "06_normalise_inputs" / f"{name}.png").stat().st_size < 150_000
