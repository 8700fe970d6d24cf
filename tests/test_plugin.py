"""A foreign project that property-tests its own gradients, with what pytest finds by itself."""

import re
import subprocess
import sys
import textwrap

import pytest
from hypothesis import settings

import tinygrad_bn as tg
from tinygrad_bn.errors import DTypeError, ShapeError
from tinygrad_bn.testing import given, given_gradients, strategies as st

PROJECT = '''
import numpy as np
import pytest
import tinygrad_bn as tg
from tinygrad_bn.testing import given_gradients, strategies as st


@tg.custom_rule(vjp=lambda xp, g, out, x: g * xp.cos(x) * 1.001, cases=[(((2, 3),), {})])
def my_sine(x):
    """Sine, with a slope that is too large."""
    return tg.sin(x)


@given_gradients(st.arrays((2, 3)))
def test_layer(x):
    return tg.softmax(2.0 * my_sine(x))


@given_gradients(st.programs(including=["my_sine"]))
def test_in_programs(program):
    return program()


@pytest.fixture
def factor():
    return 3.0


@given_gradients(st.arrays((3,)), w=st.arrays((3,)))
def test_right(x, factor, w):
    return tg.tanh(factor * x * w)


def test_fixture(gradcheck):
    assert gradcheck(tg.exp, np.array([1.0, 2.0])).seed == SEED


def test_wrong_fixture(gradcheck):
    gradcheck(my_sine, np.array([1.0, 2.0]))
'''


@pytest.fixture
def project(tmp_path):
    """Run pytest on a project in a process of its own; returns its status and output."""

    def run(text, *options, before="pass"):
        (tmp_path / "test_mine.py").write_text(textwrap.dedent(text))
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        begin = f"import sys; {before}; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
        command = [sys.executable, "-c", begin, "-p", "no:cacheprovider", *options]
        done = subprocess.run(  # noqa: S603  (our own text)
            command, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_foreign_project_gets_failing_tests_with_shrunk_programs(project, tmp_path):
    status, said = project(PROJECT.replace("SEED", "7"), "--gradcheck-seed", "7")
    assert status == 1
    assert "3 failed, 2 passed" in said, said
    failed = re.findall(r"^FAILED test_mine.py::(\w+)", said, re.MULTILINE)
    assert failed == ["test_layer", "test_in_programs", "test_wrong_fixture"]
    sections = said.split(" gradients ---")[1:]
    assert len(sections) == 3
    for section in sections:
        assert "first wrong rule: my_sine(float64 (" in section
        assert f"at {tmp_path / 'test_mine.py'}:" in section
        assert "the recorded program, and the failure again:" in section
    program = re.search(r"def program\(x1\):\n((?:E? +v.*\n)+)E? +return (\w+)", said)
    assert program.group(1).split() in (
        ["E", "v1", "=", "tg.my_sine(x1)"],
        ["v1", "=", "tg.my_sine(x1)"],
    )
    assert "x1 = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])" in said
    assert "log10(error / allowed)" in said


def test_without_hypothesis_the_fixture_is_there_and_the_header_says_so(project, tmp_path):
    text = """
    import numpy as np
    import tinygrad_bn as tg

    def test_fixture(gradcheck):
        gradcheck(tg.exp, np.array([1.0, 2.0]))
    """
    fake = tmp_path / "blocked" / "hypothesis"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("raise ImportError('not here')\n")
    blocked = f"sys.path.insert(0, {str(fake.parent)!r})"
    status, said = project(text, "-p", "no:hypothesispytest", before=blocked)
    assert status == 0, said
    assert "gradients: Hypothesis is not installed; check_gradients alone" in said


SETTINGS = """
from hypothesis import settings
from tinygrad_bn.testing import given

def test_settings():
    assert settings().deadline {deadline} and settings().max_examples == {examples}
    assert given.profile().max_examples == {own}
"""


def test_the_settings_of_a_project_are_left_alone_unless_it_asks(project, tmp_path, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    text = SETTINGS.format(deadline="is not None", examples=100, own=2000)
    assert project(text, "--gradcheck-profile", "thorough")[0] == 0
    text = SETTINGS.format(deadline="is None", examples=50, own=50)
    assert project(text, "-o", "gradcheck_profile=auto")[0] == 0
    text = SETTINGS.format(deadline="is None", examples=2000, own=2000)
    assert project(text, "-o", "gradcheck_profile=thorough")[0] == 0
    status, said = project(text, "-o", "gradcheck_profile=sloppy")
    assert status != 0
    assert "The profile 'sloppy'" in said


def test_the_profile_of_this_suite_has_no_deadline():
    assert settings().deadline is None


def test_given_gradients_needs_a_strategy_for_what_is_drawn():
    for wrong in (
        lambda: given_gradients()(lambda x: x),
        lambda: given_gradients(st.arrays(3), st.arrays(3))(lambda x: x),
        lambda: given_gradients(y=st.arrays(3))(lambda x: x),
        lambda: given_gradients(st.arrays(3), x=st.arrays(3))(lambda x: x),
    ):
        with pytest.raises(ShapeError, match="Give a strategy for each parameter"):
            wrong()


def test_a_test_that_returns_nothing_is_refused():
    @given_gradients(st.arrays(3))
    def forgetful(x):
        tg.exp(x)

    with pytest.raises(DTypeError, match="forgetful returned no floating-point tensor"):
        forgetful()


def test_points_outside_the_domain_do_not_count():
    seen = []

    @given_gradients(st.arrays((2,)))
    def logarithm(x):
        seen.append(x)
        return tg.log(x)

    logarithm()
    assert seen


def test_the_search_climbs_towards_the_largest_error():
    def value(x):
        return x**2

    report = given.search(lambda x: tg.tanh(x) * value(x), {"x": (2,)}, examples=10)
    assert report.ok
    assert len(report.verdicts) >= 10


class TestMethods:
    factor = 3.0

    @given_gradients(st.arrays((3,)), examples=5)
    def test_a_method_is_a_test(self, x):
        return tg.sin(self.factor * x)


@given_gradients(st.arrays((3,)), st.arrays((3,)), examples=5)
def test_defaults_and_positional_parameters(x, y, /, k=2.0, **more):  # noqa: PT028  (that is what is tested)
    assert (k, more) == (2.0, {})
    return tg.sin(k * x) * y


def test_what_a_pair_cannot_answer_is_refused():
    for wrong in ({"order": 2}, {"modes": ("reverse",)}):
        with pytest.raises(ShapeError, match="leave order and modes out"):
            given_gradients(st.arrays(3), adapter=lambda f: None, **wrong)
    with pytest.raises(ShapeError, match="gradcheck_seed"):
        given_gradients(st.arrays(3))(lambda gradcheck_seed: gradcheck_seed)
