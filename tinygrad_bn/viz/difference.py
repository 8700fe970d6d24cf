"""The difference of two recorded graphs: what was added, removed, changed, and what is the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from typing import Any, NamedTuple

from tinygrad_bn.errors import DTypeError
from tinygrad_bn.graph.namespaces import engine
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.viz.hashing import Recorded, known, roles
from tinygrad_bn.viz.labels import clean
from tinygrad_bn.viz.matching import matched
from tinygrad_bn.viz.model import Comparison, Diagram
from tinygrad_bn.viz.options import whole
from tinygrad_bn.viz.ordering import merged
from tinygrad_bn.viz.reading import Collapse, Reader
from tinygrad_bn.viz.subject import Subject, subject_of
from tinygrad_bn.viz.telling import Mark, marks
from tinygrad_bn.viz.text import listing
from tinygrad_bn.viz.union import union

_TITLE = 80


class Change(NamedTuple):
    """A node of both graphs that is not the same in both; ``what`` says what changed."""

    old: Tensor
    new: Tensor
    what: tuple[str, ...]


class Difference:
    """What differs between two recorded graphs; ``diff`` makes it.

    ``added``: nodes of the new graph alone; ``removed``: of the old one alone; ``changed``: nodes
    of both that do something else, take other operands or have another place among the results,
    each with what changed; ``affected``: pairs of nodes that do the same to operands that changed;
    ``same``: pairs of nodes that compute the same. A scalar constant that is written into an
    operation is part of it. A difference is true where anything was added, removed or changed;
    its text lists both graphs as one; ``viz.graph`` and ``viz.render`` draw it.
    """

    def __init__(self, old: Subject, new: Subject, title: str) -> None:
        self._subjects, self._title = (old, new), title
        both = known(old, new)
        a, b = (
            Recorded(subject, named, both)
            for subject, named in zip((old, new), roles(old.inputs, new.inputs), strict=True)
        )
        self._marks: list[Mark] = marks(a, b, merged(a, b, matched(a, b)))
        self.added: list[Tensor] = []
        self.removed: list[Tensor] = []
        self.changed: list[Change] = []
        self.affected: list[tuple[Tensor, Tensor]] = []
        self.same: list[tuple[Tensor, Tensor]] = []
        for mark in self._marks:
            self._sort(mark)

    def _sort(self, mark: Mark) -> None:
        old, new, change, changes = mark
        if new is None or old is None:
            self.removed += [old] if old is not None else []
            self.added += [new] if new is not None else []
        elif change == "changed":
            self.changed.append(Change(old, new, changes))
        else:
            (self.affected if change else self.same).append((old, new))

    def diagram(
        self, *, depth: int | None = None, collapse: Collapse | None = None, values: bool = False
    ) -> Diagram:
        """Lay out both graphs as one.

        Scopes deeper than ``depth``, and those for which ``collapse`` holds, are one card each.
        ``values``: write the values of the new graph on each card, and of the old one on what was
        removed. Raises DTypeError or ShapeError for a depth that is no whole number from 0.
        """
        if depth is not None:
            whole("diagram with depth", depth, least=0, otherwise=", or None for everything")
        counts = Counter(mark.change for mark in self._marks)
        a, b = (Reader(subject, depth, collapse, values=values) for subject in self._subjects)
        return union(a, b, self._marks, Comparison(self._title, counts))

    def __bool__(self) -> bool:
        """Whether anything was added, removed or changed."""
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        """List both graphs as one: ``+`` added, ``-`` removed, ``~`` changed; runs are folded."""
        return listing(self.diagram(), folded=True).rstrip()

    __repr__ = __str__

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> dict[str, str]:
        """Show its text and its drawing in a notebook."""
        bundle: dict[str, str] = engine.mimebundle(self, include, exclude)
        return bundle


def diff(a: Any, b: Any, *, title: str | None = None) -> Difference:
    """Compare two recorded graphs: what the new one ``b`` has that the old one ``a`` has not.

    ``a``, ``b``: as for ``graph``, tensors, traces, or containers of tensors. Two nodes are the
    same where they compute the same: one operation with the same parameters, shape and dtype on
    the same operands (of + and × in either order), in whatever scope and under whatever name.
    Inputs of traces are the same by place (by name, where shapes differ), tensors that are in both
    graphs are themselves there, and other leaves are the same by name, shape and dtype: their
    values are data. Constants are compared, scalars and arrays without a name; operations of your
    own by their code. What is not the same is matched to what plays its part: from what is
    the same along the edges, and back from the results, to what does the same by itself, then to
    the same operation with other parameters, then to another operation in the same place.

    ``title``: what stands above, by default the names of both.

    Raises DTypeError where there is no tensor, or none that an operation recorded.

    >>> import tinygrad_bn as tg
    >>> x = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="x")
    >>> print(diff(tg.exp(x).sum(axis=0), tg.exp(x).sum(axis=1) * 2))
    + 1 added, ~ 1 changed, 2 the same
      ... 2 the same
    ~ n2 sum(n1, axis 1)  1 float64  [axis 0 → 1; result → no result]
    + n3 multiply(n2, 2)  1 float64  -> result
    """
    old, new = subject_of(a, "none"), subject_of(b, "none")
    for obj, subject in ((a, old), (b, new)):
        _refuse_unrecorded(obj, subject)
    titles = [_title(obj, subject) for obj, subject in ((a, old), (b, new))]
    both = titles[0] if titles[0] == titles[1] else " → ".join(t or "?" for t in titles)
    return Difference(old, new, both if title is None else clean(title, _TITLE))


def _refuse_unrecorded(obj: Any, subject: Subject) -> None:
    """Refuse to call equal what nothing is known of."""
    if not isinstance(obj, Trace) and all(result.op is None for result in subject.results):
        raise DTypeError(
            "diff of a tensor that no operation recorded.",
            "Trace the function, tg.trace(f, x), or let x require a gradient.",
        )


def _title(obj: Any, subject: Subject) -> str:
    """Name a graph: by the traced function, else by its first result or the scope of that."""
    if isinstance(obj, Trace):
        return clean(obj.name)
    result = subject.results[0]
    scopes = result.scope.path if result.op is not None and result.scope is not None else ()
    return clean(result.name or (scopes[0].name if scopes else ""))
