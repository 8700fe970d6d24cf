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
        "operand a, x in the rule: x − μ",
        "to operand b, y in the rule: σ",
        "of the result its gradient is g, its value out",
        "\ng / y\n",
    ):
        assert part in told
    assert "test_viz.py:" in told
    assert "lambda" not in told
    assert page.count("#panel .histogram rect") > 16
    assert page.count("#panel table.numbers td") >= 64
    assert page.count(".card.selected") == 1
    assert page.count(".card.dim") > page.count(".card:not(.dim)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_values_that_rules_read_are_seen_and_end_at_the_gradients_of_their_cards(show, scheme):
    page = show(test_viz_page.weighed, color_scheme=scheme)
    line, paper, share, own = page.page.evaluate(
        """() => {
            const saved = document.querySelector(".edge.saved");
            const style = getComputedStyle(saved);
            const page = getComputedStyle(document.body).backgroundColor;
            const paths = [...document.querySelectorAll(".edge.saved")].map(path => {
                const [a, b] = [0, path.getTotalLength()].map(at => path.getPointAtLength(at));
                return [a.y, b.y];
            });
            return [style.stroke, page, Number(style.opacity), paths];
        }"""
    )
    drawn = [share * a + (1 - share) * b for a, b in zip(rgb(line), rgb(paper), strict=True)]
    assert contrast(drawn, rgb(paper)) > 2.2
    assert any(abs(start - end) < 0.5 for start, end in own)
    page.card("x̂").click()
    lit = page.page.locator(".edge.saved.lit").first
    assert lit.evaluate("e => getComputedStyle(e).opacity") == "1"


def rgb(colour):
    return [float(part) for part in re.findall(r"[\d.]+", colour)[:3]]


def contrast(one, other):
    """The contrast of two colours as the accessibility guidelines define it."""

    def luminance(colour):
        linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_no_name_is_cut_beside_free_space(show):
    for make in (test_viz_page.weighed, test_viz_page.accumulating):
        page = show(make)
        told = page.page.locator(".card .name, .card .size, .card .symbol").all_text_contents()
        assert [text for text in told if "…" in text] == []


def test_a_view_that_is_chosen_is_seen_whole_or_says_where_there_is_more(show):
    page = show(test_viz_page.blocks)
    whole = []
    for view in page.page.locator("#level option").all():
        page.page.select_option("#level", view.get_attribute("value"))
        stage, world = (page.page.locator(s).bounding_box() for s in ("#stage", "#cards"))
        fits = all(
            stage[at] <= world[at] and world[at] + world[size] <= stage[at] + stage[size]
            for at, size in (("x", "width"), ("y", "height"))
        )
        assert page.page.locator("#more").is_hidden() == fits
        if not fits:
            scale = page.page.evaluate("world.transform.baseVal.consolidate().matrix.a")
            assert scale == pytest.approx(0.5)
            boxes = page.page.eval_on_selector_all(
                "#cards > .card",
                "all => all.map(e => e.getBoundingClientRect()).map(box => [box.x, box.y])",
            )
            left, top = np.array([box for box in boxes if box[1] < stage["height"]]).T
            assert left.min() >= stage["x"] + 23
            if "→" in page.text("#more"):
                assert left.min() == pytest.approx(stage["x"] + 24, abs=1)
            assert top.min() >= stage["y"] + 19
        whole.append(fits)
    assert whole[:2] == [True, True]
    assert not all(whole)
    page.page.click("#more")
    assert page.page.locator("#more").is_hidden()


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


def test_search_finds_names_and_operations_but_no_other_words(show):
    page = show(test_viz_page.weighed)
    page.press("/")
    page.page.keyboard.type("sum of")
    assert page.text("#hits") == "0 hits"
    page.page.fill("#search", "8×4")
    assert page.text("#hits") == "0 hits"
    page.page.fill("#search", "batch_norm")
    assert page.count(".card.hit") > 20


def test_search_in_an_opened_scope_leads_to_what_is_outside(show):
    page = show(test_viz_page.blocks, "#view=0")
    page.card("block1, collapsed scope").dblclick()
    assert page.page.locator("#elsewhere").is_hidden()
    page.page.fill("#search", "softplus")
    assert page.text("#hits") == "0 hits"
    page.page.click("text=2 hits in the whole graph")
    assert page.text("#crumbs") == ""
    assert page.text("#hits") == "1 of 2"
    assert page.count(".card.selected") == 1
    assert page.page.locator("#elsewhere").is_hidden()


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


@pytest.mark.parametrize(("step", "read"), [(26, ["σ"]), (24, ["γ", "x̂"])])
def test_what_a_rule_reads_is_marked_with_its_arrows_and_nothing_else_is(show, step, read):
    page = show(test_viz_page.weighed, f"#step={step}")
    marked = [
        text.split(",")[0]
        for text in page.page.eval_on_selector_all(
            ".card.read", "all => all.map(card => card.getAttribute('aria-label'))"
        )
    ]
    assert marked[:-1] == read  # and last the gradient that arrives
    assert page.count(".edge.saved.lit") == len(read)


def test_a_constant_says_that_no_gradient_passes_through_it(show):
    page = show(test_viz_page.weighed, "#step=5")
    told = page.text("#panel")
    assert told.startswith("pilot\n\nconstant: no gradient passes through it")


def test_a_gradient_without_a_name_says_of_what_it_is_and_whence_it_comes(show):
    page = show(test_viz_page.weighed, "#step=27")
    told = page.text("#panel")
    assert "g in the rule: gradient of the result of + 1e−05" in told
    assert "passed on by step 26 (back through σ)" in told
    page.page.click("#panel button:text-is('step 26')")
    assert "g in the rule: ∂σ" in page.text("#panel")
    assert "result, out in the rule: σ" in page.text("#panel")


def test_results_that_are_alike_are_told_apart_by_their_steps(show):
    page = show(test_viz_page.accumulating, "#step=14")
    told = page.text("#panel")
    for part in (
        "operand a, x in the rule: result of Σ at step 11",
        "operand b, y in the rule: result of Σ at step 13",
    ):
        assert part in told


def test_in_a_collapsed_scope_the_step_is_counted_and_shift_goes_on(show):
    page = show(test_viz_page.weighed, "#view=1&step=8")
    expected = "step 8 of 34 · forward ÷ 8 → 1×4 · step 4 of 11 inside standardize"
    assert page.text("#told") == expected
    page.press("Shift+ArrowRight")
    assert page.text("#told") == "step 16 of 34 · forward × → 8×4"
    page.press("Shift+ArrowLeft")
    assert page.text("#told").endswith("· step 11 of 11 inside standardize")
    page.press("Shift+ArrowLeft")
    assert "inside" not in page.text("#told")


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


def test_a_page_that_gets_its_size_late_is_fitted_until_it_is_moved(show):
    page = show(test_viz_page.weighed, "#step=26")

    def width(size):
        page.page.set_viewport_size(size)
        page.page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        return page.page.locator("#cards").bounding_box()["width"]

    small, large = {"width": 900, "height": 200}, {"width": 1400, "height": 900}
    first = width(large)
    assert width(small) < 0.9 * first
    assert width({"width": 380, "height": 60}) < 0.9 * first
    assert width(large) == pytest.approx(first)
    page.press("+")
    zoomed = width(large)
    assert zoomed == pytest.approx(1.25 * first)
    assert width(small) == pytest.approx(zoomed)


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
