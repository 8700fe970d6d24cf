"""What is printed of derivations, read as NumPy reads it, is the gradient: on many functions.

The proof of a derivation is about its terms; this is about the text, its axes, brackets and
indices. Equal lengths of axes are among the examples, where a wrong axis would not be refused.
"""

from xml.etree import ElementTree as ET

import numpy as np
import pytest
from printed import assert_printed

import tinygrad_bn as tg

R = np.random.default_rng(3)
A, B, S = R.normal(size=(4, 5)), R.normal(size=(5, 3)), R.normal(size=(4, 4))
V, U, U2 = R.normal(size=5), R.normal(size=4), R.normal(size=4)
T, T2 = R.normal(size=(2, 4, 5)), R.normal(size=(2, 5, 3))
P = np.abs(A) + 0.5
Q, H = R.normal(size=(3, 3, 3)), R.normal(size=(2, 2, 3, 3))
LABELS = np.array([0, 2, 1, 4])

WHOLE = {"upstream": "identity"}


def covariance(x):
    centred = x - x.mean(axis=0)
    return centred.T @ centred / x.shape[0]


def entropy(z):
    p = tg.softmax(z)
    return -(p * tg.log(p)).sum()


def hidden(W1, W2, x, y):
    return tg.mse_loss(tg.relu(x @ W1) @ W2, y)


def classes(W1, b1, W2, x):
    return tg.cross_entropy(tg.tanh(x @ W1 + b1) @ W2, LABELS)


def layers(x, W1, b1, W2, b2):
    return tg.sum((tg.tanh(x @ W1.T + b1) @ W2.T + b2) ** 2)


CASES = {
    "attention, keys": (lambda q, k: tg.softmax(q @ k.mT), Q, Q + 1, {"wrt": 1}),
    "a row of a table": (
        lambda x, p, y: tg.tanh(x + p[0]) @ y,
        A,
        S[:2, :1] + A[:2],
        B,
        {"wrt": 2},
    ),
    "pairs": (lambda x: tg.sum(tg.abs(x[:, None] - x[None, :])), U),
    "pairs of rows": (lambda x: tg.exp(-((x[:, None, :] - x) ** 2).sum(axis=2)), A),
    "rows and columns": (lambda a, b: (a - b) * (a - b[:, None]), S, U),
    "twice beside": (lambda x, w: tg.exp(x * w[:, None]) * w, Q, Q[0, 0]),
    "sums and means": (lambda a: tg.exp(a.sum(axis=0)) - a.mean(axis=1), S),
    "both ways": (lambda x: tg.logsumexp(x, axis=0) + tg.logsumexp(x, axis=1), S),
    "layers of equal lengths": (layers, S, S + 1, U, S.T, U2, {"wrt": (1, 2, 3, 4)}),
    "dropped mean": (lambda x: x * x.mean(axis=1), S),
    "dropped sum": (lambda x: x / x.sum(axis=1), P[:, :4]),
    "norm, dropped": (lambda x: x / tg.sqrt((x * x).sum(axis=1)), S),
    "norm, kept": (lambda x: x / tg.sqrt((x * x).sum(axis=1, keepdims=True)), S),
    "short axes": (lambda x, w: tg.tanh(x @ w), A[:1, :4], U[:, None]),
    "short axis between": (lambda x, b: tg.exp(x * b), A[:3, None], U[:2, None]),
    "short outer product": (lambda x: x[None, :] * x[:, None], U),
    "several heads": (lambda q, k, v: tg.softmax(q @ k.mT / 2) @ v, H, H + 1, H - 1, {"wrt": 1}),
    "product in an exponential": (lambda x, a, b: tg.sum(x * tg.exp(x * (a @ b))), S, S + 1, S.T),
    "gated": (lambda w, v, x: (x @ w) * tg.sigmoid(x @ v), S, S + 1, S.T, {"wrt": (0, 1)}),
    "weighted squares": (lambda w, x, s, y: tg.sum(s * (x @ w - y) ** 2), U, S, U2, U + U2),
    "logistic": (lambda w, x, y: tg.sum(tg.log(1 + tg.exp(-y * (x @ w)))), U, S, np.sign(U2)),
    "hidden, equal lengths": (hidden, S, U, S.T, U2, {"wrt": (0, 1)}),
    "hidden, classes": (classes, S, U, np.column_stack([S, U]), S.T, {"wrt": (0, 1, 2)}),
    "gram of rows": (lambda z: tg.mean(tg.logsumexp(z @ z.T, axis=1)), A),
    "Hessian of logistic": (tg.grad(lambda w: tg.sum(tg.softplus(A @ w))), V, WHOLE),
    "Jacobian of a product": (lambda x, a: a @ x, V, A, WHOLE),
    "Jacobian of a square": (lambda x: (A @ x) ** 2, V, WHOLE),
    "Jacobian of a layer": (lambda x: tg.tanh(A @ x), V, WHOLE),
    "Jacobian of a sum": (tg.sum, V, WHOLE),
    "Jacobian of an outer product": (lambda x: x[:, None] * x[None, :], V, WHOLE),
    "Jacobian of a gram matrix": (lambda x: x @ x.T, A, WHOLE),
    "Jacobian of a maximum": (lambda x: tg.max(x, axis=0), A, WHOLE),
    "Jacobian of batch norm": (tg.batch_norm, A, WHOLE),
    "matmul": (lambda x, y: x @ y, A, B),
    "matmul2": ((lambda x, y: x @ y), A, B, {"wrt": 1}),
    "chain": (lambda x, y, z: x @ y @ z, A, B, R.normal(size=(3, 2)), {"wrt": 1}),
    "quad": (lambda x, m: x @ m @ x, U, S),
    "quadm": (lambda m, x: x @ m @ x, S, U),
    "gram": (lambda x: x.T @ x, A),
    "gram2": (lambda x: (x @ x.T).sum(), A),
    "fro": (lambda x: tg.sqrt((x * x).sum()), A),
    "rownorm": (lambda x: tg.sqrt((x * x).sum(axis=1)), A),
    "trace": (lambda x: (x * np.eye(4)).sum(), S),
    "tracexx": (lambda x: (x @ x * np.eye(4)).sum(), S),
    "bmm": (lambda x, y: x @ y, T, T2),
    "bmmT": (lambda x: x @ x.mT, T),
    "outer": (lambda x, y: x[:, None] * y[None, :], U, V),
    "colscale": (lambda w, x: w[:, None] * x, U, A),
    "colscale sq": (lambda w, x: w[:, None] * x, U2, S),
    "rowscale sq": (lambda w, x: w * x, U2, S),
    "sub mean ax0 sq": (lambda x: x - x.mean(axis=0), S),
    "sub mean ax1": (lambda x: x - x.mean(axis=1, keepdims=True), S),
    "mean both": (lambda x: x - x.mean(axis=0) - x.mean(axis=1, keepdims=True), S),
    "softmax3": (lambda x: tg.softmax(x, axis=1), T),
    "softmax2": (lambda x: tg.softmax(tg.softmax(x)), A),
    "gather": (lambda x: tg.take_along_axis(x, LABELS[:, None], axis=1), A),
    "index": (lambda x: x[np.arange(4), LABELS], A),
    "take": (lambda x: tg.take(x, LABELS, axis=1), A),
    "slice": (lambda x: x[1:3] * 2, A),
    "row": (lambda x: (x[0] ** 2).sum(), A),
    "elem": (lambda x: x[0] * x[1], V),
    "stack": (lambda x, y: tg.stack([x, y]), U, U2),
    "max": (lambda x: x.max(axis=1), A),
    "maxall": (lambda x: x.max(), A),
    "min": (lambda x: x.min(axis=0), A),
    "cumsum": (lambda x: tg.cumulative_sum(x, axis=1), A),
    "sort": (lambda x: tg.sort(x, axis=1), A),
    "where": (lambda x, y: tg.where(x > 0, x * y, y), A, A * 2),
    "abs": (tg.abs, A),
    "sign*": (lambda x: tg.abs(x) * x, A),
    "pow": (lambda x: x**-2.5, P),
    "divdiv": (lambda x, y, z: x / (y / (z / x)), P, P + 1, P + 2),
    "pow3": (lambda x: (x**2 + 1) ** -3, A),
    "powxy": (lambda x, y: x**y, P, A),
    "log": (tg.log, P),
    "norm": (lambda x: x / tg.sqrt((x * x).sum(axis=1, keepdims=True)), A),
    "cosine": (
        lambda x, y: (x * y).sum() / tg.sqrt((x * x).sum() * (y * y).sum()),
        V,
        V[::-1].copy(),
    ),
    "einsum": (lambda x, y: tg.einsum("ij,jk->ki", x, y), A, B),
    "einsum3": (lambda x, y: tg.einsum("bij,bjk->ik", x, y), T, T2),
    "einsumd": (lambda x: tg.einsum("ii->i", x), S),
    "pad": (lambda x: tg.pad(x, ((1, 1), (0, 2))) * 3, A),
    "reshape": (lambda x: x.reshape(-1) @ np.arange(20.0), A),
    "transpose": (lambda x, y: x.T * y, A, R.normal(size=(5, 4))),
    "names": (
        lambda s, N, sigma, mu, x_hat: tg.softmax(s) * N + sigma * mu - x_hat,
        A,
        A + 1,
        A + 2,
        A + 3,
        A + 4,
    ),
    "names2": (lambda g, y, I: tg.cross_entropy(g * y + I, LABELS), A, A, A),
    "i": (lambda i, j: i @ j, A, B),
    "kl": (lambda p, q: (p * (tg.log(p) - tg.log(q))).sum(), P, P + 1),
    "klz": (lambda z, p: (p * (tg.log(p) - tg.log_softmax(z))).sum(), A, P),
    "huber": (lambda x: tg.where(tg.abs(x) < 1, 0.5 * x * x, tg.abs(x) - 0.5).sum(), A),
    "mlp": (
        lambda W1, b1, W2, x, y: tg.mse_loss(tg.tanh(x @ W1 + b1) @ W2, y),
        R.normal(size=(5, 3)),
        R.normal(size=3),
        R.normal(size=3),
        A,
        U,
        {"wrt": (0, 1, 2)},
    ),
    "mlp relu": (
        lambda W1, b1, W2, b2, x, y: tg.cross_entropy(tg.relu(x @ W1 + b1) @ W2 + b2, y),
        R.normal(size=(5, 3)),
        R.normal(size=3),
        R.normal(size=(3, 5)),
        V,
        A,
        LABELS,
        {"wrt": (0, 1, 2, 3)},
    ),
    "attn": (
        lambda q, k, w: tg.softmax(q @ k.T) @ w,
        A,
        R.normal(size=(6, 5)),
        R.normal(size=(6, 3)),
        {"wrt": (0, 1, 2)},
    ),
    "gnll": (
        lambda mu, lv, y: (0.5 * lv + 0.5 * (y - mu) ** 2 * tg.exp(-lv)).mean(),
        U,
        U2,
        U + 1,
        {"wrt": (0, 1)},
    ),
    "focal": (lambda z, y: -(y * (1 - tg.sigmoid(z)) ** 2 * tg.log_sigmoid(z)).sum(), U, U2),
    "std": (lambda x: x.std(axis=0), A),
    "jac sm": (tg.softmax, U, {"upstream": "identity"}),
    "jac sm2": (tg.softmax, R.normal(size=(2, 3)), {"upstream": "identity"}),
    "jac mm": (lambda x, y: x @ y, A, V, {"upstream": "identity"}),
    "jac el": (tg.tanh, U, {"upstream": "identity"}),
    "bn hand ax1": (
        lambda x, g: (
            (x - x.mean(axis=1, keepdims=True)) / tg.sqrt(x.var(axis=1, keepdims=True) + 1e-5) * g
        ),
        A,
        V,
        {"wrt": (0, 1)},
    ),
    "gn": (lambda x: tg.group_norm(x, groups=2), R.normal(size=(2, 4, 3))),
    "inorm": (tg.instance_norm, R.normal(size=(2, 4, 3))),
    "size1": (lambda x, y: x * y, R.normal(size=(4, 1)), R.normal(size=(1, 4))),
    "size1b": (lambda x, y: (x * y).sum(), R.normal(size=(4, 1)), R.normal(size=(4,))),
    "clip": (lambda x: tg.clip(x, -1, 1), A),
    "3d mean": (lambda x: x.mean(axis=(0, 2)), T),
    "3dm": (lambda x, w: (x @ w).mean(axis=0), T, V),
    "scalar LABELS": (lambda z: tg.cross_entropy(z, 2), V),
    "sq dist": (
        lambda x, c: ((x[:, None, :] - c[None, :, :]) ** 2).sum(axis=2),
        A,
        R.normal(size=(3, 5)),
        {"wrt": (0, 1)},
    ),
    "covariance": (covariance, A),
    "bce w": (
        lambda z, w, y: (w * tg.binary_cross_entropy(z, y, reduction="none")).mean(),
        U,
        P[:, 0],
        (U > 0) * 1.0,
    ),
    "label smooth": (lambda z: tg.cross_entropy(z, LABELS, label_smoothing=0.1), A),
    "cw": (lambda z: tg.cross_entropy(z, LABELS, weight=np.arange(1.0, 6)), A),
    "ignore": (lambda z: tg.cross_entropy(z, LABELS, ignore_index=1), A),
    "gumbel": (lambda z, t: tg.softmax(z / t), A, 0.7, {"wrt": (0, 1)}),
    "entropy": (entropy, V),
    "hinge": (lambda w, x, y: tg.maximum(0, 1 - y * (x @ w)).mean(), V, A, np.sign(U)),
    "bias sum": (lambda b, x: tg.tanh(x + b).sum(), V, A),
    "bias col": (lambda b, x: tg.tanh(x + b[:, None]).sum(), U, A),
    "elu": (tg.elu, U),
    "softsign": (tg.softsign, U),
    "leaky": (tg.leaky_relu, U),
    "cubic": (lambda x: x**3 / 3 - x, U),
    "sin cos": (lambda x: tg.sin(x) * tg.cos(x), U),
    "atan2": (tg.atan2, U, U2),
    "hypot": (tg.hypot, U, U2),
}


BY_NAME = pytest.mark.parametrize("name", CASES)
QUIET = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def derived(name):
    *call, last = CASES[name]
    options = last if isinstance(last, dict) else {}
    return call, tg.derive(*call, *(() if options else (last,)), **options)


@BY_NAME
@QUIET
def test_latex_and_mathml_are_well_formed(name):
    _, found = derived(name)
    latex = found.latex()
    assert latex.count("{") == latex.count("}")
    assert latex.count("\\left") == latex.count("\\right")
    page = ET.fromstring(f"<page>{found.mathml()}</page>")  # noqa: S314  (our own)
    parts = {"mfrac": 2, "msub": 2, "msup": 2, "mover": 2, "munder": 2}
    assert all(len(e) == parts.get(e.tag, len(e)) for e in page.iter())


@BY_NAME
@QUIET
def test_the_printed_text_is_the_gradient(name):
    call, found = derived(name)
    values = dict(found.values)
    if found.upstream == "symbolic":
        values["g"] = np.random.default_rng(5).normal(size=found.shape)
    recorded = found.recorded
    wanted = recorded.run(*(values[recorded.names[t]] for t in recorded.inputs))
    wanted = [*wanted] if isinstance(wanted, tuple) else [wanted]
    if found.upstream == "identity":
        function, *example = call
        wanted = [tg.jacobian(function)(*example).data]
    assert_printed(str(found), values, wanted, classes=5)


def test_what_is_kept_and_what_is_dropped_are_told_apart():
    kept = tg.derive(lambda x, y: y * x.mean(axis=1, keepdims=True), S, S, wrt=1)
    dropped = tg.derive(lambda x, y: y * x.mean(axis=1), S, S, wrt=1)
    assert str(kept).startswith("dL/dy = g*mean(x)\n  where mean along axis 1")
    assert str(dropped).startswith("dL/dy[i, j] = g[i, j]*mean_k(x[j, k])")
