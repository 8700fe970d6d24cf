"""Files that are written whole or not at all."""

import os
import stat
import sys
from pathlib import Path

import pytest

import tinygrad_bn as tg
from tinygrad_bn import viz
from tinygrad_bn.viz import files

posix = pytest.mark.skipif(os.name == "nt", reason="modes and links are those of POSIX")


def drawing(path):
    """Draw something into a file."""
    return viz.render(tg.Tensor([1.0], name="x"), path, values=False)


def page(path):
    """Write a page, of which the contents do not matter here."""
    return viz.explore(tg.Tensor([1.0], name="x"), path)


@pytest.fixture
def kinds(monkeypatch):
    """Return what writes, with the suffix of its files."""
    module = sys.modules["tinygrad_bn.viz.page.explore"]
    monkeypatch.setattr(module, "page_html", lambda *_, **__: "n0 a page")
    return [(drawing, ".txt"), (page, ".html")]


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_drawings_and_pages_are_written_with_their_folders(tmp_path, kinds):
    for write, suffix in kinds:
        path = tmp_path / "new" / "er" / f"a{suffix}"
        assert write(path) == path
        assert path.read_text(encoding="utf-8").startswith("n0 ")
    assert everything(tmp_path / "new") == ["er", "er/a.html", "er/a.txt"]


@posix
def test_a_file_that_is_there_keeps_its_mode_and_a_new_one_has_the_usual(tmp_path, kinds):
    usual = tmp_path / "usual"
    usual.touch()
    for write, suffix in kinds:
        path = tmp_path / f"a{suffix}"
        write(path)
        assert path.stat().st_mode == usual.stat().st_mode
        path.chmod(0o640)
        path.write_text("old", encoding="utf-8")
        write(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert path.read_text(encoding="utf-8").startswith("n0 ")


@posix
def test_a_link_stays_one(tmp_path, kinds):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for write, suffix in kinds:
        for there in (True, False):
            target = folder / f"{there}{suffix}"
            if there:
                target.write_text("old", encoding="utf-8")
            link = tmp_path / f"link-{there}{suffix}"
            link.symlink_to(Path("elsewhere") / target.name)
            assert write(link) == link
            assert link.is_symlink()
            assert target.read_text(encoding="utf-8").startswith("n0 ")
    assert len(everything(folder)) == 4


def test_a_long_name_is_written_where_the_system_takes_it(tmp_path, kinds):
    for write, suffix in kinds:
        path = tmp_path / ("a" * (250 - len(suffix)) + suffix)
        assert write(path).exists()


def failing(monkeypatch, method, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(Path, method, fails)


FIX = "Name a file in a folder that you may write to."


@pytest.mark.parametrize("method", ["write_bytes", "replace", "mkdir"])
def test_what_cannot_be_written_leaves_everything_as_it_was(tmp_path, kinds, monkeypatch, method):
    for _, suffix in kinds:
        (tmp_path / f"old{suffix}").write_text("old", encoding="utf-8")
    before = everything(tmp_path)
    failing(monkeypatch, method, PermissionError(13, "Permission denied"))
    for write, suffix in kinds:
        for path in (tmp_path / f"old{suffix}", tmp_path / "new" / "er" / f"a{suffix}"):
            with pytest.raises(viz.RenderError) as caught:
                write(path)
            assert caught.value.what == f"{path} could not be written: Permission denied."
            assert caught.value.fix == FIX
    assert everything(tmp_path) == before
    assert {path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {"old"}


def test_what_stands_in_the_way_is_told(tmp_path, kinds):
    file = tmp_path / "file"
    file.touch()
    for write, suffix in kinds:
        folder, loop = tmp_path / f"folder{suffix}", tmp_path / f"loop{suffix}"
        folder.mkdir()
        cases = {
            file / f"a{suffix}": "a folder of its path is a file",
            file / "folder" / f"a{suffix}": "a folder of its path is a file",
            folder: "Is a directory",
            tmp_path / ("a" * 300 + suffix): "File name too long",
        }
        if os.name != "nt":
            loop.symlink_to(loop)
            cases[loop] = "Too many levels of symbolic links"
        for path, reason in cases.items():
            with pytest.raises(viz.RenderError) as caught:
                write(path)
            assert caught.value.what == f"{path} could not be written: {reason}."
            assert caught.value.fix == FIX
    assert everything(tmp_path) == [
        "file",
        "folder.html",
        "folder.txt",
        "loop.html",
        "loop.txt",
    ]


@posix
@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_written_to_is_told(tmp_path, kinds):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    for write, suffix in kinds:
        with pytest.raises(viz.RenderError, match="could not be written: Permission denied"):
            write(closed / f"a{suffix}")


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    failing(monkeypatch, "replace", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "a.txt", b"text")
    assert everything(tmp_path) == []
