"""The paper's small experiment: batch norm takes fewer steps and survives high rates."""

import numpy as np
import pytest
import test_demos

PICTURES = ("accuracy", "percentiles", "rates")


@pytest.fixture(scope="module")
def demo():
    return test_demos.load("08_train_faster")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("08")


@pytest.fixture(scope="module")
def numbers(demo, out, fashion_mnist):
    return demo.main(["--fast", "--out", str(out), "--seed", "0"])


def test_batch_norm_takes_fewer_steps_to_what_the_plain_net_reaches(numbers):
    for name in ("small weights", "Glorot's weights"):
        assert numbers[f"{name}: times fewer steps, least"] >= 3
        assert numbers[f"{name}: accuracy with"] > 0.65
        assert numbers[f"{name}: accuracy with"] > numbers[f"{name}: accuracy without"] + 0.1


def test_the_plain_net_suffers_from_small_weights_and_batch_norm_does_not(numbers):
    small, usual = (
        [numbers[f"{name}: accuracy {side}"] for side in ("with", "without")]
        for name in ("small weights", "Glorot's weights")
    )
    # Two accuracies on 1000 samples, each with a standard error of 0.013.
    assert abs(small[0] - usual[0]) < 3 * 2**0.5 * 0.013
    assert small[0] > small[1] + 0.1


def test_the_inputs_of_sigmoids_wander_less(numbers):
    for when in ("in all", "after a tenth"):
        wandering = [
            numbers[f"small weights: wandering {when} {side}"] for side in ("with", "without")
        ]
        assert wandering[0] < wandering[1]


def test_the_claims_that_hold_already_in_small(demo, numbers):
    verdicts = {claim.text.split(" ")[0]: claim for claim in demo.claims(numbers)}
    assert verdicts["A"].reproduced == "yes"
    assert verdicts["With"].reproduced == "yes"


def test_a_claim_is_judged_by_its_numbers(demo, numbers):
    worse = {**numbers, "small weights: times fewer steps, least": 0.5}
    assert demo.claims(worse)[0].reproduced == "partly"
    worst = {**worse, "small weights: times fewer steps, median": 0.9}
    assert demo.claims(worst)[0].reproduced == "no"


def test_the_pictures_are_there(numbers, out):
    assert numbers
    for picture in PICTURES:
        assert 5_000 < (out / "08_train_faster" / f"{picture}.png").stat().st_size < 100_000


def test_both_sides_start_from_the_same_weights_of_the_stated_size(demo):
    setting = demo.FULL.settings[0]
    nets = [demo.Net(784, setting, 3, batch_norm=b) for b in (True, False)]
    for one, other in zip(*(n.hidden for n in nets), strict=True):
        assert (one.weight.data == other.weight.data).all()
        spread, count = one.weight.data.std(), one.weight.size
        # The standard deviation of a sample of that size is off by its share 1 / sqrt(2 n).
        assert spread == pytest.approx(demo.SMALL, rel=5 / (2 * count) ** 0.5)
    assert [layer.bias is None for net in nets for layer in net.hidden] == [True] * 3 + [False] * 3


def pair(demo, plain, normed):
    steps = [10 * i for i in range(len(plain))]
    return {
        "without": demo.Run(steps, plain, []),
        "with": demo.Run(steps, normed, []),
    }


def test_the_ratio_is_that_of_the_steps_to_the_best_of_the_plain_net(demo):
    assert demo.speedup(pair(demo, [0.1, 0.2, 0.3, 0.5], [0.1, 0.5, 0.4, 0.4])) == 3.0
    assert demo.speedup(pair(demo, [0.1, 0.5, 0.3, 0.4], [0.1, 0.2, 0.3, 0.6])) == 1 / 3
    assert demo.speedup(pair(demo, [0.1, 0.5, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4])) == 0.0


def test_the_ratio_by_half_time_knows_nothing_of_the_rest(demo):
    both = pair(demo, [0.1, 0.2, 0.3, 0.2, 0.9], [0.1, 0.3, 0.3, 0.3, 0.3])
    assert demo.speedup(both) == 0.0
    assert demo.speedup(both, 0.5) == 2.0


def test_wandering_is_counted_in_widths_and_knows_no_scale(demo):
    middle = np.array([5.0, 0.0, 3.0, 1.0])[:, None]  # the first look is left out
    run = demo.Run(percentiles=list(np.stack([middle - 1, middle, middle + 1], axis=1)))
    assert demo.wandering(run) == 3 / 2
    run.percentiles = [10 * p for p in run.percentiles]
    assert demo.wandering(run) == 3 / 2


def test_a_rate_survives_half_way_from_chance_to_the_best(demo):
    rates = (0.1, 1.0, 10.0, 100.0)
    assert demo.highest([0.7, 0.9, 0.5, 0.49], rates) == 10.0
    assert demo.highest([0.7, 0.9, 0.1, 0.1], rates) == 1.0
