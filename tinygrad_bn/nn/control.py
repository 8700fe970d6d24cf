"""Watching one model and adjusting it while it trains: commands from a file, and a journal."""

from __future__ import annotations

import json
import math
import os
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


class Control:
    """A JSON file that is read whenever it was written to, such as ``{"lr": 0.001}``.

    ``lr``: the rate of the steps to come; ``lr_factor``: what to multiply it by; ``stop``: true
    ends the training after this step. What the file says when a training begins is past. A file
    that cannot be understood, or is half written, is warned of and changes nothing. Each change is
    a line of ``<path>.journal.jsonl``: when, at which step, what, from and to, and who asked.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.journal = self.path.with_name(self.path.name + ".journal.jsonl")
        self.seen = self._written()

    def _written(self) -> int:
        """Return when the file was last written to, in nanoseconds; 0 if it is not there."""
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return 0

    def poll(self) -> Commands | None:
        """Return the commands of a file that was written to since the last look."""
        written = self._written()
        if written in (0, self.seen):
            return None
        self.seen = written
        try:
            return _commands(json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            warnings.warn(f"{self.path} is passed over: {error}", stacklevel=3)
            return None

    def note(self, change: dict[str, Any]) -> None:
        """Write a change into the journal."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self.journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": now, **change}) + "\n")


def _commands(content: Any) -> Commands:
    """Return the commands, or raise ValueError."""
    if not isinstance(content, dict) or not set(content) <= set(KEYS):
        raise ValueError(f"{content!r} is no object with the keys {', '.join(KEYS)}")
    for name in ("lr", "lr_factor"):
        value = content.get(name, 1.0)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and 0 < value < math.inf):
            raise ValueError(f"{name} is {value!r}, and no positive number")
    if not isinstance(content.get("stop", False), bool):
        raise ValueError(f"stop is {content['stop']!r}, and neither true nor false")
    return Commands(**content)
