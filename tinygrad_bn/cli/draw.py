"""``tinygrad-bn draw`` and ``explore``: the graph of a function at a random point."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_bn.cli.loading import Usage, arguments, call, load, numbers
from tinygrad_bn.errors import GradientError, TinygradError
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.testing.generators.choices import Seeded

BACKWARD = ("none", "annotate", "rules", "ops")


def draw(options: argparse.Namespace) -> int:
    """Draw the graph of a function as the command line says. Raises Usage."""
    render = importlib.import_module("tinygrad_bn.viz").render
    shown = {name: getattr(options, name) for name in ("depth", "backward", "values")}
    return _written(options, ".svg", render, engine=options.engine, dpi=options.dpi, **shown)


def explore(options: argparse.Namespace) -> int:
    """Write a page that shows the graph of a function. Raises Usage."""
    write = importlib.import_module("tinygrad_bn.viz").explore
    return _written(options, ".html", write, title=_name(options))


def _name(options: argparse.Namespace) -> str:
    name: str = options.function.rpartition(":")[2]
    return name


def _written(options: argparse.Namespace, suffix: str, write: Any, **how: Any) -> int:
    """Call the function, write what it returned, and print the path."""
    returned = _called(options)
    target = Path(options.out or _name(options) + suffix)
    try:
        print(write(returned, target, **how))  # noqa: T201  (a command line)
    except GradientError as problem:
        raise Usage(
            f"{options.function} could not be drawn: {problem.what}\n"
            "  fix: Let it return a scalar, such as the sum of its result."
        ) from problem
    except (TinygradError, OSError) as problem:
        raise Usage(f"{options.function} could not be drawn: {problem}") from problem
    return 0


def _called(options: argparse.Namespace) -> Any:
    """Call the function with random tensors, named like its parameters.

    NumPy's warnings are not shown: the drawing says where NaN and infinities come from.
    """
    function = load(options.function)
    shapes, constants = arguments(function, options)
    choices, values = Seeded(np.random.default_rng(options.seed)), numbers(options)
    try:
        named = {
            name: Tensor(choices.array(shape, **values), requires_grad=True, name=name)
            for name, shape in shapes.items()
        }
        with np.errstate(all="ignore"):
            return call(function, named | constants)
    except Exception as problem:
        said = str(problem) if isinstance(problem, TinygradError) else repr(problem)
        raise Usage(f"{options.function} could not be called with tensors: {said}") from problem
