"""The arrays that a page shows: a corner of numbers, statistics, a histogram; each stored once."""

from __future__ import annotations

import hashlib
import math
import sys
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_bn.viz.labels import number

Facts: TypeAlias = dict[str, Any]

CORNER = 8
"""Rows and columns of which the numbers themselves are kept."""

_BINS = 16


class Arrays:
    """Every array of a page; ``add`` returns its position, and identical ones share theirs."""

    def __init__(self) -> None:
        self.facts: list[Facts] = []
        self._known: dict[tuple[Any, ...], int] = {}

    def add(self, values: npt.NDArray[Any]) -> int:
        """Take in an array."""
        digest = hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=16).digest()
        key = (values.shape, values.dtype.str, digest)
        if key not in self._known:
            self._known[key] = len(self.facts)
            self.facts.append(facts(values))
        return self._known[key]


def facts(values: npt.NDArray[Any]) -> Facts:
    """Describe an array, seen as rows of its last axis, in what JSON can hold.

    >>> facts(np.array([[1.0, -1.0], [np.nan, 3.0]]))["cells"]
    [1.0, -1.0, 'NaN', 3.0]
    """
    table = values.reshape(-1, values.shape[-1] if values.ndim and values.size else 1)
    corner = table[:CORNER, :CORNER]
    told: Facts = {
        "shape": list(values.shape),
        "dtype": str(values.dtype),
        "table": list(table.shape),
        "cells": [_cell(x) for x in corner.ravel()],
    }
    if values.size > 1:
        told |= _statistics(values)
    return told


def _cell(x: Any) -> float | int | str:
    if isinstance(x, np.complexfloating):
        return number(x, 4)
    return int(x) if isinstance(x, np.bool_ | np.integer) else _rounded(x)


def _rounded(x: Any) -> float | str:
    """Round to four significant digits; JSON has no word for NaN, and for what is too large."""
    rounded = float(f"{x:.4g}")
    return rounded if math.isfinite(rounded) else number(x, 4)


def _statistics(values: npt.NDArray[Any]) -> Facts:
    """Summarise the finite elements (their magnitudes where they are complex)."""
    real = np.abs(values) if values.dtype.kind == "c" else values
    told: Facts = {
        "zeros": int(np.count_nonzero(real == 0)),
        "nan": int(np.isnan(real).sum()),
        "inf": int(np.isinf(real).sum()),
    }
    with np.errstate(all="ignore"):
        wide = real.astype(np.float64).ravel()
        finite = wide[np.isfinite(wide)]
        if finite.size:
            moments = finite.min(), finite.max(), finite.mean(), finite.std()
            told["moments"] = [_rounded(m) for m in (*moments, np.linalg.norm(finite))]
            told["histogram"] = _histogram(finite)
    return told


def _histogram(finite: npt.NDArray[np.float64]) -> list[int]:
    """Count the elements in bins from the least to the largest; empty where all are about equal."""
    low, high = float(finite.min()), float(finite.max())
    least = _BINS * max(math.ulp(max(abs(low), abs(high))), sys.float_info.min)
    if not least < high - low < math.inf:
        return []
    return [int(n) for n in np.histogram(finite, bins=_BINS, range=(low, high))[0]]
