"""The laws of the algebra: each alone on random formulas, and a wrong one that its test catches."""

import numpy as np
import pytest
from formulas import Formulas, instance, sides, wrong_sides
from hypothesis import given, strategies as st

import tinygrad_bn as tg
from tinygrad_bn.algebra import rewriting
from tinygrad_bn.algebra.evaluating import WIDE, grids
from tinygrad_bn.algebra.patterns import build, head_of, matches, together
from tinygrad_bn.algebra.proving import agree, nudge
from tinygrad_bn.algebra.reading import Reading
from tinygrad_bn.algebra.rewriting import LAWS, Rewriter
from tinygrad_bn.algebra.rules import RULES, real
from tinygrad_bn.algebra.terms import Index, Terms, cost, walk

RULES_BY_NAME = pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
SEEDS = st.integers(0, 2**32 - 1)


def equal(left, right, formulas):
    """Whether two formulas have the same values, and are defined in the same places."""
    values = formulas.values(left, right)
    computed = grids([left, right], values)
    exponents = [t.args[0] for t in computed if t.op == "function" and t.extra == "exp"]
    sizes = [np.abs(np.asarray(computed[t].values, WIDE)) for t in exponents]
    if any(((s > 10_000) & np.isfinite(s)).any() for s in sizes):
        return True  # beyond what a long double holds
    indices = sorted(left.free | right.free)
    one, other = (np.isfinite(np.asarray(computed[t].on(indices), WIDE)) for t in (left, right))
    same = agree(left, right, values, nudge(values, formulas.rng)) is not False
    return same and bool(np.all(one == other))


@RULES_BY_NAME
@given(seed=SEEDS)
def test_a_rule_holds_for_whatever_its_letters_stand_for(rule, seed):
    formulas = Formulas(np.random.default_rng(seed))
    binding = instance(rule, formulas)
    if binding is not None:
        left, right = sides(rule, binding, formulas)
        assert equal(left, right, formulas), f"{left} is not {right}"


@RULES_BY_NAME
def test_a_rule_finds_its_own_left_side(rule):
    found = 0
    for seed in range(40):
        formulas = Formulas(np.random.default_rng(seed))
        binding = instance(rule, formulas)
        if binding is None:
            continue
        left, _ = sides(rule, binding, formulas)
        for letters, rest in matches(rule.pattern, left, rule.conditions):
            made = build(rule.replacement, letters, formulas.terms)
            made = made if rest is None else together([made, rest], left.op)
            assert equal(left, made, formulas)
            found += 1
    assert found


def caught(rule, replacement, without=()):
    """Whether random formulas show a rule wrong: with another right side, or no condition."""
    for seed in range(400):
        formulas = Formulas(np.random.default_rng(seed))
        binding = instance(rule, formulas, without)
        if binding is None:
            continue
        left = build(rule.pattern, binding, formulas.terms)
        right = build(replacement, binding, formulas.terms)
        if not equal(left, right, formulas):
            return True
    return False


@RULES_BY_NAME
def test_a_wrong_rule_is_caught(rule):
    """Without one of its conditions, or else with another right side."""
    needed = [c.letter for c in rule.when if not c.ends]
    if needed:
        for letter in needed:
            assert caught(rule, rule.replacement, (letter,)), f"{rule} without {letter}"
    else:
        wrong = list(wrong_sides(rule.right))
        assert wrong
        assert any(caught(rule, replacement) for replacement in wrong)


LAW_NAMES = [(head, name) for head, laws in LAWS.items() for name in laws]


def uses(head, name, count=400):
    """Yield what a law makes of random formulas: before, after, and where they came from."""
    law = LAWS[head][name]
    for seed in range(count):
        formulas = Formulas(np.random.default_rng(seed))
        root = formulas.sums() if head in ("sum", "add") else formulas.product(head)
        rewriter = Rewriter()
        for term in walk(rewriter.normal(formulas.term()) + root):
            if head in head_of(term):
                after = law(rewriter, term)
                if after is not None and after is not term:
                    yield term, after, formulas


@pytest.mark.parametrize(("head", "name"), LAW_NAMES)
def test_a_law_that_chooses_keeps_values(head, name):
    found = 0
    for before, after, formulas in uses(head, name):
        assert equal(before, after, formulas), f"{before} is not {after}"
        found += 1
    assert found > 3


@pytest.mark.parametrize(("head", "name"), LAW_NAMES)
def test_a_law_that_forgets_a_part_is_caught(head, name):
    pairs = ((b, spoilt(a), formulas) for b, a, formulas in uses(head, name))
    assert any(not equal(*pair) for pair in pairs)


def spoilt(term):
    """Drop an item or a factor of a term, exchange its cases, or double it."""
    terms = term.terms
    if term.op == "add":
        return terms.add(term.items[1:])
    if term.op == "mul" and len(term.args) > 1:
        return terms.mul(term.factors[1:], term.coefficient)
    if "where" in head_of(term):
        condition, here, there = term.args
        return terms.apply("where", condition, there, here)
    return term + term


@given(seed=SEEDS)
def test_a_normal_form_has_the_same_values_and_is_its_own(seed):
    formulas = Formulas(np.random.default_rng(seed))
    term = formulas.term(3)
    rewriter = Rewriter()
    normal = rewriter.normal(term)
    assert equal(term, normal, formulas)
    assert Rewriter().normal(normal) is normal
    assert rewriter.uses_left > 0


@given(seed=SEEDS)
def test_a_formula_read_at_other_places_is_the_formula_there(seed):
    formulas = Formulas(np.random.default_rng(seed))
    term = formulas.term(3)
    for index in term.free:
        place = formulas.index(index.size)
        moved = formulas.terms.move(term, {index: place})
        values = formulas.values(term, moved)
        whole = grids([term], values)[term].on(sorted(term.free))
        axis = sorted(term.free).index(index)
        there = grids([moved], values)[moved]
        if place in term.free and place != index:
            continue
        order = sorted(moved.free)
        expected = np.moveaxis(whole, axis, -1)
        rest = [i for i in sorted(term.free) if i != index] + [place]
        found = np.broadcast_to(there.on(rest), expected.shape)
        few_units = 32 * np.finfo(WIDE).eps  # factors may come in another order
        np.testing.assert_allclose(found, expected, rtol=few_units)
        assert set(order) <= set(rest)


def test_equal_formulas_are_one_object():
    terms = Terms()
    i, j = Index(3, 0), Index(3, 1)
    x, y = terms.variable("x", [i]), terms.variable("y", [i])
    assert (x + y) * y is y * (y + x)
    assert x - x is terms.zero
    assert (x * y) ** 2 / y is x**2 * y
    moved = [terms.sum([k], terms.variable("x", [k])) for k in (i, j)]
    assert moved[0] is moved[1]


def test_a_written_zero_is_kept():
    """NaN times 0 is NaN: only what cancels is dropped."""
    read = Reading(tg.trace(lambda x: 0.0 * x + x, np.ones(3)))
    (output,) = read.trace.results
    assert "0" in repr(Rewriter().normal(read.element(output, read.indices(output))))


def test_rules_say_what_they_are():
    assert len({r.name for r in RULES}) == len(RULES)
    assert str(RULES[0]) == "exponential of a sum: exp(a + b) = exp(a) * exp(b)"
    for rule in RULES:
        assert rule.exactness.value == "real arithmetic only"
        assert len(str(rule)) < 160


def test_rewriting_ends_when_its_uses_are_spent(monkeypatch):
    """Whatever the rules are: here two that undo each other, each time with one more factor."""
    monkeypatch.setattr(rewriting, "USES", 3)
    grows = (real("there", "sin(a)", "cos(2 * a)"), real("back", "cos(a)", "sin(2 * a)"))
    terms = Terms()
    term = terms.apply("sin", terms.variable("x"))
    rewriter = Rewriter(grows)
    assert cost(rewriter.normal(term)) >= cost(term)
    assert rewriter.uses_left == 0
