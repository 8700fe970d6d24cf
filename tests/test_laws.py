"""The laws hold for the package's functions wherever they are drawn, and catch what breaks them."""

import functools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import tinygrad_bn as tg
from tinygrad_bn.errors import DTypeError, ShapeError
from tinygrad_bn.graph.namespaces import arrays, tensors
from tinygrad_bn.graph.primitive import table
from tinygrad_bn.testing import laws
from tinygrad_bn.testing.pairs import Pair

DTYPES = st.sampled_from([np.float32, np.float64])
SEEDS = st.integers(0, 2**32 - 1)
RNG = np.random.default_rng(5)
LOGITS = RNG.normal(size=(4, 3))
BATCH = RNG.normal(size=(6, 3)) * [1.0, 0.1, 20.0] + [0.0, 3.0, -1.0]
LABELS = np.array([0, 2, 1, 1])


@st.composite
def logits(draw, *, masks=True):
    """Draw rows of scores: small or huge, far from zero, with ties, with entries of -inf."""
    rng = np.random.default_rng(draw(SEEDS))
    z = rng.normal(size=(draw(st.integers(1, 4)), draw(st.integers(1, 6))))
    z = z * draw(st.sampled_from([1e-3, 1.0, 30.0, 1e4]))
    z = np.round(z, 1) if draw(st.booleans()) else z
    z = z + draw(st.sampled_from([0.0, 1e3, -1e6]))
    if masks and draw(st.booleans()):
        z = np.where((rng.random(z.shape) < 0.4) & (np.arange(z.shape[1]) > 0), -np.inf, z)
    return z.astype(draw(DTYPES))


@st.composite
def batches(draw):
    """Draw a batch of columns of mixed scales: far from zero, with ties, one constant."""
    rng = np.random.default_rng(draw(SEEDS))
    x = rng.normal(size=(draw(st.integers(2, 12)), draw(st.integers(1, 4))))
    x = x * 10.0 ** rng.integers(-3, 4, size=x.shape[1])
    x = np.round(x, 1) if draw(st.booleans()) else x
    x = x + draw(st.sampled_from([0.0, 1e3, -1e6]))
    if draw(st.booleans()):
        x[:, 0] = x[0, 0]
    return x.astype(draw(DTYPES))


EPS = st.sampled_from([1e-5, 1e-3, 1.0])


def gaussian_rows(rng, x):
    return rng.normal(size=x.shape).astype(x.dtype)


# softmax and cross-entropy ------------------------------------------------------------------------


@given(logits(), st.sampled_from([tg.softmax, tg.log_softmax, tg.sparsemax, tg.hardmax]))
def test_the_softmax_family_does_not_see_a_shift(z, f):
    assert laws.shift_invariance(f, z) == []
    assert laws.shift_invariance(functools.partial(f, axis=0), z[:1].T, axis=0) == []


@given(logits(), st.sampled_from([tg.softmax, tg.log_softmax, tg.sparsemax]), SEEDS)
def test_gradients_of_the_softmax_family_sum_to_zero(z, f, seed):
    if f is tg.log_softmax:
        z = np.where(np.isinf(z), z.dtype.type(-1e4), z)  # of a result of -inf there is none
    assert laws.zero_sum_gradient(f, z, seed=seed) == []


@given(logits(), st.sampled_from([tg.softmax, tg.sparsemax, tg.hardmax]))
def test_weights_sum_to_one(z, f):
    assert laws.sums_to_one(f, z) == []


def test_a_row_of_minus_infinity_may_sum_to_zero():
    z = np.array([[-np.inf, -np.inf], [0.0, 1.0]])
    assert laws.sums_to_one(functools.partial(tg.softmax, empty="zero"), z) == []
    [said] = laws.sums_to_one(numpy_softmax, z)
    assert said.startswith("the sum of the weights less 1 at [0] is nan")


@given(logits(masks=False), SEEDS, st.sampled_from(["mean", "none"]))
def test_gradients_of_cross_entropy_sum_to_zero_relative_to_themselves(z, seed, reduction):
    labels = np.random.default_rng(seed).integers(0, z.shape[1], len(z))
    loss = functools.partial(tg.cross_entropy, reduction=reduction)
    assert laws.cross_entropy_zero_sum(lambda x: loss(x, labels), z, seed=seed) == []


def np_softmax(z):
    raised = np.exp(z - z.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def right_softmax_vjp(g, z):
    y = np_softmax(z)
    return y * (g - (y * g).sum(axis=-1, keepdims=True))


numpy_softmax = Pair(np_softmax, right_softmax_vjp)

WRONG_SOFTMAX = {
    "the sum left out": (laws.zero_sum_gradient, Pair(np_softmax, lambda g, z: g * np_softmax(z))),
    "the sum over the other axis": (
        laws.zero_sum_gradient,
        Pair(np_softmax, lambda g, z: right_softmax_vjp(g.T, z.T).T),
    ),
    "the sum off by a ten-thousandth": (
        laws.zero_sum_gradient,
        Pair(np_softmax, lambda g, z: right_softmax_vjp(g, z) + 1e-4 * g),
    ),
    "the maximum not subtracted": (
        laws.shift_invariance,
        lambda z: tg.exp(z) / tg.sum(tg.exp(z), axis=-1, keepdims=True),
    ),
    "the mean subtracted, not exactly": (
        laws.shift_invariance,
        lambda z: tg.softmax(z / 3 - tg.mean(z, axis=-1, keepdims=True) / 3),
    ),
    "logsumexp subtracted": (
        laws.shift_invariance,
        lambda z: z - tg.logsumexp(z, axis=-1, keepdims=True),
    ),
    "no invariance at all": (laws.shift_invariance, tg.sigmoid),
    "weights of sigmoids": (laws.sums_to_one, tg.sigmoid),
    "weights a ten-thousandth short": (laws.sums_to_one, lambda z: tg.softmax(z) * (1 - 1e-4)),
}


@pytest.mark.parametrize("name", WRONG_SOFTMAX)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_wrong_softmax_breaks_a_law(name, dtype):
    law, wrong = WRONG_SOFTMAX[name]
    assert law(wrong, (3 * LOGITS).astype(dtype)) != []
    assert law(numpy_softmax, (3 * LOGITS).astype(dtype)) == []


@pytest.mark.parametrize(("dtype", "gap"), [(np.float32, 20.0), (np.float64, 40.0)])
def test_cross_entropy_that_cancels_breaks_its_law_on_a_confident_sample(dtype, gap):
    z = np.array([[gap, 0.0, 0.0]], dtype)
    label = np.array([0])

    def by_cancellation(z):
        return tg.nll_loss(tg.log_softmax(z), label)

    assert laws.cross_entropy_zero_sum(lambda x: tg.cross_entropy(x, label), z) == []
    assert laws.cross_entropy_zero_sum(by_cancellation, z) != []
    assert laws.zero_sum_gradient(by_cancellation, z) == []  # in units of the loss it is right


# batch norm ---------------------------------------------------------------------------------------


@given(batches(), EPS, st.sampled_from([0.0, 16.0, 1e4]))
def test_batch_norm_does_not_see_scale_and_shift(x, eps, offset):
    assert laws.affine_invariance(tg.batch_norm, x, eps=eps, offset=offset) == []


@given(batches(), EPS, SEEDS)
def test_gradients_of_batch_norm_obey_their_laws(x, eps, seed):
    for law in BATCH_NORM_LAWS[1:]:
        assert law(tg.batch_norm, x, eps=eps, seed=seed) == []


def test_the_laws_of_batch_norm_hold_over_several_axes_and_without_eps():
    x = RNG.normal(size=(3, 2, 4, 5)) + 100
    f = functools.partial(tg.batch_norm, axis=(0, 2, 3))
    for law in BATCH_NORM_LAWS:
        assert law(f, x, axis=(0, 2, 3), eps=0.0) == []


def test_the_laws_say_what_they_cannot_divide_by():
    with pytest.raises(ShapeError, match="divides 0 by 0"):
        laws.zero_mean_gradient(tg.batch_norm, np.ones((3, 2)), eps=0.0)


BATCH_NORM_LAWS = (
    laws.affine_invariance,
    laws.zero_mean_gradient,
    laws.gradient_against_output,
    laws.gradient_scaling,
    laws.zero_mean_hessian,
)


def parts(x, eps, correction=0):
    s = np.sqrt(x.var(axis=0, ddof=correction) + eps)
    return (x - x.mean(axis=0)) / s, s


def np_batch_norm(x, *, eps):
    return parts(x - x[0], x.dtype.type(eps))[0]


def right_vjp(g, x, *, eps):
    y, s = parts(x - x[0], x.dtype.type(eps))
    return (g - g.mean(axis=0) - y * (g * y).mean(axis=0)) / s


def detached_mean(g, x, *, eps):
    y, s = parts(x, eps)
    return (g - y * (g * y).mean(axis=0)) / s


def detached_variance(g, x, *, eps):
    return (g - g.mean(axis=0)) / parts(x, eps)[1]


def by_degrees_of_freedom(g, x, *, eps):
    y, s = parts(x, eps, correction=1)
    return (g - g.mean(axis=0) - y * (g * y).sum(axis=0) / (len(x) - 1)) / s


def divided_by_variance(g, x, *, eps):
    return right_vjp(g, x, eps=eps) / parts(x, eps)[1]


def eps_outside_the_root(x, *, eps):
    return (x - tg.mean(x, axis=0)) / (tg.sqrt(tg.var(x, axis=0)) + eps)


def in_one_pass(x, *, eps):
    mean = tg.mean(x, axis=0)
    return (x - mean) / tg.sqrt(tg.mean(x**2, axis=0) - mean**2 + eps)


WRONG_BATCH_NORM = {
    "mean detached": (laws.zero_mean_gradient, Pair(np_batch_norm, detached_mean)),
    "variance detached": (laws.gradient_against_output, Pair(np_batch_norm, detached_variance)),
    "N-1 for N": (laws.gradient_against_output, Pair(np_batch_norm, by_degrees_of_freedom)),
    "divided by s twice": (laws.gradient_scaling, Pair(np_batch_norm, divided_by_variance)),
    "eps outside the root": (laws.affine_invariance, eps_outside_the_root),
    "the variance in one pass": (laws.affine_invariance, in_one_pass),
}


@pytest.mark.parametrize("name", WRONG_BATCH_NORM)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_wrong_batch_norm_breaks_a_law(name, dtype):
    law, wrong = WRONG_BATCH_NORM[name]
    assert law(wrong, BATCH.astype(dtype), eps=1e-3) != []
    assert law(Pair(np_batch_norm, right_vjp), BATCH.astype(dtype), eps=1e-3) == []


def test_a_mean_detached_inside_the_variance_breaks_the_second_derivative_alone():
    def detached(x, *, eps):
        mean = tg.mean(x, axis=0)
        variance = tg.mean((x - tg.stop_gradient(mean)) ** 2, axis=0)
        return (x - mean) / tg.sqrt(variance + eps)

    for dtype in (np.float32, np.float64):
        x = BATCH.astype(dtype)
        for law in (laws.zero_mean_gradient, laws.gradient_against_output, laws.gradient_scaling):
            assert law(detached, x) == []
        assert laws.hessian_symmetry(functools.partial(detached, eps=1e-5), x) == []
        assert laws.zero_mean_hessian(detached, x) != []
        assert laws.zero_mean_hessian(tg.batch_norm, x) == []


def test_a_constant_column_far_from_zero_must_be_exactly_zero():
    def two_passes(x, *, eps):
        mean = tg.mean(x, axis=0)
        return (x - mean) / tg.sqrt(tg.mean((x - mean) ** 2, axis=0) + eps)

    x = np.tile(np.array([1.1, 1.3, 1.7], np.float32), (7, 1))
    assert laws.affine_invariance(tg.batch_norm, x) == []
    assert laws.affine_invariance(two_passes, x) != []


LOSSES = {
    "linear": lambda w: lambda z: tg.sum(w * z),
    "square": lambda w: lambda z: tg.sum(w * z**2),
    "network": lambda w: lambda z: tg.sum(tg.tanh(z @ w.T) ** 3),
    "not scalar": lambda w: lambda z: tg.softmax(z @ w.T),
    "along the result": lambda w: lambda z: 3 * z,
}


@given(batches(), EPS, SEEDS, st.sampled_from(sorted(LOSSES)))
def test_the_gradient_behind_batch_norm_has_its_closed_norm(x, eps, seed, name):
    rng = np.random.default_rng(seed)
    gamma, beta = (rng.normal(size=x.shape[1]).astype(x.dtype) for _ in range(2))
    loss = LOSSES[name](gaussian_rows(rng, x))
    law = laws.gradient_norm_after_batch_norm
    assert law(loss, x, gamma, beta, eps=eps, seed=seed) == []


def test_the_closed_norm_is_the_bound_of_the_theorem_for_eps_0_and_below_it_else():
    x, gamma, w = BATCH, np.array([0.5, 2.0, 1.0]), LOGITS[:3].T
    loss = LOSSES["network"](w)
    for eps in (0.0, 0.1):
        y = tg.batch_norm(x, eps=eps).data
        g = tg.grad(loss)(gamma * y).data
        dx = tg.grad(lambda x, eps=eps: loss(gamma * tg.batch_norm(x, eps=eps)))(x).data
        n, s2 = len(x), x.var(axis=0) + eps
        bound = (g**2).sum(0) - g.sum(0) ** 2 / n - (g * y).sum(0) ** 2 / n
        ratio = (dx**2).sum(0) / (gamma**2 / s2 * bound)
        if eps == 0:
            np.testing.assert_allclose(ratio, 1, rtol=1e-12)
        else:
            assert np.all(ratio < 1)
        law = laws.gradient_norm_after_batch_norm
        assert law(loss, x, gamma, eps=eps) == []


@pytest.mark.parametrize("wrong", [detached_mean, detached_variance, by_degrees_of_freedom])
def test_a_wrong_batch_norm_breaks_the_closed_norm(wrong):
    loss, law = LOSSES["network"](RNG.normal(size=(4, 3))), laws.gradient_norm_after_batch_norm
    assert law(loss, BATCH, normalise=Pair(np_batch_norm, wrong)) != []
    assert law(loss, BATCH, normalise=Pair(np_batch_norm, right_vjp)) == []


def test_the_closed_norm_serves_several_axes():
    x = RNG.normal(size=(3, 2, 4))
    law = laws.gradient_norm_after_batch_norm
    assert law(lambda z: tg.sum(z**3), x, np.array([1.0, 3.0]), axis=(0, 2)) == []


# any function -------------------------------------------------------------------------------------

COUPLED = {
    "softmax": tg.softmax,
    "log_softmax": tg.log_softmax,
    "batch_norm": tg.batch_norm,
    "layer_norm": tg.layer_norm,
    "several": lambda x: (tg.tanh(x), x - tg.mean(x, axis=0)),
}


@given(batches(), st.sampled_from(sorted(COUPLED)), SEEDS)
def test_permuted_examples_have_permuted_results(x, name, seed):
    if x.shape[1] > 1 or name != "layer_norm":
        assert laws.permutation_equivariance(COUPLED[name], x, seed=seed) == []


def test_masked_entries_may_be_permuted():
    z = np.where(LOGITS < -1, -np.inf, LOGITS)
    assert np.isinf(z).any()
    assert laws.permutation_equivariance(tg.log_softmax, z) == []


@given(batches(), SEEDS)
def test_losses_do_not_see_the_order_of_examples(x, seed):
    labels = np.random.default_rng(seed).integers(0, x.shape[1], len(x))
    for loss in (tg.cross_entropy, lambda z, _: tg.moments(z, axis=0)):
        assert laws.permutation_invariance(loss, x, labels, seed=seed) == []


ORDERED = {
    "centred at the first example": (laws.permutation_equivariance, lambda x: x - x[:1]),
    "a running sum": (laws.permutation_equivariance, lambda x: tg.cumulative_sum(x, axis=0)),
    "the first example weighs more": (
        laws.permutation_invariance,
        lambda x: tg.sum(x**2) + tg.sum(x[0] ** 2),
    ),
    "equivariant, not invariant": (laws.permutation_invariance, tg.softmax),
    "invariant, not equivariant": (
        laws.permutation_equivariance,
        lambda x: tg.broadcast_to(tg.sum(x, axis=0), x.shape) * np.arange(1.0, 7.0)[:, None],
    ),
}


@pytest.mark.parametrize("name", ORDERED)
def test_a_function_that_sees_the_order_breaks_a_law(name):
    law, wrong = ORDERED[name]
    assert law(wrong, BATCH) != []


def normed(x, gamma, beta):
    return tg.batch_norm(x, gamma, beta)


def everything(draw_z, draw_x):
    return st.one_of(
        st.tuples(st.sampled_from([tg.softmax, tg.log_softmax, tg.sparsemax]), st.tuples(draw_z)),
        st.tuples(st.just(tg.batch_norm), st.tuples(draw_x)),
        st.tuples(st.just(normed), draw_x.map(lambda x: (x, x[0] + 1, x[1]))),
        st.tuples(st.just(lambda x: (tg.tanh(x), tg.max(x, axis=0))), st.tuples(draw_x)),
        st.tuples(
            st.just(tg.cross_entropy),
            draw_z.map(lambda z: (z, np.arange(len(z)) % z.shape[1])),
        ),
    )


CASES = everything(logits(masks=False), batches())


@given(CASES, SEEDS)
def test_every_vjp_is_linear(case, seed):
    f, arguments = case
    assert laws.vjp_linearity(f, *arguments, seed=seed) == []


@given(CASES, SEEDS)
def test_forward_and_reverse_are_adjoint(case, seed):
    f, arguments = case
    assert laws.adjointness(f, *arguments, seed=seed) == []


@given(CASES, SEEDS)
def test_hessians_are_symmetric(case, seed):
    f, arguments = case
    assert laws.hessian_symmetry(f, *arguments, seed=seed) == []


@pytest.fixture
def rule():
    """Make rows with a given rule, and take them out of the table afterwards."""
    made = []

    def make(function, vjp):
        def planted(x):
            return function(x)

        planted.__name__ = f"lawless_{len(table)}"
        made.append(planted.__name__)
        return tg.custom_rule(vjp=vjp)(planted)

    yield make
    for name in made:
        table.pop(name)
        delattr(arrays, name)
        delattr(tensors, name)


NONLINEAR = {
    "ignores the cotangent": lambda xp, g, out, x: xp.cos(x),
    "adds a constant": lambda xp, g, out, x: g * xp.cos(x) + 1e-6,
    "clips the cotangent": lambda xp, g, out, x: xp.clip(g, -1.0, 1.0) * xp.cos(x),
    "takes its magnitude": lambda xp, g, out, x: xp.abs(g) * xp.cos(x),
}


@pytest.mark.parametrize("name", NONLINEAR)
@pytest.mark.parametrize("law", [laws.vjp_linearity, laws.adjointness])
def test_a_rule_that_is_not_linear_breaks_a_law(rule, law, name):
    planted = rule(tg.sin, NONLINEAR[name])
    if (law, name) != (laws.adjointness, "takes its magnitude"):  # linear between the signs
        assert law(lambda x: planted(2 * x), LOGITS) != []
    assert law(lambda x: tg.sin(2 * x), LOGITS) == []


def test_a_rule_that_is_linear_along_each_cotangent_only_breaks_linearity(rule):
    def routed(xp, g, out, x):
        return (xp.max(g) + xp.min(g)) * xp.cos(x)

    planted = rule(tg.sin, routed)
    [said] = laws.vjp_linearity(planted, LOGITS)
    assert said.startswith("<J'(a u + b v) - a J'u - b J'v, d> is ")


@pytest.mark.parametrize("change", [lambda g: 1.0, np.abs, lambda g: g + 1e-9])
def test_a_pair_that_is_not_linear_breaks_linearity(change):
    def wrong(g, x):
        return change(g) * np.cos(x)

    assert laws.vjp_linearity(Pair(np.sin, wrong), LOGITS) != []
    assert laws.vjp_linearity(Pair(np.sin, lambda g, x: g * np.cos(x)), LOGITS) == []


def test_a_rule_that_leaves_the_graph_breaks_adjointness_alone(rule):
    planted = rule(tg.sin, lambda xp, g, out, x: np.asarray(g) * xp.cos(x))
    assert laws.adjointness(planted, LOGITS) != []
    assert laws.vjp_linearity(planted, LOGITS) == []


def test_a_gradient_that_is_no_gradient_has_an_asymmetric_hessian(rule):
    planted = rule(
        lambda x: tg.prod(x, axis=0), lambda xp, g, out, x: g * xp.flip(x, axis=0) * [[1.0], [2.0]]
    )
    assert laws.hessian_symmetry(planted, LOGITS[:2]) != []
    assert laws.hessian_symmetry(lambda x: tg.prod(x, axis=0), LOGITS[:2]) == []


@pytest.mark.parametrize("law", [laws.adjointness, laws.hessian_symmetry, laws.zero_mean_hessian])
def test_second_derivatives_are_not_asked_of_a_pair(law):
    with pytest.raises(DTypeError, match="to a Pair vjp_linearity applies"):
        law(numpy_softmax, LOGITS)


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
def test_the_laws_hold_in_every_floating_point_dtype(dtype):
    z, x = (3 * LOGITS).astype(dtype), BATCH.astype(dtype)
    for law in (laws.shift_invariance, laws.zero_sum_gradient, laws.sums_to_one):
        assert law(tg.softmax, z) == []
    for law in BATCH_NORM_LAWS:
        assert law(tg.batch_norm, x, eps=1e-3) == []
    for law in (laws.vjp_linearity, laws.adjointness, laws.hessian_symmetry):
        assert law(tg.batch_norm, x) == []
    assert laws.permutation_equivariance(tg.batch_norm, x) == []


# how laws speak, and what they need ---------------------------------------------------------------


def test_a_law_names_the_place_where_it_fails_most():
    def one_wrong(g, z):
        piece = right_softmax_vjp(g, z)
        piece[2, 1] += 0.5
        return piece

    [said] = laws.zero_sum_gradient(Pair(np_softmax, one_wrong), LOGITS)
    assert said.startswith("the sum of the gradient at [2] is 0.5, allowed ")


def test_a_law_of_functions_of_one_shape_refuses_others():
    with pytest.raises(ShapeError, match="return one array of the shape of their argument"):
        laws.sums_to_one(tg.logsumexp, LOGITS)


@given(batches())
def test_rounding_to_the_grid_makes_the_shift_exact_and_moves_little(x):
    near, c = laws._on_grid(x, 0, factor=16.0)
    wide = near.astype(np.longdouble)
    for shift in (c, -c):
        assert np.array_equal((near + shift).astype(np.longdouble), wide + shift)
    top = np.abs(x).max(axis=0)
    assert np.all(np.abs(near - x) <= 64 * np.finfo(x.dtype).eps * top)
