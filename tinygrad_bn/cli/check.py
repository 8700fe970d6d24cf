"""``tinygrad-bn check``: look for a point at which the gradients of a function are wrong."""

from __future__ import annotations

import argparse
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from tinygrad_bn.cli.loading import Usage, arguments, call, load, numbers, told
from tinygrad_bn.errors import OptionalDependencyError
from tinygrad_bn.testing.checking.verdicts import Report
from tinygrad_bn.testing.pairs import Pair

RIGHT, WRONG = 0, 1


def check(options: argparse.Namespace) -> int:
    """Check the gradients of a function as the command line says. Raises Usage."""
    if options.examples < 1 or options.order < 1:
        raise Usage("--examples and --order are at least 1.")
    function = load(options.function)
    drawn, constants = arguments(function, options)
    if not drawn:
        first = next(iter(constants), "x")
        raise Usage(f"nothing is drawn: give a parameter a shape, as {first}=4,3.")
    pair = _pair(function, options, constants)
    search, values = _search(), numbers(options)
    try:
        found = search(
            _bound(function, drawn, constants),
            drawn,
            adapter=pair,
            order=options.order,
            examples=options.examples,
            seed=options.seed,
            values=values,
        )
    except (Exception, SystemExit) as problem:
        said = told(problem)
        if not pair:
            said += "\n  It was called with tensors; for one of plain arrays give its --vjp."
        raise Usage(f"{options.function} could not be checked: {said}") from problem
    print(found)  # noqa: T201  (a command line)
    return RIGHT if found.ok else WRONG


def _bound(
    function: Callable[..., Any], drawn: dict[str, Any], constants: dict[str, Any]
) -> Callable[..., Any]:
    """Return a function of the drawn arguments alone, by position."""

    def bound(*arguments: Any) -> Any:
        """Call it with the constants."""
        return call(function, {**dict(zip(drawn, arguments, strict=True)), **constants})

    bound.__name__ = getattr(function, "__name__", "function")
    return bound


def _pair(
    function: Callable[..., Any], options: argparse.Namespace, constants: dict[str, Any]
) -> Callable[[Callable[..., Any]], Pair] | None:
    """Return what makes a pair of value and derivative, if the function is not one of tensors."""
    if options.vjp and options.adapter:
        raise Usage("give --vjp or --adapter, not both.")
    if (options.vjp or options.adapter) and options.order != 1:
        raise Usage("--order is for functions of tensors: a pair is checked to first order.")
    if options.vjp:
        return _by_hand(function, load(options.vjp), constants)
    if options.adapter:
        adapters = importlib.import_module("tinygrad_bn.testing.adapters")
        made: Callable[[Callable[..., Any]], Pair] = getattr(adapters, f"from_{options.adapter}")
        return made
    return None


def _by_hand(
    function: Callable[..., Any], derivative: Callable[..., Any], constants: dict[str, Any]
) -> Callable[[Callable[..., Any]], Pair]:
    """Return what joins a function of the drawn arguments with its derivative by hand.

    The derivative gets the constants as the function does, by position or by name, and may give
    gradients of all its arguments, or of the drawn ones alone.
    """
    parameters = inspect.signature(function).parameters
    by_name = {n for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY}

    def pair(bound: Callable[..., Any]) -> Pair:
        """Join them."""
        drawn = list(inspect.signature(bound).parameters)
        given = [n for n in parameters if (n in drawn or n in constants) and n not in by_name]

        def vjp(g: Any, *arguments: Any) -> Any:
            """Give the gradients of the drawn arguments."""
            named = {**dict(zip(drawn, arguments, strict=True)), **constants}
            keywords = {n: named[n] for n in by_name & named.keys()}
            found = derivative(g, *(named[n] for n in given), **keywords)
            if not isinstance(found, tuple | list) or len(found) != len(given):
                return found
            return tuple(piece for n, piece in zip(given, found, strict=True) if n in drawn)

        vjp.__name__ = getattr(derivative, "__name__", "vjp")
        return Pair(bound, vjp)

    return pair


def _search() -> Callable[..., Report]:
    try:
        given = importlib.import_module("tinygrad_bn.testing.given")
    except OptionalDependencyError as error:
        raise Usage(told(error)) from error
    found: Callable[..., Report] = given.search
    return found
