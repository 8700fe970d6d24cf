"""Locks on files, which the system releases when their process ends, however it ends.

They keep processes that share a journal from claiming the same trial, and tell which of them live.
"""

from __future__ import annotations

import glob
import os
import socket
import sys
import time
import uuid
from pathlib import Path
from typing import Self

from tinygrad_bn.errors import FileError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class FileLock:
    """An exclusive lock on a file; whoever holds it may take it again, and releases as often.

    It has the methods that Optuna's journal asks of a lock.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._depth, self._handle = path, 0, -1

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock; without ``wait``, say False if another holds it."""
        if not self._depth:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                while not (locked := _locked(handle)) and wait:
                    time.sleep(0.002)
            except BaseException:
                os.close(handle)
                raise
            if not locked:
                os.close(handle)
                return False
            self._handle = handle
        self._depth += 1
        return True

    def release(self) -> None:
        """Give it back."""
        self._depth -= 1
        if not self._depth:
            os.close(self._handle)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class JournalLock(FileLock):
    """The lock of a journal. A last line that a killed writer had no time to end is cut off."""

    def __init__(self, journal: Path) -> None:
        super().__init__(journal.with_name(f"{journal.name}.lock"))
        self.journal = journal

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock, and mend the journal."""
        first = not self._depth
        if not super().acquire(wait=wait):
            return False
        if first and self.journal.exists():
            try:
                _mend(self.journal)
            except FileError:
                self.release()
                raise
        return True


BEGINNING = b'{"op_code"'
"""Of every line of Optuna's journal."""


def _mend(path: Path) -> None:
    """Cut a torn last line off. Raises FileError, and leaves the file, if it is no journal."""
    if path.is_dir():
        raise FileError(f"{path} is a folder.", "Give the path of a new file as storage=.")
    with path.open("rb+") as file:
        head = file.read(len(BEGINNING))
        if not BEGINNING.startswith(head):
            raise FileError(
                f"{path} is no journal of trials, and was left as it is.",
                "Give the path of a new file as storage=.",
            )
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        if file.read() not in (b"", b"\n"):
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


if sys.platform == "win32":

    def _locked(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _locked(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class Owner:
    """Proof that this process lives: a locked file beside the journal, until ``leave``.

    What dead owners left is cleared away. Make one under the journal's lock, so that nobody takes
    a file for a dead one's that is about to be locked.
    """

    def __init__(self, journal: Path) -> None:
        for left in journal.parent.glob(f"{glob.escape(journal.name)}.*.alive"):
            lives(journal, left.name.removeprefix(f"{journal.name}.").removesuffix(".alive"))
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._lock = FileLock(_proof(journal, self.name))
        self._lock.acquire()

    def leave(self) -> None:
        """Give the proof up; what this owner has begun and not ended may be taken over."""
        self._lock.release()
        self._lock.path.unlink(missing_ok=True)


def lives(journal: Path, name: str) -> bool:
    """Say whether the owner of a name still lives, and clear away what a dead one left."""
    proof = FileLock(_proof(journal, name))
    if not proof.path.exists():
        return False
    if not proof.acquire(wait=False):
        return True
    proof.release()
    proof.path.unlink(missing_ok=True)
    return False


def _proof(journal: Path, name: str) -> Path:
    return journal.with_name(f"{journal.name}.{name}.alive")
