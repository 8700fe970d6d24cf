"""The searches: random, on a grid, from coarse to fine."""

from __future__ import annotations

import contextlib
import functools
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_bn.errors import DTypeError, ShapeError
from tinygrad_bn.tune.ledger import Ledger
from tinygrad_bn.tune.needs import quiet
from tinygrad_bn.tune.plans import GridPlan, Plan, RandomPlan, ZoomPlan
from tinygrad_bn.tune.progress import Progress
from tinygrad_bn.tune.results import Result
from tinygrad_bn.tune.running import work
from tinygrad_bn.tune.spaces import Space, checked_space
from tinygrad_bn.tune.trials import Direction, Objective
from tinygrad_bn.tune.workers import work_together

GENERATION = 10
"""Trials of a generation if a pruner is given and nothing else is said."""


def random_search(
    objective: Objective,
    space: Mapping[str, Space],
    trials: int,
    *,
    seed: int = 0,
    direction: Direction = "maximize",
    workers: int = 1,
    storage: str | Path | None = None,
    name: str | None = None,
    prune: Any = None,
    generation: int | None = None,
    progress: bool | None = None,
) -> Result:
    """Call an objective with values drawn from a space, and return what came of it.

    ``objective(trial) -> float`` gets a mapping of the values; what is random in it should take
    ``trial.seed``. The values of trial i follow from ``seed`` and i alone, so that the result is
    the same for any number of workers, and a search of more trials begins with the same ones. A
    value that is not finite (a net that diverged) counts as the worst.

    ``workers``: processes on this machine. More than one need an objective that they can import,
    and a script whose own work stands under ``if __name__ == "__main__":``. NumPy's linear algebra
    has one thread in each trial. ``storage``: the path of a journal file; every process, on any
    machine that sees it, that calls the same search with the same ``storage`` and ``name`` (the
    objective's, unless given) joins it, and after an interruption goes on with it. The trial of a
    process that was killed is run again.

    ``prune``: a pruner of Optuna; trials that ``report`` poorly are stopped. Each is compared with
    those of earlier generations only, which have ended; ``generation``: of how many trials (10).
    ``progress``: a bar; None shows it if tqdm is installed.

    Raises what the objective raises, with the trial's values; SearchError for a study that belongs
    to another search, ShapeError or DTypeError for arguments that do not fit. Source: Bergstra &
    Bengio (2012).

    >>> from tinygrad_bn.tune import log_uniform
    >>> found = random_search(
    ...     lambda trial: -abs(trial["lr"] - 0.01),
    ...     {"lr": log_uniform(1e-4, 1.0)},
    ...     trials=50,
    ...     progress=False,
    ... )
    >>> 0.005 < found.best.values["lr"] < 0.02
    True
    """
    plan = RandomPlan(
        checked_space(space),
        _count("seed", seed, least=0),
        direction,
        _count("trials", trials),
        _generation(prune, generation),
    )
    return _search(plan, objective, workers, storage, name, prune, progress=progress)


def grid_search(
    objective: Objective,
    space: Mapping[str, Space],
    points: int | Mapping[str, int],
    *,
    seed: int = 0,
    direction: Direction = "maximize",
    workers: int = 1,
    storage: str | Path | None = None,
    name: str | None = None,
    prune: Any = None,
    generation: int | None = None,
    progress: bool | None = None,
) -> Result:
    """Call an objective at every point of a grid, evenly spaced on each space's own scale.

    ``points``: how many for each dimension, or one number for all; choices are taken all. The rest
    is as in ``random_search``; ``seed`` gives ``trial.seed``.

    >>> from tinygrad_bn.tune import categorical, log_uniform
    >>> space = {"lr": log_uniform(0.01, 1.0), "batch": categorical([16, 32])}
    >>> found = grid_search(lambda t: t["lr"] * t["batch"], space, points=3, progress=False)
    >>> [(round(row.values["lr"], 4), row.values["batch"]) for row in found.trials]
    [(0.01, 16), (0.01, 32), (0.1, 16), (0.1, 32), (1.0, 16), (1.0, 32)]
    """
    dimensions = checked_space(space)
    grids = _grids(dimensions, points)
    plan = GridPlan(
        dimensions,
        _count("seed", seed, least=0),
        direction,
        math.prod(map(len, grids)),
        _generation(prune, generation),
        grids,
    )
    return _search(plan, objective, workers, storage, name, prune, progress=progress)


def coarse_to_fine(
    objective: Objective,
    space: Mapping[str, Space],
    rounds: int,
    trials: int,
    shrink: float,
    *,
    seed: int = 0,
    direction: Direction = "maximize",
    workers: int = 1,
    storage: str | Path | None = None,
    name: str | None = None,
    prune: Any = None,
    progress: bool | None = None,
) -> Result:
    """Search in rounds, each in a box about the best trial of all rounds before.

    The first draws from the whole space; then the box's width is multiplied by ``shrink`` (between
    0 and 1) from round to round, on each space's own scale, and shifted to stay within the space.
    Of choices that share stays that did best, rounded up. ``trials``: of each round. A round waits
    for the one before it, and is the generation by which ``prune`` compares. ``result.boxes``: one
    for each round. The rest is as in ``random_search``.

    >>> from tinygrad_bn.tune import log_uniform
    >>> found = coarse_to_fine(
    ...     lambda trial: -abs(trial["lr"] - 0.01),
    ...     {"lr": log_uniform(1e-4, 1.0)},
    ...     rounds=3,
    ...     trials=20,
    ...     shrink=0.3,
    ...     progress=False,
    ... )
    >>> [low < 0.01 < high for low, high in (box["lr"] for box in found.boxes)]
    [True, True, True]
    >>> 0.0095 < found.best.values["lr"] < 0.0105
    True
    """
    if not 0 < shrink < 1:
        raise ShapeError(f"coarse_to_fine: shrink={shrink}.", "Use a number between 0 and 1.")
    each = _count("trials", trials)
    plan = ZoomPlan(
        checked_space(space),
        _count("seed", seed, least=0),
        direction,
        each * _count("rounds", rounds),
        each,
        each,
        float(shrink),
    )
    return _search(plan, objective, workers, storage, name, prune, progress=progress)


def _search(
    plan: Plan,
    objective: Objective,
    workers: int,
    storage: str | Path | None,
    name: str | None,
    prune: Any,
    *,
    progress: bool | None,
) -> Result:
    if plan.direction not in ("maximize", "minimize"):
        raise ShapeError(f"direction={plan.direction!r}.", 'Say "maximize" or "minimize".')
    count, called = _count("workers", workers), _called(objective)
    _check_pruner(prune)
    if storage is not None and name is None and "<lambda>" in called:
        raise ShapeError(
            f"The objective is a lambda, and storage={str(storage)!r} knows searches by names.",
            "Give name=, another one for each objective.",
        )
    with _path(storage, temporary=count > 1) as path:
        ledger = Ledger(path, name or called, plan, _terms(plan, called, prune), prune)
        try:
            with Progress(plan, ledger.rows, ledger.name, show=progress) as bar:
                if count > 1:
                    work_together(ledger, objective, count, bar.update)
                else:
                    work(ledger, objective, bar.update)
            rows = ledger.rows()
            return Result(rows, plan.boxes(rows), ledger.study(in_memory=storage is None), plan)
        finally:
            ledger.close()


@contextlib.contextmanager
def _path(storage: str | Path | None, *, temporary: bool) -> Iterator[Path | None]:
    """Give the path of the journal; a temporary one is gone in the end."""
    if storage is not None:
        if not isinstance(storage, str | Path) or "://" in str(storage):
            raise DTypeError(f"storage={storage!r}.", "Give the path of a journal file.")
        yield Path(storage).resolve()
    elif temporary:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / "journal"
    else:
        yield None


def _terms(plan: Plan, called: str, prune: Any) -> dict[str, Any]:
    """Return what distinguishes this search from others: a study holds one search only."""
    judged = {"prune": _described(prune), "generation": plan.generation} if prune else {}
    return {
        **plan.terms(),
        "objective": called,
        "direction": plan.direction,
        "seed": plan.seed,
        "space": {name: repr(space) for name, space in plan.space.items()},
        **judged,
    }


def _described(prune: Any) -> str:
    settings = ", ".join(
        f"{name.lstrip('_')}={_described(value) if hasattr(value, 'prune') else repr(value)}"
        for name, value in sorted(vars(prune).items())
    )
    return f"{type(prune).__name__}({settings})"


def _check_pruner(prune: Any) -> None:
    with quiet() as engine:
        if prune is not None and not isinstance(prune, engine.pruners.BasePruner):
            raise DTypeError(
                f"prune={prune!r} is no pruner.", "Give one of optuna.pruners, MedianPruner() say."
            )


def _called(objective: Any) -> str:
    if not callable(objective):
        raise DTypeError(f"The objective is {objective!r}.", "Give a function of a trial.")
    while isinstance(objective, functools.partial):
        objective = objective.func
    return str(getattr(objective, "__qualname__", type(objective).__qualname__))


def _count(name: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ShapeError(f"{name}={value!r}.", f"Give an int from {least} upwards.")
    return int(value)


def _generation(prune: Any, generation: int | None) -> int | None:
    if prune is None:
        if generation is not None:
            raise ShapeError(
                f"generation={generation} without prune.", "Give a pruner, or neither."
            )
        return None
    return GENERATION if generation is None else _count("generation", generation)


def _grids(
    space: Mapping[str, Space], points: int | Mapping[str, int]
) -> tuple[tuple[Any, ...], ...]:
    if isinstance(points, Mapping):
        if unknown := [name for name in points if name not in space]:
            raise ShapeError(
                f"points names {', '.join(unknown)}, and the space has {', '.join(space)}.",
                "Name dimensions of the space.",
            )
        counts = dict(points)
    else:
        counts = {name: points for name, each in space.items() if not each.unordered}
    return tuple(tuple(each.grid(counts.get(name))) for name, each in space.items())
