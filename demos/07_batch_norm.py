"""Batch norm step by step, on a hidden layer of a net that reads digits.

You will see

- ``steps``: what a unit's mini-batch goes through: centred, divided, scaled and shifted;
- what gamma = sigma and beta = mu give back, and what a bias before batch norm does: nothing;
- ``affine``: gamma and beta trained against frozen, over seeds, with sigmoids and with ReLUs;
- ``spread``: how much the statistics of a mini-batch vary with its size;
- ``noise``: what that noise does to a net, alone: same batches, statistics of parts of them;
- two updates by every optimiser against its printed equation;
- ``running``: running averages against the statistics of the whole training set; ``training``:
  the same while the weights train;
- ``test``: one sample at a time, and what the statistics of small test batches do.

    python demos/07_batch_norm.py [--fast] [--out DIR] [--seed N]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import lecture
import tinygrad_bn as tg
from tinygrad_bn import nn

EPS = np.finfo(float).eps
UNITS = 64
SAMPLES = 256
GOAL = 0.95
FROZEN = {
    "both trained": (),
    "gamma frozen": ("gamma",),
    "beta frozen": ("beta",),
    "both frozen": ("gamma", "beta"),
}


def build(
    bend: Callable[[], nn.Module],
    seed: int,
    frozen: Sequence[str] = (),
    norm: Callable[[int], nn.BatchNorm] = nn.BatchNorm,
) -> nn.Sequential:
    """Build a net of two hidden layers with batch norm; gamma or beta may stay as they begin."""
    rng = np.random.default_rng(seed)
    layers: list[nn.Module] = []
    for inputs in (64, UNITS):
        layer = norm(UNITS)
        for name in frozen:
            getattr(layer, name).requires_grad = False
        layers += [nn.Linear(inputs, UNITS, bias=False, rng=rng), layer, bend()]
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
    z = received(model, data.x[:SAMPLES])
    with tg.no_grad():
        made = norm(z, use="batch", update=False).data
    mean, var = z.mean(axis=0), z.var(axis=0)
    centred = z - mean
    z_norm = centred / np.sqrt(var + norm.eps)
    z_tilde = norm.gamma.data * z_norm + norm.beta.data
    draw_steps({"z": z, "z - μ": centred, "z_norm": z_norm, "z̃ = γ z_norm + β": z_tilde}, out)
    # A rounding of z is divided by sigma and multiplied by gamma; the result is rounded as well.
    grown = np.abs(norm.gamma.data) / np.sqrt(var) * np.abs(z).max(axis=0)
    return {
        "steps by hand less the layer, in roundings": _roundings(
            made - z_tilde, grown + np.abs(z_tilde).max(axis=0)
        ),
        **identity(z, norm.eps),
    }


def _roundings(difference: np.ndarray, size: np.ndarray) -> float:
    """Return a difference, at most, in roundings of values of a unit's size."""
    return float((np.abs(difference) / (EPS * size)).max())


def identity(z: np.ndarray, eps: float) -> dict[str, float]:
    """Undo batch norm, with the root that it divides by as gamma and with sigma alone.

    With sigma, each deviation from the mean comes back times ``sigma / sqrt(var + eps)``, which is
    less than 1 by at most ``eps / (2 var)``.
    """
    mean, var = z.mean(axis=0), z.var(axis=0)
    exact = tg.batch_norm(z, np.sqrt(var + eps), mean, eps=eps).data
    near = tg.batch_norm(z, np.sqrt(var), mean, eps=eps).data
    short, bound = np.abs(near - z), np.abs(z - mean) * eps / (2 * var)
    return {
        "gamma = sqrt(var + eps), beta = mu: distance from z, in roundings": _roundings(
            exact - z, np.abs(z).max(axis=0)
        ),
        "gamma = sigma, beta = mu: distance from z": float(short.max()),
        "gamma = sigma, beta = mu: distance from z over its bound": float(
            short.max() / bound.max()
        ),
    }


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
    before, terms = model(x).data, _terms(model, x, y)
    rng = np.random.default_rng(seed)
    model.linear.bias.assign(rng.normal(0, 10, UNITS))
    changed = np.abs(model(x).data - before).max() / np.abs(before).max()
    weights = np.abs(gradient.linear.weight.data).max()
    return {
        "bias before batch norm: its gradient over the weights', largest": float(
            np.abs(gradient.linear.bias.data).max() / weights
        ),
        "bias before batch norm: its gradient, in roundings of its terms": _roundings(
            gradient.linear.bias.data, np.abs(terms).sum(axis=0)
        ),
        "bias before batch norm: relative change of the logits by a bias of 10": float(changed),
        "parameters with the bias": sum(p.size for p in model.parameters()),
        "parameters without": sum(p.size for p in model.parameters()) - UNITS,
    }


def _terms(model: Biased, x: Any, y: Any) -> np.ndarray:
    """Return the gradient by each sample's z, of which the gradient of the bias is the sum."""
    return tg.grad(lambda z: tg.cross_entropy(model.head(tg.relu(model.norm(z))), y))(
        model.linear(x).detach()
    ).data


# gamma and beta -----------------------------------------------------------------------------------


class Goal:
    """Looks after each step whether the goal is reached on held-out samples; ``step`` says when."""

    def __init__(self, model: nn.Module, data: lecture.Split) -> None:
        self.model, self.data, self.step = model, data, np.inf

    def __call__(self, step: int, _: Any) -> None:
        """Test the model, until it has been there once."""
        if self.step == np.inf:
            found = nn.accuracy(nn.predict(self.model, self.data.x_test), self.data.y_test)
            self.step = float(step) if found >= GOAL else np.inf


def affine(data: lecture.Split, epochs: int, seeds: Sequence[int], out: Path) -> dict[str, Any]:
    """Train with gamma and beta trained or frozen; returns accuracies and steps to the goal."""
    numbers: dict[str, Any] = {}
    bends = {"sigmoid": nn.Sigmoid, "ReLU": nn.ReLU}
    todo = [(b, f, s) for b in bends for f in FROZEN for s in seeds]
    for bend, name, seed in tqdm(todo, desc="gamma and beta", unit="net", ncols=88):
        model = build(bends[bend], seed, FROZEN[name])
        goal = Goal(model, data)
        last = learn(model, data, epochs, seed, on_step=goal).epochs[-1]
        for what, value in (
            ("accuracy", last["validation accuracy"]),
            ("steps to 95 %", goal.step),
            ("training loss", last["training loss"]),
        ):
            numbers.setdefault(f"{bend}, {name}: {what}", []).append(value)
    draw_affine(numbers, list(bends), out)
    return numbers


def draw_affine(numbers: Mapping[str, Any], bends: Sequence[str], out: Path) -> None:
    """Draw what became of every net, and the medians over the seeds."""
    figure, grid = lecture.axes(1, 3, size=(4.7, 3.5))
    for axes, what in zip(grid, ("accuracy", "steps to 95 %", "training loss"), strict=True):
        for i, bend in enumerate(bends):
            for k, name in enumerate(FROZEN):
                values = numbers[f"{bend}, {name}: {what}"]
                place, colour = k + 0.22 * (2 * i - 1), (lecture.BLUE, lecture.GREEN)[i]
                axes.plot(
                    [place] * len(values), values, "o", color=colour, alpha=0.45, markersize=5
                )
                label = bend if k == 0 else None
                axes.plot(
                    place + np.array([-0.15, 0.15]),
                    [np.median(values)] * 2,
                    color=colour,
                    linewidth=2.5,
                    label=label,
                )
        axes.set_xticks(range(len(FROZEN)), labels=[n.replace(" ", "\n") for n in FROZEN])
    grid[0].set(title="held-out accuracy at the end")
    grid[0].yaxis.set_major_formatter(lambda share, _: f"{share:.1%}")
    grid[1].set(title="steps to 95 % of held-out digits", ylim=(0, None))
    grid[2].set(title="training loss of the last epoch", yscale="log")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
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
        title="The mean of a mini-batch varies by σ / sqrt(m)",
    )
    axes.set_xticks(sizes, labels=list(map(str, sizes)))
    axes.set_yticks([0.05, 0.1, 0.2, 0.5], labels=["0.05", "0.1", "0.2", "0.5"])
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


class Parts(nn.BatchNorm):
    """Batch norm that in training standardises every ``size`` samples by their own statistics."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__(features)
        self.size = size

    def forward(self, x: Any, **switches: Any) -> Any:
        """Standardise; running averages are those of the whole batch."""
        whole = super().forward(x, **switches)
        if not self.training:
            return whole
        parts = tg.reshape(x, (-1, self.size, self.features))
        gamma, beta = (tg.reshape(p, (1, 1, -1)) for p in (self.gamma, self.beta))
        return tg.reshape(tg.batch_norm(parts, gamma, beta, axis=1), x.shape)


def noise(sizes: Sequence[int], epochs: int, seeds: Sequence[int], out: Path) -> dict[str, Any]:
    """Train on the same batches of 64 with the statistics of parts: only the noise differs.

    Each seed splits the digits anew: effects this small may be a matter of the split.
    """
    numbers: dict[str, Any] = {}
    todo = [(lecture.digits(seed), size, seed) for seed in seeds for size in sizes]
    for data, size, seed in tqdm(todo, desc="noise", unit="net", ncols=88):
        model = build(nn.ReLU, seed, norm=partial(Parts, size=size))
        last = learn(model, data, epochs, seed).epochs[-1]
        training = nn.evaluate(model, (data.x, data.y), tg.cross_entropy)["loss"]
        for what, value in (
            ("training loss, tested", training),
            ("held-out loss", last["validation loss"]),
            ("accuracy", last["validation accuracy"]),
        ):
            numbers.setdefault(f"statistics of {size} in batches of 64: {what}", []).append(value)
    draw_noise(numbers, sizes, out)
    return numbers


def draw_noise(numbers: Mapping[str, Any], sizes: Sequence[int], out: Path) -> None:
    """Draw losses and accuracy against the number of samples that share statistics."""
    figure, (left, right) = lecture.axes(1, 2, size=(5.2, 3.5))
    for axes, what, colour in (
        (left, "training loss, tested", lecture.GREY),
        (left, "held-out loss", lecture.BLUE),
        (right, "accuracy", lecture.BLUE),
    ):
        values = np.array([numbers[f"statistics of {m} in batches of 64: {what}"] for m in sizes])
        label = {"training loss, tested": "training samples", "held-out loss": "held-out samples"}
        axes.plot(sizes, values, "o", color=colour, alpha=0.4, markersize=5)
        axes.plot(sizes, np.median(values, axis=1), color=colour, label=label.get(what))
    left.set(yscale="log", ylabel="cross-entropy", title="loss, by running statistics")
    right.set(title="held-out accuracy")
    right.yaxis.set_major_formatter(lambda share, _: f"{share:.1%}")
    for axes in (left, right):
        axes.set(xlabel="samples that share mean and variance, of 64", xscale="log")
        axes.set_xticks(sizes, labels=list(map(str, sizes)))
        axes.minorticks_off()
    left.legend(frameon=False)
    lecture.save(figure, out, "noise")


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


KINDS: dict[str, dict[str, Any]] = {
    "decay 0.9": {"decay": 0.9},
    "decay 0.9, bias corrected": {"decay": 0.9, "debias": True},
    "decay 0.99, bias corrected": {"decay": 0.99, "debias": True},
    "all samples alike (decay=None)": {"decay": None},
}


def off(layer: nn.BatchNorm, mean: np.ndarray, var: np.ndarray) -> tuple[float, float]:
    """Return how far running mean (in sigma) and variance (relative) are off, means over units."""
    mean_off = np.abs(layer.running_mean.data - mean) / np.sqrt(var)
    return float(mean_off.mean()), float(np.abs(layer.running_var.data / var - 1).mean())


def standing(data: lecture.Split, steps: int, seed: int) -> tuple[dict[str, Any], float]:
    """Return the errors of running averages after each step, the weights fixed; and of one pass."""
    rng = np.random.default_rng(seed)
    z = received(build(nn.ReLU, seed), data.x)
    layers = {name: nn.BatchNorm(UNITS, **options) for name, options in KINDS.items()}
    mean, var = z.mean(axis=0), z.var(axis=0)
    errors: dict[str, list[tuple[float, float]]] = {name: [] for name in KINDS}
    for _ in range(steps):
        batch = z[rng.integers(len(z), size=64)]
        for name, layer in layers.items():
            layer(batch)
            errors[name].append(off(layer, mean, var))
    exact = nn.BatchNorm(UNITS, decay=None, correction=0)
    for start in range(0, len(z), 64):
        exact(z[start : start + 64])
    return errors, float(np.abs(exact.running_var.data / var - 1).max())


def moving(data: lecture.Split, epochs: int, seed: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the same errors while the weights train, and the held-out accuracies at the end.

    The training is the same for each kind: it looks at no running average.
    """
    errors: dict[str, list[tuple[float, float]]] = {name: [] for name in KINDS}
    accuracies = {}
    for name in tqdm(KINDS, desc="running averages", unit="net", ncols=88):
        model = build(nn.ReLU, seed, norm=partial(nn.BatchNorm, **KINDS[name]))

        def look(step: int, _: Any, model: nn.Sequential = model, name: str = name) -> None:
            if step > len(errors[name]):
                z = received(model, data.x)
                errors[name].append(off(model[4], z.mean(axis=0), z.var(axis=0)))

        last = learn(model, data, epochs, seed, on_step=look).epochs[-1]
        accuracies[name] = last["validation accuracy"]
    return errors, accuracies


def running(data: lecture.Split, steps: int, epochs: int, seed: int, out: Path) -> dict[str, float]:
    """Compare running averages with the statistics of all training samples by the same weights."""
    still, one_pass = standing(data, steps, seed)
    trained, accuracies = moving(data, epochs, seed)
    draw_running(still, trained, out)
    first, plain, alike = "decay 0.9, bias corrected", "decay 0.9", "all samples alike (decay=None)"
    numbers = {
        "running mean, first mini-batch: error without correction": still[plain][0][0],
        "running mean, first mini-batch: error with correction": still[first][0][0],
        "running variance, first mini-batch: error without correction": still[plain][0][1],
        "running variance, first mini-batch: error with correction": still[first][0][1],
        "running mean, end: error with decay 0.9": float(
            np.mean([mean for mean, _ in still[plain][-steps // 4 :]])
        ),
        "running mean, end: error of all samples alike": still[alike][-1][0],
        "one pass over the set: largest relative error of the variance": one_pass,
    }
    for name in KINDS:
        mean, var = np.mean(trained[name][-len(data.x) // 64 :], axis=0)
        numbers[f"trained, {name}: error of the running mean"] = float(mean)
        numbers[f"trained, {name}: error of the running variance"] = float(var)
        numbers[f"trained, {name}: accuracy"] = accuracies[name]
    return numbers


def draw_running(still: Mapping[str, Any], trained: Mapping[str, Any], out: Path) -> None:
    """Draw the errors of mean and variance with fixed weights, and of the mean in training."""
    figure, grid = lecture.axes(1, 2, size=(4.6, 3.4))
    draw_errors(grid[0], still, 0, "Weights fixed: running mean")
    draw_errors(grid[1], still, 1, "Weights fixed: running variance")
    grid[1].legend(frameon=False, fontsize=8)
    lecture.save(figure, out, "running")
    figure, axes = lecture.axes(size=(5.6, 3.6))
    draw_errors(axes, trained, 0, "Weights in training: an average that forgets is nearer")
    axes.legend(frameon=False, fontsize=8)
    lecture.save(figure, out, "training")


def draw_errors(axes: Any, errors: Mapping[str, Any], k: int, title: str) -> None:
    """Draw the errors of the mean (k = 0) or the variance (k = 1) of each kind of average."""
    for (name, pairs), colour in zip(errors.items(), lecture.COLOURS, strict=False):
        steps = np.unique(np.geomspace(1, len(pairs), 60).astype(int))
        values = [pairs[step - 1][k] for step in steps]
        axes.loglog(steps, values, color=colour, linewidth=1.3, label=name)
    wrong = ("|mean - exact| / σ", "|variance / exact - 1|")[k]
    axes.set(title=title, xlabel="mini-batches of 64 seen", ylabel=f"{wrong}, mean of units")


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
    back = numbers["gamma = sqrt(var + eps), beta = mu: distance from z, in roundings"]
    short = numbers["gamma = sigma, beta = mu: distance from z"]
    ratio = numbers["bias before batch norm: its gradient over the weights', largest"]
    changed = numbers["bias before batch norm: relative change of the logits by a bias of 10"]
    slope = numbers["spread of the mean: slope over log m"]
    apart = {n.split(":")[0]: v for n, v in numbers.items() if n.endswith("equation, in roundings")}
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
            "yes" if back < SAMPLES + 8 else "no",
            f"with gamma = sqrt(var + eps) to {back:.1f} roundings of a unit's largest value; with "
            f"sigma alone all but {short:.0e}",
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
        _noise(numbers),
        lecture.Claim(
            "Gamma and beta are updated like weights: by SGD, momentum, RMSprop or Adam.",
            "the lecture",
            "yes" if max(apart.values()) <= 16 else "no",
            "two updates against the equations, in roundings: "
            + ", ".join(f"{name} {value:.1f}" for name, value in apart.items()),
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
    sooner = less(*pair("steps to 95 %"))
    held = [won == seeds for won in (better, lower, sooner)]
    return lecture.Claim(
        f"Trained gamma and beta are part of why batch norm works ({bend} net).",
        "the lecture",
        lecture.verdict(whole=all(held), part=any(held)),
        f"held-out accuracy {spread(trained)} trained, {spread(frozen)} frozen; of {seeds} seeds "
        f"better {better}, 95 % sooner {sooner}, training loss lower {lower}",
    )


def _noise(numbers: Mapping[str, Any]) -> lecture.Claim:
    """Judge an eighth of the batch against all of it, by the gap of the losses and what it is for.

    Each has to hold for nine seeds of ten: by luck, one in 93.
    """

    def of(size: int, what: str) -> np.ndarray:
        return np.array(numbers[f"statistics of {size} in batches of 64: {what}"])

    training, tested = (
        {m: of(m, w) for m in (8, 64)} for w in ("training loss, tested", "held-out loss")
    )
    better = int((of(8, "accuracy") > of(64, "accuracy")).sum())
    lower = int((tested[8] < tested[64]).sum())
    higher = int((training[8] > training[64]).sum())
    closer = int((tested[8] - training[8] < tested[64] - training[64]).sum())
    count = len(tested[8])
    held = [10 * won >= 9 * count for won in (closer, lower, better)]
    return lecture.Claim(
        "The noise of a mini-batch's statistics regularises a little.",
        "the lecture; Ioffe & Szegedy (2015), section 3.4",
        lecture.verdict(whole=all(held), part=any(held)),
        f"statistics of 8 of the batch's 64 samples against those of all, {count} splits: training "
        f"loss higher in {higher} (median {np.median(training[8]):.4f} against "
        f"{np.median(training[64]):.4f}), held-out loss nearer to it in {closer} and lower in "
        f"{lower} ({np.median(tested[8]):.3f} against {np.median(tested[64]):.3f}), accuracy "
        f"better in {better}",
    )


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the demo; returns the numbers that it prints."""
    options = lecture.options(__doc__, argv, name="07_batch_norm")
    epochs, count, repeats = (3, 2, 200) if options.fast else (20, 5, 2000)
    seed, out, data = options.seed, options.out, lecture.digits(options.seed)
    numbers: dict[str, Any] = four_steps(data, seed, out)
    numbers |= bias(data, seed)
    seeds = [seed + i for i in range(count)]
    numbers |= affine(data, epochs, seeds, out)
    numbers |= batch_statistics(data, repeats, seed, out)
    sizes, splits = ([8, 64], 2) if options.fast else ([4, 8, 16, 64], 10)
    numbers |= noise(sizes, epochs, range(seed, seed + splits), out)
    numbers |= updates(data, 3 if options.fast else 10, seed)
    numbers |= running(data, 300, epochs, seed, out)
    numbers |= at_test(data, seed, 3 if options.fast else 15, out)
    lecture.report(numbers, claims(numbers), out)
    return numbers


if __name__ == "__main__":
    main()
