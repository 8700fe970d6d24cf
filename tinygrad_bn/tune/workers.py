"""Several processes on one journal, started and watched by the caller's."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from tinygrad_bn.errors import DTypeError, SearchError
from tinygrad_bn.tune.ledger import Ledger
from tinygrad_bn.tune.running import work
from tinygrad_bn.tune.trials import Objective

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
READY = "ready"


@dataclass
class Worker:
    """A process, what it sends, and whether it came so far as to begin."""

    process: BaseProcess
    pipe: Connection
    began: bool = False


def work_together(
    ledger: Ledger, objective: Objective, count: int, watch: Callable[[], None]
) -> None:
    """Run trials in so many processes until all have ended; ``watch`` is called now and then.

    A process that is killed is replaced. What an objective raises is raised here, and the other
    processes are stopped; so they are by Ctrl-C. Raises DTypeError for an objective that another
    process cannot import.
    """
    job = _packed(ledger.ticket(), objective)
    workers: list[Worker] = []
    try:
        workers += [_start(job) for _ in range(count)]
        while workers:
            wait([w.process.sentinel for w in workers], timeout=0.1)
            workers = [new for w in workers if (new := _seen(w, job, ledger)) is not None]
            watch()
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join()
        ledger.clear()


def _seen(worker: Worker, job: bytes, ledger: Ledger) -> Worker | None:
    """Look after a worker: itself if it works, another if it was killed, None if it is done."""
    ended = not worker.process.is_alive()
    while worker.pipe.poll():
        try:
            message = worker.pipe.recv()
        except EOFError:
            break
        if message != READY:
            raise message
        worker.began = True
    if not ended:
        return worker
    if worker.process.exitcode == 0:
        return None
    if not worker.began:
        raise SearchError(
            f"A worker ended before it began (exit code {worker.process.exitcode}).",
            'In a script, search under if __name__ == "__main__": since workers import the script.',
        )
    return _start(job)


def _start(job: bytes) -> Worker:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(job, there), name="search")
    with _single_threaded():
        process.start()
    there.close()
    return Worker(process, here)


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
    """Let processes that start here have one thread of linear algebra each."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _packed(ticket: tuple[Any, ...], objective: Objective) -> bytes:
    try:
        return pickle.dumps((pickle.dumps(ticket), pickle.dumps(objective)))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise _not_importable(objective, error) from error


def _not_importable(objective: Any, error: BaseException) -> DTypeError:
    return DTypeError(
        f"Workers cannot import the objective {objective!r}: {error}.",
        "Define it at the top of a module or script (no lambda), or use workers=1.",
    )


def _serve(job: bytes, pipe: Connection) -> None:
    """Be a worker: send READY, then nothing but an error that ends the search."""
    ticket, packed = pickle.loads(job)  # noqa: S301  (from the process that started this one)
    try:
        objective = pickle.loads(packed)  # noqa: S301  (the same)
    except Exception as error:  # noqa: BLE001  (whatever the import raised)
        pipe.send(_not_importable("in the module that defines it", error))
        return
    pipe.send(READY)
    try:
        ledger = Ledger(*pickle.loads(ticket))  # noqa: S301  (the same)
        try:
            work(ledger, objective, _stop_without_parent)
        finally:
            ledger.close()
    except BaseException as error:  # noqa: BLE001  (the caller raises it)
        pipe.send(_portable(error))


def _stop_without_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit


def _portable(error: BaseException) -> BaseException:
    """Return an error that survives the way to another process, with its traceback as a note."""
    told = "".join(traceback.format_exception(error))
    try:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own)
    except Exception:  # noqa: BLE001  (whatever its reduction raised)
        again = None
    if type(again) is not type(error):
        error = SearchError(f"The objective raised {error!r}.", "See the traceback below.")
    error.add_note(f"In a worker:\n{told}")
    return error
