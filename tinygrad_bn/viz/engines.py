"""From DOT to pictures: find a layout engine, run it, say plainly what failed."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

from tinygrad_bn.errors import OptionalDependencyError, TinygradError

SETTING = "TINYGRAD_BN_DOT"
"""The environment variable that names an engine, before any other is looked for."""

_BUNDLED = "graphviz-pure"
_UNBUNDLED_FORMATS = ("pdf",)
"""Formats that the bundled engine cannot write."""

_LINES = 5


class RenderError(TinygradError, RuntimeError):
    """A diagram that is too large, or that an engine could not draw."""


def picture(source: str, form: str, *, dpi: int, timeout: float) -> bytes | None:
    """Let the first engine that can write the format draw DOT; None where there is no engine.

    Raises RenderError where the engine fails, or takes longer than ``timeout`` seconds.
    """
    engine = _engine(form)
    if engine is None:
        return None
    command = [str(engine), "-Kdot", f"-T{form}", *([f"-Gdpi={dpi}"] if form == "png" else [])]
    try:
        done = subprocess.run(  # noqa: S603  (no shell; the engine is one we found or were told)
            command, input=source.encode(), capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise RenderError(
            f"{engine.name} did not lay the graph out within {timeout:g} seconds.",
            "Draw fewer nodes with depth=, or allow more time with timeout=.",
        ) from None
    except OSError as error:
        raise RenderError(
            f"{engine} could not be run: {error.strerror or error}.",
            f"Name a Graphviz engine (dot) in {SETTING}, or unset it.",
        ) from None
    if done.returncode or not done.stdout:
        raise RenderError(
            f"{engine.name} could not draw the graph: {_trimmed(done.stderr)}",
            f'Look at the DOT text (suffix ".gv"), or name another engine in {SETTING}.',
        )
    return done.stdout


def _trimmed(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines() or ["it gave no output."]
    return "\n  ".join(lines[:_LINES])


def _engine(form: str) -> Path | None:
    """Find an engine: the one that is set, the bundled one, the system's."""
    setting = os.environ.get(SETTING)
    if setting:
        return Path(setting)
    bundled = None if form in _UNBUNDLED_FORMATS else _bundled()
    system = shutil.which("dot")
    return bundled or (Path(system) if system else None)


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


def missing(form: str, path: Path, saved: Path) -> OptionalDependencyError:
    """Say that there is no engine for a format, where the DOT text is, and what to do."""
    if form in _UNBUNDLED_FORMATS:
        return OptionalDependencyError(
            f"No engine was found that writes PDF for {path.name}: {_BUNDLED} writes SVG and PNG "
            f"only. The DOT text was saved as {saved.name}.",
            f'Render with the suffix ".svg" or ".png", install Graphviz so that dot is on PATH, '
            f"or set {SETTING} to the path of its dot.",
        )
    return OptionalDependencyError(
        f"No layout engine was found for {path.name}. The DOT text was saved as {saved.name}.",
        f"Run pip install {_BUNDLED}, install Graphviz so that dot is on PATH, or set {SETTING} "
        "to the path of its dot.",
    )
