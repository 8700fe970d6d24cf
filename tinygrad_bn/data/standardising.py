"""Standardising features by what the training set shows, and nothing else."""

from __future__ import annotations

from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import ShapeError, TinygradError
from tinygrad_bn.functions.statistics import moments

NDArray: TypeAlias = npt.NDArray[Any]


class Standardizer:
    """Give each feature mean 0 and standard deviation 1, as measured on the training set.

    Fit it on the training set only, and apply it to every set: statistics of the test set would
    leak into what is tested. A feature that is constant in training is only centred, so that it
    becomes 0 there. ``mean`` and ``std``: what was measured, (features,).

    >>> scale = Standardizer().fit([[1.0, 5.0], [3.0, 5.0]])
    >>> scale.transform([[5.0, 5.0]])
    array([[3., 0.]])
    >>> scale.inverse_transform([[3.0, 0.0]])
    array([[5., 5.]])
    """

    mean: NDArray | None = None
    std: NDArray | None = None

    def fit(self, x: Any) -> Self:
        """Measure the features of (N, features); returns itself. Raises ShapeError if N is 0."""
        array = _table(x, "fit")
        if not np.isfinite(array).all():
            columns = np.flatnonzero(~np.isfinite(array).all(axis=0)).tolist()
            raise ShapeError(
                f"Standardizer.fit: features {columns} hold NaN or infinite values.",
                "Remove or replace them first.",
            )
        average, variance = moments(array, axis=0)
        self.mean, self.std = average.copy(), np.sqrt(variance.data)
        return self

    def transform(self, x: Any) -> NDArray:
        """Return ``(x - mean) / std``. Raises TinygradError before ``fit``."""
        mean, scale = self._fitted()
        return (self._like(x, "transform") - mean) / scale

    def fit_transform(self, x: Any) -> NDArray:
        """Fit on ``x`` and return it transformed."""
        return self.fit(x).transform(x)

    def inverse_transform(self, z: Any) -> NDArray:
        """Return ``z * std + mean``. Raises TinygradError before ``fit``."""
        mean, scale = self._fitted()
        return self._like(z, "inverse_transform") * scale + mean

    def _fitted(self) -> tuple[NDArray, NDArray]:
        if self.mean is None or self.std is None:
            raise TinygradError(
                "A Standardizer is used before it was fitted.", "Call fit(x_train) first."
            )
        return self.mean, np.where(self.std > 0, self.std, 1)

    def _like(self, x: Any, what: str) -> NDArray:
        array = _table(x, what)
        features = self._fitted()[0].size
        if array.shape[1] != features:
            raise ShapeError(
                f"Standardizer.{what} of shape {array.shape}, fitted on {features} features.",
                f"Pass (N, {features}).",
            )
        return array

    def __repr__(self) -> str:
        fitted = "not fitted" if self.mean is None else f"{self.mean.size} features"
        return f"Standardizer({fitted})"


def _table(x: Any, what: str) -> NDArray:
    """Return floating-point samples by features; integers become float64."""
    array = np.asarray(x)
    if array.dtype.kind in "biu":
        array = array.astype(np.float64)
    if array.ndim != 2 or array.dtype.kind != "f" or not len(array):
        raise ShapeError(
            f"Standardizer.{what} of {array.dtype} {array.shape}.",
            "Pass real numbers of shape (N, features), N at least 1.",
        )
    return array
