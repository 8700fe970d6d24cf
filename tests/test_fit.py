"""The training loop: what it does, tells and refuses; checkpoints that resume exactly."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import tinygrad_bn as tg
from tinygrad_bn import nn, optim
from tinygrad_bn.errors import (
    BoundsError,
    DTypeError,
    FileError,
    GradientError,
    OptionalDependencyError,
    ShapeError,
    TinygradError,
)
from tinygrad_bn.nn import checkpoints

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4))
Y = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(np.int64)
X_HELD, Y_HELD = X[:20] + 0.1, Y[:20]


def net(seed=0):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Linear(4, 8, bias=False, rng=rng),
        nn.BatchNorm(8),
        nn.ReLU(),
        nn.Dropout(0.2, rng=np.random.Generator(np.random.MT19937(seed))),
        nn.Linear(8, 2, rng=rng),
    )


def adam(model, lr=None):
    return optim.Adam(model.parameters(), lr or optim.exponential(0.02, decay=0.9, every=4))


def train(model=None, *, epochs=3, lr=None, **options):
    model = model or net()
    given = {"batch_size": 16, "rng": 7, "progress": False, **options}
    optimizer = adam(model, lr)
    history = nn.fit(model, (X, Y), tg.cross_entropy, optimizer, epochs, **given)
    return model, optimizer, history


def same(a, b):
    """Two trainings ended in the same bits."""
    for one, other in zip(a, b, strict=True):
        if isinstance(one, nn.History):
            assert one.epochs == other.epochs
            assert one.steps == other.steps
            assert one.changes == other.changes
        else:
            states = one.state_dict(), other.state_dict()
            assert states[0].keys() == states[1].keys()
            for name, array in states[0].items():
                np.testing.assert_array_equal(array, states[1][name], err_msg=name)
    assert checkpoints.generators(a[0]).keys() == checkpoints.generators(b[0]).keys()
    drawn = [[g.random() for g in checkpoints.generators(t[0]).values()] for t in (a, b)]
    assert drawn[0] == drawn[1]
    return True


# the loop ----------------------------------------------------------------------------------------


def test_it_is_the_loop_that_one_writes_by_hand():
    model, optimizer, history = train(validation=(X_HELD, Y_HELD))
    own = net()
    by_hand, rng, losses = adam(own), np.random.default_rng(7), []
    for _ in range(3):
        for x, y in tg.data.batches(X, Y, size=16, rng=rng):
            by_hand.zero_grad()
            loss = tg.cross_entropy(own(x), y)
            loss.backward()
            by_hand.step()
            losses.append(loss.item())
    assert history["loss"].tolist() == losses
    assert same((model, optimizer), (own, by_hand))


def test_epochs_hold_the_means_of_their_steps_and_what_validation_found():
    model, _, history = train(validation=(X_HELD, Y_HELD))
    assert len(history) == 12
    assert [row["step"] for row in history.epochs] == [4, 8, 12]
    sizes = [16, 16, 16, 2]
    for name in ("loss", "accuracy"):
        mean = np.average(history[name][4:8], weights=sizes)
        assert history.epochs[1][f"training {name}"] == pytest.approx(mean, rel=1e-14)
    found = nn.evaluate(model, (X_HELD, Y_HELD), tg.cross_entropy)
    assert history.epochs[-1]["validation loss"] == found["loss"]
    assert history.epochs[-1]["validation accuracy"] == found["accuracy"]
    assert history["lr"].tolist() == [0.02 * 0.9 ** (s / 4) for s in range(12)]
    assert repr(history).startswith("History(12 steps, 3 epochs: training loss ")


def test_drop_last_leaves_the_smaller_batch_out():
    assert len(train(drop_last=True)[2]) == 9
    with pytest.raises(ShapeError) as caught:
        train(drop_last=True, batch_size=51)
    assert caught.value.what == "fit: drop_last leaves nothing of 50 samples with batch_size=51."


def test_no_epochs_change_nothing():
    model, _, history = train(epochs=0)
    assert len(history) == 0
    assert same((model,), (net(),))


def test_modes_are_afterwards_what_they_were_also_at_errors():
    model = net()
    model.eval()
    model[1].training = True
    modes = [module.training for module in model.modules()]
    train(model, epochs=1, validation=(X_HELD, Y_HELD))
    assert [module.training for module in model.modules()] == modes

    def fails(step, numbers):
        assert all(module.training for module in model.modules())
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine") as caught:
        train(model, on_step=fails)
    assert [module.training for module in model.modules()] == modes
    assert len(caught.value.history) == 1


def test_other_metrics_take_the_place_of_accuracy():
    def spread(prediction, y):
        assert isinstance(prediction, np.ndarray)
        return np.ptp(prediction)

    _, _, history = train(metrics={"spread": spread}, validation=(X_HELD, Y_HELD))
    assert set(history.steps[0]) == {"loss", "spread", "lr"}
    assert "validation spread" in history.epochs[0]
    model = nn.Linear(4, 1, rng=0)
    optimizer = optim.SGD(model.parameters(), 0.1)
    history = nn.fit(model, (X, X[:, :1]), tg.mse_loss, optimizer, 1, progress=False)
    assert set(history.steps[0]) == {"loss", "lr"}


def test_predict_and_evaluate_leave_the_model_alone():
    model = net()
    model.train()
    before = model.state_dict()
    whole = nn.predict(model, X)
    np.testing.assert_array_equal(whole, nn.predict(model, X, batch_size=50))
    # A product over other numbers of rows may round otherwise: eight products are added.
    bound = 16 * np.finfo(float).eps * np.abs(whole).max()
    np.testing.assert_allclose(whole, nn.predict(model, X, batch_size=7), rtol=0, atol=bound)
    found = nn.evaluate(model, (X, Y), tg.cross_entropy, batch_size=7)
    assert found["accuracy"] == nn.accuracy(whole, Y)
    assert found["loss"] == pytest.approx(tg.cross_entropy(whole, Y).item(), rel=1e-14)
    assert all(module.training for module in model.modules())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


# what it refuses ---------------------------------------------------------------------------------

WRONG = [
    ({"epochs": -1}, ShapeError, "fit: epochs=-1.", "Give an integer from 0."),
    ({"epochs": 1.5}, DTypeError, "fit: epochs=1.5.", "Give an integer."),
    ({"epochs": True}, DTypeError, "fit: epochs=True.", "Give an integer."),
    ({"batch_size": 0}, ShapeError, "fit: batch_size=0.", "Give an integer from 1."),
    ({"every": 0}, ShapeError, "fit: every=0.", "Give an integer from 1."),
    (
        {"validation": X},
        ShapeError,
        "fit, validation: the data are a ndarray.",
        "Pass a tuple of two arrays: (x, y).",
    ),
    (
        {"validation": (X, Y[:3])},
        ShapeError,
        "fit, validation: x of shape (50, 4) and y of shape (3,).",
        "Pass arrays whose first axes count the same samples, at least one.",
    ),
]


@pytest.mark.parametrize(("options", "kind", "what", "fix"), WRONG, ids=lambda w: str(w)[:30])
def test_arguments_that_do_not_fit_are_refused_before_anything_changes(options, kind, what, fix):
    model = net()
    with pytest.raises(kind) as caught:
        train(model, **options)
    assert (caught.value.what, caught.value.fix) == (what, fix)
    assert same((model,), (net(),))


def test_an_optimiser_of_another_model_is_refused():
    model = net()
    with pytest.raises(TinygradError) as caught:
        nn.fit(model, (X, Y), tg.cross_entropy, adam(net()), 1)
    assert caught.value.what == ("fit: 5 of the optimizer's 5 parameters are not in the model.")
    for wrong, what in (
        ((print, (X, Y), tg.cross_entropy, adam(model), 1), "fit: the model is a builtin"),
        ((model, (X, Y), tg.cross_entropy, 0.1, 1), "fit: the optimizer is a float."),
    ):
        with pytest.raises(DTypeError) as caught:
            nn.fit(*wrong)
        assert caught.value.what.startswith(what)


def test_a_loss_that_is_no_number_stops_before_the_step():
    x = X.copy()
    x[3] = np.nan
    model = nn.Linear(4, 2, rng=0)
    optimizer = optim.SGD(model.parameters(), 0.1)
    with pytest.raises(GradientError) as caught, np.errstate(invalid="ignore"):
        nn.fit(model, (x, Y), tg.cross_entropy, optimizer, 1, batch_size=16, rng=1, progress=False)
    step = len(caught.value.history) + 1
    assert caught.value.what == (
        f"The loss is nan at step {step} (lr=0.1); the parameters are as the step before left them."
    )
    assert np.isfinite(model.weight.data).all()


def test_a_last_batch_of_one_sample_names_drop_last():
    with pytest.raises(ShapeError) as caught:
        train(batch_size=49)
    assert caught.value.__notes__ == [
        "This is the last batch, of one sample: drop_last=True leaves it out."
    ]


# what it tells -----------------------------------------------------------------------------------


def test_the_hook_is_told_of_each_step_and_each_epoch():
    told = []
    _, _, history = train(
        on_step=[lambda step, numbers: told.append((step, numbers))], validation=(X_HELD, Y_HELD)
    )
    steps = [(s, n) for s, n in told if "loss" in n]
    epochs = [(s, n) for s, n in told if "validation loss" in n]
    assert [n for _, n in steps] == history.steps
    assert [s for s, _ in steps] == list(range(1, 13))
    assert [s for s, _ in epochs] == [4, 8, 12]
    assert told.index(epochs[0]) == 4


def test_logs_hold_every_number_to_the_bit(tmp_path):
    logs = [nn.CSVLog(tmp_path / "new" / "log.csv"), nn.JSONLinesLog(tmp_path / "log.jsonl")]
    _, _, history = train(on_step=logs)
    lines = (tmp_path / "new" / "log.csv").read_text().splitlines()
    losses = [float(line.split(",")[2]) for line in lines[1:] if ",loss," in line]
    assert losses == history["loss"].tolist()
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows if "loss" in row] == losses
    assert rows[4]["training loss"] == history.epochs[0]["training loss"]


def test_a_log_is_begun_anew_by_another_training(tmp_path):
    for _ in range(2):
        train(on_step=nn.CSVLog(tmp_path / "log.csv"))
    assert (tmp_path / "log.csv").read_text().count("step,name,value") == 1
    assert (tmp_path / "log.csv").read_text().count("\n1,loss,") == 1


def test_a_name_with_a_comma_is_quoted(tmp_path):
    nn.CSVLog(tmp_path / "a.csv")(1, {"a, b": 1.0})
    assert (tmp_path / "a.csv").read_text() == 'step,name,value\n1,"a, b",1.0\n'


def test_the_bar_shows_loss_accuracy_and_rate(capsys):
    train(progress=True)
    shown = capsys.readouterr().err
    assert "12/12" in shown
    assert "training loss" in shown


def test_without_tqdm_there_is_no_bar_unless_it_is_asked_for(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    train(progress=None)
    assert capsys.readouterr().err == ""
    with pytest.raises(OptionalDependencyError) as caught:
        train(progress=True)
    assert caught.value.fix == 'Install the extra "demos": pip install "tinygrad_bn[demos]".'


def test_a_history_names_the_columns_that_it_has():
    with pytest.raises(BoundsError) as caught:
        train()[2]["nonsense"]
    assert caught.value.what == "The history has no 'nonsense' of each step."
    assert caught.value.fix == "It has 'loss', 'accuracy', 'lr'; epochs has rows."


# stopping early ----------------------------------------------------------------------------------


def test_it_stops_when_nothing_gets_better_and_gives_the_best_back():
    stop = nn.EarlyStop("validation accuracy", patience=2)
    states = []
    model = net()
    _, _, history = train(
        model,
        epochs=60,
        lr=0.5,
        stop=stop,
        validation=(X_HELD, Y_HELD),
        on_step=lambda step, n: states.append(model.state_dict()) if "training loss" in n else None,
    )
    found = [row["validation accuracy"] for row in history.epochs]
    assert len(found) < 60
    assert len(found) - stop.best_epoch == 2
    assert stop.best == max(found) == found[stop.best_epoch - 1]
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, states[stop.best_epoch - 1][name])


def test_what_is_monitored_has_to_be_there():
    with pytest.raises(BoundsError) as caught:
        train(stop=nn.EarlyStop())
    assert caught.value.what == ("EarlyStop monitors 'validation loss', which epochs do not have.")
    with pytest.raises(ShapeError, match="patience=0"):
        nn.EarlyStop(patience=0)
    with pytest.raises(ShapeError, match="better='more'"):
        nn.EarlyStop(better="more")


def test_nan_is_never_better():
    stop = nn.EarlyStop(patience=2, better="larger")
    assert [stop.update({"validation loss": v}) for v in (np.nan, 1.0, np.nan, np.nan)] == [
        False, False, False, True,
    ]  # fmt: skip


# adjusting ---------------------------------------------------------------------------------------


def test_a_callback_may_change_the_rate():
    model = net()
    optimizer = adam(model)

    def cut(step, numbers):
        if step == 5 and "loss" in numbers:
            optimizer.lr = 0.001

    history = nn.fit(
        model, (X, Y), tg.cross_entropy, optimizer, 3, batch_size=16, on_step=cut, progress=False
    )
    assert history["lr"][5:].tolist() == [0.001] * 7
    before = 0.02 * 0.9 ** (5 / 4)
    assert history.changes == [
        {"step": 5, "what": "lr", "from": before, "to": 0.001, "by": "callback"}
    ]


def later(path, content):
    """Write a file so that it is later than whatever was there."""
    path.write_text(content)
    now = time.time_ns()
    later.last = max(now, getattr(later, "last", 0) + 1000)
    os.utime(path, ns=(later.last, later.last))


def test_a_control_file_changes_the_rate_and_stops(tmp_path):
    path = tmp_path / "control.json"
    later(path, '{"stop": true}')  # of an earlier run

    def write(step, numbers):
        if "loss" in numbers and step in (2, 4, 6):
            later(path, {2: '{"lr": 0.5}', 4: '{"lr_factor": 0.5}', 6: '{"stop": true}'}[step])

    _, _, history = train(control=path, on_step=write)
    assert history["lr"].tolist() == [0.02, 0.02 * 0.9 ** (1 / 4), 0.5, 0.5, 0.25, 0.25]
    assert [(c["step"], c["what"], c["to"]) for c in history.changes] == [
        (2, "lr", 0.5),
        (4, "lr", 0.25),
        (6, "stop", True),
    ]
    journal = [json.loads(line) for line in Path(f"{path}.journal.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in line.items() if k != "time"} for line in journal] == history.changes
    assert all(line["time"].endswith("+00:00") for line in journal)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"lr": 0.', "Expecting|Unterminated|delimiter"),
        ("[1]", "is no object with the keys lr, lr_factor, stop"),
        ('{"rate": 1}', "is no object with the keys"),
        ('{"lr": -1}', "lr is -1, and no positive number"),
        ('{"lr": "1"}', "lr is '1', and no positive number"),
        ('{"lr_factor": NaN}', "lr_factor is nan"),
        ('{"stop": 1}', "stop is 1, and neither true nor false"),
    ],
)
def test_a_control_file_that_cannot_be_understood_is_warned_of_once(tmp_path, content, why):
    path = tmp_path / "control.json"

    def write(step, numbers):
        if step == 2:
            later(path, content)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, _, history = train(control=path, on_step=write)
    assert len(history) == 12
    assert history.changes == []
    assert len(caught) == 1
    assert re.search(why, str(caught[0].message))


def test_the_rate_of_an_optimiser_is_checked_when_it_is_set():
    optimizer = adam(net())
    with pytest.raises(ShapeError) as caught:
        optimizer.lr = -1.0
    assert caught.value.what == "Adam: lr=-1.0."
    assert optimizer.lr == 0.02


# checkpoints: going on ---------------------------------------------------------------------------


def everything(tmp_path):
    return {
        "checkpoint": tmp_path / "run.npz",
        "every": 1,
        "validation": (X_HELD, Y_HELD),
        "stop": nn.EarlyStop(patience=4),
        "on_step": [nn.CSVLog(tmp_path / "log.csv"), nn.JSONLinesLog(tmp_path / "log.jsonl")],
    }


class Killed(BaseException):
    pass


def until(step):
    """Return a callback that ends a training in the middle of it."""

    def stops(at, numbers):
        if at == step and "loss" in numbers:
            raise Killed

    return stops


@given(step=st.integers(1, 12), every=st.integers(1, 6))
@settings(max_examples=20)
def test_wherever_it_was_interrupted_it_goes_on_to_the_same_bits(tmp_path_factory, step, every):
    folder = tmp_path_factory.mktemp("run")
    whole = everything(folder / "whole")
    parts = everything(folder / "parts") | {"every": every}
    expected = train(**whole)
    with pytest.raises(Killed):
        train(**parts | {"on_step": [*parts["on_step"], until(step)]})
    other = net(seed=5) if parts["checkpoint"].exists() else net()
    assert same(train(other, **parts), expected)
    for name in ("log.csv", "log.jsonl"):
        assert (folder / "parts" / name).read_text() == (folder / "whole" / name).read_text()


def test_more_epochs_later_are_as_many_at_once(tmp_path):
    path = tmp_path / "run.npz"
    for epochs in (2, 2, 5):
        result = train(epochs=epochs, checkpoint=path)
    assert same(result, train(epochs=5))


def test_a_shared_generator_goes_on_where_it_was(tmp_path):
    def once(**options):
        rng = np.random.default_rng(3)
        model = net()
        model[3].rng = rng
        optimizer = adam(model)
        history = nn.fit(
            model, (X, Y), tg.cross_entropy, optimizer, 3,
            batch_size=16, rng=rng, progress=False, **options,
        )  # fmt: skip
        return model, optimizer, history

    path = tmp_path / "run.npz"
    with pytest.raises(Killed):
        once(checkpoint=path, every=1, on_step=until(7))
    assert same(once(checkpoint=path, every=1), once())


def test_a_changed_rate_is_still_changed_after_going_on(tmp_path):
    def once(path, *more):
        model = net()
        optimizer = adam(model)

        def cut(step, numbers):
            if step == 3 and "loss" in numbers:
                optimizer.lr = 0.001

        history = nn.fit(
            model, (X, Y), tg.cross_entropy, optimizer, 3,
            batch_size=16, rng=7, progress=False, checkpoint=path, every=2, on_step=[cut, *more],
        )  # fmt: skip
        return model, optimizer, history

    with pytest.raises(Killed):
        once(tmp_path / "a.npz", until(6))
    result = once(tmp_path / "a.npz")
    assert same(result, once(tmp_path / "b.npz"))
    assert result[2]["lr"][-1] == 0.001


def test_a_command_is_not_obeyed_again_after_going_on(tmp_path):
    control, path = tmp_path / "control.json", tmp_path / "run.npz"

    def write(step, numbers):
        if step == 2 and "loss" in numbers:
            later(control, '{"lr_factor": 0.5}')

    options = {"checkpoint": path, "every": 1, "control": control}
    with pytest.raises(Killed):
        train(**options, on_step=[write, until(6)])
    _, _, history = train(**options)
    assert len(history.changes) == 1


def test_a_stop_by_control_lets_it_go_on_another_time(tmp_path):
    control, path = tmp_path / "control.json", tmp_path / "run.npz"

    def write(step, numbers):
        if step == 6 and "loss" in numbers:
            later(control, '{"stop": true}')

    options = {"checkpoint": path, "control": control}
    assert len(train(**options, on_step=write)[2]) == 6
    model, optimizer, history = train(**options)
    assert len(history) == 12
    expected = train()
    assert same((model, optimizer), expected[:2])


# checkpoints: refusing ---------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "run.npz"
    train(checkpoint=path, epochs=1, validation=(X_HELD, Y_HELD))
    return path


def refused(path, model=None, **options):
    """The error of going on with something else; the model stays as it was."""
    model = model or net(seed=5)
    before = model.state_dict()
    with pytest.raises(TinygradError) as caught:
        train(model, **{"checkpoint": path, "validation": (X_HELD, Y_HELD), **options})
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    return caught.value


OTHERS = [
    ({"batch_size": 8}, "batch_size: 16 in the file, 8 now"),
    ({"drop_last": True}, "drop_last: False in the file, True now"),
    ({"lr": 0.1}, "rate at the start: 0.02 in the file, 0.1 now"),
    (
        {"lr": optim.exponential(0.02, decay=0.8, every=4)},
        "rate: 0.018000000000000002 in the file, 0.016 now",
    ),
    ({"stop": nn.EarlyStop()}, "stop: None in the file, {'monitor': 'validation loss'"),
    ({"metrics": {}}, "metrics: ['accuracy'] in the file, [] now"),
    ({"validation": (X_HELD, 1 - Y_HELD)}, "validation: "),
    ({"validation": None}, "... in the file, None now"),
]


@pytest.mark.parametrize(("options", "told"), OTHERS, ids=lambda o: str(o)[:30])
def test_another_training_is_refused_and_the_difference_told(saved, options, told):
    error = refused(saved, **options)
    assert isinstance(error, FileError)
    assert error.what.startswith(f"{saved} is of another training:\n  ")
    assert told in error.what
    assert error.fix == "Go on with what it was begun with, or give another path to begin anew."


def test_another_model_is_refused(saved):
    rng = np.random.default_rng(0)
    other = nn.Sequential(
        nn.Linear(4, 2, rng=rng), nn.Dropout(0.5, rng=np.random.Generator(np.random.MT19937(0)))
    )
    assert "does not hold the random generators" in refused(saved, other).what
    wider = net()
    wider[4].weight = nn.Parameter(np.ones((3, 8)))
    assert "shape (2, 8) in the state, (3, 8) in the module" in refused(saved, wider).what
    another = net()
    another[3].rng = np.random.default_rng(0)
    assert "was a MT19937, and is a PCG64" in refused(saved, another).what


def test_every_damage_is_seen_or_harms_nothing(saved):
    content = saved.read_bytes()
    whole = checkpoints.read(saved)
    for cut in (0, 1, 10, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:cut])
        assert isinstance(refused(saved), FileError)
    rng = random.Random(0)  # noqa: S311  (places)
    seen = 0
    for place in rng.sample(range(len(content)), 400):
        saved.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        try:
            read = checkpoints.read(saved)
        except FileError:
            seen += 1
            continue
        assert read.content == whole.content
        for name, array in whole.arrays.items():
            np.testing.assert_array_equal(read.arrays[name], array)
    assert seen > 200


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text("hello"),
        lambda path: np.savez(path, a=np.ones(3)),
        lambda path: np.savez(path, content=np.array([255, 0], np.uint8)),
        lambda path: path.with_suffix(".x").write_bytes(b""),
        lambda path: path.write_bytes(np.lib.format.magic(1, 0) + b"\x10\x00"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, write):
    path = tmp_path / "run.npz"
    write(path)
    if not path.exists():
        path.write_bytes(b"\x80\x04N.")  # a pickle
    error = refused(path)
    assert isinstance(error, FileError)
    assert error.what.startswith(str(path))


def test_another_version_and_another_kind_are_refused(saved):
    arrays, content = checkpoints.read(saved)
    checkpoints.write(saved, arrays, content | {"version": 2})
    # what is written last wins: the format and version are ours to set
    assert refused(saved).what.startswith(f"{saved} is a checkpoint of version 2")
    nn.save_checkpoint(saved, model=net())
    assert refused(saved).what == f"{saved} was not written by fit."


def test_a_loop_of_ones_own_saves_and_loads(tmp_path):
    path, rng = tmp_path / "a.npz", np.random.default_rng(1)
    model, optimizer, _ = train()
    nn.save_checkpoint(path, model=model, optimizer=optimizer, rng=rng, extra={"epoch": 3})
    drawn = rng.random()
    other = net(seed=5)
    again, generator = adam(other), np.random.default_rng(2)
    extra = nn.load_checkpoint(path, model=other, optimizer=again, rng=generator)
    assert extra == {"epoch": 3}
    assert generator.random() == drawn
    assert same((model, optimizer), (other, again))


def test_what_was_not_saved_cannot_be_loaded(tmp_path):
    path = tmp_path / "a.npz"
    nn.save_checkpoint(path, model=net())
    with pytest.raises(FileError) as caught:
        nn.load_checkpoint(path, model=net(), optimizer=adam(net()), rng=np.random.default_rng())
    assert caught.value.what == f"{path} does not hold optimizer, rng."
    with pytest.raises(FileNotFoundError):
        nn.load_checkpoint(tmp_path / "b.npz", model=net())


def test_an_optimiser_that_does_not_fit_leaves_the_model_alone(tmp_path):
    path = tmp_path / "a.npz"
    model = net()
    nn.save_checkpoint(path, model=model, optimizer=adam(model))
    other = net(seed=5)
    before = other.state_dict()
    with pytest.raises(ShapeError, match="load_state_dict of SGD"):
        nn.load_checkpoint(path, model=other, optimizer=optim.SGD(other.parameters(), 0.1))
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


# checkpoints: interrupted and killed -------------------------------------------------------------


def test_a_first_interrupt_ends_the_step_and_saves(tmp_path):
    path = tmp_path / "run.npz"

    def press(step, numbers):
        if step == 6 and "loss" in numbers:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(checkpoint=path, on_step=press)
    assert signal.getsignal(signal.SIGINT) is before
    assert len(caught.value.history) == 6
    assert checkpoints.read(path).content["step"] == 6
    assert same(train(checkpoint=path), train())


def test_a_second_interrupt_is_at_once(tmp_path):
    def press(step, numbers):
        if step == 6 and "loss" in numbers:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            pytest.fail("it went on")

    with pytest.raises(KeyboardInterrupt):
        train(checkpoint=tmp_path / "run.npz", on_step=press)
    assert checkpoints.read(tmp_path / "run.npz").content["step"] == 4


def test_it_runs_in_a_thread_too():
    results = []
    thread = threading.Thread(target=lambda: results.append(train()))
    thread.start()
    thread.join()
    assert same(results[0], train())


def test_a_full_disk_leaves_the_old_checkpoint(saved, monkeypatch):
    before = saved.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TinygradError) as caught:
        train(checkpoint=saved, epochs=2, validation=(X_HELD, Y_HELD))
    assert caught.value.what == (
        f"The checkpoint {saved} could not be written: No space left on device. "
        "What stood there before stands there still."
    )
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["run.npz"]


KILLS = 50
SERVER = """
import os, random, signal, sys, time
sys.path.insert(0, {tests!r})
import test_fit
from pathlib import Path

folder, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)


def run(folder):
    if (child := os.fork()) == 0:
        options = test_fit.everything(folder)
        test_fit.train(epochs=test_fit.EPOCHS, **options)
        os._exit(0)
    return child


def ended(child):
    return os.waitpid(child, os.WNOHANG) != (0, 0)


def timed(folder):
    began = time.monotonic()
    assert os.waitpid(run(folder), 0)[1] == 0
    return time.monotonic() - began


took, idle = timed(folder / "whole"), timed(folder / "whole")
done, reached = 0, set()
while done < kills:
    child = run(folder / "parts")
    time.sleep(rng.uniform(0, idle + 1.5 * took / kills))
    if ended(child):
        sys.exit("the training was over after %d kills" % done)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    done += 1
    if (folder / "parts/run.npz").exists():
        reached.add(test_fit.checkpoints.read(folder / "parts/run.npz").content["step"])
child = run(folder / "parts")
assert os.waitpid(child, 0)[1] == 0
print(done, len(reached), took, idle)
"""
EPOCHS = 150


def test_a_run_that_is_killed_fifty_times_ends_in_the_same_bits(tmp_path):
    seed = random.randrange(2**32)  # noqa: S311  (moments)
    print(f"seed {seed}")
    command = [sys.executable, "-c", SERVER.format(tests=str(Path(__file__).parent))]
    done = subprocess.run(  # noqa: S603  (our own text)
        [*command, str(tmp_path), str(seed), str(KILLS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kills, places = map(int, done.stdout.split()[:2])
    assert kills == KILLS
    assert places > 10  # they were spread over the training
    whole, parts = (checkpoints.read(tmp_path / p / "run.npz") for p in ("whole", "parts"))
    assert whole.content == parts.content
    assert whole.arrays.keys() == parts.arrays.keys()
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(array, parts.arrays[name], err_msg=name)
    for name in ("log.csv", "log.jsonl"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert {p.name for p in (tmp_path / "parts").iterdir()} == {"run.npz", "log.csv", "log.jsonl"}
