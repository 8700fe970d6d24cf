"""A failed check as text that can be run again: with NumPy alone where the graph is known."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_bn.graph.program import Trace, literal
from tinygrad_bn.testing.checking.foreign import Foreign
from tinygrad_bn.testing.checking.judge import Question
from tinygrad_bn.testing.checking.recorded import Recorded
from tinygrad_bn.testing.checking.subjects import Array

LARGE = 64
"""Arrays of more elements are written packed."""

STEP = 20

READ = "# Values are read: this is what was done at the point, and elsewhere it is another program."


def reproduce_recorded(question: Question, position: int, names: Sequence[str]) -> tuple[str, str]:
    """Return the recorded program, and a script that compares a claim with a difference of it."""
    subject = question.subject
    if not isinstance(subject, Recorded):
        return "", ""
    recorded = subject.graph.trace
    recorded = Trace("f", recorded.inputs, recorded.outputs)
    for x, name in zip(recorded.inputs, names, strict=True):
        x.name = name
    program = recorded.program()
    if not subject.faithful:
        return program, f"{READ}\n{program}"
    owned = [f"# bring your own {name}: its kernel, on arrays" for name in recorded.bound]
    script = _script(recorded, question, position)
    return program, "\n".join([*owned, program.rstrip(), "", *script])


def _script(recorded: Trace, question: Question, position: int) -> list[str]:
    """Write the lines behind the program: the point, the claim, and the difference."""
    constants = [f"{name}={written(value)}" for name, value in recorded.constants.items()]
    return [
        f"point = [{', '.join(map(written, question.subject.values))}]",
        f"cotangents = [{', '.join(map(written, question.asked.v))}]",
        f"direction = {written(question.direction[position])}",
        f"claimed = {written(question.asked.gradient[position])}",
        "",
        "def along(t):",
        f"    moved = [x + t * direction if i == {position} else x for i, x in enumerate(point)]",
        f"    results = f(*moved{', ' if constants else ''}{', '.join(constants)})",
        "    return sum(np.sum(v * y) for v, y in zip(cotangents, results))",
        "",
        f"h = 2.0**-{STEP}",
        'print("claimed by the gradient:", np.sum(claimed * direction))',
        'print("difference of values:   ", (along(h) - along(-h)) / (2 * h))',
    ]


def reproduce_rule(name: str, subject: Foreign | Any, seed: int) -> str:
    """Return the call that checks a rule at the same point again."""
    given = iter(subject.given)
    written_arguments = [
        written(next(given)) if i in subject.chosen else written(a)
        for i, a in enumerate(subject.arguments)
    ]
    vjp = getattr(subject.derivative, "__name__", "vjp")
    return (
        "import numpy as np\nfrom tinygrad_bn.testing import check_rule\n\n"
        f"print(check_rule({', '.join([name, vjp, *written_arguments])}, seed={seed}))"
    )


def written(value: Any) -> str:
    """Write a value as Python text with only ``np`` in scope; large arrays are packed."""
    if not isinstance(value, np.ndarray | np.generic):
        return literal(value)
    array = np.asarray(value)
    dtype = "" if array.dtype in (np.float64, np.int64, np.bool) else f", np.{array.dtype.name}"
    if array.size > LARGE:
        packed = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()
        return (
            "np.frombuffer(__import__('zlib').decompress(__import__('base64').b64decode("
            f"{packed!r})), {array.dtype.str!r}).reshape({array.shape})"
        )
    return f"np.array({_nested(array)}{dtype})" + (
        f".reshape({array.shape})" if array.size == 0 else ""
    )


def _nested(array: Array) -> str:
    """Write an array's elements so that reading them gives the same bits."""
    text = repr(array.astype(np.float64).tolist() if array.dtype.kind == "f" else array.tolist())
    return text.replace("inf", "np.inf").replace("nan", "np.nan")
