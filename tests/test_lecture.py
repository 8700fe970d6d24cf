"""The lecture as a whole: its tables are those of the runs, its chapters and pictures complete."""

import json
from pathlib import Path

import pytest

import claims
import lecture

DOCS = Path(claims.DOCS)
CHAPTERS = claims.chapters(DOCS)
STORED = claims.stored(DOCS)

DEMO = """
import sys
sys.path.insert(0, {demos!r})
import lecture


def claims(numbers):
    one = lecture.Claim("a | b", "a paper", "yes" if numbers["n"] > 0 else "no", "n = 1")
    return [one]


chosen = lecture.options("Try.", None, name="01_try")
figure, _ = lecture.axes()
lecture.save(figure, chosen.out, "shown")
figure, _ = lecture.axes()
lecture.save(figure, chosen.out, "other")
lecture.report({{"n": 1.0, "seed": chosen.seed}}, claims({{"n": 1.0}}), chosen.out)
"""


def test_every_demo_that_tests_claims_has_a_chapter_and_a_line_in_the_index():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert sorted(CHAPTERS) == claims.demos() == sorted(STORED)
    for name, page in CHAPTERS.items():
        assert f"]({page.name})" in index
        assert f"demos/{name}.py" in index


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_a_table_is_what_the_stored_claims_make(path):
    text = path.read_text(encoding="utf-8")
    assert claims.TABLE.search(text)
    assert claims.tables(text, STORED, CHAPTERS) == text


def test_the_pictures_are_those_that_are_shown():
    shown = {
        f"{demo}/{file}"
        for page in DOCS.glob("*.md")
        for demo, file in claims.PICTURE.findall(page.read_text(encoding="utf-8"))
    }
    kept = {p.relative_to(DOCS / "pictures").as_posix() for p in DOCS.glob("pictures/*/*")}
    assert shown == kept
    assert max(p.stat().st_size for p in DOCS.glob("pictures/*/*")) < 150_000


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder of demos with one small demo, and a lecture of one chapter."""
    (tmp_path / "01_try.py").write_text(DEMO.format(demos=str(claims.DEMOS)))
    (tmp_path / "02_silent.py").write_text("")
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("before\n<!-- claims -->\nold\n<!-- end -->\nafter\n")
    (docs / "one.md").write_text(
        "![it](pictures/01_try/shown.png)\n<!-- claims: 01_try -->\n<!-- end -->\n"
    )
    monkeypatch.setattr(claims, "DEMOS", tmp_path)
    monkeypatch.chdir(tmp_path)
    return docs


def test_one_command_runs_the_demos_and_writes_tables_and_pictures(small):
    claims.main(["--docs", str(small), "--seed", "3"])
    row = "| a \\| b | a paper | **yes** | n = 1 |"
    assert row in (small / "one.md").read_text()
    index = (small / "index.md").read_text()
    assert row.replace("b |", "b ([01](one.md)) |", 1) in index
    assert index.startswith("before\n")
    assert index.endswith("<!-- end -->\nafter\n")
    assert "old" not in index
    assert [p.name for p in small.glob("pictures/01_try/*")] == ["shown.png"]
    assert json.loads((small.parent / "out/01_try/numbers.json").read_text())["seed"] == 3
    written = index, (small / "claims.json").read_text()
    claims.main(["--docs", str(small), "--from", "out"])
    assert ((small / "index.md").read_text(), (small / "claims.json").read_text()) == written


def test_a_demo_that_fails_stops_the_command_and_the_pages_stay(small):
    (small.parent / "01_try.py").write_text("def claims(numbers): ...\nraise SystemExit(3)")
    before = (small / "index.md").read_text()
    with pytest.raises(claims.subprocess.CalledProcessError):
        claims.main(["--docs", str(small)])
    assert (small / "index.md").read_text() == before


def test_options_make_the_folder_and_refuse_what_they_do_not_know(tmp_path, capsys):
    chosen = lecture.options("What.", ["--out", str(tmp_path / "a/b"), "--fast"], name="x")
    assert chosen.fast
    assert chosen.seed == 0
    assert chosen.out == tmp_path / "a/b/x"
    assert chosen.out.is_dir()
    with pytest.raises(SystemExit):
        lecture.options("What.", ["--what"], name="x")
    assert "--what" in capsys.readouterr().err


def test_images_are_of_as_many_of_each_class():
    split = lecture.images(0, train=200, test=100)
    assert split.x.shape[1] == split.x_test.shape[1]
    assert 0 <= split.x.min() < split.x.max() <= 1
    if split.name == "Fashion-MNIST":
        counts = [labels.tolist().count(3) for labels in (split.y, split.y_test)]
        assert counts == [20, 10]
        assert split.x.shape == (200, 784)


def test_without_the_images_the_digits_take_their_place(monkeypatch, capsys):
    def nowhere():
        raise FileNotFoundError("Not here.")

    monkeypatch.setattr(lecture.tg.data, "load_fashion_mnist", nowhere)
    assert lecture.images(0, train=200).name == "digits"
    assert "Not here." in capsys.readouterr().out


def test_small_and_missing_runs_are_refused(small):
    claims.main(["--docs", str(small)])
    before = (small / "index.md").read_text()
    lecture.options("Try.", ["--fast"], name="01_try")
    with pytest.raises(SystemExit, match="is a small run"):
        claims.main(["--docs", str(small), "--from", "out"])
    with pytest.raises(SystemExit, match="has no claims: run demos"):
        claims.main(["--docs", str(small), "--from", "elsewhere"])
    assert (small / "index.md").read_text() == before
