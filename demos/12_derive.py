"""Derive: the closed form of every gradient, step by step from the graph that was recorded.

Nobody wrote these formulas: y_hat - y of cross-entropy, the three terms of batch norm, the normal
equations. Each is what the recorded gradient becomes when the named laws of arithmetic are applied
to it until none makes it shorter. You will see

- a line for each: operations before and after, how many laws were used, and the formula;
- ``derivations.html``: a page with formulas, steps, graphs before and after, LaTeX and programs.

The functions stand in ``closed_forms.py``. With ``--fast`` only a few graphs are drawn.

    python demos/12_derive.py [--fast] [--out DIR] [--seed N]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

import lecture
from closed_forms import TARGETS, Target
from tinygrad_bn import Derivation
from tinygrad_bn.cli.derivations import Entry, page

ABOUT = """\
Each function was called once; the graph of its gradient was recorded, and the named laws of real
arithmetic were applied to it until none made it shorter. g is what comes back from above, the
gradient of a loss L by the function's result."""


def entry(target: Target, found: Derivation, *, fast: bool) -> Entry:
    """Write what the page tells of a target."""
    return Entry(
        title=target.title,
        derivation=found,
        name=target.name,
        section=target.section,
        text=target.why,
        code=f"{target.source}\n\n{target.call}",
        pictured=target.pictured or not fast,
    )


def line(target: Target, found: Derivation) -> str:
    """Write one line on a target."""
    before, after = len(found.recorded.nodes), len(found.result.nodes)
    counts = f"{before:>3} -> {after:<3} {len(found.steps):>3} steps"
    return f"{target.title:40}{counts}  {found.formula}"


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the demo; returns the numbers that it prints."""
    options = lecture.options(__doc__, argv, name="12_derive")
    bar = tqdm(TARGETS, desc="deriving", unit="gradient", ncols=88, disable=None)
    found = {target.name: (target, target.derive(options.seed)) for target in bar}
    for target, derivation in found.values():
        print(line(target, derivation))
    path = options.out / "derivations.html"
    entries = [entry(*pair, fast=options.fast) for pair in found.values()]
    path.write_text(page("Gradients in closed form", entries, [ABOUT]), encoding="utf-8")
    print(f"{len(entries)} derivations in {path}")
    return {
        name: {
            "before": len(derivation.recorded.nodes),
            "after": len(derivation.result.nodes),
            "steps": len(derivation.steps),
            "formulas": derivation.formulas,
        }
        for name, (_, derivation) in found.items()
    }


if __name__ == "__main__":
    main()
