"""Formulas with their indices written out: ``sum_k(x[i, k]*g[j, k])``; they say everything."""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_bn.algebra.layout import Layout, Letters
from tinygrad_bn.algebra.patterns import name_of
from tinygrad_bn.algebra.shown import Bound, Call, Element, Shown, Sign, number
from tinygrad_bn.algebra.terms import (
    Index,
    Order,
    Place,
    Term,
    arrays_of,
    places_of,
    unused,
)

LETTERS = "ijklmnpqrtuvabcdefh"


class Indexed(Layout):
    """Writes terms as formulas of elements.

    ``order`` is which indices have a meaning around a term: those of the left side at first.
    """

    matrices = False

    def __init__(self, letters: Letters, order: Sequence[Index]) -> None:
        super().__init__(letters)
        self._letters: dict[Index, str] = {}
        for index in order:
            self.letter(index)

    def letter(self, index: Index) -> str:
        """Return the letter of an index."""
        if index not in self._letters:
            used = {*self.letters.taken, *self._letters.values()}
            wishes = [*LETTERS, *(f"i_{k}" for k in range(2, len(self._letters) + 3))]
            self._letters[index] = next(n for n in wishes if n not in used)
        return self._letters[index]

    def place(self, place: Place, order: Order = ()) -> Shown:
        """Show where an array is read along one axis."""
        if isinstance(place, Term):
            return self.shown(place, order)
        return Sign(self.letter(place)) if isinstance(place, Index) else number(place)

    def at(self, of: Shown, places: Sequence[Place], order: Order = ()) -> Shown:
        """Show an element of an array; what has no axes is itself."""
        return Element(of, tuple(self.place(p, order) for p in places)) if places else of

    def _variable(self, term: Term, order: Order) -> Shown:
        name = Sign(self.letters.name(term.extra[0]), scalar=not term.extra[1])
        return self.at(name, places_of(term), order)

    def _delta(self, term: Term, order: Order) -> Shown:
        return self.at(self.letters.kronecker(), places_of(term), order)

    def _reduce(self, term: Term, order: Order) -> Shown:
        return self._reduced(term.extra[0], term, order)

    def _reduced(self, name: str, term: Term, order: Order) -> Shown:
        """Show a reduction over letters that nothing around it uses."""
        return self._over(name, term.extra[1], term.args[0], order)

    def _over(self, name: str, own: Order, body: Term, order: Order) -> Shown:
        taken = {*order, *body.free}
        apart = {i: unused(i.size, taken) if i in order else i for i in own}
        body = body.terms.move(body, {i: k for i, k in apart.items() if i != k})
        inside = self.shown(body, (*order, *apart.values()))
        return Bound(name, tuple(map(self.letter, apart.values())), inside)

    def _function(self, term: Term, order: Order) -> Shown:
        return Call(name_of(term), tuple(self.shown(a, order) for a in term.args))

    def _call(self, term: Term, order: Order) -> Shown:
        what = term.extra[0]
        arrays = tuple(self._array(a, order) for a in arrays_of(term))
        whole = Call(what.name, arrays, "", what.parameters)
        return self.at(whole, places_of(term), order)

    def _array(self, term: Term, order: Order) -> Shown:
        """Show a whole array: as a formula of arrays if that can be said."""
        axes = tuple(p for p in term.extra if isinstance(p, Index))
        shown = Layout(self.letters).aligned(term.args[0], order=axes)
        if shown is not None:
            return shown[0]
        return self._over("array", axes, term.args[0], order)
