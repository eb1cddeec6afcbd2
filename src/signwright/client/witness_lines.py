# SPDX-License-Identifier: Apache-2.0
"""The two lines that a witness's operator and a log's operator give each other, one line of text each.

    witness NAME VERIFIER-KEY URL OPERATOR      of the witness; OPERATOR is the rest of the line
    log ORIGIN VERIFIER-KEY                     of the log

Verifier keys have the form of C2SP signed notes. Neither line is secret; both decide who is believed, so they are
compared by another way than the one they came by.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from signwright.errors import SignwrightError, UsageError
from signwright.model.text import check_text
from signwright.transparency.note import COSIGNATURE_V1, MAX_NAME, VerifierKey

MAX_LINE = 4096
MAX_URL = 1024
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class WitnessLine:
    """``name``: for the policy; ``key``: verifier key text of type 0x04; ``url``: prefix of its calls."""

    name: str
    key: str
    url: str
    operator: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise _bad(f"name {self.name[:80]!r}; wanted lower-case letters, digits, . _ -")
        try:
            VerifierKey.parse(self.key, algorithm=COSIGNATURE_V1)
            check_text(self.operator, "operator")
        except SignwrightError as problem:
            raise _bad(problem.message) from problem
        if not self.operator.strip() or self.operator != self.operator.strip() or len(self.operator) > MAX_NAME:
            raise _bad("no operator: whoever runs the witness has a name")
        _check_url(self.url)

    @property
    def verifier(self) -> VerifierKey:
        return VerifierKey.parse(self.key, algorithm=COSIGNATURE_V1)

    def __str__(self) -> str:
        return f"witness {self.name} {self.key} {self.url} {self.operator}"

    @classmethod
    def parse(cls, text: str) -> WitnessLine:
        """Raises `UsageError` that says what is wrong."""
        words = _words(text, "witness", 5)
        if words is None:
            raise _bad("wanted: witness NAME VERIFIER-KEY URL OPERATOR")
        return cls(*words)


@dataclass(frozen=True, slots=True)
class LogLine:
    """``origin``: first line of the log's checkpoints; ``key``: verifier key text of type 0x01."""

    origin: str
    key: str

    def __post_init__(self) -> None:
        try:
            VerifierKey.parse(self.key)
        except SignwrightError as problem:
            raise _bad(problem.message) from problem
        if not 0 < len(self.origin.encode()) <= MAX_NAME:
            raise _bad("no origin")

    def __str__(self) -> str:
        return f"log {self.origin} {self.key}"

    @classmethod
    def parse(cls, text: str) -> LogLine:
        """Raises `UsageError` that says what is wrong."""
        words = _words(text, "log", 3)
        if words is None:
            raise _bad("wanted: log ORIGIN VERIFIER-KEY")
        return cls(*words)


def name_from(key_name: str) -> str:
    """A name for the policy from the name in a verifier key, such as ``witness.example/w1``."""
    return re.sub(r"[^a-z0-9._-]+", "-", key_name.lower()).strip("._-")[:63] or "witness"


def _words(text: str, kind: str, count: int) -> list[str] | None:
    """What follows the first word, when that is ``kind`` and there are ``count`` words; the last one takes the rest."""
    if len(text) > MAX_LINE:
        raise _bad(f"{len(text)} characters; at most {MAX_LINE} are read")
    words = text.strip().split(" ", count - 1)
    return words[1:] if len(words) == count and words[0] == kind and all(words) else None


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
        good = good and parts.username is None and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or len(url) > MAX_URL or any(c.isspace() or not c.isprintable() for c in url):
        raise _bad(f"address {url[:200]!r}; wanted https://HOST[:PORT][/PATH]")


def _bad(text: str) -> UsageError:
    return UsageError(f"witness line: {text}", code="bad-witness-line")
