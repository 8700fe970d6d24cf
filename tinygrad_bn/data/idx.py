"""The IDX format, in which MNIST and its relatives come: a header, then the array's bytes.

Two zero bytes, one for the type (8: unsigned bytes), one for the number of axes; the length of each
axis as a big-endian 32-bit integer; the elements. Source: LeCun, Cortes & Burges, The MNIST
database, section "file formats".
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import FileError

AGAIN = "Remove the file, and get it again."


def unpacked(path: Path) -> bytes:
    """Return the bytes of a file, decompressed if its name ends in ``.gz``.

    Raises FileError for a file that is no gzip file, or is cut short.
    """
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            return file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileError(f"{path} cannot be decompressed: {error}.", AGAIN) from error


def encoded(array: npt.NDArray[Any]) -> bytes:
    """Return the bytes of an IDX file that holds unsigned bytes.

    >>> encoded(np.array([7, 8], np.uint8)).hex(" ")
    '00 00 08 01 00 00 00 02 07 08'
    """
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + np.ascontiguousarray(array, np.uint8).tobytes()


def decoded(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """Return the array in the bytes of an IDX file; ``name`` is for errors.

    Raises FileError unless they hold unsigned bytes, as many as the header says.

    >>> decoded(encoded(np.array([[7], [8]], np.uint8)), "example")
    array([[7],
           [8]], dtype=uint8)
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise FileError(f"{name} is no IDX file of unsigned bytes.", AGAIN)
    start = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise FileError(
            f"{name} holds {len(content) - start} elements, and its header says shape {shape}.",
            AGAIN,
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
