"""The training loop: what it does, tells and refuses, and how it is adjusted while it runs."""

import json
import os
import re
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

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
    model, optimizer, history = train(validation=(X_HELD, Y_HELD), clip=0.3)
    own = net()
    by_hand, rng, losses = adam(own), np.random.default_rng(7), []
    for _ in range(3):
        for x, y in tg.data.batches(X, Y, size=16, rng=rng):
            by_hand.zero_grad()
            loss = tg.cross_entropy(own(x), y)
            loss.backward()
            optim.clip_grad_norm(own.parameters(), 0.3)
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
    ({"metrics": {"a": 1}}, DTypeError, "fit: metrics has 1.", "Give something to call."),
    ({"on_step": [3]}, DTypeError, "fit: on_step has 3.", "Give something to call."),
    ({"clip": 0.0}, ShapeError, "fit: clip=0.0.", "Give a positive, finite number, or None."),
    ({"every": 0, "checkpoint": "run"}, ShapeError, "fit: every=0.", "Give an integer from 1."),
    (
        {"every": 2},
        ShapeError,
        "fit: every=2 without a checkpoint.",
        "Give checkpoint=, a path, as well.",
    ),
    (
        {"metrics": ["accuracy"]},
        DTypeError,
        "fit: the metrics are a list.",
        'Pass a dict of functions by name: {"accuracy": tg.nn.accuracy}.',
    ),
    (
        {"stop": "loss"},
        DTypeError,
        "fit: stop is a str.",
        'Pass tg.nn.EarlyStop("validation loss").',
    ),
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
        f"The loss is nan at step {step} (lr=0.1); the parameters are as the step before left "
        "them, and running statistics have seen this batch."
    )
    assert np.isfinite(model.weight.data).all()


@pytest.mark.parametrize(
    ("loss", "described"),
    [
        (lambda p, y: 1.0, "a float"),
        (lambda p, y: tg.cross_entropy(p, y, reduction="none"), "a Tensor of shape (16,)"),
    ],
)
def test_a_loss_that_is_no_scalar_tensor_is_refused(loss, described):
    model = net()
    with pytest.raises(ShapeError) as caught:
        nn.fit(model, (X, Y), loss, adam(model), 1, batch_size=16, progress=False)
    assert caught.value.what == f"fit: the loss is {described}."
    np.testing.assert_array_equal(model[0].weight.data, net()[0].weight.data)


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


@pytest.mark.parametrize("log", [nn.CSVLog, nn.JSONLinesLog])
@pytest.mark.parametrize("content", ["some words\n", "[1]\n", '{"steps": 1}\n', "\xff\n"])
def test_a_file_that_is_no_log_is_refused_where_it_would_be_gone_on_with(tmp_path, log, content):
    path = tmp_path / "notes.txt"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(FileError) as caught:
        log(path).rewind(3)
    assert caught.value.what.startswith(f"{path} is no log of {log.__name__}: ")
    assert caught.value.fix == "Log to another path, or remove the file."
    assert path.read_text(encoding="latin-1") == content


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
    model = net()
    with pytest.raises(BoundsError) as caught:
        train(model, stop=nn.EarlyStop())
    assert same((model,), (net(),))
    assert caught.value.fix == (
        "Pass validation=(x, y) to fit, which adds 'validation loss', 'validation accuracy', or "
        "name one of 'training loss', 'training accuracy'."
    )
    assert caught.value.what == ("EarlyStop monitors 'validation loss', which epochs do not have.")
    with pytest.raises(BoundsError) as caught:
        train(model, stop=nn.EarlyStop("val_loss"), validation=(X_HELD, Y_HELD))
    assert caught.value.what == "EarlyStop monitors 'val_loss', which epochs do not have."
    assert caught.value.fix == (
        "Name one that they have: 'training loss', 'training accuracy', 'validation loss', "
        "'validation accuracy'."
    )
    with pytest.raises(BoundsError) as caught:
        nn.EarlyStop("loss").update({"error": 1.0})
    assert caught.value.fix == "Name one that they have: 'error'."
    with pytest.raises(ShapeError, match="patience=0"):
        nn.EarlyStop(patience=0)
    with pytest.raises(ShapeError, match="better='more'"):
        nn.EarlyStop(better="more")


def test_what_was_stopped_says_so_also_when_it_is_called_again(tmp_path, capsys):
    given = {"epochs": 60, "lr": 0.5, "validation": (X_HELD, Y_HELD), "progress": True}
    given |= {"checkpoint": tmp_path / "run.npz"}
    stop = nn.EarlyStop("validation accuracy", patience=2)
    first = train(stop=stop, **given)[2]
    count = len(first)
    assert count < 60 * 4
    assert first.stopped == (
        f"'validation accuracy' was best in epoch {stop.best_epoch} ({stop.best:.4g}), and no "
        "better in the 2 after it"
    )
    ends = [capsys.readouterr().err]
    again = train(stop=nn.EarlyStop("validation accuracy", patience=2), **given)[2]
    ends.append(capsys.readouterr().err)
    assert (again.stopped, again.epochs) == (first.stopped, first.epochs)
    assert repr(again).startswith(f"History({count} steps, {count // 4} epochs, stopped early: ")
    for shown in ends:
        assert f"{count}/{count}" in shown
        assert f"stopped early: {first.stopped}" in shown


def test_what_came_to_its_end_was_not_stopped():
    history = train(stop=nn.EarlyStop("training loss", patience=9))[2]
    assert history.stopped == ""
    assert "stopped" not in repr(history)


def test_nan_is_never_better():
    stop = nn.EarlyStop(patience=2, better="larger")
    assert [stop.update({"validation loss": v}) for v in (np.nan, 1.0, np.nan, np.nan)] == [
        False, False, False, True,
    ]  # fmt: skip
    stop = nn.EarlyStop(patience=1)
    assert stop.update({"validation loss": np.nan})
    assert stop.reason() == "'validation loss' was NaN or infinite in every epoch"


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


def test_a_control_file_written_in_two_goes_is_read_when_it_is_whole(tmp_path):
    path = tmp_path / "control.json"

    def write(step, numbers):
        if "loss" in numbers and step in (2, 3):
            later(path, {2: '{"lr": ', 3: '{"lr": 0.5}'}[step])
            os.utime(path, ns=(10**18, 10**18))  # in one tick of the clock

    with pytest.warns(UserWarning, match="is passed over: Expecting value"):
        _, _, history = train(control=path, on_step=write)
    assert [(c["step"], c["to"]) for c in history.changes] == [(3, 0.5)]


def test_a_command_that_leads_to_no_rate_changes_nothing(tmp_path):
    path = tmp_path / "control.json"

    def write(step, numbers):
        if "loss" in numbers and step == 2:
            later(path, '{"lr": 1e300, "lr_factor": 1e300}')

    with pytest.warns(UserWarning, match="is passed over: the rate would be inf"):
        _, _, history = train(control=path, on_step=write)
    assert history.changes == []
    assert history["lr"][-1] < 0.02


def test_a_journal_that_cannot_be_written_does_not_end_a_training(tmp_path):
    path = tmp_path / "control.json"
    Path(f"{path}.journal.jsonl").mkdir()

    def write(step, numbers):
        if "loss" in numbers and step == 2:
            later(path, '{"lr": 0.5}')

    with pytest.warns(UserWarning, match="journal.jsonl lacks {'step': 2, 'what': 'lr'"):
        _, _, history = train(control=path, on_step=write)
    assert history["lr"][2:].tolist() == [0.5] * 10


def test_a_log_that_cannot_be_written_says_why(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError) as caught:
        train(on_step=nn.CSVLog(tmp_path / "file" / "log.csv"))
    assert caught.value.what == (
        f"{tmp_path / 'file' / 'log.csv'} could not be written: a folder of its path is a file."
    )
