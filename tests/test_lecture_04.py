"""Chapter 1 of the lecture: what the demo of the hyperparameters claims is what it measures."""

import pytest
import test_demos


@pytest.fixture(scope="module")
def demo():
    return test_demos.load("04_hyperparameters")


@pytest.fixture(scope="module")
def ran(demo, tmp_path_factory):
    out = tmp_path_factory.mktemp("04")
    return demo.main(["--fast", "--out", str(out), "--seed", "0"]), out / "04_hyperparameters"


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_the_learning_rate_explains_most(demo, ran, kind):
    numbers, _ = ran
    shares = {name: numbers[f"{kind}: {name}"] for name in demo.SPACES[kind]}
    assert max(shares, key=shares.get) == "learning rate"
    assert sum(shares.values()) == pytest.approx(1)
    assert numbers[f"{kind}: best accuracy"] > 0.9
    best = [numbers[f"{kind}, best quarter: {name}"] for name in demo.SPACES[kind]]
    assert sum(best) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_a_range_holds_its_bounds_in_order(demo, ran, kind):
    numbers, _ = ran
    for name in demo.SPACES[kind]:
        assert 0 <= numbers[f"{kind}: {name}, 5 %"] <= numbers[f"{kind}: {name}, 95 %"] <= 1


def test_trials_that_do_badly_are_counted(demo, ran):
    def row(value, lr):
        return demo.tune.Row(0, {"learning rate": lr}, value, "complete", {}, 0.0)

    rows = [row(0.95, 1e-4), row(0.9, 0.01), row(0.7, 0.01), row(0.1, 0.5), row(float("nan"), 2e-4)]
    assert demo.badly("SGD", rows) == {
        "SGD: trials below 90%": 3 / 5,
        "SGD: trials below 90%, of these at an end of the learning rates": 2 / 3,
        "SGD: trials below 50%": 2 / 5,
        "SGD: trials below 50%, of these at an end of the learning rates": 1.0,
    }
    for kind in demo.SPACES:
        assert 0 < ran[0][f"{kind}: trials below 50%"] <= ran[0][f"{kind}: trials below 90%"] < 1


def test_the_verdicts_follow_from_the_numbers(demo, ran):
    other = dict(ran[0])
    for kind in demo.SPACES:
        other[f"{kind}: samples that the learning rate leads"] = 0.0
    for pair in [name for name in other if " before " in name]:
        other[pair] = 1.0
    other["Adam: beta2, 95 %"] = 0.5
    assert [claim.reproduced for claim in demo.claims(other)] == ["no", "yes", "no"]
    other |= {"SGD: samples with beta before layers": 0.0, "Adam: beta2, 95 %": 0.1}
    other |= {f"Adam: {name}, 95 %": 0.1 for name in ("beta1", "epsilon")}
    other |= {f"Adam, best quarter: {name}": 0.1 for name in ("beta1", "beta2", "epsilon")}
    assert [claim.reproduced for claim in demo.claims(other)] == ["no", "no", "yes"]


def test_the_pictures_are_there(ran):
    for name in ("importance", "slices"):
        assert (ran[1] / f"{name}.png").stat().st_size > 10_000
