# SPDX-License-Identifier: Apache-2.0
"""The one parser of JSON that comes from outside (design rule: one parser, strict, for every statement and document).

``json.loads`` alone accepts duplicate keys, floats, NaN and lone surrogates; each of them lets two readers see two
things.
"""

from __future__ import annotations

import json
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from signwright.errors import LimitError, MalformedError
from signwright.model.text import first_bad_character

MAX_STATEMENT = 64 << 10
MAX_DOCUMENT = 1 << 20
MAX_MANIFEST = 16 << 20
MAX_DEPTH = 8
MAX_INTEGER = 1 << 63

M = TypeVar("M", bound=BaseModel)


def strict_json(content: bytes, *, limit: int = MAX_STATEMENT, depth: int = MAX_DEPTH) -> object:
    """UTF-8 JSON to plain Python data.

    Raises `LimitError` beyond ``limit`` bytes and `MalformedError` for duplicate keys, floats, NaN, integers beyond 63
    bits, nesting beyond ``depth``, a byte order mark, and control, bidi or surrogate characters in any string.
    """
    if len(content) > limit:
        raise LimitError(f"{len(content)} bytes of JSON; at most {limit} are read", code="statement-too-large")
    try:
        text = content.decode("utf-8")
        value = _DECODER.decode(text)
    except (UnicodeDecodeError, RecursionError) as problem:
        raise MalformedError("not UTF-8 JSON of a sane depth", code="bad-json") from problem
    except ValueError as problem:
        raise MalformedError(f"not JSON: {problem}", code="bad-json") from problem
    # Without escapes, strings are what stands between the quotes: one look at the whole text judges all of them.
    plain = text.isascii() and text.isprintable() and "\\" not in text
    if not (_is_shallow(value, depth) if plain else _is_sound(value, depth)):
        _check(value, depth, "$")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise MalformedError(f"member {twice[:80]!r} stands twice", code="duplicate-member")
    return members


def _no_float(text: str) -> NoReturn:
    raise MalformedError(f"number {text[:40]} is not an integer", code="float")


def _bounded(text: str) -> int:
    if len(text) > 20 or not -MAX_INTEGER <= int(text) < MAX_INTEGER:
        raise MalformedError("an integer of more than 63 bits", code="bad-integer")
    return int(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float, parse_int=_bounded
)


def _is_shallow(value: object, depth: int) -> bool:
    """Whether ``value`` is nested no deeper than ``depth``."""
    if not isinstance(value, dict | list):
        return True
    if depth == 0:
        return False
    for member in value.values() if isinstance(value, dict) else value:
        kind = type(member)
        if (kind is dict or kind is list) and not _is_shallow(member, depth - 1):
            return False
    return True


def _is_sound(value: object, depth: int) -> bool:
    """Whether `_check` has nothing to say: the same rules without naming every place, which is most of its work."""
    if isinstance(value, dict):
        if depth == 0 or not _is_plain("".join(value)):
            return False
        members = list(value.values())
    elif isinstance(value, list):
        if depth == 0:
            return False
        members = value
    else:
        return not isinstance(value, str) or _is_plain(value)
    for member in members:
        kind = type(member)
        if kind is str:
            if not _is_plain(member):
                return False
        elif (kind is dict or kind is list) and not _is_sound(member, depth - 1):
            return False
    return True


def _is_plain(text: str) -> bool:
    return first_bad_character(text) is None


def _check(value: object, depth: int, where: str) -> None:
    if isinstance(value, str):
        at = first_bad_character(value)
        if at is not None:
            raise MalformedError(f"{where}: character U+{ord(value[at]):04X} is not allowed", code="bad-text")
    elif isinstance(value, dict):
        if depth == 0:
            raise MalformedError(f"{where}: nested too deeply", code="too-deep")
        for key, member in value.items():
            _check(key, depth - 1, f"{where} (member name)")
            _check(member, depth - 1, f"{where}.{key}")
    elif isinstance(value, list):
        if depth == 0:
            raise MalformedError(f"{where}: nested too deeply", code="too-deep")
        for index, member in enumerate(value):
            _check(member, depth - 1, f"{where}[{index}]")


def parse_model(model: type[M], content: bytes, *, limit: int = MAX_STATEMENT, depth: int = MAX_DEPTH) -> M:
    """`strict_json`, then the strict model; raises `MalformedError` that names the first wrong field."""
    return validate_model(model, strict_json(content, limit=limit, depth=depth))


def validate_model(model: type[M], value: object) -> M:
    """Plain data to ``model``; raises `MalformedError` naming the place, what was found and what was wanted."""
    try:
        return model.model_validate(value)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "(top)"
        found = str(first.get("input"))[:80]
        raise MalformedError(
            f"{model.__name__}: {where}: {first['msg']} (found {found!r})",
            code="bad-field",
            details={"field": where, "problems": problem.error_count()},
        ) from problem
