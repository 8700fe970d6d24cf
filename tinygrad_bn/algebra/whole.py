"""Recorded graphs as terms of whole arrays: equal terms are one object; rules make them cheaper.

A graph is read node by node, each rewritten by the table in ``whole_rules`` as soon as its
operands are; then what the results need is written as a graph again. Operations that stay as
they are stay the recorded ones; the others are replayed where their scope says.

The level ``exact`` keeps every bit, and NumPy's order of adding depends on how an array lies in
memory: where that may reach a sum, a rewriting that changes the strides is not taken.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tinygrad_bn.algebra.rules import Exactness, Rule
from tinygrad_bn.algebra.whole_rules import HELPERS, RULES
from tinygrad_bn.errors import ShapeError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.primitive import Primitive, bind, table
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.state import using
from tinygrad_bn.graph.tensor import Tensor, leaf

Binding: TypeAlias = dict[str, Any]
"""What the letters of a pattern stand for: terms and parameters."""

LEVELS = {
    "exact": (Exactness.BITWISE,),
    "rounding": (Exactness.BITWISE, Exactness.ROUNDING),
}
"""The rules of each level."""

OWN = "tinygrad_bn."
"""The origin of rows whose kernels are known to be functions of their operands alone."""

COMMUTATIVE = {
    Exactness.BITWISE: {"add", "multiply", "equal", "not_equal", "bitwise_and", "bitwise_or"}
    | {"bitwise_xor", "logical_and", "logical_or", "logical_xor"},
    Exactness.ROUNDING: {"maximum", "minimum", "hypot", "logaddexp"},
}
"""Which operations give the same in either order: of two zeros ``maximum`` takes the second."""

INDIFFERENT = {
    *("add", "subtract", "multiply", "divide", "negative", "positive", "square", "sqrt", "abs"),
    *("reciprocal", "sign", "floor", "ceil", "trunc", "round", "copysign", "real", "imag", "conj"),
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "where"),
    *("isnan", "isinf", "isfinite", "signbit", "logical_and", "logical_or", "logical_xor"),
    *("logical_not", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_invert", "astype"),
    *("stop_gradient", "getitem", "index_set", "reshape", "expand_dims", "squeeze", "flip", "roll"),
    *("permute_dims", "matrix_transpose", "moveaxis", "broadcast_to", "repeat", "tile", "concat"),
    *("stack", "tril", "triu", "pad_constant", "sliding_windows"),
}
"""Operations whose bits do not depend on strides. NumPy's exponential, for one, has several
loops, and its ``maximum`` chooses among zeros by the loop."""

EVEN = {"add", "subtract", "multiply", "divide", "negative", "positive", "square", "sqrt", "abs"}
EVEN |= {"astype", "broadcast_to", "reshape", "expand_dims", "squeeze", "stop_gradient"}
"""Operations that make equal elements of equal elements, wherever these lie."""


class Array:
    """A whole array, or a Python number.

    ``op``: None for what no operation made. ``value``: the array at the recorded operands.
    ``frozen``: recorded where no gradient may pass although one could; ``flows``: whether one
    passes. ``node``: the recorded operation that this is; ``like``: the one in place of which it
    is. ``even``: whether all elements are one number, whatever the inputs are; ``real``: whether
    it and its operands are real numbers or truth values. ``uses``: by how many operations and
    results. ``name``: what the user calls it.
    """

    __slots__ = (
        *("args", "even", "flows", "frozen", "id", "like"),
        *("name", "node", "op", "params", "real", "uses", "value"),
    )

    def __init__(
        self, number: int, op: Primitive | None, args: tuple[Array, ...], params: dict[str, Any]
    ) -> None:
        self.id, self.op, self.args, self.params = number, op, args, params
        self.value: Any = None
        self.node: Tensor | None = None
        self.like: Tensor | None = None
        self.name: str | None = None
        self.frozen = self.flows = self.even = self.real = False
        self.uses = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return np.shape(self.value)

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The dtype; None for a Python number, which takes that of what it meets."""
        return self.value.dtype if isinstance(self.value, np.ndarray) else None

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.size(self.value))

    @property
    def is_number(self) -> bool:
        """Whether it is a Python number."""
        return not isinstance(self.value, np.ndarray)

    def __repr__(self) -> str:
        if self.op is None:
            return repr(self.value) if self.is_number else (self.name or "array")
        return f"{self.op.name}({', '.join(map(repr, self.args))})"


class Arrays:
    """Makes terms, each once. ``commutes``: the operations whose operands may change places."""

    def __init__(self, commutes: Iterable[str], *, by_layout: bool) -> None:
        self.commutes, self.by_layout = frozenset(commutes), by_layout
        self.made: dict[Any, Array] = {}

    def leaf(self, tensor: Tensor, value: np.ndarray[Any, Any]) -> Array:
        """Return an input or a closed-over tensor. The one that a sweep starts from is even."""
        found = self._new(("leaf", id(tensor)), None, (), {})
        found.value, found.node, found.flows = value, tensor, tensor.requires_grad
        found.even = is_seed(tensor)
        return found

    def number(self, value: Any) -> Array:
        """Return a Python number (or None, where an operand is left out)."""
        found = self._new(("number", *_key(value)), None, (), {})
        found.value, found.even = value, True
        return found

    def operation(
        self,
        op: Primitive,
        args: tuple[Array, ...],
        params: dict[str, Any],
        node: Tensor | None = None,
        *,
        frozen: bool = False,
    ) -> Array:
        """Return what an operation makes of terms; ``node``: where it was recorded."""
        ids = tuple(a.id for a in args)
        rest = (op, _key(params), frozen)
        known = self.made.get((ids, rest))
        if known is not None and _mergeable(op):
            return known
        value = node._data if node is not None else _computed(op, args, params)
        if len(ids) == 2 and op.name in self.commutes and op.origin.startswith(OWN):
            turned = self.made.get((ids[::-1], rest))
            if turned is not None and turned.real and self.alike(turned.value, value):
                return turned
        key = (ids, rest) if _mergeable(op) else ("alone", node)
        return self._filled(self._new(key, op, args, params), value, node, frozen=frozen)

    def alike(self, one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
        """Whether two values lie in memory alike, where that counts."""
        return not self.by_layout or one.strides == other.strides

    def _filled(self, term: Array, value: Any, node: Tensor | None, *, frozen: bool) -> Array:
        term.value, term.node, term.frozen = value, node, frozen
        passing = flowing(term.op, term.args, value)
        term.flows = not frozen and bool(passing)
        term.real = all(_is_real(t) for t in (term, *term.args))
        name = term.op.name if term.op is not None else ""
        term.even = name in EVEN and all(a.even for a in term.args) and not term.flows
        return term

    def _new(
        self, key: Any, op: Primitive | None, args: tuple[Array, ...], params: dict[str, Any]
    ) -> Array:
        if key not in self.made:
            self.made[key] = Array(len(self.made), op, args, params)
        return self.made[key]


def _is_real(term: Array) -> bool:
    return term.is_number or term.value.dtype.kind in "fiub"


def _key(value: Any) -> Any:
    """Return what tells parameters apart: 0.0 from -0.0, 1 from True."""
    if isinstance(value, dict):
        return tuple((k, _key(v)) for k, v in value.items())
    if isinstance(value, tuple | list):
        return (type(value), tuple(map(_key, value)))
    if isinstance(value, float | complex):
        return (type(value), repr(value))
    hashable = getattr(value, "__hash__", None) is not None
    return (type(value), value if hashable else id(value))


def _mergeable(op: Primitive) -> bool:
    """Whether two runs of an operation give the same: a user's own may draw at random."""
    return op.origin.startswith(OWN)


def _computed(op: Primitive, args: Sequence[Array], params: Mapping[str, Any]) -> Any:
    return np.asarray(op.kernel(*(a.value for a in args), **params))


def flowing(op: Primitive | None, args: Sequence[Array], value: Any) -> list[int]:
    """List the operands to which a gradient passes if nothing prevents it."""
    if op is None or value.dtype.kind != "f":
        return []
    return [i for i, a in enumerate(args) if a.flows and op.mask >> i & 1]


def is_seed(tensor: Tensor) -> bool:
    """Whether a tensor is the one that a reverse sweep started from: ones, and nobody's own."""
    own = tensor.name is not None or tensor.requires_grad or tensor.op is not None
    return not own and tensor.adjoint_of is not None


# matching and building ---------------------------------------------------------------------------


def matches(
    pattern: ast.expr, term: Array, known: Binding, commutes: frozenset[str]
) -> Iterator[Binding]:
    """Yield every way in which a pattern matches a term: what its letters stand for."""
    if isinstance(pattern, ast.Name):
        if known.get(pattern.id, term) is term and (pattern.id not in "nm" or _plain(term)):
            yield {**known, pattern.id: term}
    elif isinstance(pattern, ast.Call):
        yield from _call(pattern, term, known, commutes)
    elif term.is_number and term.op is None and _same(ast.literal_eval(pattern), term.value):
        yield known


def _word(name: ast.expr) -> str:
    return name.id if isinstance(name, ast.Name) else ast.unparse(name)


def _plain(term: Array) -> bool:
    """Whether a term is a written number."""
    return term.op is None and type(term.value) in (int, float)


def _same(wanted: Any, value: Any) -> bool:
    """Whether a written number is the wanted one: zeros by their signs, True is not 1."""
    if isinstance(wanted, bool) or wanted is None or type(value) not in (int, float):
        return wanted is value
    return bool(wanted == value and np.signbit(float(wanted)) == np.signbit(float(value)))


def _call(
    pattern: ast.Call, term: Array, known: Binding, commutes: frozenset[str]
) -> Iterator[Binding]:
    name = _word(pattern.func)
    count = len(pattern.args)
    if term.op is not table[name] or term.frozen or len(term.args) != count or not term.real:
        return
    found = _parameters(pattern, term, known)
    if found is None:
        return
    found = {**found, "parts": (*known.get("parts", ()), term)}
    yield from _all(pattern.args, term.args, found, commutes)
    if count == 2 and name in commutes:
        yield from _all(pattern.args, term.args[::-1], found, commutes)


def _parameters(pattern: ast.Call, term: Array, known: Binding) -> Binding | None:
    """Bind the letters of keywords; ``**k`` is all that are not named."""
    found = dict(known)
    named = {k.arg for k in pattern.keywords}
    for keyword in pattern.keywords:
        rest = {k: v for k, v in term.params.items() if k not in named}
        value = rest if keyword.arg is None else term.params[keyword.arg]
        letter = _word(keyword.value)
        if letter in found and _key(found[letter]) != _key(value):
            return None
        found[letter] = value
    return found


def _all(
    patterns: Sequence[ast.expr], terms: Sequence[Array], known: Binding, commutes: frozenset[str]
) -> Iterator[Binding]:
    if not patterns:
        yield known
        return
    for found in matches(patterns[0], terms[0], known, commutes):
        yield from _all(patterns[1:], terms[1:], found, commutes)


class Rewriter:
    """Makes terms and rewrites each by rules; ``layout``: whether strides must stay."""

    def __init__(self, rules: Sequence[Rule], commutes: Iterable[str], *, layout: bool) -> None:
        self.terms = Arrays(commutes, by_layout=layout)
        self.by_head: dict[str, list[tuple[set[str], Rule]]] = defaultdict(list)
        for rule in rules:
            self.by_head[rule.head].append((_needs(rule.pattern), rule))
        self._normal: dict[tuple[Array, bool], Array] = {}
        self.here: Tensor | None = None

    def normal(self, term: Array, *, exposed: bool) -> Array:
        """Return the cheapest form of a term whose operands have theirs.

        ``exposed``: whether something that looks at strides may see it.
        """
        found = self._normal.get((term, exposed))
        if found is None:
            if term.like is None:
                term.like = self.here if term.node is None else term.node
            found = self._normal[term, exposed] = self._rewritten(term, exposed=exposed)
        return found

    def _rewritten(self, term: Array, *, exposed: bool) -> Array:
        if term.op is None or term.frozen or not term.op.origin.startswith(OWN):
            return term
        there = {a.op.name if a.op is not None else NUMBER for a in term.args}
        for needs, rule in self.by_head.get(term.op.name, ()):
            if needs <= there:
                for found in matches(rule.pattern, term, {}, self.terms.commutes):
                    made = self._replaced(rule, term, found, exposed=exposed)
                    if made is not None:
                        return made
        return self._with_numbers(term, exposed=exposed)

    def _replaced(self, rule: Rule, term: Array, found: Binding, *, exposed: bool) -> Array | None:
        """Return what a rule makes of a match, if its conditions hold."""
        found["whole"] = term
        if not all(c.test(found.get(c.letter), found) for c in rule.when):
            return None
        try:
            made = self._built(rule.replacement, found, exposed=exposed)
        except (ValueError, TypeError, OverflowError):  # operands that do not go together
            return None
        return made if self._fits(made, term, exposed=exposed) else None

    def _fits(self, made: Array, term: Array, *, exposed: bool) -> bool:
        """Whether a term may stand for another one: shape, dtype, and strides where they count."""
        same = made.shape == term.shape and made.dtype == term.dtype
        return same and (not exposed or self.terms.alike(made.value, term.value))

    def _built(self, pattern: ast.expr, found: Binding, *, exposed: bool) -> Array:
        if isinstance(pattern, ast.Name):
            term: Array = found[pattern.id]
            return term
        if not isinstance(pattern, ast.Call):
            return self.terms.number(ast.literal_eval(pattern))
        name = _word(pattern.func)
        if name in HELPERS:
            return self.terms.number(_value(pattern, found))
        args = tuple(self._built(a, found, exposed=exposed) for a in pattern.args)
        params: dict[str, Any] = {}
        for k in pattern.keywords:
            value = _value(k.value, found)
            params.update(value if k.arg is None else {k.arg: value})
        made = self.terms.operation(table[name], args, {**table[name].static, **params})
        return self.normal(made, exposed=exposed)

    def _with_numbers(self, term: Array, *, exposed: bool) -> Array:
        """Put a number in place of each operand that is known to be even."""
        if term.op is None or term.op.name not in TAKES_NUMBERS or not term.real:
            return term
        for place, arg in enumerate(term.args):
            others = [a for i, a in enumerate(term.args) if i != place]
            if _is_even_array(arg) and not all(a.is_number for a in others):
                args = list(term.args)
                args[place] = self.terms.number(arg.value.flat[0].item())
                made = self.terms.operation(term.op, tuple(args), term.params)
                if self._fits(made, term, exposed=exposed):
                    return self.normal(made, exposed=exposed)
        return term


NUMBER = "number"


def _needs(pattern: ast.expr) -> set[str]:
    """Return what has to be among the operands of a term for a pattern to match: most miss it."""
    operands = pattern.args if isinstance(pattern, ast.Call) else []
    calls = {_word(a.func) for a in operands if isinstance(a, ast.Call)}
    numbers = [a for a in operands if not isinstance(a, ast.Call | ast.Name)]
    return calls | {NUMBER for a in operands if a in numbers or _word(a) in ("n", "m")}


TAKES_NUMBERS = {"add", "subtract", "multiply", "divide", "where"}
"""Operations in which a number may stand for an array of equal elements."""


def _is_even_array(term: Array) -> bool:
    """Whether a term is an array of equal elements that a Python number can hold."""
    kinds = (np.float64, np.float32, np.float16, np.int64)
    return term.even and not term.is_number and term.size > 0 and term.value.dtype.type in kinds


def _value(pattern: ast.expr, found: Binding) -> Any:
    """Return a parameter: a letter's, a written one, or what a helper makes of letters."""
    if isinstance(pattern, ast.Name):
        return found[pattern.id]
    if isinstance(pattern, ast.Call):
        arguments = [_value(a, found) for a in pattern.args]
        return HELPERS[_word(pattern.func)](*arguments)
    return ast.literal_eval(pattern)


# reading and writing -----------------------------------------------------------------------------


class Cost(NamedTuple):
    """What a graph costs: operations, elements computed, operands (a number counts half).

    Of a reduction or a product of matrices the elements that are added count, too.
    """

    operations: int
    elements: int
    operands: int


def cost(trace: Trace) -> Cost:
    """Return what a graph costs."""
    nodes = trace.nodes
    operands = [1 + isinstance(x, Tensor) for n in nodes for x in n.inputs]
    return Cost(len(nodes), sum(map(_elements, nodes)), sum(operands))


def _elements(node: Tensor) -> int:
    added = node.values if node.op.family in ("reduction", "contraction") else ()
    return node.size + sum(int(np.size(x)) for x in added)


def simplified(trace: Trace, level: str = "exact", rules: Sequence[Rule] | None = None) -> Trace:
    """Return a graph that computes the same at a level, never longer.

    ``exact``: the same bits for inputs that lie in memory as the recorded ones (the sign and
    payload of a NaN aside). ``rounding``: with a few roundings more or less, and zeros of either
    sign, as long as nothing leaves the range of the dtype. ``rules``: others than the table's.
    Raises ShapeError for another level.

    >>> from tinygrad_bn.transforms.tracing import trace
    >>> simplified(trace(lambda x: -(-x) * 1.0, 3.0)).nodes
    []
    """
    if level not in LEVELS:
        raise ShapeError(f"The level {level!r}.", f"Levels are {', '.join(LEVELS)}.")
    chosen = [r for r in (RULES if rules is None else rules) if r.exactness in LEVELS[level]]
    best, price = trace, cost(trace)
    tables = [chosen, [r for r in chosen if _is_single(r)]]
    while True:
        for tried in tables:
            found = one_pass(best, tried, level)
            if cost(found) < price:
                best, price = found, cost(found)
                break
        else:
            return best


def _is_single(rule: Rule) -> bool:
    """Whether a rule makes one operation at most, so that no sharing can make it dear."""
    calls = [n for n in ast.walk(rule.replacement) if isinstance(n, ast.Call)]
    return sum(_word(c.func) not in HELPERS for c in calls) <= 1


def one_pass(trace: Trace, rules: Sequence[Rule], level: str) -> Trace:
    """Read a graph, rewriting, and write what the results need."""
    commutes = set().union(*(COMMUTATIVE[e] for e in LEVELS[level]))
    rewriter = Rewriter(rules, commutes, layout=level == "exact")
    with np.errstate(all="ignore"):
        terms = _read(trace, rewriter)
        written = _written([terms[r] for r in trace.results], terms, _stand_ins(trace))
        leaves, _, rebuild = flatten(trace.outputs)
        new = [written[terms[x]] if isinstance(x, Tensor) else x for x in leaves]
        return trace.giving(rebuild(new))


def _stand_ins(trace: Trace) -> dict[Tensor, Tensor]:
    """Return tensors of the recorded values for those that were assigned since the recording."""
    operands = {x for n in trace.nodes for x in n.inputs if isinstance(x, Tensor) and x.op is None}
    changed = {x: trace.value_of(x) for x in operands if x._data is not trace.value_of(x)}
    return {x: leaf(value, requires_grad=x.requires_grad) for x, value in changed.items()}


def _read(trace: Trace, rewriter: Rewriter) -> dict[Tensor, Array]:
    """Return the rewritten term of every tensor of a graph."""
    nodes = trace.nodes
    exposed, uses = _exposed(nodes), _uses(trace)
    ends = (*trace.inputs, *(r for r in trace.results if r.op is None))
    terms = {x: rewriter.terms.leaf(x, trace.value_of(x)) for x in ends}
    for node in nodes:
        rewriter.here = node
        term = rewriter.normal(_term(node, terms, rewriter.terms), exposed=exposed[node])
        term.uses += uses[node]
        term.name = term.name or node.name
        terms[node] = term
    return terms


def _term(node: Tensor, terms: dict[Tensor, Array], made: Arrays) -> Array:
    """Return the term of a node as it is recorded, of rewritten operands."""
    args = []
    for operand, value in zip(node.inputs, node.values, strict=True):
        if not isinstance(operand, Tensor):
            args.append(made.number(operand))
            continue
        if operand not in terms:
            terms[operand] = made.leaf(operand, value)
        args.append(terms[operand])
    op: Primitive = node.op
    frozen = len(flowing(op, args, node._data)) != sum(args[i].flows for i in node.wrt)
    kept = all(_lies_like(a, v) for a, v in zip(args, node.values, strict=True))
    return made.operation(op, tuple(args), node.params, node if kept else None, frozen=frozen)


def _lies_like(term: Array, value: Any) -> bool:
    """Whether a rewritten operand lies in memory as the recorded one, so that the result does."""
    return term.is_number or term.value.strides == value.strides


def _exposed(nodes: Sequence[Tensor]) -> dict[Tensor, bool]:
    """Say of each node whether something that looks at strides may see how it lies in memory."""
    exposed = dict.fromkeys(nodes, False)
    for node in reversed(nodes):
        own = node.op.origin.startswith(OWN) and node.op.name in INDIFFERENT
        if exposed[node] or not own or node.dtype.kind == "c":
            exposed.update((x, True) for x in node.inputs if isinstance(x, Tensor) and x in exposed)
    return exposed


def _uses(trace: Trace) -> Counter[Tensor]:
    used = [x for n in trace.nodes for x in n.inputs if isinstance(x, Tensor)]
    return Counter([*used, *trace.results])


def _written(
    roots: Sequence[Array], terms: Mapping[Tensor, Array], stand_ins: Mapping[Tensor, Tensor]
) -> dict[Array, Tensor]:
    """Return a tensor for each term that the roots need; operands and forward nodes come first."""
    live = set(roots)
    stack = list(live)
    while stack:
        new = set(stack.pop().args) - live
        live |= new
        stack += new
    written: dict[Array, Tensor] = {}
    for term in sorted(live, key=lambda t: t.id):
        if not term.is_number:
            written[term] = _tensor(term, written, terms, stand_ins)
    return written


def _tensor(
    term: Array,
    written: Mapping[Array, Tensor],
    terms: Mapping[Tensor, Array],
    stand_ins: Mapping[Tensor, Tensor],
) -> Tensor:
    """Return the tensor of one term: the recorded one if all is as it was, else a replay."""
    like = term.like if term.node is None else term.node
    if term.op is None or like is None:
        return _recorded(term)
    operands = tuple(a.value if a.is_number else written[a] for a in term.args)
    context = like.context
    forward = context.adjoint_of
    now = written.get(terms[forward]) if forward is not None and forward in terms else None
    now = forward if now is None or now.op is None else now
    if term.node is not None and now is forward and _same_operands(operands, term.node.inputs):
        return term.node
    state = replace(context, adjoint_of=now, recording=not term.frozen, tracing=True, replay=None)
    values = tuple(stand_ins.get(o, o) if isinstance(o, Tensor) else o for o in operands)
    made = _replayed(term, values, like, _fields_of(state))
    made.inputs = operands
    return made


def _recorded(term: Array) -> Tensor:
    if term.node is None:
        raise ShapeError("A term without a place in the graph.", "Read it from a trace.")
    return term.node


def _fields_of(state: Any) -> dict[str, Any]:
    """Return the fields of a state by name."""
    return {name: getattr(state, name) for name in type(state).__slots__}


def _same_operands(new: Sequence[Any], old: Sequence[Any]) -> bool:
    return all(a is b or not isinstance(a, Tensor) for a, b in zip(new, old, strict=True))


def _replayed(
    term: Array, operands: tuple[Any, ...], like: Tensor, state: Mapping[str, Any]
) -> Tensor:
    """Run an operation again where the recorded one was: its scope, its line, its name."""
    op: Any = term.op
    with using(**state):
        made = bind(op, operands, term.params)
    made._code, made._instruction, made.name = like._code, like._instruction, term.name
    return made
