"""Random programs: graphs of primitives as data, to test gradients of what is composed.

A program runs, prints as Python, is a container for the transforms, and shrinks to the few
instructions that a fault needs.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import ShapeError
from tinygrad_bn.graph.primitive import Primitive, bind, table
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.state import no_grad
from tinygrad_bn.graph.tensor import Tensor, as_constant
from tinygrad_bn.primitives.families import flat
from tinygrad_bn.testing.generators.calls import (
    domain_of,
    draw_call,
    draw_operand,
    find_row,
    margin_of,
)
from tinygrad_bn.testing.generators.choices import Choices
from tinygrad_bn.testing.generators.plans import Plan, draw_plan
from tinygrad_bn.testing.generators.python_text import call_text, constant_text
from tinygrad_bn.testing.generators.values import DOMAIN, Domain, Kind
from tinygrad_bn.transforms.tracing import trace

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Instruction:
    """One step of a program: a row on operands, of which a ``str`` names an input or a step."""

    name: str
    op: Primitive
    operands: tuple[Any, ...]
    params: dict[str, Any]

    @property
    def references(self) -> list[str]:
        """The names among the operands."""
        return [x for x in self.operands if isinstance(x, str)]

    def renamed(self, names: Mapping[str, Any]) -> Instruction:
        """Return it with names replaced, by other names or by constants."""
        operands = (names.get(x, x) if isinstance(x, str) else x for x in self.operands)
        return replace(self, name=names.get(self.name, self.name), operands=(*operands,))


class Program:
    """Inputs, instructions and results. What no result needs is dropped when it is made.

    ``inputs``: arrays by name; ``instructions``: each of names that are there before it;
    ``results``: the names of what is returned. Inputs become ``x1, x2, ...``, instructions
    ``v1, v2, ...``. Raises ShapeError for a name that is not there, and if there is no result.

    A program is a function: of its own inputs, or of others that are given. It is a container
    for the transforms, with its inputs as leaves.

    >>> square = Instruction("y", table["square"], ("x",), {})
    >>> program = Program({"x": np.array([1.0, -3.0])}, [square], ["y"])
    >>> program()
    Tensor([1., 9.])
    >>> from tinygrad_bn.testing.checking.checker import check_gradients
    >>> check_gradients(lambda p: p(), program).ok
    True
    >>> print(program)
    import numpy as np
    import tinygrad_bn as tg
    <BLANKLINE>
    x1 = np.array([1.0, -3.0])
    <BLANKLINE>
    def program(x1):
        v1 = tg.square(x1)
        return v1
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        instructions: Sequence[Instruction],
        results: Sequence[str],
    ) -> None:
        live = set(results)
        kept: list[Instruction] = []
        for step in reversed(instructions):
            if step.name in live:
                kept.insert(0, step)
                live.update(step.references)
        used = [name for name in inputs if name in live]
        names = {name: f"x{i}" for i, name in enumerate(used, 1)}
        names.update((step.name, f"v{i}") for i, step in enumerate(kept, 1))
        if live - names.keys() or not results:
            raise ShapeError(
                f"A program without {', '.join(sorted(live - names.keys())) or 'results'}.",
                "Name inputs and instructions before they are used, and at least one result.",
            )
        self.inputs: dict[str, Any] = {names[name]: inputs[name] for name in used}
        self.instructions = tuple(step.renamed(names) for step in kept)
        self.results = tuple(dict.fromkeys(names[name] for name in results))

    def __call__(self, *inputs: Any) -> Any:
        """Run it: on its own inputs, or on as many others. Returns a tensor, or a tuple of them."""
        if inputs and len(inputs) != len(self.inputs):
            raise ShapeError(
                f"The program has {len(self.inputs)} inputs; {len(inputs)} given.",
                "Pass one array for each input, or none for its own.",
            )
        values = self._run(dict(zip(self.inputs, inputs, strict=True)) if inputs else self.inputs)
        results = tuple(values[name] for name in self.results)
        return results[0] if len(results) == 1 else results

    def _run(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        values = {name: as_constant(x) for name, x in inputs.items()}
        for step in self:
            operands = (values[x] if isinstance(x, str) else x for x in step.operands)
            values[step.name] = bind(step.op, tuple(operands), step.params)
        return values

    @property
    def values(self) -> dict[str, Array]:
        """The value of every input and instruction, by name."""
        with no_grad(), np.errstate(all="ignore"):
            return {name: x.data for name, x in self._run(self.inputs).items()}

    def map_tensors(self, function: Callable[[str, Any], Any]) -> Self:
        """Return a like program with ``function(name, input)`` in place of each input."""
        like = copy.copy(self)
        like.inputs = {name: function(name, x) for name, x in self.inputs.items()}
        return like

    def trace(self) -> Trace:
        """Record a run: a graph that draws (``viz.graph``) and prints as a NumPy program."""

        def program(*inputs: Tensor) -> Any:
            """Run it on traced inputs."""
            return self(*inputs)

        return trace(program, *self.inputs.values())

    def replaced(self, name: str, by: str | Array | Tensor) -> Program:
        """Return it with another value, or an array, wherever an instruction's result is used.

        ``name``: the instruction. ``by``: a name that is there before it, or an array: a
        floating-point one becomes an input, another one a constant.
        """
        inputs = dict(self.inputs)
        other: Any = by if isinstance(by, str) else np.array(by)
        if isinstance(other, np.ndarray) and other.dtype.kind == "f":
            inputs[f"instead of {name}"], other = other, f"instead of {name}"
        steps = [step.renamed({name: other}) if step.name != name else step for step in self]
        results = [other if r == name and isinstance(other, str) else r for r in self.results]
        return Program(inputs, steps, results)

    def returning(self, *results: str) -> Program:
        """Return it with other results; what those do not need is dropped."""
        return Program(self.inputs, self.instructions, results)

    def __str__(self) -> str:
        """Write it as Python: the inputs, and a function that gives the same bits."""
        lines = ["import numpy as np", "import tinygrad_bn as tg", ""]
        lines += [f"{name} = {constant_text(_plain(x))}" for name, x in self.inputs.items()]
        lines += ["", f"def program({', '.join(self.inputs)}):"]
        for step in self:
            operands = [x if isinstance(x, str) else constant_text(x) for x in step.operands]
            lines.append(f"    {step.name} = {call_text(step.op, operands, step.params)}")
        return "\n".join([*lines, f"    return {', '.join(self.results)}"])

    __repr__ = __str__

    def __len__(self) -> int:
        """Count the instructions."""
        return len(self.instructions)

    def __iter__(self) -> Iterator[Instruction]:
        """Give the instructions in their order."""
        return iter(self.instructions)


def _plain(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else x


# making a program smaller -------------------------------------------------------------------------


def shrink(program: Program, fails: Callable[[Program], bool]) -> Program:
    """Return a smaller program that still fails, from which nothing more can be left out.

    ``fails``: whether a program shows the fault. Results are dropped; an instruction gives way to
    one of its operands, or to a new input that holds its value; at last inputs are rounded.
    Programs with values that are not finite are not tried, unless the given one has some.

    >>> from tinygrad_bn.testing.generators.choices import Seeded
    >>> program = draw_program(Seeded(np.random.default_rng(1)), including=["exp"], length=(6, 8))
    >>> has_exp = lambda p: any(step.op.name == "exp" for step in p)
    >>> len(shrink(program, has_exp))
    1
    """
    wild = not _finite(program)
    while True:
        for smaller in _smaller(program):
            if (wild or _finite(smaller)) and fails(smaller):
                program = smaller
                break
        else:
            break
    for simpler in _rounded(program):
        candidate = simpler(program)
        if (wild or _finite(candidate)) and fails(candidate):
            program = candidate
    return program


def _finite(program: Program) -> bool:
    return all(np.isfinite(x).all() for x in program.values.values())


def _smaller(program: Program) -> Iterator[Program]:
    """Give programs with fewer results or instructions, the largest cuts first."""
    if len(program.results) > 1:
        yield from (program.returning(name) for name in program.results)
    if len(program.results) > 2:
        yield from (program.returning(*_without(program.results, r)) for r in program.results)
    values = program.values
    for step in program:
        if step.name not in program.results or len(program.results) > 1:
            yield program.replaced(step.name, values[step.name])
    for step in reversed(program.instructions):
        floats = [x for x in step.references if values[x].dtype.kind == "f"]
        if step.name in program.results:
            rest = _without(program.results, step.name)
            yield from (program.returning(*rest, x) for x in floats)
        here = values[step.name]
        alike = (x for x in floats if values[x].shape == here.shape)
        yield from (program.replaced(step.name, x) for x in alike if values[x].dtype == here.dtype)


def _without(names: Sequence[str], name: str) -> list[str]:
    return [other for other in names if other != name]


def _rounded(program: Program) -> Iterator[Callable[[Program], Program]]:
    """Give ways to make the inputs simpler: each in ever fewer bits."""
    for name in program.inputs:
        for bits in (8, 4, 0):
            yield functools.partial(_with_rounded, name=name, bits=bits)


def _with_rounded(program: Program, *, name: str, bits: int) -> Program:
    def simpler(other: str, x: Any) -> Any:
        """Round the one input; there are no negative zeros."""
        return x if other != name else np.asarray(np.round(_plain(x) * 2.0**bits) / 2.0**bits + 0)

    return program.map_tensors(simpler)


# drawing a program --------------------------------------------------------------------------------

_WEIGHTS = {"elementwise": 8, "movement": 5, "indexing": 4, "reduction": 3, "contraction": 2}
_LARGEST = 64
_LIMITS = (2.0**60, 2.0**20)
_HALF_LIMITS = (2.0**15, 2.0**12)
_COMPARISONS = ("greater", "less", "greater_equal", "less_equal")


def draw_program(
    choices: Choices,
    *,
    ops: Sequence[Primitive | str] | None = None,
    including: Sequence[Primitive | str] = (),
    length: tuple[int, int] = (1, 8),
    kind: Kind = "generic",
    dtype: npt.DTypeLike = np.float64,
    margin: float = 0.0,
) -> Program:
    """Draw a program: a graph in which values are reused, with everything unused as a result.

    ``ops``: the rows to use, by default all that are differentiable, users' own among them.
    ``including``: rows that have to occur. ``length``: the least and the greatest number of
    instructions. ``kind`` and ``dtype``: of the inputs. ``margin``: the distance that instructions
    keep from their kinks and singularities. One that finds no place gets inputs of its own, and
    keeps the distance as far as ``draw_call`` can. All values are finite, and moderate unless the
    inputs are not; no value is narrower than what it was made of. Where a ``where`` has a
    condition that is computed, the comparison is an instruction, too.

    Raises ShapeError for an unknown row, for one without floating-point results, and where
    ``including`` is longer than ``length`` allows.

    >>> from tinygrad_bn.testing.generators.choices import Seeded
    >>> program = draw_program(Seeded(np.random.default_rng(0)), including=["matmul"])
    >>> "tg.matmul(" in str(program), 1 <= len(program) <= 8
    (True, True)
    """
    least, most = length
    pending = [_usable(op) for op in including]
    if not 1 <= least <= most or len(pending) > most:
        raise ShapeError(
            f"A program of {least} to {most} instructions, including {len(pending)}.",
            "Give length=(least, most) with room for what it has to include.",
        )
    rows = [_usable(op) for op in ops] if ops is not None else _all_rows()
    draft = _Draft(_grouped(rows), kind, np.dtype(dtype), margin)
    going = True
    while going:
        going = choices.part(lambda c: draft.grow(c, pending, least, most))
    return draft.program()


def _usable(op: Primitive | str) -> Primitive:
    row = find_row(op)
    if not row.differentiable and row.name != "stop_gradient":
        raise ShapeError(
            f"{row.name} in a program: it has no gradient.", "Use rows that are differentiable."
        )
    return row


def _all_rows() -> list[Primitive]:
    return [op for op in table.values() if op.differentiable]


def _grouped(rows: Sequence[Primitive]) -> list[list[Primitive]]:
    """Group rows by family, each group as often as it is to be chosen."""
    groups: dict[str, list[Primitive]] = {}
    for row in rows:
        family = "reduction" if row.family == "sorting" else row.family
        groups.setdefault("flat" if _is_flat(row) else family, []).append(row)
    return [group for family, group in groups.items() for _ in range(_WEIGHTS.get(family, 1))]


def _is_flat(op: Primitive) -> bool:
    """Whether the gradient is zero: much of a program above such a row would go untested."""
    return isinstance(op.rules, tuple) and all(rule in (flat, None) for rule in op.rules)


class _Draft:
    """A program that is being drawn: what there is so far, with all values."""

    def __init__(
        self, groups: list[list[Primitive]], kind: Kind, dtype: np.dtype[Any], margin: float
    ) -> None:
        self.groups, self.kind, self.dtype, self.margin = groups, kind, dtype, margin
        self.inputs: dict[str, Array] = {}
        self.values: dict[str, Array] = {}
        self.instructions: list[Instruction] = []
        self.used: set[str] = set()
        limits = _HALF_LIMITS if dtype == np.float16 else _LIMITS
        self.limit = limits[kind in ("generic", "ties", "constant")]

    def program(self) -> Program:
        """Return what was drawn, with all values that nothing uses as results."""
        loose = [s.name for s in self.instructions if s.name not in self.used]
        floats = [name for name in loose if self.values[name].dtype.kind == "f"]
        return Program(self.inputs, self.instructions, floats)

    def grow(self, choices: Choices, pending: list[Primitive], least: int, most: int) -> bool:
        """Add an instruction, one that is still pending or another; or stop, and return False."""
        room = most - len(self.instructions)
        if not pending and room <= most - least and (room <= 0 or choices.integer(0, room) == 0):
            return False
        if pending and (room <= len(pending) or not choices.chance(1, 2)):
            self._add(choices, lambda: pending[0], room)
            del pending[0]
        else:
            self._add(
                choices, lambda: choices.among(choices.among(self.groups)), room - len(pending)
            )
        return True

    def _add(self, choices: Choices, op: Callable[[], Primitive], room: int) -> None:
        """Try to add a row to what there is; else add it with inputs of its own."""
        row = op()
        for _ in range(4):
            if self._try(choices, row, room):
                return
            row = op()
        call = draw_call(choices, row, kind=self.kind, dtype=self.dtype, margin=self.margin)
        self._keep(row, call.operands, call.params, call.value)

    def _try(self, choices: Choices, op: Primitive, room: int) -> bool:
        first = self._pick_first(choices, op)
        shape = None if first is None else self.values[first].shape
        plan = draw_plan(choices, op, shape)
        if plan is None:
            return False
        operands = self._operands(choices, op, plan, first)
        known = [self.values[x] if isinstance(x, str) else x for x in operands]
        condition = None
        if op.name == "where" and first is not None and room > 1:
            condition = self._condition(choices, first)
            known[0] = known[0] if condition is None else condition[-1]
        with np.errstate(all="ignore"):
            value = np.asarray(op.kernel(*known, **plan.params))
        if not self._fits(op, known, plan.params, value):
            return False
        if condition is not None:
            operands = (self._keep(*condition), *operands[1:])
        self._keep(op, operands, plan.params, value)
        return True

    def _fits(self, op: Primitive, known: Sequence[Any], params: Any, value: Array) -> bool:
        """Whether a result is floating-point, as precise as its operands, small, and moderate.

        And whether it is not near a kink.
        """
        floats = [x for x in known if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
        narrower = any(value.dtype.itemsize < x.dtype.itemsize for x in floats)
        if value.dtype.kind != "f" or narrower or not 0 < value.size <= _LARGEST:
            return False
        return bool(
            np.abs(value).max() <= self.limit and margin_of(op, known, params, value) >= self.margin
        )

    def _pick(self, choices: Choices, names: Sequence[str]) -> str | None:
        """Choose a value, later ones rather than early ones; or none, for a new input."""
        if not names or choices.chance(1, 8):
            return None
        back = min(choices.integer(0, len(names) - 1), choices.integer(0, len(names) - 1))
        return names[-1 - back]

    def _pick_first(self, choices: Choices, op: Primitive) -> str | None:
        """Choose a value to go on from: mostly one that nothing uses yet, for depth."""
        names = self._known(op, 0)
        loose = [n for n in names if n not in self.used and n not in self.inputs]
        return self._pick(choices, names if choices.chance(1, 3) else loose or names)

    def _known(self, op: Primitive, position: int) -> list[str]:
        """List the floating-point values that lie in the domain of an operand."""
        floats = (n for n, x in self.values.items() if x.dtype.kind == "f")
        return [n for n in floats if _is_inside(self.values[n], domain_of(op, position))]

    def _operands(
        self, choices: Choices, op: Primitive, plan: Plan, first: str | None
    ) -> tuple[Any, ...]:
        """Fill a plan: the chosen value, other values of fitting shapes, new values."""
        operands: list[Any] = []
        own = None if first is None else self.values[first].shape
        for i, spec in enumerate(plan.given):
            name = None
            if isinstance(spec, tuple) and first is not None:
                fitting = self._fitting(op, plan, i)
                if spec == own and first in fitting:
                    name, own = first, None
                else:
                    name = self._pick(choices, fitting)
            drawn = None if name else draw_operand(choices, op, i, spec, self.kind, self.dtype)
            operands.append(name or drawn)
        return tuple(operands)

    def _fitting(self, op: Primitive, plan: Plan, position: int) -> list[str]:
        """List the values that can stand for a shape: elementwise, all that broadcast."""
        known = {n: self.values[n].shape for n in self._known(op, position)}
        if op.family != "elementwise" or not op.broadcasts:
            return [n for n, shape in known.items() if shape == plan.given[position]]
        common = np.broadcast_shapes(
            *(np.shape(g) if not isinstance(g, tuple) else g for g in plan.given)
        )
        return [n for n, shape in known.items() if _broadcasts_to(shape, common)]

    def _condition(
        self, choices: Choices, name: str
    ) -> tuple[Primitive, tuple[Any, ...], dict[str, Any], Array] | None:
        """Compare a value with a number, as often as not; not so close to it that it is a kink."""
        op = table[choices.among(_COMPARISONS)]
        number = choices.array(()).item()
        near = np.abs(self.values[name] - number).min() < self.margin
        if near or not choices.chance(1, 2):
            return None
        return op, (name, number), {}, np.asarray(op.kernel(self.values[name], number))

    def _keep(self, op: Primitive, operands: Sequence[Any], params: Any, value: Array) -> str:
        """Enter an instruction; new floating-point operands become inputs."""
        named = []
        for x in operands:
            if isinstance(x, np.ndarray) and x.dtype.kind == "f":
                name = f"x{len(self.inputs)}"
                self.inputs[name] = self.values[name] = x
                named.append(name)
            else:
                named.append(x)
        step = Instruction(f"v{len(self.instructions)}", op, tuple(named), params)
        self.instructions.append(step)
        self.values[step.name] = value
        self.used.update(step.references)
        return step.name


def _is_inside(x: Array, domain: Domain) -> bool:
    """Whether values lie in a domain: the usual one limits nothing, a positive one no size."""
    low, high = domain
    return domain == DOMAIN or bool((x >= low).all() and (low > 0 or (x <= high).all()))


def _broadcasts_to(shape: tuple[int, ...], common: tuple[int, ...]) -> bool:
    lead = len(common) - len(shape)
    return lead >= 0 and all(n in (1, m) for n, m in zip(shape, common[lead:], strict=True))
