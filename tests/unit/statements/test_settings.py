# SPDX-License-Identifier: Apache-2.0
"""Settings files of a small model: what is wrong is refused by its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from signwright.errors import ConfigurationError
from signwright.model.operation import Strict
from signwright.statements.settings import _LISTED, MAX_SETTINGS, read_settings


class Small(Strict):
    number: int
    words: dict[str, str] = Field(default_factory=dict)


def read(folder: Path, content: str, name: str = "small.toml", **how: object) -> Small:
    file = folder / name
    file.write_text(content, encoding="utf-8")
    return read_settings(Small, file, what="small settings", **how)  # type: ignore[arg-type]


def refusal(folder: Path, content: str, name: str = "small.toml", **how: object) -> str:
    with pytest.raises(ConfigurationError) as refused:
        read(folder, content, name, **how)
    return refused.value.message


def test_file_is_read_to_its_limit_and_not_beyond(tmp_path: Path) -> None:
    fits = "number = 1\n" + "#" * (MAX_SETTINGS - 11)
    assert read(tmp_path, fits).number == 1
    assert "more than" in refusal(tmp_path, fits + "#")


def test_json_that_is_no_object_is_refused(tmp_path: Path) -> None:
    assert read(tmp_path, '{"number":1}', "small.json").number == 1
    assert "wanted names and values" in refusal(tmp_path, "[1]", "small.json")


@pytest.mark.parametrize("content", ["", "small = 1\n", "[[small]]\nnumber = 1\n"])
def test_table_that_is_missing_or_none_is_named(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, "[small]\nnumber = 1\n", table="small", tables=("other",)).number == 1
    assert "the table [small] is missing" in refusal(tmp_path, content, table="small", tables=("other",))


@pytest.mark.parametrize("words", ['"a\\u202E" = "b"', 'a = "b\\u202E"'])
def test_character_that_steers_a_terminal_is_refused_in_names_and_values(tmp_path: Path, words: str) -> None:
    assert "U+202E is not allowed" in refusal(tmp_path, f"number = 1\n[words]\n{words}\n")


def test_list_of_complaints_has_an_end(tmp_path: Path) -> None:
    many = "".join(f"unknown{number} = 1\n" for number in range(_LISTED + 3))
    told = refusal(tmp_path, "number = 1\n" + many)
    assert told.count("unknown name") == _LISTED
    assert told.endswith("and 3 more")
    few = "".join(f"unknown{number} = 1\n" for number in range(_LISTED))
    assert "more" not in refusal(tmp_path, "number = 1\n" + few)
