"""Layout engines: which one draws, the same graph from each, what is said when one fails."""

import importlib.util
import json
import os
import shutil
import signal
import sys
import textwrap
import time
from pathlib import Path

import pytest

import tinygrad_bn as tg
from tinygrad_bn import viz
from tinygrad_bn.errors import DTypeError, OptionalDependencyError, ShapeError
from tinygrad_bn.viz import engines

SYSTEM = shutil.which("dot")
BUNDLED = engines._bundled()
LIBRARY = importlib.util.find_spec("pygraphviz")
BELIEVED = engines._BEGINNINGS
BEGINNINGS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF", "json0": b"{"}

needs_scripts = pytest.mark.skipif(
    os.name == "nt", reason="the stand-in engine is a script with a shebang"
)
needs_bundled = pytest.mark.skipif(BUNDLED is None, reason="graphviz-pure is not installed")
needs_system = pytest.mark.skipif(SYSTEM is None, reason="Graphviz's dot is not on PATH")
needs_library = pytest.mark.skipif(
    LIBRARY is None, reason='pygraphviz is not installed: pip install "tinygrad_bn[pdf]"'
)


def small():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    with tg.scope("outer"), tg.scope("inner"):
        y = tg.exp(x)
    return tg.sum(y * x)


def drawn(form, source=None, timeout=30, **options):
    source = viz.graph(small(), backward="ops").source if source is None else source
    return engines.picture(source, form, dpi=96, timeout=timeout, **options)


def script(folder, body, name="dot"):
    """Write an engine of our own."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(body)}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def tells(name):
    """Write the body of an engine that tells its name, its options and how much it read."""
    return f"import sys; print({name!r}, *sys.argv[1:], bool(sys.stdin.read()))"


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """Leave of the engines the bundled one alone, and a PATH without any; believe all of them."""
    monkeypatch.setattr(engines, "_BEGINNINGS", dict.fromkeys(engines._BEGINNINGS, (b"",)))
    monkeypatch.delenv(engines.SETTING, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def unbundled(monkeypatch):
    monkeypatch.setattr(engines, "_bundled", lambda: None)


@pytest.fixture
def without_library(monkeypatch):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def library(monkeypatch, tmp_path):
    """Return what installs a pygraphviz of our own: its method ``draw`` has the given body."""

    def install(body):
        folder = tmp_path / "installed"
        folder.mkdir()
        (folder / "pygraphviz.py").write_text(
            "import os, signal, sys, time, warnings\n"
            "class AGraph:\n"
            "    def __init__(self, string):\n"
            "        self.string = string\n"
            "    def draw(self, *, format, prog, args):\n"
            f"        {body}\n",
            encoding="utf-8",
        )
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return install


# which one draws --------------------------------------------------------------------------------


@needs_scripts
@pytest.mark.parametrize(
    ("form", "present", "first"),
    [
        ("svg", "setting bundled dot library", "setting"),
        ("svg", "bundled dot library", "bundled"),
        ("png", "bundled dot library", "bundled"),
        ("json0", "bundled dot library", "bundled"),
        ("svg", "dot library", "dot"),
        ("svg", "library", "library"),
        ("pdf", "setting bundled dot library", "setting"),
        ("pdf", "bundled dot library", "dot"),
        ("pdf", "bundled library", "library"),
    ],
)
def test_the_first_engine_that_is_there_and_writes_the_format_draws(
    form, present, first, tmp_path, monkeypatch, library, request
):
    if "setting" in present:
        monkeypatch.setenv(engines.SETTING, script(tmp_path, tells("setting"), "mine"))
    bundled = script(tmp_path, tells("bundled"), "pure") if "bundled" in present else None
    monkeypatch.setattr(engines, "_bundled", lambda: bundled)
    if "dot" in present:
        script(tmp_path / "bin", tells("dot"))
    library("return f'library -K{prog} -T{format} {bool(self.string)}'.encode()")
    found = drawn(form).decode().split()
    assert found[:3] == [first, "-Kdot", f"-T{form}"]
    assert found[-1] == "True"


@pytest.mark.usefixtures("unbundled", "without_library")
def test_without_an_engine_there_is_no_picture():
    assert drawn("svg") is None


@needs_scripts
@pytest.mark.usefixtures("unbundled")
def test_an_engine_that_is_asked_for_comes_before_all_others(tmp_path, monkeypatch, library):
    monkeypatch.setenv(engines.SETTING, script(tmp_path, tells("setting"), "mine"))
    script(tmp_path / "bin", tells("dot"))
    library("return b'library'")
    own = script(tmp_path, tells("own"), "other")
    assert drawn("svg").startswith(b"setting")
    assert drawn("svg", engine="dot").startswith(b"dot")
    assert drawn("svg", engine="pygraphviz") == b"library"
    assert drawn("svg", engine=own).startswith(b"own")
    path = viz.render(small(), tmp_path / "a.svg", engine=own)
    assert path.read_bytes().startswith(b"own")


@needs_scripts
@pytest.mark.usefixtures("unbundled")
def test_the_dots_per_inch_are_those_of_a_png_alone(tmp_path, library):
    script(tmp_path / "bin", tells("dot"))
    library("return args.encode()")
    for engine in ("dot", "pygraphviz"):
        assert b"-Gdpi=96" in drawn("png", engine=engine)
        assert b"dpi" not in drawn("svg", engine=engine)


@pytest.mark.usefixtures("unbundled", "without_library")
@pytest.mark.parametrize(
    ("engine", "fix"),
    [
        ("graphviz-pure", "Run pip install graphviz-pure"),
        ("dot", "Install Graphviz so that dot is on PATH"),
        ("pygraphviz", 'Run pip install "tinygrad_bn[pdf]"'),
        (
            "/nowhere/dot",
            'Use "auto", "graphviz-pure", "dot", "pygraphviz" or the path of an executable',
        ),
    ],
)
def test_an_engine_that_is_asked_for_and_missing_is_named(engine, fix, tmp_path, monkeypatch):
    with pytest.raises(OptionalDependencyError) as caught:
        viz.render(small(), tmp_path / "a.svg", engine=engine)
    assert caught.value.what == f"The layout engine {engine!r} was not found."
    assert caught.value.fix == f"{fix}, or leave engine out."
    monkeypatch.setenv(engines.SETTING, engine)
    with pytest.raises(OptionalDependencyError) as caught:
        viz.render(small(), tmp_path / "a.svg")
    assert (
        caught.value.what == f"The layout engine {engine!r} (from {engines.SETTING}) was not found."
    )
    assert caught.value.fix == f"{fix}, or unset TINYGRAD_BN_DOT."
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_is_asked_for_what_it_cannot_write_says_so(tmp_path):
    with pytest.raises(viz.RenderError) as caught:
        viz.render(small(), tmp_path / "a.pdf", engine="graphviz-pure")
    assert caught.value.what == "graphviz-pure does not write PDF."
    assert caught.value.fix == (
        'Render with the suffix ".svg" or ".png", or with engine="dot" or "pygraphviz".'
    )


def test_what_is_asked_for_by_the_setting_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv(engines.SETTING, "graphviz-pure")
    with pytest.raises(viz.RenderError) as caught:
        viz.render(small(), tmp_path / "a.pdf")
    assert caught.value.what == "graphviz-pure (from TINYGRAD_BN_DOT) does not write PDF."
    assert list(tmp_path.iterdir()) == []


@needs_scripts
@pytest.mark.usefixtures("unbundled")
@pytest.mark.parametrize("name", ["dot", "mine", "pygraphviz", "own/engine"])
def test_the_setting_names_an_engine_as_the_argument_does(name, tmp_path, monkeypatch, library):
    monkeypatch.chdir(tmp_path)
    for file in ("bin/dot", "bin/mine", "own/engine"):
        script(tmp_path / Path(file).parent, tells(file), Path(file).name)
    library("return b'bin/pygraphviz'")
    found = drawn("svg", engine=name)
    assert found.split()[0].decode() in (f"bin/{name}", name)
    monkeypatch.setenv(engines.SETTING, name)
    assert drawn("svg") == found
    assert drawn("svg", engine="dot").startswith(b"bin/dot")


@needs_bundled
def test_the_setting_names_the_bundled_engine(monkeypatch, tmp_path):
    script(tmp_path / "bin", tells("dot"))
    monkeypatch.setenv(engines.SETTING, "graphviz-pure")
    assert drawn("svg") == drawn("svg", engine="graphviz-pure")


@needs_scripts
@pytest.mark.usefixtures("unbundled", "without_library")
@pytest.mark.parametrize("nothing", ["", "auto"])
def test_a_setting_that_leaves_the_choice_open_names_none(nothing, tmp_path, monkeypatch):
    monkeypatch.setenv(engines.SETTING, nothing)
    assert drawn("svg") is None
    script(tmp_path / "bin", tells("dot"))
    assert drawn("svg").startswith(b"dot")


@needs_scripts
def test_an_engine_that_cannot_be_run_is_named_with_who_asked_for_it(tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    broken.write_text("#!/nowhere/shell\n", encoding="utf-8")
    broken.chmod(0o755)
    with pytest.raises(viz.RenderError) as caught:
        drawn("svg", engine=str(broken))
    assert caught.value.what == f"{broken} could not be run: No such file or directory."
    assert caught.value.fix == (
        "Name a Graphviz engine (dot) with engine= or TINYGRAD_BN_DOT, or leave engine out."
    )
    monkeypatch.setenv(engines.SETTING, str(broken))
    with pytest.raises(viz.RenderError) as caught:
        drawn("svg")
    assert caught.value.what == (
        f"{broken} (from TINYGRAD_BN_DOT) could not be run: No such file or directory."
    )
    assert caught.value.fix == (
        "Name a Graphviz engine (dot) with engine= or TINYGRAD_BN_DOT, or unset TINYGRAD_BN_DOT."
    )


@needs_scripts
@pytest.mark.usefixtures("without_library")
def test_an_engine_that_is_found_and_cannot_be_run_is_named(tmp_path, monkeypatch):
    broken = tmp_path / "pure"
    broken.write_text("#!/nowhere/shell\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(engines, "_bundled", lambda: broken)
    with pytest.raises(viz.RenderError) as caught:
        drawn("svg")
    assert caught.value.fix == "Name a Graphviz engine (dot) with engine= or TINYGRAD_BN_DOT."


@pytest.mark.usefixtures("unbundled", "without_library")
def test_without_an_engine_the_dot_text_is_saved(tmp_path):
    y = small()
    with pytest.raises(OptionalDependencyError) as caught:
        viz.render(y, tmp_path / "bn.svg")
    assert caught.value.what == (
        "No layout engine was found for bn.svg. The DOT text was saved as bn.gv."
    )
    assert caught.value.fix == (
        "Run pip install graphviz-pure, install Graphviz so that dot is on PATH, or set "
        "TINYGRAD_BN_DOT to the path of its dot."
    )
    assert (tmp_path / "bn.gv").read_text(encoding="utf-8") == viz.graph(y).source
    assert not (tmp_path / "bn.svg").exists()


@pytest.mark.usefixtures("without_library")
def test_pdf_says_what_it_needs(tmp_path):
    with pytest.raises(OptionalDependencyError) as caught:
        viz.render(small(), tmp_path / "bn.pdf")
    assert caught.value.what == (
        "No engine was found that writes PDF for bn.pdf: graphviz-pure writes SVG and PNG only. "
        "The DOT text was saved as bn.gv."
    )
    assert caught.value.fix == (
        'Run pip install "tinygrad_bn[pdf]", render with the suffix ".svg" or ".png", install '
        "Graphviz so that dot is on PATH, or set TINYGRAD_BN_DOT to the path of its dot."
    )


# what fails --------------------------------------------------------------------------------------


@needs_scripts
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "import sys; sys.stdin.read(); print(*range(9), sep='\\n', file=sys.stderr); exit(1)",
            "dot could not draw the graph: 0\n  1\n  2\n  3\n  4",
        ),
        (
            "import sys; sys.stdin.read(); exit('Warning: a\\nFontconfig warning: b\\nError: c')",
            "dot could not draw the graph: Error: c",
        ),
        (
            "import sys; sys.stdin.read(); exit('Warning: a')",
            "dot could not draw the graph: Warning: a",
        ),
        ("import sys; sys.stdin.read()", "dot could not draw the graph: it gave no output."),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "dot could not draw the graph: it crashed (SIGKILL).",
        ),
        (
            "import time; time.sleep(60)",
            "dot did not lay the graph out within 0.5 seconds.",
        ),
    ],
)
def test_what_an_engine_fails_at_is_told_briefly(body, message, tmp_path, monkeypatch):
    monkeypatch.setenv(engines.SETTING, script(tmp_path, body))
    with pytest.raises(viz.RenderError) as caught:
        viz.render(small(), tmp_path / "a.svg", timeout=0.5 if "sleep" in body else 30)
    assert caught.value.what == message
    assert not (tmp_path / "a.svg").exists()


@needs_scripts
@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="there are no real-time signals")
def test_a_crash_without_a_name_is_told_by_its_number(tmp_path):
    number = signal.SIGRTMIN + 6
    engine = script(tmp_path, f"import os; os.kill(os.getpid(), {number})")
    with pytest.raises(viz.RenderError) as caught:
        drawn("svg", engine=engine)
    assert caught.value.what == f"dot could not draw the graph: it crashed (signal {number})."


def ended(process):
    """Wait until a process has ended; one that nobody has waited for yet counts as ended."""
    stat = Path(f"/proc/{process}/stat")
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


@needs_scripts
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are read in /proc")
@pytest.mark.parametrize("stop", ["timeout", "interrupt"])
def test_an_engine_that_is_given_up_leaves_nothing_running(stop, tmp_path, monkeypatch):
    engine = script(
        tmp_path,
        f"""
        import subprocess
        child = subprocess.Popen(["/bin/sleep", "60"])
        with open({str(tmp_path / "child")!r}, "w") as file:
            file.write(str(child.pid))
        child.wait()
        """,
    )
    child = tmp_path / "child"

    def interrupted(self, given, timeout):
        until = time.monotonic() + 10
        while not (child.exists() and child.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
        raise KeyboardInterrupt

    if stop == "interrupt":
        monkeypatch.setattr(engines.subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt if stop == "interrupt" else viz.RenderError):
        drawn("svg", engine=engine, timeout=1.5)
    assert ended(int(child.read_text(encoding="utf-8")))


@needs_scripts
@pytest.mark.parametrize("timeout", [1e300, float("inf")])
def test_any_time_may_be_allowed(timeout, tmp_path):
    engine = script(tmp_path, tells("dot"))
    assert drawn("svg", engine=engine, timeout=timeout).startswith(b"dot")


@pytest.mark.parametrize(
    ("options", "error", "what", "fix"),
    [
        ({"dpi": 0}, ShapeError, "picture with dpi=0.", "Use a whole number from 1."),
        ({"dpi": 96.5}, DTypeError, "picture with dpi=96.5.", "Use a whole number from 1."),
        (
            {"timeout": "30"},
            DTypeError,
            "picture with timeout='30'.",
            "Use a number of seconds above 0.",
        ),
        (
            {"timeout": True},
            DTypeError,
            "picture with timeout=True.",
            "Use a number of seconds above 0.",
        ),
        ({"timeout": 0}, ShapeError, "picture with timeout=0.", "Use a number of seconds above 0."),
        (
            {"timeout": float("nan")},
            ShapeError,
            "picture with timeout=nan.",
            "Use a number of seconds above 0.",
        ),
    ],
)
def test_numbers_that_are_none_are_refused(options, error, what, fix, tmp_path):
    with pytest.raises(error) as caught:
        viz.render(small(), tmp_path / "a.png", **options)
    assert (caught.value.what, caught.value.fix) == (what, fix)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(
            "os.kill(os.getpid(), signal.SIGSEGV)",
            "pygraphviz could not draw the graph: it crashed (SIGSEGV).",
            marks=pytest.mark.skipif(
                not hasattr(signal, "SIGKILL"), reason="a crash is told by its signal"
            ),
        ),
        (
            "raise ValueError('Graphviz raised a layout error.')",
            "pygraphviz could not draw the graph: ValueError: Graphviz raised a layout error.",
        ),
        (
            "warnings.warn('hm'); print('Warning: 206', file=sys.stderr); raise KeyError(1)",
            "pygraphviz could not draw the graph: KeyError: 1",
        ),
        ("time.sleep(60)", "pygraphviz did not lay the graph out within 0.5 seconds."),
    ],
)
def test_what_fails_in_the_library_does_not_fail_here(body, message, library):
    library(body)
    with pytest.raises(viz.RenderError) as caught:
        drawn("svg", engine="pygraphviz", timeout=0.5 if "sleep" in body else 30)
    assert caught.value.what == message


def test_a_library_that_cannot_be_loaded_is_told_in_one_line(library, tmp_path):
    library("return b''")
    broken = "raise ImportError('libX11.so.6: cannot open shared object file')"
    (tmp_path / "installed" / "pygraphviz.py").write_text(broken, encoding="utf-8")
    with pytest.raises(viz.RenderError) as caught:
        drawn("pdf")
    assert caught.value.what == (
        "pygraphviz could not draw the graph: ImportError: libX11.so.6: cannot open shared "
        "object file"
    )


# the engines themselves -----------------------------------------------------------------------


@needs_bundled
@pytest.mark.parametrize("form", ["svg", "png", "json0"])
def test_the_bundled_engine_needs_neither_path_nor_fonts(form, monkeypatch, tmp_path):
    (tmp_path / "fonts.conf").write_text("<fontconfig></fontconfig>", encoding="utf-8")
    usual = drawn(form)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    for fonts in (tmp_path / "fonts.conf", tmp_path / "none.conf"):
        monkeypatch.setenv("FONTCONFIG_FILE", str(fonts))
        assert drawn(form) == usual
    assert usual.startswith(BEGINNINGS[form])


@needs_bundled
def test_the_bundled_engine_is_looked_for_once_and_again_only_where_it_is_missing(
    monkeypatch, tmp_path
):
    asked, distributions = [], engines.importlib.metadata.distributions

    def counted(**where):
        asked.append(where["path"])
        return distributions(**where)

    monkeypatch.setattr(engines.importlib.metadata, "distributions", counted)
    engines._installed.cache_clear()
    assert {engines._bundled() for _ in range(3)} == {BUNDLED}
    assert len(asked) == 1
    monkeypatch.setattr(engines.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert engines._bundled() is None
    (tmp_path / "graphviz-pure").touch()
    assert engines._bundled() == tmp_path / "graphviz-pure"
    (tmp_path / "graphviz-pure").unlink()
    assert engines._bundled() is None
    engines._installed.cache_clear()


@needs_bundled
def test_dots_per_inch_scale_a_png(tmp_path):
    small_, large = (
        int.from_bytes(viz.render(small(), tmp_path / "a.png", dpi=d).read_bytes()[16:20])
        for d in (72, 144)
    )
    assert abs(large - 2 * small_) <= 2


def structure(layout):
    """Return the names of nodes and clusters with what is inside, and the edges, of a layout."""
    found = json.loads(layout)
    parts = {part["_gvid"]: part for part in found["objects"]}
    inside = {
        part["name"]: sorted(parts[n]["name"] for n in part.get("nodes", ()))
        for part in parts.values()
    }
    edges = [
        (parts[e["tail"]]["name"], parts[e["head"]]["name"], e.get("style", ""))
        for e in found["edges"]
    ]
    return inside, sorted(edges)


@needs_bundled
@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(SYSTEM, marks=needs_system, id="dot"),
        pytest.param("pygraphviz", marks=needs_library),
    ],
)
def test_every_engine_lays_the_same_graph_out(engine):
    inside, edges = structure(drawn("json0", engine="graphviz-pure"))
    assert {"n0", "n1", "cluster_0_0", "cluster_0_1", "cluster_1_0"} <= set(inside)
    assert inside["cluster_0_0"] == inside["cluster_0_1"] == ["n1"]
    assert ("n0", "n1", "") in edges
    assert structure(drawn("json0", engine=engine)) == (inside, edges)


@pytest.mark.parametrize("form", BEGINNINGS)
@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(SYSTEM, marks=needs_system, id="dot"),
        pytest.param("pygraphviz", marks=needs_library),
    ],
)
def test_other_engines_write_every_format(engine, form):
    assert drawn(form, engine=engine).startswith(BEGINNINGS[form])


@needs_library
@pytest.mark.usefixtures("unbundled")
def test_pdf_comes_out_with_the_library_alone(tmp_path):
    path = viz.render(small(), tmp_path / "a.pdf")
    assert path.read_bytes().startswith(b"%PDF")


@needs_library
def test_what_the_library_cannot_read_is_told():
    with pytest.raises(viz.RenderError) as caught:
        drawn("svg", source="digraph { a -> }", engine="pygraphviz")
    assert "syntax error in line 1" in caught.value.what


@needs_scripts
@pytest.mark.parametrize("form", ["svg", "png", "json0"])
def test_what_is_no_picture_is_not_believed(form, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "_BEGINNINGS", BELIEVED)
    rubbish = script(tmp_path, "import sys; sys.stdin.read(); print('hello')")
    with pytest.raises(viz.RenderError) as caught:
        engines.picture("digraph {}", form, dpi=96, timeout=30, engine=rubbish)
    assert caught.value.what == f"dot gave no {form.upper()}: it is no layout engine."


@pytest.mark.usefixtures("unbundled", "without_library")
def test_the_dot_text_that_is_saved_takes_no_others_place(tmp_path):
    (tmp_path / "bn.gv").write_text("my own")
    (tmp_path / "bn-2.gv").mkdir()
    y = tg.softmax(tg.Tensor([1.0, 2.0], requires_grad=True))
    for _ in range(2):
        with pytest.raises(OptionalDependencyError, match=r"saved as bn-3\.gv"):
            viz.render(y, tmp_path / "bn.svg")
    assert (tmp_path / "bn.gv").read_text() == "my own"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bn-2.gv", "bn-3.gv", "bn.gv"]
