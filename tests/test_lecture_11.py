"""The classifier: it learns, goes on after an interruption, and knows how sure it is."""

import numpy as np
import pytest
import test_demos

import tinygrad_bn as tg

PICTURES = ("curves", "confusion", "mistakes", "weights", "gradient", "calibration")


@pytest.fixture(scope="module")
def demo():
    return test_demos.load("11_classifier")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("11")


@pytest.fixture(scope="module")
def numbers(demo, out, fashion_mnist):
    return demo.main(["--fast", "--out", str(out), "--seed", "0"])


def test_it_learns_clothes_from_a_part_of_them(numbers):
    assert numbers["linear: test accuracy"] > 0.76
    assert numbers["decayed rate: test accuracy"] > 0.82
    gain = numbers["decayed rate over linear: gain"]
    assert gain > 2 * numbers["decayed rate over linear: standard error"] > 0


def test_it_learns_the_digits(numbers):
    assert numbers["digits: test accuracy, least"] >= 0.965


def test_the_gradient_by_the_logits_is_the_simple_one(numbers):
    # Ten exponentials, their sum and a quotient: each operation rounds once, on either way.
    assert 0 < numbers["gradient: deviation"] < 24 * np.finfo(np.float32).eps


def test_an_interrupted_training_ends_with_the_same_weights(numbers):
    assert numbers["largest difference after going on"] == 0
    assert numbers["interrupted after step"] == 13


def test_the_temperature_is_that_of_least_loss(demo):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 500)
    logits = rng.normal(size=(500, 10)) + 2 * np.eye(10)[y]

    def loss(temperature):
        return tg.cross_entropy(logits / temperature, y).item()

    for scale in (0.2, 1.0, 30.0):
        found = demo.fit_temperature(scale * logits, y) / scale
        assert loss(found) < min(loss(0.99 * found), loss(1.01 * found))


def test_calibration_error_of_what_is_known(demo):
    p = np.full((4, 10), 0.2 / 9)
    p[:, 0] = 0.8
    assert demo.calibration_error(p, np.array([0, 0, 0, 1])) == pytest.approx(0.05)
    assert demo.calibration_error(p, np.array([1, 1, 1, 1])) == pytest.approx(0.8)
    share, confidence, accuracy = demo.reliability(p, np.array([0, 0, 1, 1]))
    assert share.sum() == 1
    assert np.nanmax(confidence) == pytest.approx(0.8)
    assert np.nanmax(accuracy) == 0.5


def test_the_confusion_counts_truth_by_answer(demo):
    counts = demo.confusion(np.array([1, 1, 2]), np.array([0, 0, 2]))
    assert counts[0, 1] == 2
    assert counts[2, 2] == 1
    assert counts.sum() == 3


def test_claims_are_judged_by_their_numbers(demo, numbers):
    verdicts = [claim.reproduced for claim in demo.claims(numbers)]
    assert verdicts[0] == verdicts[2] == "yes"
    even = {**numbers, "decayed rate over linear: gain": 0.0, "gradient: deviation": 0.1}
    verdicts = [claim.reproduced for claim in demo.claims(even)]
    assert verdicts[0] == verdicts[2] == "no"


def test_the_pictures_are_there(numbers, out):
    assert numbers
    for picture in PICTURES:
        assert 5_000 < (out / "11_classifier" / f"{picture}.png").stat().st_size < 100_000
