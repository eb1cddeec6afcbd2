# SPDX-License-Identifier: Apache-2.0
"""Statements: the strict parser, the envelope, and every model behind a predicate type."""

from __future__ import annotations

from collections.abc import Callable

from signwright.errors import SignwrightError
from signwright.model.operation import Strict
from signwright.statements.dsse import Envelope, parse_envelope
from signwright.statements.models import PREDICATES, parse_statement
from signwright.statements.parse import strict_json


def one_input(data: bytes) -> None:
    for attempt in (strict_json, _envelope, *map(_as, PREDICATES.values())):
        try:
            attempt(data)
        except SignwrightError:
            continue


def _envelope(data: bytes) -> None:
    envelope = parse_envelope(data)
    assert parse_envelope(envelope.encode()) == envelope


def _as(model: type[Strict]) -> Callable[[bytes], None]:
    def statement(data: bytes) -> None:
        parse_statement(Envelope(data, ()), model)
        strict_json(data)

    return statement
