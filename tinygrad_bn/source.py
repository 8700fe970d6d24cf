"""Source code: the line of the user's where a thing happened, and a function's own text."""

from __future__ import annotations

import ast
import copy
import functools
import os
import sys
from types import CodeType, FrameType
from typing import NamedTuple

SEARCHING = f"{os.sep}hypothesis{os.sep}"
PACKAGE = __file__.removesuffix("source.py")
OWN = __name__.removesuffix("source")


class Site(NamedTuple):
    """An instruction of the user's code, as it is kept until somebody asks for its line."""

    code: CodeType
    instruction: int


class Location(NamedTuple):
    """A line of the user's code."""

    file: str
    line: int

    def __str__(self) -> str:
        """``file:line``, as editors and terminals make clickable."""
        return f"{self.file}:{self.line}"


class _Internal(dict[str, bool]):
    """Whether a file belongs to this package, or stands between it and the user.

    Such are functools, and Hypothesis, through which tests of gradients are called.

    Each file name is looked at once.
    """

    def __missing__(self, filename: str) -> bool:
        between = filename == functools.__file__ or SEARCHING in filename
        self[filename] = inside = between or filename.startswith(PACKAGE)
        return inside


internal = _Internal()


def user_frame(depth: int = 1) -> FrameType | None:
    """Return the innermost frame outside this package, from ``depth`` callers up."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None and (internal[frame.f_code.co_filename] or _generated(frame)):
        frame = frame.f_back
    return frame


def _generated(frame: FrameType) -> bool:
    """Whether code without a file is this package's: the ``__init__`` of one of its dataclasses.

    The user's own ``exec`` and ``python -c`` have no file either, but other globals.
    """
    return frame.f_code.co_filename == "<string>" and str(
        frame.f_globals.get("__name__")
    ).startswith(OWN)


def line_at(code: CodeType, instruction: int) -> Location:
    """Turn a code object and an instruction offset into a location (done late: it is slow)."""
    positions = list(code.co_positions())
    index = instruction // 2
    line = positions[index][0] if 0 <= index < len(positions) else None
    return Location(code.co_filename, line or code.co_firstlineno)


def user_location() -> Location | None:
    """Return the user's line that is now executing, or None where there is none."""
    frame = user_frame(2)
    return None if frame is None else Location(frame.f_code.co_filename, frame.f_lineno)


def bare_text(definition: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    r"""Write a function without decorators, annotations and docstring.

    >>> bare_text(ast.parse("def f(x: int) -> int:\n    'Double.'\n    return 2 * x").body[0])
    'def f(x):\n    return 2 * x'
    """
    written = copy.deepcopy(definition)
    written.decorator_list, written.returns = [], None
    for argument in ast.walk(written.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    if ast.get_docstring(written) is not None:
        written.body = written.body[1:]
    return ast.unparse(written)
