"""A webhook gets the notice with a signature, at an address that may be written to, and nothing of its answer gets out."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.ports import free_port
from tests.receiver import PRIVATE_WORDS, receiving

from springtide.domain.notice import Notice
from springtide.notify.addresses import is_own, is_public
from springtide.notify.webhook import send
from springtide.settings.words import Webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from springtide.notify.answer import Answer

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "a-secret-of-the-webhook"
NOTICE = Notice(
    "r1-promoted", "promoted", "btc: version 3 serves now", "beats every rival é", NOON, model="btc", version=3
)
PAGE = Path(__file__).parents[3] / "docs" / "notifications.md"


def post(url: str, *, private: bool = True, **words: Any) -> Answer:
    hook = Webhook.model_validate({"url": url, "secret": SECRET, "allow_private": private})
    return send(NOTICE, hook, now=lambda: NOON, **words)


def test_a_notice_arrives_whole_with_its_id() -> None:
    with receiving(204) as receiver:
        answer = post(f"{receiver.url}/hook?team=7")
    assert (answer.delivered, answer.words) == (True, "answered 204")
    told = json.loads(receiver.bodies[0])
    assert told.keys() == {"id", "event", "title", "text", "at", "model", "source", "run", "version", "facts"}
    assert (told["event"], told["model"], told["version"], told["text"]) == (
        "promoted",
        "btc",
        3,
        "beats every rival é",
    )
    assert datetime.fromisoformat(told["at"]) == NOON
    assert receiver.paths == ["/hook?team=7"]
    assert receiver.headers[0]["Springtide-Id"] == told["id"] == "r1-promoted"
    assert receiver.headers[0]["Content-Type"] == "application/json"
    assert receiver.headers[0]["Host"] == receiver.url.removeprefix("http://")


def test_openssl_computes_the_same_signature(tmp_path: Path) -> None:
    with receiving() as receiver:
        post(receiver.url)
    signature = receiver.headers[0]["Springtide-Signature"]
    moment, _, digest = signature.removeprefix("t=").partition(",v1=")
    assert int(moment) == NOON.timestamp()
    signed = tmp_path / "signed"
    signed.write_bytes(f"{moment}.".encode() + receiver.bodies[0])
    words = ["openssl", "dgst", "-sha256", "-hmac", SECRET, "-hex", str(signed)]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert told.split()[-1] == digest


def test_the_receiver_on_the_page_takes_what_is_signed_and_nothing_else() -> None:
    code = next(block for block in re.findall(r"```python\n(.+?)```", PAGE.read_text(), re.DOTALL) if "hmac" in block)
    shown: dict[str, Any] = {}
    exec(code, shown)
    with receiving() as receiver:
        post(receiver.url)
    body, header = receiver.bodies[0], receiver.headers[0]["Springtide-Signature"]
    moment = NOON.timestamp()
    assert shown["is_genuine"](body, header, SECRET, now=moment + 10)
    assert not shown["is_genuine"](body + b" ", header, SECRET, now=moment)
    assert not shown["is_genuine"](body, header, SECRET + "x", now=moment)
    assert not shown["is_genuine"](body, header, SECRET, now=moment + 3600)
    assert not shown["is_genuine"](body, header.replace("t=1", "t=2"), SECRET, now=moment)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 410, 429, 500, 503])
def test_only_2xx_is_an_arrival_and_a_redirect_is_not_followed(status: int) -> None:
    with receiving(status) as receiver:
        answer = post(receiver.url)
    assert not answer.delivered
    assert not answer.silent
    assert answer.words.startswith(f"answered {status}")
    assert len(receiver.paths) == 1
    assert PRIVATE_WORDS not in answer.words


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_this_machine_is_not_written_to_however_its_address_is_spelled(host: str) -> None:
    with receiving() as receiver:
        answer = post(f"http://{host}:{receiver.port}/", private=False)
    assert not answer.delivered
    assert "private" in answer.words or answer.words == "its name is not known"
    assert receiver.paths == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:4700::1111", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:8.8.8.8", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:7f00:1::", False),
        ("2001:db8::1", False),
    ],
)
def test_an_address_is_public_or_not(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "::1", "fd00::1", "::ffff:192.168.1.1"],
)
def test_an_address_of_this_machine_or_a_private_network_can_be_opened(address: str) -> None:
    assert is_own(address)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "100.100.100.200",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "240.0.0.1",
        "255.255.255.255",
    ],
)
def test_metadata_multicast_and_reserved_addresses_stay_closed_whatever_is_allowed(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    tried: list[Any] = []
    monkeypatch.setattr(socket, "create_connection", lambda to, **_: tried.append(to))
    for addresses in ([address], ["127.0.0.1", address]):
        answer = post("http://hooks.example/", resolve=lambda *_, found=addresses: found)
        assert (answer.delivered, answer.silent) == (False, False)
        assert "nothing is sent there" in answer.words
    assert tried == []


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    with receiving() as receiver:
        addresses = ["93.184.215.14", "127.0.0.1"]
        answer = post(f"http://hooks.example:{receiver.port}/", private=False, resolve=lambda *_: addresses)
    assert "private" in answer.words
    assert receiver.paths == []


def test_a_name_that_points_to_this_machine_a_moment_after_it_was_checked_reaches_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    tried: list[Any] = []

    def rebinding(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        address = "93.184.215.14" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]

    def connect(address: Any, **_: Any) -> socket.socket:  # nothing leaves this machine
        tried.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    with receiving() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        monkeypatch.setattr(socket, "create_connection", connect)
        answer = post(f"http://hooks.example:{receiver.port}/", private=False)
    assert (answer.delivered, answer.silent) == (False, True)
    assert asked == ["hooks.example"]
    assert tried == [("93.184.215.14", receiver.port)]
    assert receiver.paths == []


def test_the_connection_goes_to_the_address_that_was_resolved_under_the_name_of_the_host() -> None:
    with receiving() as receiver:
        answer = post(f"http://hooks.example:{receiver.port}/", resolve=lambda *_: ["127.0.0.1"])
    assert answer.delivered
    assert receiver.headers[0]["Host"] == f"hooks.example:{receiver.port}"


def test_an_address_that_does_not_answer_is_followed_by_the_next_one() -> None:
    with receiving() as receiver:
        answer = post(f"http://hooks.example:{receiver.port}/", resolve=lambda *_: ["127.0.0.2", "127.0.0.1"])
    assert answer.delivered


def test_a_refused_connection_and_an_unknown_name_are_said_without_the_url() -> None:
    refused = post(f"http://127.0.0.1:{free_port()}/token")
    assert (refused.delivered, refused.silent, refused.words) == (False, True, "no connection: Connection refused")
    assert post(f"http://{'a' * 70}.example/token").words == "its name is not known"
    assert post("http://hooks.invalid/token").words == "its name is not known"


@contextmanager
def speaking(speak: Callable[[socket.socket, Event], None]) -> Iterator[str]:
    """A server of one's own for one connection."""
    over = Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    speak(connection, over)
                except OSError:
                    assert True  # the client has gone, as it should

        thread = Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        over.set()
        thread.join()


def drip(connection: socket.socket, over: Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not over.wait(0.02):
        connection.sendall(b"x")


@pytest.mark.parametrize(
    ("speak", "words"),
    [
        (lambda _, over: over.wait(5), "no answer in time"),
        (drip, "no answer in time"),
        (lambda connection, _: connection.close(), "the connection ended before an answer"),
        (lambda connection, _: connection.sendall(b"token? " * 99), "the connection ended before an answer"),
    ],
    ids=["silence", "a byte now and then", "a closed connection", "no HTTP"],
)
def test_a_server_that_does_not_answer_properly_is_left_in_time(speak: Any, words: str) -> None:
    with speaking(speak) as url:
        began = time.monotonic()
        answer = post(url, timeout_s=0.3)
        assert time.monotonic() - began < 2
    assert not answer.delivered
    assert answer.silent
    assert answer.words == words


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for hooks.example that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = tmp_path_factory.mktemp("tls") / "hooks.pem"
    encoding = serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(encoding, *form) + made.public_bytes(encoding))
    return path


def over_tls(certificate: Path, host: str) -> tuple[Answer, int]:
    """The answer, and how many requests have arrived."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with receiving(tls=context) as receiver:
        answer = post(f"https://{host}:{receiver.port}/", resolve=lambda *_: ["127.0.0.1"])
    return answer, len(receiver.paths)


def test_tls_is_checked_against_name_and_certificate(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown, arrived = over_tls(certificate, "hooks.example")
    assert (unknown.words, arrived) == ("no safe connection: CERTIFICATE_VERIFY_FAILED", 0)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    wrong_name, arrived = over_tls(certificate, "other.example")
    assert (wrong_name.words, arrived) == ("no safe connection: CERTIFICATE_VERIFY_FAILED", 0)
    right, arrived = over_tls(certificate, "hooks.example")
    assert (right.delivered, arrived) == (True, 1)
