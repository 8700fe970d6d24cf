"""The command line finds functions in files, whatever the files are called and do."""

import inspect
import pickle
import random
import subprocess
import sys
import textwrap

import pytest

from tinygrad_bn.cli.loading import Usage, load

SOURCE = """
import dataclasses
import helper


@dataclasses.dataclass
class Point:
    x: "float"


def loss(x):
    return helper.double(x)


def made():
    return Point(1.0)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in a folder with a module that its files may import; what is imported is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    (tmp_path / "helper.py").write_text("def double(x):\n    return 2 * x\n", encoding="utf-8")
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["random.py", "my.model.py", "two words.py", "sub/model.py"])
def test_a_file_is_loaded_whatever_it_is_called(folder, name):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(SOURCE, encoding="utf-8")
    (path.parent / "helper.py").write_text("def double(x):\n    return 2 * x\n", encoding="utf-8")
    loss = load(f"{name}:loss")
    assert loss(3) == 6
    assert inspect.getsourcefile(loss) == str(path)
    assert inspect.getsource(loss) == "def loss(x):\n    return helper.double(x)\n"
    assert sys.modules["random"] is random
    assert "model" not in sys.modules


@pytest.mark.parametrize("name", ["random.py", "my.model.py"])
def test_what_a_file_defines_is_pickled_by_its_name(folder, name):
    (folder / name).write_text(SOURCE, encoding="utf-8")
    loss, made = load(f"{name}:loss"), load(f"{name}:made")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(loss, protocol)) is loss
        assert pickle.loads(pickle.dumps(made(), protocol)) == made()
    assert pickle._loads(pickle._dumps(loss)) is loss
    assert load(f"{name}:loss") is loss


def test_files_of_one_name_are_two_modules(folder):
    for place in ("a", "b"):
        (folder / place).mkdir()
        text = f"def where():\n    return {place!r}\n"
        (folder / place / "model.py").write_text(text, encoding="utf-8")
    assert [load(f"{place}/model.py:where")() for place in "ab"] == ["a", "b"]


@pytest.mark.parametrize(
    ("ending", "code"), [("sys.exit()", "None"), ("sys.exit(3)", "3"), ("exit('over')", "'over'")]
)
def test_a_script_that_ends_the_program_is_told(folder, ending, code):
    text = f"import sys\ndef loss(x):\n    return x\n{ending}\n"
    (folder / "script.py").write_text(text, encoding="utf-8")
    for name in ("script.py", "script"):
        with pytest.raises(Usage) as caught:
            load(f"{name}:loss")
        assert str(caught.value) == (
            f"{name} could not be imported: it ends the program (sys.exit({code})).\n"
            '  fix: Let it do that below if __name__ == "__main__": alone.'
        )
    (folder / "script.py").write_text(text.replace(ending, ""), encoding="utf-8")
    assert load("script.py:loss")(3) == 3


def test_a_file_that_fails_is_told_and_not_kept(folder):
    (folder / "bad.py").write_text("import nowhere\n", encoding="utf-8")
    before = set(sys.modules)
    with pytest.raises(Usage) as caught:
        load("bad.py:loss")
    assert str(caught.value) == (
        "bad.py could not be imported: ModuleNotFoundError: No module named 'nowhere'"
    )
    assert set(sys.modules) == before


def command(folder, how, *words):
    """Run the command in a process of its own; returns what it complains about."""
    done = subprocess.run(  # noqa: S603  (our own text)
        [sys.executable, *how, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


LAUNCHER = "import sys\nfrom tinygrad_bn.cli import main\nsys.exit(main())\n"


@pytest.mark.parametrize("how", ["script", "module"])
def test_a_place_is_told_where_it_is_in_a_file_of_the_user(folder, how):
    (folder / "launcher").write_text(LAUNCHER, encoding="utf-8")
    (folder / "model.py").write_text(
        textwrap.dedent("""
        import tinygrad_bn as tg
        def soft(x):
            return tg.softmax(x)
        """),
        encoding="utf-8",
    )
    start = ["launcher"] if how == "script" else ["-m", "tinygrad_bn"]
    assert command(folder, start, "draw", "model.py:soft", "x=3", "--depth", "-1") == (
        "tinygrad-bn draw: model.py:soft could not be drawn: graph with depth=-1.\n"
        "  fix: Use a whole number from 0, or None for everything.\n"
    )
    assert command(folder, start, "draw", "tinygrad_bn:softmax", "z=") == (
        "tinygrad-bn draw: tinygrad_bn:softmax could not be called with tensors: "
        "softmax of shape () along axis=-1.\n"
        "  fix: A scalar has no axes; give it one with x[None].\n"
    )
    for name, said in (("draw", "called with tensors"), ("check", "checked")):
        assert command(folder, start, name, "model.py:soft", "x=").startswith(
            f"tinygrad-bn {name}: model.py:soft could not be {said}: "
            "softmax of shape () along axis=-1.\n"
            f"  at {folder / 'model.py'}:4\n"
            "  fix: A scalar has no axes; give it one with x[None].\n"
        )
