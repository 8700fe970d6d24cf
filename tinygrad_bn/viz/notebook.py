"""In a notebook a tensor and a trace draw themselves: their text, and below it their graph.

Nothing here raises: where a graph cannot be drawn, the text alone is shown.
"""

from __future__ import annotations

from collections.abc import Container
from html import escape
from typing import Any

from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.viz.dot import lower
from tinygrad_bn.viz.embedding import chosen, inline
from tinygrad_bn.viz.model import Diagram
from tinygrad_bn.viz.reading import diagram, nesting
from tinygrad_bn.viz.subject import subject_of

LARGEST = 60
"""Cards drawn at most under a value: what still fits on a screen."""

_NODES = 5_000


def mimebundle(
    obj: Any, include: Container[str] | None = None, exclude: Container[str] | None = None
) -> dict[str, str]:
    """Return what a notebook shows of a tensor or trace: MIME types and their content.

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
    subject = subject_of(obj, "none")
    nodes = subject.nodes()
    if len(nodes) > _NODES or (isinstance(obj, Tensor) and obj.op is None):
        return None
    whole = diagram(subject, values=True)
    if len(whole.cards) <= LARGEST:
        return whole
    levels = (diagram(subject, depth=d, values=True) for d in range(nesting(whole) - 1, -1, -1))
    return next((drawn for drawn in levels if len(drawn.cards) <= LARGEST), None)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
