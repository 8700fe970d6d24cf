"""Eager workloads, side by side: tinygrad_bn, torch, HIPS autograd, MyGrad, hand-written NumPy.

    python benchmarks/eager.py                 # one thread, then the default number of threads
    python benchmarks/eager.py --fast          # fewer workloads and rounds, one thread: seconds
    python benchmarks/eager.py --only norm     # the workloads whose name contains a word
    python benchmarks/eager.py --json out.json # the same rows as JSON ("-": print it instead)

Peers that are not installed are left out, and named. ``torch`` is torch's own fused function where
it has one, ``torch primitives`` the same formula as we compose, op by op. ``numpy`` is forward and
backward written by hand, with closed-form gradients: no graph, nothing general. Buffers are reused,
but in batch norm's row ``numpy``, which is the formula as textbooks write it.

How to read it. ``ratio`` is our time divided by the peer's: below 1 we are faster. Frameworks take
turns, a sample each, in every round, so that a slow stretch of the machine falls on all of them:
the ratio is the median over rounds of the ratio within one round, followed by the middle half of
those ratios. Times are the least over rounds, per call, or per operation for the chains. The
garbage collector stays on, as it is when people work.

Run it on an idle machine (the load is printed): with as many threads as processors, libraries wait
for one another when something else runs, and a small operation of a peer can take a thousand times
its time. The ratio of least times, from the two columns, is less sensitive to that than the median.

Before anything is timed, the results and gradients of every framework are compared with NumPy's
in float64, and must lie within the worst rounding error of the longest chain of operations.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import tinygrad_bn as tg
from tinygrad_bn.graph.tensor import Variable

Arrays = Sequence[np.ndarray]
Program = Callable[..., Any]
Run = Callable[[], list[Any]]

OURS = "ours"
EPS = 1e-5
RATE = 0.05
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def optional(name: str) -> ModuleType | None:
    """Import a peer if it is installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


torch: Any = optional("torch")
autograd: Any = optional("autograd")
anp: Any = optional("autograd.numpy")
mygrad: Any = optional("mygrad")
mynet: Any = optional("mygrad.nnet")

PEERS = {"torch": torch, "autograd": autograd, "mygrad": mygrad}


@dataclass(frozen=True)
class Workload:
    """One thing to time: a run for each framework, and what the ratios should be.

    ``operations``: what one run is divided by. ``depth``: the most roundings of ``dtype``
    that one number collects: they bound the error of a right answer. ``truth``: NumPy in float64.
    """

    name: str
    runs: dict[str, Run]
    truth: Run
    depth: int
    dtype: Any = np.float32
    operations: int = 1
    goals: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One line of the table. Times are in seconds."""

    workload: str
    peer: str
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    rounds: int
    goal: float | None


# the frameworks: result and gradients of a program for a given cotangent -------------------------


def ours(program: Program, arrays: Arrays, g: np.ndarray) -> Run:
    """Make a run of ours."""
    leaves = [tg.Tensor(a, requires_grad=True) for a in arrays]
    cotangent = tg.Tensor(g)

    def run() -> list[Any]:
        for x in leaves:
            x.grad = None
        y = program(tg, *leaves)
        y.backward(cotangent)
        return [y, *(x.grad for x in leaves)]

    return run


def by_torch(program: Program, arrays: Arrays, g: np.ndarray) -> Run:
    """Make a run of torch."""
    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    cotangent = torch.tensor(g)

    def run() -> list[Any]:
        for x in leaves:
            x.grad = None
        y = program(torch, *leaves)
        y.backward(cotangent)
        return [y.detach(), *(x.grad for x in leaves)]

    return run


def by_autograd(program: Program, arrays: Arrays, g: np.ndarray) -> Run:
    """Make a run of HIPS autograd."""
    places = tuple(range(len(arrays)))

    def run() -> list[Any]:
        pull, y = autograd.make_vjp(lambda *xs: program(anp, *xs), argnum=places)(*arrays)
        return [y, *pull(g)]

    return run


def by_mygrad(program: Program, arrays: Arrays, g: np.ndarray) -> Run:
    """Make a run of MyGrad."""
    leaves = [mygrad.tensor(a) for a in arrays]

    def run() -> list[Any]:
        for x in leaves:
            x.null_grad()
        y = program(mygrad, *leaves)
        y.backward(g)
        return [y.data, *(x.grad for x in leaves)]

    return run


def peers(program: Program, arrays: Arrays, g: np.ndarray, label: str = "torch") -> dict[str, Run]:
    """Make the runs of one program in every other framework that is here."""
    makers = {label: by_torch, "autograd": by_autograd, "mygrad": by_mygrad}
    return {
        name: maker(program, arrays, g)
        for name, maker in makers.items()
        if PEERS[name.split()[0]] is not None
    }


def wide(arrays: Arrays) -> list[np.ndarray]:
    """Copy floating-point arrays to float64; labels stay."""
    return [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]


# chains of small operations: what an operation costs beyond its arithmetic -----------------------

STEPS = 500


def affine(xp: Any, x: Any) -> Any:
    """Scale and shift, again and again."""
    for _ in range(STEPS):
        x = x * 1.0001 + 0.001
    return x


def affine_by_hand(x: np.ndarray, g: np.ndarray) -> list[np.ndarray]:
    """Do the same in NumPy, with its gradient."""
    y = affine(np, x)
    for _ in range(STEPS):
        g = g * 1.0001
    return [y, g]


def sines(xp: Any, x: Any) -> Any:
    """Apply the sine, again and again."""
    for _ in range(2 * STEPS):
        x = xp.sin(x)
    return x


def sines_by_hand(x: np.ndarray, g: np.ndarray) -> list[np.ndarray]:
    """Do the same in NumPy, with its gradient."""
    kept = [x]
    for _ in range(2 * STEPS):
        kept.append(np.sin(kept[-1]))
    for z in kept[-2::-1]:
        g = g * np.cos(z)
    return [kept[-1], g]


def mix(xp: Any, x: Any, w: Any, b: Any) -> Any:
    """Mix tensors: tanh, multiply, add, subtract."""
    for _ in range(STEPS // 2):
        x = xp.tanh(x) * w + b - x
    return x


def mix_by_hand(x: np.ndarray, w: np.ndarray, b: np.ndarray, g: np.ndarray) -> list[np.ndarray]:
    """Do the same in NumPy, with its gradients."""
    kept = []
    for _ in range(STEPS // 2):
        t = np.tanh(x)
        kept.append(t)
        x = t * w + b - x
    dw, db = np.zeros_like(w), np.zeros_like(b)
    for t in reversed(kept):
        dw += g * t
        db += g
        g = g * w * (1 - t * t) - g
    return [x, g, dw, db]


def chain(name: str, program: Program, by_hand: Program, operands: int) -> Workload:
    """Make a workload of 1,000 operations on 10 elements."""
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.1, 0.5, 10) for _ in range(operands)]
    g = np.ones(10)
    runs = {OURS: ours(program, arrays, g), "numpy": lambda: by_hand(*arrays, g)}
    return Workload(
        f"chain of 1,000: {name}, 10 float64",
        {**runs, **peers(program, arrays, g)},
        runs["numpy"],
        depth=8 * STEPS,
        dtype=np.float64,
        operations=2 * STEPS,
        goals={"torch": 0.75, "autograd": 0.25},
    )


# batch norm --------------------------------------------------------------------------------------


def our_norm(xp: Any, x: Any, gamma: Any, beta: Any) -> Any:
    """Normalise by our function, which is composed of primitives."""
    return xp.batch_norm(x, gamma, beta, eps=EPS)


def torch_norm(xp: Any, x: Any, gamma: Any, beta: Any) -> Any:
    """Normalise by torch's own fused function."""
    f = xp.nn.functional
    return f.batch_norm(x, None, None, gamma, beta, training=True, eps=EPS)


def plain_norm(xp: Any, x: Any, gamma: Any, beta: Any) -> Any:
    """Normalise by the formula, two passes, composed of primitives."""
    centred = x - xp.mean(x, axis=0, keepdims=True)
    variance = xp.mean(centred * centred, axis=0, keepdims=True)
    return centred / xp.sqrt(variance + EPS) * gamma + beta


def norm_by_hand(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, g: np.ndarray) -> list[Any]:
    """Two passes forward; backward the closed form, rearranged so that buffers are reused."""
    n = len(x)
    x_hat = x - x.mean(axis=0)
    inverse = 1 / np.sqrt(np.square(x_hat).mean(axis=0) + x.dtype.type(EPS))
    x_hat *= inverse
    y = x_hat * gamma
    y += beta
    d_beta = g.sum(axis=0)
    d_gamma = (g * x_hat).sum(axis=0)
    dx = x_hat * (d_gamma / -n)
    dx += g
    dx -= d_beta / n
    dx *= gamma * inverse
    return [y, dx, d_gamma, d_beta]


def norm_as_written(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, g: np.ndarray) -> list[Any]:
    """Do the same as textbooks write it: an array for every operation."""
    centred = x - x.mean(axis=0)
    deviation = np.sqrt(np.square(centred).mean(axis=0) + x.dtype.type(EPS))
    x_hat = centred / deviation
    y = gamma * x_hat + beta
    dx = gamma / deviation * (g - g.mean(axis=0) - x_hat * (g * x_hat).mean(axis=0))
    return [y, dx, (g * x_hat).sum(axis=0), g.sum(axis=0)]


def norm(rows: int, columns: int, goals: dict[str, float]) -> Workload:
    """Make a workload of batch norm in float32, forward and backward."""
    rng = np.random.default_rng(1)
    x, g = (rng.normal(size=(rows, columns)).astype(np.float32) for _ in range(2))
    gamma, beta = (rng.uniform(0.5, 1.5, columns).astype(np.float32) for _ in range(2))
    arrays = [x, gamma, beta]
    runs = {
        OURS: ours(our_norm, arrays, g),
        "numpy": lambda: norm_as_written(*arrays, g),
        "numpy in place": lambda: norm_by_hand(*arrays, g),
    }
    if torch is not None:
        runs["torch"] = by_torch(torch_norm, arrays, g)
    return Workload(
        f"batch norm ({rows}, {columns}) float32",
        {**runs, **peers(plain_norm, arrays, g, "torch primitives")},
        lambda: norm_by_hand(*wide(arrays), g.astype(np.float64)),
        depth=4 * rows,
        goals=goals,
    )


# softmax cross-entropy ---------------------------------------------------------------------------


def plain_cross_entropy(xp: Any, logits: Any, labels: np.ndarray) -> Any:
    """Compute cross-entropy by the usual formula, composed of primitives."""
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    logp = shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
    return -xp.mean(logp[np.arange(len(labels)), labels])


def cross_entropy_by_hand(logits: np.ndarray, labels: np.ndarray) -> list[Any]:
    """Compute cross-entropy and its gradient, softmax minus one-hot."""
    rows = np.arange(len(labels))
    z = logits - logits.max(axis=1, keepdims=True)
    chosen = z[rows, labels]
    np.exp(z, out=z)
    total = z.sum(axis=1, keepdims=True)
    value = (np.log(total[:, 0]) - chosen).mean()
    z /= total
    z[rows, labels] -= 1
    z /= len(labels)
    return [value, z]


def cross_entropy(rows: int, classes: int) -> Workload:
    """Make a workload of softmax cross-entropy in float32 with integer labels."""
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(rows, classes)).astype(np.float32)
    labels = rng.integers(classes, size=rows)
    one = np.ones((), np.float32)
    fixed = tg.Tensor(labels)
    runs = {
        OURS: ours(lambda xp, z: xp.cross_entropy(z, fixed), [logits], one),
        "numpy": lambda: cross_entropy_by_hand(logits, labels),
    }
    if torch is not None:
        t = torch.tensor(labels)
        entropy = torch.nn.functional.cross_entropy
        runs["torch"] = by_torch(lambda xp, z: entropy(z, t), [logits], one)
    if autograd is not None:
        runs["autograd"] = by_autograd(
            lambda xp, z: plain_cross_entropy(xp, z, labels), [logits], one
        )
    if mynet is not None:
        entropy_of_mygrad = mynet.losses.softmax_crossentropy
        runs["mygrad"] = by_mygrad(lambda xp, z: entropy_of_mygrad(z, labels), [logits], one)
    return Workload(
        f"softmax cross-entropy ({rows}, {classes}) float32",
        runs,
        lambda: cross_entropy_by_hand(logits.astype(np.float64), labels),
        depth=4 * max(rows, classes),
    )


# a training step ---------------------------------------------------------------------------------


def layered(xp: Any, x: Any, weights: Sequence[Any], relu: Program) -> Any:
    """Compute the logits of a net of dense layers with relu between them."""
    pairs = list(zip(weights[::2], weights[1::2], strict=True))
    for w, b in pairs[:-1]:
        x = relu(x @ w + b)
    w, b = pairs[-1]
    return x @ w + b


def our_step(x: np.ndarray, labels: np.ndarray, start: Arrays) -> Run:
    """Make a training step of ours."""
    weights = [Variable(a, requires_grad=True) for a in start]
    batch, targets = tg.Tensor(x), tg.Tensor(labels)

    def run() -> list[Any]:
        tg.cross_entropy(layered(tg, batch, weights, tg.relu), targets).backward()
        for w in weights:
            w.assign(w.data - RATE * w.grad.data)
            w.grad = None
        return weights

    return run


def torch_step(x: np.ndarray, labels: np.ndarray, start: Arrays) -> Run:
    """Make a training step of torch."""
    weights = [torch.tensor(a, requires_grad=True) for a in start]
    batch, targets = torch.tensor(x), torch.tensor(labels)
    entropy = torch.nn.functional.cross_entropy

    def run() -> list[Any]:
        entropy(layered(torch, batch, weights, torch.relu), targets).backward()
        with torch.no_grad():
            for w in weights:
                w.add_(w.grad, alpha=-RATE)
                w.grad = None
        return [w.detach() for w in weights]

    return run


def autograd_step(x: np.ndarray, labels: np.ndarray, start: Arrays) -> Run:
    """Make a training step of HIPS autograd."""
    weights = [a.copy() for a in start]

    def loss(*now: Any) -> Any:
        logits = layered(anp, x, now, lambda z: anp.maximum(z, 0))
        return plain_cross_entropy(anp, logits, labels)

    slope = autograd.grad(loss, argnum=tuple(range(len(weights))))

    def run() -> list[Any]:
        for w, g in zip(weights, slope(*weights), strict=True):
            np.subtract(w, RATE * g, out=w)
        return weights

    return run


def mygrad_step(x: np.ndarray, labels: np.ndarray, start: Arrays) -> Run:
    """Make a training step of MyGrad."""
    weights = [mygrad.tensor(a) for a in start]

    def run() -> list[Any]:
        logits = layered(mygrad, x, weights, mynet.activations.relu)
        mynet.losses.softmax_crossentropy(logits, labels).backward()
        for w in weights:
            w.data -= RATE * w.grad
            w.null_grad()
        return [w.data for w in weights]

    return run


def numpy_step(x: np.ndarray, labels: np.ndarray, start: Arrays) -> Run:
    """Make a training step written by hand."""
    weights = [a.copy() for a in start]
    pairs = list(zip(weights[::2], weights[1::2], strict=True))

    def run() -> list[Any]:
        inputs = [x]
        for w, b in pairs:
            z = inputs[-1] @ w
            z += b
            inputs.append(z if w is weights[-2] else np.maximum(z, 0, out=z))
        _, g = cross_entropy_by_hand(inputs.pop(), labels)
        for (w, b), h in zip(reversed(pairs), reversed(inputs), strict=True):
            dw, db = h.T @ g, g.sum(axis=0)
            if h is not x:
                g = g @ w.T
                g *= h > 0
            np.subtract(w, RATE * dw, out=w)
            np.subtract(b, RATE * db, out=b)
        return weights

    return run


def training(batch: int, sizes: Sequence[int]) -> Workload:
    """Make a workload of one step of stochastic gradient descent in float32."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(batch, sizes[0])).astype(np.float32)
    labels = rng.integers(sizes[-1], size=batch)
    start: list[np.ndarray] = []
    for m, n in itertools.pairwise(sizes):
        start.append(rng.normal(0, (2 / m) ** 0.5, (m, n)).astype(np.float32))
        start.append(rng.normal(0, 0.1, n).astype(np.float32))
    makers = {"torch": torch_step, "autograd": autograd_step, "mygrad": mygrad_step}
    runs = {OURS: our_step(x, labels, start), "numpy": numpy_step(x, labels, start)}
    runs |= {name: f(x, labels, start) for name, f in makers.items() if PEERS[name] is not None}
    return Workload(
        f"training step {'-'.join(map(str, sizes))}, batch {batch}",
        runs,
        numpy_step(*wide([x, labels]), wide(start)),
        depth=4 * (batch + sum(sizes)),
    )


# convolution -------------------------------------------------------------------------------------


def convolution_by_hand(x: np.ndarray, w: np.ndarray, g: np.ndarray) -> list[Any]:
    """Convolve by gathering windows into rows and one product of matrices; and its gradients."""
    n, c, height, width = x.shape
    out, _, kh, kw = w.shape
    h, v = height - kh + 1, width - kw + 1
    views = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(2, 3))
    rows = views.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * v, c * kh * kw)
    flat = w.reshape(out, -1)
    y = (rows @ flat.T).reshape(n, h, v, out).transpose(0, 3, 1, 2)
    g_rows = g.transpose(0, 2, 3, 1).reshape(-1, out)
    dw = (g_rows.T @ rows).reshape(w.shape)
    pieces = (g_rows @ flat).reshape(n, h, v, c, kh, kw).transpose(0, 3, 1, 2, 4, 5)
    dx = np.zeros_like(x)
    for i, j in np.ndindex(kh, kw):
        dx[:, :, i : i + h, j : j + v] += pieces[..., i, j]
    return [y, dx, dw]


def convolution(n: int, c: int, size: int, kernel: int, out: int) -> Workload:
    """Make a workload of a two-dimensional convolution in float32, forward and backward."""
    rng = np.random.default_rng(4)
    left = size - kernel + 1
    shapes = ((n, c, size, size), (out, c, kernel, kernel), (n, out, left, left))
    x, w, g = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    runs = {
        OURS: ours(lambda xp, x, w: xp.conv2d(x, w), [x, w], g),
        "numpy": lambda: convolution_by_hand(x, w, g),
    }
    if torch is not None:
        conv = torch.nn.functional.conv2d
        runs["torch"] = by_torch(lambda xp, x, w: conv(x, w), [x, w], g)
    if mynet is not None:
        conv_nd = mynet.layers.conv_nd
        runs["mygrad"] = by_mygrad(lambda xp, x, w: conv_nd(x, w, stride=1), [x, w], g)
    return Workload(
        f"conv2d ({n}, {c}, {size}, {size}), {out} of {kernel}x{kernel}",
        runs,
        lambda: convolution_by_hand(*wide([x, w, g])),
        depth=n * left * left,
    )


def workloads() -> Iterator[Callable[[], Workload]]:
    """List what is timed, the quick ones first."""
    yield lambda: chain("x * 1.0001 + 0.001", affine, affine_by_hand, 1)
    yield lambda: chain("sin", sines, sines_by_hand, 1)
    yield lambda: chain("tanh(x) * w + b - x", mix, mix_by_hand, 3)
    yield lambda: norm(256, 1024, {"numpy": 2.0, "numpy in place": 2.0})
    yield lambda: cross_entropy(256, 10)
    yield lambda: training(128, (64, 128, 64, 10))
    yield lambda: norm(32, 8, {})
    yield lambda: norm(64, 64, {})
    yield lambda: cross_entropy(256, 1000)
    yield lambda: convolution(8, 16, 28, 3, 32)
    yield lambda: norm(8192, 1024, {})


QUICK = 6
"""How many of the workloads --fast runs."""


# checking and timing -----------------------------------------------------------------------------


def array(value: Any) -> np.ndarray:
    """Copy any framework's array to float64."""
    bare = value.numpy() if torch is not None and isinstance(value, torch.Tensor) else value
    return np.array(bare, dtype=np.float64)


def check(workload: Workload) -> None:
    """Raise unless all frameworks agree with NumPy in float64, relative to the largest element."""
    truth = [array(t) for t in workload.truth()]
    for name, run in workload.runs.items():
        results = run()
        precision = np.finfo(workload.dtype).eps
        for i, (result, right) in enumerate(zip(results, truth, strict=True)):
            error = np.abs(array(result) - right).max() / np.abs(right).max()
            if not error <= workload.depth * precision:
                raise SystemExit(f"{workload.name}: result {i} of {name} is off by {error:.1e}.")


def spend(run: Run, times: int) -> float:
    """Return the seconds that one call takes, over several calls."""
    begin = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - begin) / times


def measure(workload: Workload, seconds: float, sample: float) -> dict[str, list[float]]:
    """Time the frameworks in turns, each for at least ``sample`` seconds in every round."""
    runs = workload.runs
    once = {name: min(spend(run, 1) for _ in range(3)) for name, run in runs.items()}
    times = {name: max(1, round(sample / t)) for name, t in once.items()}
    cost = sum(times[name] * once[name] for name in runs)
    names = list(runs)
    found: dict[str, list[float]] = {name: [] for name in names}
    for i in range(max(7, round(seconds / cost))):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            found[name].append(spend(runs[name], times[name]))
    return found


def rows_of(workload: Workload, found: dict[str, list[float]]) -> Iterator[Row]:
    """Turn the times of a workload into a row for each peer."""
    mine = found[OURS]
    for name, theirs in found.items():
        if name == OURS:
            continue
        ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        per = workload.operations
        yield Row(
            workload=workload.name,
            peer=name,
            ours=min(mine) / per,
            theirs=min(theirs) / per,
            ratio=middle,
            low=low,
            high=high,
            rounds=len(mine),
            goal=workload.goals.get(name),
        )


def importing(rounds: int) -> Row:
    """Time ``import tinygrad_bn`` against ``import numpy``, each in new processes, in turns."""

    def start(module: str) -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)  # noqa: S603  (own)
        return time.perf_counter() - begin

    modules = ("tinygrad_bn", "numpy")
    for module in modules:
        start(module)
    pairs = [[start(module) for module in modules] for _ in range(rounds)]
    low, middle, high = statistics.quantiles([1e3 * (a - b) for a, b in pairs], n=4)
    least, base = (min(times) for times in zip(*pairs, strict=True))
    return Row(IMPORT, "numpy", least, base, middle, low, high, rounds, goal=60.0)


IMPORT = "import in a new process (ratio: ms more)"


# the table ---------------------------------------------------------------------------------------

HEAD = f"{'workload':<49} {'peer':<16} {'ours':>8} {'theirs':>8} {'ratio':>6}  middle half    goal"


def human(seconds: float) -> str:
    """Write a time with three digits."""
    scale, unit = next(
        (s, u) for s, u in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (0.0, "ns")) if seconds >= s
    )
    return f"{seconds / (scale or 1e-9):.3g} {unit}"


def line(row: Row) -> str:
    """Write a row of the table."""
    times = f"{human(row.ours):>8} {human(row.theirs):>8}"
    middle = f"{row.low:.2f} to {row.high:.2f}"
    words = f"{row.workload:<49} {row.peer:<16} {times} {row.ratio:6.2f}  {middle:<14}"
    if row.goal is None:
        return words.rstrip()
    return f"{words} {row.goal:g} {'met' if row.ratio <= row.goal else 'MISSED'}"


def describe(peer: str, module: Any) -> str:
    """Say which version of a peer is here, if any."""
    return f"{peer} {'missing' if module is None else importlib.metadata.version(peer)}"


def conditions() -> str:
    """Say what was timed, and on how many threads."""
    threads = os.environ.get(THREADS[0], f"default ({os.cpu_count()} processors)")
    pool = "" if torch is None else f"; torch uses {torch.get_num_threads()}"
    python = ".".join(map(str, sys.version_info[:3]))
    versions = ", ".join(describe(name, module) for name, module in PEERS.items())
    load = f" Load {os.getloadavg()[0]:.1f}." if hasattr(os, "getloadavg") else ""
    return f"Threads: {threads}{pool}. Python {python}, numpy {np.__version__}, {versions}.{load}"


def work(options: argparse.Namespace) -> list[Row]:
    """Check and time in this process; print the table as it grows."""
    out = sys.stderr if options.json == "-" else sys.stdout
    print(conditions(), HEAD, sep="\n", file=out, flush=True)
    rows: list[Row] = []
    makers = list(workloads())[: QUICK if options.fast and not options.only else None]
    for make in makers:
        workload = make()
        if options.only not in workload.name:
            continue
        check(workload)
        found = measure(workload, options.seconds, sample=0.004)
        for row in rows_of(workload, found):
            rows.append(row)
            print(line(row), file=out, flush=True)
    if options.only in IMPORT:
        rows.append(importing(7 if options.fast else 25))
        print(line(rows[-1]), file=out, flush=True)
    return rows


def in_new_process(argv: Sequence[str], threads: str) -> dict[str, Any]:
    """Run this script again with a number of threads, which is fixed when libraries load."""
    around = {k: v for k, v in os.environ.items() if k not in THREADS}
    if threads != "default":
        around |= dict.fromkeys(THREADS, threads)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "rows.json"
        command = [sys.executable, __file__, *argv, "--worker", str(result)]
        subprocess.run(command, env=around, check=True)  # noqa: S603  (this very script)
        return {"threads": threads, "rows": json.loads(result.read_text())}


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """Read the options."""
    first = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=first)
    parser.add_argument("--fast", action="store_true", help="fewer workloads, rounds; one thread")
    parser.add_argument("--json", metavar="PATH", help='write the rows there too ("-": print)')
    parser.add_argument("--only", default="", metavar="WORD", help="workloads whose name has it")
    parser.add_argument("--threads", help='a number or "default"; without it 1, then default')
    parser.add_argument("--seconds", type=float, help="time for each workload (6; fast: 1)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.seconds = options.seconds or (1.0 if options.fast else 6.0)
    return options


def main(argv: Sequence[str]) -> int:
    """Run each setting of threads in a process of its own, and gather the rows."""
    options = parsed(argv)
    if options.worker:
        Path(options.worker).write_text(json.dumps([asdict(row) for row in work(options)]))
        return 0
    settings = [options.threads] if options.threads else ["1"] if options.fast else ["1", "default"]
    found = [in_new_process(argv, threads) for threads in settings]
    if options.json == "-":
        print(json.dumps(found, indent=1))
    elif options.json:
        Path(options.json).write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
