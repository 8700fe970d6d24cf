"""A catalogue of the composed functions: each with random arguments and every keyword it has.

What is to be checked of all of them iterates over ``NAMES`` and calls ``draw_composition``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import ShapeError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.namespaces import tensors
from tinygrad_bn.graph.program import literal
from tinygrad_bn.graph.tensor import as_constant
from tinygrad_bn.testing.generators.calls import draw_call
from tinygrad_bn.testing.generators.choices import Choices
from tinygrad_bn.testing.generators.python_text import array_text
from tinygrad_bn.testing.generators.shapes import (
    Shape,
    draw_axes,
    draw_axis,
    draw_larger,
    draw_shape,
    draw_smaller,
)
from tinygrad_bn.testing.generators.values import DOMAIN, Domain, Kind

Array: TypeAlias = npt.NDArray[Any]


class _Open:
    """Where an argument comes in."""

    def __repr__(self) -> str:
        return "..."


OPEN: Final = _Open()


class Randomness(NamedTuple):
    """A generator that is made anew for each call, so that the function stays a function."""

    seed: int


@dataclass(frozen=True, eq=False)
class Composed:
    """A composed function with all filled in but its differentiable arguments.

    ``positional`` and ``keywords``: what it is called with; ``OPEN`` stands for the next argument,
    also inside tuples and lists.

    >>> softmax = Composed("softmax", (OPEN,), {"axis": 0})
    >>> softmax, softmax([0.0, 0.0])
    (tg.softmax(x1, axis=0), Tensor([0.5, 0.5]))
    """

    name: str
    positional: tuple[Any, ...]
    keywords: Mapping[str, Any]

    @property
    def __name__(self) -> str:
        """The name of the function."""
        return self.name

    def __call__(self, *arguments: Any) -> Any:
        """Call the function with the arguments in their places."""
        rest = iter(arguments)
        positional = [_filled(value, rest) for value in self.positional]
        keywords = {name: _filled(value, rest) for name, value in self.keywords.items()}
        return getattr(tensors, self.name)(*positional, **keywords)

    def __repr__(self) -> str:
        """Write the call, with the arguments as x1, x2, ..."""
        count = iter(range(1, 100))
        given = [_text(value, count) for value in self.positional]
        given += [f"{name}={_text(value, count)}" for name, value in self.keywords.items()]
        return f"tg.{self.name}({', '.join(given)})"


def _filled(value: Any, rest: Iterator[Any]) -> Any:
    if isinstance(value, Randomness):
        return np.random.default_rng(value.seed)
    if isinstance(value, tuple | list):
        return type(value)(_filled(v, rest) for v in value)
    return next(rest) if value is OPEN else value


def _text(value: Any, count: Iterator[int]) -> str:
    if value is OPEN:
        return f"x{next(count)}"
    if isinstance(value, Randomness):
        return f"np.random.default_rng({value.seed})"
    if isinstance(value, np.ndarray):
        return array_text(value)
    if isinstance(value, tuple | list):
        inner = ", ".join(_text(v, count) for v in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    return literal(value)


class CompositionCase(NamedTuple):
    """A composed function, and arguments for it: all of them floating-point arrays.

    >>> from tinygrad_bn.testing.checking.checker import check_gradients
    >>> from tinygrad_bn.testing.generators.choices import Seeded
    >>> case = draw_composition(Seeded(np.random.default_rng(0)), "batch_norm")
    >>> check_gradients(case.function, *case.arguments, order=1, directions=1).ok
    True
    """

    function: Composed
    arguments: tuple[Array, ...]


def draw_composition(
    choices: Choices, name: str, *, kind: Kind = "generic", dtype: npt.DTypeLike = np.float64
) -> CompositionCase:
    """Draw a call of a composed function: shapes, keywords, and arguments of a kind.

    ``name``: one of ``NAMES``. Masks, labels, class weights and random numbers are part of the
    function. Where values of the kind give no finite result, they are generic. Not drawn, for
    their gradient is not that of their value: ``gumbel_softmax(hard=True)``.

    Raises ShapeError for an unknown name.
    """
    if name not in _drawers:
        raise ShapeError(f"There is no composition {name!r}.", "Use one of compositions.NAMES.")
    drawing = _Drawing(choices, kind, np.dtype(dtype))
    for tries in range(4):
        positional, keywords = _drawers[name](drawing)
        case = CompositionCase(Composed(name, positional, keywords), tuple(drawing.arguments))
        if tries == 3 or _is_finite(case):
            break
        drawing = _Drawing(choices, kind if tries < 1 else "generic", np.dtype(dtype))
    return case


def _is_finite(case: CompositionCase) -> bool:
    with np.errstate(all="ignore"):
        results = flatten(case.function(*case.arguments))[0]
    return all(np.isfinite(as_constant(y).data).all() for y in results)


class _Drawing:
    """The arguments of one call while it is being drawn."""

    def __init__(self, choices: Choices, kind: Kind, dtype: np.dtype[Any]) -> None:
        self.choices, self.kind, self.dtype = choices, kind, dtype
        self.arguments: list[Array] = []

    def open(self, shape: Shape, *, domain: Domain = DOMAIN, kind: Kind | None = None) -> _Open:
        """Draw the next argument, and return what stands in its place."""
        drawn = self.choices.array(shape, kind=kind or self.kind, dtype=self.dtype, domain=domain)
        self.arguments.append(drawn)
        return OPEN

    def positive(self, shape: Shape) -> _Open:
        """Draw an argument that has to be positive and moderate."""
        return self.open(shape, domain=(0.25, 3.0), kind="generic")

    def maybe(self, **keywords: Any) -> dict[str, Any]:
        """Keep each keyword, or leave it to its default; a list is a choice of values."""
        chosen = {}
        for name, values in keywords.items():
            value = self.choices.among([..., *values])
            if value is not ...:
                chosen[name] = value
        return chosen

    def axis(self, shape: Shape, *, none: bool = True) -> Any:
        """Draw an axis, several, or none."""
        forms: list[Any] = [
            draw_axis(self.choices, len(shape)),
            draw_axes(self.choices, len(shape)),
        ]
        return self.choices.among([*forms, None] if none else forms)

    def mask(self, shape: Shape, axis: Any) -> Array:
        """Draw a mask with something true along the axes."""
        mask = self.choices.integers(shape, 0, 1).astype(bool)
        axes = tuple(range(len(shape))) if axis is None else axis
        return mask | ~mask.any(axis=axes, keepdims=True)


_Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
_Drawer: TypeAlias = Callable[[_Drawing], _Call]
_drawers: dict[str, _Drawer] = {}


def _draws(*names: str) -> Callable[[_Drawer], _Drawer]:
    """Enter a drawer into the catalogue."""

    def enter(drawer: _Drawer) -> _Drawer:
        """Keep it."""
        _drawers.update(dict.fromkeys(names, drawer))
        return drawer

    return enter


# statistics and softmax ---------------------------------------------------------------------------


@_draws("mean")
def _mean(d: _Drawing) -> _Call:
    shape = draw_shape(d.choices, least=1)
    axis = d.axis(shape)
    return (d.open(shape),), {"axis": axis, **d.maybe(keepdims=[True])}


@_draws("var", "std", "moments")
def _spread(d: _Drawing) -> _Call:
    shape = draw_shape(d.choices, least=1, sides=(2, 3, 4))
    keywords = {"axis": d.axis(shape), **d.maybe(correction=[0, 1, 0.5], keepdims=[True])}
    return (d.open(shape),), keywords


def _logits(d: _Drawing) -> Shape:
    return draw_shape(d.choices, least=1, sides=(2, 3, 4, 1))


@_draws("softmax")
def _softmax(d: _Drawing) -> _Call:
    shape = _logits(d)
    axis = d.axis(shape, none=False)
    z = d.open(shape)
    way = d.choices.among(("plain", "mask", "empty", "temperature", "learned"))
    if way == "mask":
        return (z,), {"axis": axis, "where": d.mask(shape, axis)}
    if way == "empty":
        mask = d.choices.integers(shape, 0, 1).astype(bool)
        return (z,), {"axis": axis, "where": mask, "empty": "zero"}
    if way == "temperature":
        return (z,), {"axis": axis, "temperature": d.choices.among((0.5, 2.0))}
    return (z,), {"axis": axis, **({"temperature": d.positive(())} if way == "learned" else {})}


@_draws("log_softmax", "softmin")
def _log_softmax(d: _Drawing) -> _Call:
    """Without a mask: masked entries of log-softmax are -inf."""
    shape = _logits(d)
    return (d.open(shape),), {"axis": d.axis(shape, none=False)}


@_draws("logsumexp")
def _logsumexp(d: _Drawing) -> _Call:
    shape = _logits(d)
    axis = d.axis(shape)
    masked = {"where": d.mask(shape, axis)} if d.choices.chance(1, 3) else {}
    return (d.open(shape),), {"axis": axis, **masked, **d.maybe(keepdims=[True])}


@_draws("hardmax", "sparsemax")
def _along(d: _Drawing) -> _Call:
    shape = _logits(d)
    return (d.open(shape),), {"axis": draw_axis(d.choices, len(shape))}


@_draws("gumbel_softmax")
def _gumbel_softmax(d: _Drawing) -> _Call:
    positional, keywords = _along(d)
    seed = d.choices.integer(0, 99)
    return positional, {**keywords, "rng": Randomness(seed), **d.maybe(temperature=[0.5, 2.0])}


# activations --------------------------------------------------------------------------------------


@_draws("softplus", "sigmoid", "log_sigmoid", "softsign", "relu", "gelu", "silu")
def _activation(d: _Drawing) -> _Call:
    return (d.open(draw_shape(d.choices)),), {}


@_draws("leaky_relu")
def _leaky_relu(d: _Drawing) -> _Call:
    return (d.open(draw_shape(d.choices)),), d.maybe(slope=[0.25, 0.0])


@_draws("elu")
def _elu(d: _Drawing) -> _Call:
    return (d.open(draw_shape(d.choices)),), d.maybe(alpha=[0.5, 2.0])


@_draws("dropout")
def _dropout(d: _Drawing) -> _Call:
    rate, seed = d.choices.among((0.25, 0.5, 0.0)), d.choices.integer(0, 99)
    return (d.open(draw_shape(d.choices)),), {"rate": rate, "rng": Randomness(seed)}


# losses -------------------------------------------------------------------------------------------

_REDUCTIONS = ["sum", "none", "mean"]


def _class_shape(d: _Drawing) -> tuple[Shape, int, Shape]:
    """Draw the shape of logits, the axis of their classes, and the shape without it."""
    shape = draw_shape(d.choices, least=1, sides=(2, 3, 4))
    axis = draw_axis(d.choices, len(shape))
    along = axis % len(shape)
    return shape, axis, shape[:along] + shape[along + 1 :]


def _labelled(d: _Drawing) -> _Call:
    """Draw logits or log-probabilities with labels, some of them ignored, and class weights."""
    shape, axis, rest = _class_shape(d)
    z, classes = d.open(shape), shape[axis]
    labels = d.choices.integers(rest, 0, classes - 1)
    keywords = {"axis": axis, **d.maybe(reduction=_REDUCTIONS)}
    if d.choices.chance(1, 3):
        ignored = d.choices.among((-1, 0))
        counts = d.mask(rest, None)
        labels = np.where(counts, np.maximum(labels, ignored + 1), ignored)
        keywords["ignore_index"] = ignored
    if d.choices.chance(1, 3):
        keywords["weight"] = d.positive((classes,))
    return (z, labels), keywords


_draws("nll_loss")(_labelled)


@_draws("cross_entropy")
def _cross_entropy(d: _Drawing) -> _Call:
    if d.choices.chance(2, 3):
        positional, keywords = _labelled(d)
        return positional, {**keywords, **d.maybe(label_smoothing=[0.125])}
    shape, axis, _ = _class_shape(d)
    positional = (d.open(shape), d.positive(shape))
    weight = {"weight": d.positive((shape[axis],))} if d.choices.chance(1, 3) else {}
    options = d.maybe(label_smoothing=[0.125], reduction=_REDUCTIONS)
    return positional, {"axis": axis, **options, **weight}


@_draws("binary_cross_entropy")
def _binary_cross_entropy(d: _Drawing) -> _Call:
    """Targets are 0 and 1, or arguments that stay within (0, 1) while they are moved."""
    shape = draw_shape(d.choices)
    z = d.open(shape)
    hard = d.choices.chance(1, 2)
    target: Any = (
        d.choices.integers(shape, 0, 1)
        if hard
        else d.open(shape, domain=(0.25, 0.5), kind="generic")
    )
    options = d.maybe(reduction=_REDUCTIONS)
    if d.choices.chance(1, 3):
        options["weight"] = d.positive(draw_smaller(d.choices, shape))
    return (z, target), options


@_draws("mse_loss")
def _mse_loss(d: _Drawing) -> _Call:
    shape = draw_shape(d.choices)
    return (d.open(shape), d.open(shape)), d.maybe(reduction=_REDUCTIONS)


# normalisation ------------------------------------------------------------------------------------

_EPS = [0.5, 1e-3]


def _marked(shape: Shape, axis: Any, *, kept: bool) -> Shape:
    """Put -1 for the axes that a parameter does not have: those averaged over, or the others."""
    over = {a % len(shape) for a in ((axis,) if isinstance(axis, int) else axis)}
    return tuple(n if (a in over) != kept else -1 for a, n in enumerate(shape))


def _affine(d: _Drawing, marked: Shape, count: int) -> tuple[Any, ...]:
    """Draw gamma and beta, or one of them: without the marked axes, with ones, or smaller."""
    full = tuple(1 if n == -1 else n for n in marked)
    forms = (tuple(n for n in marked if n != -1), full, draw_smaller(d.choices, full))
    return tuple(
        d.open(d.choices.among(forms)) if d.choices.chance(4, 5) else None
        for _ in range(d.choices.integer(0, count))
    )


@_draws("standardize")
def _standardize(d: _Drawing) -> _Call:
    shape = draw_shape(d.choices, least=1, sides=(2, 3, 4))
    return (d.open(shape),), {"axis": d.axis(shape), **d.maybe(eps=_EPS)}


@_draws("batch_norm")
def _batch_norm(d: _Drawing) -> _Call:
    """Features (N, C), images (N, C, ...), any axes; the batch's statistics or given ones."""
    shape = draw_shape(d.choices, least=2, most=4, sides=(2, 3, 2))
    usual = (0, *range(2, len(shape))) if len(shape) > 2 else 0
    axis = d.choices.among((usual, d.axis(shape, none=False)))
    marked = _marked(shape, axis, kept=True)
    given = (d.open(shape), *_affine(d, marked, 2))
    keywords = {"axis": axis, **d.maybe(eps=_EPS)}
    if d.choices.chance(1, 3):
        full = tuple(1 if n == -1 else n for n in marked)
        keywords["stats"] = (d.open(full, kind="generic"), d.positive(full))
    return given, keywords


def _per_sample(d: _Drawing, *, parameters: int) -> _Call:
    """Standardise over the last axis, or any axes."""
    shape = draw_shape(d.choices, least=1, sides=(2, 3, 4))
    axis = d.choices.among((-1, d.axis(shape, none=False)))
    given = (d.open(shape), *_affine(d, _marked(shape, axis, kept=False), parameters))
    return given, {"axis": axis, **d.maybe(eps=_EPS)}


_draws("layer_norm")(functools.partial(_per_sample, parameters=2))
_draws("rms_norm")(functools.partial(_per_sample, parameters=1))


@_draws("instance_norm")
def _channel_norm(d: _Drawing) -> _Call:
    """Standardise channels, (N, C, ...), each for itself."""
    sides = draw_shape(d.choices, least=1, most=2, sides=(2, 3))
    shape = (d.choices.integer(1, 3), d.choices.integer(1, 4), *sides)
    return (d.open(shape), *_affine(d, _marked(shape, 1, kept=False), 2)), d.maybe(eps=_EPS)


@_draws("group_norm")
def _group_norm(d: _Drawing) -> _Call:
    """Standardise groups of channels."""
    given, keywords = _channel_norm(d)
    channels = d.arguments[0].shape[1]
    groups = d.choices.among([n for n in range(1, channels + 1) if channels % n == 0])
    return given, {"groups": groups, **keywords}


# convolution, pooling and the rest ----------------------------------------------------------------


def _image(d: _Drawing, k: int, channels: int) -> Shape:
    return (d.choices.integer(1, 2), channels, *(d.choices.integer(3, 5) for _ in range(k)))


def _steps(d: _Drawing, k: int, **keywords: Any) -> dict[str, Any]:
    """Draw strides and the like, as a number or one for each axis."""
    chosen = d.maybe(**keywords)
    return {
        name: d.choices.among((value, (value,) * k)) if isinstance(value, int) else value
        for name, value in chosen.items()
    }


def _conv(k: int) -> _Drawer:
    def drawer(d: _Drawing) -> _Call:
        """Draw images, weights, perhaps a bias; windows that fit."""
        groups, each = d.choices.integer(1, 2), d.choices.integer(1, 2)
        x = _image(d, k, groups * each)
        window = tuple(d.choices.integer(1, 2) for _ in range(k))
        out = groups * d.choices.integer(1, 2)
        given = [d.open(x), d.open((out, each, *window))]
        given += [d.open((out,))] if d.choices.chance(1, 2) else []
        steps = _steps(d, k, stride=[2], padding=[1], dilation=[2])
        return tuple(given), {**steps, **({"groups": groups} if groups > 1 else {})}

    return drawer


def _pool(k: int, *, dilates: bool) -> _Drawer:
    def drawer(d: _Drawing) -> _Call:
        """Draw images and a window that fits."""
        shape = _image(d, k, d.choices.integer(1, 2))
        window: Any = tuple(d.choices.integer(2, 3) for _ in range(k))
        steps = _steps(d, k, stride=[1, 2], padding=[1])
        if dilates and max(window) == 2:
            steps.update(_steps(d, k, dilation=[2]))
        same = window[0] if len(set(window)) == 1 else window
        return (d.open(shape), d.choices.among((window, same))), steps

    return drawer


for _k in (1, 2):
    _draws(f"conv{_k}d")(_conv(_k))
    _draws(f"max_pool{_k}d")(_pool(_k, dilates=True))
    _draws(f"avg_pool{_k}d")(_pool(_k, dilates=False))


@_draws("einsum")
def _einsum(d: _Drawing) -> _Call:
    call = draw_call(d.choices, "einsum")
    return (call.params["subscripts"], *(d.open(x.shape) for x in call.operands)), {}


@_draws("pad")
def _pad(d: _Drawing) -> _Call:
    shape = draw_shape(d.choices, least=1, sides=(2, 3, 4))
    mode = d.choices.among(("constant", "edge", "reflect", "symmetric", "wrap"))
    pairs = d.choices.integers((len(shape), 2), 0, 1).tolist()
    widths = d.choices.among((1, (0, 1), [tuple(pair) for pair in pairs]))
    value = d.maybe(value=[0.5]) if mode == "constant" else {}
    return (d.open(shape), widths), {"mode": mode, **value}


@_draws("unstack")
def _unstack(d: _Drawing) -> _Call:
    shape = draw_shape(d.choices, least=1)
    return (d.open(shape),), {"axis": draw_axis(d.choices, len(shape))}


@_draws("diff")
def _diff(d: _Drawing) -> _Call:
    shape = draw_shape(d.choices, least=1, sides=(3, 4, 2))
    axis = draw_axis(d.choices, len(shape))
    x = d.open(shape)
    ends = {name: d.open(shape) for name in ("prepend", "append") if d.choices.chance(1, 4)}
    return (x,), {"axis": axis, **ends, **d.maybe(n=[1, 2, 0])}


@_draws("broadcast_arrays")
def _broadcast_arrays(d: _Drawing) -> _Call:
    common = draw_larger(d.choices, draw_shape(d.choices))
    count = d.choices.integer(1, 3)
    return tuple(d.open(draw_smaller(d.choices, common)) for _ in range(count)), {}


@_draws("meshgrid")
def _meshgrid(d: _Drawing) -> _Call:
    count = d.choices.integer(1, 3)
    lines = tuple(d.open((d.choices.integer(1, 3),)) for _ in range(count))
    return lines, d.maybe(indexing=["ij", "xy"])


@_draws("full")
def _full(d: _Drawing) -> _Call:
    return (draw_shape(d.choices), d.open(())), {}


@_draws("full_like")
def _full_like(d: _Drawing) -> _Call:
    return (np.zeros(draw_shape(d.choices), d.dtype), d.open(())), {}


@_draws("asarray")
def _asarray(d: _Drawing) -> _Call:
    return (d.open(draw_shape(d.choices)),), d.maybe(dtype=[np.dtype(np.float64)])


NAMES: tuple[str, ...] = tuple(sorted(_drawers))
"""Every composed function that is differentiable."""
