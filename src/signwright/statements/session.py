# SPDX-License-Identifier: Apache-2.0
"""The session statement, which the hub reads; nobody who decides about a signature does."""

from __future__ import annotations

from signwright.model.operation import Name, Strict, Time
from signwright.statements.models import PREDICATES, KeyText


class Session(Strict):
    """A person lends a fresh key their name for reading and posting, 8 h at most. Subject: SHA-256 of the key."""

    person: Name
    public_key: KeyText
    created: Time
    expires: Time


PREDICATES["session"] = Session
