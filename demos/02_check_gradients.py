"""Find a bug in a batch norm backward pass that a fixed tolerance lets pass.

The backward pass is written by hand, in NumPy. The value divides by ``sqrt(var + eps)``; the
gradient by ``sqrt(var) + eps``. On ordinary batches that is off by a few millionths. You will see

- how many random batches the usual recipe passes (step 1e-6, rtol 1e-3, atol 1e-5: the defaults
  of ``torch.autograd.gradcheck``), bug and all;
- the smallest example that a search finds for it, with the checker's report;
- the same for a ``torch.autograd.Function``, where PyTorch is installed;
- that the mended gradient passes, and what is left of its error;
- ``steps``: the error of a difference quotient over its step, between rounding and truncation,
  beside the bug, the recipe's tolerance and the checker's own error bar;
- ``culprit``: the graph of this package's batch norm with one rule made wrong, and the operation
  that the report names, in red.

    python demos/02_check_gradients.py [--fast] [--out DIR] [--seed N]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from tqdm import tqdm

import tinygrad_bn as tg
from tinygrad_bn.testing import Report, check_gradients, check_rule, mutants
from tinygrad_bn.testing.adapters import from_torch
from tinygrad_bn.testing.checking.differences import Estimate, central, noise_of
from tinygrad_bn.testing.given import search
from tinygrad_bn.testing.pairs import Pair

mpl.use("Agg")
from matplotlib import pyplot as plt

EPS = 1e-5
SHAPES = {"x": (4, 2), "gamma": (2,), "beta": (2,)}
STEP, RTOL, ATOL = 1e-6, 1e-3, 1e-5
WIDE = np.longdouble

Array = np.ndarray[Any, Any]
Backward = Callable[[Array, Array, Array, Array], tuple[Array, Array, Array]]


# the function under test --------------------------------------------------------------------------


def forward(x: Array, gamma: Array, beta: Array) -> Array:
    """Batch norm over the first axis."""
    centred = x - x.mean(axis=0)
    return gamma * centred / np.sqrt((centred**2).mean(axis=0) + EPS) + beta


def backward_with(inverse: Callable[[Array], Array]) -> Backward:
    """Write the backward pass; ``inverse``: what it takes for ``1 / sqrt(var + eps)``."""

    def backward(g: Array, x: Array, gamma: Array, beta: Array) -> tuple[Array, Array, Array]:
        """Go back step by step, as one does on paper."""
        n, centred = len(x), x - x.mean(axis=0)
        scale = inverse((centred**2).mean(axis=0))
        d_normed = g * gamma
        d_variance = (d_normed * centred).sum(axis=0) * -0.5 * scale**3
        d_centred = d_normed * scale + d_variance * 2 * centred / n
        d_x = d_centred - d_centred.mean(axis=0)
        return d_x, (g * centred * scale).sum(axis=0), g.sum(axis=0) + 0 * beta

    return backward


wrong = backward_with(lambda variance: 1 / (np.sqrt(variance) + EPS))
right = backward_with(lambda variance: 1 / np.sqrt(variance + EPS))


def torch_layer() -> Callable[..., Any]:
    """Write the same layer, bug included, as a ``torch.autograd.Function``."""
    torch = importlib.import_module("torch")

    class BatchNorm(torch.autograd.Function):
        """Batch norm with a backward pass of its own."""

        @staticmethod
        def forward(ctx: Any, x: Any, gamma: Any, beta: Any) -> Any:
            """Normalise."""
            centred = x - x.mean(0)
            variance = (centred**2).mean(0)
            ctx.save_for_backward(centred, variance, gamma)
            return gamma * centred / torch.sqrt(variance + EPS) + beta

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            """Go back, with eps in the wrong place."""
            centred, variance, gamma = ctx.saved_tensors
            scale = 1 / (torch.sqrt(variance) + EPS)
            d_normed = g * gamma
            d_variance = (d_normed * centred).sum(0) * -0.5 * scale**3
            d_centred = d_normed * scale + d_variance * 2 * centred / len(g)
            return d_centred - d_centred.mean(0), (g * centred * scale).sum(0), g.sum(0)

    def layer(x: Any, gamma: Any, beta: Any) -> Any:
        """Give the arguments their names, for the report."""
        return BatchNorm.apply(x, gamma, beta)

    return layer


# the usual recipe ---------------------------------------------------------------------------------


def recipe_passes(backward: Backward, point: Sequence[Array]) -> bool:
    """Compare every entry of the Jacobian with a central difference, at a fixed tolerance."""
    flat = np.concatenate([np.ravel(a) for a in point])
    cuts = np.cumsum([a.size for a in point])[:-1]

    def unpacked(values: Array) -> list[Array]:
        """Give the arguments back their shapes."""
        parts = np.split(values, cuts)
        return [part.reshape(a.shape) for part, a in zip(parts, point, strict=True)]

    columns = [
        (forward(*unpacked(flat + STEP * e)) - forward(*unpacked(flat - STEP * e))) / (2 * STEP)
        for e in np.eye(flat.size)
    ]
    numeric = np.stack([np.ravel(column) for column in columns], axis=1)
    shape = point[0].shape
    claimed = [
        np.concatenate([np.ravel(g) for g in backward(e.reshape(shape), *point)])
        for e in np.eye(point[0].size)
    ]
    return bool(np.allclose(np.stack(claimed), numeric, rtol=RTOL, atol=ATOL))


def batch(rng: np.random.Generator) -> list[Array]:
    """Draw an ordinary batch with its parameters."""
    return [rng.normal(size=(8, 4)), rng.normal(size=4), rng.normal(size=4)]


def share_passed(count: int, seed: int) -> float:
    """Say which share of random batches the recipe passes, the bug being there."""
    rng = np.random.default_rng(seed)
    bar = tqdm(range(count), desc="usual recipe", unit="batch", ncols=88)
    return sum(recipe_passes(wrong, batch(rng)) for _ in bar) / count


# one difference quotient --------------------------------------------------------------------------


class Study(NamedTuple):
    """Difference quotients along one direction, and what is known about them."""

    steps: Array
    errors: Array
    noise: float
    truth: float
    estimates: dict[str, Estimate]
    bug: float


def study(seed: int) -> Study:
    """Differentiate ``<v, f(x + t d)>`` at 0 with many steps; the truth is a complex step."""
    rng = np.random.default_rng(seed)
    x, gamma, beta = batch(rng)
    d, v = rng.normal(size=x.shape), rng.normal(size=x.shape)
    tiny = WIDE(2) ** -200
    moved = x.astype(np.clongdouble) + 1j * (tiny * d)
    truth = ((v * forward(moved, gamma.astype(WIDE), beta.astype(WIDE))).imag / tiny).sum()

    def curve(t: float) -> Any:
        """Compute in float64, add up in long double."""
        return (v.astype(WIDE) * forward(x + t * d, gamma, beta)).sum()

    def wide(t: float) -> Any:
        """Compute in long double throughout."""
        return (v * forward(x + WIDE(t) * d, gamma.astype(WIDE), beta.astype(WIDE))).sum()

    steps = 2.0 ** -np.arange(2, 51)
    errors = [abs((curve(h) - curve(-h)) / (2 * WIDE(h)) - truth) for h in steps]
    noise = {
        np.float64: noise_of(curve, np.float64, 0.0),
        WIDE: noise_of(wide, WIDE, 0.0),
    }
    estimates = {
        "float64": central(curve, noise[np.float64], 0.125, np.float64),
        "long double": central(wide, noise[WIDE], 0.125, WIDE),
    }
    bug = abs(((wrong(v, x, gamma, beta)[0] - right(v, x, gamma, beta)[0]) * d).sum())
    return Study(
        steps, np.array(errors, float), float(noise[np.float64]), float(truth), estimates, bug
    )


def draw_steps(found: Study, path: Path) -> None:
    """Draw the error of a difference quotient over its step, and what it is compared with."""
    figure, axes = plt.subplots(figsize=(9, 5.2), layout="constrained")
    rounding = found.steps[found.steps < 2.0**-15]
    axes.loglog(rounding, found.noise / rounding, "--", color="#9aa5b1", linewidth=1)
    axes.loglog(found.steps, found.errors, "o", color="#3b7dd8", markersize=4)
    write = partial(axes.annotate, textcoords="offset points")
    write("measured noise / step", (2.0**-42, found.noise * 2.0**42), (12, 4), color="#66717d")
    write("central differences,\nfloat64", (2.0**-10, found.errors[8]), (14, -22), color="#3b7dd8")
    axes.axvline(STEP, color="#9aa5b1", linewidth=1)
    write("the recipe's step", (STEP, 3e-18), (5, 0), color="#66717d")
    bars = {dtype: float(estimate.error) for dtype, estimate in found.estimates.items()}
    levels = [
        ("what the recipe allows", ATOL + RTOL * abs(found.truth), "#66717d", 0.4),
        ("the bug", found.bug, "#c0392b", 0.4),
        *((f"the checker's error bar, {d}", bar, "#28804a", 0.01) for d, bar in bars.items()),
    ]
    for label, level, colour, place in levels:
        axes.axhline(level, color=colour, linewidth=1.5)
        over = ("axes fraction", "data")
        write(label, (place, level), (0, 4), xycoords=over, color=colour)
    axes.set(xlabel="step", ylabel="error of the derivative", ylim=(1e-18, 1e2))
    axes.set_title("one derivative of batch norm, by differences")
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write SVG and PNG, without a date."""
    with mpl.rc_context({"svg.hashsalt": "tinygrad_bn", "svg.fonttype": "none"}):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=144)
    plt.close(figure)


# a graph knows more -------------------------------------------------------------------------------


def find_culprit(path: Path, seed: int) -> str:
    """Make the rule of sqrt too large by 1e-6; draw batch norm with what the report names."""
    rng = np.random.default_rng(seed)
    x, gamma, beta = (tg.Tensor(a, requires_grad=True) for a in batch(rng))

    def layer(x: tg.Tensor, gamma: tg.Tensor, beta: tg.Tensor) -> tg.Tensor:
        """Apply the function that is in the package: the line that the report gives is this."""
        return tg.batch_norm(x, gamma, beta)

    faint = next(m for m in mutants.mutants("sqrt", relative=1e-6) if m.name == "scaled")
    with mutants.installed(faint):
        culprit = check_gradients(layer, x.data, gamma.data, beta.data).culprit
    named = re.search(r"first wrong rule: (\w+)\(", culprit)
    drawn = tg.viz.graph(tg.trace(layer, x, gamma, beta))
    badge = {"sqrt": "√"}.get(named[1], named[1]) if named else ""
    for number in re.findall(rf"(n\d+) \[label=.*> {badge} <", drawn.source):
        drawn.node(number, color="#c0392b", penwidth="4")
    for suffix in (".svg", ".png"):
        tg.viz.render(drawn, path.with_suffix(suffix))
    return culprit


# all of it ----------------------------------------------------------------------------------------


def hunt(function: Callable[..., Any], adapter: Any, examples: int, seed: int) -> Report:
    """Search for the smallest point at which a gradient is wrong."""
    return search(function, SHAPES, adapter=adapter, examples=examples, seed=seed)


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'-' * len(text)}")


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the demo; returns the numbers that it prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--fast", action="store_true", help="fewer batches and examples")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out"),
        help="what is drawn goes to 02_check_gradients in this folder",
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    options.out /= "02_check_gradients"
    options.out.mkdir(parents=True, exist_ok=True)
    batches, examples, seed = (20, 20, options.seed) if options.fast else (1000, 200, options.seed)
    numbers: dict[str, Any] = {}

    title("a fixed tolerance")
    numbers["share passed by the recipe"] = passed = share_passed(batches, seed)
    print(f"share of ordinary batches at which it passes the bug: {passed:.0%}")
    equal = [np.zeros((8, 4)), np.ones(4), np.zeros(4)]
    numbers["recipe passes equal samples"] = recipe_passes(wrong, equal)
    print(f"does it pass a batch of equal samples: {numbers['recipe passes equal samples']}")

    title("the checker on one of those batches")
    report = check_rule(forward, wrong, *batch(np.random.default_rng(seed)), seed=seed)
    print(report.summary())
    numbers["worst relative error of the bug"] = report.worst

    title("the smallest example that a search finds")
    found = hunt(forward, lambda f: Pair(f, wrong), examples, seed)
    print(found)
    numbers["found"], numbers["example"] = not found.ok, found.reproduction

    title("a torch.autograd.Function with the same bug")
    if importlib.util.find_spec("torch"):
        torch_found = hunt(torch_layer(), from_torch, examples, seed)
        print(torch_found.summary())
        numbers["found in torch"] = not torch_found.ok
    else:
        print("PyTorch is not installed: skipped.")

    title("mended")
    mended = hunt(forward, lambda f: Pair(f, right), examples, seed)
    print(mended)
    numbers["mended"], numbers["worst relative error when mended"] = mended.ok, mended.worst

    title("one derivative by differences")
    curve = study(seed)
    draw_steps(curve, options.out / "steps")
    best = float(curve.errors.min())
    numbers |= {
        "bug": curve.bug / abs(curve.truth),
        "best difference": best / abs(curve.truth),
        **{
            f"error bar, {dtype}": float(estimate.error) / abs(curve.truth)
            for dtype, estimate in curve.estimates.items()
        },
    }
    for what in ("bug", "best difference", "error bar, float64", "error bar, long double"):
        print(f"{what:24}{numbers[what]:9.1e} of the derivative")

    title("with a graph, the operation is named")
    numbers["culprit"] = find_culprit(options.out / "culprit", seed)
    print(numbers["culprit"])
    print(f"\npictures: {options.out}/")
    return numbers


if __name__ == "__main__":
    main()
