"""The page in a real browser: what is drawn, what keys and pointers do, what is asked for."""

import hashlib
import html
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import test_docs
import test_viz
import test_viz_page
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import expect, sync_playwright
from sybil import Document

import tinygrad_bn as tg
from tinygrad_bn import viz

SETTING = "TINYGRAD_BN_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    f"--{name}"
    for name in (
        "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync",
        "disable-background-networking", "disable-component-update",
    )
]  # fmt: skip


def found_browser():
    named = os.environ.get(SETTING)
    path = named or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        told = f"no browser: apt-get install chromium, or set {SETTING} to the path of one"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(told)
    return path


@pytest.fixture(scope="module")
def browser():
    path = found_browser()
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield started
        started.close()


class Opened:
    """A page in the browser, with everything that went wrong and was asked for."""

    def __init__(self, page):
        self.page, self.wrong, self.asked = page, [], []
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda message: self.wrong.append(message.text))
        page.on("request", lambda request: self.asked.append(request.url))

    def count(self, selector):
        return self.page.locator(selector).count()

    def text(self, selector):
        return self.page.locator(selector).inner_text()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def card(self, name):
        return self.page.locator(f'.card[aria-label^="{name},"]')

    def address(self, pattern):
        self.page.wait_for_function("p => new RegExp(p).test(location.hash)", arg=pattern)
        return self.page.url


FOLDER = {}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write each page once."""
    folder = tmp_path_factory.mktemp("pages")

    def written(make):
        if make not in FOLDER:
            FOLDER[make] = viz.explore(make(), folder / f"{len(FOLDER)}.html")
        return FOLDER[make]

    yield written
    FOLDER.clear()


@pytest.fixture
def show(browser, files):
    """Open pages; whatever a test does, nothing may go wrong and nothing else may be asked for."""
    contexts, shown = [], []

    def open_page(make, address="", **options):
        context = browser.new_context(
            viewport={"width": 1400, "height": 900}, reduced_motion="reduce", **options
        )
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.file = files(make).as_uri()
        opened.page.goto(opened.file + address)
        shown.append(opened)
        return opened

    yield open_page
    for opened in shown:
        assert opened.wrong == []
        assert {url.split("#")[0] for url in opened.asked} == {opened.file}
    for context in contexts:
        context.close()


# what is drawn ------------------------------------------------------------------------------------


def test_each_level_draws_the_cards_that_python_counted(show):
    page = show(test_viz_page.blocks)
    counted = test_viz_page.data_of(test_viz_page.blocks())["views"]
    for i, view in enumerate(v for v in counted if v["kind"] != "focus"):
        page.page.select_option("#level", str(i))
        assert page.count("#cards > .card") == view["count"]
        flowing = page.count("#edges > .edge:not(.saved):not(.turn)")
        assert flowing == len(view["edges"])
        assert page.count("#edges > .edge.saved") == len(view["saved"])
        assert page.count("#frames > .frame") == len(view["frames"])


def test_a_view_that_is_too_large_is_offered_disabled(show):
    page = show(nested)
    options = page.page.locator("#level option").all_inner_texts()
    assert options[1].startswith("all operations (1,002): too many to lay out")
    assert page.page.locator("#level option").nth(1).is_disabled()


def nested():
    with tg.scope("outer"):
        return test_viz.chain(500)[1]


def test_cards_can_be_read_when_the_page_opens(show):
    page = show(test_viz_page.weighed)
    sizes = page.page.eval_on_selector_all(
        ".card .name", "all => all.map(one => one.getBoundingClientRect().height)"
    )
    assert min(size for size in sizes if size) > 9
    box = page.page.locator("#world").bounding_box()
    stage = page.page.locator("#stage").bounding_box()
    assert box["height"] > 0.7 * stage["height"]
    assert stage["x"] <= box["x"]
    assert box["x"] + box["width"] <= stage["x"] + stage["width"]


def test_no_text_leaves_its_card(show):
    page = show(test_viz_page.weighed)
    outside = page.page.evaluate(
        """() => [...document.querySelectorAll("#cards > .card")].filter(card => {
            const body = card.querySelector(".body").getBoundingClientRect();
            const boxes = [...card.querySelectorAll("text")].map(t => t.getBoundingClientRect());
            return boxes.some(box => box.right > body.right + 1 || box.bottom > body.bottom + 1);
        }).map(card => card.getAttribute("aria-label"))"""
    )
    assert outside == []


def test_nan_is_marked_and_told(show):
    page = show(test_viz_page.broken)
    assert page.count('.thumbnail rect[style*="hatch"]') > 0
    assert page.count(".summary.alarm") > 0
    assert "NaN or infinite" in page.text("#panel")
    page.card("x").click()
    assert "NaN" in page.text("#panel table.numbers >> nth=0")
    assert page.text("#panel dd.alarm >> nth=0") == "1"


HOSTILE = [*test_viz.HOSTILE[:4], "</script><script>alert(1)</script>", "' onload='alert(1)"]


@pytest.mark.parametrize("i", range(len(HOSTILE)))
def test_hostile_names_are_text(show, i):
    page = show(HOSTILE_GRAPHS[i])
    told = viz.labels.clean(HOSTILE[i])
    named = page.page.locator(".card .name.own").first.text_content()
    assert named.removesuffix("…") in told
    assert len(named) > 10 or named == told
    page.page.locator("#cards > .card").first.click()
    assert page.text("#panel h2") == told
    assert page.page.title() == told
    assert page.count("#cards b, #panel h2 b, h1 b") == 0
    assert page.count("script") == 2


def named(name):
    result = test_viz.hostile(name)
    result.name = name
    return result


HOSTILE_GRAPHS = [lambda name=name: named(name) for name in HOSTILE]


# pointers ----------------------------------------------------------------------------------------


def test_a_card_that_is_clicked_shows_its_numbers_statistics_and_rules(show):
    page = show(test_viz_page.weighed)
    page.card("x̂").click()
    told = page.text("#panel")
    for part in (
        "divide",
        "standardize",
        "8×4",
        "L2 norm",
        "gradient",
        "to operand a, x = x − μ",
        "g / y",
    ):
        assert part in told
    assert "test_viz.py:" in told
    assert page.count("#panel .histogram rect") > 16
    assert page.count("#panel table.numbers td") >= 64
    assert page.count(".card.selected") == 1
    assert page.count(".card.dim") > page.count(".card:not(.dim)")


def test_hovering_shows_a_card_until_the_pointer_leaves(show):
    page = show(test_viz_page.weighed)
    page.card("x̂").hover()
    expect(page.page.locator("#panel h2")).to_have_text("x̂")
    page.page.mouse.move(5, 450)
    expect(page.page.locator("#panel h2")).not_to_have_text("x̂")


def test_a_double_click_opens_a_scope_and_escape_returns(show):
    page = show(test_viz_page.blocks, "#view=0")
    before = page.count("#cards > .card")
    page.card("block1, collapsed scope").dblclick()
    assert page.text("#crumbs strong") == "block1"
    assert page.count(".card.stub") > 0
    page.card("batch_norm, collapsed scope").dblclick() if page.count(
        '.card[aria-label^="batch_norm, collapsed"]'
    ) else page.page.locator("#titles text", has_text=re.compile("^batch_norm$")).dblclick()
    assert page.text("#crumbs strong") == "batch_norm"
    page.press("Escape")
    assert page.text("#crumbs strong") == "block1"
    page.press("Escape")
    assert page.count("#cards > .card") == before
    assert page.text("#crumbs") == ""


def test_the_wheel_zooms_to_the_pointer_and_dragging_pans(show):
    page = show(test_viz_page.weighed)
    card = page.card("x̂")
    before = card.bounding_box()
    spot = (before["x"] + 3, before["y"] + 3)
    transform = page.page.locator("#world").get_attribute("transform")
    page.page.mouse.move(*spot)
    page.page.mouse.wheel(0, -300)
    page.page.wait_for_function(
        "before => world.getAttribute('transform') !== before", arg=transform
    )
    after = card.bounding_box()
    assert after["width"] > 1.2 * before["width"]
    assert abs(after["x"] + 3 * after["width"] / before["width"] - spot[0]) < 3
    page.page.mouse.move(20, 450)
    page.page.mouse.down()
    page.page.mouse.move(70, 480, steps=3)
    page.page.mouse.up()
    moved = card.bounding_box()
    assert moved["x"] - after["x"] == pytest.approx(50, abs=1)
    assert moved["y"] - after["y"] == pytest.approx(30, abs=1)
    page.press("f")
    assert card.bounding_box()["width"] == pytest.approx(before["width"], rel=0.05)


def test_saved_values_can_be_hidden(show):
    page = show(test_viz_page.weighed)
    saved = page.page.locator(".edge.saved").first
    expect(saved).to_be_visible()
    page.page.uncheck("#saved")
    expect(saved).to_be_hidden()


# search ------------------------------------------------------------------------------------------


def test_search_dims_the_rest_and_enter_goes_from_hit_to_hit(show):
    page = show(test_viz_page.weighed)
    page.press("/")
    page.page.keyboard.type("(·)²")
    cards, hits = page.count("#cards > .card"), page.count(".card.hit")
    assert hits == 2
    assert page.count(".card.dim") == cards - hits
    assert page.text("#hits") == "2 hits"
    page.press("Enter")
    assert page.text("#hits") == "1 of 2"
    assert page.text("#panel h2") == "(·)²"
    page.press("Enter")
    assert page.text("#hits") == "2 of 2"
    page.press("Escape")
    assert page.count(".card.hit") == 0
    assert page.page.input_value("#search") == ""


# steps -------------------------------------------------------------------------------------------


def test_the_first_step_fades_all_cards_but_one(show):
    page = show(test_viz_page.weighed)
    page.press("ArrowRight")
    cards = page.count("#cards > .card")
    assert page.count(".card.future") == cards - 1
    assert page.count(".card.current") == 1
    assert page.text("#told").startswith("step 1 of 34 · forward")


def test_stepping_changes_the_text_and_the_numbers(show):
    page = show(test_viz_page.weighed, "#step=24")
    texts, numbers = set(), set()
    for _ in range(4):
        texts.add(page.text("#told"))
        numbers.add(page.text("#panel"))
        page.press("ArrowRight")
    assert len(texts) == len(numbers) == 4
    page.press("ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft")
    assert page.text("#told") == "step 24 of 34 · backward × → 8×4"
    assert page.text("#panel") in numbers


def test_a_backward_step_shows_the_rule_with_its_numbers(show):
    page = show(test_viz_page.weighed, "#step=24")
    told = page.text("#panel")
    for part in (
        "back through ×",
        "gradient that arrives",
        "values that the rule reads",
        "g * y",
        "g * x",
    ):
        assert part in told
    assert "then summed over what was broadcast, 8×4 → 4" in told
    assert page.count(".card.current") == 2
    assert page.count(".edge.lit") >= 2


def test_a_sum_of_contributions_grows_step_by_step(show):
    page = show(test_viz_page.weighed)
    data = test_viz_page.data_of(test_viz_page.weighed())
    meeting = [
        (i, part)
        for i, step in enumerate(data["steps"])
        for part in step.get("parts", ())
        if data["tensors"][part["tensor"]]["name"] == "x − μ"
    ]
    ends = ["the sum so far is this one.", "the sum is complete:"]
    assert len(meeting) == len(ends)
    for i, part in meeting:
        page.page.goto(f"{page.file}#step={i + 1}")
        expect(page.page.locator("#told")).to_contain_text(f"step {i + 1} of")
        place, told = (
            f"contribution {part['nth']} of {part['of']} to ∂(x − μ); ",
            ends[part["nth"] - 1],
        )
        assert place + told in page.text("#panel")


def test_space_plays_to_the_end_and_stops(show):
    page = show(squared)
    page.page.select_option("#speed", "200")
    page.press("Space")
    expect(page.page.locator("#play")).to_have_attribute("aria-label", "Pause")
    expect(page.page.locator("#told")).to_contain_text("step 6 of 6", timeout=5000)
    expect(page.page.locator("#play")).to_have_attribute("aria-label", "Play")


def squared():
    return tg.sum(tg.square(tg.Tensor([1.0, -2.0], requires_grad=True, name="x")))


def test_the_camera_follows_a_step_out_of_sight(show):
    page = show(test_viz_page.weighed)
    for _ in range(6):
        page.press("+")
    page.press("ArrowRight", *["ArrowRight"] * 20)
    stage = page.page.locator("#stage").bounding_box()
    box = page.page.locator(".card.current").first.bounding_box()
    assert stage["x"] <= box["x"] + box["width"] / 2 <= stage["x"] + stage["width"]
    assert stage["y"] <= box["y"] + box["height"] / 2 <= stage["y"] + stage["height"]


def test_the_steps_of_a_collapsed_graph_light_up_the_collapsed_cards(show):
    page = show(test_viz_page.weighed, "#view=0&step=12")
    assert page.page.locator(".card.current").get_attribute("aria-label").startswith("batch_norm")


def test_the_operations_of_a_rule_light_up_together(show):
    page = show(test_viz_page.weighed, "#view=3&step=24")
    assert page.text("#level option:checked").startswith("every operation of the gradient")
    assert page.count(".card.current") >= 2


# addresses, keys, frames -------------------------------------------------------------------


def test_an_address_restores_view_step_and_card(show):
    page = show(test_viz_page.weighed)
    page.page.select_option("#level", "1")
    page.card("y").first.click()
    address = page.address("view=1&node=n")
    again = show(test_viz_page.weighed, "#" + address.split("#")[1])
    assert again.page.input_value("#level") == "1"
    assert again.text("#panel h2") == "y"
    page.press("ArrowLeft")
    address = page.address("view=1&step=33")
    again = show(test_viz_page.weighed, "#" + address.split("#")[1])
    assert again.text("#told").startswith("step 33 of 34")


def test_the_script_adds_no_global_name(browser, files, tmp_path):
    empty = tmp_path / "empty.html"
    empty.write_text("<!doctype html>", encoding="utf-8")
    page, names = browser.new_page(), []
    for path in (empty, files(squared)):
        page.goto(path.as_uri())
        names.append(set(page.evaluate("Object.getOwnPropertyNames(window)")))
    page.close()
    assert names[1] - names[0] == set()


@pytest.mark.parametrize("address", ["#view=99&step=-4&node=n999", "#view=x&node=<b>", "#%%%"])
def test_a_wrong_address_opens_the_page_all_the_same(show, address):
    page = show(test_viz_page.weighed, address)
    assert page.count("#cards > .card") == 36


def test_cards_are_reached_and_opened_by_keys_alone(show):
    page = show(test_viz_page.weighed)
    page.page.locator("#cards > .card[tabindex='0']").focus()
    page.press("ArrowDown", "ArrowDown", "ArrowUp", "Enter")
    assert page.text("#panel h2") == "x"
    focused = page.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused == "x, 8 by 4, mean 69.6, std 53.3, step 2"
    assert page.page.locator("#told").get_attribute("aria-live") == "polite"


def test_a_dark_page_is_dark_and_the_switch_turns_it(show):
    page = show(test_viz_page.weighed, color_scheme="dark")
    assert brightness(page) < 60
    page.page.click("#theme")
    assert brightness(page) > 200
    page.page.click("#theme")
    assert brightness(page) < 60


def brightness(page):
    colour = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return np.mean([float(part) for part in re.findall(r"[\d.]+", colour)[:3]])


def test_on_a_narrow_screen_nothing_is_wider_than_it(show):
    page = show(test_viz_page.weighed)
    page.page.set_viewport_size({"width": 380, "height": 760})
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 380
    assert page.page.locator("#stage").bounding_box()["height"] > 200


def test_the_page_works_in_a_sandboxed_frame(browser, files, tmp_path):
    content = html.escape(files(test_viz_page.weighed).read_text(encoding="utf-8"), quote=True)
    outer = tmp_path / "outer.html"
    frame = (
        f'<iframe sandbox="allow-scripts" srcdoc="{content}" width="1300" height="800"></iframe>'
    )
    outer.write_text(f"<!doctype html><meta charset=utf-8>{frame}", encoding="utf-8")
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.goto(outer.as_uri())
    inside = page.frame_locator("iframe")
    expect(inside.locator("#cards > .card")).to_have_count(36)
    inside.locator('.card[aria-label^="x̂,"]').click()
    expect(inside.locator("#panel h2")).to_have_text("x̂")
    page.keyboard.press("ArrowRight")
    expect(inside.locator("#told")).to_contain_text("step 1 of 34")
    inside.locator("#theme").click()
    context.close()
    assert wrong == []


# the browser itself --------------------------------------------------------------------------


@pytest.mark.parametrize(("ci", "outcome"), [("true", "Failed"), ("", "Skipped")])
def test_a_missing_browser_fails_in_ci_and_skips_elsewhere(ci, outcome, monkeypatch):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(SETTING, raising=False)
    with pytest.raises(BaseException, match="apt-get install chromium") as caught:
        found_browser()
    assert type(caught.value).__name__ == outcome


def test_the_browser_that_is_named_comes_first(monkeypatch):
    monkeypatch.setenv(SETTING, "/opt/browser")
    assert found_browser() == "/opt/browser"


# the picture of the page in the docs --------------------------------------------------------------

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "page.png"


def mark():
    """A digest of what the page is made of: its pixels depend on the machine's fonts."""
    sources = sorted(p for p in (ROOT / "tinygrad_bn/viz/page").rglob("*.*") if p.suffix != ".pyc")
    content = b"".join(path.read_bytes() for path in sources)
    return hashlib.sha256(content).hexdigest()[:16]


def test_the_docs_show_the_page_as_it_is(browser, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for example in Document.parse(str(ROOT / "docs/seeing-graphs.md"), test_docs.parsers()[0]):
        example.evaluate()
        if "viz.explore" in example.parsed:
            break
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.goto((tmp_path / "batch-norm.html").as_uri() + "#step=26")
    expect(page.locator("#panel h2")).to_contain_text("back through")
    if os.environ.get("TINYGRAD_BN_REWRITE_GOLDEN"):
        page.wait_for_timeout(500)
        page.screenshot(path="page.png")
        noted = PngInfo()
        noted.add_text("drawn by", mark())
        Image.open("page.png").convert("RGB").quantize(128).save(
            PICTURE, pnginfo=noted, optimize=True
        )
    page.close()
    kept = Image.open(PICTURE)
    assert kept.size == (1600, 1000)
    assert kept.text["drawn by"] == mark(), "page.png is older: set TINYGRAD_BN_REWRITE_GOLDEN=1"
