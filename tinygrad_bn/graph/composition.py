"""Compositions: functions built of primitives, each under a scope of its own name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tinygrad_bn.graph.namespaces import tensors
from tinygrad_bn.graph.state import composed_scope, current
from tinygrad_bn.graph.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def composition(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function public under its name, and one node of the graph at depth 0.

    No derivative is written in a composition: it follows from the primitives.
    """
    name = function.__name__

    @functools.wraps(function)
    def scoped(*args: P.args, **kwargs: P.kwargs) -> R:
        """Run it inside its scope."""
        with composed_scope(name):
            return function(*args, **kwargs)

    setattr(tensors, name, scoped)
    return scoped


def public(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function public under its name without a scope: a thin form of one primitive."""
    setattr(tensors, function.__name__, function)
    return function


def term(name: str, tensor: Tensor) -> Tensor:
    """Say what a formula calls one of its parts, for diagrams; the tensor itself has no name.

    It is kept by the scope that is open: a name that a user gives goes before it.
    """
    scope = current().scope
    if scope is not None:
        if scope.terms is None:
            scope.terms = {}
        scope.terms[tensor.index] = name
    return tensor
