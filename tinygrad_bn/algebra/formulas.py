"""Formulas with a left side, and what their letters stand for."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tinygrad_bn.algebra.indexed import Indexed
from tinygrad_bn.algebra.layout import Layout, Letters, Positions, Unsayable, is_last
from tinygrad_bn.algebra.naming import Definition, total_of
from tinygrad_bn.algebra.notation import escaped, latex, mathml, text
from tinygrad_bn.algebra.reading import Places
from tinygrad_bn.algebra.shown import (
    REDUCERS,
    Call,
    Element,
    Power,
    Product,
    Shown,
    Sign,
    Sum,
    all_parts,
    number,
    parts_of,
    rebuilt,
    with_circles,
)
from tinygrad_bn.algebra.terms import HALF, Index, Term


@dataclass(frozen=True)
class Formula:
    """An equation. With ``above`` its left side is a derivative: d above / d left."""

    left: Shown
    right: Shown
    sign: str = "="
    above: Shown | None = None

    @property
    def name(self) -> str:
        """The name on the left."""
        sign = self.left.of if isinstance(self.left, Element) else self.left
        return str(sign.value) if isinstance(sign, Sign) else text(sign)

    def __str__(self) -> str:
        return f"{self._left(text, 'd{}/d{}')} {self.sign} {text(self.right)}"

    def latex(self) -> str:
        """Write it in LaTeX."""
        arrow = {"=": "&=", "<-": r"&\leftarrow"}[self.sign]
        left = self._left(latex, r"\frac{{\partial {}}}{{\partial {}}}")
        return f"{left} {arrow} {latex(self.right)}"

    def mathml(self) -> str:
        """Write it in MathML."""
        sign = {"=": "=", "<-": "←"}[self.sign]
        side = "<mrow><mo>∂</mo>{}</mrow>"
        left = self._left(mathml, f"<mfrac>{side}{side}</mfrac>")
        return (
            f'<math display="block"><mrow>{left}<mo>{sign}</mo>{mathml(self.right)}</mrow></math>'
        )

    def _left(self, write: Callable[[Shown], str], fraction: str) -> str:
        left = write(self.left)
        return left if self.above is None else fraction.format(write(self.above), left)


@dataclass(frozen=True)
class Page:
    """What is shown of a derivation: its results, definitions, and notes in words."""

    results: tuple[Formula, ...]
    definitions: tuple[Formula, ...]
    notes: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [str(f) for f in self.results]
        told = [*map(str, self.definitions), *self.notes]
        lines += [f"  {'where' if i == 0 else '     '} {line}" for i, line in enumerate(told)]
        return "\n".join([*lines, *(f"  ({r})" for r in self.remarks)])

    def latex(self) -> str:
        """Write all in one LaTeX environment (amsmath's ``aligned``)."""
        lines = [f.latex() for f in self.results]
        given = [f.latex() for f in self.definitions]
        lines += [rf"\text{{where }} {given[0]}", *given[1:]] if given else []
        notes = [*self.notes, *(f"({r})" for r in self.remarks)]
        lines += [rf"&\text{{{escaped(note)}}}" for note in notes]
        return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"

    def mathml(self) -> str:
        """Write all as MathML elements, one for each line, and the notes as paragraphs."""
        parts = [f.mathml() for f in self.results]
        if self.definitions:
            parts += ["<p>where</p>", *(f.mathml() for f in self.definitions)]
        notes = [*self.notes, *(f"({r})" for r in self.remarks)]
        return "\n".join([*parts, *(f"<p>{html.escape(note)}</p>" for note in notes)])


@dataclass(frozen=True)
class Target:
    """What a formula is asked for: the left side ``d{above}/d{below}`` of a term.

    ``places``: of the axes of what stands above the line, and of what stands below.
    """

    above: str
    below: str
    places: tuple[Places, Places]
    term: Term


def page(
    results: Sequence[Target],
    definitions: Sequence[Definition],
    letters: Letters,
    given: Sequence[str] = (),
    constants: Mapping[str, Any] | None = None,
    remarks: Sequence[str] = (),
) -> Page:
    """Write results and definitions, with axes, sizes and ``constants`` told beside them."""
    writer = _Writer(letters)
    lines = [writer.result(target) for target in results]
    defined = [writer.definition(d) for d in definitions]
    count = len(lines)
    inlined = _inlined(lines, defined, writer.short(definitions))
    kept, used = _used(inlined[:count], inlined[count:])
    everything = [replace(f, right=with_circles(f.right)) for f in (*inlined[:count], *kept)]
    axes = {a for f in everything for a in _axes_in(f.right)}
    notes = [f"{n} = {v}" for n, v in (constants or {}).items() if n in used]
    notes += [*_letters(letters, used), *given, *writer.alignments(used)]
    if len(axes) == 1 and (only := next(iter(axes))):
        everything = [replace(f, right=without_axes(f.right)) for f in everything]
        notes += _over(_reducers(f.right for f in everything), only)
    if letters.squeezed:
        notes.append("axes of length 1 are not counted")
    return Page(tuple(everything[:count]), tuple(everything[count:]), tuple(notes), tuple(remarks))


def _used(
    results: Sequence[Formula], definitions: Sequence[Formula]
) -> tuple[list[Formula], set[str]]:
    """Return the definitions that the results need, and all names that occur then."""
    used = set().union(*(names_in(f.right) for f in results))
    kept = []
    for formula in reversed(definitions):
        if formula.name in used:
            used |= names_in(formula.right)
            kept.append(formula)
    return kept[::-1], used


class _Writer:
    """Writes formulas in the notation of arrays, and with indices where that does not do."""

    def __init__(self, letters: Letters) -> None:
        self.letters = letters
        self.along: dict[str, set[tuple[Positions, int]]] = {}

    def result(self, target: Target) -> Formula:
        """Write a result."""
        order = tuple(p for side in target.places for p in side if isinstance(p, Index))
        sides: tuple[Shown, Shown] = (Sign(target.above), Sign(target.below))
        right = self._arrays(lambda layout: layout.shown(target.term, order))
        if right is None:
            layout = Indexed(self.letters, order)
            sides = (layout.at(sides[0], target.places[0]), layout.at(sides[1], target.places[1]))
            right = layout.shown(target.term, order)
        return Formula(sides[1], right, above=sides[0])

    def definition(self, definition: Definition) -> Formula:
        """Write what a name stands for."""
        left: Shown = Sign(definition.name)
        right = self._arrays(lambda layout: _defined(layout, definition))
        if right is None:
            layout = Indexed(self.letters, definition.indices)
            left, right = layout.at(left, definition.indices), _defined(layout, definition)
        return Formula(left, right)

    def _arrays(self, write: Callable[[Layout], Shown]) -> Shown | None:
        """Write in the notation of arrays, if every array then has its axes in one place."""
        layout = Layout(self.letters)
        try:
            shown = write(layout)
        except Unsayable:
            return None
        joint = {n: self.along.get(n, set()) | found for n, found in layout.along.items()}
        if any(len(found) > 1 and not all(map(is_last, found)) for found in joint.values()):
            return None
        self.along |= joint
        return shown

    def short(self, definitions: Sequence[Definition]) -> set[str]:
        """Return the names that what they stand for may replace: it is short, and aligned."""
        moved = {n for names in self._moved().values() for n in names}
        return {d.name for d in definitions if d.kind in ("softmax", "sigmoid")} - moved

    def alignments(self, used: set[str]) -> Iterator[str]:
        """Say where the axes of arrays are that are not the last ones of what they stand beside."""
        for axes, names in self._moved().items():
            yield from _over([n for n in names if n in used], ", ".join(map(str, axes)))

    def _moved(self) -> dict[Positions, list[str]]:
        """List such arrays by their axes."""
        by_axes: dict[Positions, list[str]] = {}
        for variable, found in self.along.items():
            if not all(map(is_last, found)):
                ((axes, _),) = found
                by_axes.setdefault(axes, []).append(self.letters.name(variable))
        return by_axes


def _over(names: Sequence[str], axes: str) -> list[str]:
    """Say along which axes arrays lie, or functions run; nothing if there are none."""
    if not names:
        return []
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return [f"{listed} along {'axes' if ',' in axes else 'axis'} {axes}"]


def _letters(letters: Letters, used: set[str]) -> Iterator[str]:
    """Say what the letters for one-hot rows, sizes and Kronecker's delta are, if they are used."""
    for label, name in letters.one_hots.items():
        if name in used:
            yield f"{name} = one_hot({label})"
    for sizes, name in letters.sizes.items():
        if name in used:
            yield f"{name} = {math.prod(sizes)}"
    if letters.delta in used:
        yield f"{letters.delta}[i, j] = 1 if i = j, else 0"


def _defined(layout: Layout, definition: Definition) -> Shown:
    """Write what a name stands for, as textbooks do; of elements a softmax is a quotient."""
    kind, order = definition.kind, definition.indices
    if kind == "sigmoid" or (kind == "softmax" and layout.matrices):
        return Call(kind, (layout.shown(definition.argument, order),), _along(definition))
    if kind == "root":
        return Power(layout.shown(definition.term**2, order), HALF)
    return layout.shown(definition.term, order)


def _along(definition: Definition) -> str:
    """Say along which axes a softmax runs, if not along all."""
    if definition.kind != "softmax":
        return ""
    rows = total_of(definition).free
    over = [str(a) for a, i in enumerate(definition.indices) if i not in rows]
    return "" if len(over) == len(definition.indices) else ", ".join(over)


def _inlined(lines: list[Formula], defined: list[Formula], short: set[str]) -> list[Formula]:
    """Write short definitions in place where they stand once, as an item or alone."""
    everything = [*lines, *defined]
    for formula in reversed(defined):
        if formula.name not in short or isinstance(formula.left, Element):
            continue
        right = next(f.right for f in everything if f.left == formula.left)
        counts = [_alone(f.right, formula.name) for f in everything]
        if sum(a for a, _ in counts) == sum(n for _, n in counts) == 1:
            put: dict[Shown, Shown] = {formula.left: right}
            everything = [replace(f, right=mapped(f.right, put)) for f in everything]
    return everything


def _alone(shown: Any, symbol: str) -> tuple[int, int]:
    """Count where a symbol stands as an item or as the whole, and where it stands at all."""
    if isinstance(shown, Sign):
        return (1, 1) if shown.value == symbol else (0, 0)
    items = [i for _, i in shown.items] if isinstance(shown, Sum) else []
    direct = sum(isinstance(i, Sign) and i.value == symbol for i in items)
    parts = [_alone(p, symbol) for p in parts_of(shown)]
    total = sum(n for _, n in parts)
    nested = sum(
        a for (a, _), p in zip(parts, parts_of(shown), strict=True) if not isinstance(p, Sign)
    )
    return direct + nested, total


def mapped(shown: Shown, put: dict[Shown, Shown]) -> Shown:
    """Return a formula with parts replaced."""
    made: Shown = rebuilt(shown, lambda s: put.get(s, s))
    return made


def without_axes(shown: Shown) -> Shown:
    """Return a formula whose reductions do not say their axes."""

    def change(part: Any) -> Any:
        """Drop the axes of a call."""
        return replace(part, axes="") if isinstance(part, Call) else part

    made: Shown = rebuilt(shown, change)
    return made


def names_in(shown: Shown) -> set[str]:
    """Return the symbols of a formula."""
    return {p.value for p in all_parts(shown) if isinstance(p, Sign) and isinstance(p.value, str)}


ALONG = (*REDUCERS, "softmax")


def _axes_in(shown: Shown) -> set[str]:
    calls = [p for p in all_parts(shown) if isinstance(p, Call) and p.name in ALONG]
    return {c.axes for c in calls}


def _reducers(formulas: Iterator[Shown]) -> list[str]:
    names = [p.name for s in formulas for p in all_parts(s) if isinstance(p, Call)]
    return list(dict.fromkeys(n for n in names if n in ALONG))


def descent(formula: Formula, rate: str) -> Formula:
    """Return the step of gradient descent for a gradient."""
    gradient, eta = formula.right, Sign(rate, scalar=True)
    scaled = (
        Product((eta, *gradient.above), gradient.below, gradient.last)
        if isinstance(gradient, Product) and gradient.above != (number(1),)
        else Product((eta,), (), (gradient,))
    )
    if isinstance(gradient, Product) and gradient.below and _is_sum(gradient):
        scaled = Product((eta,), gradient.below, gradient.above)
    return Formula(formula.left, Sum(((False, formula.left), (True, scaled))), "<-")


def _is_sum(product: Product) -> bool:
    return len(product.above) == 1 and isinstance(product.above[0], Sum) and not product.last
