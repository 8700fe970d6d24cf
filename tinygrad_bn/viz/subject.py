"""What is asked to be drawn: results, inputs, and the gradients that belong to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy.typing as npt

from tinygrad_bn.errors import DTypeError, GradientError, ShapeError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.state import using
from tinygrad_bn.graph.sweep import ancestors, seed, sweep, tracked
from tinygrad_bn.graph.tensor import Tensor, leaf
from tinygrad_bn.source import Site, user_frame
from tinygrad_bn.viz.naming import bound, packed
from tinygrad_bn.viz.steps import Application, applications

Backward: TypeAlias = Literal["none", "annotate", "rules", "ops"]
"""How gradients are shown: not at all; as a line on each card; as one card for each forward card,
joined by the rules that were applied; as every operation that computes them."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked to be drawn.

    ``results`` and ``inputs``: where the graph ends and begins; ``gradients``: cotangents by the
    forward tensor they belong to; ``backward``: how they are shown; ``steps``: for "rules", what
    each rule passed on; ``variables``: the names of the caller's variables that hold tensors;
    ``packed``: tensors with the names of variables that hold them among others;
    ``site``: the instruction that called ``trace``, whose variable holds no tensor.
    """

    results: Sequence[Tensor]
    inputs: Sequence[Tensor] = ()
    gradients: Mapping[Tensor, Tensor] = field(default_factory=dict)
    backward: Backward = "annotate"
    steps: Sequence[Application] = ()
    variables: Mapping[Tensor, str] = field(default_factory=dict)
    packed: Collection[tuple[Tensor, str]] = ()
    site: Site | None = None

    def nodes(self) -> list[Tensor]:
        """Return every tensor that takes part, in recording order."""
        recorded = self.gradients.values() if self.backward == "ops" else ()
        return ancestors([*self.results, *self.inputs, *recorded])


def subject_of(obj: Any, backward: Backward) -> Subject:
    """Find the tensors to draw in what was given, and their gradients; no ``grad`` is touched.

    Raises DTypeError where there is no tensor, GradientError where "rules" or "ops" has nothing to
    start from, ShapeError for another word.
    """
    if backward not in get_args(Backward):
        known = ", ".join(map(repr, get_args(Backward)))
        raise ShapeError(f"graph with backward={backward!r}.", f"Use one of {known}.")
    results = obj.results if isinstance(obj, Trace) else _tensors(obj)
    if not results:
        raise DTypeError(
            f"graph of a {type(obj).__name__} without tensors.",
            "Call it and pass what it returns, or trace it: tg.trace(function, *arguments)."
            if callable(obj)
            else "Pass a tensor, a trace, or a container of tensors.",
        )
    inputs = obj.inputs if isinstance(obj, Trace) else ()
    steps = _steps(results) if backward == "rules" else []
    gradients = _summed(steps) if steps else _gradients(results, backward)
    site = obj.site if isinstance(obj, Trace) else None
    frame = user_frame()
    names, among = bound(frame), packed(frame, ancestors(results))
    return Subject(results, inputs, gradients, backward, steps, names, among, site)


def _tensors(obj: Any) -> list[Tensor]:
    return [leaf for leaf in flatten(obj)[0] if isinstance(leaf, Tensor)]


def used_values(nodes: Iterable[Tensor]) -> dict[Tensor, npt.NDArray[Any]]:
    """Collect the values with which operations ran, of operands that were assigned since."""
    return {
        x: value
        for node in nodes
        for x, value in zip(node.inputs, node.values, strict=True)
        if isinstance(x, Tensor) and x._data is not value
    }


def has_gradient(results: Sequence[Tensor]) -> bool:
    """Whether there is one result, of one element, that requires a gradient."""
    return len(results) == 1 and results[0].size == 1 and results[0].requires_grad


def _steps(results: list[Tensor]) -> list[Application]:
    """Apply every rule, the last recorded first, and keep what it passed on."""
    if not has_gradient(results):
        raise _no_start(results, "rules")
    return applications(results[0])


def _summed(steps: Sequence[Application]) -> dict[Tensor, Tensor]:
    """Collect the gradients that the rules summed up."""
    found = {steps[0].node: leaf(steps[0].g)}
    return found | {part.operand: leaf(part.total) for step in steps for part in step.parts}


def _gradients(results: list[Tensor], backward: Backward) -> dict[Tensor, Tensor]:
    """Compute the gradient of the one result for all that it was computed from."""
    if not has_gradient(results):
        if backward == "ops":
            raise _no_start(results, backward)
        return {}
    if backward == "none":
        return {}
    (root,), record = results, backward == "ops"
    start = seed(root, None)
    with using(recording=True, tracing=record, scope=None, adjoint_of=None, replay=None):
        found = sweep(
            {root: start if record else start.data}, record=record, wanted=tracked(results)
        )
    return {t: g if isinstance(g, Tensor) else leaf(g) for t, g in found.items()}


def _no_start(results: list[Tensor], backward: str) -> GradientError:
    told = ", ".join(
        f"{r.shape}{'' if r.requires_grad else ' (no gradient required)'}" for r in results[:3]
    )
    count = f"{len(results)} result{'s' * (len(results) != 1)}"
    return GradientError(
        f"graph with backward={backward!r} of {count}: {told}.",
        "Draw one result of one element (a loss) computed from tensors with "
        "requires_grad=True, or the trace of a gradient: tg.trace(tg.value_and_grad(f), x).",
    )
