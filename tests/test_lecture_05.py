"""Chapter 2 of the lecture: what the demo of log scales claims is what it measures."""

import json

import pytest
import test_demos


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    out = tmp_path_factory.mktemp("05")
    numbers = test_demos.load("05_log_scale").main(["--fast", "--out", str(out), "--seed", "0"])
    return numbers, out / "05_log_scale"


@pytest.fixture(scope="module")
def numbers(ran):
    return ran[0]


def test_uniform_draws_fall_into_the_last_decade_and_log_uniform_ones_evenly(numbers):
    # 10,000 draws: four standard deviations are 0.012 and 0.0173
    exact = 0.9 / 0.9999
    assert numbers["uniform: share of draws from 0.1 to 1"] == pytest.approx(exact, abs=0.012)
    assert numbers["log-uniform: share of draws from 0.1 to 1"] == pytest.approx(0.25, abs=0.0173)


def test_betas_on_the_scale_of_1_minus_beta_fall_evenly_about_its_middle(numbers):
    uniform = numbers["beta, uniform: share of draws above 0.99"]
    assert uniform == pytest.approx(0.009 / 0.099, abs=0.0115)
    log = numbers["beta, log-uniform in 1 - beta: share of draws above 0.99"]
    assert log == pytest.approx(0.5, abs=0.02)


def test_a_small_step_of_beta_matters_near_1_only(numbers):
    low = numbers["beta from 0.9 to 0.9005: relative change of the loss"]
    high = numbers["beta from 0.999 to 0.9995: relative change of the loss"]
    assert 0 < 10 * low < high
    assert numbers["beta from 0.999 to 0.9995: steps averaged over"] == "1000.00 to 2000.00"


def test_nine_random_trials_try_nine_learning_rates_and_a_grid_three(numbers):
    assert numbers["random: learning rates among 9 trials"] == 9
    assert numbers["grid: learning rates among 9 trials"] == 3
    along = "largest over smallest loss along the "
    assert numbers[along + "learning rate"] > 10 * numbers[along + "epsilon"]


def test_two_processes_find_what_one_finds(numbers):
    assert numbers["one and two processes found the same trials"] is True


def test_the_panda_changed_its_rate_after_each_epoch(numbers):
    epochs = 4 * 2
    assert numbers["panda: changes of the rate, first seed"] == epochs


def test_as_long_trainings_contain_the_one_left_alone(numbers):
    assert numbers["caviar, as long: median loss"] <= numbers["left alone: median loss"]


def test_claims_that_hold_in_a_small_run_are_said_to(ran):
    _, out = ran
    listed = json.loads((out / "claims.json").read_text())
    verdicts = {claim["text"].split(":")[0][:30]: claim["reproduced"] for claim in listed}
    assert len(listed) == 8
    assert verdicts["Of learning rates drawn unifor"] == "yes"
    assert verdicts["Near 1 beta is sensitive"] == "yes"
    assert verdicts["One seed gives the same trials"] == "yes"


def test_a_verdict_follows_from_how_often():
    demo = test_demos.load("05_log_scale")
    assert [demo.verdict(wins, 5) for wins in range(6)] == ["no"] * 3 + ["partly"] + ["yes"] * 2
    assert demo.worst("yes", "yes") == "yes"
    assert demo.worst("yes", "no") == "partly"


@pytest.mark.parametrize("name", ["decades", "grid", "beta", "boxes", "panda"])
def test_a_picture_is_there(ran, name):
    assert 10_000 < (ran[1] / f"{name}.png").stat().st_size < 100_000
