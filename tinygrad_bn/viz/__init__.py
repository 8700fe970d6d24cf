"""Drawing: a recorded graph as a diagram, in DOT, SVG, PNG, PDF, Mermaid or plain text."""

from __future__ import annotations

from tinygrad_bn.viz.difference import Change as Change, Difference as Difference, diff as diff
from tinygrad_bn.viz.drawing import graph as graph, render as render
from tinygrad_bn.viz.engines import RenderError as RenderError
from tinygrad_bn.viz.page.explore import explore as explore, page_html as page_html
