"""From DOT to pictures: find a layout engine, run it, say plainly what failed."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

from tinygrad_bn.errors import OptionalDependencyError, TinygradError
from tinygrad_bn.viz.options import seconds, whole

SETTING = "TINYGRAD_BN_DOT"
"""The environment variable that names an engine as ``engine`` does, where that is "auto"."""

_BUNDLED, _SYSTEM, _LIBRARY = "graphviz-pure", "dot", "pygraphviz"
_ORDER = (_BUNDLED, _SYSTEM, _LIBRARY)
_UNWRITTEN = {_BUNDLED: ("pdf",)}
"""Formats that an engine cannot write."""

_BEGINNINGS = {
    "svg": (b"<?xml", b"<svg"),
    "png": (b"\x89PNG",),
    "pdf": (b"%PDF",),
    "json0": (b"{",),
}
"""What a picture of each format begins with."""

_CHILD = Path(__file__).with_name("pygraphviz_child.py")
_LINES = 5
_LONGEST = 7 * 24 * 3600.0
"""More seconds than this no system waits for, or can."""


class RenderError(TinygradError, RuntimeError):
    """A diagram that is too large, or that an engine could not draw."""


class _Asker(NamedTuple):
    """Who asked for an engine: how that is told, and how it is asked for no longer."""

    told: str = ""
    undo: str = ""


_NOBODY = _Asker()
_ARGUMENT = _Asker(undo=", or leave engine out")
_VARIABLE = _Asker(f" (from {SETTING})", f", or unset {SETTING}")


class _Engine(NamedTuple):
    """An engine that is there."""

    name: str
    command: tuple[str, ...]
    asker: _Asker = _NOBODY


def picture(
    source: str, form: str, *, dpi: int, timeout: float, engine: str = "auto"
) -> bytes | None:
    """Let an engine draw DOT as "svg", "png", "pdf" or "json0" (the layout as JSON).

    ``engine``: "graphviz-pure", "dot" (on PATH), "pygraphviz" or the path of an executable;
    "auto" is the one that TINYGRAD_BN_DOT names in the same way, else the first of these that is
    there and writes the format, and the picture is None where there is none.

    Raises RenderError where the engine fails, cannot write the format, or takes longer than
    ``timeout`` seconds, OptionalDependencyError where one that was asked for is missing, and
    DTypeError or ShapeError for a ``dpi`` or ``timeout`` that is no number above 0.
    """
    whole("picture with dpi", dpi, least=1)
    seconds("picture with timeout", timeout)
    chosen = _chosen(engine, form)
    if chosen is None:
        return None
    options = ["-Kdot", f"-T{form}", *([f"-Gdpi={dpi}"] if form == "png" else [])]
    done = _run(chosen, options, source, timeout)
    if done.returncode or not done.stdout:
        raise RenderError(
            f"{chosen.name} could not draw the graph: {_reason(done)}",
            f'Look at the DOT text (suffix ".gv"), or name another with engine= or {SETTING}.',
        )
    if not done.stdout.lstrip().startswith(_BEGINNINGS[form]):
        raise RenderError(
            f"{chosen.name} gave no {form.upper()}: it is no layout engine.",
            f"Name Graphviz's dot, or another of its kind, with engine= or {SETTING}.",
        )
    return done.stdout


def missing(form: str, path: Path, saved: Path) -> OptionalDependencyError:
    """Say that there is no engine for a format, where the DOT text is, and what to do."""
    if form in _UNWRITTEN[_BUNDLED]:
        return OptionalDependencyError(
            f"No engine was found that writes {form.upper()} for {path.name}: {_BUNDLED} writes "
            f"SVG and PNG only. The DOT text was saved as {saved.name}.",
            f'Run pip install "tinygrad_bn[pdf]", render with the suffix ".svg" or ".png", install '
            f"Graphviz so that dot is on PATH, or set {SETTING} to the path of its dot.",
        )
    return OptionalDependencyError(
        f"No layout engine was found for {path.name}. The DOT text was saved as {saved.name}.",
        f"Run pip install {_BUNDLED}, install Graphviz so that dot is on PATH, or set {SETTING} "
        "to the path of its dot.",
    )


# which engine ------------------------------------------------------------------------------------


def _chosen(engine: str, form: str) -> _Engine | None:
    """Find the engine that was asked for, here or by the setting, else the first that does."""
    if engine != "auto":
        return _asked(engine, form, _ARGUMENT)
    setting = os.environ.get(SETTING) or "auto"
    return _automatic(form) if setting == "auto" else _asked(setting, form, _VARIABLE)


def _automatic(form: str) -> _Engine | None:
    """Find the first engine that is there and writes the format."""
    able = (name for name in _ORDER if form not in _UNWRITTEN.get(name, ()))
    engines = (_Engine(name, _command(name)) for name in able)
    return next((engine for engine in engines if engine.command), None)


def _asked(engine: str, form: str, asker: _Asker) -> _Engine:
    """Find an engine by its name or path."""
    if form in _UNWRITTEN.get(engine, ()):
        raise RenderError(
            f"{engine}{asker.told} does not write {form.upper()}.",
            f'Render with the suffix ".svg" or ".png", or with engine="{_SYSTEM}" or "{_LIBRARY}".',
        )
    command = _command(engine)
    if not command:
        ways = {
            _BUNDLED: f"Run pip install {_BUNDLED}",
            _SYSTEM: "Install Graphviz so that dot is on PATH",
            _LIBRARY: 'Run pip install "tinygrad_bn[pdf]"',
        }
        names = ", ".join(f'"{name}"' for name in ("auto", *_ORDER))
        way = ways.get(engine, f"Use {names} or the path of an executable")
        raise OptionalDependencyError(
            f"The layout engine {engine!r}{asker.told} was not found.", f"{way}{asker.undo}."
        )
    return _Engine(Path(engine).name, command, asker)


def _command(engine: str) -> tuple[str, ...]:
    """Return what runs an engine, which is nothing where it is missing."""
    if engine == _LIBRARY:
        there = importlib.util.find_spec(_LIBRARY) is not None
        return (sys.executable, "-P", str(_CHILD)) if there else ()
    found = _bundled() if engine == _BUNDLED else shutil.which(engine)
    return (str(found),) if found else ()


def _bundled() -> Path | None:
    """Find the bundled engine also where its environment is not activated (not on PATH)."""
    try:
        found = _installed(tuple(sys.path))
    except FileNotFoundError:  # which is not kept: it may be installed later
        return None
    return found if found.is_file() else None


@functools.cache
def _installed(places: tuple[str, ...]) -> Path:
    """Find out where the bundled engine was installed, once for each ``sys.path``."""
    distributions = importlib.metadata.distributions(name=_BUNDLED, path=list(places))
    files = [f for distribution in distributions for f in distribution.files or ()]
    names = (_BUNDLED, f"{_BUNDLED}.exe")
    candidates = [Path(str(f.locate())) for f in files if f.name in names]
    candidates += [Path(sysconfig.get_path("scripts"), name) for name in names]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise FileNotFoundError(_BUNDLED)
    return found


# running it --------------------------------------------------------------------------------------


def _run(
    engine: _Engine, options: list[str], source: str, timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """Run an engine on DOT; no shell, no files."""
    command = [*engine.command, *options]
    try:
        return _finished(command, source.encode(), timeout)
    except subprocess.TimeoutExpired:
        raise RenderError(
            f"{engine.name} did not lay the graph out within {timeout:g} seconds.",
            "Draw fewer nodes with depth=, or allow more time with timeout=.",
        ) from None
    except OSError as error:
        raise RenderError(
            f"{engine.command[0]}{engine.asker.told} could not be run: {error.strerror or error}.",
            f"Name a Graphviz engine (dot) with engine= or {SETTING}{engine.asker.undo}.",
        ) from None


def _finished(
    command: list[str], given: bytes, timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end. One that is given up leaves nothing running that it started."""
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603  (the engine is one we found or were told)
        command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(given, min(timeout, _LONGEST))
        except BaseException:  # also Ctrl-C, which does not reach another session
            _end(process)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with all of its session; where there are no sessions, the process alone."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all have ended already
            os.killpg(process.pid, signal.SIGKILL)


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Say in few lines why there is no picture; warnings only where nothing else is said."""
    if done.returncode < 0:
        return f"it crashed ({_signal(-done.returncode)})."
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    errors = [line for line in lines if "warning" not in line.lower()]
    return "\n  ".join((errors or lines or ["it gave no output."])[:_LINES])


def _signal(number: int) -> str:
    """Name a signal; most of the real-time signals have numbers only."""
    named = {known.value: known.name for known in signal.Signals}
    return named.get(number, f"signal {number}")
