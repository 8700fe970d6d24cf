"""Which hyperparameters matter: six or eight drawn at random, and what explains the accuracy.

Many small nets learn the digits, each with values drawn at random: learning rate, number of hidden
layers, hidden units, decay of the rate and batch size; with SGD also the momentum beta, with Adam
beta1, beta2 and epsilon. Functional ANOVA (Hutter, Hoos & Leyton-Brown 2014) then divides the
variance of the accuracy among them. You will see

- how many trials do badly, and how many of those for a learning rate at an end of its range;
- the share of each, with the range over bootstrap samples of the trials;
- the same among the best quarter of the trials (PED-ANOVA, Watanabe, Bansal & Hutter 2023);
- ``importance``: the shares; ``slices``: the accuracy of every trial against each value.

    python demos/04_hyperparameters.py [--fast] [--out DIR] [--seed N]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib.ticker import NullLocator
from tqdm import tqdm

import lecture
import tinygrad_bn as tg
from tinygrad_bn import nn, tune

SHARED = {
    "learning rate": tune.log_uniform(1e-4, 1.0),
    "layers": tune.integer(1, 4),
    "units": tune.integer(16, 256, log=True),
    "decay": tune.uniform(0.0, 1.0),
    "batch size": tune.integer(16, 256, log=True),
}
SPACES = {
    "SGD": SHARED | {"beta": tune.one_minus_log_uniform(0.9, 0.999)},
    "Adam": SHARED
    | {
        "beta1": tune.one_minus_log_uniform(0.7, 0.999),
        "beta2": tune.one_minus_log_uniform(0.9, 0.9999),
        "epsilon": tune.log_uniform(1e-10, 1e-4),
    },
}
SECOND, THIRD = ("beta", "batch size", "units"), ("layers", "decay")
"""What the lecture ranks behind the learning rate, and behind that."""


def build(layers: int, units: int, seed: int) -> nn.Module:
    """Build a ReLU net from 64 pixels to 10 digits."""
    rng = np.random.default_rng(seed)
    modules: list[nn.Module] = []
    for inputs in [64, *[units] * (layers - 1)]:
        modules += [nn.Linear(inputs, units, rng=rng), nn.ReLU()]
    return nn.Sequential(*modules, nn.Linear(units, 10, rng=rng))


def optimiser(kind: str, model: nn.Module, values: Mapping[str, Any], steps: int) -> Any:
    """Return the optimiser that a trial asks for; its rate decays from epoch to epoch."""
    rate = tg.optim.inverse_time(values["learning rate"], rate=values["decay"], every=steps)
    if kind == "SGD":
        return tg.optim.SGD(model.parameters(), rate, momentum=values["beta"])
    return tg.optim.Adam(
        model.parameters(),
        rate,
        beta1=values["beta1"],
        beta2=values["beta2"],
        eps=values["epsilon"],
    )


def accuracy(kind: str, trial: tune.Trial, data: lecture.Split, epochs: int) -> float:
    """Train as a trial says; returns the share of held-out digits that are right.

    A net whose loss is no number any more can only guess: one in ten.
    """
    model = build(trial["layers"], trial["units"], trial.seed)
    steps = -(-len(data.x) // trial["batch size"])
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            nn.fit(
                model,
                (data.x, data.y),
                tg.cross_entropy,
                optimiser(kind, model, trial, steps),
                epochs,
                batch_size=trial["batch size"],
                rng=trial.seed,
                metrics={},
                progress=False,
            )
        except tg.errors.GradientError:
            return 0.1
        return nn.accuracy(nn.predict(model, data.x_test), data.y_test)


def among_the_best(result: tune.Result, names: Sequence[str]) -> dict[str, float]:
    """Return what decides whether a trial is in the best quarter, as shares."""
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(
        target_quantile=0.25, evaluate_on_local=False
    )
    found = optuna.importance.get_param_importances(result.study, evaluator=evaluator)
    return {name: float(found[_in_study(name)]) for name in names}


def _in_study(name: str) -> str:
    """Return a hyperparameter's name in the study: of a beta, 1 - beta is searched."""
    return f"1 - {name}" if name.startswith("beta") else name


def bootstrap(result: tune.Result, times: int, seed: int) -> list[dict[str, float]]:
    """Return the shares in samples of the trials, each as many, drawn with replacement."""
    rng, trials, found = np.random.default_rng(seed), result.trials, []
    for _ in tqdm(range(times), desc="bootstrap", unit="sample", ncols=88):
        drawn = [trials[i] for i in rng.integers(len(trials), size=len(trials))]
        found.append(replace(result, trials=drawn).importance())
    return found


def badly(kind: str, trials: Sequence[tune.Row]) -> dict[str, float]:
    """Return the shares of trials that do badly, and of these with a rate at an end of the range.

    An end is the lowest or the highest of the four decades.
    """
    numbers = {}
    for least in (0.9, 0.5):
        bad = [trial for trial in trials if not trial.value >= least]
        ends = [t for t in bad if not 1e-3 <= t.values["learning rate"] <= 0.1]
        name = f"{kind}: trials below {least:.0%}"
        numbers[name] = len(bad) / len(trials)
        numbers[f"{name}, of these at an end of the learning rates"] = len(ends) / max(len(bad), 1)
    return numbers


def measure(
    kind: str, result: tune.Result, times: int, seed: int
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Return the numbers of a search, and for each hyperparameter the range of its share."""
    names = list(SPACES[kind])
    samples = bootstrap(result, times, seed)
    leads = [max(sample, key=sample.__getitem__) == "learning rate" for sample in samples]
    numbers = {f"{kind}: best accuracy": result.best.value, **badly(kind, result.trials)}
    numbers[f"{kind}: samples that the learning rate leads"] = float(np.mean(leads))
    everywhere, best = result.importance(), among_the_best(result, names)
    for name in names:
        numbers[f"{kind}: {name}"] = everywhere[name]
        numbers[f"{kind}, best quarter: {name}"] = best[name]
    for a, b in [(a, b) for a in SECOND for b in THIRD if a in names]:
        ahead = np.mean([sample[a] > sample[b] for sample in samples])
        numbers[f"{kind}: samples with {a} before {b}"] = float(ahead)
    ranges = {name: tuple(np.quantile([s[name] for s in samples], (0.05, 0.95))) for name in names}
    for name, (low, high) in ranges.items():
        numbers[f"{kind}: {name}, 5 %"], numbers[f"{kind}: {name}, 95 %"] = (
            float(low),
            float(high),
        )
    return numbers, ranges


def claims(numbers: Mapping[str, Any]) -> list[lecture.Claim]:
    """Hold what the lecture says against the shares."""
    rate = [numbers[f"{kind}: learning rate"] for kind in SPACES]
    leads = [numbers[f"{kind}: samples that the learning rate leads"] for kind in SPACES]
    best = [_best(numbers, kind) for kind in SPACES]
    shares = {name: numbers[f"SGD: {name}"] for name in (*SECOND, *THIRD)}
    ahead = [numbers[f"SGD: samples with {a} before {b}"] for a in SECOND for b in THIRD]
    adam = ("beta1", "beta2", "epsilon")
    bounds = {name: numbers[f"Adam: {name}, 95 %"] for name in adam}
    among = {name: numbers[f"Adam, best quarter: {name}"] for name in adam}
    fair = 1 / len(SPACES["Adam"])
    return [
        lecture.Claim(
            "The learning rate is the most important hyperparameter.",
            "the lecture",
            lecture.verdict(whole=min(leads) >= 0.95, part=max(leads) >= 0.95),
            f"share of the variance {rate[0]:.0%} with SGD and {rate[1]:.0%} with Adam, first in "
            f"{leads[0]:.0%} and {leads[1]:.0%} of the bootstrap samples; what decides whether a "
            f"trial is in the best quarter: {best[0]} and {best[1]}",
        ),
        lecture.Claim(
            "Behind it come momentum beta, batch size and hidden units; then layers and decay.",
            "the lecture",
            lecture.verdict(whole=min(ahead) >= 0.95, part=min(ahead) > 0.05),
            f"shares with SGD: {_listed(shares)}; of the six pairs in the lecture's order, "
            f"{sum(a >= 0.95 for a in ahead)} hold in 95 % of the bootstrap samples and "
            f"{sum(a <= 0.05 for a in ahead)} are turned round",
        ),
        lecture.Claim(
            "Adam's beta1, beta2 and epsilon hardly need tuning.",
            "the lecture",
            lecture.verdict(
                whole=max([*bounds.values(), *among.values()]) < fair,
                part=max(bounds.values()) < fair,
            ),
            f"less than a fair share of {fair:.1%} each: of the variance at most {_listed(bounds)} "
            f"(95 % of samples); of being in the best quarter {_listed(among)}",
        ),
    ]


def _best(numbers: Mapping[str, Any], kind: str) -> str:
    """Return what decides most whether a trial is among the best quarter."""
    return max(SPACES[kind], key=lambda name: numbers[f"{kind}, best quarter: {name}"])


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items())


def draw_importance(
    numbers: Mapping[str, Any],
    ranges: Mapping[str, Mapping[str, tuple[float, float]]],
    out: Path,
) -> None:
    """Draw the shares as bars, with their ranges, and beside them those among the best."""
    figure, grid = lecture.axes(1, len(SPACES), size=(5.6, 3.6))
    for axes, kind in zip(grid, SPACES, strict=True):
        names = sorted(SPACES[kind], key=lambda name: numbers[f"{kind}: {name}"])
        share = [numbers[f"{kind}: {name}"] for name in names]
        best = [numbers[f"{kind}, best quarter: {name}"] for name in names]
        low, high = np.transpose([ranges[kind][name] for name in names])
        rows = np.arange(len(names))
        axes.barh(
            rows,
            share,
            0.55,
            color=lecture.BLUE,
            label="of the accuracy's variance (fANOVA)",
        )
        axes.hlines(
            rows,
            low,
            high,
            color="black",
            linewidth=1.2,
            label="90 % of bootstrap samples",
        )
        axes.plot(
            best,
            rows,
            "D",
            color=lecture.ORANGE,
            label="being in the best quarter (PED-ANOVA)",
        )
        axes.set(
            yticks=rows,
            yticklabels=names,
            title=f"with {kind}",
            xlabel="share",
            xlim=(0, None),
        )
        axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    grid[0].legend(frameon=False, loc="lower right")
    lecture.save(figure, out, "importance")


def draw_slices(results: Mapping[str, tune.Result], out: Path) -> None:
    """Draw the accuracy of every trial with SGD against each of its values."""
    trials = results["SGD"].trials
    figure, grid = lecture.axes(2, 3, size=(3.6, 2.9), sharey=True)
    for axes, name in zip(grid.ravel(), SPACES["SGD"], strict=True):
        x = np.array([trial.values[name] for trial in trials], float)
        axes.scatter(
            1 - x if name == "beta" else x,
            [trial.value for trial in trials],
            s=14,
            alpha=0.6,
            color=lecture.BLUE,
            edgecolors="none",
        )
        axes.set(xlabel=_in_study(name), ylim=(0, 1))
        _scale(axes, name)
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy, held out")
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    figure.suptitle("Every trial with SGD: only the learning rate shows where to look")
    lecture.save(figure, out, "slices")


def _scale(axes: Any, name: str) -> None:
    """Give an axis the scale on which its hyperparameter was drawn, and plain labels."""
    if name in ("learning rate", "units", "batch size", "beta"):
        axes.set_xscale("log")
    if name in ("units", "batch size"):
        axes.set_xticks([16, 32, 64, 128, 256], labels=["16", "32", "64", "128", "256"])
        axes.xaxis.set_minor_locator(NullLocator())
    if name == "layers":
        axes.set_xticks([1, 2, 3, 4])


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the demo; returns the numbers that it prints."""
    options = lecture.options(__doc__, argv, name="04_hyperparameters")
    trials, epochs, times = (64, 2, 3) if options.fast else (160, 6, 16)
    data = lecture.digits(options.seed)
    numbers: dict[str, Any] = {"trials": trials, "epochs": epochs}
    results, ranges = {}, {}
    for kind, space in SPACES.items():
        results[kind] = tune.random_search(
            lambda trial, kind=kind: accuracy(kind, trial, data, epochs),
            space,
            trials=trials,
            seed=options.seed,
            direction="maximize",
            name=kind,
        )
        found, ranges[kind] = measure(kind, results[kind], times, options.seed)
        numbers |= found
    draw_importance(numbers, ranges, options.out)
    draw_slices(results, options.out)
    lecture.report(numbers, claims(numbers), options.out)
    return numbers


if __name__ == "__main__":
    main()
