"""Tokens: stored as digests, with names, scopes and rates."""

import json
import os

import pytest

from edge_sphereface.errors import TokenError
from edge_sphereface.web.rate_limit import RateLimit
from edge_sphereface.web.tokens import (
    TokenBook,
    TokenHolder,
    add_token,
    parse_scopes,
    read_tokens,
    remove_tokens,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokens.json"


def test_a_token_is_accepted_and_stored_nowhere(path):
    made = add_token(path, "door bell", ["identify", "read"], per_second=2, burst=3)
    holder = TokenBook(path).holder(made)
    assert holder == TokenHolder(name="door bell", scopes=frozenset({"read", "identify"}), per_second=2, burst=3)
    assert made not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_scopes_permit_what_they_name_and_admin_permits_all():
    reader, admin = (TokenHolder(name="x", scopes=frozenset({scope})) for scope in ("read", "admin"))
    assert reader.may("read")
    assert not reader.may("embed")
    assert admin.may("embed")


@pytest.mark.parametrize("text", ["", "esf_", "wrong", "\ud800", "x" * 10_000])
def test_other_texts_are_nobodys(path, text):
    add_token(path, "door", ["read"])
    assert TokenBook(path).holder(text) is None


def test_a_book_follows_its_file(path):
    first = add_token(path, "first", ["read"])
    book = TokenBook(path)
    second = add_token(path, "second", ["read"])
    assert book.holder(second).name == "second"
    remove_tokens(path, ["first"])
    assert book.holder(first) is None
    path.write_text("{")
    with pytest.raises(TokenError, match="not JSON"):
        book.holder(second)
    path.unlink()
    with pytest.raises(TokenError, match="no file of tokens"):
        book.holder(second)


def test_names_are_unique_and_known(path):
    add_token(path, "door", ["read"])
    with pytest.raises(TokenError, match="already"):
        add_token(path, "door", ["read"])
    with pytest.raises(TokenError, match="no token 'gate'"):
        remove_tokens(path, ["door", "gate"])
    assert [token.name for token in read_tokens(path)] == ["door"]


@pytest.mark.parametrize("name", ["local", "page", " Local"])
def test_names_of_the_server_itself_are_refused(path, name):
    with pytest.raises(TokenError, match="the server uses itself"):
        add_token(path, name, ["read"])
    add_token(path, "other", ["read"])
    path.write_text(path.read_text().replace("other", name))
    with pytest.raises(TokenError, match="the server uses itself"):
        TokenBook(path)
    remove_tokens(path, [name])
    assert read_tokens(path) == ()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"kind": "something"}, "kind"),
        ({"schema_version": 2}, "schema_version"),
        ({"tokens": [{"name": "x"}]}, "lacks"),
        ({"extra": 1}, "unknown"),
    ],
)
def test_a_file_of_another_form_is_refused(path, change, match):
    add_token(path, "door", ["read"])
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(TokenError, match=match):
        read_tokens(path)


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_a_file_that_others_may_read_is_refused(path):
    add_token(path, "door", ["read"])
    path.chmod(0o644)
    with pytest.raises(TokenError, match="0644") as refused:
        TokenBook(path)
    assert refused.value.hint == f"chmod 600 {path}"


def test_names_scopes_and_rates_are_checked(path):
    for name, scopes, rate in (("a\nb", ["read"], 1), ("a", [], 1), ("a", ["fly"], 1), ("a", ["read"], 0)):
        with pytest.raises(TokenError):
            add_token(path, name, scopes, per_second=rate)
    assert not path.exists()
    assert parse_scopes("identify, read") == ("read", "identify")
    with pytest.raises(ValueError, match="expected scopes"):
        parse_scopes("read,fly")


def test_a_bucket_allows_a_burst_and_then_the_rate():
    now = [0.0]
    limit = RateLimit(lambda: now[0])
    one, other = (TokenHolder(name=name, scopes=frozenset(), per_second=2, burst=3) for name in ("one", "other"))
    assert [limit.wait_s(one) for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit.wait_s(other) == 0
    now[0] = 0.5
    assert limit.wait_s(one) == 0
    assert limit.wait_s(one) == 0.5
    now[0] = 100
    assert [limit.wait_s(one) for _ in range(4)] == [0, 0, 0, 0.5]
