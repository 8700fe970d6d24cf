"""The derivative rules as text: what a rule's own source says, and which operands it reads."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

_Function: TypeAlias = ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef

_BEFORE = 3
"""What a rule takes before the operands: the namespace, the cotangent, the result."""


class RuleText(NamedTuple):
    """A rule as code, with what it calls; its parameters from ``g`` on; those that it uses."""

    code: str
    names: tuple[str, ...]
    used: frozenset[str]


def rule_text(rule: Any) -> RuleText:
    """Read the source of a rule, lambda or function; without one, say so.

    >>> rule_text(print)
    RuleText(code='rule without source text', names=(), used=frozenset())
    """
    position = 0
    while isinstance(rule, functools.partial):
        position, rule = position + len(rule.args), rule.func
    position += inspect.ismethod(rule)
    found = _definition(rule)
    if found is None:
        return RuleText("rule without source text", (), frozenset())
    arguments = [a.arg for a in (*found.args.posonlyargs, *found.args.args)]
    arguments += [f"*{found.args.vararg.arg}"] if found.args.vararg else []
    body = [found.body] if isinstance(found, ast.Lambda) else found.body
    used = {n.id for part in body for n in ast.walk(part) if isinstance(n, ast.Name)}
    called = [_code(helper) for helper in _helpers(rule, used)]
    code = "\n\n".join([_code(found), *called])
    return RuleText(code, tuple(arguments[position + 1 :]), frozenset(used))


def _helpers(rule: Any, used: Iterable[str]) -> Iterator[_Function]:
    """Find the functions of its own module that a rule calls, without which it says little."""
    function = inspect.unwrap(getattr(rule, "__func__", rule))
    for name in sorted(used):
        helper = function.__globals__.get(name)
        if inspect.isfunction(helper) and helper.__module__ == function.__module__:
            found = _definition(helper)
            if found is not None:
                yield found


def _code(found: _Function) -> str:
    """Write a rule without annotations and docstring."""
    if isinstance(found, ast.Lambda):
        return ast.unparse(found)
    for argument in ast.walk(found.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    found.returns, found.decorator_list = None, []
    if ast.get_docstring(found) is not None:
        found.body = found.body[1:]
    return ast.unparse(found)


def _definition(rule: Any) -> _Function | None:
    """Find the definition in its file: on one line several lambdas may stand, told by column."""
    code = getattr(inspect.unwrap(rule), "__code__", None) if callable(rule) else None
    tree = None if code is None else _tree(code.co_filename)
    if code is None or tree is None:
        return None
    places = {p for p in code.co_positions() if p[0] is not None and p[2] is not None}
    spots = {(line, column) for line, _, column, _ in places if column}
    for found in tree.get(code.co_firstlineno, ()):
        if isinstance(found, ast.Lambda) != (code.co_name == "<lambda>"):
            continue
        if not isinstance(found, ast.Lambda) or any(_inside(found, *spot) for spot in spots):
            return found
    return None


def _inside(found: ast.Lambda, line: int, column: int) -> bool:
    body = found.body
    end = (body.end_lineno or body.lineno, body.end_col_offset or 0)
    return (body.lineno, body.col_offset) <= (line, column) < end


@functools.cache
def _tree(file: str) -> dict[int, list[_Function]] | None:
    """List the functions of a file by their first lines."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return None
    found: dict[int, list[_Function]] = {}
    for node in ast.walk(tree):
        if isinstance(node, _Function):
            decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
            first = min([node.lineno, *(d.lineno for d in decorators)])
            found.setdefault(first, []).append(node)
    return found
