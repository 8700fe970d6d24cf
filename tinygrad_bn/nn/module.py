"""Parameters, buffers, and the module that holds them: a tree read off an object's attributes."""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import numpy.typing as npt

from tinygrad_bn.errors import DTypeError, ShapeError, TinygradError
from tinygrad_bn.graph.state import scope
from tinygrad_bn.graph.tensor import Tensor, Variable, as_constant, leaf

Kind: TypeAlias = Literal["parameter", "buffer", "module", "constant"]
Leaf: TypeAlias = Callable[[str, Tensor], Any]


class Parameter(Variable):
    """A tensor that training changes: it requires a gradient unless told otherwise.

    ``data``: numbers or an array of floating-point dtype, copied. ``requires_grad=False`` freezes
    it. Its value changes through ``assign`` alone. Raises DTypeError for integers that are to
    require a gradient.

    >>> Parameter([1.0, 2.0], name="weight")
    Parameter([1., 2.], requires_grad=True, name='weight')
    """

    __slots__ = ()

    def __init__(
        self,
        data: Any,
        *,
        dtype: npt.DTypeLike | None = None,
        requires_grad: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(data, dtype=dtype, requires_grad=requires_grad, name=name)


class Buffer(Variable):
    """A tensor that belongs to a module's state but is not trained, such as a running mean.

    >>> Buffer([0.0])
    Buffer([0.])
    """

    __slots__ = ()

    def __init__(
        self, data: Any, *, dtype: npt.DTypeLike | None = None, name: str | None = None
    ) -> None:
        super().__init__(data, dtype=dtype, name=name)


class Skipped(NamedTuple):
    """Names that a loading with ``strict=False`` passed over."""

    missing: list[str]
    unexpected: list[str]


class Module:
    """Base of layers and networks: define ``forward``, call the object.

    Parameters, buffers and modules are found among the attributes, also inside lists, tuples and
    dicts, in the order in which they were set; nothing needs to be registered, and
    ``super().__init__()`` need not be called. What two attributes share counts once, under its
    first name. ``training`` belongs to each module: there is no global mode. A call opens a scope
    named after the class, so that diagrams show layers.

    Transforms take modules as containers. Their leaves are the parameters that require a gradient;
    a gradient is a module of the same structure, which shares all else with the original.

    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.factor = Parameter(3.0)
    ...
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> model = Scale()
    >>> model(2.0)
    Tensor(6., op=multiply)
    >>> from tinygrad_bn.transforms.derivatives import grad
    >>> grad(lambda m: m(2.0))(model).factor
    Tensor(2.)
    """

    training: bool = True
    _leaves: frozenset[str] = frozenset()
    """In a copy made by ``map_tensors``: the names under which leaves stand."""

    def forward(self, *inputs: Any, **options: Any) -> Any:  # noqa: ARG002  (subclasses take them)
        """Compute the result; every subclass that is called defines it."""
        name = type(self).__name__
        raise TinygradError(
            f"The module {name} was called and has no forward.",
            f"Define {name}.forward(self, ...), and call the module, not forward.",
        )

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Run ``forward`` inside a scope named after the class."""
        with scope(type(self).__name__):
            return self.forward(*inputs, **options)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a parameter or buffer gives way to another one or None only."""
        old = vars(self).get(name)
        if isinstance(old, Variable) and not (value is None or isinstance(value, Variable)):
            raise DTypeError(
                f"{type(self).__name__}.{name} is a {type(old).__name__}, and is set to a "
                f"{type(value).__name__}.",
                f"Change its value with {name}.assign(value), or set a new Parameter.",
            )
        if isinstance(value, Variable) and value.name is None:
            value.name = name
        object.__setattr__(self, name, value)

    # what it holds -----------------------------------------------------------------------------

    def parameters(self) -> list[Tensor]:
        """List all parameters, each once, in the order of definition."""
        return [parameter for _, parameter in self.named_parameters()]

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Give parameters with their dotted names, such as ``layers.0.weight``."""
        return ((name, p) for name, kind, p in self._walk() if kind == "parameter")

    def buffers(self) -> list[Tensor]:
        """List all buffers, each once, in the order of definition."""
        return [buffer for _, buffer in self.named_buffers()]

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Give buffers with their dotted names."""
        return ((name, b) for name, kind, b in self._walk() if kind == "buffer")

    def modules(self) -> list[Module]:
        """List this module and all inside it, each once, from the outermost."""
        return [module for _, module in self.named_modules()]

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Give this module, under the name ``""``, and all inside it with their dotted names."""
        yield "", self
        yield from ((name, m) for name, kind, m in self._walk() if kind == "module")

    def _walk(
        self, prefix: str = "", seen: set[int] | None = None
    ) -> Iterator[tuple[str, Kind, Any]]:
        """Give every tensor and module inside, depth first, each once."""
        seen = {id(self)} if seen is None else seen
        for name, value in _held(vars(self)):
            if id(value) in seen:
                continue
            seen.add(id(value))
            yield prefix + name, self._kind(name, value), value
            if isinstance(value, Module):
                yield from value._walk(f"{prefix}{name}.", seen)

    def _kind(self, name: str, value: Tensor | Module) -> Kind:
        if isinstance(value, Module):
            return "module"
        if isinstance(value, Parameter) or name in self._leaves:
            return "parameter"
        return "buffer" if isinstance(value, Buffer) else "constant"

    # what is done to all of it -----------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002  (train(False) is common speech)
        """Put this module and all inside it into training mode; returns itself."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Self:
        """Put this module and all inside it into evaluation mode; returns itself."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def map_tensors(self, function: Leaf) -> Self:
        """Return a like module with ``function(name, parameter)`` in place of each parameter.

        Only parameters that require a gradient are replaced, shared ones by the same value;
        buffers, constants and everything else are shared with this module.
        """
        return self._mapped(function, "", {})

    def _mapped(self, function: Leaf, prefix: str, memo: dict[int, Any]) -> Self:
        like = copy.copy(self)
        memo[id(self)] = like
        leaves: set[str] = set()

        def replace(name: str, value: Tensor | Module) -> Any:
            """Give what stands in the copy for a tensor or module."""
            if isinstance(value, Tensor):
                if not self._is_leaf(name, value):
                    return value
                leaves.add(name)
            if id(value) not in memo:
                memo[id(value)] = (
                    function(prefix + name, value)
                    if isinstance(value, Tensor)
                    else value._mapped(function, f"{prefix}{name}.", memo)
                )
            return memo[id(value)]

        for name, value in vars(self).items():
            vars(like)[name] = _replaced(replace, name, value)
        vars(like)["_leaves"] = frozenset(leaves)
        return like

    def _is_leaf(self, name: str, value: Tensor) -> bool:
        return name in self._leaves or (isinstance(value, Parameter) and value.requires_grad)

    # its state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of all parameters and buffers by their dotted names."""
        return {name: value.copy() for name, value in self._state().items()}

    def _state(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, kind, value in self._walk():
            if kind not in ("parameter", "buffer"):
                continue
            if name in found:
                raise ShapeError(
                    f"{type(self).__name__}: two parameters or buffers have the name {name!r}.",
                    "Use keys without dots that differ as text.",
                )
            found[name] = value
        return found

    def load_state_dict(self, state: Mapping[str, Any], *, strict: bool = True) -> Skipped:
        """Assign parameters and buffers from arrays by name, all or none.

        ``strict=False`` passes over missing and unexpected names, and returns them. Raises one
        ShapeError that lists every missing and unexpected name and every mismatch of shape and
        dtype; the module is then unchanged.

        >>> class One(Module):
        ...     def __init__(self):
        ...         self.weight = Parameter([1.0])
        >>> one = One()
        >>> _ = one.load_state_dict({"weight": [5.0]})
        >>> one.weight.item()
        5.0
        """
        if not isinstance(state, Mapping):
            raise DTypeError(
                f"load_state_dict of {type(self).__name__}: the state is a {type(state).__name__}.",
                "Pass a dict of arrays by name, as state_dict() gives.",
            )
        own = self._state()
        given = {name: as_constant(value) for name, value in state.items()}
        missing = [name for name in own if name not in given]
        unexpected = [name for name in given if name not in own]
        problems = [_misfit(name, own[name], given[name]) for name in own if name in given]
        if strict:
            problems = [
                *(f"{name}: missing from the state" for name in missing),
                *(f"{name}: not in the module" for name in unexpected),
                *problems,
            ]
        _refuse_state(type(self).__name__, [p for p in problems if p])
        for name in own:
            if name in given:
                own[name].assign(leaf(given[name]._data))
        return Skipped(missing, unexpected)

    # how it looks --------------------------------------------------------------------------------

    def details(self) -> str:
        """Say in a line what this module is, for ``repr``: by default the shapes it holds."""
        own = ((n, v) for n, v in _held(vars(self)) if isinstance(v, Tensor))
        return ", ".join(f"{name}={value.shape}" for name, value in own)

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        children = [(n, v) for n, v in _held(vars(self)) if isinstance(v, Module)]
        lines = [f"{type(self).__name__}({self.details()})"]
        for name, child in children:
            lines += f"{name}: {child!r}".split("\n")
        return "\n  ".join(lines)


def _held(value: Any, path: str = "") -> Iterator[tuple[str, Tensor | Module]]:
    """Give the tensors and modules in nested dicts, lists and tuples with their dotted paths."""
    if isinstance(value, Tensor | Module):
        yield path, value
    elif isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _held(item, f"{path}.{key}" if path else str(key))


def _replaced(replace: Callable[[str, Any], Any], path: str, value: Any) -> Any:
    """Apply ``replace(path, value)`` to tensors and modules; what holds none stays as it is."""
    if isinstance(value, Tensor | Module):
        return replace(path, value)
    if next(_held(value), None) is None:
        return value
    if isinstance(value, dict):
        return type(value)((k, _replaced(replace, f"{path}.{k}", v)) for k, v in value.items())
    items = [_replaced(replace, f"{path}.{i}", item) for i, item in enumerate(value)]
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def _misfit(name: str, own: Tensor, given: Tensor) -> str:
    """Say how a value does not fit; empty if it does."""
    if own.shape != given.shape:
        return f"{name}: shape {given.shape} in the state, {own.shape} in the module"
    if own.dtype != given.dtype:
        return f"{name}: dtype {given.dtype} in the state, {own.dtype} in the module"
    return ""


def _refuse_state(name: str, problems: list[str]) -> None:
    if problems:
        raise ShapeError(
            f"load_state_dict of {name}, {len(problems)} mismatches:\n  " + "\n  ".join(problems),
            "Build the module as it was when the state was saved; strict=False passes over names.",
        )
