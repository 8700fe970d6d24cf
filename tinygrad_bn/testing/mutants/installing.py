"""What a mutant is, and how it takes the place of what is right."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from tinygrad_bn.errors import TinygradError


@dataclass(frozen=True, eq=False, kw_only=True)
class Mutant(ABC):
    """Something wrong: its name, why it is wrong and where that was met, and what it replaces.

    ``kind``: ``rule`` (of one row of the table), ``function`` (of right value and wrong
    derivative) or ``engine`` (a reverse walk).
    """

    kind: ClassVar[str]
    name: str
    why: str

    @abstractmethod
    def replacements(self) -> list[tuple[Any, str, Any]]:
        """List what is to be replaced: the owner, the attribute, the wrong value."""

    def __str__(self) -> str:
        return self.name


_one_at_a_time = threading.Lock()


@contextmanager
def installed(mutant: Mutant) -> Iterator[None]:
    """Put a mutant in the place of what is right, in the whole process, for the length of a block.

    Graphs that were recorded outside see it too, and so do other threads. What was there is put
    back at the end, also after an exception. Raises TinygradError while another is installed.

    >>> import tinygrad_bn as tg
    >>> from tinygrad_bn.testing.mutants import mutants
    >>> wrong = next(m for m in mutants("exp") if m.name == "negated")
    >>> with installed(wrong):
    ...     tg.grad(tg.exp)(0.0)
    Tensor(-1.)
    """
    if not _one_at_a_time.acquire(blocking=False):
        raise TinygradError(
            f"The mutant {str(mutant)!r} is to be installed while another one is.",
            "One at a time in a process: leave the block of the first before.",
        )
    try:
        wrong = mutant.replacements()
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in wrong]
        try:
            _set(wrong)
            yield
        finally:
            _set(before)
    finally:
        _one_at_a_time.release()


def _set(values: Sequence[tuple[Any, str, Any]]) -> None:
    for owner, name, value in values:
        object.__setattr__(owner, name, value)  # frozen rows too, thawed for the test alone
