"""Strangers over HTTP: who may see them, name them, ignore them and forget them."""

from datetime import datetime, timedelta, timezone

import cv2
import numpy as np
import pytest

from edge_sphereface.audit import AuditLog, read_entries
from edge_sphereface.strangers import Sighting, StrangerKeeper
from edge_sphereface.web.tokens import add_token

BEGIN = datetime(2026, 11, 27, 8, tzinfo=timezone.utc)


@pytest.fixture
def keeper(people, tmp_path):
    """Two strangers, seen three times and once, at two cameras."""
    keeper = StrangerKeeper(tmp_path / "strangers.db", gallery=people, keep_s=3600, threshold=0.5)
    size = people.fingerprint.embedding_size
    for number, person in enumerate((0, 0, 0, 1)):
        start = BEGIN + timedelta(days=number)
        keeper.take(
            Sighting(
                camera=("door", "garden")[number % 2],
                start=start,
                end=start + timedelta(seconds=9),
                quality=0.5 + number / 10,
                embedding=np.eye(size, dtype=np.float32)[person],
                crop=np.full((112, 96, 3), 60 * number, np.uint8),
            )
        )
    keeper.turn()
    return keeper


def test_strangers_are_listed_shown_named_ignored_and_forgotten(interface, keeper, people, tmp_path):
    changes = []
    audit = AuditLog(tmp_path / "audit.jsonl")
    client = interface(strangers=keeper, audit=audit, on_gallery_change=lambda: changes.append(1))
    listed = client.ask("strangers").body
    often, once = listed["strangers"]
    assert (listed["total"], often["sightings"], often["cameras"], once["sightings"]) == (2, 3, ["door", "garden"], 1)
    assert [one["id"] for one in client.ask("strangers?least=2").body["strangers"]] == [often["id"]]
    shown = client.ask(f"strangers/{often['id']}").body
    assert [one["quality"] for one in shown["sightings"]] == [0.7, 0.6, 0.5]
    crop = client.ask(f"strangers/{often['id']}/crop")
    assert crop.headers["content-type"] == "image/jpeg"
    assert abs(int(cv2.imdecode(np.frombuffer(crop.body, np.uint8), 1).mean()) - 120) < 3, "the best crop"
    named = client.ask(f"strangers/{often['id']}/name", {"name": "Ann Lee"})
    assert (named.status, named.body["name"], named.body["added"]) == (200, "Ann Lee", 3)
    assert not people.get("Ann Lee").ignored
    gone = client.ask(f"strangers/{often['id']}")
    assert (gone.status, gone.body["error"]["code"]) == (404, "stranger-not-found")
    assert client.ask(f"strangers/{once['id']}/ignore", {"name": "Postman"}).status == 200
    assert people.get("Postman").ignored
    assert client.ask("strangers").body == {"strangers": [], "total": 0}
    assert len(changes) == 2
    entries = [(entry.action, entry.detail) for entry in read_entries(tmp_path / "audit.jsonl")]
    assert entries == [("enroll", {"embeddings": "3"}), ("enroll", {"embeddings": "1", "ignored": "yes"})]


def test_a_stranger_is_forgotten_and_every_byte_with_him(interface, keeper, tmp_path):
    client = interface(strangers=keeper, audit=AuditLog(tmp_path / "audit.jsonl"))
    often = client.ask("strangers").body["strangers"][0]["id"]
    assert client.ask(f"strangers/{often}", method="DELETE").body == {"sightings": 3}
    assert client.ask("strangers").body["total"] == 1
    (entry,) = read_entries(tmp_path / "audit.jsonl")
    assert (entry.action, entry.subject, entry.detail) == ("remove", None, {"strangers": "3"})


def test_scopes_and_what_is_not_there(interface, keeper, web):
    client = interface(strangers=keeper)
    reader = web.Client(client.url, add_token(client.book, "reader", ["read"]))
    writer = web.Client(client.url, add_token(client.book, "writer", ["enroll"]))
    often = reader.ask("strangers").body["strangers"][0]["id"]
    for path, body, method in (
        (f"strangers/{often}/name", {"name": "Ann"}, None),
        (f"strangers/{often}/ignore", {"name": "Ann"}, None),
        (f"strangers/{often}", None, "DELETE"),
    ):
        assert reader.ask(path, body, method=method).status == 403
    for path in ("strangers", f"strangers/{often}", f"strangers/{often}/crop"):
        assert writer.ask(path).status == 403
    assert writer.ask("strangers/s-none/name", {"name": "Ann"}).status == 404
    assert writer.ask(f"strangers/{often}/name", {"nam": "Ann"}).status == 400
    assert writer.ask(f"strangers/{often}/name", {"name": " "}).body["error"]["code"] == "identity"
    assert reader.ask("strangers?least=0").status == 400
    assert reader.ask(f"strangers/{often}?least=2").status == 400
    assert client.ask("strangers").body["total"] == 2
    assert interface(None).ask("strangers").body["error"]["code"] == "absent"
