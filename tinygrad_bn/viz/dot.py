"""A diagram as DOT: forward flows down, its gradient flows back up beside it."""

from __future__ import annotations

import re
from html import escape

import graphviz

from tinygrad_bn.viz.embedding import Drawing
from tinygrad_bn.viz.labels import counted
from tinygrad_bn.viz.legend import Entry, legend as explained
from tinygrad_bn.viz.model import SIGNS, Card, Cluster, Comparison, Diagram, Edge, Line
from tinygrad_bn.viz.ranks import ALIGNED, ranks_of
from tinygrad_bn.viz.style import (
    BACKWARD,
    CHANGES,
    FORWARD,
    FRAMES,
    INK,
    LEAVES,
    QUIET,
    SAVED,
    TINTS,
    colours,
)

_IN_A_ROW = 4

_EDGES = {
    "added": {"color": CHANGES["added"][1], "penwidth": "2.2"},
    "removed": {
        "color": CHANGES["removed"][1],
        "style": "dashed",
        "arrowhead": "onormal",
        "arrowtail": "onormal",
    },
    "": {"color": "#a9b4c0"},
}
"""Edges in a difference: thick if added; dashed with a hollow arrow if removed."""


def lower(diagram: Diagram, *, legend: bool = False) -> Drawing:
    """Write a diagram as DOT. Every text of the user's is escaped inside an HTML-like label."""
    dot = Drawing(
        "graph",
        graph_attr={
            "fontname": "Helvetica", "fontsize": "11", "bgcolor": "white", "pad": "0.2",
            "nodesep": "0.28", "ranksep": "0.36", "rankdir": "TB", "newrank": "true",
        },
        node_attr={
            "fontname": "Helvetica", "fontsize": "11", "shape": "box", "margin": "0.05,0.035",
            "height": "0.1", "width": "0.1", "fontcolor": INK, "penwidth": "1.2",
        },
        edge_attr={
            "fontname": "Helvetica", "fontsize": "9", "fontcolor": QUIET, "arrowsize": "0.65",
            "penwidth": "1.3", "labeldistance": "1.5", "labelangle": "26",
        },
    )  # fmt: skip
    if legend:
        dot.attr("graph", label=_legend(explained(diagram)), labelloc="b")
    _write_levels(dot, diagram)
    ranks = ranks_of(diagram)
    for edge in diagram.edges:
        look = _EDGES[edge.change] if diagram.comparison is not None else {}
        _write_edge(dot, edge, diagram.cards, ranks.get(edge, 1), look)
    if len(diagram.cards) <= ALIGNED:
        for forward, backward in diagram.beside:
            dot.edge(f"n{forward}", f"n{backward}", style="invis", minlen="0", weight="1")
    if diagram.comparison is not None:  # at the end: clusters that follow it would inherit it
        dot.attr("graph", label=_compared(diagram.comparison), labelloc="t", labeljust="l")
    return dot


def _legend(entries: list[Entry]) -> str:
    """Write the legend as a table of signs and meanings, a few in a row."""
    cells = [
        f'{_sign(entry)}<TD ALIGN="LEFT">{_font(entry.meaning, QUIET, 10)}</TD>'
        for entry in entries
    ]
    rows = ["".join(cells[i : i + _IN_A_ROW]) for i in range(0, len(cells), _IN_A_ROW)]
    table = '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="4" CELLPADDING="2">'
    return f"<{table}{''.join(f'<TR>{row}</TR>' for row in rows)}</TABLE>>"


def _sign(entry: Entry) -> str:
    if entry.badge:
        sign = f"<B>{_font(f' {entry.sign} ', 'white', 10)}</B>"
        return f'<TD BGCOLOR="{entry.colour}">{sign}</TD>'
    return f"<TD>{_font(entry.sign, entry.colour, 11)}</TD>"


def _write_levels(dot: graphviz.Digraph, diagram: Diagram) -> None:
    """Write each level inside a frame that is not seen: the engine keeps it a column of its own."""
    for level in diagram.levels:
        dot.body.append(f'\tsubgraph cluster_level{level} {{\n\tgraph [label="" peripheries="0"]\n')
        _write_clusters(dot, diagram, level)
        dot.body.append("\t}\n")


def _write_clusters(dot: graphviz.Digraph, diagram: Diagram, level: int) -> None:
    """Write cards inside their clusters; braces by hand, because clusters may nest deeply."""
    opened = 0
    for member in diagram.walk(level):
        if isinstance(member, Cluster):
            dot.body.append(f"\tsubgraph cluster_{level}_{opened} {{\n")
            dot.attr("graph", **_cluster_style(member))
            opened += 1
        elif member is not None:
            _write_card(dot, diagram.cards[member], compared=diagram.comparison is not None)
        else:
            dot.body.append("\t}\n")


def _cluster_style(cluster: Cluster) -> dict[str, str]:
    side = int(cluster.backward)
    return {
        "label": f"<{_font(cluster.name, BACKWARD if side else FORWARD, 11)}>",
        "labeljust": "r" if cluster.level % 2 else "l",  # where its arrows pass least often
        "labelloc": "t",
        "style": "rounded,filled",
        "peripheries": "1",
        "fillcolor": TINTS[side][min(cluster.depth, 3) - 1],
        "color": FRAMES[side],
        "margin": "9",
    }


def _write_card(dot: graphviz.Digraph, card: Card, *, compared: bool) -> None:
    look = CHANGES[card.change] if compared else (*colours(card), INK)
    fill, border, badge, ink = look
    dashed = ",dashed" if card.change == "removed" else ""
    dot.node(
        f"n{card.number}",
        label=_label(card, badge, ink),
        style=("filled" if card.kind in LEAVES else "rounded,filled") + dashed,
        fillcolor=fill,
        color=border,
        penwidth="2.4" if card.result else "1.2",
    )


def _label(card: Card, badge: str, ink: str) -> str:
    """Write the table of a card: a badge, and beside it name and shape, value, gradient."""
    lines = [_head(card, ink), *([_cell(_font(card.note, QUIET, 9))] if card.note else [])]
    lines += [_cell(f"<B>{_font(what, badge, 9)}</B>") for what in card.changes]
    if card.value is not None:
        lines.append(_line(card.value, QUIET, ""))
    if card.gradient is not None:
        lines.append(_line(card.gradient, BACKWARD, "∂ "))
    rows = len(lines)
    if card.badge and card.change:
        lines[0] = _badge(card.badge, "white", badge, rows) + lines[0]
    elif card.badge:
        lines[0] = _badge(card.badge, badge, "white", rows) + lines[0]
    if card.change:
        lines[0] = _badge(SIGNS[card.change], badge, "white", rows) + lines[0]
    table = '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="1" CELLPADDING="2">'
    return f"<{table}{''.join(f'<TR>{line}</TR>' for line in lines)}</TABLE>>"


def _badge(text: str, fill: str, ink: str, rows: int) -> str:
    return f'<TD ROWSPAN="{rows}" BGCOLOR="{fill}"><B>{_font(f" {text} ", ink, 11)}</B></TD>'


def _head(card: Card, ink: str) -> str:
    colour = BACKWARD if card.kind == "scope" and card.backward else ink
    name = f"<B>{_font(card.name, colour, 11)}</B> " if card.name else ""
    text = name + _font(card.shape, QUIET, 9, "Courier")
    return _cell(f"<S>{text}</S>" if card.change == "removed" else text)


def _line(line: Line, colour: str, prefix: str) -> str:
    text = _font(prefix + line.text, BACKWARD if line.alarm else colour, 9)
    tint = ' BGCOLOR="#fdecea"' if prefix or line.alarm else ""
    return _cell(f"<B>{text}</B>" if line.alarm else text, tint)


def _cell(content: str, style: str = "") -> str:
    return f'<TD ALIGN="LEFT"{style}>{content}</TD>'


def _font(text: str, colour: str, size: int, face: str = "Helvetica") -> str:
    """Write text in a font; never an empty element, which is a syntax error to the engines.

    It ends after each backslash, since the engines take backslash and letter for an escape.
    """
    opened = f'<FONT FACE="{face}" COLOR="{colour}" POINT-SIZE="{size}">'
    parts = [part for part in re.split(r"(?<=\\)", text) if part] or [" "]
    return "".join(f"{opened}{escape(part)}</FONT>" for part in parts)


def _write_edge(
    dot: graphviz.Digraph, edge: Edge, cards: list[Card], ranks: int, changed: dict[str, str]
) -> None:
    """Write one edge; at an odd level it is written backwards, so that it points up."""
    source, target = f"n{edge.source}", f"n{edge.target}"
    length = {"minlen": str(ranks)} if ranks > 1 else {}
    colour = BACKWARD if cards[edge.target].backward else FORWARD
    if edge.saved:
        look = {"style": "dashed", "color": SAVED, "penwidth": "0.9", "arrowsize": "0.5"} | changed
        dot.edge(source, target, constraint="false", weight="0", **look)
    elif cards[edge.target].level % 2:
        mark = {"taillabel": edge.mark} if edge.mark else {}
        dot.edge(target, source, dir="back", **{"color": colour} | changed, **mark, **length)
    else:
        mark = {"headlabel": edge.mark} if edge.mark else {}
        dot.edge(source, target, **{"color": colour} | changed, **mark, **length)


def _compared(comparison: Comparison) -> str:
    """Write which graphs are compared, and below it what each sign means."""
    title = f"<B>{_font(comparison.title, INK, 12)}</B>" if comparison.title else ""
    told = [
        _font(f"{text}   ", CHANGES[change][2], 11)
        for change, text in counted(comparison.counts, SIGNS).items()
    ]
    cells = [part for part in (title, "".join(told)) if part]
    rows = "".join(f"<TR>{_cell(cell)}</TR>" for cell in cells)
    return f'<<TABLE BORDER="0" CELLPADDING="2">{rows}</TABLE>>'
