"""The training loop: batches, gradients, steps, and all that one wants around them."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn import files
from tinygrad_bn.data.splitting import batches
from tinygrad_bn.errors import FileError, GradientError, ShapeError
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.nn.checking import (
    check_callable,
    check_kinds,
    count,
    named_otherwise,
    of_the_model,
    positive,
)
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
from tinygrad_bn.nn.control import Control
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
from tinygrad_bn.nn.interrupts import interrupts
from tinygrad_bn.nn.logging import Log
from tinygrad_bn.nn.module import Module
from tinygrad_bn.nn.progress import Progress
from tinygrad_bn.nn.stopping import EarlyStop
from tinygrad_bn.optim.clipping import clip_grad_norm
from tinygrad_bn.optim.optimisers import Optimiser
from tinygrad_bn.progress import tqdm_if

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
    clip: float | None = None,
    validation: Data | None = None,
    metrics: Mapping[str, Metric] | None = None,
    on_step: OnStep | Sequence[OnStep] = (),
    stop: EarlyStop | None = None,
    checkpoint: PathLike | None = None,
    every: int | None = None,
    control: PathLike | Control | None = None,
    progress: bool | None = None,
) -> History:
    """Train a model for some epochs; returns the numbers of every step and epoch.

    ``data``: samples ``(x, y)``, arrays of one length; ``loss(model(x), y)``: a scalar tensor;
    ``optimizer``: made for ``model.parameters()``, its rate a number or a schedule. Each epoch goes
    through all samples in batches of ``batch_size``, in a new order that ``rng`` (a generator, a
    seed, or None) decides; ``drop_last`` leaves a smaller last batch out. ``clip``: the largest
    norm of all gradients together, see ``clip_grad_norm``. Steps count from 1.

    ``metrics``: ``{name: f(prediction, y)}`` on arrays, by default the accuracy if y holds labels.
    A step has ``"loss"``, the metrics of its batch and ``"lr"``; an epoch ``"training ..."``, the
    means over its samples as they were seen, and with ``validation=(x, y)`` ``"validation ..."``,
    measured in evaluation mode at its end.

    ``on_step(step, {name: number})``: called after each step and at the end of each epoch; one or
    several, such as ``CSVLog(path)``. ``stop``: an ``EarlyStop``. ``checkpoint``: a path, written
    at the end of each epoch and after each ``every`` steps. If the file is there, training goes on
    from it, bit for bit as if it had never been interrupted: weights, buffers, optimiser, place in
    the epoch, the random generators in modules' attributes (also in dicts, lists and tuples) and
    ``rng``, whose saved state takes the place of the one given. It holds the last weights, and
    those that ``stop`` found best beside them, which ``fit`` puts back at its end. ``control``: a
    JSON file that is looked at after each step, see ``Control``; a callback may set
    ``optimizer.lr`` too. ``progress``: show a bar (None: if tqdm is installed).

    Ctrl-C lets the step end, writes the checkpoint and raises KeyboardInterrupt; a second one
    interrupts at once. The error says which step was the last, and which one is saved. Where
    ``stop`` ended a training, now or in the run that left the checkpoint, ``history.stopped`` says
    why. Whatever is raised on the way has the numbers so far as ``history``. Raises
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
    check_kinds(metrics, stop, every, checkpoint)
    measures = named_otherwise(default_metrics(metrics, y))
    callbacks = [on_step] if callable(on_step) else list(on_step)
    check_callable(loss=[loss], metrics=measures.values(), on_step=callbacks)
    training = Training(
        model=model,
        x=x,
        y=y,
        loss=loss,
        optimizer=of_the_model(optimizer, model),
        epochs=count("epochs", epochs, 0),
        batch_size=count("batch_size", batch_size, 1),
        rng=np.random.default_rng(rng),
        drop_last=bool(drop_last),
        clip=positive("clip", clip),
        validation=None if validation is None else arrays_of(validation, "fit, validation"),
        metrics=measures,
        callbacks=callbacks,
        stop=stop,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        every=None if every is None else count("every", every, 1),
        control=control if control is None or isinstance(control, Control) else Control(control),
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
    clip: float | None
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
    samples: int = 0
    """Of this epoch so far."""
    stopped: bool = False
    """Whether ``stop`` ended it."""
    halted: bool = False
    """Whether a control file ended it, for this time."""
    saved: int | None = None
    """The step that the checkpoint holds, once there is one."""

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
        if self.stop is not None:
            self.stop.check(self._names())
        tqdm_if(wanted=self.progress)
        self._start()
        total = self.epochs * self.batches_per_epoch
        try:
            with (
                modes_kept(self.model),
                Progress(max(total, self.step), self.step, wanted=self.progress) as bar,
                interrupts() as interrupted,
            ):
                self.model.train()
                while self.epoch < self.epochs and not (self.stopped or self.halted):
                    self._go_through(bar, interrupted)
                if self.stop is not None and self.stopped:
                    self.history.stopped = self.stop.reason()
                    bar.end(self.history.stopped)
        except BaseException as error:
            error.history = self.history  # type: ignore[attr-defined]
            if isinstance(error, KeyboardInterrupt) and not error.args:
                error.args = (self._kept(),)
            raise
        if self.stop is not None:
            self.stop.restore(self.model)
        return self.history

    def _names(self) -> list[str]:
        """Return the names of the numbers of an epoch."""
        kinds = ["training"] + ["validation"] * (self.validation is not None)
        return [f"{kind} {name}" for kind in kinds for name in ("loss", *self.metrics)]

    # one epoch, one step -------------------------------------------------------------------------

    def _go_through(self, bar: Progress, interrupted: threading.Event) -> None:
        """Do what is left of an epoch; stop where a file or a key asks for it."""
        if not self.position:
            self.order = random_state(self.rng)
        for xb, yb in self._batches():
            changes = len(self.history.changes)
            numbers = self._train(xb, yb)
            self.history.add_step(numbers)
            self._tell(numbers)
            if self.control is not None:
                self._obey(self.control)
            bar.step(numbers)
            over = self.position == self.batches_per_epoch
            if over:
                bar.show(self._end_epoch())
            changed = len(self.history.changes) > changes
            if over or changed or interrupted.is_set() or self._due():
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
                "are as the step before left them, and running statistics have seen this batch.",
                "Lower the learning rate, use clip=1.0, or look for NaN in the data.",
            )
        measured = {name: float(f(prediction.data, y)) for name, f in self.metrics.items()}
        loss.backward()
        if self.clip is not None:
            clip_grad_norm(self.optimizer.parameters, self.clip)
        self.optimizer.step()
        self.step, self.position = self.step + 1, self.position + 1
        numbers = {"loss": loss.item(), **measured}
        for name, number in numbers.items():
            self.sums[name] = self.sums.get(name, 0.0) + number * len(x)
        self.samples += len(x)
        return {**numbers, "lr": lr}

    def _forward(self, x: NDArray, y: NDArray) -> tuple[Any, Any]:
        """Return prediction and loss of a batch."""
        try:
            prediction = self.model(x)
            loss = self.loss(prediction, y)
        except ShapeError as error:
            if len(x) == 1 < self.batch_size:
                error.add_note(
                    "This is the last batch, of one sample: drop_last=True leaves it out."
                )
            raise
        if not isinstance(loss, Tensor) or loss.ndim:
            raise ShapeError(
                f"fit: the loss is {_described(loss)}.", "Return a scalar tensor, such as a mean."
            )
        return prediction, loss

    def _tell(self, numbers: dict[str, float]) -> None:
        """Tell the callbacks, which may change the rate."""
        override = self.optimizer.override
        for callback in self.callbacks:
            callback(self.step, numbers)
        if self.optimizer.override != override:
            before = self._scheduled(self.optimizer.steps) if override is None else override
            self._changed("lr", before, self.optimizer.lr, "callback")

    def _obey(self, control: Control) -> None:
        """Do what a control file asks for, if it was written to."""
        commands = control.poll()
        if commands is None:
            return
        if commands.adjusts:
            before = self.optimizer.lr
            wanted = commands.rate(before)
            if 0 < wanted < math.inf:
                self.optimizer.lr = wanted
                self._changed("lr", before, wanted, "control")
            else:
                control.warn(f"the rate would be {wanted}")
        if commands.stop:
            self.halted = True
            self._changed("stop", False, True, "control")

    def _changed(self, what: str, before: Any, after: Any, by: str) -> None:
        change = {"step": self.step, "what": what, "from": before, "to": after, "by": by}
        self.history.changes.append(change)
        if self.control is not None:
            self.control.note(change)

    def _end_epoch(self) -> dict[str, float]:
        """Measure, keep and tell what an epoch brought; returns it."""
        self.epoch, self.position = self.epoch + 1, 0
        numbers = {f"training {name}": total / self.samples for name, total in self.sums.items()}
        self.sums, self.samples = {}, 0
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
        last = max(self.optimizer.steps - 1, 0)
        content["rate"] = [last, self._scheduled(last)]
        content["stop"] = self.stop and {"seen": self.stop.seen()}
        content["control"] = self.control and [str(self.control.path), self.control.seen]
        write(self.checkpoint, arrays, content)
        self.saved = self.step

    def _kept(self) -> str:
        """Return what an interrupted training leaves behind, in words."""
        if self.checkpoint is None:
            return f"after step {self.step}; nothing is saved, since fit was given no checkpoint"
        if self.saved is None:
            return f"after step {self.step}; {self.checkpoint} has not been written yet"
        return (
            f"after step {self.step}; {self.checkpoint} holds step {self.saved}, from which the "
            "same call of fit goes on"
        )

    def _start(self) -> None:
        """Take up the checkpoint, if there is one; logs keep what belongs to it."""
        if self.stop is not None:
            self.stop.reset()
        if self.checkpoint is not None:
            files.remove_leftovers(self.checkpoint)
            if self.checkpoint.exists():
                self._resume(self.checkpoint)
        for callback in self.callbacks:
            if isinstance(callback, Log):
                callback.rewind(self.step)

    def _resume(self, path: Path) -> None:
        stored = read(path)
        content = stored.content
        if content.get("kind") != "fit":
            raise FileError(
                f"{path} was not written by fit.", "Load it with load_checkpoint, or name another."
            )
        self._compare(path, content)
        for callback in self.callbacks:
            if isinstance(callback, Log):
                callback.kept(content["step"])
        unpack(str(path), stored, self.model, self.optimizer, self.rng)
        for name in _PROGRESS:
            setattr(self, name, content[name])
        self.saved = self.step
        self.history.restore(part("history", stored.arrays), content["history"])
        if self.stop is not None:
            self.stop.take_up(content["stop"]["seen"], part("best", stored.arrays))
        if self.control is not None and content["control"]:
            where, seen = content["control"]
            self.control.seen = seen if where == str(self.control.path) else self.control.seen

    def _settings(self) -> dict[str, Any]:
        """Return what has to be the same for a training to go on."""
        plain = (bool, int, float, str)
        changing = ("steps", "_override")
        own = {
            name: value
            for name, value in vars(self.optimizer).items()
            if isinstance(value, plain) and name not in changing
        }
        return {
            "optimizer": type(self.optimizer).__name__,
            **{f"optimizer's {name}": value for name, value in own.items()},
            "rate at the start": self._scheduled(0),
            "loss": _called(self.loss),
            "metrics": sorted(self.metrics),
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
            "clip": self.clip,
            "stop": self.stop.settings() if self.stop else None,
            **self._digests,
        }

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        """What tells these samples from others; of large data it takes a moment."""
        given = {"data": (self.x, self.y), "validation": self.validation}
        return {name: _digest(*arrays) for name, arrays in given.items() if arrays is not None}

    def _scheduled(self, steps: int) -> float:
        """Return the rate of the schedule, whatever was set in its place."""
        return float(self.optimizer.schedule(steps))

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


_PROGRESS = ("step", "epoch", "position", "order", "sums", "samples", "stopped")
"""What says how far a training is, and is kept as it is."""


def _called(function: Any) -> str:
    """Return what a loss is called, with the arguments that are bound to it."""
    if isinstance(function, functools.partial):
        bound = [*map(repr, function.args), *(f"{k}={v!r}" for k, v in function.keywords.items())]
        return f"{_called(function.func)}({', '.join(bound)})"
    return str(getattr(function, "__qualname__", type(function).__name__))


def _shown(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else repr(value)


def _described(value: Any) -> str:
    kind = type(value).__name__
    return f"a {kind} of shape {value.shape}" if isinstance(value, Tensor) else f"a {kind}"


def _digest(*arrays: NDArray) -> str:
    """Return SHA-256 of arrays with their shapes and dtypes."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return found.hexdigest()
