# SPDX-License-Identifier: Apache-2.0
"""The one parser of JSON that comes from outside (design rule: one parser, strict, for every statement and document).

``json.loads`` alone accepts duplicate keys, floats, NaN and lone surrogates; each of them lets two readers see two
things.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn, TypeVar

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
    # Without escapes, strings are what stands between the quotes, and there the decoder refuses all below the space: in
    # ASCII, what is left to refuse is DEL.
    plain = text.isascii() and "\x7f" not in text and "\\" not in text
    # What has no more brackets than levels cannot be nested too deeply.
    flat = plain and text.count("{") + text.count("[") <= depth
    if not (flat or _is_sound(value, depth, plain=plain)):
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


def _is_sound(value: object, depth: int, *, plain: bool) -> bool:
    """Whether `_check` has nothing to say: the same rules, level by level and without naming every place, which is most
    of its work. ``plain``: the strings were judged before.
    """
    level: list[Any] = [value]
    for _ in range(depth + 1):
        if not plain and any(first_bad_character(member) is not None for member in level if type(member) is str):
            return False
        nested = [member for member in level if type(member) is dict or type(member) is list]
        if not nested:
            return True
        level = [member for each in nested for member in (each.values() if type(each) is dict else each)]
        if not plain:
            level += [name for each in nested if type(each) is dict for name in each]
    return False


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
