"""The optional packages of this room, imported when they are needed, and kept quiet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinygrad_bn.errors import OptionalDependencyError


def optuna() -> Any:
    """Return Optuna; raises OptionalDependencyError, which names the extra, without it."""
    try:
        import optuna as engine  # noqa: PLC0415  (optional)
    except ImportError as error:
        raise OptionalDependencyError(
            "A search needs Optuna, which keeps its trials.",
            'Install the extra "tune": pip install "tinygrad_bn[tune]".',
        ) from error
    return engine


@contextmanager
def quiet() -> Iterator[Any]:
    """Give Optuna with its log silent but for errors; what the user set is back afterwards."""
    engine = optuna()
    before = engine.logging.get_verbosity()
    engine.logging.set_verbosity(engine.logging.ERROR)
    try:
        yield engine
    finally:
        engine.logging.set_verbosity(before)
