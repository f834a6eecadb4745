"""The web page in a real browser; skipped where there is no playwright or no Chromium."""

from __future__ import annotations

import io
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("playwright")

import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from facelex.recognize.recognizer import Recognizer
from facelex.serve import create_app

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
SAMPLES = files("facelex") / "samples"
PHOTO = Path(str(SAMPLES / "astronaut.jpg"))

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer("tiny", threads=1)


@pytest.fixture(scope="module")
def address(recognizer: Recognizer) -> Iterator[str]:
    with listening(recognizer) as at:
        yield at


@contextmanager
def listening(recognizer: Recognizer) -> Iterator[str]:
    """The address of a server, which answers in a thread of its own."""
    settings = uvicorn.Config(create_app(recognizer), port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < until
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(timeout=30)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the camera sees: the photo, in the one format of uncompressed video that Chromium plays."""
    place = tmp_path_factory.mktemp("camera") / "camera.y4m"
    with Image.open(PHOTO) as photo:
        light, *colours = np.asarray(photo.convert("YCbCr").resize((480, 480))).transpose(2, 0, 1)
    frame = light.tobytes() + b"".join(colour[::2, ::2].tobytes() for colour in colours)
    place.write_bytes(b"YUV4MPEG2 W480 H480 F10:1 Ip A1:1 C420jpeg\n" + 2 * (b"FRAME\n" + frame))
    return place


@pytest.fixture(scope="module")
def browser(film: Path) -> Iterator[Browser]:
    camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    camera.append(f"--use-file-for-fake-video-capture={film}")
    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=BROWSER, args=camera)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page as a visitor finds it. Whatever the browser complains of fails the test."""
    complaints: list[str] = []
    opened = browser.new_page(bypass_csp=True)  # for the tests' own scripts
    opened.set_default_timeout(60_000)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(address)
    yield opened
    opened.close()
    assert not complaints


def says(page: Page, text: str) -> None:
    expect(page.locator("#message")).to_contain_text(text, timeout=60_000)


def scores(page: Page, face: int = 0) -> dict[str, float]:
    """What stands beside a face, in the order in which it stands there."""
    rows = page.locator(".face").nth(face).locator("tr")
    return {
        row.locator("th").inner_text(): float(row.locator("meter").get_attribute("value"))
        for row in rows.all()
    }


def upload(name: str, picture: Image.Image, kind: str) -> dict[str, Any]:
    stream = io.BytesIO()
    picture.save(stream, kind)
    return {"name": name, "mimeType": "image/" + kind.lower(), "buffer": stream.getvalue()}


def test_chosen_photos_stand_with_their_faces_and_scores(page: Page, recognizer: Recognizer) -> None:
    page.set_input_files("#files", [PHOTO, str(SAMPLES / "grace_hopper.jpg")])
    says(page, "2 faces.")
    assert page.locator("h2").all_inner_texts() == ["astronaut.jpg", "grace_hopper.jpg"]
    (face,) = recognizer.predict(PHOTO)
    assert page.locator(".face h3").first.inner_text() == face.emotion
    shown = scores(page)
    assert shown == pytest.approx(face.probabilities, abs=1e-4)
    assert list(shown.values()) == sorted(shown.values(), reverse=True)
    box = page.locator("svg rect").first
    assert [float(box.get_attribute(side)) for side in ("x", "y", "width", "height")] == pytest.approx(
        list(face.box), abs=0.1
    )


def test_words_are_scored_for_the_photos_that_stand_there(page: Page, recognizer: Recognizer) -> None:
    page.set_input_files("#files", PHOTO)
    says(page, "1 face.")
    page.fill("#words", "bored, proud")
    page.press("#words", "Enter")
    expect(page.locator(".words-begin th")).to_have_text("proud", timeout=60_000)
    (face,) = recognizer.predict(PHOTO, words=["bored", "proud"])
    assert list(scores(page))[-2:] == ["proud", "bored"]
    assert scores(page) == pytest.approx({**face.probabilities, **face.words}, abs=1e-4)


def test_a_word_that_nobody_knows_is_explained_until_it_is_mended(page: Page) -> None:
    page.set_input_files("#files", PHOTO)
    says(page, "1 face.")
    page.fill("#words", "bord")
    page.press("#words", "Enter")
    says(page, "bord")
    expect(page.locator("#message")).to_have_class("wrong")
    page.fill("#words", "bored")
    page.press("#words", "Enter")
    says(page, "1 face.")
    assert list(scores(page))[-1] == "bored"
    expect(page.locator("#message")).not_to_have_class("wrong")


def test_a_file_that_is_no_picture_does_not_stop_the_others(page: Page) -> None:
    broken = {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"}
    page.set_input_files("#files", [broken, upload("photo.jpg", Image.open(PHOTO), "JPEG")])
    says(page, "1 face.")
    expect(page.locator("#results > p")).to_contain_text("notes.jpg")


def test_a_picture_that_the_browser_cannot_show_is_shown_by_the_server(page: Page) -> None:
    page.set_input_files("#files", upload("photo.tiff", Image.open(PHOTO), "TIFF"))
    says(page, "1 face.")
    image = page.locator("#results img")
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 512


def test_a_picture_without_faces_says_so(page: Page) -> None:
    page.set_input_files("#files", upload("wall.png", Image.new("RGB", (300, 200), "white"), "PNG"))
    says(page, "0 faces.")
    assert page.locator(".picture").inner_text().splitlines()[-1] == "No face was found."


def test_face_crops_are_read_whole(page: Page) -> None:
    page.set_input_files("#files", upload("crop.png", Image.new("L", (48, 48), 127), "PNG"))
    says(page, "0 faces.")
    page.check("#crops")
    says(page, "1 face.")
    box = page.locator("svg rect")
    assert [box.get_attribute(side) for side in ("x", "y", "width", "height")] == ["0", "0", "48", "48"]


BRING = """([event, bytes]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], "brought.jpg", { type: "image/jpeg" }));
  document.body.dispatchEvent(event === "paste"
    ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
    : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_pictures_are_dropped_and_pasted(event: str, page: Page) -> None:
    page.evaluate(BRING, [event, list(PHOTO.read_bytes())])
    says(page, "1 face.")
    assert page.locator("h2").inner_text() == "brought.jpg"


def test_the_camera_is_read_until_it_is_switched_off(page: Page) -> None:
    page.click("#camera")
    says(page, "1 face.")
    expect(page.locator("#camera")).to_have_attribute("aria-pressed", "true")
    page.fill("#words", "proud")
    page.press("#words", "Enter")  # while it watches
    expect(page.locator(".words-begin th")).to_have_text("proud", timeout=60_000)
    page.click("#camera")
    says(page, "The camera is off.")
    expect(page.locator("#video")).to_be_hidden()
    assert page.locator("#results > *").count() == 0
    assert page.evaluate("document.getElementById('video').srcObject") is None


def test_photos_take_the_cameras_place(page: Page) -> None:
    page.click("#camera")
    says(page, "1 face.")
    page.set_input_files("#files", PHOTO)
    expect(page.locator("h2")).to_have_text("astronaut.jpg", timeout=60_000)
    says(page, "1 face.")
    expect(page.locator("#camera")).to_have_attribute("aria-pressed", "false")


def test_a_server_that_has_gone_is_told(browser: Browser, recognizer: Recognizer) -> None:
    page = browser.new_page()
    with listening(recognizer) as at:
        page.goto(at)
        expect(page.locator("#card")).to_contain_text("facelex")
    page.set_input_files("#files", PHOTO)
    expect(page.locator("#message")).to_have_class("wrong", timeout=60_000)
    said = page.locator("#message").inner_text()
    page.close()
    assert said == "The server does not answer."


@pytest.mark.parametrize("width", [320, 1100])
def test_nothing_sticks_out_at_the_side(width: int, page: Page) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    page.set_input_files("#files", PHOTO)
    says(page, "1 face.")
    page.click("summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
