"""The ledger: an Optuna study in which every trial of a plan is claimed and ended exactly once.

The study may lie in a journal file that several processes share. A trial is known by its index, not
by Optuna's number: what a killed process had begun is marked as failed and begun again.
"""

from __future__ import annotations

import contextlib
import json
import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

from tinygrad_bn.errors import FileError, SearchError
from tinygrad_bn.tune.locks import JournalLock, Owner, lives
from tinygrad_bn.tune.needs import optuna, quiet
from tinygrad_bn.tune.plans import Plan
from tinygrad_bn.tune.pruning import Judge
from tinygrad_bn.tune.trials import Row, Trial, told

DIED, STOPPED = "its process ended", "its process was stopped"
ATTEMPTS = 3
"""How often a trial may end its process before the search gives up."""


class Ledger:
    """A study in memory (``path`` None) or in a journal, made or joined.

    Raises SearchError for a study that belongs to another search, FileError for a file that is no
    journal; ``close`` it in the end.
    """

    def __init__(
        self, path: Path | None, name: str, plan: Plan, terms: dict[str, Any], pruner: Any = None
    ) -> None:
        self.path, self.name, self.plan, self.terms, self.pruner = path, name, plan, terms, pruner
        self._lock: AbstractContextManager[Any] = nullcontext()
        self._owner: Owner | None = None
        with quiet() as engine:
            if path is None:
                self.storage = engine.storages.InMemoryStorage()
            else:
                self._lock = lock = JournalLock(path)
                self.storage = _journal(engine, path, lock)
            with self._lock:
                self._study = self._joined(engine, terms)
                if path is not None:
                    self._owner = Owner(path)

    def _joined(self, engine: Any, terms: dict[str, Any]) -> int:
        studies = {study.study_name: study for study in self.storage.get_all_studies()}
        if self.name not in studies:
            direction = engine.study.StudyDirection[self.plan.direction.upper()]
            study: int = self.storage.create_new_study([direction], self.name)
        else:
            study = studies[self.name]._study_id
        there = self.storage.get_study_user_attrs(study).get("search", {})
        if not there and not self.storage.get_all_trials(study, deepcopy=False):
            self.storage.set_study_user_attr(study, "search", terms)
        elif differences := _differences(there, json.loads(json.dumps(terms))):
            raise SearchError(
                f"The study {self.name!r} in {self.path} belongs to another search:\n  "
                + "\n  ".join(differences),
                "Give this search another name=, or another file as storage=.",
            )
        return study

    def ticket(self) -> tuple[Any, ...]:
        """Return the arguments with which another process makes its ledger of the same study."""
        return self.path, self.name, self.plan, self.terms, self.pruner

    def clear(self) -> None:
        """Mark as failed what stopped processes had begun."""
        with self._lock:
            self._fail_orphans(STOPPED)

    def close(self) -> None:
        """Say that this process works on no trial any more."""
        if self._owner is not None:
            self._owner.leave()

    # what is there -------------------------------------------------------------------------------

    def _all(self) -> list[Any]:
        trials: list[Any] = self.storage.get_all_trials(self._study, deepcopy=False)
        return trials

    def _standing(self) -> dict[int, Any]:
        """Return by index the first trial that has not failed."""
        failed = optuna().trial.TrialState.FAIL
        found: dict[int, Any] = {}
        for trial in self._all():
            index = trial.user_attrs.get("index")
            if trial.state != failed and index is not None and index < self.plan.total:
                found.setdefault(index, trial)
        return found

    def rows(self) -> list[Row]:
        """Return the trials that have ended, by index."""
        return [self._row(t) for _, t in sorted(self._standing().items()) if t.state.is_finished()]

    def _values(self, trial: Any) -> dict[str, Any]:
        return {
            name: space.from_parameter(trial.params[space.parameter(name)])
            for name, space in self.plan.space.items()
        }

    def _row(self, trial: Any) -> Row:
        complete = trial.state == optuna().trial.TrialState.COMPLETE
        kept = trial.user_attrs.get("value")
        return Row(
            index=trial.user_attrs["index"],
            values=self._values(trial),
            value=float(trial.value if kept is None else kept),
            state="complete" if complete else "pruned",
            reports=dict(sorted(trial.intermediate_values.items())),
            duration=trial.duration.total_seconds(),
        )

    def study(self, *, in_memory: bool) -> Any:
        """Return the study of Optuna; ``in_memory``: a copy that outlives a temporary journal."""
        with quiet() as engine:
            kept = engine.load_study(study_name=self.name, storage=self.storage)
            if not in_memory or self.path is None:
                return kept
            copy = engine.create_study(study_name=self.name, direction=self.plan.direction)
            copy.add_trials([trial for _, trial in sorted(self._standing().items())])
            return copy

    # a trial's life ------------------------------------------------------------------------------

    def claim(self) -> Trial | Literal["wait", "done"]:
        """Begin the next trial that nobody has begun, or say that there is none, yet or ever."""
        with self._lock:
            self._fail_orphans()
            standing = self._standing()
            for index in range(self.plan.total):
                if index not in standing:
                    return self._begin(index, standing)
        return "done" if all(t.state.is_finished() for t in standing.values()) else "wait"

    def _begin(self, index: int, standing: dict[int, Any]) -> Trial | Literal["wait"]:
        earlier = [standing[i] for i in range(self.plan.start(index))]
        if not all(trial.state.is_finished() for trial in earlier):
            return "wait"
        engine, space = optuna(), self.plan.space
        values = self.plan.values(index, [self._row(trial) for trial in earlier])
        kept = {space[n].parameter(n): space[n].to_parameter(v) for n, v in values.items()}
        seed = self.plan.seed_of(index)
        owner = self._owner.name if self._owner else ""
        template = engine.trial.create_trial(
            state=engine.trial.TrialState.RUNNING,
            params=kept,
            distributions={space[n].parameter(n): space[n].distribution() for n in space},
            user_attrs={"index": index, "seed": seed, "owner": owner},
        )
        self._number = self.storage.create_new_trial(self._study, template_trial=template)
        self._judge = (
            Judge(self.pruner, self.plan.direction, index, earlier) if self.pruner else None
        )
        return Trial(index, seed, values, self._report)

    def _report(self, step: int, value: float) -> bool:
        """Keep a report; returns whether the trial should stop."""
        self.storage.set_trial_intermediate_value(self._number, step, value)
        return self._judge is not None and self._judge.stops(step, value)

    def end(self, value: float) -> None:
        """Keep the value of the trial begun last. If not finite it counts as the worst there is."""
        worst = math.inf if self.plan.direction == "minimize" else -math.inf
        self._end("COMPLETE", value, value if math.isfinite(value) else worst)

    def end_pruned(self) -> None:
        """Keep that the trial begun last was stopped, with its last report as value."""
        reports = self.storage.get_trial(self._number).intermediate_values
        value = reports[max(reports)] if reports else math.nan
        self._end("PRUNED", value, value)

    def _end(self, state: str, value: float, kept: float) -> None:
        engine = optuna()
        with contextlib.suppress(engine.exceptions.UpdateFinishedTrialError):
            if not math.isfinite(value):
                self.storage.set_trial_user_attr(self._number, "value", str(value))
            for name, mark in self._judge.marks().items() if self._judge else ():
                self.storage.set_trial_system_attr(self._number, name, mark)
            values = None if math.isnan(kept) else [kept]
            self.storage.set_trial_state_values(
                self._number, engine.trial.TrialState[state], values
            )

    def give_up(self, reason: str) -> None:
        """Mark the trial begun last as failed, so that it can be run again."""
        self._fail(self._number, reason)

    def _fail(self, number: int, reason: str) -> None:
        engine = optuna()
        with contextlib.suppress(engine.exceptions.UpdateFinishedTrialError):
            self.storage.set_trial_user_attr(number, "failure", reason)
            self.storage.set_trial_state_values(number, engine.trial.TrialState.FAIL)

    def _fail_orphans(self, reason: str = DIED) -> None:
        """Mark as failed what processes had begun that are no more."""
        if self.path is None:
            return
        running = optuna().trial.TrialState.RUNNING
        for trial in self._all():
            owner = trial.user_attrs.get("owner")
            if trial.state == running and owner and not lives(self.path, owner):
                self._fail(trial._trial_id, reason)
                self._check_attempts(trial)

    def _check_attempts(self, trial: Any) -> None:
        index = trial.user_attrs["index"]
        died = [
            t
            for t in self._all()
            if t.user_attrs.get("index") == index and t.user_attrs.get("failure") == DIED
        ]
        if died and len(died) % ATTEMPTS == 0:
            row = self._values(trial)
            raise SearchError(
                f"Trial {index} ended its process {ATTEMPTS} times: {told(row)}.",
                "Run the objective with these values by itself: too little memory, perhaps.",
            )


def _journal(engine: Any, path: Path, lock: JournalLock) -> Any:
    if not path.parent.is_dir():
        raise FileError(f"{path.parent}, where the journal is to be, is no folder.", "Make it.")
    backend = engine.storages.journal.JournalFileBackend(str(path), lock_obj=lock)
    try:
        with lock:
            return engine.storages.JournalStorage(backend)
    except FileError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{path} is no journal of trials: {error}.", "Give the path of a new file as storage=."
        ) from error


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    lines = []
    for name in {**there, **here}:
        old, new = there.get(name), here.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += [f"{name}, {line}" for line in _differences(old, new)]
        elif old != new:
            lines.append(f"{name}: {_told(old)} in the study, {_told(new)} here")
    return lines


def _told(value: Any) -> str:
    return "none" if value is None else str(value)
