"""Handwritten digits: the net 64-128-64-10 with batch norm, beside the same net without.

Both start from the same weights and see the same batches of pixels between 0 and 1. You will see

- how many steps each takes to 95 % accuracy on digits it has not seen, and where it ends;
- the worst relative error that a property check finds in the gradients of these very models;
- ``curves``: loss and test accuracy over the steps; ``graph``: the recorded graph of the net with
  batch norm and its loss; ``graph_backward``: the same with its gradient, layer by layer.

With ``--standardize`` the inputs are normalised too, and the plain net catches up: on a net of two
hidden layers that does most of what batch norm does.

    python demos/01_digits.py [--fast] [--standardize] [--out DIR] [--seed N]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from tqdm import tqdm

import tinygrad_bn as tg

mpl.use("Agg")
from matplotlib import pyplot as plt

SIZES = (64, 128, 64, 10)
GOAL = 0.95


@dataclass
class Digits:
    """Training and test sets."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


@dataclass
class History:
    """What happened in training, one entry per step."""

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)

    @property
    def steps_to_goal(self) -> int | None:
        """The first step after which the test accuracy is at the goal."""
        return next((i for i, a in enumerate(self.accuracy, 1) if a >= GOAL), None)


def load(seed: int, *, standardize: bool) -> Digits:
    """Split the digits; scale the pixels to [0, 1], or standardise them by the training set."""
    digits = tg.data.load_digits()
    x, x_test, y, y_test = tg.data.train_test_split(
        digits.x, digits.labels, test_size=0.25, rng=seed, stratify=digits.labels
    )
    if not standardize:
        return Digits(x / 16, y, x_test / 16, y_test)
    scale = tg.data.Standardizer().fit(x)
    return Digits(scale.transform(x), y, scale.transform(x_test), y_test)


def build(seed: int, *, batch_norm: bool) -> tg.nn.Sequential:
    """Build the net. The bias before batch norm would be redundant: beta takes its place."""
    rng = np.random.default_rng(seed)
    layers: list[tg.nn.Module] = []
    for inputs, outputs in pairwise(SIZES[:-1]):
        layers.append(tg.nn.Linear(inputs, outputs, bias=not batch_norm, rng=rng))
        layers += [tg.nn.BatchNorm(outputs)] if batch_norm else []
        layers.append(tg.nn.ReLU())
    return tg.nn.Sequential(*layers, tg.nn.Linear(SIZES[-2], SIZES[-1], rng=rng))


def loss_of(model: tg.nn.Module, x: Any, y: Any) -> tg.Tensor:
    """Cross-entropy of the softmax of the model's logits."""
    return tg.cross_entropy(model(x), y)


def accuracy(model: tg.nn.Module, x: Any, y: Any) -> float:
    """Share of samples whose largest logit is at the label, in evaluation mode."""
    model.eval()
    with tg.no_grad():
        hits = model(x).data.argmax(axis=1) == y
    model.train()
    return float(hits.mean())


def train(
    name: str, model: tg.nn.Module, digits: Digits, *, epochs: int, lr: float, seed: int
) -> History:
    """Train by Adam; returns loss and test accuracy after every step."""
    optimiser = tg.optim.Adam(model.parameters(), lr)
    rng, history = np.random.default_rng(seed), History()
    bar = tqdm(range(epochs), desc=name, unit="epoch", ncols=88)
    for _ in bar:
        for x, y in tg.data.batches(digits.x, digits.y, size=64, rng=rng, drop_last=True):
            optimiser.zero_grad()
            loss = loss_of(model, x, y)
            loss.backward()
            optimiser.step()
            history.loss.append(loss.item())
            history.accuracy.append(accuracy(model, digits.x_test, digits.y_test))
        bar.set_postfix(loss=f"{history.loss[-1]:.4f}", test=f"{history.accuracy[-1]:.2%}")
    return history


def property_check(
    name: str, model: tg.nn.Module, digits: Digits, *, rounds: int, seed: int
) -> float:
    """Check the gradients of the model on random batches; returns the worst relative error."""
    rng, worst = np.random.default_rng(seed), 0.0
    for i in tqdm(range(rounds), desc=f"gradients {name}", unit="batch", ncols=88):
        rows = rng.choice(len(digits.x), size=16, replace=False)
        x, y = digits.x[rows], digits.y[rows]
        report = tg.testing.check_gradients(
            lambda m, x, y=y: loss_of(m, x, y), model, x, order=1, seed=seed + i
        )
        report.raise_if_wrong()
        worst = max(worst, report.worst)
    return worst


def draw_curves(histories: dict[str, History], out: Path) -> None:
    """Draw loss and test accuracy over the steps."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for (name, history), colour in zip(histories.items(), ("#3b7dd8", "#e08a1e"), strict=True):
        left.semilogy(history.loss, color=colour, alpha=0.85, linewidth=1, label=name)
        reached = name
        if at := history.steps_to_goal:
            reached = f"{name}: {GOAL:.0%} after {at} steps"
            right.plot(at - 1, history.accuracy[at - 1], "o", color=colour)
        right.plot(history.accuracy, color=colour, linewidth=1.5, label=reached)
    right.axhline(GOAL, color="#9aa5b1", linewidth=1, linestyle="--")
    left.set(title="training loss", xlabel="step", ylabel="cross-entropy of the batch")
    right.set(title="test accuracy", xlabel="step", ylim=(0.5, 1.0))
    right.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    for suffix in ("svg", "png"):
        figure.savefig(out / f"curves.{suffix}", dpi=144)
    plt.close(figure)


def draw_graph(model: tg.nn.Module, digits: Digits, out: Path) -> None:
    """Draw the recorded graph of the model and its loss, forward, and forward with backward."""
    loss = loss_of(model, tg.Tensor(digits.x[:8], name="x"), digits.y[:8])
    for suffix in ("svg", "png"):
        tg.viz.render(loss, out / f"graph.{suffix}", depth=1)
        tg.viz.render(loss, out / f"graph_backward.{suffix}", depth=1, backward="ops")


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the demo; returns the numbers that it prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--fast", action="store_true", help="a few epochs and checks only")
    parser.add_argument("--standardize", action="store_true", help="normalise the inputs too")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out"),
        help="what is drawn goes to 01_digits in this folder",
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    options.out /= "01_digits"
    options.out.mkdir(parents=True, exist_ok=True)

    digits = load(options.seed, standardize=options.standardize)
    epochs, rounds = (6, 1) if options.fast else (30, 5)
    numbers: dict[str, float] = {}
    histories: dict[str, History] = {}
    models: dict[str, tg.nn.Module] = {}
    for name, batch_norm in (("with batch norm", True), ("without", False)):
        models[name] = build(options.seed, batch_norm=batch_norm)
        history = train(name, models[name], digits, epochs=epochs, lr=2e-3, seed=options.seed)
        histories[name] = history
        numbers[f"{name}: steps to 95 %"] = history.steps_to_goal or float("nan")
        numbers[f"{name}: final test accuracy"] = history.accuracy[-1]
    for name, model in models.items():
        numbers[f"{name}: worst relative gradient error"] = property_check(
            name, model, digits, rounds=rounds, seed=options.seed
        )
    draw_curves(histories, options.out)
    draw_graph(models["with batch norm"], digits, options.out)

    print(f"{'':34}{'with batch norm':>16}{'without':>12}")
    for what, form in (
        ("steps to 95 %", "{:.0f}"),
        ("final test accuracy", "{:.2%}"),
        ("worst relative gradient error", "{:.1e}"),
    ):
        cells = [form.format(numbers[f"{name}: {what}"]) for name in models]
        print(f"{what:34}{cells[0]:>16}{cells[1]:>12}")
    print(f"pictures: {options.out}/")
    return numbers


if __name__ == "__main__":
    main()
