"""README and docs: every block of code runs, every printed text is what is printed, links lead.

A ``python`` block runs as code, or as examples if it starts with ``>>>``. A ``text`` block right
behind a block of code states what that code prints.
"""

import contextlib
import gc
import io
import os
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import test_footguns
from sybil import Document
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

import tinygrad_bn as tg
from tinygrad_bn.graph import namespaces, primitive
from tinygrad_bn.viz import engines

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
documents = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
INTERNAL = ("index_max", "index_min")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@contextlib.contextmanager
def collecting():
    """Turn the garbage collector on again: a page that turns it off may fail before its end."""
    try:
        yield
    finally:
        gc.enable()


def run(example):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        PythonEvaluator()(example)
    example.namespace["_printed"] = printed.getvalue()


def compare(example):
    assert example.parsed.strip() == example.namespace["_printed"].strip(), (
        f"{example.path}:{example.line} states another text than the code above it prints"
    )


def parsers():
    python = PythonCodeBlockParser()
    python.codeblock_parser = CodeBlockParser("python", run)
    return python, CodeBlockParser("text", compare)


@documents
def test_every_block_of_code_in_a_document_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with test_footguns.restored(), collecting():
        for example in Document.parse(str(path), *parsers()):
            example.evaluate()
    compare_pictures(tmp_path / "pictures")


def compare_pictures(drawn):
    """Pictures that a document draws into a folder of that name are those that it shows."""
    if engines._bundled() is None:
        pytest.skip("the bytes of pictures are those of the bundled layout engine")
    for path in sorted(drawn.glob("*.svg")):
        kept = ROOT / "docs" / "pictures" / path.name
        if os.environ.get("TINYGRAD_BN_REWRITE_GOLDEN"):
            kept.write_bytes(path.read_bytes())
        assert kept.read_bytes() == path.read_bytes(), f"{path.name} is drawn otherwise"


@pytest.mark.parametrize("wrong", ["assert 1 == 2", ">>> 1 + 1\n3"])
def test_a_wrong_block_fails(wrong, tmp_path):
    path = tmp_path / "wrong.md"
    path.write_text(f"```python\n{wrong}\n```\n")
    (example,) = Document.parse(str(path), *parsers())
    with pytest.raises(AssertionError):
        example.evaluate()


def test_a_wrong_output_fails(tmp_path):
    path = tmp_path / "wrong.md"
    path.write_text("```python\nprint(1)\n```\n\n```text\n2\n```\n")
    code, output = Document.parse(str(path), *parsers())
    code.evaluate()
    with pytest.raises(AssertionError, match="states another text"):
        output.evaluate()


def test_the_rows_of_a_document_are_gone_afterwards():
    assert "softplus_inverse" not in primitive.table
    assert not hasattr(namespaces.tensors, "softplus_inverse")


def anchor(heading):
    """The anchor that a heading gets on the web: its words in lower case, joined by hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def headings(path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


@documents
def test_every_relative_link_leads_to_a_file_and_a_heading(path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", link):
            continue
        name, _, fragment = link.partition("#")
        target = (path.parent / name) if name else path
        assert target.exists(), f"{path.name}: {link}"
        if fragment:
            assert fragment in map(anchor, headings(target)), f"{path.name}: {link}"


@documents
def test_every_file_that_a_document_names_exists(path):
    named = r"(?<![\w/.])((?:docs|tests|demos|benchmarks|tinygrad_bn)/[\w./-]*\w)"
    for name in re.findall(named, path.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), f"{path.name} names {name}"


@documents
def test_every_name_of_the_package_that_a_document_uses_exists(path):
    text = path.read_text(encoding="utf-8")
    own_rows = set(re.findall(r"^def (\w+)", text, re.MULTILINE))
    for dotted in set(re.findall(r"\btg\.([a-zA-Z_][\w.]*\w|\w)", text)) - own_rows:
        found = tg
        for part in dotted.split("."):
            assert hasattr(found, part), f"{path.name}: tg.{dotted}"
            found = getattr(found, part)
            if not (isinstance(found, type) or type(found).__name__ == "module"):
                break


def test_ten_minutes_has_at_most_160_lines():
    assert len((ROOT / "docs/ten-minutes.md").read_text(encoding="utf-8").splitlines()) <= 160


def test_every_footgun_has_a_test_of_its_name_and_every_such_test_an_entry():
    entries = headings(ROOT / "docs/footguns.md")[1:]
    wanted = ["test_" + re.sub(r"\W+", "_", entry.lower()).strip("_") for entry in entries]
    given = [name for name in vars(test_footguns) if name.startswith("test_")]
    assert wanted == given


def rows_of(heading):
    """The cells of the table below a heading of the conventions."""
    text = (ROOT / "docs/conventions.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def slope_of(cell, at):
    expression = re.match(r"`(.+?)`", cell).group(1)
    with np.errstate(all="ignore"):
        function = eval(f"lambda x: {expression}", {"tg": tg})  # noqa: S307  (our own text)
        return tg.grad(function)(at).item()


def number(cell):
    return float(Fraction(cell)) if "/" in cell else float(cell)


@pytest.mark.parametrize("row", rows_of("Kinks"), ids=lambda row: f"{row[0]} at {row[1]}")
def test_a_kink_has_the_stated_gradient_between_the_one_sided_ones(row):
    cell, (at, left, right, stated) = row[0], map(number, row[1:])
    step = 2.0**-30
    # The slopes beside a kink are off by the curvature (below 10) times the step.
    assert slope_of(cell, at - step) == pytest.approx(left, abs=10 * step)
    assert slope_of(cell, at + step) == pytest.approx(right, abs=10 * step)
    assert slope_of(cell, at) == stated
    assert min(left, right) <= stated <= max(left, right)


@pytest.mark.parametrize("row", rows_of("Singularities"), ids=lambda row: row[0])
def test_a_singularity_has_the_stated_gradient(row):
    np.testing.assert_equal(slope_of(row[0], number(row[1])), number(row[2]))


def test_the_conventions_name_every_primitive_with_a_kink_or_singularity():
    text = (ROOT / "docs/conventions.md").read_text(encoding="utf-8")
    ours = [op for op in primitive.table.values() if hasattr(tg, op.name) or op.name in INTERNAL]
    special = [op.name for op in ours if op.margin and op.differentiable]
    missing = [name for name in special if not re.search(rf"`(tg\.)?{name}\b", text)]
    assert not missing
