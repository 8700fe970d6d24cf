"""Containers of tensors: flatten nested dicts, lists, tuples and modules, and build them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn.graph.tensor import Tensor

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
        return type(tree)(
            (key, map_leaves(function, value, f"{path}[{key!r}]")) for key, value in tree.items()
        )
    if isinstance(tree, list | tuple):
        items = [map_leaves(function, value, f"{path}[{i}]") for i, value in enumerate(tree)]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    if hasattr(tree, "map_tensors"):
        return tree.map_tensors(lambda name, tensor: function(f"{path}.{name}", tensor))
    return tree
