"""Normalised inputs: round contours, larger steps, fewer of them.

A linear regression on scikit-learn's diabetes data (442 patients, ten features in their own units)
has a quadratic loss, so its Hessian says everything about gradient descent on it. You will see

- ``contours``: the loss over the weights of two features, and the path of gradient descent, before
  and after standardising;
- ``spectrum``: the eigenvalues of the Hessian with all ten features and the bias: as they are,
  centred, standardised, whitened;
- ``steps``: how far from its minimum the loss is after so many steps, measured and computed;
- ``hidden``: the same measure for the last layer of a deep net, with batch norm and without;
- the largest stable learning rate against 2 / (the largest eigenvalue), the test error with the
  scaling of the training set, with none and with the test set's own, and what a leak does.

    python demos/06_normalise_inputs.py [--fast] [--out DIR] [--seed N]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from tqdm import tqdm

import lecture
import tinygrad_bn as tg
from lecture import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, Claim

SETS = ("diabetes", "wine", "breast_cancer")
WAYS = ("raw", "centred", "standardised", "whitened")
COLOUR = dict(zip(WAYS, (RED, PURPLE, GREEN, GREY), strict=True))
PAIR = ("bmi", "s5")
GOAL = 1e-3
"""The share of the gap at the start that may be left."""
DEPTHS = (1, 2, 3, 4, 5)


def load(name: str) -> Any:
    """Load a set of scikit-learn in the units in which it was measured."""
    units = {"scaled": False} if name == "diabetes" else {}
    return getattr(datasets, f"load_{name}")(**units)


def split(seed: int, name: str = "diabetes") -> list[np.ndarray]:
    """Return x, x_test, y, y_test; y in standard deviations of the training set from its mean."""
    data = load(name)
    x, x_test, y, y_test = tg.data.train_test_split(data.data, data.target, rng=seed)
    scale = tg.data.Standardizer().fit(y[:, None])
    return [x, x_test, scale.transform(y[:, None])[:, 0], scale.transform(y_test[:, None])[:, 0]]


def transform(way: str, x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what prepares features in a way, by the statistics of ``x``."""
    scale = tg.data.Standardizer().fit(x)
    if way == "raw":
        return np.asarray
    if way == "centred":
        return lambda a: a - scale.mean
    if way == "standardised":
        return scale.transform
    values, vectors = np.linalg.eigh(np.cov(scale.transform(x).T, bias=True))
    return lambda a: scale.transform(a) @ vectors / np.sqrt(values)


def with_bias(x: np.ndarray) -> np.ndarray:
    """Append the 1 that the bias multiplies."""
    return np.column_stack([x, np.ones(len(x))])


@dataclass
class Problem:
    """A least-squares problem: the mean squared error of ``inputs @ theta`` from ``y``."""

    inputs: np.ndarray
    y: np.ndarray

    def __post_init__(self) -> None:
        """Find the Hessian, which is the same everywhere, its spectrum, and the minimum."""
        self.hessian = tg.hessian(self.loss)(np.zeros(self.inputs.shape[1])).data
        self.eigenvalues, self.vectors = np.linalg.eigh(self.hessian)
        self.best = np.linalg.lstsq(self.inputs, self.y, rcond=None)[0]
        self.least = self.loss(self.best).item()

    def loss(self, theta: Any) -> tg.Tensor:
        """Return the mean squared error."""
        return tg.mse_loss(tg.matmul(self.inputs, theta), self.y)

    @property
    def condition(self) -> float:
        """The ratio of the largest curvature to the smallest."""
        return float(self.eigenvalues[-1] / self.eigenvalues[0])

    @property
    def limit(self) -> float:
        """The learning rate above which gradient descent diverges, by theory."""
        return float(2 / self.eigenvalues[-1])

    @property
    def rate(self) -> float:
        """The best constant learning rate, by theory: both ends of the spectrum shrink alike."""
        return float(2 / (self.eigenvalues[-1] + self.eigenvalues[0]))

    def gaps(self, steps: Any, rate: float) -> np.ndarray:
        """Compute the gap to the minimum after so many steps from 0, from the spectrum alone."""
        along = self.vectors.T @ self.best
        shrunk = (1 - rate * self.eigenvalues) ** (2.0 * np.atleast_1d(steps)[:, None])
        return (shrunk * self.eigenvalues * along**2).sum(1) / 2

    def steps_to_goal(self) -> int:
        """Compute the first step after which the share of the gap that is left is the goal's."""
        low, high, goal = 0, 10**12, GOAL * self.gaps(0, self.rate)[0]
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.gaps(middle, self.rate)[0] <= goal else (middle, high)
        return high

    def descend(self, rate: float, steps: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
        """Run gradient descent from 0; returns the points and the losses there.

        It ends early where the loss has become a million times that of the start, or where less
        than a billionth of the gap to the minimum is left.
        """
        slope, theta = tg.value_and_grad(self.loss), np.zeros(self.inputs.shape[1])
        points, losses = [], []
        for _ in steps:
            value, gradient = slope(theta)
            points.append(theta)
            losses.append(value.item())
            gap, first = losses[-1] - self.least, losses[0] - self.least
            if not 1e-9 * first < gap < 1e6 * first:
                break
            theta = theta - rate * gradient.data
        return np.array(points), np.array(losses)


def problem(way: str, x: np.ndarray, y: np.ndarray) -> Problem:
    """Return the regression on features prepared in a way."""
    return Problem(with_bias(transform(way, x)(x)), y)


def edge(of: Problem, steps: int) -> float:
    """Measure the largest stable rate, as a multiple of the theory's, by bisection to 0.4 %."""
    low, high = 0.5, 1.5
    while high - low > 0.004:
        middle = (low + high) / 2
        losses = of.descend(middle * of.limit, range(steps))[1]
        low, high = (middle, high) if losses[-1] <= losses[0] else (low, middle)
    return (low + high) / 2


def pair(seed: int) -> dict[str, Problem]:
    """Return the regression on two centred features, as they are and standardised, without bias."""
    x, _, y, _ = split(seed)
    columns = [load("diabetes").feature_names.index(name) for name in PAIR]
    x = x[:, columns]
    return {way: Problem(transform(way, x)(x), y) for way in ("centred", "standardised")}


# what is measured ---------------------------------------------------------------------------------


def conditions(seeds: Sequence[int]) -> dict[str, float]:
    """Measure the condition number of each set in each way: median and range over the splits."""
    numbers = {}
    for name in tqdm(SETS, desc="condition numbers", unit="set", ncols=88):
        for way in WAYS:
            found = []
            for seed in seeds:
                x, _, y, _ = split(seed, name)
                found.append(problem(way, x, y).condition)
            numbers[f"condition number, {name}, {way}"] = float(np.median(found))
            numbers[f"condition number, {name}, {way}, least"] = min(found)
            numbers[f"condition number, {name}, {way}, most"] = max(found)
    return numbers


def rates(problems: dict[str, Problem], steps: int) -> dict[str, float]:
    """Measure the largest stable learning rates beside the theory's."""
    numbers = {}
    for way in tqdm(("raw", "centred", "standardised"), desc="stable rates", ncols=88):
        of = problems[way]
        numbers[f"largest stable rate, {way}"] = edge(of, steps) * of.limit
        numbers[f"2 / largest eigenvalue, {way}"] = of.limit
    return numbers


def descents(problems: dict[str, Problem], steps: int) -> dict[str, np.ndarray]:
    """Run gradient descent at the best constant rate of each; returns gaps as shares."""
    shares = {}
    for way in ("raw", "centred", "standardised"):
        of = problems[way]
        bar = tqdm(range(steps), desc=f"descent, {way}", ncols=88, mininterval=0.5)
        gaps = of.descend(of.rate, bar)[1] - of.least
        shares[way] = gaps / gaps[0]
    return shares


def steps_of(problems: dict[str, Problem], shares: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the steps to the goal, run (None if not reached) and computed, and their agreement."""
    numbers: dict[str, Any] = {}
    for way, share in shares.items():
        reached = np.flatnonzero(share <= GOAL)
        numbers[f"steps, run, {way}"] = int(reached[0]) if len(reached) else None
        numbers[f"steps, computed, {way}"] = problems[way].steps_to_goal()
        numbers[f"share left at the end of the run, {way}"] = float(share[-1])
        computed = problems[way].gaps(np.arange(len(share)), problems[way].rate)
        seen = share > 1e-9  # below, the difference of the losses is rounding
        off = np.abs(share / (computed / computed[0]) - 1)[seen]
        numbers[f"worst deviation of run from computed, {way}"] = float(off.max())
    return numbers


def errors_at_test(seed: int) -> dict[str, float]:
    """Fit on standardised training features; test with the same scaling, with none, with its own.

    In fives, the test set arrives in groups of five patients, each scaled by its own mean and
    deviation; one by one, that leaves nothing but zeros.
    """
    x, x_test, y, y_test = split(seed)
    scale = tg.data.Standardizer().fit(x)
    theta = Problem(with_bias(scale.transform(x)), y).best

    def error(rows: np.ndarray, target: np.ndarray) -> float:
        return float(np.mean((with_bias(rows) @ theta - target) ** 2))

    def own(rows: np.ndarray) -> np.ndarray:
        return tg.data.Standardizer().fit_transform(rows)

    def grouped(size: int) -> np.ndarray:
        return np.concatenate([own(x_test[i : i + size]) for i in range(0, len(x_test), size)])

    heavy = x_test[:, 2] > np.median(x_test[:, 2])
    return {
        "same": error(scale.transform(x_test), y_test),
        "none": error(x_test, y_test),
        "own, all at once": error(own(x_test), y_test),
        "own, in fives": error(grouped(5), y_test),
        "own, one by one": error(grouped(1), y_test),
        "heavier half, same": error(scale.transform(x_test[heavy]), y_test[heavy]),
        "heavier half, own": error(own(x_test[heavy]), y_test[heavy]),
    }


def leak(seed: int, steps: int = 20) -> float:
    """Return by what share the test error changes if the test samples are measured too.

    The regression is stopped after a few steps: at the minimum no scaling changes what a linear
    model predicts.
    """
    x, x_test, y, y_test = split(seed)
    errors = []
    for measured in (x, np.concatenate([x, x_test])):
        scale = tg.data.Standardizer().fit(measured)
        of = Problem(with_bias(scale.transform(x)), y)
        theta = of.descend(of.limit / 2, range(steps + 1))[0][-1]
        errors.append(np.mean((with_bias(scale.transform(x_test)) @ theta - y_test) ** 2))
    return float(errors[1] / errors[0] - 1)


def constant_feature(seed: int) -> float:
    """Return the largest gradient that the weight of a feature constant in training has."""
    x, _, y, _ = split(seed)
    x = np.column_stack([x, np.full(len(x), 1e10 / 3)])
    of = Problem(with_bias(tg.data.Standardizer().fit_transform(x)), y)
    slope, rng = tg.grad(of.loss), np.random.default_rng(seed)
    theta = rng.normal(size=(8, of.inputs.shape[1]))
    return max(abs(slope(point).data[-2]) for point in theta)


def hidden(seed: int, depth: int, *, batch_norm: bool, width: int = 8) -> float:
    """Return the condition number for the last layer above hidden layers of sigmoids.

    Random weights as a new ``Linear`` has them, standardised inputs; with batch norm before each
    sigmoid, or without.
    """
    x, _, y, _ = split(seed)
    rng, values = np.random.default_rng(seed), tg.data.Standardizer().fit_transform(x)
    for _ in range(depth):
        layer = tg.nn.Linear(values.shape[1], width, rng=rng)
        with tg.no_grad():
            z = layer(values)
            values = tg.sigmoid(tg.batch_norm(z) if batch_norm else z).data
    return Problem(with_bias(values), y).condition


def hidden_all(seeds: Sequence[int]) -> dict[bool, np.ndarray]:
    """Measure (depths, seeds) condition numbers, with batch norm and without."""
    bar = tqdm(DEPTHS, desc="hidden layers", unit="depth", ncols=88)
    found = [[[hidden(s, d, batch_norm=b) for s in seeds] for b in (True, False)] for d in bar]
    with_and_without = np.array(found)
    return {True: with_and_without[:, 0], False: with_and_without[:, 1]}


# pictures -----------------------------------------------------------------------------------------


def draw_contours(problems: dict[str, Problem], out: Path) -> None:
    """Draw the loss over two weights and the path of gradient descent, for both."""
    figure, both = lecture.axes(1, 2, size=(4.3, 4.1))
    for axes, (way, of) in zip(both, problems.items(), strict=True):
        points, losses = of.descend(of.rate, range(1000))
        reached = int(np.flatnonzero(losses - of.least <= GOAL * (losses[0] - of.least))[0])
        reach = 1.25 * np.abs(of.best).max()
        grid = [np.linspace(centre - reach, centre + reach, 241) for centre in of.best]
        first, second = np.meshgrid(*grid)
        away = np.stack([first - of.best[0], second - of.best[1]], -1)
        gap = (away @ of.hessian * away).sum(-1) / 2
        levels = (losses[0] - of.least) * np.geomspace(1 / 64, 16, 6)
        axes.contour(first, second, gap, levels, cmap="Greys_r", linewidths=0.9, alpha=0.8)
        axes.plot(*points[: reached + 1].T, "o-", color=COLOUR[way], markersize=3, linewidth=1.2)
        axes.plot(*of.best, "*", color="black", markersize=11)
        axes.set_title(f"{way}: {reached} steps, condition number {of.condition:.3g}")
        unit = "unit" if way == "centred" else "standard deviation"
        axes.set(
            xlabel=f"weight of {PAIR[0]}, per {unit}", ylabel=f"weight of {PAIR[1]}, per {unit}"
        )
        axes.set_aspect("equal")
        axes.locator_params(nbins=5)
    lecture.save(figure, out, "contours")


def draw_spectrum(problems: dict[str, Problem], out: Path) -> None:
    """Draw the eigenvalues of the Hessian in each way."""
    figure, axes = lecture.axes(size=(6.6, 4.0))
    for i, way in enumerate(WAYS):
        values = problems[way].eigenvalues
        axes.plot([i, i], values[[0, -1]], color=COLOUR[way], alpha=0.35, linewidth=6)
        axes.plot(np.full(len(values), i), values, "o", color=COLOUR[way], markersize=5)
        ratio = f"ratio {problems[way].condition:.2g}"
        axes.annotate(ratio, (i, values[-1]), (0, 8), textcoords="offset points", ha="center")
    axes.set_yscale("log")
    axes.set_xticks(range(len(WAYS)), WAYS)
    axes.set(ylabel="eigenvalue of the Hessian", xlim=(-0.5, 3.5))
    axes.set_ylim(top=20 * problems["raw"].eigenvalues[-1])
    axes.set_title("Each step of normalising brings the curvatures together")
    lecture.save(figure, out, "spectrum")


def draw_steps(problems: dict[str, Problem], shares: dict[str, np.ndarray], out: Path) -> None:
    """Draw the gap over the steps: the runs, and how they would go on."""
    figure, axes = lecture.axes(size=(6.6, 4.0))
    for way, share in shares.items():
        of = problems[way]
        k = np.unique(np.geomspace(1, 1.2 * of.steps_to_goal() + 10, 300).astype(np.int64))
        gaps = of.gaps(k, of.rate) / of.gaps(0, of.rate)
        axes.plot(k, gaps, ":", color=COLOUR[way], linewidth=1.4)
        axes.plot(np.arange(1, len(share)), share[1:], color=COLOUR[way], linewidth=2, label=way)
    axes.axhline(GOAL, color=GREY, linewidth=1, linestyle="--")
    axes.set(xscale="log", yscale="log", ylim=(GOAL / 3, 3))
    axes.set(xlabel="steps of gradient descent", ylabel="gap to the minimum, share of the start")
    raw, standardised = (problems[way].steps_to_goal() for way in ("raw", "standardised"))
    axes.set_title(f"{standardised:,} steps instead of {raw:,} (line: run, dots: computed)")
    axes.legend(frameon=False, loc="upper right")
    lecture.save(figure, out, "steps")


def draw_hidden(found: dict[bool, np.ndarray], out: Path) -> None:
    """Draw the condition number over the depth: medians, and the range over the seeds."""
    figure, axes = lecture.axes(size=(6.0, 3.8))
    for batch_norm, name, colour in ((True, "with", BLUE), (False, "without", ORANGE)):
        values = found[batch_norm]
        axes.fill_between(DEPTHS, values.min(1), values.max(1), color=colour, alpha=0.2, lw=0)
        label = f"{name} batch norm"
        axes.plot(DEPTHS, np.median(values, 1), "o-", color=colour, label=label)
    axes.set(yscale="log", xlabel="hidden layers of sigmoids below", xticks=DEPTHS)
    axes.set(ylabel="condition number, last layer")
    grown = {b: np.median(values[-1]) / np.median(values[0]) for b, values in found.items()}
    both = f"{grown[True]:.2g}-fold with, {grown[False]:.0e}-fold without"
    axes.set_title(f"From {DEPTHS[0]} to {DEPTHS[-1]} layers: {both}")
    axes.legend(frameon=False)
    lecture.save(figure, out, "hidden")


# what follows -------------------------------------------------------------------------------------


def claims(numbers: dict[str, Any]) -> list[Claim]:
    """Work out what became of the claims."""
    return [*claims_on_shape(numbers), *claims_on_steps(numbers), *claims_on_test(numbers)]


def claims_on_shape(n: dict[str, Any]) -> list[Claim]:
    """Claims about the contours."""
    ladders = {s: [n[f"condition number, {s}, {way}"] for way in WAYS] for s in SETS}
    least, most = ("raw, least", "standardised, most")
    falls = all(
        n[f"condition number, {s}, {most}"] < n[f"condition number, {s}, {least}"] / 10
        for s in SETS
    )
    shift = all(ladder[1] < ladder[0] / 10 for ladder in ladders.values())
    some = any(ladder[1] < ladder[0] / 10 for ladder in ladders.values())
    with_bn, without = (
        [n[f"condition number, {depth} hidden layers, {b}"] for depth in DEPTHS]
        for b in ("with", "not")
    )
    better = [w < o / 10 for w, o in zip(with_bn, without, strict=True)]
    return [
        Claim(
            "Standardised inputs make the contours of the loss rounder.",
            "the lecture",
            "yes" if falls else "no",
            "condition number of the Hessian: "
            + "; ".join(f"{s} {lad[0]:.1e} to {lad[2]:.2g}" for s, lad in ladders.items()),
        ),
        Claim(
            "Already centring the inputs takes much of the spread of the curvatures away.",
            "LeCun, Bottou, Orr & Müller 1998",
            lecture.verdict(whole=shift, part=some),
            "; ".join(f"{s} {lad[0]:.1e} to {lad[1]:.1e}" for s, lad in ladders.items()),
        ),
        Claim(
            "Normalising hidden values does for the next layer what normalised inputs do for the "
            "first.",
            "the lecture",
            lecture.verdict(whole=all(better), part=any(better)),
            "condition number for the last layer, without and with batch norm: "
            + "; ".join(
                f"above {DEPTHS[i]} hidden {without[i]:.1e} and {with_bn[i]:.1e}"
                for i in (0, 1, -1)
            ),
        ),
    ]


def claims_on_steps(n: dict[str, Any]) -> list[Claim]:
    """Claims about learning rates and steps."""
    ways = ("raw", "centred", "standardised")
    stable, theory = ([n[f"{w}, {way}"] for way in ways] for w in (STABLE, THEORY))
    close = all(abs(s / t - 1) < 0.01 for s, t in zip(stable, theory, strict=True))
    steps = [n[f"steps, computed, {way}"] for way in ways]
    return [
        Claim(
            "The largest stable learning rate is 2 / (largest eigenvalue of the Hessian).",
            "theory of gradient descent on a quadratic",
            "yes" if close else "no",
            "; ".join(
                f"{way}: {s:.4g}, theory {t:.4g}"
                for way, s, t in zip(ways, stable, theory, strict=True)
            ),
        ),
        Claim(
            "With standardised inputs a larger learning rate is stable.",
            "the lecture",
            "yes" if stable[2] > stable[0] else "no",
            f"{stable[0]:.2g} as they are, {stable[2]:.2g} standardised",
        ),
        Claim(
            "With standardised inputs gradient descent needs fewer steps.",
            "the lecture",
            "yes" if steps[2] < steps[0] else "no",
            f"{steps[0]:.2g} as they are (computed), {steps[1]:.2g} centred, "
            f"{steps[2]} standardised",
        ),
    ]


STABLE, THEORY = "largest stable rate", "2 / largest eigenvalue"


def claims_on_test(n: dict[str, Any]) -> list[Claim]:
    """Claims about what is done at test."""
    ways = ("none", "own, all at once", "own, in fives", "own, one by one")
    none, all_, fives, ones = (n[f"test error, {way}"] for way in ways)
    worse = [n[f"test error, {way}, larger in a share of splits"] > 0.9 for way in ways]
    low, high = n["test error changed by a leak, least"], n["test error changed by a leak, most"]
    flatters = lecture.verdict(whole=high < -0.01, part=high < 0)
    return [
        Claim(
            "The test set has to be scaled by the mean and variance of the training set.",
            "the lecture",
            lecture.verdict(whole=all(worse), part=any(worse)),
            f"mean squared error {n['test error, same']:.2f} so, {none:.2g} unscaled; by the test "
            f"samples' own statistics {all_:.2f} all at once, {fives:.2f} in fives, {ones:.2f} one "
            "by one",
        ),
        Claim(
            "A standardiser fitted on the test samples too flatters the test error.",
            "common advice",
            flatters,
            f"it changes by {low:+.2%} to {high:+.2%} over the splits",
        ),
    ]


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the demo; returns the numbers that it prints."""
    options = lecture.options(__doc__, argv, name="06_normalise_inputs")
    seeds = range(options.seed, options.seed + (3 if options.fast else 20))
    x, _, y, _ = split(options.seed)
    problems = {way: problem(way, x, y) for way in WAYS}
    two = pair(options.seed)

    numbers: dict[str, Any] = conditions(seeds)
    for way, of in two.items():
        numbers[f"condition number, {' and '.join(PAIR)}, {way}"] = of.condition
    numbers |= rates(problems, 300 if options.fast else 1000)
    shares = descents(problems, 2500 if options.fast else 100_000)
    numbers |= steps_of(problems, shares)
    tests = [errors_at_test(seed) for seed in seeds]
    for what in tests[0]:
        numbers[f"test error, {what}"] = float(np.median([t[what] for t in tests]))
        base = "heavier half, same" if what.startswith("heavier") else "same"
        worse = [t[what] > t[base] for t in tests]
        numbers[f"test error, {what}, larger in a share of splits"] = float(np.mean(worse))
    leaks = [leak(seed) for seed in tqdm(seeds, desc="leaks", unit="split", ncols=88)]
    numbers["test error changed by a leak, least"] = min(leaks)
    numbers["test error changed by a leak, most"] = max(leaks)
    numbers["gradient of a constant feature"] = constant_feature(options.seed)
    found = hidden_all(seeds)
    for depth, bn, plain in zip(DEPTHS, found[True], found[False], strict=True):
        numbers[f"condition number, {depth} hidden layers, with"] = float(np.median(bn))
        numbers[f"condition number, {depth} hidden layers, not"] = float(np.median(plain))

    draw_contours(two, options.out)
    draw_spectrum(problems, options.out)
    draw_steps(problems, shares, options.out)
    draw_hidden(found, options.out)
    lecture.report(numbers, claims(numbers), options.out)
    return numbers


if __name__ == "__main__":
    main()
