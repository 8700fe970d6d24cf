"""A page of derivations: formulas in MathML, laws used, graphs before and after; no script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from itertools import groupby
from typing import Any

from tinygrad_bn.algebra import Derivation
from tinygrad_bn.algebra.deriving import NO_SHORTER
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.viz.drawing import graph
from tinygrad_bn.viz.embedding import inline
from tinygrad_bn.viz.page.explore import theme

HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:"/>
<title>{title}</title>
<link rel="icon" href="data:,"/>
<style>
{style}</style>
</head>
<body>
"""


@dataclass(frozen=True)
class Entry:
    """A derivation on a page: title, anchor, section, code, what is told before and after it."""

    title: str
    derivation: Derivation
    name: str
    section: str = ""
    text: str = ""
    code: str = ""
    note: str = ""
    pictured: bool = True


def page(title: str, entries: Sequence[Entry], about: Iterable[str] = ()) -> str:
    """Write a page that stands alone: contents, then every entry; ``about`` comes first.

    The names of the entries are their anchors. HTML that is XML too.
    """
    style = theme() + files(__package__).joinpath("derivations.css").read_text(encoding="utf-8")
    told = "".join(f"<p>{escape(text)}</p>\n" for text in about)
    parts = [
        HEAD.format(title=escape(title), style=style),
        f"<header>\n<h1>{escape(title)}</h1>\n{told}</header>\n",
        _contents(entries) if len(entries) > 1 else "",
        f"<main>\n{''.join(map(_entry, entries))}</main>\n</body>\n</html>\n",
    ]
    return "".join(parts)


def _contents(entries: Sequence[Entry]) -> str:
    """List the entries by section."""
    groups = groupby(entries, key=lambda entry: entry.section)
    listed = "".join(
        f"<li>{escape(section)}\n<ul>\n{''.join(map(_link, group))}</ul></li>\n"
        for section, group in groups
    )
    return f'<nav aria-label="Contents">\n<ul>\n{listed}</ul>\n</nav>\n'


def _link(entry: Entry) -> str:
    return f'<li><a href="#{entry.name}">{escape(entry.title)}</a></li>\n'


def _entry(entry: Entry) -> str:
    """Write all that is known of one derivation."""
    found = entry.derivation
    parts = [
        f"<h2>{escape(entry.title)}</h2>\n",
        f"<p>{escape(entry.text)}</p>\n" if entry.text else "",
        f"<pre><code>{escape(entry.code)}</code></pre>\n" if entry.code else "",
        formulas(found),
        f'<p class="quiet">{counted(found)}. {escape(entry.note)}</p>\n',
        _folded(_counted(len(found.steps)), steps(found)) if found.steps else "",
        _pictures(found) if entry.pictured else "",
        _folded("A step of gradient descent", _code("\n".join(map(str, found.descent())))),
        _folded("As text, and as a NumPy program", _code(str(found)) + _code(found.program())),
        _folded("In LaTeX", _code(found.latex())),
    ]
    return f'<section id="{entry.name}">\n{"".join(parts)}</section>\n'


def counted(found: Derivation) -> str:
    """Say how many operations were recorded, and how many are left."""
    left = f"{len(found.result.nodes)} in this form" if found.shorter else "no shorter form found"
    return f"{len(found.recorded.nodes)} operations recorded, {left}"


def formulas(found: Derivation) -> str:
    """Write results, definitions and notes in MathML and words."""
    shown = found.page
    where = "".join(f.mathml() for f in shown.definitions)
    notes = "; ".join((*shown.notes, *(r for r in shown.remarks if r != NO_SHORTER)))
    parts = [
        "".join(f.mathml() for f in shown.results),
        f"<p>where</p>{where}" if where else "",
        f'<p class="quiet">{escape(notes)}</p>' if notes else "",
    ]
    return f'<div class="formulas">\n{"".join(parts)}\n</div>\n'


def _counted(count: int) -> str:
    return "The step" if count == 1 else f"The {count} steps"


def steps(found: Derivation) -> str:
    """Write the steps as a table."""
    rows = "".join(
        f"<tr><td>{escape(s.rule)}{_place(s.where)}</td><td><code>{escape(s.before)}</code></td>"
        f"<td><code>{escape(s.after)}</code></td></tr>\n"
        for s in found.steps
    )
    head = "<tr><th>law</th><th>before</th><th>after</th></tr>"
    return (
        f'<div class="wide"><table>\n<thead>{head}</thead>\n<tbody>\n{rows}</tbody></table></div>'
    )


def _place(where: str) -> str:
    """Say which operation a step began at, without the file: the code stands above."""
    operation = where.partition(" at ")[0]
    return f'<br/><span class="quiet">{escape(operation)}</span>' if operation else ""


def _folded(summary: str, content: str, state: str = "") -> str:
    return f"<details{state}>\n<summary>{escape(summary)}</summary>\n{content}\n</details>\n"


def _code(text: str) -> str:
    return f"<pre><code>{escape(text.strip())}</code></pre>\n"


def _pictures(found: Derivation) -> str:
    """Draw what was recorded beside what came out."""
    both = (("recorded", found.recorded), ("result", found.result))
    figures = "".join(_figure(*each) for each in both)
    return _folded(
        "The graph, before and after", f'<div class="pair">\n{figures}</div>', ' open=""'
    )


def _figure(name: str, trace: Trace) -> str:
    caption = f"{name}: {len(trace.nodes)} operations"
    return (
        f'<figure>\n<figcaption>{caption}</figcaption>\n<div class="picture">{picture(trace)}</div>'
        "\n</figure>\n"
    )


def picture(trace: Trace, **options: Any) -> str:
    """Draw a trace as SVG to stand in a page."""
    return inline(graph(trace, **{"backward": "none", "values": False, **options}).source)
