"""The laws of the algebra: each alone on random formulas, and a wrong one that its test catches."""

import numpy as np
import pytest
from formulas import Formulas, instance, sides, wrong_sides
from hypothesis import given, strategies as st

from tinygrad_bn.algebra.evaluating import WIDE, grids
from tinygrad_bn.algebra.patterns import build, matches, together
from tinygrad_bn.algebra.proving import agree, nudge
from tinygrad_bn.algebra.rules import RULES

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
    same = agree(left, right, values, nudge(values, formulas.rng))
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
