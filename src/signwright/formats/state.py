# SPDX-License-Identifier: Apache-2.0
"""What ``embed`` is given back: state and splices that crossed processes, and hold or are refused (``bad-state``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError

from signwright.errors import FormatError, MalformedError
from signwright.formats.base import Prepared
from signwright.model.operation import Strict
from signwright.model.patch import Patch, Splice

State = TypeVar("State", bound=Strict)


def bad_state(found: object) -> FormatError:
    """The refusal; ``found``: what does not hold."""
    return FormatError(f"prepared state does not hold: {found}", code="bad-state")


def read_state(prepared: Prepared, model: type[State], format_name: str) -> State:
    """The state as it came back; raises `FormatError` for one of another shape or format. Whether it fits the sizes
    that it speaks about is the format's to check.
    """
    try:
        state = model.model_validate(prepared.state)
    except ValidationError as problem:
        raise bad_state(f"{problem.error_count()} problems") from None
    if prepared.format != format_name:
        raise bad_state("of another format")
    return state


def patch_of(source_sha256: str, source_size: int, splices: Sequence[Splice]) -> Patch:
    """The patch that makes these replacements, not sealed; raises `FormatError` when they do not fit the source."""
    grown = sum(len(splice.insert) - splice.remove for splice in splices)
    try:
        return Patch(source_sha256, source_size, "", source_size + grown, tuple(splices))
    except MalformedError as problem:
        raise bad_state(problem.message) from problem
