"""Ctrl-C between two steps, rather than in the middle of one."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Give an event that the first Ctrl-C sets; the second one interrupts as it did before.

    Outside of the main thread no signal arrives, and where interrupts are ignored they stay so.
    """
    asked = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or before in (None, signal.SIG_IGN):
        yield asked
        return

    def first(*_: Any) -> None:
        """Note the wish, and leave the next one to who handled them before."""
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, first)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
