"""What the demos of the lecture share: options, data, figures, and the claims that they test.

A claim is a sentence of the lecture or of a paper, with what became of it here. Each demo works its
claims out from the numbers that it measured; ``claims.py`` collects them into the documentation.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np

import tinygrad_bn as tg

mpl.use("Agg")
from matplotlib import pyplot as plt

Verdict = Literal["yes", "no", "partly"]

BLUE, ORANGE, GREEN, RED = "#3b7dd8", "#e08a1e", "#3a9d5d", "#c0392b"
PURPLE, GREY = "#7d5ba6", "#8592a0"
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, GREY)
"""Blue is with batch norm and orange without, wherever the two are compared."""


@dataclass(frozen=True)
class Claim:
    """A claim, who makes it, whether it showed here, and the figures that say so."""

    text: str
    source: str
    reproduced: Verdict
    figures: str


@dataclass
class Split:
    """Training and test samples: x (N, features), labels (N,), and what they are of."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    name: str


def options(doc: str, argv: Sequence[str] | None, *, name: str) -> argparse.Namespace:
    """Read the options that every demo has: ``fast``, ``out`` (made, if need be) and ``seed``.

    What a demo writes goes to a folder of its ``name`` in ``--out``: pictures of two demos have the
    same names.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fast", action="store_true", help="a small version, in seconds")
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help=f"pictures go to {name} in this folder"
    )
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(argv)
    chosen.out /= name
    chosen.out.mkdir(parents=True, exist_ok=True)
    write(chosen.out / "options.json", {"fast": chosen.fast, "seed": chosen.seed})
    return chosen


def digits(seed: int, *, standardize: bool = True) -> Split:
    """Split the digits, three quarters for training; pixels standardised, or between 0 and 1."""
    loaded = tg.data.load_digits()
    x, x_test, y, y_test = tg.data.train_test_split(
        loaded.x, loaded.labels, test_size=0.25, rng=seed, stratify=loaded.labels
    )
    if not standardize:
        return Split(x / 16, y, x_test / 16, y_test, "digits")
    scale = tg.data.Standardizer().fit(x)
    return Split(scale.transform(x), y, scale.transform(x_test), y_test, "digits")


def images(seed: int, *, train: int | None = None, test: int | None = None) -> Split:
    """Fashion-MNIST as float32 (N, 784) between 0 and 1, if it is on this machine, else digits.

    ``train`` and ``test``: how many to take, as many of each class; None for all.
    """
    try:
        data = tg.data.load_fashion_mnist()
    except FileNotFoundError as error:
        print(f"{error}\nThe digits take its place.")
        return digits(seed, standardize=False)
    x, y = _some(*data.train, train, seed)
    x_test, y_test = _some(*data.test, test, seed)
    return Split(x, y, x_test, y_test, "Fashion-MNIST")


def _some(x: Any, y: Any, count: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    if count is not None:
        _, x, _, y = tg.data.train_test_split(x, y, test_size=count, rng=seed, stratify=y)
    return x.reshape(len(x), -1).astype(np.float32) / 255, y


def verdict(*, whole: bool, part: bool = False) -> Verdict:
    """Return yes if the whole of a claim showed, partly if a part of it did."""
    return "yes" if whole else "partly" if part else "no"


def axes(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (5.0, 3.6), **shared: Any
) -> tuple[Any, Any]:
    """Make a figure of rows by columns of axes, each of a size in inches, without a box."""
    width, height = size
    figure, grid = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), layout="constrained", **shared
    )
    for each in np.atleast_1d(grid).ravel():
        each.spines[["top", "right"]].set_visible(False)
    return figure, grid


def save(figure: Any, out: Path, name: str) -> None:
    """Write a figure as PNG, the same bytes for the same figure, and close it."""
    figure.savefig(out / f"{name}.png", dpi=110, metadata={"Software": None})
    plt.close(figure)


def report(numbers: Mapping[str, Any], claims: Iterable[Claim], out: Path) -> None:
    """Print numbers and claims, and write them as ``numbers.json`` and ``claims.json``."""
    width = max(map(len, numbers))
    for name, value in numbers.items():
        print(
            f"{name:{width}}  {value:.6g}"
            if isinstance(value, float)
            else f"{name:{width}}  {value}"
        )
    listed = list(claims)
    for claim in listed:
        print(f"\n{claim.text}\n  ({claim.source})  here: {claim.reproduced}; {claim.figures}")
    print(f"\npictures: {out}/")
    write(out / "numbers.json", dict(numbers))
    write(out / "claims.json", [asdict(claim) for claim in listed])


def write(path: Path, content: Any) -> None:
    """Write JSON that reads well and differs only where the content does."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
