"""Watching one model and adjusting it while it trains: commands from a file, and a journal."""

from __future__ import annotations

import json
import os
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

KEYS = ("lr", "lr_factor", "stop")


class Commands(NamedTuple):
    """What a control file asks for."""

    lr: float | None = None
    lr_factor: float | None = None
    stop: bool = False

    @property
    def adjusts(self) -> bool:
        """Whether another rate is asked for."""
        return self.lr is not None or self.lr_factor is not None

    def rate(self, now: float) -> float:
        """Return the rate that is asked for."""
        return float(now if self.lr is None else self.lr) * (self.lr_factor or 1.0)


class Control:
    """A JSON file that is read whenever it was written to, such as ``{"lr": 0.001}``.

    ``lr``: the rate of the steps to come; ``lr_factor``: what to multiply it by; ``stop``: true
    ends the training after this step. What the file says when a training begins is past. A file
    that cannot be understood, or is half written, changes nothing, is warned of once, and is looked
    at again. Each change is a line of ``<path>.journal.jsonl``: when, at which step, what, from and
    to, and who asked.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.journal = self.path.with_name(self.path.name + ".journal.jsonl")
        self.seen = self._written()
        self._warned = ""

    def _written(self) -> list[int]:
        """Return when the file was last written to, in nanoseconds, and its size, if it is there.

        Clocks of files tick slowly: of two writes in one tick, the size tells them apart.
        """
        try:
            found = self.path.stat()
        except OSError:
            return []
        return [found.st_mtime_ns, found.st_size]

    def poll(self) -> Commands | None:
        """Return the commands of a file that was written to since the last look."""
        written = self._written()
        if written in ([], self.seen):
            return None
        try:
            commands = _commands(json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            self.warn(str(error))
            return None
        self.seen, self._warned = written, ""
        return commands

    def warn(self, why: str) -> None:
        """Warn, once, of what is passed over."""
        if why != self._warned:
            warnings.warn(f"{self.path} is passed over: {why}.", stacklevel=3)
        self._warned = why

    def note(self, change: dict[str, Any]) -> None:
        """Write a change into the journal."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            with self.journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"time": now, **change}) + "\n")
        except OSError as error:
            warnings.warn(f"{self.journal} lacks {change}: {error}.", stacklevel=2)


def _commands(content: Any) -> Commands:
    """Return the commands, or raise ValueError."""
    if not isinstance(content, dict) or not set(content) <= set(KEYS):
        raise ValueError(f"{content!r} is no object with the keys {', '.join(KEYS)}")
    for name in ("lr", "lr_factor"):
        value = content.get(name, 1.0)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and 0 < value <= sys.float_info.max):
            raise ValueError(f"{name} is {value!r}, and no positive number")
    if not isinstance(content.get("stop", False), bool):
        raise ValueError(f"stop is {content['stop']!r}, and neither true nor false")
    return Commands(**content)
