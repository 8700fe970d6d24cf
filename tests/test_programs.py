"""Random programs: data that runs, prints, differentiates and shrinks."""

import collections
import random
import time
from dataclasses import replace

import numpy as np
import pytest
import test_footguns
from hypothesis import find, given, settings

import tinygrad_bn as tg
from tinygrad_bn.errors import ShapeError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.primitive import table
from tinygrad_bn.testing import check_gradients, strategies
from tinygrad_bn.testing.generators.calls import draw_call, margin_of
from tinygrad_bn.testing.generators.choices import Seeded
from tinygrad_bn.testing.generators.programs import Instruction, Program, draw_program, shrink
from tinygrad_bn.testing.generators.python_text import array_text, call_text
from tinygrad_bn.testing.generators.values import KINDS
from tinygrad_bn.testing.mutants import Changed, RuleMutant, installed, mutants

ROWS = [op for op in table.values() if op.origin.startswith("tinygrad_bn.")]
DIFFERENTIABLE = [op for op in ROWS if op.differentiable]


def programs(count, **keywords):
    """Draw programs of the package's own rows: other tests may have added some."""
    given = {"ops": DIFFERENTIABLE, **keywords}
    return [draw_program(Seeded(np.random.default_rng((i, 11))), **given) for i in range(count)]


def identical(first, second):
    """Whether two results have the same structure, dtypes, shapes and bits."""
    pairs = list(zip(flatten(first)[0], flatten(second)[0], strict=True))
    return type(first) is type(second) and all(
        x.dtype == y.dtype
        and np.array_equal(x.data, y.data, equal_nan=True)
        and np.array_equal(np.signbit(x.data), np.signbit(y.data))
        for x, y in pairs
    )


def executed(program):
    """Execute the text of a program and run its function on its inputs."""
    scope = {}
    exec(str(program), scope)  # noqa: S102  (our own text is what is executed)
    assert list(program.inputs) == [name for name in scope if name.startswith("x")]
    return scope["program"](*(scope[name] for name in program.inputs))


def uses(program):
    return collections.Counter(name for step in program for name in step.references)


def depth(program):
    depths = dict.fromkeys(program.inputs, 0)
    for step in program:
        depths[step.name] = 1 + max((depths[name] for name in step.references), default=0)
    return max(depths.values())


def step(name, op, *operands, **params):
    return Instruction(name, table[op], operands, {**table[op].static, **params})


@pytest.fixture
def small():
    """``sum(x * x + y, axis=0)`` and ``y``'s sine, with something that nobody needs."""
    inputs = {"b": np.array([1.0, 2.0]), "unused": np.zeros(3), "a": np.array([[1.0, 3.0]])}
    steps = [
        step("s", "multiply", "a", "a"),
        step("dead", "exp", "s"),
        step("t", "add", "s", "b"),
        step("u", "sum", "t", axis=0),
        step("w", "sin", "b"),
    ]
    return Program(inputs, steps, ["u", "w"])


@pytest.fixture
def own_rows():
    """Take rows that a test adds out of the table again."""
    with test_footguns.restored():
        yield


# a program is data --------------------------------------------------------------------------------


def test_what_no_result_needs_is_dropped_and_names_are_in_order(small):
    assert list(small.inputs) == ["x1", "x2"]
    assert [s.op.name for s in small] == ["multiply", "add", "sum", "sin"]
    assert [s.name for s in small] == ["v1", "v2", "v3", "v4"]
    assert small.results == ("v3", "v4")
    assert len(small) == 4


def test_a_program_prints_as_python(small):
    assert str(small) == repr(small)
    assert str(small).splitlines() == [
        "import numpy as np",
        "import tinygrad_bn as tg",
        "",
        "x1 = np.array([1.0, 2.0])",
        "x2 = np.array([[1.0, 3.0]])",
        "",
        "def program(x1, x2):",
        "    v1 = tg.multiply(x2, x2)",
        "    v2 = tg.add(v1, x1)",
        "    v3 = tg.sum(v2, axis=0)",
        "    v4 = tg.sin(x1)",
        "    return v3, v4",
    ]


def test_a_program_runs_on_its_own_inputs_and_on_others(small):
    total, sine = small()
    assert total.tolist() == [2.0, 11.0]
    assert np.array_equal(sine.data, np.sin([1.0, 2.0]))
    other, _ = small(np.zeros(2), np.ones((3, 2)))
    assert other.tolist() == [3.0, 3.0]
    with pytest.raises(ShapeError, match="has 2 inputs; 1 given"):
        small(np.zeros(2))


def test_values_are_those_of_inputs_and_instructions(small):
    values = small.values
    assert list(values) == ["x1", "x2", "v1", "v2", "v3", "v4"]
    assert values["v2"].tolist() == [[2.0, 11.0]]


def test_a_program_is_a_container_for_the_transforms(small):
    slopes = tg.grad(lambda p: tg.sum(p()[0]))(small)
    assert isinstance(slopes, Program)
    assert slopes.inputs["x1"].tolist() == [1.0, 1.0]
    assert slopes.inputs["x2"].tolist() == [[2.0, 6.0]]
    assert flatten(small)[1] == [".x1", ".x2"]
    assert check_gradients(lambda p: p(), small).ok


def test_recorded_instructions_lie_at_the_users_line(small):
    leaves = [tg.Tensor(x, requires_grad=True) for x in small.inputs.values()]
    total, _ = small(*leaves)
    assert total.where.file == __file__


def test_a_program_has_a_trace_that_draws_and_runs(small):
    trace = small.trace()
    assert [n.op.name for n in trace.nodes] == ["multiply", "add", "sum", "sin"]
    assert "def program(x1, x2):" in str(trace)
    assert identical(tuple(map(tg.asarray, trace.run())), small())
    assert "sin" in str(tg.viz.graph(trace))


def test_a_result_may_be_an_input_and_is_returned_once():
    program = Program({"a": np.ones(2)}, [step("s", "exp", "a")], ["a", "s", "a"])
    assert program.results == ("x1", "v1")
    assert program()[0].tolist() == [1.0, 1.0]


def test_names_that_are_not_there_are_errors(small):
    with pytest.raises(ShapeError, match="A program without b"):
        Program({"a": np.ones(2)}, [step("s", "add", "a", "b")], ["s"])
    with pytest.raises(ShapeError, match="A program without results"):
        Program({"a": np.ones(2)}, [], [])
    with pytest.raises(ShapeError, match="A program without nothing"):
        small.returning("nothing")


def test_an_instruction_gives_way_to_another_value_or_an_array(small):
    shorter = small.replaced("v1", "x2")
    assert [s.op.name for s in shorter] == ["add", "sum", "sin"]
    assert shorter()[0].tolist() == [2.0, 5.0]
    cut = small.replaced("v2", np.array([[5.0, 7.0]]))
    assert [s.op.name for s in cut] == ["sum", "sin"]
    assert cut()[0].tolist() == [5.0, 7.0]
    assert small.replaced("v3", "x1").results == ("x1", "v1")


def test_a_condition_that_gives_way_is_a_constant():
    steps = [step("m", "greater", "a", 0.5), step("s", "where", "m", "a", 0.0)]
    program = Program({"a": np.array([0.0, 1.0])}, steps, ["s"])
    cut = program.replaced("v1", program.values["v1"])
    assert list(cut.inputs) == ["x1"]
    assert "tg.where(np.array([False, True]), x1, 0.0)" in str(cut)


# its text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_the_text_of_a_program_gives_the_same_bits(dtype, kind):
    for program in programs(30, dtype=dtype, kind=kind):
        assert identical(executed(program), program()), program


def test_the_text_of_a_program_in_long_double_gives_the_same_bits():
    for program in programs(30, dtype=np.longdouble):
        assert identical(executed(program), program()), program


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_every_row_occurs_in_programs_and_prints(op):
    for program in programs(4, including=[op], length=(1, 3)):
        assert op in [s.op for s in program]
        assert identical(executed(program), program()), program


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_the_text_of_a_call_gives_the_same_bits(op):
    choices = Seeded(np.random.default_rng(3))
    for _ in range(4):
        call = draw_call(choices, op)
        names = [f"x{i}" for i in range(len(call.operands))]
        scope = {"np": np, "tg": tg, **dict(zip(names, call.operands, strict=True))}
        text = call_text(op, names, call.params)
        assert identical(eval(text, scope), call()), text  # noqa: S307  (our own text)


def test_rows_of_ones_own_print_as_they_are_called(own_rows):
    @tg.custom_rule(vjp=lambda xp, g, out, x, power: g * power * xp.pow(x, power - 1))
    def power_of_mine(x, *, power=2):
        return tg.pow(x, power)

    def pair(xs, *, shift):
        return tuple(xs), {"shift": shift}

    @tg.families.movement.called(
        pair,
        vjp=(lambda xp, g, out, x, y, shift: xp.roll(g, shift=-shift), None),
        cases=[(((3,), (3,)), {"shift": 1})],
    )
    def rolled_of_mine(x: tg.Array, y: tg.Array, *, shift: int):
        """Roll the first of two."""
        return np.roll(x, shift)

    program = Program(
        {"a": np.array([1.0, 2.0, 3.0])},
        [step("s", "power_of_mine", "a", power=3), step("t", "rolled_of_mine", "s", "a", shift=1)],
        ["t"],
    )
    assert "v1 = tg.power_of_mine(x1, power=3)" in str(program)
    assert "bind(tg.graph.primitive.table['rolled_of_mine'], (v1, x1), {'shift': 1})" in str(
        program
    )
    assert identical(executed(program), program())
    assert program().tolist() == [27.0, 1.0, 8.0]


@pytest.mark.parametrize(
    "x",
    [
        np.array(0.1),
        np.array([0.1, -0.0, np.inf, np.nan], np.float32),
        np.array([[0.1]], np.float16),
        np.zeros((0, 3), np.float32),
        np.array([1, 2], np.int32),
        np.array([[True], [False]]),
        np.array([1 / np.longdouble(3), 0.5]),
        np.arange(60.0).reshape(3, 4, 5),
    ],
    ids=lambda x: f"{x.dtype}{x.shape}",
)
def test_arrays_print_to_the_last_bit(x):
    again = eval(array_text(x), {"np": np})  # noqa: S307  (our own text)
    assert identical(again, x)


# drawing ------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_program_again():
    assert str(programs(1)[0]) == str(programs(1)[0])
    assert str(programs(2)[0]) != str(programs(2)[1])


def test_programs_have_the_length_asked_for_and_all_lengths_come():
    lengths = collections.Counter(len(p) for p in programs(400))
    assert set(lengths) == set(range(1, 9))
    assert min(lengths.values()) > 400 / 8 / 3
    assert {len(p) for p in programs(60, length=(3, 4))} == {3, 4}


def test_programs_are_deep_and_reuse_values():
    drawn = programs(400, length=(4, 8))
    assert np.mean([depth(p) for p in drawn]) > 3.5
    assert np.mean([max(uses(p).values()) > 1 for p in drawn]) > 0.4
    assert np.mean([len(p.results) for p in drawn]) < 3
    sides = collections.Counter(x.ndim for p in drawn for x in p.values.values())
    assert sides[1] + sides[2] + sides[3] > 0.75 * sides.total()
    assert sides[0]


def test_everything_that_nothing_uses_is_a_result():
    for program in programs(100):
        used = uses(program)
        assert program.results == tuple(s.name for s in program if s.name not in used)
        assert set(program.inputs) <= set(used)


def test_most_rows_occur_and_comparisons_choose():
    drawn = programs(600)
    names = collections.Counter(s.op.name for p in drawn for s in p)
    assert {op.name for op in DIFFERENTIABLE} - set(names) == set()
    assert names["greater"] + names["less"] + names["greater_equal"] + names["less_equal"] > 3


def test_programs_use_the_rows_that_they_are_given():
    drawn = programs(40, ops=["add", "sin", "matmul"], including=["tanh"])
    names = [[s.op.name for s in p] for p in drawn]
    assert {n for program in names for n in program} == {"add", "sin", "matmul", "tanh"}
    assert all("tanh" in program for program in names)
    assert any(program.index("tanh") > 0 for program in names)


def test_rows_of_ones_own_occur_by_themselves(own_rows):
    @tg.custom_rule(vjp=lambda xp, g, out, x: 2 * g, cases=[(((2, 3),), {})])
    def double_of_mine(x):
        return x + x

    drawn = programs(60, ops=None)
    assert any(s.op.name == "double_of_mine" for p in drawn for s in p)


def test_wrong_wishes_are_errors():
    with pytest.raises(ShapeError, match="argmax in a program"):
        programs(1, ops=["argmax"])
    with pytest.raises(ShapeError, match="no primitive 'nothing'"):
        programs(1, including=["nothing"])
    with pytest.raises(ShapeError, match="of 1 to 1 instructions, including 2"):
        programs(1, including=["sin", "cos"], length=(1, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_finite_small_in_number_and_moderate(kind):
    for program in programs(60, kind=kind):
        for x in program.values.values():
            assert np.isfinite(x).all()
            assert 0 < x.size <= 512
            if kind in ("generic", "ties", "constant"):
                assert np.abs(x).max() <= 2.0**20


@pytest.mark.parametrize("margin", [0.01, 0.1])
def test_instructions_keep_the_margin(margin):
    kept = []
    for program in programs(100, margin=margin):
        values = program.values
        for s in program:
            known = [values[x] if isinstance(x, str) else x for x in s.operands]
            kept.append(margin_of(s.op, known, s.params, values[s.name]) >= margin)
            if s.op.name in ("greater", "less", "greater_equal", "less_equal"):
                kept.append(np.abs(known[0] - known[1]).min() >= margin)
    assert np.mean(kept) > 0.99
    assert all(kept) or margin > 0.01


def test_no_value_is_narrower_than_what_it_was_made_of():
    for program in programs(200):
        assert {x.dtype for x in program.values.values()} <= {np.dtype(float), np.dtype(bool)}


@pytest.mark.parametrize("seed", range(25))
def test_the_gradients_of_a_random_program_are_right(seed):
    choices = Seeded(np.random.default_rng((seed, 5)))
    program = draw_program(choices, ops=DIFFERENTIABLE, margin=0.01, length=(1, 6))
    report = check_gradients(lambda p: p(), program, order=1, directions=1)
    assert report.ok, f"{program}\n{report}"


@settings(max_examples=30)
@given(strategies.programs(ops=DIFFERENTIABLE, kind=strategies.kinds(), dtype=strategies.dtypes()))
def test_drawn_programs_run(program):
    assert identical(program(), program())


# shrinking ----------------------------------------------------------------------------------------


def gradients(program):
    """The gradient of every input, for cotangents that are all different."""
    leaves = [tg.Tensor(x, requires_grad=True) for x in program.inputs.values()]
    results = [y for y in flatten(program(*leaves))[0] if y.requires_grad]
    for y in results:
        y.backward(np.cos(np.arange(y.size)).reshape(y.shape))
    return [np.zeros(x.shape) if x.grad is None else x.grad.data for x in leaves]


def forgotten_inverse(xp, g, out, x, axes):
    """Permute back by the permutation itself: right for those that undo themselves."""
    return xp.reshape(xp.permute_dims(g, axes=axes), shape=x.shape)


def named(row, name):
    return next(m for m in mutants(row) if m.name == name)


def mutant_of_permute_dims():
    op = table["permute_dims"]
    wrong = replace(op, rules=Changed(op.rules, 0, forgotten_inverse))
    return RuleMutant(name="not inverted", why="Most undo themselves.", op=wrong, operand=0)


MUTANTS = {
    "permute_dims": mutant_of_permute_dims(),
    "take": named("take", "one occurrence"),
    "matmul": named("matmul", "transposed"),
    "exp": named("exp", "scaled"),
}


def spoils(mutant):
    """Whether a wrong rule changes the gradients of a program."""

    def fails(program):
        right = gradients(program)
        with installed(mutant):
            wrong = gradients(program)
        return not all(map(np.array_equal, right, wrong))

    return fails


@pytest.mark.parametrize("name", MUTANTS)
def test_hypothesis_finds_the_shortest_program_that_shows_a_wrong_rule(name):
    mutant = MUTANTS[name]
    wanted = strategies.programs(ops=DIFFERENTIABLE, including=[name])
    program = find(wanted, spoils(mutant), random=random.Random(0))  # noqa: S311  (a test)
    assert len(program) <= 2
    assert f"tg.{name}(" in str(program)
    assert str(program).startswith("import numpy as np\nimport tinygrad_bn as tg\n\nx1 = np.array(")
    assert check_gradients(lambda p: p(), program, order=1, directions=1).ok
    with installed(mutant):
        assert not check_gradients(lambda p: p(), program, order=1, directions=1).ok


@pytest.mark.parametrize("name", MUTANTS)
def test_a_program_from_a_plain_seed_shrinks_as_well(name):
    fails = spoils(MUTANTS[name])
    long = programs(60, including=[name], length=(5, 8))
    wrong = [p for p in long if fails(p)][:4]
    assert len(wrong) == 4
    for program in wrong:
        small = shrink(program, fails)
        assert fails(small)
        assert [s.op.name for s in small] == [name]
        assert len(small.results) == 1
        assert identical(executed(small), small())


def test_shrinking_gives_back_what_cannot_be_smaller(small):
    text = str(small)
    everything = {s.op.name for s in small}
    kept = shrink(small, lambda p: {s.op.name for s in p} == everything)
    assert str(kept) == text
    assert str(shrink(small, lambda p: False)) == text


def test_shrinking_rounds_what_it_cut_off():
    steps = [step("s", "sin", "a"), step("t", "exp", "s")]
    program = Program({"a": np.array([0.3, -0.01])}, steps, ["t"])
    small = shrink(program, lambda p: "exp" in {s.op.name for s in p} and p.values["v1"].min() > 0)
    assert [s.op.name for s in small] == ["exp"]
    assert str(small.inputs["x1"].tolist()) == "[0.0, 0.0]"


def test_shrinking_does_not_try_values_that_are_not_finite():
    steps = [step("s", "abs", "a"), step("t", "log", "s")]
    program = Program({"a": np.array([-1.0, -2.0])}, steps, ["t"])
    small = shrink(program, lambda p: "log" in {s.op.name for s in p})
    assert all(np.isfinite(x).all() for x in small.values.values())


# costs --------------------------------------------------------------------------------------------


def test_a_seeded_program_costs_a_few_milliseconds():
    def seconds_each():
        begin = time.perf_counter()
        programs(50)
        return (time.perf_counter() - begin) / 50

    assert min(seconds_each() for _ in range(3)) < 5e-3
