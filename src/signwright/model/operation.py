# SPDX-License-Identifier: Apache-2.0
"""One use of a key, as people approve it and as the log records it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from signwright.errors import MalformedError
from signwright.model.digest import Digest
from signwright.model.times import parse_time

MAX_WAVES = 8
#: Values of an operation's parameters: JSON scalars only, so that they mean the same everywhere.
Parameter = Annotated[str, StringConstraints(max_length=2048)] | bool | int

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
DigestText = Annotated[
    str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$")
]
Sha256Text = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def _is_time(text: str) -> str:
    try:
        parse_time(text)
    except MalformedError as problem:
        raise ValueError(problem.message) from problem
    return text


Time = Annotated[str, AfterValidator(_is_time)]
_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=True).encode


T = TypeVar("T")
#: A JSON array as an immutable tuple. Strictness of the items is not relaxed, only list → tuple.
Many = Annotated[tuple[T, ...], Field(strict=False)]


class Strict(BaseModel):
    """Frozen, no unknown field, no coercion. Base of every model that is read from outside."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Planned(Strict):
    """``inner_path``: "" for the artifact itself, else the member's path with ``/`` between containers.

    ``template``: a function of `signwright.envelopes.templates`; ``parameters``: its arguments.
    """

    inner_path: Annotated[str, StringConstraints(max_length=1024)] = ""
    template: Name
    parameters: dict[Name, Parameter] = Field(default_factory=dict)


class Operation(Planned):
    """``digest``: of the content that the template signs, in the digest algorithm of the signature."""

    digest: DigestText

    @property
    def content_digest(self) -> Digest:
        return Digest.parse(self.digest)


class DerivedOperation(Planned):
    """An operation whose digest follows from signatures of earlier waves, and is all that is not known of it before.
    ``wave``: that of the direct operations is 0.
    """

    wave: int = Field(ge=1, lt=MAX_WAVES)
    algorithm: Literal["sha256", "sha384", "sha512"]


def operation_list(operations: Iterable[tuple[int, Operation]]) -> bytes:
    """The one written form of a wave's operations, each with the index of its artifact's subject.

    Its SHA-256 stands in the intent leaf.
    """
    rows = [{**operation.model_dump(mode="json"), "artifact": index} for index, operation in operations]
    return _encode(rows).encode()
