"""In notebooks: what a tensor, a trace and a drawing show of themselves, and that none raises."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from IPython.core.interactiveshell import InteractiveShell

import tinygrad_bn as tg
from tinygrad_bn import viz
from tinygrad_bn.viz import embedding, notebook


def shown(obj):
    return DisplayFormatter().format(obj)[0]


def softened():
    x = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="x")
    return tg.softmax(x)


def svg_of(html):
    return ET.fromstring(html[html.index("<svg") :])  # noqa: S314  (our own picture)


def texts(html):
    return {e.text for e in svg_of(html).iter() if e.text and e.text.strip()}


def test_a_result_shows_its_text_and_its_graph():
    y = softened()
    bundle = shown(y)
    assert bundle["text/plain"] == repr(y)
    assert bundle["text/html"].startswith("<pre")
    assert "op=divide" in bundle["text/html"]
    assert {"x", "softmax", " exp "} <= texts(bundle["text/html"])


def test_a_leaf_is_text_only():
    x = tg.Tensor([1.0], requires_grad=True)
    assert shown(x) == {"text/plain": repr(x)}
    assert shown(tg.nn.Parameter([1.0]))["text/plain"].startswith("Parameter(")


def test_a_trace_and_a_drawing_show_the_graph():
    trace = tg.trace(tg.softmax, np.ones(3))
    bundle = shown(trace)
    assert bundle["text/plain"] == repr(trace)
    assert "softmax" in texts(bundle["text/html"])
    drawing = viz.graph(trace)
    assert shown(drawing)["text/plain"] == drawing.source
    assert "softmax" in texts(shown(drawing)["text/html"])


def test_the_picture_fits_the_page_and_has_ids_of_its_own():
    one, other = (viz.graph(tg.trace(f, np.ones(3))) for f in (tg.softmax, tg.log_softmax))
    pictures = [svg_of(shown(d)["text/html"]) for d in (one, other)]
    ids = [{e.get("id") for e in p.iter() if e.get("id")} for p in pictures]
    assert ids[0]
    assert not ids[0] & ids[1]
    for picture in pictures:
        assert "max-width:100%" in picture.get("style")
        assert picture.get("viewBox")
        assert picture.get("width") is None


def test_a_large_graph_is_drawn_at_the_level_that_fits():
    with tg.scope("chain"):
        y = tg.Tensor(1.0, requires_grad=True)
        for _ in range(100):
            y = y + 1
    assert "100 ops" in "".join(texts(shown(y)["text/html"]))


def test_a_graph_too_large_at_every_level_is_text_only():
    y = tg.Tensor(1.0, requires_grad=True)
    for _ in range(100):
        y = y + 1
    assert shown(y) == {"text/plain": repr(y)}


def test_the_types_that_are_asked_for_are_given():
    y = softened()
    assert y._repr_mimebundle_(include=["text/plain"]).keys() == {"text/plain"}
    assert y._repr_mimebundle_(exclude=["text/plain"]).keys() == {"text/html"}
    drawing = viz.graph(y)
    assert drawing._repr_mimebundle_(exclude=["text/html"]).keys() == {"text/plain"}


@pytest.mark.filterwarnings("error")
def test_no_repr_raises_where_no_engine_is_or_one_fails(monkeypatch):
    y, drawing = softened(), viz.graph(softened())
    monkeypatch.setattr(embedding, "picture", lambda *a, **k: None)
    assert "pip install graphviz-pure" in shown(y)["text/html"]

    def failing(*args, **keywords):
        raise viz.RenderError("the engine burst.\nand more")

    monkeypatch.setattr(embedding, "picture", failing)
    assert shown(y)["text/plain"].endswith("\n(not drawn: the engine burst.)")
    assert shown(drawing) == {"text/plain": drawing.source}
    monkeypatch.setattr(notebook, "subject_of", failing)
    assert "not drawn" in shown(tg.trace(tg.softmax, np.ones(2)))["text/plain"]


def test_a_repr_computes_no_gradient():
    y = softened().sum()
    assert "∂" not in shown(y)["text/html"]
    y.backward()
    assert "∂" not in shown(y)["text/html"]


def test_a_difference_shows_its_text_and_its_drawing():
    z = np.ones((2, 3))
    between = viz.diff(tg.trace(tg.softmax, z), tg.trace(tg.log_softmax, z))
    bundle = shown(between)
    assert bundle["text/plain"] == str(between)
    assert {"+", "−", "log"} <= {t.strip() for t in texts(bundle["text/html"])}


@pytest.mark.filterwarnings("ignore:Attempting to work in a virtualenv")
def test_a_leaf_is_named_by_the_variable_of_the_cell():
    shell = InteractiveShell.instance()
    try:
        shell.run_cell("import tinygrad_bn as tg")
        shell.run_cell("given = tg.Tensor([1.0, 2.0], requires_grad=True)")
        shell.run_cell("from IPython.core.formatters import DisplayFormatter as F")
        shell.run_cell("html = F().format(tg.exp(given))[0]['text/html']")
        assert "given" in texts(shell.user_ns["html"])
    finally:
        InteractiveShell.clear_instance()
