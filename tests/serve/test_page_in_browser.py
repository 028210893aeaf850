"""The web page in a headless Chromium: pictures, by mouse, keyboard and camera."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from factories import picture
from page_words import HOSTILE, choose, says, seen
from whatwhere.images import encode_image, read_image
from whatwhere.outputs.draw import class_colours

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_a_chosen_picture_gets_boxes_where_the_server_says(page: Page, page_folder: Path) -> None:
    choose(page, page_folder / "one.png")
    says(page, "2 objects: 1 × red, 1 × green.")
    boxes = page.locator(".found .box")
    found = boxes.evaluate_all(
        "all => all.map(one => ['x', 'y', 'width', 'height'].map(name => +one.getAttribute(name)))"
    )
    assert sorted(found) == [[16, 0, 16, 16], [32, 32, 16, 16]]
    assert page.locator("svg").first.get_attribute("viewBox") == "0 0 64 64"
    assert page.locator(".tag text").all_text_contents() == ["green 100\u00a0%", "red 100\u00a0%"]
    label = page.locator(".stage canvas").get_attribute("aria-label")
    assert label == "one.png: 2 objects: 1 × red, 1 × green."


def test_the_slider_acts_without_a_new_question(page: Page, page_folder: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    choose(page, page_folder / "faint.png")
    says(page, "1 object: 1 × red.")
    before = len([url for url in asked if "/predict" in url])
    slider = page.get_by_role("slider", name="Lowest score")
    assert slider.input_value() == "50"
    slider.fill("30")
    says(page, "2 objects: 1 × red, 1 × green.")
    slider.focus()
    for _ in range(15):
        page.keyboard.press("ArrowRight")
    says(page, "1 object: 1 × red.")
    slider.fill("20")
    page.get_by_role("button", name="Model's own").click()
    says(page, "1 object: 1 × red.")
    assert len([url for url in asked if "/predict" in url]) == before == 1


def test_classes_are_switched_off_and_on(page: Page, page_folder: Path) -> None:
    choose(page, page_folder / "one.png")
    says(page, "2 objects: 1 × red, 1 × green.")
    page.get_by_role("checkbox", name="red").uncheck()
    assert seen(page) == ["green"]
    page.get_by_role("button", name="None").click()
    says(page, "Nothing found.")
    page.get_by_role("button", name="All").click()
    assert sorted(seen(page)) == ["green", "red"]


def test_two_models_stand_side_by_side(page: Page, page_folder: Path) -> None:
    choose(page, page_folder / "one.png")
    says(page, "2 objects: 1 × red, 1 × green.")
    page.get_by_label("Compare with").select_option("kinds")
    page.get_by_role("heading", name="kinds").wait_for()
    assert page.locator(".pane").count() == 2
    says(page, "2 objects: 1 × red, 1 × green.")
    page.locator(".pane").nth(1).locator(".labels li").first.wait_for()
    page.get_by_label("Compare with").select_option("nothing")
    page.get_by_role("heading", name="kinds").wait_for(state="detached")


def test_names_from_files_and_models_are_text(page: Page, page_folder: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: pytest.fail("a name was run as a script"))
    data = (page_folder / "blue.png").read_bytes()
    hostile = {"name": "<svg onload=alert(1)>.png", "mimeType": "image/png", "buffer": data}
    page.set_input_files("#files", [hostile, {**hostile, "name": "two.png"}])
    says(page, f"1 object: 1 × {HOSTILE}.")
    assert page.locator(".tag text").text_content() == f"{HOSTILE} 100\u00a0%"
    assert page.get_by_role("button", name="<svg onload=alert(1)>.png").count() == 1
    page.goto(page.url.partition("#")[0] + "#latest")
    page.locator(".entry").first.wait_for()
    assert page.locator(".entry img[onerror], svg[onload]").count() == 0
    assert not [url for url in asked if url.endswith("/x")]


def test_pictures_are_dropped_and_pasted(page: Page, page_folder: Path) -> None:
    data = list((page_folder / "one.png").read_bytes())
    transfer = page.evaluate_handle(
        """data => {
            const transfer = new DataTransfer();
            const bytes = new Uint8Array(data);
            transfer.items.add(new File([bytes], "dropped.png", {type: "image/png"}));
            return transfer;
        }""",
        data,
    )
    page.dispatch_event("#drop", "dragenter", {"dataTransfer": transfer})
    assert "over" in str(page.locator("#drop").get_attribute("class"))
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    says(page, "2 objects: 1 × red, 1 × green.")
    page.evaluate(
        """data => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(data)], "pasted.png", {type: "image/png"}));
            document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer}));
        }""",
        list((page_folder / "blue.png").read_bytes()),
    )
    says(page, f"1 object: 1 × {HOSTILE}.")
    assert page.locator("#strip button").count() == 3


def test_several_pictures_are_all_asked_about_and_saved(page: Page, page_folder: Path) -> None:
    choose(page, page_folder / "one.png", page_folder / "no.png", page_folder / "blue.png")
    strip = page.locator("#strip button")
    strip.filter(has_text="refused").wait_for()
    strip.filter(has_text="1 object").wait_for()
    strip.nth(1).click()
    assert page.locator(".summary.bad").text_content()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download all as JSON lines").click()
    rows = [json.loads(line) for line in Path(waiting.value.path()).read_text("utf-8").splitlines()]
    assert [row["image"] for row in rows] == ["one.png", "no.png", "blue.png"]
    assert [len(row.get("objects", ())) for row in rows] == [2, 0, 1]
    assert "error" in rows[1]


def test_what_is_shown_is_what_is_saved(page: Page, page_folder: Path) -> None:
    choose(page, page_folder / "one.png")
    says(page, "2 objects: 1 × red, 1 × green.")
    page.get_by_role("checkbox", name="green").uncheck()
    saved: dict[str, bytes] = {}
    for name in ("Picture", "JSON", "CSV"):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=name, exact=True).click()
        saved[waiting.value.suggested_filename] = Path(waiting.value.path()).read_bytes()
    assert sorted(saved) == ["one-cells.csv", "one-cells.json", "one-cells.png"]
    row = json.loads(saved["one-cells.json"])
    assert [one["name"] for one in row["objects"]] == ["red"]
    assert saved["one-cells.csv"].decode().splitlines()[1:] == ["one.png,red,1,16,0,32,16"]
    drawn = cv2.imdecode(np.frombuffer(saved["one-cells.png"], np.uint8), cv2.IMREAD_COLOR_RGB)
    assert drawn.shape == (64, 64, 3)
    # The lower edge of the box, in the colour that our drawings give the class; its rim is soft.
    colour = class_colours(["red", "green"])["red"]
    assert np.abs(drawn[16, 28].astype(int) - colour).max() < 16


def test_rows_and_boxes_are_reached_by_keyboard(page: Page, page_folder: Path) -> None:
    choose(page, page_folder / "one.png")
    says(page, "2 objects: 1 × red, 1 × green.")
    page.locator("tbody button").first.focus()
    assert page.locator(".found.lit").get_attribute("data-name") == "red"
    assert page.locator(".found.dim").count() == 1
    page.keyboard.press("Tab")
    assert page.locator(".found.lit").get_attribute("data-name") == "green"
    page.keyboard.press("Tab")
    assert page.locator(".found.lit").count() == 0
    assert page.evaluate("document.activeElement.textContent") == "Picture"


def test_the_first_steps_of_the_keyboard(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"


def test_the_camera_gives_frames_and_a_picture(page: Page) -> None:
    page.get_by_role("button", name="Use the camera").click()
    page.locator(".times", has_text="ms in the model").first.wait_for()
    first = page.locator(".stage canvas").evaluate("one => one.toDataURL()")
    page.wait_for_timeout(700)
    assert page.locator(".stage canvas").evaluate("one => one.toDataURL()") != first
    page.get_by_role("button", name="Keep this picture").click()
    page.get_by_role("button", name="Use the camera").wait_for()
    label = page.locator(".stage canvas")
    label.and_(page.locator("[aria-label^='camera-1.jpg']")).wait_for()
    assert page.locator("#video").evaluate("one => one.srcObject") is None


def test_a_server_that_has_gone_is_said(page: Page, page_folder: Path) -> None:
    page.route("**/predict?*", lambda route: route.abort())
    choose(page, page_folder / "one.png")
    page.locator(".summary.bad", has_text="The server does not answer").wait_for()


def test_a_photograph_that_is_turned_lies_under_its_boxes(page: Page, tmp_path: Path) -> None:
    """The browser turns a picture as EXIF says; boxes of the server are in the turned picture."""
    data = encode_image(picture((0, 1, 0)), ".jpg")
    turned = data[:2] + exif(6) + data[2:]
    (tmp_path / "turned.jpg").write_bytes(turned)
    # A quarter to the right: the first row has become the last column.
    assert read_image(tmp_path / "turned.jpg")[24, 56].tolist()[0] > 200
    choose(page, tmp_path / "turned.jpg")
    page.locator(".found").first.wait_for()
    box = page.locator(".found .box").first.evaluate(
        "one => ['x', 'y', 'width', 'height'].map(name => +one.getAttribute(name))"
    )
    assert box == [48, 16, 16, 16]
    pixel = page.locator(".stage canvas").evaluate(
        "one => [...one.getContext('2d').getImageData(56, 24, 1, 1).data]"
    )
    assert pixel[0] > 200
    assert pixel[1] < 60


def exif(orientation: int) -> bytes:
    """A JPEG segment that says how the picture is turned (EXIF 2.3, tag 274)."""
    tiff = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + bytes([0, orientation]) + b"\0" * 6
    body = b"Exif\0\0" + tiff
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
