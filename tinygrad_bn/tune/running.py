"""Running trials: in this process, or in several that share a journal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from tinygrad_bn.tune.ledger import Ledger
from tinygrad_bn.tune.trials import Objective, Pruned, Trial, as_number, told


def work(ledger: Ledger, objective: Objective, watch: Callable[[], None]) -> None:
    """Run trials until all of the search have ended; ``watch`` is called after each.

    While others run the last ones it waits, ready to take over what they leave.
    """
    pause = 0.005
    with one_thread():
        while (trial := ledger.claim()) != "done":
            if isinstance(trial, Trial):
                conduct(ledger, objective, trial)
                pause = 0.005
            else:
                time.sleep(pause)
                pause = min(1.5 * pause, 0.25)
            watch()


def conduct(ledger: Ledger, objective: Objective, trial: Trial) -> None:
    """Run one trial and keep what came of it; what the objective raises says in which trial."""
    try:
        value = as_number(objective(trial), f"The objective in trial {trial.index}")
    except Pruned:
        ledger.end_pruned()
    except BaseException as error:
        ledger.give_up(repr(error))
        error.add_note(f"in trial {trial.index}: {told(trial)}")
        raise
    else:
        ledger.end(value)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep NumPy's linear algebra to one thread: the same bits, and no fight for the cores."""
    try:
        import threadpoolctl  # noqa: PLC0415  (optional)
    except ImportError:
        yield
        return
    with threadpoolctl.threadpool_limits(1):
        yield
