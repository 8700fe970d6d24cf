"""Checkpoints: the whole state of a training in one file, written at once and checked when read.

The file is NumPy's ``.npz``: a zip archive of arrays, each with its checksum, and no pickle. One
of them, ``content``, holds everything that is not an array, as JSON.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_bn import files
from tinygrad_bn.errors import DTypeError, FileError, ShapeError, TinygradError
from tinygrad_bn.nn.module import Module
from tinygrad_bn.optim.optimisers import Optimiser

NDArray: TypeAlias = npt.NDArray[Any]
Arrays: TypeAlias = dict[str, NDArray]

FORMAT, VERSION = "tinygrad_bn checkpoint", 1
_DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, TypeError, EOFError, RuntimeError)
"""What reading a damaged archive raises."""


class Stored(NamedTuple):
    """What a file holds: arrays by name, and everything else."""

    arrays: Arrays
    content: dict[str, Any]


# the file ----------------------------------------------------------------------------------------


def write(path: str | os.PathLike[str], arrays: Mapping[str, NDArray], content: Any) -> None:
    """Write a checkpoint; whoever reads the path sees the old one or the new one, whole.

    ``content``: what JSON can hold. Returns when the disk has it. Raises TinygradError where the
    file cannot be written; the old one stays.
    """
    marked = {"format": FORMAT, "version": VERSION, "arrays": sorted(arrays), **content}
    text = np.frombuffer(_json(marked, path).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, content=text, **arrays)  # type: ignore[arg-type]  # names are ours
    try:
        files.replace(Path(path), buffer.getvalue(), durable=True)
    except OSError as error:
        raise TinygradError(
            f"The checkpoint {path} could not be written: {files.reason(error)}. "
            "What stood there before stands there still.",
            "Name a file in a folder with room that you may write to.",
        ) from error


def _json(content: Any, path: str | os.PathLike[str]) -> str:
    try:
        return json.dumps(content)
    except (TypeError, ValueError) as error:
        raise DTypeError(
            f"The checkpoint {path}: extra holds what JSON cannot ({error}).",
            "Use numbers, strings, lists, and dicts with strings as keys.",
        ) from error


def read(path: str | os.PathLike[str]) -> Stored:
    """Read a checkpoint. Raises FileError unless it is one of this version, and unchanged."""
    arrays = _arrays(Path(path))
    content = _content(arrays.pop("content", None))
    if content.get("format") != FORMAT:
        raise FileError(f"{path} is no checkpoint of tinygrad_bn.", "Give the path of one.")
    if content.get("version") != VERSION:
        raise FileError(
            f"{path} is a checkpoint of version {content.get('version')}, and this package reads "
            f"version {VERSION}.",
            "Go on with the package that wrote it.",
        )
    if content.get("arrays") != sorted(arrays):
        raise _damaged(path, "the arrays are not those that were written")
    return Stored(arrays, content)


def _arrays(path: Path) -> Arrays:
    """Return every array of an archive, once all checksums were found right."""
    raw = io.BytesIO(_bytes(path))
    try:
        with zipfile.ZipFile(raw) as archive:
            changed = archive.testzip()
        raw.seek(0)
        with np.load(raw, allow_pickle=False) as arrays:
            found = {} if changed else dict(arrays)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    if changed:
        raise _damaged(path, f"the checksum of {changed} is another")
    return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FileError(
            f"{path} cannot be read: {files.reason(error)}.", "Give the path of a checkpoint."
        ) from error


def _damaged(path: str | os.PathLike[str], why: object) -> FileError:
    return FileError(
        f"{path} is cut short, changed, or no checkpoint: {why}.",
        "Go on from another checkpoint, or remove it to begin anew.",
    )


def _content(text: NDArray | None) -> dict[str, Any]:
    try:
        content = json.loads(text.tobytes()) if text is not None else {}
    except ValueError:
        content = {}
    return content if isinstance(content, dict) else {}


# what can be saved -------------------------------------------------------------------------------


def generators(model: Module) -> dict[str, np.random.Generator]:
    """Return the random generators that a model's modules hold, such as that of ``Dropout``."""
    return {
        f"{name}.{path}".lstrip("."): generator
        for name, module in model.named_modules()
        for path, generator in _generators(vars(module), "")
    }


def _generators(value: Any, path: str) -> Iterator[tuple[str, np.random.Generator]]:
    if isinstance(value, np.random.Generator):
        yield path, value
    elif isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _generators(item, f"{path}.{key}" if path else str(key))


def random_state(generator: np.random.Generator) -> dict[str, Any]:
    """Return the state of a generator as JSON."""
    return dict(_as_json(generator.bit_generator.state))


def set_random_state(generator: np.random.Generator, state: Mapping[str, Any]) -> None:
    """Put a generator into a state that ``random_state`` gave."""
    generator.bit_generator.state = _from_json(state)


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": value.dtype.name}
    return value.item() if isinstance(value, np.generic) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"array", "dtype"}:
            return np.array(value["array"], value["dtype"])
        return {key: _from_json(item) for key, item in value.items()}
    return value


def named(prefix: str, arrays: Mapping[str, NDArray]) -> Arrays:
    """Put a prefix before the names of arrays."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def part(prefix: str, arrays: Mapping[str, NDArray]) -> Arrays:
    """Return the arrays that have a prefix, without it."""
    start = f"{prefix}/"
    return {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}


# the state of a loop of one's own ----------------------------------------------------------------


def save_checkpoint(
    path: str | os.PathLike[str],
    *,
    model: Module,
    optimizer: Optimiser | None = None,
    rng: np.random.Generator | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a model's state, and what else a loop of your own goes on from, in one file.

    Saved are parameters and buffers, the random generators that modules hold, the optimiser's
    memories and the rate that was set in place of its schedule, the generator ``rng`` and
    ``extra``, which JSON can hold (where you are, say). A schedule is a function of the optimiser's
    steps, and is not saved. The file is replaced at once: a process that is killed leaves the old
    one or the new one. Raises TinygradError where it cannot be written, DTypeError for an ``extra``
    that JSON cannot hold.

    >>> import tempfile
    >>> from tinygrad_bn.nn.layers import Linear
    >>> model = Linear(1, 1, rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(Path(folder, "a.npz"), model=model, extra={"epoch": 3})
    ...     load_checkpoint(Path(folder, "a.npz"), model=model)
    {'epoch': 3}
    """
    arrays, content = packed(model, optimizer, rng)
    write(path, arrays, {"kind": "own loop", "extra": dict(extra or {}), **content})


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    model: Module,
    optimizer: Optimiser | None = None,
    rng: np.random.Generator | None = None,
) -> dict[str, Any]:
    """Take up what ``save_checkpoint`` (or ``nn.fit``) wrote, all or nothing; returns ``extra``.

    Raises FileError for a file that is no checkpoint, is damaged, or lacks what is asked for, and
    ShapeError for another model or optimiser; nothing is then changed.
    """
    stored = read(path)
    unpack(str(path), stored, model, optimizer, rng)
    return dict(stored.content.get("extra", {}))


def packed(
    model: Module, optimizer: Optimiser | None, rng: np.random.Generator | None
) -> tuple[Arrays, dict[str, Any]]:
    """Return arrays and content that hold the states."""
    arrays = named("model", model.state_dict())
    random = {name: random_state(g) for name, g in generators(model).items()}
    content: dict[str, Any] = {"random": random, "optimizer": None, "lr": None, "rng": None}
    if optimizer is not None:
        arrays |= named("optimizer", optimizer.state_dict())
        content["optimizer"], content["lr"] = type(optimizer).__name__, optimizer.override
    if rng is not None:
        content["rng"] = random_state(rng)
    return arrays, content


def unpack(
    path: str,
    stored: Stored,
    model: Module,
    optimizer: Optimiser | None,
    rng: np.random.Generator | None,
) -> None:
    """Put the states back; everything is checked before anything is changed."""
    content, held = stored.content, generators(model)
    wanted = {"optimizer": optimizer, "rng": rng}
    lacking = [k for k, v in wanted.items() if v is not None and content.get(k) is None]
    if optimizer is not None and content.get("optimizer") not in (None, type(optimizer).__name__):
        raise ShapeError(
            f"{path} holds the memories of {content['optimizer']}, and the optimizer is "
            f"{type(optimizer).__name__}.",
            "Make the same optimizer as when the state was saved.",
        )
    if lacking or set(held) != set(content["random"]):
        what = ", ".join(lacking) or f"the random generators of this model ({', '.join(held)})"
        raise FileError(f"{path} does not hold {what}.", "Load what was saved.")
    states = {**content["random"], **({"": content["rng"]} if rng is not None else {})}
    targets = {**held, **({"": rng} if rng is not None else {})}
    for name, generator in targets.items():
        _same_kind(path, name, generator, states[name])
    before = model.state_dict()
    model.load_state_dict(part("model", stored.arrays))
    if optimizer is not None:
        try:
            optimizer.load_state_dict(part("optimizer", stored.arrays))
        except TinygradError:
            model.load_state_dict(before)
            raise
        optimizer.override = content["lr"]
    for name, generator in targets.items():
        set_random_state(generator, states[name])


def _same_kind(
    path: str, name: str, generator: np.random.Generator, state: Mapping[str, Any]
) -> None:
    own = type(generator.bit_generator).__name__
    if state.get("bit_generator") != own:
        raise FileError(
            f"{path}: the random generator {name or 'rng'} was a {state.get('bit_generator')}, and "
            f"is a {own}.",
            "Make the generators as they were made when the state was saved.",
        )
