# SPDX-License-Identifier: Apache-2.0
"""A hub that lies: a real HTTP server with the courier's API, without any rule, in front of an honest signer.

It hands the courier whatever it was told to, says what it likes about it, and keeps what comes back. It has no key that
anybody trusts, which is all that keeps it from being believed.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any, Self

from signwright.cli.demo.loopback import QuietHandler, listen
from signwright.errors import UnavailableError
from signwright.model.framing import Frame, read_frame

ANSWER_SECONDS = 60.0
_POLL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """What is handed to the signer. ``artifacts``: served for each SHA-256; ``says``: members added to the job."""

    request: bytes
    approvals: Sequence[bytes] = ()
    evidence: Sequence[bytes] = ()
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    says: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """The gate's answer to a job, as the courier brought it."""

    outcome: str
    code: str
    message: str
    frame: Frame
    seconds: float


class LyingHub:
    """Listens on ``address`` from `start` (or ``with``) to `close`.

    ``asked``: the courier's last poll; ``known_policy``, ``known_words``: digests that it told.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._changed = threading.Condition()
        self._jobs: deque[tuple[str, Job]] = deque()
        self._artifacts: dict[str, bytes] = {}
        self._answers: dict[str, Frame] = {}
        self._numbers = itertools.count(1)
        self._server: ThreadingHTTPServer | None = None
        self._closing = False
        self._policy: Mapping[str, object] | None = None
        self._words: Mapping[str, object] = {"sha256": None, "envelopes": []}
        self.asked: Mapping[str, Any] = {}
        self.known_policy: str | None = None
        self.known_words: str | None = None
        self.published: dict[str, bytes] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Take the address as soon as the hub before us has left it; raises `UnavailableError`."""
        self._server = listen(self._address, _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def hand_out(self, job: Job) -> str:
        """Put ``job`` before the courier; its name."""
        name = f"r-lie{next(self._numbers):013d}"
        with self._changed:
            self._artifacts = dict(job.artifacts)
            self._jobs.append((name, job))
            self._changed.notify_all()
        return name

    def tell(self, job: Job, *, seconds: float = ANSWER_SECONDS) -> Told:
        """Hand ``job`` to the courier and wait for the gate's answer; raises `UnavailableError` without one."""
        started, name = time.perf_counter(), self.hand_out(job)
        with self._changed:
            if not self._changed.wait_for(lambda: name in self._answers, timeout=seconds):
                raise UnavailableError(f"the signer did not answer within {seconds:.0f} s", code="no-answer")
            frame = self._answers.pop(name)
        message = frame.message
        outcome, code, text = (str(message.get(member, "")) for member in ("outcome", "code", "message"))
        return Told(outcome, code, text, frame, time.perf_counter() - started)

    def serve_policy(self, policy: Mapping[str, object], *, seconds: float = ANSWER_SECONDS) -> None:
        """Answer polls with ``policy`` until the courier has heard the gate about it; raises `UnavailableError`."""
        with self._changed:
            self._policy = policy
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self.known_policy == policy["sha256"], timeout=seconds):
                raise UnavailableError("the courier does not come", code="no-answer")

    def serve_words(self, words: Sequence[tuple[str, bytes]], *, seconds: float = ANSWER_SECONDS) -> None:
        """Answer polls with these keepers' words, (kind, envelope), until the courier has told the gate of them."""
        rows = [{"kind": kind, "envelope": base64.b64encode(content).decode()} for kind, content in words]
        sha256 = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        with self._changed:
            self._words = {"sha256": sha256, "envelopes": rows}
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self.known_words == sha256, timeout=seconds):
                raise UnavailableError("the courier does not come", code="no-answer")

    def poll(self, asked: Mapping[str, Any]) -> dict[str, object]:
        """The answer to a poll: the jobs that were told, no matter how many were asked for, but none to who asks for
        keepers' words alone and would drop them.
        """
        with self._changed:
            self.asked = asked
            self.known_policy, self.known_words = asked.get("policy_sha256"), asked.get("words_sha256")
            self._changed.notify_all()
            wait, alone = min(float(asked.get("wait", 0)), _POLL_SECONDS), asked.get("max") == 0

            def has_news() -> bool:
                more = bool(self._jobs) or self._has_other_policy()
                return self._closing or self._has_other_words() or (more and not alone)

            self._changed.wait_for(has_news, timeout=wait)
            answer: dict[str, object] = {"policy": None, "jobs": []}
            if self._has_other_words():
                answer["words"] = self._words
            if not alone:
                answer["jobs"] = [_row(name, job) for name, job in self._jobs]
                answer["policy"] = self._policy if self._has_other_policy() else None
                self._jobs.clear()
            return answer

    def _has_other_words(self) -> bool:
        return self._words["sha256"] != self.known_words

    def _has_other_policy(self) -> bool:
        return self._policy is not None and self._policy.get("sha256") != self.known_policy

    def artifact(self, sha256: str) -> bytes | None:
        with self._changed:
            return self._artifacts.get(sha256)

    def answered(self, name: str, frame: Frame) -> None:
        with self._changed:
            self._answers[name] = frame
            self._changed.notify_all()

    def publish(self, files: Mapping[str, bytes]) -> None:
        with self._changed:
            self.published.update(files)


def _row(name: str, job: Job) -> dict[str, object]:
    def texts(contents: Sequence[bytes]) -> list[str]:
        return [base64.b64encode(content).decode() for content in contents]

    row: dict[str, object] = {"id": name, "request": base64.b64encode(job.request).decode(), "fence": 1}
    return {**row, "lease_seconds": 60, "approvals": texts(job.approvals), "evidence": texts(job.evidence), **job.says}


def _handler(hub: LyingHub) -> type[_Handler]:
    class Handler(_Handler):
        liar = hub

    return Handler


class _Handler(QuietHandler):
    """The courier's five calls. Signatures on calls are not looked at: a liar does not care who asks."""

    liar: LyingHub

    def do_POST(self) -> None:
        body = self.body()
        if self.path == "/v1/courier/poll":
            self._json(self.liar.poll(json.loads(body)))
        elif self.path == "/v1/courier/progress":
            self._json({"lost": []})
        elif self.path == "/v1/courier/log":
            frame = _frame(body)
            paths = frame.message.get("paths")
            assert isinstance(paths, list)
            self.liar.publish(dict(zip(map(str, paths), frame.parts, strict=True)))
            self.answer(204)
        else:
            self.answer(404)

    def do_PUT(self) -> None:
        body, path = self.body(), self.path.partition("?")[0]
        if path.startswith("/v1/courier/results/"):
            name = path.rpartition("/")[2]
            self.liar.answered(name, _frame(body))
            self._json({"id": name, "state": "completed"})
        elif path.startswith("/v1/courier/log/"):
            self.liar.publish({path.removeprefix("/v1/courier/log/"): body})
            self.answer(204)
        else:
            self.answer(404)

    def do_GET(self) -> None:
        sha256 = self.path.removeprefix("/v1/courier/artifacts/sha256:")
        content = self.liar.artifact(sha256)
        self.answer(404 if content is None else 200, content or b"", kind="application/octet-stream")

    def _json(self, value: object) -> None:
        self.answer(200, json.dumps(value).encode())


def _frame(body: bytes) -> Frame:
    at = 0

    def exactly(count: int) -> bytes:
        nonlocal at
        part, at = body[at : at + count], at + count
        return part

    return read_frame(exactly)
