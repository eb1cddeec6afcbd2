# SPDX-License-Identifier: Apache-2.0
"""The one reader of settings files that people write: TOML, or JSON when the name ends in ``.json``.

Every complaint names the file, the table and the key, what was found and what was wanted.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from signwright.errors import ConfigurationError, LimitError, MalformedError, SignwrightError
from signwright.model.text import first_bad_character
from signwright.statements.parse import strict_json

MAX_SETTINGS = 1 << 20
#: So many complaints are listed at once.
_LISTED = 8

M = TypeVar("M", bound=BaseModel)


def read_settings(model: type[M], file: Path, *, what: str, table: str = "", tables: Collection[str] = ()) -> M:
    """The file as ``model``, or its ``table`` alone where it has several: then it has no others than ``tables``.

    ``what``: whose settings they are, for the message. Raises `ConfigurationError`, and never reads more than
    ``MAX_SETTINGS`` bytes.
    """
    try:
        value = _parsed(file)
        if table:
            value = _table(value, table, tables)
        return model.model_validate(value)
    except ValidationError as problem:
        raise _refused(what, file, "; ".join(_complaints(problem, table))) from problem
    except RecursionError as problem:
        raise _refused(what, file, "nested too deeply") from problem
    except OSError as problem:
        raise _refused(what, file, problem.strerror or type(problem).__name__) from problem
    except (ValueError, SignwrightError) as problem:
        raise _refused(what, file, str(problem)) from problem


def _parsed(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        content = opened.read(MAX_SETTINGS + 1)
    if len(content) > MAX_SETTINGS:
        raise LimitError(f"more than {MAX_SETTINGS} bytes")
    if file.suffix == ".json":
        value = strict_json(content, limit=MAX_SETTINGS)
    else:
        value = tomllib.loads(content.decode("utf-8"))
        _check_texts(value, ())
    if not isinstance(value, dict):
        raise MalformedError("wanted names and values")
    return value


def _table(value: dict[str, Any], name: str, others: Collection[str]) -> dict[str, Any]:
    unknown = sorted(set(value) - {name, *others})
    if unknown:
        raise MalformedError(f"{unknown[0]}: unknown name; wanted {', '.join(sorted({name, *others}))}")
    found = value.get(name)
    if not isinstance(found, dict):
        raise MalformedError(f"{name}: the table [{name}] is missing")
    return found


def _check_texts(value: object, place: tuple[object, ...]) -> None:
    """TOML's escapes can write what must not reach a terminal or a log."""
    if isinstance(value, str) and (at := first_bad_character(value)) is not None:
        raise MalformedError(f"{_dotted(place)}: character U+{ord(value[at]):04X} is not allowed", code="bad-text")
    if isinstance(value, dict):
        for name, member in value.items():
            _check_texts(name, (*place, "(name)"))
            _check_texts(member, (*place, name))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            _check_texts(member, (*place, index))


def _complaints(problem: ValidationError, table: str) -> Iterator[str]:
    rows = problem.errors(include_url=False)
    for row in rows[:_LISTED]:
        where = _dotted((*([table] if table else []), *row["loc"]))
        match row["type"]:
            case "extra_forbidden":
                yield f"{where}: unknown name"
            case "missing":
                yield f"{where}: is missing"
            case _:
                yield f"{where}: {row['msg']} (found {row.get('input')!r:.80})"
    if len(rows) > _LISTED:
        yield f"and {len(rows) - _LISTED} more"


def _dotted(place: Collection[object]) -> str:
    return ".".join(map(str, place)) or "(top)"


def _refused(what: str, file: Path, said: str) -> ConfigurationError:
    return ConfigurationError(f"{what} {file}: {said}", code="bad-settings")
