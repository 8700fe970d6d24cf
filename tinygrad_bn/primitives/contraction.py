"""Contractions: products summed over shared axes. Batch axes broadcast."""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from tinygrad_bn.errors import DTypeError, ShapeError
from tinygrad_bn.graph.primitive import Array
from tinygrad_bn.primitives.families import Each, contraction


def _matmul_left(xp: Any, g: Array, out: Array, x: Array, y: Array) -> Array:
    if x.ndim == y.ndim == 1:
        return g * y
    if y.ndim == 1:
        return xp.expand_dims(g, axis=-1) * y
    if x.ndim == 1:
        return xp.squeeze(xp.matmul(y, xp.expand_dims(g, axis=-1)), axis=-1)
    return xp.matmul(g, xp.matrix_transpose(y))


def _matmul_right(xp: Any, g: Array, out: Array, x: Array, y: Array) -> Array:
    if x.ndim == y.ndim == 1:
        return g * x
    if x.ndim == 1:
        return xp.expand_dims(x, axis=-1) * xp.expand_dims(g, axis=-2)
    if y.ndim == 1:
        g = xp.expand_dims(g, axis=-1)
        return xp.squeeze(xp.matmul(xp.matrix_transpose(x), g), axis=-1)
    return xp.matmul(xp.matrix_transpose(x), g)


@contraction(
    vjp=(_matmul_left, _matmul_right),
    cases=[
        (((2, 3), (3, 4)), {}),
        (((5, 2, 3), (3, 4)), {}),
        (((2, 1, 2, 3), (5, 3, 4)), {}),
        (((3,), (3,)), {}),
        (((3,), (2, 3, 4)), {}),
        (((2, 2, 3), (3,)), {}),
        (((1, 2, 3), (2, 1, 3, 1)), {}),
    ],
    symbol="@",
    alike=np.matmul,
)
def matmul(x1: Array, x2: Array, /) -> Array:
    """Matrix product over the last axis of ``x1`` and the last but one of ``x2``.

    One-dimensional operands are vectors; leading axes broadcast. float16 is summed in float32.

    >>> matmul([[1.0, 2.0]], [3.0, 4.0])
    Tensor([11.])
    """
    if np.result_type(x1, x2) == np.float16:
        return np.matmul(x1, x2, dtype=np.float32).astype(np.float16)
    return np.matmul(x1, x2)


def _vecdot_side(other: int) -> Any:
    def rule(xp: Any, g: Array, out: Array, *operands: Array, axis: int) -> Array:
        """Spread the cotangent and multiply by the other operand."""
        return xp.expand_dims(g, axis=axis) * operands[other]

    return rule


@contraction(
    np.vecdot,
    vjp=(_vecdot_side(1), _vecdot_side(0)),
    cases=[(((2, 3), (2, 3)), {}), (((3, 4), (3, 1)), {"axis": 0}), (((3,), (2, 3)), {})],
    analytic=False,  # of complex vectors the first is conjugated
)
def vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """Dot products of vectors along an axis; the other axes broadcast."""


def explicit_subscripts(subscripts: str, ranks: tuple[int, ...]) -> str:
    """Write an einsum expression with its output, and with letters for every ellipsis."""
    if not isinstance(subscripts, str):
        raise DTypeError(
            f"einsum: the subscripts are a {type(subscripts).__name__}.",
            'Write einsum("ij,jk->ik", x, y).',
        )
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ranks):
        raise ShapeError(
            f"einsum({subscripts!r}): {len(terms)} terms for {len(ranks)} operands.",
            "Give one term for each operand.",
        )
    free = [c for c in string.ascii_letters if c not in subscripts]
    widths = [
        r - len(t.replace("...", "")) if "..." in t else 0
        for t, r in zip(terms, ranks, strict=True)
    ]
    batch = free[: max(widths, default=0)]
    if arrow and batch and "..." not in output:
        raise ShapeError(
            f"einsum({subscripts!r}): the axes of the ellipsis are missing from the output.",
            "Write ... in the output too, or name the axes that are to be summed.",
        )
    terms = [
        t.replace("...", "".join(batch[len(batch) - w :]))
        for t, w in zip(terms, widths, strict=True)
    ]
    if not arrow:
        letters = inputs.replace("...", "").replace(",", "")
        output = "..." + "".join(c for c in sorted(set(letters)) if letters.count(c) == 1)
    return f"{','.join(terms)}->{output.replace('...', ''.join(batch))}"


def _einsum_arguments(subscripts: str, /, *operands: Array) -> Any:
    return operands, {
        "subscripts": explicit_subscripts(subscripts, tuple(np.ndim(o) for o in operands))
    }


def _einsum_operand(
    i: int, xp: Any, g: Array, out: Array, *operands: Array, subscripts: str
) -> Array:
    """Contract the cotangent with the other operands, onto the letters of this operand.

    Letters that only this operand has were summed: they are spread by ones. A letter that it
    has twice is a diagonal: the second gets a name of its own, tied to the first by an identity.
    """
    inputs, output = subscripts.split("->")
    terms = inputs.split(",")
    x, own = operands[i], terms[i]
    spare = iter(c for c in string.ascii_letters if c not in subscripts)
    target, extra_terms, extras = "", [], []
    for length, letter in zip(x.shape, own, strict=True):
        if letter not in target:
            target += letter
            continue
        target += next(spare)
        extra_terms.append(letter + target[-1])
        extras.append(np.eye(length, dtype=x.dtype))
    others = [(t, o) for j, (t, o) in enumerate(zip(terms, operands, strict=True)) if j != i]
    present = "".join([output, *(t for t, _ in others), *extra_terms])
    for length, letter in zip(x.shape, target, strict=True):
        if letter not in present:
            extra_terms.append(letter)
            extras.append(np.ones(length, dtype=x.dtype))
    expression = ",".join([output, *(t for t, _ in others), *extra_terms])
    return xp.einsum(f"{expression}->{target}", g, *(o for _, o in others), *extras)


@contraction.called(
    _einsum_arguments,
    vjp=Each(_einsum_operand),
    cases=[
        (((2, 3), (3, 4)), {"subscripts": "ij,jk->ik"}),
        (((2, 3), (3,), (2, 4)), {"subscripts": "ij,j,ik->k"}),
        (((3, 3),), {"subscripts": "ii->i"}),
        (((2, 3),), {"subscripts": "ij->"}),
        (((2, 3), (2, 3)), {"subscripts": "ij,ij->ij"}),
        (((2, 1), (3, 4)), {"subscripts": "ij,jk->ik"}),
        (((3, 2), (1,), (4, 1)), {"subscripts": "ji,j,kj->ik"}),
        (((2, 2, 3), (2, 4)), {"subscripts": "iij,ik->jk"}),
    ],
)
def einsum(*operands: Array, subscripts: str) -> Array:
    """Sum of products in Einstein's notation, as ``numpy.einsum``: ``einsum("ij,jk->ik", x, y)``.

    float16 is summed in float32.

    >>> einsum("ij->j", [[1.0, 2.0], [3.0, 4.0]])
    Tensor([4., 6.])
    """
    half = np.result_type(*operands) == np.float16
    wide: Any = {"dtype": np.float32} if half else {}
    product = np.einsum(subscripts, *operands, optimize=len(operands) > 2, **wide)
    return product.astype(np.float16) if half else product


def _tensordot_subscripts(xp: Any, x: Array, y: Array, axes: Any) -> tuple[str, str, str]:
    letters = iter(string.ascii_letters)
    if isinstance(axes, int):
        axes = (tuple(range(np.ndim(x) - axes, np.ndim(x))), tuple(range(axes)))
    first, second = ((a,) if isinstance(a, int) else a for a in axes)
    one = [next(letters) for _ in range(np.ndim(x))]
    two = [next(letters) for _ in range(np.ndim(y))]
    for a, b in zip(first, second, strict=True):
        two[b] = one[a]
    shared = {one[a] for a in first}
    kept = "".join(c for c in one + two if c not in shared)
    return "".join(one), "".join(two), kept


def _tensordot_left(xp: Any, g: Array, out: Array, x: Array, y: Array, axes: Any) -> Array:
    one, two, kept = _tensordot_subscripts(xp, x, y, axes)
    return xp.einsum(f"{kept},{two}->{one}", g, y)


def _tensordot_right(xp: Any, g: Array, out: Array, x: Array, y: Array, axes: Any) -> Array:
    one, two, kept = _tensordot_subscripts(xp, x, y, axes)
    return xp.einsum(f"{kept},{one}->{two}", g, x)


@contraction(
    np.tensordot,
    vjp=(_tensordot_left, _tensordot_right),
    cases=[
        (((2, 3, 4), (3, 4, 2)), {}),
        (((2, 3), (3, 2)), {"axes": ((0,), (1,))}),
        (((2,), (3,)), {"axes": 0}),
        (((2, 3, 4), (4, 5, 2)), {"axes": ((-1, 0), (0, -1))}),
    ],
    broadcasts=False,
)
def tensordot(x1: Array, x2: Array, /, *, axes: Any = 2) -> Array:
    """Sum of products over several axes: the last and first ``axes``, or two lists of axes."""
