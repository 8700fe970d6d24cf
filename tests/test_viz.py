"""Drawing: what is drawn, the same bytes each time, hostile names, sizes."""

import contextlib
import dataclasses
import gc
import os
import subprocess
import sys
import tempfile
import weakref
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import graphviz
import numpy as np
import pytest
import test_footguns
from hypothesis import given, settings

import tinygrad_bn as tg
from tinygrad_bn import viz
from tinygrad_bn.errors import DTypeError, GradientError, ShapeError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.tensor import Variable
from tinygrad_bn.testing import strategies
from tinygrad_bn.viz import drawing
from tinygrad_bn.viz.labels import clean, number, summary
from tinygrad_bn.viz.legend import legend
from tinygrad_bn.viz.reading import diagram
from tinygrad_bn.viz.steps import applications
from tinygrad_bn.viz.style import colours
from tinygrad_bn.viz.subject import subject_of

GOLDEN = Path(__file__).parent / "golden"
REWRITE = "TINYGRAD_BN_REWRITE_GOLDEN"
HUGE = np.finfo("longdouble").max
SVG = "{http://www.w3.org/2000/svg}"


def normalised():
    x = tg.Tensor(np.arange(32.0).reshape(8, 4) ** 1.5, requires_grad=True, name="x")
    gamma = tg.Tensor(np.ones(4), requires_grad=True, name="γ")
    beta = tg.Tensor(np.zeros(4), requires_grad=True, name="β")
    y = tg.batch_norm(x, gamma, beta)
    y.name = "y"
    return y


def normalised_loss():
    loss = tg.sum(tg.square(normalised()))
    loss.name = "loss"
    return loss


def weighted():
    loss = tg.sum(normalised() * np.arange(32.0).reshape(8, 4) ** 2)
    loss.name = "loss"
    return loss


def classified():
    z = tg.Tensor(np.arange(12.0).reshape(4, 3) % 5, requires_grad=True, name="z")
    loss = tg.cross_entropy(z, np.array([0, 1, 2, 0]))
    loss.name = "loss"
    return loss


def layered():
    rng = np.random.default_rng(0)
    h, width = tg.Tensor(rng.normal(size=(32, 64)), name="images"), 64
    for i, units in enumerate((128, 64, 10)):
        with tg.scope(f"layer{i}"):
            weight = Variable(rng.normal(size=(width, units)), requires_grad=True, name=f"W{i}")
            h, width = tg.batch_norm(h @ weight), units
    return tg.cross_entropy(h, rng.integers(0, 10, 32))


def drawn(obj, *, backward="annotate", **options):
    return diagram(subject_of(obj, backward), **options)


def names(obj, **options):
    return [card.name or card.badge for card in drawn(obj, **options).cards]


# what is drawn -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "obj", "options"),
    [
        ("batch_norm", normalised, {}),
        ("batch_norm_depth_0", normalised, {"depth": 0}),
        ("batch_norm_backward", normalised_loss, {"backward": "ops", "values": False}),
        ("batch_norm_rules", weighted, {"backward": "rules"}),
        ("cross_entropy_values", classified, {"values": True}),
        ("layers_backward_depth_0", layered, {"depth": 0, "backward": "ops"}),
    ],
)
def test_the_dot_text_is_the_golden_one(name, obj, options):
    golden = GOLDEN / f"{name}.gv"
    source = viz.graph(obj(), **options).source
    if os.environ.get(REWRITE) == "1":
        golden.write_text(source, encoding="utf-8")
    assert source == golden.read_text(encoding="utf-8"), f"set {REWRITE}=1 to rewrite, then look"


def written_twice(module, text, suffix):
    """Run a text with a test module as ``t`` in two processes; return what each wrote and printed.

    They differ in how they order sets.
    """
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import {module} as t\n{text}"
    written = []
    for seed in ("1", "2"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"written{suffix}"
            done = subprocess.run(  # noqa: S603  (our own code)
                [sys.executable, "-c", code, str(Path(__file__).parent), str(path)],
                check=True,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONHASHSEED": seed},
            )
            written.append((path.read_bytes(), done.stdout))
    return written


def test_two_processes_write_the_same_bytes():
    text = "t.viz.render(t.normalised_loss(), sys.argv[2], backward='ops', values=True)"
    one, other = written_twice("test_viz", text, ".gv")
    assert one == other


def test_batch_norm_is_one_node_at_depth_0():
    assert names(normalised(), depth=0) == ["x", "γ", "β", "batch_norm"]
    assert "standardize" in names(normalised(), depth=1)
    assert names(normalised(), depth=1) == ["x", "γ", "β", "standardize", "×", "y"]
    assert drawn(normalised(), depth=2).cards == drawn(normalised()).cards


def test_a_collapsed_scope_holds_its_weights_and_constants():
    cards = drawn(layered(), depth=0).cards
    names = ["images", "layer0", "layer1", "layer2", "target", "cross_entropy"]
    assert [c.name for c in cards] == names
    assert cards[1].note.endswith("ops · W0")
    assert cards[1].shape == "32×128"
    assert drawn(normalised(), depth=0).cards[-1].note == "12 ops → y"


def test_scopes_are_numbered_by_use_not_by_when_their_weights_were_made():
    first, second = (Variable(np.ones((2, 2)), requires_grad=True, name=n) for n in "vw")
    with tg.scope("late"):
        h = tg.Tensor(np.ones((2, 2)), name="x") @ second
    with tg.scope("later"):
        y = h @ first
    assert names(y, depth=0) == ["x", "late", "later"]
    assert names(y) == ["x", "w", "h", "v", "y"]


def test_a_product_with_itself_has_two_edges():
    x = tg.Tensor([2.0], requires_grad=True, name="x")
    assert [(e.source, e.target, e.operand) for e in drawn(x * x).edges] == [(0, 1, 0), (0, 1, 1)]
    assert viz.graph(x * x).source.count("n0 -> n1") == 2


def test_scalars_fold_into_the_operation():
    x = tg.Tensor([1.0], requires_grad=True, name="x")
    assert names((x / 8 + 1e-5) * np.float64(3.0)) == ["x", "÷ 8", "+ 1e−05", "× 3"]
    assert names(1 - x)[1:] == ["1 −"]
    assert names(tg.where([True], x, 0.0))[2:] == ["where(·, ·, 0)"]


def test_operands_are_lettered_where_their_order_matters():
    x, y = (tg.Tensor([1.0], requires_grad=True, name=n) for n in "xy")
    assert [e.mark for e in drawn(x - y).edges] == ["a", "b"]
    assert [e.mark for e in drawn(x + y).edges] == ["", ""]
    assert [e.mark for e in drawn(x - 1).edges] == [""]


def test_a_trace_draws_its_inputs_and_every_operation():
    trace = tg.trace(lambda x, unused: tg.exp(x), np.ones(3), np.ones(2))
    cards = drawn(trace).cards
    assert [(c.kind, c.name or c.badge) for c in cards] == [
        ("input", "x"),
        ("input", "unused"),
        ("op", "exp"),
    ]
    assert [c.result for c in cards] == [False, False, True]


def test_the_backward_graph_mirrors_the_scopes_and_names_the_gradients():
    loss = normalised_loss()
    found = drawn(loss, backward="ops")
    clusters = [m.name for m in found.walk() if not isinstance(m, int | None)]
    assert clusters == ["batch_norm", "standardize", "∂ batch_norm", "∂ standardize"]
    assert {"∂x", "∂γ", "∂β", "∂y", "∂loss"} <= {c.name for c in found.cards if c.level == 1}
    assert [c.name for c in found.cards if c.kind == "seed"] == ["∂loss"]
    assert any(e.saved for e in found.edges)
    assert loss.inputs[0].inputs[0].grad is None


def test_the_gradient_of_a_gradient_is_a_level_of_its_own():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    (x**3).sum().backward(create_graph=True)
    assert drawn((x.grad * x.grad).sum(), backward="ops").levels == [0, 1, 2]


def test_the_forward_graph_stands_left_of_its_gradient(tmp_path):
    loss = normalised_loss()
    found = drawn(loss, backward="ops")
    svg = viz.render(loss, tmp_path / "g.svg", backward="ops").read_bytes()
    left = {0: [], 1: []}
    for group in ET.fromstring(svg).iter(f"{SVG}g"):  # noqa: S314  (our own picture)
        if group.get("class") == "node":
            card = found.cards[int(group.find(f"{SVG}title").text[1:])]
            left[card.level].append(float(group.find(f".//{SVG}text").get("x")))
    assert max(left[0]) < min(left[1])


def test_values_are_told_in_words_and_gradients_in_red():
    x = tg.Tensor([1.0, 3.0], requires_grad=True, name="x")
    loss = tg.sum(x * x)
    source = viz.graph(loss).source
    assert "mean 2, std 1" in source
    assert '#c0392b" POINT-SIZE="9">∂ mean 4, std 2' in source
    assert "mean 2, std 1" not in viz.graph(loss, values=False).source
    assert "mean" not in viz.graph(loss, values=False, backward="none").source


def test_what_backward_left_in_grad_is_not_the_gradient_of_this_result():
    x = tg.Tensor([1.0, 3.0], requires_grad=True, name="x")
    tg.sum(x * 100).backward()
    assert "∂" not in viz.graph(x * x).source
    held = tg.sum(tg.stop_gradient(x) * tg.Tensor([2.0, 2.0], requires_grad=True, name="w"))
    assert [c.name for c in drawn(held, backward="rules").cards if c.level == 1][-1] == "∂w"


def test_nan_and_infinities_are_marked():
    x = tg.Tensor([np.nan, 1.0, np.inf], requires_grad=True, name="x")
    source = viz.graph(x, values=True).source
    assert "<B><FONT" in source.split("1 of 3 NaN, 1 of 3 ∞")[0][-80:]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.array([]), "empty"),
        (np.array(-2.5), "−2.5"),
        (np.array([True, False, True]), "2 of 3 true"),
        (np.array([3, -1]), "[3, −1]"),
        (np.arange(9) - 1, "min −1, max 7"),
        (np.array([[3, -1]]), "min −1, max 3"),
        (np.array([1.0, -1.0, 1e-9]), "mean ≈0, std 0.816"),
        (np.array([0.0, 0.0]), "mean 0, std 0"),
        (np.array([1 + 2j, 3 - 2j]), "mean 2 + 0i, std 2.24"),
        (np.array([1e200, -1e200]), "largest 1e+200"),
        (np.array(np.inf), "∞"),
        (np.array([60000.0, 60000.0], dtype=np.float16), "mean 6e+04, std 0"),
        (
            np.array([np.finfo("longdouble").max, 1]),
            "largest " + number(np.finfo("longdouble").max),
        ),
    ],
)
def test_a_summary_fits_every_kind_of_array(values, text):
    assert summary(values).text == text


def test_a_mask_of_minus_infinity_is_no_alarm_and_what_overflows_is():
    x = tg.Tensor([1.0, 800.0], requires_grad=True, name="x")
    masked = tg.where([True, False], x, -np.inf)
    shifted = masked - 1
    with np.errstate(all="ignore"):
        overflown = tg.exp(x) + shifted
        found = drawn(tg.sum(tg.exp(shifted)) + tg.sum(overflown), values=True)
    alarms = [(c.badge, c.value.text) for c in found.cards if c.value.alarm]
    calm = [c.badge for c in found.cards if "∞" in c.value.text and not c.value.alarm]
    assert calm == ["where(·, ·, −∞)", "− 1"]
    assert alarms[0] == ("exp", "1 of 2 ∞")


def test_a_named_constant_is_an_input_and_an_anonymous_one_a_constant():
    x = tg.Tensor([1.0], requires_grad=True)
    kinds = [c.kind for c in drawn(x * tg.Tensor([2.0], name="data") + [3.0]).cards]
    assert kinds == ["parameter", "input", "op", "constant", "op"]


def test_results_are_named_by_the_variables_they_are_put_into():
    x = tg.Tensor(np.eye(2), requires_grad=True)
    normed = tg.batch_norm(x)
    doubled = normed * 2
    for _ in range(2):
        doubled = doubled * 2
    chained = kept = tg.exp(doubled)
    total: tg.Tensor = kept + normed
    assert chained.name is None
    found = diagram(subject_of(total, "none"))
    assert [(c.name, c.badge) for c in found.cards if c.name] == [
        ("x", "θ"), ("pilot", "const"), ("x − pilot", "−"), ("μ − pilot", "÷ 2"), ("x − μ", "−"),
        ("σ²", "÷ 2"), ("σ", "√"), ("normed", "÷"), ("doubled", "× 2"), ("doubled", "× 2"),
        ("doubled", "× 2"), ("chained", "exp"), ("total", "+"),
    ]  # fmt: skip


def test_a_users_names_go_before_variables_and_those_before_the_terms_of_a_formula():
    x = tg.Tensor(np.eye(2), requires_grad=True)
    normed = tg.standardize(x, axis=0)
    normed.name = "given"
    assert drawn(normed).cards[-1].name == "given"
    assert drawn(tg.standardize(x, axis=0)).cards[-1].name == "x̂"


def test_a_helpers_parameters_and_private_variables_name_nothing():
    _x = tg.Tensor([1.0], requires_grad=True)
    assert names(_x) == ["θ"]


def test_scopes_are_collapsed_by_predicate():
    loss = normalised_loss()
    composed = drawn(loss, collapse=lambda scope: scope.composed).cards
    assert [c.name for c in composed if c.kind == "scope"] == ["batch_norm"]
    inner = drawn(loss, collapse=lambda scope: scope.name == "standardize")
    assert [c.name for c in inner.cards if c.kind == "scope"] == ["standardize"]
    assert [m.name for m in inner.walk() if not isinstance(m, int | None)] == ["batch_norm"]


def test_the_mirror_image_has_a_gradient_beside_each_card_that_one_reaches():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    a = x * x
    b = a + x
    loss = tg.sum(b * np.array([1.0, 3.0]))
    found = drawn(loss, backward="rules", values=True)
    forward, backward = ([c for c in found.cards if c.level == level] for level in (0, 1))
    assert [c.name for c in forward] == ["x", "a", "b", "", "", "loss"]
    assert [c.name for c in backward] == ["∂loss", "", "∂b", "∂a", "∂x"]
    assert backward[0].kind == "seed"
    assert backward[-1].note == "sum of 3"
    assert backward[-1].value.text == "mean 9, std 6"
    named = [card.name for card in found.cards]
    assert ("x", "∂x") in [(named[f], named[b]) for f, b in found.beside]
    turned = [(named[e.source], named[e.target]) for e in found.edges if e.source >= len(forward)]
    assert turned.count(("∂a", "∂x")) == 2
    assert ("∂b", "∂x") in turned
    assert ("x", "∂a") in [(named[e.source], named[e.target]) for e in found.edges if e.saved]
    assert x.grad is None


def test_the_mirror_image_of_a_collapsed_scope_is_one_card():
    found = drawn(layered(), depth=0, backward="rules")
    gradients = ["∂ cross_entropy", "∂ layer2", "∂ layer1", "∂ layer0"]
    assert [c.name for c in found.cards if c.level == 1] == gradients
    assert [found.cards[a].name for a, _ in found.beside] == [g[2:] for g in gradients]


def test_the_legend_explains_what_occurs_and_nothing_else():
    loss = normalised_loss()

    def told(**options):
        return [entry.meaning for entry in legend(drawn(loss, **options))]

    plain = ["requires a gradient", "constant", "elementwise", "reduction", "unary"]
    values, order = "a value is used", "operands in their order"
    assert told(backward="none") == [*plain, values, order]
    assert told() == [*plain, values, order, "derivative of the result by this value"]
    assert told(backward="rules")[len(plain) :] == [
        "the gradient starts here", "gradient", values, "a gradient is passed back",
        "a rule reads a value", order, "so many gradients meet",
    ]  # fmt: skip
    assert "several operations" in told(depth=0)
    assert "labelloc=b" in viz.graph(loss, legend=True).source
    assert "a value is used" not in viz.graph(loss).source


def test_a_gradient_starts_where_a_sweep_began_and_not_wherever_a_rule_has_a_one():
    def doubled(x):
        return x * 2.0

    with test_footguns.restored():
        rule = tg.custom_rule(vjp=lambda xp, g, out, x: g * (xp.exp(tg.Tensor([1.0])) + 1.0))
        found = drawn(tg.trace(tg.grad(lambda z: tg.sum(rule(doubled)(z))), np.ones(2)))
    kinds = [(card.kind, card.badge) for card in found.cards if card.kind in ("seed", "constant")]
    assert kinds == [("seed", "1"), ("constant", "const")]
    assert [card.badge for card in found.cards if "exp" in card.badge] == ["exp"]


@pytest.mark.parametrize("value", [2.0, 1e-3])
def test_every_sweep_of_a_result_of_one_element_has_its_start(value):
    x = tg.Tensor([value], requires_grad=True, name="x")
    (x**3).backward(create_graph=True)
    slope = tg.grad(lambda z: z**3)(x)
    assert [c.kind for c in drawn(x.grad).cards].count("seed") == 1
    assert [c.kind for c in drawn(slope).cards].count("seed") == 1
    twice = drawn(slope * slope, backward="ops")
    assert [c.level for c in twice.cards if c.kind == "seed"] == [1, 1]


# what the arrows of a gradient say ----------------------------------------------------------------


def norm_of_a_trace(x):
    return (tg.batch_norm(x) ** 2 * x.shape[0]).sum()


def dead_path(x, w):
    with tg.scope("s"):
        m = tg.stop_gradient(tg.exp(x) * 1)
        y = w * m
    return (y * x).sum()


def flat_last(x):
    with tg.scope("s"):
        y = tg.exp(x)
        m = y > 2
    return tg.sum(tg.where(m, y, 0.0) * x)


def one_sided(x):
    half = tg.custom_rule(vjp=[lambda xp, g, out, a, b: g, lambda xp, g, out, a, b: None])(
        one_and_b
    )
    return tg.sum(half(x, x) * x)


def one_and_b(a, b):
    return a + b - b


def penalty(x):
    slope = tg.grad(lambda z: tg.sum(tg.softmax(z) * z))(x)
    return tg.sum(slope * slope)


ARROWS = [norm_of_a_trace, dead_path, flat_last, one_sided, penalty]


@pytest.mark.parametrize("function", ARROWS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("traced", [False, True], ids=["run", "traced"])
@pytest.mark.parametrize("depth", [None, 0, 1])
def test_every_gradient_comes_along_the_arrows_of_the_rules_that_gave_it(function, traced, depth):
    count = function.__code__.co_argcount
    arguments = [
        tg.Tensor(np.linspace(0.5, 2.0, 6).reshape(3, 2) + i, requires_grad=True)
        for i in range(count)
    ]
    with test_footguns.restored():
        loss = tg.trace(function, *arguments) if traced else function(*arguments)
        arrows_are_those_of_the_rules(loss, depth)


def arrows_are_those_of_the_rules(obj, depth):
    """Compare what is drawn with the rules that were applied, one by one."""
    subject = subject_of(obj, "rules")
    found = diagram(subject, depth=depth)
    images = {image: card for card, image in found.beside}
    place = {t: n for n, ts in enumerate(found.tensors) if n not in images for t in ts}
    wanted = Counter(
        (place[s.node], place[p.operand])
        for s in applications(subject.results[0])
        for p in s.parts
        if p.operand in place and place[s.node] != place[p.operand]
    )
    arrows = Counter(
        (images[e.source], images[e.target])
        for e in found.edges
        if not e.saved and e.source in images
    )
    assert arrows.keys() == wanted.keys()
    if depth is None:
        assert arrows == wanted
        sums = Counter(target for _, target in wanted.elements())
        for image, card in images.items():
            several = f"sum of {sums[card]}" if sums[card] > 1 else ""
            assert found.cards[image].note == several


def test_what_a_gradient_was_computed_from_has_a_gradient_in_its_turn():
    x = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="x")
    loss = penalty(x)
    noted = drawn(loss, backward="annotate").cards
    recorded = [card for card in noted if card.level == 1 and card.kind == "op"]
    assert recorded
    assert all(card.gradient is not None for card in recorded)
    found = drawn(loss, backward="rules")
    images = [found.cards[image] for _, image in found.beside]
    assert {card.level for card in images} == {1, 2}
    assert [card.kind for card in images if card.badge == "1"] == ["seed"]
    meant = [entry.meaning for entry in legend(found)]
    assert meant.count("gradient") == 1
    assert colours(images[3]) == colours(images[-1])


@settings(max_examples=80, derandomize=True, database=None)
@given(strategies.programs(length=(2, 10)))
def test_random_programs_are_drawn_in_every_way_and_their_arrows_are_true(program):
    values = map(np.asarray, program.inputs.values())
    inputs = [tg.Tensor(v, requires_grad=v.dtype.kind == "f") for v in values]
    with np.errstate(all="ignore"):
        results = []
        for name in ("first", "second"):
            with tg.scope(name):
                results += [r for r in flatten(program(*inputs))[0] if r.dtype.kind == "f"]
        loss = sum((tg.sum(r) for r in results), start=tg.sum(inputs[0] * 2.0))
        if not loss.requires_grad:
            return
        for depth in (None, 0):
            arrows_are_those_of_the_rules(loss, depth)
            for backward in ("none", "annotate", "rules", "ops"):
                assert viz.graph(loss, backward=backward, depth=depth, legend=True).source
        found = subject_of(loss, "rules").gradients
        exact = subject_of(loss, "annotate").gradients
    assert found.keys() == exact.keys()
    for tensor, gradient in exact.items():
        np.testing.assert_array_equal(found[tensor].data, gradient.data)


def test_the_dashed_arrows_come_from_the_values_that_each_rule_reads():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    y = tg.Tensor([3.0, 4.0], requires_grad=True, name="y")
    root = tg.sqrt(x)
    product = root * y
    total = product + x
    found = drawn(tg.sum(total), backward="rules")
    named = [c.name for c in found.cards]
    saved = {(named[e.source], named[e.target]) for e in found.edges if e.saved}
    assert saved == {("root", "∂root"), ("root", "∂product"), ("y", "∂product")}


def test_a_value_is_the_one_that_was_used_also_after_it_was_assigned():
    w = Variable([3.0], requires_grad=True, name="w")
    loss = tg.sum(w * w)
    w.assign([100.0])
    annotated = drawn(loss, backward="annotate", values=True).cards[0]
    assert (annotated.value.text, annotated.gradient.text) == ("3", "6")
    ruled = {c.name: c.value.text for c in drawn(loss, backward="rules", values=True).cards}
    assert (ruled["w"], ruled["∂w"]) == ("3", "6")


# what names say -----------------------------------------------------------------------------------


def test_a_variable_names_the_one_tensor_that_it_holds():
    x = tg.Tensor(np.ones((3, 2)), requires_grad=True)
    q, k, v = x * 1
    a, b = map(tg.exp, (q, k))
    first, *rest = x
    ys = [*map(tg.sin, (a, b))]
    zs = list(map(tg.cos, ys))
    if (walrus := tg.tanh(v)) is None:
        return
    conditional = zs[0] if walrus is None else tg.abs(zs[1])
    total = tg.sum(first) + sum([conditional.sum(), rest[0].sum(), zs[0].sum(), walrus.sum()])
    subject = dataclasses.replace(subject_of(total, "none"), variables={})
    found = {c.name for c in diagram(subject).cards if c.name}
    assert found == {"walrus", "conditional", "total"}
    found = {c.name for c in diagram(subject_of(total, "none")).cards if c.name}
    known = {"x", "q", "k", "v", "a", "b", "first", "walrus", "conditional", "total"}
    assert found == known


PAIR = tg.moments(tg.Tensor([1.0, 2.0], requires_grad=True, name="z"))


def test_a_variable_that_holds_several_tensors_names_none_of_them():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    pair = tg.value_and_grad(tg.logsumexp)(x)
    kept = tg.checkpoint(lambda v: {"doubled": v * 2.0})(x)
    parts = tg.moments(x)
    single = tg.logsumexp(x)
    for result in (pair[0], parts[0], parts[1], PAIR[0]):
        assert names(result)[-1] == "squeeze axis 0"
    assert names(single)[-1] == "single"
    assert names(kept["doubled"])[-1] == "checkpoint"


def test_the_variable_of_a_trace_names_no_tensor():
    kept = tg.trace(tg.softmax, np.ones(3))
    assert "kept" not in [c.name for c in diagram(subject_of(kept, "none")).cards]


def test_names_are_found_behind_many_others():
    names = "".join(f"v{i} = 0\n" for i in range(300))
    space = {"tg": tg}
    exec(f"x = tg.Tensor([1.0], requires_grad=True)\n{names}late = x * 2\nlater = late * 2", space)  # noqa: S102
    later = space["later"]
    assert [c.name for c in drawn(later).cards] == ["", "late", "later"]


def test_drawing_keeps_nothing_alive():
    gc.disable()
    try:
        loss = normalised_loss()
        dead = weakref.ref(loss)
        viz.graph(loss, backward="rules")
        loss = None
        assert dead() is None
    finally:
        gc.enable()


# names ----------------------------------------------------------------------------------------

HOSTILE = [
    "<b>&amp;</b>", "</TD></TR></TABLE>>", 'say "hi" \\N \\G \\', "a\nb\x00\x1b[31m\r", "",
    "   ", "x" * 10_000, "\ud800", "\u202eabc\ufffe", "日本語 🎉 ∇⊙", "]]><!--", "n0 -> n1; }",
    "%s {0}", "' onload='alert(1)",
]  # fmt: skip


def hostile(name):
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name=name)
    with tg.scope(name):
        y = tg.exp(x)
    y.name = name
    return tg.sum(y * x)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_render_as_text(name, tmp_path):
    result = hostile(name)
    for depth in (None, 0):
        svg = viz.render(result, tmp_path / "a.svg", backward="ops", depth=depth).read_bytes()
        texts = "".join(t.text or "" for t in ET.fromstring(svg).iter(f"{SVG}text"))  # noqa: S314  (ours)
        assert clean(name).replace(" ", "") in "".join(texts.split())
        assert viz.render(result, tmp_path / "a.txt", depth=depth).read_text(encoding="utf-8")
        tags = {element.tag.removeprefix(SVG) for element in ET.fromstring(svg).iter()}  # noqa: S314  (ours)
        assert tags <= {"svg", "g", "title", "polygon", "path", "text", "polyline", "a"}


def test_a_name_that_is_no_string_is_refused_or_written():
    with pytest.raises(DTypeError) as caught, tg.scope(3):
        pass
    assert caught.value.what == "scope(3): a name is a string, not a int."
    assert names(tg.Tensor([1.0], name=5)) == ["5"]


def test_a_long_name_is_cut():
    assert clean("x" * 100) == "x" * 31 + "…"
    assert number(-1.5) == "−1.5"


# formats ---------------------------------------------------------------------------------------


def test_a_digraph_renders_too_and_folders_are_made(tmp_path):
    dot = viz.graph(normalised())
    assert isinstance(dot, graphviz.Digraph)
    path = viz.render(dot, tmp_path / "new" / "a.gv")
    assert path.read_text(encoding="utf-8") == dot.source
    with pytest.raises(DTypeError, match=r"render of a Digraph with the suffix \.txt"):
        viz.render(dot, tmp_path / "a.txt")
    with pytest.raises(DTypeError, match="render of a Digraph with depth=0, values=True"):
        viz.render(dot, tmp_path / "a.svg", depth=0, values=True)


# sizes ------------------------------------------------------------------------------------------


def deep_chain(levels):
    y = tg.Tensor(1.0, requires_grad=True, name="x")
    with contextlib.ExitStack() as stack:
        for i in range(levels):
            stack.enter_context(tg.scope(f"s{i}"))
            y = (y + 1) * 2
    return y


def chain(length):
    x = y = tg.Tensor(1.0, requires_grad=True, name="x")
    for _ in range(length):
        y = y + 1
    return x, y


def test_a_hundred_thousand_nodes_are_listed_and_collapsed(tmp_path):
    with tg.scope("chain"):
        _, y = chain(100_000)
    text = viz.render(y, tmp_path / "a.txt", values=False, backward="none").read_text(
        encoding="utf-8"
    )
    assert text.count("\n") == 100_002
    assert text.splitlines()[:3] == [
        "n0 x: parameter  scalar float64",
        "chain:",
        "  n1 y = add(n0, 1)  scalar float64",
    ]
    assert text.endswith("n100000 y = add(n99999, 1)  scalar float64  -> result\n")
    assert "100000 ops" in viz.graph(y, depth=0).source


def test_too_many_nodes_name_the_depth_that_would_do():
    with tg.scope("outer"), tg.scope("inner"):
        x, y = chain(500)
    with pytest.raises(viz.RenderError) as caught:
        viz.graph(y)
    assert caught.value.what == "The graph has 501 nodes; at most 400 are drawn."
    assert caught.value.fix == ('Pass depth=1, which draws 2, or list all with the suffix ".txt".')
    assert len(viz.graph(y, max_nodes=501).source) > 10_000
    _, flat = chain(500)
    with pytest.raises(viz.RenderError) as caught:
        viz.graph(flat, depth=0)
    assert caught.value.what == "The graph has 501 nodes at depth=0; at most 400 are drawn."
    assert caught.value.fix == (
        'Open scopes (with tinygrad_bn.scope("name"):) around larger parts, since depth=0 draws '
        '501, or list all with the suffix ".txt".'
    )
    with pytest.raises(viz.RenderError) as caught:
        viz.graph(flat)
    assert caught.value.fix == (
        'Open scopes (with tinygrad_bn.scope("name"):) and pass depth=0, or list all with the '
        'suffix ".txt".'
    )
    with pytest.raises(viz.RenderError) as caught:
        viz.graph(tg.softmax(flat[None]), max_nodes=300)
    assert caught.value.what == "The graph has 507 nodes; at most 300 are drawn."
    assert "since depth=0 draws 503, or" in caught.value.fix
    assert x.grad is None


def test_the_depth_that_would_do_is_found_without_trying_them_all(monkeypatch):
    reads = []
    monkeypatch.setattr(drawing, "diagram", lambda *a, **k: reads.append(k) or diagram(*a, **k))
    y = deep_chain(300)
    with pytest.raises(viz.RenderError, match=r"Pass depth=\d+, which draws \d+"):
        viz.graph(y)
    assert len(reads) < 12


# bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "what"),
    [
        (lambda p: viz.graph([1, "a"]), DTypeError, "graph of a list without tensors."),
        (lambda p: viz.graph(normalised(), depth=-1), ShapeError, "graph with depth=-1."),
        (lambda p: viz.graph(normalised(), depth="1"), DTypeError, "graph with depth='1'."),
        (lambda p: viz.graph(normalised(), depth=1.5), DTypeError, "graph with depth=1.5."),
        (lambda p: viz.graph(normalised(), depth=True), DTypeError, "graph with depth=True."),
        (lambda p: viz.graph(normalised(), max_nodes=0), ShapeError, "graph with max_nodes=0."),
        (
            lambda p: viz.graph(normalised(), max_nodes="9"),
            DTypeError,
            "graph with max_nodes='9'.",
        ),
        (
            lambda p: viz.graph(normalised(), collapse="softmax"),
            DTypeError,
            "graph with collapse='softmax', which is no function of a scope.",
        ),
        (
            lambda p: viz.graph(normalised(), backward=True),
            ShapeError,
            "graph with backward=True.",
        ),
        (
            lambda p: viz.graph(normalised(), backward="ops"),
            GradientError,
            "graph with backward='ops' of 1 result: (8, 4).",
        ),
        (
            lambda p: viz.graph(tg.Tensor(1.0), backward="ops"),
            GradientError,
            "graph with backward='ops' of 1 result: () (no gradient required).",
        ),
        (
            lambda p: viz.render(normalised(), p / "a.jpeg"),
            viz.RenderError,
            "render to 'a.jpeg': the suffix '.jpeg' names no format.",
        ),
        (
            lambda p: viz.render(normalised(), p / "a"),
            viz.RenderError,
            "render to 'a': the suffix '' names no format.",
        ),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(call, error, what, tmp_path):
    with pytest.raises(error) as caught:
        call(tmp_path)
    assert caught.value.what == what
    assert caught.value.fix
    assert not list(tmp_path.iterdir())
