"""The page about the people of a gallery."""

import re
from html.parser import HTMLParser

import numpy as np

from edge_sphereface.enrollment import Appraisal, PersonReport, PhotographReport
from edge_sphereface.enrollment.page import render_page
from edge_sphereface.gallery import Candidate

NAME = '<script>alert("x")</script> & Ann'


def person(name, **changes):
    appraisal = Appraisal(quality=None, eyes_px=None, sharpness=0.1, pose="left", light="from the left")
    photograph = PhotographReport(
        number=1,
        path=None,
        similarity=0.1,
        nearest=Candidate(name=NAME, similarity=0.25),
        looks_like=None,
        duplicate_of=None,
        harmful=True,
        appraisal=appraisal,
    )
    values = {
        "name": name,
        "similarity": 0.5,
        "least_similarity": None,
        "nearest": Candidate(name=NAME, similarity=0.25),
        "margin": None,
        "redundant": (),
        "harmful": (1,),
        "missing_poses": ("up",),
        "missing_light": (),
        "expected": None,
        "photographs": (photograph,),
    }
    return PersonReport(**(values | changes))


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.text = [], []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_needs_nothing_and_runs_nothing():
    crop = np.full((112, 96, 3), 128, np.uint8)
    page = render_page(
        [person(NAME), person("Bob")], [[crop], [None]], gallery="people.db", threshold="threshold 0.500"
    )
    tags = Tags()
    tags.feed(page)
    names = [tag for tag, _ in tags.found]
    assert "script" not in names
    assert not {"link", "iframe", "object", "form"} & set(names)
    assert not re.search(r"https?://|url\(|@import", page)
    sources = [attributes["src"] for tag, attributes in tags.found if tag == "img"]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/jpeg;base64,")
    policy = next(each["content"] for tag, each in tags.found if each.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    labels = [attributes["data-label"] for tag, attributes in tags.found if tag == "td"]
    assert labels[:6] == labels[6:]
    assert "nearest other" in labels, "narrow screens show no head of the table"
    text = "".join(tags.text)
    assert NAME in text, "shown as text"
    assert "no crop" in text
    targets = {each["href"].removeprefix("#") for tag, each in tags.found if tag == "a"}
    assert targets == {each["id"] for tag, each in tags.found if tag == "section"}
