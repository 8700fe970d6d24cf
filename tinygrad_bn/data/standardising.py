"""Standardising features by what the training set shows, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
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
    becomes 0 there. Samples may have any number of axes, (N, 28, 28) say: each element of a sample
    is a feature. ``mean`` and ``std``: what was measured, in the shape of one sample.

    What is transformed keeps its dtype; integers become float64. ``state_dict()`` goes into a file
    beside a model's.

    >>> scale = Standardizer().fit([[1.0, 5.0], [3.0, 5.0]])
    >>> scale.transform([[5.0, 5.0]])
    array([[3., 0.]])
    >>> scale.inverse_transform([[3.0, 0.0]])
    array([[5., 5.]])
    """

    mean: NDArray | None = None
    std: NDArray | None = None

    def fit(self, x: Any) -> Self:
        """Measure the features of (N, ...); returns itself. Raises ShapeError if N is 0."""
        array = _table(x, "fit")
        if not np.isfinite(array).all():
            columns = np.flatnonzero(~np.isfinite(array).all(axis=0)).tolist()
            more = ", ..." if len(columns) > 5 else ""
            raise ShapeError(
                f"Standardizer.fit: features [{', '.join(map(str, columns[:5]))}{more}] hold NaN "
                "or infinite values.",
                "Remove or replace them first.",
            )
        wide = array.astype(np.result_type(array.dtype, np.float32), copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            average, variance = moments(wide, axis=0)
        if not np.isfinite(variance.data).all():
            raise ShapeError(
                f"Standardizer.fit: the variance of a feature is too large for {wide.dtype}.",
                "Divide the features by a power of ten first.",
            )
        self.mean, self.std = average.copy(), np.sqrt(variance.data)
        return self

    def transform(self, x: Any) -> NDArray:
        """Return ``(x - mean) / std``. Raises TinygradError before ``fit``."""
        mean, scale = self._fitted()
        array = self._like(x, "transform")
        return ((array - mean) / scale).astype(array.dtype, copy=False)

    def fit_transform(self, x: Any) -> NDArray:
        """Fit on ``x`` and return it transformed."""
        return self.fit(x).transform(x)

    def inverse_transform(self, z: Any) -> NDArray:
        """Return ``z * std + mean``. Raises TinygradError before ``fit``."""
        mean, scale = self._fitted()
        array = self._like(z, "inverse_transform")
        return (array * scale + mean).astype(array.dtype, copy=False)

    def state_dict(self) -> dict[str, NDArray]:
        """Return copies of what was measured, by name. Raises TinygradError before ``fit``.

        >>> scale = Standardizer().fit([[1.0], [3.0]])
        >>> scale.state_dict()
        {'mean': array([2.]), 'std': array([1.])}
        """
        self._fitted()
        return {"mean": np.array(self.mean), "std": np.array(self.std)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the statistics that ``state_dict`` returned, or what a file of them holds.

        Raises ShapeError, and changes nothing, unless they are a mean and a standard deviation of
        one shape, finite and not negative.
        """
        if set(state) != {"mean", "std"}:
            raise ShapeError(
                f"Standardizer.load_state_dict of the names {sorted(state)}.",
                "Pass what state_dict() returned: mean and std.",
            )
        mean, std = np.array(state["mean"]), np.array(state["std"])
        sound = mean.dtype.kind == std.dtype.kind == "f" and mean.shape == std.shape and mean.ndim
        if not (sound and np.isfinite(mean).all() and np.isfinite(std).all() and (std >= 0).all()):
            raise ShapeError(
                f"Standardizer.load_state_dict: mean of {mean.dtype} {mean.shape} and std of "
                f"{std.dtype} {std.shape} are no statistics.",
                "Pass what state_dict() returned: finite numbers of one shape, std not negative.",
            )
        self.mean, self.std = mean, std

    def _fitted(self) -> tuple[NDArray, NDArray]:
        if self.mean is None or self.std is None:
            raise TinygradError(
                "A Standardizer is used before it was fitted.", "Call fit(x_train) first."
            )
        return self.mean, np.where(self.std > 0, self.std, 1)

    def _like(self, x: Any, what: str) -> NDArray:
        array = _table(x, what)
        features = self._fitted()[0].shape
        if array.shape[1:] != features:
            lengths = ", ".join(map(str, features))
            raise ShapeError(
                f"Standardizer.{what} of shape {array.shape}, fitted on samples of {features}.",
                f"Pass (N, {lengths}).",
            )
        return array

    def __repr__(self) -> str:
        fitted = "not fitted" if self.mean is None else f"{self.mean.size} features"
        return f"Standardizer({fitted})"


def _table(x: Any, what: str) -> NDArray:
    """Return floating-point samples; integers become float64."""
    array = np.asarray(x)
    if array.dtype.kind in "biu":
        array = array.astype(np.float64)
    if array.ndim < 2 or array.dtype.kind != "f" or not len(array):
        raise ShapeError(
            f"Standardizer.{what} of {array.dtype} {array.shape}.",
            "Pass real numbers of shape (N, features) or (N, ...), N at least 1.",
        )
    return array
