"""The command line on files of a user's own."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import tinygrad_bn as tg
from tinygrad_bn import cli

ROOT = Path(__file__).resolve().parent.parent
LAYERS = '''
import numpy as np
import tinygrad_bn as tg


def forward(x, gamma, beta, eps=1e-5):
    return gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + eps) + beta


def backward(g, x, gamma, beta, eps=1e-5):
    n, sigma = len(x), np.sqrt(x.var(0) + eps)
    x_hat = (x - x.mean(0)) / sigma
    terms = g - g.mean(0) - x_hat * (g * x_hat).mean(0)
    return gamma / sigma * terms, (g * x_hat).sum(0), g.sum(0)


def forgetful(g, x, gamma, beta, eps=1e-5):
    """Without the path through the variance."""
    sigma = np.sqrt(x.var(0) + eps)
    x_hat = (x - x.mean(0)) / sigma
    return gamma / sigma * (g - g.mean(0)), (g * x_hat).sum(0), g.sum(0)


def loss(x, w):
    return tg.mean(tg.tanh(x @ w) ** 2)


def chosen(x, /, *, axis, labels=None):
    return tg.softmax(x, axis=axis)[..., labels]


def scaled(x, y, *, k):
    return k * y * np.sin(x)


def scaled_back(g, x, y, *, k):
    return g * k * y * np.cos(x), g * k * np.sin(x)


def broken(x):
    return x[{}]


def leaves(x):
    raise SystemExit(0)


def detached(x):
    return x * tg.stop_gradient(x)


def logarithm(x):
    return tg.log(x)


def with_autograd(x):
    import autograd.numpy as anp
    return anp.tanh(x) ** 2


number = 3
'''


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command in a folder with a user's file; returns status, output and errors."""
    (tmp_path / "layers.py").write_text(LAYERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def command(text):
        sys.modules.pop("layers", None)
        status = cli.main(["check", *text.split()])
        return status, *capsys.readouterr()

    yield command
    sys.modules.pop("layers", None)


@pytest.mark.parametrize(
    "command",
    [
        "layers.py:loss x=8,4 w=4",
        "layers:loss w=4 x=8,4 --order 2 --examples 5",
        "layers.py:chosen x=2,3 axis:=0 labels:=[2,0,0] --kind ties --examples 20",
        "layers.py:logarithm x=3 --domain 0.1,3 --dtype float32",
        "layers.py:forward x=4,2 gamma=2 beta=() --vjp layers.py:backward --examples 20",
        "layers.py:with_autograd --adapter autograd x=3",
        "layers.py:scaled --vjp layers.py:scaled_back x=3 y:=2.0 k:=3.0 --examples 5",
        "tinygrad_bn:tanh x=",
    ],
)
def test_right_gradients_end_with_0(run, command):
    if "beta=()" in command:
        command = command.replace("beta=()", "beta=2")
    status, out, err = run(command)
    assert (status, err) == (0, "")
    assert re.match(r"gradients of \w+: right \(\d+ ok", out)


def test_a_wrong_derivative_by_hand_is_shrunk_to_readable_numbers_and_ends_with_1(run):
    status, out, err = run("layers.py:forward --vjp layers.py:forgetful x=4,2 gamma=2 beta=2")
    assert (status, err) == (1, "")
    assert "gradients of forward: WRONG" in out
    found = re.search(r"check_rule\(forward, forgetful, (.*), seed=\d+\)", out).group(1)
    point = eval(f"[{found}]", {"np": np})  # noqa: S307  (what our own report prints)
    assert [x.shape for x in point] == [(4, 2), (2,), (2,)]
    assert max(len(str(n)) for x in point for n in x.ravel()) <= 5


def test_a_wrong_function_of_tensors_is_named_with_its_line(run, tmp_path):
    status, out, _ = run("layers.py:detached x=3")
    assert status == 1
    assert f"stop_gradient at {tmp_path / 'layers.py'}:" in out
    assert "def f(x):" in out
    assert "x=3" not in out


def test_a_function_that_is_nowhere_finite_is_not_shown_right(run):
    status, out, _ = run("layers.py:logarithm x=3 --domain=-3,-1 --examples 5")
    assert status == 1
    assert "NOT SHOWN RIGHT" in out
    assert "comes from log at" in out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("layers.py x=3", "names no function"),
        ("nowhere.py:f x=3", "there is no file nowhere.py"),
        ("nowhere:f x=3", "ModuleNotFoundError"),
        ("layers.py:nothing x=3", "has no nothing; its functions: forward, backward"),
        ("layers.py:number x=3", "is a int, not a function"),
        (
            "layers.py:loss x=8,4",
            "constant: w is missing (w=4 draws 4 numbers, w:=4 is the number 4).\n",
        ),
        (
            "layers.py:forward x=8,4",
            "gamma and beta are missing (gamma=4 draws 4 numbers, gamma:=4 is the number 4).\n",
        ),
        ("layers.py:backward x=8,4", "g, gamma and beta are missing (g=4 draws"),
        ("layers.py:loss x=8,4 w=4 v=3", "no parameter v; its parameters: x, w"),
        ("layers.py:loss x=a w=4", "a shape is whole numbers"),
        ("layers.py:loss x=-1 w=4", "lengths are not negative"),
        ("layers.py:loss x w=4", "neither name=shape nor name:=constant"),
        ("layers.py:loss x:=1+ w=4", "no Python literal"),
        ("layers.py:loss x:=1 w:=2", "nothing is drawn"),
        ("layers.py:loss x=8,4 w=3", "matmul"),
        ("layers.py:loss x=8,4 w=4 --domain 3", "give two numbers"),
        ("layers.py:loss x=8,4 w=4 --examples 0", "at least 1"),
        ("layers.py:broken x=3", "could not be checked"),
        ("layers.py:leaves x=3", "could not be checked: SystemExit(0)\n"),
        (
            "layers.py:loss x=8,4 w=4 --domain=3,1",
            (
                "could not be checked: The domain (3.0, 1.0) is no interval.\n"
                "  fix: Give (low, high), both finite.\n"
            ),
        ),
        ("layers.py:scaled --vjp layers.py:scaled_back x=3 y=3 k:=1.0 --order 2", "first order"),
        ("layers.py:loss x=8,4 w=4 --vjp layers.py:backward --adapter torch", "not both"),
    ],
)
def test_a_command_that_cannot_be_carried_out_ends_with_2_and_says_why(run, command, said):
    status, out, err = run(command)
    assert (status, out) == (2, "")
    assert err.startswith("tinygrad-bn check: ")
    assert said in err


def test_an_unknown_option_is_refused(run):
    with pytest.raises(SystemExit) as stop:
        run("layers.py:loss x=8,4 w=4 --loudly")
    assert stop.value.code == 2


def test_the_command_is_installed_with_the_package(tmp_path):
    (tmp_path / "mine.py").write_text(
        textwrap.dedent("""
        import tinygrad_bn as tg
        def f(x):
            return tg.exp(x)
        """)
    )
    command = [sys.executable, "-m", "tinygrad_bn", "check", "mine.py:f", "x=3", "--examples", "5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603  (our own text)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("gradients of f: right")
    assert tg.__version__


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x:={[]:1}"], "'x:={[]:1}': the constant is no Python literal, or a list"),
        (["x:=[[1],[2,3]]"], "the constant is no Python literal, or a list of uneven lists."),
        (["x:=" + "-" * 20_000 + "1"], "…': the constant is no Python literal"),
        (["x=3", "x=4"], "x is given twice."),
        (["x=3", "x:=4"], "x is given twice."),
        (["=3"], "'=3' is neither name=shape nor name:=constant."),
    ],
)
@pytest.mark.parametrize("command", ["check", "draw"])
def test_arguments_that_cannot_be_read_are_a_usage_error(command, words, said, capsys):
    assert cli.main([command, "tinygrad_bn:tanh", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "draw", "explore"])
def test_a_negative_seed_is_refused(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "tinygrad_bn:tanh", "x=3", "--seed", "-1"])
    assert stop.value.code == 2
    assert "a seed is not negative" in capsys.readouterr().err


def run_elsewhere(words, **options):
    command = [sys.executable, "-m", "tinygrad_bn", *words]
    return subprocess.run(command, check=False, capture_output=True, **options)  # noqa: S603  (ours)


def test_letters_that_a_terminal_does_not_know_are_no_failure(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    (tmp_path / "wrong.py").write_text(LAYERS)
    words = ["check", "wrong.py:forward", "--vjp", "wrong.py:forgetful"]
    words += ["x=4,2", "gamma=2", "beta=2"]
    done = run_elsewhere(words, cwd=tmp_path, env=environment)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_failure(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "tinygrad_bn", "check", "tinygrad_bn:tanh", "x=3"]
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(  # noqa: S603  (ours)
            command, check=False, stdout=closed, stderr=subprocess.PIPE, env=environment
        )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


def test_an_exception_that_cannot_be_shown_is_named(tmp_path, capsys):
    (tmp_path / "mute.py").write_text(
        "class Mute(Exception):\n    def __repr__(self):\n        raise RuntimeError\n\n\n"
        "def f(x):\n    raise Mute\n"
    )
    assert cli.main(["draw", f"{tmp_path / 'mute.py'}:f", "x=3"]) == 2
    assert capsys.readouterr().err.rstrip().endswith("Mute")
