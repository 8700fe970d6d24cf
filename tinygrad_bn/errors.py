"""The errors a user can meet. Each says what happened, where, and how to mend it."""

from __future__ import annotations

from tinygrad_bn.source import Location, user_location


class TinygradError(Exception):
    """Base of every error raised on purpose by this package.

    Parameters: ``what`` happened (operation, shapes, dtypes), ``fix`` (how to mend it), and
    ``where`` (found by itself: the user's line that was executing).

    >>> print(ShapeError("add of (2,) and (3,).", "Give both one shape.", where=None))
    add of (2,) and (3,).
      fix: Give both one shape.
    """

    def __init__(self, what: str, fix: str = "", where: Location | str | None = "here") -> None:
        self.what, self.fix = what, fix
        self.where = user_location() if where == "here" else where
        at = f"\n  at {self.where}" if self.where else ""
        super().__init__(f"{what}{at}" + (f"\n  fix: {fix}" if fix else ""))


class ShapeError(TinygradError, ValueError):
    """Shapes, axes or values that do not fit the operation."""


class DTypeError(TinygradError, TypeError):
    """A data type, or a type of object, that the operation cannot take."""


class BoundsError(ShapeError, IndexError):
    """An index outside its axis."""


class GradientError(TinygradError, RuntimeError):
    """A gradient that does not exist or cannot be formed."""


class TraceError(TinygradError, RuntimeError):
    """A use of a traced tensor that a recorded graph cannot express."""


class OptionalDependencyError(TinygradError, ImportError):
    """A feature whose optional package is not installed; the fix names the extra."""


class DataNotFoundError(TinygradError, FileNotFoundError):
    """A data set that is nowhere to be found; the fix names the ways to get it."""


class FileError(TinygradError, ValueError):
    """A file that does not hold what it should: of another kind, cut short, or changed."""


class SearchError(TinygradError, RuntimeError):
    """A search for hyperparameters that cannot be joined, or cannot go on."""
