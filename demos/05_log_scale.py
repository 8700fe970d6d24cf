"""Search on a log scale: where trials fall, what they find, how to zoom; panda and caviar.

Handwritten digits, a net 64-32-10, a hundred steps a trial; the value of a trial is the
cross-entropy of digits that it was not trained on. What is compared starts from the same weights
and sees the same batches. You will see

- ``decades``: learning rates from 0.0001 to 1, drawn uniformly and log-uniformly: where they fall,
  and the best that eight trials find, for Adam and for plain gradient descent;
- ``grid``: nine trials on a grid of the learning rate and an unimportant setting (Adam's epsilon)
  against nine random ones;
- ``beta``: momentum's beta, drawn uniformly and on the log scale of 1 - beta, and what a step of
  0.0005 does to it at either end;
- ``boxes``: coarse to fine over the learning rate and beta, against as many random trials;
- ``panda``: one model that is watched, its learning rate adjusted while it trains, against many
  that train side by side; and that two processes find the very trials that one finds.

    python demos/05_log_scale.py [--fast] [--out DIR] [--seed N]
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import lecture
import tinygrad_bn as tg
from lecture import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, Claim
from tinygrad_bn import nn, optim, tune

LOW, HIGH = 1e-4, 1.0
DECADES = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
BATCH = 64
SCALES = {"uniform": tune.uniform(LOW, HIGH), "log-uniform": tune.log_uniform(LOW, HIGH)}
SHADES = {"uniform": GREY, "log-uniform": GREEN}
OPTIMISERS = {"Adam": optim.Adam, "gradient descent": optim.SGD}
BETAS = {
    "uniform": tune.uniform(0.9, 0.999),
    "log-uniform in 1 - beta": tune.one_minus_log_uniform(0.9, 0.999),
}
PLANE = {"lr": tune.log_uniform(LOW, HIGH), "beta": tune.one_minus_log_uniform(0.9, 0.999)}


@dataclass(frozen=True)
class Size:
    """How large the experiments are."""

    steps: int
    budget: int
    repeats: int
    rounds: int
    trials: int
    seeds: int
    machines: int
    long: int


FAST = Size(steps=50, budget=8, repeats=3, rounds=2, trials=8, seeds=1, machines=4, long=200)
FULL = Size(steps=100, budget=8, repeats=10, rounds=3, trials=12, seeds=5, machines=8, long=800)


# training ----------------------------------------------------------------------------------------


def net(seed: int) -> nn.Sequential:
    """Build the net 64-32-10."""
    rng = np.random.default_rng(seed)
    return nn.Sequential(nn.Linear(64, 32, rng=rng), nn.ReLU(), nn.Linear(32, 10, rng=rng))


def held_out(model: nn.Module, data: lecture.Split) -> float:
    """Cross-entropy of the test samples."""
    with tg.no_grad():
        return tg.cross_entropy(model(data.x_test), data.y_test).item()


def train(
    model: nn.Module, optimiser: optim.Optimiser, data: lecture.Split, steps: int, seed: int
) -> Any:
    """Train, and give the step after each epoch and at the end: there one may look, and change."""
    rng, step = np.random.default_rng(seed), 0
    while True:
        for x, y in tg.data.batches(data.x, data.y, size=BATCH, rng=rng, drop_last=True):
            optimiser.zero_grad()
            tg.cross_entropy(model(x), y).backward()
            optimiser.step()
            step += 1
            if step == steps:
                yield step
                return
        yield step


def trained(
    trial: Mapping[str, float], kind: str, data: lecture.Split, steps: int, seed: int
) -> float:
    """Train a net with the trial's settings; its value is what is lost on unseen digits.

    Rates that are far too large overflow; the search counts what is not a number as the worst.
    """
    settings = {"momentum" if k == "beta" else k: v for k, v in trial.items() if k != "lr"}
    model = net(seed)
    optimiser = OPTIMISERS[kind](model.parameters(), trial["lr"], **settings)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in train(model, optimiser, data, steps, seed):
            pass
        return held_out(model, data)


def objective(kind: str, data: lecture.Split, steps: int, seed: int) -> tune.trials.Objective:
    """Return what a search calls: processes can import it."""
    return functools.partial(trained, kind=kind, data=data, steps=steps, seed=seed)


def quiet(seed: int) -> dict[str, Any]:
    """Return the options of every search here: less is better, one bar for all of them."""
    return {"seed": seed, "direction": "minimize", "progress": False}


# uniform and log-uniform -------------------------------------------------------------------------


def scales(data: lecture.Split, size: Size, seed: int) -> dict[str, dict[str, list[tune.Result]]]:
    """Search the learning rate alone, with the same small budget, again and again."""
    found: dict[str, dict[str, list[tune.Result]]] = {k: {s: [] for s in SCALES} for k in OPTIMISERS}
    bar = tqdm(range(size.repeats), desc="uniform, log-uniform", unit="repeat", ncols=88)
    for own in (seed + repeat for repeat in bar):
        for kind, results in found.items():
            aim = objective(kind, data, size.steps, own)
            for scale, space in SCALES.items():
                one = tune.random_search(aim, {"lr": space}, size.budget, **quiet(own))
                results[scale].append(one)
    return found


def per_decade(space: tune.Space, seed: int) -> list[float]:
    """Return the share of 10,000 draws in each decade."""
    rng = np.random.default_rng(seed)
    counts, _ = np.histogram([space.sample(rng) for _ in range(10_000)], DECADES)
    return (counts / counts.sum()).tolist()


def scale_numbers(found: dict[str, dict[str, list[tune.Result]]], seed: int) -> dict[str, Any]:
    """Return shares per decade, and the median over the repeats of the best value."""
    numbers: dict[str, Any] = {}
    for scale, space in SCALES.items():
        numbers[f"{scale}: share of draws from 0.1 to 1"] = per_decade(space, seed)[-1]
    for kind, results in found.items():
        for scale, some in results.items():
            best = [one.best.value for one in some]
            numbers[f"{kind}, {scale}: median best loss"] = float(np.median(best))
            numbers[f"{kind}, {scale}: median best rate"] = float(
                np.median([one.best.values["lr"] for one in some])
            )
        pairs = zip(results["log-uniform"], results["uniform"], strict=True)
        numbers[f"{kind}: repeats in which log-uniform found better"] = sum(
            log.best.value < plain.best.value for log, plain in pairs
        )
        numbers[f"{kind}: repeats"] = len(results["uniform"])
    return numbers


def draw_scales(
    found: dict[str, dict[str, list[tune.Result]]], out: Path, seed: int, budget: int
) -> None:
    """Draw where the trials fall, what each is worth, and what the best of a budget is."""
    figure, panels = lecture.axes(1, 3, size=(4.4, 3.8))
    names = [f"{low:g}\nto {high:g}" for low, high in zip(DECADES[:-1], DECADES[1:], strict=True)]
    for shift, (scale, space) in zip((-0.2, 0.2), SCALES.items(), strict=True):
        bars = panels[0].bar(
            np.arange(4) + shift, per_decade(space, seed), 0.38, color=SHADES[scale], label=scale
        )
        panels[0].bar_label(bars, fmt="{:.0%}", fontsize=8)
    panels[0].set(title="where 10,000 draws fall", xlabel="learning rate", ylabel="share of draws")
    panels[0].set_xticks(range(4), names)
    panels[0].yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    panels[0].legend(frameon=False)
    for kind, colour in zip(found, (PURPLE, ORANGE), strict=True):
        rows = [row for some in found[kind].values() for one in some for row in one.trials]
        panels[1].loglog(
            [row.values["lr"] for row in rows],
            [row.value for row in rows],
            "o",
            color=colour,
            markersize=3,
            alpha=0.6,
            label=kind,
        )
    panels[1].set(
        title="what a learning rate is worth",
        xlabel="learning rate",
        ylabel="cross-entropy of unseen digits",
        ylim=(0.08, 20),
    )
    panels[1].legend(frameon=False)
    draw_best(panels[2], found, budget)
    lecture.save(figure, out, "decades")


def draw_best(panel: Any, found: dict[str, dict[str, list[tune.Result]]], budget: int) -> None:
    """Draw the best value of each search, and the median of each kind of search."""
    labels = []
    for place, (kind, scale) in enumerate((k, s) for k in found for s in SCALES):
        best = [one.best.value for one in found[kind][scale]]
        spread = place + np.linspace(-0.15, 0.15, len(best))
        panel.semilogy(spread, best, "o", color=SHADES[scale], alpha=0.6, markersize=4)
        panel.plot([place - 0.3, place + 0.3], [np.median(best)] * 2, color=SHADES[scale])
        labels.append(f"{kind}\n{scale}")
    panel.set_xticks(range(len(labels)), labels, fontsize=7)
    panel.set(title=f"the best of {budget} trials", ylabel="cross-entropy of unseen digits")


# grid and random ---------------------------------------------------------------------------------


def shifted(repeat: int, repeats: int) -> dict[str, tune.Space]:
    """Four decades of the learning rate, at another place in each repeat; and Adam's epsilon.

    Over the repeats the range moves by two decades, the distance of a grid's points: no part of it
    lies luckily at the best rate every time.
    """
    factor = 10.0 ** (2 * (repeat + 0.5) / repeats - 1)
    lr = tune.log_uniform(LOW * factor, HIGH * factor)
    return {"lr": lr, "eps": tune.log_uniform(1e-10, 1e-6)}


def grids(data: lecture.Split, size: Size, seed: int) -> dict[str, list[tune.Result]]:
    """Spend nine trials on a grid, and nine on random points."""
    found: dict[str, list[tune.Result]] = {"grid": [], "random": []}
    for repeat in tqdm(range(size.repeats), desc="grid, random", unit="repeat", ncols=88):
        own = seed + repeat
        aim, space = objective("Adam", data, size.steps, own), shifted(repeat, size.repeats)
        found["grid"].append(tune.grid_search(aim, space, 3, **quiet(own)))
        found["random"].append(tune.random_search(aim, space, 9, **quiet(own)))
    return found


def spread_over(result: tune.Result, name: str) -> float:
    """Return by what factor the loss differs along one dimension of a grid, the others held."""
    others = [k for k in result.trials[0].values if k != name]
    lines: dict[Any, list[float]] = {}
    for row in result.trials:
        lines.setdefault(tuple(row.values[k] for k in others), []).append(row.value)
    return float(np.nanmax([np.nanmax(line) / np.nanmin(line) for line in lines.values()]))


def grid_numbers(found: dict[str, list[tune.Result]]) -> dict[str, Any]:
    """Return distinct rates tried, the median best, and how much each setting matters."""
    numbers: dict[str, Any] = {}
    for name, some in found.items():
        rates = {row.values["lr"] for row in some[0].trials}
        numbers[f"{name}: learning rates among 9 trials"] = len(rates)
        numbers[f"{name}: median best loss"] = float(np.median([one.best.value for one in some]))
    pairs = zip(found["random"], found["grid"], strict=True)
    numbers["repeats in which random found better than the grid"] = sum(
        random.best.value < grid.best.value for random, grid in pairs
    )
    numbers["repeats of grid and random"] = len(found["grid"])
    for name, called in (("lr", "learning rate"), ("eps", "epsilon")):
        factors = [spread_over(one, name) for one in found["grid"]]
        numbers[f"largest over smallest loss along the {called}"] = float(np.median(factors))
    return numbers


def draw_grids(found: dict[str, list[tune.Result]], out: Path) -> None:
    """Draw nine trials of either kind, with the learning rates that they try; and what they find."""
    figure, panels = lecture.axes(1, 3, size=(4.4, 3.8))
    for panel, (name, some), colour in zip(panels, found.items(), (GREY, GREEN), strict=False):
        rates = [row.values["lr"] for row in some[0].trials]
        panel.loglog(rates, [row.values["eps"] for row in some[0].trials], "o", color=colour)
        for rate in set(rates):
            panel.axvline(rate, color=colour, linewidth=0.8, alpha=0.5)
        panel.set(
            title=f"{name}: 9 trials, {len(set(rates))} learning rates",
            xlabel="learning rate (matters)",
            ylabel="epsilon (does not)",
        )
    pairs = list(zip(found["grid"], found["random"], strict=True))
    for grid, random in pairs:
        colour = GREEN if random.best.value < grid.best.value else GREY
        ends = [grid.best.value, random.best.value]
        panels[2].semilogy([0, 1], ends, "o-", color=colour, alpha=0.7, linewidth=1)
    better = sum(random.best.value < grid.best.value for grid, random in pairs)
    panels[2].set(
        title=f"random found better in {better} of {len(pairs)}",
        ylabel="cross-entropy of unseen digits",
        xlim=(-0.3, 1.3),
    )
    panels[2].set_xticks([0, 1], ["best of the grid", "best of random"])
    lecture.save(figure, out, "grid")


# beta --------------------------------------------------------------------------------------------

STEP = 0.0005


def beta_losses(data: lecture.Split, size: Size, seed: int) -> dict[float, list[float]]:
    """Train with betas at either end, and a small step further; a rate that suits them all."""
    found: dict[float, list[float]] = {b: [] for b in (0.9, 0.9 + STEP, 0.999, 0.999 + STEP)}
    for own in tqdm(range(seed, seed + size.seeds), desc="beta", unit="seed", ncols=88):
        for beta, losses in found.items():
            trial = {"lr": 0.001, "beta": beta}
            losses.append(trained(trial, "gradient descent", data, 2 * size.steps, own))
    return found


def beta_numbers(losses: dict[float, list[float]], seed: int) -> dict[str, Any]:
    """Return where betas fall, over how many steps they average, and what a step does."""
    numbers: dict[str, Any] = {}
    rng = np.random.default_rng(seed)
    for name, space in BETAS.items():
        draws = np.array([space.sample(rng) for _ in range(10_000)])
        numbers[f"beta, {name}: share of draws above 0.99"] = float((draws > 0.99).mean())
    for beta in (0.9, 0.999):
        before, after = (np.array(losses[b]) for b in (beta, beta + STEP))
        change = np.median(np.abs(after - before) / before)
        numbers[f"beta from {beta} to {beta + STEP:g}: steps averaged over"] = (
            f"{1 / (1 - beta):.2f} to {1 / (1 - beta - STEP):.2f}"
        )
        numbers[f"beta from {beta} to {beta + STEP:g}: relative change of the loss"] = float(change)
    return numbers


def draw_beta(numbers: Mapping[str, Any], out: Path, seed: int) -> None:
    """Draw where betas fall on the scale of 1 - beta, and what a small step does."""
    figure, (left, right) = lecture.axes(1, 2, size=(4.8, 3.6))
    rng, bins = np.random.default_rng(seed), np.geomspace(0.001, 0.1, 21)
    for (name, space), colour in zip(BETAS.items(), (GREY, GREEN), strict=True):
        draws = [1 - space.sample(rng) for _ in range(10_000)]
        left.hist(draws, bins, color=colour, alpha=0.6, label=name)
    left.set(title="where 10,000 betas fall", xlabel="1 - beta", ylabel="draws", xscale="log")
    left.invert_xaxis()
    left.set_xticks([0.1, 0.01, 0.001], ["0.1\n(beta 0.9)", "0.01\n(0.99)", "0.001\n(0.999)"])
    left.legend(frameon=False)
    names = [k for k in numbers if k.endswith("relative change of the loss")]
    steps = [numbers[k.replace("relative change of the loss", "steps averaged over")] for k in names]
    bars = right.bar(range(2), [numbers[k] for k in names], 0.5, color=[GREY, RED])
    right.bar_label(bars, fmt="{:.2%}")
    right.set(title=f"what a step of {STEP} does to the loss", ylabel="relative change")
    ends = [k.split(":")[0].removeprefix("beta from ") for k in names]
    right.set_xticks(
        range(2), [f"{e}\n({s} steps)" for e, s in zip(ends, steps, strict=True)]
    )
    right.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    lecture.save(figure, out, "beta")


# coarse to fine ----------------------------------------------------------------------------------


def zooms(data: lecture.Split, size: Size, seed: int) -> dict[str, list[tune.Result]]:
    """Search learning rate and beta from coarse to fine, and with as many random trials."""
    found: dict[str, list[tune.Result]] = {"coarse to fine": [], "one round, random": []}
    for own in tqdm(range(seed, seed + size.seeds), desc="coarse to fine", unit="seed", ncols=88):
        aim = objective("gradient descent", data, size.steps, own)
        found["coarse to fine"].append(
            tune.coarse_to_fine(aim, PLANE, size.rounds, size.trials, 0.4, **quiet(own))
        )
        found["one round, random"].append(
            tune.random_search(aim, PLANE, size.rounds * size.trials, **quiet(own))
        )
    return found


def zoom_numbers(found: dict[str, list[tune.Result]]) -> dict[str, Any]:
    """Return what each found, over the seeds."""
    numbers: dict[str, Any] = {}
    for name, some in found.items():
        best = [one.best.value for one in some]
        numbers[f"{name}: median best loss"] = float(np.median(best))
        numbers[f"{name}: best loss over seeds"] = f"{min(best):.4f} to {max(best):.4f}"
    pairs = zip(*found.values(), strict=True)
    numbers["seeds in which coarse to fine found better"] = sum(
        zoomed.best.value < flat.best.value for zoomed, flat in pairs
    )
    numbers["seeds"] = len(found["coarse to fine"])
    return numbers


def draw_zooms(found: dict[str, list[tune.Result]], out: Path) -> None:
    """Draw the boxes of the first seed, and the best so far over the trials of all seeds."""
    figure, (left, right) = lecture.axes(1, 2, size=(5.6, 4.2))
    result = found["coarse to fine"][0]
    rows = [row for row in result.trials if np.isfinite(row.value)]
    points = left.scatter(
        [row.values["lr"] for row in rows],
        [1 - row.values["beta"] for row in rows],
        c=np.log10([row.value for row in rows]),
        cmap="viridis_r",
        vmax=0.5,
        s=22,
        zorder=3,
    )
    for number, box in enumerate(result.boxes):
        (a, b), (c, d) = box["lr"], (1 - beta for beta in box["beta"])
        left.fill([a, b, b, a], [c, c, d, d], facecolor="none", edgecolor=GREY, linewidth=1.4)
        left.annotate(
            f"round {number + 1}", (a, d), xytext=(3, 3), textcoords="offset points", fontsize=8
        )
    best = result.best.values
    left.plot(best["lr"], 1 - best["beta"], "*", color=RED, markersize=13, zorder=4)
    left.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="1 - beta")
    left.set_title("each round looks about the best so far (star)")
    figure.colorbar(points, ax=left, label="log10 of the loss", extend="max")
    for (name, some), colour in zip(found.items(), (GREEN, GREY), strict=True):
        values = np.array([[row.value for row in one.trials] for one in some])
        path = np.fmin.accumulate(values, axis=1)
        at = np.arange(1, path.shape[1] + 1)
        right.fill_between(at, path.min(0), path.max(0), color=colour, alpha=0.15, linewidth=0)
        right.semilogy(at, np.median(path, axis=0), color=colour, label=name)
    right.set(
        title="best loss so far: median and range over seeds",
        xlabel="trials",
        ylabel="cross-entropy of unseen digits",
        ylim=(0.08, 3),
    )
    right.legend(frameon=False)
    lecture.save(figure, out, "boxes")


# panda and caviar --------------------------------------------------------------------------------


@dataclass
class Watched:
    """What happened to a model that was watched: at each look the step, the loss, the rate."""

    steps: list[int]
    losses: list[float]
    rates: list[float]


def panda(lr: float, data: lecture.Split, steps: int, seed: int) -> Watched:
    """Train one model and look after each epoch: got worse, halve the rate; else raise it a fifth.

    The rule is known as the bold driver (Battiti 1989), here applied to the loss of unseen digits.
    """
    model, rate = net(seed), [lr]
    optimiser = optim.Adam(model.parameters(), lambda step: rate[0])
    seen = Watched([0], [held_out(model, data)], [lr])
    with np.errstate(over="ignore", invalid="ignore"):
        for step in train(model, optimiser, data, steps, seed):
            loss = held_out(model, data)
            rate[0] *= 1.2 if loss < seen.losses[-1] else 0.5
            for column, value in zip(
                (seen.steps, seen.losses, seen.rates), (step, loss, rate[0]), strict=True
            ):
                column.append(value)
    return seen
