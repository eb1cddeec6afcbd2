# SPDX-License-Identifier: Apache-2.0
"""The witness's settings file."""

from __future__ import annotations

from pathlib import Path

import pytest

from signwright.errors import ConfigurationError
from signwright.witness.settings import load_settings
from tests.support.logs import ORIGIN, log_key
from tests.support.witnesses import write_settings

TOML = f"""
name = "witness.example/w1"
key_file = "keys/witness.key"
database = "/srv/witness.sqlite3"

[[logs]]
origin = "{ORIGIN}"
keys = ["{log_key().verifier}"]
"""


def test_toml_is_read_and_relative_paths_start_at_its_folder(tmp_path: Path):
    path = tmp_path / "witness.toml"
    path.write_text(TOML, encoding="utf-8")
    settings = load_settings(path)
    assert settings.key_file == str(tmp_path / "keys/witness.key")
    assert settings.database == "/srv/witness.sqlite3"
    assert (settings.host, settings.port) == ("127.0.0.1", 0)
    assert settings.logs[0].verifier_keys() == (log_key().verifier,)


def test_json_is_read(tmp_path: Path):
    assert load_settings(write_settings(tmp_path)).logs[0].origin == ORIGIN


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "witness.example/w1"', ""),
        ('name = "witness.example/w1"', 'name = "witness.example/w1"\nnames = 1'),
        ('name = "witness.example/w1"', 'name = "witness.example/w1"\nport = "1"'),
        ('name = "witness.example/w1"', 'name = "witness.example/w1"\nport = 65536'),
        ('name = "witness.example/w1"', "name = "),
        (str(log_key().verifier), str(log_key().verifier)[:-1]),
        (str(log_key().verifier), str(log_key("other").verifier).replace("other", ORIGIN)),
        ("[[logs]]", "[[log]]"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, old: str, new: str):
    path = tmp_path / "witness.toml"
    path.write_text(TOML.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"witness\.toml"):
        load_settings(path)


def test_a_log_that_stands_there_twice_is_refused(tmp_path: Path):
    path = tmp_path / "witness.toml"
    path.write_text(TOML + TOML[TOML.index("[[logs]]") :], encoding="utf-8")
    with pytest.raises(ConfigurationError, match="twice"):
        load_settings(path)


def test_a_missing_file_is_a_clear_error(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="No such file"):
        load_settings(tmp_path / "witness.toml")
