"""Search: spaces on their own scales, one table for any number of workers, nothing lost."""

import contextlib
import dataclasses
import functools
import math
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import example, given, settings, strategies as st

import tinygrad_bn as tg
from tinygrad_bn import tune
from tinygrad_bn.errors import (
    DTypeError,
    FileError,
    OptionalDependencyError,
    SearchError,
    ShapeError,
)
from tinygrad_bn.tune import locks

SPACE = {
    "lr": tune.log_uniform(1e-4, 1.0),
    "beta": tune.one_minus_log_uniform(0.9, 0.999),
    "layers": tune.integer(1, 4),
    "units": tune.integer(16, 256, log=True),
    "batch": tune.categorical([16, 32, 64]),
    "dropout": tune.uniform(0.0, 0.5),
}
each_space = pytest.mark.parametrize("space", SPACE.values(), ids=SPACE)
quiet = {"progress": False}


def bowl(trial):
    """Best at lr = 0.01, with the noise of the trial's own seed."""
    noise = np.random.default_rng(trial.seed).normal()
    return -abs(math.log10(trial["lr"]) + 2) - 0.1 * trial["layers"] + 0.01 * noise


def curves(trial):
    """Eight epochs of a curve that is settled early on."""
    for epoch in range(1, 9):
        trial.report(bowl(trial) * (1 + 1 / epoch), step=epoch)
    return bowl(trial)


def diverging(trial):
    return {0: math.nan, 1: math.inf, 2: -math.inf}.get(trial.index, bowl(trial))


def failing(trial):
    if trial.index == 3:
        raise KeyError(trial["layers"])
    time.sleep(0.01)
    return bowl(trial)


def mortal(trial, folder, deaths):
    """Kill this process in trial 3, so many times."""
    marks = list(folder.glob("death-*"))
    if trial.index == 3 and len(marks) < deaths:
        (folder / f"death-{len(marks)}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return bowl(trial)


# spaces ------------------------------------------------------------------------------------------


@each_space
@given(u=st.floats(0, 1))
@example(u=0.0)
@example(u=1.0)
def test_a_place_has_a_value_and_the_value_is_at_that_place(space, u):
    value = space.from_unit(u)
    again = space.from_unit(space.to_unit(value))
    if isinstance(value, float):
        # a few roundings of logarithms and exponentials
        assert abs(space.to_unit(value) - u) < 1e-12
        assert math.isclose(again, value, rel_tol=1e-12, abs_tol=1e-12)
        assert space.low <= value <= space.high
    else:
        assert again == value
    # what the study keeps gives the value back, every bit of it
    assert space.from_parameter(space.to_parameter(value)) == value
    assert space.distribution()._contains(
        space.distribution().to_internal_repr(space.to_parameter(value))
    )


@pytest.mark.parametrize("name", ["lr", "beta", "layers", "units", "dropout"])
def test_the_ends_of_a_scale_are_its_bounds_exactly(name):
    space = SPACE[name]
    assert (space.from_unit(0.0), space.from_unit(1.0)) == (space.low, space.high)


def shares(values, edges):
    return np.histogram(values, edges)[0] / len(values)


def check_shares(values, edges, expected):
    """Chi-square against expected shares, at a chance of 1 in 10,000 of being wrong."""
    expected = np.asarray(expected)
    statistic = len(values) * ((shares(values, edges) - expected) ** 2 / expected).sum()
    # Wilson and Hilferty (1931): the cube root is nearly normal; 3.72 is its 0.9999 quantile
    k = len(expected) - 1
    assert statistic < k * (1 - 2 / (9 * k) + 3.72 * math.sqrt(2 / (9 * k))) ** 3


DRAWS = 20_000


def drawn(space):
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(DRAWS)]


def test_a_log_uniform_space_gives_each_decade_the_same_share():
    check_shares(drawn(SPACE["lr"]), [1e-4, 1e-3, 1e-2, 1e-1, 1], [0.25] * 4)


def test_a_uniform_space_gives_nine_tenths_to_the_last_decade():
    edges = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1])
    check_shares(drawn(tune.uniform(1e-4, 1.0)), edges, np.diff(edges) / (1 - 1e-4))


def test_beta_is_log_uniform_in_its_distance_from_1():
    check_shares(drawn(SPACE["beta"]), [0.9, 0.99, 0.999], [0.5, 0.5])
    thirds = 1 - np.geomspace(0.1, 0.001, 4)
    check_shares(drawn(SPACE["beta"]), thirds, [1 / 3] * 3)


def test_integers_have_equal_shares_or_those_of_their_step_on_a_logarithmic_scale():
    check_shares(drawn(SPACE["layers"]), np.arange(0.5, 5), [0.25] * 4)
    edges = np.arange(1, 10) - 0.5
    expected = np.diff(np.log(edges)) / np.log(edges[-1] / edges[0])
    check_shares(drawn(tune.integer(1, 8, log=True)), edges, expected)


def test_choices_have_equal_shares():
    check_shares(drawn(SPACE["batch"]), [8, 24, 48, 96], [1 / 3] * 3)


def test_a_sample_follows_from_a_seed_or_a_generator():
    assert SPACE["lr"].sample(3) == SPACE["lr"].sample(np.random.default_rng(3))
    assert SPACE["lr"].sample(3) != SPACE["lr"].sample(4)


@pytest.mark.parametrize(
    ("space", "points", "expected"),
    [
        (tune.uniform(0, 1), 3, [0.0, 0.5, 1.0]),
        (tune.uniform(0, 1), 1, [0.5]),
        (tune.log_uniform(0.01, 100), 3, [0.01, 1.0, 100.0]),
        (tune.one_minus_log_uniform(0.9, 0.999), 3, [0.9, 0.99, 0.999]),
        (tune.integer(1, 4), 4, [1, 2, 3, 4]),
        (tune.integer(1, 9), 3, [1, 5, 9]),
        (tune.integer(1, 9), 1, [5]),
        (tune.integer(1, 4, log=True), 4, [1, 2, 3, 4]),
        (tune.categorical("ab"), None, ["a", "b"]),
    ],
)
def test_the_points_of_a_grid_are_evenly_spaced_on_their_scale(space, points, expected):
    found = space.grid(points)
    assert [type(value) for value in found] == [type(value) for value in expected]
    if isinstance(expected[0], float):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    else:
        assert found == expected


def test_spaces_are_values():
    assert tune.log_uniform(0.1, 1) == tune.log_uniform(0.1, 1.0) != tune.uniform(0.1, 1)
    assert len({tune.integer(1, 4), tune.integer(1, 4), tune.integer(1, 4, log=True)}) == 2
    assert repr(SPACE["units"]) == "integer(16, 256, log=True)"
    assert repr(SPACE["batch"]) == "categorical([16, 32, 64])"
    assert pickle.loads(pickle.dumps(SPACE)) == SPACE
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPACE["lr"].low = 1.0


ERRORS = {
    "order": (
        lambda: tune.uniform(1, 0),
        ShapeError,
        "uniform(1.0, 0.0): low is not below high.",
        "Give the smaller bound first.",
    ),
    "no number": (
        lambda: tune.uniform("0", 1),
        DTypeError,
        "uniform: low='0' is no number.",
        "Give a float.",
    ),
    "infinite": (
        lambda: tune.log_uniform(1, math.inf),
        ShapeError,
        "log_uniform: high=inf.",
        "Give a finite bound.",
    ),
    "log of 0": (
        lambda: tune.log_uniform(0, 1),
        ShapeError,
        "log_uniform(0.0, 1.0): a logarithm needs positive bounds.",
        "Begin at a small positive number.",
    ),
    "beta of 1": (
        lambda: tune.one_minus_log_uniform(0.9, 1),
        ShapeError,
        (
            "one_minus_log_uniform(0.9, 1.0): the bounds must lie between 0 and 1, and 1 is never "
            "reached."
        ),
        "Give (0.9, 0.999), say.",
    ),
    "no integer": (
        lambda: tune.integer(1, 2.5),
        DTypeError,
        "integer: high=2.5 is no integer.",
        "Give an int.",
    ),
    "integer order": (
        lambda: tune.integer(2, 2),
        ShapeError,
        "integer(2, 2): low is not below high.",
        "Give the smaller bound first.",
    ),
    "integer log": (
        lambda: tune.integer(0, 2, log=True),
        ShapeError,
        "integer(0, 2, log=True): a logarithm needs positive bounds.",
        "Begin at 1.",
    ),
    "one choice": (
        lambda: tune.categorical([1]),
        ShapeError,
        "categorical([1]): two choices at least, each once.",
        "Leave a constant out of the space.",
    ),
    "twice": (
        lambda: tune.categorical([1, 1]),
        ShapeError,
        "categorical([1, 1]): two choices at least, each once.",
        "Leave a constant out of the space.",
    ),
    "object": (
        lambda: tune.categorical([(1,), 2]),
        DTypeError,
        "categorical: (1,) cannot be kept in a journal of trials.",
        "Use names, and look the objects up in the objective.",
    ),
    "outside": (
        lambda: SPACE["layers"].to_unit(5),
        ShapeError,
        "5 is not in integer(1, 4).",
        "Its values run from 1 to 4.",
    ),
    "no choice": (
        lambda: SPACE["batch"].to_unit(8),
        ShapeError,
        "8 is not in categorical([16, 32, 64]).",
        "Take one of the choices.",
    ),
    "no place": (
        lambda: SPACE["layers"].from_unit(1.5),
        ShapeError,
        "integer(1, 4): there is nothing at 1.5.",
        "Places run from 0 to 1.",
    ),
    "grid of choices": (
        lambda: SPACE["batch"].grid(2),
        ShapeError,
        "categorical([16, 32, 64]): 2 points; choices have no scale to space them on.",
        "Leave it out of points: all 3 choices are taken.",
    ),
    "fine grid": (
        lambda: SPACE["layers"].grid(5),
        ShapeError,
        "integer(1, 4): 5 points of 4 values.",
        "Ask for 4.",
    ),
    "points": (
        lambda: tune.grid_search(bowl, SPACE, {"lr": 2}),
        ShapeError,
        "one_minus_log_uniform(0.9, 0.999): a grid of None points.",
        "Say how many, 1 or more.",
    ),
    "unknown points": (
        lambda: tune.grid_search(bowl, SPACE, {"rate": 2}),
        ShapeError,
        "points names rate, and the space has lr, beta, layers, units, batch, dropout.",
        "Name dimensions of the space.",
    ),
    "no space": (
        lambda: tune.random_search(bowl, {}, 1),
        DTypeError,
        "The space is {}.",
        'Give a dict: {"lr": tune.log_uniform(1e-4, 1.0)}, say.',
    ),
    "no dimension": (
        lambda: tune.random_search(bowl, {"lr": (0, 1)}, 1),
        DTypeError,
        "The space has 'lr': (0, 1).",
        "Each name is a string, each value a space such as tune.uniform(0.0, 1.0).",
    ),
    "same parameter": (
        lambda: tune.random_search(bowl, {"b": SPACE["beta"], "1 - b": SPACE["lr"]}, 1),
        ShapeError,
        "Two dimensions are '1 - b' in the study.",
        "Give one of them another name.",
    ),
    "trials": (
        lambda: tune.random_search(bowl, SPACE, 0),
        ShapeError,
        "trials=0.",
        "Give an int from 1 upwards.",
    ),
    "seed": (
        lambda: tune.random_search(bowl, SPACE, 1, seed=-1),
        ShapeError,
        "seed=-1.",
        "Give an int from 0 upwards.",
    ),
    "direction": (
        lambda: tune.random_search(bowl, SPACE, 1, direction="up"),
        ShapeError,
        "direction='up'.",
        'Say "maximize" or "minimize".',
    ),
    "workers": (
        lambda: tune.random_search(bowl, SPACE, 1, workers=0.5),
        ShapeError,
        "workers=0.5.",
        "Give an int from 1 upwards.",
    ),
    "storage": (
        lambda: tune.random_search(bowl, SPACE, 1, storage="sqlite:///a"),
        DTypeError,
        "storage='sqlite:///a'.",
        "Give the path of a journal file.",
    ),
    "folder": (
        lambda: tune.random_search(bowl, SPACE, 1, storage="/nowhere/a"),
        FileError,
        "/nowhere, where the journal is to be, is no folder.",
        "Make it.",
    ),
    "pruner": (
        lambda: tune.random_search(bowl, SPACE, 1, prune="median"),
        DTypeError,
        "prune='median' is no pruner.",
        "Give one of optuna.pruners, MedianPruner() say.",
    ),
    "generation": (
        lambda: tune.random_search(bowl, SPACE, 1, generation=5),
        ShapeError,
        "generation=5 without prune.",
        "Give a pruner, or neither.",
    ),
    "objective": (
        lambda: tune.random_search(3, SPACE, 1),
        DTypeError,
        "The objective is 3.",
        "Give a function of a trial.",
    ),
    "shrink": (
        lambda: tune.coarse_to_fine(bowl, SPACE, 1, 1, 1.0),
        ShapeError,
        "coarse_to_fine: shrink=1.0.",
        "Use a number between 0 and 1.",
    ),
    "lambda": (
        lambda: tune.random_search(len, {"x": SPACE["lr"]}, 1, **quiet).table("best"),
        ShapeError,
        "table: sort='best'.",
        'Say "number" or "value".',
    ),
}


@pytest.mark.parametrize("call", ERRORS)
def test_an_error_says_what_happened_and_how_to_mend_it(call):
    action, kind, what, fix = ERRORS[call]
    with pytest.raises(kind) as caught:
        action()
    assert (caught.value.what, caught.value.fix) == (what, fix)


# one search --------------------------------------------------------------------------------------


def test_the_values_of_a_trial_follow_from_the_seed_and_its_index():
    short = tune.random_search(bowl, SPACE, 5, **quiet)
    long = tune.random_search(bowl, SPACE, 10, **quiet)
    other = tune.random_search(bowl, SPACE, 5, seed=1, **quiet)
    assert long.trials[:5] == short.trials
    assert not {row.values["lr"] for row in long.trials} & {r.values["lr"] for r in other.trials}
    assert len({row.values["lr"] for row in long.trials}) == 10


def test_a_trial_is_a_mapping_with_an_index_and_a_seed_of_its_own():
    seen = []

    def objective(trial):
        seen.append((trial.index, trial.seed, list(trial), len(trial), repr(trial)))
        return trial["x"]

    result = tune.random_search(objective, {"x": tune.integer(3, 4)}, 3, **quiet)
    assert [index for index, *_ in seen] == [0, 1, 2]
    assert len({seed for _, seed, *_ in seen}) == 3
    assert seen[0][2:] == (
        ["x"],
        1,
        f"Trial(0: x={result.trials[0].values['x']})",
    )


def test_the_best_is_the_first_of_the_best_in_either_direction():
    space = {"x": tune.integer(0, 3)}
    most = tune.grid_search(lambda t: t["x"] // 2, space, 4, **quiet)
    least = tune.grid_search(lambda t: t["x"] // 2, space, 4, direction="minimize", **quiet)
    assert (most.best.index, most.best.value) == (2, 1.0)
    assert (least.best.index, least.best.value) == (0, 0.0)
    assert most.study.best_value == 1.0
    assert least.study.best_value == 0.0


def test_a_value_that_is_not_finite_is_the_worst_and_shows():
    for direction in ("maximize", "minimize"):
        result = tune.random_search(diverging, SPACE, 6, direction=direction, **quiet)
        assert [str(row.value) for row in result.trials[:3]] == ["nan", "inf", "-inf"]
        assert result.best.index > 2
        assert result.study.best_value == result.best.value
        last = result.table("value").splitlines()[-3:]
        assert [line.split()[-2] for line in last] == ["nan", "inf", "-inf"]
    lost = tune.random_search(diverging, SPACE, 3, **quiet)
    with pytest.raises(SearchError) as caught:
        lost.best  # noqa: B018  (it raises)
    assert caught.value.what == "None of 3 trials ended with a finite value."
    assert caught.value.fix == "Look at result.table(); smaller learning rates may help."


def test_what_is_no_number_is_refused_and_a_tensor_of_one_is_a_number():
    with pytest.raises(DTypeError) as caught:
        tune.random_search(lambda trial: "0.5", SPACE, 1, **quiet)
    assert caught.value.what == "The objective in trial 0: '0.5' of type str is no number."
    assert caught.value.fix == "Give a float: the accuracy, say, or loss.item()."
    with pytest.raises(DTypeError, match="None of type NoneType is no number"):
        tune.random_search(lambda trial: None, SPACE, 1, **quiet)
    found = tune.random_search(lambda trial: tg.Tensor(2.5), SPACE, 1, **quiet)
    assert found.best.value == 2.5
    with pytest.raises(ShapeError, match="Count steps from 0 or 1"):
        tune.random_search(lambda trial: trial.report(0.0, step=-1), SPACE, 1, **quiet)


def test_an_exception_comes_with_the_values_of_its_trial():
    space = {"lr": tune.log_uniform(0.01, 1), "layers": tune.integer(1, 2)}
    with pytest.raises(KeyError) as caught:
        tune.grid_search(failing, space, 2, **quiet)
    assert caught.value.__notes__ == ["in trial 3: lr=1, layers=2"]


def test_a_table_and_a_file_tell_all_trials(tmp_path):
    space = {"lr": tune.log_uniform(0.01, 1.0), "batch": tune.categorical(["a", "b"])}
    result = tune.grid_search(lambda t: -t["lr"], space, {"lr": 2}, **quiet)
    assert result.table("value", limit=3) == (
        "trial    lr  batch  value     state\n"
        "    0  0.01      a  -0.01  complete\n"
        "    1  0.01      b  -0.01  complete\n"
        "    2     1      a     -1  complete"
    )
    result.to_csv(tmp_path / "trials.csv")
    lines = (tmp_path / "trials.csv").read_text().splitlines()
    assert lines[:2] == ["trial,lr,batch,value,state", "0,0.01,a,-0.01,complete"]
    assert len(lines) == 5


def test_importance_is_measured_on_each_dimensions_own_scale():
    # Equal slopes in log10(lr), 4 decades, and in x from 0 to 4: equal shares. On a plain scale
    # of lr nearly all trials are at its left end, and what is left of it is next to nothing.
    space = {"lr": tune.log_uniform(1e-4, 1.0), "x": tune.uniform(0, 4), "b": SPACE["beta"]}
    result = tune.random_search(lambda t: math.log10(t["lr"]) + t["x"], space, 150, **quiet)
    shares = result.importance()
    assert set(shares) == {"lr", "x", "b"}
    assert math.isclose(sum(shares.values()), 1)
    assert 0.4 < shares["lr"] < 0.6
    assert 0.4 < shares["x"] < 0.6
    assert shares == result.importance()
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    with pytest.raises(SearchError) as caught:
        tune.random_search(bowl, SPACE, 1, **quiet).importance()
    assert caught.value.what == "The importance of 1 trials with finite values."
    assert caught.value.fix == "Run more trials."


def test_importance_knows_choices_and_leaves_out_what_diverged():
    space = {"batch": tune.categorical([16, 32, 64]), "x": tune.uniform(0, 1)}
    result = tune.random_search(
        lambda t: math.nan if t.index < 3 else float(t["batch"] == 32), space, 60, **quiet
    )
    assert result.importance()["batch"] > 0.95


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_search_is_drawn(tmp_path, kind):
    result = tune.coarse_to_fine(diverging, SPACE, 3, 6, 0.4, **quiet)
    result.plot(tmp_path / f"search.{kind}")
    assert (tmp_path / f"search.{kind}").stat().st_size > 5000


def test_the_bar_shows_the_best_value_and_can_be_left_out(capsys):
    result = tune.random_search(bowl, SPACE, 5, progress=True)
    assert f"best={result.best.value:.5g}" in capsys.readouterr().err
    tune.random_search(bowl, SPACE, 5, progress=False)
    assert capsys.readouterr() == ("", "")


def test_optunas_log_is_silent_for_the_time_of_the_call_only(capsys):
    before = optuna.logging.get_verbosity()
    filters = list(warnings.filters)
    tune.random_search(curves, SPACE, 5, prune=optuna.pruners.MedianPruner(), **quiet)
    assert optuna.logging.get_verbosity() == before
    assert warnings.filters == filters
    assert capsys.readouterr() == ("", "")


def test_linear_algebra_has_one_thread_in_a_trial():
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def threads(trial):
        return max(pool["num_threads"] for pool in threadpoolctl.threadpool_info())

    with threadpoolctl.threadpool_limits(2):
        assert tune.random_search(threads, SPACE, 1, **quiet).best.value == 1.0
        assert threads(None) == 2


def test_spaces_need_no_optuna_and_a_search_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert 1e-4 < SPACE["lr"].sample(0) < 1
    with pytest.raises(OptionalDependencyError) as caught:
        tune.random_search(bowl, SPACE, 1)
    assert caught.value.what == "A search needs Optuna, which keeps its trials."
    assert caught.value.fix == 'Install the extra "tune": pip install "tinygrad_bn[tune]".'


def test_the_study_is_optunas_own():
    result = tune.random_search(bowl, SPACE, 4, **quiet)
    assert isinstance(result.study, optuna.Study)
    beta = result.study.trials[2].distributions["1 - beta"]
    assert beta.log
    assert (beta.low, beta.high) == pytest.approx((0.001, 0.1))
    kept = [1 - trial.params["1 - beta"] for trial in result.study.trials]
    assert kept == [row.values["beta"] for row in result.trials]


# coarse to fine ----------------------------------------------------------------------------------

VALUES = st.one_of(st.floats(-10, 10), st.just(math.nan))


@settings(deadline=None, max_examples=30)
@given(
    values=st.lists(VALUES, min_size=12, max_size=12),
    shrink=st.floats(0.01, 0.99),
    direction=st.sampled_from(["maximize", "minimize"]),
)
def test_boxes_shrink_about_the_best_so_far_and_never_lose_it(values, shrink, direction):
    result = tune.coarse_to_fine(
        lambda trial: values[trial.index], SPACE, 4, 3, shrink, direction=direction, **quiet
    )
    better = max if direction == "maximize" else min
    zooms = 0
    for number in range(4):
        before = [row for row in result.trials[: 3 * number] if math.isfinite(row.value)]
        zooms += bool(before)
        regions = result.plan.regions(number, result.trials)
        for name in SPACE:
            box, region = result.boxes[number][name], regions[name]
            inside = [row.values[name] for row in result.trials[3 * number : 3 * number + 3]]
            if before:
                inside.append(better(before, key=lambda row: row.value).values[name])
            if name == "batch":
                assert len(box) == math.ceil(shrink**zooms * 3 - 1e-9)
                assert set(inside) <= set(box)
            else:
                assert region[1] - region[0] == pytest.approx(shrink**zooms)
                assert 0 <= region[0] < region[1] <= 1
                assert all(box[0] <= value <= box[1] for value in inside)
    finite = [value for value in values if math.isfinite(value)]
    if finite:
        assert result.best.value == better(finite)


def test_zooming_finds_what_as_many_random_trials_do_not():
    def miss(trial):
        return abs(math.log10(trial["lr"]) + 2) + abs(trial["dropout"] - 0.2)

    space = {"lr": SPACE["lr"], "dropout": SPACE["dropout"]}
    zoomed, flat = [], []
    for seed in range(10):
        shared = {"seed": seed, "direction": "minimize", "progress": False}
        zoomed.append(tune.coarse_to_fine(miss, space, 4, 15, 0.4, **shared).best.value)
        flat.append(tune.random_search(miss, space, 60, **shared).best.value)
    assert np.median(zoomed) < np.median(flat) / 2


def test_a_search_can_go_on_with_more_rounds(tmp_path):
    shared = {"shrink": 0.5, "storage": tmp_path / "journal", "progress": False}
    tune.coarse_to_fine(bowl, SPACE, 2, 4, **shared)
    more = tune.coarse_to_fine(bowl, SPACE, 3, 4, **shared)
    assert more.trials == tune.coarse_to_fine(bowl, SPACE, 3, 4, 0.5, **quiet).trials
    assert len(more.study.trials) == 12


# pruning -----------------------------------------------------------------------------------------


def patient():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(), patience=2)


PRUNERS = {
    "median": optuna.pruners.MedianPruner(n_startup_trials=3),
    "halving": optuna.pruners.SuccessiveHalvingPruner(reduction_factor=2),
    "patient": patient(),
}


@pytest.mark.parametrize("name", ["median", "halving"])
def test_a_pruner_stops_poor_trials_and_the_same_ones_for_two_workers(name):
    shared = {"prune": PRUNERS[name], "generation": 6, "progress": False}
    alone = tune.random_search(curves, SPACE, 24, **shared)
    pruned = [row for row in alone.trials if row.state == "pruned"]
    assert len(pruned) >= 6
    for row in pruned:
        assert row.index >= 6
        assert row.value == row.reports[max(row.reports)]
        assert max(row.reports) < 8
    assert alone.best.value == tune.random_search(curves, SPACE, 24, **quiet).best.value
    together = tune.random_search(curves, SPACE, 24, workers=2, **shared)
    assert together.trials == alone.trials
    assert together.table() == alone.table()


def test_without_a_pruner_nothing_is_pruned():
    assert {r.state for r in tune.random_search(curves, SPACE, 12, **quiet).trials} == {"complete"}


def test_a_trial_is_compared_with_earlier_generations_only():
    seen = []

    class Watching(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            ended = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
            seen.append((trial.number, [t.user_attrs["index"] for t in ended]))
            return False

    def once(trial):
        trial.report(1.0, step=1)
        return 1.0

    tune.random_search(once, SPACE, 7, prune=Watching(), generation=3, **quiet)
    assert seen == [(i, list(range(i - i % 3))) for i in range(7)]


def test_a_round_is_the_generation_of_coarse_to_fine():
    shared = {"prune": PRUNERS["median"], "progress": False}
    result = tune.coarse_to_fine(curves, SPACE, 3, 6, 0.9, **shared)
    states = [row.state for row in result.trials]
    assert set(states[:6]) == {"complete"}
    assert "pruned" in states[6:]


def test_an_objective_may_stop_its_trial_itself():
    def stops(trial):
        if trial.index == 1:
            trial.report(0.25, step=0)
        if trial.index < 2:
            raise tune.Pruned
        return 1.0

    rows = tune.random_search(stops, SPACE, 3, **quiet).trials
    assert [row.state for row in rows] == ["pruned", "pruned", "complete"]
    assert [str(row.value) for row in rows] == ["nan", "0.25", "1.0"]


# many processes ----------------------------------------------------------------------------------


def test_the_table_is_the_same_for_one_two_and_three_workers():
    tables = {
        workers: tune.random_search(diverging, SPACE, 12, workers=workers, **quiet)
        for workers in (1, 2, 3)
    }
    assert tables[1].table() == tables[2].table() == tables[3].table()
    for result in tables.values():
        assert len(result.study.trials) == 12
    rounds = [tune.coarse_to_fine(bowl, SPACE, 3, 5, 0.5, workers=w, **quiet) for w in (1, 2)]
    assert rounds[0].trials == rounds[1].trials
    assert rounds[0].boxes == rounds[1].boxes


SCRIPT = """
import sys, time
from pathlib import Path
from tinygrad_bn import tune
import test_tune

def objective(trial):
    with Path("ran").open("a") as file:
        file.write(f"{trial.index}\\n")
    time.sleep(0.02)
    return test_tune.bowl(trial)

if __name__ == "__main__":
    result = tune.random_search(
        objective, test_tune.SPACE, 16, storage="journal", name="shared", progress=False
    )
    print(result.table())
"""


@contextlib.contextmanager
def started(tmp_path, text=SCRIPT, **options):
    (tmp_path / "search.py").write_text(text)
    paths = [str(Path(tg.__file__).parent.parent), str(Path(__file__).parent)]
    process = subprocess.Popen(
        [sys.executable, "search.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def expected_table():
    return tune.random_search(bowl, SPACE, 16, **quiet).table()


def test_processes_that_share_a_journal_share_the_trials(tmp_path):
    with started(tmp_path) as first, started(tmp_path) as second:
        outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert [error for _, error in outputs] == ["", ""]
    assert {table.strip("\n") for table, _ in outputs} == {expected_table()}
    ran = (tmp_path / "ran").read_text().split()
    assert sorted(map(int, ran)) == list(range(16))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "journal",
        "journal.lock",
        "ran",
        "search.py",
    ]


def finished(tmp_path):
    return (tmp_path / "ran").read_text().count("\n") if (tmp_path / "ran").exists() else 0


def wait_for(tmp_path, count):
    until = time.monotonic() + 60
    while finished(tmp_path) < count:
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_killed_process_loses_nothing(tmp_path):
    for count in (3, 8):
        with started(tmp_path) as process:
            wait_for(tmp_path, count)
            process.kill()
    with started(tmp_path) as process:
        table, _ = process.communicate(timeout=60)
    assert table.strip("\n") == expected_table()
    ran = list(map(int, (tmp_path / "ran").read_text().split()))
    assert set(ran) == set(range(16))
    assert len(ran) <= 18  # each kill costs the one trial that was running
    assert not list(tmp_path.glob("*.alive"))


def test_ctrl_c_leaves_a_journal_with_which_the_search_goes_on(tmp_path):
    with started(tmp_path) as process:
        wait_for(tmp_path, 3)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in error
    with started(tmp_path) as process:
        table, _ = process.communicate(timeout=60)
    assert table.strip("\n") == expected_table()


def test_a_worker_killed_in_a_trial_is_replaced_and_its_trial_run_again(tmp_path):
    objective = functools.partial(mortal, folder=tmp_path, deaths=2)
    result = tune.random_search(
        objective, SPACE, 8, workers=2, storage=tmp_path / "journal", **quiet
    )
    assert result.table() == tune.random_search(bowl, SPACE, 8, **quiet).table()
    states = [trial.state.name for trial in result.study.trials]
    assert states.count("FAIL") == 2
    assert states.count("COMPLETE") == 8


def test_a_trial_that_always_ends_its_process_ends_the_search(tmp_path):
    objective = functools.partial(mortal, folder=tmp_path, deaths=99)
    with pytest.raises(SearchError) as caught:
        tune.random_search(
            objective, {"lr": SPACE["lr"], "layers": tune.integer(1, 2)}, 8, workers=2, **quiet
        )
    assert caught.value.what.startswith("Trial 3 ended its process 3 times: lr=")
    assert caught.value.fix.startswith("Run the objective with these values by itself")


def test_a_workers_exception_comes_with_its_values_and_the_search_can_go_on(tmp_path):
    shared = {"storage": tmp_path / "journal", "name": "n", "progress": False}
    with pytest.raises(KeyError) as caught:
        tune.random_search(failing, SPACE, 12, workers=2, **shared)
    notes = "\n".join(caught.value.__notes__)
    assert "in trial 3: lr=" in notes
    assert "In a worker:" in notes
    assert 'raise KeyError(trial["layers"])' in notes

    @functools.wraps(failing)
    def mended(trial):
        return bowl(trial)

    result = tune.random_search(mended, SPACE, 12, **shared)
    assert result.table() == tune.random_search(bowl, SPACE, 12, **quiet).table()


def test_what_workers_cannot_import_is_refused():
    with pytest.raises(DTypeError) as caught:
        tune.random_search(lambda trial: 1.0, SPACE, 2, workers=2, **quiet)
    assert caught.value.what.startswith("Workers cannot import the objective <function")
    assert caught.value.fix == (
        "Define it at the top of a module or script (no lambda), or use workers=1."
    )


def test_a_script_without_a_guard_is_told_so(tmp_path):
    text = """
from tinygrad_bn import tune
import test_tune
tune.random_search(test_tune.bowl, test_tune.SPACE, 2, workers=2, progress=False)
"""
    with started(tmp_path, text) as process:
        _, error = process.communicate(timeout=60)
    assert "SearchError: A worker ended before it began (exit code 1)." in error
    assert 'fix: In a script, search under if __name__ == "__main__":' in error


def test_another_search_in_the_same_study_is_refused_with_the_differences(tmp_path):
    path = tmp_path / "journal"
    tune.random_search(bowl, SPACE, 1, storage=path, name="mine", **quiet)
    content = path.read_bytes()
    other = {**SPACE, "lr": tune.uniform(0, 1), "decay": SPACE["lr"]}
    with pytest.raises(SearchError) as caught:
        tune.random_search(curves, other, 1, seed=1, storage=path, name="mine", **quiet)
    assert caught.value.what == (
        f"The study 'mine' in {path} belongs to another search:\n"
        "  objective: bowl in the study, curves here\n"
        "  seed: 0 in the study, 1 here\n"
        "  space, lr: log_uniform(0.0001, 1.0) in the study, uniform(0.0, 1.0) here\n"
        "  space, decay: none in the study, log_uniform(0.0001, 1.0) here"
    )
    assert caught.value.fix == "Give this search another name=, or another file as storage=."
    assert path.read_bytes() == content
    with pytest.raises(SearchError, match="search: random_search in the study, grid_search here"):
        tune.grid_search(bowl, SPACE, 2, storage=path, name="mine", **quiet)
    with pytest.raises(SearchError, match="generation: none in the study, 10 here"):
        tune.random_search(
            bowl, SPACE, 1, storage=path, name="mine", prune=PRUNERS["patient"], **quiet
        )
    tune.random_search(curves, other, 1, seed=1, storage=path, name="another", **quiet)


def test_a_pruner_is_told_apart_by_its_settings(tmp_path):
    shared = {"storage": tmp_path / "journal", "progress": False}
    tune.random_search(curves, SPACE, 2, prune=PRUNERS["patient"], **shared)
    tune.random_search(curves, SPACE, 3, prune=patient(), **shared)
    with pytest.raises(SearchError, match="n_startup_trials=3"):
        tune.random_search(curves, SPACE, 3, prune=PRUNERS["median"], **shared)


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    (tmp_path / "text").write_text("lr,value\n0.1,0.5\n")
    with pytest.raises(FileError, match="is no journal of trials") as caught:
        tune.random_search(bowl, SPACE, 1, storage=tmp_path / "text", **quiet)
    assert caught.value.fix == "Give the path of a new file as storage=."


@pytest.mark.parametrize("text", ["my thesis, one line", "a\nimportant last line", "0.5"])
def test_a_file_of_another_kind_stays_as_it_is(tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(FileError, match="is no journal of trials"):
        tune.random_search(bowl, SPACE, 1, storage=path, **quiet)
    assert path.read_text() == text


def test_a_lambda_in_a_journal_needs_a_name(tmp_path):
    storage = tmp_path / "journal"
    with pytest.raises(ShapeError) as caught:
        tune.random_search(lambda trial: 1.0, SPACE, 1, storage=storage, **quiet)
    assert caught.value.fix == "Give name=, another one for each objective."
    result = tune.random_search(lambda trial: 1.0, SPACE, 1, storage=storage, name="a", **quiet)
    assert result.best.value == 1.0


def test_a_beta_that_is_kept_as_its_distance_from_1_comes_back_within_its_bounds():
    space = {"beta": tune.one_minus_log_uniform(0.1, 0.9)}
    result = tune.grid_search(lambda trial: trial["beta"], space, 5, **quiet)
    assert result.trials[0].values["beta"] == 0.1
    assert result.importance() == {"beta": 1.0}


def test_a_line_that_a_killed_writer_did_not_end_is_cut_off(tmp_path):
    path = tmp_path / "journal"
    shared = {"storage": path, "progress": False}
    tune.random_search(bowl, SPACE, 4, **shared)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    result = tune.random_search(bowl, SPACE, 4, **shared)
    assert result.trials == tune.random_search(bowl, SPACE, 4, **quiet).trials


def test_a_journal_can_be_opened_by_optuna_itself(tmp_path):
    tune.random_search(bowl, SPACE, 3, storage=tmp_path / "journal", **quiet)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal"))
    study = optuna.load_study(study_name="bowl", storage=optuna.storages.JournalStorage(backend))
    assert len(study.trials) == 3


# locks -------------------------------------------------------------------------------------------


def test_a_lock_excludes_another_and_may_be_taken_twice(tmp_path):
    one, two = locks.FileLock(tmp_path / "lock"), locks.FileLock(tmp_path / "lock")
    with one, one:
        assert not two.acquire(wait=False)
    assert two.acquire(wait=False)
    assert not one.acquire(wait=False)
    two.release()


def test_an_owner_lives_until_it_leaves(tmp_path):
    owner = locks.Owner(tmp_path / "journal")
    assert locks.lives(tmp_path / "journal", owner.name)
    owner.leave()
    assert not locks.lives(tmp_path / "journal", owner.name)
    assert not list(tmp_path.iterdir())


def test_equal_values_have_no_importance_and_a_folder_is_no_journal(tmp_path):
    result = tune.random_search(lambda trial: 1.0, SPACE, 5, **quiet)
    with pytest.raises(SearchError) as caught:
        result.importance()
    assert caught.value.what == "All 5 trials have the value 1.0: nothing explains it."
    with pytest.raises(FileError) as refused:
        tune.random_search(bowl, SPACE, 1, storage=tmp_path, **quiet)
    assert refused.value.what == f"{tmp_path} is a folder."


def test_a_refused_space_names_the_users_line():
    """Not that of the ``__init__`` that dataclasses write, which has no file."""
    make = lambda: tune.log_uniform(0, 1)  # noqa: E731  (lambdas are what this is about)
    with pytest.raises(ShapeError) as caught:
        make()
    assert caught.value.where == (__file__, make.__code__.co_firstlineno)
    with pytest.raises(ShapeError) as caught:  # what has no file, and is the user's
        exec("\n\ntune.integer(3, 2)", {"tune": tune})  # noqa: S102  (our own text)
    assert caught.value.where == ("<string>", 3)
