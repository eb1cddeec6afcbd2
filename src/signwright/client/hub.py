# SPDX-License-Identifier: Apache-2.0
"""The hub's API in types. What the hub says is a claim: whoever decides from it verifies the signed bytes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, TypeVar
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict, ValidationError

from signwright.client.http import HubConnection
from signwright.errors import MalformedError, VerificationError
from signwright.model.base64text import strict_base64
from signwright.model.operation import Many
from signwright.policy.policy import ROOTS, Policy, open_policy
from signwright.statements.dsse import Envelope, parse_envelope

M = TypeVar("M", bound=BaseModel)
#: States in which a request stays for ever.
FINAL_STATES = frozenset({"completed", "denied", "rejected", "canceled", "failed", "expired"})


class _Said(BaseModel):
    """Something that the hub says; members that a newer hub adds are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class ArtifactView(_Said):
    name: str
    sha256: str
    size: int
    format: str


class ApprovalView(_Said):
    person: str
    decision: str
    created: str


class ResultView(_Said):
    """``receipt``, ``patch`` and ``envelopes`` (base64) come along when they were asked for and are small."""

    artifact: int
    result_sha256: str | None = None
    has_patch: bool = False
    receipt: str | None = None
    patch: str | None = None
    envelopes: Many[str] = ()

    def part(self, name: str) -> bytes | None:
        """``receipt``, ``patch`` or ``envelopes/K``, if it came along."""
        if name.startswith("envelopes/"):
            number = int(name.removeprefix("envelopes/"))
            return strict_base64(self.envelopes[number]) if number < len(self.envelopes) else None
        text = self.receipt if name == "receipt" else self.patch
        return None if text is None else strict_base64(text)


class HistoryView(_Said):
    state: str
    time: int | str
    who: str = ""


class RequestView(_Said):
    """A request as the hub shows it. ``reasons``: rule, effect, found, wanted, who; ``missing``: hex SHA-256."""

    id: str
    state: str
    request_sha256: str = ""
    reasons: Many[dict[str, str]] = ()
    missing: Many[str] = ()
    artifacts: Many[ArtifactView] = ()
    project: str = ""
    signing_policy: str = ""
    mode: str = ""
    submitter: str = ""
    created: int | str = ""
    approvals: Many[ApprovalView] = ()
    history: Many[HistoryView] = ()
    results: Many[ResultView] = ()
    purged: bool = False

    @property
    def is_final(self) -> bool:
        return self.state in FINAL_STATES

    @property
    def address(self) -> str:
        return f"{self.project}/{self.signing_policy}"


class _RequestList(_Said):
    requests: Many[RequestView]


class _PolicyView(_Said):
    root: str
    policy: str
    documents: dict[str, str]


class _EvidenceView(_Said):
    request: str
    approvals: Many[str] = ()
    evidence: Many[str] = ()


class _SessionView(_Said):
    key_id: str
    person: str
    expires: str


class WordView(_Said):
    """A keepers' word. ``number``: of a freshness statement; the policy version when a halt came or that ends it."""

    sha256: str
    number: int
    envelope: str

    def opened(self) -> Envelope:
        """Parsed; whether it holds is another question."""
        return _envelope(self.envelope)


class WaitingView(_Said):
    """A policy that weakens: it waits ``delay_hours`` after it was logged."""

    version: int
    sha256: str
    since: str
    delay_hours: int


class GateView(_Said):
    """What the gate said of itself, as the courier told the hub. ``halts``: digests."""

    policy_version: int
    freshness: int
    halts: Many[str] = ()


class StandingView(_Said):
    """What keepers said besides the policy."""

    policy_version: int
    freshness: WordView | None = None
    halts: Many[WordView] = ()
    resumes: Many[WordView] = ()
    waiting_policy: WaitingView | None = None
    gate: GateView | None = None


@dataclass(frozen=True, slots=True)
class PolicyParts:
    """A policy as it came: nothing is verified before `open`."""

    root: Envelope
    policy: Envelope
    documents: Mapping[str, bytes]

    @property
    def first_root(self) -> Envelope:
        """The oldest root that came along: whom to believe is for the caller to know."""
        first = self.documents.get(f"{ROOTS}1")
        return self.root if first is None else parse_envelope(first)

    def open(self, *, pinned_root_sha256: str) -> Policy:
        """Verify everything from the pinned root; raises like `signwright.policy.policy.open_policy`."""
        return open_policy(self.root, self.policy, self.documents, pinned_root_sha256=pinned_root_sha256)


@dataclass(frozen=True, slots=True)
class Words:
    """The signed statements about a request, exact bytes inside envelopes."""

    request: Envelope
    approvals: tuple[Envelope, ...]
    evidence: tuple[Envelope, ...]


class Hub:
    """Calls of one key on one hub; every method raises the hub's error or `UnavailableError`."""

    def __init__(self, connection: HubConnection) -> None:
        self.connection = connection

    def health(self) -> dict[str, object]:
        found = self.connection.call("GET", "/v1/health", repeatable=False, seconds=5).json()
        return found if isinstance(found, dict) else {}

    def policy(self) -> PolicyParts:
        view = _read(_PolicyView, self.connection.call("GET", "/v1/policy").json())
        documents = {name: strict_base64(content) for name, content in view.documents.items()}
        return PolicyParts(_envelope(view.root), _envelope(view.policy), documents)

    def signing_policies(self) -> list[dict[str, object]]:
        found = self.connection.call("GET", "/v1/signing-policies").json()
        rows = found.get("signing_policies", []) if isinstance(found, dict) else found
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise _unexpected("a list of signing policies")
        return rows

    def stored(self, sha256: str) -> int:
        """How many bytes of an artifact of ours the hub has."""
        answer = self.connection.call("HEAD", _artifact(sha256), expect=(200, 204, 404))
        offset = answer.headers.get("upload-offset", "0")
        return int(offset) if answer.status != 404 and offset.isdigit() else 0

    def submit(self, envelope: Envelope, *, idempotency_key: str | None, wait: float | None = None) -> RequestView:
        """Hand a request in. Doing it twice is the same as once: the digest is the name."""
        headers = {"content-type": "application/json"}
        if idempotency_key is not None:
            headers["idempotency-key"] = idempotency_key
        query = urlencode({"wait": int(wait), "include": "results"}) if wait else ""
        answer = self.connection.call(
            "POST", "/v1/requests", query=query, body=envelope.encode(), headers=headers, seconds=_patient(wait)
        )
        return _read(RequestView, answer.json())

    def request(self, reference: str, *, wait: float | None = None, after: str | None = None) -> RequestView:
        """One request. ``wait``: seconds to wait for a state other than ``after``.

        Raises `VerificationError` when the hub answers about another one; that id and digest belong together is for
        `signwright.client.results.requested` to see.
        """
        query = {**({"wait": int(wait)} if wait else {}), **({"after": after} if after else {}), "include": "results"}
        answer = self.connection.call("GET", _request(reference), query=urlencode(query), seconds=_patient(wait))
        view = _read(RequestView, answer.json())
        if reference not in (view.id, view.request_sha256):
            raise VerificationError(f"the hub shows another request than {reference}: {view.id}", code="wrong-request")
        return view

    def requests(self, *, state: str | None = None, limit: int = 50, before: str | None = None) -> list[RequestView]:
        """Newest first; ``before``: id of the last one of the page before."""
        asked = {"state": state, "before": before}
        query = urlencode({**{name: value for name, value in asked.items() if value}, "limit": limit})
        found = self.connection.call("GET", "/v1/requests", query=query).json()
        return list(_read(_RequestList, found if isinstance(found, dict) else {"requests": found}).requests)

    def words(self, reference: str) -> Words:
        view = _read(_EvidenceView, self.connection.call("GET", _request(reference) + "/evidence").json())
        return Words(_envelope(view.request), _envelopes(view.approvals), _envelopes(view.evidence))

    def result(self, view: RequestView, artifact: int, part: str) -> bytes:
        """``part``: ``receipt``, ``patch`` or ``envelopes/K``; from the view, when it came along."""
        along = next((row.part(part) for row in view.results if row.artifact == artifact), None)
        if along is not None:
            return along
        return self.connection.call("GET", f"{_request(view.id)}/results/{artifact}/{part}").body

    def download(self, reference: str, artifact: int, into: BinaryIO, *, size: int) -> None:
        """The bytes of an artifact of a request, streamed; the caller hashes them.

        Raises `VerificationError` as soon as there are more than ``size``.
        """
        left = size
        with self.connection.download(f"{_request(reference)}/artifacts/{artifact}") as blocks:
            for block in blocks:
                left -= len(block)
                if left < 0:
                    raise VerificationError(
                        f"artifact {artifact}: the hub sends more than the {size} bytes of the request",
                        code="wrong-artifact",
                    )
                into.write(block)

    def add_word(self, reference: str, approval: Envelope) -> RequestView:
        """Hand in a person's word (yes, no, release)."""
        answer = self.connection.call("POST", _request(reference) + "/approvals", body=approval.encode(), headers=_JSON)
        return _read(RequestView, answer.json())

    def cancel(self, reference: str) -> RequestView:
        return _read(RequestView, self.connection.call("POST", _request(reference) + "/cancel").json())

    def open_session(self, envelope: Envelope) -> tuple[str, str]:
        """(KeyId, expiry) of a session; the connection's key is the one that the statement introduces."""
        answer = self.connection.call("POST", "/v1/sessions", body=envelope.encode(), headers=_JSON)
        view = _read(_SessionView, answer.json())
        return view.key_id, view.expires

    def load_policy(self, parts: PolicyParts) -> dict[str, object]:
        """Hand in a signed policy; the hub takes it only when the keepers signed it and its version goes up."""
        import json

        documents = {name: base64.b64encode(content).decode() for name, content in parts.documents.items()}
        body = {"root": _blob(parts.root), "policy": _blob(parts.policy), "documents": documents}
        answer = self.connection.call("POST", "/v1/policy", body=json.dumps(body).encode(), headers=_JSON).json()
        return answer if isinstance(answer, dict) else {}

    def standing(self) -> StandingView:
        """Freshness, halts, resumes and a policy that waits."""
        return _read(StandingView, self.connection.call("GET", "/v1/standing").json())

    def carry(self, kind: Literal["freshness", "halt", "resume"], envelope: Envelope) -> None:
        """Hand in a keepers' word; the signatures in it decide whether the hub and the signer take it."""
        path = {"freshness": "/v1/freshness", "halt": "/v1/halts", "resume": "/v1/resumes"}[kind]
        self.connection.call("POST", path, body=envelope.encode(), headers=_JSON)

    def checkpoint(self) -> bytes:
        """The newest checkpoint, a signed note."""
        return self.connection.call("GET", "/v1/log/checkpoint").body

    def log_file(self, path: str) -> bytes:
        """A file of the log, by its path (``tile/…``)."""
        return self.connection.call("GET", f"/v1/log/{quote(path, safe='/')}").body


_JSON = {"content-type": "application/json"}


def _artifact(sha256: str) -> str:
    return f"/v1/artifacts/sha256:{sha256}"


def _request(reference: str) -> str:
    return f"/v1/requests/{quote(reference, safe='')}"


def _patient(wait: float | None) -> float | None:
    """How long to wait for the answer of a call that itself waits."""
    return wait + 30 if wait else None


def _read(model: type[M], value: object) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as problem:
        first: Any = problem.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _unexpected(f"{model.__name__} ({where}: {first['msg']})") from problem


def _unexpected(wanted: str) -> MalformedError:
    return MalformedError(
        f"the hub's answer does not read as {wanted}",
        code="bad-answer",
        hint="do client and hub have the same version?",
    )


def _envelope(text: str) -> Envelope:
    return parse_envelope(strict_base64(text))


def _envelopes(texts: Sequence[str]) -> tuple[Envelope, ...]:
    return tuple(_envelope(text) for text in texts)


def _blob(envelope: Envelope) -> str:
    return base64.b64encode(envelope.encode()).decode()
