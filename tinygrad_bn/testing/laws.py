"""Laws: what must hold of a function and its gradient, whatever their values. No differences.

Each law takes the function under test, of tensors of this package or as a ``Pair`` of any other
framework, and arrays; it returns what is wrong in words, an empty list if the law holds. Under
batch norm it is called ``f(x, eps=eps)``.

What rounding may do is counted, not tuned: ``16 + 2 n`` rounding units of the arguments' dtype
for each term that the law adds up. Sixteen are for the elementwise operations on the way from
argument to term (exp and division take up to three each), two for each of the ``n`` elements that
a sum takes together, once on either side of the law. Each law states its terms. Where they are
inside a function of tensors, its recorded graph tells them; a Pair hides them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from tinygrad_bn.errors import DTypeError, ShapeError
from tinygrad_bn.functions.normalisation import standardize
from tinygrad_bn.graph.namespaces import tensors
from tinygrad_bn.graph.state import using
from tinygrad_bn.graph.sweep import sweep, tracked
from tinygrad_bn.graph.tensor import Tensor, leaf
from tinygrad_bn.testing.pairs import Array, Pair, as_pair, is_float, of_floats
from tinygrad_bn.transforms.derivatives import hvp, jvp, vjp

Axes = int | tuple[int, ...]

WIDE = np.longdouble


# softmax and cross-entropy ------------------------------------------------------------------------


def shift_invariance(f: Any, z: Any, axis: int = -1) -> list[str]:
    """Hold ``f(z + c) = f(z)`` for a constant ``c`` added along an axis: softmax, its logarithm.

    ``c`` is at least 1024 and at least 16 times as large as ``z``. So that adding it is exact,
    ``z`` is first rounded to a multiple of the last place of the sum. Then ``z - max(z)`` is the
    same number on both sides, and the only term is the largest result, n the length of the axis:
    an error of ``z - max(z)`` moves ``exp(z - max(z))`` by 1/e units at most. It fails where the
    maximum is not subtracted first, or is added again.

    >>> import tinygrad_bn as tg
    >>> shift_invariance(tg.softmax, [1.0, 2.0, 4.0])
    []
    >>> shift_invariance(lambda z: tg.exp(z) / tg.sum(tg.exp(z)), [1.0, 2.0, 4.0])[0]
    'f(z + c) - f(z) at [0] is nan, allowed 4.1e-15'
    """
    pair, z = as_pair(f), np.asarray(z)
    near, c = _on_grid(z, axis, factor=16.0, least=1024.0)
    here, found = pair.results(near), []
    for sign, shift in (("+", c), ("-", -c)):
        for y, moved in zip(here, pair.results(near + shift), strict=True):
            allowed = _allowed(_largest(y), z.shape[axis], of=(z, y))
            found += _exceeding(f"f(z {sign} c) - f(z)", _difference(moved, y), allowed)
    return found


def sums_to_one(f: Any, z: Any, axis: int = -1) -> list[str]:
    """Hold ``sum(f(z)) = 1`` along an axis, or 0 where every logit is -inf.

    The terms are the weights, which add up to 1; n is their number.

    >>> import tinygrad_bn as tg
    >>> sums_to_one(tg.softmax, [1.0, 2.0])
    []
    """
    z = np.asarray(z)
    y = _only(as_pair(f), z)
    total = np.sum(y, axis=axis, dtype=WIDE)
    hollow = np.all(np.isneginf(z), axis=axis)
    off = np.where(hollow & (total == 0), 0, total - 1)
    return _exceeding("the sum of the weights less 1", off, _allowed(1.0, z.shape[axis], of=(z, y)))


def zero_sum_gradient(f: Any, z: Any, axis: int = -1, *, seed: int = 0) -> list[str]:
    """Hold ``sum(J'v) = 0`` along an axis, for a shift-invariant function and a random ``v``.

    The derivative of the shift law. The gradient of softmax is ``y v - y <y, v>``, that of its
    logarithm ``v - y <1, v>``: the terms are the gradient and twice ``|v|``, which bounds both
    summed over the axis; n is the length of the axis. For logits divided by a temperature below
    1 the terms are larger than that: state the law for the quotient.

    >>> import tinygrad_bn as tg
    >>> zero_sum_gradient(tg.log_softmax, [1.0, 2.0])
    []
    >>> def softmax(z):
    ...     return np.exp(z) / np.exp(z).sum()
    >>> zero_sum_gradient(Pair(softmax, lambda g, z: g * softmax(z)), [1.0, 2.0])
    ['the sum of the gradient is -0.699, allowed 3.8e-14']
    """
    pair, z = as_pair(f), np.asarray(z)
    v = _cotangents(pair.results(z), np.random.default_rng(seed))
    (g,) = pair.gradients(v, z)
    terms = np.sum(np.abs(g), axis=axis, dtype=WIDE)
    for one in v:
        terms = terms + 2 * np.sum(np.abs(one), axis=axis if one.shape == z.shape else None)
    return _zero_sum(g, terms, z, axis)


def cross_entropy_zero_sum(f: Any, z: Any, axis: int = -1, *, seed: int = 0) -> list[str]:
    """Hold ``sum(J'v) = 0`` for each sample to the accuracy of its own gradient.

    For cross-entropy with integer labels, without smoothing: its gradient ``p - onehot`` needs
    no cancellation, so the terms are the gradient's own elements, however small. It fails where
    a loss is ``logsumexp(z) - z[label]``, whose gradient on a confident sample is [0, p_2, p_3].
    n is the number of classes.

    >>> import tinygrad_bn as tg
    >>> z = np.array([[20.0, 0, 0]], np.float32)
    >>> cross_entropy_zero_sum(lambda z: tg.cross_entropy(z, [0]), z)
    []
    >>> cross_entropy_zero_sum(lambda z: tg.nll_loss(tg.log_softmax(z), [0]), z)
    ['the sum of the gradient at [0] is 7.62e-09, allowed 2e-14']
    """
    pair, z = as_pair(f), np.asarray(z)
    v = _cotangents(pair.results(z), np.random.default_rng(seed))
    (g,) = pair.gradients(v, z)
    return _zero_sum(g, np.sum(np.abs(g), axis=axis, dtype=WIDE), z, axis)


# batch norm ---------------------------------------------------------------------------------------


def affine_invariance(
    f: Any, x: Any, axis: Axes = 0, *, eps: float = 1e-5, offset: float = 16.0
) -> list[str]:
    """Hold ``f(a x + b, eps=a² eps) = sign(a) f(x, eps=eps)``: batch norm without gamma and beta.

    ``a`` is 8 and -1/4; ``b`` is ``a`` times a number ``offset`` times as large as ``x``, for
    each channel its own. ``x`` is first rounded so that ``a x + b`` is exact. The terms are
    distances of the results, at most ``max(y) - min(y)`` in a channel: what rounds is ``x`` less
    one of its values. So a constant channel is exactly 0. Two passes without such a pilot lose
    as many digits as ``offset`` has, and fail at large ones; ``offset=0`` asks for scale alone.
    n is the number of values averaged over.

    >>> import tinygrad_bn as tg
    >>> affine_invariance(tg.batch_norm, [[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]], offset=1e6)
    []
    """
    x = np.asarray(x)
    near, b = _on_grid(x, axis, factor=offset)
    y = _only(as_pair(f), near, eps=eps)
    n, found = _count(x, axis), []
    allowed = _allowed(np.ptp(y, axis=axis, keepdims=True), n, of=(x, y))
    for a in (x.dtype.type(8), x.dtype.type(-0.25)):
        moved = _only(as_pair(f), a * (near + b), eps=eps * float(a) ** 2)
        what = f"f({a:g} x + b) - ({np.sign(a):+g}) f(x)"
        found += _exceeding(what, _difference(moved, np.sign(a) * y), allowed)
    return found


def zero_mean_gradient(
    f: Any, x: Any, axis: Axes = 0, *, eps: float = 1e-5, seed: int = 0
) -> list[str]:
    """Hold ``<dx, 1> = 0`` in each channel: batch norm does not see a shift of its batch.

    ``dx = (v - mean(v) - y mean(v y)) / s`` with ``s² = var + eps`` and ``y`` the result. As
    ``mean(y²) <= 1`` both means are at most ``m``, the root mean square of ``v``. The terms are
    ``(|v| + m + |y| m) / s``; n is the number of values averaged over.

    Raises ShapeError where a channel is constant and ``eps`` is 0.

    >>> import tinygrad_bn as tg
    >>> zero_mean_gradient(tg.batch_norm, [[1.0], [2.0], [4.0]])
    []
    """
    at = _Normalised(f, x, axis, eps, seed)
    off = at.sum(at.gradient)
    return _exceeding("<dx, 1>", off, at.allowed(at.sum(at.terms)))


def gradient_against_output(
    f: Any, x: Any, axis: Axes = 0, *, eps: float = 1e-5, seed: int = 0
) -> list[str]:
    """Hold ``<dx, y> = eps / (var + eps)^(3/2) <v, y>`` in each channel: nearly 0.

    By the formula of ``zero_mean_gradient``, ``s <dx, y> = <v, y> (1 - mean(y²))``, for ``<1, y>``
    is 0, and ``mean(y²) = var / (var + eps)``. So the gradient does not stretch the batch, but
    for eps. The terms are those there, times ``|y|``. (``y`` itself is exact to ``4 r`` units,
    where ``r = max(y) - min(y) <= 2 sqrt(n)``, and ``8 sqrt(n) <= 16 + n``.)

    >>> import tinygrad_bn as tg
    >>> gradient_against_output(tg.batch_norm, [[1.0], [2.0], [4.0]])
    []
    """
    at = _Normalised(f, x, axis, eps, seed)
    off = at.sum(at.gradient * at.y) - eps / at.s**3 * at.sum(at.v * at.y)
    what = "<dx, y> - eps / (var + eps)^(3/2) <v, y>"
    return _exceeding(what, off, at.allowed(at.sum(at.terms * np.abs(at.y))))


def zero_mean_hessian(
    f: Callable[..., Any], x: Any, axis: Axes = 0, *, eps: float = 1e-5, seed: int = 0
) -> list[str]:
    """Hold ``<1, H d> = 0`` in each channel for a random ``d``, ``H`` the Hessian of ``<v, f>``.

    The derivative of ``<dx, 1> = 0``. It finds a mean whose gradient is stopped inside the
    variance, which leaves the first derivative right. By the formula of ``zero_mean_gradient``,
    with ``p = mean(y d)``, ``q = mean(v y)`` and ``dy = (d - mean(d) - y p) / s``::

        H d = -(p dx + q dy + y mean(v dy)) / s

    If ``t(v)`` are the terms there, and ``m`` root mean squares, then the terms here are
    ``(m(d) t(v) + m(v) t(d) + 3 |y| m(v) m(d) / s) / s``. Raises DTypeError for a Pair.

    >>> import tinygrad_bn as tg
    >>> zero_mean_hessian(tg.batch_norm, [[1.0], [2.0], [4.0]])
    []
    """
    (x,) = _for_tensors(f, [x], "zero_mean_hessian")
    at = _Normalised(f, x, axis, eps, seed)
    (d,) = _cotangents([x], np.random.default_rng([seed, 1]))
    v = leaf(at.v.astype(x.dtype))
    curved = hvp(lambda z: tensors.sum(f(z, eps=eps) * v), (x,), (d,)).data
    wide, both = d.astype(WIDE), at.rms(at.v) * at.rms(d.astype(WIDE))
    terms = at.rms(wide) * at.terms + at.rms(at.v) * at.terms_of(wide)
    terms = (terms + 3 * np.abs(at.y) * both / at.s) / at.s
    return _exceeding("<1, H d>", at.sum(curved), at.allowed(at.sum(terms)))


def gradient_scaling(
    f: Any, x: Any, axis: Axes = 0, *, eps: float = 1e-5, seed: int = 0
) -> list[str]:
    """Hold that the gradient at ``a x`` with ``a² eps`` is ``1 / a`` times that at ``x``.

    Larger weights before batch norm have smaller gradients (Ioffe & Szegedy 2015, section 3.3).
    ``a`` is 8 and 1/4, so that scaling is exact; terms as in ``zero_mean_gradient``.

    >>> import tinygrad_bn as tg
    >>> gradient_scaling(tg.batch_norm, [[1.0], [2.0], [4.0]])
    []
    """
    at = _Normalised(f, x, axis, eps, seed)
    found = []
    for a in (8.0, 0.25):
        moved = _Normalised(f, at.x * at.x.dtype.type(a), axis, eps * a**2, seed)
        off = a * moved.gradient - at.gradient
        found += _exceeding(f"{a:g} dx at {a:g} x, less dx at x,", off, at.allowed(at.terms))
    return found


def gradient_norm_after_batch_norm(
    loss: Any,
    x: Any,
    gamma: Any = 1.0,
    beta: Any = 0.0,
    axis: Axes = 0,
    *,
    eps: float = 1e-5,
    normalise: Any = None,
    seed: int = 0,
) -> list[str]:
    """Hold the closed form of the gradient's norm behind batch norm, in each channel.

    For a loss of ``z = gamma y + beta``, ``y`` being the normalised ``x``, with the gradient ``g``
    at ``z`` and ``dx`` at ``x``::

        |dx|² = gamma² / (var + eps) (|g|² - <1, g>² / n - (1 + eps / (var + eps)) <g, y>² / n)

    With eps = 0 the right side is the bound of Santurkar, Tsipras, Ilyas & Madry (2018), "How
    does batch normalization help optimization?", theorem 4.1, which thus is an equality; with
    eps it is below that bound, which has 1 for the inner bracket and ``s`` for its sigma.

    Proof: ``dx = gamma / s (g - mean(g) - y mean(g y))``. Its square, by ``<1, y> = 0`` and
    ``|y|² = n r`` with ``r = var / (var + eps)``, is ``|g|² - <1, g>²/n - (2 - r) <g, y>²/n``.

    ``loss``: any function of ``z`` (a random cotangent is used where it is no scalar); ``gamma``,
    ``beta``: of the shape of the kept axes, or numbers. ``normalise``: what is called as
    ``f(x, eps=eps)``, by default ``standardize`` over ``axis``. With ``t`` the terms of
    ``zero_mean_gradient`` for ``v = gamma g``, those of the law are ``2 t²``.

    >>> import tinygrad_bn as tg
    >>> gradient_norm_after_batch_norm(lambda z: (z**3).sum(), [[1.0], [2.0], [4.0]], gamma=0.5)
    []
    """
    x = np.asarray(x)
    f = normalise or partial(standardize, axis=axis)
    scale, shift = (_kept(p, x, axis) for p in (gamma, beta))
    z = scale * _only(as_pair(f), x, eps=eps) + shift
    pair = as_pair(loss)
    (g,) = pair.gradients(_cotangents(pair.results(z), np.random.default_rng(seed)), z)
    at = _Normalised(f, x, axis, eps, seed, v=scale * g)
    squares = at.sum(at.v**2) - at.sum(at.v) ** 2 / at.n
    along = (1 + eps / at.s**2) * at.sum(at.v * at.y) ** 2 / at.n
    off = at.sum(at.gradient**2) - (squares - along) / at.s**2
    return _exceeding("|dx|² less its closed form", off, at.allowed(2 * at.sum(at.terms**2)))


class _Normalised:
    """Batch norm at a point: what it gives, and its closed form in long double."""

    def __init__(
        self, f: Any, x: Any, axis: Axes, eps: float, seed: int, v: Array | None = None
    ) -> None:
        self.x, self.axis, self.n = np.asarray(x), axis, _count(np.asarray(x), axis)
        pair = as_pair(f)
        if v is None:
            result = _only(pair, self.x, eps=eps)
            (v,) = _cotangents([result], np.random.default_rng(seed))
        self.v = v.astype(WIDE)
        self.gradient = pair.gradients([v], self.x, eps=eps)[0].astype(WIDE)
        values = self._centred()
        self.s = np.sqrt(self.sum(values**2) / self.n + WIDE(eps))
        if np.any(self.s == 0):
            raise ShapeError(
                "A channel is constant and eps is 0: batch norm divides 0 by 0.",
                "Pass a positive eps, or values that differ.",
            )
        self.y = values / self.s
        self.terms = self.terms_of(self.v)

    def _centred(self) -> Any:
        """Subtract the mean, after the lowest value: else an offset costs digits here, too."""
        values = self.x.astype(WIDE) - np.min(self.x, axis=self.axis, keepdims=True)
        return values - self.sum(values) / self.n

    def rms(self, v: Any) -> Any:
        """Return the root mean square of each channel."""
        return np.sqrt(self.sum(v**2) / self.n)

    def terms_of(self, v: Any) -> Any:
        """Say how large are the terms of what batch norm makes of a vector, ``J v`` or ``J'v``."""
        return (np.abs(v) + (1 + np.abs(self.y)) * self.rms(v)) / self.s

    def sum(self, values: Any) -> Any:
        """Add up each channel."""
        return np.sum(values, axis=self.axis, keepdims=True, dtype=WIDE)

    def allowed(self, terms: Any) -> Any:
        """Say what rounding may do to terms."""
        return _allowed(terms, self.n, of=(self.x,))


# any function -------------------------------------------------------------------------------------


def permutation_equivariance(f: Any, *arrays: Any, axis: int = 0, seed: int = 0) -> list[str]:
    """Hold that permuting the examples permutes the results likewise.

    All ``arrays`` (labels too) and all results have their examples along ``axis``. ``<v, f>`` is
    compared for a random ``v``; its terms are ``|v| |y|`` and, as arguments may be rounded,
    ``|J'v| |x|``; n is the number of elements of the arguments, which may be added up in another
    order. A gradient is a function like any other: pass one for ``f``.

    >>> import tinygrad_bn as tg
    >>> permutation_equivariance(tg.batch_norm, [[1.0], [2.0], [4.0]])
    []
    >>> permutation_equivariance(lambda x: x - x[0], [[1.0], [2.0], [4.0]])
    ['<v, f> of permuted examples, less <v, f> permuted, is 3.81, allowed 5.2e-14']
    """
    return _permuted(f, arrays, axis, seed, results_too=True)


def permutation_invariance(f: Any, *arrays: Any, axis: int = 0, seed: int = 0) -> list[str]:
    """Hold that permuting the examples changes no result: a loss, a mean, a variance.

    ``arrays``: each with its examples along ``axis``. Terms as in ``permutation_equivariance``.

    >>> import tinygrad_bn as tg
    >>> permutation_invariance(tg.cross_entropy, np.eye(3), np.array([0, 2, 1]))
    []
    """
    return _permuted(f, arrays, axis, seed, results_too=False)


def _permuted(
    f: Any, given: Sequence[Any], axis: int, seed: int, *, results_too: bool
) -> list[str]:
    pair, arrays = as_pair(f), [np.asarray(x) for x in given]
    floats = [x for x in arrays if is_float(x)]
    rng = np.random.default_rng(seed)
    order = _permutation(arrays[0].shape[axis], rng)
    here = pair.results(*arrays)
    there = pair.results(*(np.take(x, order, axis) for x in arrays))
    v = _cotangents(here, rng)
    terms = _dot(v, here, size=True) + _dot(pair.gradients(v, *arrays), floats, size=True)
    allowed = _allowed(terms, sum(x.size for x in floats), of=(*floats, *here))
    expected = [np.take(y, order, axis) for y in here] if results_too else here
    off = _dot(v, list(map(_difference, there, expected)))
    return _exceeding("<v, f> of permuted examples, less <v, f> permuted,", off, allowed)


def vjp_linearity(f: Any, *arguments: Any, seed: int = 0) -> list[str]:
    """Hold ``J'(a u + b v) = a J'u + b J'v`` for random cotangents, ``a = -2``, ``b = 1/2``.

    Not a law of the function but of any derivative of it. With ``b = 0`` it must hold to the
    last bit, for powers of two round nothing (but by underflow). With ``b = 1/2`` it is held in
    a random direction ``d`` of the arguments, for functions of tensors: the terms are what the
    graphs of the three ``<J'u, d>`` add up, n the number of elements. A Pair hides its terms, so
    there it is left at ``b = 0``.

    >>> import tinygrad_bn as tg
    >>> vjp_linearity(tg.softmax, [1.0, 2.0])
    []
    >>> vjp_linearity(Pair(np.sin, lambda g, x: np.cos(x)), 0.0)
    ["J'(a u) - a J'u for argument 0 is 3, allowed 3.6e-307"]
    """
    pair, arrays = as_pair(f), [_array(x) for x in arguments]
    rng, results = np.random.default_rng(seed), pair.results(*arrays)
    u = _cotangents(results, rng)
    once, twice = pair.gradients(u, *arrays), pair.gradients([-2 * c for c in u], *arrays)
    found = []
    for i, (g, h) in enumerate(zip(once, twice, strict=True)):
        what, allowed = f"J'(a u) - a J'u for argument {i}", _allowed(0, 0, of=(g, *results))
        found += _exceeding(what, h.astype(WIDE) + 2 * g.astype(WIDE), allowed)
    return found if isinstance(f, tuple) else [*found, *_additive(f, arrays, u, rng)]


def _additive(
    f: Callable[..., Any], arrays: Sequence[Any], u: Sequence[Array], rng: np.random.Generator
) -> list[str]:
    point = _Point(f, arrays)
    d = _leaves(_cotangents(point.floats, rng))
    v = _cotangents(u, rng)
    mixed = [-2 * a + b / 2 for a, b in zip(u, v, strict=True)]
    sides = [_product(point.pull(_leaves(c)), d) for c in (mixed, u, v)]
    return _compared("<J'(a u + b v) - a J'u - b J'v, d>", sides, (1.0, 2.0, -0.5), point.size)


def adjointness(f: Callable[..., Any], *arguments: Any, seed: int = 0) -> list[str]:
    """Hold ``<u, J d> = <J'u, d>`` for random ``u`` and a random direction ``d`` of each argument.

    ``J d`` is this package's ``jvp``: the reverse sweep differentiated with respect to its
    cotangent. So the law finds rules that are not linear in it or leave the graph with it; a rule
    that is linear and wrong it lets pass. The terms are what the graphs of both sides add up; n
    is the number of elements of arguments and results.

    Raises DTypeError for a Pair: its ``J d`` could only be made of the ``J'`` that it is compared
    with, which is ``vjp_linearity`` once more.

    >>> import tinygrad_bn as tg
    >>> adjointness(lambda a, b: a @ b, np.eye(2), np.ones((2, 3)))
    []
    """
    point, rng = _Point(f, _for_tensors(f, arguments, "adjointness")), np.random.default_rng(seed)
    u, found = _leaves(_cotangents(point.results, rng)), []
    for k, direction in enumerate(_cotangents(point.floats, rng)):
        along = [direction if i == k else np.zeros_like(x) for i, x in enumerate(point.floats)]
        d = _leaves(along)
        sides = (_product(u, point.push(d)), _product(point.pull(u), d))
        found += _compared(f"<u, J d> - <J'u, d> for argument {k}", sides, (1.0, -1.0), point.size)
    return found


def hessian_symmetry(f: Callable[..., Any], *arguments: Any, seed: int = 0) -> list[str]:
    """Hold ``<u, H d> = <d, H u>`` for random directions, ``H`` the Hessian of ``<v, f>``.

    By this package's ``hvp``. It finds what is no gradient of any function, and rules whose own
    derivative is wrong; a term whose gradient is stopped leaves ``H`` symmetric. The terms are
    what the graphs of both sides add up; n is the number of elements of arguments and results.
    Raises DTypeError for a Pair, which has no second derivative.

    >>> import tinygrad_bn as tg
    >>> hessian_symmetry(tg.batch_norm, [[1.0], [2.0], [4.0]])
    []
    """
    point = _Point(f, _for_tensors(f, arguments, "hessian_symmetry"))
    rng = np.random.default_rng(seed)
    v, u, d = (_leaves(_cotangents(x, rng)) for x in (point.results, point.floats, point.floats))
    sides = (_product(u, point.curve(v, d)), _product(d, point.curve(v, u)))
    return _compared("<u, H d> - <d, H u>", sides, (1.0, -1.0), point.size)


class _Point:
    """A function of tensors at a point: its derivatives, recorded."""

    def __init__(self, f: Callable[..., Any], arrays: Sequence[Any]) -> None:
        self.floats = [np.asarray(x) for x in arrays if is_float(x)]
        self.flat = of_floats(f, arrays, {})
        self.leaves = _leaves(self.floats)
        self.results = as_pair(f).results(*arrays)
        self.size = sum(x.size for x in (*self.floats, *self.results))

    def pull(self, u: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return ``J'u``."""
        with _recording():
            return tuple(vjp(self.flat, *self.leaves)[1](list(u)))

    def push(self, d: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return ``J d``."""
        with _recording():
            return list(jvp(self.flat, self.leaves, list(d))[1])

    def curve(self, v: Sequence[Tensor], d: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return ``H d``, of ``<v, f>``."""
        with _recording():
            found = hvp(lambda *xs: _product(v, self.flat(*xs)), self.leaves, list(d))
            return found if isinstance(found, tuple) else (found,)


@contextmanager
def _recording() -> Iterator[None]:
    with using(recording=True), np.errstate(all="ignore"):
        yield


def _leaves(values: Sequence[Array]) -> list[Tensor]:
    return [leaf(x, requires_grad=True) for x in values]


def _product(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    with _recording():
        parts = [tensors.sum(x * y) for x, y in zip(a, b, strict=True)]
        total: Tensor = sum(parts[1:], parts[0])
    return total


def _compared(what: str, numbers: Sequence[Tensor], factors: Sequence[float], n: int) -> list[str]:
    """Say so if recorded numbers, times factors, do not add up to 0."""
    off = sum(c * WIDE(x.data) for c, x in zip(factors, numbers, strict=True))
    terms = sum(abs(c) * _summed(x) for c, x in zip(factors, numbers, strict=True))
    return _exceeding(what, off, _allowed(terms, n, of=[x.data for x in numbers]))


def _summed(answer: Tensor) -> Any:
    """Add up, in absolute value, what every recorded value contributes to a number."""
    nodes = tracked([answer])
    found = sweep({answer: np.ones_like(answer.data)}, record=False, wanted=nodes) if nodes else {}
    return sum(_dot([g], [node.data], size=True) for node, g in found.items())


# small parts --------------------------------------------------------------------------------------


def _array(x: Any) -> Any:
    return x if isinstance(x, int | str | None) else np.asarray(x)


def _for_tensors(f: Any, arguments: Sequence[Any], law: str) -> list[Any]:
    """Return arguments as arrays, if the function is one of tensors."""
    if isinstance(f, tuple) or not callable(f):
        raise DTypeError(
            f"{law} of a {type(f).__name__}: it needs a derivative of the derivative.",
            "Pass a function of tensors of this package; to a Pair vjp_linearity applies.",
        )
    return [_array(x) for x in arguments]


def _only(pair: Pair, x: Array, **static: Any) -> Array:
    """Return the one result of a function, of the shape of its argument."""
    results = pair.results(x, **static)
    if [y.shape for y in results] != [x.shape]:
        raise ShapeError(
            f"Results of shapes {[y.shape for y in results]} for an argument of shape {x.shape}.",
            "This law is one of functions that return one array of the shape of their argument.",
        )
    return results[0]


def _kept(parameter: Any, x: Array, axis: Axes) -> Array:
    """Give a parameter of the kept axes its place among all axes."""
    value = np.asarray(parameter, x.dtype)
    return value if value.ndim in (0, x.ndim) else np.expand_dims(value, axis)


def _count(x: Array, axis: Axes) -> int:
    return x.size // max(1, int(np.sum(x, axis=axis).size))


def _cotangents(results: Sequence[Array], rng: np.random.Generator) -> list[Array]:
    """Draw vectors of ten bits, of magnitude 1 to 2 and either sign."""
    return [
        (rng.integers(512, 1024, y.shape) / 512 * rng.choice([-1.0, 1.0], y.shape)).astype(y.dtype)
        for y in results
    ]


def _permutation(n: int, rng: np.random.Generator) -> Any:
    """Draw an order that is not the given one."""
    order = rng.permutation(n)
    return np.roll(order, 1) if np.array_equal(order, np.arange(n)) else order


def _on_grid(x: Array, axis: Axes, factor: float, least: float = 0.0) -> tuple[Array, Array]:
    """Round ``x`` so that adding a number ``c`` to it is exact; return both.

    ``c`` is a power of two, for each group along the axes its own.
    """
    top = np.max(np.abs(x), axis=axis, keepdims=True, where=np.isfinite(x), initial=0).astype(WIDE)
    far = np.maximum(factor * top, least)
    c = np.where(far > 0, np.exp2(np.ceil(np.log2(np.where(far > 0, far, 1)))), 0)
    places = np.frexp(top + c)[1] - np.finfo(x.dtype).nmant - 1
    near = np.ldexp(np.round(np.ldexp(x.astype(WIDE), -places)), places)
    return near.astype(x.dtype), c.astype(x.dtype)


def _dot(a: Sequence[Any], b: Sequence[Any], *, size: bool = False) -> Any:
    """Sum products in long double, a zero annihilating an infinity; or the finite sizes."""
    total = WIDE(0)
    with np.errstate(invalid="ignore"):
        for x, y in zip(a, b, strict=True):
            product = np.asarray(x).astype(WIDE) * y
            live = (np.asarray(x) != 0) & (np.asarray(y) != 0)
            if size:
                product, live = np.abs(product), live & np.isfinite(product)
            total += np.sum(product, where=live)
    return total


def _difference(a: Any, b: Any) -> Any:
    """Subtract in long double; equal infinities do not differ."""
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0, np.asarray(a).astype(WIDE) - b)


def _largest(x: Any) -> Any:
    """Return the largest finite magnitude."""
    size = np.abs(np.asarray(x)).astype(WIDE)
    return np.max(size, where=np.isfinite(size), initial=0)


def _allowed(terms: Any, n: int, of: Sequence[Array]) -> Any:
    """Say how far rounding may move a sum of terms: relative to them, or by underflow."""
    limits = [np.finfo(x.dtype) for x in of if np.asarray(x).dtype.kind == "f"]
    eps, tiny = (max(float(getattr(m, a)) for m in limits) for a in ("eps", "smallest_normal"))
    return (16 + 2 * n) * (eps * np.asarray(terms) + tiny)


def _zero_sum(g: Array, terms: Any, z: Array, axis: int) -> list[str]:
    total = np.sum(g, axis=axis, dtype=WIDE)
    return _exceeding("the sum of the gradient", total, _allowed(terms, z.shape[axis], of=(z, g)))


def _exceeding(what: str, off: Any, allowed: Any) -> list[str]:
    """Say where, if anywhere, something is furthest from 0 in what it is allowed to be."""
    off, allowed = np.broadcast_arrays(off, allowed)
    wrong = ~(np.abs(off) <= allowed)
    if not np.any(wrong):
        return []
    ratio = np.where(np.isnan(off), np.inf, np.abs(off) / allowed)
    place = tuple(int(i) for i in np.unravel_index(np.argmax(np.where(wrong, ratio, 0)), off.shape))
    at = f" at [{', '.join(map(str, place))}]" if place else ""
    return [f"{what}{at} is {float(off[place]):.3g}, allowed {float(allowed[place]):.2g}"]
