"""Pruning that does not depend on who is how fast: trials are judged by earlier generations."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from tinygrad_bn.tune.needs import quiet
from tinygrad_bn.tune.trials import Direction


class Judge:
    """A copy of a pruner, and a study in memory of what it may compare one trial with.

    ``earlier``: the ended trials of earlier generations, by index. What the pruner notes on the
    trial (the rungs of successive halving) is in ``marks``, for later generations to see. Trials
    of the same generation have failed places in that study, so that numbers are indices.
    """

    def __init__(
        self, pruner: Any, direction: Direction, index: int, earlier: Sequence[Any]
    ) -> None:
        self.pruner = copy.deepcopy(pruner)
        with quiet() as engine:
            storage = engine.storages.InMemoryStorage()
            way = engine.study.StudyDirection[direction.upper()]
            study = storage.create_new_study([way], "search")
            failed = engine.trial.create_trial(state=engine.trial.TrialState.FAIL)
            for trial in [*earlier, *[failed] * (index - len(earlier))]:
                storage.create_new_trial(study, template_trial=trial)
            running = engine.trial.create_trial(state=engine.trial.TrialState.RUNNING)
            self._number = storage.create_new_trial(study, template_trial=running)
            self._study = engine.load_study(study_name="search", storage=storage)
        self._storage = storage

    def stops(self, step: int, value: float) -> bool:
        """Say whether the trial should stop, now that it has reported a value."""
        self._storage.set_trial_intermediate_value(self._number, step, value)
        with quiet():
            return bool(self.pruner.prune(self._study, self._storage.get_trial(self._number)))

    def marks(self) -> dict[str, Any]:
        """Return what the pruner noted on the trial."""
        return dict(self._storage.get_trial(self._number).system_attrs)
