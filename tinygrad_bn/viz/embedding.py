"""Pictures inside a page: SVG as wide as there is room, and a Digraph that shows itself as such."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Container
from typing import Any

import graphviz

from tinygrad_bn.viz.engines import picture

_SECONDS = 10.0


class Drawing(graphviz.Digraph):  # type: ignore[misc]  # graphviz has no types
    """DOT that a notebook draws without a system's Graphviz, through the same engines as files."""

    def _repr_mimebundle_(
        self,
        include: Container[str] | None = None,
        exclude: Container[str] | None = None,
        **_: Any,
    ) -> dict[str, str]:
        """Return the picture; the DOT text where no engine draws it."""
        bundle = {"text/plain": self.source}
        with contextlib.suppress(Exception):  # a repr never raises
            bundle["text/html"] = inline(self.source)
        return chosen(bundle, include, exclude)


def chosen(
    bundle: dict[str, str], include: Container[str] | None, exclude: Container[str] | None
) -> dict[str, str]:
    """Keep the MIME types that are asked for."""
    return {
        kind: content
        for kind, content in bundle.items()
        if (include is None or kind in include) and (exclude is None or kind not in exclude)
    }


def inline(source: str) -> str:
    """Draw DOT as SVG to stand in a page: as wide as there is room, with ids of its own."""
    drawn = picture(source, "svg", dpi=96, timeout=_SECONDS)
    if drawn is None:
        return "<p>(No layout engine draws the graph: pip install graphviz-pure.)</p>"
    svg = drawn.decode()
    svg = svg[svg.index("<svg") :]
    digest = hashlib.blake2b(source.encode(), digest_size=4).hexdigest()
    svg = re.sub(r'\bid="', f'id="g{digest}-', svg)
    return re.sub(
        r'<svg width="([\d.]+)pt" height="[\d.]+pt"',
        r'<svg role="img" style="width:\1pt;max-width:100%;height:auto"',
        svg,
        count=1,
    )
