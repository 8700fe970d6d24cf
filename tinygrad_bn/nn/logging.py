"""Writers for the logging hook: ``on_step(step, {name: number})``, each a file that grows."""

from __future__ import annotations

import csv
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path

from tinygrad_bn import files
from tinygrad_bn.errors import FileError


class Log(ABC):
    """Base of the writers: appends lines, each at once, and forgets the lines of later steps.

    The file is begun anew by the first call, unless ``rewind`` was called before it, as ``nn.fit``
    does where it goes on from a checkpoint: then the lines up to the checkpoint's step stay, and
    the file of a training that was killed and resumed is that of one that never stopped.
    """

    header = ""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._begun = False

    def __call__(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write the numbers of a step."""
        if not self._begun:
            self._write([])
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.writelines(self._lines(step, numbers))

    def rewind(self, step: int) -> None:
        """Keep the lines up to a step, and drop those of later ones and a torn last line.

        At step 0 the file stays as it is until the first call begins it anew. Raises FileError,
        before anything is changed, for a file that is no such log.
        """
        self._begun = False
        if step > 0:
            self._write(self.kept(step))

    def _write(self, lines: list[str]) -> None:
        files.remove_leftovers(self.path)
        try:
            files.replace(self.path, "".join([self.header, *lines]).encode())
        except OSError as error:
            raise FileError(
                f"{self.path} could not be written: {files.reason(error)}.",
                "Name a file in a folder that you may write to.",
            ) from error
        self._begun = True

    def kept(self, step: int) -> list[str]:
        """Return the lines of a file up to a step. Raises FileError if it is no such log."""
        if not self.path.exists():
            return []
        try:
            whole, ended, _ = self.path.read_bytes().rpartition(b"\n")
            text = (whole + ended).decode().removeprefix(self.header)
            lines = [f"{line}\n" for line in text.split("\n")[:-1]]
            return [line for line in lines if self._step(line) <= step]
        except (ValueError, TypeError, KeyError) as error:
            raise FileError(
                f"{self.path} is no log of {type(self).__name__}: {error}.",
                "Log to another path, or remove the file.",
            ) from error

    @abstractmethod
    def _lines(self, step: int, numbers: Mapping[str, float]) -> Iterable[str]:
        """Return the lines of a step."""

    @abstractmethod
    def _step(self, line: str) -> int:
        """Return the step of a line."""


class CSVLog(Log):
    """Writes ``step,name,value`` lines, one for each number (long form: names may come and go).

    ``path``: the file. Numbers are written so that reading them gives the same bits.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = CSVLog(Path(folder, "log.csv"))
    ...     log(1, {"loss": 0.5, "lr": 0.1})
    ...     print(log.path.read_text())
    step,name,value
    1,loss,0.5
    1,lr,0.1
    <BLANKLINE>
    """

    header = "step,name,value\n"

    def _lines(self, step: int, numbers: Mapping[str, float]) -> Iterable[str]:
        text = io.StringIO()
        rows = ((step, name, repr(float(number))) for name, number in numbers.items())
        csv.writer(text, lineterminator="\n").writerows(rows)
        return [text.getvalue()]

    def _step(self, line: str) -> int:
        return int(line.partition(",")[0])


class JSONLinesLog(Log):
    """Writes one JSON object a line: ``{"step": 1, "loss": 0.5}``.

    ``path``: the file. NaN and infinities are written as null, since JSON has none.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = JSONLinesLog(Path(folder, "log.jsonl"))
    ...     log(1, {"loss": 0.5})
    ...     log(2, {"loss": float("nan")})
    ...     print(log.path.read_text())
    {"step": 1, "loss": 0.5}
    {"step": 2, "loss": null}
    <BLANKLINE>
    """

    def _lines(self, step: int, numbers: Mapping[str, float]) -> Iterable[str]:
        finite = {n: float(v) if abs(float(v)) < float("inf") else None for n, v in numbers.items()}
        return [json.dumps({"step": step, **finite}) + "\n"]

    def _step(self, line: str) -> int:
        return int(json.loads(line)["step"])
