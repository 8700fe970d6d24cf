"""Chapter 4 of the lecture: what the demo of batch norm claims is what it measures."""

import numpy as np
import pytest
import test_demos

import tinygrad_bn as tg
from tinygrad_bn import nn


@pytest.fixture(scope="module")
def demo():
    return test_demos.load("07_batch_norm")


@pytest.fixture(scope="module")
def ran(demo, tmp_path_factory):
    out = tmp_path_factory.mktemp("07")
    return demo.main(["--fast", "--out", str(out), "--seed", "0"]), out / "07_batch_norm"


def test_four_steps_by_hand_are_the_layer_and_can_be_undone(ran):
    # A mean of 256 samples rounds at most 256 times, and the few operations behind it once each.
    bound = 256 + 8
    assert ran[0]["steps by hand less the layer, in roundings"] < bound
    assert ran[0]["gamma = sqrt(var + eps), beta = mu: distance from z, in roundings"] < bound


def test_gamma_equal_to_sigma_falls_short_by_what_eps_adds(ran):
    # 1 - sigma / sqrt(var + eps) is eps / (2 var), less a share of 3/4 eps / var.
    short = ran[0]["gamma = sigma, beta = mu: distance from z over its bound"]
    assert 0.999 < short <= 1


def test_gamma_without_eps_would_be_seen(demo):
    """The measure in roundings is no constant: it tells sigma from the root of var + eps."""
    z = np.random.default_rng(0).normal(3.0, 0.5, size=(256, 4))
    found = demo.identity(z, 1e-5)
    short = found["gamma = sigma, beta = mu: distance from z"]
    exact = found["gamma = sqrt(var + eps), beta = mu: distance from z, in roundings"]
    assert short > 1e6 * exact * np.finfo(float).eps * np.abs(z).max()


def test_a_bias_before_batch_norm_does_nothing(ran):
    numbers = ran[0]
    # A sum over 64 samples of gradients that cancel; each is computed by some thirty operations.
    bound = 64 * 30 * np.finfo(float).eps
    assert numbers["bias before batch norm: its gradient over the weights', largest"] < bound
    # Each of 64 terms is added once, and rounded a few times before.
    assert numbers["bias before batch norm: its gradient, in roundings of its terms"] < 64 + 30
    # A bias of 10 costs the digits that 10 has more than the values of z, here about one.
    changed = numbers["bias before batch norm: relative change of the logits by a bias of 10"]
    assert changed < 100 * bound
    with_, without = numbers["parameters with the bias"], numbers["parameters without"]
    assert with_ - without == 64


def test_a_bias_behind_batch_norm_would_be_seen(demo):
    """The measure is no constant: moved behind batch norm, the same bias has a gradient."""

    class Behind(demo.Biased):
        def forward(self, x):
            linear = self.linear
            z = self.norm(x @ linear.weight.mT) + linear.bias
            return self.head(tg.relu(z))

    data = demo.lecture.digits(0)
    model = Behind(0)
    loss = lambda m: tg.cross_entropy(m(data.x[:64]), data.y[:64])  # noqa: E731
    assert np.abs(tg.grad(loss)(model).linear.bias.data).max() > 1e-3


def test_gamma_lowers_the_training_loss_of_sigmoids(ran):
    numbers = ran[0]
    trained = numbers["sigmoid, both trained: training loss"]
    frozen = numbers["sigmoid, both frozen: training loss"]
    assert all(a < b for a, b in zip(trained, frozen, strict=True))
    assert min(numbers["ReLU, both trained: accuracy"]) > 0.94
    # An epoch has 21 steps; ReLUs are there within the three that this form trains.
    assert all(1 < step <= 63 for step in numbers["ReLU, both trained: steps to 95 %"])


def test_the_goal_is_the_first_step_that_reaches_it(demo):
    data = demo.lecture.digits(0)
    model = demo.build(nn.ReLU, 0)
    goal, found = demo.Goal(model, data), []

    def look(step, _):
        found.append((step, nn.accuracy(nn.predict(model, data.x_test), data.y_test)))

    demo.learn(model, data, 3, 0, on_step=[goal, look])
    assert goal.step == next(step for step, share in found if share >= 0.95)


def test_statistics_of_mini_batches_vary_with_the_root_of_their_size(ran):
    numbers = ran[0]
    # The deviation of 200 batches is known to 1 / sqrt(400) = 5 %; the median over units to less.
    assert numbers["spread of the mean times sqrt(m), largest deviation from 1"] < 0.1
    assert numbers["spread of the mean: slope over log m"] == pytest.approx(-0.5, abs=0.03)


def test_parts_of_the_whole_batch_are_batch_norm(demo):
    x = np.random.default_rng(0).normal(2.0, 3.0, size=(64, demo.UNITS))
    whole, plain = demo.Parts(demo.UNITS, 64), nn.BatchNorm(demo.UNITS)
    assert np.abs(whole(x).data - plain(x).data).max() < 1e-13
    eight = demo.Parts(demo.UNITS, 8)(x).data
    assert np.abs(eight[8:16] - tg.batch_norm(x[8:16]).data).max() < 1e-13
    assert np.abs(eight - plain(x).data).max() > 0.1


def test_noise_keeps_the_training_loss_up(ran):
    noisy, whole = (
        np.array(ran[0][f"statistics of {m} in batches of 64: training loss, tested"])
        for m in (8, 64)
    )
    assert (noisy > whole).all()


@pytest.mark.parametrize("name", ["SGD", "momentum", "RMSprop", "Adam"])
def test_updates_are_the_printed_equations(ran, name):
    # Ten roundings of the step in each of two updates.
    assert ran[0][f"{name}: two updates less the equation, in roundings"] < 20
    assert ran[0][f"{name}: held-out accuracy"] > 0.9


def test_running_averages_come_to_the_statistics_of_the_set(ran):
    numbers = ran[0]
    first = "running mean, first mini-batch: error "
    assert numbers[first + "with correction"] < 0.5 * numbers[first + "without correction"]
    first = "running variance, first mini-batch: error "
    assert numbers[first + "with correction"] < numbers[first + "without correction"]
    ends = numbers["running mean, end: error of all samples alike"]
    assert ends < numbers["running mean, end: error with decay 0.9"]
    # 21 merges of a few roundings each.
    exact = numbers["one pass over the set: largest relative error of the variance"]
    assert exact < 21 * 8 * np.finfo(float).eps


def test_while_weights_train_an_average_that_forgets_is_nearer(ran):
    forgets, alike = (
        ran[0][f"trained, {name}: error of the running mean"]
        for name in ("decay 0.9", "all samples alike (decay=None)")
    )
    assert forgets < 0.7 * alike


def test_one_at_a_time_is_all_at_once(ran):
    numbers = ran[0]
    # 64 products in each of three layers, added in another order.
    bound = 3 * 64 * np.finfo(float).eps
    assert numbers["one at a time less all at once, relative"] < bound
    two = numbers["accuracy with the statistics of 2 test samples"]
    assert two < numbers["accuracy with running statistics"] - 0.2
    assert "1 value per group" in numbers["a single sample in training mode"]


def test_the_verdicts_follow_from_the_numbers(demo, ran):
    verdicts = [claim.reproduced for claim in demo.claims(ran[0])]
    assert [verdicts[i] for i in (0, 3, 4, 6, 7, 8)] == ["yes"] * 6
    other = dict(ran[0]) | {
        "gamma = sqrt(var + eps), beta = mu: distance from z, in roundings": 1000.0,
        "bias before batch norm: its gradient over the weights', largest": 1e-3,
        "spread of the mean: slope over log m": -0.2,
        "Adam: two updates less the equation, in roundings": 100.0,
        "running mean, first mini-batch: error with correction": 1.0,
        "one at a time less all at once, relative": 1e-3,
    }
    changed = [claim.reproduced for claim in demo.claims(other)]
    assert [changed[i] for i in (0, 3, 4, 6, 7, 8)] == ["no"] * 6


def test_the_verdict_on_noise_asks_for_every_seed(demo, ran):
    def verdict(training, tested, shares):
        names = ("training loss, tested", "held-out loss", "accuracy")
        values = {
            f"statistics of {m} in batches of 64: {name}": value
            for name, pair in zip(names, (training, tested, shares), strict=True)
            for m, value in zip((8, 64), pair, strict=True)
        }
        return demo._noise(dict(ran[0]) | values).reproduced

    less, more = [0.1, 0.1], [0.2, 0.2]
    assert verdict((more, less), (less, more), (more, less)) == "yes"
    assert verdict((more, less), (less, more), (less, more)) == "partly"
    assert verdict((less, less), (more, [0.3, 0.1]), (less, more)) == "no"


def test_the_pictures_are_there(ran):
    for name in ("steps", "affine", "spread", "noise", "running", "training", "test"):
        assert (ran[1] / f"{name}.png").stat().st_size > 10_000


def test_the_model_without_bias_has_the_shapes_of_the_lecture(demo):
    model = demo.build(nn.ReLU, 0)
    names = [name for name, _ in model.named_parameters()]
    assert "layers.0.bias" not in names
    assert {"layers.1.gamma", "layers.1.beta"} <= set(names)
