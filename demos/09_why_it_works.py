"""Why does batch norm work? Covariate shift and smoothness, measured as Santurkar et al. (2018) do.

Three kinds of net, each with batch norm and without, from the same weights and on the same batches,
first both at the rate that suits the plain net, then each at its own: deep sigmoids and deep ReLUs
on pictures, and a deep linear net on Gaussian data with gradients of the full batch. You will see

- ``training``: the loss of both, and of a third net with noise injected after batch norm;
- ``shift``: how much a layer's gradient turns when the layers before it are updated;
- ``landscape``: how loss and gradient vary along the gradient, over training;
- ``ratios``: every measure with over without batch norm, raw and relative to the weights' length;
- whether theorem 4.1, on the length of the gradient behind batch norm, holds.

    python demos/09_why_it_works.py [--fast] [--out DIR] [--seed N]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter
from tqdm import tqdm

import lecture
from deep_nets import NOISY, NORM, PLAIN, SETTINGS, Run, Setting, Task, load, train
from smoothness import SHIFT, SMOOTH, sides

COLOURS = {PLAIN: lecture.ORANGE, NORM: lecture.BLUE, NOISY: lecture.PURPLE}
SAME, OWN = "same rate", "own rate"
MEASURES = (*SHIFT, *SMOOTH, *(f"{name}, relative" for name in SMOOTH))
ENDS = ("", ", least", ", most")
"""How the names of a median, and of its range over seeds, end."""
EQUAL, BOUND = "theorem 4.1: deviation from equality, eps 0", "theorem 4.1: left over right, eps"
PAPER, IOFFE = "Santurkar et al. 2018", "the lecture; Ioffe & Szegedy 2015"
SMOOTHER = (
    (
        "loss range",
        "With batch norm the loss varies less along the gradient",
        f"{PAPER}, section 3",
    ),
    (
        "gradient change",
        "With batch norm the gradient changes less along itself",
        f"{PAPER}, section 3",
    ),
    (
        "beta",
        "With batch norm the effective beta, the roughness, is smaller",
        f"{PAPER}, section 3",
    ),
    (
        "top eigenvalue",
        "With batch norm the Hessian's largest eigenvalue is smaller",
        "the lecture",
    ),
)

Runs: TypeAlias = "dict[str, dict[tuple[str, str], list[Run]]]"


@dataclass(frozen=True)
class Plan:
    """How much is run: seeds, steps, points that are measured, and how rates are chosen."""

    seeds: int
    steps: int
    points: int
    trial: int
    tuning: int
    samples: int
    rates: tuple[float, ...]


FULL = Plan(5, 200, 6, trial=80, tuning=2, samples=4000, rates=(0.03, 0.1, 0.3, 1.0, 3.0, 10.0))
FAST = Plan(1, 40, 2, trial=20, tuning=1, samples=1000, rates=(0.1, 1.0))


# the experiments ---------------------------------------------------------------------------------


def best_rate(task: Task, kind: str, plan: Plan, seed: int, bar: Any) -> float:
    """Return the rate with the least loss on average over a short training, with other seeds."""
    means = []
    for rate in plan.rates:
        runs = [train(task, kind, rate, plan.trial, seed + 1000 + i) for i in range(plan.tuning)]
        means.append(np.mean([np.mean(run.loss) for run in runs]))
        bar.update()
    return plan.rates[int(np.argmin(means))]


def experiment(setting: Setting, plan: Plan, seed: int) -> dict[tuple[str, str], list[Run]]:
    """Train each kind of net at the plain net's rate and at its own; a run for each seed."""
    task = load(setting, plan.samples, seed)
    total = len(setting.kinds) * len(plan.rates) + (2 * len(setting.kinds) - 1) * plan.seeds
    found: dict[tuple[str, str], list[Run]] = {}
    with tqdm(total=total, desc=setting.name, unit="training", ncols=88) as bar:
        rates = {kind: best_rate(task, kind, plan, seed, bar) for kind in setting.kinds}
        for which, kind in product((SAME, OWN), setting.kinds):
            rate = rates[PLAIN if which == SAME else kind]
            if which == OWN and rate == rates[PLAIN]:
                found[which, kind] = found[SAME, kind]
                bar.update(plan.seeds if kind != PLAIN else 0)
                continue
            found[which, kind] = []
            for each in range(seed, seed + plan.seeds):
                found[which, kind].append(train(task, kind, rate, plan.steps, each, plan.points))
                bar.update()
    return found


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """Return median, least and largest of one value per seed."""
    return {
        name: float(np.median(values)),
        f"{name}, least": float(min(values)),
        f"{name}, most": float(max(values)),
    }


def summary(setting: Setting, runs: Mapping[tuple[str, str], list[Run]]) -> dict[str, Any]:
    """Return the numbers of a setting; ratios are those of two runs from the same seed."""
    numbers: dict[str, Any] = {}
    for which, kind in product((SAME, OWN), setting.kinds):
        name, each = f"{setting.name}, {which}, {kind}", runs[which, kind]
        numbers[f"{name}: rate"] = each[0].rate
        numbers |= spread(f"{name}: mean loss", [float(np.mean(run.loss)) for run in each])
        numbers |= spread(f"{name}: final loss", [run.loss[-1] for run in each])
        numbers |= spread(f"{name}: movement", [run.mean_of("movement") for run in each])
        for other in (PLAIN, NORM):
            pairs = zip(each, runs[which, other], strict=True)
            ratios = [float(np.mean(a.loss) / np.mean(b.loss)) for a, b in pairs]
            numbers |= spread(f"{name}: loss over {other}", ratios)
        if kind != NOISY:
            cosines = [float(np.mean(run.measured["cosine"])) for run in each]
            numbers |= spread(f"{name}: cosine", cosines)
    for which, measure in product((SAME, OWN), (*MEASURES, "first gradient")):
        pairs = zip(runs[which, NORM], runs[which, PLAIN], strict=True)
        ratios = [norm.mean_of(measure) / plain.mean_of(measure) for norm, plain in pairs]
        numbers |= spread(f"{setting.name}, {which}: {measure}, ratio", ratios)
    return numbers


def theorem(rounds: int, seed: int) -> dict[str, float]:
    """Compare both sides of theorem 4.1 on random features, gradients and gammas."""
    rng, apart, largest = np.random.default_rng(seed), 0.0, 0.0
    for _ in range(rounds):
        y, g = rng.normal(size=(2, int(rng.integers(4, 40)), 1))
        left, right = sides(y, g, rng.normal(), 0.0)
        apart = max(apart, abs(left / right - 1))
        left, right = sides(y, g, rng.normal(), 0.1)
        largest = max(largest, left / right)
    return {EQUAL: apart, BOUND: largest}


def comparisons(numbers: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give each setting with each rate, once where both rates are the same."""
    for setting, which in product((s.name for s in SETTINGS), (SAME, OWN)):
        here, plain = (numbers[f"{setting}, {which}, {kind}: rate"] for kind in (NORM, PLAIN))
        if which == SAME or here != plain:
            yield setting, which


def graded(yes: Sequence[bool]) -> lecture.Verdict:
    """Return yes for all, no for none, else partly."""
    return lecture.verdict(whole=all(yes), part=any(yes))


def told(numbers: Mapping[str, Any], name: str) -> str:
    """Say a median, and from where to where its seeds reach."""
    return "{:.3g} ({:.3g} to {:.3g})".format(*(numbers[name + end] for end in ENDS))


def below(numbers: Mapping[str, Any], text: str, source: str, measure: str) -> lecture.Claim:
    """Hold a claim that a ratio is below 1 against the seeds of each comparison: all have to be."""
    names = [f"{setting}, {which}: {measure}, ratio" for setting, which in comparisons(numbers)]
    found = [numbers[f"{name}, most"] < 1 for name in names]
    figures = [f"{name.split(':')[0]} {told(numbers, name)}" for name in names]
    return lecture.Claim(
        text,
        source,
        graded(found),
        f"in {sum(found)} of {len(found)}; with batch norm over without: {'; '.join(figures)}",
    )


def noise_claims(numbers: Mapping[str, Any]) -> Iterator[lecture.Claim]:
    """Hold what noise after batch norm shows against the numbers."""
    nets = [pair for pair in comparisons(numbers) if pair[0] != "linear"]
    for text, measure, limit in (
        ("Noise makes hidden units' inputs less stable than in the plain net", "movement", None),
        ("With that noise the net trains faster than the plain net", f"loss over {PLAIN}", 1.0),
        ("With that noise it trains as fast as with batch norm", f"loss over {NORM}", 1.05),
    ):
        found, figures = [], []
        for setting, which in nets:
            if limit is None:
                name, other = (f"{setting}, {which}, {k}: {measure}" for k in (NOISY, PLAIN))
                found.append(numbers[f"{name}, least"] > numbers[f"{other}, most"])
                figure = f"{told(numbers, name)} against {told(numbers, other)}"
            else:
                name = f"{setting}, {which}, {NOISY}: {measure}"
                found.append(numbers[name if limit > 1 else f"{name}, most"] < limit)
                figure = told(numbers, name)
            figures.append(f"{setting}, {which} {figure}")
        what = "deviations that a mean moves in a step: " if limit is None else f"mean {measure}: "
        yield lecture.Claim(
            f"{text}.", f"{PAPER}, section 2", graded(found), what + "; ".join(figures)
        )


def linear_claim(numbers: Mapping[str, Any]) -> lecture.Claim:
    """Hold what the paper sees in a deep linear net against the cosines of G and G'."""
    norm, plain = (f"linear, {SAME}, {kind}: cosine" for kind in (NORM, PLAIN))
    return lecture.Claim(
        "In a deep linear net G and G' are almost uncorrelated with batch norm, and without it "
        "there is almost no shift.",
        f"{PAPER}, section 2",
        graded([numbers[f"{norm}, most"] < 0.3, numbers[f"{plain}, least"] > 0.9]),
        f"cosine of G and G' {told(numbers, norm)} with batch norm, {told(numbers, plain)} without",
    )


def smoother(numbers: Mapping[str, Any], setting: str, which: str, tail: str) -> int:
    """Count the measures of smoothness that are better with batch norm, for all seeds."""
    return sum(numbers[f"{setting}, {which}: {m}{tail}, ratio, most"] < 1 for m in SMOOTH)


def relative_claim(numbers: Mapping[str, Any]) -> lecture.Claim:
    """Hold the four claims on smoothness against steps relative to the weights' lengths."""
    counts = {
        f"{setting}, {which}": smoother(numbers, setting, which, ", relative")
        for setting, which in comparisons(numbers)
    }
    return lecture.Claim(
        "All four are smaller too in parameters relative to the lengths of the weights.",
        "asked here",
        graded([count == len(SMOOTH) for count in counts.values()]),
        "measures that are better with batch norm, of 4: "
        + "; ".join(f"{name} {count}" for name, count in counts.items()),
    )


def account(numbers: Mapping[str, Any]) -> lecture.Claim:
    """Ask whether the landscape is smoother wherever batch norm trains faster."""
    found, figures = [], []
    for setting, which in comparisons(numbers):
        better = sum(smoother(numbers, setting, which, tail) for tail in ("", ", relative"))
        gain = f"{setting}, {which}, {NORM}: loss over {PLAIN}"
        if numbers[f"{gain}, most"] < 1:
            found.append(better > len(SMOOTH))
        figures.append(
            f"{setting}, {which}: {told(numbers, gain)} times the plain net's mean loss, "
            f"smoother by {better} of {2 * len(SMOOTH)}"
        )
    text = "Where batch norm trains faster, its landscape is smoother (by most measures)."
    return lecture.Claim(text, f"the lecture; {PAPER}", graded(found), "; ".join(figures))


def claims(numbers: Mapping[str, Any]) -> list[lecture.Claim]:
    """Hold the claims of the lecture and of the papers against the numbers."""
    apart, ratio = numbers[EQUAL], numbers[BOUND]
    first = "Batch norm reduces internal covariate shift"
    return [
        below(numbers, f"{first}: |G - G'| is smaller.", IOFFE, "shift"),
        below(numbers, f"{first}: |G - G'| / |G| is smaller.", IOFFE, "relative shift"),
        linear_claim(numbers),
        *noise_claims(numbers),
        *(below(numbers, f"{text}.", source, name) for name, text, source in SMOOTHER),
        relative_claim(numbers),
        lecture.Claim(
            "Theorem 4.1 bounds the gradient before batch norm by the gradient behind it.",
            f"{PAPER}, section 4",
            graded([apart < 1e-9, ratio < 1 + 1e-9]),
            f"an equality without eps, up to {apart:.0e}; with eps the left side is at most "
            f"{ratio:.4f} of the right",
        ),
        account(numbers),
    ]


# pictures ----------------------------------------------------------------------------------------


def band(axes: Any, at: Sequence[int], low: Any, high: Any, middle: Any, kind: str) -> None:
    """Draw a line in its band."""
    axes.fill_between(
        at, low, high, color=COLOURS[kind], alpha=0.22, linewidth=0, antialiased=False
    )
    axes.plot(at, middle, color=COLOURS[kind], linewidth=1.8, label=kind)


def over_seeds(axes: Any, at: Sequence[int], rows: Sequence[Sequence[float]], kind: str) -> None:
    """Draw the median of some seeds, and their range."""
    band(axes, at, np.min(rows, axis=0), np.max(rows, axis=0), np.median(rows, axis=0), kind)


def draw_training(runs: Runs, out: Path) -> None:
    """Draw the loss of the nets on pictures, at the plain net's rate and at each net's own."""
    pictured = [setting for setting in SETTINGS if not setting.linear]
    figure, grid = lecture.axes(2, len(pictured), size=(3.6, 2.3))
    for (row, which), (column, setting) in product(enumerate((SAME, OWN)), enumerate(pictured)):
        axes, each = grid[row, column], runs[setting.name]
        for kind in setting.kinds:
            found = [run.loss for run in each[which, kind]]
            over_seeds(axes, each[which, kind][0].at, found, kind)
        rates = ", ".join(f"{each[which, kind][0].rate:g}" for kind in setting.kinds)
        axes.set(title=f"{setting.name}, rates {rates}", xlabel="step")
        plain_log(axes)
    for axes in grid[:, 0]:
        axes.set_ylabel("training loss")
    grid[0, 1].legend(frameon=False, fontsize=9)
    lecture.save(figure, out, "training")


def plain_log(axes: Any) -> None:
    """Make the vertical axis logarithmic, with plain numbers at 1, 2 and 5."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def draw_shift(runs: Runs, out: Path) -> None:
    """Draw the cosine of a layer's gradients before and after the update of those before it."""
    figure, grid = lecture.axes(1, len(SETTINGS), size=(3.9, 3.1), sharey=True)
    for axes, setting in zip(grid, SETTINGS, strict=True):
        for kind in (PLAIN, NORM):
            each = runs[setting.name][SAME, kind]
            over_seeds(axes, each[0].points, [run.measured["cosine"] for run in each], kind)
        axes.axhline(0, color=lecture.GREY, linewidth=0.8)
        axes.set(title=f"{setting.name}, rate {each[0].rate:g}", xlabel="step", ylim=(-0.4, 1.03))
    grid[0].set_ylabel("cosine of G and G'")
    grid[0].legend(frameon=False, loc="lower left")
    figure.suptitle("Cosine 1 is no covariate shift")
    lecture.save(figure, out, "shift")


def draw_landscape(runs: Runs, out: Path) -> None:
    """Draw how loss and gradient vary along the gradient: bands over steps, medians of seeds."""
    figure, grid = lecture.axes(3, len(SETTINGS), size=(3.0, 1.7))
    for (column, setting), kind in product(enumerate(SETTINGS), (PLAIN, NORM)):
        each = runs[setting.name][SAME, kind]
        for axes, name in zip(grid[:2, column], ("losses", "changes"), strict=True):
            ends = np.median([run.measured[name] for run in each], axis=0)
            band(axes, each[0].points, *ends.T, np.sqrt(ends.prod(axis=1)), kind)
        betas = [run.measured["beta"] for run in each]
        over_seeds(grid[2, column], each[0].points, betas, kind)
        grid[0, column].set(title=f"{setting.name}, rate {each[0].rate:g}")
        grid[2, column].set(xlabel="step")
    labels = ("loss", "gradient change", "effective beta")
    for axes, label in zip(grid[:, 0], labels, strict=True):
        axes.set_ylabel(label)
    for axes in grid.ravel():
        plain_log(axes)
    grid[2, 2].legend(frameon=False)
    figure.suptitle(
        "Along the gradient, half a learning rate to four: smooth is narrow above, low below"
    )
    lecture.save(figure, out, "landscape")


def draw_ratios(numbers: Mapping[str, Any], out: Path) -> None:
    """Draw every measure with batch norm over that without: left of 1 is better."""
    figure, grid = lecture.axes(1, len(SETTINGS), size=(3.9, 4.4), sharey=True)
    rows, drawn = -np.arange(len(MEASURES)), list(comparisons(numbers))
    for axes, setting in zip(grid, SETTINGS, strict=True):
        for which, colour, down in ((SAME, lecture.GREY, 0.14), (OWN, lecture.BLUE, -0.14)):
            if (setting.name, which) not in drawn:
                continue
            names = [f"{setting.name}, {which}: {measure}, ratio" for measure in MEASURES]
            middle, low, high = ([numbers[n + end] for n in names] for end in ENDS)
            axes.hlines(rows + down, low, high, color=colour, linewidth=2)
            axes.plot(middle, rows + down, "o", color=colour, label=which)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.axhline(0.5 - len(SHIFT), color=lecture.GREY, linewidth=0.5)
        axes.set(title=setting.name, xscale="log", xlabel="with batch norm / without")
    grid[0].set(yticks=rows, yticklabels=MEASURES)
    grid[1].legend(frameon=False, loc="upper left")
    figure.suptitle("Left of 1, batch norm has less shift (above) or a smoother loss (below)")
    lecture.save(figure, out, "ratios")


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the demo; returns the numbers that it prints."""
    options = lecture.options(__doc__, argv, name="09_why_it_works")
    plan = FAST if options.fast else FULL
    runs = {setting.name: experiment(setting, plan, options.seed) for setting in SETTINGS}
    numbers: dict[str, Any] = theorem(50 if options.fast else 500, options.seed)
    for setting in SETTINGS:
        numbers |= summary(setting, runs[setting.name])
    for draw in (draw_training, draw_shift, draw_landscape):
        draw(runs, options.out)
    draw_ratios(numbers, options.out)
    lecture.report(numbers, claims(numbers), options.out)
    return numbers


if __name__ == "__main__":
    main()
