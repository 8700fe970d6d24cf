"""The demos run, and what they print is true."""

import importlib.util
import sys
from pathlib import Path

import pytest

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
            assert (tmp_path / f"{picture}.{suffix}").stat().st_size > 1000


@pytest.mark.parametrize("demo", sorted(p.stem for p in DEMOS.glob("*.py")))
def test_every_demo_says_what_it_shows(demo, capsys):
    with pytest.raises(SystemExit) as stop:
        load(demo).main(["--help"])
    assert stop.value.code == 0
    assert "--fast" in capsys.readouterr().out
