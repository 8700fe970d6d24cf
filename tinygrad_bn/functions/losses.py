"""Losses. Cross-entropy keeps full relative accuracy on confident samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_bn.errors import BoundsError, DTypeError, ShapeError
from tinygrad_bn.functions.activations import softplus
from tinygrad_bn.functions.creation import zeros_like
from tinygrad_bn.functions.softmax import log_softmax, logsumexp, shifted
from tinygrad_bn.functions.statistics import floating, in_dtype, mean, normalise_axes, widened
from tinygrad_bn.graph.composition import composition
from tinygrad_bn.graph.state import composed_scope
from tinygrad_bn.graph.tensor import Operand, Tensor, as_constant
from tinygrad_bn.primitives.elementwise import square, where
from tinygrad_bn.primitives.indexing import one_hot_rows, take, take_along_axis
from tinygrad_bn.primitives.movement import astype, expand_dims, moveaxis, squeeze
from tinygrad_bn.primitives.reduction import sum

SOFTMAXES = {"softmax", "softmin", "sparsemax", "gumbel_softmax", "hardmax"}


@composition
def one_hot(labels: Operand, classes: int, /, *, axis: int = -1, dtype: Any = np.float64) -> Tensor:
    """Rows of zeros with a one at each label, classes along ``axis``.

    Raises BoundsError for a label outside ``0 .. classes - 1``, DTypeError for labels that are
    not integers.

    >>> one_hot([1, 0], 2)
    Tensor([[0., 1.],
            [1., 0.]])
    """
    indices = _labels(labels, "one_hot")
    if not isinstance(classes, int | np.integer):
        raise DTypeError(f"one_hot: {classes!r} classes.", "Give their number as an int.")
    rows = one_hot_rows(indices, classes=int(classes), dtype=np.dtype(dtype))
    return rows if axis == -1 else moveaxis(rows, -1, axis)


def _labels(labels: Operand, what: str) -> Tensor:
    indices = as_constant(labels)
    if indices.dtype.kind not in "iu":
        raise DTypeError(
            f"{what}: labels of dtype {indices.dtype}.",
            "Pass integer labels (astype(int)), or probabilities of the shape of the logits.",
        )
    return indices


def reduced(losses: Tensor, weights: Tensor | None, reduction: str, what: str) -> Tensor:
    """Reduce losses: "mean" (weighted), "sum" or "none". Raises ShapeError for another word."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return sum(losses)
    if reduction != "mean":
        raise ShapeError(f"{what}: reduction={reduction!r}.", 'Use "mean", "sum" or "none".')
    if weights is None:
        return mean(losses)
    return in_dtype(sum(widened(losses)) / sum(widened(weights)), losses.dtype)


@composition
def cross_entropy(
    logits: Operand,
    target: Operand,
    /,
    *,
    axis: int = -1,
    weight: Operand | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of softmax: the negative log-probability of the target class.

    ``logits``: scores before softmax, classes along ``axis`` (1 for images in NCHW). ``target``:
    integer labels of the shape of the logits without ``axis``, or probabilities of their full
    shape. ``weight``: one factor per class. ``ignore_index``: a label that does not count.
    ``label_smoothing``: the share of probability spread evenly over all classes.
    ``reduction``: "mean" (weighted mean over the samples that count), "sum" or "none".

    For integer labels it is ``softplus(logsumexp(other logits) - logit of the label)``, which
    keeps full relative accuracy, in value and gradient, where ``logsumexp - logit`` cancels.

    Raises DTypeError and ShapeError for a target that does not fit, BoundsError for a label out
    of range, ShapeError for logits that come out of a softmax already.

    >>> cross_entropy([[0.0, 0.0]], [1])
    Tensor(0.69314718)
    """
    z = floating(logits, "cross_entropy")
    _refuse_softmax(z)
    (along,) = normalise_axes(z, axis, "cross_entropy")
    t = target if isinstance(target, Tensor) else Tensor(target, name="target")
    if not 0 <= label_smoothing <= 1:
        raise ShapeError(f"cross_entropy: label_smoothing={label_smoothing}.", "Use 0 to 1.")
    label_smoothing = float(label_smoothing)
    factors = None if weight is None else _class_weights(weight, z, along)
    if t.shape == z.shape and t.dtype.kind == "f":
        if ignore_index is not None:
            raise ShapeError(
                f"cross_entropy: ignore_index={ignore_index} with probabilities.",
                "ignore_index marks integer labels: leave such samples out.",
            )
        return _soft_targets(z, t, along, factors, label_smoothing, reduction)
    return _hard_targets(z, t, along, factors, ignore_index, label_smoothing, reduction)


def _class_weights(weight: Operand, z: Tensor, along: int) -> Tensor:
    factors = astype(floating(weight, "cross_entropy: weight"), z.dtype)
    if factors.shape != (z.shape[along],):
        raise ShapeError(
            f"cross_entropy: weight of shape {factors.shape} for {z.shape[along]} classes.",
            "Give one weight for each class.",
        )
    return factors


def _soft_targets(
    z: Tensor, t: Tensor, along: int, factors: Tensor | None, smoothing: float, reduction: str
) -> Tensor:
    """Cross-entropy against probabilities, which need not be one-hot."""
    if smoothing:
        t = (1 - smoothing) * t + smoothing / z.shape[along]
    logp = log_softmax(z, axis=along)
    terms = t * where((t == 0) & (logp == -np.inf), 0.0, logp)
    if factors is not None:
        shape = [-1 if a == along else 1 for a in range(z.ndim)]
        terms = terms * factors.reshape(shape)
    return reduced(-sum(terms, axis=along), None, reduction, "cross_entropy")


def _hard_targets(
    z: Tensor,
    t: Tensor,
    along: int,
    factors: Tensor | None,
    ignore_index: int | None,
    smoothing: float,
    reduction: str,
) -> Tensor:
    """Cross-entropy against integer labels."""
    labels, counts = _checked_labels(z, t, along, ignore_index)
    own_class = _places(labels, along)
    with composed_scope("shift"):
        z, _ = shifted(z, (along,))
    others = z.at[own_class].set(-np.inf)
    losses = softplus(logsumexp(others, axis=along) - z[own_class])
    own = None if factors is None else take(factors, labels, axis=0)
    if own is not None:
        losses = losses * own
    if smoothing:
        shape = [-1 if a == along else 1 for a in range(z.ndim)]
        logp = log_softmax(z, axis=along)
        spread = logp if factors is None else logp * factors.reshape(shape)
        even = -sum(spread, axis=along) / z.shape[along]
        losses = (1 - smoothing) * losses + smoothing * even
    return _reduce_counted(losses, own, counts, reduction, "cross_entropy")


def _reduce_counted(
    losses: Tensor, weights: Tensor | None, counts: Tensor | None, reduction: str, what: str
) -> Tensor:
    """Reduce losses; samples that do not count weigh nothing."""
    if counts is not None:
        weights = where(counts, 1.0 if weights is None else weights, zeros_like(losses))
        losses = where(counts, losses, 0.0)
    return reduced(losses, weights, reduction, what)


def _places(labels: Tensor, along: int) -> tuple[Any, ...]:
    """Index the entry of each sample's own class."""
    grid = np.ogrid[tuple(slice(n) for n in labels.shape)]
    rest = [Tensor(line) for line in grid]
    return (*rest[:along], labels, *rest[along:])


def _checked_labels(
    z: Tensor, t: Tensor, along: int, ignore_index: int | None
) -> tuple[Tensor, Tensor | None]:
    """Return labels within range, and which of them count (None: all)."""
    wanted = z.shape[:along] + z.shape[along + 1 :]
    if t.shape == z.shape:
        raise DTypeError(
            f"cross_entropy: target {t.dtype} {t.shape} has the shape of the logits.",
            f"Make probabilities floating-point (astype(float)), or pass labels of shape {wanted}.",
        )
    if t.dtype.kind not in "iu" or t.shape != wanted:
        raise (ShapeError if t.dtype.kind in "iu" else DTypeError)(
            f"cross_entropy: target {t.dtype} {t.shape} for logits {z.dtype} {z.shape} with "
            f"classes along axis {along}.",
            f"Pass integer labels of shape {wanted}, or probabilities of shape {z.shape}.",
        )
    values, counts = t.data, None
    if ignore_index is not None:
        counts = values != ignore_index
        if not counts.any():
            raise ShapeError(
                f"cross_entropy: every label is the ignored one ({ignore_index}).",
                "Skip this batch.",
            )
        t, values = where(counts, t, 0), np.where(counts, values, 0)
    outside = (values < 0) | (values >= z.shape[along])
    if outside.any():
        place = tuple(int(i) for i in np.argwhere(outside)[0])
        raise BoundsError(
            f"cross_entropy: label {values[place]} at index {place} for {z.shape[along]} classes.",
            f"Labels go from 0 to {z.shape[along] - 1}; mark others with ignore_index.",
        )
    return t, None if counts is None else as_constant(counts)


def _refuse_softmax(z: Tensor) -> None:
    """Raise if logits come out of a softmax: cross_entropy would apply it a second time."""
    path, node = [f"cross_entropy({z.op.name if z.op else 'input'})"], z
    while node.op is not None:
        names = [s.name for s in node.scope.path if s.composed] if node.scope else []
        found = next((n for n in names if n in SOFTMAXES), None)
        if found and node.adjoint_of is None:
            path.append(f"{found} at {node.where}")
            raise ShapeError(
                "cross_entropy of the result of a softmax: softmax would be applied twice. "
                f"Path: {' -> '.join(reversed(path[1:]))} -> cross_entropy.",
                "Pass the logits; or use nll_loss(log_softmax(z), labels).",
            )
        if node.op.family != "movement" and node.op.name != "positive":
            return
        path.append(f"{node.op.name} at {node.where}")
        node = node.inputs[0] if isinstance(node.inputs[0], Tensor) else z
        if node is z:
            return


@composition
def nll_loss(
    log_probabilities: Operand,
    labels: Operand,
    /,
    *,
    axis: int = -1,
    weight: Operand | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of integer labels, given log-probabilities along ``axis``.

    >>> nll_loss(log_softmax([[0.0, 0.0]]), [1])
    Tensor(0.69314718)
    """
    logp = floating(log_probabilities, "nll_loss")
    (along,) = normalise_axes(logp, axis, "nll_loss")
    t, counts = _checked_labels(logp, as_constant(labels), along, ignore_index)
    losses = -squeeze(take_along_axis(logp, expand_dims(t, along), axis=along), along)
    own = None if weight is None else take(_class_weights(weight, logp, along), t, axis=0)
    if own is not None:
        losses = losses * own
    return _reduce_counted(losses, own, counts, reduction, "nll_loss")


@composition
def binary_cross_entropy(
    logits: Operand, target: Operand, /, *, weight: Operand | None = None, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy of a sigmoid: ``target`` in [0, 1] has the shape of ``logits``.

    ``(1 - t) * softplus(z) + t * softplus(-z)``: accurate in both tails.

    >>> binary_cross_entropy([0.0], [1.0])
    Tensor(0.69314718)
    """
    z = floating(logits, "binary_cross_entropy")
    t = as_constant(target)
    t = t if t.dtype.kind == "f" else astype(t, z.dtype)
    if t.shape != z.shape:
        raise ShapeError(
            f"binary_cross_entropy: target of shape {t.shape} for logits of shape {z.shape}.",
            "Give both one shape.",
        )
    if ((t.data < 0) | (t.data > 1)).any():
        raise ShapeError("binary_cross_entropy: a target outside [0, 1].", "Pass probabilities.")
    losses = (1 - t) * softplus(z) + t * softplus(-z)
    factors = None if weight is None else floating(weight, "binary_cross_entropy: weight")
    return reduced(
        losses if factors is None else losses * factors, None, reduction, "binary_cross_entropy"
    )


@composition
def mse_loss(prediction: Operand, target: Operand, /, *, reduction: str = "mean") -> Tensor:
    """Mean squared error of two tensors of one shape.

    >>> mse_loss([1.0, 2.0], [1.0, 4.0])
    Tensor(2.)
    """
    y, t = floating(prediction, "mse_loss"), floating(target, "mse_loss")
    if y.shape != t.shape:
        raise ShapeError(
            f"mse_loss: prediction of shape {y.shape}, target of shape {t.shape}.",
            "Give both one shape; broadcasting here is usually a mistake.",
        )
    return reduced(square(y - t), None, reduction, "mse_loss")
