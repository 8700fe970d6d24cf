"""Pictures and pages on disk."""

from __future__ import annotations

from pathlib import Path

from tinygrad_bn import files
from tinygrad_bn.viz.engines import RenderError


def write(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all, with the folders that it lies in, and return its path.

    Raises RenderError.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Path(folder, "new", "a.txt"), b"text").read_text()
    'text'
    """
    try:
        files.replace(path, content)
    except OSError as error:
        raise RenderError(
            f"{path} could not be written: {files.reason(error)}.",
            "Name a file in a folder that you may write to.",
        ) from None
    return path
