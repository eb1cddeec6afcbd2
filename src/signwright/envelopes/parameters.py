# SPDX-License-Identifier: Apache-2.0
"""Strict reading of an operation's parameters: every template names what it knows and refuses the rest."""

from __future__ import annotations

from collections.abc import Collection

from signwright.errors import MalformedError
from signwright.model.operation import Operation
from signwright.model.text import check_text


def check_known(operation: Operation, template: str, known: Collection[str]) -> None:
    """Raise `MalformedError` when the operation is of another template or has a parameter outside ``known``."""
    if operation.template != template:
        raise MalformedError(
            f"operation is of template {operation.template!r}, wanted {template!r}", code="bad-operation"
        )
    unknown = sorted(set(operation.parameters) - set(known))
    if unknown:
        raise MalformedError(f"template {template!r} does not know the parameter {unknown[0]!r}", code="bad-parameter")


def text_parameter(operation: Operation, name: str) -> str | None:
    """A text parameter without control or invisible characters, or None when it is absent; empty text is refused."""
    value = operation.parameters.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise MalformedError(f"parameter {name!r} wants text, found {value!r}", code="bad-parameter")
    return check_text(value, f"parameter {name!r}")
