"""Chapter 6 of the lecture: what the demo of why batch norm works claims is what it measures."""

import json

import numpy as np
import pytest
import test_demos
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

import deep_nets
import smoothness
import tinygrad_bn as tg

LINEAR = deep_nets.SETTINGS[-1]
EPS = np.finfo(float).eps


@pytest.fixture(scope="module")
def demo():
    return test_demos.load("09_why_it_works")


@pytest.fixture(scope="module")
def ran(demo, tmp_path_factory):
    out = tmp_path_factory.mktemp("09")
    return demo.main(["--fast", "--out", str(out), "--seed", "0"]), out / "09_why_it_works"


@pytest.fixture
def task():
    x = np.random.default_rng(0).normal(size=(64, 16))
    return deep_nets.Task(LINEAR, x, x[:, ::-1].copy())


def parameters(task, seed=1):
    return deep_nets.initial(task.sizes, task.setting.gain, seed)


# what the demo found -----------------------------------------------------------------------------


def test_a_deep_sigmoid_net_trains_faster_with_batch_norm_noise_or_not(ran):
    numbers, _ = ran
    for kind in (deep_nets.NORM, deep_nets.NOISY):
        assert numbers[f"sigmoid, own rate, {kind}: loss over plain"] < 0.7
    assert numbers["sigmoid, own rate, batch norm and noise: loss over batch norm"] < 1.1


def test_noise_moves_what_units_receive_far_more_than_batch_norm_lets_it(ran):
    numbers, _ = ran
    for setting in ("sigmoid", "ReLU"):
        moved = [
            numbers[f"{setting}, same rate, {kind}: movement"]
            for kind in (deep_nets.NOISY, deep_nets.NORM)
        ]
        assert moved[0] > 0.2 > 10 * moved[1]


def test_covariate_shift_is_not_less_with_batch_norm_in_sigmoids(ran):
    numbers, _ = ran
    assert numbers["sigmoid, same rate: relative shift, ratio"] > 2
    assert numbers["sigmoid, own rate: relative shift, ratio"] > 2


def test_the_gradient_arrives_in_a_deep_sigmoid_net_by_batch_norm(ran):
    numbers, _ = ran
    assert numbers["sigmoid, own rate: first gradient, ratio"] > 5
    assert 0.2 < numbers["ReLU, same rate: first gradient, ratio"] < 5


def test_relative_to_the_weights_the_relu_net_is_smoother_with_batch_norm(ran):
    numbers, _ = ran
    for measure in smoothness.SMOOTH[:2]:
        assert numbers[f"ReLU, same rate: {measure}, relative, ratio"] < 0.5


def test_theorem_holds_in_the_demo(demo, ran):
    numbers, _ = ran
    assert numbers[demo.EQUAL] < 1e-9
    assert 0 < numbers[demo.BOUND] <= 1 + 1e-12


def test_the_verdicts_that_do_not_depend_on_luck(ran):
    found = {
        claim["text"]: claim["reproduced"]
        for claim in json.loads((ran[1] / "claims.json").read_text(encoding="utf-8"))
    }
    assert found["Batch norm reduces internal covariate shift: |G - G'| / |G| is smaller."] != "yes"
    assert found["Noise makes hidden units' inputs less stable than in the plain net."] == "yes"
    (theorem,) = (verdict for text, verdict in found.items() if text.startswith("Theorem 4.1"))
    assert theorem == "yes"
    (account,) = (verdict for text, verdict in found.items() if text.startswith("Where batch"))
    assert account != "yes"


def test_the_verdicts_follow_from_the_numbers(demo, ran):
    better = {n: 0.5 if "ratio" in n or "loss over plain" in n else v for n, v in ran[0].items()}
    worse = {n: 2.0 if "ratio" in n else v for n, v in better.items()}
    for numbers, verdict in ((better, "yes"), (worse, "no")):
        told = demo.claims(numbers)
        assert [c.reproduced for c in told[:2]] == [verdict] * 2
        assert [c.reproduced for c in told[6:11]] == [verdict] * 5
        assert told[-1].reproduced == verdict
    wrong = {**better, demo.EQUAL: 0.1, demo.BOUND: 1.5}
    assert demo.claims(wrong)[-2].reproduced == "no"


def test_rates_that_are_the_same_are_compared_once(demo, ran):
    same = {n: 0.1 if n.endswith(": rate") else v for n, v in ran[0].items()}
    assert list(demo.comparisons(same)) == [(s.name, "same rate") for s in deep_nets.SETTINGS]


def test_the_pictures_are_there(ran):
    for name in ("training", "shift", "landscape", "ratios"):
        assert (ran[1] / f"{name}.png").stat().st_size > 10_000


# theorem 4.1 -------------------------------------------------------------------------------------

eighths = st.integers(-80, 80).map(lambda i: i / 8)
features = st.integers(3, 24).flatmap(
    lambda m: st.tuples(
        arrays(float, (m, 1), elements=eighths), arrays(float, (m, 1), elements=eighths)
    )
)


@given(features, eighths, st.sampled_from([0.0, 1e-5, 1e-1, 10.0]))
def test_theorem_41_is_an_equality_but_for_eps(pair, gamma, eps):
    y, g = pair
    y = y + np.linspace(-1, 1, len(y))[:, None] * (np.ptp(y) < 1e-2)  # eps 0 needs a variance
    sigma, m = np.sqrt(y.var() + eps), len(y)
    left, right = smoothness.sides(y, g, gamma, eps)
    along = (g * (y - y.mean())).sum() ** 2 / (sigma**2 * m)
    slack = gamma**2 / sigma**2 * (eps / sigma**2) * along
    # Both sides are what is left of this length when two projections are taken out of it.
    rounding = 1e3 * m * EPS * (1 + abs(y).max() / sigma) ** 2
    tolerance = rounding * gamma**2 / sigma**2 * (g**2).sum()
    assert left <= right + tolerance
    assert abs(left + slack - right) <= tolerance


def test_behind_a_small_spread_batch_norm_makes_the_gradient_longer():
    rng = np.random.default_rng(0)
    y, g = rng.normal(size=(2, 16, 1))
    assert smoothness.sides(0.01 * y, g, 1.0, 0.0)[0] > 100 * (g**2).sum()


# the measures ------------------------------------------------------------------------------------


def test_vectors_and_parameters_are_each_others_inverse(task):
    params = parameters(task)
    again = smoothness.shaped(smoothness.flat(params), params)
    for old, new in zip(params, again, strict=True):
        assert all((old[name] == new[name]).all() for name in old)


@pytest.mark.parametrize("kind", [deep_nets.PLAIN, deep_nets.NORM])
def test_there_is_no_shift_where_only_the_last_layer_moves(task, kind):
    slope = smoothness.slope(deep_nets.loss_of(task, kind, (task.x, task.y)))
    before = parameters(task)
    after = [*before[:-1], {name: v + 0.1 for name, v in before[-1].items()}]
    found = smoothness.covariate_shift(slope, before, after)
    assert found["shift"] == found["relative shift"] == 0
    assert found["cosine"] == pytest.approx(1)


def test_the_shift_of_two_linear_layers_is_what_the_formula_says():
    x, y = np.array([[2.0]]), np.array([[1.0]])

    def loss(params):
        return tg.mse_loss(x @ params[0]["w"] @ params[1]["w"], y)

    def net(first):
        return [{"w": np.array([[first]])}, {"w": np.array([[3.0]])}]

    # The gradient of (2 a b - 1)^2 for b is 4 a (2 a b - 1): 20 at a = 1, and 8 * 11 at a = 2.
    found = smoothness.covariate_shift(smoothness.slope(loss), net(1.0), net(2.0))
    assert found == pytest.approx({"shift": 68, "relative shift": 3.4, "cosine": 1})


CURVES = np.array([1.0, 4.0, 9.0])


def bowl(params):
    return 0.5 * (CURVES[:, None] * params[0]["w"] ** 2).sum()


def test_a_quadratic_has_the_curvature_that_it_was_given():
    params = [{"w": np.array([[0.0], [0.0], [2.0]])}]
    ways = np.array([0.5, 1.0])
    ones = np.ones(3)
    found = smoothness.along(smoothness.slope(bowl), params, ones, ways)
    assert found["beta"] == pytest.approx(9)
    assert found["changes"] == pytest.approx((4.5, 9))
    assert found["losses"] == pytest.approx((4.5, 4.5 * 1.5**2))
    assert found["loss range"] == pytest.approx(4.5 * 1.25)
    scale = smoothness.lengths(params)
    assert scale.tolist() == [2, 2, 2]
    assert smoothness.along(smoothness.slope(bowl), params, scale, ways)["beta"] == pytest.approx(
        36
    )


def test_the_largest_eigenvalue_is_that_of_the_whole_hessian(task):
    loss = deep_nets.loss_of(task, deep_nets.NORM, (task.x, task.y))
    small_net = deep_nets.initial([16, 3, 3, 16], 1.0, 0)
    scale = np.ones(smoothness.flat(small_net).size)

    def of_vector(vector):
        sizes, parts, start = [v for p in small_net for v in p.values()], [], 0
        for value in sizes:
            parts.append(vector[start : start + value.size].reshape(value.shape))
            start += value.size
        named = [
            dict(zip(p, parts[3 * i : 3 * i + 3], strict=True)) for i, p in enumerate(small_net)
        ]
        return loss(named)

    whole = tg.hessian(of_vector)(smoothness.flat(small_net)).data
    found = smoothness.top_eigenvalue(loss, small_net, scale)
    assert found == pytest.approx(np.linalg.eigvalsh(whole)[-1], rel=0.05)


def test_relative_measures_do_not_see_the_scale_of_weights_before_batch_norm(task):
    loss = deep_nets.loss_of(task, deep_nets.NORM, (task.x, task.y))
    params = parameters(task)
    longer = [{**layer, "w": 7 * layer["w"]} for layer in params[:-1]] + params[-1:]
    ways = np.array([0.1, 0.5])
    raw, relative = [], []
    for each in (params, longer):
        one = np.ones(smoothness.flat(each).size)
        raw.append(smoothness.along(smoothness.slope(loss), each, one, ways)["beta"])
        scale = smoothness.lengths(each)
        relative.append(smoothness.along(smoothness.slope(loss), each, scale, ways)["beta"])
    assert raw[1] < 0.9 * raw[0]
    assert relative[1] == pytest.approx(relative[0], rel=1e-2)  # eps beside the variance is seen


def test_noise_has_another_distribution_at_every_call():
    rng = np.random.default_rng(0)
    (a, b), (c, d) = (deep_nets.noise(rng, 4000, 5) for _ in range(2))
    for factor, offset in ((a, b), (c, d)):
        assert ((factor.mean(axis=0) > 0.99) & (factor.mean(axis=0) < 1.26)).all()
        assert (abs(offset.mean(axis=0)) > 1e-3).all()
    assert (abs(b.mean(axis=0) - d.mean(axis=0)) > 0.01).all()
    assert (abs(a.mean(axis=0) - c.mean(axis=0)) > 0.001).all()


def test_a_training_is_the_same_for_the_same_seed(task):
    runs = [deep_nets.train(task, deep_nets.NORM, 0.1, 20, seed, points=2) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]
    assert runs[0].points == [1, 20]
    assert runs[0].loss[-1] < runs[0].loss[0]


def test_a_training_that_diverges_ends_with_an_infinite_loss(task):
    run = deep_nets.train(task, deep_nets.PLAIN, 1e3, 20, 0)
    assert run.loss[-1] == np.inf
    assert len(run.loss) < 20
