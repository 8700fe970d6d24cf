"""``explore``: a recorded graph as one HTML file with which it is explored step by step."""

from __future__ import annotations

import json
import os
import re
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from tinygrad_bn.errors import DTypeError
from tinygrad_bn.viz.difference import Difference
from tinygrad_bn.viz.engines import RenderError
from tinygrad_bn.viz.files import write
from tinygrad_bn.viz.labels import clean
from tinygrad_bn.viz.options import seconds
from tinygrad_bn.viz.page.contents import Contents
from tinygrad_bn.viz.page.layout import Engine
from tinygrad_bn.viz.page.views import Views, views_of
from tinygrad_bn.viz.style import BACKWARD, FAMILIES, FORWARD, OTHER

_SUFFIXES = (".html", ".htm")
_SCRIPTS = (
    "words", "arrays", "scene", "camera", "highlight", "panel", "stepping", "steps", "views",
    "controls",
)  # fmt: skip
_TITLE = 80


def explore(
    obj: Any,
    path: str | os.PathLike[str] = "graph.html",
    *,
    title: str | None = None,
    engine: str = "auto",
    timeout: float = 30.0,
) -> Path:
    """Write a page in which a recorded graph is explored, forward and backward; return its path.

    ``obj``: a tensor, a trace, or a container of tensors; where it is one result of one element,
    its gradient stands beside it. ``path``: a file with the suffix ``.html`` or ``.htm``; its
    folders are made. ``title``: by default the name of the result. ``engine``: what lays the graph
    out, as for ``render``. ``timeout``: seconds that laying out the page may take in all.

    The page is one file without network access: zoom, levels of detail, search, the numbers of
    every tensor, and a stepper that applies one rule at a time. Raises DTypeError where there is
    no tensor, and for a difference, RenderError for another suffix, where the engine fails or the
    file cannot be written, and for a graph that is too large at every level,
    OptionalDependencyError where there is no engine.

    >>> import tempfile
    >>> import tinygrad_bn as tg
    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = explore(tg.sum(x * x), folder + "/square.html")
    ...     print(page.name, page.read_text(encoding="utf-8")[:15])
    square.html <!doctype html>
    """
    target = Path(path)
    if target.suffix.lower() not in _SUFFIXES:
        raise RenderError(
            f"explore to {target.name!r}: a page has the suffix .html or .htm.",
            'Write "graph.html", or draw a picture with render.',
        )
    return write(target, page_html(obj, title=title, engine=engine, timeout=timeout).encode())


def page_html(
    obj: Any, *, title: str | None = None, engine: str = "auto", timeout: float = 30.0
) -> str:
    """Return the text of the page that ``explore`` writes, with the same arguments and errors.

    >>> import tinygrad_bn as tg
    >>> "<h1>One &lt;input&gt;</h1>" in page_html(tg.Tensor([1.0], name="x"), title="One <input>")
    True
    """
    seconds("explore with timeout", timeout)
    if isinstance(obj, Difference):
        raise DTypeError(
            "explore of a difference: a page shows one graph.",
            "Draw it with render, or explore the graphs one by one.",
        )
    views = views_of(obj)
    name = clean(title or "", _TITLE) or _title(views)
    data = Contents(views, Engine(engine, timeout)).read(name)
    parts = {
        "title": escape(name),
        "style": theme() + _colours() + _asset("page.css"),
        "script": _script(),
        "data": _embedded(data),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("page.html"))


def _title(views: Views) -> str:
    """Name the page after what it computes, or else after the scope in which."""
    named = [card.name for card in views.forward.cards if card.result and card.name]
    outer = [r.scope.path[0].name for r in views.subject.results if r.scope is not None]
    return clean(", ".join(named or outer[:1]), _TITLE) or "Recorded graph"


def theme() -> str:
    """Return the style sheet that the package's pages share: colours, light and dark, and fonts."""
    return _asset("theme.css")


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _script() -> str:
    """Put the parts of the script into one function: no name of theirs is global."""
    parts = "\n".join(_asset(f"script/{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _colours() -> str:
    """Hand the colours of the visual language to the style sheet."""
    named = {**FAMILIES, "other": OTHER, "forward": FORWARD, "backward": BACKWARD}
    return f":root{{{''.join(f'--{name}:{colour};' for name, colour in named.items())}}}\n"


def _embedded(data: dict[str, Any]) -> str:
    """Write JSON that can end neither its element nor a line of a script."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for found, harmless in (("<", "\\u003c"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):
        text = text.replace(found, harmless)
    return text
