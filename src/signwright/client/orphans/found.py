# SPDX-License-Identifier: Apache-2.0
"""A signature as it was found in a file, reduced to what the log can be asked about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Proof(StrEnum):
    """What is known about who made a signature value."""

    #: It verifies with the key: whoever had the key made it.
    MADE = "made"
    #: It does not verify: somebody wrote our certificate beside a number of their own.
    FORGED = "forged"
    #: It names the key, and cannot be checked here (an old digest, another structure).
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Stamp:
    """``time``: of a timestamp token over this very value; ``authority``: whose, None when nobody vouches for it."""

    time: datetime
    authority: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """``value_sha256``: of the signature value, as a result leaf lists it; ``key``: hex SHA-256 of the
    SubjectPublicKeyInfo; ``certificate``: hex SHA-256 of its DER; ``content``: what is signed, ``algorithm:hex``, as an
    operation names it, None when it was not read; ``twin_sha256``: of the other value that the same use of an elliptic
    key stands for, which anybody can compute.
    """

    path: str
    value_sha256: str
    key: str
    proof: Proof
    certificate: str | None = None
    content: str | None = None
    stamp: Stamp | None = None
    why: str = ""
    twin_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """A file in which there may be anything. ``code``: of the error, stable."""

    path: str
    code: str
    text: str
