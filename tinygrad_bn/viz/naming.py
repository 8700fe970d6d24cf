"""Names for tensors that have none of their own: those of the variables they were put into.

A node remembers the instruction that made it. If the next instruction stores the result in a
variable, that is its name, found only when it is drawn: recording costs nothing.
"""

from __future__ import annotations

import dis
import functools
import inspect
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from types import CodeType, FrameType

from tinygrad_bn.graph.state import Scope
from tinygrad_bn.graph.tensor import Tensor

_STORES = ("STORE_FAST", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF")


def assigned(
    nodes: Iterable[Tensor],
    users: Mapping[Tensor, list[Tensor]],
    paths: Mapping[Tensor, tuple[Scope, ...]],
) -> dict[Tensor, str]:
    """Name the results of operations by the variables that the user's code assigned them to.

    ``paths``: the scopes around each node. One instruction may record many nodes (a call of
    ``batch_norm``): the name is that of the last, which no other of them uses. Turns of a loop
    open scopes of their own; what opens none cannot be told from one call, and counts as one.
    """
    found = {}
    for node in nodes:
        if node.op is None or node.adjoint_of is not None:
            continue
        called, name = _stored(node._code, node._instruction)
        if name and not (called and any(_one_call(node, u, paths) for u in users.get(node, ()))):
            found[node] = name
    return found


def bound(frame: FrameType | None) -> dict[Tensor, str]:
    """Name tensors by the variables of a frame, local ones first.

    Not by its parameters: what a helper calls its argument says nothing about a tensor.
    """
    if frame is None:
        return {}
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    count += sum(
        bool(code.co_flags & flag) for flag in (inspect.CO_VARARGS, inspect.CO_VARKEYWORDS)
    )
    parameters = code.co_varnames[:count]
    return {
        value: name
        for variables in (frame.f_globals, frame.f_locals)
        for name, value in reversed(list(variables.items()))
        if isinstance(value, Tensor) and _is_name(name) and name not in parameters
    }


def _one_call(node: Tensor, user: Tensor, paths: Mapping[Tensor, tuple[Scope, ...]]) -> bool:
    """Whether a node and one that uses it may come from one call."""
    if node._code is not user._code or node._instruction != user._instruction:
        return False
    here, there = paths[node], paths[user]
    return not here or not there or here[0] is there[0]


def _stored(code: CodeType, instruction: int) -> tuple[bool, str]:
    """Say whether an instruction is a call, and which variable takes its result (or "")."""
    offsets, answers = _stores(code)
    at = bisect_right(offsets, instruction) - 1
    return answers[at] if at >= 0 else (False, "")


@functools.lru_cache(maxsize=1024)
def _stores(code: CodeType) -> tuple[list[int], list[tuple[bool, str]]]:
    """Answer that for all instructions of a code object, by their offsets."""
    instructions = [i for i in dis.get_instructions(code) if i.opname not in ("CACHE", "COPY")]
    answers = []
    for here, following in zip(instructions, [*instructions[1:], None], strict=True):
        stores = following is not None and following.opname.startswith(_STORES)
        variable = following.argval if following is not None and stores else ""
        name = variable[0] if isinstance(variable, tuple) else str(variable)
        answers.append(("CALL" in here.opname, name if _is_name(name) else ""))
    return [i.offset for i in instructions], answers


def _is_name(variable: str) -> bool:
    """Whether a variable is one that somebody named, and meant to be seen."""
    return variable.isidentifier() and not variable.startswith("_")
