"""The demos run, and what they print is true."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import test_docs

DEMOS = Path(__file__).resolve().parent.parent / "demos"


def load(name):
    spec = importlib.util.spec_from_file_location(name, DEMOS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_digits_are_learned_sooner_with_batch_norm(tmp_path, capsys):
    numbers = load("01_digits").main(["--fast", "--out", str(tmp_path), "--seed", "0"])
    printed = capsys.readouterr().out
    steps = [numbers[f"{name}: steps to 95 %"] for name in ("with batch norm", "without")]
    assert steps[0] < steps[1]
    for name in ("with batch norm", "without"):
        assert numbers[f"{name}: final test accuracy"] > 0.94
        # The tolerance of the check itself is far below: this is what it claims to resolve.
        assert numbers[f"{name}: worst relative gradient error"] < 1e-6
    assert f"{steps[0]:.0f}" in printed
    for picture in ("curves", "graph", "graph_backward"):
        for suffix in ("svg", "png"):
            assert (tmp_path / "01_digits" / f"{picture}.{suffix}").stat().st_size > 1000


def test_a_bug_that_a_fixed_tolerance_passes_is_found_and_shrunk(tmp_path, capsys):
    numbers = load("02_check_gradients").main(["--fast", "--out", str(tmp_path), "--seed", "0"])
    printed = capsys.readouterr().out
    assert numbers["share passed by the recipe"] == 1.0
    assert not numbers["recipe passes equal samples"]
    assert 1e-6 < numbers["worst relative error of the bug"] < 1e-3
    assert numbers["found"]
    point = re.search(r"check_rule\(forward, backward, (.*), seed=\d+\)", numbers["example"])[1]
    x, gamma, beta = eval(f"[{point}]", {"np": np})  # noqa: S307  (what our own report prints)
    assert np.ptp(x, axis=0).min() == 0  # a feature without variance: there the bug is worst
    assert np.count_nonzero(gamma) == 1
    assert not beta.any()
    assert numbers.get("found in torch", True)
    assert numbers["mended"]
    # Cancellation may take some digits of a derivative; the tolerance of the check takes none.
    assert numbers["worst relative error when mended"] < 1e-5
    assert numbers["error bar, float64"] < numbers["best difference"] < numbers["bug"] < 1e-4
    assert numbers["culprit"].startswith("first wrong rule: sqrt(")
    assert numbers["culprit"] in printed
    for picture in ("steps", "culprit"):
        for suffix in ("svg", "png"):
            assert (tmp_path / "02_check_gradients" / f"{picture}.{suffix}").stat().st_size > 1000
    assert (tmp_path / "02_check_gradients" / "culprit.svg").read_text(encoding="utf-8").count(
        '"#c0392b"'
    ) == 1


def test_batch_norm_and_softmax_are_seen_from_all_sides(tmp_path, capsys):
    numbers = load("03_see_batch_norm").main(["--fast", "--out", str(tmp_path), "--seed", "0"])
    printed = capsys.readouterr().out
    assert numbers["ways back from the loss to x"] == 4
    assert numbers["ways back from the loss to z"] == 2
    # A sum of 12 gradients, each computed by some thirty operations from values of this size.
    rounding = 12 * 30 * np.finfo(float).eps
    largest = numbers["largest gradient of x"]
    assert numbers["sum over the batch of the gradient of x"] <= rounding * largest
    deviation = numbers["largest deviation of that from y_hat - y"]
    assert deviation <= rounding * numbers["largest gradient of z"]
    assert "10 files in" in printed
    for name in ("batch_norm", "softmax"):
        for stem in (name, f"{name}_rules", f"{name}_operations", f"{name}_diff"):
            assert (tmp_path / "03_see_batch_norm" / f"{stem}.svg").stat().st_size > 1000
        assert f"<title>{name.replace('_', ' ')}</title>" in (
            tmp_path / "03_see_batch_norm" / f"{name}.html"
        ).read_text(encoding="utf-8")


def test_the_readme_shows_what_the_demo_draws(tmp_path):
    demo, path = load("03_see_batch_norm"), tmp_path / "softmax_rules.svg"
    loss = demo.softmax_loss(*demo.load(0))["loss"]
    demo.viz.render(loss, path, **demo.WAYS["_rules"])
    test_docs.compare_pictures(tmp_path)


@pytest.mark.parametrize("demo", sorted(p.stem for p in DEMOS.glob("[0-9]*.py")))
def test_every_demo_says_what_it_shows(demo, capsys):
    with pytest.raises(SystemExit) as stop:
        load(demo).main(["--help"])
    assert stop.value.code == 0
    assert "--fast" in capsys.readouterr().out


@pytest.mark.parametrize("demo", sorted(p.stem for p in DEMOS.glob("[0-9]*.py")))
def test_every_demo_writes_into_a_folder_of_its_name(demo, capsys):
    with pytest.raises(SystemExit):
        load(demo).main(["--help"])
    assert f"{demo} in this folder" in " ".join(capsys.readouterr().out.split())
