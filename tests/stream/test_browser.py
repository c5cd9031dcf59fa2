"""How the page looks in a browser, and what it says."""

import shutil
import threading
import time
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec

import cv2
import numpy as np
import pytest

from edge_sphereface import Embedder, FaceStream, StreamSettings, open_detector, open_gallery
from edge_sphereface.alignment import LANDMARK_TEMPLATE
from edge_sphereface.cameras import Camera, CameraGroup
from edge_sphereface.errors import SourceError
from edge_sphereface.gallery.crops import encode_crop
from edge_sphereface.strangers import Sighting, StrangerKeeper
from edge_sphereface.stream import RecognitionSettings
from edge_sphereface.types import Face
from edge_sphereface.web import PageView

TOKEN = "a token of this test"
NOSES = {"frontal": (0, 0), "left": (-9, 0), "right": (9, 0), "up": (0, -8), "down": (0, 8)}
"""Where the nose is in each pose, in pixels of the template."""


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


@pytest.fixture
def strange(gallery, tmp_path, small_model, running, fake_source, wait_until):
    """A page with two recurring strangers; gives it and what keeps them."""
    keeper = StrangerKeeper(tmp_path / "strangers.db", gallery=gallery, keep_s=3600, threshold=0.5)
    begin = datetime(2026, 11, 20, 8, tzinfo=timezone.utc)
    for number in range(7):
        start = begin + timedelta(days=number)
        row = np.eye(gallery.fingerprint.embedding_size, dtype=np.float32)[number % 2]
        crop = np.full((112, 96, 3), 30 * number, np.uint8)
        keeper.take(Sighting(camera="front door", start=start, end=start, quality=0.5, embedding=row, crop=crop))
    keeper.turn()
    page = PageView(port=0)
    running(
        FaceStream(
            fake_source([[np.full((90, 160, 3), 90, np.uint8)] * 1000], interval_s=0.05),
            detector=Nobody(),
            embedder=Embedder(small_model),
            gallery=gallery,
            strangers=keeper,
            frame_sinks=[page],
        )
    )
    wait_until(lambda: page.port)
    return page, keeper


@pytest.mark.slow
def test_in_chromium_recurring_strangers_are_named_and_ignored(strange, browser, gallery, wait_until):
    """With a pointer and by keys alone, on a laptop and on a telephone."""
    page, _ = strange
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    said = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(page.address)
    tab.wait_for_selector("#strangers li")
    first, second = tab.locator("#strangers button").all()
    assert first.get_attribute("aria-label").startswith("unknown person, seen 4 times on 4 days since")
    assert "front door: say who this is" in second.get_attribute("aria-label")
    assert tab.inner_text("#stranger-count") == "(2)"
    wait_until(lambda: first.locator("img").evaluate("image => image.naturalWidth") == 96)
    for width, height in ((390, 844), (1280, 800)):
        tab.set_viewport_size({"width": width, "height": height})
        assert tab.locator(":root").evaluate("root => root.scrollWidth") == width
        first.click()
        box = tab.locator("#stranger").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        tab.keyboard.press("Escape")
    first.focus()
    tab.keyboard.press("Enter")
    assert tab.locator("#stranger-name").evaluate("input => input === document.activeElement")
    tab.keyboard.type("Ann Lee")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#people li[data-name='Ann Lee']")
    assert tab.inner_text("#note") == "Ann Lee is enrolled."
    tab.locator("#strangers li").nth(1).wait_for(state="detached")
    tab.click("#strangers button")
    tab.click("#stranger-ignore")
    assert tab.locator("#stranger").get_attribute("open") is not None, "a name is needed"
    tab.fill("#stranger-name", "Postman")
    tab.click("#stranger-ignore")
    tab.wait_for_selector("#strange", state="hidden")
    assert "ignored" in tab.inner_text("#people li[data-name=Postman] small")
    assert [(one.name, one.ignored) for one in gallery.identities()] == [("Ann Lee", False), ("Postman", True)]
    assert said == []


@pytest.mark.slow
def test_in_chromium_a_recurring_stranger_is_forgotten_after_a_question(strange, browser):
    page, keeper = strange
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    tab.goto(page.address)
    tab.click("#strangers button")
    tab.click("#stranger-forget")
    assert tab.inner_text("#forgotten") == "4 sightings"
    tab.click("#forget button[value=no]")
    tab.click("#stranger-forget")
    tab.click("#forget .danger")
    tab.locator("#strangers li").nth(1).wait_for(state="detached")
    assert tab.inner_text("#note") == "The person is forgotten."
    with keeper.open_store() as store:
        assert [stranger.sightings for stranger in store.strangers()] == [3]


class Nobody:
    """A detector that finds nobody."""

    name = "nobody"

    def detect(self, _):
        return []


def colored(tone):
    def play():
        while True:
            time.sleep(0.05)
            yield np.full((90, 160, 3), tone, np.uint8)

    return play


@pytest.fixture
def house(small_model, tmp_path, wait_until):
    """A page of four cameras, one of which is away, and a gallery of thirty people, half of them with a crop."""

    def away():
        raise SourceError("The cable was pulled.")
        yield

    page = PageView(port=0)
    embedder = Embedder(small_model)
    with open_gallery(tmp_path / "house.db", embedder, create=True, keep_crops=True) as gallery:
        rows = np.linalg.qr(np.random.default_rng(0).standard_normal((32, 32)))[0].astype(np.float32)[:30]
        for number, row in enumerate(rows):
            crop = encode_crop(np.full((112, 96, 3), number, np.uint8)) if number % 2 else None
            gallery.enroll(f"Person {number}", row, crops=[crop])
        sources = {"front door": colored(200), "garden": colored(120), "hall": colored(60), "garage " * 9: away}
        cameras = [Camera(name=name, source=source) for name, source in sources.items()]
        group = CameraGroup(
            cameras,
            detector=Nobody(),
            embedder=embedder,
            gallery=gallery,
            frame_sinks=lambda camera: [page.of(camera.name)],
        )
        with page.showing(group):
            thread = threading.Thread(target=group.run)
            thread.start()
            wait_until(lambda: [camera.state for camera in group.cameras()] == ["up", "up", "up", "down"])
            yield page
            group.stop()
            thread.join()


class Poser:
    """A detector that finds one face, in the pose that a test says."""

    name = "poser"
    pose = "frontal"

    def detect(self, _):
        points = np.float32(LANDMARK_TEMPLATE)
        points[2] += NOSES[self.pose]
        box = np.float32([*points.min(0) - 16, *points.max(0) + 16])
        return [Face(box=box + 60, landmarks=points + 60, score=0.9)]


@pytest.mark.slow
def test_in_chromium_a_person_is_enrolled_with_five_poses(
    browser, gallery, running, fake_source, small_model, wait_until
):
    """The shutter works by itself; nothing is kept of a capture that is canceled."""
    coarse = np.random.default_rng(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
    page, poser = PageView(port=0), Poser()
    running(
        FaceStream(
            fake_source([[picture] * 100_000], interval_s=0.03),
            detector=poser,
            embedder=Embedder(small_model),
            gallery=gallery,
            settings=StreamSettings(name="door", recognition=RecognitionSettings(threshold=0.4)),
            frame_sinks=[page],
        )
    )
    wait_until(lambda: page.port)
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    said = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(page.address)
    tab.click("#guide-begin")
    tab.wait_for_selector("#guide-poses .taken")
    assert tab.locator("#guide-poses li").all_inner_texts()[1:] == ["right", "left", "up", "down"]
    tab.wait_for_selector("#guide-hint:text-is('Turn your head to your right')")
    for width, height in ((390, 844), (1280, 800)):
        tab.set_viewport_size({"width": width, "height": height})
        stage = tab.locator("#stage").bounding_box()
        for part in ("#guide-hint", "#guide-poses", "#guide-cancel"):
            box = tab.locator(part).bounding_box()
            assert stage["x"] <= box["x"], part
            assert box["x"] + box["width"] <= stage["x"] + stage["width"], part
            assert box["y"] + box["height"] <= height, part
            assert overlap(box, stage) == (part == "#guide-hint"), "the face stays in sight"
    assert tab.locator("#guide-cancel").evaluate("button => button === document.activeElement")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#guide", state="hidden")
    tab.click("#guide-begin")
    for pose in ("frontal", "left", "right", "up", "down"):
        poser.pose = pose
        tab.wait_for_selector(f"#guide-poses li[data-pose={pose}].taken, #review[open]")
    tab.wait_for_selector("#review[open]")
    assert [image.get_attribute("alt") for image in tab.locator("#review-crops img").all()] == [
        f"picture: {name}" for name in ("front", "right", "left", "up", "down")
    ]
    crops = tab.locator("#review-crops img")
    wait_until(lambda: crops.evaluate_all("images => images.map((image) => image.naturalWidth)") == [96] * 5)
    assert len(gallery) == 0
    tab.keyboard.type("Ann Lee")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#people li[data-name='Ann Lee']")
    assert tab.inner_text("#note") == "Ann Lee is enrolled."
    assert [(one.name, one.embeddings) for one in gallery.identities()] == [("Ann Lee", 5)]
    tab.wait_for_selector(".face.identified")
    assert said == []


def overlap(one, other):
    return all(
        one[side] < other[side] + other[size] - 1 and other[side] < one[side] + one[size] - 1
        for side, size in (("x", "width"), ("y", "height"))
    )


@pytest.mark.slow
def test_in_chromium_several_cameras_are_a_grid_and_one_is_large(house, browser):
    """On a telephone, a laptop and a large screen; by keys alone, with a name and a frame for what is focused."""
    tab = browser.new_page()
    said = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(house.address)
    tab.wait_for_selector(".tile img:not([hidden])")
    tab.wait_for_selector("#people img")
    assert tab.inner_text("#problems").endswith("no picture: The cable was pulled.")
    assert tab.inner_text("#state") == "1 of 4 without a picture"
    assert tab.locator(".tile").first.get_attribute("aria-label") == "front door, nobody, show large"
    assert tab.locator("#people img").first.get_attribute("alt") == "enrolled face of Person 1"
    for width, height in ((390, 844), (1280, 800), (1920, 1080)):
        tab.set_viewport_size({"width": width, "height": height})
        root = tab.locator(":root")
        assert root.evaluate("root => root.scrollWidth") == width
        if width > 800:
            assert root.evaluate("root => root.scrollHeight") == height
        parts = [part.bounding_box() for part in tab.locator(".tile, aside .card:visible").all()]
        assert not [(one, other) for one in parts for other in parts if one is not other and overlap(one, other)]
        assert min(part["width"] for part in parts) > 250
        if width == 390:  # what is wrong comes first
            assert tab.locator("#wrong").bounding_box()["y"] == min(part["y"] for part in parts)
        tab.locator(".tile").first.focus()
        tab.keyboard.press("Shift+Tab")
        tab.keyboard.press("Tab")
        assert tab.locator(".tile").first.evaluate("tile => getComputedStyle(tile).outlineWidth") == "3px"
        tab.keyboard.press("Enter")
        tab.wait_for_selector("#stage:not(.old)")
        assert tab.locator("#picture").get_attribute("alt") == "live picture of front door"
        assert tab.locator("#picture").bounding_box()["width"] > parts[0]["width"] * (0.99 if width == 390 else 1.2)
        assert root.evaluate("root => root.scrollWidth") == width
        tab.keyboard.press("ArrowRight")
        tab.wait_for_selector("#stream:text-is('garden')")
        tab.keyboard.press("Escape")
        tab.wait_for_selector(".tile[data-camera=garden]:focus")
    assert said == []
