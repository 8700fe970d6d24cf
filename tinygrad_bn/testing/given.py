"""given_gradients: a property test whose property is that the gradients are right."""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_bn.errors import OptionalDependencyError, ShapeError
from tinygrad_bn.source import Location
from tinygrad_bn.testing.checking.checker import MODES, check_gradients, check_rule
from tinygrad_bn.testing.checking.verdicts import Report, WrongGradientError
from tinygrad_bn.testing.pairs import Pair
from tinygrad_bn.testing.strategies import arrays
from tinygrad_bn.transforms.lifting import name_of

try:
    import hypothesis
    from hypothesis import HealthCheck, Phase, settings, strategies as st
except ImportError as error:
    raise OptionalDependencyError(
        "given_gradients needs Hypothesis, which is not installed.",
        'Install it: pip install "tinygrad_bn[testing]".',
    ) from error

PHASES = [p for p in Phase if p is not Phase.explain]
"""Which lines of the framework run only in failing examples explains nothing, and takes long."""

SLOW = [
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
    HealthCheck.function_scoped_fixture,
]
PROFILES: dict[str, dict[str, Any]] = {
    "ci": {"derandomize": True, "max_examples": 50, "suppress_health_check": SLOW},
    "dev": {"max_examples": 50, "suppress_health_check": SLOW},
    "thorough": {"max_examples": 2000, "suppress_health_check": SLOW},
}
"""What differs from Hypothesis' defaults; none has a deadline, since a first call compiles."""

for _name, _options in PROFILES.items():
    settings.register_profile(f"gradients-{_name}", deadline=None, phases=PHASES, **_options)

SEED = "gradcheck_seed"
SEEDS = st.integers(0, 99)
"""Directions and cotangents of each example; shrinks towards 0."""

LEAST = -30.0
"""The logarithm that stands for no error at all."""


class Session:
    """What the command line of pytest chooses: the seed of all checks, and the profile."""

    seed = 0
    profile = "ci" if "CI" in os.environ else "dev"


def profile(name: str | None = None) -> settings:
    """Return the Hypothesis settings of a profile: ``ci``, ``dev`` or ``thorough``.

    Without a name what the command line of pytest says, else ``ci`` where the variable CI is set
    and ``dev`` where it is not. Raises ShapeError for another name.

    >>> profile("thorough").max_examples
    2000
    """
    name = name or Session.profile
    if name not in PROFILES:
        raise ShapeError(f"The profile {name!r}.", f"Profiles are {', '.join(PROFILES)}.")
    return settings.get_profile(f"gradients-{name}")


def load_profile() -> None:
    """Load the chosen profile for every test of Hypothesis in this process, the user's own too."""
    settings.load_profile(f"gradients-{Session.profile}")


def given_gradients(
    *drawn: Any,
    order: int = 1,
    modes: Sequence[str] = MODES,
    directions: int = 2,
    adapter: Callable[[Callable[..., Any]], Pair] | None = None,
    examples: int | None = None,
    **named: Any,
) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Make a test of a function: its gradients are right wherever the strategies lead.

    ``drawn`` and ``named``: Hypothesis strategies for the leading parameters, or for parameters
    by name; parameters without one are pytest's fixtures, the same at every point. The function
    returns what is to be differentiated, as in ``check_gradients``, whose ``order``, ``modes``
    and ``directions`` these are. ``examples``: how many points to try, else as many as the
    profile says. With ``adapter`` (``adapters.from_torch`` and the like) it is a function of
    another framework. A point at which the function is not finite, or at which nothing can be
    told, is rejected, and does not count; a wrong gradient fails the test, with the report at the
    smallest point. The search climbs towards larger errors (``hypothesis.target``).

    Raises ShapeError where strategies and parameters do not fit.

    >>> from tinygrad_bn import tanh
    >>> from tinygrad_bn.testing import strategies
    >>> @given_gradients(strategies.arrays(shape=(3,)))
    ... def test_tanh(x):
    ...     return tanh(x)
    >>> test_tanh()
    """
    ask = _Asking(adapter, order, tuple(modes), directions)

    def decorate(function: Callable[..., Any]) -> Callable[..., None]:
        """Make the test of the function."""
        test = _Test(function, drawn, named)

        def check(*owner: Any, **keywords: Any) -> None:
            """Check at one drawn example."""
            __tracebackhide__ = True
            seed = Session.seed + keywords.pop(SEED)
            point = [keywords.pop(name) for name in test.strategies]
            moved = test.of_the_drawn(owner, keywords)
            _settle(ask.report(moved, point, seed), test.place)

        test.lend_its_face(check)
        chosen = profile() if examples is None else settings(profile(), max_examples=examples)
        return chosen(hypothesis.given(**test.strategies, **{SEED: SEEDS})(check))

    return decorate


def search(
    function: Callable[..., Any],
    shapes: dict[str, tuple[int, ...]],
    *,
    adapter: Callable[[Callable[..., Any]], Pair] | None = None,
    order: int = 1,
    examples: int = 50,
    seed: int = 0,
    values: dict[str, Any] | None = None,
) -> Report:
    """Look for a point at which the gradients of a function are wrong; shrink what is found.

    ``shapes``: of the arguments, by name; ``values``: options of ``strategies.arrays``. Returns
    the report of the smallest failure; else one report with the verdicts of all points that
    counted, or, if none did, that of the last.

    >>> from tinygrad_bn import tanh
    >>> search(tanh, {"x": (2,)}, examples=5).ok
    True
    """
    ask = _Asking(adapter, order, MODES, 2)

    def called(*point: Any) -> Any:
        """Call it by position, under the given names."""
        return function(*point)

    named = _with_parameters(called, function, list(shapes))
    strategies = {name: arrays(shape, **(values or {})) for name, shape in shapes.items()}
    seen: list[Report] = []

    def check(gradcheck_seed: int, **point: Any) -> None:
        """Check at one point, and remember."""
        seen.append(ask.report(named, [point[name] for name in shapes], seed + gradcheck_seed))
        _settle(seen[-1])

    quiet = settings(
        profile("dev"),
        max_examples=examples,
        database=None,
        report_multiple_bugs=False,
    )
    run = quiet(hypothesis.given(**strategies, gradcheck_seed=SEEDS)(check))
    try:
        hypothesis.seed(seed)(run)()
    except WrongGradientError as error:
        return error.report
    except hypothesis.errors.Unsatisfiable:
        return seen[-1]
    counted = [v for report in seen if report.ok for v in report.verdicts]
    return Report(name_of(function), seed, counted) if counted else seen[-1]


@dataclass(frozen=True)
class _Asking:
    """How a function is checked: with what framework, to which order."""

    adapter: Callable[[Callable[..., Any]], Pair] | None
    order: int
    modes: tuple[str, ...]
    directions: int

    def __post_init__(self) -> None:
        """Refuse what a pair of value and derivative cannot answer."""
        if self.adapter is not None and (self.order != 1 or set(self.modes) != set(MODES)):
            raise ShapeError(
                f"A check of another framework with order={self.order}, modes={self.modes}.",
                "A pair of value and vjp is checked in reverse mode and to first order: leave "
                "order and modes out.",
            )

    def report(self, function: Callable[..., Any], point: Sequence[Any], seed: int) -> Report:
        """Check at one point."""
        options: dict[str, Any] = {"seed": seed, "directions": self.directions}
        if self.adapter is not None:
            return check_rule(*self.adapter(function), *point, **options)
        return check_gradients(function, *point, order=self.order, modes=self.modes, **options)


class _Test:
    """A function with strategies for some of its parameters; the others are fixtures.

    Not those that have a default: the function is called without them.
    """

    def __init__(
        self, function: Callable[..., Any], drawn: Sequence[Any], named: dict[str, Any]
    ) -> None:
        self.function = function
        self._parameters = {
            name: p
            for name, p in inspect.signature(function).parameters.items()
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        }
        names = list(self._parameters)
        self._owner = names[:1] if names[:1] in (["self"], ["cls"]) else []
        free = names[len(self._owner) :]
        fits = len(drawn) <= len(free) and set(named) <= set(free[len(drawn) :])
        if not fits or not (drawn or named) or SEED in names:
            raise ShapeError(
                f"given_gradients of {name_of(function)}({', '.join(names)}) with {len(drawn)} "
                f"strategies by position and {', '.join(named) or 'none'} by name.",
                f"Give a strategy for each parameter that is to be drawn, once; none is {SEED}.",
            )
        found = dict(zip(free, drawn, strict=False)) | named
        self.strategies = {name: found[name] for name in free if name in found}

    @property
    def place(self) -> Location | None:
        """Where the function is written."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        return None if code is None else Location(code.co_filename, code.co_firstlineno)

    def of_the_drawn(self, owner: Sequence[Any], fixtures: dict[str, Any]) -> Callable[..., Any]:
        """Return a function of the drawn parameters alone."""

        def moved(*point: Any) -> Any:
            """Call it with the fixtures as they are."""
            given = {**dict(zip(self.strategies, point, strict=True)), **fixtures}
            leading = [
                given.pop(name)
                for name, p in self._parameters.items()
                if p.kind is p.POSITIONAL_ONLY and name in given
            ]
            return self.function(*owner, *leading, **given)

        return _with_parameters(moved, self.function, list(self.strategies))

    def lend_its_face(self, check: Any) -> None:
        """Give the test name, place and docstring of the function, and the parameters it needs."""
        functools.update_wrapper(check, self.function)
        del check.__wrapped__
        wanted = [
            name
            for name, p in self._parameters.items()
            if name in self.strategies or (p.default is p.empty and name not in self._owner)
        ]
        kinds = inspect.Parameter
        check.__signature__ = inspect.Signature(
            [kinds(name, kinds.POSITIONAL_OR_KEYWORD) for name in self._owner]
            + [kinds(name, kinds.KEYWORD_ONLY) for name in (*wanted, SEED)]
        )


def _with_parameters(
    wrapper: Callable[..., Any], function: Callable[..., Any], names: Sequence[str]
) -> Callable[..., Any]:
    """Give a function the name of another one, and parameters of these names."""
    wrapper.__name__ = name_of(function)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in names]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return wrapper


def _settle(report: Report, where: Location | None = None) -> None:
    """Let the search climb; reject an example that tells nothing, raise for a wrong one."""
    __tracebackhide__ = True
    excess = report.excess
    climb = math.log10(excess) if 0 < excess < math.inf else LEAST if excess == 0 else -LEAST
    hypothesis.target(max(LEAST, climb), label="log10(error / allowed)")
    kinds = {v.kind for v in report.verdicts}
    if "mismatch" not in kinds and (_outside(report) or "inconclusive" in kinds):
        hypothesis.reject()
    if not report.ok:
        raise WrongGradientError(report, where)


def _outside(report: Report) -> bool:
    """Whether the function itself is not finite here (its gradient alone would be a fault)."""
    return any(v.kind == "nonfinite" and not v.mode for v in report.verdicts)
