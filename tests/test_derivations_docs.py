"""The page of derivations is what its list of functions gives.

TINYGRAD_BN_REWRITE_GOLDEN writes it anew. Its blocks of code run in test_docs, as those of all
documents do, and its pictures are compared there.
"""

import ast
import os
import re

import numpy as np
import pytest
from printed import assert_printed

import closed_forms
import tinygrad_bn as tg
from closed_forms import TARGETS

DOCS = closed_forms.DOCUMENT.parent
by_name = pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)


def text():
    return closed_forms.DOCUMENT.read_text(encoding="utf-8")


def test_the_page_is_current():
    if os.environ.get("TINYGRAD_BN_REWRITE_GOLDEN"):
        closed_forms.main([])
    assert closed_forms.document(text()) == text(), "write it anew: python demos/closed_forms.py"


def test_what_is_generated_is_written_anew_and_nothing_else(tmp_path, capsys):
    before, after = closed_forms.GENERATED.split(text())[0], "\nbehind\n"
    path = tmp_path / "page.md"
    path.write_text(f"{before}<!-- derivations -->\nold\n<!-- end -->\n{after}", encoding="utf-8")
    closed_forms.main(["--docs", str(path)])
    assert path.read_text(encoding="utf-8") == text() + after
    assert capsys.readouterr().out == f"{path}\n"


def test_the_pictures_are_those_that_are_shown():
    shown = re.findall(r"\]\((pictures/derive-[\w-]+\.svg)\)", text())
    kept = {p.relative_to(DOCS).as_posix() for p in DOCS.glob("pictures/derive-*.svg")}
    assert len(shown) == 2 * sum(t.pictured for t in TARGETS) == 8
    assert set(shown) == kept


def test_other_documents_lead_here():
    for name in ("../README.md", "lecture/batch-norm.md", "lecture/softmax.md"):
        assert "derivations.md" in (DOCS / name).read_text(encoding="utf-8"), name


# the list ----------------------------------------------------------------------------------------


def test_names_and_titles_are_told_apart():
    for part in ("name", "title", "why"):
        assert len({getattr(t, part) for t in TARGETS}) == len(TARGETS)


@by_name
def test_the_shown_source_and_example_are_what_is_derived(target):
    names = {"np": np, "tg": tg}
    code = f"{target.drawing}\n{target.source}\nfound = {target.call}"
    exec(compile(ast.parse(code), target.name, "exec"), names)  # noqa: S102  (our own text)
    assert str(names["found"]) == str(target.derive())
    for name, value in zip(target.example, target.arguments(), strict=True):
        np.testing.assert_array_equal(names[name], value)
    assert 2 <= len(target.source.splitlines()) <= 3
    assert max(map(len, target.source.splitlines())) <= 80


# Fewer than 100 operations, each rounded by a share of numbers that are at most about 10.
ROUNDING = 100 * 10 * np.finfo(float).eps


def example(target, found):
    """Other arguments than the documented ones, and the cotangent, if there is one."""
    values, rng = target.arguments(seed=1), np.random.default_rng(2)
    return [*values, *(rng.normal(size=i.shape) for i in found.recorded.inputs[len(values) :])]


def gradients(trace, inputs):
    outputs = trace.run(*inputs)
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


@by_name
def test_every_result_is_the_gradient_at_other_points_too(target):
    found = target.derive()
    inputs = example(target, found)
    ours, theirs = (gradients(t, inputs) for t in (found.result, found.recorded))
    if target.upstream == "identity":
        ours = [inputs[-1] @ jacobian for jacobian in ours]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=ROUNDING)
    assert max(np.abs(b).max() for b in theirs) > 1e-3 or target.name == "biased"


@pytest.mark.parametrize("target", [t for t in TARGETS if t.name != "conv"], ids=lambda t: t.name)
def test_the_printed_text_computes_the_gradient(target):
    found = target.derive()
    inputs = example(target, found)
    names = [found.recorded.names[t] for t in found.recorded.inputs]
    values = {**found.values, **dict(zip(names, inputs, strict=True))}
    right = gradients(found.result, inputs)
    assert_printed(str(found), values, right, classes=inputs[0].shape[-1], atol=ROUNDING)


@by_name
def test_a_short_form_is_found_where_one_is_known_and_claimed_nowhere_else(target):
    assert target.derive().shorter == target.closed


RIGHT = {
    "cross_entropy": "(softmax(z) - one_hot(y))/N",
    "soft_cross_entropy": "(softmax(z) - p)/N",
    "naive_cross_entropy": "(softmax(z) - p)/N",
    "binary_cross_entropy": "(sigmoid(z) - y)/N",
    "logsumexp": "softmax(z)",
    "softmax": "s*(g - sum(g*s))",
    "log_softmax": "g - s*sum(g)",
    "gradient": "diag(s) - s @ s.T",
    "softplus": "sigmoid(x)",
    "sigmoid": "s*(1 - s)",
    "tanh": "1 - tanh(x)**2",
    "log_sigmoid": "1 - sigmoid(x)",
    "silu": "s*(1 + x*(1 - s))",
    "batch_norm": "gamma/sigma*(g - mean(g) - x_hat*mean(g*x_hat))",
    "batch_norm_2d": "gamma/sigma*(g - mean(g) - x_hat*mean(g*x_hat))",
    "standardize": "(g - mean(g) - x_hat*mean(g*x_hat))/sigma",
    "variance": "2/N*(x - mean(x))",
    "biased": "0",
    "least_squares": "X.T @ (X @ w - y)",
    "ridge": "alpha*w + X.T @ (X @ w - y)",
    "logistic": "X.T @ (sigmoid(X @ w) - y)/N",
    "softmax_regression": "X.T @ (softmax(X @ W) - one_hot(y))/N",
}
"""What textbooks say."""


@pytest.mark.parametrize("name", RIGHT)
def test_the_formula_is_that_of_textbooks(name):
    target = next(t for t in TARGETS if t.name == name)
    assert target.derive().formula == RIGHT[name]


def test_all_laws_are_of_real_arithmetic_as_the_page_says():
    rules = tg.algebra.rules
    assert {r.exactness for r in rules.RULES} == {rules.Exactness.REAL}
