"""Mermaid flowcharts: the golden text, what each line says, hostile names, sizes."""

import contextlib
import html
import os
import re
from pathlib import Path

import numpy as np
import pytest
from test_viz import (
    HOSTILE,
    REWRITE,
    chain,
    classified,
    hostile,
    layered,
    normalised,
    normalised_loss as loss_of_batch_norm,
)

import tinygrad_bn as tg
from tinygrad_bn import viz
from tinygrad_bn.errors import DTypeError
from tinygrad_bn.viz import style
from tinygrad_bn.viz.labels import clean
from tinygrad_bn.viz.mermaid import mermaid
from tinygrad_bn.viz.reading import diagram
from tinygrad_bn.viz.subject import subject_of

GOLDEN = Path(__file__).parent / "golden" / "batch_norm.mmd"
TEXT = r'"((?:#\d+;|[^"#\n&<>`%]|<br/>)+)"'
SHAPES = {
    ("[", "]"): "parameter",
    ("[/", "/]"): "input",
    ("{{", "}}"): "constant",
    ("([", "])"): "seed",
    ("[[", "]]"): "scope",
}
NODE = re.compile(rf"(n\d+)([\[({{/]+){TEXT}([\])}}/]+)")
FRAME = re.compile(rf"subgraph (s\d+)\[{TEXT}\]")
EDGE = re.compile(r'(n\d+) (-->|-\.->)(?:\|"(\w)"\|)? (n\d+)')
CLASS = re.compile(r"classDef (\w+) ((?:[a-z-]+:[#\w ]+,?)+)")
MEMBERS = re.compile(r"class ((?:[ns]\d+,?)+) (\w+)")
LINKS = re.compile(r"linkStyle ([\d,]+) stroke:(#\w{6})")


def drawn(obj, backward="annotate", **options):
    return diagram(subject_of(obj, backward), values=True, **options)


class Read:
    """A flowchart, read line by line; a line that is none of those known is an error."""

    def __init__(self, text):
        self.nodes, self.inside, self.frames, self.edges = {}, {}, {}, []
        self.classes, self.styles, self.links = {}, {}, {}
        first, second, *lines = text.splitlines()
        assert (first[:2], second) == ("%%", "flowchart TB")
        stack = []
        for line in map(str.strip, lines):
            if line == "end":
                stack.pop()
            elif found := NODE.fullmatch(line):
                name, opening, label, closing = found.groups()
                self.nodes[name] = (SHAPES.get((opening, closing), "rounded"), self.shown(label))
                self.inside[name] = tuple(stack)
            elif found := FRAME.fullmatch(line):
                self.frames[found[1]] = self.shown(found[2])
                stack.append(found[1])
            elif found := EDGE.fullmatch(line):
                self.edges.append((found[1], found[4], found[3] or "", found[2] == "-.->"))
            elif found := CLASS.fullmatch(line):
                self.styles[found[1]] = found[2]
            elif found := LINKS.fullmatch(line):
                self.links |= dict.fromkeys(map(int, found[1].split(",")), found[2])
            else:
                names, title = MEMBERS.fullmatch(line).groups()
                for name in names.split(","):
                    self.classes.setdefault(name, []).append(title)
        assert stack == []

    @staticmethod
    def shown(label):
        """Say what is seen of a label: a line of text for each of its lines."""
        lines = label.replace("<br/>", "\n").replace("#8203;", "")
        return html.unescape(re.sub(r"#(\d+);", r"&#\1;", lines))


def read(obj, backward="annotate", **options):
    return Read(mermaid(drawn(obj, backward, **options)))


def test_the_flowchart_is_the_golden_one():
    text = mermaid(drawn(normalised()))
    if os.environ.get(REWRITE) == "1":
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8"), f"set {REWRITE}=1 to rewrite, then look"


@pytest.mark.parametrize(
    ("obj", "backward", "depth"),
    [
        (normalised, "annotate", None),
        (loss_of_batch_norm, "ops", None),
        (loss_of_batch_norm, "rules", None),
        (classified, "annotate", None),
        (layered, "ops", None),
        (layered, "ops", 0),
        (layered, "ops", 1),
    ],
)
def test_cards_edges_and_nested_frames_are_those_of_the_diagram(obj, backward, depth):
    made = obj()
    expected, found = drawn(made, backward, depth=depth), read(made, backward, depth=depth)
    kinds = {c.number: c.kind if c.kind in SHAPES.values() else "rounded" for c in expected.cards}
    assert {f"n{number}": kind for number, kind in kinds.items()} == {
        name: kind for name, (kind, _) in found.nodes.items()
    }
    assert found.edges == [
        (f"n{e.source}", f"n{e.target}", e.mark, e.saved) for e in expected.edges
    ]
    for number, frames in expected.frames().items():
        inside = [found.frames[name] for name in found.inside[f"n{number}"]]
        assert inside == [frame.name for frame in frames]


def test_a_card_tells_what_it_does_its_name_shape_value_and_gradient():
    x = tg.Tensor([1.0, 3.0], requires_grad=True, name="x")
    with tg.scope("s"):
        y = x * 2 + 1
    loss = tg.sum(y)
    loss.name = "loss"
    labels = [label for _, label in read(loss).nodes.values()]
    assert labels == [
        "θ x (2)\nmean 2, std 1\n∂ mean 2, std 0",
        "× 2 (2)\nmean 4, std 2\n∂ mean 1, std 0",
        "+ 1 → y (2)\nmean 5, std 2\n∂ mean 1, std 0",
        "Σ → loss (scalar)\n10\n∂ 1",
    ]
    assert [label for _, label in read(loss, depth=0).nodes.values()][1] == (
        "s (2)\n2 ops → y\nmean 5, std 2\n∂ mean 1, std 0"
    )


def test_colours_are_those_of_the_visual_language():
    found, cards = read(layered(), "ops"), drawn(layered(), "ops").cards
    for card in cards:
        fill, border, _ = style.colours(card)
        chosen = found.styles[found.classes[f"n{card.number}"][0]]
        assert chosen.startswith(f"fill:{fill},stroke:{border},color:{style.INK}")
    frames = {tuple(found.classes[name]) for name in found.frames}
    assert frames == {(f"{side}{d}",) for side in ("frame", "gradient_frame") for d in (1, 2, 3)}
    assert set(found.links) == set(range(len(found.edges)))
    for place, (_, target, _, saved) in enumerate(found.edges):
        side = style.BACKWARD if cards[int(target[1:])].level else style.FORWARD
        assert found.links[place] == (style.SAVED if saved else side)


@pytest.mark.parametrize("backward", ["rules", "ops"])
def test_a_gradient_is_told_by_dashes_and_a_sign_too(backward):
    loss = loss_of_batch_norm()
    found, cards = read(loss, backward), drawn(loss, backward).cards
    for card in cards:
        name = f"n{card.number}"
        dashed = "stroke-dasharray" in found.styles[found.classes[name][0]]
        signed = "∂" in found.nodes[name][1].split("\n")[0]
        assert dashed == signed == bool(card.level)
    for name, title in found.frames.items():
        assert ("dash" in found.styles[found.classes[name][0]]) == title.startswith("∂ ")


def test_results_and_alarms_have_classes_of_their_own():
    x = tg.Tensor([np.nan, 1.0], requires_grad=True, name="x")
    found = read(x * tg.Tensor([0.0, 1.0], name="mask"))
    assert found.classes == {
        "n0": ["parameter", "alarm"],
        "n1": ["input"],
        "n2": ["elementwise", "result", "alarm"],
    }
    assert set(found.styles) == {"parameter", "input", "elementwise", "result", "alarm"}
    assert read(tg.exp(tg.Tensor([1.0], requires_grad=True))).classes["n1"] == ["unary", "result"]


EVIL = [
    "end", "%% comment", "%%{init: {}}%%", 'a"] --> b["', "`**bold**`", "#quot;#60;", "fa:fa-car x",
    "$$x^2$$", "1. one", "- list", "> quote", "_it_ *b*", "a\\nb", "ﬂ°°60¶ß", "javascript:alert(1)",
    "click n0 href", "<br/>", ":::class", "n0@{ shape: circle }", "subgraph", "http://a.b", "&amp;",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE + EVIL)
def test_hostile_names_are_shown_as_text(name):
    for depth in (None, 0):
        found = read(hostile(name), "ops", depth=depth)
        expected = drawn(hostile(name), "ops", depth=depth)
        assert len(found.nodes) == len(expected.cards)
        for card in expected.cards:
            assert card.name in found.nodes[f"n{card.number}"][1]
        assert all(title in (clean(name) or "scope", f"∂ {clean(name) or 'scope'}")
                   for title in found.frames.values())  # fmt: skip


def test_no_markdown_icon_or_escape_is_left_in_a_label():
    x = tg.Tensor([1.0], requires_grad=True, name="a_b-c.d _e_ 1. f:g ﬂ & 2e+03")
    (label,) = re.findall(r'n0\["(.*?) \(1\)', mermaid(drawn(x)))
    assert label == "θ a_b-c.d #95;e#95; 1#46; f#58;#8203;g #64258;#8203; #38; 2e+03"


def test_render_writes_it_under_its_suffix(tmp_path):
    y = normalised()
    path = viz.render(y, tmp_path / "bn.mmd", depth=0, values=False)
    text = path.read_text(encoding="utf-8")
    assert text == mermaid(diagram(subject_of(y, "annotate"), depth=0, values=False))
    with pytest.raises(DTypeError) as caught:
        viz.render(viz.graph(y), tmp_path / "other.mmd")
    assert caught.value.what == (
        "render of a Digraph with the suffix .mmd: that is read from the recorded graph."
    )
    with pytest.raises(DTypeError) as caught:
        viz.render(y, tmp_path / "other.mmd", legend=True)
    assert caught.value.what == "render to .mmd with legend: it has none."
    assert not (tmp_path / "other.mmd").exists()


def test_too_many_nodes_are_refused_as_in_a_picture(tmp_path):
    with tg.scope("chain"):
        _, y = chain(600)
    with pytest.raises(viz.RenderError) as caught:
        viz.render(y, tmp_path / "a.mmd")
    assert caught.value.what == "The graph has 601 nodes; at most 400 are drawn."
    with pytest.raises(viz.RenderError) as caught:
        viz.render(y, tmp_path / "a.mmd", max_nodes=1000, values=False)
    assert re.fullmatch(
        r"The flowchart has 600 edges and \d{5} characters; Mermaid draws at most 500 and 50000\.",
        caught.value.what,
    )
    assert caught.value.fix == 'Draw fewer nodes with depth=, or render with the suffix ".svg".'
    assert not list(tmp_path.iterdir())


def test_a_flowchart_of_too_much_text_is_refused(monkeypatch):
    found = drawn(normalised())
    monkeypatch.setattr("tinygrad_bn.viz.mermaid.CHARACTERS", len(mermaid(found)))
    monkeypatch.setattr("tinygrad_bn.viz.mermaid.EDGES", len(found.edges))
    size = len(mermaid(found))
    monkeypatch.setattr("tinygrad_bn.viz.mermaid.CHARACTERS", size - 1)
    with pytest.raises(viz.RenderError, match=f"The flowchart has 17 edges and {size} characters"):
        mermaid(found)


def test_deep_and_long_graphs_are_read_without_recursion(tmp_path):
    y = tg.Tensor(1.0, requires_grad=True, name="x")
    with contextlib.ExitStack() as scopes:
        for i in range(2000):
            scopes.enter_context(tg.scope(f"s{i}"))
            y = tg.sin(y)
    path = viz.render(y, tmp_path / "a.mmd", depth=250, values=False, backward="none")
    assert len(Read(path.read_text(encoding="utf-8")).frames) == 250
    with tg.scope("chain"):
        _, y = chain(100_000)
    path = viz.render(y, tmp_path / "b.mmd", depth=0, values=False, backward="none")
    assert Read(path.read_text(encoding="utf-8")).nodes["n1"][1] == "chain (scalar)\n100000 ops → y"


def test_a_difference_tells_in_words_what_became_of_a_card(tmp_path):
    z = np.ones((2, 3))
    between = viz.diff(tg.trace(tg.softmax, z), tg.trace(tg.log_softmax, z))
    text = viz.render(between, tmp_path / "diff.mmd", values=False).read_text(encoding="utf-8")
    assert '"− removed#58;#8203; ÷ (2×3)"' in text
    assert '"#43; added#58;#8203; log (2×1)"' in text
    assert "class n9,n10 added" in text
