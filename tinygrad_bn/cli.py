"""The command line: ``tinygrad-bn check module:function`` on a file of one's own."""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_bn.errors import OptionalDependencyError, TinygradError
from tinygrad_bn.testing.checking.verdicts import Report
from tinygrad_bn.testing.generators.values import KINDS
from tinygrad_bn.testing.pairs import Pair

RIGHT, WRONG, USAGE = 0, 1, 2

ADAPTERS = ("torch", "jax", "autograd", "mygrad")

EXAMPLES = """\
arguments of the function:
  x=4,3         a random array of this shape; x= is a single number
  axis:=0       a constant, written in Python; lists become arrays

examples:
  tinygrad-bn check model.py:loss x=8,4 w=4
  tinygrad-bn check layers.py:forward --vjp layers.py:backward x=8,4 gamma=4 beta=4
  tinygrad-bn check nets.py:layer --adapter torch x=8,4 --kind ties --examples 200

exit status: 0 the gradients are right, 1 they are wrong or not shown right, 2 usage
"""


class Usage(Exception):  # noqa: N818  (it ends the program, with a message)
    """A command that cannot be carried out as it was given."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    >>> main(["check", "tinygrad_bn:tanh", "x=3"])  # doctest: +ELLIPSIS
    gradients of tanh: right ...
    0
    """
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    if any(word.startswith("-") for word in rest):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.arguments += rest  # argparse takes no arguments behind an option
    try:
        return check(options)
    except Usage as problem:
        print(f"tinygrad-bn check: {problem}", file=sys.stderr)  # noqa: T201  (a command line)
        return USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinygrad-bn", description="Check the gradients of a function, in a file of your own."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    checker = commands.add_parser(
        "check",
        help="check the gradients of a function at random points, and shrink what is wrong",
        description="Check the gradients of a function at random points; print the smallest "
        "example at which they are wrong.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = checker.add_argument
    add("function", help="module:function, or path/to/file.py:function")
    add("arguments", nargs="*", help="name=shape or name:=constant, for each parameter")
    add("--vjp", help="module:function of a derivative written by hand: vjp(g, *arguments)")
    add("--adapter", choices=ADAPTERS, help="the framework whose tensors the function takes")
    add("--order", type=int, default=1, help="highest order of derivative (default 1)")
    add("--examples", type=int, default=50, help="how many points (default 50)")
    add("--seed", type=int, default=0, help="seed of points, directions and cotangents")
    add("--kind", choices=KINDS, default="generic", help="what values are drawn (default generic)")
    add("--dtype", choices=("float64", "float32", "float16"), default="float64")
    add("--domain", default="-2,2", help="bounds of the values, as --domain=-3,3 (default -2,2)")
    return parser


def check(options: argparse.Namespace) -> int:
    """Check the gradients of a function as the command line says. Raises Usage."""
    if options.examples < 1 or options.order < 1:
        raise Usage("--examples and --order are at least 1.")
    function = load(options.function)
    drawn, constants = _arguments(function, options)
    pair = _pair(function, options, constants)
    search = _search()
    low, high = _interval(options.domain)
    try:
        found = search(
            _bound(function, drawn, constants),
            drawn,
            adapter=pair,
            order=options.order,
            examples=options.examples,
            seed=options.seed,
            values={"kind": options.kind, "dtype": options.dtype, "domain": (low, high)},
        )
    except Exception as problem:
        said = str(problem) if isinstance(problem, TinygradError) else repr(problem)
        if not pair:
            said += "\n  It was called with tensors; for one of plain arrays give its --vjp."
        raise Usage(f"{options.function} could not be checked: {said}") from problem
    print(found)  # noqa: T201  (a command line)
    return RIGHT if found.ok else WRONG


def load(place: str) -> Callable[..., Any]:
    """Import what ``module:function`` or ``file.py:function`` names. Raises Usage."""
    module_name, _, name = place.rpartition(":")
    if not module_name or not name:
        raise Usage(f"{place!r} names no function: write module:function or file.py:function.")
    module = _module(module_name)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            known = [n for n, f in vars(module).items() if inspect.isfunction(f) and n[0] != "_"]
            raise Usage(
                f"{module_name} has no {name}; its functions: {', '.join(known) or 'none'}."
            )
    if not callable(found):
        raise Usage(f"{place} is a {type(found).__name__}, not a function.")
    chosen: Callable[..., Any] = found
    return chosen


def _module(name: str) -> Any:
    """Import a file, or a module that Python finds from here. Raises Usage."""
    path = Path(name)
    is_file = path.suffix == ".py"
    if is_file and not path.is_file():
        raise Usage(f"there is no file {name}.")
    sys.path.insert(0, str(path.resolve().parent if is_file else Path.cwd()))
    try:
        return importlib.import_module(path.stem if is_file else name)
    except Exception as error:
        raise Usage(f"{name} could not be imported: {type(error).__name__}: {error}") from error


def _arguments(
    function: Callable[..., Any], options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort what was given into drawn shapes and constants; every parameter needs one."""
    drawn: dict[str, tuple[int, ...]] = {}
    constants: dict[str, Any] = {}
    for text in options.arguments:
        name, sign, value = text.partition("=")
        if not sign:
            raise Usage(f"{text!r} is neither name=shape nor name:=constant.")
        if name.endswith(":"):
            constants[name[:-1]] = _constant(text, value)
        else:
            drawn[name] = _shape(text, value)
    return _fitted(function, drawn, constants)


def _fitted(
    function: Callable[..., Any], drawn: dict[str, Any], constants: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare with the parameters of the function."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return drawn, constants
    open_ended = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
    names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    unknown = [n for n in (*drawn, *constants) if n not in names and not open_ended]
    needed = [p.name for p in parameters if p.default is p.empty and p.name in names]
    missing = [n for n in needed if n not in drawn and n not in constants]
    listed = ", ".join(names)
    if unknown:
        raise Usage(f"the function has no parameter {unknown[0]}; its parameters: {listed}.")
    if missing:
        raise Usage(f"give each parameter a shape or a constant: {missing[0]}=4,3 is missing.")
    if not drawn:
        raise Usage(f"nothing is drawn: give one of {listed} a shape, as {names[0]}=4,3.")
    ordered = [n for n in names if n in drawn] + [n for n in drawn if n not in names]
    return {n: drawn[n] for n in ordered}, constants


def _shape(text: str, value: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(n) for n in value.replace("x", ",").strip("()").split(",") if n.strip())
    except ValueError:
        raise Usage(f"{text!r}: a shape is whole numbers, as in x=4,3.") from None
    if any(n < 0 for n in shape):
        raise Usage(f"{text!r}: lengths are not negative.")
    return shape


def _interval(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise Usage(f"--domain {text}: give two numbers, as in --domain 0.1,3.") from None
    return low, high


def _constant(text: str, value: str) -> Any:
    try:
        constant = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        raise Usage(f"{text!r}: the constant is no Python literal.") from None
    return np.array(constant) if isinstance(constant, list) else constant


def _bound(
    function: Callable[..., Any], drawn: dict[str, Any], constants: dict[str, Any]
) -> Callable[..., Any]:
    """Return a function of the drawn arguments alone, by position, under the same names."""

    def bound(*arguments: Any) -> Any:
        """Call it by position where that is how its parameters are taken."""
        named = {**dict(zip(drawn, arguments, strict=True)), **constants}
        return _call(function, named)

    bound.__name__ = getattr(function, "__name__", "function")
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in drawn]
    bound.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return bound


def _call(function: Callable[..., Any], named: dict[str, Any], *first: Any) -> Any:
    """Call with arguments by name, those that are positional only by position."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[len(first) :]
    except (TypeError, ValueError):
        return function(*first, *named.values())
    by_position = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.name in named]
    rest = {n: v for n, v in named.items() if n not in by_position}
    return function(*first, *(named[n] for n in by_position), **rest)


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
        raise Usage(str(error)) from error
    found: Callable[..., Report] = given.search
    return found
