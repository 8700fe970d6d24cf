"""derive: the closed form of a gradient, from the graph that was recorded, step by step."""

from __future__ import annotations

import functools
import html
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace as replaced
from typing import Any, TypeVar

import numpy as np

from tinygrad_bn.algebra.evaluating import evaluate
from tinygrad_bn.algebra.formulas import Formula, Page, Target, descent, page
from tinygrad_bn.algebra.indexed import Indexed
from tinygrad_bn.algebra.layout import Layout, Letters
from tinygrad_bn.algebra.lowering import Lowering
from tinygrad_bn.algebra.naming import Definition, Naming
from tinygrad_bn.algebra.notation import text
from tinygrad_bn.algebra.proving import Proof, prove
from tinygrad_bn.algebra.reading import Places, Reading, fresh, unrounded
from tinygrad_bn.algebra.rewriting import Rewriter, Step
from tinygrad_bn.algebra.terms import (
    Term,
    indices_in,
    natural,
    places_of,
    replace,
    variables,
    walk,
)
from tinygrad_bn.errors import DTypeError, GradientError, ShapeError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.state import using
from tinygrad_bn.graph.tensor import Tensor, as_constant, leaf
from tinygrad_bn.transforms.derivatives import vjp
from tinygrad_bn.transforms.lifting import argument_names, labelled, name_of
from tinygrad_bn.transforms.tracing import trace

NO_SHORTER = "no shorter form was found than the gradient that was recorded"
UPSTREAM = ("symbolic", "ones", "identity")
Written = TypeVar("Written")


@dataclass(frozen=True)
class Result:
    """The closed form of one gradient: a formula, the places of its axes, its dtype."""

    name: str
    term: Term
    places: Places
    dtype: Any


@dataclass(frozen=True, eq=False)
class Derivation:
    """A gradient reduced to its closed form; see ``derive``.

    ``function``: what was differentiated, ``recorded``: the trace of its gradient as autodiff
    recorded it, ``result``: a trace of the closed form (drawable, differentiable, runnable) with
    the same inputs, ``steps``: the laws that lead from one to the other. ``given``: what was
    taken to hold because it holds of the example. ``called``: the function itself, ``shape``: that
    of its result, ``targets``: which of the recorded inputs it was differentiated by,
    ``unreached``: the names of those that the result was not computed from, ``first``: the
    formulas that were read from the recorded graph, one for each result.
    """

    function: str
    recorded: Trace
    results: tuple[Result, ...]
    definitions: tuple[Definition, ...]
    given: tuple[str, ...]
    upstream: str
    _reading: Reading = field(repr=False)
    _laws: tuple[Step, ...] = field(repr=False)
    _example: tuple[Any, ...] = field(repr=False)
    called: Callable[..., Any] = field(repr=False)
    targets: tuple[int, ...] = field(repr=False)
    shape: tuple[int, ...] = field(repr=False)
    unreached: tuple[str, ...] = field(repr=False)
    first: tuple[Term, ...] = field(repr=False)
    summing_to_one: dict[str, tuple[tuple[int, ...], ...]] = field(repr=False)

    # what it says ------------------------------------------------------------------------------

    @property
    def page(self) -> Page:
        """The formulas, the definitions of their letters, and notes."""
        return self._written[0]

    @functools.cached_property
    def _written(self) -> tuple[Page, Letters]:
        """The page, and the letters that it and the steps are written with."""
        shapes = {n: np.shape(v) for n, v in self._reading.values.items()}
        letters = Letters(self._shown_names(), shapes)
        letters.define(self.definitions)
        above = "L" if self.upstream == "symbolic" else self.function
        targets = [
            Target(above, name, self._sides(r), r.term)
            for name, r in zip(self._targets, self.results, strict=True)
        ]
        remarks = [f"the result was not computed from {name}" for name in self.unreached]
        if not self.shorter and self._operations > 1:
            remarks.append(NO_SHORTER)
        constants = {letters.name(n): _told(v) for n, v in self.recorded.constants.items()}
        told = self.given, constants, remarks
        return _written_out(page, targets, self.definitions, letters, *told), letters

    @property
    def _targets(self) -> list[str]:
        """What the arguments are called that are differentiated by."""
        names = self._shown_names()
        return [names[self._reading.names[self.recorded.inputs[t]]] for t in self.targets]

    def _sides(self, result: Result) -> tuple[Places, Places]:
        """Return the places above and below the line of a derivative."""
        outer = len(self.shape) if self.upstream == "identity" else 0
        return result.places[:outer], result.places[outer:]

    def _shown_names(self) -> dict[str, str]:
        """Return what variables are called in formulas: an item of a container by its key."""
        names = dict.fromkeys(self._reading.names.values())
        words = {
            self._reading.names[t]: re.findall(r"\w+", t.name or "") for t in self.recorded.inputs
        }
        wishes = {n: [*_wishes(words.get(n, [])), n] for n in names}
        first = Counter(w[0] for w in wishes.values())
        return {n: next((w for w in own if first[w] < 2), n) for n, own in wishes.items()}

    @property
    def formula(self) -> str:
        """The right side of the first result, as text."""
        return text(self.page.results[0].right)

    @property
    def formulas(self) -> dict[str, str]:
        """The right side of every result as text, by the name of its argument."""
        right = [text(f.right) for f in self.page.results]
        return dict(zip((r.name for r in self.results), right, strict=True))

    def __str__(self) -> str:
        return str(self.page)

    def __repr__(self) -> str:
        return (
            f"<derivation of {self.function}: {len(self.recorded.nodes)} operations to "
            f"{len(self.result.nodes)}, {len(self.steps)} steps>"
        )

    def latex(self) -> str:
        r"""Return the formulas in LaTeX, for a line of mathematics (amsmath).

        >>> import tinygrad_bn as tg
        >>> print(tg.derive(tg.tanh, 0.5).latex())
        \begin{aligned}
        \frac{\partial \mathrm{tanh}}{\partial x} &= 1 - \tanh\left(x\right)^{2}
        \end{aligned}
        """
        return self.page.latex()

    def mathml(self) -> str:
        """Return the formulas in MathML, which browsers show without a script."""
        return self.page.mathml()

    def program(self) -> str:
        """Return the closed form as a NumPy program."""
        return self.result.program()

    def descent(self, rate: str | None = None) -> list[Formula]:
        """Return a step of gradient descent for each argument: ``w <- w - eta*gradient``.

        ``rate``: what the learning rate is called, ``eta`` if that is free.
        """
        taken = {*self._shown_names().values(), *(d.name for d in self.definitions)}
        called = rate or next(r for r in ("eta", "rate", "learning_rate") if r not in taken)
        return [descent(formula, called) for formula in self.page.results]

    # what it is --------------------------------------------------------------------------------

    @functools.cached_property
    def result(self) -> Trace:
        """The closed form as a trace with the inputs of ``recorded``; that, if it is shorter."""
        made = lowered(self.function, self._reading, self.results, self.definitions, self.recorded)
        longer = self.upstream != "identity" and len(made.nodes) > self._operations
        return self.recorded if longer else made

    @functools.cached_property
    def steps(self) -> tuple[ShownStep, ...]:
        """The laws used, in order: name, where, before, after."""
        letters = replaced(self._written[1], joined=False)
        return tuple(_written_out(self._shown, s, letters) for s in self._laws)

    def _shown(self, step: Step, letters: Letters) -> ShownStep:
        order = natural(step.before)
        order = (*order, *(i for i in natural(step.after) if i not in order))
        sides = step.before, step.after
        shown = Layout(letters).aligned(*sides, order=order)
        if shown is None or text(shown[0]) == text(shown[1]):
            indexed = Indexed(letters, order)
            shown = [indexed.shown(t, order) for t in sides]
        return ShownStep(step.rule, self._where(step), *map(text, shown))

    def _where(self, step: Step) -> str:
        node = self._reading.origins.get(step.before)
        return "" if node is None or node.op is None else f"{node.op.name} at {node.where}"

    @property
    def shorter(self) -> bool:
        """Whether the closed form takes fewer operations than the graph that was recorded."""
        return len(self.result.nodes) < self._operations

    @property
    def _operations(self) -> int:
        """Count the recorded operations; the copies that a transform begins with are none."""
        return sum(n.op.name != "positive" for n in self.recorded.nodes)

    # whether it is true ------------------------------------------------------------------------

    def proof(self, examples: int = 20) -> Proof:
        """Check every step on random inputs, and the result against finite differences.

        ``examples``: how many inputs Hypothesis draws, of the shapes of the example. Raises
        ShapeError if that is none, OptionalDependencyError without Hypothesis.

        >>> import tinygrad_bn as tg
        >>> print(tg.derive(tg.sigmoid, 0.5).proof(examples=5).verdict)
        proved by rules
        """
        if examples < 1:
            raise ShapeError(f"proof: examples={examples}.", "Draw at least one.")
        return prove(self, self._laws, examples)

    @property
    def values(self) -> dict[str, Any]:
        """The values of inputs and closed-over tensors in the example, by name."""
        return self._reading.values

    def arguments(self, flat: Sequence[Any]) -> list[Any]:
        """Put values of the recorded inputs into the arguments of the function."""
        rest = iter(flat)
        found = []
        for value in self._example:
            leaves, _, rebuild = flatten(value)
            found.append(rebuild([next(rest) for _ in leaves]))
        return found

    def _repr_latex_(self) -> str:
        return f"$${self.latex()}$$"

    def _repr_html_(self) -> str:
        """Show the formula and, folded, its steps."""
        rows = "".join(
            f"<tr><td>{html.escape(s.rule)}</td><td><code>{html.escape(s.before)}</code></td>"
            f"<td><code>{html.escape(s.after)}</code></td></tr>"
            for s in self.steps
        )
        table = f"<table><tr><th>law</th><th>before</th><th>after</th></tr>{rows}</table>"
        return (
            f"{self.mathml()}\n<details><summary>{len(self.steps)} steps</summary>{table}</details>"
        )


def _written_out(write: Callable[..., Written], *arguments: Any) -> Written:
    """Write, and say in words if a formula nests too deeply for that."""
    try:
        return write(*arguments)
    except RecursionError as error:
        raise GradientError(
            "The formula nests too deeply to be written out.",
            "Look at .result, its graph, or derive the formula of a part.",
        ) from error


def _wishes(words: Sequence[str]) -> list[str]:
    """Return what an item may be called by the words of its label: its key, or all of them."""
    wishes = [words[-1], "_".join(words)] if words else []
    return [w for w in wishes if w.isidentifier()]


def _told(value: Any) -> str:
    """Write a constant: its values if they are few."""
    if value.size <= FEW:
        return " ".join(np.array2string(value, separator=", ", precision=6).split())
    return f"a constant of shape {value.shape}"


FEW = 8


@dataclass(frozen=True)
class ShownStep:
    """A use of a law: where in the user's code it began, and both sides as text."""

    rule: str
    where: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.before} = {self.after}"


def derive(
    function: Callable[..., Any],
    *example: Any,
    wrt: int | Sequence[int] = 0,
    upstream: str | None = None,
) -> Derivation:
    """Derive the gradient of a function in closed form from the graph that it records.

    ``example``: arguments of the function, which give shapes and dtypes: tensors, arrays, floats
    or containers of them; name their axes by different lengths. ``wrt``: the position of the
    argument to differentiate by, or several. ``upstream``: the cotangent of the result:
    "symbolic", an array ``g`` of its shape; "ones", the gradient of the sum of the result;
    "identity", one for each element: the whole Jacobian, of shape (*result, *argument).
    By default "ones" for a result of one element and for an elementwise function of one
    argument, else "symbolic".

    The recorded graph is rewritten by the named laws of real arithmetic until none makes it
    shorter; NaN, infinities and rounding may differ from the recorded gradient. ``proof`` checks
    every step.

    Raises DTypeError for what is no function or no array, GradientError where the function does
    not return one tensor, ShapeError for an unknown ``upstream`` or position. The function is
    called twice. A part of it that is no operation on tensors (NumPy on ``x.data``) is taken for
    constant, as by every gradient.

    >>> import tinygrad_bn as tg
    >>> print(derive(tg.softmax, [0.0, 1.0, 2.0]))
    dL/dz = s*(g - sum(g*s))
      where s = softmax(z)
    """
    if not callable(function):
        raise DTypeError(
            f"derive: the first argument is of type {type(function).__name__}, and no function.",
            "Pass the function and an example of its arguments: derive(f, x).",
        )
    if upstream is not None and not (isinstance(upstream, str) and upstream in UPSTREAM):
        raise ShapeError(
            f"derive: upstream={upstream!r}.", f"Use one of {', '.join(map(repr, UPSTREAM))}."
        )
    positions = _positions(function, example, wrt)
    given = tuple(_array(v) for v in example)
    forward = trace(function, *given)
    outcome = forward.outputs
    if not isinstance(outcome, Tensor):
        raise GradientError(
            f"derive of {name_of(function)}: its result is of type {type(outcome).__name__}.",
            "Return one tensor.",
        )
    if upstream is None:
        upstream = "ones" if outcome.size == 1 or _is_elementwise(forward) else "symbolic"
    return _derive(function, given, positions, forward, upstream)


def _is_elementwise(forward: Trace) -> bool:
    """Whether a function is elementwise in one argument, so that its derivative is too."""
    if len(forward.inputs) != 1 or not forward.nodes:
        return False
    shape = forward.inputs[0].shape
    same = {node.op.family for node in forward.nodes} <= {"elementwise"}
    return same and all(node.shape == shape for node in forward.nodes)


def _array(value: Any) -> Any:
    """Turn a list of numbers into an array; a container stays one."""
    if isinstance(value, list) and all(isinstance(v, int | float | list) for v in value):
        return np.asarray(value)
    return value


def _positions(
    function: Callable[..., Any], example: Sequence[Any], wrt: int | Sequence[int]
) -> tuple[int, ...]:
    positions = wrt if isinstance(wrt, Sequence) else (wrt,)
    if not positions or not all(isinstance(p, int | np.integer) for p in positions):
        raise DTypeError(
            f"derive: wrt={wrt!r} of {name_of(function)}.",
            "Pass the position of an argument, counted from 0, or several as a tuple.",
        )
    for p in positions:
        if not -len(example) <= p < len(example):
            raise ShapeError(
                f"derive: wrt={wrt} of {name_of(function)}, with an example of {len(example)} "
                "arguments.",
                "Number the arguments from 0, and give an example of each.",
            )
    if len({p % len(example) for p in positions}) < len(positions):
        raise ShapeError(f"derive: wrt={wrt} names an argument twice.", "Name each one once.")
    names = argument_names(function, len(example))
    for p in positions:
        for value in flatten(_array(example[p]))[0]:
            dtype = np.asarray(value.data if isinstance(value, Tensor) else value).dtype
            if dtype.kind != "f":
                raise DTypeError(
                    f"derive by argument {p} ({names[p]}) of {name_of(function)}: its dtype is "
                    f"{dtype}, and gradients exist for floating-point values only.",
                    "Convert it with astype(float), or derive by another argument (wrt=).",
                )
    return tuple(p % len(example) for p in positions)


def _derive(
    function: Callable[..., Any],
    example: tuple[Any, ...],
    positions: tuple[int, ...],
    forward: Trace,
    upstream: str,
) -> Derivation:
    outcome = forward.outputs
    names = argument_names(function, len(example))
    pulled = _pulled(function, example, positions, names, outcome, upstream)
    extra = () if upstream == "ones" else (np.ones(outcome.shape, outcome.dtype),)
    recorded = trace(pulled, *example, *extra)
    reading = Reading(recorded)
    rewriter = Rewriter()
    naming = Naming(rewriter, {*reading.names.values()})
    outputs, _, _ = flatten(recorded.outputs)
    labels = _labels(example, positions, names)
    assumed = _Assumed(reading, rewriter)
    results, laws, first = [], [], []
    for label, output in zip(labels, outputs, strict=True):
        places, term = _read(reading, recorded, output, outcome, upstream)
        first.append(term)
        normal = assumed(rewriter.normal(term))
        short = naming.named(normal)
        laws += rewriter.steps(term) + assumed.steps + naming.steps
        assumed.steps, naming.steps = [], []
        results.append(Result(label, short, places, output.dtype))
    definitions = naming.finished()
    targets = _targets(example, positions)
    reached = {outcome, *(o for n in forward.nodes for o in n.inputs if isinstance(o, Tensor))}
    laws += naming.steps
    rewriter.spread(reading.origins)
    return Derivation(
        function=title(function),
        recorded=recorded,
        results=tuple(results),
        definitions=tuple(definitions),
        given=tuple(dict.fromkeys(assumed.facts)),
        upstream=upstream,
        called=function,
        targets=targets,
        unreached=tuple(
            label
            for t, label in zip(targets, labels, strict=True)
            if forward.inputs[t] not in reached
        ),
        shape=outcome.shape,
        first=tuple(first),
        summing_to_one=assumed.axes,
        _reading=reading,
        _laws=tuple(dict.fromkeys(laws)),
        _example=example,
    )


def _targets(example: Sequence[Any], positions: Sequence[int]) -> tuple[int, ...]:
    """Return which of all the leaves of the arguments are differentiated by."""
    counts = [len(flatten(value)[0]) for value in example]
    starts = np.cumsum([0, *counts])
    return tuple(int(starts[p]) + k for p in positions for k in range(counts[p]))


def title(function: Callable[..., Any]) -> str:
    """Return what a function is called in a formula: a lambda is L, a gradient has a prime."""
    code = getattr(function, "__code__", None)
    prime = "'" if code is not None and code.co_name == "differentiated" else ""
    name = name_of(function)
    return (name if name.isidentifier() else "L") + prime


def _labels(example: Sequence[Any], positions: Sequence[int], names: Sequence[str]) -> list[str]:
    """Name every result like the argument (and the place in it) that it belongs to."""
    given: list[str | None] = []
    labels: list[str] = []
    for p in positions:
        leaves, paths, _ = flatten(example[p])
        given += [getattr(v, "name", None) for v in leaves]
        labels += [names[p] + path for path in paths]
    counts = Counter(given)
    return [g if g and counts[g] == 1 else own for g, own in zip(given, labels, strict=True)]


def _pulled(
    function: Callable[..., Any],
    example: Sequence[Any],
    positions: Sequence[int],
    names: Sequence[str],
    outcome: Tensor,
    upstream: str,
) -> Callable[..., Any]:
    """Make the function of the example's arguments (and the cotangent) that is the gradient."""

    def pulled(*arguments: Any) -> Any:
        """Sweep back once."""
        given = list(arguments[: len(example)])
        g = arguments[len(example)] if upstream != "ones" else _ones(outcome)

        def chosen(*parts: Any) -> Any:
            """Call the function with the arguments that are differentiated put in."""
            for position, part in zip(positions, parts, strict=True):
                given[position] = part
            return function(*given)

        found = vjp(chosen, *(given[p] for p in positions))[1](g)
        return found[0] if len(positions) == 1 else found

    cotangent = next(n for n in ("g", "g_out", "cotangent") if n not in names)
    known = name_of(function).isidentifier()
    name = f"{name_of(function)}_gradient" if known else "gradient"
    labelled(pulled, name, [*names, *([cotangent] if upstream != "ones" else [])])
    return pulled


def _ones(outcome: Tensor) -> Tensor:
    return leaf(np.ones(outcome.shape, outcome.dtype))


def _read(
    reading: Reading, recorded: Trace, output: Any, outcome: Tensor, upstream: str
) -> tuple[Places, Term]:
    """Return the places of a result's axes, and its term; for "identity" that of the Jacobian."""
    tensor = as_constant(output)
    places = reading.indices(tensor)
    term = reading.element(unrounded(tensor), places)
    if upstream != "identity":
        return places, term
    outer = fresh(outcome.shape, (*places, *indices_in(term)))
    cotangent = reading.names[recorded.inputs[-1]]
    terms = term.terms

    def swap(part: Term) -> Term | None:
        """Put a one-hot in for the cotangent."""
        if part.op == "array" and cotangent in variables(part):
            raise GradientError(
                "derive, upstream='identity': a part of the gradient acts on the whole cotangent, "
                "and has no formula for each of its elements.",
                "Use upstream='symbolic', or tg.jacobian for the numbers.",
            )
        if part.op != "variable" or part.extra[0] != cotangent:
            return None
        sides = zip(places_of(part), outer, strict=True)
        return terms.mul((terms.delta(a, b), 1) for a, b in sides)

    return (*outer, *places), replace(term, swap)


class _Assumed:
    """Facts that hold of the example and are taken to hold: of sums of shares and of squares."""

    def __init__(self, reading: Reading, rewriter: Rewriter) -> None:
        self.reading, self.rewriter = reading, rewriter
        self.facts: list[str] = []
        self.axes: dict[str, tuple[tuple[int, ...], ...]] = {}
        self.steps: list[Step] = []

    def __call__(self, term: Term) -> Term:
        """Return a term with the facts used."""
        facts = {"probabilities sum to one": self._one, "no sum of squares is 0": self._above_zero}
        for fact, swap in facts.items():
            after = self.rewriter.normal(replace(term, swap))
            if after is not term:
                self.steps.append(Step(f"{fact} (given)", term, after))
                term = after
        return term

    def _above_zero(self, term: Term) -> Term | None:
        """Decide whether a sum of squares is 0 or above as it is in the example."""
        if term.op != "function" or term.extra not in ("greater", "equal"):
            return None
        squares, zero = term.args
        summed = any(part.op == "reduce" for part in walk(squares))
        if zero.number != 0 or not squares.positive or not summed:
            return None
        if not (evaluate(squares, self.reading.values, sorted(squares.free)) > 0).all():
            return None
        self.facts.append("no sum of squares is 0, as in the example")
        return term.terms.literal(term.extra == "greater")

    def _one(self, term: Term) -> Term | None:
        """Put one for the sum of what are probabilities in the example."""
        if term.op != "reduce" or term.extra[0] != "sum":
            return None
        body, over = term.args[0], term.extra[1]
        if body.op != "variable" or body.extra[0] not in self.reading.values:
            return None
        name, at = body.extra
        value = self.reading.values[name]
        axes = tuple(a for a, p in enumerate(at) if p in over)
        if value.dtype.kind != "f" or not is_distribution(value, axes):
            return None
        self.axes[name] = tuple(dict.fromkeys((*self.axes.get(name, ()), axes)))
        self.facts.append(
            f"sum({name}) = 1 along axis {', '.join(map(str, axes))}, as in the example"
        )
        return term.terms.one


def is_distribution(value: Any, axes: tuple[int, ...]) -> bool:
    """Whether an array holds probabilities along axes, to rounding."""
    count = np.prod([value.shape[a] for a in axes])
    close = np.abs(value.sum(axis=axes) - 1) <= count * np.finfo(value.dtype).eps
    return bool((value >= 0).all() and close.all() and not (value == 1).all())


def lowered(
    name: str,
    reading: Reading,
    results: Sequence[Result],
    definitions: Sequence[Definition],
    recorded: Trace,
) -> Trace:
    """Return a trace that computes results by their formulas, with the inputs of a recorded one."""
    names = [reading.names[t] for t in recorded.inputs]
    closed = {reading.names[t]: t for t in recorded.closed_over}
    _, _, rebuild = flatten(recorded.outputs)

    def closed_form(*arguments: Any) -> Any:
        """Compute every result once."""
        inputs = {**closed, **dict(zip(names, arguments, strict=True))}
        lowering = Lowering(inputs, definitions, [r.term for r in results])
        return rebuild([lowering.result(r.term, r.places, r.dtype) for r in results])

    labelled(closed_form, name if name.isidentifier() else "closed_form", names)
    given = [leaf(recorded.value_of(t), requires_grad=t.requires_grad) for t in recorded.inputs]
    with using(recording=True):
        return trace(closed_form, *given)
