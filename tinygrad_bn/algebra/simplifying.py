"""simplify: a shorter graph of the same values, at the level of exactness that is asked for."""

from __future__ import annotations

from typing import Any, Literal

from tinygrad_bn.algebra.deriving import Result, lowered
from tinygrad_bn.algebra.naming import Naming
from tinygrad_bn.algebra.reading import Reading
from tinygrad_bn.algebra.rewriting import Rewriter
from tinygrad_bn.graph.primitive import bind
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.tensor import Tensor

LEVELS = ("exact", "rounding", "real")
Level = Literal["exact", "rounding", "real"]


def closed_form(recorded: Trace) -> Trace:
    """Return a trace of the closed forms of all results, whether or not it is shorter."""
    reading = Reading(recorded)
    rewriter = Rewriter()
    naming = Naming(rewriter, {*reading.names.values()})
    results = []
    for output in recorded.results:
        places = reading.indices(output)
        normal = rewriter.normal(reading.element(output, places))
        results.append(Result("", naming.named(normal), places, output.dtype))
    return lowered(recorded.name, reading, results, naming.definitions, recorded)


def replayed(recorded: Trace, arguments: list[Any]) -> list[Tensor]:
    """Run the operations of a trace again on other tensors; returns its results."""
    made: dict[Tensor, Any] = dict(zip(recorded.inputs, arguments, strict=True))
    for node in recorded.nodes:
        operands = tuple(made.get(o, o) if isinstance(o, Tensor) else o for o in node.inputs)
        made[node] = bind(node.op, operands, node.params)
    return [made.get(r, r) for r in recorded.results]
