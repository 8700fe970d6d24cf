"""The demo that derives: its numbers, and its page."""

import re
from xml.etree import ElementTree as ET

import pytest
import test_demos
import test_viz_browser

from closed_forms import TARGETS

SVG = "{http://www.w3.org/2000/svg}svg"
CHILDREN = {"mfrac": 2, "msup": 2, "msub": 2, "mover": 2}
"""How many parts an element of MathML has; a browser draws what has another number wrongly."""


@pytest.fixture(scope="module")
def demo():
    return test_demos.load("12_derive")


@pytest.fixture(scope="module")
def run(demo, tmp_path_factory):
    out = tmp_path_factory.mktemp("12")
    numbers = demo.main(["--fast", "--out", str(out), "--seed", "1"])
    return numbers, out / "12_derive" / "derivations.html"


@pytest.fixture(scope="module")
def page(run):
    return run[1].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tree(page):
    return ET.fromstring(page.partition("\n")[2])  # noqa: S314  (our own)


def sections(tree):
    return {section.get("id"): section for section in tree.iter("section")}


def test_every_derivation_is_checked_and_most_are_proved(run):
    numbers, _ = run
    assert list(numbers) == [t.name for t in TARGETS]
    share = "share of the error of finite differences"
    assert 0 < max(n[share] for n in numbers.values()) <= 1
    verdicts = {name: n["verdict"] for name, n in numbers.items()}
    given = {"soft_cross_entropy", "naive_cross_entropy"}
    assert {n for n, v in verdicts.items() if v == "tested only"} == given
    assert {n for n, v in verdicts.items() if v == "wrong"} == set()


def test_the_numbers_are_those_of_the_graphs(run):
    numbers, _ = run
    for target in TARGETS:
        found, told = target.derive(1), numbers[target.name]
        assert told["before"] == len(found.recorded.nodes)
        assert told["after"] == len(found.result.nodes)
        assert told["steps"] == len(found.steps)
        assert (told["after"] < told["before"]) or not target.closed
    assert numbers["biased"]["after"] == 1
    assert numbers["batch_norm"]["formulas"]["beta"] == "sum(g)"


def test_a_line_is_printed_for_each(demo, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "TARGETS", TARGETS[4:6])
    numbers = demo.main(["--fast", "--out", str(tmp_path)])
    *lines, last = capsys.readouterr().out.splitlines()
    assert list(numbers) == ["logsumexp", "softmax"]
    told = numbers["softmax"]
    assert re.fullmatch(
        rf"Softmax +{told['before']} -> {told['after']} +{told['steps']} steps  proved by rules "
        r"s\*\(g - sum\(g\*s\)\)",
        lines[1],
    )
    assert last.startswith("2 derivations in ")


def test_every_formula_source_and_law_stands_on_the_page(tree):
    written = sections(tree)
    assert list(written) == [t.name for t in TARGETS]
    for target in TARGETS:
        found, section = target.derive(1), written[target.name]
        code = ["".join(c.itertext()) for c in section.findall(".//pre/code")]
        assert code[0] == f"{target.source}\n\n{target.call}"
        descent = "\n".join(map(str, found.descent()))
        written_out = (descent, str(found), found.program(), found.latex())
        assert code[1:] == [text.strip() for text in written_out]
        rows = section.findall(".//tbody/tr")
        assert [r.findtext("td") for r in rows] == [s.rule for s in found.steps]
        assert section.findtext("p") == target.why


def test_formulas_are_mathml_and_definitions_stand_below(tree):
    for target in TARGETS:
        found = target.derive(1).page
        formulas = sections(tree)[target.name].find("div[@class='formulas']")
        assert len(formulas.findall("math")) == len(found.results) + len(found.definitions)
        notes = formulas.findall("p")[-1].text if found.notes else ""
        assert notes == "; ".join(found.notes)


def test_every_element_of_mathml_has_its_parts(tree):
    wrong = {e.tag for e in tree.iter() if e.tag in CHILDREN and len(e) != CHILDREN[e.tag]}
    assert wrong == set()
    assert {e.tag for e in tree.iter()} >= CHILDREN.keys()


def test_contents_lead_to_every_section(tree):
    links = [a.get("href") for a in tree.iterfind(".//nav//a")]
    assert links == [f"#{name}" for name in sections(tree)]


def test_graphs_before_and_after_are_drawn(tree):
    for target in TARGETS:
        drawn = list(sections(tree)[target.name].iter(SVG))
        assert len(drawn) == 2 * target.pictured
    ids = [e.get("id") for e in tree.iter() if e.get("id")]
    assert len(ids) == len(set(ids))


def test_the_page_stands_alone(page):
    assert not re.search(r"""(?:src|href)="(?!#|data:)""", page)
    assert not re.search(r"<script|@import|url\(|<link(?! rel=\"icon\" href=\"data:)", page)


def test_without_fast_all_graphs_are_drawn(demo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "TARGETS", TARGETS[8:10])
    demo.main(["--out", str(tmp_path)])
    page = (tmp_path / "12_derive" / "derivations.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 4
    assert "checked on 20 random inputs" in page
    assert "2 derivations" in capsys.readouterr().out


# in a browser ------------------------------------------------------------------------------------

browser = test_viz_browser.browser


@pytest.fixture(scope="module", params=["light", "dark"])
def shown(request, run, browser):
    """The page in a browser, with all that is folded unfolded."""
    opened = browser.new_page(color_scheme=request.param)
    heard = []
    opened.on("console", lambda message: heard.append(message.text))
    opened.on("request", lambda asked: heard.append(asked.url))
    opened.goto(run[1].as_uri())
    opened.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    yield opened, heard
    opened.close()


@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_is_as_wide_as_the_window(shown, run, width):
    opened, heard = shown
    opened.set_viewport_size({"width": width, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") == width
    beside = "[...document.querySelectorAll('.pair')].map(p => p.children).filter(([a, b]) => "
    beside += "a.getBoundingClientRect().top === b.getBoundingClientRect().top).length"
    assert opened.evaluate(beside) == (0 if width == 400 else sum(t.pictured for t in TARGETS))
    assert heard == [run[1].as_uri()]


def test_a_fraction_is_drawn_as_one(shown):
    opened, _ = shown
    above, below = (
        opened.evaluate(f"document.querySelector('mfrac').children[{i}].getBoundingClientRect().y")
        for i in (0, 1)
    )
    assert above + 5 < below


def test_ink_and_paper_are_told_apart(shown):
    opened, _ = shown
    style = "getComputedStyle(document.body)"
    colours = [opened.evaluate(f"{style}.{part}") for part in ("color", "backgroundColor")]
    light, dark = sorted(sum(map(int, re.findall(r"\d+", c)[:3])) for c in colours)[::-1]
    assert light - dark > 500
