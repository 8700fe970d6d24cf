"""The ten facts of the README, each as a test."""

import mpmath
import numpy as np
import pytest

import tinygrad_bn as tg
from tinygrad_bn.errors import ShapeError
from tinygrad_bn.testing import check_gradients

rng = np.random.default_rng(20)


def test_a_constant_column_of_1e10_normalises_to_exactly_zero():
    x = tg.Tensor(np.full((1000, 3), 1e10), dtype=np.float32, requires_grad=True)
    y = tg.batch_norm(x)
    assert (y.data == 0).all()
    y.backward(rng.normal(size=y.shape).astype(np.float32))
    assert np.isfinite(x.grad.data).all()


@pytest.mark.parametrize("rows", [64, 1000])
def test_an_offset_of_a_million_costs_less_than_1e_5(rows):
    """In exact arithmetic: the same float32 numbers, standardised in long double."""
    x = (1e6 + 100 * rng.normal(size=(rows, 4))).astype(np.float32)
    exact = x.astype(np.longdouble)
    exact = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + np.longdouble(1e-5))
    error = np.abs(tg.batch_norm(x).data - exact).max()
    assert error < 1e-5
    two_passes = (x - x.mean(0)) / np.sqrt(x.var(0) + np.float32(1e-5))
    assert np.abs(two_passes - exact).max() > 1e-5


def test_the_hessian_of_batch_norm_agrees_with_differences_and_a_detached_mean_does_not():
    x, v, w = (rng.normal(size=(6, 3)) for _ in range(3))

    def loss(x):
        return (w * tg.batch_norm(x) ** 3).sum()

    def detached(x):
        mean = tg.mean(x, axis=0, keepdims=True)
        var = tg.mean((x - tg.stop_gradient(mean)) ** 2, axis=0, keepdims=True)
        return (w * ((x - mean) / tg.sqrt(var + 1e-5)) ** 3).sum()

    check_gradients(loss, x, order=2).raise_if_wrong()
    assert check_gradients(detached, x, order=1).ok
    wrong = [v for v in check_gradients(detached, x, order=2).verdicts if v.kind == "mismatch"]
    assert {v.order for v in wrong} == {2}
    right, found = (tg.hvp(f, (x,), (v,)).data for f in (loss, detached))
    assert np.abs(found - right).max() > 1e-2 * np.abs(right).max()


@pytest.mark.parametrize("gap", [5, 10, 20, 40, 80])
def test_float32_cross_entropy_keeps_its_digits_when_confident(gap):
    z = np.array([[gap, 0, 0]], np.float32)
    loss, slope = tg.value_and_grad(lambda z: tg.cross_entropy(z, [0]))(z)
    rest = 2 * mpmath.exp(-gap)
    exact = [-rest / (1 + rest), rest / 2 / (1 + rest), rest / 2 / (1 + rest)]
    # exp of a float32 of size `gap` carries half an ulp of the gap, and a few roundings more.
    bound = max(1e-6, np.spacing(np.float32(gap)))
    assert abs(loss.item() / mpmath.log1p(rest) - 1) < bound
    assert all(abs(g / e - 1) < bound for g, e in zip(slope.data[0].tolist(), exact, strict=True))
    assert slope.dtype == np.float32


def test_a_masked_row_gives_zeros_and_zero_gradient_and_leaves_its_neighbours_alone():
    z = rng.normal(size=(3, 4))
    mask = np.array([[True] * 4, [False] * 4, [True, False, True, True]])
    x = tg.Tensor(z, requires_grad=True)
    y = tg.softmax(x, where=mask, empty="zero")
    y.backward(rng.normal(size=y.shape))
    assert (y.data[1] == 0).all()
    assert (x.grad.data[1] == 0).all()
    assert y.data[2, 1] == 0 == x.grad.data[2, 1]
    assert (y.data[0] == tg.softmax(z[:1]).data[0]).all()
    with pytest.raises(ShapeError, match=r"the row at \(1, 0\) has no finite entry"):
        tg.softmax(x, where=mask)


def test_ties_share_equally():
    for function in (tg.max, tg.min):
        shares = tg.grad(function)(np.array([2.0, 2.0, 2.0, 2.0]))
        assert shares.tolist() == [0.25] * 4
    assert tg.grad(tg.maximum, (0, 1))(1.0, 1.0) == (0.5, 0.5)
    assert tg.grad(tg.relu)(0.0) == 0
    assert tg.grad(tg.abs)(0.0) == 0


def test_mutating_an_array_after_the_forward_pass_changes_no_gradient():
    source, factor = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    x = tg.Tensor(source, requires_grad=True)
    y = (x * x * factor).sum()
    source[:] = factor[:] = 100
    y.backward()
    assert x.grad.tolist() == [6.0, 16.0]
    with pytest.raises(ValueError, match="read-only"):
        x.data[0] = 1


def test_a_second_backward_doubles_leaf_gradients_and_nothing_else():
    a = tg.Tensor(3.0, requires_grad=True)
    b = (a * 3).retain_grad()
    c = b * b * 2
    c.backward()
    once = a.grad.item()
    c.backward()
    assert once == 4 * 9 * 3
    assert a.grad.item() == 2 * once
    assert c.item() == 162


def test_a_hundred_thousand_nodes():
    x = tg.Tensor(np.ones(2), requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y * 1.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_softmax_of_a_softmax_is_refused_with_its_path():
    z = tg.Tensor(rng.normal(size=(2, 3)), requires_grad=True)
    weights = tg.reshape(tg.softmax(z), (2, 3))
    with pytest.raises(ShapeError, match=r"softmax at .*test_facts.py:\d+ -> reshape at .*py:\d+"):
        tg.cross_entropy(weights, [0, 1])
    tg.cross_entropy(weights @ np.eye(3), [0, 1])
