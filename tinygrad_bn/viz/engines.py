"""From DOT to pictures: find a layout engine, run it, say plainly what failed."""

from __future__ import annotations

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

SETTING = "TINYGRAD_BN_DOT"
"""The environment variable that names an engine, before any other is looked for."""

_BUNDLED, _SYSTEM, _LIBRARY = "graphviz-pure", "dot", "pygraphviz"
_ORDER = (_BUNDLED, _SYSTEM, _LIBRARY)
_UNWRITTEN = {_BUNDLED: ("pdf",)}
"""Formats that an engine cannot write."""

_CHILD = Path(__file__).with_name("pygraphviz_child.py")
_LINES = 5


class RenderError(TinygradError, RuntimeError):
    """A diagram that is too large, or that an engine could not draw."""


class _Engine(NamedTuple):
    name: str
    command: tuple[str, ...]


def picture(
    source: str, form: str, *, dpi: int, timeout: float, engine: str = "auto"
) -> bytes | None:
    """Let an engine draw DOT as "svg", "png", "pdf" or "json0" (the layout as JSON).

    ``engine``: "graphviz-pure", "dot" (on PATH), "pygraphviz" or the path of an executable;
    "auto" is the one that TINYGRAD_BN_DOT names, else the first of these that is there and writes
    the format, and the picture is None where there is none.

    Raises RenderError where the engine fails, cannot write the format, or takes longer than
    ``timeout`` seconds, OptionalDependencyError where one that was asked for is missing.
    """
    chosen = _automatic(form) if engine == "auto" else _asked(engine, form)
    if chosen is None:
        return None
    options = ["-Kdot", f"-T{form}", *([f"-Gdpi={dpi}"] if form == "png" else [])]
    done = _run(chosen, options, source, timeout)
    if done.returncode or not done.stdout:
        raise RenderError(
            f"{chosen.name} could not draw the graph: {_reason(done)}",
            f'Look at the DOT text (suffix ".gv"), or name another with engine= or {SETTING}.',
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


def _automatic(form: str) -> _Engine | None:
    """Find an engine: the one that is set, else the first that is there and writes the format."""
    setting = os.environ.get(SETTING)
    if setting:
        return _Engine(Path(setting).name, (setting,))
    able = (name for name in _ORDER if form not in _UNWRITTEN.get(name, ()))
    engines = (_Engine(name, _command(name)) for name in able)
    return next((engine for engine in engines if engine.command), None)


def _asked(engine: str, form: str) -> _Engine:
    """Find the engine that was asked for."""
    if form in _UNWRITTEN.get(engine, ()):
        raise RenderError(
            f"{engine} does not write {form.upper()}.",
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
            f"The layout engine {engine!r} was not found.", f"{way}, or leave engine out."
        )
    return _Engine(Path(engine).name, command)


def _command(engine: str) -> tuple[str, ...]:
    """Return what runs an engine, which is nothing where it is missing."""
    if engine == _LIBRARY:
        there = importlib.util.find_spec(_LIBRARY) is not None
        return (sys.executable, "-P", str(_CHILD)) if there else ()
    found = _bundled() if engine == _BUNDLED else shutil.which(engine)
    return (str(found),) if found else ()


def _bundled() -> Path | None:
    """Find the bundled engine also where its environment is not activated (not on PATH)."""
    names = (_BUNDLED, f"{_BUNDLED}.exe")
    candidates = [Path(sysconfig.get_path("scripts"), name) for name in names]
    try:
        files = importlib.metadata.distribution(_BUNDLED).files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    candidates[:0] = [Path(str(f.locate())) for f in files if f.name in names]
    return next((path for path in candidates if path.is_file()), None)


# running it --------------------------------------------------------------------------------------


def _run(
    engine: _Engine, options: list[str], source: str, timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """Run an engine on DOT; no shell, no files."""
    try:
        return subprocess.run(  # noqa: S603  (the engine is one we found or were told)
            [*engine.command, *options],
            input=source.encode(),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RenderError(
            f"{engine.name} did not lay the graph out within {timeout:g} seconds.",
            "Draw fewer nodes with depth=, or allow more time with timeout=.",
        ) from None
    except OSError as error:
        raise RenderError(
            f"{engine.command[0]} could not be run: {error.strerror or error}.",
            f"Name a Graphviz engine (dot) in {SETTING}, or unset it.",
        ) from None


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Say in few lines why there is no picture; warnings only where nothing else is said."""
    if done.returncode < 0:
        return f"it crashed ({signal.Signals(-done.returncode).name})."
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    errors = [line for line in lines if "warning" not in line.lower()]
    return "\n  ".join((errors or lines or ["it gave no output."])[:_LINES])
