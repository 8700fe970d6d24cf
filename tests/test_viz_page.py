"""The page, as Python makes it: views, layout, numbers, steps, rules as text, hostile names."""

import contextlib
import cProfile
import functools
import json
import linecache
import re
import sys
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import test_viz
from test_footguns import restored

import tinygrad_bn as tg
from tinygrad_bn import viz
from tinygrad_bn.errors import DTypeError, OptionalDependencyError
from tinygrad_bn.graph.namespaces import tensors
from tinygrad_bn.graph.primitive import table
from tinygrad_bn.graph.tensor import Variable
from tinygrad_bn.testing import rows
from tinygrad_bn.viz.engines import picture
from tinygrad_bn.viz.page import explore as exploring, layout, views as choosing
from tinygrad_bn.viz.page.arrays import Arrays, facts
from tinygrad_bn.viz.page.contents import Contents
from tinygrad_bn.viz.page.layout import HEIGHT, Engine, layout_of
from tinygrad_bn.viz.page.places import Places
from tinygrad_bn.viz.page.rules import rule_text
from tinygrad_bn.viz.page.views import Levels, views_of
from tinygrad_bn.viz.reading import diagram
from tinygrad_bn.viz.steps import RESULT, applications
from tinygrad_bn.viz.style import FAMILIES
from tinygrad_bn.viz.subject import subject_of


def blocks():
    """Three blocks of linear, batch norm and relu, then softmax cross-entropy."""
    rng = np.random.default_rng(0)
    h, width = tg.Tensor(rng.normal(size=(32, 64)), name="images"), 64
    for i, units in enumerate((48, 32, 10)):
        with tg.scope(f"block{i}"):
            with tg.scope("linear"):
                weight = Variable(rng.normal(size=(width, units)), requires_grad=True, name=f"W{i}")
                bias = Variable(np.zeros(units), requires_grad=True, name=f"b{i}")
                h = h @ weight + bias
            scale = Variable(np.ones(units), requires_grad=True, name=f"γ{i}")
            shift = Variable(np.zeros(units), requires_grad=True, name=f"β{i}")
            h, width = tg.relu(tg.batch_norm(h, scale, shift)), units
    return tg.cross_entropy(h, rng.integers(0, 10, 32))


def weighed():
    """Batch norm under a loss whose gradient is not zero."""
    weights = tg.Tensor(np.random.default_rng(3).normal(size=(8, 4)), name="w")
    return tg.sum(test_viz.normalised() * weights)


def broken():
    x = tg.Tensor([[np.nan, 1.0, np.inf], [1e-3, -1.0, 2.0]], requires_grad=True, name="x")
    return tg.sum(x * x)


def accumulating():
    """Every way in which contributions meet: repeated operands, broadcasting, concatenation."""
    x = tg.Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True, name="x")
    row = tg.Tensor([0.5, -1.0], requires_grad=True, name="row")
    joined = tg.concat([x, x * row, row[None, :]])
    return tg.sum(joined[1:] * tg.max(joined, axis=0)) + tg.sum(x * x) / tg.sum(row - x)


def data_of(obj, **options):
    text = viz.page_html(obj, **options)
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found[1])


def levels(data):
    return [view for view in data["views"] if view["kind"] == "level"]


# views ------------------------------------------------------------------------------------------


def test_there_is_a_view_for_each_level_and_each_scope():
    data = data_of(weighed())
    full = test_viz.drawn(weighed(), backward="rules")
    counts = [
        len(test_viz.drawn(weighed(), backward="rules", depth=depth).cards) for depth in (0, 1)
    ]
    assert [view["count"] for view in levels(data)] == [*counts, len(full.cards)]
    assert [len(view["cards"]) for view in levels(data)] == [*counts, len(full.cards)]
    focused = [view for view in data["views"] if view["kind"] == "focus"]
    assert [view["label"] for view in focused] == ["batch_norm", "standardize"]
    assert focused[1]["path"] == [["batch_norm", len(data["views"]) - 2], ["standardize", -1 % 6]]


def test_the_page_opens_with_the_deepest_level_that_is_small_and_readable():
    assert data_of(weighed())["opening"] == 2
    assert levels(data_of(blocks()))[data_of(blocks())["opening"]]["count"] == 35


def test_every_operation_of_the_gradient_is_the_last_level_offered():
    data = data_of(weighed())
    listed = [view for view in data["views"] if view["kind"] != "focus"]
    assert listed[-1]["kind"] == "operations"
    assert listed[-1]["count"] == len(test_viz.drawn(weighed(), backward="ops").cards)


def test_without_a_gradient_the_page_is_forward_only():
    data = data_of(test_viz.normalised())
    assert {step["kind"] for step in data["steps"]} == {"value"}
    assert not any(face.get("image") for face in data["faces"])


def test_a_collapsed_card_and_a_frame_open_the_view_of_their_scope():
    data = data_of(weighed())
    for view in data["views"]:
        for face, *_ in [*view["cards"], *view["frames"]]:
            opened = data["faces"][face].get("opens", -1)
            if opened >= 0:
                name = data["faces"][face]["name"].removeprefix("∂ ")
                assert data["views"][opened]["label"] == name


def test_a_focus_shows_stubs_of_what_enters_and_leaves():
    data = data_of(weighed())
    view = next(v for v in data["views"] if v["kind"] == "focus" and v["label"] == "standardize")
    stubs = [data["faces"][view["cards"][i][0]] for i in view["stubs"]]
    assert [s.get("name", s["badge"]) for s in stubs if "image" not in s] == ["x", "×"]
    framed = [data["faces"][face]["name"] for face, *_ in view["frames"]]
    assert framed == ["standardize", "∂ standardize"]


def test_what_is_too_large_is_told_and_not_laid_out():
    with tg.scope("outer"):
        _, y = test_viz.chain(500)
    data = data_of(y)
    assert [(v["count"], "cards" in v) for v in levels(data)] == [(4, True), (1002, False)]
    assert data["opening"] == 0


def test_a_graph_that_fits_nowhere_is_refused_with_advice():
    _, y = test_viz.chain(500)
    with pytest.raises(viz.RenderError) as caught:
        viz.page_html(y)
    assert caught.value.what == (
        "The graph has 501 cards even with every scope collapsed; a page lays out at most 400."
    )
    assert caught.value.fix == (
        'Open scopes (with tinygrad_bn.scope("name"):) around its parts, or list all with render '
        'and the suffix ".txt".'
    )


def test_many_nested_scopes_have_few_views(monkeypatch):
    monkeypatch.setattr(choosing, "_SCOPES", 4)
    y = tg.Tensor(1.0, requires_grad=True)
    for outer in range(6):
        with tg.scope(f"outer{outer}"), tg.scope("inner"):
            y = tg.exp(y * 0.01)
    data = data_of(y)
    assert [v["label"] for v in data["views"] if v["kind"] == "focus"] == [
        f"outer{i}" for i in range(4)
    ]
    opened = [face["opens"] for face in data["faces"] if face.get("name") == "outer5"]
    assert opened
    assert set(opened) == {-1}


def nested():
    y = tg.Tensor(np.ones(3), requires_grad=True, name="x")
    for i in range(3):
        with tg.scope(f"outer{i}"), tg.scope("inner"):
            y = tg.softmax(y * tg.Tensor(np.arange(3.0)))
            with tg.scope("innermost"):
                y = tg.stop_gradient(y) + tg.exp(y)
    return tg.sum(y)


@pytest.mark.parametrize("make", [weighed, blocks, nested, test_viz.normalised, broken])
def test_levels_and_scopes_are_counted_as_they_are_drawn(make):
    loss = make()
    subject = subject_of(loss, "rules" if loss.shape == () else "annotate")
    levels = Levels(Places(diagram(subject_of(loss, "none"))), subject)
    assert len(levels.counts) == len(levels.depths)
    for i, depth in enumerate(levels.depths):
        places = levels.places(i)
        assert levels.counts[i] == len(places.drawn.cards)
        for scope, sizes in levels.sizes.items():
            if len(scope.path) <= depth:
                assert sizes[i] == len(places.members(scope))


@pytest.mark.parametrize("length", [200, 399])
def test_a_graph_that_fits_only_without_its_gradient_has_the_gradient_in_its_steps(length):
    _, y = test_viz.chain(length)
    data = data_of(y)
    assert [view["count"] for view in data["views"]] == [length + 1]
    assert {step["kind"] for step in data["steps"]} == {"value", "seed", "rule"}


def called(function):
    """Count the calls of functions that a call makes."""
    profile = cProfile.Profile()
    profile.runcall(function)
    return sum(entry.callcount for entry in profile.getstats())


def inside(scopes):
    """Scopes in one another."""
    y = tg.Tensor([1.0], requires_grad=True, name="x")
    with contextlib.ExitStack() as opened:
        for i in range(scopes):
            opened.enter_context(tg.scope(f"scope{i}"))
            y = tg.exp(y * 0.001)
    return tg.sum(y)


def in_a_row(scopes):
    """Scopes one after another."""
    y = tg.Tensor([1.0], requires_grad=True, name="x")
    with tg.scope("all"):
        for i in range(scopes):
            with tg.scope(f"scope{i}"):
                y = tg.exp(y * 0.001)
    return tg.sum(y)


@pytest.mark.parametrize("make", [inside, in_a_row])
def test_many_scopes_cost_no_more_than_reading_the_graph_a_few_times(make):
    loss = make(300)
    reading = called(lambda: diagram(subject_of(loss, "rules"), values=True))
    assert called(lambda: views_of(loss)) < 6 * reading


def test_choosing_the_views_of_a_long_graph_takes_linear_time():
    def long(operations):
        y = tg.Tensor([1.0], requires_grad=True, name="x")
        with tg.scope("outer"):
            for _ in range(operations):
                y = tg.exp(y * 0.001)
        return tg.sum(y)

    views_of(short := long(1000))
    assert called(lambda: views_of(long(4000))) < 5 * called(lambda: views_of(short))


# layout ----------------------------------------------------------------------------------------


def overlapping(boxes):
    for i, (x, y, w, h) in enumerate(boxes):
        for other in boxes[:i]:
            if abs(x - other[0]) < (w + other[2]) / 2 and abs(y - other[1]) < (h + other[3]) / 2:
                yield boxes[i], other


@pytest.mark.parametrize("make", [weighed, blocks, test_viz.classified, test_viz.normalised])
def test_cards_do_not_overlap_and_stand_inside_their_frames(make):
    for view in views_of(make()).shown:
        laid = layout_of(view, Engine())
        assert sorted(laid.cards) == list(range(len(view.drawn.cards)))
        assert list(overlapping([*laid.cards.values()])) == []
        around, boxes = view.drawn.frames(), {f.cluster: f.box for f in laid.frames}
        for number, (x, y, w, h) in laid.cards.items():
            assert h == pytest.approx(HEIGHT, abs=0.01)
            assert x >= -1
            assert x + w <= laid.width + 1
            assert y + h <= laid.height + 1
            for left, top, width, height in (boxes[c] for c in around[number]):
                assert left < x
                assert x + w < left + width
                assert top < y
                assert y + h < top + height


def test_a_gradient_stands_right_of_its_card_at_the_same_height():
    view = views_of(weighed()).shown[2]
    laid = layout_of(view, Engine())
    distances = set()
    for card, image in view.drawn.beside:
        assert laid.cards[card][1] == laid.cards[image][1]
        distances.add(round(laid.cards[image][0] - laid.cards[card][0], 6))
    assert len(distances) == 1
    right = max(laid.cards[card.number][0] for card in view.drawn.cards if card.level == 0)
    assert min(laid.cards[image][0] for _, image in view.drawn.beside) > right


def test_arrows_run_from_card_to_card_forward_down_and_gradients_up():
    view = views_of(weighed()).shown[2]
    laid = layout_of(view, Engine())
    for i, edge in enumerate(view.drawn.edges):
        if edge.saved:
            continue
        for end, number in ((laid.paths[i][0], edge.source), (laid.paths[i][-1], edge.target)):
            x, y, w, h = laid.cards[number]
            assert x - 2 <= end[0] <= x + w + 2
            assert y - 2 <= end[1] <= y + h + 2
        down = laid.paths[i][-1][1] > laid.paths[i][0][1]
        assert down == (view.drawn.cards[edge.target].level == 0)


def test_what_would_be_too_wide_is_laid_out_from_left_to_right():
    parts = [tg.Tensor([1.0], requires_grad=True, name=f"x{i}") for i in range(20)]
    view = views_of(functools.reduce(tg.add, [tg.exp(x) for x in parts])).shown[0]
    laid = layout_of(view, Engine())
    assert laid.width < 2 * laid.height


# arrays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "table", "cells"),
    [
        (np.array(2.5), [1, 1], [2.5]),
        (np.array([], dtype=float), [0, 1], []),
        (np.zeros((0, 3)), [0, 1], []),
        (np.array([True, False]), [1, 2], [1, 0]),
        (np.array([1 + 2j, -1j]), [1, 2], ["1 + 2i", "−0 − 1i"]),
        (np.array([np.nan, np.inf, -np.inf]), [1, 3], ["NaN", "∞", "−∞"]),
        (np.array([[123456.0]]), [1, 1], [123500.0]),
        (np.arange(24).reshape(2, 3, 4), [6, 4], list(range(24))),
        (
            np.arange(300.0).reshape(10, 30),
            [10, 30],
            [30.0 * r + c for r in range(8) for c in range(8)],
        ),
    ],
)
def test_the_corner_of_an_array_is_kept(values, table, cells):
    told = facts(values)
    assert told["table"] == table
    assert told["cells"] == cells
    assert len(told["cells"]) <= 64
    json.dumps(told, allow_nan=False)


def test_statistics_are_those_of_the_finite_elements():
    told = facts(np.array([0.0, 3.0, -4.0, np.nan, np.inf]))
    assert told["moments"] == [-4.0, 3.0, -0.3333, 2.867, 5.0]
    assert (told["zeros"], told["nan"], told["inf"]) == (1, 1, 1)
    assert sum(told["histogram"]) == 3
    assert facts(np.full(5, 2.0))["histogram"] == []
    assert "moments" not in facts(np.array([np.nan, np.nan]))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [np.array([1e308, -1e308]), np.array([6e4, 5e4], dtype="e")])
def test_extreme_numbers_do_not_warn(values):
    json.dumps(facts(values), allow_nan=False)


def test_equal_arrays_are_stored_once():
    arrays = Arrays()
    one, other = arrays.add(np.zeros(3)), arrays.add(np.zeros(3, dtype=np.float32))
    assert arrays.add(np.zeros(3)) == one != other
    assert arrays.add(np.zeros((3, 1))) not in (one, other)
    assert len(arrays.facts) == 3


# steps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [weighed, blocks, test_viz.classified, broken, accumulating])
def test_the_sums_of_the_steps_are_the_gradients_bit_for_bit(make):
    loss = make()
    sums = {loss: np.ones(loss.shape, loss.dtype)}
    for step in applications(loss):
        assert step.g.tobytes() == sums[step.node].tobytes()
        for part in step.parts:
            before = sums.get(part.operand)
            sums[part.operand] = part.piece if before is None else before + part.piece
            assert part.total.tobytes() == sums[part.operand].tobytes()
    gradients = subject_of(loss, "annotate").gradients
    assert sums.keys() == gradients.keys()
    for tensor, gradient in gradients.items():
        assert sums[tensor].tobytes() == gradient.data.tobytes()
        assert sums[tensor].dtype == gradient.dtype


def test_contributions_are_counted():
    data = data_of(accumulating())
    for step in data["steps"]:
        for part in step.get("parts", ()):
            meeting = [
                p
                for s in data["steps"]
                for p in s.get("parts", ())
                if p["tensor"] == part["tensor"]
            ]
            assert [p["nth"] for p in meeting] == list(range(1, part["of"] + 1))
            assert meeting[-1]["total"] == data["tensors"][part["tensor"]]["gradient"]


def test_a_step_reads_the_values_that_its_rule_used():
    x = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="x")
    y = tg.Tensor([3.0, 4.0], requires_grad=True, name="y")
    data = data_of(tg.sum(x / y))
    divided = next(s for s in data["steps"] if s["kind"] == "rule" and len(s["parts"]) == 2)
    names = [[read["as"] for read in part["reads"]] for part in divided["parts"]]
    assert names == [["y"], ["out", "y"]]
    summed = next(s for s in data["steps"] if s["kind"] == "rule")
    assert summed["parts"][0]["reads"] == []


def recorded_reads(loss):
    """Say which forward values the recorded gradient uses for each operation."""
    subject = subject_of(loss, "ops")
    found = {}
    for node in subject.nodes():
        if node.adjoint_of is not None:
            origin = node.adjoint_of
            own = {x for x in (origin, *origin.inputs) if isinstance(x, tg.Tensor)}
            found.setdefault(origin, set()).update(own.intersection(node.inputs))
    return found


def read_by_steps(loss):
    found = {}
    for step in applications(loss):
        places = {position for part in step.parts for position in part.reads}
        own = (step.node if i == RESULT else step.node.inputs[i] for i in places)
        found[step.node] = {x for x in own if isinstance(x, tg.Tensor)}
    return found


def disagreeing(loss):
    recorded = recorded_reads(loss)
    return [n.op.name for n, read in read_by_steps(loss).items() if recorded.get(n, set()) != read]


CALLS = [
    pytest.param(call, id=f"{op.name}-{rows.label(case)}")
    for op in table.values()
    if op.differentiable and op.family != "custom"
    for case, call in zip(op.cases, rows.samples(op), strict=True)
    if call.differentiable
]


@pytest.mark.parametrize("call", CALLS)
def test_the_steps_of_every_row_read_what_its_recorded_gradient_uses(call):
    named = [tg.Tensor(x, requires_grad=True, name=f"x{i}") for i, x in enumerate(call.primals)]
    loss = tg.sum(call(*named) * call.cotangent())
    assert disagreeing(loss) == []


@pytest.mark.parametrize("make", [weighed, blocks, test_viz.classified, accumulating])
def test_the_steps_of_a_graph_read_what_its_recorded_gradient_uses(make):
    assert disagreeing(make()) == []


def test_the_rule_of_a_checkpoint_reads_what_its_function_computes_again_from():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    w = x * 2.0
    again = tg.checkpoint(lambda v: tg.exp(v) * w)
    step = applications(tg.sum(again(x)))[1]
    assert [(part.operand, part.reads) for part in step.parts] == [(x, {0, 1}), (w, {0})]
    scaled = applications(tg.sum(tg.checkpoint(lambda v: v * w)(x)))[1]
    assert [(part.operand, part.reads) for part in scaled.parts] == [(x, {1}), (w, {0})]
    linear = applications(tg.sum(tg.checkpoint(lambda v: v * 2.0)(x)))[1]
    assert [part.reads for part in linear.parts] == [frozenset()]
    found = test_viz.drawn(tg.sum(again(x)), backward="rules")
    assert Counter(found.cards[edge.source].name for edge in found.edges if edge.saved) == {
        "x": 1,
        "w": 1,
    }


def test_a_checkpoint_is_computed_again_no_more_often_than_twice_for_its_steps():
    weights = [tg.Tensor([1.0], requires_grad=True) for _ in range(9)]
    runs = []
    again = tg.checkpoint(lambda *given: runs.append(1) or tg.sum(tg.concat(given)))
    loss = again(*weights)
    assert len(applications(loss)[0].parts) == len(weights)
    assert len(runs) == 3


def test_a_contribution_says_that_it_was_summed_over_what_was_broadcast():
    x = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="x")
    y = tg.Tensor([3.0, 4.0], requires_grad=True, name="y")
    step = next(s for s in data_of(tg.sum(x * y))["steps"] if len(s.get("parts", ())) == 2)
    assert [part.get("summed") for part in step["parts"]] == [None, "1×2 → 2"]


def test_the_steps_of_a_forward_pass_come_in_the_order_of_recording():
    data = data_of(weighed())
    made = [step["tensor"] for step in data["steps"] if step["kind"] == "value"]
    assert made == sorted(made)
    for number in made:
        operands = data["tensors"][number].get("operands", ())
        assert all(operand.get("tensor", -1) < number for operand in operands)


def test_a_graph_of_which_a_parameter_was_assigned_since_is_still_explored():
    weight = Variable([1.0, 3.0], requires_grad=True, name="w")
    loss = tg.sum(weight * weight)
    weight.assign([5.0, 5.0])
    data = data_of(loss)
    last = data["steps"][-1]["parts"][-1]
    assert data["arrays"][last["total"]]["cells"] == [2.0, 6.0]
    assert data["arrays"][data["tensors"][0]["value"]]["cells"] == [1.0, 3.0]
    told = {face["name"]: face["value"] for face in data["faces"] if "name" in face}
    assert told["w"] == "mean 2, std 1"
    assert told["∂w"] == "mean 4, std 2"
    assert [read["as"] for read in last["reads"]] == ["x"]


# rules as text ------------------------------------------------------------------------------


def test_rules_on_one_line_are_told_apart():
    codes = [rule_text(rule).code for rule in table["multiply"].rules]
    assert codes == ["g * y", "g * x"]
    assert rule_text(table["multiply"].rules[0]).names == ("g", "out", "x", "y")
    called = rule_text(table["logaddexp"].rules[0]).code
    assert called.startswith("_share_of_exp(xp, g, x, y)\n\n# ``g *")


def test_every_rule_of_the_table_has_its_text():
    for op in table.values():
        rules = op.rules if isinstance(op.rules, tuple) else [op.rules[0]]
        for rule in rules:
            if rule is not None and op.origin.startswith("tinygrad_bn."):
                assert rule_text(rule).code != "rule without source text", op.name


def test_the_rule_of_an_operation_with_any_number_of_operands_is_found():
    text = rule_text(table["concat"].rules[1])
    assert text.code.startswith("def _concat_part(i, xp, g, out, *xs, axis):")
    assert text.names[:2] == ("g", "out")


def test_a_rule_comes_with_the_helpers_of_its_file():
    text = rule_text(table["logaddexp"].rules[0])
    first, second = text.code.split("\n\n")[:2]
    assert first == "_share_of_exp(xp, g, x, y)"
    assert second.splitlines()[1] == "def _share_of_exp(xp, g, x, y):"
    assert "unbroadcast" in rule_text(table["subtract"].rules[1]).code
    assert "def" not in rule_text(table["subtract"].rules[1]).code


def test_a_rule_typed_at_a_prompt_has_no_text():
    rule = eval("lambda xp, g, out, x: g")  # noqa: S307  (our own text)
    assert rule_text(rule).code == "rule without source text"


# text ---------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def handle_starttag(self, tag, _):
        self.seen[tag] += 1


def tags_of(text):
    parser = Tags()
    parser.feed(text)
    return parser.seen


@functools.cache
def plain_tags():
    return tags_of(viz.page_html(test_viz.hostile("plain"), title="plain"))


@pytest.mark.parametrize(
    "name", [*test_viz.HOSTILE, "</script><script>alert(1)</script>", "<!--", "\u2028\u2029"]
)
def test_hostile_names_add_nothing_to_the_page(name):
    text = viz.page_html(test_viz.hostile(name), title=name)
    assert tags_of(text) == plain_tags()
    assert data_of(test_viz.hostile(name), title=name)["title"]
    text.encode()


def test_names_in_braces_are_not_filled_in():
    data = data_of(test_viz.hostile("{{script}}"), title="{{data}}")
    assert data["title"] == "{{data}}"
    assert any(face["name"] == "{{script}}" for face in data["faces"])


def test_nothing_of_the_machine_is_in_the_page():
    text = viz.page_html(blocks())
    for path in {str(Path.cwd()), str(Path.home()), str(Path(__file__).parent), sys.prefix} - {"/"}:
        assert path not in text
    assert "test_viz_page.py" in text
    assert "https://" not in text
    assert text.count("http://") == text.count("http://www.w3.org/2000/svg")


def test_two_processes_write_the_same_page():
    text = "t.viz.explore(t.blocks(), sys.argv[2])"
    one, other = test_viz.written_twice("test_viz_page", text, ".html")
    assert one == other


def test_the_script_never_makes_markup_of_text_nor_asks_the_network():
    script = exploring._script()
    assert script.startswith('"use strict";')
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|Function\(|fetch\("
    )
    assert re.findall(forbidden + '|XMLHttpRequest|import\\(|setTimeout\\("', script) == []


def test_every_family_has_its_colour_in_the_page():
    style = exploring._colours()
    for op in table.values():
        assert f"--{op.family}:" in style or op.family not in FAMILIES
    with restored():
        custom = tg.custom_rule(vjp=lambda xp, g, out, x: 2 * g)(twice_for_the_page)
        data = data_of(tg.sum(custom(tg.Tensor([1.0], requires_grad=True))))
    families = {face["badge"]: face["family"] for face in data["faces"] if "badge" in face}
    assert (families["Σ"], families["twice_for_the_page"]) == ("reduction", "other")
    assert "2 * g" in data["rules"]


def twice_for_the_page(x):
    return x + x


def test_a_checkpoint_is_explored():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    data = data_of(tg.sum(tg.checkpoint(lambda v: tg.exp(v) * v)(x)))
    assert any(face.get("badge") == "checkpoint" for face in data["faces"])
    assert any(rule.startswith("def _rule(self") for rule in data["rules"])


def test_a_page_of_three_blocks_is_small():
    assert len(viz.page_html(blocks()).encode()) < 400_000


# files ------------------------------------------------------------------------------------


def test_a_page_is_written_where_it_is_asked_for(tmp_path):
    path = viz.explore(weighed(), tmp_path / "new" / "page.HTM", title="Batch norm")
    assert path == tmp_path / "new" / "page.HTM"
    assert "<title>Batch norm</title>" in path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["page.HTM"]


def test_the_page_is_named_after_the_result_or_the_scope():
    assert data_of(test_viz.classified())["title"] == "loss"
    assert data_of(tg.sum(tg.softmax(tg.Tensor([1.0], requires_grad=True))))["title"] == (
        "Recorded graph"
    )
    with tg.scope("tail"):
        total = tg.Tensor([1.0], requires_grad=True).sum()
    assert data_of([total][:1])["title"] == "total"


@pytest.mark.parametrize("name", ["page.svg", "page", ".html"])
def test_another_suffix_is_refused(name, tmp_path):
    with pytest.raises(viz.RenderError) as caught:
        viz.explore(weighed(), tmp_path / name)
    assert caught.value.what == f"explore to {name!r}: a page has the suffix .html or .htm."
    assert caught.value.fix == 'Write "graph.html", or draw a picture with render.'
    assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = viz.explore(weighed(), tmp_path / "page.html")
    before = path.read_bytes()

    def refuse(*_):
        raise OSError("no space")

    monkeypatch.setattr(exploring.Path, "replace", refuse)
    with pytest.raises(viz.RenderError, match="could not be written: no space"):
        viz.explore(broken(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def counted_pictures(monkeypatch, *, wait=0.0):
    """Collect the DOT texts that are laid out from now on, each after some seconds."""
    asked = []

    def slow(source, **options):
        asked.append(source)
        time.sleep(wait)
        return picture(source, **options)

    monkeypatch.setattr(layout, "picture", slow)
    return asked


def layered(layers=12):
    """The same layer many times: its views look alike but for their names."""
    h = tg.Tensor(np.full((4, 4), 0.5), requires_grad=True, name="x")
    for i in range(layers):
        with tg.scope(f"layer{i}"):
            with tg.scope("linear"):
                h = h @ tg.Tensor(np.eye(4), requires_grad=True, name="W") + 1.0
            h = tg.softmax(tg.batch_norm(h))
    return tg.sum(h)


def test_views_that_look_alike_are_laid_out_once(monkeypatch):
    asked = counted_pictures(monkeypatch)
    views = data_of(layered())["views"]
    assert len(views) > 50
    assert len(asked) == len(set(asked)) < 25


def test_the_time_allowed_is_that_for_all_views(monkeypatch):
    asked = counted_pictures(monkeypatch, wait=0.06)
    with pytest.raises(viz.RenderError) as caught:
        viz.page_html(blocks(), timeout=0.1)
    assert caught.value.what == "The views of the page were not laid out within 0.1 seconds."
    assert caught.value.fix == (
        "Allow more time with timeout=, or explore a smaller part of the graph."
    )
    assert len(asked) == 2


def test_an_engine_that_hangs_is_given_up_in_time(tmp_path):
    hanging = tmp_path / "dot"
    hanging.write_text("#!/bin/sh\nsleep 60\n")
    hanging.chmod(0o755)
    with pytest.raises(viz.RenderError, match=r"not laid out within 0\.2 seconds"):
        viz.page_html(weighed(), engine=str(hanging), timeout=0.2)


def test_an_engine_that_fails_in_time_is_told_as_it_is(tmp_path):
    failing = tmp_path / "dot"
    failing.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    failing.chmod(0o755)
    with pytest.raises(viz.RenderError, match="dot could not draw the graph: broken"):
        viz.page_html(weighed(), engine=str(failing))


def test_a_time_that_is_no_number_is_refused():
    with pytest.raises(DTypeError, match="explore with timeout='long'"):
        viz.page_html(weighed(), timeout="long")


def test_without_an_engine_there_is_no_page(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "picture", lambda *_, **__: None)
    with pytest.raises(OptionalDependencyError) as caught:
        viz.explore(weighed(), tmp_path / "page.html")
    assert caught.value.what == "No layout engine was found for the page."
    assert caught.value.fix == (
        "Run pip install graphviz-pure, or install Graphviz so that dot is on PATH."
    )
    assert not list(tmp_path.iterdir())


def test_an_engine_that_is_named_and_missing_is_refused(tmp_path):
    with pytest.raises(OptionalDependencyError, match="engine '/nowhere/dot' was not found"):
        viz.explore(weighed(), tmp_path / "page.html", engine="/nowhere/dot")


def test_what_holds_no_tensor_is_refused():
    with pytest.raises(DTypeError, match="graph of a list without tensors"):
        viz.page_html([1])


def test_a_difference_is_drawn_and_not_explored():
    with pytest.raises(DTypeError) as caught:
        viz.page_html(viz.diff(weighed(), test_viz.normalised_loss()))
    assert caught.value.what == "explore of a difference: a page shows one graph."
    assert caught.value.fix == "Draw it with render, or explore the graphs one by one."


def test_a_trace_of_a_gradient_is_explored_as_it_was_recorded():
    trace = tg.trace(tg.value_and_grad(lambda x: tensors.sum(x * x)), np.ones(3))
    data = data_of(trace)
    assert {step["kind"] for step in data["steps"]} == {"value"}
    assert len(data["results"]) == 2


def test_reading_twice_gives_the_same():
    loss = weighed()
    one, other = (Contents(views_of(loss), Engine()).read("x") for _ in range(2))
    assert one == other
    assert loss.inputs[0].grad is None


# what is hard ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "values",
    [
        [1.0, np.finfo(np.float64).max],
        [-np.finfo(np.float64).max, np.finfo(np.float64).max],
        [-5e-323, 3.9e-322],
        np.array([np.finfo("longdouble").max, 1]),
        np.array(np.finfo("longdouble").max),
        np.array([np.finfo(np.float32).max, 1], np.float32),
    ],
    ids=str,
)
def test_the_largest_and_the_smallest_numbers_are_shown(values):
    with np.errstate(all="ignore"):
        loss = tg.sum(tg.Tensor(values, requires_grad=True, name="x") * 0)
    assert viz.page_html(loss).startswith("<!doctype html>")


def test_a_source_file_whose_name_is_no_text_is_shown():
    space = {"tg": tg}
    text = "x = tg.Tensor([1.0], requires_grad=True)\nz = tg.sum(tg.exp(x))"
    exec(compile(text, "bad\udcff.py", "exec"), space)  # noqa: S102  (ours)
    viz.page_html(space["z"]).encode()


def test_a_rule_is_read_as_it_is_now(tmp_path):
    path = tmp_path / "changing.py"
    for factor in (2, 33333):
        path.write_text(
            f'def rule(xp, g, out, x):\n    """One."""\n    "two"\n    return g * {factor}\n'
        )
        linecache.checkcache()
        space = {}
        exec(compile(path.read_text(), str(path), "exec"), space)  # noqa: S102  (ours)
        once, again = rule_text(space["rule"]), rule_text(space["rule"])
        assert once == again
        assert once.code.endswith(f"return g * {factor}")


def test_a_rule_comes_with_all_that_it_calls_and_what_that_does():
    code = rule_text(table["sum"].rules[0]).code
    assert "def spread(" in code
    assert "def restore(" in code
    assert "# Broadcast the result of a reduction over the axes that were reduced." in code


halved = lambda xp, g: g / 2  # noqa: E731  (that a helper may be one)


def test_a_helper_that_is_a_lambda_is_shown_by_its_name():
    def rule(xp, g, out, x):
        return halved(xp, g)

    assert rule_text(rule).code.split("\n\n")[1:] == ["halved = lambda xp, g: g / 2"]


def test_an_operand_has_its_letter_in_the_picture_and_its_name_in_the_rule():
    x, y = (tg.Tensor(np.full(2, 2.0), requires_grad=True, name=n) for n in "yx")
    data = data_of(tg.sum((x - y) * tg.stop_gradient(x) / 2.0))
    told = {
        t["op"]: [(o.get("role"), o.get("as")) for o in t["operands"]]
        for t in data["tensors"]
        if "op" in t and t["level"] == 0
    }
    assert told["subtract"] == [("operand a", "x"), ("operand b", "y")]
    assert told["multiply"] == [(None, "x"), (None, "y")]
    assert told["divide"] == [(None, "x"), (None, "y")]
    view = next(view for view in data["views"] if view["kind"] == "level")
    drawn = {mark for *_, mark, _ in view["edges"] if mark}
    assert drawn == {"a", "b"}


def test_operands_that_no_rule_names_have_no_name():
    data = data_of(tg.trace(tg.floor, np.ones(2)))
    (told,) = [t for t in data["tensors"] if t.get("op") == "floor"]
    assert "as" not in told["operands"][0]


def test_variadic_operands_have_names_of_their_own():
    x, y = (tg.Tensor(np.ones(2), requires_grad=True, name=n) for n in "xy")
    data = data_of(tg.einsum("i,i->", x, y))
    (step,) = [s for s in data["steps"] if s["kind"] == "rule" and len(s["parts"]) == 2]
    names = [data["tensors"][part["tensor"]]["name"] for part in step["parts"]]
    reads = [[data["tensors"][r["tensor"]]["name"] for r in p["reads"]] for p in step["parts"]]
    assert names == ["x", "y"]
    assert reads == [["y"], ["x"]]
    operands = [o["as"] for o in data["tensors"][step["tensor"]]["operands"]]
    assert [name[-3:] for name in operands] == ["[0]", "[1]"]
