"""derive: the formulas of the textbook, from the recorded graph, printed exactly and proved."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from test_footguns import restored

import tinygrad_bn as tg
from tinygrad_bn.algebra.simplifying import closed_form, replayed

RNG = np.random.default_rng(0)
N, C = 5, 4
X = RNG.normal(size=(N, C))
IMAGES = RNG.normal(size=(2, 3, 4, 5))
W = RNG.normal(size=C)
FEATURES = RNG.normal(size=(N, 3))
V = RNG.normal(size=3)
T = RNG.normal(size=N)
LABELS = np.array([0, 2, 1, 3, 1])
SHARES = np.exp(RNG.normal(size=(N, C)))
SHARES /= SHARES.sum(axis=1, keepdims=True)


def naive(z, y):
    """The cross-entropy of the textbook, overflow and all."""
    s = tg.exp(z) / tg.exp(z).sum(axis=1, keepdims=True)
    return -(y * tg.log(s)).sum(axis=1).mean()


def by_hand(x, gamma, beta):
    """Batch norm as a user writes it, outside every scope of the package."""
    mu = x.sum(axis=0) / x.shape[0]
    var = ((x - mu) ** 2).sum(axis=0) / x.shape[0]
    return gamma * (x - mu) / tg.sqrt(var + 1e-5) + beta


def least_squares(w, X, y):
    return 0.5 * tg.square(X @ w - y).sum()


def ridge(w, X, y, alpha):
    return least_squares(w, X, y) + 0.5 * alpha * tg.square(w).sum()


def images(x, gamma):
    return tg.batch_norm(x, gamma, axis=(0, 2, 3))


def biased(b, x):
    return tg.batch_norm(x + b)


CASES = {
    "cross-entropy of labels": ((tg.cross_entropy, X, LABELS), {}, ["(softmax(logits) - y)/N"], 11),
    "cross-entropy of probabilities": (
        (tg.cross_entropy, X, SHARES),
        {},
        ["(softmax(logits) - target)/N"],
        10,
    ),
    "cross-entropy, naive": ((naive, X, SHARES), {}, ["(softmax(z) - y)/N"], 10),
    "cross-entropy of log-softmax": (
        (lambda z: tg.nll_loss(tg.log_softmax(z), LABELS), X),
        {},
        ["(softmax(z) - y)/N"],
        11,
    ),
    "binary cross-entropy": (
        (tg.binary_cross_entropy, W, np.array([0.0, 1.0, 1.0, 0.0])),
        {"upstream": "ones"},
        ["(sigmoid(logits) - target)/N"],
        9,
    ),
    "binary cross-entropy, summed": (
        (lambda z, y: tg.binary_cross_entropy(z, y, reduction="sum"), W, np.ones(C) / 3),
        {},
        ["sigmoid(z) - y"],
        8,
    ),
    "logsumexp": ((tg.logsumexp, W), {}, ["softmax(z)"], 8),
    "softmax": ((tg.softmax, X), {}, ["s*(g - sum(g*s))"], 13),
    "softmax along another axis": (
        (lambda z: tg.softmax(z, axis=0), X),
        {},
        ["s*(g - sum(g*s))"],
        12,
    ),
    "log-softmax": ((tg.log_softmax, X), {}, ["g - s*sum(g)"], 12),
    "softplus": ((tg.softplus, W), {}, ["sigmoid(x)"], 7),
    "sigmoid": ((tg.sigmoid, W), {}, ["s*(1 - s)"], 9),
    "tanh": ((tg.tanh, W), {}, ["1 - tanh(x)**2"], 3),
    "log-sigmoid": ((tg.log_sigmoid, W), {}, ["1 - sigmoid(x)"], 8),
    "silu": ((tg.silu, W), {}, ["s*(1 + x*(1 - s))"], 11),
    "gelu": (
        (tg.gelu, W),
        {},
        [
            (
                "(1 + t + 2*where((x > -10) & (x < 10), x*(0.3989422804014327 + "
                "0.05351611220445019*clip(x, -10, 10)**2)*(1 - t**2), 0))/2"
            )
        ],
        22,
    ),
    "batch norm": (
        (tg.batch_norm, X, W, W),
        {"wrt": (0, 1, 2)},
        ["gamma/sigma*(g - mean(g) - x_hat*mean(g*x_hat))", "sum(g*x_hat)", "sum(g)"],
        19,
    ),
    "batch norm by hand": (
        (by_hand, X, W, W),
        {"wrt": (0, 1, 2)},
        ["gamma/sigma*(g - mean(g) - x_hat*mean(g*x_hat))", "sum(g*x_hat)", "sum(g)"],
        19,
    ),
    "batch norm of images": (
        (images, IMAGES, V),
        {"wrt": (0, 1)},
        ["gamma/sigma*(g - mean(g) - x_hat*mean(g*x_hat))", "sum(g*x_hat)"],
        25,
    ),
    "layer norm": (
        (tg.layer_norm, X, W, W),
        {"wrt": (0, 1, 2)},
        [
            "(g*gamma - mean(g*gamma, axis=1) - x_hat*mean(g*gamma*x_hat, axis=1))/sigma",
            "sum(g*x_hat, axis=0)",
            "sum(g, axis=0)",
        ],
        26,
    ),
    "RMS norm": ((tg.rms_norm, X), {}, ["(g - x_hat*mean(g*x_hat))/rms"], 15),
    "standardize": ((tg.standardize, X), {}, ["(g - mean(g) - x_hat*mean(g*x_hat))/sigma"], 18),
    "standardize without eps": (
        (lambda x: tg.standardize(x, axis=0, eps=0.0), X),
        {},
        ["(g - mean(g) - x_hat*mean(g*x_hat))/sigma"],
        17,
    ),
    "variance": ((tg.var, W), {}, ["2/N*(x - mean(x))"], 5),
    "standard deviation": ((tg.std, W), {}, ["x_hat/N"], 9),
    "variance along an axis": ((lambda x: tg.var(x, axis=0), X), {}, ["2*g/N*(x - mean(x))"], 6),
    "linear regression": ((least_squares, V, FEATURES, T), {}, ["X.T @ (X @ w - y)"], 3),
    "mean squared error": (
        (lambda w, X, y: tg.mse_loss(X @ w, y), V, FEATURES, T),
        {},
        ["2/N*X.T @ (X @ w - y)"],
        5,
    ),
    "ridge regression": ((ridge, V, FEATURES, T, 0.1), {}, ["alpha*w + X.T @ (X @ w - y)"], 5),
    "logistic regression": (
        (lambda w, X, y: tg.binary_cross_entropy(X @ w, y), V, FEATURES, (T > 0) * 1.0),
        {},
        ["X.T @ (sigmoid(X @ w) - y)/N"],
        11,
    ),
    "softmax regression": (
        (lambda W, X, y: tg.cross_entropy(X @ W, y), RNG.normal(size=(3, C)), FEATURES, LABELS),
        {},
        ["X.T @ (softmax(X @ W) - one_hot(y))/N"],
        14,
    ),
    "softmax regression of probabilities": (
        (lambda W, X, Y: tg.cross_entropy(X @ W, Y), RNG.normal(size=(3, C)), FEATURES, SHARES),
        {},
        ["X.T @ (softmax(X @ W) - Y)/N"],
        13,
    ),
    "bias before batch norm": ((biased, W, X), {}, ["0"], 1),
    "Hessian of logsumexp": (
        (tg.grad(tg.logsumexp), W),
        {"upstream": "identity"},
        ["diag(s) - s @ s.T"],
        11,
    ),
    "relu": ((tg.relu, W), {}, ["where(x > 0, 1, 0)"], 3),
}
GIVEN = ("probabilities", "naive", "deviation")
NAMED = pytest.mark.parametrize("name", CASES)


def derived(name):
    arguments, keywords, _, _ = CASES[name]
    return tg.derive(*arguments, **keywords)


@NAMED
def test_a_gradient_reduces_to_the_formula_of_the_textbook(name):
    _, _, formulas, operations = CASES[name]
    derivation = derived(name)
    assert list(derivation.formulas.values()) == formulas
    assert len(derivation.result.nodes) <= operations
    assert len(derivation.result.nodes) <= len(derivation.recorded.nodes)


@NAMED
def test_every_step_and_the_whole_are_proved(name):
    proof = derived(name).proof(examples=5)
    assert proof.ok, str(proof)
    assert proof.verdict == ("tested only" if any(w in name for w in GIVEN) else "proved by rules")


@NAMED
def test_the_closed_form_runs_and_gives_the_recorded_values(name):
    derivation = derived(name)
    for ours, recorded in zip(derivation.result.results, derivation.recorded.results, strict=True):
        assert ours.dtype == recorded.dtype
        if derivation.upstream != "identity":
            assert ours.shape == recorded.shape
            np.testing.assert_allclose(ours.data, recorded.data, rtol=1e-12, atol=1e-14)


def test_a_derivation_says_what_its_letters_mean():
    assert str(derived("batch norm")) == (
        "dL/dx = gamma/sigma*(g - mean(g) - x_hat*mean(g*x_hat))\n"
        "dL/dgamma = sum(g*x_hat)\n"
        "dL/dbeta = sum(g)\n"
        "  where sigma = sqrt(1e-05 + var(x))\n"
        "        x_hat = (x - mean(x))/sigma\n"
        "        mean, sum and var along axis 0"
    )
    assert str(derived("cross-entropy of labels")) == (
        "dcross_entropy/dlogits = (softmax(logits) - y)/N\n"
        "  where y = one_hot(target)\n"
        "        N = 5\n"
        "        softmax along axis 1"
    )
    assert str(derived("cross-entropy, naive")) == (
        "dnaive/dz = (softmax(z) - y)/N\n"
        "  where N = 5\n"
        "        sum(y) = 1 along axis 1, as in the example\n"
        "        softmax along axis 1"
    )


def test_the_formulas_in_latex():
    assert derived("batch norm").latex() == (
        "\\begin{aligned}\n"
        "\\frac{\\partial L}{\\partial x} &= \\frac{\\gamma}{\\sigma} \\left(g - "
        "\\operatorname{mean}\\left(g\\right) - \\hat{x} \\, "
        "\\operatorname{mean}\\left(g \\, \\hat{x}\\right)\\right) \\\\\n"
        "\\frac{\\partial L}{\\partial \\gamma} &= "
        "\\operatorname{sum}\\left(g \\, \\hat{x}\\right) \\\\\n"
        "\\frac{\\partial L}{\\partial \\beta} &= \\operatorname{sum}\\left(g\\right) \\\\\n"
        "\\text{where } \\sigma &= \\sqrt{10^{-5} + \\operatorname{var}\\left(x\\right)} \\\\\n"
        "\\hat{x} &= \\frac{x - \\operatorname{mean}\\left(x\\right)}{\\sigma} \\\\\n"
        "&\\text{mean, sum and var along axis 0}\n"
        "\\end{aligned}"
    )
    assert "X^{\\top} \\left(X w - y\\right)" in derived("linear regression").latex()
    assert "\\operatorname{diag}\\left(s\\right) - s s^{\\top}" in (
        derived("Hessian of logsumexp").latex()
    )


@NAMED
def test_latex_and_mathml_are_well_formed(name):
    derivation = derived(name)
    latex = derivation.latex()
    assert latex.count("{") == latex.count("}")
    assert latex.count("\\left") == latex.count("\\right")
    root = ET.fromstring(f"<page>{derivation.mathml()}</page>")  # noqa: S314  (our own)
    assert root.findall("math")
    ET.fromstring(f"<page>{derivation._repr_html_()}</page>")  # noqa: S314  (our own)
    assert derivation._repr_latex_() == f"$${latex}$$"


def test_a_step_of_gradient_descent():
    steps = {
        name: [str(s) for s in derived(name).descent()]
        for name in ("softmax regression", "linear regression", "ridge regression", "batch norm")
    }
    assert steps["linear regression"] == ["w <- w - eta*X.T @ (X @ w - y)"]
    assert steps["softmax regression"] == ["W <- W - eta/N*X.T @ (softmax(X @ W) - one_hot(y))"]
    assert steps["ridge regression"] == ["w <- w - eta*(alpha*w + X.T @ (X @ w - y))"]
    assert steps["batch norm"][1] == "gamma <- gamma - eta*sum(g*x_hat)"
    assert derived("logsumexp").descent("alpha")[0].latex() == (
        "z &\\leftarrow z - \\alpha \\operatorname{softmax}\\left(z\\right)"
    )


def test_steps_name_their_law_and_where_they_began():
    steps = derived("variance").steps
    assert {s.rule for s in steps} >= {"a sum of sums is split", "a constant factor leaves a sum"}
    assert any("test_derive.py" in s.where for s in derived("batch norm by hand").steps)
    assert all(s.before != s.after for s in steps)
    assert str(steps[0]) == f"{steps[0].rule}: {steps[0].before} = {steps[0].after}"


def test_the_result_can_be_drawn_differentiated_and_run():
    derivation = derived("sigmoid")
    assert "def sigmoid(x)" in derivation.program()
    source = tg.viz.graph(derivation.result).source
    assert "exp" in source
    x = tg.Tensor(W, requires_grad=True)
    curvature = tg.derive(tg.grad(lambda x: tg.softplus(x).sum()), x)
    assert curvature.formula == "g*s*(1 - s)"
    again = tg.grad(lambda x: sum(r.sum() for r in run(derivation.result, x)))(W)
    s = 1 / (1 + np.exp(-W))
    np.testing.assert_allclose(again.data, s * (1 - s) * (1 - 2 * s), rtol=1e-12)


def run(trace, *arguments):
    return replayed(trace, arguments)


def test_names_of_tensors_and_items_are_used():
    x = tg.Tensor(W, name="kappa")
    assert str(tg.derive(lambda x: tg.tanh(x).sum(), x)) == "dL/dkappa = 1 - tanh(kappa)**2"
    model = {"w": W, "b": W}
    derivation = tg.derive(lambda p: (p["w"] * p["b"]).sum(), model)
    assert derivation.formulas == {"p['w']": "b", "p['b']": "w"}


@pytest.mark.parametrize(
    ("function", "example", "formula"),
    [
        (tg.cumulative_sum, W, "flip(cumulative_sum(flip(g, axis=0), axis=0), axis=0)"),
        (tg.conv1d, RNG.normal(size=(1, 2, 6)), None),
        (lambda x: tg.max(x, axis=1), X, "g*(x == max(x))/sum(x == max(x))"),
    ],
)
def test_where_no_shorter_form_is_found_it_is_said(function, example, formula):
    more = (RNG.normal(size=(3, 2, 3)),) if formula is None else ()
    derivation = tg.derive(function, example, *more)
    assert not derivation.shorter
    assert "no shorter form was found than the gradient that was recorded" in str(derivation)
    assert len(derivation.result.nodes) <= len(derivation.recorded.nodes)
    assert formula in (None, derivation.formula)
    assert derivation.proof(examples=3).ok


def test_a_wrong_step_and_a_wrong_result_are_found_by_the_proof():
    derivation = derived("softmax")
    first, *rest = derivation._laws
    wrong = first._replace(after=first.after + first.after)
    proof = replace(derivation, _laws=(wrong, *rest)).proof(examples=3)
    assert not proof.ok
    assert proof.verdict == "wrong"
    assert first.rule in str(proof)
    (result,) = derivation.results
    twice = (replace(result, term=result.term + result.term),)
    proof = replace(derivation, results=twice).proof(examples=3)
    assert proof.wrong == ""
    assert proof.differences > 1
    assert proof.verdict == "wrong"


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: tg.derive(3, W),
            TypeError,
            "derive: the first argument is of type int, and no function.",
        ),
        (lambda: tg.derive(tg.softmax, W, upstream="one"), ValueError, "derive: upstream='one'."),
        (
            lambda: tg.derive(tg.softmax, W, wrt=1),
            ValueError,
            "derive: wrt=1 of softmax, with an example of 1 arguments.",
        ),
        (
            lambda: tg.derive(tg.softmax, LABELS),
            TypeError,
            (
                "derive by argument 0 (z) of softmax: its dtype is int64, and gradients exist for "
                "floating-point values only."
            ),
        ),
        (
            lambda: tg.derive(lambda x: (x, x), W),
            RuntimeError,
            "derive of <lambda>: its result is of type tuple.",
        ),
    ],
)
def test_bad_input_gets_a_clear_error(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value).split("\n")[0] == message
    assert "fix:" in str(caught.value)


def test_positions_that_count_off_a_part_of_an_axis_are_no_whole_axis():
    picked = tg.derive(lambda x: tg.sum(x[np.arange(2)] ** 2), W)
    gradient = picked.result.run(W)
    np.testing.assert_array_equal(gradient, [2 * W[0], 2 * W[1], 0.0, 0.0])
    assert picked.proof(examples=3).ok


def test_a_maximum_over_what_an_index_leaves_alone():
    def doubled(x):
        return tg.max(tg.broadcast_to(tg.sin(x), (3, C)), axis=0)

    trace = tg.trace(doubled, W)
    (value,) = closed_form(trace).results
    np.testing.assert_array_equal(value.data, np.sin(W))


def test_a_sum_whose_sign_turns_with_its_indices_is_computed():
    def turned(x, y):
        return tg.cumulative_sum(y, axis=0).mT - x[:, None] * y

    y = RNG.normal(size=(C, C))
    trace = tg.trace(tg.grad(lambda x, y: tg.sum(tg.cos(turned(x, y) - turned(x, y).mT))), W, y)
    (value,) = closed_form(trace).results
    np.testing.assert_allclose(value.data, trace.results[0].data, rtol=1e-12, atol=1e-13)


def test_a_function_of_ones_own_is_elementwise_if_its_graph_is():
    assert tg.derive(lambda x: tg.exp(-x * x / 2), W).formula == "-x*exp(-x**2/2)"
    assert tg.derive(lambda x: tg.flip(tg.exp(x)), W).upstream == "symbolic"


CHILDREN = {"mfrac": 2, "msub": 2, "msup": 2, "mover": 2}


@NAMED
def test_elements_of_mathml_have_the_parts_that_they_need(name):
    shown = [derived(name).mathml(), *(f.mathml() for f in derived(name).descent())]
    for element in ET.fromstring(f"<page>{''.join(shown)}</page>").iter():  # noqa: S314  (our own)
        assert len(element) == CHILDREN.get(element.tag, len(element))


# what a proof may say ---------------------------------------------------------------------------


@pytest.fixture
def wrong_rules():
    """A logarithm and a square whose rules are wrong."""

    def odd_logarithm(x):
        return np.log(x)

    with restored():
        logarithm = tg.custom_rule(vjp=lambda xp, g, out, x: 2 * g / x)(odd_logarithm)
        square = tg.custom_rule(vjp=lambda xp, g, out, z: 5 * g * z)(lambda z: z * z)
        yield logarithm, square


def test_a_wrong_rule_is_found_wherever_the_function_is_finite(wrong_rules):
    logarithm, _ = wrong_rules
    positive = np.exp(RNG.normal(size=40))
    for example in (positive, np.append(positive, -1.0)):
        with np.errstate(invalid="ignore"):
            found = tg.derive(lambda x: tg.sum(logarithm(x)), example)
        proof = found.proof(examples=5)
        assert proof.verdict in ("wrong", "untested")
        assert not proof.ok
    with np.errstate(invalid="ignore"):
        nowhere = tg.derive(lambda x: tg.sum(tg.log(-x)), positive)
    assert nowhere.proof(5).verdict == "untested"


def test_weights_of_zero_are_varied(wrong_rules):
    _, square = wrong_rules
    assert (
        tg.derive(lambda w: tg.sum(square(FEATURES @ w)), np.zeros(3)).proof(5).verdict == "wrong"
    )


@pytest.mark.parametrize(
    ("function", "example"),
    [
        (tg.asin, np.array([-0.3, 0.5])),
        (lambda x: tg.sqrt(1 - x**2), np.array([-0.3, 0.5])),
        (lambda x: tg.sqrt(-x), np.array([-3.0, -0.5])),
        (tg.acosh, np.array([2.0, 3.0])),
        (lambda x: tg.sum(tg.log(x - 5)), np.array([6.0, 7.0])),
        (lambda x: tg.sin(1e6 * x), np.array([1.0, 2.0])),
        (lambda x: tg.astype(x.astype(np.float32), np.float64) ** 2, np.array([1.0, 2.0])),
        (lambda x: tg.sum(x * (np.array([100, 7], np.int8) + tg.asarray(99))), np.ones(2)),
    ],
)
def test_right_formulas_are_proved_within_their_domains(function, example):
    proof = tg.derive(function, example).proof(examples=5)
    assert proof.verdict == "proved by rules", str(proof)


@pytest.mark.parametrize(
    ("function", "example", "verdict"),
    [
        (tg.cross_entropy, (X.astype(np.float32), LABELS), "proved by rules"),
        (lambda w: tg.sum(tg.relu(FEATURES @ w)), (np.zeros(3),), "proved by rules"),
        (
            lambda x: x / tg.sqrt(tg.sum(x * x, axis=1, keepdims=True)),
            (X[:, :1],),
            "proved by rules",
        ),
        (lambda x, y: x[y > 0] ** 2, (W, W - 0.38), "proved by rules"),
        (lambda x: (1 - tg.cos(x)) / x**2, (W * 1e-3,), "proved by rules"),
    ],
    ids=["float32", "zeros", "constant", "mask", "cancellation"],
)
def test_a_proof_draws_inputs_at_which_it_can_judge(function, example, verdict):
    assert tg.derive(function, *example).proof(examples=10).verdict == verdict


def test_both_sums_of_a_doubly_stochastic_example_are_given():
    def mixed(p, q):
        return tg.sum(p * q * p.sum(axis=0) * p.sum(axis=1)[:, None])

    found = tg.derive(mixed, np.full((3, 3), 1 / 3), RNG.normal(size=(3, 3)))
    assert len(found.given) == 2
    assert found.proof(examples=5).verdict == "tested only"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"wrt": (0, 0)}, ValueError, "derive: wrt=(0, 0) names an argument twice."),
        ({"wrt": ()}, TypeError, "derive: wrt=() of tanh."),
        ({"wrt": "x"}, TypeError, "derive: wrt='x' of tanh."),
        ({"upstream": 1}, ValueError, "derive: upstream=1."),
    ],
)
def test_options_that_say_nothing_are_refused(options, kind, message):
    with pytest.raises(kind) as caught:
        tg.derive(tg.tanh, W, **options)
    assert str(caught.value).split("\n")[0] == message


def test_a_formula_that_nests_too_deeply_is_refused_in_words():
    def deep(x):
        for _ in range(300):
            x = tg.sin(x)
        return x

    found = tg.derive(deep, W)
    with pytest.raises(RuntimeError) as caught:
        assert found.steps
    what, where, _ = str(caught.value).split("\n")
    assert what == "The formula nests too deeply to be written out."
    assert "test_derive.py" in where


def test_no_example_is_no_proof():
    with pytest.raises(ValueError, match="proof: examples=0"):
        tg.derive(tg.tanh, W).proof(examples=0)


def test_a_gradient_that_does_not_reach_an_argument_is_told():
    assert str(tg.derive(lambda x: tg.sum(tg.asarray(x.data) ** 2), W)) == (
        "dL/dx = 0\n  (the result was not computed from x)"
    )


def test_a_jacobian_of_what_acts_on_whole_arrays_is_refused():
    with pytest.raises(RuntimeError, match="no formula for each of its elements"):
        tg.derive(tg.cumulative_sum, W, upstream="identity")


def test_names_are_told_apart():
    two = [tg.Tensor(W), tg.Tensor(W + 1)]
    assert str(tg.derive(lambda x: (x[0] ** 2 * x[1]).sum(), two)) == (
        "dL/dx_0 = 2*x_1*x_0\ndL/dx_1 = x_0**2"
    )
    both = tg.derive(lambda p, q: (p["w"] * q["w"]).sum(), {"w": W}, {"w": W + 1}, wrt=(0, 1))
    assert str(both) == "dL/dp_w = q_w\ndL/dq_w = p_w"
    rate = tg.derive(lambda w, eta: (w * w * eta).sum(), W, 2.0).descent()[0]
    assert str(rate) == "w <- w - rate*2*eta*w"
    a, b = tg.Tensor(W, name="w"), tg.Tensor(W + 1, name="w")
    assert set(tg.derive(lambda a, b: (a * b).sum(), a, b, wrt=(0, 1)).formulas) == {"a", "b"}


def test_cosine_similarity_is_that_of_the_textbook():
    def cosine(u, v):
        return (u @ v) / tg.sqrt((u @ u) * (v @ v))

    assert str(tg.derive(cosine, W, W[::-1].copy())) == (
        "dcosine/du = (v_hat - u_hat*sum(u_hat*v_hat))/norm\n"
        "  where norm = sqrt(sum(u**2))\n"
        "        norm_2 = sqrt(sum(v**2))\n"
        "        u_hat = u/norm\n"
        "        v_hat = v/norm_2"
    )
