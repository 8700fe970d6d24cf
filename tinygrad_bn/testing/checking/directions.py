"""Random directions and cotangents: few bits, so that steps are exact; never ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_bn.testing.checking.subjects import Arrays


def few_bits(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Draw numbers of magnitude 1 to 2 with ten bits (float16 has eleven), with random signs.

    Fewer, and their products often cancel: <v, Jd> would vanish for a wrong J as for a right one.
    """
    return np.asarray(rng.integers(512, 1024, shape) / 512 * rng.choice([-1.0, 1.0], shape))


def cotangents(results: Arrays, rng: np.random.Generator) -> Arrays:
    """Draw a cotangent for each result (a sum would hide a wrong roll or permutation).

    It is 0 where a result is not finite, as masked entries on the way are.
    """
    return [np.where(np.isfinite(y), few_bits(y.shape, rng), 0.0) for y in results]


def direction_for(x: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Draw a direction in which a step of 1 changes every element by about its own size.

    Elements that are 0 move by the median size of the others; infinite ones stay.
    """
    finite = np.isfinite(x)
    exponents = np.frexp(np.where(finite, x, 0))[1] - 1
    moving = exponents[finite & (x != 0)]
    usual = int(np.median(moving)) if moving.size else 0
    sizes = np.where(x == 0, usual, exponents)
    return np.asarray(np.where(finite, np.ldexp(few_bits(x.shape, rng), sizes), 0.0))


def of_order_one(direction: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Scale a direction by a power of two so that its largest element is about 1."""
    largest = np.max(np.abs(direction), initial=0.0)
    return np.asarray(np.ldexp(direction, -int(np.frexp(largest)[1])))


def alone(values: Arrays, position: int, step: npt.NDArray[Any]) -> Arrays:
    """Return a direction along one argument."""
    return [step if i == position else np.zeros_like(x) for i, x in enumerate(values)]


def beside(x: npt.NDArray[Any], rng: np.random.Generator, share: float = 1.0) -> npt.NDArray[Any]:
    """Move every finite element by about a hundredth of its size, or a share: off any kink."""
    fine = 1 + rng.random(x.shape)
    return np.asarray(x + direction_for(x, rng) * fine * (share / 128))


def in_order(x: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """Move elements by less than a hundredth of their size so that equal ones come in order.

    ``side``: 1 for the order in which they stand, -1 for the opposite one.
    """
    sizes = np.abs(direction_for(x, np.random.default_rng(0)))
    ramp = (1 + np.arange(x.size).reshape(x.shape)) / (256 * max(1, x.size))
    return np.asarray(x + side * ramp * np.exp2(np.floor(np.log2(np.where(sizes, sizes, 1)))))
