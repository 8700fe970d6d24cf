"""In a notebook a tensor and a trace draw themselves: their text, and below it their graph.

Nothing here raises: where a graph cannot be drawn, the text alone is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace
from html import escape
from typing import Any

from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.viz.difference import Difference
from tinygrad_bn.viz.dot import lower
from tinygrad_bn.viz.embedding import chosen, inline
from tinygrad_bn.viz.model import Diagram
from tinygrad_bn.viz.naming import bound, main_frame
from tinygrad_bn.viz.reading import deepest, diagram, nesting
from tinygrad_bn.viz.subject import subject_of

LARGEST = 60
"""Cards drawn at most under a value: what still fits on a screen."""

_NODES = 5_000


def mimebundle(
    obj: Any, include: Container[str] | None = None, exclude: Container[str] | None = None
) -> dict[str, str]:
    """Return what a notebook shows of a tensor, trace or difference: content by MIME type.

    The graph is drawn at the deepest level with at most 60 cards. A leaf, and a graph that is too
    large at every level, is text only.
    """
    bundle = {"text/plain": repr(obj)}
    try:
        drawn = _fitting(obj)
        if drawn is not None:
            text = f'<pre style="margin:0 0 .5em">{escape(repr(obj))}</pre>'
            bundle["text/html"] = text + inline(lower(drawn).source)
    except Exception as error:  # noqa: BLE001  (a repr never raises)
        bundle["text/plain"] += f"\n(not drawn: {_first_line(error)})"
    return chosen(bundle, include, exclude)


def _fitting(obj: Any) -> Diagram | None:
    """Read the deepest level of a graph that fits; None for a leaf, and where none does."""
    read = _reading(obj)
    whole = None if read is None else read(None)
    if read is None or whole is None or len(whole.cards) <= LARGEST:
        return whole
    fits = deepest(read, nesting(whole), LARGEST)
    return None if fits is None else fits[1]


def _reading(obj: Any) -> Callable[[int | None], Diagram] | None:
    """Find out how something is read at a depth; None for what has no graph, or too large a one."""
    if isinstance(obj, Difference):
        return lambda depth: obj.diagram(depth=depth, values=True)
    subject = replace(subject_of(obj, "none"), variables=bound(main_frame()))
    if (isinstance(obj, Tensor) and obj.op is None) or len(subject.nodes()) > _NODES:
        return None
    return lambda depth: diagram(subject, depth=depth, values=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
