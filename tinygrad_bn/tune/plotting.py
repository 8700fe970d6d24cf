"""Pictures of a search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinygrad_bn.errors import OptionalDependencyError
from tinygrad_bn.tune.plans import Box, Plan
from tinygrad_bn.tune.spaces import Space
from tinygrad_bn.tune.trials import Row

POINT, SHADE, LOST = "#3b7dd8", "#e08a1e", "#c0392b"
COLUMNS = 3


def draw(plan: Plan, rows: Sequence[Row], boxes: Sequence[Box], path: Path) -> None:
    """Draw the value against each dimension; see ``Result.plot``."""
    columns = min(len(plan.space), COLUMNS)
    lines = -(-len(plan.space) // columns)
    figure = _figure()((3.6 * columns, 3.0 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for panel in panels.ravel()[len(plan.space) :]:
        panel.set_visible(False)
    for panel, (name, space) in zip(panels.ravel(), plan.space.items(), strict=False):
        _panel(panel, name, space, rows)
        for box in boxes[1:] if not space.unordered else ():
            panel.axvspan(*map(space.to_parameter, box[name]), color=SHADE, alpha=0.15, linewidth=0)
    for panel in panels[:, 0]:
        panel.set_ylabel("value")
    figure.savefig(path)


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  (optional)
    except ImportError as error:
        raise OptionalDependencyError(
            "A plot needs matplotlib.",
            'Install the extra "demos": pip install "tinygrad_bn[demos]".',
        ) from error
    return Figure


def _panel(panel: Any, name: str, space: Space, rows: Sequence[Row]) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_xlabel(space.parameter(name))
    if space.logarithmic:
        panel.set_xscale("log")
    if space.ticks:
        places = [_place(space, value) for value in space.ticks]
        panel.set_xticks(places, map(str, space.ticks), minor=False)
        panel.set_xticks([], minor=True)
    ended = [row for row in rows if math.isfinite(row.value)]
    for state, fill in (("complete", POINT), ("pruned", "none")):
        some = [row for row in ended if row.state == state]
        x = [_place(space, row.values[name]) for row in some]
        panel.plot(x, [row.value for row in some], "o", color=POINT, mfc=fill, markersize=4)
    x = [_place(space, row.values[name]) for row in rows if not math.isfinite(row.value)]
    foot = panel.get_xaxis_transform()
    panel.plot(x, [0.02] * len(x), "x", color=LOST, transform=foot)


def _place(space: Space, value: Any) -> float:
    place = space.to_unit(value) if space.unordered else space.to_parameter(value)
    return float(place)
