"""The commands `serve` and `tokens`: a real process that answers, over TLS where it is asked to."""

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import urllib.request
from datetime import datetime, timedelta, timezone

import pytest

from edge_sphereface.cli.option import options_of
from edge_sphereface.cli.serve_command import ServeOptions
from edge_sphereface.errors import SinkError
from edge_sphereface.http_server.certificate import Certificate


@pytest.fixture
def certificate(tmp_path):
    """Files of a certificate for localhost, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "c.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "k.pem").write_bytes(key.private_bytes(*form, serialization.NoEncryption()))
    (tmp_path / "locked.pem").write_bytes(
        key.private_bytes(*form, serialization.BestAvailableEncryption(b"a passphrase"))
    )
    return tmp_path


def test_a_certificate_that_cannot_be_used_is_refused(certificate):
    (certificate / "x.pem").write_text("nothing")
    for file, key, match in (
        ("missing.pem", "k.pem", "Cannot read"),
        ("x.pem", "k.pem", "cannot be used"),
        ("c.pem", "x.pem", "cannot be used"),
        ("c.pem", "locked.pem", "passphrase"),
    ):
        with pytest.raises(SinkError, match=match):
            Certificate(file=certificate / file, key=certificate / key).require()


def test_tokens_are_managed(cli, tmp_path):
    path = tmp_path / "tokens.json"
    code, out, _ = cli("tokens", "add", path, "door", "--scopes", "read,identify", "--json")
    made = json.loads(out)
    assert (code, made["scopes"], made["token"][:4]) == (0, ["read", "identify"], "esf_")
    assert cli("tokens", "add", path, "gate", "--scopes", "admin", "--rate", "1")[0] == 0
    _, out, _ = cli("tokens", "list", path, "--json")
    assert [token["name"] for token in json.loads(out)["tokens"]] == ["door", "gate"]
    assert made["token"] not in out
    assert cli("tokens", "remove", path, "door")[0] == 0
    code, _, err = cli("tokens", "remove", path, "door")
    assert (code, "no token 'door'" in err) == (1, True)
    assert cli("tokens", "add", path, "x", "--scopes", "fly")[0] == 2


def test_help_names_the_address_once():
    (listen,) = (option for option in options_of(ServeOptions) if option.name == "listen")
    assert listen.help == "address; other hosts than this machine need tokens (default: 127.0.0.1:8081)"


def test_watch_prints_the_address_of_the_interface(cli, photo, tmp_path):
    (tmp_path / "1.png").write_bytes(photo.read_bytes())
    assert "serving http://127.0.0.1:18474/api/" in cli("watch", tmp_path, "--http", "18474")[2]
    shared = cli("watch", tmp_path, "--http", "18474", "--view", "18474")[2]
    assert "serving http://127.0.0.1:18474/api/" in shared


@pytest.mark.integration
def test_serve_answers_over_tls_and_ends_in_order(small_model, photo, certificate, cli):
    _, out, _ = cli("tokens", "add", certificate / "tokens.json", "door", "--scopes", "identify,enroll")
    words = [sys.executable, "-m", "edge_sphereface", "serve", small_model, "--gallery", certificate / "people.db"]
    words += ["--listen", "18473", "--tokens", certificate / "tokens.json", "--json", "--threads", "1"]
    words += ["--tls-certificate", certificate / "c.pem", "--tls-key", certificate / "k.pem"]
    audit = {"EDGE_SPHEREFACE_AUDIT": str(certificate / "audit.jsonl")}
    process = subprocess.Popen(
        list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **audit}
    )
    try:
        line = process.stderr.readline()
        while "serving" not in line:
            assert line, process.stdout.read()
            line = process.stderr.readline()
        port = int(re.search(r"https://[^:]+:(\d+)/api/", line)[1])
        trusted = ssl.create_default_context(cafile=certificate / "c.pem")

        def ask(path):
            headers = {"Authorization": f"Bearer {out.strip()}", "Content-Type": "image/png"}
            request = urllib.request.Request(
                f"https://localhost:{port}/api/{path}", data=photo.read_bytes(), headers=headers
            )
            with urllib.request.urlopen(request, timeout=20, context=trusted) as answer:
                return json.loads(answer.read())

        assert ask("people?name=Eileen")["added"] == 1
        assert ask("identify?threshold=0.9")["faces"][0]["name"] == "Eileen"
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)
        assert json.loads(rest)["done"] == 2
        assert process.returncode == 0
        assert (certificate / "audit.jsonl").stat().st_mode & 0o777 == 0o600
    finally:
        process.kill()
        process.wait()
