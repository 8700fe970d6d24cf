"""Softmax: its boundaries in the plane, its temperature, its loss, and the gradient y_hat - y.

Four classes in the plane: clouds, spiral arms, and two principal components of real digits. You
will see

- ``lines`` and ``curves``: where softmax regression and a net with hidden layers change their
  minds, and how far these boundaries are from straight lines;
- ``temperature``: the probabilities of fixed logits from the hard maximum to uniform;
- ``soft`` and ``choices``: hard functions beside their soft forms, with derivatives, and whether
  gradient descent gets through each of them;
- two classes: the numbers of softmax and of logistic regression, and the training of both;
- ``likelihood``: parameters fitted to data of a known model, closer to it the more data there are;
- ``gradient``: logits, probabilities, target and gradient of one sample;
- ``safety``: the loss of the sure and right and of the sure and wrong, with and without care.

    python demos/10_softmax.py [--fast] [--out DIR] [--seed N]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import lecture
import tinygrad_bn as tg
from lecture import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, Claim, verdict
from tinygrad_bn import nn

EPS = float(np.finfo(float).eps)
CLASS_COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
SETS = ("clouds", "spirals", "digits")
NETS = ("no hidden layer", "two hidden layers")
RATES = dict(zip(NETS, (0.05, 0.01), strict=True))


# four classes in the plane -----------------------------------------------------------------------


def plane(name: str, seed: int) -> lecture.Split:
    """Return four classes in the plane, standardised, three quarters of them for training."""
    x, y = four_digits() if name == "digits" else made_up(name, seed)
    x, x_test, y, y_test = tg.data.train_test_split(x, y, test_size=0.25, rng=seed, stratify=y)
    if name == "digits":
        axes = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:2].T
        x, x_test = x @ axes, x_test @ axes
    scale = tg.data.Standardizer().fit(x)
    return lecture.Split(scale.transform(x), y, scale.transform(x_test), y_test, name)


def made_up(name: str, seed: int) -> tg.data.Dataset:
    """Return 600 points in four clouds or four spiral arms."""
    if name == "clouds":
        return tg.data.blobs(600, classes=4, noise=2.0, rng=seed)
    return tg.data.spirals(600, classes=4, noise=0.05, rng=seed)


def four_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the digits 0 to 3, pixels from 0 to 16."""
    x, y = tg.data.load_digits()
    return x[y < 4], y[y < 4]


def build(net: str, seed: int) -> nn.Module:
    """Build softmax regression, or the same above two layers of 32 tanh units."""
    rng = np.random.default_rng(seed)
    if net == NETS[0]:
        return nn.Linear(2, 4, rng=rng)
    layers = [nn.Linear(2, 32, rng=rng), nn.Tanh(), nn.Linear(32, 32, rng=rng), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(32, 4, rng=rng))


def trained(net: str, data: lecture.Split, *, epochs: int, seed: int) -> nn.Module:
    """Train by Adam on batches of 64, its rate falling to 0 along a cosine."""
    model = build(net, seed)
    steps = epochs * -(-len(data.x) // 64)
    optimiser = tg.optim.Adam(model.parameters(), tg.optim.cosine(RATES[net], steps=steps))
    train = (data.x, data.y)
    nn.fit(
        model, train, tg.cross_entropy, optimiser, epochs, batch_size=64, rng=seed, progress=False
    )
    return model


def probabilities(model: nn.Module, x: np.ndarray) -> np.ndarray:
    """Return the softmax of the model's logits, (N, 4)."""
    with tg.no_grad():
        return np.asarray(tg.softmax(model(x)).data)


def decide(model: nn.Module, x: np.ndarray) -> np.ndarray:
    """Return the most probable class of each point."""
    return probabilities(model, x).argmax(axis=1)


@dataclass
class Crossings:
    """Points at which the decision changes, (N, 2), and between which classes, (N, 2), sorted."""

    points: np.ndarray
    between: np.ndarray

    def pairs(self, least: int = 30) -> list[tuple[tuple[int, int], np.ndarray]]:
        """List pairs of classes with the points of their boundary, if there are enough."""
        found = []
        for pair in combinations(range(4), 2):
            points = self.points[(self.between == pair).all(axis=1)]
            found += [(pair, points)] if len(points) >= least else []
        return found


def crossings(model: nn.Module, *, count: int, reach: float, seed: int) -> Crossings:
    """Bisect segments between random points of different classes down to neighbouring floats."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-reach, reach, (2, count, 2))
    first = decide(model, a)
    apart = first != decide(model, b)
    a, b, first = a[apart], b[apart], first[apart]
    for _ in range(60):
        middle = (a + b) / 2
        same = (decide(model, middle) == first)[:, None]
        a, b = np.where(same, middle, a), np.where(same, b, middle)
    between = np.sort(np.stack([first, decide(model, b)], axis=1), axis=1)
    return Crossings((a + b) / 2, between)


def bend(points: np.ndarray) -> tuple[float, float]:
    """Return the root mean square distance of points from their best line, and their extent."""
    across = np.linalg.svd(points - points.mean(0), full_matrices=False)
    along = across[0][:, 0] * across[1][0]
    return float(across[1][1] / np.sqrt(len(points))), float(np.ptp(along))


def allowed(model: nn.Linear, pair: tuple[int, int], points: np.ndarray) -> float:
    """Bound the distance of a found crossing from the exact line, by the rounding on the way.

    Two products and two sums make a logit, an exponential and a quotient a probability; their
    roundings, as a difference of logits, are divided by the slope of that difference. Bisection
    ends within a few spacings of the coordinates, and the fit of the line adds as much.
    """
    w, b = model.weight.data, model.bias.data
    sizes = [np.abs(points) @ np.abs(w[k]) + np.abs(b[k]) for k in pair]
    slope = np.linalg.norm(w[pair[0]] - w[pair[1]])
    logits = 1.5 * EPS * (max(sizes[0]) + max(sizes[1])) + 3 * EPS
    return float(logits / slope + 10 * EPS * np.abs(points).max())


def straightness(model: nn.Module, reach: float, seed: int) -> dict[str, float]:
    """Measure how far the boundaries are from lines, as a share of their extent."""
    found = crossings(model, count=3000, reach=reach, seed=seed).pairs()
    bends = [(*bend(points), pair, points) for pair, points in found]
    result = {"bend": max(d / extent for d, extent, _, _ in bends)}
    if isinstance(model, nn.Linear):
        result["of what rounding allows"] = max(d / allowed(model, p, q) for d, _, p, q in bends)
    return result


def dented(model: nn.Module, reach: float, seed: int) -> float:
    """Return the share of pairs of one class between which, halfway, lies another class."""
    a, b = np.random.default_rng(seed).uniform(-reach, reach, (2, 20_000, 2))
    first = decide(model, a)
    same = first == decide(model, b)
    return float((decide(model, (a + b) / 2)[same] != first[same]).mean())


def boundaries(seeds: Sequence[int], *, epochs: int) -> tuple[dict[str, Any], dict[Any, Any]]:
    """Train each net on each set for each seed; returns numbers, and the models of the first."""
    shown, rows = {}, []
    runs = [(name, net, seed) for seed in seeds for name in SETS for net in NETS]
    for name, net, seed in tqdm(runs, desc="planes", unit="net", ncols=88):
        data = plane(name, seed)
        model = trained(net, data, epochs=epochs, seed=seed)
        reach = float(np.abs(data.x).max())
        accuracy = float((decide(model, data.x_test) == data.y_test).mean())
        measured = {**straightness(model, reach, seed), "dented": dented(model, reach, seed)}
        rows.append((name, net, {"test accuracy": accuracy, **measured}))
        if seed == seeds[0]:
            shown[name, net] = (data, model)
    return summarised(rows), shown


def summarised(rows: list[tuple[str, str, dict[str, float]]]) -> dict[str, Any]:
    """Return the least, median and largest of each measure over the seeds."""
    numbers: dict[str, Any] = {}
    for name in SETS:
        for net in NETS:
            of = [measures for n, m, measures in rows if (n, m) == (name, net)]
            for what in of[0]:
                values = [measures[what] for measures in of]
                for kind, f in (("least", min), ("median", np.median), ("most", max)):
                    numbers[f"{name}, {net}: {what}, {kind}"] = float(f(values))
        numbers[f"{name}: gain by hidden layers, least"] = min(gains(rows, name))
    return numbers


def gains(rows: list[tuple[str, str, dict[str, float]]], name: str) -> list[float]:
    """Return by how much hidden layers raise the test accuracy, for each seed."""
    plain, deep = (
        [measures["test accuracy"] for n, m, measures in rows if (n, m) == (name, net)]
        for net in NETS
    )
    return [b - a for a, b in zip(plain, deep, strict=True)]


# the temperature ---------------------------------------------------------------------------------

LOGITS = np.array([2.0, 1.0, 0.0, -1.0])
TIED = np.array([2.0, 2.0, 0.0, -1.0])


def entropy(z: np.ndarray, temperature: Any) -> tg.Tensor:
    """Return the entropy of softmax at a temperature, in nats."""
    below = z - z.max()  # so that small entropies, and their slopes, are not differences
    p = tg.softmax(below, temperature=temperature)
    return tg.logsumexp(below / temperature) - (p * below).sum() / temperature


def variance(z: np.ndarray, temperature: float) -> float:
    """Return the variance of the logits under their own softmax."""
    p = tg.softmax(z, temperature=temperature).data
    return float(p @ (z - p @ z) ** 2)


def temperatures() -> dict[str, float]:
    """Measure both ends of the dial, and the slope of the entropy along it."""
    cold, hot = 1e-3, 1e6
    at_cold, ties = (tg.softmax(z, temperature=cold).data for z in (LOGITS, TIED))
    expansion = 0.25 + (LOGITS - LOGITS.mean()) / (4 * hot)
    dial = np.geomspace(0.05, 100, 60)
    slopes = np.array([tg.grad(lambda t: entropy(LOGITS, t))(t).item() for t in dial])
    theory = np.array([variance(LOGITS, t) / t**3 for t in dial])
    at_hot = tg.softmax(LOGITS, temperature=hot).data
    return {
        "cold: distance from the hard maximum": largest(at_cold - tg.hardmax(LOGITS).data),
        "cold, tied: distance from the hard maximum": largest(ties - tg.hardmax(TIED).data),
        "cold, tied: distance from an equal share": largest(ties - [0.5, 0.5, 0, 0]),
        "hot: distance from uniform": largest(at_hot - 0.25),
        "hot: distance from the first order in 1 / T": largest(at_hot - expansion),
        "entropy: cold": entropy(LOGITS, 0.05).item(),
        "entropy: hot, less log 4": entropy(LOGITS, hot).item() - float(np.log(4)),
        "entropy: least slope along the dial": float(slopes.min()),
        "entropy: slope against variance / T^3": largest(slopes / theory - 1),
    }


def largest(differences: Any) -> float:
    """Return the largest size among differences."""
    return float(np.abs(differences).max())


# hard and soft -----------------------------------------------------------------------------------


def beside_zero(x: Any) -> tg.Tensor:
    """Return the pairs (x, 0), (N, 2)."""
    return tg.stack((x, 0 * x), axis=-1)


def places(v: Any, weigh: Callable[[Any], tg.Tensor]) -> tg.Tensor:
    """Return (..., n, n): row k holds the weight of each element for place k, largest first.

    With hardmax it is the matrix of the permutation that sorts, with softmax SoftSort (Prillo &
    Eisenschlos 2020).
    """
    ordered = tg.sort(v, axis=-1, descending=True)
    return weigh(-tg.abs(ordered[..., :, None] - v[..., None, :]))


def second_of_three(x: Any, weigh: Callable[[Any], tg.Tensor]) -> tg.Tensor:
    """Return how much x is the second of (x, -1, 1)."""
    return places(tg.stack((x, 0 * x - 1, 0 * x + 1), axis=-1), weigh)[..., 1, 0]


def straight_through(z: Any, temperature: float = 1.0) -> tg.Tensor:
    """Return the hard maximum, with the gradient of softmax (Bengio, Léonard & Courville 2013)."""
    soft = tg.softmax(z, temperature=temperature)
    return tg.hardmax(z) + (soft - tg.stop_gradient(soft))


T = 0.3
"""The temperature of the soft forms that are drawn."""


def warm(z: Any) -> tg.Tensor:
    """Return softmax at that temperature."""
    return tg.softmax(z, temperature=T)


FORMS: dict[str, tuple[Callable[[Any], tg.Tensor], Callable[[Any], tg.Tensor]]] = {
    "hard maximum and softmax": (
        lambda x: tg.hardmax(beside_zero(x))[:, 0],
        lambda x: warm(beside_zero(x))[:, 0],
    ),
    "ReLU and softplus": (tg.relu, lambda x: T * tg.softplus(x / T)),
    "absolute value, hard and soft": (
        tg.abs,
        lambda x: T * tg.logsumexp(tg.stack((x, -x), axis=-1) / T, axis=-1),
    ),
    "sort (the second) and SoftSort": (
        lambda x: second_of_three(x, tg.hardmax),
        lambda x: second_of_three(x, warm),
    ),
    "hard and straight through": (
        lambda x: tg.hardmax(beside_zero(x))[:, 0],
        lambda x: straight_through(beside_zero(x), T)[:, 0],
    ),
    "hard maximum and sparsemax": (
        lambda x: tg.hardmax(beside_zero(x))[:, 0],
        lambda x: tg.sparsemax(beside_zero(x))[:, 0],
    ),
}
SPAN = np.linspace(-2, 2, 800)


def slope(f: Callable[[Any], tg.Tensor]) -> np.ndarray:
    """Return the derivative of an elementwise function along the span."""
    return np.asarray(tg.grad(lambda x: f(x).sum())(SPAN).data)


def forms() -> dict[str, float]:
    """Measure on which share of the span hard and soft forms have a derivative, and its jumps."""
    numbers = {}
    for name, pair in FORMS.items():
        for kind, f in zip(("hard", "soft"), pair, strict=True):
            slopes = slope(f)
            numbers[f"{name}: share with a gradient, {kind}"] = float((slopes != 0).mean())
            numbers[f"{name}: largest jump of the derivative, {kind}"] = largest(np.diff(slopes))
    values = [FORMS[THROUGH][i](SPAN).data for i in (0, 1)]
    numbers["straight through: distance from the hard maximum"] = largest(values[0] - values[1])
    v = np.random.default_rng(0).normal(size=(1000, 6))
    cold = places(v, lambda z: tg.softmax(z, temperature=1e-6)).data
    wrong = np.abs(cold - places(v, tg.hardmax).data).max(axis=(1, 2)) > 0.01
    numbers["SoftSort, cold: share of vectors off the permutation"] = float(wrong.mean())
    return numbers


THROUGH = "hard and straight through"
WAYS: dict[str, Callable[[Any], tg.Tensor]] = {
    "hard maximum": tg.hardmax,
    "softmax": tg.softmax,
    "straight through": straight_through,
    "sparsemax": tg.sparsemax,
}


def choose(way: str, *, steps: int, starts: int, seed: int) -> float:
    """Learn by gradient ascent which of five values is best, through weights of them.

    Returns the share of starts that end with the largest logit at the largest value.
    """
    rng = np.random.default_rng(seed)
    z, values = rng.normal(size=(2, starts, 5))
    climb = tg.grad(lambda z: (WAYS[way](z) * values).sum())
    for _ in range(steps):
        z = z + climb(z).data
    return float((z.argmax(axis=1) == values.argmax(axis=1)).mean())


# two classes -------------------------------------------------------------------------------------


def spacings(a: Any, b: Any) -> float:
    """Return the largest difference of two arrays, in spacings of the larger number (ulps)."""
    size = np.maximum(np.abs(a), np.abs(b))
    return float((np.abs(a - b) / np.spacing(size)).max())


def pairs_of_logits(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits of two classes of sizes from 0.001 to 1000, and labels."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(20_000, 2)) * 10 ** rng.uniform(-3, 3, (20_000, 1))
    return z, rng.integers(0, 2, len(z))


def two_classes(seed: int) -> dict[str, float]:
    """Compare softmax of two logits with the sigmoid of their difference, value and gradient."""
    z, labels = pairs_of_logits(seed)
    difference = z[:, 0] - z[:, 1]
    first = (labels == 0).astype(float)
    many, many_slope = tg.value_and_grad(
        lambda z: tg.cross_entropy(z, labels, reduction="sum") / len(z)
    )(z)
    one, one_slope = tg.value_and_grad(
        lambda d: tg.binary_cross_entropy(d, first, reduction="sum") / len(d)
    )(difference)
    each = tg.cross_entropy(z, labels, reduction="none").data
    binary = tg.binary_cross_entropy(difference, first, reduction="none").data
    mirrored = np.stack([one_slope.data, -one_slope.data], axis=1)
    return {
        "two classes: probabilities differ, ulps": spacings(
            tg.softmax(z).data[:, 0], tg.sigmoid(difference).data
        ),
        "two classes: losses differ, ulps": spacings(each, binary),
        "two classes: mean losses differ, ulps": spacings(many.data, one.data),
        "two classes: gradients differ, ulps": spacings(many_slope.data, mirrored),
    }


@dataclass
class Twins:
    """Weights (inputs and 1) of the difference of two logits over the steps, two ways."""

    softmax: np.ndarray
    logistic: np.ndarray
    drift: float

    def apart(self) -> np.ndarray:
        """Return the largest difference after each step."""
        return np.abs(self.softmax - self.logistic).max(axis=1)


def twins(*, factor: float, steps: int, seed: int) -> Twins:
    """Train both from one start on the digits 1 and 2 by gradient descent at rate 0.5.

    ``factor``: by how much the rate of logistic regression is larger.
    """
    data = plane("digits", seed)
    chosen = np.isin(data.y, (1, 2))
    x, y = data.x[chosen], data.y[chosen] - 1
    inputs = np.column_stack([x, np.ones(len(x))])
    both = np.random.default_rng(seed).normal(size=(2, 3))
    one, total = both[1] - both[0], both.sum(0)
    of_both = tg.grad(lambda w: tg.cross_entropy(tg.matmul(inputs, w.T), y))
    of_one = tg.grad(lambda w: tg.binary_cross_entropy(tg.matmul(inputs, w), y.astype(float)))
    paths: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for _ in range(steps):
        both = both - 0.5 * of_both(both).data
        one = one - 0.5 * factor * of_one(one).data
        paths[0].append(both[1] - both[0])
        paths[1].append(one)
    return Twins(np.array(paths[0]), np.array(paths[1]), largest(both.sum(0) - total))


# likelihood --------------------------------------------------------------------------------------

TRUTH = np.array([[1.5, 0.5, 0.3], [-1.0, 1.0, 0.0], [-0.5, -1.5, -0.4]])
"""Weights of two inputs and of 1, for the first three of four classes; the last has logit 0."""


def logits_of(theta: Any, inputs: np.ndarray) -> tg.Tensor:
    """Return logits (N, 4), the last of them 0."""
    return tg.concat((tg.matmul(inputs, theta.T), np.zeros((len(inputs), 1))), axis=1)


def drawn(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw normal inputs (with a 1) and labels from the softmax of the true logits."""
    inputs = np.column_stack([rng.normal(size=(n, 2)), np.ones(n)])
    logits = logits_of(tg.Tensor(TRUTH), inputs).data
    return inputs, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


def negative_log_likelihood(inputs: np.ndarray, labels: np.ndarray) -> Callable[[Any], tg.Tensor]:
    """Return the mean cross-entropy as a function of theta."""
    return lambda theta: tg.cross_entropy(logits_of(theta, inputs), labels)


def fitted(loss: Callable[[Any], tg.Tensor], shape: tuple[int, ...]) -> np.ndarray:
    """Minimise a convex loss by Newton's method from 0, until steps no longer matter."""
    theta, size = np.zeros(shape), int(np.prod(shape))
    for _ in range(30):
        curvature = tg.hessian(loss)(theta).data.reshape(size, size)
        step = np.linalg.solve(curvature, tg.grad(loss)(theta).data.ravel()).reshape(shape)
        theta = theta - step
        if largest(step) < 1e-8:
            break
    return theta


def likelihood(counts: Sequence[int], repeats: int, seed: int) -> dict[str, Any]:
    """Fit samples of the known model; returns root mean square errors, theory and slope."""
    rng = np.random.default_rng(seed)
    errors: dict[int, list[float]] = {n: [] for n in counts}
    runs = [n for n in counts for _ in range(repeats)]
    for n in tqdm(runs, desc="likelihood", unit="fit", ncols=88):
        found = fitted(negative_log_likelihood(*drawn(n, rng)), TRUTH.shape)
        errors[n].append(float(((found - TRUTH) ** 2).mean()))
    information = tg.hessian(negative_log_likelihood(*drawn(30_000, rng)))(TRUTH).data
    spread = float(np.trace(np.linalg.inv(information.reshape(9, 9))) / 9)
    numbers: dict[str, Any] = {"likelihood: fits of each size": repeats}
    for n in counts:
        numbers[f"error of the parameters, {n} samples"] = float(np.sqrt(np.mean(errors[n])))
        numbers[f"error by theory, {n} samples"] = float(np.sqrt(spread / n))
    measured = [np.log(numbers[f"error of the parameters, {n} samples"]) for n in counts]
    numbers["error of the parameters: power of n"] = float(
        np.polyfit(np.log(counts), measured, 1)[0]
    )
    return numbers


def products(seed: int) -> dict[str, float]:
    """Compare the product of the probabilities of labels with cross-entropy; fit one constant."""
    inputs, labels = drawn(20, np.random.default_rng(seed))
    p = tg.softmax(logits_of(tg.Tensor(TRUTH), inputs)).data[np.arange(20), labels]
    loss = negative_log_likelihood(inputs, labels)(tg.Tensor(TRUTH)).item()
    counts = uneven_counts()
    shares = counts / counts.sum()
    every = np.repeat(np.arange(4), counts)
    logits = np.zeros(4)
    climb = tg.value_and_grad(
        lambda b: tg.cross_entropy(tg.broadcast_to(b, (len(every), 4)), every)
    )
    for _ in range(300):
        logits = logits - climb(logits)[1].data
    return {
        "likelihood of 20 labels": float(np.prod(p)),
        "likelihood against exp(-20 loss)": float(np.prod(p) / np.exp(-20 * loss) - 1),
        "constant logits: distance from the class frequencies": largest(
            tg.softmax(logits).data - shares
        ),
        "constant logits: loss less the entropy": climb(logits)[0].item()
        + float(shares @ np.log(shares)),
    }


def uneven_counts() -> np.ndarray:
    """Return class counts far from equal: all zeros among the digits, half of the ones, ..."""
    return np.bincount(four_digits()[1]) // np.array([1, 2, 3, 4])


# the gradient ------------------------------------------------------------------------------------


def gradient_bound(z: np.ndarray, y_hat: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Bound how far the derived gradient and ``y_hat - y`` may lie apart by rounding, per entry.

    Counted in halves of eps, relative to an entry, with R the range of the logits: ``y_hat`` has at
    most C + 4 (exponentials, their sum, a quotient). The loss subtracts a second maximum, adds it
    again and takes a difference, of numbers of at most R + log C; through the exponentials,
    logarithm, sums and quotients behind them its gradient has 2 C + 5 R + 4 log C + 9. At the label
    it is relative to 1, from which ``y_hat`` is subtracted with one more.
    """
    spread, c = np.ptp(z, axis=1, keepdims=True), z.shape[1]
    halves = 3 * c + 5 * spread + 4 * np.log(c) + 14
    return halves * EPS / 2 * np.maximum(y_hat, target)


def gradients(seed: int) -> dict[str, float]:
    """Compare the gradient that is derived with ``y_hat - y`` on logits of many sizes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(5000, 10)) * 10 ** rng.uniform(-2, 1.5, (5000, 1))
    labels = rng.integers(0, 10, len(z))
    derived = tg.grad(lambda z: tg.cross_entropy(z, labels, reduction="sum"))(z).data
    y_hat, target = tg.softmax(z).data, tg.one_hot(labels, 10).data
    apart = np.abs(derived - (y_hat - target))
    sure = np.array([[50.0, 0.0, 0.0]])
    at_sure = tg.grad(lambda z: tg.cross_entropy(z, [0], reduction="sum"))(sure).data[0, 0]
    exact = -2 * np.exp(-50.0)  # less its square, which is below rounding
    return {
        "gradient: distance from y_hat - y, eps": float(apart.max() / EPS),
        "gradient: distance as a share of the bound": float(
            (apart / gradient_bound(z, y_hat, target)).max()
        ),
        "gradient: largest sum over the classes, eps": largest(derived.sum(axis=1)) / EPS,
        "sure and right: y_hat - y": float(tg.softmax(sure).data[0, 0] - 1),
        "sure and right: gradient": float(at_sure),
        "sure and right: relative error of the gradient": float(abs(at_sure / exact - 1)),
    }


# safety ------------------------------------------------------------------------------------------


def naive(z: np.ndarray) -> np.ndarray:
    """Return softmax as it is printed, without a shift."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True))


def naive_loss(margin: np.ndarray) -> np.ndarray:
    """Return the loss of a label that leads one other by a margin, as it is printed."""
    p = naive(np.stack([margin, np.zeros_like(margin)], axis=-1))[..., 0]
    with np.errstate(divide="ignore"):
        return np.abs(np.log(p))  # not -log, which makes -0 of log(1)


def careful_loss(margin: np.ndarray) -> np.ndarray:
    """Return the same by ``tg.cross_entropy``."""
    z = np.stack([margin, np.zeros_like(margin)], axis=-1)
    return np.asarray(tg.cross_entropy(z, np.zeros(len(z), int), reduction="none").data)


def safety(seed: int) -> dict[str, Any]:
    """Try large logits, masks, shifts, and the loss of the sure."""
    large = np.array([1000.0, 999.0, 0.0])
    masked = np.array([1.0, -np.inf, 2.0])
    weights = np.array([1.0, 2.0, 3.0])
    masked_slope = tg.grad(lambda z: (tg.softmax(z) * weights).sum())(masked).data
    z = np.random.default_rng(seed).normal(size=(1000, 5))
    moved = [tg.softmax(z + c).data / tg.softmax(z).data - 1 for c in (1000.0, -1000.0)]
    whole = np.array([3.0, 1.0, -4.0])
    wrong, wrong_slope = tg.value_and_grad(lambda z: tg.cross_entropy(z, 1))(np.array([1000.0, 0]))
    right = careful_loss(np.array([40.0]))[0]
    return {
        "logits of 1000, naive": str(naive(large)[0]),
        "logits of 1000: distance from e / (1 + e)": abs(
            float(tg.softmax(large).data[0] - np.e / (1 + np.e))
        ),
        "masked: weight": float(tg.softmax(masked).data[1]),
        "masked: gradient": float(abs(masked_slope[1])),
        "shifted by 1000: relative change, eps": largest(moved) / EPS,
        "shifted by whole numbers: change": largest(
            tg.softmax(whole + 1000).data - tg.softmax(whole).data
        ),
        "sure and right by 40: loss, naive": float(naive_loss(np.array([40.0]))[0]),
        "sure and right by 40: loss": float(right),
        "sure and right by 40: relative error": abs(float(right / np.exp(-40.0) - 1)),
        "sure and wrong by 1000: loss, naive": str(naive_loss(np.array([-1000.0]))[0]),
        "sure and wrong by 1000: loss": wrong.item(),
        "sure and wrong by 1000: gradient": wrong_slope.tolist(),
    }


# pictures ----------------------------------------------------------------------------------------


def shading(p: np.ndarray) -> np.ndarray:
    """Return the colour of the most probable class, paler in four steps where it is less sure."""
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in CLASS_COLOURS]) / 255
    steps = np.digitize(p.max(axis=-1, keepdims=True), (0.5, 0.75, 0.95))
    return 1 - (1 - colours[p.argmax(axis=-1)]) * (0.15 + 0.17 * steps)


PIXELS = {"origin": "lower", "interpolation": "nearest"}


def draw_boundaries(shown: dict[Any, Any], out: Path) -> None:
    """Draw regions, probabilities as shading, and the test points, a picture for each net."""
    for net, title, file in (
        (NETS[0], "Softmax alone divides by straight lines", "lines"),
        (NETS[1], "With hidden layers it divides by curves", "curves"),
    ):
        figure, grid = lecture.axes(1, 3, size=(2.9, 3.2))
        for axes, name in zip(grid, SETS, strict=True):
            data, model = shown[name, net]
            draw_plane(axes, data, model)
            accuracy = (decide(model, data.x_test) == data.y_test).mean()
            axes.set_title(f"{name}: {accuracy:.0%} right")
        shades = "shades: 95 %, 75 %, 50 % sure, and less; dots: test points"
        figure.suptitle(f"{title} ({shades})")
        lecture.save(figure, out, file)


def draw_plane(axes: Any, data: lecture.Split, model: nn.Module) -> None:
    """Draw the plane as a model divides it."""
    reach = float(np.abs(data.x).max()) * 1.05
    line = np.linspace(-reach, reach, 280)
    points = np.stack(np.meshgrid(line, line), axis=-1)
    p = probabilities(model, points.reshape(-1, 2)).reshape(*points.shape[:2], 4)
    axes.imshow(shading(p), extent=(-reach, reach, -reach, reach), **PIXELS)
    for k in range(4):
        lead = np.log(p[..., k]) - np.log(np.delete(p, k, axis=-1)).max(axis=-1)
        axes.contour(line, line, lead, levels=[0], colors="#333333", linewidths=1)
        at = data.x_test[data.y_test == k]
        axes.scatter(*at.T, s=11, color=CLASS_COLOURS[k], edgecolor="white", linewidth=0.5)
    axes.set(xticks=[], yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)


def draw_temperature(out: Path) -> None:
    """Draw probabilities and entropy over the temperature."""
    dial = np.geomspace(0.01, 1000, 400)
    figure, grid = lecture.axes(1, 3, size=(4.2, 3.6))
    for axes, z, title in (
        (grid[0], LOGITS, "from the hard maximum to uniform"),
        (grid[1], TIED, "two equal logits share for ever"),
    ):
        p = np.array([tg.softmax(z, temperature=t).data for t in dial])
        for k, colour in enumerate(CLASS_COLOURS):
            dashed = "--" if z is TIED and k == 1 else "-"
            axes.semilogx(dial, p[:, k], dashed, color=colour, label=f"logit {z[k]:g}", linewidth=2)
        axes.axhline(0.25, color=GREY, linewidth=1, linestyle=":")
        axes.set(title=title, xlabel="temperature T", ylabel="probability", ylim=(-0.03, 1.03))
        axes.legend(frameon=False)
    for z, label, colour in ((LOGITS, "logits 2, 1, 0, -1", GREY), (TIED, "2, 2, 0, -1", RED)):
        grid[2].semilogx(
            dial, [entropy(z, t).item() for t in dial], color=colour, label=label, linewidth=2
        )
    for level, name in ((0, "0"), (np.log(2), "log 2"), (np.log(4), "log 4")):
        grid[2].axhline(level, color=GREY, linewidth=1, linestyle=":")
        grid[2].text(0.011, level + 0.03, name, color=GREY)
    grid[2].set(title="the entropy only rises", xlabel="temperature T", ylabel="entropy (nats)")
    grid[2].legend(frameon=False, loc="lower right")
    lecture.save(figure, out, "temperature")


def draw_soft(names: Sequence[str], title: str, out: Path, file: str) -> None:
    """Draw hard functions and their soft forms, and below them their derivatives."""
    figure, grid = lecture.axes(2, len(names), size=(3.4, 2.1), sharex=True)
    for (above, below), name in zip(grid.T, names, strict=True):
        for f, colour, width, label in zip(
            FORMS[name], (GREY, GREEN), (4, 1.8), ("hard", "soft"), strict=True
        ):
            above.plot(SPAN, f(SPAN).data, color=colour, linewidth=width, label=label)
            below.plot(SPAN, slope(f), color=colour, linewidth=width)
        above.set_title(name)
        below.set_xlabel("x")
        for axes in (above, below):
            axes.locator_params(nbins=4)
    grid[0, 0].set_ylabel("value")
    grid[1, 0].set_ylabel("derivative")
    grid[0, 0].legend(frameon=False)
    figure.suptitle(title)
    lecture.save(figure, out, file)


def draw_likelihood(numbers: dict[str, Any], counts: Sequence[int], out: Path) -> None:
    """Draw the error of the fitted parameters over the number of samples."""
    figure, axes = lecture.axes(size=(5.6, 3.8))
    measured, theory = (
        [numbers[f"{what}, {n} samples"] for n in counts]
        for what in ("error of the parameters", "error by theory")
    )
    axes.loglog(counts, theory, color=GREY, linewidth=2, label="Fisher information: ∝ 1/√n")
    axes.loglog(counts, measured, "o", color=GREEN, markersize=8, label="measured")
    axes.set(
        title=f"{counts[-1] / counts[0]:.0f} times the data, 1/{measured[0] / measured[-1]:.0f} "
        "of the error",
        xlabel="samples n",
        ylabel="error of a parameter (root mean square)",
    )
    axes.legend(frameon=False)
    lecture.save(figure, out, "likelihood")


SAMPLE, LABEL = np.array([2.0, 1.0, 0.2, -1.0]), 1


def draw_gradient(out: Path) -> None:
    """Draw logits, probabilities, target and gradient of one sample as bars."""
    y_hat, target = tg.softmax(SAMPLE).data, tg.one_hot(LABEL, 4).data
    derived = tg.grad(lambda z: tg.cross_entropy(z, LABEL))(SAMPLE).data
    figure, grid = lecture.axes(1, 4, size=(3.1, 3.2))
    for axes, bars, title in zip(
        grid,
        (SAMPLE, y_hat, target, derived),
        ("logits z", "probabilities y_hat", "target y", "gradient = y_hat - y"),
        strict=True,
    ):
        colours = [GREEN if k == LABEL else GREY for k in range(4)]
        drawn_bars = axes.bar(range(4), bars, color=colours)
        axes.bar_label(drawn_bars, fmt="%.2f", padding=2)
        axes.axhline(0, color="#333333", linewidth=0.8)
        axes.set(title=title, xlabel="class", xticks=range(4))
        axes.margins(y=0.16)
    for axes in grid[1:]:
        axes.set_ylim(-0.95, 1.15)
    lecture.save(figure, out, "gradient")


def draw_safety(out: Path) -> None:
    """Draw the loss over the margin: the naive one ends where exp or log gives up."""
    figure, (left, right) = lecture.axes(1, 2, size=(5, 3.5))
    for axes, margin in ((left, np.linspace(0, 100, 801)), (right, np.linspace(-1000, 0, 801))):
        careful, plain = careful_loss(margin), naive_loss(margin)
        axes.plot(margin, careful, color=GREEN, linewidth=5, alpha=0.5, label="tg.cross_entropy")
        shown = np.where(np.isfinite(plain) & (plain > 0), plain, np.nan)
        axes.plot(margin, shown, color=RED, linewidth=1.5, label="-log(exp(z) / sum(exp(z)))")
        last = np.flatnonzero(np.isfinite(shown))[-1 if axes is left else 0]
        axes.plot(margin[last], shown[last], "x", color=RED, markersize=9, markeredgewidth=2)
    left.set_yscale("log")
    left.set(
        title="sure and right: the naive loss becomes 0",
        xlabel="logit of the label less the other",
        ylabel="loss (nats)",
    )
    right.set(
        title="sure and wrong: the naive loss becomes inf",
        xlabel="logit of the label less the other",
    )
    right.legend(frameon=False)
    lecture.save(figure, out, "safety")


# claims ------------------------------------------------------------------------------------------


def claims(numbers: dict[str, Any]) -> list[Claim]:
    """Work out what became of the claims."""
    return [
        *claims_on_boundaries(numbers),
        *claims_on_softness(numbers),
        *claims_on_two_classes(numbers),
        *claims_on_the_loss(numbers),
    ]


def claims_on_boundaries(n: dict[str, Any]) -> list[Claim]:
    """Claims about the plane."""
    straight = max(n[f"{s}, {NETS[0]}: of what rounding allows, most"] for s in SETS)
    line = max(n[f"{s}, {NETS[0]}: bend, most"] for s in SETS)
    curves = [n[f"{s}, {NETS[1]}: bend, least"] for s in SETS]
    shares = {s: [n[f"{s}, {net}: test accuracy, median"] for net in NETS] for s in SETS}
    gains = [n[f"{s}: gain by hidden layers, least"] for s in SETS[1:]]
    return [
        Claim(
            "Without a hidden layer the boundary between two classes is linear.",
            "the lecture",
            verdict(whole=straight <= 1),
            f"distance from a straight line at most {line:.1e} of its length, "
            f"{straight:.2g} of what rounding allows",
        ),
        Claim(
            "With hidden layers the boundaries are not linear.",
            "the lecture",
            verdict(whole=min(curves) > 0.001, part=max(curves) > 0.001),
            "distance from a straight line, share of its length, at least: "
            + ", ".join(f"{s} {c:.1%}" for s, c in zip(SETS, curves, strict=True)),
        ),
        Claim(
            "Classes that lines do not divide are told apart better with hidden layers.",
            "the lecture",
            verdict(whole=min(gains) > 0, part=max(gains) > 0),
            "median test accuracy without and with: "
            + ", ".join(f"{s} {a:.1%} and {b:.1%}" for s, (a, b) in shares.items())
            + " (lines are the best that there is for the clouds)",
        ),
    ]


def claims_on_softness(n: dict[str, Any]) -> list[Claim]:
    """Claims about hard and soft."""
    alone = n["cold: distance from the hard maximum"]
    tied = n["cold, tied: distance from the hard maximum"]
    hot, slope_error = n["hot: distance from uniform"], n["entropy: slope against variance / T^3"]
    hard, soft = (
        {name: n[f"{name}: share with a gradient, {kind}"] for name in FORMS}
        for kind in ("hard", "soft")
    )
    gained = [soft[name] > hard[name] for name in FORMS]
    ways = {way: n[f"best of five found, {way}"] for way in WAYS}
    start = n["best of five found, at the start"]
    return [
        Claim(
            "Softmax is the soft form of the hard maximum, which it becomes as T goes to 0.",
            "the lecture",
            verdict(whole=alone == 0 and tied == 0, part=alone == 0),
            f"distance at T = 0.001: {alone:g}; with two equal largest logits {tied:g}: softmax "
            "shares, the hard maximum takes the first",
        ),
        Claim(
            "As T grows softmax becomes uniform, and its entropy only rises.",
            "theory: slope Var(z) / T^3",
            verdict(
                whole=hot < 1e-6 and n["entropy: least slope along the dial"] > 0, part=hot < 1e-6
            ),
            f"distance from uniform {hot:.1e} at T = 10^6; relative error of the slope at most "
            f"{slope_error:.0e}",
        ),
        Claim(
            "A soft form passes on a gradient where the hard one has none.",
            "common advice",
            verdict(whole=all(gained), part=any(gained)),
            "share of [-2, 2] with a gradient, hard and soft: "
            + "; ".join(f"{name} {hard[name]:.0%}, {soft[name]:.0%}" for name in FORMS),
        ),
        Claim(
            "Through a hard maximum nothing is learned, through a soft form it is.",
            "common advice",
            verdict(
                whole=ways["hard maximum"] == start and min(list(ways.values())[1:]) > 0.9,
                part=ways["hard maximum"] == start,
            ),
            f"best of five found: {start:.0%} at the start, "
            + ", ".join(f"{way} {share:.0%}" for way, share in ways.items()),
        ),
    ]


def claims_on_two_classes(n: dict[str, Any]) -> list[Claim]:
    """Claims about C = 2."""
    ulps = [n[f"two classes: {what} differ, ulps"] for what in ("probabilities", "losses")]
    path, end = (n[f"two classes: {what}"] for what in (DOUBLED, EQUAL))
    return [
        Claim(
            "With two classes softmax regression is logistic regression.",
            "the lecture",
            verdict(whole=max(ulps) <= 4 and path < 1e-10, part=max(ulps) <= 4),
            f"probabilities and losses differ by at most {max(ulps):.2g} ulps; trained from one "
            f"start, logistic regression at twice the rate, weights by {path:.0e} after any step; "
            f"at the same rate by {end:.0e} at the end",
        )
    ]


DOUBLED = "largest distance on the way, rate doubled"
EQUAL = "distance at the end, same rate"


def claims_on_the_loss(n: dict[str, Any]) -> list[Claim]:
    """Claims about the loss, its gradient and its arithmetic."""
    power = n["error of the parameters: power of n"]
    share = n["gradient: distance as a share of the bound"]
    ratio = abs(n["likelihood against exp(-20 loss)"])
    shift = n["shifted by whole numbers: change"]
    safe = n["logits of 1000: distance from e / (1 + e)"]
    return [
        Claim(
            "The loss is the negative logarithm of the likelihood: to minimise it is to maximise "
            "the likelihood.",
            "the lecture",
            verdict(whole=ratio < 1e-12 and abs(power + 0.5) < 0.1, part=ratio < 1e-12),
            f"exp(-20 loss) against the product of 20 probabilities: {ratio:.0e} off; error of "
            f"fitted parameters falls as n^{power:.2f} (theory -0.5)",
        ),
        Claim(
            "The gradient of the loss by the logits is y_hat - y.",
            "the lecture",
            verdict(whole=share <= 1),
            f"the derived one is within {n['gradient: distance from y_hat - y, eps']:.2g} eps of "
            f"it, {share:.2g} of what rounding allows",
        ),
        Claim(
            "Subtracting the largest logit changes nothing but the safety.",
            "common advice",
            verdict(whole=shift == 0 and safe < 4 * EPS, part=safe < 4 * EPS),
            f"shift by whole numbers: {shift:g}; logits of 1000: {n['logits of 1000, naive']} "
            f"without, {safe:.0e} off with",
        ),
    ]


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the demo; returns the numbers that it prints."""
    options = lecture.options(__doc__, argv, name="10_softmax")
    seeds = range(options.seed, options.seed + (1 if options.fast else 5))
    numbers: dict[str, Any] = {"seeds": len(seeds)}
    planes, shown = boundaries(seeds, epochs=50 if options.fast else 200)
    numbers |= planes | temperatures() | forms()

    starts = 200 if options.fast else 1000
    numbers["best of five found, at the start"] = choose(
        "softmax", steps=0, starts=starts, seed=options.seed
    )
    for way in tqdm(WAYS, desc="choosing", unit="way", ncols=88):
        numbers[f"best of five found, {way}"] = choose(
            way, steps=500 if options.fast else 2000, starts=starts, seed=options.seed
        )

    numbers |= two_classes(options.seed)
    steps = 1000 if options.fast else 5000
    doubled, equal = (twins(factor=f, steps=steps, seed=options.seed) for f in (2, 1))
    numbers[f"two classes: {DOUBLED}"] = largest(doubled.apart())
    numbers["two classes: largest distance on the way, same rate"] = largest(equal.apart())
    numbers[f"two classes: {EQUAL}"] = float(equal.apart()[-1])
    numbers["two classes: drift of the sum of the weights"] = doubled.drift

    counts = (300, 1000, 3000) if options.fast else (300, 1000, 3000, 10_000, 30_000)
    numbers |= likelihood(counts, 8 if options.fast else 40, options.seed)
    numbers |= products(options.seed) | gradients(options.seed) | safety(options.seed)

    draw_boundaries(shown, options.out)
    draw_temperature(options.out)
    names = list(FORMS)
    draw_soft(
        names[:3],
        f"Soft forms (T = {T}): rounded where the hard one jumps or bends",
        options.out,
        "soft",
    )
    draw_soft(names[3:], "Choices: the hard one has no slope at all", options.out, "choices")
    draw_likelihood(numbers, counts, options.out)
    draw_gradient(options.out)
    draw_safety(options.out)
    lecture.report(numbers, claims(numbers), options.out)
    return numbers


if __name__ == "__main__":
    main()
