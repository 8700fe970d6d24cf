"""Does batch norm train faster? The small experiment of Ioffe & Szegedy (2015, section 4.1).

Three hidden layers of 100 sigmoids, batches of 60, SGD, on Fashion-MNIST: each net once with batch
norm and once without, from the same weights and on the same batches, each at the learning rate that
suits it best. Three settings: small Gaussian weights as in the paper, Glorot's weights, and ReLU
with He's weights. You will see

- ``accuracy``: test accuracy over the steps, median and range over seeds;
- ``percentiles``: the 15th, 50th and 85th percentiles of what one sigmoid of the last hidden layer
  receives, over training;
- ``rates``: the accuracy after a few hundred steps for learning rates from 0.01 to 100;
- how many times fewer steps batch norm needs to the best accuracy of the net without, and (printed
  only, since it belongs to the machine) how many times longer one of its steps takes.

    python demos/08_train_faster.py [--fast] [--out DIR] [--seed N]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from tqdm import tqdm

import lecture
import tinygrad_bn as tg
from tinygrad_bn import nn

UNITS, LAYERS, BATCH = 100, 3, 60
SMALL = 0.05
"""Standard deviation of the small Gaussian weights; the paper does not state its own."""
SIDES = {"with": True, "without": False}
COLOURS = {"with": lecture.BLUE, "without": lecture.ORANGE}
PERCENTILES = (15, 50, 85)
CHANCE = 0.1
"""The accuracy of guessing one of ten classes."""

WANDERING = {"in all": 0.0, "after a tenth": 0.1}
"""Shares of training after which the distribution of an input is followed."""

Pair: TypeAlias = "dict[str, Run]"


@dataclass(frozen=True)
class Setting:
    """What is compared: initial weights and activation, for how many steps and seeds."""

    name: str
    initial: str
    activation: Callable[[Any], tg.Tensor]
    steps: int
    seeds: int


@dataclass(frozen=True)
class Plan:
    """How much is run: the settings, the rates that are tried and for how many steps."""

    settings: tuple[Setting, ...]
    rates: tuple[float, ...]
    trial: int
    every: int


FULL = Plan(
    settings=(
        Setting("small weights", "small", tg.sigmoid, steps=2000, seeds=5),
        Setting("Glorot's weights", "glorot", tg.sigmoid, steps=2000, seeds=3),
        Setting("ReLU, He's weights", "he", tg.relu, steps=600, seeds=3),
    ),
    rates=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
    trial=225,
    every=25,
)
FAST = Plan(
    settings=(
        Setting("small weights", "small", tg.sigmoid, steps=300, seeds=1),
        Setting("Glorot's weights", "glorot", tg.sigmoid, steps=300, seeds=1),
    ),
    rates=(0.3, 3.0, 30.0),
    trial=75,
    every=25,
)


class Net(nn.Module):
    """Hidden layers of one width, each with batch norm (and then no bias) or without."""

    def __init__(self, inputs: int, setting: Setting, seed: int, *, batch_norm: bool) -> None:
        rng = np.random.default_rng(seed)
        self.activation = setting.activation
        self.hidden = [
            _linear(inputs if i == 0 else UNITS, UNITS, setting, rng, bias=not batch_norm)
            for i in range(LAYERS)
        ]
        self.norms = [nn.BatchNorm(UNITS, dtype=np.float32) for _ in self.hidden * batch_norm]
        self.head = _linear(UNITS, 10, setting, rng)

    def last_input(self, x: Any) -> tg.Tensor:
        """Compute what the activations of the last hidden layer receive, (N, UNITS)."""
        z = self._layer(0, x)
        for i in range(1, LAYERS):
            z = self._layer(i, self.activation(z))
        return z

    def _layer(self, i: int, x: Any) -> tg.Tensor:
        z = self.hidden[i](x)
        return self.norms[i](z) if self.norms else z

    def forward(self, x: Any) -> tg.Tensor:
        """Map (N, inputs) to logits (N, 10)."""
        return self.head(self.activation(self.last_input(x)))


def _linear(
    inputs: int, outputs: int, setting: Setting, rng: np.random.Generator, *, bias: bool = True
) -> nn.Linear:
    initial = "he" if setting.initial == "he" else "glorot"
    layer = nn.Linear(inputs, outputs, bias=bias, initial=initial, rng=rng, dtype=np.float32)
    if setting.initial == "small":
        layer.weight.assign(rng.normal(0, SMALL, (outputs, inputs)).astype(np.float32))
    return layer


@dataclass
class Run:
    """What happened in one training, one entry per look at the samples that are not trained on."""

    steps: list[int] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    percentiles: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def end(self) -> float:
        """The mean accuracy of the last three looks."""
        return float(np.mean(self.accuracy[-3:]))

    def reaches(self, goal: float) -> float:
        """Return the first step with that accuracy; infinity if there is none."""
        hits = (s for s, a in zip(self.steps, self.accuracy, strict=True) if a >= goal)
        return next(hits, np.inf)

    def first(self, share: float) -> Run:
        """Return the same training as if it had ended after that share of its steps."""
        looks = 1 + int(share * (len(self.steps) - 1))
        return Run(self.steps[:looks], self.accuracy[:looks], self.percentiles[:looks])


def endless(x: np.ndarray, y: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Give batches, epoch after epoch, each shuffled anew."""
    rng = np.random.default_rng(seed)
    for _ in count():
        yield from tg.data.batches(x, y, size=BATCH, rng=rng, drop_last=True)


def look(run: Run, step: int, net: Net, x: np.ndarray, y: np.ndarray) -> None:
    """Note accuracy and percentiles (3, UNITS) on samples, in evaluation mode."""
    net.eval()
    with tg.no_grad():
        z = net.last_input(x)
        hits = net.head(net.activation(z)).data.argmax(axis=1) == y
    net.train()
    run.steps.append(step)
    run.accuracy.append(float(hits.mean()))
    run.percentiles.append(np.percentile(z.data, PERCENTILES, axis=0))


def train(
    net: Net, lr: float, data: lecture.Split, *, steps: int, every: int, seed: int, bar: Any
) -> Run:
    """Train by plain SGD and look at the test samples every few steps."""
    optimiser, run = tg.optim.SGD(net.parameters(), lr), Run()
    look(run, 0, net, data.x_test, data.y_test)
    for step, (x, y) in enumerate(islice(endless(data.x, data.y, seed), steps), 1):
        start = perf_counter()
        optimiser.zero_grad()
        tg.cross_entropy(net(x), y).backward()
        optimiser.step()
        run.seconds += perf_counter() - start
        if step % every == 0:
            look(run, step, net, data.x_test, data.y_test)
            bar.update(every)
    return run


def load(seed: int, *, fast: bool) -> tuple[lecture.Split, lecture.Split]:
    """Return data whose test samples choose the rates (a part of training), and the real ones."""
    data = lecture.images(seed, train=6000 if fast else None, test=1000 if fast else 2000)
    held = min(2000, len(data.x) // 5)
    x, x_held, y, y_held = tg.data.train_test_split(
        data.x.astype(np.float32), data.y, test_size=held, rng=seed, stratify=data.y
    )
    return (
        lecture.Split(x, y, x_held, y_held, data.name),
        lecture.Split(x, y, data.x_test.astype(np.float32), data.y_test, data.name),
    )


def sweep(
    plan: Plan, setting: Setting, data: lecture.Split, seed: int, bar: Any
) -> dict[str, list[float]]:
    """Return the accuracy after a short training for each side and rate."""
    found: dict[str, list[float]] = {}
    for side, batch_norm in SIDES.items():
        for lr in plan.rates:
            net = Net(data.x.shape[1], setting, seed, batch_norm=batch_norm)
            with np.errstate(over="ignore", invalid="ignore"):  # the highest rates may diverge
                run = train(net, lr, data, steps=plan.trial, every=plan.every, seed=seed, bar=bar)
            found.setdefault(side, []).append(run.end)
    return found


def compare(
    plan: Plan,
    setting: Setting,
    rates: dict[str, float],
    data: lecture.Split,
    seed: int,
    bar: Any,
) -> list[Pair]:
    """Train both sides, each at its rate, from the same weights and on the same batches."""
    pairs = []
    for s in range(seed, seed + setting.seeds):
        pair = {}
        for side, batch_norm in SIDES.items():
            net = Net(data.x.shape[1], setting, s, batch_norm=batch_norm)
            pair[side] = train(
                net, rates[side], data, steps=setting.steps, every=plan.every, seed=s, bar=bar
            )
        pairs.append(pair)
    return pairs


# numbers -----------------------------------------------------------------------------------------


def speedup(pair: Pair, share: float = 1.0) -> float:
    """Steps to the plain net's best accuracy, without over with; 0 if batch norm misses it.

    ``share``: as if both trainings had ended after that share of their steps.
    """
    with_, without = (pair[side].first(share) for side in SIDES)
    goal = max(without.accuracy)
    return without.reaches(goal) / with_.reaches(goal)


def wandering(run: Run, *, after: float = 0.0) -> float:
    """How far the median of a unit's input wanders, in widths of its distribution.

    Range of the median over training, over the mean distance of the outer percentiles: the middle
    one of all units. ``after``: the share of training that is left out, from its start.
    """
    values = np.stack(run.percentiles)[1 + int(after * len(run.percentiles)) :]
    width = (values[:, 2] - values[:, 0]).mean(axis=0)
    return float(np.median(np.ptp(values[:, 1], axis=0) / width))


def highest(accuracies: list[float], rates: Sequence[float]) -> float:
    """Return the highest rate that survives: half as far above chance as the best, or more."""
    floor = (max(accuracies) + CHANCE) / 2
    return max(r for r, a in zip(rates, accuracies, strict=True) if a >= floor)


def measure(
    name: str, plan: Plan, tried: dict[str, list[float]], pairs: list[Pair]
) -> dict[str, float]:
    """Return the numbers of a setting."""
    ratios = [speedup(pair) for pair in pairs]
    numbers: dict[str, float] = {
        f"{name}: times fewer steps, median": float(np.median(ratios)),
        f"{name}: times fewer steps, least": min(ratios),
        f"{name}: times fewer steps, most": max(ratios),
        f"{name}: times fewer steps, median by half-time": float(
            np.median([speedup(pair, 0.5) for pair in pairs])
        ),
    }
    for side in SIDES:
        ends = [pair[side].end for pair in pairs]
        numbers[f"{name}: best rate {side}"] = plan.rates[int(np.argmax(tried[side]))]
        numbers[f"{name}: highest rate that survives {side}"] = highest(tried[side], plan.rates)
        numbers[f"{name}: accuracy {side}"] = float(np.median(ends))
        for when, after in WANDERING.items():
            far = [wandering(pair[side], after=after) for pair in pairs]
            numbers[f"{name}: wandering {when} {side}"] = float(np.median(far))
    return numbers


def claims(numbers: dict[str, float]) -> list[lecture.Claim]:
    """Judge the claims of the paper by the numbers."""
    paper = "Ioffe & Szegedy 2015, section 4.1"
    return [
        _faster(numbers, "small weights", "with small initial weights", paper),
        _faster(numbers, "Glorot's weights", "with Glorot's initial weights too", "asked here"),
        *(
            [_faster(numbers, "ReLU, He's weights", "with ReLU and He's weights too", "asked here")]
            if "ReLU, He's weights: accuracy with" in numbers
            else []
        ),
        _careless(numbers),
        _rates(numbers),
        _stable(numbers, paper),
    ]


def _faster(numbers: dict[str, float], name: str, words: str, source: str) -> lecture.Claim:
    middle, least, most, half = (
        numbers[f"{name}: times fewer steps, {which}"]
        for which in ("median", "least", "most", "median by half-time")
    )
    return lecture.Claim(
        f"A net of three hidden layers reaches the plain net's best accuracy in fewer steps with "
        f"batch norm, {words}.",
        source,
        lecture.verdict(whole=least > 1, part=middle > 1),
        f"{middle:.1f} times fewer steps ({least:.1f} to {most:.1f} over seeds; had both been "
        f"trained half as long, {half:.1f}), each at its best rate; accuracy at the end "
        f"{numbers[f'{name}: accuracy with']:.1%} with, {numbers[f'{name}: accuracy without']:.1%} "
        "without",
    )


def _careless(numbers: dict[str, float]) -> lecture.Claim:
    loss = {
        side: numbers[f"Glorot's weights: accuracy {side}"]
        - numbers[f"small weights: accuracy {side}"]
        for side in SIDES
    }
    return lecture.Claim(
        "With batch norm one may be less careful about the initial weights.",
        "Ioffe & Szegedy 2015, abstract",
        lecture.verdict(
            whole=loss["with"] < loss["without"] / 2, part=loss["with"] < loss["without"]
        ),
        f"small in place of Glorot's weights cost {100 * loss['with']:.1f} points of accuracy with "
        f"batch norm, {100 * loss['without']:.1f} without",
    )


def _rates(numbers: dict[str, float]) -> lecture.Claim:
    names = sorted({name.split(":")[0] for name in numbers})
    top = {
        name: [numbers[f"{name}: highest rate that survives {side}"] for side in SIDES]
        for name in names
    }
    gains = [with_ / without for with_, without in top.values()]
    return lecture.Claim(
        "Batch norm survives learning rates that are too high for the plain net.",
        "Ioffe & Szegedy 2015, section 3.3",
        lecture.verdict(whole=min(gains) > 1, part=max(gains) > 1),
        "highest rate at which a net gets half as far above chance as at its best rate: "
        + "; ".join(f"{name} {a:g} with, {b:g} without" for name, (a, b) in top.items()),
    )


def _stable(numbers: dict[str, float], paper: str) -> lecture.Claim:
    far = {
        when: [numbers[f"small weights: wandering {when} {side}"] for side in SIDES]
        for when in WANDERING
    }
    calmer = [with_ < without for with_, without in far.values()]
    return lecture.Claim(
        "Batch norm keeps the distribution of a sigmoid's input more stable over training.",
        paper,
        lecture.verdict(whole=all(calmer), part=any(calmer)),
        "the median of a unit's input wanders, in widths (15th to 85th percentile) of its "
        "distribution: "
        + "; ".join(f"{when} {a:.2f} with, {b:.2f} without" for when, (a, b) in far.items()),
    )


# pictures ----------------------------------------------------------------------------------------


def draw_accuracy(
    runs: dict[str, list[Pair]], numbers: dict[str, float], data: str, out: Path
) -> None:
    """Draw test accuracy over steps, median and range over seeds."""
    figure, grid = lecture.axes(1, len(runs), size=(3.5, 3.2), sharey=True)
    for axes, (name, pairs) in zip(grid, runs.items(), strict=True):
        for side, colour in COLOURS.items():
            curves = np.array([pair[side].accuracy for pair in pairs])
            steps = pairs[0][side].steps
            axes.plot(steps, np.median(curves, axis=0), color=colour, label=f"{side} batch norm")
            axes.fill_between(steps, curves.min(0), curves.max(0), color=colour, alpha=0.25, lw=0)
        goal = np.median([max(pair["without"].accuracy) for pair in pairs])
        axes.axhline(goal, color=lecture.GREY, lw=1, ls="--", label="best without")
        ratio = numbers[f"{name}: times fewer steps, median"]
        axes.set(title=f"{name}:\n{ratio:.1f} times fewer steps", xlabel="step")
    grid[0].set(ylabel=f"test accuracy, {data}", ylim=(0, 1))
    grid[0].yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    grid[0].legend(frameon=False, loc="lower right")
    lecture.save(figure, out, "accuracy")


def draw_percentiles(pair: Pair, out: Path) -> None:
    """Draw the percentiles of the first unit's input over training, as in the paper's figure."""
    figure, grid = lecture.axes(1, 2, size=(5.2, 3.8), sharey=True)
    for axes, side in zip(grid, ("without", "with"), strict=True):
        low, middle, high = np.stack(pair[side].percentiles)[:, :, 0].T
        steps, colour = pair[side].steps, COLOURS[side]
        axes.fill_between(steps, low, high, color=colour, alpha=0.25, lw=0)
        axes.plot(steps, middle, color=colour)
        for line, name in ((low, "15th"), (middle, "50th"), (high, "85th percentile")):
            axes.annotate(name, (steps[-1], line[-1]), xytext=(4, -3), textcoords="offset points")
        axes.set(
            title=f"{side} batch norm: wanders {wandering(pair[side]):.2f} widths",
            xlabel="step",
        )
    grid[0].set(ylabel="input to one sigmoid of the last layer")
    lecture.save(figure, out, "percentiles")


def draw_rates(
    plan: Plan, tried: dict[str, dict[str, list[float]]], numbers: dict[str, float], out: Path
) -> None:
    """Draw accuracy against the learning rate, with the best and the highest that survives."""
    figure, grid = lecture.axes(1, len(tried), size=(3.5, 3.2), sharey=True)
    for axes, (name, sides) in zip(grid, tried.items(), strict=True):
        top = []
        for side, colour in COLOURS.items():
            axes.semilogx(plan.rates, sides[side], "o-", color=colour, label=f"{side} batch norm")
            best = int(np.argmax(sides[side]))
            axes.plot(plan.rates[best], sides[side][best], "o", ms=12, mfc="none", color=colour)
            top.append(numbers[f"{name}: highest rate that survives {side}"])
        axes.set(
            title=f"{name}: up to {top[0]:g} with,\nup to {top[1]:g} without",
            xlabel="learning rate",
        )
    grid[0].set(ylabel=f"held-out accuracy after {plan.trial} steps", ylim=(0, 1))
    grid[0].yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    grid[0].legend(frameon=False, loc="center left")
    lecture.save(figure, out, "rates")


def print_times(runs: dict[str, list[Pair]]) -> None:
    """Print what a step costs, and what the fewer steps then mean in time."""
    for name, pairs in runs.items():
        cost = np.median([pair["with"].seconds / pair["without"].seconds for pair in pairs])
        ratio = np.median([speedup(pair) for pair in pairs])
        print(
            f"{name}: a step with batch norm takes {cost:.1f} times as long here, so that "
            f"{ratio:.1f} times fewer steps are {ratio / cost:.1f} times less time"
        )


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the demo; returns the numbers that it prints."""
    options = lecture.options(__doc__, argv, name="08_train_faster")
    plan = FAST if options.fast else FULL
    choosing, data = load(options.seed, fast=options.fast)
    numbers: dict[str, float] = {}
    tried, runs = {}, {}
    total = sum(2 * len(plan.rates) * plan.trial + 2 * s.steps * s.seeds for s in plan.settings)
    with tqdm(total=total, unit="step", ncols=88) as bar:
        for setting in plan.settings:
            bar.set_description(setting.name)
            tried[setting.name] = sweep(plan, setting, choosing, options.seed, bar)
            best = {s: plan.rates[int(np.argmax(a))] for s, a in tried[setting.name].items()}
            runs[setting.name] = compare(plan, setting, best, data, options.seed, bar)
            numbers |= measure(setting.name, plan, tried[setting.name], runs[setting.name])
    draw_accuracy(runs, numbers, data.name, options.out)
    draw_percentiles(runs["small weights"][0], options.out)
    draw_rates(plan, tried, numbers, options.out)
    print_times(runs)
    lecture.report(numbers, claims(numbers), options.out)
    return numbers


if __name__ == "__main__":
    main()
