"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from tinygrad_bn.viz.engines import RenderError


def write(path: Path, content: bytes) -> Path:
    """Write a file, with the folders that it lies in, and return its path.

    A file that is there keeps its mode, and a link leads to the new content. Nobody ever sees a
    part of it, and nothing is left behind where it cannot be written. Raises RenderError.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Path(folder, "new", "a.txt"), b"text").read_text()
    'text'
    """
    try:
        _write(Path(os.path.realpath(path)), content)
    except OSError as error:
        raise RenderError(
            f"{path} could not be written: {_reason(error)}.",
            "Name a file in a folder that you may write to.",
        ) from None
    return path


def _write(target: Path, content: bytes) -> None:
    """Make the folders and write; where that fails, take those that were made away."""
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, content)
    except OSError:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _replace(target: Path, content: bytes) -> None:
    """Write beside, under a name that is short enough anywhere, and put it in the place."""
    beside = target.with_name(f".{secrets.token_hex(8)}")
    try:
        beside.write_bytes(content)
        with contextlib.suppress(FileNotFoundError):
            beside.chmod(stat.S_IMODE(target.stat().st_mode))
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    """Say why, also where the system's words mislead: a file stands where a folder has to."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a folder of its path is a file"
    return error.strerror or str(error)
