"""Of a command line: the function that is meant, the arguments it gets, and what went wrong."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from tinygrad_bn.errors import TinygradError
from tinygrad_bn.source import user_location

_LONGEST = 60

DTYPES = ("float64", "float32", "float16")


class Usage(Exception):  # noqa: N818  (it ends the program, with a message)
    """A command that cannot be carried out as it was given."""


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
    sys.path.insert(0, str(path.resolve().parent) if is_file else "")
    try:
        return _of_file(path.resolve()) if is_file else importlib.import_module(name)
    except SystemExit as stop:
        raise Usage(
            f"{name} could not be imported: it ends the program (sys.exit({stop.code!r})).\n"
            '  fix: Let it do that below if __name__ == "__main__": alone.'
        ) from stop
    except Exception as error:
        raise Usage(f"{name} could not be imported: {type(error).__name__}: {error}") from error


def _of_file(path: Path) -> ModuleType:
    """Import a file once, under a name that no import statement can mean: it hides no module."""
    name = str(path.with_suffix("")).replace(".", ":")
    if name in sys.modules:
        return sys.modules[name]
    loader = SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    module = importlib.util.module_from_spec(cast("ModuleSpec", spec))
    sys.modules[name] = module  # before it runs: its dataclasses and pickles look there
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def told(problem: BaseException) -> str:
    """Say what went wrong; where, unless that is merely what called the command line.

    >>> told(KeyError("x"))
    "KeyError('x')"
    """
    if not isinstance(problem, TinygradError):
        try:
            return repr(problem)
        except Exception:  # noqa: BLE001  (somebody else's repr)
            return type(problem).__name__
    if problem.where != user_location():
        return str(problem)
    return str(TinygradError(problem.what, problem.fix, where=None))


def arguments(
    function: Callable[..., Any], options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort what was given into drawn shapes and constants; every parameter needs one."""
    drawn: dict[str, tuple[int, ...]] = {}
    constants: dict[str, Any] = {}
    for text in options.arguments:
        name, sign, value = text.partition("=")
        parameter = name.removesuffix(":")
        if not sign or not parameter:
            raise Usage(f"{text!r} is neither name=shape nor name:=constant.")
        if parameter in drawn or parameter in constants:
            raise Usage(f"{parameter} is given twice.")
        if name.endswith(":"):
            constants[parameter] = _constant(text, value)
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
    listed = ", ".join(names) or "none"
    if unknown:
        raise Usage(f"the function has no parameter {unknown[0]}; its parameters: {listed}.")
    if missing:
        raise Usage(
            f"give each parameter a shape or a constant: {_listed(missing)} missing "
            f"({missing[0]}=4 draws 4 numbers, {missing[0]}:=4 is the number 4)."
        )
    ordered = [n for n in names if n in drawn] + [n for n in drawn if n not in names]
    return {n: drawn[n] for n in ordered}, constants


def _listed(names: Sequence[str]) -> str:
    """List names in a sentence, with the verb."""
    *others, last = names
    return f"{', '.join(others)} and {last} are" if others else f"{last} is"


def _shape(text: str, value: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(n) for n in value.replace("x", ",").strip("()").split(",") if n.strip())
    except ValueError:
        raise Usage(
            f"{text!r}: a shape is whole numbers, as in x=4,3; a constant is written with :=, "
            f"as in {text.replace('=', ':=', 1)}."
        ) from None
    if any(n < 0 for n in shape):
        raise Usage(f"{text!r}: lengths are not negative.")
    return shape


def _constant(text: str, value: str) -> Any:
    try:
        constant = ast.literal_eval(value)
        return np.array(constant) if isinstance(constant, list) else constant
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
        raise Usage(
            f"{shown!r}: the constant is no Python literal, or a list of uneven lists."
        ) from None


def numbers(options: argparse.Namespace) -> dict[str, Any]:
    """Return what numbers are drawn, as options of ``strategies.arrays``. Raises Usage."""
    try:
        low, high = map(float, options.domain.split(","))
    except ValueError:
        raise Usage(f"--domain {options.domain}: give two numbers, as in --domain 0.1,3.") from None
    return {"kind": options.kind, "dtype": options.dtype, "domain": (low, high)}


def call(function: Callable[..., Any], named: dict[str, Any]) -> Any:
    """Call with arguments by name, those that are positional only by position."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return function(*named.values())
    by_position = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.name in named]
    rest = {n: v for n, v in named.items() if n not in by_position}
    return function(*(named[n] for n in by_position), **rest)
