"""What is true while an operation is recorded: scope, recording, tracing. One context variable.

A context variable, so that threads and async tasks each have their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from tinygrad_bn.errors import DTypeError

if TYPE_CHECKING:
    from tinygrad_bn.graph.tensor import Tensor


class Scope:
    """A named stretch of the graph; scopes nest, and each opening is one of its own.

    ``composed``: whether a composition of that name opened it (``softmax``), not a user.
    ``terms``: what its formula calls the tensors made in it, by their index.
    """

    __slots__ = ("composed", "name", "opener", "parent", "terms")

    def __init__(self, name: str, parent: Scope | None, opener: object, *, composed: bool) -> None:
        self.name, self.parent, self.opener, self.composed = name, parent, opener, composed
        self.terms: dict[int, str] | None = None

    @property
    def path(self) -> tuple[Scope, ...]:
        """The scopes from the outermost to this one."""
        chain: list[Scope] = []
        here: Scope | None = self
        while here is not None:
            chain.append(here)
            here = here.parent
        return tuple(reversed(chain))

    def __repr__(self) -> str:
        """Show the path of names."""
        return f"Scope({'/'.join(s.name for s in self.path)!r})"


@dataclass(frozen=True, slots=True)
class State:
    """The circumstances of recording; every recorded node keeps the one it was made under."""

    scope: Scope | None = None
    recording: bool = True
    tracing: bool = False
    adjoint_of: Tensor | None = None
    replay: Replay | None = None


@dataclass(slots=True)
class Replay:
    """A computation that will run again: what it draws at random is kept and given back."""

    draws: list[Any]
    again: bool
    parent: Replay | None
    position: int = 0

    def draw(self, make: Callable[[], Any]) -> Any:
        """Return the next draw: made, kept, or given back."""
        if self.again:
            self.position += 1
            return self.draws[self.position - 1]
        made = make() if self.parent is None else self.parent.draw(make)
        self.draws.append(made)
        return made


_state: ContextVar[State] = ContextVar("tinygrad_bn.state", default=State())  # noqa: B039 frozen
current: Callable[[], State] = _state.get


@contextmanager
def using(**changes: Any) -> Iterator[State]:
    """Run a block under a changed state; only what was changed is put back after it."""
    before = _state.get()
    state = replace(before, **changes)
    _state.set(state)
    try:
        yield state
    finally:
        now = _state.get()
        kept = {name: getattr(before, name) for name in changes}
        _state.set(before if now is state else replace(now, **kept))


class scope:  # noqa: N801  (used like a function)
    """Name a stretch of the graph, for diagrams and programs: ``with scope("encoder"): ...``.

    Raises DTypeError for a name that is no string.

    >>> import tinygrad_bn as tg
    >>> with tg.scope("double"):
    ...     y = tg.Tensor([1.0], requires_grad=True) * 2
    >>> y.scope
    Scope('double')
    """

    __slots__ = ("_name",)
    composed: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise DTypeError(
                f"scope({name!r}): a name is a string, not a {type(name).__name__}.",
                'Write it as one: scope(f"block {i}").',
            )
        self._name = name

    def __enter__(self) -> Scope:
        """Open the scope inside the one that is open."""
        state = _state.get()
        opened = Scope(self._name, state.scope, self, composed=self.composed)
        _in_scope(state, opened)
        return opened

    def __exit__(self, *exc: object) -> None:
        """Close it, and nothing else: a generator may leave it while other blocks are open."""
        state = _state.get()
        here = state.scope
        while here is not None and here.opener is not self:
            here = here.parent
        if here is not None:
            _in_scope(state, here.parent)


class composed_scope(scope):  # noqa: N801  (used like a function)
    """The scope of one of the package's own compositions."""

    __slots__ = ()
    composed = True


def _in_scope(state: State, here: Scope | None) -> None:
    """Change the open scope alone."""
    _state.set(State(here, state.recording, state.tracing, state.adjoint_of, state.replay))


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing in this block: results do not require gradients.

    Safe in threads and async code; also works as a decorator.

    >>> import tinygrad_bn as tg
    >>> x = tg.Tensor([1.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     (x * 2).requires_grad
    False
    """
    with using(recording=False):
        yield


def draw(make: Callable[[], Any]) -> Any:
    """Make something random, once: a computation that is replayed gets the same again."""
    replay = _state.get().replay
    return make() if replay is None else replay.draw(make)


def replaying() -> bool:
    """Whether this computation has run before: its effects (running statistics) must not recur."""
    replay = _state.get().replay
    while replay is not None:
        if replay.again:
            return True
        replay = replay.parent
    return False
