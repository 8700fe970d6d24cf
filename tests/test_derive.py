"""derive: the formulas of the textbook, from the recorded graph, printed exactly and proved."""

import numpy as np
import pytest

import tinygrad_bn as tg

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
    "cross-entropy of labels": ((tg.cross_entropy, X, LABELS), {}, ["(softmax(logits) - y)/N"], 12),
    "cross-entropy of probabilities": (
        (tg.cross_entropy, X, SHARES),
        {},
        ["(softmax(logits) - target)/N"],
        11,
    ),
    "cross-entropy, naive": ((naive, X, SHARES), {}, ["(softmax(z) - y)/N"], 11),
    "cross-entropy of log-softmax": (
        (lambda z: tg.nll_loss(tg.log_softmax(z), LABELS), X),
        {},
        ["(softmax(z) - y)/N"],
        12,
    ),
    "binary cross-entropy": (
        (tg.binary_cross_entropy, W, np.array([0.0, 1.0, 1.0, 0.0])),
        {"upstream": "ones"},
        ["(sigmoid(logits) - target)/N"],
        10,
    ),
    "binary cross-entropy, summed": (
        (lambda z, y: tg.binary_cross_entropy(z, y, reduction="sum"), W, np.ones(C) / 3),
        {},
        ["sigmoid(z) - y"],
        9,
    ),
    "logsumexp": ((tg.logsumexp, W), {}, ["softmax(z)"], 8),
    "softmax": ((tg.softmax, X), {}, ["s*(g - sum(g*s))"], 13),
    "softmax along another axis": (
        (lambda z: tg.softmax(z, axis=0), X),
        {},
        ["s*(g - sum(g*s))"],
        13,
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
        27,
    ),
    "RMS norm": ((tg.rms_norm, X), {}, ["(g - x_hat*mean(g*x_hat))/rms"], 15),
    "standardize": ((tg.standardize, X), {}, ["(g - mean(g) - x_hat*mean(g*x_hat))/sigma"], 18),
    "standardize without eps": (
        (lambda x: tg.standardize(x, axis=0, eps=0.0), X),
        {},
        ["(g - mean(g) - x_hat*mean(g*x_hat))/sigma"],
        18,
    ),
    "variance": ((tg.var, W), {}, ["2/N*(x - mean(x))"], 5),
    "variance along an axis": ((lambda x: tg.var(x, axis=0), X), {}, ["2*g/N*(x - mean(x))"], 6),
    "linear regression": ((least_squares, V, FEATURES, T), {}, ["X.T @ (X @ w - y)"], 4),
    "mean squared error": (
        (lambda w, X, y: tg.mse_loss(X @ w, y), V, FEATURES, T),
        {},
        ["2/N*X.T @ (X @ w - y)"],
        6,
    ),
    "ridge regression": ((ridge, V, FEATURES, T, 0.1), {}, ["alpha*w + X.T @ (X @ w - y)"], 7),
    "logistic regression": (
        (lambda w, X, y: tg.binary_cross_entropy(X @ w, y), V, FEATURES, (T > 0) * 1.0),
        {},
        ["X.T @ (sigmoid(X @ w) - y)/N"],
        13,
    ),
    "softmax regression": (
        (lambda W, X, y: tg.cross_entropy(X @ W, y), RNG.normal(size=(3, C)), FEATURES, LABELS),
        {},
        ["X.T @ (softmax(X @ W) - one_hot(y))/N"],
        15,
    ),
    "softmax regression of probabilities": (
        (lambda W, X, Y: tg.cross_entropy(X @ W, Y), RNG.normal(size=(3, C)), FEATURES, SHARES),
        {},
        ["X.T @ (softmax(X @ W) - Y)/N"],
        15,
    ),
    "bias before batch norm": ((biased, W, X), {}, ["0"], 1),
    "Hessian of logsumexp": (
        (tg.grad(tg.logsumexp), W),
        {"upstream": "identity"},
        ["diag(s) - s @ s.T"],
        13,
    ),
    "relu": ((tg.relu, W), {}, ["where(x > 0, 1, 0)"], 3),
}
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
    assert proof.verdict == (
        "tested only" if "probabilities" in name or "naive" in name else "proved by rules"
    )


@NAMED
def test_the_closed_form_runs_and_gives_the_recorded_values(name):
    derivation = derived(name)
    for ours, recorded in zip(derivation.result.results, derivation.recorded.results, strict=True):
        assert ours.dtype == recorded.dtype
        if derivation.upstream != "identity":
            assert ours.shape == recorded.shape
            np.testing.assert_allclose(ours.data, recorded.data, rtol=1e-12, atol=1e-14)
