"""The pytest plugin: a fixture, a seed and a profile for checks, and a section for failures.

pytest finds it by its entry point. It changes nothing for tests that do not use it.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from tinygrad_bn.errors import OptionalDependencyError
from tinygrad_bn.testing.checking.checker import check_gradients
from tinygrad_bn.testing.checking.verdicts import Report, WrongGradientError

given: Any = None
with contextlib.suppress(OptionalDependencyError):
    given = importlib.import_module("tinygrad_bn.testing.given")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--gradcheck-seed`` and ``--gradcheck-profile``, and the profile for a whole suite."""
    group = parser.getgroup("gradients", "checks of gradients (tinygrad_bn)")
    group.addoption(
        "--gradcheck-seed",
        type=int,
        default=0,
        help="seed of the directions and cotangents of all checks of gradients (default 0)",
    )
    group.addoption(
        "--gradcheck-profile",
        choices=("ci", "dev", "thorough"),
        help="how long given_gradients searches (default: ci where CI is set, else dev)",
    )
    parser.addini(
        "gradcheck_profile",
        "load this profile for every Hypothesis test of the suite, too: ci, dev, thorough or auto",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load the profile before any test module is imported."""
    if given is None:
        return
    given.Session.seed = config.getoption("--gradcheck-seed")
    chosen = config.getoption("--gradcheck-profile")
    suite = str(config.getini("gradcheck_profile") or "")
    named = chosen or (suite if suite not in ("", "auto") else None)
    if named:
        given.profile(named)
        given.Session.profile = named
    if suite:
        given.load_profile()


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say the seed if one was chosen, and that there is no Hypothesis if so."""
    if given is None:
        return "gradients: Hypothesis is not installed; check_gradients alone"
    seed = config.getoption("--gradcheck-seed")
    return f"gradients: seed {seed}" if seed else None


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """Check gradients with the seed of the command line: ``gradcheck(f, x)`` raises if wrong."""

    def check(function: Callable[..., Any], *arguments: Any, **options: Any) -> Report:
        """Run ``check_gradients`` and raise unless all is right."""
        __tracebackhide__ = True
        options = {"seed": request.config.getoption("--gradcheck-seed"), **options}
        return check_gradients(function, *arguments, **options).raise_if_wrong()

    return check


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add a section with the whole report to a test that failed for a wrong gradient."""
    outcome = yield
    if call.excinfo is not None:
        for report in _reports(call.excinfo.value):
            outcome.sections.append(("gradients", _text(report)))
    return outcome


def _text(report: Report) -> str:
    """Print a report; whatever goes wrong in looking for details must not end the session."""
    try:
        return str(report)
    except Exception as error:  # noqa: BLE001  (a hook must not raise)
        return f"The report could not be printed: {error!r}"


def _reports(error: BaseException) -> Iterator[Report]:
    """Find the reports in an error, a group of errors, or what caused it."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _reports(inner)
    elif isinstance(error, WrongGradientError):
        yield error.report
