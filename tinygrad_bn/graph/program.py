"""A recorded graph as a runnable NumPy program, and the trace that owns one.

The printed program is the graph's own text: executing it gives the same values bit by bit.
"""

from __future__ import annotations

import ast
import functools
import inspect
import keyword
import math
import textwrap
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import numpy as np

from tinygrad_bn.errors import GradientError, ShapeError, TinygradError
from tinygrad_bn.graph.containers import flatten, is_plain
from tinygrad_bn.graph.namespaces import engine
from tinygrad_bn.graph.primitive import Primitive
from tinygrad_bn.graph.sweep import ancestors
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.source import Site, bare_text


@dataclass(frozen=True, eq=False)
class Trace:
    """A recorded function: its inputs, its outputs and every operation in between.

    ``inputs``: the traced tensors, in order; ``outputs``: what the function returned;
    ``nodes``: operations in recording order; ``constants``: values the function closed over, as
    they were, which the program takes as keywords; ``site``: the instruction that asked for the
    trace. ``print(trace)`` shows the NumPy program.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: Any
    site: Site | None = field(default=None, repr=False)
    _values: dict[Tensor, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Keep the values of what no operation made: a parameter may be assigned later."""
        for node in self.nodes:
            for operand, value in zip(node.inputs, node.values, strict=True):
                if isinstance(operand, Tensor):
                    self._keep(operand, value)
        for given in (*self.inputs, *self.closed_over):
            self._values.setdefault(given, given.data)

    def _keep(self, operand: Tensor, value: Any) -> None:
        """Keep the value with which an operation ran; all must have run with the same."""
        if operand.op is None and self._values.setdefault(operand, value) is not value:
            raise GradientError(
                f"trace of {self.name}: {operand.name or 'a closed-over tensor'} was assigned "
                "between two uses, and a program has one value for it.",
                "Assign after the last use, or use new tensors in place of assigning.",
            )

    def giving(self, outputs: Any) -> Trace:
        """Return a trace of other outputs, with the same inputs and recorded values."""
        made = Trace(self.name, self.inputs, outputs, self.site)
        made._values.update({x: self._values[x] for x in made._values if x in self._values})
        return made

    @property
    def results(self) -> list[Tensor]:
        """The tensors among the outputs."""
        return [leaf for leaf in flatten(self.outputs)[0] if isinstance(leaf, Tensor)]

    @property
    def nodes(self) -> list[Tensor]:
        """The recorded operations, in the order in which they ran."""
        given = set(self.inputs)
        return [n for n in ancestors(self.results) if n.op is not None and n not in given]

    @property
    def constants(self) -> dict[str, np.ndarray[Any, Any]]:
        """The closed-over values by their names in the program."""
        names = self._names()
        return {names[n]: self._values[n] for n in self.closed_over}

    @property
    def closed_over(self) -> list[Tensor]:
        """The tensors that the function closed over: the program's constants."""
        given = set(self.inputs)
        return [n for n in ancestors(self.results) if n.op is None and n not in given]

    @functools.cached_property
    def names(self) -> dict[Tensor, str]:
        """The name of every tensor in the program."""
        return self._names()

    def value_of(self, given: Tensor) -> np.ndarray[Any, Any]:
        """Return the value with which an input or a closed-over tensor was recorded."""
        found: np.ndarray[Any, Any] = self._values[given]
        return found

    def _names(self) -> dict[Tensor, str]:
        """Name inputs and constants by the user where possible, nodes v1, v2, ..."""
        names: dict[Tensor, str] = {}
        taken = self._called()
        for prefix, group in (("x", self.inputs), ("c", self.closed_over)):
            for i, tensor in enumerate(group, 1):
                names[tensor] = _fresh(tensor.name or "", f"{prefix}{i}", taken)
        for i, node in enumerate((n for n in self.nodes if n not in names), 1):
            names[node] = _fresh("", f"v{i}", taken)
        return names

    def _called(self) -> set[str]:
        """List the names that the program's text calls, which no variable may take."""
        return _reserved | set(self._bound.values()) | _helpers(n.op for n in self.nodes).keys()

    @functools.cached_property
    def _bound(self) -> dict[Primitive, str]:
        """Name the kernels that the program gets bound: those without a text of their own.

        So are rows of one name, an old definition and a new one: each keeps its own kernel.
        """
        ops = list(dict.fromkeys(node.op for node in self.nodes))
        uses = Counter(op.name for op in ops)
        taken = _reserved | _helpers(ops).keys()
        bound = [op for op in ops if _opaque(op) or uses[op.name] > 1]
        return {op: _fresh(op.name, "rule", taken) for op in bound}

    @property
    def bound(self) -> list[str]:
        """The names that the program's text leaves open: kernels without a text of their own."""
        return sorted(set(self._bound.values()))

    @property
    def _title(self) -> str:
        """The name of the program's function."""
        return _fresh(self.name, "f", self._called())

    def program(self) -> str:
        """Return the text of a NumPy program that computes the outputs from the inputs.

        It defines one function, named like the traced one, with the inputs as arguments and
        the closed-over values as keywords.
        """
        names, nodes = self._names(), self.nodes
        printed = {n.op for n in nodes if n.op not in self._bound and _needs_text(n)}
        helpers = _helpers(printed)
        constants = [names[c] for c in self.closed_over]
        signature = [names[i] for i in self.inputs] + (["*", *constants] if constants else [])
        lines = [f"def {self._title}({', '.join(signature)}):"]
        lines += [f"    {names[n]} = {_expression(n, names, self._bound)}" for n in nodes]
        leaves, _, rebuild = flatten(self.outputs)
        written = [_Name(names[x] if isinstance(x, Tensor) else literal(x)) for x in leaves]
        result = rebuild(list(written)) if is_plain(self.outputs) else tuple(written)
        lines.append(f"    return {result!r}")
        texts = [_error(kind) for kind in _raised(helpers.values())]
        texts += [_source(helpers[name]) for name in sorted(helpers)]
        return "\n\n".join(["import numpy as np", *texts, "\n".join(lines)]) + "\n"

    def compile(self) -> Callable[..., Any]:
        """Execute the program's text and return its function, the constants bound.

        Where the outputs are no plain dicts, lists and tuples, the text returns their leaves, and
        the function builds them again.
        """
        namespace: dict[str, Any] = {name: op.kernel for op, name in self._bound.items()}
        exec(self.program(), namespace)  # noqa: S102  (our own text is what is executed)
        function, constants = namespace[self._title], self.constants
        if is_plain(self.outputs):
            return lambda *arrays: function(*arrays, **constants)
        rebuild = flatten(self.outputs)[2]
        return lambda *arrays: rebuild(list(function(*arrays, **constants)))

    def run(self, *arrays: Any) -> Any:
        """Run the program on other inputs of the same shapes (or on the recorded ones)."""
        if arrays and len(arrays) != len(self.inputs):
            raise ShapeError(
                f"The trace has {len(self.inputs)} inputs; {len(arrays)} given.",
                "Pass one array for each input, or none for the recorded ones.",
            )
        values = [np.array(a) for a in arrays] or [self._values[i] for i in self.inputs]
        return self.compile()(*values)

    def __str__(self) -> str:
        """Show the program."""
        return self.program()

    def __repr__(self) -> str:
        """Show the name and size."""
        return f"<trace of {self.name}: {len(self.inputs)} inputs, {len(self.nodes)} operations>"

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> dict[str, str]:
        """Show its size and its graph in a notebook (Jupyter, marimo)."""
        bundle: dict[str, str] = engine.mimebundle(self, include, exclude)
        return bundle


_reserved = {"np", "float", "int", "bool", "complex"}


class _Name(str):
    """A name that prints without quotes inside a container."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _fresh(wish: str, otherwise: str, taken: set[str]) -> str:
    """Return the wished name if it is a free identifier, else the other one made free."""
    free = wish.isidentifier() and wish.isascii() and not keyword.iskeyword(wish)
    stem = wish if free else otherwise
    name, count = stem, 2
    while name in taken:
        name, count = f"{stem}_{count}", count + 1
    taken.add(name)
    return name


def _opaque(op: Primitive) -> bool:
    """Whether a kernel has no text of its own (a custom rule): the program gets it bound."""
    return not _has_text(op) and _numpy_name(op) is None


def _has_text(op: Primitive) -> bool:
    """Whether a kernel's source can be read: not that of a custom rule, or typed at a prompt."""
    try:
        return op.text is not None and bool(inspect.getsource(op.text))
    except OSError:
        return False


def _numpy_name(op: Primitive) -> str | None:
    """The name under which NumPy has the function that gives this operation's bits."""
    for name in (op.name, getattr(op.alike, "__name__", "")):
        if op.alike is not None and getattr(np, name, None) is op.alike:
            return name
    return None


def _needs_text(node: Tensor) -> bool:
    """Whether the printed call needs the kernel's own source."""
    op: Primitive = node.op
    if not _has_text(op):
        return False
    return _numpy_name(op) is None or op.unlike(*node.values, **node.params)


def _expression(node: Tensor, names: dict[Tensor, str], bound: dict[Primitive, str]) -> str:
    """Write the call that computes one node; parameters at their defaults are left out.

    Not so numbers: NumPy does not have the standard's defaults everywhere (``expand_dims``).
    """
    op: Primitive = node.op
    operands = [names[x] if isinstance(x, Tensor) else literal(x) for x in node.inputs]
    params = [
        f"{key}={literal(value)}"
        for key, value in node.params.items()
        if key not in op.static or op.static[key] is not value or type(value) is int
    ]
    name = _numpy_name(op)
    plain = op.name if name is None or _needs_text(node) else f"np.{name}"
    return f"{bound.get(op, plain)}({', '.join([*operands, *params])})"


def literal(value: Any) -> str:
    """Write a static value as Python text with only ``np`` in scope."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    if isinstance(value, np.dtype):
        return f"np.dtype({value.str!r})"
    if isinstance(value, type):
        return (
            f"np.dtype({np.dtype(value).str!r})"
            if issubclass(value, np.generic)
            else value.__name__
        )
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' * (len(value) == 1)})"
    return repr(value)


def _helpers(ops: Iterable[Primitive]) -> dict[str, FunctionType]:
    """Return every kernel that is not NumPy's own, with what those call, by name."""
    wanted = sorted((op for op in ops if op.text is not None), key=lambda op: op.name)
    found: dict[str, FunctionType] = {}
    queue: list[Any] = [op.text for op in wanted]
    while queue:
        function = queue.pop()
        if function.__name__ in found:
            continue
        found[function.__name__] = function
        called = (inspect.unwrap(function.__globals__.get(n, len)) for n in _used(function))
        queue += [f for f in called if isinstance(f, FunctionType) and _ours(f, function)]
    return found


def _raised(functions: Iterable[FunctionType]) -> list[type[TinygradError]]:
    """Return the errors that kernels raise: outside the package a program defines its own."""
    found = {f.__globals__.get(name) for f in functions for name in _used(f)}
    errors = [e for e in found if isinstance(e, type) and issubclass(e, TinygradError)]
    return sorted(errors, key=lambda e: e.__name__)


def _error(kind: type[TinygradError]) -> str:
    """Define an error as what it is among Python's own."""
    bases = [b.__name__ for b in kind.__mro__ if b in (ValueError, TypeError, IndexError)]
    return f"class {kind.__name__}({', '.join(bases or ['Exception'])}):\n    pass"


def _ours(candidate: FunctionType, caller: FunctionType) -> bool:
    return candidate.__module__.split(".")[0] == caller.__module__.split(".")[0]


def _used(function: FunctionType) -> Sequence[str]:
    codes = [function.__code__]
    names: list[str] = []
    while codes:
        code = codes.pop()
        names += code.co_names
        codes += [c for c in code.co_consts if inspect.iscode(c)]
    return names


def _source(function: FunctionType) -> str:
    """Return a function's source without decorators, annotations and docstring."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef):
        raise ShapeError(f"{function.__name__} has no source.", "Define kernels with def.")
    return bare_text(definition)
