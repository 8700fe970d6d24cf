"""Where a wrong gradient comes from: the first operation whose rule is wrong, the worst element."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_bn.graph.primitive import bind, describe
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.testing.directions import beside, cotangents, direction_for
from tinygrad_bn.testing.judge import Question
from tinygrad_bn.testing.probe import Probe
from tinygrad_bn.testing.verdicts import Verdict

ELEMENTS = 64
"""How many elements are differentiated one by one to find the worst."""

SAMPLES = 48
"""At how many points around a kink the slopes of an operation are looked at."""


def first_wrong(nodes: Iterable[Tensor], rng: np.random.Generator) -> str:
    """Name the first operation whose rule disagrees with differences at its own operands."""
    for node in nodes:
        for operand, probe in _operands(node):
            verdict = _check_node(probe, rng)
            if _is_wrong(verdict):
                given = ", ".join(map(describe, node.values))
                return (
                    f"first wrong rule: {node.op.name}({given}) at {node.where}, for operand "
                    f"{operand}: claimed {verdict.claimed:.12g}, differences give "
                    f"{verdict.numeric:.12g}"
                )
    return ""


def _operands(node: Tensor) -> Iterable[tuple[int, Probe]]:
    """Yield each differentiable operand of a node with the operation as a function of it."""
    if not node.op.differentiable or node.dtype.kind != "f":
        return
    for i, value in enumerate(node.values):
        if getattr(value, "dtype", np.dtype(int)).kind == "f" and node.op.rules[i] is not None:
            yield i, Probe(_operation(node, i), [np.asarray(value)])


def _operation(node: Tensor, position: int) -> Any:
    def operation(x: Tensor) -> list[Tensor]:
        """Apply the node's operation to other operands."""
        operands = [x if i == position else v for i, v in enumerate(node.values)]
        return [bind(node.op, tuple(operands), node.params)]

    return operation


def _check_node(probe: Probe, rng: np.random.Generator) -> Verdict:
    """Check one rule; where kinks coincide, element by element of the result."""
    results = probe.results(probe.values)
    direction = [direction_for(x, rng) for x in probe.values]
    verdict = Question(probe, cotangents(results, rng), direction).judge("reverse")
    if not _is_wrong(verdict) or verdict.slopes is None:
        return verdict
    units = np.eye(results[0].size)[:ELEMENTS]
    single = (Question(probe, [u.reshape(results[0].shape)], direction) for u in units)
    return next(
        (s for q in single if _is_wrong(s := q.judge("reverse")) and _excludes(q, s, rng)),
        Verdict("kink"),
    )


def _excludes(question: Question, verdict: Verdict, rng: np.random.Generator) -> bool:
    """Whether a claim at a kink is outside all slopes that the operation has around it.

    Where three or more elements tie, the pieces that meet there have other slopes than the two
    along one line; a claim among those of any piece is right (Clarke's generalised gradient).
    """
    probe = question.probe
    around = (Probe(probe.function, [beside(x, rng) for x in probe.values]) for _ in range(SAMPLES))
    slopes = [float(replace(question, probe=near).truth().value) for near in around]
    ends = [*slopes, *(verdict.slopes or ())]
    low, high = np.nanmin(ends), np.nanmax(ends)
    # a sample of the slopes does not quite reach their ends
    slack = verdict.tolerance + 0.02 * (high - low)
    return not low - slack <= verdict.claimed <= high + slack


def worst_element(question: Question, position: int) -> str:
    """Find the element of one argument whose derivative is furthest off, one by one."""
    places = list(np.ndindex(question.direction[position].shape))
    while len(places) > ELEMENTS:
        half, rest = places[: len(places) // 2], places[len(places) // 2 :]
        places = half if _is_wrong(_judge_at(question, position, half)) else rest
    judged = [(_judge_at(question, position, [place]), place) for place in places]
    wrong = [(verdict.relative, place, verdict) for verdict, place in judged if _is_wrong(verdict)]
    if not wrong:
        return ""
    _, place, verdict = max(wrong, key=lambda entry: entry[0])
    step = float(question.direction[position][place])
    claimed, numeric = verdict.claimed / step + 0.0, verdict.numeric / step + 0.0
    index = f"[{', '.join(map(str, place))}]" if place else ""
    return f"{index}: claimed {claimed:.17g}, differences give {numeric:.17g}" + (
        f" ± {verdict.error / abs(step):.1e}" if verdict.slopes is None else " at the nearest side"
    )


def _is_wrong(verdict: Verdict) -> bool:
    return verdict.kind == "mismatch"


def _judge_at(question: Question, position: int, places: Sequence[tuple[int, ...]]) -> Verdict:
    """Judge the derivative along some elements of one argument."""
    part = [np.zeros_like(d) for d in question.direction]
    for place in places:
        part[position][place] = question.direction[position][place]
    return replace(question, direction=part).judge("reverse")
