"""A softmax classifier, trained for real: pictures of clothes, and the digits.

Softmax regression (a linear map) first, then a net with batch norm, 784-256-128-10, by ``nn.fit``:
once at a constant learning rate with early stopping, once with a rate that decays. A part of the
training set is held out for all choices; the test set is used once, at the end. You will see

- ``curves``: loss and held-out accuracy over the epochs; what the decay of the rate brings;
- ``confusion``: which class is taken for which; ``mistakes``: the surest of the wrong answers;
- ``weights``: what the linear classifier looks for in each class;
- ``gradient``: ``y_hat - y`` on a real batch, and how exactly autodiff finds it;
- ``calibration``: whether 90 % means 90 %, before and after one temperature is fitted;
- that a training which was interrupted ends with the same weights, bit for bit.

    python demos/11_classifier.py [--fast] [--out DIR] [--seed N]
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from matplotlib import colors
from tqdm import tqdm

import lecture
import tinygrad_bn as tg
from tinygrad_bn import nn

CLOTHES = "T-shirt Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Boot"
HIDDEN = (256, 128)
BINS = 15
LINEAR, CONSTANT, DECAYED = "linear", "constant rate", "decayed rate"
Trained: TypeAlias = tuple[nn.Sequential, nn.History]
COLOURS = {LINEAR: lecture.GREY, CONSTANT: lecture.PURPLE, DECAYED: lecture.BLUE}


@dataclass(frozen=True)
class Task:
    """What is learned: all three parts of the data, and the names of the classes."""

    x: np.ndarray
    y: np.ndarray
    x_held: np.ndarray
    y_held: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    name: str
    classes: list[str]

    @property
    def train(self) -> tuple[np.ndarray, np.ndarray]:
        """The samples that are trained on."""
        return self.x, self.y

    @property
    def held(self) -> tuple[np.ndarray, np.ndarray]:
        """The samples by which choices are made."""
        return self.x_held, self.y_held

    @property
    def test(self) -> tuple[np.ndarray, np.ndarray]:
        """The samples that are used once, at the end."""
        return self.x_test, self.y_test


@dataclass(frozen=True)
class Plan:
    """How much is run: samples (None for all), epochs and batch sizes."""

    train: int | None
    test: int | None
    epochs: int
    linear_epochs: int
    digits_epochs: int
    batch: int
    lr: float = 3e-3
    patience: int = 3


FULL = Plan(train=None, test=None, epochs=14, linear_epochs=10, digits_epochs=30, batch=250)
FAST = Plan(train=6000, test=2000, epochs=5, linear_epochs=5, digits_epochs=15, batch=100)


def task(split: lecture.Split, seed: int) -> Task:
    """Hold a twelfth of the training samples out, as many of each class."""
    x, x_held, y, y_held = tg.data.train_test_split(
        split.x.astype(np.float32), split.y, test_size=1 / 12, rng=seed, stratify=split.y
    )
    classes = CLOTHES.split() if split.name == "Fashion-MNIST" else [str(d) for d in range(10)]
    return Task(
        x, y, x_held, y_held, split.x_test.astype(np.float32), split.y_test, split.name, classes
    )


def build(inputs: int, hidden: Sequence[int], seed: int) -> nn.Sequential:
    """Build linear maps with batch norm and ReLU between; without hidden layers, one linear map."""
    rng = np.random.default_rng(seed)
    layers: list[nn.Module] = []
    for before, after in pairwise((inputs, *hidden)):
        layers.append(nn.Linear(before, after, bias=False, rng=rng, dtype=np.float32))
        layers += [nn.BatchNorm(after, dtype=np.float32), nn.ReLU()]
    last = hidden[-1] if hidden else inputs
    return nn.Sequential(*layers, nn.Linear(last, 10, rng=rng, dtype=np.float32))


def fit(
    task: Task,
    hidden: Sequence[int],
    *,
    epochs: int,
    batch: int,
    lr: float,
    decay: bool,
    seed: int,
    stop: nn.EarlyStop | None = None,
) -> Trained:
    """Train a net by Adam, at a constant rate or one that falls to 0 along half a cosine."""
    model = build(task.x.shape[1], hidden, seed)
    steps = epochs * (len(task.x) // batch)
    rate = tg.optim.cosine(lr, steps=steps) if decay else lr
    history = nn.fit(
        model,
        task.train,
        tg.cross_entropy,
        tg.optim.Adam(model.parameters(), rate),
        epochs,
        batch_size=batch,
        rng=seed,
        drop_last=True,
        validation=task.held,
        stop=stop,
    )
    return model, history


def train_linear(task: Task, plan: Plan, seed: int) -> Trained:
    """Train softmax regression."""
    return fit(
        task, (), epochs=plan.linear_epochs, batch=plan.batch, lr=plan.lr, decay=True, seed=seed
    )


def train_nets(task: Task, plan: Plan, seed: int) -> dict[str, Trained]:
    """Train the net at a constant rate, stopped early, and at a decaying rate."""
    stop = nn.EarlyStop(monitor="validation loss", patience=plan.patience, restore_best=True)
    shared = {"epochs": plan.epochs, "batch": plan.batch, "lr": plan.lr, "seed": seed}
    return {
        CONSTANT: fit(task, HIDDEN, decay=False, stop=stop, **shared),
        DECAYED: fit(task, HIDDEN, decay=True, **shared),
    }


# an interruption ---------------------------------------------------------------------------------


def resume(task: Task, seed: int) -> tuple[int, float]:
    """Interrupt a training, go on from its checkpoint, and compare with one in a single run.

    Returns the step of the interruption and the largest difference of any number in the states.
    """
    part = (task.x[:1000], task.y[:1000])
    at = 13  # of 30: in the middle of the second epoch

    def interrupt(step: int, _: Any) -> None:
        if step == at:
            raise KeyboardInterrupt

    def run(**more: Any) -> dict[str, np.ndarray]:
        model = build(task.x.shape[1], (32,), seed)
        optimiser = tg.optim.Adam(model.parameters(), tg.optim.cosine(3e-3, steps=30))
        shared = {"batch_size": 100, "rng": seed, "progress": False}
        with contextlib.suppress(KeyboardInterrupt):
            nn.fit(model, part, tg.cross_entropy, optimiser, 3, **shared, **more)
        return model.state_dict()

    whole = run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training"
        broken = run(checkpoint=path, on_step=interrupt)
        resumed = run(checkpoint=path)
    if difference(whole, broken) == 0:
        raise RuntimeError("The training was not interrupted, so that nothing was resumed.")
    return at, difference(whole, resumed)


def difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """Return the largest difference between two states."""
    return max(float(np.abs(one[name] - other[name]).max(initial=0)) for name in one)


# what a trained net says -------------------------------------------------------------------------


def gradient(model: nn.Module, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return d loss / d logits of a batch by autodiff, and ``(y_hat - y) / N``; both (N, 10)."""
    model.eval()
    logits = model(x)
    logits.retain_grad()
    tg.cross_entropy(logits, y).backward()
    model.train()
    y_hat = tg.softmax(logits.data, axis=1).data
    return logits.grad.data, (y_hat - np.eye(10, dtype=y_hat.dtype)[y]) / len(y)


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return the probabilities of logits (N, 10) that are divided by a temperature."""
    return tg.softmax(logits / temperature, axis=1).data


def reliability(p: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort answers into bins of confidence: their share, mean confidence and accuracy, (BINS,).

    Bins without answers have the share 0, and NaN for the other two.
    """
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(bins, w, minlength=BINS) / counts for w in (confidence, right)]
    return counts / len(y), means[0], means[1]


def calibration_error(p: np.ndarray, y: np.ndarray) -> float:
    """Return the expected calibration error: the mean of |accuracy - confidence| over answers.

    Both are the means of the answer's bin. Source: Guo et al. 2017, equation 3.
    """
    share, confidence, accuracy = reliability(p, y)
    return float(np.nansum(share * np.abs(accuracy - confidence)))


def fit_temperature(logits: np.ndarray, y: np.ndarray) -> float:
    """Return the temperature of least cross-entropy, found by Newton's method on 1 / T.

    The loss is convex in the inverse temperature: logits enter it times that one number.
    """

    def loss(inverse: tg.Tensor) -> tg.Tensor:
        return tg.cross_entropy(inverse * logits.astype(np.float64), y)

    inverse = np.array(1.0)
    for _ in range(20):
        step = tg.grad(loss)(inverse).data / tg.hessian(loss)(inverse).data
        inverse = np.maximum(inverse - step, inverse / 2)
    return 1 / float(inverse)


def confusion(predicted: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Count (true class, predicted class), (10, 10)."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (y, predicted), 1)
    return counts


# numbers -----------------------------------------------------------------------------------------


def measure_all(task: Task, models: dict[str, Trained]) -> dict[str, float]:
    """Test each model, once; and what its training says."""
    numbers: dict[str, float] = {}
    for name, (model, history) in models.items():
        result = nn.evaluate(model, task.test, tg.cross_entropy)
        numbers[f"{name}: test accuracy"] = result["accuracy"]
        numbers[f"{name}: test loss"] = result["loss"]
        numbers[f"{name}: held-out accuracy"] = nn.evaluate(model, task.held, tg.cross_entropy)[
            "accuracy"
        ]
        numbers[f"{name}: epochs"] = len(history.epochs)
    numbers["test samples"] = len(task.y_test)
    hits = {n: nn.predict(models[n][0], task.x_test).argmax(1) == task.y_test for n in models}
    gain = hits[DECAYED].astype(float) - hits[LINEAR]
    numbers[f"{DECAYED} over {LINEAR}: gain"] = float(gain.mean())
    numbers[f"{DECAYED} over {LINEAR}: standard error"] = float(gain.std() / len(gain) ** 0.5)
    return numbers


def measure_decay(task: Task, nets: Sequence[dict[str, Trained]]) -> dict[str, float]:
    """Compare the two rates over several seeds: what the decay gains in test accuracy."""
    gains = []
    for pair in nets:
        constant, decayed = (
            nn.accuracy(nn.predict(pair[name][0], task.x_test), task.y_test)
            for name in (CONSTANT, DECAYED)
        )
        gains.append(decayed - constant)
    return {
        "gain of the decay, median": float(np.median(gains)),
        "gain of the decay, least": min(gains),
        "gain of the decay, most": max(gains),
        "gain of the decay, seeds": len(gains),
    }


def measure_calibration(task: Task, model: nn.Module) -> dict[str, float]:
    """Fit a temperature on the held-out samples, and test what it does."""
    logits = nn.predict(model, task.x_test)
    temperature = fit_temperature(nn.predict(model, task.x_held), task.y_held)
    plain, cooled = softmax(logits), softmax(logits, temperature)
    return {
        "temperature": temperature,
        "mean confidence": float(plain.max(axis=1).mean()),
        "mean confidence with temperature": float(cooled.max(axis=1).mean()),
        "calibration error": calibration_error(plain, task.y_test),
        "calibration error with temperature": calibration_error(cooled, task.y_test),
        "test loss with temperature": tg.cross_entropy(logits / temperature, task.y_test).item(),
    }


def measure_digits(plan: Plan, seeds: Sequence[int]) -> dict[str, float]:
    """Train a small net on the digits, and test it; one split, net and order for each seed."""
    found = []
    for seed in tqdm(seeds, desc="digits", unit="net", ncols=88):
        split = lecture.digits(seed)
        model = build(64, (128, 64), seed)
        epochs, x = plan.digits_epochs, split.x.astype(np.float32)
        rate = tg.optim.cosine(plan.lr, steps=epochs * (len(x) // 64))
        optimiser = tg.optim.Adam(model.parameters(), rate)
        nn.fit(
            model,
            (x, split.y),
            tg.cross_entropy,
            optimiser,
            epochs,
            batch_size=64,
            rng=seed,
            drop_last=True,
            progress=False,
        )
        test = split.x_test.astype(np.float32)
        found.append(nn.accuracy(nn.predict(model, test), split.y_test))
    return {
        "digits: test accuracy, median": float(np.median(found)),
        "digits: test accuracy, least": min(found),
        "digits: test accuracy, most": max(found),
        "digits: seeds": len(found),
    }


def claims(numbers: dict[str, float]) -> list[lecture.Claim]:
    """Judge the claims by the numbers."""
    return [_hidden(numbers), _decay(numbers), _gradient(numbers), _calibration(numbers)]


def _hidden(numbers: dict[str, float]) -> lecture.Claim:
    gain = numbers[f"{DECAYED} over {LINEAR}: gain"]
    error = numbers[f"{DECAYED} over {LINEAR}: standard error"]
    return lecture.Claim(
        "Hidden layers take a softmax classifier beyond what linear boundaries can separate.",
        "the lecture",
        lecture.verdict(whole=gain > 2 * error, part=gain > 0),
        f"test accuracy {numbers[f'{DECAYED}: test accuracy']:.2%} against "
        f"{numbers[f'{LINEAR}: test accuracy']:.2%}: {100 * gain:.2f} points more, standard error "
        f"{100 * error:.2f} on {numbers['test samples']} test samples",
    )


def _decay(numbers: dict[str, float]) -> lecture.Claim:
    middle, least, most = (
        100 * numbers[f"gain of the decay, {which}"] for which in ("median", "least", "most")
    )
    return lecture.Claim(
        "A learning rate that decays ends higher than a constant one (with early stopping).",
        "the lecture",
        lecture.verdict(whole=least > 0, part=middle > 0),
        f"{middle:.2f} points of test accuracy more, median over seeds ({least:.2f} to {most:.2f}; "
        f"seeds: {numbers['gain of the decay, seeds']})",
    )


def _gradient(numbers: dict[str, float]) -> lecture.Claim:
    off, unit = numbers["gradient: deviation"], float(np.finfo(np.float32).eps)
    return lecture.Claim(
        "The gradient of softmax and cross-entropy by the logits is y_hat - y (over N).",
        "the lecture",
        lecture.verdict(whole=off < 8 * unit, part=off < 1e-3),
        f"by autodiff on a real batch of 100, float32: largest deviation {off:.1e} of the largest "
        f"element",
    )


def _calibration(numbers: dict[str, float]) -> lecture.Claim:
    before, after = (numbers[f"calibration error{w}"] for w in ("", " with temperature"))
    over = numbers["mean confidence"] - numbers[f"{DECAYED}: test accuracy"]
    return lecture.Claim(
        "The probabilities of a trained net are overconfident, and one temperature mends most of "
        "it.",
        "Guo et al. 2017",
        lecture.verdict(whole=over > 0 and after < before / 2, part=over > 0 and after < before),
        f"mean confidence {numbers['mean confidence']:.1%} at an accuracy of "
        f"{numbers[f'{DECAYED}: test accuracy']:.1%}; expected calibration error {before:.1%}, "
        f"with temperature {numbers['temperature']:.2f} {after:.1%}",
    )


# pictures ----------------------------------------------------------------------------------------


def draw_curves(histories: dict[str, nn.History], out: Path) -> None:
    """Draw held-out loss and accuracy over the epochs."""
    figure, (left, right) = lecture.axes(1, 2, size=(5.2, 3.9))
    for name, history in histories.items():
        epochs = range(1, len(history.epochs) + 1)
        for axes, what in ((left, "loss"), (right, "accuracy")):
            values = [row[f"validation {what}"] for row in history.epochs]
            label = f"net, {name}" if name != LINEAR else "softmax regression"
            axes.plot(epochs, values, ".-", color=COLOURS[name], label=label)
    ends = {n: h.epochs[-1]["validation accuracy"] for n, h in histories.items()}
    stopped = len(histories[CONSTANT].epochs) < len(histories[DECAYED].epochs)
    left.set(
        title="constant rate: " + ("stopped early" if stopped else "not stopped early"),
        xlabel="epoch",
        ylabel="held-out loss",
    )
    right.set(
        title=f"at the end: decayed {ends[DECAYED]:.1%}, constant {ends[CONSTANT]:.1%}",
        xlabel="epoch",
        ylabel="held-out accuracy",
    )
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    right.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    left.legend(frameon=False)
    lecture.save(figure, out, "curves")


def draw_confusion(task: Task, counts: np.ndarray, out: Path) -> None:
    """Draw the share of each true class that is taken for each class."""
    share = counts / counts.sum(axis=1, keepdims=True)
    wrong = share - np.diag(np.diag(share))
    true, taken = np.unravel_index(wrong.argmax(), wrong.shape)
    figure, axes = lecture.axes(size=(6.4, 5.6))
    axes.imshow(share, cmap="Blues", norm=colors.PowerNorm(0.4, vmin=0, vmax=1))
    for (i, j), value in np.ndenumerate(share):
        if value >= 0.01:
            shade = "white" if value > 0.3 else "black"
            axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", color=shade)
    axes.set(
        title=f"{wrong.max():.0%} of class {task.classes[true]} are taken for "
        f"{task.classes[taken]}",
        xlabel="answer",
        ylabel="truth (each row: per cent of that class)",
        xticks=range(10),
        yticks=range(10),
    )
    axes.set_xticklabels(task.classes, rotation=45, ha="right")
    axes.set_yticklabels(task.classes)
    lecture.save(figure, out, "confusion")


def picture(x: np.ndarray) -> np.ndarray:
    """Return a sample as a square of pixels."""
    side = round(len(x) ** 0.5)
    return x.reshape(side, side)


def draw_mistakes(task: Task, p: np.ndarray, out: Path) -> None:
    """Draw the wrong answers that were given with the highest probability."""
    predicted = p.argmax(axis=1)
    wrong = np.flatnonzero(predicted != task.y_test)
    worst = wrong[np.argsort(-p[wrong, predicted[wrong]], kind="stable")][:12]
    figure, grid = lecture.axes(2, 6, size=(1.7, 2.3))
    for axes in grid.ravel():
        axes.axis("off")
    for axes, i in zip(grid.ravel(), worst, strict=False):
        answer, truth = predicted[i], task.y_test[i]
        axes.imshow(picture(task.x_test[i]), cmap="gray_r")
        axes.set_title(
            f"{task.classes[answer]} {p[i, answer]:.1%}\n"
            f"truth: {task.classes[truth]} {p[i, truth]:.1%}",
            fontsize=9,
        )
    figure.suptitle("the surest of the wrong answers")
    lecture.save(figure, out, "mistakes")


def draw_weights(task: Task, model: nn.Sequential, out: Path) -> None:
    """Draw the weights of the linear classifier as pictures, less their mean over classes."""
    weights = model[0].weight.data
    weights = weights - weights.mean(axis=0)  # the same for every class: softmax ignores it
    limit = np.percentile(np.abs(weights), 99)
    figure, grid = lecture.axes(2, 5, size=(1.9, 2.1))
    for axes, name, row in zip(grid.ravel(), task.classes, weights, strict=True):
        shown = axes.imshow(picture(row), cmap="RdBu", vmin=-limit, vmax=limit)
        axes.set_title(name)
        axes.axis("off")
    figure.colorbar(shown, ax=grid, label="weight: against (red), for the class (blue)")
    figure.suptitle("what softmax regression looks for")
    lecture.save(figure, out, "weights")


def draw_gradient(task: Task, x: np.ndarray, g: np.ndarray, out: Path) -> None:
    """Draw N times the gradient by the logits for eight samples, from the worst answer down."""
    ranks = [0, 1, 2, 4, 8, 16, 32, 64]
    rows = np.argsort(-np.abs(g).max(axis=1), kind="stable")[ranks]
    figure, (left, right) = lecture.axes(
        1, 2, size=(3.6, 4.6), gridspec_kw={"width_ratios": [1, 6]}
    )
    left.imshow(np.concatenate([picture(x[i]) for i in rows]), cmap="gray_r", aspect="auto")
    left.axis("off")
    shown = right.imshow(len(x) * g[rows], cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(len(x) * g[rows]):
        if abs(value) >= 0.05:
            shade = "white" if abs(value) > 0.6 else "black"
            right.text(j, i, f"{value:.1f}", ha="center", va="center", color=shade, fontsize=8)
    right.set(
        title="y_hat - y: p - 1 at the truth, p elsewhere;\nfrom the worst answer to a good one",
        yticks=[],
    )
    right.set_xticks(range(10), task.classes, rotation=45, ha="right")
    figure.colorbar(shown, ax=right, label="N times the gradient by the logits")
    lecture.save(figure, out, "gradient")


def draw_calibration(
    p: dict[str, np.ndarray], y: np.ndarray, temperature: float, out: Path
) -> None:
    """Draw accuracy against confidence, before and after the temperature."""
    figure, grid = lecture.axes(1, 2, size=(4.4, 4.2), sharey=True)
    titles = {"as trained": "as trained", "cooled": f"with temperature {temperature:.2f}"}
    for axes, (name, probabilities) in zip(grid, p.items(), strict=True):
        share, confidence, accuracy = reliability(probabilities, y)
        axes.plot([0, 1], [0, 1], "--", color=lecture.GREY, lw=1)
        axes.scatter(confidence, accuracy, s=15 + 400 * share, color=lecture.BLUE, alpha=0.7)
        error = calibration_error(probabilities, y)
        axes.set(
            title=f"{titles[name]}:\ncalibration error {error:.1%}",
            xlabel="confidence (mean of each bin)",
        )
    grid[0].set(ylabel="accuracy (area: share of the answers)", xlim=(0.2, 1.03), ylim=(0, 1.05))
    grid[1].set(xlim=(0.2, 1.03))
    lecture.save(figure, out, "calibration")


def draw_all(
    task: Task,
    models: dict[str, Trained],
    numbers: dict[str, float],
    out: Path,
) -> None:
    """Draw every picture but the gradient's."""
    logits = nn.predict(models[DECAYED][0], task.x_test)
    p = softmax(logits)
    draw_curves({name: history for name, (_, history) in models.items()}, out)
    draw_confusion(task, confusion(p.argmax(axis=1), task.y_test), out)
    draw_mistakes(task, p, out)
    draw_weights(task, models[LINEAR][0], out)
    both = {"as trained": p, "cooled": softmax(logits, numbers["temperature"])}
    draw_calibration(both, task.y_test, numbers["temperature"], out)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the demo; returns the numbers that it prints."""
    options = lecture.options(__doc__, argv, name="11_classifier")
    plan = FAST if options.fast else FULL
    clothes = task(lecture.images(options.seed, train=plan.train, test=plan.test), options.seed)
    start = perf_counter()
    seeds = range(options.seed, options.seed + (1 if options.fast else 3))
    nets = [train_nets(clothes, plan, seed) for seed in seeds]
    models = {LINEAR: train_linear(clothes, plan, options.seed), **nets[0]}
    print(f"{2 * len(nets) + 1} trainings took {perf_counter() - start:.0f} s")
    net = models[DECAYED][0]
    at, off = resume(clothes, options.seed)
    g, simple = gradient(net, clothes.x_held[:100], clothes.y_held[:100])
    splits = range(options.seed, options.seed + (1 if options.fast else 5))
    numbers = {
        "data": clothes.name,
        **measure_all(clothes, models),
        **measure_decay(clothes, nets),
        **measure_calibration(clothes, net),
        "gradient: deviation": float(np.abs(g - simple).max() / np.abs(simple).max()),
        "interrupted after step": at,
        "largest difference after going on": off,
        **measure_digits(plan, splits),
    }
    draw_all(clothes, models, numbers, options.out)
    draw_gradient(clothes, clothes.x_held[:100], g, options.out)
    lecture.report(numbers, claims(numbers), options.out)
    return numbers


if __name__ == "__main__":
    main()
