"""The derivative rules as text: what a rule's own source says, and what it calls."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
from typing import Any, NamedTuple, TypeAlias

from tinygrad_bn.source import bare_text

_Function: TypeAlias = ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef


class RuleText(NamedTuple):
    """A rule as code, with what it calls; its parameters from ``g`` on.

    Of a lambda the code is what it returns: its parameters are told with their values.
    """

    code: str
    names: tuple[str, ...]


def rule_text(rule: Any) -> RuleText:
    """Read the source of a rule, lambda or function; without one, say so.

    >>> rule_text(print)
    RuleText(code='rule without source text', names=())
    """
    position = 0
    while isinstance(rule, functools.partial):
        position, rule = position + len(rule.args), rule.func
    position += inspect.ismethod(rule)
    found = _definition(rule)
    if found is None:
        return RuleText("rule without source text", ())
    arguments = [a.arg for a in (*found.args.posonlyargs, *found.args.args)]
    arguments += [f"*{found.args.vararg.arg}"] if found.args.vararg else []
    written = ast.unparse(found.body) if isinstance(found, ast.Lambda) else bare_text(found)
    called = (_explained(*helper) for helper in _helpers(rule, found).items())
    code = "\n\n".join([written, *called])
    return RuleText(code, tuple(arguments[position + 1 :]))


def _names(found: _Function) -> set[str]:
    """Collect the names that the body of a function uses."""
    body = [found.body] if isinstance(found, ast.Lambda) else found.body
    return {n.id for part in body for n in ast.walk(part) if isinstance(n, ast.Name)}


def _helpers(rule: Any, definition: _Function) -> dict[str, _Function]:
    """Find by name the functions of its own module that a rule calls, and those that these call."""
    function = inspect.unwrap(getattr(rule, "__func__", rule))
    found: dict[str, _Function] = {}
    queue = [definition]
    while queue:
        for name in sorted(_names(queue.pop(0)) - found.keys()):
            helper = function.__globals__.get(name)
            if inspect.isfunction(helper) and helper.__module__ == function.__module__:
                known = _definition(helper)
                if known is not None and known is not definition:
                    found[name] = known
                    queue.append(known)
    return found


def _explained(name: str, found: _Function) -> str:
    """Write a function under the first line of its docstring."""
    if isinstance(found, ast.Lambda):
        return f"{name} = {ast.unparse(found)}"
    told = ast.get_docstring(found)
    return f"# {told.splitlines()[0]}\n{bare_text(found)}" if told else bare_text(found)


def _definition(rule: Any) -> _Function | None:
    """Find the definition in its file: on one line several lambdas may stand, told by column."""
    function = inspect.unwrap(getattr(rule, "__func__", rule)) if callable(rule) else None
    if not inspect.isfunction(function):
        return None
    code = function.__code__
    tree = _tree(tuple(linecache.getlines(code.co_filename, function.__globals__)))
    spots = {(line, column) for line, _, column, _ in code.co_positions() if line and column}
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


@functools.lru_cache(maxsize=64)
def _tree(lines: tuple[str, ...]) -> dict[int, list[_Function]]:
    """List the functions of a file by their first lines."""
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        return {}
    found: dict[int, list[_Function]] = {}
    for node in ast.walk(tree):
        if isinstance(node, _Function):
            decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
            first = min([node.lineno, *(d.lineno for d in decorators)])
            found.setdefault(first, []).append(node)
    return found
