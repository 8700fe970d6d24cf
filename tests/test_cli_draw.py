"""The command line draws functions in files of a user's own."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from tinygrad_bn import cli, viz
from tinygrad_bn.cli.draw import BACKWARD
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.testing.generators.choices import Seeded
from tinygrad_bn.viz import drawing, engines
from tinygrad_bn.viz.subject import Backward

MODEL = """
import numpy as np
import tinygrad_bn as tg


def layer(x, w, *, power=2):
    with tg.scope("layer"):
        return tg.tanh(x @ w) ** power


def loss(x, w):
    return tg.mean(layer(x, w))


def by_position(x, /, *, axis, shift=0):
    return {"y": tg.softmax(x + shift, axis=axis)}


def root(x):
    return tg.sum(tg.sqrt(x))


def flat(x):
    return tg.sum(tg.stop_gradient(x))


def fixed():
    return tg.exp(tg.Tensor([1.0, 2.0], requires_grad=True, name="fixed"))


def traced():
    return tg.trace(tg.value_and_grad(lambda a: tg.sum(a**3)), np.ones(2))


def arrays(x):
    return x.data


def fails(x):
    return {}[x.shape]


def leaves(x):
    raise SystemExit("bye")


class Net:
    @staticmethod
    def forward(x):
        return tg.relu(x)
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command in a folder with a user's file; returns status, output and errors."""
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def command(text):
        sys.modules.pop("model", None)
        status = cli.main(text.split())
        return status, *capsys.readouterr()

    yield command
    sys.modules.pop("model", None)


def listing(run, command):
    """Return the listing that a command writes."""
    status, out, err = run(f"draw {command} --out a.txt")
    assert (status, out, err) == (0, "a.txt\n", "")
    return Path("a.txt").read_text(encoding="utf-8")


def test_the_words_for_backward_are_those_of_the_drawing():
    assert get_args(Backward) == BACKWARD


def test_arguments_are_tensors_named_like_the_parameters(run):
    text = listing(run, "model.py:loss x=8,4 w=4 --no-values --backward none")
    assert text.splitlines() == [
        "n0 x: parameter  8×4 float64",
        "n1 w: parameter  4 float64",
        "layer:",
        "  n2 matmul(n0, n1)  8 float64",
        "  n3 tanh(n2)  8 float64",
        "  n4 pow(n3, 2)  8 float64",
        "mean:",
        "  n5 sum(n4, axis 0)  scalar float64",
        "  n6 divide(n5, 8)  scalar float64  -> result",
    ]
    single = listing(run, "model:loss x=8,4 w=4 --dtype float32 --no-values --backward none")
    assert single == text.replace("float64", "float32")


def test_constants_are_passed_as_they_are(run):
    text = listing(run, "model.py:by_position x=2,3 axis:=0 shift:=[1.0,2.0,3.0] --no-values")
    assert "n0 x: parameter  2×3" in text
    assert "constant  3 float64" in text
    assert "axis" not in text.splitlines()[0]
    assert "2×3 float64  -> result" in text
    assert "pow(" in listing(run, "model.py:layer x=2,3 w=3 power:=5")


@pytest.mark.parametrize("options", ["", "--seed 3", "--kind ties --domain 0,4", "--dtype float32"])
def test_numbers_are_those_of_the_seed_and_kind(run, monkeypatch, options):
    seen = {}
    monkeypatch.setattr(viz, "render", lambda obj, path, **how: seen.setdefault("obj", obj))
    run(f"draw model.py:root x=20,3 {options}")
    x = seen["obj"].inputs[0].inputs[0]
    words = dict(zip(*[iter(options.split())] * 2, strict=True))
    low, high = map(float, words.get("--domain", "-2,2").split(","))
    expected = Seeded(np.random.default_rng(int(words.get("--seed", 0)))).array(
        (20, 3),
        kind=words.get("--kind", "generic"),
        dtype=words.get("--dtype", "float64"),
        domain=(low, high),
    )
    assert isinstance(x, Tensor)
    assert x.requires_grad
    assert x.name == "x"
    assert x.dtype == expected.dtype
    np.testing.assert_array_equal(x.data, expected)
    assert low <= x.data.min() < x.data.max() <= high


def test_the_gradient_is_told_where_the_result_is_one_element(run):
    assert "| ∂ " in listing(run, "model.py:loss x=8,4 w=4")
    assert "∂" not in listing(run, "model.py:loss x=8,4 w=4 --backward none")
    assert "∂" not in listing(run, "model.py:layer x=8,4 w=4")
    assert "∂w" in listing(run, "model.py:loss x=8,4 w=4 --backward ops")


def test_values_are_told_unless_they_are_unwanted(run):
    assert "mean" in listing(run, "model.py:layer x=8,4 w=4")
    assert "mean" in listing(run, "model.py:layer x=8,4 w=4 --values")
    assert "mean" not in listing(run, "model.py:layer x=8,4 w=4 --no-values")


def test_nan_is_told_in_the_drawing_and_not_by_warnings(run):
    assert " NaN" in listing(run, "model.py:root x=20,3 --domain=-2,-1")


def test_deeper_scopes_are_collapsed(run):
    text = listing(run, "model.py:loss --depth 0 x=8,4 w=4 --no-values --backward none")
    assert [line.split()[1] for line in text.splitlines()][:3] == ["x:", "w:", "layer:"]


def test_scopes_of_the_names_that_are_given_are_collapsed(run):
    names = "model.py:loss x=8,4 w=4 --no-values --backward none"
    whole, layer, both = (
        listing(run, f"{names} {collapse}")
        for collapse in ("", "--collapse layer", "--collapse layer --collapse mean")
    )
    assert [text.count("\n") for text in (whole, layer, both)] == [9, 6, 4]
    assert "n2 layer" in layer
    assert "mean:\n" in layer
    assert "n3 mean" in both


def test_a_legend_and_a_limit_are_those_of_the_drawing(run):
    for option, shown in (("", False), ("--legend", True)):
        assert run(f"draw model.py:loss x=8,4 w=4 --out a.gv {option}")[0] == 0
        assert ("labelloc=b" in Path("a.gv").read_text(encoding="utf-8")) is shown
    assert run("draw model.py:loss x=8,4 w=4 --out a.gv --max-nodes 7")[0] == 0


def test_the_help_tells_the_usual_limit(capsys):
    with pytest.raises(SystemExit):
        cli.main(["draw", "--help"])
    assert f"number of cards at most (default {drawing.MAX_NODES})" in capsys.readouterr().out


def test_a_function_without_arguments_may_return_a_tensor_or_a_trace(run):
    assert "n0 fixed: parameter  2 float64" in listing(run, "model.py:fixed")
    text = listing(run, "model.py:traced")
    assert "n0 a: input" in text
    assert text.count("-> result") == 2


@pytest.mark.skipif(engines._bundled() is None, reason="graphviz-pure is not installed")
def test_a_picture_is_named_after_the_function(run, tmp_path, monkeypatch):
    monkeypatch.delenv(engines.SETTING, raising=False)
    assert run("draw model.py:loss x=8,4 w=4") == (0, "loss.svg\n", "")
    assert b"<svg" in (tmp_path / "loss.svg").read_bytes()
    assert run("draw model.py:Net.forward x=2")[1] == "Net.forward.svg\n"
    widths = []
    for dpi in (72, 144):
        assert run(f"draw model.py:loss x=8,4 w=4 --out new/a.png --dpi {dpi}")[0] == 0
        widths.append(int.from_bytes((tmp_path / "new" / "a.png").read_bytes()[16:20]))
    assert abs(widths[1] - 2 * widths[0]) <= 2


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("model.py x=3", "names no function"),
        ("nowhere.py:f x=3", "there is no file nowhere.py"),
        ("model.py:loss x=8,4", "constant: w is missing (w=4 draws 4 numbers, w:=4 is"),
        ("model.py:fixed x=3", "no parameter x; its parameters: none."),
        ("model.py:loss x=8,4 w=3", "could not be called with tensors: matmul"),
        ("model.py:fails x=3", "could not be called with tensors: KeyError((3,))"),
        ("model.py:leaves x=3", "could not be called with tensors: SystemExit('bye')\n"),
        ("model.py:root x=3 --kind ties --domain 1", "give two numbers"),
        ("model.py:root x=3 --domain 3,1", "is no interval"),
        ("model.py:arrays x=3", "could not be drawn: graph of a ndarray without tensors."),
        ("model.py:loss x=8,4 w=4 --out a.jpeg", "the suffix '.jpeg' names no format"),
        (
            "model.py:loss x=8,4 w=4 --out model.py/a.txt",
            (
                "could not be drawn: model.py/a.txt could not be written: a folder of its path is "
                "a file.\n  fix: Name a file in a folder that you may write to.\n"
            ),
        ),
        (
            "model.py:loss x=8,4 w=4 --depth -1",
            "graph with depth=-1.\n  fix: Use a whole number from 0, or None for everything.\n",
        ),
        ("model.py:loss x=8,4 w=4 --max-nodes 3", "The graph has 7 nodes; at most 3 are drawn.\n"),
        ("model.py:loss x=8,4 w=4 --max-nodes 0", "graph with max_nodes=0.\n"),
        (
            "model.py:loss x=8,4 w=4 --legend --out a.txt",
            "render to .txt with legend: it has none.",
        ),
        (
            "model.py:loss x=8,4 w=4 --collapse layer --collapse lair",
            "model.py:loss opens no scope lair; its scopes: layer, mean.\n",
        ),
        (
            "model.py:fixed --collapse layer",
            "model.py:fixed opens no scope layer; its scopes: none.\n",
        ),
        ("model.py:loss x=8,4 w=4 --engine /nowhere/dot", "'/nowhere/dot' was not found."),
        ("model.py:loss x=8,4 w=4 --engine graphviz-pure --out a.pdf", "does not write PDF."),
        ("model.py:layer x=8,4 w=4 --backward ops", "(8,).\n  fix: Let it return a scalar"),
        ("model.py:layer x=8,4 w=4 --backward rules", "(8,).\n  fix: Let it return a scalar"),
        (
            "model.py:flat x=8,4 --backward ops",
            "(no gradient required).\n  fix: Let it compute its result from its tensors, by",
        ),
    ],
)
def test_a_command_that_cannot_be_carried_out_ends_with_2_and_says_why(
    run, command, said, tmp_path
):
    status, out, err = run(f"draw {command}")
    assert (status, out) == (2, "")
    assert err.startswith("tinygrad-bn draw: ")
    assert said in err
    assert "Traceback" not in err
    assert {path.name for path in tmp_path.iterdir()} <= {"model.py", "__pycache__"}


@pytest.mark.parametrize("option", ["--backward backwards", "--kind odd", "--dpi many", "--loud"])
def test_an_unknown_option_is_refused(run, option):
    with pytest.raises(SystemExit) as stop:
        run(f"draw model.py:loss x=8,4 w=4 {option}")
    assert stop.value.code == 2


def test_explore_writes_the_page_of_what_the_function_returns(run, monkeypatch):
    seen = []

    def page(obj, path, *, title=None, engine="auto"):
        seen.append((obj, path, title, engine))
        return path

    monkeypatch.setattr(viz, "explore", page, raising=False)
    assert run("explore model.py:loss x=8,4 w=4 --seed 2") == (0, "loss.html\n", "")
    assert run("explore model.py:fixed --out pages/f.html --engine dot")[:2] == (
        0,
        "pages/f.html\n",
    )
    (loss, path, title, engine), (fixed, other, _, chosen) = seen
    assert (path, title, other) == (Path("loss.html"), "loss", Path("pages/f.html"))
    assert (engine, chosen) == ("auto", "dot")
    assert loss.size == 1
    assert fixed.shape == (2,)


def test_a_page_that_cannot_be_written_is_said(run, monkeypatch):
    def page(obj, path, *, title=None, engine="auto"):
        raise viz.RenderError(f"No page of {title}.", "Use another.")

    line = inspect.getsourcelines(page)[1] + 1
    monkeypatch.setattr(viz, "explore", page, raising=False)
    status, out, err = run("explore model.py:fixed")
    assert (status, out) == (2, "")
    assert err == (
        "tinygrad-bn explore: model.py:fixed could not be drawn: No page of fixed.\n"
        f"  at {__file__}:{line}\n  fix: Use another.\n"
    )


def test_two_processes_draw_the_same(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    for name in ("a.gv", "b.gv"):
        command = [sys.executable, "-m", "tinygrad_bn", "draw", "model.py:loss", "x=8,4", "w=4"]
        done = subprocess.run(  # noqa: S603  (our own text)
            [*command, "--out", name], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{name}\n", "")
    assert (tmp_path / "a.gv").read_bytes() == (tmp_path / "b.gv").read_bytes()
