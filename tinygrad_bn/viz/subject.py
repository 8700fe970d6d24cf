"""What is asked to be drawn: results, inputs, and the gradients that belong to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from tinygrad_bn.errors import DTypeError, GradientError, ShapeError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.state import using
from tinygrad_bn.graph.sweep import ancestors, seed, sweep, tracked
from tinygrad_bn.graph.tensor import Tensor, leaf
from tinygrad_bn.source import user_frame
from tinygrad_bn.viz.naming import bound

Backward: TypeAlias = Literal["none", "annotate", "rules", "ops"]
"""How gradients are shown: not at all; as a line on each card; as one card for each forward card,
joined by the rules that were applied; as every operation that computes them."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked to be drawn.

    ``results`` and ``inputs``: where the graph ends and begins; ``gradients``: cotangents by the
    forward tensor they belong to; ``backward``: how they are shown; ``variables``: the names of
    the caller's variables that hold tensors.
    """

    results: Sequence[Tensor]
    inputs: Sequence[Tensor] = ()
    gradients: Mapping[Tensor, Tensor] = field(default_factory=dict)
    backward: Backward = "annotate"
    variables: Mapping[Tensor, str] = field(default_factory=dict)

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
    gradients = _gradients(results, backward)
    return Subject(results, inputs, gradients, backward, bound(user_frame()))


def _tensors(obj: Any) -> list[Tensor]:
    return [leaf for leaf in flatten(obj)[0] if isinstance(leaf, Tensor)]


def _gradients(results: list[Tensor], backward: Backward) -> dict[Tensor, Tensor]:
    """Compute the gradient of the one result for all that it was computed from."""
    has = len(results) == 1 and results[0].size == 1 and results[0].requires_grad
    if backward in ("rules", "ops") and not has:
        raise _no_start(results, backward)
    if backward == "none" or not has:
        return {}
    (root,), record = results, backward in ("rules", "ops")
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
