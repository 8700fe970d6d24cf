"""The difference of two graphs: what is matched, what is told of it, how it is listed and drawn."""

import os
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import test_footguns
from hypothesis import given, settings, strategies as st
from test_viz import GOLDEN, HOSTILE, REWRITE, SVG, chain, hostile, written_twice

import tinygrad_bn as tg
from tinygrad_bn import viz
from tinygrad_bn.errors import DTypeError, GradientError, ShapeError
from tinygrad_bn.graph.primitive import table
from tinygrad_bn.testing import strategies
from tinygrad_bn.testing.generators.programs import Instruction, Program
from tinygrad_bn.viz.labels import clean
from tinygrad_bn.viz.ordering import increasing
from tinygrad_bn.viz.reading import Reader

FEW = settings(max_examples=60, derandomize=True, database=None)


def leaf(name="x", shape=(3, 4), dtype=np.float64):
    return tg.Tensor(np.ones(shape, dtype), requires_grad=True, name=name)


def counts(d):
    return len(d.added), len(d.removed), len(d.changed), len(d.affected), len(d.same)


def told(d):
    return [(c.new.op.name if c.new.op else c.new.name, *c.what) for c in d.changed]


def ops(nodes):
    return [n.op.name if n.op else n.name or "constant" for n in nodes]


def soft():
    z = np.arange(12.0).reshape(3, 4)
    return viz.diff(tg.trace(tg.softmax, z), tg.trace(tg.log_softmax, z))


def trained(*, training):
    x = tg.Tensor(np.arange(32.0).reshape(8, 4) ** 1.5, requires_grad=True, name="x")
    gamma, beta = (tg.Tensor(np.ones(4), requires_grad=True, name=n) for n in "γβ")
    mean, var = (tg.Tensor(np.ones(4), name=n) for n in ("mean", "var"))
    return tg.batch_norm(x, gamma, beta, stats=None if training else (mean, var))


def normalisation():
    return viz.diff(trained(training=True), trained(training=False))


def layer():
    norm = tg.nn.BatchNorm(4)
    x = tg.Tensor(np.arange(32.0).reshape(8, 4) ** 1.5, requires_grad=True, name="x")
    training = norm(x)
    norm.eval()
    return viz.diff(training, norm(x))


# showcases ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [soft, normalisation, layer])
def test_the_listing_is_the_golden_one(case):
    golden = GOLDEN / f"diff_{case.__name__}.txt"
    text = f"{case()}\n"
    if os.environ.get(REWRITE) == "1":
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8"), f"set {REWRITE}=1 to rewrite, then look"


@pytest.mark.parametrize(("case", "depth"), [(soft, None), (normalisation, None), (layer, 1)])
def test_the_dot_text_is_the_golden_one(case, depth):
    golden = GOLDEN / f"diff_{case.__name__}.gv"
    source = viz.graph(case(), depth=depth).source
    if os.environ.get(REWRITE) == "1":
        golden.write_text(source, encoding="utf-8")
    assert source == golden.read_text(encoding="utf-8"), f"set {REWRITE}=1 to rewrite, then look"


def test_softmax_and_log_softmax_part_after_the_sum():
    d = soft()
    assert ops(d.removed) == ["divide"]
    assert ops(d.added) == ["log", "subtract"]
    assert counts(d) == (2, 1, 0, 0, 8)


def test_batch_norm_in_evaluation_has_lost_its_statistics():
    d = normalisation()
    assert ops(d.removed)[1:5] == ["subtract", "sum", "divide", "square"]
    assert ops(d.added) == ["mean", "constant"]
    assert told(d) == [
        ("subtract", "a: x − pilot → x", "b: μ − pilot → mean"),
        ("divide", "b: sqrt → constant"),
    ]
    assert ops(new for _, new in d.affected) == ["multiply", "add"]


# what is the same --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: x + y,
        lambda x, y: tg.softmax(x * y),
        lambda x, y: tg.concat([x, y, x])[1:, ::2],
        lambda x, y: [tg.sum(x, axis=0), y @ tg.matrix_transpose(x), x],
        lambda x, y: tg.where(np.eye(3, 4) > 0, x, 0.0) ** 2.0,
        lambda x, y: x[np.array([0, 2])].astype(np.float32),
    ],
)
def test_a_graph_recorded_twice_has_no_difference(make):
    d = viz.diff(make(leaf("x"), leaf("y")), make(leaf("x"), leaf("y")))
    assert not d
    assert counts(d)[:4] == (0, 0, 0, 0)
    assert d.same
    assert str(d).splitlines()[0].split(": ")[-1] == f"{len(d.same)} the same"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda x, y: x + y, lambda x, y: y + x),
        (lambda x, y: 2 * x, lambda x, y: x * 2.0),
        (lambda x, y: x * tg.Tensor(2.0), lambda x, y: x * 2),
        (lambda x, y: x.sum(), lambda x, y: x.sum(axis=None, keepdims=False)),
        (lambda x, y: x * [1.0, 2.0, 3.0, 4.0], lambda x, y: x * np.arange(1.0, 5.0)),
    ],
)
def test_what_gives_the_same_is_the_same(one, other):
    assert not viz.diff(one(leaf("x"), leaf("y")), other(leaf("x"), leaf("y")))


def test_values_of_what_has_a_name_or_is_trained_are_data():
    names = ["x", None]
    one, other = (
        [tg.exp(tg.Tensor(np.full(3, v), requires_grad=True, name=n)) for n in names]
        for v in (1.0, 2.0)
    )
    assert not viz.diff(one, other)


def test_constants_are_compared_arrays_as_well_as_scalars():
    other = viz.diff(leaf() * np.arange(4.0), leaf() * np.ones(4))
    assert [c.what for c in other.changed] == [("other values",)]
    assert ops(new for _, new in other.affected) == ["multiply"]
    assert not viz.diff(leaf() * np.ones(4), leaf() * np.ones(4))
    shapes = viz.diff(leaf() * np.ones(4), leaf() * np.ones((3, 1), np.float32))
    assert [c.what for c in shapes.changed] == [("shape 4 → 3×1", "float64 → float32")]
    assert ops(new for _, new in shapes.affected) == ["multiply"]
    factor = viz.diff(leaf() * tg.Tensor(2.0), leaf() * np.float32(3))
    assert told(factor) == [("multiply", "2 → 3")]


def test_axes_are_the_same_from_either_end():
    def summed(axis):
        return tg.trace(lambda z: tg.sum(tg.expand_dims(z, axis=axis), axis=axis), np.ones((2, 3)))

    assert not viz.diff(summed(-1), summed(2))
    assert viz.diff(summed(-1), summed(0))


def test_what_no_operation_recorded_is_not_called_the_same():
    with pytest.raises(DTypeError) as caught:
        viz.diff(tg.softmax(np.ones(3)), tg.log_softmax(np.ones(3)))
    assert caught.value.what == "diff of a tensor that no operation recorded."
    assert caught.value.fix.startswith("Trace the function, tg.trace(f, x)")
    same = tg.trace(lambda x: x, np.ones(3))
    assert not viz.diff(same, same)


def test_a_title_of_ones_own_stands_above():
    d = viz.diff(tg.exp(leaf()), tg.sin(leaf()), title="exp, and sin")
    assert str(d).startswith("exp, and sin: ")
    assert "exp, and sin" in viz.graph(d).source


def test_a_constant_without_a_name_is_known_by_its_users():
    ones, rows = np.ones((1, 4)), np.ones((1, 4))
    d = viz.diff(tg.exp(leaf() - ones), tg.exp(leaf()) / rows)
    assert sorted(ops(d.removed)) == ["constant", "subtract"]
    assert sorted(ops(d.added)) == ["constant", "divide"]


def test_inputs_of_traces_are_the_same_by_place_where_their_shapes_agree():
    x = np.ones((3, 4))
    one = tg.trace(lambda a, b: tg.exp(a) - b, x, x)
    assert not viz.diff(one, tg.trace(lambda p, q: tg.exp(p) - q, x, x))
    swapped = viz.diff(one, tg.trace(lambda b, a: tg.exp(a) - b, x, x))
    assert told(swapped) == [("exp", "operand: another a"), ("subtract", "b: another b")]


def test_inputs_of_other_traces_are_the_same_by_name():
    x, w = np.ones((3, 4)), np.ones(4)
    one = tg.trace(lambda x, w: x * w, x, w)
    d = viz.diff(one, tg.trace(lambda mask, x, w: x * w, x, x, w))
    assert counts(d) == (1, 0, 0, 0, 3)
    assert ops(d.added) == ["mask"]
    moved = viz.diff(one, tg.trace(lambda w, x: x * w, w, x))
    assert sorted(c.what for c in moved.changed) == [("input 1 → 2",), ("input 2 → 1",)]


def test_leaves_of_one_name_are_told_apart_by_their_users():
    def crossed(one, other):
        a, b = leaf("w"), leaf("w")
        return (a - b) * tg.exp((a, b)[one]) + tg.sin((a, b)[other])

    assert not viz.diff(crossed(0, 1), crossed(0, 1))
    assert not viz.diff(leaf("w") - leaf("w"), leaf("w") - leaf("w"))
    for other in (crossed(0, 0), crossed(1, 0)):
        d = viz.diff(crossed(0, 1), other)
        assert 1 <= len(told(d)) <= 2
        assert counts(d)[:2] == (0, 0)


def test_a_layer_put_between_others_of_the_same_names_is_what_was_added():
    def net(layers):
        h = leaf(shape=(2, 5))
        for k in layers:
            with tg.scope("layer"):
                h = tg.tanh(h @ leaf("weight", (5, 5)) + k)
        return h

    d = viz.diff(net([1.0, 2.0, 3.0]), net([1.0, 9.0, 2.0, 3.0]))
    assert ops(d.added) == ["add", "tanh", "weight", "matmul"]
    assert told(d) == [("add", "operand: another matmul")]
    assert not d.removed


@test_footguns.restored()
def scaled(factor, *, straight=True):
    def rule(xp, g, out, x):
        return g * factor if straight else g

    @tg.custom_rule(vjp=rule)
    def times(x):
        return x * factor

    return tg.exp(times(leaf()))


def test_a_custom_rule_is_known_by_its_code_and_what_it_closes_over():
    assert not viz.diff(scaled(2.0), scaled(2.0))
    for other in (scaled(3.0), scaled(2.0, straight=False)):
        d = viz.diff(scaled(2.0), other)
        assert told(d) == [("times", "another times")]
        assert ops(new for _, new in d.affected) == ["exp"]


def test_a_checkpoint_is_known_by_its_function_and_by_which_result_it_is():
    def both(function, first=0):
        one, other = tg.checkpoint(function)(leaf(shape=(2,)))
        return one - other if first == 0 else other - one

    def ordered(x):
        return x * 2.0, x * 3.0

    assert not viz.diff(both(ordered), both(ordered))
    assert told(viz.diff(both(ordered), both(ordered, first=1)))
    d = viz.diff(both(ordered), both(lambda x: (x * 2.0, x * 4.0)))
    assert told(d) == [("checkpoint", "another checkpoint")] * 2


@pytest.mark.parametrize("name", [None, "weight"])
def test_layers_that_have_changed_places_are_told_where_the_same_tensors_are_in_both(name):
    weights = [leaf(name, (4, 4)) for _ in range(2)]
    x = leaf()

    def net(first, second):
        return tg.tanh(tg.tanh(x @ first) @ second)

    one, other = net(*weights), net(*weights[::-1])
    assert not viz.diff(one, net(*weights))
    assert not viz.diff(one, net(leaf(name, (4, 4)), leaf(name, (4, 4))))
    d = viz.diff(one, other)
    assert [c.new.op.name for c in d.changed] == ["matmul", "matmul"]
    assert counts(d)[:2] == (0, 0)
    assert well_formed(d)


# what changed ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        (lambda x: x.sum(axis=0), lambda x: x.sum(axis=1), "axis 0 → 1"),
        (lambda x: x.sum(axis=0), lambda x: x.sum(axis=0, keepdims=True), "keepdims false → true"),
        (lambda x: x + 1e-5, lambda x: x + 1e-3, "1e−05 → 0.001"),
        (lambda x: x - 1.00000001, lambda x: x - 1.00000002, "1.00000001 → 1.00000002"),
        (tg.sqrt, tg.exp, "op sqrt → exp"),
        (lambda x: x + 2, lambda x: x * 2, "op add → multiply"),
        (lambda x: x[0:1], lambda x: x[1:2], "[0:1] → [1:2]"),
        (lambda x: x.reshape(4, 3), lambda x: x.reshape(2, 6), "shape 4×3 → 2×6"),
        (lambda x: x.astype(np.float32), lambda x: x.astype(np.float16), "float32 → float16"),
        (lambda x: x - tg.exp(x), lambda x: tg.exp(x) - x, "a: x → exp; b: exp → x"),
        (lambda x: tg.concat([x, x]), lambda x: tg.concat([x, x, x]), "c: x added"),
        (lambda x: tg.concat([x, x, x]), lambda x: tg.concat([x, x]), "c: x removed"),
    ],
)
def test_one_change_in_the_middle_is_told_and_nothing_else(one, other, what):
    d = viz.diff(tg.exp(tg.sin(one(leaf())).sum()), tg.exp(tg.sin(other(leaf())).sum()))
    assert ["; ".join(c.what) for c in d.changed] == [what]
    assert not d.added
    assert not d.removed
    assert ops(new for _, new in d.affected) == ["sin", "sum", "exp"]


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        (leaf("x", (8, 4)), leaf("x", (4, 8)), ("shape 8×4 → 4×8",)),
        (leaf(), leaf(dtype=np.float32), ("float64 → float32",)),
        (leaf("W0"), leaf("W1"), ("name W0 → W1",)),
        (leaf(), tg.Tensor(np.ones((3, 4)), name="x"), ("parameter → input",)),
    ],
)
def test_a_leaf_that_changed_says_how_and_its_users_follow(one, other, what):
    d = viz.diff(one * leaf("y", ()), other * leaf("y", ()))
    assert [c.what for c in d.changed] == [what]
    assert counts(d) == (0, 0, 1, 1, 1)


def test_an_operation_that_was_inserted_does_not_paint_what_follows():
    def deep(x, *, inserted):
        for k in range(20):
            x = tg.tanh(x * leaf(f"w{k}") + leaf(f"b{k}"))
            if inserted and k == 10:
                x = tg.exp(x)
        return x

    d = viz.diff(deep(leaf(), inserted=False), deep(leaf(), inserted=True))
    assert ops(d.added) == ["exp"]
    assert told(d) == [("multiply", "operand: tanh → x")]
    assert not d.removed
    assert len(d.affected) == 26


def test_two_changes_far_apart_are_two_changes():
    def deep(x, first, second):
        for k in range(12):
            x = tg.tanh(x * leaf(f"w{k}")) + (first if k == 3 else second if k == 9 else 1.0)
        return x

    d = viz.diff(deep(leaf(), 2.0, 3.0), deep(leaf(), 4.0, 5.0))
    assert told(d) == [("add", "2 → 4"), ("add", "3 → 5")]
    assert counts(d)[:2] == (0, 0)


def test_an_added_branch_leaves_the_last_layer_in_its_place():
    def net(x, scale, *, residual):
        y = tg.tanh(x * scale) @ leaf("w", (4, 4)) + leaf("b", (4,))
        return y + x if residual else y

    d = viz.diff(net(leaf(), 2.0, residual=False), net(leaf(), 3.0, residual=True))
    assert ops(d.added) == ["add"]
    assert told(d) == [("multiply", "2 → 3"), ("add", "result → no result")]


def test_what_the_user_named_alike_is_another_operation_for_the_same():
    def hidden(*, rational):
        x = leaf()
        h = tg.square(x) / (x + 2) if rational else tg.exp(tg.sin(x))
        h.name = "h"
        return tg.tanh(h)

    d = viz.diff(hidden(rational=False), hidden(rational=True))
    assert told(d)[0][:2] == ("divide", "op exp → divide")
    assert ops(new for _, new in d.affected) == ["tanh"]


def test_many_changes_of_one_node_are_counted():
    xs, ys = [leaf(f"x{k}") for k in range(9)], [leaf(f"y{k}") for k in range(9)]
    d = viz.diff([tg.concat(xs), *ys], [tg.concat(ys), *xs])
    change = next(c for c in d.changed if c.new.op)
    assert change.what == ("a: x0 → y0", "b: x1 → y1", "c: x2 → y2", "6 more")


def test_results_have_their_places():
    def both(order):
        y, z = tg.exp(leaf()), tg.sin(leaf())
        return [(y, z)[k] for k in order]

    assert told(viz.diff(both([0, 1]), both([1, 0]))) == [
        ("exp", "result 1 → result 2"),
        ("sin", "result 2 → result 1"),
    ]
    assert not viz.diff(both([0, 1]), both([0, 1]))


def test_a_difference_of_gradients_keeps_their_sides(tmp_path):
    x = np.arange(6.0).reshape(2, 3)
    one, other = (
        tg.trace(tg.grad(lambda x, f=f: f(tg.sin(x) * 2).sum()), x) for f in (tg.sin, tg.tanh)
    )
    d = viz.diff(one, other)
    assert told(d) == [("multiply", "operand: cos → subtract")]
    assert ops(d.added) == ["tanh", "multiply", "subtract"]
    assert ops(d.removed) == ["cos"]
    assert d.diagram().levels == [0, 1]
    assert b"<svg" in viz.render(d, tmp_path / "a.svg").read_bytes()


def test_an_order_turned_round_is_no_cycle():
    d = viz.diff(tg.sin(tg.exp(leaf())) * 2.0, tg.exp(tg.sin(leaf())) * 2.0)
    assert well_formed(d)
    assert len(d.added) == len(d.removed) == 1
    names = ["sin", "exp", "cos", "tanh", "square", "atan", "asinh", "abs"]

    def composed(order):
        x = leaf()
        for name in order:
            x = getattr(tg, name)(x)
        return x + 1.0

    assert well_formed(viz.diff(composed(names), composed(names[::-1])))
    assert well_formed(viz.diff(composed(names), composed(names[4:] + names[:4])))


@pytest.mark.parametrize(
    ("pairs", "run"),
    [([], []), ([(0, 2), (1, 0), (2, 1)], [(1, 0), (2, 1)]), ([(0, 0), (5, 9)], [(0, 0), (5, 9)])],
)
def test_the_longest_run_in_one_order(pairs, run):
    assert increasing(pairs) == run


# any graphs --------------------------------------------------------------------------------------


def well_formed(d):
    """Every node stands once, every edge leads onward, and marks fit to one another."""
    old, new = (drawn_nodes(s) for s in d._subjects)
    pairs = [*d.same, *d.affected, *((c.old, c.new) for c in d.changed)]
    assert sorted([*map(id, d.removed), *(id(o) for o, _ in pairs)]) == sorted(map(id, old))
    assert sorted([*map(id, d.added), *(id(n) for _, n in pairs)]) == sorted(map(id, new))
    drawn = d.diagram()
    assert len(drawn.cards) == len(pairs) + len(d.added) + len(d.removed)
    assert [card.number for card in drawn.cards] == list(range(len(drawn.cards)))
    assert all(edge.source < edge.target for edge in drawn.edges)
    assert sorted(drawn.frames()) == list(range(len(drawn.cards)))
    for edge in drawn.edges:
        ends = {drawn.cards[edge.source].change, drawn.cards[edge.target].change}
        assert edge.change in ("", *ends) or "changed" in ends, edge
        assert not {"added", "removed"} <= ends, edge
        assert edge.change == "added" or "added" not in ends, edge
        assert edge.change == "removed" or "removed" not in ends, edge
    for o, n in d.affected:
        assert o.op is not None
        assert o.op.name == n.op.name
    return bool(drawn.cards)


def drawn_nodes(subject):
    return list(Reader(subject, None, values=False).place)


@FEW
@given(strategies.programs(length=(1, 12)))
def test_a_program_recorded_twice_has_no_difference(program):
    with np.errstate(all="ignore"):
        one, other = program.trace(), program.trace()
    d = viz.diff(one, other)
    assert not d
    assert not d.affected
    assert well_formed(d)
    assert not viz.diff(one, one)


def identities(d, *, turned=False):
    """Everything that a difference found, or what the one the other way round should have."""
    ways = ((d.removed, d.added), (d.added, d.removed))[turned]
    alone = [set(map(id, nodes)) for nodes in ways]
    paired = [d.same, d.affected, [(c.old, c.new) for c in d.changed]]
    step = -1 if turned else 1
    return alone, [{tuple(map(id, pair[::step])) for pair in pairs} for pairs in paired]


@FEW
@given(strategies.programs(length=(1, 10)), strategies.programs(length=(1, 10)))
def test_any_two_programs_compare_both_ways(one, other):
    with np.errstate(all="ignore"):
        a, b = one.trace(), other.trace()
    d, back = viz.diff(a, b), viz.diff(b, a)
    assert well_formed(d)
    assert well_formed(back)
    assert identities(d) == identities(back, turned=True)
    assert bool(d) == bool(back)
    assert str(d)
    assert len(viz.graph(d, depth=0).source) <= len(viz.graph(d).source)


SMOOTH = ["sin", "cos", "tanh", "exp", "square"]


@FEW
@given(
    strategies.programs(ops=["add", "multiply", "subtract", *SMOOTH], length=(2, 10)),
    st.data(),
)
def test_one_operation_put_in_place_of_another_is_the_one_change(program, data):
    with np.errstate(all="ignore"):
        steps = list(program)
        places = [k for k, step in enumerate(steps) if step.op.name in SMOOTH]
        if not places:
            return
        k = data.draw(st.sampled_from(places))
        name = SMOOTH[SMOOTH.index(steps[k].op.name) - 1]
        steps[k] = Instruction(steps[k].name, table[name], steps[k].operands, {})
        mutant = Program(program.inputs, steps, program.results)
        d = viz.diff(program.trace(), mutant.trace())
    assert well_formed(d)
    assert d
    assert len(d.changed) + len(d.added) + len(d.removed) <= 6
    if repeated(program) or repeated(mutant):
        return
    assert told(d) == [(name, f"op {program.instructions[k].op.name} → {name}")]
    assert not d.added
    assert not d.removed


def repeated(program):
    """Whether two instructions do the same to the same: then one is the other's copy."""
    seen = [(s.op.name, *sorted(map(repr, s.operands))) for s in program]
    return len(set(seen)) < len(seen)


# sizes -------------------------------------------------------------------------------------------


def test_a_hundred_thousand_nodes_differ_in_one():
    _, one = chain(100_000)
    _, two = chain(100_000)
    _, head = chain(50_000)
    other = tg.tanh(head)
    for _ in range(50_000):
        other = other + 1
    assert not viz.diff(one, two)
    d = viz.diff(one, other)
    assert counts(d) == (1, 0, 1, 49_999, 50_001)
    assert str(d).count("\n") == 4


def test_structure_that_is_shared_is_read_once():
    def doubled(start):
        y = start
        for _ in range(60):
            y = y + y
        return y

    assert counts(viz.diff(doubled(leaf()), doubled(leaf()))) == (0, 0, 0, 0, 61)
    d = viz.diff(doubled(leaf()), doubled(leaf(shape=(4, 3))))
    assert counts(d) == (0, 0, 1, 60, 0)


def test_a_node_with_many_users_is_compared_in_linear_time():
    def fan(scale):
        x = leaf(shape=(1,))
        return tg.concat([x * (scale + k) for k in range(10_000)])

    d = viz.diff(fan(0.25), fan(0.5))
    assert counts(d) == (0, 0, 10_000, 1, 1)


# drawing -----------------------------------------------------------------------------------------


def test_signs_and_a_legend_are_drawn_and_not_by_colour_alone(tmp_path):
    svg = viz.render(normalisation(), tmp_path / "d.svg", values=False).read_bytes()
    texts = ["".join(t.itertext()).strip() for t in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314  (ours)
    assert {"+", "−", "~", "↓"} <= set(texts)
    legend = ["+ 2 added", "− 9 removed", "~ 2 changed", "↓ 2 downstream", "3 the same"]
    assert [t for t in texts if t in legend] == legend
    assert "b: μ − pilot → mean" in texts
    source = viz.graph(normalisation()).source
    assert source.count('style="rounded,filled,dashed"') == 8
    assert source.count("onormal") == 2 * source.count("style=dashed")


def test_values_and_depth_are_options_of_a_difference_too(tmp_path):
    assert "mean" not in viz.graph(soft(), values=False).source
    assert "mean 0.388, std 0.372" in viz.graph(soft()).source
    text = viz.render(layer(), tmp_path / "d.txt", depth=1, values=False).read_text("utf-8")
    assert text.splitlines()[1:] == [
        "  n0 x: parameter  8×4 float64",
        "  BatchNorm:",
        "~   n1 batch_norm: 4 ops · gamma beta  8×4 float64  -> result  [+ 1  − 9  ~ 2]",
        "+ n2 running_average: input  1×4 float64",
    ]


def test_scopes_unify_where_they_share_nodes():
    frames = soft().diagram().frames()
    assert {c.name for scopes in frames.values() for c in scopes} == {"softmax → log_softmax"}
    inline = viz.diff(tg.softmax(leaf()), unscoped(leaf()))
    assert not inline
    collapsed = inline.diagram(depth=0)
    assert [c.change for c in collapsed.cards] == ["", "removed", *["added"] * 5]


def unscoped(x):
    powers = tg.exp(x - tg.max(x.detach(), axis=1, keepdims=True))
    return powers / tg.sum(powers, axis=(1,), keepdims=True)


def test_a_graph_within_the_limit_is_drawn_and_a_larger_one_is_not():
    with tg.scope("chain"):
        _, one = chain(300)
    d = viz.diff(one, chain(500)[1])
    with pytest.raises(viz.RenderError) as caught:
        viz.graph(d)
    assert caught.value.what == "The graph has 501 nodes; at most 400 are drawn."
    assert len(viz.graph(d, max_nodes=501).source) > 10_000


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_render_as_text(name, tmp_path):
    one = hostile(name) * leaf(name, ())
    other = tg.exp(hostile(name) * leaf(name[::-1] + "!", ()) + hostile(name[::-1]))
    for depth in (None, 0):
        d = viz.diff(one, other)
        svg = viz.render(d, tmp_path / "d.svg", depth=depth).read_bytes()
        texts = "".join(t.text or "" for t in ET.fromstring(svg).iter(f"{SVG}text"))  # noqa: S314  (ours)
        assert clean(name).replace(" ", "") in "".join(texts.split())
        assert all(line.isprintable() for line in str(d).split("\n"))


def test_two_processes_write_the_same_bytes():
    text = "t.viz.render(t.normalisation(), sys.argv[2]); print(t.layer())"
    one, other = written_twice("test_viz_diff", text, ".gv")
    assert one == other


# bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "what", "fix"),
    [
        (
            lambda: viz.diff(leaf(), [1, "a"]),
            DTypeError,
            "graph of a list without tensors.",
            "Pass a tensor, a trace, or a container of tensors.",
        ),
        (
            lambda: viz.graph(soft(), backward="ops"),
            GradientError,
            "graph of a difference with backward='ops': it compares what was recorded.",
            "Compare the gradients themselves: diff(trace(grad(f), x), trace(grad(g), x)).",
        ),
        (
            lambda: viz.graph(soft(), depth=-1),
            ShapeError,
            "graph with depth=-1.",
            "Use a whole number from 0, or None for everything.",
        ),
        (
            lambda: soft().diagram(depth=-1),
            ShapeError,
            "diagram with depth=-1.",
            "Use a whole number from 0, or None for everything.",
        ),
    ],
)
def test_bad_input_is_refused(call, error, what, fix):
    with pytest.raises(error) as caught:
        call()
    assert (caught.value.what, caught.value.fix) == (what, fix)
