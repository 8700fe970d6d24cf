"""Files that are written whole or not at all, whenever the process ends."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import secrets
import stat
import sys
from pathlib import Path


def replace(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file, with the folders that it lies in, so that nobody ever sees a part of it.

    A file that is there keeps its mode, and a link leads to the new content. Nothing is left
    behind where it cannot be written; a killed process can leave a file beside it, whose name
    begins with a dot, which ``remove_leftovers`` takes away. ``durable`` waits until the disk has
    it. Raises OSError.
    """
    target = Path(os.path.realpath(path))
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, content, durable=durable)
    except OSError:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _replace(target: Path, content: bytes, *, durable: bool) -> None:
    """Write beside, under a name that tells whose it is, and put it in the place."""
    beside = target.with_name(f"{_prefix(target)}{os.getpid()}.{secrets.token_hex(4)}")
    try:
        beside.write_bytes(content)
        if durable:
            _sync(beside)
        with contextlib.suppress(FileNotFoundError):
            beside.chmod(stat.S_IMODE(target.stat().st_mode))
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    if durable:
        with contextlib.suppress(PermissionError):  # some systems open no folders
            _sync(target.parent)


def _prefix(target: Path) -> str:
    return f".{target.name[:40]}."


def _sync(path: Path) -> None:
    """Wait until the disk has a file's content, or a folder's names."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(path: Path) -> None:
    """Remove what processes that are gone left beside a file while they were writing it."""
    target = Path(os.path.realpath(path))
    prefix = _prefix(target)
    for beside in target.parent.glob(f"{glob.escape(prefix)}*"):
        whose = re.fullmatch(r"(\d+)\.[0-9a-f]{8}", beside.name.removeprefix(prefix))
        if whose and not _alive(int(whose[1])):
            beside.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    """Say whether a process of this machine lives; where asking would harm it, that it does."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def reason(error: OSError) -> str:
    """Say why, also where the system's words mislead: a file stands where a folder has to.

    >>> reason(FileExistsError(17, "File exists"))
    'a folder of its path is a file'
    """
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a folder of its path is a file"
    return error.strerror or str(error)
