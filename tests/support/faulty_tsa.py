# SPDX-License-Identifier: Apache-2.0
"""A timestamp authority over real HTTP that does one thing wrong, chosen by the path: ``POST /wrong-nonce``.

Wraps the issuing code of the project where that can be brought to err, and builds CMS by hand where it cannot.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from asn1crypto import cms, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from signwright.timestamps import der, issue
from signwright.timestamps.query import REPLY_TYPE
from tests.support.pki import NOW, Identity, Pki

POLICY = "1.2.3.4.1"
SERIAL = 0x1122334455667788
TIME_STAMPING = (ExtendedKeyUsageOID.TIME_STAMPING,)


@dataclass(frozen=True)
class HttpReply:
    body: bytes
    status: int = 200
    content_type: str = REPLY_TYPE
    headers: tuple[tuple[str, str], ...] = ()


def granted(timestamp_token: bytes) -> bytes:
    """A ``TimeStampResp`` around any bytes."""
    return der.wrap(0x30, bytes(tsp.PKIStatusInfo({"status": "granted"}).dump()) + timestamp_token)


def build_token(
    content: bytes,
    *,
    identity: Identity,
    certificates: Sequence[bytes],
    attributes: Sequence[dict[str, Any]] | None = None,
    signed_contents: bytes | None = None,
    content_type: str = "tst_info",
    signers: int = 1,
    version: str = "v3",
) -> bytes:
    """CMS SignedData over any ``content``: certificates in the order given, attributes too.

    ``signed_contents``: the signed attributes as bytes, well formed or not, in place of ``attributes``.
    """
    certificate = asn1_x509.Certificate.load(identity.certificate)
    if attributes is None:
        attributes = [content_type_attribute(), digest_attribute(content), ess_attribute(identity.certificate)]
    if signed_contents is None:
        signed_contents = b"".join(sorted(cms.CMSAttribute(dict(one)).dump() for one in attributes))
    signed = der.wrap(0x31, signed_contents)
    assert isinstance(identity.key, ec.EllipticCurvePrivateKey)

    named = {"issuer": certificate.issuer, "serial_number": certificate.serial_number}

    def signer_info() -> bytes:
        parts = [
            cms.CMSVersion("v1").dump(),
            cms.IssuerAndSerialNumber(named).dump(),
            cms.DigestAlgorithm({"algorithm": "sha256"}).dump(),
            der.wrap(0xA0, signed_contents),
            cms.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}).dump(),
            der.wrap(0x04, identity.key.sign(signed, ec.ECDSA(SHA256()))),
        ]
        return der.wrap(0x30, b"".join(parts))

    content_info = cms.ContentType(content_type).dump() + der.wrap(0xA0, der.wrap(0x04, content))
    parts = [
        cms.CMSVersion(version).dump(),
        cms.DigestAlgorithms([{"algorithm": "sha256"}]).dump(),
        der.wrap(0x30, content_info),
        der.wrap(0xA0, b"".join(certificates)),
        der.wrap(0x31, b"".join(sorted(signer_info() for _ in range(signers)))),
    ]
    signed_data = der.wrap(0x30, b"".join(parts))
    return der.wrap(0x30, cms.ContentType("signed_data").dump() + der.wrap(0xA0, signed_data))


def content_type_attribute(value: str = "tst_info") -> dict[str, Any]:
    return {"type": "content_type", "values": [value]}


def digest_attribute(content: bytes) -> dict[str, Any]:
    return {"type": "message_digest", "values": [hashlib.sha256(content).digest()]}


def ess_attribute(certificate: bytes) -> dict[str, Any]:
    identifier = {"cert_hash": hashlib.sha256(certificate).digest()}
    return {"type": "signing_certificate_v2", "values": [{"certs": [identifier]}]}


@dataclass
class FaultyTsa:
    """``reply(mode, query)`` is what ``POST /mode`` answers. Time stands at ``now``."""

    pki: Pki
    now: datetime = NOW
    closing: threading.Event = field(default_factory=threading.Event)

    @cached_property
    def identity(self) -> Identity:
        return self.pki.timestamping()

    @cached_property
    def issuer(self) -> issue.Issuer:
        return self.issuer_of(self.identity)

    def issuer_of(self, identity: Identity) -> issue.Issuer:
        assert isinstance(identity.key, issue.SigningKey)
        return issue.Issuer(key=identity.key, chain=identity.chain, policy_oid=POLICY)

    def modes(self) -> dict[str, Callable[[bytes], HttpReply]]:
        """Every mode by its name."""
        return {**self._transport_modes(), **self._certificate_modes(), **self._content_modes(), **self._form_modes()}

    def _transport_modes(self) -> dict[str, Callable[[bytes], HttpReply]]:
        good = self._token
        return {
            "good": lambda query: HttpReply(granted(good(query))),
            "slow": self._slow,
            "http-500": lambda query: HttpReply(granted(good(query)), status=500),
            "http-302": lambda _: HttpReply(b"", status=302, headers=(("location", "/good"),)),
            "html": lambda query: HttpReply(granted(good(query)), content_type="text/html"),
            "garbage": lambda _: HttpReply(b"<html>not what you think</html>"),
            "too-large": lambda query: HttpReply(granted(good(query)) + bytes(200 << 10)),
            "rejection": lambda _: HttpReply(issue.rejection(issue.PkiFailure.BAD_ALG, "no, thank you")),
            "waiting": lambda _: HttpReply(der.wrap(0x30, tsp.PKIStatusInfo({"status": "waiting"}).dump())),
            "granted-without-token": lambda _: HttpReply(granted(b"")),
        }

    def _certificate_modes(self) -> dict[str, Callable[[bytes], HttpReply]]:
        def stamped_by(identity: Identity) -> Callable[[bytes], HttpReply]:
            return lambda query: HttpReply(granted(self._token(query, issuer=self.issuer_of(identity))))

        leaf, ended = self.pki.leaf, datetime(2025, 1, 1, tzinfo=UTC)
        both = (*TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING)
        other_key = self.pki.timestamping(subject="Another TSA").key
        return {
            "expired": stamped_by(leaf("p256", "Expired", TIME_STAMPING, eku_critical=True, not_after=ended)),
            "eku-not-critical": stamped_by(leaf("p256", "Not critical", TIME_STAMPING)),
            "eku-not-alone": stamped_by(leaf("p256", "Not alone", both, eku_critical=True)),
            "no-eku": stamped_by(leaf("p256", "No usage", ())),
            "key-usage": stamped_by(
                leaf("p256", "Encrypts", TIME_STAMPING, eku_critical=True, key_usage="key_encipherment")
            ),
            "untrusted": stamped_by(Pki("stranger").timestamping()),
            "weak-key": stamped_by(leaf("rsa1024", "Weak", TIME_STAMPING, eku_critical=True)),
            "wrong-signer": stamped_by(Identity(other_key, self.identity.chain)),
            "no-certificate": lambda query: HttpReply(granted(self._built(query, certificates=()))),
            "no-intermediate": lambda query: HttpReply(
                granted(self._built(query, certificates=self.identity.chain[:1]))
            ),
            "ess-mismatch": lambda query: HttpReply(granted(self._built(query, ess_of=self.pki.intermediate))),
            "no-ess": lambda query: HttpReply(granted(self._built(query, ess_of=None))),
        }

    def _content_modes(self) -> dict[str, Callable[[bytes], HttpReply]]:
        def changed(**fields: Any) -> Callable[[bytes], HttpReply]:
            return lambda query: HttpReply(granted(self._built(query, content=self._content(query, **fields))))

        def at(moment: datetime) -> Callable[[bytes], HttpReply]:
            return lambda query: HttpReply(granted(self._token(query, now=moment)))

        stranger = x509.load_der_x509_certificate(self.pki.root).subject.public_bytes()
        sha1 = {"hash_algorithm": {"algorithm": "sha1"}, "hashed_message": bytes(20)}
        extension = {"extn_id": "1.2.3.4.5", "critical": True, "extn_value": b"\x05\x00"}
        return {
            "wrong-nonce": changed(nonce=7),
            "no-nonce": changed(nonce=None),
            "wrong-imprint": lambda query: HttpReply(granted(self._token(query, imprint=bytes(32)))),
            "sha1": changed(message_imprint=sha1),
            "wrong-policy": changed(policy="1.2.3.4.99"),
            "wrong-version": changed(version="v2"),
            "critical-extension": changed(extensions=[extension]),
            "other-name": changed(tsa={"directory_name": asn1_x509.Name.load(stranger)}),
            "future": at(self.now + timedelta(hours=2)),
            "past": at(self.now - timedelta(hours=2)),
        }

    def _form_modes(self) -> dict[str, Callable[[bytes], HttpReply]]:
        def built(**how: Any) -> Callable[[bytes], HttpReply]:
            return lambda query: HttpReply(granted(self._built(query, **how)))

        backwards = tuple(sorted(self.identity.chain, reverse=True))
        digest_only = [{"type": "content_type", "values": ["tst_info"]}]
        return {
            "unsorted": built(certificates=backwards),
            "two-signers": built(signers=2),
            "signed-data-version": built(version="v1"),
            "not-tst-info": built(content_type="data"),
            "no-message-digest": built(attributes=digest_only),
            "wrong-message-digest": lambda query: HttpReply(granted(self._built(query, digest_of=b"other"))),
            "no-content-type": built(without="content_type"),
            "padded-length": lambda query: HttpReply(granted(_with_padded_length(self._token(query)))),
        }

    def reply(self, mode: str, query: bytes) -> HttpReply:
        return self.modes()[mode](query)

    def _slow(self, query: bytes) -> HttpReply:
        self.closing.wait(30)
        return HttpReply(granted(self._token(query)))

    def _token(
        self,
        query: bytes,
        *,
        issuer: issue.Issuer | None = None,
        now: datetime | None = None,
        imprint: bytes | None = None,
    ) -> bytes:
        parsed = issue.parse_query(query)
        if imprint is not None:
            parsed = replace(parsed, imprint=replace(parsed.imprint, value=imprint))
        return issue.issue_token(parsed, issuer=issuer or self.issuer, now=now or self.now, serial=SERIAL)

    def _content(self, query: bytes, **fields: Any) -> bytes:
        content = issue.tst_info(issue.parse_query(query), issuer=self.issuer, now=self.now, serial=SERIAL)
        info = tsp.TSTInfo.load(content)
        native = _fields_of(info)
        native.update(fields)
        return bytes(tsp.TSTInfo({name: value for name, value in native.items() if value is not None}).dump())

    def _built(
        self,
        query: bytes,
        *,
        content: bytes | None = None,
        certificates: Sequence[bytes] | None = None,
        ess_of: bytes | None = b"own",
        digest_of: bytes | None = None,
        without: str = "",
        **how: Any,
    ) -> bytes:
        content = content or self._content(query)
        attributes = [content_type_attribute(), digest_attribute(digest_of or content)]
        if ess_of is not None:
            attributes.append(ess_attribute(self.identity.certificate if ess_of == b"own" else ess_of))
        how.setdefault("attributes", [one for one in attributes if one["type"] != without])
        chosen = sorted(self.identity.chain) if certificates is None else certificates
        return build_token(content, identity=self.identity, certificates=chosen, **how)


def _fields_of(info: tsp.TSTInfo) -> dict[str, Any]:
    names = ("version", "policy", "message_imprint", "serial_number", "gen_time", "accuracy", "nonce", "tsa")
    return {name: info[name] for name in names if info[name].native is not None}


def _with_padded_length(timestamp_token: bytes) -> bytes:
    """The same structure with one length octet too many: BER, not DER."""
    contents = der.contents_of(timestamp_token)
    return b"\x30\x83" + len(contents).to_bytes(3, "big") + contents


@contextmanager
def serving(tsa: FaultyTsa) -> Iterator[str]:
    """Serve on a free port; gives the address without the mode, ``http://127.0.0.1:PORT``."""
    modes = tsa.modes()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["content-length"]))
            answer = modes[self.path.strip("/")](query)
            self.send_response(answer.status)
            for name, value in (("content-type", answer.content_type), *answer.headers):
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            try:
                self.wfile.write(answer.body)
            except OSError:
                self.close_connection = True  # the client went away, as it should from a slow or an endless answer

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        tsa.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
