# SPDX-License-Identifier: Apache-2.0
"""The way to a hub: no plain HTTP off this machine, no proxy on it, no certificate that nobody vouches for."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from signwright.client.http import HubConnection, check_transport
from signwright.errors import LimitError, UnavailableError, UsageError
from tests.support.pki import Pki, to_pem


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while self.path == "/endless":
                self.wfile.write(bytes(1 << 20))
        except OSError:
            return
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    serving = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    serving.daemon_threads = True
    thread = threading.Thread(target=serving.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield serving
    serving.shutdown()
    serving.server_close()
    thread.join()


@pytest.mark.parametrize(
    "url", ["http://sign.example.com", "http://10.0.0.5:8440", "http://127.0.0.1.example.com", "http://[2001:db8::1]"]
)
def test_plain_http_to_another_machine_is_refused(monkeypatch, url):
    monkeypatch.delenv("SIGNWRIGHT_ALLOW_PLAIN_HTTP", raising=False)
    with pytest.raises(UsageError) as refused:
        HubConnection(url, None)
    assert refused.value.code == "plain-http"
    monkeypatch.setenv("SIGNWRIGHT_ALLOW_PLAIN_HTTP", "1")
    check_transport(url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://127.8.8.8", "http://localhost:8440", "http://[::1]:1", "https://example.com"]
)
def test_loopback_and_tls_need_no_permission(monkeypatch, url):
    monkeypatch.delenv("SIGNWRIGHT_ALLOW_PLAIN_HTTP", raising=False)
    check_transport(url)


def test_calls_to_this_machine_go_through_no_proxy(monkeypatch, server):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with HubConnection(f"http://127.0.0.1:{server.server_address[1]}", None) as connection:
        assert connection.call("GET", "/", repeatable=False).json() == {}


def test_certificate_that_nobody_vouches_for_is_refused(server, tmp_path: Path):
    identity = Pki("elsewhere").code_signing("p256")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(to_pem(identity.certificate))
    key.write_bytes(identity.private_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    with HubConnection(f"https://127.0.0.1:{server.server_address[1]}", None) as connection:
        with pytest.raises(UnavailableError) as refused:
            connection.call("GET", "/", repeatable=False)
    assert "CERTIFICATE_VERIFY_FAILED" in refused.value.message


def test_endless_answer_is_cut_off(server):
    with HubConnection(f"http://127.0.0.1:{server.server_address[1]}", None) as connection:
        with pytest.raises(LimitError) as refused:
            connection.call("GET", "/endless", repeatable=False)
    assert refused.value.code == "answer-too-large"
