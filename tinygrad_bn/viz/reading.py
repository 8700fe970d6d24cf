"""From a recorded graph to a diagram: what is drawn, what is folded, what is collapsed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn.graph.primitive import Primitive
from tinygrad_bn.graph.state import Scope
from tinygrad_bn.graph.tensor import Tensor, Variable
from tinygrad_bn.viz.labels import (
    clean,
    constant,
    few,
    gradient_of,
    index_text,
    letter,
    plain,
    shape_text,
    summary,
)
from tinygrad_bn.viz.mirror import mirrored
from tinygrad_bn.viz.model import Card, Cluster, Diagram, Edge, Line
from tinygrad_bn.viz.naming import assigned
from tinygrad_bn.viz.steps import RESULT
from tinygrad_bn.viz.subject import Subject, used_values

Path: TypeAlias = tuple[Scope, ...]
Place: TypeAlias = Tensor | tuple[Scope, int]
"""What a card stands for: a tensor, or a collapsed scope at a level."""

_UNARY = {"−": "−(·)", "²": "(·)²"}
"""Symbols that say nothing without their operand."""

COMMUTING = ("+", "×")
"""Symbols of operations whose operands may stand in either order."""

_SILENT = ("keepdims", "shape")
"""Parameters that the shape on the card shows already."""

Collapse: TypeAlias = Callable[[Scope], bool]


def diagram(
    subject: Subject,
    *,
    depth: int | None = None,
    collapse: Collapse | None = None,
    values: bool = False,
) -> Diagram:
    """Read what is drawn of a subject.

    Scopes deeper than ``depth``, and those for which ``collapse`` holds, are one card each.
    """
    reader = Reader(subject, depth, collapse, values=values)
    drawn = reader.read()
    return mirrored(drawn, reader.saved()) if subject.backward == "rules" else drawn


def nesting(drawn: Diagram) -> int:
    """Count the levels of clusters."""
    return max((len(frames) for frames in drawn.frames().values()), default=0)


def deepest(read: Callable[[int], Diagram], levels: int, most: int) -> tuple[int, Diagram] | None:
    """Find the deepest of some levels with at most so many cards, by halving: deeper is more."""
    low, high, found = 0, levels - 1, None
    while low <= high:
        depth = (low + high) // 2
        drawn = read(depth)
        if len(drawn.cards) <= most:
            low, found = depth + 1, (depth, drawn)
        else:
            high = depth - 1
    return found


class Reader:
    """One reading: every table is filled in one pass over the nodes in recording order.

    ``place`` says on which card each tensor is drawn, ``number`` how the cards are numbered.
    """

    def __init__(
        self,
        subject: Subject,
        depth: int | None = None,
        collapse: Collapse | None = None,
        *,
        values: bool = False,
    ) -> None:
        self.subject, self.depth, self.collapse, self.values = subject, depth, collapse, values
        self.collapsed: dict[Scope, bool] = {}
        self.nodes = subject.nodes()
        self.results, self.inputs = set(subject.results), set(subject.inputs)
        self.used = used_values(self.nodes)
        self.passed = {(s.node, p.position) for s in subject.steps for p in s.parts}
        self.paths: dict[Scope | None, Path] = {None: ()}
        self.users: dict[Tensor, list[Tensor]] = defaultdict(list)
        for node in self.nodes:
            for operand in _tensors(node):
                self.users[operand].append(node)
        self.level: dict[Tensor, int] = {n: _level(n) for n in self.nodes if n.op is not None}
        self.level |= {n: self._leaf_level(n) for n in self.nodes if n.op is None}
        self.folded = {n for n in self.nodes if self._folds(n)}
        self.path = {n: self._path(n) for n in self.nodes}
        ordered = sorted(self.nodes, key=self._when)
        self.place = {n: self._place(n) for n in ordered if n not in self.folded}
        self.members: dict[Place, list[Tensor]] = defaultdict(list)
        for node, place in self.place.items():
            self.members[place].append(node)
        self.number = {place: i for i, place in enumerate(self.members)}
        self.masked = self._masked() if self.values else set()
        self.given = self._given()
        self.titles = self._titles()

    def read(self) -> Diagram:
        """Make the diagram."""
        cards = [self._card(place, members) for place, members in self.members.items()]
        tensors = list(self.members.values())
        return Diagram(cards, self._edges(), self._clusters(), self._beside(), tensors)

    # where a node belongs ------------------------------------------------------------------

    def _leaf_level(self, leaf: Tensor) -> int:
        if leaf in self.inputs or leaf.name or leaf.requires_grad:
            return 0
        return min((self.level[user] for user in self.users[leaf]), default=0)

    def _folds(self, node: Tensor) -> bool:
        """Whether an anonymous scalar constant is written into the operations that use it."""
        known = node.op is not None or node.name or node.requires_grad or node.shape != ()
        return not (known or node in self.results or node in self.inputs or self._is_seed(node))

    def _is_seed(self, node: Tensor) -> bool:
        """Whether a leaf is what a gradient starts from: the first adjoint of a result."""
        return node.op is None and node.adjoint_of is not None

    def _path(self, node: Tensor) -> Path:
        """The scopes around a node; what only serves a scope (weights, masks) is inside it."""
        if node.op is not None:
            return self._scopes(node.scope)
        own = isinstance(node, Variable) or not (node.name or node.requires_grad)
        if not own or node in self.inputs or node in self.results or self._is_seed(node):
            return ()
        level = self.level[node]
        return _common([self._scopes(u.scope) for u in self.users[node] if self.level[u] == level])

    def _scopes(self, scope: Scope | None) -> Path:
        if scope not in self.paths:
            self.paths[scope] = scope.path if scope is not None else ()
        return self.paths[scope]

    def _when(self, node: Tensor) -> tuple[int, int, int]:
        """Order by recording; a weight or constant of a scope comes with its first use."""
        if node.op is None and self.path[node]:
            return self.users[node][0].index, 0, node.index
        return node.index, 1, 0

    def _place(self, node: Tensor) -> Place:
        path = self.path[node]
        opened = self._opened(path)
        return node if opened == len(path) else (path[opened], self.level[node])

    def _opened(self, path: Path) -> int:
        """Count the scopes of a path that are drawn as frames, before the first collapsed one."""
        depth = len(path) if self.depth is None else min(len(path), self.depth)
        if self.collapse is None:
            return depth
        return next((i for i, scope in enumerate(path[:depth]) if self._collapses(scope)), depth)

    def _collapses(self, scope: Scope) -> bool:
        if self.collapse is not None and scope not in self.collapsed:
            self.collapsed[scope] = bool(self.collapse(scope))
        return self.collapsed[scope]

    # cards -----------------------------------------------------------------------------------

    def _given(self) -> dict[Tensor, str]:
        """Name every tensor that the user named, by itself or by the variable that holds it."""
        bound = self.subject.variables
        taken = assigned(self.nodes, self.users, self.path, self.subject.site)
        alone = {n: name for n, name in taken.items() if (n, name) not in self.subject.packed}
        wishes = {n: n.name or bound.get(n) or alone.get(n) or "" for n in self.nodes}
        return {n: clean(wish) for n, wish in wishes.items() if wish}

    def _titles(self) -> dict[Tensor, str]:
        """Name also what a formula names, and the gradients of all those; the user's come first."""
        terms: dict[int, str] = {}
        for scope in {scope: None for path in self.path.values() for scope in path}:
            terms |= scope.terms or {}
        parts = {n: clean(terms[n.index]) for n in self.nodes if n.index in terms}
        titles = parts | self.given
        for named in (dict(self.given), parts):
            for tensor, gradient in self.subject.gradients.items():
                if tensor in named and gradient not in titles:
                    titles[gradient] = gradient_of(named[tensor])
                    if tensor in self.given:
                        self.given[gradient] = titles[gradient]
        return titles

    def _card(self, place: Place, members: list[Tensor]) -> Card:
        if isinstance(place, Tensor):
            return self._op(place) if place.op is not None else self._leaf(place)
        return self._scope(place, members)

    def _op(self, node: Tensor) -> Card:
        op: Primitive = node.op
        badge = _badge(node, self.folded)
        single = len(node.inputs) == 1 and op.family == "elementwise"
        return Card(
            kind="op",
            badge=clean(badge, 40),
            family="unary" if single else op.family,
            call=self._call(node),
            **self._facts(node, node),
        )

    def _leaf(self, node: Tensor) -> Card:
        if self._is_seed(node):
            kind, badge = "seed", "1"
        elif node not in self.inputs and (node.requires_grad or isinstance(node, Variable)):
            kind, badge = "parameter", "θ"
        elif node in self.inputs or node.name:
            kind, badge = "input", "in"
        else:
            kind, badge = "constant", "const"
        return Card(kind=kind, badge=badge, call=kind, **self._facts(node, node))

    def _scope(self, place: tuple[Scope, int], members: list[Tensor]) -> Card:
        """Draw a collapsed scope: what it holds, and the value that leaves it."""
        scope, level = place
        made = [n for n in members if n.op is not None]
        leaving = {n: None for n in made if self._leaves(n)}
        held = [n for n in members if n.op is None or (level and n not in leaving)]
        named = [self.given[n] for n in held if n in self.given]
        count = f"{len(made)} op{'s' * (len(made) != 1)}"
        facts = self._facts([*(leaving or members)][-1], place)
        facts["shape"] = ", ".join(dict.fromkeys(shape_text(n.shape) for n in [*leaving][:3]))
        facts["name"] = "∂ " * level + (clean(scope.name) or "scope")
        facts["result"] = any(n in self.results for n in members)
        passing = [n for n in (*members, *leaving) if n in self.subject.gradients]
        facts["gradient"] = self._gradient(passing[-1]) if passing else None
        given = [self.given[n] for n in leaving if n in self.given and not level]
        note = " ".join(
            [count, *(["·", few(named)] if named else []), *(["→", *given] if given else [])]
        )
        trained = [self.given[n] for n in held if n in self.given and n in self.subject.gradients]
        return Card(kind="scope", badge="", note=note, call=note, holds=tuple(trained), **facts)

    def _leaves(self, node: Tensor) -> bool:
        """Whether a node is used outside its card, in the graph of its own level."""
        level, number = self.level[node], self._number(node)
        away = (self._number(u) != number and self.level[u] == level for u in self.users[node])
        return node in self.results or any(away)

    def _facts(self, node: Tensor, place: Place) -> dict[str, Any]:
        return {
            "number": self.number[place],
            "level": self.level[node],
            "name": self.titles.get(node, ""),
            "shape": shape_text(node.shape),
            "dtype": str(node.dtype),
            "result": node in self.results,
            "value": self._value(node) if self.values else None,
            "gradient": self._gradient(node),
        }

    def _masked(self) -> set[Tensor]:
        """Collect what is −∞ on purpose: where an operation was given −∞, and where it passes."""
        found: set[Tensor] = set()
        for node in self.nodes:
            given = any(_is_minus_infinity(x) for x in node.values if np.ndim(x) == 0)
            passed = any(x in found for x in _tensors(node))
            if (given or passed) and node.dtype.kind == "f":
                bad = node.data[~np.isfinite(node.data)]
                found |= {node} if bad.size and (bad == -np.inf).all() else set()
        return found

    def _value(self, node: Tensor) -> Line:
        line = summary(self.used.get(node, node.data))
        return line._replace(alarm=line.alarm and node not in self.masked)

    def _gradient(self, node: Tensor) -> Line | None:
        if self.subject.backward in ("none", "ops"):
            return None
        gradient = self.subject.gradients.get(node)
        return None if gradient is None else summary(gradient.data)

    def _call(self, node: Tensor) -> str:
        """Write an operation as text, its operands by the numbers of their cards."""
        operands = [
            f"n{self._number(x)}" if isinstance(x, Tensor) and x not in self.folded else _scalar(x)
            for x in node.inputs
        ]
        return f"{node.op.name}({', '.join([*operands, *_parameters(node)])})"

    def saved(self) -> list[tuple[int, int]]:
        """List the forward cards whose values the rules of another read."""
        pairs: dict[tuple[int, int], None] = {}
        for step in self.subject.steps:
            for position in sorted(frozenset[int]().union(*(p.reads for p in step.parts))):
                x = step.node if position == RESULT else step.node.inputs[position]
                if isinstance(x, Tensor) and x in self.place:
                    pairs[self._number(x), self._number(step.node)] = None
        return list(pairs)

    # edges, clusters, alignment ----------------------------------------------------------------

    def _edges(self) -> list[Edge]:
        edges: dict[tuple[int, ...], Edge] = {}
        for node in self.place:
            for key, edge in self._into(node):
                known = edges.setdefault(key, edge)
                if edge.flows and not known.flows:
                    edges[key] = known._replace(flows=True)
        return list(edges.values())

    def _into(self, node: Tensor) -> Iterator[tuple[tuple[int, ...], Edge]]:
        """Yield an edge for every operand that comes from another card, and what makes it new.

        An operation has an edge for each operand, a collapsed scope for each tensor that enters,
        and a saved value is drawn once, unless gradients pass back along it.
        """
        alone = self.place[node] is node
        marks = _marks(node) if alone else [""] * len(node.inputs)
        target = self._number(node)
        for i, x in enumerate(node.inputs):
            if isinstance(x, Tensor) and x not in self.folded and self._number(x) != target:
                source, saved = self._number(x), self.level[x] < self.level[node]
                flows, mark = (node, i) in self.passed, "" if saved else marks[i]
                which = -1 if saved and not flows else i if alone else x.index
                yield (source, target, which), Edge(source, target, i, mark, saved, flows)

    def _number(self, node: Tensor) -> int:
        return self.number[self.place[node]]

    def _clusters(self) -> Cluster:
        root = Cluster("", 0, 0)
        clusters: dict[tuple[Scope | None, int], Cluster] = {}
        for place, number in self.number.items():
            first = self.members[place][0]
            path, level = self.path[first], self.level[first]
            path = path[: self._opened(path)]
            self._cluster(root, clusters, path, level).members.append(number)
        return root

    def _cluster(
        self,
        root: Cluster,
        clusters: dict[tuple[Scope | None, int], Cluster],
        path: Path,
        level: int,
    ) -> Cluster:
        """Find or open the cluster of a path: each scope has one per level."""
        known = len(path)
        while known and (path[known - 1], level) not in clusters:
            known -= 1
        cluster = clusters[path[known - 1], level] if known else root
        for scope in path[known:]:
            inner = Cluster("∂ " * level + (clean(scope.name) or "scope"), level, cluster.depth + 1)
            cluster.members.append(inner)
            clusters[scope, level] = cluster = inner
        return cluster

    def _beside(self) -> list[tuple[int, int]]:
        """Pair each forward card with the first card of its gradient."""
        pairs: dict[int, int] = {}
        for node in self.place:
            origin = node.adjoint_of
            if node.op is not None and origin in self.place:
                pairs.setdefault(self._number(origin), self._number(node))
        return list(pairs.items())


def _is_minus_infinity(x: Any) -> bool:
    return isinstance(x, float | np.floating | np.ndarray) and bool(x == -np.inf)


def _tensors(node: Tensor) -> Iterable[Tensor]:
    return (x for x in node.inputs if isinstance(x, Tensor))


def _level(node: Tensor) -> int:
    """Count how often a node is an adjoint: 0 forward, 1 gradient, 2 gradient of a gradient."""
    level, origin = 0, node.adjoint_of
    while origin is not None:
        level, origin = level + 1, origin.adjoint_of
    return level


def _common(paths: Sequence[Path]) -> Path:
    """Return the scopes that all paths begin with."""
    if not paths:
        return ()
    shared = []
    for scopes in zip(*paths, strict=False):
        if any(s is not scopes[0] for s in scopes):
            break
        shared.append(scopes[0])
    return tuple(shared)


def _badge(node: Tensor, folded: set[Tensor]) -> str:
    """Say what an operation does: its symbol with the constants and parameters it takes."""
    op: Primitive = node.op
    symbol = op.symbol or op.name
    scalars = [
        None if isinstance(x, Tensor) and x not in folded else _scalar(x) for x in node.inputs
    ]
    if len(scalars) == 1 and scalars[0] is None:
        symbol = _UNARY.get(symbol, symbol)
    if "index" in node.params:
        symbol = " ".join(["" if op.symbol else op.name, *filter(None, scalars)]).strip()
    elif any(s is not None for s in scalars):
        symbol = _applied(symbol, scalars, infix=op.symbol is not None)
    return " ".join([*([symbol] if symbol else []), *_parameters(node)]) or op.name


def _applied(symbol: str, scalars: list[str | None], *, infix: bool) -> str:
    if infix and len(scalars) == 2:
        left, right = scalars
        return " ".join(part for part in (left, symbol, right) if part)
    return f"{symbol}({', '.join(s or '·' for s in scalars)})"


def _scalar(x: Any) -> str:
    return constant(x.data[()] if isinstance(x, Tensor) else x)


def _parameters(node: Tensor) -> list[str]:
    """Write the static parameters that are neither at their defaults nor seen in the shape."""
    op: Primitive = node.op
    told = []
    for key, value in node.params.items():
        default = key in op.static and op.static[key] is value
        if key in _SILENT or value is None or default:
            continue
        text = index_text(value) if key == "index" else clean(plain(value), 24)
        told.append(text if key in ("index", "dtype") else f"{clean(key)} {text}")
    return told


def _marks(node: Tensor) -> Sequence[str]:
    """Letter the operands where their order matters and there are several."""
    several = sum(isinstance(x, Tensor) and not _tiny(x) for x in node.inputs) > 1
    if not several or node.op.symbol in COMMUTING or len(set(map(id, node.inputs))) == 1:
        return [""] * len(node.inputs)
    return [*map(letter, range(len(node.inputs)))]


def _tiny(x: Tensor) -> bool:
    return x.op is None and x.shape == () and not x.name
