"""``tinygrad-bn derive``: the gradient of a function in closed form."""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_bn import files
from tinygrad_bn.cli.loading import Usage, arguments, call, load, numbers, told
from tinygrad_bn.testing.generators.choices import Seeded
from tinygrad_bn.transforms.lifting import labelled

UPSTREAM = ("symbolic", "ones", "identity")


def derive(options: argparse.Namespace) -> int:
    """Derive a gradient as the command line says. Raises Usage."""
    function = load(options.function)
    shapes, constants = arguments(function, options)
    lists = {n: c for n, c in constants.items() if isinstance(c, np.ndarray)}
    example = _ordered(function, _drawn(shapes, options) | lists)
    if not shapes:
        first = next(iter(constants), "x")
        raise Usage(f"nothing is drawn: give a parameter a shape, as {first}=4,3.")
    wrt = _positions(options.wrt, list(example), list(shapes))
    rest = {n: c for n, c in constants.items() if n not in lists}
    found = _found(_bound(function, example, rest), example, wrt, options)
    status = _proved(found) if options.proof else 0
    return _written(found, options) or status


def _drawn(shapes: dict[str, tuple[int, ...]], options: argparse.Namespace) -> dict[str, Any]:
    """Draw the arguments that have a shape."""
    choices, values = Seeded(np.random.default_rng(options.seed)), numbers(options)
    try:
        return {name: choices.array(shape, **values) for name, shape in shapes.items()}
    except Exception as problem:
        raise Usage(f"no arguments could be drawn: {told(problem)}") from problem


def _ordered(function: Callable[..., Any], example: dict[str, Any]) -> dict[str, Any]:
    """Put arguments in the order of the parameters; what has no parameter comes last."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    listed = [n for n in names if n in example] + [n for n in example if n not in names]
    return {name: example[name] for name in listed}


def _positions(wanted: str | None, names: Sequence[str], drawn: Sequence[str]) -> tuple[int, ...]:
    """Number the arguments to differentiate by; the first that is drawn if none are named."""
    chosen = list(drawn[:1]) if wanted is None else [n.strip() for n in wanted.split(",")]
    for name in chosen:
        if name not in drawn:
            raise Usage(
                f"--wrt {wanted}: {name or 'nothing'} has no shape here; "
                f"these have: {', '.join(drawn)}."
            )
    return tuple(names.index(name) for name in dict.fromkeys(chosen))


def _bound(
    function: Callable[..., Any], example: dict[str, Any], constants: dict[str, Any]
) -> Callable[..., Any]:
    """Return a function of the example's arguments alone, by position, with the same names."""

    def bound(*given: Any) -> Any:
        """Call it with the constants."""
        return call(function, {**dict(zip(example, given, strict=True)), **constants})

    labelled(bound, getattr(function, "__name__", "function"), list(example))
    return bound


def _found(
    function: Callable[..., Any],
    example: dict[str, Any],
    wrt: tuple[int, ...],
    options: argparse.Namespace,
) -> Any:
    """Derive; NumPy's warnings at the drawn point are not shown."""
    algebra = importlib.import_module("tinygrad_bn.algebra")
    try:
        with np.errstate(all="ignore"):
            return algebra.derive(function, *example.values(), wrt=wrt, upstream=options.upstream)
    except (Exception, SystemExit) as problem:
        raise Usage(f"{options.function} could not be derived: {told(problem)}") from problem


def _proved(found: Any) -> int:
    """Check a derivation and say what came of it; returns 1 if it is wrong."""
    try:
        with np.errstate(all="ignore"):
            proof = found.proof()
    except Exception as problem:
        raise Usage(f"the proof failed: {told(problem)}") from problem
    print(proof, file=sys.stderr)  # noqa: T201  (a command line)
    return 0 if proof.ok else 1


def _written(found: Any, options: argparse.Namespace) -> int:
    """Print the derivation, or write it to a file and print the path."""
    text = _text(found, options)
    name = options.function.rpartition(":")[2]
    out = options.out or (f"{name}.html" if options.html else None)
    if out is None:
        print(text)  # noqa: T201  (a command line)
        return 0
    try:
        files.replace(Path(out), f"{text}\n".encode())
    except OSError as error:
        raise Usage(f"{out} could not be written: {files.reason(error)}.") from error
    print(out)  # noqa: T201  (a command line)
    return 0


def _text(found: Any, options: argparse.Namespace) -> str:
    """Write the derivation in the form that is asked for."""
    if options.latex:
        latex: str = found.latex()
        return latex
    if options.html:
        return _page(found, options)
    lines = [str(found)]
    if options.steps:
        lines += ["", *(f"{i}. {step}" for i, step in enumerate(found.steps, start=1))]
    return "\n".join(lines)


def _page(found: Any, options: argparse.Namespace) -> str:
    """Write the derivation as a page of its own."""
    pages = importlib.import_module("tinygrad_bn.cli.derivations")
    name = options.function.rpartition(":")[2]
    given = " ".join(options.arguments)
    entry = pages.Entry(f"{name} of {given}", found, "derivation")
    written: str = pages.page(f"The gradient of {name}", [entry])
    return written
