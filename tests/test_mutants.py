"""The gallery of wrong rules, functions and engines: each shows, is caught, and leaves no trace."""

import threading

import numpy as np
import pytest

import tinygrad_bn as tg
from tinygrad_bn import errors
from tinygrad_bn.graph import sweep as sweeping
from tinygrad_bn.graph.namespaces import arrays, tensors
from tinygrad_bn.graph.primitive import table
from tinygrad_bn.testing import check_gradients, engines, mutants as mutation, rows
from tinygrad_bn.testing.mutants import ENGINES, FUNCTIONS, GALLERY, exposed, installed, mutants

EXHIBITS = [pytest.param(exhibit, id=name) for name, exhibit in GALLERY.items()]
ENGINE = {engine.name: engine for engine in ENGINES}


def check(exhibit):
    return check_gradients(exhibit.function, *exhibit.arguments, order=exhibit.order, directions=3)


def first_gradient(exhibit):
    y, pull = tg.vjp(exhibit.function, *exhibit.arguments)
    return [g.data for g in pull(np.cos(np.arange(y.size)).reshape(y.shape))]


def same_bits(xs, ys):
    return all(map(rows._identical, xs, ys))


def rule(row, name, operand=0):
    return next(m for m in mutants(row) if (m.name, m.operand) == (name, operand))


# the gallery --------------------------------------------------------------------------------------


@pytest.mark.parametrize("exhibit", EXHIBITS)
def test_exhibit_is_right_until_it_is_installed_and_caught_then(exhibit):
    assert check(exhibit).ok
    with installed(exhibit.mutant):
        report = check(exhibit)
    assert not report.ok
    assert "mismatch" in {verdict.kind for verdict in report.verdicts}


@pytest.mark.parametrize("exhibit", EXHIBITS)
def test_exhibit_changes_derivatives_at_its_order_and_not_below(exhibit):
    def shows(order):
        return exposed(exhibit.mutant, exhibit.function, *exhibit.arguments, order=order)

    assert shows(exhibit.order)
    assert exhibit.order == 1 or not shows(exhibit.order - 1)


@pytest.mark.parametrize("exhibit", EXHIBITS)
def test_exhibit_keeps_values_and_leaves_no_trace(exhibit):
    value, before = exhibit.function(*exhibit.arguments).data, first_gradient(exhibit)
    with installed(exhibit.mutant):
        inside = exhibit.function(*exhibit.arguments).data
        first_gradient(exhibit)
    assert rows._identical(inside, value)
    assert same_bits(first_gradient(exhibit), before)


@pytest.mark.parametrize("exhibit", [p for p in EXHIBITS if p.values[0].mutant.kind == "rule"])
def test_culprit_is_the_row_with_the_wrong_rule(exhibit):
    with installed(exhibit.mutant):
        assert f"{exhibit.mutant.op.name}(" in check(exhibit).culprit


@pytest.mark.parametrize("exhibit", EXHIBITS)
def test_exhibit_says_in_sentences_why_it_is_wrong(exhibit):
    mutant = exhibit.mutant
    assert mutant.kind in ("rule", "function", "engine")
    assert mutant.why.endswith(".")
    assert mutant.why == " ".join(mutant.why.split())
    assert mutant.name in str(mutant)


def test_gallery_has_a_rule_of_every_sort_and_every_function_and_engine():
    names = {exhibit.mutant.name for exhibit in GALLERY.values()}
    sorts = {m.name for row in ("matmul", "getitem", "tanh") for m in mutants(row)}
    assert names == {*sorts, *(f.name for f in FUNCTIONS if f.order), *ENGINE}
    assert list(GALLERY) == [exhibit.mutant.name for exhibit in GALLERY.values()]


# equivalents --------------------------------------------------------------------------------------


def test_equivalent_function_is_neither_exposed_nor_called_wrong():
    (shift,) = (f for f in FUNCTIONS if f.order == 0)
    z = np.array([[1.0, 0.5, -0.5], [0.25, 2.0, 1.0]])
    assert not exposed(shift, shift, z, order=2)
    with installed(shift):
        assert check_gradients(shift, z, order=2).ok


@pytest.mark.parametrize("name", ["detached mean", "detached mean of a variance"])
def test_detached_mean_passes_at_order_one(name):
    exhibit = GALLERY[name]
    with installed(exhibit.mutant):
        assert check_gradients(exhibit.function, *exhibit.arguments, order=1).ok


def test_mutant_of_a_row_that_a_function_does_not_use_is_not_exposed():
    assert not exposed(rule("exp", "negated"), tg.sin, 1.0, order=2)
    assert exposed(rule("exp", "negated"), lambda t: {"y": tg.exp(t["x"])}, {"x": 1.0})


def test_wrong_rule_that_raises_is_exposed():
    swapped = rule("matmul", "swapped")
    assert exposed(swapped, lambda x: x @ np.ones((3, 4)), np.ones((2, 3)))


def test_exposed_refuses_orders_below_one():
    with pytest.raises(errors.ShapeError, match=r"exposed with order=0\."):
        exposed(rule("exp", "zero"), tg.exp, 1.0, order=0)


# installing ---------------------------------------------------------------------------------------


def test_second_mutant_is_refused_and_the_first_stays():
    with installed(rule("exp", "negated")):
        for other in (rule("exp", "negated"), ENGINE["leftovers"]):
            with pytest.raises(errors.TinygradError, match="is to be installed while another"):
                installed(other).__enter__()
        assert tg.grad(tg.exp)(0.0).item() == -1.0
    assert tg.grad(tg.exp)(0.0).item() == 1.0


def fail_inside(mutant, places, before):
    with installed(mutant):
        assert not any(map(is_same, places, before))
        raise ZeroDivisionError


def is_same(place, value):
    return getattr(*place) is value


@pytest.mark.parametrize("exhibit", EXHIBITS)
def test_exception_in_the_block_puts_everything_back(exhibit):
    places = [place for *place, _ in exhibit.mutant.replacements()]
    before = [getattr(*place) for place in places]
    with pytest.raises(ZeroDivisionError):
        fail_inside(exhibit.mutant, places, before)
    assert all(map(is_same, places, before))
    with installed(exhibit.mutant):
        assert not any(map(is_same, places, before))


def test_mutant_is_seen_by_graphs_of_before_and_by_other_threads():
    x = tg.Tensor(0.0, requires_grad=True)
    y, found = tg.exp(x), []
    with installed(rule("exp", "negated")):
        y.backward()
        thread = threading.Thread(target=lambda: found.append(tg.grad(tg.exp)(0.0).item()))
        thread.start()
        thread.join()
    assert (x.grad.item(), found) == (-1.0, [-1.0])


def test_row_that_is_gone_cannot_be_installed_and_holds_nothing_up():
    @tg.custom_rule(vjp=lambda xp, g, out, x: g)
    def passing_row(x):
        """The operand."""
        return tg.positive(x)

    wrong = rule("passing_row", "negated")
    for place in (table, vars(arrays), vars(tensors)):
        del place["passing_row"]
    with pytest.raises(errors.TinygradError, match="'passing_row, operand 0 negated' is of a row"):
        installed(wrong).__enter__()
    with installed(rule("exp", "negated")):
        pass


# wrong rules --------------------------------------------------------------------------------------


def pulled(mutant, *operands, g, **params):
    """What a wrong rule gives on arrays."""
    op = mutant.op
    return op.rules[mutant.operand](
        arrays, g, op.kernel(*operands, **params), *operands, **params
    ).tolist()


def test_wrong_rules_do_what_they_are_called_after():
    x, g = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.ones((2, 3))
    g[0, 0] = 10.0
    assert pulled(rule("square", "negated"), x, g=g) == [[-20.0, -4.0, -6.0], [-8.0, -10.0, -12.0]]
    assert pulled(rule("square", "zero"), x, g=g) == [[0.0] * 3] * 2
    assert pulled(rule("square", "transposed"), x, g=g) == [[20.0, 8.0, 4.0], [10.0, 6.0, 12.0]]
    assert pulled(rule("square", "transposed"), x[:1], g=g[:1]) == [[6.0, 4.0, 20.0]]
    assert pulled(rule("square", "rolled"), x, g=g) == [[12.0, 20.0, 4.0], [6.0, 8.0, 10.0]]
    assert pulled(rule("square", "stale"), x, g=g) == [[120.0, 2.0, 4.0], [6.0, 8.0, 10.0]]
    assert pulled(rule("square", "without cotangent"), x, g=g) == (2 * x).tolist()
    assert pulled(rule("subtract", "swapped"), x, x, g=g) == (-g).tolist()
    assert pulled(rule("add", "unsummed", 1), x, x[:1], g=g) == [[10.0, 1.0, 1.0]]


def test_scaled_and_one_element_are_off_by_what_is_asked_for():
    x = np.array([1.0, 2.0, 3.0])
    for wrong in mutants("square", relative=2.0**-20, element=2.0**-30):
        if wrong.name == "scaled":
            assert pulled(wrong, x, g=np.ones(3)) == (2 * x * (1 + 2.0**-20)).tolist()
        if wrong.name == "one element":
            assert pulled(wrong, x, g=np.ones(3)) == [2.0, 4.0, 6.0 * (1 + 2.0**-30)]


def test_of_a_repeated_index_one_occurrence_counts():
    for wrong in (rule("getitem", "one occurrence"), ENGINE["assigned scatter"]):
        with installed(wrong):
            g = tg.grad(lambda x: (x[[0, 0, 1]] * np.array([10.0, 20.0, 30.0])).sum())(np.ones(3))
        assert g.tolist() == [20.0, 30.0, 0.0]


@pytest.mark.parametrize("row", ["take", "take_along_axis"])
def test_rows_that_scatter_have_a_mutant_that_assigns(row):
    indices = np.array([1, 1, 2])
    with installed(rule(row, "one occurrence")):
        g = tg.grad(lambda x: getattr(tg, row)(x, indices, axis=0).sum())(np.ones(3))
    assert g.tolist() == [0.0, 1.0, 1.0]


def test_sum_of_everything_hides_what_a_random_cotangent_shows():
    x = np.array([0.5, 1.0, 2.0])
    for wrong in (rule("exp", "without cotangent"), rule("flip", "rolled")):
        row = getattr(tg, wrong.op.name)
        right = tg.grad(lambda x, row=row: row(x).sum())(x)
        with installed(wrong):
            assert tg.grad(lambda x, row=row: row(x).sum())(x).tolist() == right.tolist()
            assert not check_gradients(row, x, order=1).ok


@pytest.mark.parametrize(("relative", "element"), [(1e-6, 1e-6), (1e-8, 1e-7)])
def test_faint_errors_are_caught_in_every_row(relative, element):
    for op in list(table.values()):
        drawn = rows.samples(op)
        for wrong in mutants(op, relative, element) if op.differentiable else ():
            faint = wrong.name in ("scaled", "one element")
            if faint and not mutation.equivalent(wrong, drawn):
                assert mutation.caught(wrong, drawn), wrong


def test_right_rule_is_equivalent_and_not_caught():
    op = table["multiply"]
    right = mutation.RuleMutant(name="control", why="It is right.", op=op, operand=0)
    drawn = rows.samples(op)
    assert mutation.equivalent(right, drawn)
    assert not mutation.caught(right, drawn)
    late = [c for c in drawn if not mutation.equivalent(rule("multiply", "unsummed"), [c])]
    assert 0 < len(late) < len(drawn)
    assert mutation.caught(rule("multiply", "unsummed"), drawn)
    assert not mutation.caught(rule("multiply", "unsummed"), [c for c in drawn if c not in late])


def test_all_mutants_have_names_of_their_own():
    every = list(mutation.all_mutants())
    assert len({str(m) for m in every}) == len(every)
    assert {m.op.name for m in every if m.kind == "rule"} == {
        name for name, op in table.items() if op.differentiable
    }


# wrong functions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_wrong_function_has_the_very_values_of_the_right_one(function):
    x = GALLERY.get(function.name, GALLERY["softmax without the sum"]).arguments[0]
    for dtype in (np.float32, np.float64):
        right, wrong = function.right(x.astype(dtype)), function.wrong(x.astype(dtype))
        assert rows._identical(right.data, wrong.data)


# wrong engines ------------------------------------------------------------------------------------


def short_way(x, w):
    """Reuse, broadcasting and a checkpoint."""
    h = tg.tanh(x @ w + x[0])
    return h * tg.checkpoint(lambda h: tg.softmax(h) * h)(h)


def long_way(x, w):
    """Indexing and two dtypes as well."""
    h = short_way(x, w)
    narrow = tg.astype(h, np.float32)
    return (h[[0, 0, 1]] + tg.batch_norm(h)[:1] * narrow.sum()) / (1.0 + x.sum() ** 2)


def derivatives(x, w):
    """Gradients by both walks, to second order, with and without what a sweep may be told."""
    y, pull = tg.vjp(long_way, x, w)
    v = np.cos(np.arange(y.size)).reshape(y.shape)
    found = [*pull(v), tg.jvp(long_way, (x, w), (np.ones_like(x), np.ones_like(w)))[1]]
    found += tg.hvp(lambda *a: (long_way(*a) * v).sum(), (x, w), (np.sin(x), np.cos(w)))
    leaf = tg.Tensor(x, requires_grad=True)
    inner = tg.sin(leaf).retain_grad()
    (long_way(inner, w) * v).sum().backward()
    return [g.data for g in (*found, leaf.grad, inner.grad)]


def test_walk_without_a_bug_gives_the_bits_of_the_engine():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, 4)), rng.normal(size=(4, 4))
    right = derivatives(x, w)
    control = mutation.WrongEngine(name="control", why="It is right.", walk=engines.Walk)
    with installed(control):
        assert sweeping._compute.func.__module__ == engines.__name__
        found = derivatives(x, w)
    assert same_bits(found, right)


def test_walk_without_a_bug_refuses_stale_graphs_too():
    p = tg.nn.Parameter(np.array(2.0))
    y = p * p
    p.assign(3.0)
    control = mutation.WrongEngine(name="control", why="It is right.", walk=engines.Walk)
    with installed(control), pytest.raises(errors.GradientError, match="was assigned after"):
        y.backward(create_graph=True)


def slope(name, f, x):
    with installed(ENGINE[name]):
        return tg.grad(f)(x).item()


def twice_doubled(a):
    b = a + a
    return b + b


def test_recursion_counts_a_node_once_for_each_path_to_it():
    assert tg.grad(twice_doubled)(1.0).item() == 4.0
    assert slope("recursion without order", twice_doubled, 1.0) == 8.0


def test_breadth_first_loses_what_comes_by_a_longer_path():
    def f(x):
        h = 2.0 * x
        return h + (h * 5.0)

    assert tg.grad(f)(1.0).item() == 12.0
    assert slope("breadth first", f, 1.0) == 2.0


def test_order_of_recording_reaches_the_last_operands_alone():
    assert slope("order not reversed", lambda x: tg.sin(x) * x, 0.5) == np.sin(0.5)
    assert slope("order not reversed", lambda x: tg.exp(tg.sin(x)), 0.5) == 0.0


def test_assigned_cotangents_keep_one_use():
    assert slope("= for +=", lambda x: x * x, 3.0) == 3.0


def test_shared_arrays_change_the_gradient_of_another():
    def f(x, y):
        tenfold = 10.0 * x
        return tenfold + (x + y)

    assert [g.item() for g in tg.grad(f, (0, 1))(1.0, 1.0)] == [11.0, 1.0]
    with installed(ENGINE["shared arrays"]):
        assert [g.item() for g in tg.grad(f, (0, 1))(1.0, 1.0)] == [11.0, 11.0]


def test_leftovers_triple_the_second_sweep():
    def f(x):
        h = 2.0 * x
        return h * h

    with installed(ENGINE["leftovers"]):
        pull = tg.vjp(f, 3.0)[1]
        assert [pull(1.0)[0].item() for _ in range(2)] == [24.0, 3 * 24.0]
    assert [pull(1.0)[0].item() for _ in range(2)] == [24.0, 24.0]


def test_leftovers_are_forgotten_with_the_block():
    pull = tg.vjp(lambda x: (2.0 * x) ** 2, 3.0)[1]
    for _ in range(2):
        with installed(ENGINE["leftovers"]):
            assert pull(1.0)[0].item() == 24.0


def test_unsummed_gradients_have_the_right_shape():
    x, b = np.arange(6.0).reshape(2, 3), np.zeros((1, 3))
    with installed(ENGINE["no unbroadcasting"]):
        g = tg.grad(lambda b: ((x + b) ** 2).sum())(b)
    assert g.tolist() == [[0.0, 2.0, 4.0]]


def test_late_binding_gives_all_layers_the_last_operands():
    with installed(ENGINE["late binding"]):
        first, last = tg.grad(lambda v, w: w * (v * 3.0), (0, 1))(5.0, 7.0)
    assert (first.item(), last.item()) == (15.0 * 7.0, 15.0)


def test_operation_in_place_reads_its_result_for_its_operand():
    assert slope("in place", tg.sin, 0.5) == np.cos(np.sin(0.5))
    assert slope("in place", tg.exp, 0.5) == np.exp(0.5)


def test_narrow_engine_gives_float32():
    with installed(ENGINE["float32 throughout"]):
        g = tg.grad(tg.sin)(0.5)
    assert (g.dtype, g.item()) == (np.float32, float(np.float32(np.cos(0.5))))


@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_wrong_engine_ends_and_keeps_shapes_on_a_longer_program(engine):
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(3, 4)), rng.normal(size=(4, 4))
    with installed(engine):
        found = tg.vjp(long_way, x, w)[1](np.ones((3, 4)))
        recorded = tg.grad(lambda x: (tg.grad(lambda x: short_way(x, w).sum())(x) ** 2).sum())(x)
    assert [g.shape for g in found] == [(3, 4), (4, 4)]
    assert recorded.shape == (3, 4)
