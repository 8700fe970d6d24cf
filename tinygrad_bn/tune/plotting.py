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


def draw(plan: Plan, rows: Sequence[Row], boxes: Sequence[Box], path: Path) -> None:
    """Draw the value against each dimension; see ``Result.plot``."""
    figure = _figure()((3.2 * len(plan.space), 3.2), layout="constrained")
    panels = figure.subplots(1, len(plan.space), sharey=True, squeeze=False)[0]
    for panel, (name, space) in zip(panels, plan.space.items(), strict=True):
        _panel(panel, name, space, rows)
        for box in boxes[1:] if not space.unordered else ():
            panel.axvspan(*map(space.to_parameter, box[name]), color=SHADE, alpha=0.15, linewidth=0)
    panels[0].set_ylabel("value")
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
    if space.unordered:
        choices = space.grid()
        panel.set_xticks([space.to_unit(choice) for choice in choices], map(str, choices))
    ended = [row for row in rows if math.isfinite(row.value)]
    for state, fill in (("complete", POINT), ("pruned", "none")):
        some = [row for row in ended if row.state == state]
        x = [_place(space, row.values[name]) for row in some]
        panel.plot(x, [row.value for row in some], "o", color=POINT, mfc=fill, markersize=4)
    x = [_place(space, row.values[name]) for row in rows if not math.isfinite(row.value)]
    foot = panel.get_xaxis_transform()
    panel.plot(x, [0.02] * len(x), "x", color=LOST, transform=foot, clip_on=False)


def _place(space: Space, value: Any) -> float:
    place = space.to_unit(value) if space.unordered else space.to_parameter(value)
    return float(place)
