"""Names for tensors that have none of their own: those of the variables they were put into.

A node remembers the instruction that made it. If the next instruction stores the result in a
variable, that is its name, found only when it is drawn: recording costs nothing.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any

from tinygrad_bn.graph.state import Scope
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.source import Site

_STORES = ("STORE_FAST", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF")
_SINGLE = ("BINARY_", "UNARY_", "COMPARE_OP")
"""Instructions that run one operator, and so give one tensor; a call may record many."""

_SILENT = ("CACHE", "COPY", "EXTENDED_ARG")
"""What may stand between an instruction and the one that stores its result."""

_CLEARING = sys.version_info < (3, 13)
"""Up to 3.12 a frame keeps the dictionary of its variables, and so every tensor in it."""


def assigned(
    nodes: Iterable[Tensor],
    users: Mapping[Tensor, list[Tensor]],
    paths: Mapping[Tensor, tuple[Scope, ...]],
    site: Site | None,
) -> dict[Tensor, str]:
    """Name the results of operations by the variables that the user's code assigned them to.

    ``paths``: the scopes around each node; ``site``: an instruction whose result is no tensor. A
    call may record many nodes: the name is that of the last, which no other of them uses, and
    where there are several such (``list(map(exp, xs))``), of none.
    """
    found: dict[Tensor, str] = {}
    by_call: dict[Site, list[Tensor]] = defaultdict(list)
    for node in nodes:
        if node.op is None or node.adjoint_of is not None:
            continue
        here = Site(node._code, node._instruction)
        called, name = _stored(here)
        if name and not called:
            found[node] = name
        elif name and here != site and not any(_one_call(node, u, paths) for u in users[node]):
            by_call[here].append(node)
    alone = {nodes[0]: _stored(call)[1] for call, nodes in by_call.items() if len(nodes) == 1}
    return found | alone


def bound(frame: FrameType | None) -> dict[Tensor, str]:
    """Name tensors by the variables of a frame, local ones first.

    Not by its parameters: what a helper calls its argument says nothing about a tensor.
    """
    if frame is None:
        return {}
    local = frame.f_locals
    parameters = set(_parameters(frame.f_code))
    found = {
        value: name
        for variables in (frame.f_globals, local)
        for name, value in reversed(list(variables.items()))
        if isinstance(value, Tensor) and _is_name(name) and name not in parameters
    }
    if _CLEARING and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        local.clear()  # a copy, which the frame would keep, and with it every graph
    return found


def packed(frame: FrameType | None, nodes: Iterable[Tensor]) -> set[tuple[Tensor, str]]:
    """Pair tensors with the variables that hold them in a list, tuple or dict, on the whole stack.

    Such a variable takes the result of a call, but names no one tensor. Of local variables only
    those of code that recorded a node are looked at.
    """
    codes = {node._code for node in nodes if node.op is not None}
    found: set[tuple[Tensor, str]] = set()
    modules: dict[int, dict[str, Any]] = {}
    while frame is not None:
        modules[id(frame.f_globals)] = frame.f_globals
        if frame.f_code in codes and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            local = frame.f_locals
            found.update(_packed(local))
            if _CLEARING:
                local.clear()
        frame = frame.f_back
    for variables in modules.values():
        found.update(_packed(variables))
    return found


def _packed(variables: Mapping[str, Any]) -> Iterator[tuple[Tensor, str]]:
    for name, value in list(variables.items()):
        if isinstance(value, list | tuple | dict):
            items = value.values() if isinstance(value, dict) else value
            yield from ((x, name) for x in items if isinstance(x, Tensor))


def main_frame() -> FrameType | None:
    """Return the frame of the notebook's cell, or of the script, that is now shown a result."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__") != "__main__":
        frame = frame.f_back
    return frame


def _parameters(code: CodeType) -> Iterator[str]:
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    yield from code.co_varnames[:count]


def _one_call(node: Tensor, user: Tensor, paths: Mapping[Tensor, tuple[Scope, ...]]) -> bool:
    """Whether a node and one that uses it may come from one call.

    Two turns of a loop open scopes of their own; what opens none counts as one call.
    """
    if node._code is not user._code or node._instruction != user._instruction:
        return False
    here, there = paths[node], paths[user]
    return not here or not there or here[0] is there[0]


def _stored(site: Site) -> tuple[bool, str]:
    """Say whether an instruction is a call, and which variable takes its one result (or "")."""
    offsets, answers = _stores(site.code)
    at = bisect_right(offsets, site.instruction) - 1
    return answers[at] if at >= 0 else (False, "")


@functools.lru_cache(maxsize=1024)
def _stores(code: CodeType) -> tuple[list[int], list[tuple[bool, str]]]:
    """Answer that for all instructions of a code object, by their offsets."""
    instructions = [i for i in dis.get_instructions(code) if i.opname not in _SILENT]
    answers = []
    for here, following in zip(instructions, [*instructions[1:], None], strict=True):
        called = here.opname.startswith("CALL")
        gives = called or here.opname.startswith(_SINGLE)
        stores = following is not None and following.opname.startswith(_STORES)
        variable = following.argval if following is not None and stores and gives else ""
        name = variable[0] if isinstance(variable, tuple) else str(variable)
        answers.append((called, name if _is_name(name) else ""))
    return [i.offset for i in instructions], answers


def _is_name(variable: str) -> bool:
    """Whether a variable is one that somebody named, and meant to be seen."""
    return variable.isidentifier() and not variable.startswith("_")
