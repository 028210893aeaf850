"""The web page in a headless Chromium: its other views, keys, and who can use it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from browser import axe_script, served_at
from page_words import choose, says
from served import PNG, settings_for
from whatwhere.outputs.draw import class_colours
from whatwhere.serve.keys import new_key, write_keys

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def test_the_latest_predictions_are_browsed_and_marked(page: Page, page_folder: Path) -> None:
    choose(page, page_folder / "one.png", page_folder / "faint.png")
    page.locator("#strip button").filter(has_text="1 object").wait_for()
    page.get_by_role("link", name="Latest").click()
    entry = page.locator(".entry").filter(has_text="faint.png").first
    # The log is written by a thread of its own.
    for _ in range(40):
        if entry.count():
            break
        page.wait_for_timeout(250)
        page.get_by_role("button", name="Refresh").click()
        page.locator(".entry").first.wait_for()
    # What is below the model's own threshold was asked for by the page only.
    assert "1 × red" in str(entry.text_content())
    assert "green" not in str(entry.text_content())
    entry.locator(".thumb img[src^='blob:']").wait_for()
    entry.get_by_role("button", name="Mark as wrong").click()
    page.keyboard.type("<b>it is blue")
    page.keyboard.press("Enter")
    entry.get_by_text("Wrong: <b>it is blue").wait_for()
    page.get_by_label("Only those marked as wrong").check()
    page.get_by_text("1 entry, newest first.").wait_for()
    page.get_by_role("button", name="Take the mark away").click()
    page.get_by_role("button", name="Mark as wrong").wait_for()
    page.get_by_role("button", name="Refresh").click()
    page.get_by_text("Nothing yet.").wait_for()


def test_figures_and_drift_are_live(page: Page, page_folder: Path) -> None:
    choose(page, page_folder / "one.png")
    says(page, "2 objects: 1 × red, 1 × green.")
    page.get_by_role("link", name="Figures").click()
    tile = page.locator(".numbers div", has_text="Pictures since the start").locator("dd")
    tile.wait_for()
    before = int(str(tile.text_content()))
    assert before >= 1
    page.request.post(page.url.partition("#")[0] + "predict", data=PNG)
    page.locator(".numbers dd").get_by_text(str(before + 1), exact=True).wait_for()
    page.locator("#classes th", has_text="red").wait_for()
    page.get_by_text(re.compile(r"It learns what is usual: \d+ of 256 pictures")).first.wait_for()
    assert page.locator("figure svg[role=img]").count() == 2


def test_drift_is_told(page: Page) -> None:
    part = {"name": "brightness", "statistic": "ks", "value": 0.6, "limit": 0.3, "drifted": True}
    state = {"model": "street", "version": "3", "state": "watching", "alarm": True, "windows": 4}
    state |= {"pictures": 12, "window": 100, "reference": "runs/street", "reference_pictures": 256}
    state |= {"problem": None, "last": {"parts": [part | {"words": "darker"}]}}
    body = json.dumps({"drift": [state]})
    page.route("**/monitor/drift", lambda route: route.fulfill(body=body))
    page.get_by_role("link", name="Figures").click()
    page.locator(".badge.bad", has_text="drift").wait_for()
    row = page.locator("#drift tbody tr")
    assert row.locator("td").first.text_content() == "2"
    assert "darker" in str(row.text_content())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious(
    chrome: Browser, page_address: str, page_folder: Path, scheme: Any, width: int
) -> None:
    context = chrome.new_context(color_scheme=scheme, viewport={"width": width, "height": 844})
    page = context.new_page()
    page.goto(page_address)
    axe = axe_script()
    page.evaluate(axe)
    choose(page, page_folder / "one.png", page_folder / "no.png")
    says(page, "2 objects: 1 × red, 1 × green.")
    page.get_by_label("Compare with").select_option("kinds")
    page.locator(".pane").nth(1).locator(".labels li").first.wait_for()
    wrong = serious(page)
    page.locator("#strip button").nth(1).click()
    page.locator(".summary.bad").first.wait_for()
    wrong += serious(page)
    page.get_by_role("link", name="Latest").click()
    page.locator(".entry").first.wait_for()
    page.get_by_role("button", name="Mark as wrong").first.click()
    wrong += serious(page)
    page.get_by_role("link", name="Figures").click()
    page.locator("#drift .card").first.wait_for()
    wrong += serious(page)
    page.get_by_role("button", name="Key").click()
    wrong += serious(page)
    # Nothing needs to be scrolled sideways.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
    assert not wrong


def serious(page: Page) -> list[str]:
    """What axe says is critical or serious, as sentences."""
    result = page.evaluate("axe.run()")
    return [
        f"{one['id']}: {one['help']}: {node['html'][:200]}"
        for one in result["violations"]
        if one["impact"] in ("critical", "serious")
        for node in one["nodes"]
    ]


def test_a_key_is_asked_for_and_used(chrome: Browser, page_folder: Path, tmp_path: Path) -> None:
    key, text = new_key("phone", ("predict",))
    write_keys(tmp_path / "keys.json", [key])
    settings = settings_for(page_folder / "cells.onnx", keys_file=tmp_path / "keys.json")
    with served_at(settings) as address:
        context = chrome.new_context()
        page = context.new_page()
        page.goto(address)
        page.get_by_role("dialog").get_by_text("This server asks for a key").wait_for()
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        page.get_by_role("dialog").get_by_text("not known").wait_for()
        page.keyboard.type(text)
        page.keyboard.press("Enter")
        page.get_by_role("dialog").wait_for(state="hidden")
        choose(page, page_folder / "one.png")
        says(page, "2 objects: 1 × red, 1 × green.")
        assert text not in page.url
        assert page.evaluate("localStorage.length") == 0
        # What this key does not allow is said, and not asked for again and again.
        page.get_by_role("link", name="Figures").click()
        page.get_by_role("alert").get_by_text("scope metrics").wait_for()
        context.close()


def test_modules_compute_what_the_package_does(page: Page) -> None:
    names = ["person", "dog", "cat", "Ä", "😀", *map(str, range(9))]
    colours = page.evaluate(
        """async names => {
            const {classColours} = await import("/page/colours.js");
            const pairs = [...classColours(names)].map(([name, {fill}]) => [name, fill]);
            return Object.fromEntries(pairs);
        }""",
        names,
    )
    wanted = {name: "rgb({} {} {})".format(*rgb) for name, rgb in class_colours(names).items()}
    assert colours == wanted
    text = (
        "# HELP a about\n"
        'a_bucket{model="x \\"y\\\\z\\n",le="1.0"} 2\na_bucket{le="2.0"} 6\na_bucket{le="+Inf"} 8\n'
        "b 1.5e+03\n"
    )
    found = page.evaluate(
        """async text => {
            const {parse, buckets, quantile} = await import("/page/prometheus.js");
            const series = parse(text);
            const ends = buckets(series, "a");
            return [series.get("a_bucket")[0].labels.model, series.get("b")[0].value,
                quantile([], ends, 0.5), quantile([], ends, 0.99), quantile(ends, ends, 0.5)];
        }""",
        text,
    )
    assert found == ['x "y\\z\n', 1500, 1.5, 2, None]
    table = page.evaluate(
        """async () => (await import("/page/answer.js")).csv([{
            image: "a,b.png", labels: [{name: "=1+1", score: 1}],
            objects: [{name: 'x"y', score: 0.5, box: [1, 2, 3, 4]}]}])"""
    )
    assert table.split("\r\n")[1:] == ['"a,b.png",\'=1+1,1,,,,', '"a,b.png","x""y",0.5,1,2,3,4', ""]
