"""``tinygrad-bn draw`` and ``explore``: the graph of a function at a random point."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_bn.cli.loading import Usage, arguments, call, load, numbers, told
from tinygrad_bn.errors import GradientError, TinygradError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.state import Scope
from tinygrad_bn.graph.sweep import ancestors
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.testing.generators.choices import Seeded

BACKWARD = ("none", "annotate", "rules", "ops")


def draw(options: argparse.Namespace) -> int:
    """Draw the graph of a function as the command line says. Raises Usage."""
    render = importlib.import_module("tinygrad_bn.viz").render
    returned = _called(options)
    shown = {name: getattr(options, name) for name in ("depth", "backward", "values")}
    if options.collapse:
        shown["collapse"] = _among(returned, options)
    if options.legend:
        shown["legend"] = True
    if options.max_nodes is not None:
        shown["max_nodes"] = options.max_nodes
    return _written(returned, options, ".svg", render, dpi=options.dpi, **shown)


def explore(options: argparse.Namespace) -> int:
    """Write a page that shows the graph of a function. Raises Usage."""
    write = importlib.import_module("tinygrad_bn.viz").explore
    return _written(_called(options), options, ".html", write, title=_name(options))


def _name(options: argparse.Namespace) -> str:
    name: str = options.function.rpartition(":")[2]
    return name


def _among(returned: Any, options: argparse.Namespace) -> Callable[[Scope], bool]:
    """Return what holds for the scopes that are named. Raises Usage for a name that none has."""
    nodes = ancestors(_results(returned))
    opened = dict.fromkeys(node.scope for node in nodes if node.scope)
    known = {scope.name: None for inner in opened for scope in inner.path}
    unknown = [name for name in options.collapse if name not in known]
    if unknown:
        raise Usage(
            f"{options.function} opens no scope {unknown[0]}; its scopes: "
            f"{', '.join(known) or 'none'}."
        )
    return lambda scope: scope.name in options.collapse


def _results(returned: Any) -> list[Tensor]:
    results = returned.results if isinstance(returned, Trace) else flatten(returned)[0]
    return [result for result in results if isinstance(result, Tensor)]


def _written(
    returned: Any, options: argparse.Namespace, suffix: str, write: Any, **how: Any
) -> int:
    """Write what the function returned, and print the path."""
    target = Path(options.out or _name(options) + suffix)
    try:
        print(write(returned, target, engine=options.engine, **how))  # noqa: T201  (a command line)
    except GradientError as problem:
        raise Usage(
            f"{options.function} could not be drawn: {problem.what}\n"
            f"  fix: {_mend(returned, problem)}"
        ) from problem
    except TinygradError as problem:
        raise Usage(f"{options.function} could not be drawn: {told(problem)}") from problem
    return 0


def _mend(returned: Any, problem: GradientError) -> str:
    """Say how a function is changed so that what it returns has a gradient."""
    results = _results(returned)
    if len(results) != 1 or results[0].size != 1:
        return "Let it return a scalar, such as the sum of its result."
    if not results[0].requires_grad:
        return "Let it compute its result from its tensors, by operations with a gradient."
    return problem.fix


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
    except (Exception, SystemExit) as problem:
        raise Usage(
            f"{options.function} could not be called with tensors: {told(problem)}"
        ) from problem
