"""grad, value_and_grad, vjp, jvp, jacobian, hessian, hvp: with JAX's signatures, to any order.

Forward mode needs no rules of its own: the reverse sweep is linear in its cotangent, so sweeping
it again with respect to that cotangent is the forward derivative.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_bn.errors import DTypeError, GradientError, ShapeError
from tinygrad_bn.graph.containers import aligned
from tinygrad_bn.graph.namespaces import tensors
from tinygrad_bn.graph.state import using
from tinygrad_bn.graph.sweep import start
from tinygrad_bn.graph.tensor import Tensor, leaf
from tinygrad_bn.transforms.lifting import (
    Lifted,
    call,
    call_for_tensors,
    cotangent_for,
    lift,
    name_of,
    outside,
    pull,
    scalar,
    settle,
)


def _lift_arguments(
    function: Callable[..., Any], arguments: Sequence[Any], argnums: int | Sequence[int]
) -> tuple[list[Any], list[Lifted]]:
    """Lift the arguments that are differentiated; the others stay as they are."""
    positions = (argnums,) if isinstance(argnums, int | np.integer) else tuple(argnums)
    lifted, replaced = [], list(arguments)
    for position in positions:
        if not -len(arguments) <= position < len(arguments):
            raise ShapeError(
                f"argnums={argnums} of {name_of(function)}, called with {len(arguments)} "
                "positional arguments.",
                "Number positional arguments from 0; pass them by position.",
            )
        if replaced[position] is not arguments[position]:
            raise ShapeError(
                f"argnums={argnums} of {name_of(function)} names argument {position} twice.",
                "Name each argument once.",
            )
        one = lift(arguments[position], f"argument {position} of {name_of(function)}")
        replaced[position] = one.tree
        lifted.append(one)
    return replaced, lifted


def _refuse_bare(transform: str, function: Callable[..., Any], *sequences: Any) -> None:
    """Raise where an argument stands alone that should stand in a tuple, one for each argument."""
    for given in sequences:
        if not isinstance(given, tuple | list):
            raise DTypeError(
                f"{transform} of {name_of(function)}: a {type(given).__name__} stands where a "
                "tuple of arguments should.",
                f"Write {transform}({name_of(function)}, (x,), (v,)), also for one argument.",
            )


def _refuse_argnums(transform: str, function: Any, argnums: Any) -> None:
    """Raise where a function or positions are missing: the mistake of calling ``grad(f, x)``."""
    numbers = argnums if isinstance(argnums, tuple | list) else (argnums,)
    if callable(function) and all(isinstance(n, int | np.integer) for n in numbers):
        return
    raise DTypeError(
        f"{transform} got a {type(function).__name__} and, for argnums, a "
        f"{type(argnums).__name__}.",
        f"{transform} makes a function: write {transform}(f)(x); argnums are positions.",
    )


def _as_asked(gradients: list[Any], argnums: int | Sequence[int]) -> Any:
    return gradients[0] if isinstance(argnums, int | np.integer) else tuple(gradients)


def value_and_grad(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0
) -> Callable[..., tuple[Tensor, Any]]:
    """Return a function that computes ``function`` and its gradient.

    ``argnums``: which positional arguments to differentiate; each a tensor, array, float, or a
    container (dict, list, tuple, module) of them. The gradient has the argument's structure,
    shapes and dtypes. Leaves' ``grad`` is not touched. Raises GradientError unless the result
    has one element, DTypeError for integer arguments.

    >>> value, slope = value_and_grad(lambda x: x**2)(3.0)
    >>> value, slope
    (Tensor(9.), Tensor(6.))
    """
    _refuse_argnums("value_and_grad", function, argnums)

    @functools.wraps(function)
    def differentiated(*arguments: Any, **keywords: Any) -> tuple[Tensor, Any]:
        """Call the function on fresh leaves and sweep back."""
        replaced, lifted = _lift_arguments(function, arguments, argnums)
        result = call(functools.partial(function, **keywords), replaced)
        value = scalar(result, function)
        leaves = [x for one in lifted for x in one.leaves]
        record = outside([value], leaves)
        found = iter(pull({value: start(value)}, leaves, record=record))
        gradients = [part.rebuild([next(found) for _ in part.leaves]) for part in lifted]
        return settle(value, recorded=record), _as_asked(gradients, argnums)

    return differentiated


def grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Return a function that computes the gradient of ``function``; see ``value_and_grad``.

    Nests to any depth: ``grad(grad(f))`` is the second derivative.

    >>> grad(grad(lambda x: x**3))(2.0)
    Tensor(12.)
    """
    _refuse_argnums("grad", function, argnums)

    @functools.wraps(function)
    def gradient(*arguments: Any, **keywords: Any) -> Any:
        """Give the gradient alone."""
        return value_and_grad(function, argnums)(*arguments, **keywords)[1]

    return gradient


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """Compute ``function(*primals)`` and the map from cotangents of its result to gradients.

    Returns ``(y, pull)``; ``pull(v)`` takes a cotangent with the structure of ``y`` (matched by
    keys) and returns a tuple with one gradient for each primal. It can be called again and again.

    >>> y, pull = vjp(lambda a, b: a * b, 2.0, 5.0)
    >>> y, pull(1.0)
    (Tensor(10.), (Tensor(5.), Tensor(2.)))
    """
    replaced, lifted = _lift_arguments(function, primals, range(len(primals)))
    result, live, paths, _ = call_for_tensors(function, replaced)
    leaves = [x for one in lifted for x in one.leaves]
    record = outside(live, leaves)

    def pull_back(cotangent: Any) -> tuple[Any, ...]:
        """Sweep a cotangent of the result back to the primals."""
        given = aligned(cotangent, paths, f"vjp of {name_of(function)}: the cotangent")
        seeds: dict[Tensor, Tensor] = {}
        for r, value in zip(live, given, strict=True):
            g = cotangent_for(r, value)
            seeds[r] = seeds[r] + g if r in seeds else g
        recorded = record or any(g._requires_grad for g in seeds.values())
        found = iter(pull(seeds, leaves, record=recorded))
        return tuple(one.rebuild([next(found) for _ in one.leaves]) for one in lifted)

    return settle(result, recorded=record), pull_back


def jvp(
    function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[Any, Any]:
    """Compute ``function(*primals)`` and its derivative in the direction ``tangents``.

    ``tangents`` has the structure of ``primals``, matched by keys. Returns ``(y, ydot)`` of one
    structure. The cost is two reverse sweeps.

    >>> jvp(lambda x: x**2, (3.0,), (1.0,))
    (Tensor(9.), Tensor(6.))
    """
    _refuse_bare("jvp", function, primals, tangents)
    replaced, lifted = _lift_arguments(function, primals, range(len(primals)))
    result, live, _, rebuild = call_for_tensors(function, replaced)
    leaves = [x for one in lifted for x in one.leaves]
    velocities = _velocities(function, lifted, tangents)
    joined = outside(live, leaves) or any(v._requires_grad for v in velocities)
    dummies = [leaf(np.zeros(r.shape, r.dtype), requires_grad=True) for r in live]
    seeds: dict[Tensor, Tensor] = {}
    with using(recording=True):
        for r, u in zip(live, dummies, strict=True):
            seeds[r] = seeds[r] + u if r in seeds else u
    gradients = pull(seeds, leaves, record=True)
    moved: dict[Tensor, Tensor] = {}
    with using(recording=True):
        for g, velocity in zip(gradients, velocities, strict=True):
            if g._requires_grad:
                moved[g] = moved[g] + velocity if g in moved else velocity
    derivative = rebuild(pull(moved, dummies, record=joined))
    return settle(result, recorded=joined), settle(derivative, recorded=joined)


def _velocities(
    function: Callable[..., Any], lifted: Sequence[Lifted], tangents: Sequence[Any]
) -> list[Tensor]:
    """Bring tangents into the order of the primals' leaves, each of its leaf's shape and dtype."""
    if len(tangents) != len(lifted):
        raise ShapeError(
            f"jvp of {name_of(function)}: {len(lifted)} primals, {len(tangents)} tangents.",
            "Pass one tangent for each primal.",
        )
    return [
        cotangent_for(x, t)
        for i, (one, tangent) in enumerate(zip(lifted, tangents, strict=True))
        for x, t in zip(
            one.leaves,
            aligned(tangent, one.paths, f"jvp of {name_of(function)}: tangent {i}"),
            strict=True,
        )
    ]


def jacobian(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Return a function that computes the Jacobian, by one reverse sweep per output element.

    For a result of shape S and an argument of shape T the Jacobian has shape (*S, *T); for
    containers (a list is one), every leaf of the argument is replaced by its Jacobian.

    >>> jacobian(lambda x: x**2)(np.array([1.0, 3.0]))
    Tensor([[2., 0.],
            [0., 6.]])
    """
    _refuse_argnums("jacobian", function, argnums)

    @functools.wraps(function)
    def differentiated(*arguments: Any, **keywords: Any) -> Any:
        """Call the function on fresh leaves and sweep back."""
        replaced, lifted = _lift_arguments(function, arguments, argnums)
        result = call(functools.partial(function, **keywords), replaced)
        if not isinstance(result, Tensor):
            raise GradientError(
                f"jacobian of {name_of(function)}: the result is a {type(result).__name__}.",
                "Return one tensor, or use vjp for containers.",
            )
        leaves = [x for one in lifted for x in one.leaves]
        record = outside([result], leaves)
        rows = [pull({result: leaf(unit)}, leaves, record=record) for unit in _units(result)]
        stacked = iter(_assemble(result, x, [row[i] for row in rows]) for i, x in enumerate(leaves))
        return _as_asked([o.rebuild([next(stacked) for _ in o.leaves]) for o in lifted], argnums)

    return differentiated


def _units(result: Tensor) -> list[Any]:
    return list(np.eye(result.size, dtype=result.dtype).reshape(result.size, *result.shape))


def _assemble(result: Tensor, x: Tensor, rows: list[Tensor]) -> Tensor:
    if not rows:
        return tensors.zeros((*result.shape, *x.shape), dtype=x.dtype)
    with using(recording=True):
        return tensors.reshape(tensors.stack(rows), (*result.shape, *x.shape))


def hessian(function: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """Return a function that computes the matrix of second derivatives, shape (*T, *T).

    For an argument of one tensor; use ``hvp`` for containers and for many elements.

    >>> hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 3.0]))
    Tensor([[6., 2.],
            [2., 0.]])
    """
    return jacobian(grad(function, argnums), argnums)


def hvp(function: Callable[..., Any], primals: Sequence[Any], vectors: Sequence[Any]) -> Any:
    """Multiply the Hessian of a scalar function by a vector, without forming the Hessian.

    ``vectors`` has the structure of ``primals``; so has the answer (a tuple), or one tensor
    where there is one primal.

    >>> hvp(lambda x: (x**3).sum(), (np.array([1.0, 2.0]),), (np.array([1.0, 0.0]),))
    Tensor([6., 0.])
    """
    _refuse_bare("hvp", function, primals, vectors)
    gradient = grad(function, tuple(range(len(primals))))
    product = jvp(gradient, primals, vectors)[1]
    return product[0] if len(primals) == 1 else product
