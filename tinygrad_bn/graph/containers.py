"""Containers of tensors: flatten nested dicts, lists, tuples and modules, and build them again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn.errors import ShapeError
from tinygrad_bn.graph.tensor import Tensor, as_constant

Rebuild: TypeAlias = Callable[[list[Any]], Any]


def is_leaf(value: Any) -> bool:
    """Whether a value is a tensor, an array or a floating-point number."""
    return isinstance(value, Tensor | np.ndarray | np.generic | float | complex)


def flatten(tree: Any) -> tuple[list[Any], list[str], Rebuild]:
    """Split a container into leaves, their paths, and a function that rebuilds it from leaves.

    Containers are dicts, lists, tuples, named tuples, and objects with the method
    ``map_tensors(function)`` (modules). Everything that is no leaf stays as it is.

    >>> leaves, paths, rebuild = flatten({"w": 1.0, "b": [2.0, "name"]})
    >>> leaves, paths, rebuild([10.0, 20.0])
    ([1.0, 2.0], ["['w']", "['b'][0]"], {'w': 10.0, 'b': [20.0, 'name']})
    """
    leaves: list[Any] = []
    paths: list[str] = []

    def visit(path: str, leaf: Any) -> Any:
        """Note a leaf and its path."""
        leaves.append(leaf)
        paths.append(path)
        return leaf

    map_leaves(visit, tree)

    def rebuild(new: list[Any]) -> Any:
        """Build a like container of other leaves."""
        rest = iter(new)
        return map_leaves(lambda path, leaf: next(rest), tree)

    return leaves, paths, rebuild


def aligned(tree: Any, paths: Sequence[str], label: str) -> list[Any]:
    """List a container's leaves in the order of the given paths, which it must have exactly.

    Where one tensor is wanted (its path is empty), whatever makes one may stand. Raises
    ShapeError with the paths that are missing and those that are not expected.

    >>> aligned({"b": 1.0, "a": 2.0}, ["['a']", "['b']"], "the tangent")
    [2.0, 1.0]
    """
    if list(paths) == [""]:
        return [as_constant(tree)]
    leaves, found, _ = flatten(tree)
    given = dict(zip(found, leaves, strict=True))
    missing = [path or "a tensor" for path in paths if path not in given]
    unexpected = [path or "a tensor" for path in found if path not in paths]
    if missing or unexpected:
        said = [f"lacks {', '.join(missing)}"] if missing else []
        said += [f"has {', '.join(unexpected)} besides"] if unexpected else []
        raise ShapeError(
            f"{label} {' and '.join(said)}.",
            "Give it the structure of what it belongs to: the same keys and lengths"
            + (", and floats for its ints." if find_integer(tree) else "."),
        )
    return [given[path] for path in paths]


def is_weak(value: Any) -> bool:
    """Whether a leaf is a Python number, which takes the dtype of what it meets."""
    return isinstance(value, float | complex) and not isinstance(value, np.generic)


def is_plain(tree: Any) -> bool:
    """Whether a container is of plain dicts, lists and tuples, so that its ``repr`` is its code."""
    if type(tree) is dict:
        return all(type(key) in (str, int) for key in tree) and all(map(is_plain, tree.values()))
    if type(tree) in (list, tuple):
        return all(map(is_plain, tree))
    return is_leaf(tree) or tree is None or type(tree) in (str, int, bool)


def find_integer(tree: Any, path: str = "") -> tuple[str, int] | None:
    """Find a Python int among the items of a container, with its path; None if there is none."""
    if isinstance(tree, int) and not isinstance(tree, bool):
        return path, tree
    if isinstance(tree, dict):
        items = [(f"{path}[{key!r}]", value) for key, value in tree.items()]
    elif isinstance(tree, list | tuple):
        items = [(f"{path}[{i}]", value) for i, value in enumerate(tree)]
    else:
        return None
    return next((hit for p, value in items if (hit := find_integer(value, p))), None)


def map_leaves(function: Callable[[str, Any], Any], tree: Any, path: str = "") -> Any:
    """Apply ``function(path, leaf)`` to every leaf of a container; returns a like container."""
    if is_leaf(tree):
        return function(path, tree)
    if isinstance(tree, dict):
        like = copy.copy(tree)
        for key, value in tree.items():
            like[key] = map_leaves(function, value, f"{path}[{key!r}]")
        return like
    if isinstance(tree, list | tuple):
        items = [map_leaves(function, value, f"{path}[{i}]") for i, value in enumerate(tree)]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    if hasattr(tree, "map_tensors"):
        return tree.map_tensors(lambda name, tensor: function(f"{path}.{name}", tensor))
    return tree
