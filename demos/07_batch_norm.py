"""Batch norm step by step, on a hidden layer of a net that reads digits.

You will see

- ``steps``: what a unit's mini-batch goes through: centred, divided, scaled and shifted;
- what gamma = sigma and beta = mu give back, and what a bias before batch norm does: nothing;
- ``affine``: gamma and beta trained against frozen, over seeds, with sigmoids and with ReLUs;
- ``spread``: how much the statistics of a mini-batch vary with its size;
- one update of every optimiser against its printed equation;
- ``running``: running averages against the statistics of the whole training set;
- ``test``: one sample at a time, and what the statistics of small test batches do.

    python demos/07_batch_norm.py [--fast] [--out DIR] [--seed N]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import lecture
import tinygrad_bn as tg
from tinygrad_bn import nn

EPS = np.finfo(float).eps
UNITS = 64
GOAL = 0.95
FROZEN = {
    "both trained": (),
    "gamma frozen": ("gamma",),
    "beta frozen": ("beta",),
    "both frozen": ("gamma", "beta"),
}


def build(bend: Callable[[], nn.Module], seed: int, frozen: Sequence[str] = ()) -> nn.Sequential:
    """Build a net of two hidden layers with batch norm; gamma or beta may stay as they begin."""
    rng = np.random.default_rng(seed)
    layers: list[nn.Module] = []
    for inputs in (64, UNITS):
        norm = nn.BatchNorm(UNITS)
        for name in frozen:
            getattr(norm, name).requires_grad = False
        layers += [nn.Linear(inputs, UNITS, bias=False, rng=rng), norm, bend()]
    return nn.Sequential(*layers, nn.Linear(UNITS, 10, rng=rng))


def learn(
    model: nn.Module,
    data: lecture.Split,
    epochs: int,
    seed: int,
    optimizer: Any = None,
    **more: Any,
) -> nn.History:
    """Train on the digits in batches of 64; every epoch is tested on the held-out ones."""
    optimizer = optimizer or tg.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    return nn.fit(
        model,
        (data.x, data.y),
        tg.cross_entropy,
        optimizer,
        epochs,
        batch_size=64,
        drop_last=True,
        rng=seed,
        validation=(data.x_test, data.y_test),
        progress=False,
        **more,
    )


# the four steps -----------------------------------------------------------------------------------


def four_steps(data: lecture.Split, seed: int, out: Path) -> dict[str, float]:
    """Follow one mini-batch through batch norm, by hand, and compare with the layer."""
    model = build(nn.ReLU, seed)
    learn(model, data, 3, seed)
    norm = model[4]
    z = received(model, data.x[:256])
    with tg.no_grad():
        made = norm(z, use="batch", update=False).data
    mean, var = z.mean(axis=0), z.var(axis=0)
    centred = z - mean
    z_norm = centred / np.sqrt(var + norm.eps)
    z_tilde = norm.gamma.data * z_norm + norm.beta.data
    draw_steps({"z": z, "z - μ": centred, "z_norm": z_norm, "z̃ = γ z_norm + β": z_tilde}, out)
    back = tg.batch_norm(z, np.sqrt(var + norm.eps), mean, eps=norm.eps).data
    return {
        "steps by hand less the layer, in roundings": _roundings(made - z_tilde, z_tilde, z),
        "gamma = sigma, beta = mu: distance from z, in roundings": _roundings(back - z, z, z),
    }


def _roundings(difference: np.ndarray, result: np.ndarray, z: np.ndarray) -> float:
    """Return a difference in units of the rounding of what it was computed from."""
    scale = EPS * (
        np.abs(result).max() + np.abs(z).max() * np.abs(result).max() / z.std(axis=0).min()
    )
    return float(np.abs(difference).max() / scale)


def draw_steps(stages: Mapping[str, np.ndarray], out: Path) -> None:
    """Draw the distribution of three units after each step."""
    order = np.argsort(stages["z"].mean(axis=0))
    units, colours = order[[0, len(order) // 2, -1]], (lecture.BLUE, lecture.GREEN, lecture.PURPLE)
    figure, grid = lecture.axes(1, len(stages), size=(3.3, 3.0), sharex=True, sharey=True)
    bins = np.linspace(-6, 6, 41)
    for axes, (name, values) in zip(grid, stages.items(), strict=True):
        for unit, colour in zip(units, colours, strict=True):
            given = {"bins": bins, "color": colour, "label": f"unit {unit}"}
            axes.hist(values[:, unit], histtype="stepfilled", alpha=0.45, **given)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(title=name, xlabel="value", yticks=[])
    grid[0].set_ylabel("samples of the mini-batch")
    grid[0].legend(frameon=False, fontsize=8)
    lecture.save(figure, out, "steps")


# the bias -----------------------------------------------------------------------------------------


class Biased(nn.Module):
    """A linear map with a bias that batch norm follows, and a head."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.linear = nn.Linear(64, UNITS, rng=rng)
        self.norm, self.head = nn.BatchNorm(UNITS, update=False), nn.Linear(UNITS, 10, rng=rng)

    def forward(self, x: Any) -> Any:
        """Return logits."""
        return self.head(tg.relu(self.norm(self.linear(x))))


def bias(data: lecture.Split, seed: int) -> dict[str, float]:
    """Measure the gradient of the bias before batch norm, and what a bias changes."""
    model, x, y = Biased(seed), data.x[:64], data.y[:64]
    gradient = tg.grad(lambda m: tg.cross_entropy(m(x), y))(model)
    before = model(x).data
    rng = np.random.default_rng(seed)
    model.linear.bias.assign(rng.normal(0, 10, UNITS))
    changed = np.abs(model(x).data - before).max() / np.abs(before).max()
    weights = np.abs(gradient.linear.weight.data).max()
    return {
        "bias before batch norm: its gradient over the weights', largest": float(
            np.abs(gradient.linear.bias.data).max() / weights
        ),
        "bias before batch norm: relative change of the logits by a bias of 10": float(changed),
        "parameters with the bias": sum(p.size for p in model.parameters()),
        "parameters without": sum(p.size for p in model.parameters()) - UNITS,
    }


# gamma and beta -----------------------------------------------------------------------------------


def affine(data: lecture.Split, epochs: int, seeds: Sequence[int], out: Path) -> dict[str, Any]:
    """Train with gamma and beta trained or frozen; returns accuracies and steps to the goal."""
    numbers: dict[str, Any] = {}
    bends = {"sigmoid": nn.Sigmoid, "ReLU": nn.ReLU}
    todo = [(b, f, s) for b in bends for f in FROZEN for s in seeds]
    for bend, name, seed in tqdm(todo, desc="gamma and beta", unit="net", ncols=88):
        history = learn(build(bends[bend], seed, FROZEN[name]), data, epochs, seed)
        found = [row["validation accuracy"] for row in history.epochs]
        reached = next(
            (row["epoch"] for row in history.epochs if row["validation accuracy"] >= GOAL), np.inf
        )
        numbers.setdefault(f"{bend}, {name}: accuracy", []).append(found[-1])
        numbers.setdefault(f"{bend}, {name}: epochs to 95 %", []).append(float(reached))
        numbers.setdefault(f"{bend}, {name}: training loss", []).append(
            history.epochs[-1]["training loss"]
        )
    draw_affine(numbers, list(bends), out)
    return numbers


def draw_affine(numbers: Mapping[str, Any], bends: Sequence[str], out: Path) -> None:
    """Draw accuracy and training loss of every net."""
    figure, grid = lecture.axes(1, 2, size=(5.4, 3.4))
    for axes, what in zip(grid, ("accuracy", "training loss"), strict=True):
        for i, bend in enumerate(bends):
            for k, name in enumerate(FROZEN):
                values = numbers[f"{bend}, {name}: {what}"]
                place = k + 0.22 * (2 * i - 1)
                colour = (lecture.BLUE, lecture.GREEN)[i]
                axes.plot(
                    [place] * len(values), values, "o", color=colour, alpha=0.45, markersize=5
                )
                axes.hlines(
                    np.median(values),
                    place - 0.15,
                    place + 0.15,
                    color=colour,
                    linewidth=2.5,
                    label=bend if k == 0 else None,
                )
        axes.set_xticks(range(len(FROZEN)), labels=list(FROZEN))
    grid[0].set(title="held-out accuracy at the end")
    grid[0].yaxis.set_major_formatter(lambda share, _: f"{share:.1%}")
    grid[1].set(title="training loss of the last epoch", yscale="log")
    grid[0].legend(frameon=False)
    lecture.save(figure, out, "affine")


# statistics of mini-batches -----------------------------------------------------------------------


def batch_statistics(data: lecture.Split, repeats: int, seed: int, out: Path) -> dict[str, float]:
    """Measure how the mean and the deviation of mini-batches vary with their size.

    Samples drawn with replacement: the mean then varies by sigma / sqrt(m).
    """
    rng = np.random.default_rng(seed)
    z = build(nn.ReLU, seed)[0](data.x).data
    mean, sigma = z.mean(axis=0), z.std(axis=0)
    sizes = [4, 8, 16, 32, 64, 128, 256, 512]
    means, scales = [], []
    for m in sizes:
        drawn = z[rng.integers(len(z), size=(repeats, m))]
        means.append(np.median(((drawn.mean(axis=1) - mean) / sigma).std(axis=0)))
        scales.append(np.median((drawn.std(axis=1) / sigma).std(axis=0)))
    figure, axes = lecture.axes(size=(5.6, 3.6))
    axes.loglog(sizes, means, "o-", color=lecture.BLUE, label="of the mean, in σ")
    axes.loglog(sizes, scales, "s-", color=lecture.GREEN, label="of the deviation, in σ")
    axes.loglog(sizes, 1 / np.sqrt(sizes), "--", color="black", label="1 / sqrt(m)")
    axes.set(
        xlabel="size of the mini-batch, m",
        ylabel="standard deviation over mini-batches",
        title="Every mini-batch has its own statistics",
    )
    axes.set_xticks(sizes, labels=list(map(str, sizes)))
    axes.minorticks_off()
    axes.legend(frameon=False)
    lecture.save(figure, out, "spread")
    return {
        "spread of the mean: slope over log m": float(
            np.polyfit(np.log(sizes), np.log(means), 1)[0]
        ),
        "spread of the mean times sqrt(m), largest deviation from 1": float(
            np.abs(means * np.sqrt(sizes) - 1).max()
        ),
    }


# updates ------------------------------------------------------------------------------------------


def equations(w: np.ndarray, g: np.ndarray) -> dict[str, tuple[Any, np.ndarray]]:
    """Return for each optimiser how it is made, and the second of two equal updates as printed."""
    lr, eps = 0.01, 1e-8
    s = 0.9 * (0.1 * g**2) + 0.1 * g**2
    first = w - lr * g / (np.sqrt(0.1 * g**2) + eps)
    m_hat = (0.9 * (0.1 * g) + 0.1 * g) / (1 - 0.9**2)
    v_hat = (0.999 * (0.001 * g**2) + 0.001 * g**2) / (1 - 0.999**2)
    adam = w - lr * g / (np.abs(g) + eps)
    return {
        "SGD": (lambda p: tg.optim.SGD(p, lr), w - 2 * lr * g),
        "momentum": (lambda p: tg.optim.SGD(p, lr, momentum=0.9), w - lr * g - lr * (0.9 * g + g)),
        "RMSprop": (lambda p: tg.optim.RMSprop(p, lr), first - lr * g / (np.sqrt(s) + eps)),
        "Adam": (lambda p: tg.optim.Adam(p, lr), adam - lr * m_hat / (np.sqrt(v_hat) + eps)),
    }


def updates(data: lecture.Split, epochs: int, seed: int) -> dict[str, float]:
    """Update W, gamma and beta twice by each optimiser and its equation; then train with each."""
    makers = {
        "SGD": lambda p: tg.optim.SGD(p, 0.3),
        "momentum": lambda p: tg.optim.SGD(p, 0.1, momentum=0.9),
        "RMSprop": lambda p: tg.optim.RMSprop(p, 0.003),
        "Adam": lambda p: tg.optim.Adam(p, 0.003),
    }
    numbers = {}
    for name, make in makers.items():
        off = [_off(name, p) for p in _with_gradients(data, seed)]
        numbers[f"{name}: two updates less the equation, in roundings"] = max(off)
        model = build(nn.ReLU, seed)
        history = learn(model, data, epochs, seed, make(model.parameters()))
        numbers[f"{name}: held-out accuracy"] = history.epochs[-1]["validation accuracy"]
    return numbers


def _with_gradients(data: lecture.Split, seed: int) -> list[Any]:
    """Return W, gamma and beta of the first layer with their gradients."""
    model = build(nn.ReLU, seed)
    tg.cross_entropy(model(data.x[:64]), data.y[:64]).backward()
    return [model[0].weight, model[1].gamma, model[1].beta]


def _off(name: str, p: Any) -> float:
    """Return how far two steps are from the equation, in roundings of value and rate."""
    make, wanted = equations(p.data, p.grad.data)[name]
    scale, optimizer = EPS * (np.abs(p.data) + 0.01), make([p])
    optimizer.step()
    optimizer.step()
    return float(np.max(np.abs(p.data - wanted) / scale))


# at test ------------------------------------------------------------------------------------------


def received(model: nn.Sequential, x: Any) -> np.ndarray:
    """Return what the second batch norm receives: it follows ReLUs, so its mean is not 0."""
    with tg.no_grad():
        return model[3](tg.relu(model[1](model[0](x), update=False))).data


def running(data: lecture.Split, steps: int, seed: int, out: Path) -> dict[str, float]:
    """Compare running averages with the statistics of all training samples, weights fixed."""
    rng = np.random.default_rng(seed)
    z = received(build(nn.ReLU, seed), data.x)
    kinds = {
        "decay 0.9": {"decay": 0.9},
        "decay 0.9, bias corrected": {"decay": 0.9, "debias": True},
        "decay 0.99, bias corrected": {"decay": 0.99, "debias": True},
        "all samples alike (decay=None)": {"decay": None},
    }
    layers = {name: nn.BatchNorm(UNITS, **options) for name, options in kinds.items()}
    mean, var = z.mean(axis=0), z.var(axis=0)
    errors: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(steps):
        batch = z[rng.integers(len(z), size=64)]
        for name, layer in layers.items():
            layer(batch)
            off = np.abs(layer.running_mean.data - mean) / np.sqrt(var)
            errors[name].append(float(np.mean(off)))
    exact = nn.BatchNorm(UNITS, decay=None, correction=0)
    for start in range(0, len(z), 64):
        exact(z[start : start + 64])
    figure, axes = lecture.axes(size=(6.4, 3.7))
    for (name, values), colour in zip(errors.items(), lecture.COLOURS, strict=False):
        axes.loglog(np.arange(1, steps + 1), values, color=colour, label=name)
    axes.set(
        xlabel="mini-batches of 64 seen",
        ylabel="mean |running mean - exact| / σ",
        title="Running averages against the whole training set",
    )
    axes.legend(frameon=False, fontsize=8)
    lecture.save(figure, out, "running")
    off_var = np.abs(exact.running_var.data / var - 1).max()
    return {
        "running mean, first mini-batch: error without correction": errors["decay 0.9"][0],
        "running mean, first mini-batch: error with correction": errors[
            "decay 0.9, bias corrected"
        ][0],
        "running mean, end: error with decay 0.9": float(
            np.mean(errors["decay 0.9"][-steps // 4 :])
        ),
        "running mean, end: error of all samples alike": errors["all samples alike (decay=None)"][
            -1
        ],
        "one pass over the set: largest relative error of the variance": float(off_var),
    }


def at_test(data: lecture.Split, seed: int, epochs: int, out: Path) -> dict[str, Any]:
    """Test one sample at a time, all at once, and with the statistics of small test batches."""
    model = build(nn.ReLU, seed)
    learn(model, data, epochs, seed)
    model.eval()
    together = nn.predict(model, data.x_test)
    with tg.no_grad():
        single = np.concatenate([model(x[None]).data for x in data.x_test])
    whole = nn.accuracy(together, data.y_test)
    numbers: dict[str, Any] = {
        "one at a time less all at once, relative": float(
            np.abs(single - together).max() / np.abs(together).max()
        ),
        "accuracy with running statistics": whole,
    }
    sizes = [2, 4, 8, 16, 32, 64, 128]
    shares = [by_batches(model, data, size, seed) for size in sizes]
    for size, share in zip(sizes, shares, strict=True):
        numbers[f"accuracy with the statistics of {size} test samples"] = share
    model.train()
    try:
        model(data.x_test[:1])
    except tg.errors.ShapeError as error:
        numbers["a single sample in training mode"] = error.what
    figure, axes = lecture.axes(size=(5.6, 3.4))
    axes.semilogx(sizes, shares, "o-", color=lecture.ORANGE, label="statistics of the test batch")
    axes.axhline(whole, color=lecture.BLUE, label="running statistics")
    axes.set(xlabel="size of the test batch", ylabel="accuracy", title="At test: whose statistics?")
    axes.set_xticks(sizes, labels=list(map(str, sizes)))
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.legend(frameon=False)
    lecture.save(figure, out, "test")
    return numbers


def by_batches(model: nn.Module, data: lecture.Split, size: int, seed: int) -> float:
    """Return the accuracy where every test batch is standardised by its own statistics."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm)]
    hits = []
    for norm in norms:
        norm.use = "batch"
    given = tg.data.batches(data.x_test, data.y_test, size=size, rng=seed, drop_last=True)
    with tg.no_grad():
        for x, y in given:
            hits.append(nn.accuracy(model(x).data, y))
    for norm in norms:
        norm.use = None
    return float(np.mean(hits))


# claims -------------------------------------------------------------------------------------------


def spread(values: Sequence[float], form: str = ".1%") -> str:
    """Write a median with its range."""
    return f"{np.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def claims(numbers: Mapping[str, Any]) -> list[lecture.Claim]:
    """Hold what the lecture says of batch norm against the numbers."""
    back = numbers["gamma = sigma, beta = mu: distance from z, in roundings"]
    ratio = numbers["bias before batch norm: its gradient over the weights', largest"]
    changed = numbers["bias before batch norm: relative change of the logits by a bias of 10"]
    slope = numbers["spread of the mean: slope over log m"]
    off = {n.split(":")[0]: v for n, v in numbers.items() if n.endswith("equation, in roundings")}
    without, with_ = (
        numbers[f"running mean, first mini-batch: error {w} correction"]
        for w in ("without", "with")
    )
    single = numbers["one at a time less all at once, relative"]
    two = numbers["accuracy with the statistics of 2 test samples"]
    whole = numbers["accuracy with running statistics"]
    return [
        lecture.Claim(
            "gamma = sigma and beta = mu give z back: batch norm can be the identity.",
            "the lecture; Ioffe & Szegedy (2015), section 3",
            "yes" if back < 8 else "no",
            f"equal to {back:.1f} roundings",
        ),
        *(_affine(numbers, bend) for bend in ("sigmoid", "ReLU")),
        lecture.Claim(
            "A bias before batch norm does nothing, and can be left out.",
            "the lecture",
            "yes" if ratio < 1e-12 and changed < 1e-12 else "no",
            f"its gradient is {ratio:.0e} of the weights'; a bias of size 10 changes the logits by "
            f"{changed:.0e}",
        ),
        lecture.Claim(
            "Every mini-batch has its own mean and variance: small ones add noise.",
            "the lecture",
            "yes" if abs(slope + 0.5) < 0.05 else "no",
            f"the mean of m samples varies like m to the power {slope:.2f}",
        ),
        lecture.Claim(
            "Gamma and beta are updated like weights: by SGD, momentum, RMSprop or Adam.",
            "the lecture",
            "yes" if max(off.values()) <= 16 else "no",
            "two updates against the equations, in roundings: "
            + ", ".join(f"{name} {value:.1f}" for name, value in off.items()),
        ),
        lecture.Claim(
            "Bias correction makes the first running averages right.",
            "the lecture (exponentially weighted averages)",
            "yes" if with_ < 0.5 * without else "no",
            f"error of the mean after one mini-batch {without:.2f} sigma, corrected {with_:.2f}",
        ),
        lecture.Claim(
            "At test, running averages allow one example at a time.",
            "the lecture",
            "yes" if single < 1e-12 and whole > two else "no",
            f"one at a time differs from all at once by {single:.0e}; accuracy {whole:.1%}, with "
            f"the statistics of two test samples {two:.1%}",
        ),
    ]


def _affine(numbers: Mapping[str, Any], bend: str) -> lecture.Claim:
    """Judge by three measures, each of which has to hold for every seed: by luck, one in 32."""

    def pair(what: str) -> list[list[float]]:
        return [numbers[f"{bend}, {name}: {what}"] for name in ("both trained", "both frozen")]

    def less(a: Sequence[float], b: Sequence[float]) -> int:
        return sum(x < y for x, y in zip(a, b, strict=True))

    (trained, frozen), seeds = pair("accuracy"), len(pair("accuracy")[0])
    better, lower = less(frozen, trained), less(*pair("training loss"))
    sooner = less(*pair("epochs to 95 %"))
    held = [won == seeds for won in (better, lower, sooner)]
    return lecture.Claim(
        f"Trained gamma and beta are part of why batch norm works ({bend} net).",
        "the lecture",
        "yes" if all(held) else "partly" if any(held) else "no",
        f"held-out accuracy {spread(trained)} trained, {spread(frozen)} frozen; of {seeds} seeds "
        f"better {better}, 95 % sooner {sooner}, training loss lower {lower}",
    )


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the demo; returns the numbers that it prints."""
    options = lecture.options(__doc__, argv, out="07_batch_norm")
    epochs, count, repeats = (3, 2, 200) if options.fast else (20, 5, 2000)
    seed, out, data = options.seed, options.out, lecture.digits(options.seed)
    numbers: dict[str, Any] = four_steps(data, seed, out)
    numbers |= bias(data, seed)
    numbers |= affine(data, epochs, [seed + i for i in range(count)], out)
    numbers |= batch_statistics(data, repeats, seed, out)
    numbers |= updates(data, 3 if options.fast else 10, seed)
    numbers |= running(data, 300, seed, out)
    numbers |= at_test(data, seed, 3 if options.fast else 15, out)
    lecture.report(numbers, claims(numbers), out)
    return numbers


if __name__ == "__main__":
    main()
