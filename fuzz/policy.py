# SPDX-License-Identifier: Apache-2.0
"""Documents of a policy, the chain of its roots, and what a keeper or custodian is shown or signs beside it."""

from __future__ import annotations

from collections.abc import Callable

from signwright.errors import SignwrightError
from signwright.model.operation import Strict
from signwright.policy.documents import DOCUMENTS, Project
from signwright.policy.policy import ROOTS, open_roots
from signwright.policy.write import document_bytes
from signwright.statements.custodian import parse_custodian, read_shown
from signwright.statements.dsse import Envelope, parse_envelope
from signwright.statements.models import PolicyRoot, parse_statement
from signwright.statements.parse import MAX_DOCUMENT, parse_model


def one_input(data: bytes) -> None:
    """What is read can be written, and what was written reads as the same."""
    attempts = (*map(_document, (*DOCUMENTS.values(), Project)), _roots, _shown, _confirmed)
    for attempt in attempts:
        try:
            attempt(data)
        except SignwrightError:
            continue


def _document(model: type[Strict]) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        document = parse_model(model, data, limit=MAX_DOCUMENT)
        again = parse_model(model, document_bytes(document), limit=2 * MAX_DOCUMENT)
        if again != document:
            raise AssertionError(f"{document!r} was read, {again!r} was written")

    return read


def _roots(data: bytes) -> None:
    """The input as the newest root, as an older one, and as the name of an older one."""
    name = ROOTS + data[:16].decode("utf-8", errors="replace")
    envelope = parse_envelope(data)
    pinned = parse_statement(envelope, PolicyRoot).digest
    for documents in ({}, {f"{ROOTS}1": data}, {name: data}):
        try:
            open_roots(envelope, documents, pinned_sha256=pinned)
        except SignwrightError:
            continue


def _shown(data: bytes) -> None:
    shown = read_shown(data)
    if read_shown(shown.encode()) != shown:
        raise AssertionError(f"{shown!r} was read, and another was written")


def _confirmed(data: bytes) -> None:
    parse_custodian(Envelope(data, ()))
