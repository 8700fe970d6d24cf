"""What a model answers, and how good that is: in evaluation mode, in batches, without a graph."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_bn.data.splitting import batches
from tinygrad_bn.errors import DTypeError, ShapeError
from tinygrad_bn.graph.state import no_grad
from tinygrad_bn.nn.module import Module

NDArray: TypeAlias = npt.NDArray[Any]
Loss: TypeAlias = Callable[[Any, Any], Any]
Metric: TypeAlias = Callable[[NDArray, NDArray], float]


@contextlib.contextmanager
def modes_kept(model: Module) -> Iterator[None]:
    """Put every module back into the mode it was in."""
    before = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def accuracy(prediction: Any, labels: Any) -> float:
    """Return the share of samples whose largest score is at the label.

    ``prediction``: scores (N, C); ``labels``: integers (N,). Raises ShapeError for other shapes.

    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    scores, wanted = np.asarray(prediction), np.asarray(labels)
    if scores.ndim != 2 or wanted.shape != scores.shape[:1]:
        raise ShapeError(
            f"accuracy of predictions {scores.shape} and labels {wanted.shape}.",
            "Pass scores (N, C) and integer labels (N,); to fit and evaluate, metrics={} for none.",
        )
    return float((scores.argmax(axis=1) == wanted).mean())


def predict(model: Module, x: Any, *, batch_size: int = 1000) -> NDArray:
    """Return the model's output for each sample, computed in evaluation mode and without a graph.

    ``x``: (N, ...); the output (N, ...) is put together from batches. Every module is afterwards
    in the mode it was in.

    >>> from tinygrad_bn.nn.layers import Linear
    >>> predict(Linear(2, 3, rng=0), np.ones((5, 2)), batch_size=2).shape
    (5, 3)
    """
    with modes_kept(model), no_grad():
        model.eval()
        parts = [model(part).data for (part,) in batches(x, size=batch_size, shuffle=False)]
    return np.concatenate(parts)


def evaluate(
    model: Module,
    data: tuple[Any, Any],
    loss: Loss,
    *,
    metrics: Mapping[str, Metric] | None = None,
    batch_size: int = 1000,
) -> dict[str, float]:
    """Return ``{"loss": ..., name: ...}`` of a model on samples ``(x, y)``, in evaluation mode.

    ``loss(prediction, y)``: a mean over samples; the batches' means are weighted by their sizes.
    ``metrics``: ``{name: f(prediction, y)}`` on the arrays of all samples together; by default the
    accuracy, if ``y`` holds integers. Raises ShapeError for x and y of different lengths.

    >>> from tinygrad_bn.functions.losses import mse_loss
    >>> from tinygrad_bn.nn.layers import Linear
    >>> model = Linear(1, 1, rng=0)
    >>> model.weight.assign([[2.0]])
    >>> evaluate(model, ([[1.0], [3.0]], [[2.0], [5.0]]), mse_loss)
    {'loss': 0.5}
    """
    x, y = arrays_of(data, "evaluate")
    total, parts = 0.0, []
    with modes_kept(model), no_grad():
        model.eval()
        for xb, yb in batches(x, y, size=batch_size, shuffle=False):
            prediction = model(xb)
            total += float(loss(prediction, yb).item()) * len(xb)
            parts.append(prediction.data)
    whole = np.concatenate(parts)
    measured = {name: float(f(whole, y)) for name, f in default_metrics(metrics, y).items()}
    return {"loss": total / len(x), **measured}


def arrays_of(data: Any, what: str) -> tuple[NDArray, NDArray]:
    """Return x and y as arrays, or say what was passed instead."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ShapeError(
            f"{what}: the data are a {type(data).__name__}.", "Pass a tuple of two arrays: (x, y)."
        )
    x, y = (np.asarray(part) for part in data)
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or not len(x):
        raise ShapeError(
            f"{what}: x of shape {x.shape} and y of shape {y.shape}.",
            "Pass arrays whose first axes count the same samples, at least one.",
        )
    if "O" in (x.dtype.kind, y.dtype.kind):
        raise DTypeError(f"{what}: x or y holds objects.", "Pass arrays of numbers.")
    return x, y


def default_metrics(metrics: Mapping[str, Metric] | None, y: NDArray) -> Mapping[str, Metric]:
    """Return the metrics, by default the accuracy if y holds labels."""
    if metrics is not None:
        return metrics
    return {"accuracy": accuracy} if y.ndim == 1 and y.dtype.kind in "iu" else {}
