"""The gradient as a mirror image: beside each card the card of its gradient, edges turned round.

An edge of the mirror image is one rule applied: from the gradient of a result to that of an
operand. What several rules contribute to meets in one card, and is summed there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tinygrad_bn.viz.labels import few, gradient_of
from tinygrad_bn.viz.model import Card, Cluster, Diagram, Edge


def mirrored(forward: Diagram, saved: list[tuple[int, int]]) -> Diagram:
    """Add its gradient to a forward diagram.

    ``forward``: its cards carry their gradients; ``saved``: pairs of a card whose value is read,
    and the card in whose rule.
    """
    reached = [card for card in reversed(forward.cards) if card.gradient is not None]
    image = {card.number: len(forward.cards) + i for i, card in enumerate(reached)}
    flowing = [e for e in forward.edges if e.flows and e.source in image and e.target in image]
    sums = Counter(edge.source for edge in flowing)
    cards = [replace(card, gradient=None) for card in forward.cards]
    cards += [_image(card, image[card.number], sums[card.number]) for card in reached]
    turned = [Edge(image[e.target], image[e.source], e.operand, e.mark) for e in flowing]
    read = [Edge(a, image[b], 0, saved=True) for a, b in saved if b in image]
    clusters = [*forward.root.members, *_image_of_clusters(forward, image)]
    tensors = forward.tensors + [forward.tensors[card.number] for card in reached]
    edges = sorted([*turned, *read], key=lambda e: e.target)
    return Diagram(
        cards, forward.edges + edges, Cluster("", 0, 0, clusters), [*image.items()], tensors
    )


def _image(card: Card, number: int, contributions: int) -> Card:
    """Make the card of a gradient."""
    seed = card.result and not contributions and card.kind != "scope"
    kind = "seed" if seed else "scope" if card.kind == "scope" else "gradient"
    several = f"sum of {contributions}" if contributions > 1 else ""
    badge = "1" if seed else f"∂ {card.badge}" if card.kind == "op" else "∂"
    made = card.badge if card.kind == "op" else ""
    called = ": ".join(filter(None, (card.name, made)))
    return replace(
        card,
        number=number,
        kind=kind,
        level=card.level + 1,
        image=True,
        badge="" if kind == "scope" else badge,
        name=f"∂ {card.name}" if kind == "scope" else gradient_of(card.name) if card.name else "",
        note=few(map(gradient_of, card.holds)) if kind == "scope" else several,
        call=f"gradient of {called or 'n' + str(card.number)}",
        result=False,
        value=card.gradient,
        gradient=None,
    )


def _image_of_clusters(forward: Diagram, image: dict[int, int]) -> list[int | Cluster]:
    """Nest the cards of gradients as their forward cards are, the last first; empty frames go."""
    root = Cluster("", 0, 0)
    open_: list[Cluster] = [root]
    for member in forward.walk():
        if isinstance(member, Cluster):
            image_of = Cluster(f"∂ {member.name}", member.level + 1, member.depth, image=True)
            open_.append(image_of)
        elif member is not None:
            open_[-1].members += [image[member]] if member in image else []
        elif len(open_) > 1:
            closed = open_.pop()
            closed.members.reverse()
            open_[-1].members += [closed] if closed.members else []
    root.members.reverse()
    return root.members
