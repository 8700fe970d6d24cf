"""Optimisers against their equations written again, schedules, clipping."""

import math
import pickle

import numpy as np
import pytest

import tinygrad_bn as tg
from tinygrad_bn import nn, optim
from tinygrad_bn.errors import DTypeError, GradientError, ShapeError

EPS = np.finfo(np.float64).eps
STEPS = 50

# Each reference below is the printed equation on Python floats, one number at a time, with the same
# operations in the same order: all agree bit for bit but the cube in the slope, where NumPy's power
# and Python's may differ by one unit. A step then moves the parameter by that times the rate:
# over 50 steps the rates add up to 2.5 at most, the slope is at most 10, and a momentum of 0.9 acts
# ten times. The loss is convex, so that earlier differences do not grow. (Measured: 0.5 EPS.)
TOLERANCE = 2.5 * 10 * 10 * EPS

START = [1.5, -0.75, 0.3, 2.0]
CENTRE = [0.2, 0.4, -1.0, 1.0]


def slope(w, c):
    return 2 * (w - c) + w**3


def sgd(w, c, *, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    v = 0.0
    for t in range(STEPS):
        g = slope(w, c) + weight_decay * w
        v = momentum * v + g
        w -= lr(t) * (g + momentum * v if nesterov else v)
    return w


def rmsprop(w, c, *, lr, decay=0.9, eps=1e-8):
    s = 0.0
    for t in range(STEPS):
        g = slope(w, c)
        s = decay * s + (1 - decay) * g * g
        w -= lr(t) * g / (math.sqrt(s) + eps)
    return w


def adam(w, c, *, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    m = v = 0.0
    for t in range(1, STEPS + 1):
        g = slope(w, c)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        step = (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + eps)
        w -= lr(t - 1) * (step + weight_decay * w)
    return w


CASES = [
    (optim.SGD, sgd, {}),
    (optim.SGD, sgd, {"momentum": 0.9}),
    (optim.SGD, sgd, {"momentum": 0.8, "nesterov": True}),
    (optim.SGD, sgd, {"momentum": 0.5, "weight_decay": 0.1}),
    (optim.SGD, sgd, {"weight_decay": 0.1}),
    (optim.RMSprop, rmsprop, {}),
    (optim.RMSprop, rmsprop, {"decay": 0.99, "eps": 1e-3}),
    (optim.Adam, adam, {}),
    (optim.Adam, adam, {"beta1": 0.8, "beta2": 0.9, "eps": 1e-2}),
    (optim.AdamW, adam, {"weight_decay": 0.1}),
]
NAMES = [f"{c[0].__name__}-{c[2]}" for c in CASES]


def loss_of(w, c=CENTRE):
    return ((w - np.asarray(c, w.dtype)) ** 2).sum() + (w**4).sum() / 4


def descend(make, steps=STEPS, dtype=np.float64):
    w = nn.Parameter(START, dtype=dtype)
    optimiser = make([w])
    for _ in range(steps):
        optimiser.zero_grad()
        loss_of(w).backward()
        optimiser.step()
    return w, optimiser


# the equations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lr", [0.02, optim.exponential(0.05, decay=0.9, every=10)])
@pytest.mark.parametrize(("kind", "reference", "settings"), CASES, ids=NAMES)
def test_fifty_steps_are_the_printed_equation(kind, reference, settings, lr):
    w, _ = descend(lambda p: kind(p, lr, **settings))
    rate = lr if callable(lr) else lambda step: lr
    expected = [reference(a, c, lr=rate, **settings) for a, c in zip(START, CENTRE, strict=True)]
    assert np.abs(w.data - START).min() > 0.05
    np.testing.assert_allclose(w.data, expected, rtol=0, atol=TOLERANCE)


def test_the_default_settings_are_those_of_the_papers():
    w = [nn.Parameter([1.0])]
    assert optim.RMSprop(w).decay == 0.9
    adam = optim.Adam(w)
    assert (adam.lr, adam.beta1, adam.beta2, adam.eps) == (1e-3, 0.9, 0.999, 1e-8)
    assert optim.AdamW(w).weight_decay == 0.01


def test_the_first_step_of_adam_has_the_length_of_the_rate():
    w, _ = descend(lambda p: optim.Adam(p, 0.01, eps=0.0), steps=1)
    np.testing.assert_allclose(np.abs(w.data - START), 0.01, rtol=400 * EPS)


def test_decoupled_decay_shrinks_at_the_rate_and_is_not_adapted():
    w = nn.Parameter([2.0, -4.0])
    w.grad = tg.zeros_like(w)
    optim.AdamW([w], 0.1, weight_decay=0.5).step()
    np.testing.assert_allclose(w.data, [1.9, -3.8], rtol=2 * EPS)


@pytest.mark.parametrize(("kind", "reference", "settings"), CASES, ids=NAMES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_dtypes_stay(kind, reference, settings, dtype):
    rate = np.float64(0.02)  # a NumPy scalar would turn float32 into float64
    given = {k: v if isinstance(v, bool) else np.float64(v) for k, v in settings.items()}
    w, optimiser = descend(lambda p: kind(p, lambda step: rate, **given), 5, dtype)
    assert w.dtype == dtype
    assert {m.dtype for m in optimiser.memory[0]} <= {np.dtype(np.float32)}


def test_a_small_float16_gradient_is_remembered():
    w = nn.Parameter(np.ones(1, np.float16))
    w.grad = tg.Tensor(np.full(1, 1e-4, np.float16))  # whose square is 0 in float16
    optim.Adam([w], 0.25).step()
    assert abs(w.item() - 0.75) < 1e-3


def test_parameters_without_axes_train():
    w = nn.Parameter(3.0)
    optimiser = optim.Adam([w], 0.1)
    (w * w).backward()
    optimiser.step()
    assert w.shape == ()
    assert w.item() < 3


# what a step leaves alone ----------------------------------------------------------------------


def test_a_step_records_nothing_and_earlier_graphs_keep_their_values():
    w = nn.Parameter([3.0])
    loss = (w * w).sum()
    loss.backward()
    optim.SGD([w], 0.5).step()
    assert w.tolist() == [0.0]
    assert w.op is None
    w.grad = None
    loss.backward()
    assert w.grad.tolist() == [6.0]


def test_a_parameter_without_a_gradient_keeps_its_value_and_memory():
    a, b = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimiser = optim.Adam([a, b], 0.1)
    for _ in range(3):
        a.grad = tg.Tensor([1.0])
        optimiser.step()
    assert b.item() == 1.0
    assert optimiser.counts == [3, 0]
    b.grad = tg.Tensor([5.0])
    optimiser.step()
    assert abs(b.item() - 0.9) < 1e-8  # its first step, as long as the rate; eps / 5 is 2e-9


def test_a_frozen_parameter_stays():
    model = nn.Linear(2, 1, rng=0)
    model.weight.requires_grad = False
    before = model.weight.copy()
    model(np.ones((4, 2))).sum().backward()
    optim.SGD(model.parameters(), 0.1).step()
    np.testing.assert_array_equal(model.weight.data, before)
    assert model.bias.item() == -0.4


def test_zero_grad_forgets():
    w, optimiser = descend(lambda p: optim.SGD(p, 0.1), steps=1)
    optimiser.zero_grad()
    assert w.grad is None


# errors ----------------------------------------------------------------------------------------


def test_a_step_without_any_gradient_is_an_error():
    optimiser = optim.Adam([nn.Parameter([1.0]), nn.Parameter([1.0])])
    with pytest.raises(GradientError) as caught:
        optimiser.step()
    assert caught.value.what == "Adam.step: none of the 2 parameters has a gradient."
    assert "loss.backward()" in caught.value.fix
    assert optimiser.steps == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: optim.SGD(w, 0.0), r"SGD: lr=0\.0"),
        (lambda w: optim.SGD(w, -1.0), r"SGD: lr=-1\.0"),
        (lambda w: optim.Adam(w, math.nan), "Adam: lr=nan"),
        (lambda w: optim.Adam(w, math.inf), "Adam: lr=inf"),
        (lambda w: optim.SGD(w, 0.1, momentum=1.0), r"SGD: momentum=1\.0"),
        (lambda w: optim.SGD(w, 0.1, weight_decay=-0.1), r"SGD: weight_decay=-0\.1"),
        (lambda w: optim.SGD(w, 0.1, nesterov=True), "SGD: nesterov without momentum"),
        (lambda w: optim.AdamW(w, 0.1, beta2=1.0), r"AdamW: beta2=1\.0"),
        (lambda w: optim.RMSprop(w, 0.1, eps=-1), "RMSprop: eps=-1"),
        (lambda w: optim.SGD([], 0.1), "SGD: there are no parameters"),
        (lambda w: optim.SGD([*w, *w], 0.1), "SGD: a parameter is listed twice"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ShapeError, match=message):
        make([nn.Parameter([1.0])])


def test_only_lists_of_parameters_are_taken():
    with pytest.raises(DTypeError, match=r"(?s)the parameters are a Linear.*model\.parameters\(\)"):
        optim.SGD(nn.Linear(1, 1), 0.1)
    with pytest.raises(DTypeError, match="the parameters are a Sequential"):
        optim.SGD(nn.Sequential(nn.Linear(1, 1)), 0.1)
    with pytest.raises(DTypeError, match="the parameters are a Parameter"):
        optim.SGD(nn.Parameter([1.0]), 0.1)
    with pytest.raises(DTypeError, match="the parameters are a dict"):
        optim.SGD({"w": nn.Parameter([1.0])}, 0.1)
    with pytest.raises(DTypeError, match="the parameters are a NoneType"):
        optim.SGD(None, 0.1)
    with pytest.raises(DTypeError, match="parameter 0 is a Tensor, whose value cannot be assigned"):
        optim.SGD([tg.Tensor([1.0], requires_grad=True)], 0.1)


def test_bad_gradients_and_rates_change_nothing():
    a, b = nn.Parameter([1.0]), nn.Parameter([1.0, 2.0], name="b")
    a.grad, b.grad = tg.Tensor([1.0]), tg.Tensor([1.0])
    optimiser = optim.SGD([a, b], lambda step: -0.1, momentum=0.9)
    with pytest.raises(ShapeError, match=r"the schedule gave lr=-0\.1 at step 0"):
        optimiser.step()
    optimiser.schedule = optim.exponential(0.1)
    with pytest.raises(ShapeError, match=r"gradient of b of shape \(2,\) has shape \(1,\)"):
        optimiser.step()
    assert a.tolist() == [1.0]
    assert optimiser.steps == 0
    assert optimiser.memory[0][0].tolist() == [0.0]


# state --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "reference", "settings"), CASES, ids=NAMES)
def test_training_resumes_bit_for_bit(kind, reference, settings):
    def make(p):
        return kind(p, optim.cosine(0.05, steps=40), **settings)

    whole, _ = descend(make, 30)
    half, first = descend(make, 15)
    saved = pickle.loads(pickle.dumps(first.state_dict()))
    w = nn.Parameter(half.data)
    second = make([w])
    second.load_state_dict(saved)
    for _ in range(15):
        second.zero_grad()
        loss_of(w).backward()
        second.step()
    np.testing.assert_array_equal(w.data, whole.data)
    assert second.steps == 30


def test_a_state_is_a_copy():
    _, optimiser = descend(lambda p: optim.SGD(p, 0.1, momentum=0.9), steps=2)
    state = optimiser.state_dict()
    assert list(state) == ["steps", "counts", "velocity.0"]
    kept = optimiser.memory[0][0].copy()
    state["velocity.0"][:] = 7
    np.testing.assert_array_equal(optimiser.memory[0][0], kept)
    optimiser.load_state_dict(state)
    state["velocity.0"][:] = 8
    assert set(optimiser.memory[0][0]) == {7.0}


def test_loading_a_state_lists_every_mismatch_and_changes_nothing():
    _, optimiser = descend(lambda p: optim.Adam(p, 0.1), steps=2)
    before = optimiser.state_dict()
    state = {
        "steps": np.asarray(9),
        "counts": np.asarray([1, 2]),
        "mean.0": np.zeros(4, np.float32),
        "velocity.0": np.zeros(4),
    }
    with pytest.raises(ShapeError) as caught:
        optimiser.load_state_dict(state)
    assert caught.value.what == (
        "load_state_dict of Adam, 4 mismatches:\n"
        "  counts: shape (2,) in the state, (1,) in the optimiser\n"
        "  mean.0: dtype float32 in the state, float64 in the optimiser\n"
        "  square.0: missing from the state\n"
        "  velocity.0: not in the optimiser"
    )
    after = optimiser.state_dict()
    assert all(np.array_equal(after[k], before[k]) for k in before)


# schedules ---------------------------------------------------------------------------------------


def test_schedules_follow_their_formulas():
    for step in (0, 1, 7, 10, 33):
        assert optim.exponential(0.3, decay=0.9, every=5)(step) == 0.3 * 0.9 ** (step / 5)
        assert optim.inverse_time(0.3, rate=2.0, every=5)(step) == 0.3 / (1 + 2.0 * step / 5)
        assert optim.staircase(0.3, factor=0.1, every=10)(step) == 0.3 * 0.1 ** (step // 10)
    wave = optim.cosine(1.0, steps=8, final=0.2)
    expected = 0.6 + 0.4 * np.cos(np.pi * np.arange(9) / 8)
    np.testing.assert_allclose([wave(t) for t in range(9)], expected, rtol=8 * EPS)
    assert wave(100) == 0.2


def test_a_warm_up_rises_to_the_schedule_that_follows():
    then = optim.staircase(0.8, every=3)
    rates = [optim.warmup(then, steps=4)(t) for t in range(9)]
    np.testing.assert_allclose(rates, [0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.4, 0.4], rtol=2 * EPS)


def test_an_optimiser_tells_the_rate_of_its_next_step():
    w = nn.Parameter([1.0])
    optimiser = optim.SGD([w], optim.staircase(1.0, every=1))
    rates = []
    for _ in range(3):
        rates.append(optimiser.lr)
        w.grad = tg.Tensor([1.0])
        optimiser.step()
    assert rates == [1.0, 0.5, 0.25]
    assert w.item() == 1 - 1.75


def test_a_rate_set_later_takes_the_place_of_the_schedule_until_it_is_taken_back():
    w = nn.Parameter([1.0])
    optimiser = optim.SGD([w], optim.staircase(1.0, every=1))
    rates = []
    for _ in range(4):
        rates.append(optimiser.lr)
        w.grad = tg.Tensor([1.0])
        optimiser.step()
        if optimiser.steps == 1:
            optimiser.lr = 0.1
        if optimiser.steps == 3:
            optimiser.override = None
    assert rates == [1.0, 0.1, 0.1, 0.125]
    assert w.item() == 1.0 - 1.0 - 0.1 - 0.1 - 0.125


@pytest.mark.parametrize("lr", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused_when_it_is_set(lr):
    optimiser = optim.Adam([nn.Parameter([1.0])], 0.02)
    with pytest.raises(ShapeError) as caught:
        optimiser.lr = lr
    assert (caught.value.what, caught.value.fix) == (
        f"Adam: lr={lr}.",
        "Use a number above 0, finite.",
    )
    assert optimiser.lr == 0.02


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.exponential(-1.0), r"exponential: lr=-1\.0"),
        (lambda: optim.inverse_time(1.0, rate=0.0), r"inverse_time: rate=0\.0"),
        (lambda: optim.staircase(1.0, every=0), "staircase: every=0"),
        (lambda: optim.cosine(0.1, steps=0), "cosine: steps=0"),
        (lambda: optim.cosine(0.1, steps=5, final=0.2), r"cosine: final=0\.2 with lr=0\.1"),
        (lambda: optim.warmup(0.1, steps=0), "warmup: steps=0"),
        (lambda: optim.warmup(math.nan, steps=1), "warmup: then=nan"),
    ],
)
def test_schedules_refuse_settings_that_make_no_sense(make, message):
    with pytest.raises(ShapeError, match=message):
        make()


# clipping -----------------------------------------------------------------------------------------


def gradients(*values, dtype=np.float64):
    parameters = [nn.Parameter(np.zeros(np.shape(v), dtype)) for v in values]
    for p, v in zip(parameters, values, strict=True):
        p.grad = tg.Tensor(np.asarray(v, dtype))
    return parameters


def test_clipping_scales_all_gradients_by_one_factor():
    parameters = [*gradients([3.0, 0.0], [[4.0]]), nn.Parameter([1.0])]
    assert optim.clip_grad_norm(parameters, 2.5) == 5.0
    assert [p.grad.tolist() for p in parameters[:2]] == [[1.5, 0.0], [[2.0]]]
    assert parameters[2].grad is None
    assert optim.clip_grad_norm(parameters, 2.5) == 2.5
    assert parameters[0].grad.tolist() == [1.5, 0.0]


def test_clipping_leaves_short_gradients_and_dtypes_alone():
    parameters = gradients([300.0, 400.0], dtype=np.float16)
    before = parameters[0].grad
    assert optim.clip_grad_norm(parameters, 600.0) == 500.0
    assert parameters[0].grad is before
    optim.clip_grad_norm(parameters, np.float64(5.0))
    assert parameters[0].grad.dtype == np.float16
    assert parameters[0].grad.tolist() == [3.0, 4.0]
    assert optim.clip_grad_norm([nn.Parameter([1.0])], 1.0) == 0.0


def test_clipping_refuses_infinite_gradients_and_changes_nothing():
    parameters = gradients([3.0, 4.0], [np.inf])
    parameters[1].name = "bias"
    with pytest.raises(GradientError, match="the norm of the gradients is inf; not finite: bias"):
        optim.clip_grad_norm(parameters, 1.0)
    assert parameters[0].grad.tolist() == [3.0, 4.0]
    with pytest.raises(ShapeError, match="clip_grad_norm: max_norm=0"):
        optim.clip_grad_norm(parameters, 0)
