"""See batch norm and softmax: forward, backward, step by step, and what distinguishes two of them.

Four pixels of handwritten digits go through batch norm, and the softmax of what comes out is held
against the labels. You will see, for ``batch_norm`` and for ``softmax``, each as SVG and PNG:

- ``…``: the recorded graph, in red the derivative of the loss with respect to every value;
- ``…_rules``: beside every value its gradient, the arrows turned round, one rule for each;
- ``…_operations``: every operation of the gradient;
- ``….html``: a page to explore, that plays forward and backward one rule at a time;
- ``batch_norm_diff``: training against evaluation; ``softmax_diff``: softmax against log-softmax.

And the numbers that the pictures are about: on how many ways the gradient comes back, what it sums
to over the batch, and how far it is from ``y_hat - y``. Begin with the pages.

    python demos/03_see_batch_norm.py [--fast] [--out DIR] [--seed N]
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import tinygrad_bn as tg
from tinygrad_bn import viz

CLASSES, SAMPLES, PIXELS = 4, 12, 4

WAYS: dict[str, dict[str, Any]] = {
    "": {"legend": True},
    "_rules": {"backward": "rules", "legend": True},
    "_operations": {"backward": "ops", "values": False, "legend": True},
}
"""How each graph is drawn, by the end of the file's name."""

MEANING = {
    "ways back from the loss to x": "two at x − μ times two at x: directly, through σ, through μ, "
    "and through σ and μ, which adds up to nothing, since deviations from the mean sum to 0",
    "sum over the batch of the gradient of x": "what moves all samples alike moves no output: "
    "the gradient is centred",
    "ways back from the loss to z": "directly, and through the sum that all outputs are divided by",
    "largest deviation of that from y_hat - y": "five rules applied one after the other, "
    "and this simple expression comes out",
}
"""What the numbers tell."""


def load(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose samples of the digits 0 to 3, as many of each, and the pixels that vary most."""
    digits = tg.data.load_digits()
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [
            rng.choice(np.flatnonzero(digits.labels == c), SAMPLES // CLASSES, replace=False)
            for c in range(CLASSES)
        ]
    )
    x = digits.x[rows]
    return x[:, np.sort(np.argsort(x.std(axis=0))[-PIXELS:])], digits.labels[rows]


def batch_norm_loss(pixels: np.ndarray, labels: np.ndarray) -> dict[str, tg.Tensor]:
    """Record batch norm; the loss is the sum over what comes out for the right classes."""
    x = tg.Tensor(pixels, requires_grad=True, name="x")
    gamma = tg.Tensor(np.ones(PIXELS), requires_grad=True, name="γ")
    beta = tg.Tensor(np.zeros(PIXELS), requires_grad=True, name="β")
    y = tg.batch_norm(x, gamma, beta)
    chosen = tg.one_hot(labels, CLASSES).data
    loss = tg.sum(y * tg.Tensor(chosen, name="one hot"))
    return {"x": x, "gamma": gamma, "beta": beta, "y": y, "loss": loss}


def softmax_loss(pixels: np.ndarray, labels: np.ndarray) -> dict[str, tg.Tensor]:
    """Record softmax of standardised pixels, and the cross-entropy written out."""
    z = tg.Tensor(tg.standardize(pixels, axis=0).data, requires_grad=True, name="z")
    y_hat = tg.softmax(z)
    chosen = tg.Tensor(tg.one_hot(labels, CLASSES).data, name="y")
    loss = tg.sum(chosen * -tg.log(y_hat))
    return {"z": z, "y_hat": y_hat, "y": chosen, "loss": loss}


def differences(pixels: np.ndarray) -> dict[str, viz.Difference]:
    """Compare batch norm in training with evaluation, and softmax with its logarithm."""
    layer = tg.nn.BatchNorm(PIXELS)
    for _ in range(30):
        layer(pixels)  # so that the running statistics are those of the data

    def normed(x: tg.Tensor) -> tg.Tensor:
        return layer(x)

    training = tg.trace(normed, pixels)
    layer.eval()
    evaluation = tg.trace(normed, pixels)
    z = tg.standardize(pixels, axis=0)
    return {
        "batch_norm": viz.diff(
            training, evaluation, title="batch norm: from training to evaluation"
        ),
        "softmax": viz.diff(tg.trace(tg.softmax, z), tg.trace(tg.log_softmax, z)),
    }


def work(
    name: str, loss: tg.Tensor, difference: viz.Difference, out: Path, *, fast: bool
) -> dict[Path, Callable[[], Path]]:
    """List what is drawn of one of the two: how, by path."""
    page = out / f"{name}.html"
    listed = {page: partial(viz.explore, loss, page, title=name.replace("_", " "))}
    for suffix in ("svg",) if fast else ("svg", "png"):
        for way, options in WAYS.items():
            path = out / f"{name}{way}.{suffix}"
            listed[path] = partial(viz.render, loss, path, **options)
        path = out / f"{name}_diff.{suffix}"
        listed[path] = partial(viz.render, difference, path)
    return listed


def ways_back(result: tg.Tensor, x: tg.Tensor) -> int:
    """Count the paths from a result back to a tensor: each adds a term to its gradient."""
    if result is x:
        return 1
    return sum(ways_back(result.inputs[i], x) for i in result.wrt)


def measure(normed: dict[str, tg.Tensor], softened: dict[str, tg.Tensor]) -> dict[str, float]:
    """Compute what the pictures are about, from the same recorded graphs."""
    normed["loss"].backward()
    softened["loss"].backward()
    x_grad = normed["x"].grad.data
    rest = softened["z"].grad - (softened["y_hat"].detach() - softened["y"])
    return {
        "ways back from the loss to x": ways_back(normed["loss"], normed["x"]),
        "largest gradient of x": float(np.abs(x_grad).max()),
        "sum over the batch of the gradient of x": float(np.abs(x_grad.sum(axis=0)).max()),
        "ways back from the loss to z": ways_back(softened["loss"], softened["z"]),
        "largest gradient of z": float(np.abs(softened["z"].grad.data).max()),
        "largest deviation of that from y_hat - y": float(np.abs(rest.data).max()),
    }


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the demo; returns the numbers that it prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--fast", action="store_true", help="SVG and pages only, no PNG")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out"),
        help="what is drawn goes to 03_see_batch_norm in this folder",
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    options.out /= "03_see_batch_norm"
    options.out.mkdir(parents=True, exist_ok=True)

    pixels, labels = load(options.seed)
    normed, softened = batch_norm_loss(pixels, labels), softmax_loss(pixels, labels)
    between = differences(pixels)
    listed = {
        path: draw
        for name, recorded in (("batch_norm", normed), ("softmax", softened))
        for path, draw in work(
            name, recorded["loss"], between[name], options.out, fast=options.fast
        ).items()
    }
    bar = tqdm(listed.items(), desc="drawing", unit="picture", ncols=88, disable=None)
    for path, draw in bar:
        bar.set_postfix_str(path.name)
        draw()

    numbers = measure(normed, softened)
    for what, value in numbers.items():
        print(f"{what:42}{value:>12.4g}")
        if what in MEANING:
            print(textwrap.indent(textwrap.fill(MEANING[what], 76), "    "))
    print(f"{len(listed)} files in {options.out}/: begin with batch_norm.html and softmax.html")
    return numbers


if __name__ == "__main__":
    main()
