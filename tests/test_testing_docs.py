"""The page on testing gradients: its reports, sessions, tables and pictures are current.

What a machine's last digits may change stands in blocks of ``output`` and ``console``, and is
compared number by number; blocks of ``py`` run where their packages are. With the variable
TINYGRAD_BN_REWRITE_GOLDEN the reports, generated tables and pictures are written anew.
"""

import contextlib
import hashlib
import importlib.util
import inspect
import io
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import test_demos
import test_docs
import test_footguns
import test_house
from sybil import Document
from sybil.parsers.markdown import CodeBlockParser

import tinygrad_bn as tg
from tinygrad_bn.testing import adapters, check_gradients, check_rule, mutants
from tinygrad_bn.testing.checking.subjects import EXTENDED
from tinygrad_bn.testing.generators.values import KINDS, palette
from tinygrad_bn.viz import engines

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "testing-gradients.md"
PICTURES = ROOT / "docs" / "pictures"
REWRITE = os.environ.get("TINYGRAD_BN_REWRITE_GOLDEN")
HINT = "If that is right, write it anew with TINYGRAD_BN_REWRITE_GOLDEN=1."
NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.?\d*(?:e[-+]?\d+)?|inf|nan)(?![\w.]*\w)")


def text():
    return PAGE.read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text(), re.MULTILINE | re.DOTALL)


def bare(said):
    """A text without the folders of files, and without space at the ends of lines."""
    said = re.sub(r"[^\s(]*[/\\]([\w-]+\.(?:md|py):\d+)", r"\1", said)
    return "\n".join(line.rstrip() for line in said.rstrip().splitlines())


def same(stated, found):
    """Whether two lines are the same but for the last digits of their numbers."""
    if NUMBER.sub("#", stated) != NUMBER.sub("#", found):
        return False
    pairs = zip(NUMBER.findall(stated), NUMBER.findall(found), strict=True)
    return all(math.isclose(float(a), float(b), rel_tol=1e-6, abs_tol=1e-6) for a, b in pairs)


# reports ------------------------------------------------------------------------------------------


def run_page(folder):
    """Run the page in a folder; returns what is stated and what is printed, report by report."""
    found = []

    def collect(example):
        found.append((bare(example.parsed), bare(example.namespace["_printed"])))

    parsers = (*test_docs.parsers(), CodeBlockParser("output", collect))
    with contextlib.chdir(folder), test_footguns.restored(), test_docs.collecting():
        for example in Document.parse(str(PAGE), *parsers):
            example.evaluate()
    return found


def rewrite_reports(found):
    printed = iter(found)
    again = re.sub(
        r"^```output\n.*?^```$",
        lambda _: f"```output\n{next(printed)[1]}\n```",
        text(),
        flags=re.MULTILINE | re.DOTALL,
    )
    PAGE.write_text(again, encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the page prints, and the folder into which it has drawn."""
    folder = tmp_path_factory.mktemp("page")
    found = run_page(folder)
    while REWRITE and any(stated != printed for stated, printed in found):
        rewrite_reports(found)  # that moves the lines which reports name
        found = run_page(folder)
    return found, folder


def test_the_page_prints_the_reports_that_it_shows(page):
    found, _ = page
    assert len(found) == len(blocks("output")) > 4
    for stated, printed in found:
        assert stated, HINT
        lines = list(zip(stated.splitlines(), printed.splitlines(), strict=EXTENDED))
        # without long double other error bars choose another worst direction
        for a, b in lines if EXTENDED else lines[:1]:
            assert same(a, b), f"{PAGE.name} states\n{a}\nand prints\n{b}\n{HINT}"


def test_a_line_with_other_digits_is_another_line():
    line = "  claimed 1.25 ± 1.0e-15 (3 ok) at page.md:3"
    assert same(line, line.replace("1.25", "1.2500001").replace("1.0e-15", "3.0e-12"))
    for old, new in (("1.25", "1.26"), ("3 ok", "4 ok"), ("page", "other"), ("1.25", "nan")):
        assert not same(line, line.replace(old, new)), (old, new)


# pictures -----------------------------------------------------------------------------------------


@pytest.mark.skipif(
    engines._bundled() is None,
    reason="the bytes are those of the bundled layout engine",
)
def test_the_pictures_are_what_the_page_draws(page):
    _, folder = page
    drawn = sorted(folder.glob("*.svg"))
    assert len(drawn) == 6
    for path in drawn:
        kept = PICTURES / path.name
        if REWRITE:
            kept.write_bytes(path.read_bytes())
        assert kept.read_bytes() == path.read_bytes(), f"{path.name}: {HINT}"


def steps_of_the_demo(demo, folder):
    """The demo's picture, and behind it a mark of the code that drew it.

    The bytes are those of one release of matplotlib; the mark is the same for all.
    """
    drawing = (demo.study, demo.draw_steps, demo.save, demo.forward, demo.backward_with, demo.batch)
    code = "".join(map(inspect.getsource, drawing))
    demo.draw_steps(demo.study(0), folder / "steps")
    drawn = (folder / "steps.svg").read_text(encoding="utf-8")
    return drawn, f"<!-- drawn by {hashlib.sha256(code.encode()).hexdigest()[:16]} -->\n"


def test_the_picture_of_steps_is_what_the_demo_draws(tmp_path):
    path = PICTURES / "steps.svg"
    drawn, mark = steps_of_the_demo(test_demos.load("02_check_gradients"), tmp_path)
    if REWRITE:
        path.write_text(drawn + mark, encoding="utf-8")
    kept = path.read_text(encoding="utf-8")
    assert kept.endswith(mark), f"steps.svg is older than the demo. {HINT}"
    words = re.compile(r"<text[^>]*>([^<]+)</text>")
    assert words.findall(drawn) == words.findall(kept)


def test_every_picture_is_shown_on_a_page():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert [p.name for p in PICTURES.iterdir() if f"pictures/{p.name})" not in shown] == []


# generated tables ---------------------------------------------------------------------------------


def section(name):
    return re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text(), re.DOTALL)


def compare_section(name, wanted):
    if REWRITE:
        start, end = section(name).span(1)
        PAGE.write_text(text()[:start] + wanted + text()[end:], encoding="utf-8")
    assert section(name).group(1) == wanted, HINT


def what_a_report_says(culprit):
    named = re.search(r"first wrong rule: (\w+)\(.*, for operand (\d)", culprit)
    if named:
        return f"rule of `{named[1]}`, operand {named[2]}"
    named = re.search(r"first wrong cotangent is that of (?:the argument|(\w+))", culprit)
    return f"cotangent of `{named[1]}`" if named[1] else "cotangent of the argument"


def gallery():
    lines = [
        "| exhibit | what is wrong, and where it is met | order | the report |",
        "|---|---|---|---|",
    ]
    for name, exhibit in mutants.GALLERY.items():
        with mutants.installed(exhibit.mutant):
            report = check_gradients(exhibit.function, *exhibit.arguments, order=exhibit.order)
            said = what_a_report_says(report.culprit)
        why = re.sub(r"``(.*?)``", r"`\1`", exhibit.mutant.why)
        lines.append(f"| {name} | {why} | {exhibit.order} | {said} |")
    return "\n".join(lines) + "\n"


def test_the_table_of_the_gallery_is_current():
    compare_section("gallery", gallery())


def benchmark():
    path = ROOT / "benchmarks" / "checker.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_the_checker", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_rows_is_current():
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert benchmark().rows()["right"]
    compare_section("rows", printed.getvalue())


@pytest.mark.parametrize("part", ["power", "calm"])
def test_the_figures_stand_below_their_command(part):
    section = text().split(f"python benchmarks/checker.py {part}")[1]
    table = section.split("\n\n")[1]
    assert table.startswith("| s")
    assert "| all | " in table
    assert "| caught |" in table or "| false alarms |" in table


def test_the_table_of_kinds_has_every_kind_with_what_it_shrinks_to():
    table = re.search(r"^\| kind \|.*?\n\n", text(), re.MULTILINE | re.DOTALL)[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\S+) \|$", table, re.MULTILINE)
    wanted = [(kind, palette(kind, np.dtype(np.float64))[0]) for kind in KINDS]
    assert [(k, float(eval(n.replace("^", "**")))) for k, n in rows] == wanted  # noqa: S307  (ours)


def test_the_page_names_every_strategy():
    names = test_house.ROOMS["testing.strategies"].split()
    assert [name for name in names if f"`{name}(" not in text()] == []


# sessions -----------------------------------------------------------------------------------------


def file_of(name):
    """The text of the file that a block of the page says it is."""
    (content,) = (b for kind in ("python", "py") for b in blocks(kind) if b.startswith(f"# {name}"))
    return content


def session(command, folder):
    """Run a command in a folder of its own; returns its status and output."""
    environment = {**os.environ, "CI": "1", "COLUMNS": "80", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(  # noqa: S603  (our own text)
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode, done.stdout


def assert_is_an_excerpt(stated, said):
    """The lines of an excerpt come in this order; of a line its beginning is enough."""
    lines = iter(bare(said).splitlines())
    for line in bare(stated).splitlines():
        if line != "...":
            assert any(same(line, found[: len(line)]) or same(line, found) for found in lines), line


@pytest.mark.skipif(not EXTENDED, reason="the digits are those of a check in long double")
def test_the_session_with_pytest_is_what_pytest_says(tmp_path):
    (tmp_path / "test_mine.py").write_text(file_of("test_mine.py"), encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    stated = next(b for b in blocks("console") if b.startswith("$ pytest"))
    command, stated = stated.split("\n", 1)
    status, said = session(command.split()[1:], tmp_path)
    assert status == 1
    said = said.replace("Falsifying example", "Failing test case")  # as older releases say
    assert_is_an_excerpt(stated, said)


@pytest.mark.skipif(not EXTENDED, reason="the digits are those of a check in long double")
def test_the_session_with_the_command_line_is_what_it_says(tmp_path):
    (tmp_path / "layers.py").write_text(file_of("layers.py"), encoding="utf-8")
    block = next(b for b in blocks("console") if b.startswith("$ tinygrad-bn"))
    command, stated, status = re.fullmatch(
        r"\$ (.*?)\n(.*)\n\$ echo \$\?\n(\d)\n", block, re.DOTALL
    ).groups()
    found, said = session(["tinygrad_bn", *command.split()[1:]], tmp_path)
    assert found == int(status)
    assert_is_an_excerpt(stated, said)


def test_an_excerpt_has_its_lines_in_order():
    said = "one\ntwo 2.0\nthree\n"
    assert_is_an_excerpt("one\n...\nthree\n", said)
    for wrong in ("two 2.0\none\n", "two 3.0\n", "four\n"):
        with pytest.raises(AssertionError):
            assert_is_an_excerpt(wrong, said)


FOREIGN = [block for block in blocks("py") if not block.startswith("# test_")]


@pytest.mark.parametrize("block", FOREIGN, ids=lambda block: block.split()[1])
def test_a_block_for_another_framework_runs_where_that_is_installed(block):
    for package in re.findall(r"^import (\w+)$", block, re.MULTILINE):
        pytest.importorskip(package)
    names = {"np": np, "tg": tg, "adapters": adapters, "check_rule": check_rule}
    exec(block, names)  # noqa: S102  (our own page)
