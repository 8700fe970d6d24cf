"""What bites: each entry of docs/footguns.md, by its name and in its order, shown to be true."""

import contextlib
import copy
import math
import sys
import threading
import weakref

import numpy as np
import pytest

import tinygrad_bn as tg
from tinygrad_bn.errors import BoundsError, DTypeError, GradientError, ShapeError
from tinygrad_bn.graph import namespaces, primitive


def leaf(value):
    return tg.Tensor(value, requires_grad=True)


@contextlib.contextmanager
def restored():
    """Leave the table and the namespaces as they were, whatever rows the block registers."""
    registries = (
        primitive.table,
        primitive.ufuncs,
        vars(namespaces.arrays),
        vars(namespaces.tensors),
    )
    before = [dict(registry) for registry in registries]
    try:
        yield
    finally:
        for registry, known in zip(registries, before, strict=True):
            registry.clear()
            registry.update(known)


# leaving the graph


def test_float_of_a_tensor_leaves_the_graph():
    assert tg.grad(lambda x: x * float(x))(3.0).item() == 3.0
    assert tg.grad(lambda x: x * math.sin(x))(3.0).item() == math.sin(3.0)
    assert tg.grad(lambda x: x * np.array([x])[0])(3.0).item() == 3.0


def test_a_list_of_tensors_is_not_a_tensor():
    x = leaf([1.0, 2.0])
    with pytest.raises(GradientError, match="would lose the gradient"):
        tg.asarray([x[0], x[1]])
    assert tg.stack([x[0], x[1]]).requires_grad


def test_some_functions_of_numpy_raise_on_a_tensor():
    x = leaf([1.0, 2.0])
    for call in (
        lambda: np.median(x),
        lambda: np.cbrt(x),
        lambda: np.add.reduce(x),
        lambda: np.add(x, x, out=np.zeros(2)),
    ):
        with pytest.raises(DTypeError, match="cannot be applied to a Tensor"):
            call()
    assert np.median(np.asarray(x)) == 1.5


def test_steps_have_gradient_zero():
    x = np.array([0.3, 1.7])
    for step in (tg.round, tg.floor, tg.sign, tg.hardmax):
        assert tg.grad(lambda x, step=step: step(x).sum())(x).tolist() == [0.0, 0.0]
    assert not tg.argmax(leaf(x)).requires_grad


def test_complex_numbers_have_no_gradients():
    assert (tg.Tensor([1j]) * 2).tolist() == [2j]
    with pytest.raises(DTypeError, match="cannot require a gradient: it is complex"):
        leaf([1j])
    with pytest.raises(DTypeError, match="gave a complex result"):
        leaf([1.0]) * 1j


def test_integers_have_no_gradients():
    with pytest.raises(DTypeError, match="not floating-point"):
        leaf([1, 2])
    with pytest.raises(DTypeError, match=r"is the int 3: .*\n.*\n.*Pass 3\.0"):
        tg.grad(lambda x: x * x)(3)


# values


def test_a_tensor_cannot_be_written_to():
    x = tg.Tensor([1.0, 2.0])
    with pytest.raises(DTypeError, match="tensors are immutable values"):
        x[0] = 5.0
    with pytest.raises(ValueError, match="read-only"):
        x.data[0] = 5.0
    assert x.at[0].set(5.0).tolist() == [5.0, 2.0]
    assert x.tolist() == [1.0, 2.0]


def test_plus_equals_makes_a_new_tensor():
    x = before = tg.Tensor([1.0])
    x += 1
    assert x is not before
    assert before.tolist() == [1.0]


def test_setting_a_repeated_index_keeps_the_last_value():
    slope = tg.grad(lambda v: tg.zeros(2).at[[0, 0]].set(v).sum())(np.array([5.0, 6.0]))
    assert tg.zeros(2).at[[0, 0]].set([5.0, 6.0]).tolist() == [6.0, 0.0]
    assert slope.tolist() == [0.0, 1.0]


def test_multiplying_at_a_repeated_index_is_refused():
    with pytest.raises(ShapeError, match=r"at\.multiply with a repeated index"):
        tg.ones(2).at[[0, 0]].multiply(3.0)


def test_empty_gives_zeros():
    assert tg.empty(3).tolist() == [0.0, 0.0, 0.0]


def test_equality_is_elementwise():
    a, b = tg.Tensor([1.0, 2.0]), tg.Tensor([1.0, 2.0])
    assert (a == b).tolist() == [True, True]
    with pytest.raises(ShapeError, match=r"bool\(\) of a tensor of shape \(2,\)"):
        assert b in [a, a + 1]
    assert tg.Tensor(1.0) in [a.sum(), tg.Tensor(1.0)]  # another tensor of the same value
    assert {a: "a"}.get(b) is None  # as keys tensors are themselves


def test_a_scalar_of_numpy_is_not_weak():
    x = tg.Tensor([1.0], dtype=np.float32)
    assert (x * 0.5).dtype == np.float32
    assert (x * np.float64(0.5)).dtype == np.float64
    assert (x * tg.Tensor(0.5)).dtype == np.float64


def test_an_array_is_copied_each_time_it_meets_a_tensor():
    array, x = np.ones(3), leaf([1.0, 2.0, 3.0])
    assert not np.shares_memory((x * array).inputs[1].data, array)
    constant = tg.Tensor(array)
    assert (x * constant).inputs[1] is constant


def test_a_list_is_a_container():
    slopes = tg.grad(lambda pair: pair[0] * pair[1])([2.0, 5.0])
    assert isinstance(slopes, list)
    assert slopes == [5.0, 2.0]
    slopes = tg.jacobian(lambda pair: pair[0] * pair[1])([2.0, 5.0])
    assert isinstance(slopes, list)
    assert tg.jacobian(lambda x: x**2)(np.array([2.0, 5.0])).shape == (2, 2)


def test_a_deep_copy_is_detached():
    y = leaf([1.0]) * 2
    assert copy.copy(y) is y
    assert copy.deepcopy(y).op is None


# gradients


def test_backward_adds_to_grad():
    x = leaf(1.0)
    for _ in range(3):
        (x * 2).backward()
    assert x.grad.item() == 6.0


def test_an_intermediate_result_keeps_no_grad():
    x = leaf(1.0)
    y, z = x * 2, (x * 3).retain_grad()
    (y * z).backward()
    assert y.grad is None
    assert z.grad.item() == 2.0


def test_a_gradient_that_depends_on_a_parameter_requires_a_gradient():
    w = leaf(2.0)
    slope = tg.grad(lambda x: x * x * w)
    assert slope(3.0).requires_grad
    with tg.no_grad():
        assert not slope(3.0).requires_grad
    assert not tg.grad(lambda x: x * x * 2.0)(3.0).requires_grad


def test_assigning_a_parameter_before_a_recorded_backward_raises():
    w = tg.nn.Parameter([1.0, 2.0], name="w")
    y = (w * w).sum()
    w.assign([5.0, 5.0])
    y.backward()
    assert w.grad.tolist() == [2.0, 4.0]  # of the recorded values
    with pytest.raises(GradientError, match="whose operand w was assigned after the recording"):
        y.backward(create_graph=True)


def test_where_computes_both_branches():
    x = np.array([0.0, 1.0])

    def naive(x):
        return tg.where(x > 0, tg.sqrt(x), 0.0).sum()

    def safe(x):
        return tg.where(x > 0, tg.sqrt(tg.where(x > 0, x, 1.0)), 0.0).sum()

    np.testing.assert_equal(tg.grad(naive)(x).data, [np.nan, 0.5])
    np.testing.assert_equal(tg.grad(safe)(x).data, [0.0, 0.5])


def test_a_norm_written_by_hand_has_no_gradient_at_zero():
    zero = np.zeros(2)
    assert np.isnan(tg.grad(lambda x: tg.sqrt((x * x).sum()))(zero).data).all()
    assert tg.grad(lambda x: tg.hypot(x[0], x[1]))(zero).tolist() == [0.0, 0.0]


def test_the_exponent_of_a_negative_base_has_no_gradient():
    base, exponent = tg.grad(lambda x, y: x**y, (0, 1))(-2.0, 2.0)
    assert base.item() == -4.0
    assert np.isnan(exponent.item())
    assert tg.grad(lambda x: x**2)(-2.0).item() == -4.0


def test_the_second_derivative_of_a_kink_is_zero():
    assert tg.grad(tg.grad(tg.relu))(0.0).item() == 0.0
    assert tg.grad(tg.grad(tg.abs))(0.0).item() == 0.0


def test_a_warning_of_numpy_names_a_line_of_this_package():
    with pytest.warns(RuntimeWarning, match="invalid value encountered in log") as caught:
        tg.log(-1.0)
    assert caught[0].filename.endswith("primitive.py")
    with np.errstate(all="raise"), pytest.raises(FloatingPointError) as raised:
        tg.log(-1.0)
    assert any(entry.path.name == "test_footguns.py" for entry in raised.traceback)


def test_the_sweep_is_silent_about_nan():
    x = leaf(0.0)
    y = tg.sqrt(x) * 0.0
    y.backward()  # warnings are errors here: there is none
    assert np.isnan(x.grad.item())


# costs


def test_a_kept_loss_keeps_its_graph():
    middle = leaf(1.0) * 2
    loss, alive = middle * 3, weakref.ref(middle)
    del middle
    history = [loss]
    del loss
    assert alive() is not None
    history[0] = history[0].item()
    assert alive() is None


def test_the_gradient_of_cumulative_prod_is_quadratic():
    sizes = [
        max(node.size for node in tg.trace(tg.grad(lambda x: tg.cumulative_prod(x).sum()), x).nodes)
        for x in (np.ones(8), np.ones(16))
    ]
    assert sizes == [8**2, 16**2]


def test_jacobian_sweeps_once_for_each_element_of_the_result():
    sweeps = []

    with restored():

        @tg.custom_rule(vjp=lambda xp, g, out, x: sweeps.append(1) or g)
        def counted(x):
            return tg.positive(x)

        tg.jacobian(counted)(np.ones(5))
    assert len(sweeps) == 5


# transforms


def test_a_trace_keeps_the_branch_that_was_taken():
    def branching(x):
        return x * 2 if x.sum() > 0 else -x

    assert tg.trace(branching, np.ones(2)).run(-np.ones(2)).tolist() == [-2.0, -2.0]


def test_a_trace_keeps_the_shapes_it_saw():
    assert tg.trace(tg.mean, np.ones(2)).run(np.ones(4)) == 2.0


def test_a_trace_keeps_what_was_drawn():
    rng = np.random.default_rng(0)
    made = tg.trace(lambda x: tg.dropout(x, rate=0.5, rng=rng), np.ones(50))
    assert (made.run(np.ones(50)) == made.run(np.ones(50))).all()


def test_checkpoint_refuses_to_compute_other_values_again():
    rng = np.random.default_rng(0)
    dropped = tg.checkpoint(lambda x: tg.dropout(x, rate=0.5, rng=rng).sum())
    tg.grad(dropped)(np.ones(20))  # the library's own draws are repeated
    noisy = tg.checkpoint(lambda x: (x * rng.normal(size=20)).sum())
    with pytest.raises(GradientError, match="computed again, it gave other values"):
        tg.grad(noisy)(np.ones(20))


def test_a_custom_rule_may_not_close_over_a_parameter():
    x, w = leaf(3.0), leaf(2.0)
    with restored():

        @tg.custom_rule(vjp=lambda xp, g, out, x: g * 2)
        def scaled(x):
            return x * w

        with pytest.raises(GradientError, match="closes over a tensor that requires a gradient"):
            scaled(x)


def test_the_program_of_a_custom_rule_calls_it_by_name():
    with restored():

        @tg.custom_rule(vjp=lambda xp, g, out, x: g * 2)
        def doubled(x):
            return x * 2

        made = tg.trace(doubled, 3.0)
    assert "v1 = doubled(x)" in str(made)
    assert "def doubled(" not in str(made)
    assert made.run(4.0) == 8.0  # run brings it along


def test_no_grad_does_not_reach_a_thread_that_you_start():
    recorded = []
    with tg.no_grad():
        thread = threading.Thread(target=lambda: recorded.append((leaf(1.0) * 2).requires_grad))
        thread.start()
        thread.join()
    inherits = getattr(sys.flags, "thread_inherit_context", False)  # free-threaded Python
    assert recorded == [not inherits]


def test_no_grad_around_a_yield_leaks_to_the_caller():
    def values():
        with tg.no_grad():
            yield 1

    iterator = values()
    next(iterator)
    assert not (leaf(1.0) * 2).requires_grad
    iterator.close()
    assert (leaf(1.0) * 2).requires_grad


# normalisation and losses


def test_the_axis_of_batch_norm_is_what_is_averaged_over():
    images = np.random.default_rng(0).normal(size=(8, 3, 4, 4))
    assert np.allclose(tg.batch_norm(images, axis=(0, 2, 3)).data.mean((0, 2, 3)), 0)
    assert np.allclose(tg.batch_norm(images).data.mean(0), 0)  # each pixel a feature: no error
    with pytest.raises(ShapeError, match=r"gamma of shape \(3,\) does not fit"):
        tg.batch_norm(images, np.ones(3))


def test_a_variance_divides_by_n():
    assert tg.var([1.0, 3.0]).item() == 1.0
    assert tg.var([1.0, 3.0], correction=1).item() == 2.0


def test_an_infinite_or_nan_sample_ruins_its_column():
    x = np.array([[1.0, 1.0], [np.inf, 2.0], [3.0, 4.0]])
    with np.errstate(invalid="ignore"):
        y = tg.batch_norm(x).data
        last, first = tg.moments([1.0, np.inf]), tg.moments([np.inf, 1.0])
    assert np.isnan(y[:, 0]).all()
    assert np.isfinite(y[:, 1]).all()
    assert np.isinf(last.mean.item())
    assert np.isnan(first.mean.item())  # inf was the pilot


def test_cross_entropy_has_its_classes_on_the_last_axis():
    square, labels = np.zeros((2, 3, 3)), np.array([[0, 1, 2], [2, 1, 0]])
    square[:, 0] = 1.0
    assert tg.cross_entropy(square, labels) != tg.cross_entropy(square, labels, axis=1)
    with pytest.raises(ShapeError, match="classes along axis 2"):
        tg.cross_entropy(np.zeros((2, 3, 4)), np.zeros((2, 4), dtype=int))


def test_labels_are_never_clipped_or_wrapped():
    with pytest.raises(BoundsError, match=r"label -1 at index \(0,\) for 3 classes"):
        tg.cross_entropy(np.zeros((1, 3)), [-1])


def test_a_softmax_before_cross_entropy_is_seen_only_in_a_recorded_graph():
    z = np.array([[1.0, 2.0]])
    with pytest.raises(ShapeError, match="softmax would be applied twice"):
        tg.cross_entropy(tg.softmax(leaf(z)), [0])
    unseen = tg.cross_entropy(tg.softmax(z), [0])  # nothing was recorded
    hidden = tg.cross_entropy(tg.softmax(leaf(z)) * 1.0, [0])  # no longer the softmax's own result
    right = tg.cross_entropy(z, [0])
    assert unseen.item() == hidden.item() != right.item()


def test_dropout_always_drops():
    kept = tg.dropout(np.ones(1000), rate=0.5, rng=np.random.default_rng(0))
    assert 0 in kept.tolist()


# layers


def test_a_layer_starts_in_training_mode():
    net = tg.nn.Sequential(tg.nn.Dropout(0.5, rng=0))
    x = np.ones((1, 100))
    assert 0 in net(x).data
    assert (net.eval()(x).data == x).all()


def test_running_statistics_change_under_no_grad():
    layer = tg.nn.BatchNorm(1)
    with tg.no_grad():
        layer(np.array([[1.0], [3.0]]))
    assert layer.running_mean.item() == pytest.approx(0.2)
    with tg.no_grad():
        tg.trace(layer, np.array([[1.0], [3.0]]))
        layer.eval()(np.array([[1.0], [3.0]]))
    assert layer.running_mean.item() == pytest.approx(0.2)


def test_young_running_statistics_remember_their_start():
    x = np.array([[99.0], [101.0]])
    young, fair = tg.nn.BatchNorm(1), tg.nn.BatchNorm(1, debias=True)
    young(x), fair(x)
    assert young.running_mean.item() == pytest.approx(10.0)  # nine tenths of 0
    assert fair.running_mean.item() == pytest.approx(100.0)


def test_momentum_is_refused():
    with pytest.raises(ShapeError, match=r"momentum of PyTorch is decay=0\.9 here"):
        tg.nn.BatchNorm(3, momentum=0.1)
