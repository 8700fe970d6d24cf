"""The command line derives gradients of functions in files of a user's own."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from test_footguns import restored

import tinygrad_bn as tg
from tinygrad_bn import cli
from tinygrad_bn.algebra import deriving
from tinygrad_bn.cli.derive import UPSTREAM

MODEL = """
import tinygrad_bn as tg


def loss(w, X, y, *, alpha=0.5):
    return 0.5 * tg.sum((X @ w - y) ** 2) + alpha * tg.sum(w**2)


def scaled(k, x):
    return tg.sum(k * x)


def by_position(x, /, axis):
    return tg.softmax(x, axis=axis)


def anything(**arrays):
    return tg.sum(arrays["a"] * arrays["b"])


def pair(x):
    return x, x


def broken(x):
    return x[{}]


def leaves(x):
    raise SystemExit("bye")

"""


WRONG = """
import numpy as np
import tinygrad_bn as tg


@tg.custom_rule(vjp=lambda xp, g, out, x: 3 * g / x)
def thrice(x):
    return np.log(x)


def wrong(x):
    return tg.sum(thrice(x))
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command in a folder with a user's file; returns status, output and errors."""
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def command(*words):
        sys.modules.pop("model", None)
        status = cli.main(["derive", *(w for text in words for w in text.split())])
        return status, *capsys.readouterr()

    yield command
    sys.modules.pop("model", None)


def derived(run, command):
    """Return the first line that a command prints."""
    status, out, err = run(command)
    assert (status, err) == (0, "")
    return out.splitlines()[0]


def test_the_words_for_upstream_are_those_of_the_function():
    assert deriving.UPSTREAM == UPSTREAM


def test_batch_norm_by_all_its_arguments_is_what_the_function_gives(run):
    status, out, err = run("tinygrad_bn:batch_norm x=8,4 gamma=4 beta=4 --wrt x,gamma,beta")
    example = np.random.default_rng(0).normal(size=(8, 4)), np.ones(4), np.zeros(4)
    assert (status, err) == (0, "")
    assert out == f"{tg.derive(tg.batch_norm, *example, wrt=(0, 1, 2))}\n"
    assert out.startswith("dL/dx = gamma/sigma*(g - mean(g) - x_hat*mean(g*x_hat))\n")


@pytest.mark.parametrize(
    ("command", "right"),
    [
        ("model.py:loss w=3 X=5,3 y=5", "w + X.T @ (X @ w - y)"),
        ("model.py:loss w=3 y=5 X=5,3", "w + X.T @ (X @ w - y)"),
        ("model.py:loss w=3 X=5,3 y=5 alpha:=2", "4*w + X.T @ (X @ w - y)"),
        ("model.py:loss w=3 X=5,3 y=5 alpha=", "2*alpha*w + X.T @ (X @ w - y)"),
        ("model.py:loss w=3 X=5,3 y=5 alpha= --wrt alpha", "sum(w**2)"),
        ("model.py:scaled k:=3 x=4", "3"),
        ("model.py:scaled k:=[1.0,2.0] x=2", "k"),
        ("model.py:anything a=3 b=3 --wrt b", "a"),
        ("tinygrad_bn:logsumexp z=4", "softmax(z)"),
    ],
)
def test_lists_and_drawn_arguments_have_names_and_other_constants_their_value(run, command, right):
    assert derived(run, command).partition(" = ")[2] == right


def test_labels_are_a_constant(run):
    status, out, err = run("tinygrad_bn:cross_entropy logits=4,3 target:=[0,2,1,1]")
    assert (status, err) == (0, "")
    assert out.splitlines()[0].endswith("/dlogits = (softmax(logits) - y)/N")
    assert "y = one_hot(target)" in out


def test_the_cotangent_can_be_chosen(run):
    hidden = run("model.py:by_position x=2,3 axis:=0")[1]
    assert hidden.startswith("dL/dx = s*(g - sum(g*s))\n")
    assert "along axis 0" in hidden
    assert derived(run, "tinygrad_bn:softmax z=4 --upstream ones").endswith(" = 0")
    jacobian = derived(run, "tinygrad_bn:softmax z=4 --upstream identity")
    assert jacobian.endswith(" = diag(s) - s @ s.T")


def test_the_proof_is_told_on_the_error_stream_and_by_the_exit_status(run):
    status, out, err = run("tinygrad_bn:softmax z=4 --proof")
    assert status == 0
    assert out.startswith("dL/dz = s*(g - sum(g*s))\n")
    assert err.startswith("proved by rules: 8 steps, each on 20 random inputs\n")
    Path("wrong.py").write_text(WRONG)
    with restored():
        status, out, err = run("wrong.py:wrong x=3 --proof --domain=1,2")
    assert (status, out) == (1, "dwrong/dx = 3/x\n")
    assert err.startswith("wrong: 0 steps, each on 20 random inputs\n")


def test_steps_are_numbered_below(run):
    formula, empty, *steps = run("tinygrad_bn:logsumexp z=4 --steps")[1].splitlines()
    assert (formula[-10:], empty) == ("softmax(z)", "")
    expected = tg.derive(tg.logsumexp, np.ones(4)).steps
    assert steps == [f"{i}. {step}" for i, step in enumerate(expected, start=1)]
    assert len(steps) > 1


def test_latex_is_printed_or_written(run):
    status, out, err = run("model.py:loss w=3 X=5,3 y=5 --latex")
    assert (status, err) == (0, "")
    assert out.startswith("\\begin{aligned}\n\\frac{\\partial")
    assert run("model.py:loss w=3 X=5,3 y=5 --latex --out a/b.tex") == (0, "a/b.tex\n", "")
    assert Path("a/b.tex").read_text(encoding="utf-8") == out


def test_a_page_is_written_beside_and_stands_alone(run):
    assert run("model.py:loss w=3 X=5,3 y=5 --html") == (0, "loss.html\n", "")
    page = Path("loss.html").read_text(encoding="utf-8")
    root = ET.fromstring(page.partition("\n")[2])  # noqa: S314  (our own)
    assert root.findtext("head/title") == "The gradient of loss"
    assert "loss of w=3 X=5,3 y=5" in page
    assert len(list(root.iter("math"))) > 0
    assert len(list(root.iter("{http://www.w3.org/2000/svg}svg"))) == 2
    assert not re.search(r"""(?:src|href)="(?!#|data:)""", page)


def test_two_draws_of_one_seed_give_one_page_and_the_point_changes_no_formula(run):
    pages = []
    for seed in (1, 1, 2):
        run(f"model.py:loss w=3 X=5,3 y=5 --seed {seed} --html --out page.html")
        pages.append(Path("page.html").read_text(encoding="utf-8"))
    assert pages[0] == pages[1] == pages[2]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "model.py:loss w=3 X=5,3 y=5 --wrt v",
            "--wrt v: v has no shape here; these have: w, X, y.",
        ),
        ("model.py:loss w=3 X=5,3 y=5 --wrt w,", "--wrt w,: nothing has no shape here"),
        ("model.py:scaled k:=2 x=3 --wrt k", "--wrt k: k has no shape here; these have: x."),
        ("model.py:scaled k:=2 x:=3", "nothing is drawn: give a parameter a shape, as k=4,3."),
        ("model.py:loss w=3 X=5,3", "y is missing (y=4 draws 4 numbers"),
        ("model.py:loss w=3 X=5,3 y=4", "could not be derived: subtract("),
        ("model.py:pair x=3", "could not be derived: derive of pair: its result is of type tuple."),
        ("model.py:broken x=3", "could not be derived: "),
        ("model.py:leaves x=3", "could not be derived: SystemExit('bye')"),
        ("model.py:scaled k=2 x=2 --domain=3,1", "no arguments could be drawn: The domain"),
        ("model.py:scaled k=2 x=2 --latex --out model.py/a.tex", "a.tex could not be written: "),
    ],
)
def test_a_command_that_cannot_be_carried_out_ends_with_2_and_says_why(run, command, said):
    status, out, err = run(command)
    assert (status, out) == (2, "")
    assert err.startswith("tinygrad-bn derive: ")
    assert said in err


@pytest.mark.parametrize("option", ["--upstream=twos", "--latex --html", "--steps --latex"])
def test_options_that_do_not_exist_or_do_not_go_together_are_refused(run, option):
    with pytest.raises(SystemExit) as stop:
        run(f"model.py:loss w=3 X=5,3 y=5 {option}")
    assert stop.value.code == 2


def test_without_pictures_or_hypothesis_nothing_is_imported_for_a_formula(tmp_path):
    code = (
        "import sys; from tinygrad_bn import cli; cli.main(['derive', 'tinygrad_bn:tanh', 'x=3']); "
        "print(sorted({'graphviz', 'matplotlib', 'hypothesis'} & set(sys.modules)))"
    )
    done = subprocess.run(  # noqa: S603  (our own text)
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["dtanh/dx = 1 - tanh(x)**2", "[]"]
