"""Formulas with a left side, and what their letters stand for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tinygrad_bn.algebra.layout import (
    Call,
    Layout,
    Order,
    Power,
    Product,
    Shown,
    Sign,
    Sum,
)
from tinygrad_bn.algebra.naming import Definition, total_of
from tinygrad_bn.algebra.notation import latex, latex_name, mathml, mathml_name, text
from tinygrad_bn.algebra.terms import HALF, Term


@dataclass(frozen=True)
class Formula:
    """An equation: ``left`` is a name, ``right`` a formula of arrays."""

    left: str
    right: Shown
    sign: str = "="

    def __str__(self) -> str:
        return f"{self.left} {self.sign} {text(self.right)}"

    def latex(self) -> str:
        """Write it in LaTeX."""
        arrow = {"=": "&=", "<-": r"&\leftarrow"}[self.sign]
        return f"{_latex_left(self.left)} {arrow} {latex(self.right)}"

    def mathml(self) -> str:
        """Write it in MathML."""
        sign = {"=": "=", "<-": "←"}[self.sign]
        left = _mathml_left(self.left)
        return (
            f'<math display="block"><mrow>{left}<mo>{sign}</mo>{mathml(self.right)}</mrow></math>'
        )


def _latex_left(left: str) -> str:
    above, _, below = left.partition("/")
    if not below:
        return latex_name(left)
    return rf"\frac{{\partial {latex_name(above[1:])}}}{{\partial {latex_name(below[1:])}}}"


def _mathml_left(left: str) -> str:
    above, _, below = left.partition("/")
    if not below:
        return mathml_name(left)
    sides = [f"<mrow><mo>∂</mo>{mathml_name(s[1:])}</mrow>" for s in (above, below)]
    return f"<mfrac>{''.join(sides)}</mfrac>"


@dataclass(frozen=True)
class Page:
    """What is shown of a derivation: its results, definitions, and notes in words."""

    results: tuple[Formula, ...]
    definitions: tuple[Formula, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [str(f) for f in self.results]
        told = [*map(str, self.definitions), *self.notes]
        lines += [f"  {'where' if i == 0 else '     '} {line}" for i, line in enumerate(told)]
        return "\n".join(lines)

    def latex(self) -> str:
        """Write all in one LaTeX environment (amsmath's ``aligned``)."""
        lines = [f.latex() for f in self.results]
        given = [f.latex() for f in self.definitions]
        lines += [rf"\text{{where }} {given[0]}", *given[1:]] if given else []
        lines += [rf"&\text{{{_escaped(note)}}}" for note in self.notes]
        return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"

    def mathml(self) -> str:
        """Write all as MathML elements, one for each line, and the notes as paragraphs."""
        parts = [f.mathml() for f in self.results]
        if self.definitions:
            parts += ["<p>where</p>", *(f.mathml() for f in self.definitions)]
        return "\n".join([*parts, *(f"<p>{note}</p>" for note in self.notes)])


def _escaped(note: str) -> str:
    for symbol in "_%&#":
        note = note.replace(symbol, "\\" + symbol)
    return note


def page(
    results: Sequence[tuple[str, Term, Order]],
    definitions: Sequence[Definition],
    names: Mapping[str, str],
    given: Sequence[str] = (),
) -> Page:
    """Write results and definitions as formulas of arrays, axes and sizes told beside them.

    ``names``: what the variables are called.
    """
    layout = Layout(names, taken={*names.values(), *(d.symbol for d in definitions)})
    shown = [(name, layout.shown(term, order)) for name, term, order in results]
    defined = [(d, _defined(layout, d)) for d in definitions]
    shown, defined = _inlined(shown, defined)
    used = set().union(*(names_in(s) for _, s in shown))
    kept = []
    for definition, right in reversed(defined):
        if definition.symbol in used:
            used |= names_in(right)
            kept.append((definition.symbol, right))
    defined_lines = kept[::-1]
    axes = {a for _, s in (*shown, *defined_lines) for a in _axes_in(s)}
    notes = [*given]
    if len(axes) == 1 and (only := next(iter(axes))):
        shown = [(n, without_axes(s)) for n, s in shown]
        defined_lines = [(n, without_axes(s)) for n, s in defined_lines]
        notes.append(_over(_reducers(s for _, s in (*shown, *defined_lines)), only))
    notes = [*_letters(layout), *notes]
    return Page(
        tuple(Formula(n, s) for n, s in shown),
        tuple(Formula(n, s) for n, s in defined_lines),
        tuple(n for n in notes if n),
    )


def _over(names: Sequence[str], axes: str) -> str:
    """Say along which axes the functions of a formula run."""
    if not names:
        return ""
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{listed} along {'axes' if ',' in axes else 'axis'} {axes}"


def _letters(layout: Layout) -> list[str]:
    """Say what the letters for sizes and one-hot rows are."""
    told = [
        f"{name} = one_hot({label})" for label, name in layout.one_hots.items() if "(" not in name
    ]
    for sizes, name in layout.sizes.items():
        told.append(f"{name} = {math.prod(sizes)}")
    return told


def _defined(layout: Layout, definition: Definition) -> Shown:
    """Write what a name stands for, as textbooks do."""
    if definition.kind in ("softmax", "sigmoid"):
        inner = layout.shown(definition.argument, definition.indices)
        axes = ""
        if definition.kind == "softmax":
            rows = total_of(definition).free
            over = [str(a) for a, i in enumerate(definition.indices) if i not in rows]
            axes = "" if len(over) == len(definition.indices) else ", ".join(over)
        return Call(definition.kind, (inner,), axes)
    if definition.kind == "root":
        return Power(layout.shown(definition.term**2, definition.indices), HALF)
    return layout.shown(definition.term, definition.indices)


def _inlined(shown: Any, defined: Any) -> tuple[Any, Any]:
    """Write softmax and sigmoid in place where they stand once, as an item or alone."""
    for position, (definition, right) in reversed(list(enumerate(defined))):
        if definition.kind not in ("softmax", "sigmoid"):
            continue
        everywhere = [*(s for _, s in shown), *(r for _, r in defined)]
        alone = [_alone(s, definition.symbol) for s in everywhere]
        if sum(a for a, _ in alone) == sum(n for _, n in alone) == 1:
            put: dict[Shown, Shown] = {Sign(definition.symbol): right}
            shown = [(n, mapped(s, put)) for n, s in shown]
            defined = [(d, mapped(r, put)) for d, r in defined]
            del defined[position]
    return shown, defined


def _alone(shown: Any, symbol: str) -> tuple[int, int]:
    """Count where a symbol stands as an item or as the whole, and where it stands at all."""
    if isinstance(shown, Sign):
        return (1, 1) if shown.value == symbol else (0, 0)
    items = [i for _, i in shown.items] if isinstance(shown, Sum) else []
    direct = sum(isinstance(i, Sign) and i.value == symbol for i in items)
    parts = [_alone(p, symbol) for p in _parts(shown)]
    total = sum(n for _, n in parts)
    nested = sum(
        a for (a, _), p in zip(parts, _parts(shown), strict=True) if not isinstance(p, Sign)
    )
    return direct + nested, total


def _parts(shown: Any) -> Iterator[Any]:
    """Yield the formulas in a formula."""
    for field in dataclasses.fields(shown):
        value = getattr(shown, field.name)
        stack = list(value) if isinstance(value, tuple) else [value]
        for item in stack:
            inner = item[1] if isinstance(item, tuple) else item
            if dataclasses.is_dataclass(inner):
                yield inner


def rebuilt(shown: Any, change: Callable[[Any], Any]) -> Any:
    """Return a formula with its parts changed."""
    if isinstance(shown, tuple):
        return tuple(rebuilt(s, change) for s in shown)
    if not dataclasses.is_dataclass(shown):
        return shown
    values = {f.name: getattr(shown, f.name) for f in dataclasses.fields(shown)}
    kind: Any = type(shown)
    return change(kind(**{k: rebuilt(v, change) for k, v in values.items()}))


def mapped(shown: Shown, put: dict[Shown, Shown]) -> Shown:
    """Return a formula with parts replaced."""
    made: Shown = rebuilt(shown, lambda s: put.get(s, s))
    return made


def without_axes(shown: Shown) -> Shown:
    """Return a formula whose reductions do not say their axes."""

    def change(part: Any) -> Any:
        """Drop the axes of a call."""
        return dataclasses.replace(part, axes="") if isinstance(part, Call) else part

    made: Shown = rebuilt(shown, change)
    return made


def _all_parts(shown: Any) -> Iterator[Any]:
    yield shown
    for part in _parts(shown):
        yield from _all_parts(part)


def names_in(shown: Shown) -> set[str]:
    """Return the symbols of a formula."""
    found = {p.value for p in _all_parts(shown) if isinstance(p, Sign) and isinstance(p.value, str)}
    return found | {p.name for p in _all_parts(shown) if hasattr(p, "places")}


REDUCERS = ("sum", "mean", "var", "max", "min", "prod", "softmax", "logsumexp")


def _axes_in(shown: Shown) -> set[str]:
    calls = [p for p in _all_parts(shown) if isinstance(p, Call) and p.name in REDUCERS]
    return {c.axes for c in calls}


def _reducers(formulas: Iterator[Shown]) -> list[str]:
    names = [p.name for s in formulas for p in _all_parts(s) if isinstance(p, Call)]
    return list(dict.fromkeys(n for n in names if n in REDUCERS))


def descent(name: str, gradient: Shown, rate: str) -> Formula:
    """Return the step of gradient descent for a gradient."""
    scaled = (
        Product((Sign(rate), *gradient.above), gradient.below, gradient.last)
        if isinstance(gradient, Product) and gradient.above != (Sign(Fraction(1)),)
        else Product((Sign(rate),), (), (gradient,))
    )
    if isinstance(gradient, Product) and gradient.below and _is_sum(gradient):
        scaled = Product((Sign(rate),), gradient.below, gradient.above)
    return Formula(name, Sum(((False, Sign(name)), (True, scaled))), "<-")


def _is_sum(product: Product) -> bool:
    return len(product.above) == 1 and isinstance(product.above[0], Sum) and not product.last
