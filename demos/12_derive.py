"""Derive: the closed form of every gradient, step by step from the graph that was recorded.

Nobody wrote these formulas: y_hat - y of cross-entropy, the three terms of batch norm, the normal
equations. Each is what the recorded gradient becomes when the named laws of arithmetic are applied
to it until none makes it shorter. You will see

- a line for each: operations before and after, how many laws were used, whether that proves it, and
  the formula;
- ``derivations.html``: a page with formulas, steps, graphs before and after, LaTeX and programs.

The functions stand in ``closed_forms.py``. With ``--fast`` a few graphs are drawn, and derivations
are checked on 3 random inputs, not on 20.

    python demos/12_derive.py [--fast] [--out DIR] [--seed N]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

import lecture
from closed_forms import TARGETS, Target
from tinygrad_bn import Derivation
from tinygrad_bn.algebra.proving import Proof
from tinygrad_bn.cli.derivations import Entry, page

ABOUT = """\
Each function was called once; the graph of its gradient was recorded, and the named laws of real
arithmetic were applied to it until none made it shorter. g is what comes back from above, the
gradient of a loss L by the function's result."""


def entry(target: Target, found: Derivation, proof: Proof, *, pictured: bool) -> Entry:
    """Write what the page tells of a target."""
    return Entry(
        title=target.title,
        derivation=found,
        name=target.name,
        section=target.section,
        text=target.why,
        code=f"{target.source}\n\n{target.call}",
        note=noted(found, proof),
        pictured=pictured,
    )


def noted(found: Derivation, proof: Proof) -> str:
    """Say how far a derivation is checked."""
    if not found.shorter:
        return ""
    given = f", given that {' and '.join(proof.given)}" if proof.given else ""
    return f"{proof.verdict.capitalize()}{given}; checked on {proof.examples} random inputs."


def line(target: Target, found: Derivation, proof: Proof) -> str:
    """Write one line on a target."""
    before, after = len(found.recorded.nodes), len(found.result.nodes)
    verdict = proof.verdict if found.shorter else "not shorter"
    counts = f"{before:>3} -> {after:<3} {len(found.steps):>3} steps  {verdict:16}"
    return f"{target.title:40}{counts}{found.formula}"


def numbers(found: Derivation, proof: Proof) -> dict[str, Any]:
    """Return what is printed of a target, and how it compares with finite differences."""
    return {
        "before": len(found.recorded.nodes),
        "after": len(found.result.nodes),
        "steps": len(found.steps),
        "verdict": proof.verdict,
        "share of the error of finite differences": proof.differences,
        "formulas": found.formulas,
    }


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the demo; returns the numbers of each target by its name."""
    options = lecture.options(__doc__, argv, name="12_derive")
    entries, result = [], {}
    for target in tqdm(TARGETS, desc="deriving", unit="gradient", ncols=88, disable=None):
        found = target.derive(options.seed)
        proof = found.proof(examples=3 if options.fast else 20)
        tqdm.write(line(target, found, proof))
        pictured = target.pictured or not options.fast
        entries.append(entry(target, found, proof, pictured=pictured))
        result[target.name] = numbers(found, proof)
    path = options.out / "derivations.html"
    path.write_text(page("Gradients in closed form", entries, [ABOUT]), encoding="utf-8")
    print(f"{len(entries)} derivations in {path}")
    return result


if __name__ == "__main__":
    main()
