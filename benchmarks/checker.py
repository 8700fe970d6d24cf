"""How far the gradient checker can be trusted: its power and its calm, beside three recipes.

    python benchmarks/checker.py calm                    # 50,000 right gradients: false alarms
    python benchmarks/checker.py power                   # wrong rules of every row: caught, named
    python benchmarks/checker.py rows                    # the cases that other checkers get wrong
    python benchmarks/checker.py calm --cases 2000 --seed 7 --processes 1
    python benchmarks/checker.py case programs float64 generic 17 --seed 7     # one case again

Every case is drawn from a seed: a call of one row of the table, a composed function, or a program
of up to eight rows, with values of one of the kinds of ``strategies.kinds``. ``calm`` checks
gradients that are right (order 1, every seventh at order 2), so that every mismatch is a false
alarm. ``power`` installs a wrong rule, draws calls of its row, programs with it and the composed
functions that use it, and keeps those at which the gradient really differs; then every pass is a
miss, and the report has to name the row.

The recipes are those of other checkers, written again from their documentation and applied to the
same function and gradient: torch's ``gradcheck`` (slow: the whole Jacobian by central differences
with step 1e-6; atol 1e-5, rtol 1e-3; fast: one pair of random non-negative directions), JAX's
``check_grads`` (step 1e-4, one random pair, 1e-5; in float32 2e-3) and autograd's ``check_grads``
(step 5e-7, one pair, 1e-6). Torch's and autograd's are meant for float64 only, and for points
without kinks; their authors say so.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import tinygrad_bn as tg
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.primitive import table
from tinygrad_bn.graph.state import no_grad
from tinygrad_bn.testing import Report, check_gradients, check_rule, mutants
from tinygrad_bn.testing.generators.calls import draw_call
from tinygrad_bn.testing.generators.choices import Seeded
from tinygrad_bn.testing.generators.compositions import NAMES, draw_composition
from tinygrad_bn.testing.generators.programs import draw_program
from tinygrad_bn.testing.generators.values import KINDS

DTYPES = ("float64", "float32")
SOURCES = ("primitives", "compositions", "programs")
KINDS_USED = tuple(kind for kind in KINDS if kind != "subnormal")
WORST = ("mismatch", "aliased", "nondeterministic", "inconclusive", "nonfinite", "kink", "ok")
ROWS = sorted(name for name, op in table.items() if op.differentiable and op.family != "custom")


class Case(NamedTuple):
    """A right function with a point, and what it was drawn from."""

    source: str
    dtype: str
    kind: str
    number: int
    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    @property
    def label(self) -> str:
        """What to call ``case`` with to see it again."""
        return f"{self.source} {self.dtype} {self.kind} {self.number}"


def draw(source: str, dtype: str, kind: str, number: int, seed: int) -> Case:
    """Draw one case."""
    salt = (seed, SOURCES.index(source), DTYPES.index(dtype), KINDS.index(kind), number)
    choices = Seeded(np.random.default_rng(salt))
    options: dict[str, Any] = {"kind": kind, "dtype": dtype}
    if source == "primitives":
        call = draw_call(choices, ROWS[number % len(ROWS)], **options)
        return Case(source, dtype, kind, number, call, tuple(call.primals))
    if source == "compositions":
        drawn = draw_composition(choices, NAMES[number % len(NAMES)], **options)
        return Case(source, dtype, kind, number, drawn.function, drawn.arguments)
    program = draw_program(choices, **options)
    return Case(source, dtype, kind, number, program, tuple(program.inputs.values()))


# the recipes of others ----------------------------------------------------------------------------


def results(function: Callable[..., Any], point: Sequence[Any]) -> np.ndarray:
    """Evaluate a function; all of its results as one vector."""
    with no_grad(), np.errstate(all="ignore"):
        leaves = flatten(function(*point))[0]
        return np.concat([np.ravel(np.asarray(y)) for y in leaves])


def gradient(function: Callable[..., Any], point: Sequence[Any], v: np.ndarray) -> np.ndarray:
    """Pull a cotangent of that vector back; all gradients as one vector."""

    def whole(*xs: Any) -> Any:
        """Give the results as one vector."""
        return tg.concat([tg.reshape(y, (-1,)) for y in flatten(function(*xs))[0]])

    with np.errstate(all="ignore"):
        return np.concat([np.ravel(g.data) for g in tg.vjp(whole, *point)[1](v)])


def moved(point: Sequence[Any], direction: np.ndarray, step: float) -> list[np.ndarray]:
    """Move a point by a step along one direction for all arguments."""
    sizes = np.cumsum([0, *(np.size(x) for x in point)])
    parts = (direction[a:b] for a, b in itertools.pairwise(sizes))
    return [
        np.asarray(x + (step * d).reshape(np.shape(x)), np.asarray(x).dtype)
        for x, d in zip(point, parts, strict=True)
    ]


def slope(function: Callable[..., Any], point: Sequence[Any], d: np.ndarray, h: float) -> Any:
    """Take a central difference of all results."""
    with np.errstate(all="ignore"):
        return (results(function, moved(point, d, h)) - results(function, moved(point, d, -h))) / (
            2 * h
        )


def torch_fast(function: Any, point: Sequence[Any], rng: np.random.Generator) -> bool:
    """One pair of random non-negative unit directions; atol grows with their sums."""
    n, m = sum(np.size(x) for x in point), results(function, point).size
    u, v = (rng.random(k) for k in (n, m))
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    numeric = v @ slope(function, point, u, 1e-6)
    claimed = gradient(function, point, v) @ u
    return bool(np.isclose(claimed, numeric, rtol=1e-3, atol=1e-5 * u.sum() * v.sum()))


def torch_slow(function: Any, point: Sequence[Any], rng: np.random.Generator) -> bool:
    """The whole Jacobian, column by column."""
    n, m = sum(np.size(x) for x in point), results(function, point).size
    numeric = np.array([slope(function, point, e, 1e-6) for e in np.eye(n)]).T
    claimed = np.array([gradient(function, point, e) for e in np.eye(m)])
    return bool(np.allclose(claimed, numeric.reshape(m, n), rtol=1e-3, atol=1e-5))


def jax(function: Any, point: Sequence[Any], rng: np.random.Generator) -> bool:
    """One random pair."""
    n, m = sum(np.size(x) for x in point), results(function, point).size
    u, v = rng.normal(size=n), rng.normal(size=m)
    narrow = np.result_type(*point) != np.float64
    tolerance = 2e-3 if narrow else 1e-5
    numeric = v @ slope(function, point, u, 1e-4)
    claimed = gradient(function, point, v) @ u
    return bool(np.isclose(claimed, numeric, rtol=tolerance, atol=tolerance))


def autograd(function: Any, point: Sequence[Any], rng: np.random.Generator) -> bool:
    """One random pair; right if the error is small absolutely or relatively."""
    n, m = sum(np.size(x) for x in point), results(function, point).size
    u, v = rng.normal(size=n), rng.normal(size=m)
    numeric = v @ slope(function, point, u, 5e-7)
    off = abs(gradient(function, point, v) @ u - numeric)
    return bool(off < 1e-6 or off < 1e-6 * abs(numeric))


RECIPES = {"torch slow": torch_slow, "torch fast": torch_fast, "JAX": jax, "autograd": autograd}


def passes(recipe: Any, case: Case) -> bool:
    """Whether a recipe passes a gradient; an error is none."""
    try:
        return bool(recipe(case.function, case.arguments, np.random.default_rng(case.number)))
    except (*mutants.REFUSED, ArithmeticError):
        return False


# calm ---------------------------------------------------------------------------------------------


class Judged(NamedTuple):
    """What became of a right case."""

    label: str
    source: str
    dtype: str
    kind: str
    verdict: str
    alarms: tuple[str, ...]
    text: str


def check(case: Case, order: int) -> Report:
    """Check a case: one direction, so that 50,000 cases take an hour."""
    return check_gradients(
        case.function, *case.arguments, order=order, directions=1, seed=case.number
    )


def judge(task: tuple[str, str, str, int, int]) -> Judged:
    """Check one right case; every seventh at order 2, every tenth by the recipes, too."""
    *where, seed = task
    case = draw(*where, seed)
    report = check(case, 2 if case.number % 7 == 0 else 1)
    kinds = {v.kind for v in report.verdicts}
    verdict = next(kind for kind in WORST if kind in kinds)
    bad = verdict in ("mismatch", "aliased", "nondeterministic", "inconclusive")
    finite = not any(v.kind == "nonfinite" and not v.mode for v in report.verdicts)
    asked = case.number % 10 == 0 and finite
    alarms = tuple(name for name, r in RECIPES.items() if asked and not passes(r, case))
    return Judged(
        case.label,
        case.source,
        case.dtype,
        case.kind,
        verdict if finite else "outside",
        (*alarms, *(("asked",) if asked else ())),
        report.summary() if bad else "",
    )


def tasks(count: int, seed: int) -> Iterator[tuple[str, str, str, int, int]]:
    """Share the cases equally among sources, dtypes and kinds."""
    groups = list(itertools.product(SOURCES, DTYPES, KINDS_USED))
    for i in range(count):
        source, dtype, kind = groups[i % len(groups)]
        yield source, dtype, kind, i // len(groups), seed


def parallel(function: Any, items: Sequence[Any], processes: int, what: str) -> Iterator[Any]:
    """Apply a function in several processes, with a bar."""
    quiet = not sys.stderr.isatty()
    if processes == 1:
        yield from tqdm(map(function, items), total=len(items), desc=what, disable=quiet)
        return
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        found = pool.imap_unordered(function, items, chunksize=16)
        yield from tqdm(found, total=len(items), desc=what, disable=quiet)


def calm(count: int, seed: int, processes: int) -> dict[str, Any]:
    """Check right cases; print what became of them, and every one that was not passed."""
    found = list(parallel(judge, list(tasks(count, seed)), processes, "calm"))
    for by in ("source", "dtype", "kind"):
        print(f"\n| {by} | cases | ok | kink | outside the domain | gradient not finite "
              "| inconclusive | false alarms |")  # fmt: skip
        print("|---|---|---|---|---|---|---|---|")
        groups = defaultdict(Counter)
        for one in found:
            groups[getattr(one, by)][one.verdict] += 1
        groups["all"] = sum(groups.values(), Counter())
        for name, n in groups.items():
            alarms = n["mismatch"] + n["aliased"] + n["nondeterministic"]
            print(f"| {name} | {n.total():,} | {n['ok']:,} | {n['kink']:,} | {n['outside']:,} "
                  f"| {n['nonfinite']:,} | {n['inconclusive']:,} | {alarms:,} |")  # fmt: skip
    asked = Counter(one.dtype for one in found if "asked" in one.alarms)
    print("\n| recipe | " + " | ".join(f"alarms, {d} ({asked[d]:,} cases)" for d in DTYPES) + " |")
    print("|---|---|---|")
    for name in RECIPES:
        shares = [
            sum(name in one.alarms for one in found if one.dtype == d) / max(asked[d], 1)
            for d in DTYPES
        ]
        print(f"| {name} | " + " | ".join(f"{share:.2%}" for share in shares) + " |")
    for one in found:
        if one.text:
            print(f"\n{one.label} --seed {seed}\n{one.text}")
    return {"verdicts": Counter(one.verdict for one in found)}


# power --------------------------------------------------------------------------------------------

RELATIVE = (1e-3, 1e-4, 1e-6, 1e-8)
PER_MUTANT = 3
"""At how many points a mutant is shown to the checkers."""


class Tried(NamedTuple):
    """What a checker said to a wrong rule at one point."""

    sort: str
    source: str
    label: str
    caught: bool
    named: bool
    culprit: str
    by: tuple[str, ...]


def sorts() -> list[tuple[str, str, float]]:
    """List the wrong rules: the row, the sort, and how wrong it is."""
    listed = []
    for row in ROWS:
        names = {m.name for m in mutants.mutants(row)}
        for name in sorted(names):
            sizes = RELATIVE if name == "scaled" else (1e-4,)
            listed += [(row, name, relative) for relative in sizes]
    return listed


def attempt(task: tuple[str, str, float, int]) -> list[Tried]:
    """Install each mutant of a sort of a row, one operand after the other, and try to catch it."""
    row, name, relative, seed = task
    found: list[Tried] = []
    for wrong in mutants.mutants(row, relative, relative / 10):
        if wrong.name != name:
            continue
        cases = points(row, wrong.operand, seed)
        shown = (c for c in cases if mutants.exposed(wrong, c.function, *c.arguments))
        found += [confront(wrong, case, sort_name(name, relative)) for case in shown]
    return found


def sort_name(name: str, relative: float) -> str:
    """Name a sort of mutant with its size, where it has one."""
    return f"scaled by 1 + {relative:g}" if name == "scaled" else name


def points(row: str, operand: int, seed: int) -> Iterator[Case]:
    """Draw calls of a row in which an operand has a gradient, and programs with the row."""
    for number in range(PER_MUTANT):
        choices = Seeded(np.random.default_rng((seed, number, operand)))
        call = draw_call(choices, row, margin=0.01)
        if operand in call.wrt:
            yield Case("primitives", "float64", "generic", number, call, tuple(call.primals))
    if row in ("nextafter", "real", "imag", "conj"):
        return
    choices = Seeded(np.random.default_rng((seed, 99, operand)))
    program = draw_program(choices, including=[row], length=(2, 5), margin=0.01)
    yield Case("programs", "float64", "generic", 99, program, tuple(program.inputs.values()))


def confront(wrong: mutants.Mutant, case: Case, sort: str) -> Tried:
    """Let our checker and the recipes look at a wrong gradient."""
    with mutants.installed(wrong):
        report = check_gradients(case.function, *case.arguments, order=1, seed=case.number)
        caught = any(v.kind == "mismatch" for v in report.verdicts)
        named = f"{wrong.op.name}(" in report.culprit
        by = tuple(name for name, recipe in RECIPES.items() if not passes(recipe, case))
    return Tried(sort, case.source, str(wrong), caught, named, report.culprit, by)


def confront_composed(task: tuple[str, int]) -> list[Tried]:
    """Scale the rules of the rows that a composed function is made of, one after the other."""
    name, seed = task
    drawn = draw_composition(Seeded(np.random.default_rng((seed, 5))), name)
    case = Case("compositions", "float64", "generic", 5, drawn.function, drawn.arguments)
    recorded = tg.trace(case.function, *case.arguments)
    used = dict.fromkeys(node.op.name for node in recorded.nodes if node.op.differentiable)
    found = []
    for row, relative in itertools.product(used, (1e-4, 1e-6)):
        if row not in table:
            continue
        for wrong in mutants.mutants(row, relative):
            keep = wrong.name in ("scaled", "negated", "dropped")
            if keep and mutants.exposed(wrong, case.function, *case.arguments):
                found.append(confront(wrong, case, sort_name(wrong.name, relative)))
    return found


def power(seed: int, processes: int, share: int) -> dict[str, Any]:
    """Show every wrong rule to the checkers; print who caught how many."""
    listed = [(*one, seed) for one in sorts()][::share]
    found = [t for ts in parallel(attempt, listed, processes, "power") for t in ts]
    composed = [(name, seed) for name in NAMES][::share]
    found += [t for ts in parallel(confront_composed, composed, processes, "composed") for t in ts]
    columns = ["caught", "row named", *RECIPES]
    for by in ("sort", "source"):
        print(f"\n| {by} | shown | " + " | ".join(columns) + " |")
        print("|" + "---|" * (len(columns) + 2))
        groups = defaultdict(list)
        for one in sorted(found):
            groups[getattr(one, by)].append(one)
        for name, group in [*groups.items(), ("all", found)]:
            print(f"| {name} | {len(group):,} | " + " | ".join(shares(group)) + " |")
    for one in found:
        if not (one.caught and one.named):
            print("missed" if not one.caught else "not named", one)
    return {"missed": [t for t in found if not t.caught], "shown": len(found)}


def shares(group: Sequence[Tried]) -> list[str]:
    """Say which share of a group was caught, was named, and was caught by each recipe."""
    counts = [sum(t.caught for t in group), sum(t.named for t in group)]
    counts += [sum(name in t.by for t in group) for name in RECIPES]
    return [f"{count / len(group):.1%}" for count in counts]


# the rows of other checkers -----------------------------------------------------------------------


def planted() -> list[tuple[str, bool, Callable[[], Any]]]:
    """List functions that other checkers judge wrongly: what, whether right, and our report."""

    def wrong(scale: float) -> Callable[[], Report]:
        return lambda: check_rule(np.sin, lambda g, x: g * np.cos(x) * scale, np.array([0.5, 2.0]))

    f32, f16 = np.float32, np.float16
    return [
        ("a zero gradient of 1e-6 x", False,
         lambda: check_rule(lambda x: 1e-6 * x, lambda g, x: 0 * g, np.array([1.3]))),
        ("a gradient wrong by 9e-4", False, wrong(1 + 9e-4)),
        ("a gradient wrong by 1e-8", False, wrong(1 + 1e-8)),
        ("x^2 at 1e12", True, lambda: check_gradients(lambda x: x**2, 1e12)),
        ("relu at 0", True, lambda: check_gradients(tg.relu, np.zeros(3))),
        ("abs at 0", True, lambda: check_gradients(tg.abs, 0.0)),
        ("maximum(x, 0) at 0", True, lambda: check_gradients(lambda x: tg.maximum(x, 0.0), 0.0)),
        ("x^2 in float32 at 100", True, lambda: check_gradients(lambda x: x**2, f32(100))),
        ("x^2 in float16 at 1", True, lambda: check_gradients(lambda x: x**2, f16(1))),
        ("sin(x) x in float32", True,
         lambda: check_gradients(lambda x: tg.sin(x) * x, f32([0.5, 2.0]))),
    ]  # fmt: skip


def rows() -> dict[str, Any]:
    """Print how they are judged."""
    print("| function | its gradient is | judged |\n|---|---|---|")
    right = True
    for what, fine, ask in planted():
        report = ask()
        counts = Counter(v.kind for v in report.verdicts)
        said = "right" if report.ok else ", ".join(f"{n} {k}" for k, n in counts.items())
        right &= report.ok == fine
        print(f"| {what} | {'right' if fine else 'wrong'} | {said} |")
    return {"right": right}


def show(words: Sequence[str], seed: int) -> dict[str, Any]:
    """Print one case and its report."""
    source, dtype, kind, number = words
    case = draw(source, dtype, kind, int(number), seed)
    print(case.function, *case.arguments, sep="\n")
    report = check(case, 2 if case.number % 7 == 0 else 1)
    print(report, *report.verdicts, sep="\n")
    return {"report": report}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run one of the parts; returns its figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("part", choices=("calm", "power", "rows", "case"))
    parser.add_argument("words", nargs="*", help="for case: source, dtype, kind, number")
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=int, default=1, help="of the wrong rules one in so many")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(argv)
    begin = time.time()
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "calm": lambda: calm(options.cases, options.seed, options.processes),
        "power": lambda: power(options.seed, options.processes, options.share),
        "rows": rows,
        "case": lambda: show(options.words, options.seed),
    }
    found = parts[options.part]()
    print(f"\nNumPy {np.__version__}, seed {options.seed}, {time.time() - begin:.0f} s")
    return found


if __name__ == "__main__":
    main()
