"""Transforms: derivatives of any order, of containers, traced, checkpointed and given by hand."""

import tracemalloc
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import tinygrad_bn as tg
from tinygrad_bn.errors import DTypeError, GradientError, ShapeError, TinygradError
from tinygrad_bn.graph import namespaces
from tinygrad_bn.graph.primitive import table

RNG = np.random.default_rng(1)
Pair = namedtuple("Pair", "a b")  # noqa: PYI024  (a plain named tuple is what is tested)


def leaf(data):
    return tg.Tensor(data, requires_grad=True)


def close(got, expected, ulps=32):
    eps = np.finfo(np.float64).eps
    expected = np.asarray(expected)
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(np.asarray(got), expected, rtol=0, atol=ulps * eps * scale)


# signatures and containers -----------------------------------------------------------------------


def product(a, b, c):
    return (a * b**2 * c**3).sum()


@pytest.mark.parametrize(
    ("argnums", "expected"),
    [(0, 72.0), (1, 96.0), (2, 216.0), (-1, 216.0), ((0, 2), (72.0, 216.0)), ([1], (96.0,))],
)
def test_argnums_may_be_an_int_negative_or_several(argnums, expected):
    got = tg.grad(product, argnums=argnums)(2.0, 3.0, 2.0)
    if isinstance(argnums, int):
        assert got.item() == expected
    else:
        assert type(got) is tuple
        assert tuple(g.item() for g in got) == expected


def test_argnums_outside_the_call_are_refused():
    with pytest.raises(ShapeError, match="argnums=3 of product, called with 3 positional"):
        tg.grad(product, argnums=3)(1.0, 2.0, 3.0)


def test_argnums_that_name_one_argument_twice_are_refused():
    with pytest.raises(ShapeError, match=r"argnums=\(0, -1\) of <lambda> names argument -1 twice"):
        tg.grad(lambda x: x * x, (0, -1))(3.0)


def test_argnums_may_be_a_numpy_integer():
    assert tg.grad(lambda x: x * x, np.int64(0))(3.0).item() == 6.0


def test_value_and_grad_gives_both_and_passes_keywords():
    def f(x, *, power):
        return (x**power).sum()

    value, slope = tg.value_and_grad(f)(np.array([1.0, 2.0]), power=3)
    assert (value.item(), slope.tolist()) == (9.0, [3.0, 12.0])


def test_every_container_comes_back_as_it_was():
    tree = {"d": {"x": 1.0}, "l": [2.0, 3.0], "t": (4.0,), "n": Pair(5.0, 6.0), "word": "relu"}

    def f(t):
        inner = t["l"][0] * t["l"][1] + t["t"][0] ** 2 + t["n"].a * t["n"].b
        return t["d"]["x"] * inner

    g = tg.grad(f)(tree)
    assert g["d"]["x"].item() == 2 * 3 + 16 + 30
    assert [x.item() for x in g["l"]] == [3.0, 2.0]
    assert (type(g["t"]), g["t"][0].item()) == (tuple, 8.0)
    assert (type(g["n"]), g["n"].a.item(), g["n"].b.item()) == (Pair, 6.0, 5.0)
    assert g["word"] == "relu"


def test_gradients_have_the_dtype_and_shape_of_their_arguments():
    tree = [np.ones((2, 1), np.float32), np.ones(3, np.float16), 1.0]
    got = tg.grad(lambda t: (t[0] * t[1] * t[2]).sum())(tree)
    assert [(g.dtype, g.shape) for g in got] == [
        (np.float32, (2, 1)),
        (np.float16, (3,)),
        (np.float64, ()),
    ]


def test_transforms_are_functional():
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    f = lambda t: ((t * w) ** 2).sum()  # noqa: E731  (one line of mathematics)
    before = x.data.copy()
    tg.grad(f)(x)
    tg.hessian(f)(x)
    tg.jvp(f, (x,), (np.ones(2),))
    tg.hvp(f, (x,), (np.ones(2),))
    tg.vjp(f, x)[1](1.0)
    tg.jacobian(lambda t: t * w)(x)
    assert x.grad is None
    assert w.grad is None
    np.testing.assert_array_equal(x.data, before)


def test_grad_equals_backward_bit_for_bit():
    x0, w0 = RNG.normal(size=(5, 4)), RNG.normal(size=(4, 3))

    def f(x, w):
        return tg.cross_entropy(tg.batch_norm(x @ w), [0, 1, 2, 0, 1])

    x, w = leaf(x0), leaf(w0)
    f(x, w).backward()
    gx, gw = tg.grad(f, (0, 1))(x0, w0)
    np.testing.assert_array_equal(gx.data, x.grad.data)
    np.testing.assert_array_equal(gw.data, w.grad.data)


def test_results_of_a_transform_leave_the_graph_unless_an_outer_one_sees_them():
    value, slope = tg.value_and_grad(lambda x: x * x)(leaf(3.0))
    assert slope.item() == 6.0
    inner = tg.grad(lambda x: x * x)(3.0)
    assert not inner.requires_grad
    assert value.item() == 9.0


def test_a_gradient_is_part_of_an_outer_graph():
    w = leaf(2.0)
    slope = tg.grad(lambda x: w * x**2)(3.0)
    slope.backward()
    assert w.grad.item() == 6.0


# nesting -----------------------------------------------------------------------------------------


def test_nesting_to_depth_four():
    derivative, expected = (lambda x: x**5), 2.0**5
    for order in range(6):
        assert derivative(tg.Tensor(2.0)).item() == expected
        derivative = tg.grad(derivative)
        expected *= (5 - order) / 2.0


def test_an_inner_derivative_is_not_confused_with_an_outer_one():
    assert tg.grad(lambda x: x * tg.grad(lambda y: x + y)(1.0))(1.0).item() == 1.0
    assert tg.grad(lambda x: x * tg.grad(lambda y: x * y)(2.0))(3.0).item() == 6.0

    def directional(f, x):
        return tg.jvp(f, (x,), (1.0,))[1]

    assert directional(lambda x: x * directional(lambda y: x + y, 1.0), 1.0).item() == 1.0
    assert directional(lambda x: x * directional(lambda y: x * y, 2.0), 3.0).item() == 6.0


def test_manzyuks_tower_of_shifted_functions():
    def shift_derivative(f):
        return lambda h: (
            lambda x: tg.jvp(lambda o: h(f)(x + o) if h else f(x + o), (0.0,), (1.0,))[1]
        )

    # D over an offset of a function that takes a function: the classic amazing bug.
    def s(u):
        return lambda f: lambda x: f(x + u)

    def d(g):
        return lambda f: lambda x: tg.jvp(lambda u: g(u)(f)(x), (0.0,), (1.0,))[1]

    twice = d(s)(d(s)(tg.exp))(1.0)
    close(twice, np.exp(1.0))
    close(d(s)(d(s)(tg.sin))(1.0), -np.sin(1.0))
    assert shift_derivative(tg.exp)(None)(0.0).item() == 1.0


def test_grad_inside_no_grad_works_and_outside_tensors_stay_out():
    w = leaf(2.0)
    with tg.no_grad():
        slope = tg.grad(lambda x: w * x**2)(3.0)
        curve = tg.grad(tg.grad(lambda x: x**3))(2.0)
    assert (slope.item(), slope.requires_grad, curve.item()) == (12.0, False, 12.0)


def test_no_grad_inside_grad_stops_the_gradient():
    def f(x):
        with tg.no_grad():
            c = x * x
        return c * x

    assert tg.grad(f)(3.0).item() == 9.0


# vjp and jvp -------------------------------------------------------------------------------------


def test_pull_can_be_called_again_and_again():
    y, pull = tg.vjp(lambda a, b: a * b, 2.0, 5.0)
    assert y.item() == 10.0
    assert [tuple(g.item() for g in pull(v)) for v in (1.0, 3, 1.0)] == [
        (5.0, 2.0),
        (15.0, 6.0),
        (5.0, 2.0),
    ]


def test_vjp_and_jvp_of_container_results():
    f = lambda x: {"double": 2 * x, "pair": (x * x, 7.0)}  # noqa: E731  (one line of mathematics)
    y, pull = tg.vjp(f, 3.0)
    assert y["pair"][0].item() == 9.0
    assert pull({"double": 1.0, "pair": (10.0, 5.0)})[0].item() == 62.0
    y, ydot = tg.jvp(f, (3.0,), (2.0,))
    assert (ydot["double"].item(), ydot["pair"][0].item()) == (4.0, 12.0)
    assert ydot["pair"][1].item() == 0.0


def test_vjp_of_a_dict_with_one_tensor():
    _, pull = tg.vjp(lambda x: {"y": 2 * x}, 3.0)
    assert pull({"y": 5.0})[0].item() == 10.0


def test_jvp_of_operands_that_share_one_gradient():
    for f in (lambda a, b: a + b, lambda a, b: tg.add(a, b).sum()):
        _, ydot = tg.jvp(f, (1.0, 2.0), (1.0, 10.0))
        assert ydot.item() == 11.0


def test_jvp_is_linear_in_its_tangents_and_agrees_with_the_jacobian():
    x, u, v = (RNG.normal(size=4) for _ in range(3))
    f = lambda t: tg.softmax(tg.sin(t) * t)  # noqa: E731  (one line of mathematics)
    push = lambda t: tg.jvp(f, (x,), (t,))[1].data  # noqa: E731  (one line of mathematics)
    close(push(2 * u - 3 * v), 2 * push(u) - 3 * push(v))
    close(push(u), tg.jacobian(f)(x).data @ u)


def test_jvp_and_vjp_are_adjoint():
    x, u, v = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
    f = tg.batch_norm
    forward = np.vdot(tg.jvp(f, (x,), (u,))[1].data, v)
    back = np.vdot(tg.vjp(f, x)[1](v)[0].data, u)
    close(forward, back)


@pytest.mark.parametrize(
    ("f", "value", "slope"),
    [
        (lambda x: x, 3.0, 1.0),
        (lambda x: tg.Tensor(7.0), 7.0, 0.0),
        (lambda x: x * 0.0 + 7.0, 7.0, 0.0),
        (lambda x: x + x, 6.0, 2.0),
        (tg.stop_gradient, 3.0, 0.0),
        (lambda x: x.detach() * x, 9.0, 3.0),
    ],
    ids=["input", "constant", "zero", "twice", "stopped", "detached"],
)
def test_degenerate_functions(f, value, slope):
    assert [t.item() for t in tg.value_and_grad(f)(3.0)] == [value, slope]
    assert [t.item() for t in tg.jvp(f, (3.0,), (10.0,))] == [value, 10 * slope]
    y, pull = tg.vjp(f, 3.0)
    assert (y.item(), pull(10.0)[0].item()) == (value, 10 * slope)
    assert tg.jacobian(f)(3.0).item() == slope
    assert tg.hvp(f, (3.0,), (1.0,)).item() == 0.0


def test_a_result_returned_twice_counts_twice():
    _, pull = tg.vjp(lambda x: (x, x), 3.0)
    assert pull((1.0, 10.0))[0].item() == 11.0
    _, (first, second) = tg.jvp(lambda x: (x, x), (3.0,), (2.0,))
    assert (first.item(), second.item()) == (2.0, 2.0)


def test_one_tensor_given_for_two_arguments_is_two_arguments():
    x = leaf(3.0)
    first, second = tg.grad(lambda a, b: a * a * b, (0, 1))(x, x)
    assert (first.item(), second.item()) == (18.0, 9.0)


def test_an_unused_argument_has_zeros_of_its_shape_and_dtype():
    unused = np.ones((2, 3), np.float32)
    _, g = tg.grad(lambda a, b: a * 1.0, (0, 1))(2.0, unused)
    assert (g.shape, g.dtype, g.requires_grad) == ((2, 3), np.float32, False)
    assert not g.data.any()


def test_what_cannot_be_differentiated_is_refused_with_its_path():
    square = lambda x: (x * x).sum()  # noqa: E731  (one line of mathematics)
    with pytest.raises(DTypeError, match="argument 0 of <lambda> is the int 3"):
        tg.grad(square)(3)
    with pytest.raises(DTypeError, match="argument 0 of <lambda> has dtype bool"):
        tg.grad(square)(np.array([True]))
    with pytest.raises(
        DTypeError, match=r"argument 0 of <lambda>\['layers'\]\[1\] has dtype int64"
    ):
        tg.grad(lambda p: p)({"layers": [1.0, np.arange(2)]})
    with pytest.raises(DTypeError, match="argument 0 of <lambda> is a str without tensors"):
        tg.grad(square)("x")
    with pytest.raises(GradientError, match=r"not a tensor of shape \(2,\)"):
        tg.grad(lambda x: x)(np.ones(2))
    with pytest.raises(GradientError, match="not a float"):
        tg.grad(float)(1.0)


def test_misfitting_cotangents_and_tangents_are_refused():
    _, pull = tg.vjp(lambda x: x * 2, np.ones(3))
    with pytest.raises(ShapeError, match=r"cotangent has shape \(2,\), the result \(3,\)"):
        pull(np.ones(2))
    _, pull = tg.vjp(lambda x: (x, x * 2), 1.0)
    with pytest.raises(ShapeError, match=r"vjp of <lambda>: the cotangent lacks \[1\]"):
        pull((1.0,))
    with pytest.raises(ShapeError, match="1 primals, 2 tangents"):
        tg.jvp(lambda x: x, (1.0,), (1.0, 2.0))


def test_tangents_are_matched_by_key():
    f = lambda d: d["a"] * 3.0 + 0 * d["b"]  # noqa: E731  (one line of mathematics)
    assert tg.jvp(f, ({"a": 1.0, "b": 2.0},), ({"b": 7.0, "a": 5.0},))[1].item() == 15.0
    g = lambda d: d["a"] ** 3 + d["b"] ** 2  # noqa: E731  (one line of mathematics)
    product = tg.hvp(g, ({"a": 1.0, "b": 2.0},), ({"b": 0.0, "a": 1.0},))
    assert product == {"a": 6.0, "b": 0.0}


def test_cotangents_are_matched_by_key():
    _, pull = tg.vjp(lambda x: {"u": x * 2, "v": x * 3}, 1.0)
    assert pull({"v": 1.0, "u": 0.0})[0].item() == 3.0
    with pytest.raises(
        ShapeError, match=r"lacks \['u'\], \['v'\] and has \['p'\], \['q'\] besides"
    ):
        pull({"p": 1.0, "q": 0.0})
    with pytest.raises(ShapeError, match=r"lacks \['u'\], \['v'\] and has a tensor besides"):
        pull(1.0)
    with pytest.raises(ShapeError, match=r"lacks \['u'\](.|\n)*floats for its ints"):
        pull({"u": 1, "v": 0.0})
    with pytest.raises(DTypeError):
        tg.vjp(lambda x: x, 1.0)[1]({"u": 1.0})


def test_a_direction_of_an_array_may_be_a_list_of_numbers():
    x = np.array([1.0, 2.0])
    assert tg.vjp(tg.sin, x)[1]([1, 0])[0].tolist() == [np.cos(1.0), 0.0]
    assert tg.jvp(lambda x: x * x, (x,), ([1, 0],))[1].tolist() == [2.0, 0.0]
    assert tg.hvp(lambda x: (x**3).sum(), (x,), ([1.0, 0.0],)).tolist() == [6.0, 0.0]


def test_an_identity_pulls_its_cotangent_back():
    y, pull = tg.vjp(lambda x: (x, x * 2), 3.0)
    assert pull((1.0, 1.0))[0].item() == pull((3.0, 0.0))[0].item() == y[0].item() == 3.0


def test_a_list_is_a_container_to_every_transform():
    f = lambda pair: pair[0] ** 2 * pair[1]  # noqa: E731  (one line of mathematics)
    at = [2.0, 5.0]
    assert tg.grad(f)(at) == tg.jacobian(f)(at) == tg.vjp(f, at)[1](1.0)[0] == [20.0, 4.0]
    assert tg.jvp(f, (at,), ([1.0, 0.0],))[1].item() == 20.0
    assert tg.hvp(f, (at,), ([1.0, 0.0],)) == [10.0, 4.0]


# jacobian, hessian, hvp --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)])
@pytest.mark.parametrize("result", [(), (4,), (2, 2), (0, 2)])
def test_a_jacobian_has_the_shape_of_the_result_then_of_the_argument(shape, result):
    size = int(np.prod(result, dtype=int))
    M = RNG.normal(size=(size, int(np.prod(shape, dtype=int))))
    x = RNG.normal(size=shape)
    J = tg.jacobian(lambda t: (M @ t.reshape((-1,))).reshape(result))(x)
    assert J.shape == (*result, *shape)
    np.testing.assert_array_equal(J.data, M.reshape(J.shape))


def test_a_jacobian_by_a_container_and_by_several_arguments():
    f = lambda p, y: p["a"] * y + p["b"]  # noqa: E731  (one line of mathematics)
    tree = {"a": np.array([1.0, 2.0]), "b": 3.0}
    by_tree, by_y = tg.jacobian(f, (0, 1))(tree, np.array([5.0, 6.0]))
    assert by_tree["a"].tolist() == [[5.0, 0.0], [0.0, 6.0]]
    assert by_tree["b"].tolist() == [1.0, 1.0]
    assert by_y.tolist() == [[1.0, 0.0], [0.0, 2.0]]


def test_the_hessian_is_symmetric_and_agrees_with_hvp():
    x, v = RNG.normal(size=(3, 2)), RNG.normal(size=(3, 2))
    weight = RNG.normal(size=(3, 2))
    f = lambda t: (tg.batch_norm(t) * weight).sum() + tg.logsumexp(t * t)  # noqa: E731  (one line of mathematics)
    H = tg.hessian(f)(x).data
    assert H.shape == (3, 2, 3, 2)
    M = H.reshape(6, 6)
    close(M, M.T, ulps=256)
    close(tg.hvp(f, (x,), (v,)), (M @ v.ravel()).reshape(3, 2), ulps=256)


def test_hvp_of_a_dict_has_its_structure():
    f = lambda p: (p["w"] ** 2 * p["b"]).sum()  # noqa: E731  (one line of mathematics)
    p = {"w": np.array([1.0, 2.0]), "b": 3.0}
    v = {"w": np.array([1.0, 0.0]), "b": 10.0}
    got = tg.hvp(f, (p,), (v,))
    assert got["w"].tolist() == [2 * 3 * 1 + 2 * 1 * 10, 2 * 2 * 10.0]
    assert got["b"].item() == 2.0
    first, second = tg.hvp(lambda a, b: a * a * b, (2.0, 3.0), (1.0, 1.0))
    assert (first.item(), second.item()) == (2 * 3 + 2 * 2, 4.0)


def test_a_jacobian_of_a_gradient_in_an_outer_graph_keeps_the_graph():
    third = tg.grad(tg.hessian(lambda t: t**4))(2.0)
    assert third.item() == 48.0


def third_order_cases():
    z, weight = RNG.normal(size=(2, 4, 3))
    yield "batch_norm", z, lambda t: (tg.batch_norm(t) ** 2 * weight).sum()
    yield "cross_entropy", z, lambda t: tg.cross_entropy(t, [0, 1, 2, 1])


@pytest.mark.parametrize(
    ("x", "f"), [c[1:] for c in third_order_cases()], ids=["batch_norm", "cross_entropy"]
)
def test_the_third_order_is_right(x, f):
    report = tg.testing.check_gradients(f, x, order=3, directions=1)
    assert report.raise_if_wrong().worst < 1e-12
    u, v = RNG.normal(size=(2, *x.shape))
    third = tg.jvp(lambda t: tg.hvp(f, (t,), (u,)), (x,), (v,))[1]
    swapped = tg.jvp(lambda t: tg.hvp(f, (t,), (v,)), (x,), (u,))[1]
    scale = np.abs(third.data).max()
    assert np.abs(third.data - swapped.data).max() <= 64 * x.size * np.finfo(float).eps * scale


# trace -------------------------------------------------------------------------------------------


def traced():
    x, w = RNG.normal(size=(4, 3)), RNG.normal(size=(3, 2))
    closed = tg.Tensor(w, name="closed")
    yield "function", lambda x: tg.softmax(x * 2 + 1), (x,)
    yield "closure", lambda x: tg.batch_norm(x @ closed), (x,)
    yield "gradient", tg.grad(lambda x: tg.cross_entropy(x, [0, 1, 2, 0])), (x,)
    yield "hessian", tg.hessian(lambda x: tg.logsumexp(x * x)), (x,)
    yield "gradient inside", lambda x: x * tg.grad(lambda y: (tg.exp(y) * x).sum())(x), (x,)
    yield "container", lambda p: {"y": p["x"] @ p["w"], "n": (p["w"],)}, ({"x": x, "w": w},)
    yield "indexed", lambda x: tg.sort(x, axis=0)[np.array([0, 0, 2])] - x.at[1].set(0.0)[:3], (x,)
    yield "checkpoint", tg.grad(tg.checkpoint(lambda x: (tg.sin(x) ** 2).sum())), (x,)
    yield "half", lambda x: tg.sum(tg.astype(x, np.float16) * 3), (x,)


@pytest.mark.parametrize(
    ("f", "arguments"), [t[1:] for t in traced()], ids=[t[0] for t in traced()]
)
def test_a_program_gives_the_same_bits(f, arguments):
    trace = tg.trace(f, *arguments)
    expected = flat(trace.outputs)
    for got, value in zip(flat(trace.run()), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(got), value, strict=True)
    namespace = {}
    exec(trace.program(), namespace)  # noqa: S102  (the program under test)
    inputs = [i.data for i in trace.inputs]
    again = namespace[trace.name if trace.name in namespace else "f"](*inputs, **trace.constants)
    for got, value in zip(flat(again), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(got), value, strict=True)


def flat(tree):
    if isinstance(tree, dict):
        return [x for v in tree.values() for x in flat(v)]
    if isinstance(tree, list | tuple):
        return [x for v in tree for x in flat(v)]
    return [np.asarray(tree)]


def test_closed_over_values_become_keywords_under_their_names():
    w = tg.Tensor([2.0, 3.0], name="w")
    trace = tg.trace(lambda x: x * w + np.array([1.0, 1.0]), np.ones(2))
    text = str(trace)
    assert "def f(x, *, w, c2):" in text
    assert set(trace.constants) == {"w", "c2"}
    assert trace.run(np.array([10.0, 10.0])).tolist() == [21.0, 31.0]


def test_names_of_arguments_containers_and_functions_are_kept():
    def energy(mass, speed):
        return mass * speed**2 / 2

    text = str(tg.trace(energy, 2.0, 3.0))
    assert text.startswith("import numpy as np\n\ndef energy(mass, speed):\n")


@pytest.mark.parametrize(
    "name", ["from", "np", "float", "getitem", "v1", "c1", "naïve", "two words"]
)
def test_no_name_breaks_the_program(name):
    x, c = tg.Tensor([1.0, 2.0], name=name), tg.Tensor([3.0, 4.0], name=name)

    def getitem(t):
        return tg.minimum(t[1:] * c[1:], np.inf)

    trace = tg.trace(getitem, x)
    assert "float('inf')" in str(trace)
    assert trace.run().tolist() == [8.0]
    assert trace.run(np.array([0.0, 5.0])).tolist() == [20.0]


def test_constants_among_the_outputs_stand_in_the_program():
    trace = tg.trace(lambda x: {"y": 2 * x, "inf": np.inf, "word": "a", "row": np.ones(2)}, 3.0)
    got = trace.run()
    assert (float(got["y"]), got["inf"], got["word"]) == (6.0, np.inf, "a")
    assert got["row"].tolist() == [1.0, 1.0]


def test_a_trace_ends_with_the_block_and_records_nothing_else():
    tg.trace(lambda x: x * 2, 1.0)
    assert (tg.Tensor(1.0) * 2).op is None


def test_tracing_follows_pythons_control_flow_of_this_run():
    f = lambda x: x * 2 if x > 0 else -x  # noqa: E731  (one line of mathematics)
    assert "np.multiply" in str(tg.trace(f, 1.0))
    assert "np.negative" in str(tg.trace(f, -1.0))


def test_running_a_trace_on_too_few_inputs_is_refused():
    with pytest.raises(ShapeError, match="The trace has 2 inputs; 1 given"):
        tg.trace(lambda a, b: a + b, 1.0, 2.0).run(1.0)


# checkpoint --------------------------------------------------------------------------------------


def block(x, w):
    return tg.tanh(tg.batch_norm(x @ w)) * tg.sin(x @ w)


@pytest.mark.parametrize("nested", [False, True])
def test_a_checkpoint_equals_the_plain_function_at_orders_one_and_two(nested):
    x, w, v = RNG.normal(size=(5, 3)), RNG.normal(size=(3, 2)), RNG.normal(size=(3, 2))
    kept = tg.checkpoint(block)
    if nested:
        inner = kept
        kept = tg.checkpoint(lambda a, b: inner(a, b) * 1.0)
    plain = lambda w: (block(x, w) ** 2).sum()  # noqa: E731  (one line of mathematics)
    saved = lambda w: (kept(x, w) ** 2).sum()  # noqa: E731  (one line of mathematics)
    close(tg.grad(saved)(w), tg.grad(plain)(w))
    close(tg.hvp(saved, (w,), (v,)), tg.hvp(plain, (w,), (v,)), ulps=256)
    by_both = tg.grad(lambda a, b: (kept(a, b) ** 2).sum(), (0, 1))(x, w)
    expected = tg.grad(lambda a, b: (block(a, b) ** 2).sum(), (0, 1))(x, w)
    for got, wanted in zip(by_both, expected, strict=True):
        close(got, wanted)


def test_a_checkpoint_reaches_closed_over_parameters():
    x, w, expected = RNG.normal(size=(5, 3)), leaf(RNG.normal(size=(3, 2))), None
    for f in (lambda t: block(t, w), tg.checkpoint(lambda t: block(t, w))):
        w.grad = None
        (f(tg.Tensor(x)) ** 2).sum().backward()
        expected = w.grad if expected is None else expected
    close(w.grad, expected)


def test_a_checkpoint_with_several_results_one_cotangent_and_an_unwanted_operand():
    y = leaf(5.0)
    f = lambda x, t: {"product": x * t, "rest": [x + 3 * x * t]}  # noqa: E731  (one line of mathematics)
    total = lambda r: r["product"] + r["rest"][0]  # noqa: E731  (one line of mathematics)
    kept = tg.grad(lambda x: total(tg.checkpoint(f)(x, y)))(2.0)
    assert kept.item() == tg.grad(lambda x: total(f(x, y)))(2.0).item() == 21.0


def test_a_checkpoint_draws_at_random_once():
    x = RNG.normal(size=(50,))

    def f(t, rng):
        return (tg.dropout(t * t, rate=0.5, rng=rng) ** 2).sum()

    def run(g, order):
        rng = np.random.default_rng(5)
        loss = g(lambda s: f(s, rng))
        return tg.grad(loss)(x) if order == 1 else tg.hvp(loss, (x,), (np.ones(50),))

    for order in (1, 2):
        np.testing.assert_array_equal(run(tg.checkpoint, order).data, run(lambda h: h, order).data)


def test_a_checkpoint_computes_twice_and_no_oftener():
    calls = []

    @tg.checkpoint
    def f(a, b, c):
        calls.append(1)
        return (a * b * c).sum()

    tg.grad(f, (0, 1, 2))(np.ones(2), np.ones(2), np.ones(2))
    assert len(calls) == 2


def test_a_checkpoint_whose_parameter_was_assigned_is_refused():
    from tinygrad_bn.graph.tensor import Variable  # noqa: PLC0415  (used here alone)

    w = Variable([2.0], requires_grad=True, name="w")
    loss = tg.checkpoint(lambda x: (x * w).sum())(leaf([3.0]))
    w.assign([5.0])
    with pytest.raises(GradientError, match="w was assigned between the forward and the backward"):
        loss.backward()
    assert w.grad is None


def test_a_checkpoint_without_gradients_is_the_function():
    assert tg.checkpoint(lambda x: x * 2)(tg.Tensor(2.0)).op is None
    with tg.no_grad():
        assert tg.checkpoint(lambda x: x * 2)(leaf(2.0)).op is None


def test_a_checkpoint_counts_what_it_closes_over_once():
    a, x = leaf(3.0), leaf(1.0)
    b = a * 2
    tg.checkpoint(lambda x: x * a * b)(x).backward()
    assert (a.grad.item(), x.grad.item()) == (12.0, 18.0)
    w = leaf(2.0)
    h = w * 5.0
    tg.checkpoint(lambda: h * w)().backward()
    assert w.grad.item() == 20.0
    w.grad = None
    tg.checkpoint(lambda p, q: p * q)(h, w).backward()
    assert w.grad.item() == 20.0


def test_a_recorded_checkpoint_counts_its_closed_over_argument_once():
    x = leaf(3.0)
    tg.checkpoint(lambda a: a * x)(x).backward(create_graph=True)
    assert x.grad.item() == 6.0
    square = lambda x: tg.checkpoint(lambda a: a * x)(x)  # noqa: E731  (one line of mathematics)
    assert tg.grad(tg.grad(square))(3.0).item() == 2.0


@pytest.mark.parametrize("depth", [1, 2])
def test_checkpoints_of_any_depth_are_exact_to_order_four(depth):
    def plain(x):
        h = x * x
        return h * x * (h + x) * x

    def kept(x):
        h = x * x
        inner = lambda a: a * x * (h + a)  # noqa: E731  (one line of mathematics)
        for _ in range(depth):
            inner = tg.checkpoint(inner)
        return tg.checkpoint(lambda a: h * inner(a))(x)

    for _ in range(4):
        plain, kept = tg.grad(plain), tg.grad(kept)
        assert kept(3.0).item() == plain(3.0).item()


def test_a_checkpoint_may_return_what_it_closes_over_or_constants():
    x, w = leaf(3.0), leaf(2.0)
    a, b, c = tg.checkpoint(lambda x: (x * 2, w, x.detach() * 4))(x)
    (a * b).backward()
    assert (x.grad.item(), w.grad.item()) == (4.0, 6.0)
    assert not c.requires_grad


def test_a_checkpoint_with_several_results_computes_again_once_in_a_sweep():
    calls = []

    def pair(x):
        calls.append(1)
        return x * 2, x * 3, x * 5

    x = leaf([1.0, 2.0])
    a, b, c = tg.checkpoint(pair)(x)
    loss = (a * b * c).sum()
    loss.backward()
    assert len(calls) == 2
    assert x.grad.tolist() == [90.0, 360.0]
    (a + c).sum().backward()
    assert len(calls) == 3
    slope = tg.grad(lambda x: sum(tg.checkpoint(pair)(x)))
    assert tg.grad(lambda x: slope(x) * x)(3.0).item() == 10.0


def test_a_checkpoint_leaves_python_numbers_alone_and_takes_keywords():
    x = leaf(np.ones(2, np.float32))
    kept = tg.checkpoint(lambda x, s, *, t, w: x * s + t * w)
    y = kept(x, 0.5, t=2.0, w=x)
    assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad.tolist() == [2.5, 2.5]


def test_checkpoints_in_a_row_keep_one_array_each():
    n, x, w = 30, leaf(np.ones(4000)), leaf(np.ones(4000))
    kept = tg.checkpoint(lambda t: tg.tanh(tg.sin(tg.cos(t * w) + t) * t))
    tracemalloc.start()
    try:
        h = x
        for _ in range(n):
            h = kept(h)
        h.sum().backward()
        arrays = tracemalloc.get_traced_memory()[1] / x.data.nbytes
    finally:
        tracemalloc.stop()
    assert arrays < 2 * n  # the graph of one block and small change beside n; 6 n without


def test_checkpoints_nest_with_every_transform():
    x, v = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.5, -1.0])
    plain = lambda x: (tg.sin(x) * x**2).sum() * x.sum()  # noqa: E731  (one line of mathematics)
    kept = tg.checkpoint(plain)
    inside = tg.checkpoint(tg.grad(kept))
    for g, ours in ((tg.grad(plain), tg.grad(kept)), (tg.grad(plain), inside)):
        close(tg.jvp(ours, (x,), (v,))[1], tg.jvp(g, (x,), (v,))[1], ulps=256)
        close(tg.jacobian(tg.jacobian(ours))(x), tg.jacobian(tg.jacobian(g))(x), ulps=256)
        _, pull = tg.vjp(tg.jacobian(ours), x)
        expected = tg.vjp(tg.jacobian(g), x)[1](np.eye(3))[0]
        for _ in range(2):
            close(pull(np.eye(3))[0], expected, ulps=256)


# traces ------------------------------------------------------------------------------------------


def test_a_trace_keeps_the_dtypes_that_a_number_leaves_alone():
    x = np.ones(2, np.float32)
    f = lambda x, s, d: x * s + d["t"]  # noqa: E731  (one line of mathematics)
    made = tg.trace(f, x, 0.5, {"t": 2.0})
    assert made.outputs.dtype == f(tg.Tensor(x), 0.5, {"t": 2.0}).dtype == np.float32
    assert made.run().dtype == np.float32
    assert tg.trace(lambda i, s: i * s, np.arange(2), 0.5).outputs.dtype == np.float64
    assert tg.trace(lambda s: s * 2, 0.5).outputs.dtype == np.float64


def test_a_trace_keeps_the_values_it_closed_over():
    w = tg.nn.Parameter([2.0], name="w")
    made = tg.trace(lambda x: (x * w, w), np.ones(1))
    w.assign([5.0])
    assert [made.run()[0].tolist(), made.run()[1].tolist()] == [[2.0], [2.0]]
    assert made.constants["w"].tolist() == [2.0]


def test_a_trace_refuses_what_is_assigned_between_two_uses():
    w = tg.nn.Parameter([2.0], name="w")

    def step(x):
        y = x * w
        w.assign([5.0])
        return y * w

    with pytest.raises(GradientError, match="trace of step: w was assigned between two uses"):
        tg.trace(step, np.ones(1))


# custom rules ------------------------------------------------------------------------------------


@pytest.fixture
def own_rule():
    known = set(table)
    yield tg.custom_rule
    for name in set(table) - known:
        del table[name]
        delattr(namespaces.arrays, name)
        delattr(namespaces.tensors, name)


def test_a_custom_rule_is_used_at_orders_one_and_two_and_in_programs(own_rule):
    @own_rule(vjp=lambda xp, g, out, x: g * (1 - xp.exp(-out)))
    def smooth(x):
        return tg.log(1 + tg.exp(x))

    sigmoid = 1 / (1 + np.exp(-0.7))
    close(tg.grad(smooth)(0.7), sigmoid)
    close(tg.grad(tg.grad(smooth))(0.7), sigmoid * (1 - sigmoid))
    close(tg.jvp(smooth, (0.7,), (2.0,))[1], 2 * sigmoid)
    trace = tg.trace(tg.grad(smooth), 0.7)
    np.testing.assert_array_equal(trace.run(), trace.outputs.data)
    assert "smooth" in table


def test_a_wrong_custom_rule_is_believed_so_it_must_be_checked(own_rule):
    @own_rule(vjp=lambda xp, g, out, x: g * 7.0)
    def wrong(x):
        return x * x

    assert tg.grad(wrong)(1.0).item() == 7.0


def test_a_custom_rule_may_have_static_parameters_and_operands_without_a_gradient(own_rule):
    @own_rule(vjp=(lambda xp, g, out, x, y, *, power: g * power * x ** (power - 1), None))
    def raised(x, y, *, power=2):
        return x**power + y

    assert raised(3.0, 1.0, power=3).item() == 28.0
    by_x, by_y = tg.grad(lambda x, y: raised(x, y, power=3), (0, 1))(3.0, 1.0)
    assert (by_x.item(), by_y.item()) == (27.0, 0.0)


def test_a_custom_rule_of_the_wrong_shape_is_refused(own_rule):
    @own_rule(vjp=lambda xp, g, out, x: xp.sum(g))
    def misfit(x):
        return x * 1.0

    with pytest.raises(
        GradientError, match=r"rule of misfit for operand 0 gave a gradient of shape"
    ):
        tg.grad(lambda x: misfit(x).sum())(np.ones(3))


def test_a_custom_rule_must_return_a_tensor_and_a_free_name(own_rule):
    @own_rule(vjp=lambda xp, g, out, x: g)
    def pair(x):
        return x, x

    with pytest.raises(DTypeError, match="pair returned a tuple"):
        pair(1.0)
    with pytest.raises(TinygradError, match="'sin' exists already"):
        own_rule(vjp=lambda xp, g, out, x: g)(tg.sin)

    def sin(x):
        return x

    with pytest.raises(TinygradError, match="'sin' exists already"):
        own_rule(vjp=lambda xp, g, out, x: g)(sin)
    assert tg.grad(tg.sin)(0.0).item() == 1.0


@pytest.mark.parametrize("count", [1, 3])
def test_a_custom_rule_has_one_rule_for_each_operand(own_rule, count):
    rule = lambda xp, g, out, x, y: g  # noqa: E731  (a rule is one line)
    with pytest.raises(DTypeError, match=f"join has 2 operands, and vjp has {count} rules"):

        @own_rule(vjp=[rule] * count)
        def join(x, y):
            return x + y

    with pytest.raises(DTypeError, match="join has 2 operands, and vjp has 1 rules"):
        own_rule(vjp=rule)(named("join", lambda x, y: x + y))
    with pytest.raises(DTypeError, match="join has any number of operands"):
        own_rule(vjp=lambda xp, g, out, *xs: g)(named("join", lambda *xs: xs[0]))


def named(name, function):
    function.__name__ = name
    return function


def test_a_custom_rule_may_not_close_over_a_parameter(own_rule):
    w = tg.nn.Parameter([2.0], name="w")

    @own_rule(vjp=lambda xp, g, out, x: g)
    def scaled(x):
        return x * w

    with pytest.raises(GradientError, match="scaled closes over w that requires a gradient"):
        scaled(np.ones(1))

    @own_rule(vjp=lambda xp, g, out, x: g * 2)
    def fixed(x):
        return x * w.detach()

    assert tg.grad(lambda x: fixed(x).sum())(np.ones(1)).tolist() == [2.0]


# programs of odd things ---------------------------------------------------------------------------


def test_two_rules_of_one_name_keep_their_own_kernels_in_a_program(own_rule):
    def make(c):
        @own_rule(vjp=lambda xp, g, out, x: g * c)
        def scaled_by(x):
            return x * c

        return scaled_by

    double, fivefold = make(2.0), make(5.0)
    traced = tg.trace(lambda x: double(fivefold(x)) + fivefold(x), np.ones(2))
    assert traced.run().tolist() == [15.0, 15.0]
    nameless = own_rule(vjp=lambda xp, g, out, x: 3 * g)(lambda x: 3 * x)
    assert tg.trace(nameless, np.ones(2)).run().tolist() == [3.0, 3.0]


def test_outputs_of_every_kind_come_back_from_a_program():
    x = np.arange(6.0).reshape(3, 2)
    both = tg.trace(tg.moments, x).run()
    assert type(both).__name__ == "Moments"
    assert both.mean == 2.5
    ordered = tg.trace(lambda x: OrderedDict(twice=2 * x), x).run()
    assert type(ordered) is OrderedDict
    assert (ordered["twice"] == 2 * x).all()
    layer = tg.nn.Linear(2, 1, rng=0)
    slope = tg.trace(tg.grad(lambda m: m(x).sum()), layer).run()
    assert slope.weight.tolist() == [[6.0, 9.0]]
    plain = tg.trace(lambda x: {"a": [x.sum(), 1.5], "b": (x,)}, x)
    assert "return {'a': [v1, 1.5], 'b': (x,)}" in plain.program()


def test_a_program_sums_broadcast_inputs_as_the_trace_did():
    x = np.broadcast_to(np.random.default_rng(0).normal(size=(1, 36, 37)), (40, 36, 37))
    traced = tg.trace(tg.sum, x.astype(np.float32))
    assert traced.run(x.astype(np.float32)) == traced.run() == traced.outputs.item()


def test_a_row_of_ones_own_needs_a_rule_for_each_operand_too():
    with pytest.raises(DTypeError, match="half_ruled has 2 operands, and vjp has 1 rules"):

        @tg.families.elementwise(vjp=[lambda xp, g, out, x, y: g])
        def half_ruled(x, y, /):
            return x + y
