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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import lecture
import tinygrad_bn as tg
from lecture import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, Claim
from tinygrad_bn import nn, optim, tune
from tinygrad_bn.errors import GradientError

LOW, HIGH = 1e-4, 1.0
DECADES = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
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

    epochs: int
    budget: int
    repeats: int
    rounds: int
    trials: int
    seeds: int
    machines: int


FAST = Size(epochs=2, budget=8, repeats=2, rounds=2, trials=8, seeds=1, machines=4)
FULL = Size(epochs=5, budget=8, repeats=8, rounds=3, trials=10, seeds=5, machines=6)


# training ----------------------------------------------------------------------------------------


def fit(
    data: lecture.Split,
    kind: str,
    settings: Mapping[str, float],
    epochs: int,
    seed: int,
    watch: Callable[[optim.Optimiser], Any],
) -> nn.History:
    """Train the net 64-32-10 by nn.fit, and measure it on unseen digits after each epoch.

    A rate that is far too large may make the loss infinite, at which fit ends with an error.
    """
    rng = np.random.default_rng(seed)
    model = nn.Sequential(nn.Linear(64, 32, rng=rng), nn.ReLU(), nn.Linear(32, 10, rng=rng))
    optimizer = OPTIMISERS[kind](model.parameters(), **settings)
    with np.errstate(over="ignore", invalid="ignore"):
        return nn.fit(
            model,
            (data.x, data.y),
            tg.cross_entropy,
            optimizer,
            epochs,
            batch_size=64,
            rng=rng,
            drop_last=True,
            validation=(data.x_test, data.y_test),
            on_step=watch(optimizer),
            progress=False,
        )


def trained(trial: tune.Trial, kind: str, data: lecture.Split, epochs: int, seed: int) -> float:
    """Train a net with the trial's settings; its value is the loss of unseen digits, or nan."""
    settings = {"momentum" if name == "beta" else name: value for name, value in trial.items()}

    def tell(step: int, numbers: dict[str, float]) -> None:
        if "validation loss" in numbers:
            trial.report(numbers["validation loss"], step)

    try:
        history = fit(data, kind, settings, epochs, seed, watch=lambda optimizer: tell)
        return history.epochs[-1]["validation loss"]
    except GradientError:
        return float("nan")


def objective(kind: str, data: lecture.Split, epochs: int, seed: int) -> Any:
    """Return what a search calls; other processes can import it."""
    return functools.partial(trained, kind=kind, data=data, epochs=epochs, seed=seed)


def quiet(seed: int) -> dict[str, Any]:
    """Return the options of every search here: less is better, one bar for all of them."""
    return {"seed": seed, "direction": "minimize", "progress": False}


def readable(*panels: Any) -> None:
    """Write the numbers of logarithmic axes upwards as decimals."""
    for panel in panels:
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.yaxis.set_minor_formatter(
            lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else ""
        )


# uniform and log-uniform -------------------------------------------------------------------------


def scales(data: lecture.Split, size: Size, seed: int) -> dict[str, dict[str, list[tune.Result]]]:
    """Search the learning rate alone, with the same small budget, again and again."""
    found: dict[str, dict[str, list[tune.Result]]] = {
        k: {s: [] for s in SCALES} for k in OPTIMISERS
    }
    bar = tqdm(range(size.repeats), desc="uniform, log-uniform", unit="repeat", ncols=88)
    for own in (seed + repeat for repeat in bar):
        for kind, results in found.items():
            aim = objective(kind, data, size.epochs, own)
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
            numbers[f"{kind}, {scale}: best loss over repeats"] = (
                f"{min(best):.3f} to {max(best):.3f}"
            )
            numbers[f"{kind}, {scale}: median best rate"] = float(
                np.median([one.best.values["lr"] for one in some])
            )
        pairs = zip(results["log-uniform"], results["uniform"], strict=True)
        numbers[f"{kind}: repeats in which log-uniform found better"] = sum(
            log.best.value < plain.best.value for log, plain in pairs
        )
        numbers[f"{kind}: repeats"] = len(results["uniform"])
    return numbers


def best_rate(results: Mapping[str, list[tune.Result]]) -> float:
    """Return the learning rate of the best trial of all."""
    best = min((one.best for some in results.values() for one in some), key=lambda row: row.value)
    return float(best.values["lr"])


def draw_scales(
    found: dict[str, dict[str, list[tune.Result]]], out: Path, seed: int, budget: int
) -> None:
    """Draw where the trials fall, what each is worth, and what the best of a budget is."""
    figure, panels = lecture.axes(1, 3, size=(4.4, 3.8))
    names = [f"{low:g}\nto {high:g}" for low, high in pairwise(DECADES)]
    for shift, (scale, space) in zip((-0.2, 0.2), SCALES.items(), strict=True):
        bars = panels[0].bar(
            np.arange(4) + shift, per_decade(space, seed), 0.38, color=SHADES[scale], label=scale
        )
        panels[0].bar_label(bars, fmt="{:.0%}", fontsize=8)
    last = per_decade(SCALES["uniform"], seed)[-1]
    panels[0].set_title(f"uniform: {last:.0%} in the last decade")
    panels[0].set(xlabel="learning rate", ylabel="share of draws")
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
    wanted = (f"{kind} {best_rate(some):.2g}" for kind, some in found.items())
    panels[1].set(
        title="best rate: " + ", ".join(wanted),
        xlabel="learning rate",
        ylabel="cross-entropy of unseen digits",
        ylim=(0.08, 20),
    )
    panels[1].legend(frameon=False, loc="lower left")
    draw_best(panels[2], found, budget)
    readable(panels[1], panels[2])
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
        aim, space = objective("Adam", data, size.epochs, own), shifted(repeat, size.repeats)
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
    """Draw nine trials of either kind, the learning rates that they try, and what they find."""
    figure, panels = lecture.axes(1, 3, size=(4.4, 3.8))
    for panel, (name, some), colour in zip(panels, found.items(), (GREY, GREEN), strict=False):
        rates = [row.values["lr"] for row in some[0].trials]
        panel.loglog(rates, [row.values["eps"] for row in some[0].trials], "o", color=colour)
        for rate in set(rates):
            panel.axvline(rate, color=colour, linewidth=0.8, alpha=0.5)
        panel.set(
            xlim=(1e-5, 1),
            ylim=(4e-11, 3e-6),
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
    readable(panels[2])
    lecture.save(figure, out, "grid")


# beta --------------------------------------------------------------------------------------------

STEP = 0.0005


def beta_losses(data: lecture.Split, size: Size, seed: int) -> dict[float, list[float]]:
    """Train with betas at either end, and a small step further.

    Long enough for a mean over a thousand steps to be one: about as many steps are taken.
    """
    found: dict[float, list[float]] = {b: [] for b in (0.9, 0.9 + STEP, 0.999, 0.999 + STEP)}
    for own in tqdm(range(seed, seed + min(size.seeds, 3)), desc="beta", unit="seed", ncols=88):
        for beta, losses in found.items():
            trial = tune.Trial(0, own, {"lr": 0.001, "beta": beta})
            losses.append(trained(trial, "gradient descent", data, 48 if size is FULL else 24, own))
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
    steps = [
        numbers[k.replace("relative change of the loss", "steps averaged over")] for k in names
    ]
    bars = right.bar(range(2), [numbers[k] for k in names], 0.5, color=[GREY, RED])
    right.bar_label(bars, fmt="{:.1%}")
    right.set(title=f"what a step of {STEP} does to the loss", ylabel="relative change")
    ends = [k.split(":")[0].removeprefix("beta from ") for k in names]
    right.set_xticks(range(2), [f"{e}\n({s} steps)" for e, s in zip(ends, steps, strict=True)])
    right.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    lecture.save(figure, out, "beta")


# coarse to fine ----------------------------------------------------------------------------------


def zooms(data: lecture.Split, size: Size, seed: int) -> dict[str, list[tune.Result]]:
    """Search learning rate and beta from coarse to fine, and with as many random trials."""
    found: dict[str, list[tune.Result]] = {"coarse to fine": [], "one round, random": []}
    for own in tqdm(range(seed, seed + size.seeds), desc="coarse to fine", unit="seed", ncols=88):
        aim = objective("gradient descent", data, size.epochs, own)
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
        numbers[f"{name}: best loss over seeds"] = f"{min(best):.3f} to {max(best):.3f}"
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
    readable(right)
    lecture.save(figure, out, "boxes")


# panda and caviar --------------------------------------------------------------------------------

GUESS = {"lr": tune.log_uniform(LOW, HIGH)}


def bold_driver(optimizer: optim.Optimiser) -> Any:
    """Look at the loss of unseen digits after each epoch: worse, halve the rate; else raise it.

    By a fifth. Source: Battiti (1989).
    """
    last = float("inf")

    def look(step: int, numbers: dict[str, float]) -> None:
        nonlocal last
        if "validation loss" in numbers:
            optimizer.lr *= 1.2 if numbers["validation loss"] < last else 0.5
            last = numbers["validation loss"]

    return look


@dataclass
class Animals:
    """One watched model and many side by side, from the same learning rates.

    ``panda``: one model for ``machines`` times the epochs; ``steps``: as many models as machines,
    which together take as many steps; ``hours``: the same, each as long as the panda.
    """

    panda: nn.History
    steps: tune.Result
    hours: tune.Result


def animals(data: lecture.Split, size: Size, seed: int) -> list[Animals]:
    """Train a panda and caviar for each seed; the panda begins with the rate of the first roe."""
    found = []
    long = size.machines * size.epochs
    for own in tqdm(range(seed, seed + size.seeds), desc="panda, caviar", unit="seed", ncols=88):
        steps, hours = (
            tune.random_search(
                objective("Adam", data, epochs, own), GUESS, size.machines, **quiet(own)
            )
            for epochs in (size.epochs, long)
        )
        first = steps.trials[0].values
        found.append(Animals(fit(data, "Adam", first, long, own, watch=bold_driver), steps, hours))
    return found


def same_table(data: lecture.Split, size: Size, seed: int) -> bool:
    """Say whether two processes find the same trials as one, to the last bit."""
    aim = objective("gradient descent", data, size.epochs, seed)
    one, two = (
        tune.random_search(aim, PLANE, size.machines, workers=workers, **quiet(seed))
        for workers in (1, 2)
    )
    return one.trials == two.trials and one.table() == two.table()


def animal_losses(found: Sequence[Animals]) -> dict[str, list[float]]:
    """Return the last loss of each way, over the seeds."""
    return {
        "left alone": [each.hours.trials[0].value for each in found],
        "panda": [each.panda.epochs[-1]["validation loss"] for each in found],
        "caviar, as many steps": [each.steps.best.value for each in found],
        "caviar, as long": [each.hours.best.value for each in found],
    }


def animal_numbers(found: Sequence[Animals], size: Size) -> dict[str, Any]:
    """Return medians and ranges over the seeds, and who did better how often."""
    losses = animal_losses(found)
    numbers: dict[str, Any] = {"models side by side": size.machines}
    for name, values in losses.items():
        numbers[f"{name}: median loss"] = float(np.median(values))
        numbers[f"{name}: loss over seeds"] = f"{min(values):.3f} to {max(values):.3f}"
    for better, worse in (
        ("panda", "left alone"),
        ("panda", "caviar, as many steps"),
        ("caviar, as long", "panda"),
    ):
        pairs = zip(losses[better], losses[worse], strict=True)
        numbers[f"seeds in which {better} beat {worse}"] = sum(a < b for a, b in pairs)
    numbers["panda: changes of the rate, first seed"] = len(found[0].panda.changes)
    return numbers


def draw_animals(found: Sequence[Animals], out: Path) -> None:
    """Draw the first seed's models, the panda's learning rate, and where all seeds end."""
    figure, panels = lecture.axes(1, 3, size=(4.3, 3.6))
    first = found[0]
    best = first.hours.best.index
    for row in first.hours.trials:
        colour, label = (GREEN, "the best of them") if row.index == best else (GREY, None)
        curve = list(row.reports.values())
        epochs = np.arange(1, len(curve) + 1)
        panels[0].semilogy(epochs, curve, color=colour, linewidth=1, label=label)
    watched = [row["validation loss"] for row in first.panda.epochs]
    panels[0].semilogy(epochs, watched, color=ORANGE, linewidth=2, label="the panda")
    panels[0].set(
        title="one watched, the others left alone",
        xlabel="epoch",
        ylabel="cross-entropy of unseen digits",
        ylim=(0.06, 10),
    )
    panels[0].legend(frameon=False)
    for each in found:
        panels[1].semilogy(each.panda["lr"], color=ORANGE, linewidth=1)
    panels[1].set(title="the pandas' learning rates", xlabel="step", ylabel="learning rate")
    losses = animal_losses(found)
    for place, (values, colour) in enumerate(
        zip(losses.values(), (GREY, ORANGE, BLUE, GREEN), strict=True)
    ):
        spread = place + np.linspace(-0.12, 0.12, len(values))
        panels[2].semilogy(spread, values, "o", color=colour, alpha=0.7, markersize=5)
        panels[2].plot([place - 0.3, place + 0.3], [np.median(values)] * 2, color=colour)
    names = [name.replace(", ", ",\n").replace(" alone", "\nalone") for name in losses]
    panels[2].set_xticks(range(len(losses)), names, fontsize=8)
    panels[2].set(title="where they end, each seed", ylabel="cross-entropy of unseen digits")
    readable(panels[0], panels[2])
    lecture.save(figure, out, "panda")


# the whole ---------------------------------------------------------------------------------------


def verdict(wins: int, of: int) -> lecture.Verdict:
    """Return yes for four of five or more, no for half or less."""
    return "yes" if wins >= 0.8 * of else "no" if wins <= 0.5 * of else "partly"


def worst(*verdicts: lecture.Verdict) -> lecture.Verdict:
    """Return what all agree on; partly if they do not."""
    return verdicts[0] if len(set(verdicts)) == 1 else "partly"


def claims(n: Mapping[str, Any]) -> list[Claim]:
    """Judge the lecture's sentences by the numbers."""
    last = n["uniform: share of draws from 0.1 to 1"]
    each = n["log-uniform: share of draws from 0.1 to 1"]
    scale_wins = {k: n[f"{k}: repeats in which log-uniform found better"] for k in OPTIMISERS}
    nine = n["random: learning rates among 9 trials"] == 9
    low, high = (
        n[f"beta from {b} to {b + STEP:g}: relative change of the loss"] for b in (0.9, 0.999)
    )
    seeds = n["seeds"]
    alone, roe, long = (
        n[f"seeds in which {a} beat {b}"]
        for a, b in (
            ("panda", "left alone"),
            ("panda", "caviar, as many steps"),
            ("caviar, as long", "panda"),
        )
    )
    return [
        Claim(
            "Of learning rates drawn uniformly from 0.0001 to 1, about 90 % lie between 0.1 and 1; "
            "on a log scale each decade gets a quarter",
            "the lecture",
            "yes" if abs(last - 0.9) < 0.02 and abs(each - 0.25) < 0.02 else "no",
            f"{last:.1%} and {each:.1%} of 10,000 draws",
        ),
        Claim(
            "A search on the log scale finds a better learning rate with the same budget",
            "the lecture",
            worst(*(verdict(wins, n[f"{k}: repeats"]) for k, wins in scale_wins.items())),
            "; ".join(
                f"{k}: median best loss {n[f'{k}, log-uniform: median best loss']:.3f} against "
                f"{n[f'{k}, uniform: median best loss']:.3f}, better in {wins} of "
                f"{n[f'{k}: repeats']}"
                for k, wins in scale_wins.items()
            ),
        ),
        Claim(
            "Of nine trials a grid tries three values of the setting that matters, random search "
            "nine, and it finds better",
            "the lecture; Bergstra & Bengio 2012",
            verdict(
                n["repeats in which random found better than the grid"],
                n["repeats of grid and random"],
            )
            if nine
            else "no",
            f"median best loss {n['random: median best loss']:.3f} against "
            f"{n['grid: median best loss']:.3f}; random better in "
            f"{n['repeats in which random found better than the grid']} of "
            f"{n['repeats of grid and random']}",
        ),
        Claim(
            f"Near 1 beta is sensitive: a step of {STEP} changes little at 0.9, and much at 0.999",
            "the lecture",
            lecture.verdict(whole=high > 10 * low, part=high > low),
            f"the loss changes by {low:.1%} and by {high:.1%}",
        ),
        Claim(
            "Going from coarse to fine finds better than spending the same trials at once",
            "the lecture",
            verdict(n["seeds in which coarse to fine found better"], seeds),
            f"median best loss {n['coarse to fine: median best loss']:.3f} "
            f"({n['coarse to fine: best loss over seeds']}) against "
            f"{n['one round, random: median best loss']:.3f} "
            f"({n['one round, random: best loss over seeds']}); better in "
            f"{n['seeds in which coarse to fine found better']} of {seeds} seeds",
        ),
        Claim(
            "Watching one model and adjusting its rate (panda) pays when there is no capacity for "
            "many: better than leaving it alone, and than many short trainings of as many steps",
            "the lecture",
            worst(verdict(alone, seeds), verdict(roe, seeds)),
            f"median loss {n['panda: median loss']:.3f}, left alone "
            f"{n['left alone: median loss']:.3f}, as many steps in short trainings "
            f"{n['caviar, as many steps: median loss']:.3f}; better in {alone} and in {roe} of "
            f"{seeds} seeds",
        ),
        Claim(
            "With capacity for many models at once, training them side by side (caviar) finds "
            "better than watching one",
            "the lecture",
            verdict(long, seeds),
            f"median loss of the best of {n['models side by side']} "
            f"{n['caviar, as long: median loss']:.3f} ({n['caviar, as long: loss over seeds']}) "
            f"against {n['panda: median loss']:.3f} ({n['panda: loss over seeds']}); better in "
            f"{long} of {seeds} seeds",
        ),
        Claim(
            "One seed gives the same trials for any number of workers",
            "this library",
            "yes" if n["one and two processes found the same trials"] else "no",
            f"{n['models side by side']} trials by one process and by two, equal to the last bit",
        ),
    ]


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the demo; returns the numbers that it prints."""
    options = lecture.options(__doc__ or "", argv, name="05_log_scale")
    size = FAST if options.fast else FULL
    seed, out = options.seed, options.out
    data = lecture.digits(seed)

    scaled = scales(data, size, seed)
    numbers = scale_numbers(scaled, seed)
    draw_scales(scaled, out, seed, size.budget)
    gridded = grids(data, size, seed)
    numbers |= grid_numbers(gridded)
    draw_grids(gridded, out)
    betas = beta_numbers(beta_losses(data, size, seed), seed)
    numbers |= betas
    draw_beta(betas, out, seed)
    zoomed = zooms(data, size, seed)
    numbers |= zoom_numbers(zoomed)
    draw_zooms(zoomed, out)
    tried = animals(data, size, seed)
    numbers |= animal_numbers(tried, size)
    draw_animals(tried, out)
    numbers["one and two processes found the same trials"] = same_table(data, size, seed)

    lecture.report(numbers, claims(numbers), out)
    return numbers


if __name__ == "__main__":
    main()
