"""Checkpoints: trainings that go on to the same bits, however they ended; files refused."""

import functools
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from test_fit import X_HELD, Y_HELD, X, Y, adam, later, net, same, train

import tinygrad_bn as tg
from tinygrad_bn import files, nn, optim
from tinygrad_bn.errors import DTypeError, FileError, ShapeError, TinygradError
from tinygrad_bn.nn import checkpoints

# going on ---------------------------------------------------------------------------


LOGS = {"log.csv": nn.CSVLog, "log.jsonl": nn.JSONLinesLog}


def everything(tmp_path):
    return {
        "checkpoint": tmp_path / "run.npz",
        "every": 1,
        "validation": (X_HELD, Y_HELD),
        "stop": nn.EarlyStop(patience=4),
        "on_step": [log(tmp_path / name) for name, log in LOGS.items()],
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
    for name, torn in (("log.csv", b'13,"l\xc3'), ("log.jsonl", b'{"step": 1, "l\xc3')):
        with (folder / "parts" / name).open("ab") as file:
            file.write(torn)
    other = net(seed=5) if parts["checkpoint"].exists() else net()
    assert same(train(other, **parts), expected)
    whole_and_parts_are_the_same(folder)


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


def test_the_optimiser_whose_rate_was_changed_goes_on_in_the_same_process(tmp_path):
    model = net()
    optimizer = adam(model)

    def cut(step, numbers):
        if step == 5 and "loss" in numbers:
            optimizer.lr = 0.001

    def once(epochs, path):
        return nn.fit(
            model, (X, Y), tg.cross_entropy, optimizer, epochs,
            batch_size=16, rng=7, progress=False, checkpoint=path, on_step=cut,
        )  # fmt: skip

    once(2, tmp_path / "run.npz")
    history = once(3, tmp_path / "run.npz")
    assert history["lr"].tolist() == [0.02 * 0.9 ** (s / 4) for s in range(5)] + [0.001] * 7


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


# refusing ---------------------------------------------------------------------------


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
    ({"clip": 1.0}, "clip: None in the file, 1.0 now"),
    ({"drop_last": True}, "drop_last: False in the file, True now"),
    ({"lr": 0.1}, "rate at the start: 0.02 in the file, 0.1 now"),
    (
        {"lr": optim.exponential(0.02, decay=0.8, every=4)},
        "rate: 0.018480421729446136 in the file, 0.016917940215049027 now",
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
        assert read.arrays.keys() == whole.arrays.keys()
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


def test_a_loop_of_ones_own_keeps_a_rate_that_was_set(tmp_path):
    model, path = net(), tmp_path / "a.npz"
    optimizer, other = adam(model), adam(model)
    optimizer.lr = 0.5
    nn.save_checkpoint(path, model=model, optimizer=optimizer)
    nn.load_checkpoint(path, model=model, optimizer=other)
    assert other.lr == 0.5


def test_what_json_cannot_hold_is_refused_and_the_old_file_stays(saved):
    before = saved.read_bytes()
    with pytest.raises(DTypeError) as caught:
        nn.save_checkpoint(saved, model=net(), extra={"array": np.ones(3)})
    assert caught.value.what == (
        f"The checkpoint {saved}: extra holds what JSON cannot "
        "(Object of type ndarray is not JSON serializable)."
    )
    assert saved.read_bytes() == before


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(FileError, match=r"cannot be read: Is a directory\."):
        nn.load_checkpoint(tmp_path, model=net())


def test_arrays_that_are_not_those_that_were_written_are_refused(saved):
    with np.load(saved) as held:
        arrays = dict(held)
    del arrays["model/layers.1.average"]
    np.savez(saved, **arrays)
    with pytest.raises(FileError, match="the arrays are not those that were written"):
        checkpoints.read(saved)


@pytest.mark.parametrize("name", ["run.npz", "run[1]*.npz"])
def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path, name):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getpid()):
        (tmp_path / f".{name}.{pid}.0a1b2c3d").write_text("half")
    train(epochs=1, checkpoint=tmp_path / name)
    assert {p.name for p in tmp_path.iterdir()} == {name, f".{name}.{os.getpid()}.0a1b2c3d"}


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
    with pytest.raises(ShapeError, match="holds the memories of Adam, and the optimizer is SGD"):
        nn.load_checkpoint(path, model=other, optimizer=optim.SGD(other.parameters(), 0.1))
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


# interrupted and killed -------------------------------------------------------------


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
    assert str(caught.value) == (
        f"after step 6; {path} holds step 6, from which the same call of fit goes on"
    )
    assert same(train(checkpoint=path), train())


def test_a_second_interrupt_is_at_once(tmp_path):
    def press(step, numbers):
        if step == 6 and "loss" in numbers:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            pytest.fail("it went on")

    path = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt) as caught:
        train(checkpoint=path, on_step=press)
    assert checkpoints.read(path).content["step"] == 4
    assert str(caught.value).startswith(f"after step 6; {path} holds step 4, ")


def test_an_interrupt_says_where_nothing_is_saved(tmp_path):
    def press(step, numbers):
        if step == resumed + 1:
            raise KeyboardInterrupt

    def interrupted(**options):
        with pytest.raises(KeyboardInterrupt) as caught:
            train(on_step=press, **options)
        return str(caught.value)

    resumed = 0
    assert interrupted() == "after step 1; nothing is saved, since fit was given no checkpoint"
    path = tmp_path / "run.npz"
    assert interrupted(checkpoint=path) == f"after step 1; {path} has not been written yet"
    assert not path.exists()
    train(epochs=1, checkpoint=path)
    resumed = 4
    assert interrupted(checkpoint=path).startswith(f"after step 5; {path} holds step 4, ")


def test_an_interrupt_with_words_of_its_own_keeps_them(tmp_path):
    def stops(step, numbers):
        raise KeyboardInterrupt("mine")

    with pytest.raises(KeyboardInterrupt, match=r"^mine$"):
        train(checkpoint=tmp_path / "run.npz", on_step=stops)


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


# killed: in processes of one thread that fork each run, and import only once ----------------------

SERVER = """
import sys
sys.path.insert(0, {tests!r})
import test_checkpoints
test_checkpoints.{function}(*sys.argv[1:])
"""


def serve(function, *arguments):
    """Call a function of this module in a new process; returns what it printed."""
    text = SERVER.format(tests=str(Path(__file__).parent), function=function.__name__)
    done = subprocess.run(  # noqa: S603  (our own text)
        [sys.executable, "-c", text, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def forked(function, *arguments, **options):
    """Call a function in a child; returns its process id."""
    if (child := os.fork()) == 0:
        try:
            function(*arguments, **options)
            os._exit(0)
        except BaseException:  # noqa: BLE001  (whatever it is, the child ends here)
            traceback.print_exc()
            os._exit(1)
    return child


def exit_code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def whole_and_parts_are_the_same(folder, parts="parts"):
    whole, others = (checkpoints.read(folder / p / "run.npz") for p in ("whole", parts))
    assert whole.content == others.content
    assert whole.arrays.keys() == others.arrays.keys()
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(array, others.arrays[name], err_msg=name)
    for name in LOGS:
        assert (folder / parts / name).read_text() == (folder / "whole" / name).read_text()
    assert {p.name for p in (folder / parts).iterdir()} == {"run.npz", *LOGS}


def dying(place):
    """Make this process end at the n-th of the points around each writing of a file."""
    points = itertools.count()

    def point():
        if next(points) == place:
            os._exit(9)

    def surrounded(function):
        def call(*arguments):
            point()
            result = function(*arguments)
            point()
            return result

        return call

    def in_two_parts(path, content):
        with path.open("wb", buffering=0) as file:
            for part in (content[: len(content) // 2], content[len(content) // 2 :]):
                file.write(part)
                point()

    Path.write_bytes = in_two_parts
    os.fsync, os.replace = surrounded(os.fsync), surrounded(os.replace)


def run_that_dies(folder, place):
    dying(place)
    train(epochs=1, **everything(folder))


def die_at_every_point(folder):
    """Print how many points there were, and how many steps the files then held."""
    folder, reached = Path(folder), set()
    train(epochs=1, **everything(folder / "whole"))
    for place in itertools.count():
        parts = folder / f"parts {place}"
        code = exit_code(forked(run_that_dies, parts, place))
        if (parts / "run.npz").exists():
            reached.add(checkpoints.read(parts / "run.npz").content["step"])
        train(epochs=1, **everything(parts))
        whole_and_parts_are_the_same(folder, parts.name)
        if code == 0:
            break
        assert code == 9
    print(place, *sorted(reached))


def test_a_process_that_ends_anywhere_in_a_writing_leaves_what_goes_on_to_the_same_bits(tmp_path):
    points, *steps = map(int, serve(die_at_every_point, tmp_path))
    assert points >= 4 * 8  # each of the four checkpoints: two parts, two syncs, the replacement
    assert steps == [1, 2, 3, 4]


KILLS, EPOCHS = 50, 160


def long_run(folder, pipe=None):
    """Train for long; a byte in the pipe tells of each step."""
    options = everything(folder) | {"stop": nn.EarlyStop(patience=EPOCHS)}
    if pipe is not None:
        options["on_step"].append(lambda step, numbers: os.write(pipe, b"." * ("loss" in numbers)))
    train(epochs=EPOCHS, **options)


def killed(folder, steps, delay):
    """Run until some steps are done and a while longer, and kill; returns whether it lived."""
    theirs, ours = os.pipe()
    child = forked(long_run, folder, ours)
    os.close(ours)
    while steps and (told := os.read(theirs, steps)):
        steps -= len(told)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.close(theirs)
    return exit_code(child) == -signal.SIGKILL


def kill_often(folder, seed, kills):
    """Print how many kills there were and how many places in the training they left it at."""
    folder, rng, reached = Path(folder), random.Random(int(seed)), set()  # noqa: S311
    began = time.monotonic()
    assert exit_code(forked(long_run, folder / "whole")) == 0
    step = (time.monotonic() - began) / (4 * EPOCHS)
    done, run = 0, 0
    while done < int(kills):
        parts = folder / f"parts {run}"
        if killed(parts, rng.randrange(13), rng.uniform(0, 3 * step)):
            done += 1
        else:  # this one is over: go on with another
            run += 1
        if (parts / "run.npz").exists():
            reached.add((run, checkpoints.read(parts / "run.npz").content["step"]))
    for name in [f"parts {number}" for number in range(run + 1)]:
        assert exit_code(forked(long_run, folder / name)) == 0
        whole_and_parts_are_the_same(folder, name)
    print(done, len(reached))


def test_a_run_that_is_killed_fifty_times_ends_in_the_same_bits(tmp_path):
    seed = random.randrange(2**32)  # noqa: S311  (moments)
    print(f"seed {seed}")
    kills, places = map(int, serve(kill_often, tmp_path, seed, KILLS))
    assert kills == KILLS
    assert places >= 30  # of about 46: some kills come before the first step


# what must not change, and what must be the same ------------------------------------------------


def test_a_log_that_is_none_is_refused_before_anything_changes(saved, tmp_path):
    (tmp_path / "log.jsonl").write_text("no log\n")
    error = refused(saved, on_step=nn.JSONLinesLog(tmp_path / "log.jsonl"), epochs=2)
    assert "is no log of JSONLinesLog" in error.what


def test_a_fresh_training_that_fails_at_once_leaves_the_old_log(tmp_path):
    path = tmp_path / "log.csv"
    train(on_step=nn.CSVLog(path))
    before = path.read_text()

    def fails(prediction, y):
        raise RuntimeError("mine")

    model = net()
    with pytest.raises(RuntimeError):
        nn.fit(model, (X, Y), fails, adam(model), 1, on_step=nn.CSVLog(path), progress=False)
    assert path.read_text() == before


def test_a_schedule_is_asked_for_no_step_that_never_comes(tmp_path):
    rates = [0.01] * 12
    train(lr=lambda step: rates[step], checkpoint=tmp_path / "run.npz", every=1)


def test_a_control_file_that_was_there_before_is_past_also_when_it_is_new_to_a_run(tmp_path):
    path, control = tmp_path / "run.npz", tmp_path / "control.json"
    control.write_text('{"stop": true}')
    train(epochs=1, checkpoint=path)
    assert len(train(epochs=3, checkpoint=path, control=control)[2]) == 12


def test_a_control_may_be_given_as_such(tmp_path):
    assert len(train(control=nn.Control(tmp_path / "control.json"))[2]) == 12


@pytest.mark.parametrize("name", ["loss", "lr"])
def test_a_metric_has_a_name_of_its_own(name):
    with pytest.raises(ShapeError) as caught:
        train(metrics={name: lambda p, y: 1.0})
    assert caught.value.what == (
        f"fit: a metric is called {name!r}, as a number that every step has."
    )
    assert "training samples" in train(metrics={"samples": lambda p, y: 1.0})[2].epochs[0]


def test_losses_with_other_bound_arguments_are_other_losses(tmp_path):
    def scaled(prediction, y, by):
        return by * tg.cross_entropy(prediction, y)

    def once(by, epochs):
        model = net()
        loss = functools.partial(scaled, by=by)
        return nn.fit(
            model, (X, Y), loss, adam(model), epochs, batch_size=16, rng=7, progress=False,
            checkpoint=tmp_path / "run.npz",
        )  # fmt: skip

    once(1.0, 1)
    with pytest.raises(FileError, match=r"by=1\.0\)' in the file, .*by=3\.0\)' now"):
        once(3.0, 2)


def test_numbers_of_numpy_are_settings_too(tmp_path):
    train(checkpoint=tmp_path / "run.npz", clip=np.float32(5), drop_last=np.True_)


def test_leftovers_of_another_file_stay(tmp_path):
    gone = subprocess.Popen(["true"])  # noqa: S607
    gone.wait()
    ours = tmp_path / f".run.{gone.pid}.0a1b2c3d"
    others = tmp_path / f".run.{gone.pid}.{os.getpid()}.0a1b2c3d"
    for path in (ours, others):
        path.write_text("")
    files.remove_leftovers(tmp_path / "run")
    assert not ours.exists()
    assert others.exists()
