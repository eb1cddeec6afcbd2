# SPDX-License-Identifier: Apache-2.0
"""The settings of every process: whatever is wrong is refused in words that name file, table and key."""

from __future__ import annotations

import json
import tomllib
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from signwright.cli import settings as cli_settings
from signwright.errors import ConfigurationError
from signwright.hub import settings as hub_settings
from signwright.scanner import settings as scanner_settings
from signwright.signer import users
from signwright.signer.courier import settings as courier_settings
from signwright.signer.gate import settings as gate_settings
from signwright.signer.keyholder import settings as keyholder_settings
from signwright.statements.writing import public_text
from signwright.tsa import settings as tsa_settings
from signwright.witness import settings as witness_settings
from tests.support.bad_input import Place, Schema, places, replaced
from tests.support.logs import ORIGIN, log_key
from tests.support.samples import world

KEY = public_text(world().gate)


@dataclass(frozen=True)
class Settings:
    """``table``: "" for the whole file; ``changes``: what the least example of the model does not say rightly."""

    model: type[BaseModel]
    load: Callable[[Path], object]
    table: str = ""
    changes: tuple[tuple[Place, Any], ...] = ()
    beside: str = ""

    def example(self) -> Any:
        value = Schema({(): self.model}).example("x")
        for place, new in self.changes:
            value = replaced(value, place, new)
        return value

    def write(self, file: Path, value: Any) -> None:
        content = table_text(value)
        file.write_text(f"{self.beside}[{self.table}]\n{content}" if self.table else content, encoding="utf-8")


FILES = {
    "hub": Settings(hub_settings.HubSettings, hub_settings.load_settings, changes=((("courier_key",), KEY),)),
    "scanner": Settings(scanner_settings.ScannerSettings, scanner_settings.load_settings),
    "witness": Settings(
        witness_settings.WitnessSettings,
        witness_settings.load_settings,
        changes=((("logs",), [{"origin": ORIGIN, "keys": [str(log_key().verifier)]}]),),
    ),
    "tsa": Settings(tsa_settings.Settings, tsa_settings.read_settings),
    "courier": Settings(courier_settings.CourierSettings, courier_settings.load_settings),
    "gate": Settings(gate_settings.GateSettings, gate_settings.load_settings, table="gate"),
    "keyholder": Settings(keyholder_settings.KeyholderSettings, keyholder_settings.load_settings, table="keyholder"),
    "users": Settings(
        users.UserSettings,
        users.load_users,
        table="users",
        changes=((("gate",), "daemon"), (("keyholder",), "bin"), (("courier",), "sys"), (("operators",), ["root"])),
    ),
    "command line": Settings(cli_settings.SettingsFile, cli_settings._read),
}


class Token(str):
    """A TOML value as it is written."""

    __slots__ = ()


TOKENS = tuple(
    map(
        Token,
        (
            *("1.5", "nan", "-inf", "2026-11-21", "2026-11-21T09:30:00Z", "09:30:00", "true", "-1", "0", "99999999999"),
            *('""', '"x"', '"unheard-of"', "[]", "[1]", "{}", "{ unheard-of = 1 }", '[["x"]]', str(1 << 64)),
        ),
    )
)
NEVER = (
    *('"\\u202e"', '"a\\u001b[31mb"', '"\\u200b"', '"\\ud800"', "NaN", "yes", "'", "9" * 5000, "[" * 5000, "1 2", ","),
    *("{ a = 1, a = 2 }", "0x", "# nothing", "[" * 5000 + "]" * 5000),
)


def table_text(value: Any) -> str:
    return "".join(f"{json.dumps(name)} = {toml(member)}\n" for name, member in value.items() if member is not None)


def toml(value: Any) -> str:
    if isinstance(value, Token):
        return str(value)
    if isinstance(value, dict):
        rows = (f"{json.dumps(n)} = {toml(m)}" for n, m in value.items() if m is not None)
        return f"{{ {', '.join(rows)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


@pytest.fixture(params=FILES)
def settings(request):
    return FILES[request.param]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "some.toml"


def refused(settings: Settings, file: Path) -> str | None:
    """What the loader says; None when it takes the file. Any other error is the test's failure."""
    try:
        cli_settings._read.cache_clear()
        settings.load(file)
    except ConfigurationError as problem:
        return problem.message
    return None


def test_the_sample_is_taken(settings, file):
    settings.write(file, settings.example())
    assert refused(settings, file) is None


def test_a_wrong_value_is_refused_by_file_table_and_key(settings, file):
    example, schema, wrong, tried = settings.example(), Schema({(): settings.model}), [], 0
    for place, value in places(example):
        if not place:
            continue
        for token in TOKENS:
            settings.write(file, replaced(example, place, token))
            said, tried = refused(settings, file), tried + 1
            found = tomllib.loads(f"x = {token}")["x"]
            fits = schema.fits(replaced(example, place, found))
            if said is None and not fits:
                wrong.append(f"{place} = {token}: accepted")
            if said is not None and not fits and not names(said, settings, file, place):
                wrong.append(f"{place} = {token}: {said}")
        del value
    assert not wrong, "\n".join(wrong[:20])
    assert tried > 60


def names(said: str, settings: Settings, file: Path, place: Place) -> bool:
    """File, table and key; of what stands within a value, at least the value's own key."""
    keys = [str(part) for part in place if isinstance(part, str)]
    return str(file) in said and settings.table in said and ".".join(keys[:1]) in said and keys[-1] in said


def test_what_is_never_toml_of_ours_is_refused_by_file(settings, file):
    example, wrong = settings.example(), []
    for place, _ in places(example):
        for token in NEVER if place else ():
            settings.write(file, replaced(example, place, Token(token)))
            said = refused(settings, file)
            if said is None or str(file) not in said or any(not c.isprintable() for c in said):
                wrong.append(f"{place} = {token[:40]!r}: {said}")
    assert not wrong, "\n".join(wrong[:20])


def test_an_unknown_a_missing_and_a_doubled_name_are_refused(settings, file):
    example, schema, wrong = settings.example(), Schema({(): settings.model}), []
    for place, value in places(example):
        if not isinstance(value, dict):
            continue
        for named, changed in (
            ("unheard-of", {**value, "unheard-of": Token("1")}),
            *((name, {n: m for n, m in value.items() if n != name}) for name in value),
        ):
            whole = replaced(example, place, changed)
            settings.write(file, whole)
            said = refused(settings, file)
            fits = schema.fits(tomllib.loads(table_text(whole)))
            if (said is None) != fits or (said is not None and (str(file) not in said or named not in said)):
                wrong.append(f"{place}: {named}: {said}")
    assert not wrong, "\n".join(wrong[:20])


def test_a_cut_at_each_byte_is_taken_whole_or_refused(settings, file):
    settings.write(file, settings.example())
    content = file.read_bytes()
    for length in range(len(content)):
        file.write_bytes(content[:length])
        said = refused(settings, file)
        assert said is None or str(file) in said


@pytest.mark.parametrize("content", [b"\xff\xfe", b'a = "\xc3"', b"\x00", "name = 1".encode("utf-16"), b"[[[", b"=1"])
def test_what_is_no_text_is_refused_by_file(settings, file, content):
    file.write_bytes(content)
    assert str(file) in str(refused(settings, file))


def test_a_syntax_error_names_its_line(settings, file):
    file.write_text("a = 1\nb = 2\nc = = 3\n")
    assert "line 3" in str(refused(settings, file))


def test_a_missing_file_and_a_folder_are_refused_by_name(settings, file):
    assert str(file) in str(refused(settings, file))
    file.mkdir()
    assert str(file) in str(refused(settings, file))


def test_a_huge_file_is_refused_before_it_is_read(settings, file):
    with file.open("wb") as opened:
        opened.truncate(1 << 30)
    tracemalloc.start()
    try:
        said = refused(settings, file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(file) in str(said)
    assert peak < 16 << 20


def test_a_table_that_signer_toml_does_not_have_is_refused(file):
    gate = FILES["gate"]
    file.write_text(f"[gate]\n{table_text(gate.example())}\n[gaet]\nprofile = 3\n")
    assert "gaet" in str(refused(gate, file))
