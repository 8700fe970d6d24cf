"""Random formulas of indices, and random matches of rules, for the tests of the algebra."""

import ast
from fractions import Fraction

import numpy as np

from tinygrad_bn.algebra.patterns import build, letters, parse
from tinygrad_bn.algebra.terms import HALF, Index, Terms, walk

SIZES = (2, 3)
FUNCTIONS = ("tanh", "sin", "exp", "atan")
NUMBERS = (2, 3, -1, -2, HALF, Fraction(3, 2))


class Formulas:
    """Draws terms over a few indices from a generator of random numbers."""

    def __init__(self, rng):
        self.rng, self.terms = rng, Terms()
        self.pool = [Index(n, k) for n in SIZES for k in range(2)]

    def among(self, items):
        return items[self.rng.integers(len(items))]

    def index(self, size=None):
        return self.among([i for i in self.pool if size in (None, i.size)])

    def variable(self):
        places = [self.index() for _ in range(self.rng.integers(0, 3))]
        return self.named(f"v{self.rng.integers(3)}", places)

    def named(self, stem, places):
        """Return an element of an array whose name says its shape."""
        sizes = "x".join(str(p.size) for p in places)
        return self.terms.variable(f"{stem}_{sizes}", places)

    def label(self, size):
        """Return an integer below a size, different for each value of an index."""
        return self.named(f"label{size}", [self.index()])

    def place(self, size):
        kind = self.rng.integers(4)
        if kind == 0:
            return int(self.rng.integers(size))
        return self.label(size) if kind == 1 else self.index(size)

    def term(self, depth=2):
        """Draw a term; ``depth`` bounds how deep it nests."""
        kind = self.rng.integers(9) if depth else self.rng.integers(3)
        terms = self.terms
        if kind < 2:
            return self.variable()
        if kind == 2:
            return terms.number(self.among((0, 1, 2, -3, HALF)))
        parts = [self.term(depth - 1) for _ in range(2)]
        if kind == 3:
            return parts[0] + parts[1]
        if kind == 4:
            return parts[0] * parts[1]
        if kind == 5:
            return parts[0] ** 2
        if kind == 6:
            return terms.apply(self.among(FUNCTIONS), parts[0])
        if kind == 7:
            return self.cases(*parts)
        return terms.sum([self.index()], parts[0])

    def positive(self):
        """Draw a term that is positive for all values."""
        return self.terms.apply("exp", self.term(1)) + self.terms.number(self.among((1, 2)))

    def condition(self):
        """Draw a comparison, a one-hot or a count."""
        kind = self.rng.integers(3)
        if kind == 0:
            index = self.index()
            return self.terms.delta(index, self.place(index.size))
        if kind == 1:
            return self.variable()
        return self.terms.apply("greater", self.variable(), self.terms.zero)

    def cases(self, a, b):
        compared = self.terms.apply("greater", self.variable(), self.terms.zero)
        return self.terms.apply("where", compared, a, b)

    def sums(self):
        """Draw a sum of products of sums, some of them below sums, that share parts."""
        x, y, z = (self.term(1) for _ in range(3))
        over = [self.index()]
        if self.rng.random() < 0.3:
            return self.terms.number(self.among((1, 2))) * y - x * y / (x + z)
        items = [x * (y + z), x * y, (x - y) ** 2, self.cases(x, y), self.cases(x, z)]
        items += [self.terms.sum(over, x * (y + z)), self.terms.sum(over, x * y), y / (x + z)]
        chosen = self.rng.permutation(len(items))[: self.rng.integers(2, 5)]
        whole = items[chosen[0]]
        for position in chosen[1:]:
            whole = whole + self.terms.number(self.among((1, -1))) * items[position]
        return self.terms.sum(over, whole) if self.rng.random() < 0.5 else whole

    def product(self, head):
        """Draw a product of sums, or cases within cases."""
        x, y, z = (self.term(1) for _ in range(3))
        if head == "mul":
            return (x + y) * (z - x) * y / (x + y)
        outer = self.cases(x, y)
        return self.terms.apply("where", outer.args[0], z * outer, outer) if outer.args else outer

    def values(self, *terms):
        """Draw values for every variable of terms."""
        found = {}
        for term in terms:
            for part in walk(term):
                if part.op == "variable":
                    name = part.extra[0]
                    stem, _, sizes = name.partition("_")
                    shape = [int(n) for n in sizes.split("x")] if sizes else []
                    if stem.startswith("label"):
                        found[name] = np.arange(np.prod(shape, dtype=int)) % int(stem[5:])
                        found[name] = found[name].reshape(shape)
                    elif name not in found:
                        found[name] = self.rng.normal(size=shape).astype(np.longdouble)
        return found


def instance(rule, formulas, without=()):
    """Draw what the letters of a rule may stand for; None if its conditions are hard to meet.

    ``without``: letters whose condition is not asked for.
    """
    names = letters(rule.pattern)
    conditions = {k: c for k, c in rule.conditions.items() if k not in without}
    for _ in range(60):
        binding = _draw(rule, names, formulas)
        if all(c.test(binding[k], binding) for k, c in conditions.items() if k in binding):
            return binding
    return None


def _draw(rule, names, formulas):
    rng = formulas.rng
    binding = {}
    if "i" in names:
        chosen = {formulas.index() for _ in range(rng.integers(1, 3))}
        binding["i"] = tuple(sorted(chosen))
    if "j" in names:
        known = list(binding.get("i", ()))
        binding["j"] = formulas.among(known) if known and rng.random() < 0.7 else formulas.index()
    size = binding["j"].size if "j" in binding else formulas.among(SIZES)
    for name in sorted(names - {"i", "j"}):
        binding[name] = _letter(name, rule, formulas, size)
    return binding


def _letter(name, rule, formulas, size):
    if name in "nm":
        return formulas.among(NUMBERS)
    if name in "pq":
        return formulas.place(size)
    if name == "f":
        return formulas.among(("tanh", "sin", "square", "stop_gradient"))
    inverse = f"exp(log({name}" in rule.left
    if inverse or (f"log({name}" in rule.left and formulas.rng.random() < 0.7):
        return formulas.positive()
    if "bitwise" in rule.left:
        return formulas.terms.apply("greater", formulas.variable(), formulas.terms.zero)
    if f"where({name}" in rule.left:
        return formulas.condition()
    finite = any(c.letter == name and c.text == "is finite" for c in rule.when)
    if finite and formulas.rng.random() < 0.3:
        return formulas.terms.literal(float(formulas.among(("inf", "-inf", "nan"))))
    return formulas.term()


def sides(rule, binding, formulas):
    """Return both sides of a rule for what its letters stand for."""
    return [build(p, binding, formulas.terms) for p in (rule.pattern, rule.replacement)]


class _Swapped(ast.NodeTransformer):
    """Changes one operation of an expression into another."""

    def __init__(self, position):
        self.position, self.seen = position, -1

    def _turn(self):
        self.seen += 1
        return self.seen == self.position

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if self._turn():
            other = ast.Add() if isinstance(node.op, ast.Mult) else ast.Mult()
            return ast.BinOp(node.left, other, node.right)
        return node

    def visit_Constant(self, node):
        if self._turn():
            value = not node.value if isinstance(node.value, bool) else node.value + 1
            return ast.Constant(value)
        return node

    def visit_Name(self, node):
        if len(node.id) == 1 and node.id not in "ijpqfnm" and self._turn():
            return ast.BinOp(ast.Constant(2), ast.Mult(), node)
        return node


def wrong_sides(text):
    """Yield replacements that differ from a right one in one place."""
    for position in range(12):
        swap = _Swapped(position)
        changed = swap.visit(parse(text))
        if swap.seen < position:
            return
        yield ast.fix_missing_locations(changed)
