"""How the page looks in a browser, and what it says."""

import shutil
from importlib.util import find_spec

import numpy as np
import pytest

from edge_sphereface import Embedder, FaceStream, open_detector
from edge_sphereface.errors import SourceError
from edge_sphereface.web import PageView

TOKEN = "a token of this test"


@pytest.fixture(scope="module")
def chromium():
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None or find_spec("playwright") is None:
        pytest.skip("needs chromium and playwright: scripts/install-test-servers")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        found = tools.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def browser(chromium):
    """Each page that is opened has cookies and storage of its own, and is closed after the test."""
    yield chromium
    for context in chromium.contexts:
        context.close()


@pytest.mark.slow
def test_in_chromium_a_click_on_a_face_enrolls_it(served, browser, gallery):
    page, _ = served(token=TOKEN)
    tab = browser.new_page(viewport={"width": 1100, "height": 700})
    said = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(page.address)
    assert tab.url == f"http://127.0.0.1:{page.port}/"
    face = tab.wait_for_selector(".face.unknown, .face.identified")
    box, picture = face.bounding_box(), tab.locator("#picture").bounding_box()
    assert picture["x"] < box["x"] < box["x"] + box["width"] < picture["x"] + picture["width"]
    assert "frames/s" in tab.inner_text("#latency")
    face.click(force=True)  # it moves
    tab.fill("#name", "Eileen")
    tab.click("#save")
    tab.wait_for_selector(".face.identified")
    assert "Eileen" in tab.inner_text(".face.identified")
    assert tab.inner_text("#people .here span") == "Eileen"
    assert [person.name for person in gallery.identities()] == ["Eileen"]
    tab.click("#people button")
    tab.click("#remove .danger")
    tab.wait_for_selector(".face.unknown")
    assert len(gallery) == 0
    assert said == []


def enroll_people(gallery, count, size):
    """Enroll random people, the last with a long name."""
    names = [f"Person {index}" for index in range(count - 1)] + ["Maria Theodora " * 13]
    for name, row in zip(names, np.random.default_rng(count).standard_normal((count, size)), strict=True):
        gallery.enroll(name, np.float32(row / np.linalg.norm(row)))


def test_in_chromium_the_page_fits_the_window(served, browser, gallery, small_model):
    """No scrolling at 1280 x 800, whatever the gallery: its list scrolls. A telephone scrolls vertically alone."""
    size = Embedder(small_model).spec.embedding_size
    page, _ = served()
    tab = browser.new_page()
    for count in (1, 100):
        enroll_people(gallery, count, size)
        tab.set_viewport_size({"width": 1280, "height": 800})
        tab.goto(page.address)
        tab.wait_for_selector(".face")
        tab.wait_for_selector("#people li")
        root = tab.locator(":root")
        assert root.evaluate("root => [root.scrollWidth, root.scrollHeight]") == [1280, 800]
        for part in ("#picture", "#latency", "#hint"):
            box = tab.locator(part).bounding_box()
            assert box["y"] + box["height"] <= 800, part
        tab.set_viewport_size({"width": 390, "height": 844})
        assert root.evaluate("root => root.scrollWidth") == 390
    tab.set_viewport_size({"width": 1280, "height": 800})
    tab.locator("#people li").last.scroll_into_view_if_needed()
    assert tab.locator("#people").evaluate("list => list.scrollTop") > 0


def test_in_chromium_a_camera_that_is_away_is_said_at_once(running, browser, fake_source, wait_until):
    page = PageView(port=0)
    source = fake_source([SourceError("The cable was pulled.")])
    running(FaceStream(source, detector=open_detector(), frame_sinks=[page]))
    wait_until(lambda: page.port)
    tab = browser.new_page()
    tab.goto(page.address)
    tab.wait_for_selector(".dot.down", timeout=4000)
    assert tab.inner_text("#absence") == "no picture from the source"


def test_in_chromium_a_face_that_is_named_again_is_told(served, browser, gallery):
    """A name that exists, one face with two names, and a person who was deleted elsewhere meanwhile."""
    page, _ = served()
    tab = browser.new_page()
    tab.goto(page.address)
    for name in ("Eilen", "Eileen"):
        tab.wait_for_selector(".face.unknown, .face.identified").click(force=True)
        tab.fill("#name", name)
        tab.click("#save")
        tab.wait_for_selector(f"#people li[data-name={name}]")
    assert "looks like Eilen" in tab.inner_text("#note")
    tab.click(".face", force=True)
    tab.fill("#name", "Eilen")
    assert "enrolled already" in tab.inner_text("#effect")
    tab.click("#cancel")
    gallery.remove(["Eilen"])
    tab.click("#people li[data-name=Eilen] button")
    tab.click("#remove .danger")
    tab.wait_for_function("document.querySelector('#note').textContent.includes('Eilen')")
    tab.wait_for_selector("#people li[data-name=Eilen]", state="detached")
    assert "looks like" not in tab.inner_text("#note")


def test_in_chromium_names_are_text(served, browser, gallery, small_model):
    """A name that is a piece of a page runs nothing."""
    gallery.enroll(
        "<img src=x onerror=alert(1)>", np.eye(1, Embedder(small_model).spec.embedding_size, dtype=np.float32)
    )
    page, _ = served()
    tab = browser.new_page()
    tab.goto(page.address)
    tab.wait_for_selector("#people li")
    assert "<img src=x" in tab.inner_text("#people")


def test_in_chromium_a_program_that_ended_is_said(served, browser):
    page, stream = served()
    tab = browser.new_page()
    tab.goto(page.address)
    tab.wait_for_selector(".dot.up")
    stream.stop()
    tab.wait_for_selector(".dot.down", timeout=10_000)
    assert "does not answer" in tab.inner_text("#state")
