"""simplify: a shorter graph of the same values, at the level of exactness that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from tinygrad_bn.algebra.deriving import Result, lowered
from tinygrad_bn.algebra.naming import Naming
from tinygrad_bn.algebra.reading import Reading, unrounded
from tinygrad_bn.algebra.rewriting import Rewriter
from tinygrad_bn.algebra.whole import simplified
from tinygrad_bn.errors import DTypeError, ShapeError
from tinygrad_bn.graph.primitive import bind
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.state import using
from tinygrad_bn.graph.sweep import ancestors
from tinygrad_bn.graph.tensor import Tensor

Level = Literal["exact", "rounding", "real"]
LEVELS = ("exact", "rounding", "real")
Graph = TypeVar("Graph", Trace, Tensor)


def simplify(graph: Graph, level: Level = "exact") -> Graph:
    """Return a graph of the same values with no more operations, by the laws of a level.

    ``graph``: a trace, or a tensor with the graph that it was computed by; the answer is of the
    same kind, with the same inputs (for a tensor: the same leaves), and differentiable as before.
    ``level``: "exact" keeps every bit of every value, NaN and infinities included; "rounding"
    allows some roundings of the numbers on the way more or less, an overflow or underflow there
    too, and another sign of zero; "real" uses whatever holds for real numbers, as a textbook does:
    what NaN, an infinity or an overflow would give may differ. Graphs with results that are no
    real floating-point numbers are simplified up to "rounding".

    Operations of your own are taken to be functions: the same operands give the same values.
    "real" takes indices that count from 0 in the recorded run to do so in every run.

    Raises DTypeError for what is no graph, ShapeError for an unknown level.

    >>> import tinygrad_bn as tg
    >>> recorded = tg.trace(tg.grad(tg.logsumexp), tg.asarray([0.0, 1.0]))
    >>> [len(simplify(recorded, level).nodes) for level in ("exact", "real")]
    [11, 7]
    """
    if level not in LEVELS:
        raise ShapeError(f"simplify: level={level!r}.", f"Use one of {', '.join(LEVELS)}.")
    if isinstance(graph, Trace):
        return _simplified(graph, level)
    if not isinstance(graph, Tensor):
        raise DTypeError(
            f"simplify: what is given is of type {type(graph).__name__}, and no graph.",
            "Pass a trace, tg.trace(f, x), or a tensor that was computed from others.",
        )
    leaves = [t for t in ancestors([graph]) if t.op is None and t.requires_grad]
    short = _simplified(Trace("graph", tuple(leaves), graph), level)
    if all(a is b for a, b in zip(short.inputs, leaves, strict=True)):
        found: Tensor = short.outputs
        return found
    with using(recording=True):
        return replayed(short, leaves)[0]


def _simplified(recorded: Trace, level: Level) -> Trace:
    """Simplify until nothing gets shorter; so a second time changes nothing."""
    short = simplified(recorded, "exact" if level == "exact" else "rounding")
    while level == "real" and _is_real(short):
        shorter = simplified(closed_form(short), "rounding")
        if len(shorter.nodes) >= len(short.nodes):
            break
        short = shorter
    return short


def _is_real(recorded: Trace) -> bool:
    """Whether all results are real floating-point numbers, and nothing on the way is complex."""
    kinds = {node.dtype.kind for node in recorded.nodes}
    return "c" not in kinds and all(r.dtype.kind == "f" for r in recorded.results)


def closed_form(recorded: Trace) -> Trace:
    """Return a trace of the closed forms of all results, whether or not it is shorter."""
    reading = Reading(recorded)
    rewriter = Rewriter()
    naming = Naming(rewriter, {*reading.names.values()})
    results = []
    for output in recorded.results:
        places = reading.indices(output)
        normal = rewriter.normal(reading.element(unrounded(output), places))
        results.append(Result("", naming.named(normal), places, output.dtype))
    return lowered(recorded.name, reading, results, naming.finished(), recorded)


def replayed(recorded: Trace, arguments: Sequence[Tensor]) -> list[Tensor]:
    """Run the operations of a trace again on other tensors; returns its results."""
    made: dict[Tensor, Any] = dict(zip(recorded.inputs, arguments, strict=True))
    for node in recorded.nodes:
        operands = tuple(made.get(o, o) if isinstance(o, Tensor) else o for o in node.inputs)
        made[node] = bind(node.op, operands, node.params)
    return [made.get(r, r) for r in recorded.results]
