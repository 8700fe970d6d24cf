"""What users call: ``graph`` gives DOT, ``render`` writes a file by its suffix."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, Unpack, cast

import graphviz

from tinygrad_bn.errors import DTypeError, GradientError
from tinygrad_bn.viz.difference import Difference
from tinygrad_bn.viz.dot import lower
from tinygrad_bn.viz.embedding import Drawing
from tinygrad_bn.viz.engines import RenderError, missing, picture
from tinygrad_bn.viz.files import write
from tinygrad_bn.viz.mermaid import mermaid
from tinygrad_bn.viz.model import Diagram
from tinygrad_bn.viz.options import whole
from tinygrad_bn.viz.reading import Collapse, deepest, diagram, nesting
from tinygrad_bn.viz.subject import Backward, subject_of
from tinygrad_bn.viz.text import listing

MAX_NODES = 400
"""More drawn nodes than this are neither laid out in reasonable time nor readable."""

_PICTURES = ("svg", "png", "pdf")
_SOURCES = ("gv", "dot")
_READINGS = ("mmd", "txt")
"""Formats that are written from the diagram, and not from its DOT text."""

_SUFFIXES = ".svg, .png, .pdf, .gv, .dot, .mmd or .txt"

Draw: TypeAlias = Callable[[int | None], Diagram]
"""Lays out what was given at a depth."""


class Reading(TypedDict, total=False):
    """What is read of a graph, whatever it is written as."""

    depth: int | None
    collapse: Collapse | None
    backward: Backward
    values: bool


class Options(Reading, total=False):
    """What ``graph`` takes, and ``render`` hands on to it."""

    legend: bool
    max_nodes: int


def graph(
    obj: Any,
    *,
    depth: int | None = None,
    collapse: Collapse | None = None,
    backward: Backward = "annotate",
    values: bool = True,
    legend: bool = False,
    max_nodes: int = MAX_NODES,
) -> Drawing:
    """Draw the graph that computed something, as DOT text; no layout engine is needed.

    ``obj``: a tensor, a trace, a container of tensors, or the difference of two (``viz.diff``),
    which shows no gradients. ``depth``: scopes nested deeper than this become one card each (0:
    every outermost scope is one; None: nothing is collapsed); ``collapse``: so do those for which
    it holds, as ``lambda scope: scope.name == "softmax"``.
    ``backward``: how to show the gradient of a result of one element. "annotate": in red on each
    card, where there is one; "rules": beside each card a card of its gradient, joined by the rules
    that were applied; "ops": beside the forward graph every operation of the gradient; "none": not
    at all. No ``grad`` is touched. ``values``: write mean and standard deviation on each card.
    ``legend``: explain below what the signs mean. ``max_nodes``: how many cards to draw at most.

    Raises DTypeError where there is no tensor, GradientError where "rules" or "ops" has nothing to
    start from, RenderError (naming the depth that would do) for too many nodes, DTypeError or
    ShapeError for an option that is no number of its kind.

    >>> import tinygrad_bn as tg
    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> print("n0 -> n1" in graph(tg.softmax(x), depth=0).source)
    True
    """
    reading = Reading(depth=depth, collapse=collapse, backward=backward, values=values)
    drawn = _drawn(obj, max_nodes, **reading)
    if legend and drawn.comparison is not None:
        raise DTypeError(
            "graph of a difference with legend=True: it always has its own.", "Leave it out."
        )
    return lower(drawn, legend=legend)


def render(
    obj: Any,
    path: str | os.PathLike[str],
    *,
    dpi: int = 144,
    timeout: float = 30.0,
    engine: str = "auto",
    **options: Unpack[Options],
) -> Path:
    """Draw a graph into a file and return its path; the suffix says the format.

    ``obj`` and ``options``: as for ``graph``; or the Digraph that it returned. Suffixes: ``.svg``,
    ``.png`` (at ``dpi``), ``.pdf`` (with ``dot`` or pygraphviz), ``.gv`` and ``.dot`` (the DOT
    text), ``.mmd`` (a Mermaid flowchart, which many sites draw from its text), ``.txt`` (a listing
    of any size, one line for each node). ``engine``: "graphviz-pure", "dot" (on PATH), "pygraphviz"
    or the path of an executable; "auto" is the one that the environment variable TINYGRAD_BN_DOT
    names in the same way, else the first of these that is installed and writes the format. The file
    is written whole or not at all, with the folders that it lies in.

    Raises RenderError for another suffix, where the engine fails, cannot write the format or takes
    longer than ``timeout`` seconds, and where the file cannot be written; OptionalDependencyError
    where an engine that was asked for is missing, or where there is none: then the DOT text is
    saved beside, with the suffix ``.gv``.

    >>> import tempfile
    >>> import tinygrad_bn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = render(tg.Tensor([1.0], name="x"), folder + "/x.txt", values=False)
    ...     print(path.read_text())
    n0 x: input  1 float64  -> result
    <BLANKLINE>
    """
    target = Path(path)
    form = _format(target)
    if isinstance(obj, graphviz.Digraph):
        _refuse_lowered(form, options)
    if form == "txt":
        return write(target, listing(_drawn(obj, sys.maxsize, **_bare(form, options))).encode())
    if form == "mmd":
        limit = options.pop("max_nodes", MAX_NODES)
        return write(target, mermaid(_drawn(obj, limit, **_bare(form, options))).encode())
    dot = obj if isinstance(obj, graphviz.Digraph) else graph(obj, **options)
    if form in _SOURCES:
        return write(target, dot.source.encode())
    drawn = picture(dot.source, form, dpi=dpi, timeout=timeout, engine=engine)
    if drawn is None:
        raise missing(form, target, write(_free(target, dot.source), dot.source.encode()))
    return write(target, drawn)


def _free(target: Path, source: str) -> Path:
    """Find a name for the DOT text beside a picture, under which nothing else is kept."""
    names = (f"{target.stem}{f'-{i}' * (i > 1)}.gv" for i in itertools.count(1))
    return next(
        path
        for path in map(target.with_name, names)
        if not path.exists() or (path.is_file() and path.read_bytes() == source.encode())
    )


def _refuse_lowered(form: str, options: Options) -> None:
    """Refuse what a Digraph no longer tells: a listing, a flowchart, another depth, values."""
    if form in _READINGS or options:
        asked = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise DTypeError(
            f"render of a Digraph with {asked or f'the suffix .{form}'}: that is read from the "
            "recorded graph.",
            "Pass the tensor or trace itself.",
        )


def _bare(form: str, options: Options) -> Reading:
    """Refuse what a text has not: a legend, and a listing's limit."""
    refused = [option for option in ("legend", "max_nodes") if option in options]
    if refused:
        raise DTypeError(
            f"render to .{form} with {refused[0]}: it has none.", f"Leave out {refused[0]}=."
        )
    return cast("Reading", options)


def _reading(obj: Any, backward: Backward, collapse: Collapse | None, *, values: bool) -> Draw:
    """Find out what is drawn, and how it is read at a depth."""
    if not isinstance(obj, Difference):
        subject = subject_of(obj, backward)
        return lambda depth: diagram(subject, depth=depth, collapse=collapse, values=values)
    if backward != "annotate":
        raise GradientError(
            f"graph of a difference with backward={backward!r}: it compares what was recorded.",
            "Compare the gradients themselves: diff(trace(grad(f), x), trace(grad(g), x)).",
        )
    return lambda depth: obj.diagram(depth=depth, collapse=collapse, values=values)


def _drawn(
    obj: Any,
    max_nodes: int,
    *,
    depth: int | None = None,
    collapse: Collapse | None = None,
    backward: Backward = "annotate",
    values: bool = True,
) -> Diagram:
    """Read the diagram of something, which has at most so many cards."""
    if depth is not None:
        whole("graph with depth", depth, least=0, otherwise=", or None for everything")
    whole("graph with max_nodes", max_nodes, least=1)
    if collapse is not None and not callable(collapse):
        raise DTypeError(
            f"graph with collapse={collapse!r}, which is no function of a scope.",
            'Pass one, such as lambda scope: scope.name == "softmax".',
        )
    read = _reading(obj, backward, collapse, values=values)
    drawn = read(depth)
    if len(drawn.cards) > max_nodes:
        raise _too_large(read, drawn, depth, max_nodes)
    return drawn


def _format(path: Path) -> str:
    form = path.suffix.lower().removeprefix(".")
    if form not in (*_PICTURES, *_SOURCES, *_READINGS):
        raise RenderError(
            f"render to {path.name!r}: the suffix {path.suffix!r} names no format.",
            f"Use {_SUFFIXES}.",
        )
    return form


def _too_large(draw: Draw, drawn: Diagram, depth: int | None, max_nodes: int) -> RenderError:
    """Say how large a drawing would be, and the deepest level that fits."""
    fits = deepest(draw, nesting(drawn), max_nodes)
    at = "" if depth is None else f" at depth={depth}"
    opened = 'Open scopes (with tinygrad_bn.scope("name"):)'
    if fits:
        advice = f"Pass depth={fits[0]}, which draws {len(fits[1].cards)}"
    elif depth is None and not nesting(drawn):
        advice = f"{opened} and pass depth=0"
    else:
        advice = f"{opened} around larger parts, since depth=0 draws {len(draw(0).cards)}"
    return RenderError(
        f"The graph has {len(drawn.cards)} nodes{at}; at most {max_nodes} are drawn.",
        f'{advice}, or list all with the suffix ".txt".',
    )
