"""The training loop: batches, gradients, steps, and all that one wants around them."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn import files
from tinygrad_bn.data.splitting import batches
from tinygrad_bn.errors import DTypeError, FileError, GradientError, ShapeError, TinygradError
from tinygrad_bn.nn.checkpoints import (
    named,
    packed,
    part,
    random_state,
    read,
    set_random_state,
    unpack,
    write,
)
from tinygrad_bn.nn.control import Commands, Control
from tinygrad_bn.nn.evaluating import (
    Loss,
    Metric,
    NDArray,
    arrays_of,
    default_metrics,
    evaluate,
    modes_kept,
)
from tinygrad_bn.nn.history import History
from tinygrad_bn.nn.logging import Log
from tinygrad_bn.nn.module import Module
from tinygrad_bn.nn.progress import Progress
from tinygrad_bn.nn.stopping import EarlyStop
from tinygrad_bn.optim.optimisers import Optimiser

OnStep: TypeAlias = Callable[[int, dict[str, float]], Any]
Randomness: TypeAlias = np.random.Generator | int | None
PathLike: TypeAlias = str | os.PathLike[str]
Data: TypeAlias = tuple[Any, Any]


def fit(
    model: Module,
    data: Data,
    loss: Loss,
    optimizer: Optimiser,
    epochs: int,
    *,
    batch_size: int = 32,
    rng: Randomness = None,
    drop_last: bool = False,
    validation: Data | None = None,
    metrics: Mapping[str, Metric] | None = None,
    on_step: OnStep | Sequence[OnStep] = (),
    stop: EarlyStop | None = None,
    checkpoint: PathLike | None = None,
    every: int | None = None,
    control: PathLike | None = None,
    progress: bool | None = None,
) -> History:
    """Train a model for some epochs; returns the numbers of every step and epoch.

    ``data``: samples ``(x, y)``, arrays of one length; ``loss(model(x), y)``: a scalar tensor;
    ``optimizer``: made for ``model.parameters()``, its rate a number or a schedule. Each epoch goes
    through all samples in batches of ``batch_size``, in a new order that ``rng`` (a generator, a
    seed, or None) decides; ``drop_last`` leaves a smaller last batch out. Steps count from 1.

    ``metrics``: ``{name: f(prediction, y)}`` on arrays, by default the accuracy if y holds labels.
    A step has ``"loss"``, the metrics of its batch and ``"lr"``; an epoch ``"training ..."``, the
    means over its samples as they were seen, and with ``validation=(x, y)`` ``"validation ..."``,
    measured in evaluation mode at its end.

    ``on_step(step, {name: number})``: called after each step and at the end of each epoch; one or
    several, such as ``CSVLog(path)``. ``stop``: an ``EarlyStop``. ``checkpoint``: a path, written
    at the end of each epoch and after each ``every`` steps. If the file is there, training goes on
    from it, bit for bit as if it had never been interrupted: weights, buffers, optimiser, random
    generators, place in the epoch. ``control``: a JSON file that is looked at after each step, see
    ``Control``; a callback may set ``optimizer.lr`` too. ``progress``: show a bar (None: if tqdm is
    installed).

    Ctrl-C lets the step end, writes the checkpoint and raises KeyboardInterrupt; a second one
    interrupts at once. Whatever is raised on the way has the numbers so far as ``history``. Raises
    ShapeError and DTypeError for arguments that do not fit, FileError for a checkpoint that is
    damaged or of another training, GradientError for a loss that is not finite.

    >>> from tinygrad_bn.functions.losses import mse_loss
    >>> from tinygrad_bn.nn.layers import Linear
    >>> from tinygrad_bn.optim.optimisers import SGD
    >>> x = np.linspace(-1, 1, 64).reshape(-1, 1)
    >>> model = Linear(1, 1, rng=0)
    >>> optimizer = SGD(model.parameters(), lr=0.1)
    >>> history = fit(model, (x, 3 * x), mse_loss, optimizer, 20, rng=0, progress=False)
    >>> round(model.weight.item(), 2), history["loss"].size
    (2.84, 40)
    """
    x, y = arrays_of(data, "fit")
    training = Training(
        model=model,
        x=x,
        y=y,
        loss=loss,
        optimizer=_of_the_model(optimizer, model),
        epochs=_count("epochs", epochs, 0),
        batch_size=_count("batch_size", batch_size, 1),
        rng=np.random.default_rng(rng),
        drop_last=drop_last,
        validation=None if validation is None else arrays_of(validation, "fit, validation"),
        metrics=default_metrics(metrics, y),
        callbacks=[on_step] if callable(on_step) else list(on_step),
        stop=stop,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        every=None if every is None else _count("every", every, 1),
        control=None if control is None else Control(control),
        progress=progress,
    )
    return training.run()


@dataclass
class Training:
    """A training in progress: what ``fit`` was given, and how far it is."""

    model: Module
    x: NDArray
    y: NDArray
    loss: Loss
    optimizer: Optimiser
    epochs: int
    batch_size: int
    rng: np.random.Generator
    drop_last: bool
    validation: tuple[NDArray, NDArray] | None
    metrics: Mapping[str, Metric]
    callbacks: list[OnStep]
    stop: EarlyStop | None
    checkpoint: Path | None
    every: int | None
    control: Control | None
    progress: bool | None

    history: History = field(default_factory=History)
    step: int = 0
    epoch: int = 0
    position: int = 0
    order: dict[str, Any] = field(default_factory=dict)
    """The state of ``rng`` when the order of this epoch was drawn."""
    sums: dict[str, float] = field(default_factory=dict)
    """Of this epoch so far: numbers times samples."""
    stopped: bool = False
    """Whether ``stop`` ended it."""
    halted: bool = False
    """Whether a control file ended it, for this time."""
    lr: float | None = None
    """The rate that took the place of the schedule while training."""

    @property
    def batches_per_epoch(self) -> int:
        """How many steps an epoch has."""
        whole, rest = divmod(len(self.x), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def run(self) -> History:
        """Go on from the checkpoint, if there is one, to the end."""
        if not self.batches_per_epoch:
            raise ShapeError(
                f"fit: drop_last leaves nothing of {len(self.x)} samples with "
                f"batch_size={self.batch_size}.",
                "Use a smaller batch_size.",
            )
        self._start()
        total = self.epochs * self.batches_per_epoch
        try:
            with (
                modes_kept(self.model),
                Progress(max(total, self.step), self.step, wanted=self.progress) as bar,
                _interrupts() as interrupted,
            ):
                self.model.train()
                while self.epoch < self.epochs and not (self.stopped or self.halted):
                    self._go_through(bar, interrupted)
        except BaseException as error:
            error.history = self.history  # type: ignore[attr-defined]
            raise
        if self.stop is not None:
            self.stop.restore(self.model)
        return self.history

    # one epoch, one step -------------------------------------------------------------------------

    def _go_through(self, bar: Progress, interrupted: threading.Event) -> None:
        """Do what is left of an epoch; stop where a file or a key asks for it."""
        if not self.position:
            self.order = random_state(self.rng)
        for xb, yb in self._batches():
            numbers = self._train(xb, yb)
            self.history.add_step(numbers)
            self._tell(numbers)
            self._obey(self.control.poll() if self.control else None)
            bar.step(numbers)
            over = self.position == self.batches_per_epoch
            if over:
                bar.show(self._end_epoch())
            if over or interrupted.is_set() or self.halted or self._due():
                self._save()
            if interrupted.is_set():
                raise KeyboardInterrupt
            if self.halted:
                return

    def _batches(self) -> Iterator[tuple[NDArray, ...]]:
        """Give the batches of this epoch that are still to come.

        On the way back from a checkpoint the order is drawn again from where the generator was,
        which then goes on from where it had got.
        """
        now = random_state(self.rng) if self.position else None
        set_random_state(self.rng, self.order)
        given = batches(
            self.x, self.y, size=self.batch_size, rng=self.rng, drop_last=self.drop_last
        )
        if now is not None:
            set_random_state(self.rng, now)
        return itertools.islice(given, self.position, None)

    def _train(self, x: NDArray, y: NDArray) -> dict[str, float]:
        """Do one step; returns its numbers."""
        lr = self.optimizer.lr
        self.optimizer.zero_grad()
        prediction, loss = self._forward(x, y)
        if not math.isfinite(loss.item()):
            raise GradientError(
                f"The loss is {loss.item()} at step {self.step + 1} (lr={lr:g}); the parameters "
                "are as the step before left them.",
                "Lower the learning rate, clip the gradients, or look for NaN in the data.",
            )
        loss.backward()
        self.optimizer.step()
        self.step, self.position = self.step + 1, self.position + 1
        measured = {name: float(f(prediction.data, y)) for name, f in self.metrics.items()}
        numbers = {"loss": loss.item(), **measured}
        for name, number in {**numbers, "samples": 1.0}.items():
            self.sums[name] = self.sums.get(name, 0.0) + number * len(x)
        return {**numbers, "lr": lr}

    def _forward(self, x: NDArray, y: NDArray) -> tuple[Any, Any]:
        """Return prediction and loss of a batch."""
        try:
            prediction = self.model(x)
            return prediction, self.loss(prediction, y)
        except ShapeError as error:
            if len(x) == 1 < self.batch_size:
                error.add_note(
                    "This is the last batch, of one sample: drop_last=True leaves it out."
                )
            raise

    def _tell(self, numbers: dict[str, float]) -> None:
        """Tell the callbacks, which may change the rate."""
        schedule, before = self.optimizer.schedule, self.optimizer.lr
        for callback in self.callbacks:
            callback(self.step, numbers)
        if self.optimizer.schedule is not schedule:
            self._changed("lr", before, self.optimizer.lr, "callback")

    def _obey(self, commands: Commands | None) -> None:
        """Do what a control file asks for."""
        if commands is None:
            return
        before = self.optimizer.lr
        wanted = before if commands.lr is None else commands.lr
        wanted *= 1.0 if commands.lr_factor is None else commands.lr_factor
        if (commands.lr, commands.lr_factor) != (None, None):
            self.optimizer.lr = wanted
            self._changed("lr", before, wanted, "control")
        if commands.stop:
            self.halted = True
            self._changed("stop", False, True, "control")

    def _changed(self, what: str, before: Any, after: Any, by: str) -> None:
        change = {"step": self.step, "what": what, "from": before, "to": after, "by": by}
        if what == "lr":
            self.lr = after
        self.history.changes.append(change)
        if self.control is not None:
            self.control.note(change)

    def _end_epoch(self) -> dict[str, float]:
        """Measure, keep and tell what an epoch brought; returns it."""
        self.epoch, self.position = self.epoch + 1, 0
        samples = self.sums.pop("samples")
        numbers = {f"training {name}": total / samples for name, total in self.sums.items()}
        self.sums = {}
        if self.validation is not None:
            found = evaluate(self.model, self.validation, self.loss, metrics=self.metrics)
            numbers |= {f"validation {name}": number for name, number in found.items()}
        self.history.epochs.append({"epoch": self.epoch, "step": self.step, **numbers})
        if self.stop is not None and self.stop.update(numbers, self.model):
            self.stopped = True
        self._tell(numbers)
        return numbers

    # checkpoints ---------------------------------------------------------------------------------

    def _due(self) -> bool:
        return self.every is not None and self.step % self.every == 0

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        arrays, content = packed(self.model, self.optimizer, self.rng)
        arrays |= named("history", self.history.arrays())
        if self.stop is not None:
            arrays |= named("best", self.stop.best_state)
        content |= {"kind": "fit", "history": self.history.rows(), "settings": self._settings()}
        content |= {name: getattr(self, name) for name in _PROGRESS}
        content["rate"] = [self.optimizer.steps, self._scheduled(self.optimizer.steps)]
        content["stop"] = _monitored(self.stop)
        content["control"] = self.control.seen if self.control else 0
        write(self.checkpoint, arrays, content)

    def _start(self) -> None:
        """Take up the checkpoint, if there is one; logs keep what belongs to it."""
        self._schedule = self.optimizer.schedule
        self._digests = {"data": _digest(self.x, self.y)} if self.checkpoint else {}
        if self.checkpoint and self.validation:
            self._digests["validation"] = _digest(*self.validation)
        if self.stop is not None:
            self.stop.reset()
        if self.checkpoint is not None:
            files.remove_leftovers(self.checkpoint)
            if self.checkpoint.exists():
                self._resume(self.checkpoint)
        for callback in self.callbacks:
            if isinstance(callback, Log):
                callback.rewind(self.step or -1)

    def _resume(self, path: Path) -> None:
        stored = read(path)
        content = stored.content
        if content.get("kind") != "fit":
            raise FileError(
                f"{path} was not written by fit.", "Load it with load_checkpoint, or name another."
            )
        self._compare(path, content)
        unpack(str(path), stored, self.model, self.optimizer, self.rng)
        for name in _PROGRESS:
            setattr(self, name, content[name])
        self.history.restore(part("history", stored.arrays), content["history"])
        if self.lr is not None:
            self.optimizer.lr = self.lr
        if self.stop is not None:
            vars(self.stop).update(content["stop"]["seen"])
            self.stop.best_state = part("best", stored.arrays)
        if self.control is not None:
            self.control.seen = content["control"]

    def _settings(self) -> dict[str, Any]:
        """Return what has to be the same for a training to go on."""
        plain = (bool, int, float, str)
        own = {k: v for k, v in vars(self.optimizer).items() if isinstance(v, plain)}
        own.pop("steps")
        return {
            "optimizer": type(self.optimizer).__name__,
            **{f"optimizer's {name}": value for name, value in own.items()},
            "rate at the start": self._scheduled(0),
            "loss": getattr(self.loss, "__qualname__", type(self.loss).__name__),
            "metrics": sorted(self.metrics),
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
            "stop": self.stop.settings() if self.stop else None,
            **self._digests,
        }

    def _scheduled(self, steps: int) -> float:
        """Return the rate of the schedule that the training began with."""
        return float(self._schedule(steps))

    def _compare(self, path: Path, content: Mapping[str, Any]) -> None:
        """Refuse to go on with another training."""
        then, now = dict(content["settings"]), self._settings()
        steps, then["rate"] = content["rate"]
        now["rate"] = self._scheduled(steps)
        differing = [
            f"{name}: {_shown(then.get(name))} in the file, {_shown(now.get(name))} now"
            for name in {**then, **now}
            if then.get(name) != now.get(name)
        ]
        if differing:
            raise FileError(
                f"{path} is of another training:\n  " + "\n  ".join(differing),
                "Go on with what it was begun with, or give another path to begin anew.",
            )


_PROGRESS = ("step", "epoch", "position", "order", "sums", "stopped", "lr")
"""What says how far a training is, and is kept as it is."""


def _monitored(stop: EarlyStop | None) -> dict[str, Any] | None:
    """Return what an early stop has seen."""
    if stop is None:
        return None
    return {"seen": {name: getattr(stop, name) for name in ("best", "best_epoch", "epochs")}}


def _shown(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else repr(value)


def _digest(*arrays: NDArray) -> str:
    """Return SHA-256 of arrays with their shapes and dtypes."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return found.hexdigest()


@contextlib.contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Give an event that the first Ctrl-C sets; the second one interrupts as it did before.

    Outside of the main thread no signal arrives, and where interrupts are ignored they stay so.
    """
    asked = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or before in (None, signal.SIG_IGN):
        yield asked
        return

    def first(*_: Any) -> None:
        """Note the wish, and leave the next one to who handled them before."""
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, first)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _count(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise DTypeError(f"fit: {name}={value!r}.", "Give an integer.")
    if value < least:
        raise ShapeError(f"fit: {name}={value}.", f"Give an integer from {least}.")
    return int(value)


def _of_the_model(optimizer: Any, model: Any) -> Optimiser:
    """Return the optimiser, if it trains parameters of the model."""
    if not isinstance(model, Module):
        raise DTypeError(f"fit: the model is a {type(model).__name__}.", "Pass a tg.nn.Module.")
    if not isinstance(optimizer, Optimiser):
        raise DTypeError(
            f"fit: the optimizer is a {type(optimizer).__name__}.",
            "Pass one, such as tg.optim.Adam(model.parameters(), lr).",
        )
    own = {id(parameter) for parameter in model.parameters()}
    if strange := [p for p in optimizer.parameters if id(p) not in own]:
        raise TinygradError(
            f"fit: {len(strange)} of the optimizer's {len(optimizer.parameters)} parameters are "
            "not in the model.",
            "Make the optimizer for model.parameters(), after the last layer was set.",
        )
    return optimizer
