"""Normalisation layers: thin shells over ``batch_norm``, ``RunningStats`` and ``layer_norm``."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import ShapeError
from tinygrad_bn.functions.normalisation import batch_norm, layer_norm
from tinygrad_bn.functions.statistics import RunningStats
from tinygrad_bn.graph.state import current, replaying
from tinygrad_bn.graph.tensor import Operand, Tensor, as_constant, leaf
from tinygrad_bn.nn.layers import sizes
from tinygrad_bn.nn.module import Buffer, Module, Parameter

Use: TypeAlias = Literal["batch", "running"]


class BatchNorm(Module):
    """Standardise each channel over the batch and all positions, then scale and shift.

    For (N, C), (N, C, L), (N, C, H, W); ``channel_axis=-1`` for channels last. ``gamma`` and
    ``beta`` have shape (features,), or are None with ``affine=False``.

    ``decay``: the share of the old running value that an update keeps; None averages all samples
    exactly. ``correction``: 1 (Ioffe & Szegedy 2015, algorithm 2) or 0 is subtracted from the
    number of samples in the running variance; a batch is always standardised with 0. ``debias``:
    divide by the weight seen so far, so that one update already gives the batch's own statistics.

    Three switches, independent of one another. ``use``: the statistics to standardise with,
    ``"batch"`` or ``"running"`` (those before this batch). ``update``: whether the batch enters
    the running statistics. Both are given for a call, or else for the layer, or else follow
    ``training``. The third: ``gamma.requires_grad`` and ``beta.requires_grad``.

    Running statistics change under ``no_grad`` too, once where a checkpoint computes again, and
    not while tracing: a trace is a look at the function. Raises ShapeError for another number of
    features, and for one value per channel where a batch's statistics are used or kept.

    >>> layer = BatchNorm(1, decay=None, correction=0)
    >>> layer([[1.0], [3.0]]).shape
    (2, 1)
    >>> layer.running_mean, layer.running_var
    (Tensor([2.]), Tensor([1.]))
    >>> layer
    BatchNorm(1, decay=None, correction=0)
    """

    def __init__(
        self,
        features: int,
        *,
        channel_axis: int = 1,
        eps: float = 1e-5,
        decay: float | None = 0.9,
        correction: int = 1,
        affine: bool = True,
        debias: bool = False,
        use: Use | None = None,
        update: bool | None = None,
        dtype: npt.DTypeLike = np.float64,
        momentum: None = None,
    ) -> None:
        sizes("BatchNorm", features=features)
        _refuse_momentum(momentum)
        _check_use(use)
        start = RunningStats.over(
            0, shape=(features,), decay=decay, correction=correction, debias=debias, dtype=dtype
        )
        self.features, self.channel_axis, self.eps = features, channel_axis, eps
        self.decay, self.correction, self.debias = decay, correction, debias
        self.use, self.update = use, update
        self.gamma = Parameter(np.ones(features, dtype), name="gamma") if affine else None
        self.beta = Parameter(np.zeros(features, dtype), name="beta") if affine else None
        self.average = Buffer(start.average, name="average")
        self.spread = Buffer(start.spread, name="spread")
        self.seen = Buffer(start.weight, name="seen")
        self.samples = Buffer(start.samples, name="samples")

    @property
    def running_mean(self) -> Tensor:
        """The running mean of each channel; 0 before any update."""
        return self._statistics((self.features,)).mean

    @property
    def running_var(self) -> Tensor:
        """The running variance of each channel; 1 before any update."""
        return self._statistics((self.features,)).var

    def forward(self, x: Operand, *, use: Use | None = None, update: bool | None = None) -> Tensor:
        """Standardise; ``use`` and ``update`` override the layer's own switches for this call."""
        operand = as_constant(x)
        axes = self._axes(operand)
        follow: Use = "batch" if self.training else "running"
        source = _check_use(use) or self.use or follow
        updates = next(u for u in (update, self.update, self.training) if u is not None)
        shape = tuple(1 if a in axes else n for a, n in enumerate(operand.shape))
        running = self._statistics(shape, axes)
        running.average.name, running.spread.name = "running_average", "running_spread"
        y = batch_norm(
            operand,
            self.gamma,
            self.beta,
            axis=axes,
            eps=self.eps,
            stats=None if source == "batch" else (running.mean, running.var),
        )
        if updates and not replaying() and not current().tracing:
            self._keep(operand, running)
        return y

    def _axes(self, x: Tensor) -> tuple[int, ...]:
        """Return the axes averaged over, all but the channels'."""
        channel = self.channel_axis
        fits = x.ndim > 1 and -x.ndim <= channel < x.ndim and x.shape[channel] == self.features
        if not fits:
            raise ShapeError(
                f"{self!r} of an input of shape {x.shape}: axis {channel} must hold "
                f"{self.features} channels.",
                "Pass (N, C) or (N, C, ...), or set channel_axis.",
            )
        return tuple(a for a in range(x.ndim) if a != channel % x.ndim)

    def _statistics(self, shape: tuple[int, ...], axes: tuple[int, ...] = (0,)) -> RunningStats:
        """Return the running statistics as a value that later updates leave alone."""
        average, spread = (leaf(b._data.reshape(shape)) for b in (self.average, self.spread))
        return RunningStats(
            average,
            spread,
            self.seen.item(),
            self.samples.item(),
            axes,
            self.decay,
            self.debias,
            self.correction,
        )

    def _keep(self, x: Tensor, running: RunningStats) -> None:
        """Let a batch enter the running statistics."""
        if x.size // self.features < 2:
            raise ShapeError(
                f"{self!r} cannot update running statistics from an input of shape {x.shape}: "
                f"one value per channel over axes {running.axis} has no variance.",
                "Use a batch of at least two, or eval mode, or update=False.",
            )
        new = running.updated(x)
        self.average.assign(leaf(new.average._data.reshape(-1)))
        self.spread.assign(leaf(new.spread._data.reshape(-1)))
        self.seen.assign(new.weight)
        self.samples.assign(new.samples)

    def details(self) -> str:
        """Say the features, decay and correction, and what is not the default."""
        defaults = {"channel_axis": 1, "eps": 1e-5, "debias": False, "use": None, "update": None}
        changed = [
            f"{k}={getattr(self, k)!r}" for k, v in defaults.items() if getattr(self, k) != v
        ]
        affine = ["affine=False"] if self.gamma is None else []
        main = [f"{self.features}", f"decay={self.decay}", f"correction={self.correction}"]
        return ", ".join([*main, *changed, *affine])


def _refuse_momentum(momentum: Any) -> None:
    if momentum is not None:
        raise ShapeError(
            f"BatchNorm: momentum={momentum}, a word with two opposite meanings.",
            f"A momentum of PyTorch is decay={1 - momentum:.12g} here; one of Keras is "
            f"decay={momentum:.12g}.",
        )


def _check_use(use: Any) -> Use | None:
    if use not in (None, "batch", "running"):
        raise ShapeError(f"BatchNorm: use={use!r}.", 'Use "batch", "running", or None.')
    return use  # type: ignore[no-any-return]


class LayerNorm(Module):
    """Standardise each sample over its last axes, then scale and shift; see ``layer_norm``.

    ``shape``: the lengths of those axes, or one number for the last. ``gamma`` and ``beta`` have
    this shape, or are None with ``affine=False``. Source: Ba, Kiros & Hinton (2016).

    >>> LayerNorm(2, affine=False, eps=0.0)([[1.0, 3.0]])
    Tensor([[-1.,  1.]])
    """

    def __init__(
        self,
        shape: int | tuple[int, ...],
        *,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: npt.DTypeLike = np.float64,
    ) -> None:
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        sizes(
            "LayerNorm",
            axes=len(self.shape),
            **{f"shape[{i}]": n for i, n in enumerate(self.shape)},
        )
        self.eps = eps
        self.gamma = Parameter(np.ones(self.shape, dtype), name="gamma") if affine else None
        self.beta = Parameter(np.zeros(self.shape, dtype), name="beta") if affine else None

    def forward(self, x: Operand) -> Tensor:
        """Standardise over the last axes. Raises ShapeError if they have another shape."""
        operand = as_constant(x)
        k = len(self.shape)
        if operand.shape[-k:] != self.shape:
            raise ShapeError(
                f"{self!r} of an input of shape {operand.shape}.",
                f"Pass (..., {', '.join(map(str, self.shape))}).",
            )
        return layer_norm(operand, self.gamma, self.beta, axis=tuple(range(-k, 0)), eps=self.eps)

    def details(self) -> str:
        """Say the shape, and what is not the default."""
        parts = [str(self.shape if len(self.shape) > 1 else self.shape[0])]
        parts += [f"eps={self.eps}"] if self.eps != 1e-5 else []
        return ", ".join(parts + (["affine=False"] if self.gamma is None else []))
