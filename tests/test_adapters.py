"""Functions of other frameworks become Pairs: same values, gradients and dtypes, no side effects.

A framework that is not installed is skipped.
"""

import functools
import importlib.util

import numpy as np
import pytest

import tinygrad_bn as tg
from tinygrad_bn.errors import DTypeError, OptionalDependencyError, ShapeError
from tinygrad_bn.testing import adapters, laws
from tinygrad_bn.testing.pairs import Pair, as_pair
from tinygrad_bn.transforms.lifting import argument_names, name_of

FRAMEWORKS = ("tinygrad_bn", "torch", "jax", "autograd", "mygrad")
NUMPY_LIKE = {"tinygrad_bn", "autograd", "mygrad"}
"""Those that have long double, because NumPy has it."""

RNG = np.random.default_rng(3)
X = RNG.normal(size=(4, 3))
W = RNG.normal(size=(3, 2))
LABELS = np.array([0, 2, 1, 1])


class Framework:
    """A framework with its adapter, its namespace of functions, and how it spells a few."""

    def __init__(self, name):
        names = {"jax": "jax.numpy", "autograd": "autograd.numpy"}
        self.name, self.wrap = name, getattr(adapters, f"from_{name}")
        self.xp = pytest.importorskip(names.get(name, name))

    def softmax(self, z):
        raised = self.xp.exp(z)
        if self.name == "torch":
            return raised / raised.sum(-1, keepdim=True)
        return raised / self.xp.sum(raised, axis=-1, keepdims=True)

    def cross_entropy(self, z, labels):
        """Pick by integer labels."""
        rows = np.arange(4)
        if self.name == "torch":
            return -self.xp.log(self.softmax(z)[rows, labels]).mean()
        return -self.xp.sum(self.xp.log(self.softmax(z)[rows, labels])) / 4


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    return Framework(request.param)


def close(found, expected, dtype=np.float64):
    """Compare within some rounding units of numbers of order one."""
    unit = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(found, expected, rtol=32 * unit, atol=32 * unit)


# what every adapter does --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_function_of_one_argument_keeps_its_dtype(framework, dtype):
    pair = framework.wrap(framework.softmax)
    z, g = X.astype(dtype), np.ones_like(X, dtype) * [1, 2, -1]
    y = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
    found, gradient = pair.value(z), pair.vjp(g, z)
    assert (type(found), found.dtype) == (np.ndarray, dtype)
    assert (type(gradient), gradient.dtype) == (np.ndarray, dtype)
    close(found, y, dtype)
    close(gradient, y * (g - (y * g).sum(axis=-1, keepdims=True)), dtype)


def test_several_arguments_have_several_gradients(framework):
    pair = framework.wrap(lambda a, b: a @ b)
    g = np.ones((4, 2)) * [1, -2]
    close(pair.value(X, W), X @ W)
    da, db = pair.vjp(g, X, W)
    close(da, g @ W.T)
    close(db, X.T @ g)


def test_several_results_take_several_cotangents(framework):
    xp = framework.xp
    pair = framework.wrap(lambda a, b: [xp.sin(a) * b, a + b, xp.sum(a)])
    a, b = np.array([0.1, 0.2]), np.array([2.0, 3.0])
    for found, expected in zip(pair.value(a, b), (np.sin(a) * b, a + b, a.sum()), strict=True):
        close(found, expected)
    g = (np.array([1.0, 2.0]), np.array([-1.0, 0.5]), 3.0)
    da, db = pair.vjp(g, a, b)
    close(da, g[0] * np.cos(a) * b + g[1] + 3)
    close(db, g[0] * np.sin(a) + g[1])


def test_integers_pass_through_without_a_gradient(framework):
    pair = framework.wrap(framework.cross_entropy)
    p = np.exp(X) / np.exp(X).sum(axis=-1, keepdims=True)
    close(pair.value(X, LABELS), -np.log(p[np.arange(4), LABELS]).mean())
    close(pair.vjp(1.0, X, LABELS), (p - np.eye(3)[LABELS]) / 4)
    power = framework.wrap(lambda x, n: x**n)
    close(power.vjp(np.ones(2), np.array([2.0, 3.0]), 3), [12, 27])


def test_floats_and_numbers_of_numpy_are_arguments_like_arrays(framework):
    pair = framework.wrap(lambda a, b: a * b)
    for two in (2.0, np.float64(2), np.array(2.0)):
        da, db = pair.vjp(1.0, two, 5.0)
        assert (float(da), float(db), da.dtype, da.shape) == (5.0, 2.0, np.float64, ())


def test_an_argument_that_is_not_used_has_the_gradient_zero(framework):
    xp = framework.xp
    da, db = framework.wrap(lambda a, b: xp.sin(a)).vjp(np.ones(3), np.zeros(3), X)
    close(da, np.ones(3))
    assert np.array_equal(db, np.zeros_like(X))


def test_a_constant_has_the_gradient_zero(framework):
    pair = framework.wrap(lambda a: framework.xp.ones_like(a) if framework.name == "torch" else 3.0)
    assert np.all(pair.vjp(np.ones(np.shape(pair.value(X))), X) == 0)


def test_an_argument_can_be_a_result(framework):
    pair = framework.wrap(lambda a: (a, a * 2, a))
    close(pair.vjp((X, X, 3 * X), X), 6 * X)
    value = pair.value(X)
    assert not any(np.shares_memory(y, X) for y in value)


def test_keywords_are_passed_on_without_a_gradient(framework):
    def scaled(x, *, by):
        assert by == 3.0
        assert isinstance(by, float)
        return x * by

    pair = framework.wrap(scaled)
    close(pair.value(X, by=3.0), 3 * X)
    close(pair.vjp(X, X, by=3.0), 3 * X)


def test_no_layout_of_an_array_is_refused_and_none_is_written_to(framework):
    pair = framework.wrap(lambda a: a * a)
    frozen = X.copy()
    frozen.flags.writeable = False
    for x in (X.T, X[::-1, ::2], np.broadcast_to(X[0], (2, 3)), frozen, X.astype(">f8")):
        before = x.copy()
        close(pair.vjp(x, x), 2 * x * x)
        assert np.array_equal(x, before)


def test_results_are_arrays_of_their_own(framework):
    pair = framework.wrap(lambda a: a.T)
    y, g = pair.value(X), pair.vjp(X.T, X)
    close(y, X.T)
    close(g, X)
    assert not np.shares_memory(y, X)
    assert not np.shares_memory(g, X)


def test_long_double_is_kept_or_refused(framework):
    pair, x = framework.wrap(lambda a: a * a), X.astype(np.longdouble)
    if framework.name in NUMPY_LIKE:
        assert pair.value(x).dtype == np.longdouble
        gradient = pair.vjp(x, x)
        assert gradient.dtype == np.longdouble
        assert np.array_equal(gradient, 2 * x * x)
    else:
        for ask in (pair.value, functools.partial(pair.vjp, x)):
            with pytest.raises(TypeError, match="is given an argument of dtype"):
                ask(x)


def test_the_value_has_the_names_of_the_function_for_reports(framework):
    def swish(signal, gain):
        return signal * gain

    value = framework.wrap(swish).value
    assert (name_of(value), argument_names(value, 2)) == ("swish", ["signal", "gain"])
    assert name_of(framework.wrap(functools.partial(swish, gain=2.0)).value)


def test_a_cotangent_of_another_shape_is_refused(framework):
    pair = framework.wrap(lambda a: a * a)
    with pytest.raises(ShapeError, match=r"cotangents of shapes \[\(\)\] for results of"):
        pair.vjp(1.0, X)


def test_nothing_to_differentiate_is_refused(framework):
    pair = framework.wrap(lambda a: a * a)
    with pytest.raises(DTypeError, match="no argument is floating-point"):
        pair.vjp(1.0, LABELS)


def test_the_laws_serve_every_framework(framework):
    pair, xp = framework.wrap(framework.softmax), framework.xp
    assert laws.zero_sum_gradient(pair, X) == []
    assert laws.sums_to_one(pair, X.astype(np.float32)) == []
    assert laws.vjp_linearity(pair, X) == []
    assert laws.permutation_equivariance(pair, X) == []
    [said, _] = laws.shift_invariance(pair, X)  # it does not subtract the maximum
    assert "is nan" in said
    half = framework.wrap(lambda x: xp.exp(x) / 2)
    assert laws.zero_sum_gradient(half, X) != []


# PyTorch ------------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def test_torch_functions_of_ones_own_are_functions(torch):
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * g * x**2  # wrong: it is 3

    pair = adapters.from_torch(Cube.apply)
    close(pair.value(X), X**3)
    close(pair.vjp(np.ones_like(X), X), 2 * X**2)


def test_torch_modules_are_functions(torch):
    layer = torch.nn.Linear(3, 2).double()
    w = layer.weight.detach().numpy()
    pair = adapters.from_torch(layer)
    close(pair.vjp(np.ones((4, 2)), X), np.ones((4, 2)) @ w)
    assert layer.weight.grad is None
    close(adapters.from_torch(functools.partial(torch.sum, dim=0)).value(X), X.sum(axis=0))


def test_torch_functions_may_write_to_their_arguments_and_return_views(torch):
    def in_place(x):
        x.mul_(2)
        return x.T[::1], x.view(-1)[1:3], x.expand(2, 4, 3)

    pair, before = adapters.from_torch(in_place), X.copy()
    transposed, some, wide = pair.value(X)
    close(transposed, 2 * X.T)
    close(wide, np.broadcast_to(2 * X, (2, 4, 3)))
    close(pair.vjp((transposed, np.zeros_like(some), 0 * wide), X), 4 * X)
    assert np.array_equal(X, before)


def test_torch_results_that_are_indices_are_left_out(torch):
    pair = adapters.from_torch(lambda x: torch.max(x, dim=1))
    close(pair.value(X), X.max(axis=1))
    close(pair.vjp(np.ones(4), X), np.eye(3)[X.argmax(axis=1)])


def test_torch_works_without_recording_switched_on(torch):
    with torch.no_grad():
        close(adapters.from_torch(torch.sin).vjp(np.ones_like(X), X), np.cos(X))


def test_torch_batch_norm_obeys_the_laws_near_zero(torch):
    def norm(x, *, eps):
        return torch.nn.functional.batch_norm(x, None, None, training=True, eps=eps)

    pair = adapters.from_torch(norm)
    for dtype in (np.float32, np.float64):
        for law in (laws.zero_mean_gradient, laws.gradient_against_output, laws.gradient_scaling):
            assert law(pair, X.astype(dtype)) == []
        assert laws.affine_invariance(pair, X.astype(dtype), offset=0) == []


def test_torch_cross_entropy_breaks_its_law_on_a_confident_sample(torch):
    pair = adapters.from_torch(torch.nn.functional.cross_entropy)
    z, label = np.array([[20.0, 0, 0]], np.float32), np.array([0])
    fixed = Pair(lambda x: pair.value(x, label), lambda g, x: pair.vjp(g, x, label))
    [said] = laws.cross_entropy_zero_sum(fixed, z)
    assert said.startswith("the sum of the gradient at [0] is ")


# JAX ----------------------------------------------------------------------------------------------


@pytest.fixture
def jax():
    return pytest.importorskip("jax")


def test_jax_keeps_the_users_mode(jax):
    assert not jax.config.jax_enable_x64
    pair = adapters.from_jax(jax.jit(lambda x: jax.numpy.tanh(x) + jax.numpy.ones(3)))
    assert pair.vjp(X, X).dtype == pair.value(X).dtype == np.float64
    narrow = X.astype(np.float32)
    assert pair.vjp(narrow, narrow).dtype == pair.value(narrow).dtype == np.float32
    assert not jax.config.jax_enable_x64
    assert jax.numpy.ones(1).dtype == np.float32


def test_jax_rules_of_ones_own_have_their_own_value(jax):
    @jax.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**2, x), lambda x, g: (2 * g * x,))  # forwards is wrong, too
    pair = adapters.from_jax(cube)
    close(pair.value(X), X**3)
    close(pair.vjp(np.ones_like(X), X), 2 * X)


def test_jax_results_that_are_indices_are_left_out(jax):
    pair = adapters.from_jax(lambda x: (jax.numpy.max(x), jax.numpy.argmax(x)))
    close(pair.value(X), X.max())
    close(pair.vjp(1.0, X), np.equal(X, X.max()))


# autograd and MyGrad ------------------------------------------------------------------------------


def test_autograd_takes_tuples_of_its_own():
    anp = pytest.importorskip("autograd.numpy")
    boxed = pytest.importorskip("autograd.builtins").tuple
    pair = adapters.from_autograd(lambda x: boxed((anp.sin(x), x)))
    y, again = pair.value(X)
    close(y, np.sin(X))
    close(again, X)
    close(pair.vjp((X, X), X), X * np.cos(X) + X)


def test_autograd_results_that_are_indices_are_left_out():
    anp = pytest.importorskip("autograd.numpy")
    pair = adapters.from_autograd(lambda x: (anp.max(x), anp.argmax(x)))
    close(pair.value(X), X.max())
    close(pair.vjp(1.0, X), np.equal(X, X.max()))


def test_mygrad_functions_may_write_to_their_arguments():
    pytest.importorskip("mygrad")

    def in_place(x):
        x[0] = 5 * x[0]
        return x

    pair, before = adapters.from_mygrad(in_place), X.copy()
    close(pair.vjp(np.ones_like(X), X), [[5.0] * 3, *[[1.0] * 3] * 3])
    assert np.array_equal(X, before)


@pytest.mark.parametrize("name", FRAMEWORKS[1:])
def test_a_package_that_is_missing_is_named(name, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(adapters.importlib, "import_module", missing)
    with pytest.raises(OptionalDependencyError) as caught:
        getattr(adapters, f"from_{name}")(np.sin)
    assert f"from_{name} needs {name}, which is not installed." in str(caught.value)
    assert f"fix: pip install {name}" in str(caught.value)


# pairs themselves ---------------------------------------------------------------------------------


def test_a_pair_stays_as_it_is():
    pair = Pair(np.sin, lambda g, x: g * np.cos(x))
    assert as_pair(pair) is pair
    assert as_pair(tuple(pair)) == pair
    value, vjp = pair
    assert (value, vjp) == (pair.value, pair.vjp)


def test_what_is_no_function_is_refused():
    with pytest.raises(DTypeError, match="A float stands where a function should"):
        as_pair(3.0)


def test_a_pair_of_this_package_takes_containers_apart_and_leaves_tensors_alone():
    pair = as_pair(lambda x: {"mean": tg.mean(x), "at": tg.argmax(x), "all": [tg.exp(x)]})
    mean, raised = pair.value(X)
    close(mean, X.mean())
    close(raised, np.exp(X))
    close(pair.vjp((12.0, np.zeros_like(X)), X), np.ones_like(X))


def test_a_pair_of_this_package_works_where_nothing_is_recorded():
    with tg.no_grad():
        close(as_pair(tg.sin).vjp(X, X), X * np.cos(X))


def test_gradients_are_listed_with_zeros_for_none():
    pair = Pair(lambda a, n, b: a * n, lambda g, a, n, b: (g * n, None))
    da, db = pair.gradients([X], X, 3, W)
    assert np.array_equal(da, 3 * X)
    assert np.array_equal(db, np.zeros_like(W))


@pytest.mark.parametrize(
    ("vjp", "said"),
    [
        (lambda g, a, b: g, "vjp returned 1 gradients for 2 floating-point arguments"),
        (lambda g, a, b: (g, g), r"gradient of shape \(4, 3\) for an argument of shape \(3,\)"),
    ],
)
def test_gradients_that_do_not_fit_are_refused(vjp, said):
    with pytest.raises(ShapeError, match=said):
        Pair(lambda a, b: a + b, vjp).gradients([X], X, X[0])


def test_ci_has_one_framework_beside_this_one():
    assert importlib.util.find_spec("autograd") is not None
