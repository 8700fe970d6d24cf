"""What a page knows, as JSON can hold it: tensors, scopes, views, and the steps in time."""

from __future__ import annotations

import json
import linecache
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn.graph.state import Scope
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.viz.labels import LETTERS, clean, constant, shape_text
from tinygrad_bn.viz.model import Card, Diagram
from tinygrad_bn.viz.page.arrays import Arrays
from tinygrad_bn.viz.page.layout import Frame, Point, engine_run, layout_of
from tinygrad_bn.viz.page.rules import RuleText, rule_text
from tinygrad_bn.viz.page.views import View, Views, framed
from tinygrad_bn.viz.steps import RESULT, Application, Part, applications
from tinygrad_bn.viz.style import FAMILIES
from tinygrad_bn.viz.subject import used_values

Json: TypeAlias = dict[str, Any]
Focus: TypeAlias = Mapping[Scope, int]
"""The view in which a scope is alone."""

MAX_STEPS = 1000
"""A graph of more cards has no steps: they would make the page too large."""

_LINE = 160
_SCREEN, _SMALLEST = (1150, 820), 0.58
"""The space that a common screen has for a graph, and the scale at which cards can be read."""


class Contents:
    """The data of one page. Tensors, arrays, rules and what cards say are listed once."""

    def __init__(self, views: Views, *, engine: str, timeout: float) -> None:
        self.views = views
        self._run = engine_run(engine, timeout)
        self.arrays = Arrays()
        self.tensors: list[Json] = []
        self.rules: list[str] = []
        self._tensors: dict[Tensor, int] = {}
        self._rules: dict[str, int] = {}
        self._cards: dict[Tensor, Card] = {}
        self._faces: dict[str, int] = {}
        self._used = used_values(views.subject.nodes())
        self._meeting: Counter[Tensor] = Counter()

    def read(self, title: str) -> Json:
        """Put everything together."""
        self._know(self.views.forward)
        steps = self._steps()
        focus = {v.scope: i for i, v in enumerate(self.views.shown) if v.scope is not None}
        views = [self._view(view, focus) for view in self.views.shown]
        readable = [i for i in self.views.small if _readable(views[i])]
        return {
            "title": title,
            "opening": readable[-1] if readable else self.views.opening,
            "views": views,
            "steps": steps,
            "results": [self._tensors[r] for r in self.views.subject.results if r in self._tensors],
            "tensors": self.tensors,
            "faces": [json.loads(face) for face in self._faces],
            "rules": self.rules,
            "arrays": self.arrays.facts,
        }

    def _know(self, drawn: Diagram) -> None:
        """Remember the card of each tensor that has one of its own."""
        alone = zip(drawn.cards, drawn.tensors, strict=True)
        self._cards |= {tensors[0]: card for card, tensors in alone if card.kind != "scope"}

    # tensors -------------------------------------------------------------------------------------

    def _tensor(self, tensor: Tensor) -> int:
        """Return the position of a tensor, described when it is met first."""
        if tensor not in self._tensors:
            self._tensors[tensor] = len(self.tensors)
            self.tensors.append({})
            self.tensors[self._tensors[tensor]] = self._facts(tensor)
        return self._tensors[tensor]

    def _facts(self, tensor: Tensor) -> Json:
        card = self._cards[tensor]
        gradient = self.views.subject.gradients.get(tensor)
        scope = tensor.scope
        told: Json = {
            "name": card.name,
            "badge": card.badge,
            "kind": card.kind,
            "level": card.level,
            "scope": [clean(s.name) for s in scope.path] if scope is not None else [],
            "value": self.arrays.add(self._used.get(tensor, tensor.data)),
        }
        if gradient is not None:
            told["gradient"] = self.arrays.add(gradient.data)
        if tensor.op is not None:
            told |= self._operation(tensor)
        return told

    def _operation(self, tensor: Tensor) -> Json:
        op, origin = tensor.op, tensor.adjoint_of
        doc = " ".join(op.doc.split("\n\n")[0].split()).replace("``", "")
        told: Json = {"op": op.name, "doc": clean(doc, _LINE)}
        told["operands"] = self._operands(tensor)
        told["rules"] = [[i, self._rule(rule_text(op.rules[i]))] for i in tensor.wrt]
        if tensor.where is not None:
            text = clean(linecache.getline(*tensor.where), _LINE)
            file = clean(PurePath(tensor.where.file).name)
            told["where"] = [file, tensor.where.line, text]
        if origin in self._tensors:
            told["rule_of"] = self._tensors[origin]
        return told

    def _operands(self, tensor: Tensor) -> list[Json]:
        """Say what an operation ran on, in the order of its operands, by the rule's own names."""
        return [
            {**_called(tensor, i), **self._given(x, value)}
            for i, (x, value) in enumerate(zip(tensor.inputs, tensor.values, strict=True))
        ]

    def _given(self, x: Any, value: Any) -> Json:
        """Point to an operand and its value, or write a number that is folded into the card."""
        if not isinstance(x, Tensor):
            return {"text": clean(constant(x), _LINE)}
        if x not in self._cards:
            return {"text": constant(np.asarray(value)[()])}
        known = {"tensor": self._tensors[x]} if x in self._tensors else {}
        return {**known, "array": self.arrays.add(np.asarray(value))}

    def _rule(self, rule: RuleText) -> int:
        if rule.code not in self._rules:
            self._rules[rule.code] = len(self.rules)
            self.rules.append(rule.code)
        return self._rules[rule.code]

    # steps ----------------------------------------------------------------------------------------

    def _steps(self) -> list[Json]:
        """List what happens: values in the order of recording, then the rules in the sweep's."""
        subject, forward = self.views.subject, self.views.forward
        if len(forward.cards) > MAX_STEPS:
            return []
        steps: list[Json] = [
            {"kind": "value", "tensor": self._tensor(tensors[0])} for tensors in forward.tensors
        ]
        if subject.gradients:
            (root,) = subject.results
            applied = subject.steps or applications(root)
            self._meeting = Counter(part.operand for step in applied for part in step.parts)
            start = {"kind": "seed", "tensor": self._tensor(root)}
            steps += [start, *map(self._applied, applied)]
        return steps

    def _applied(self, applied: Application) -> Json:
        parts = [self._part(applied, part) for part in applied.parts]
        number = self._tensor(applied.node)
        return {"kind": "rule", "tensor": number, "g": self.arrays.add(applied.g), "parts": parts}

    def _part(self, applied: Application, part: Part) -> Json:
        node = applied.node
        told: Json = {
            "operand": part.position,
            "tensor": self._tensor(part.operand),
            "rule": self._rule(rule_text(node.op.rules[part.position])),
            "reads": [self._read(node, position) for position in sorted(part.reads)],
            "piece": self.arrays.add(part.piece),
            "total": self.arrays.add(part.total),
            "nth": part.nth,
            "of": self._meeting[part.operand],
        }
        if part.shape != part.piece.shape:
            told["summed"] = f"{shape_text(part.shape)} → {shape_text(part.piece.shape)}"
        return told

    def _read(self, node: Tensor, position: int) -> Json:
        """Say which value a rule reads, by the rule's own name."""
        if position == RESULT:
            return {"as": "out", **self._given(node, node.data)}
        value = node.values[position]
        return {**_called(node, position), **self._given(node.inputs[position], value)}

    # views ----------------------------------------------------------------------------------------

    def _view(self, view: View, focus: Focus) -> Json:
        """Say what a view shows and where; of one that is too large only how large it is."""
        drawn = view.drawn
        told: Json = {"kind": view.kind, "label": clean(view.label), "count": len(drawn.cards)}
        if not view.fits:
            return told
        if view.kind == "operations":
            self._know_recorded(drawn)
        laid = layout_of(view, self._run)
        scopes = framed(drawn)
        opens = {number: _opened(focus, scope) for number, scope in view.collapsed.items()}
        leaving = _leaving(view)
        told["size"] = [round(laid.width), round(laid.height)]
        told["card"] = laid.card
        told["cards"] = [
            [self._face(view, card, opens, leaving), *map(round, laid.cards[card.number][:2])]
            for card in drawn.cards
        ]
        told["frames"] = [
            [
                self._face_of_frame(frame, _opened(focus, scopes.get(frame.cluster))),
                *map(round, frame.box),
            ]
            for frame in laid.frames
        ]
        told["edges"] = [
            [edge.source, edge.target, edge.mark, _steps_of(laid.paths[i])]
            for i, edge in enumerate(drawn.edges)
            if not edge.saved
        ]
        told["saved"] = [[edge.source, edge.target] for edge in drawn.edges if edge.saved]
        if view.scope is not None:
            told |= self._whereabouts(view, view.scope, focus)
        return told

    def _whereabouts(self, view: View, scope: Scope, focus: Focus) -> Json:
        """Lead back from the view of a scope: the scopes around it, with their views."""
        path = [[clean(s.name), _opened(focus, s)] for s in scope.path]
        return {"path": path, "stubs": sorted(view.stubs)}

    def _know_recorded(self, drawn: Diagram) -> None:
        """Take in the operations of a recorded gradient, after those that they belong to."""
        alone = zip(drawn.cards, drawn.tensors, strict=True)
        new = {ts[0]: card for card, ts in alone if ts[0] not in self._cards}
        self._cards |= new
        for tensor in new:
            self._tensor(tensor)

    def _face(
        self, view: View, card: Card, opens: Mapping[int, int], leaving: Mapping[int, Tensor]
    ) -> int:
        """Return the position of what is written on a card, which is alike in many views."""
        tensors = view.drawn.tensors[card.number]
        told: Json = {
            "kind": card.kind,
            "level": card.level,
            "badge": card.badge,
            "family": card.family if card.family in FAMILIES else "other",
            "name": card.name,
            "shape": card.shape,
            "title": title_of(card, tensors[0]),
            "note": card.note,
            "result": card.result,
            "image": view.mirror and card.level > 0,
        }
        if card.value is not None:
            told["value"], told["alarm"] = card.value
        if card.kind == "scope":
            told["opens"] = opens[card.number]
            told["members"] = [self._tensors[t] for t in tensors if t in self._tensors]
            if leaving.get(card.number) in self._tensors:
                told["shows"] = self._tensors[leaving[card.number]]
        else:
            told["tensor"] = self._tensor(tensors[0])
        return self._listed({key: v for key, v in told.items() if v is not False and v != ""})

    def _face_of_frame(self, frame: Frame, opens: int) -> int:
        cluster = frame.cluster
        return self._listed(
            {"name": cluster.name, "level": cluster.level, "depth": cluster.depth, "opens": opens}
        )

    def _listed(self, face: Json) -> int:
        return self._faces.setdefault(json.dumps(face), len(self._faces))


def _leaving(view: View) -> dict[int, Tensor]:
    """Find the last tensor that leaves each collapsed card; its gradient for a mirror image."""
    drawn, images = view.drawn, {image: card for card, image in view.drawn.beside}
    own = {n: ts for n, ts in enumerate(drawn.tensors) if not (view.mirror and n in images)}
    place = {tensor: number for number, tensors in own.items() for tensor in tensors}
    found: dict[int, Tensor] = {}
    for user, number in place.items():
        for x in user.inputs:
            if isinstance(x, Tensor) and place.get(x, number) != number:
                found[place[x]] = x
    for number, tensors in own.items():
        if drawn.cards[number].result:
            found[number] = tensors[-1]
    mirrored = {n: found[card] for n, card in images.items() if view.mirror and card in found}
    return {n: x for n, x in (found | mirrored).items() if drawn.cards[n].kind == "scope"}


def _opened(focus: Focus, scope: Scope | None) -> int:
    """Say which view opens a scope, -1 where none does."""
    return -1 if scope is None else focus.get(scope, -1)


def _readable(view: Json) -> bool:
    """Whether all of a view can be read at once on a common screen."""
    width, height = view["size"]
    return bool(min(_SCREEN[0] / width, _SCREEN[1] / height) >= _SMALLEST)


def title_of(card: Card, tensor: Tensor) -> str:
    """Name an operation on its card where neither the user nor the badge does."""
    named = card.name or card.kind != "op" or card.badge.startswith(tensor.op.name)
    return "" if named else clean(tensor.op.name)


def _names(tensor: Tensor) -> Sequence[str]:
    """Name the operands as the rules of their operation do, or else by letters."""
    letters = [chr(ord("a") + i % 26) for i in range(len(tensor.inputs))]
    known = rule_text(tensor.op.rules[tensor.wrt[0]]).names[2:] if tensor.wrt else ()
    many = next((i for i, name in enumerate(known) if name.startswith("*")), len(known))
    return [
        known[i] if i < many else f"{known[many][1:]}[{i - many}]" if many < len(known) else letter
        for i, letter in enumerate(letters)
    ]


def _called(tensor: Tensor, position: int) -> Json:
    """Name an operand: as the rule does, and if there are several by its letter in pictures."""
    letter = {"mark": LETTERS[position]} if 1 < len(tensor.inputs) <= len(LETTERS) else {}
    return {"as": _names(tensor)[position], **letter}


def _steps_of(path: Sequence[Point]) -> list[int]:
    """Write a path in whole pixels, each point as the way from the one before: that is shorter."""
    whole = [(round(x), round(y)) for x, y in path]
    before = [(0, 0), *whole[:-1]]
    ways = ((x - a, y - b) for (x, y), (a, b) in zip(whole, before, strict=True))
    return [length for way in ways for length in way]
