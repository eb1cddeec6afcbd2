# SPDX-License-Identifier: Apache-2.0
"""Every field of every policy document, written by a person: what is wrong is named by file, line and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from signwright.cli.policy import PolicyProblems, read_document, read_sources
from signwright.cli.policy_shared import checked
from signwright.client.hub import PolicyParts
from signwright.client.policy_files import read_signed, write_signed
from signwright.errors import ConfigurationError, SignwrightError
from signwright.policy.documents import DOCUMENTS, Project
from tests.support.bad_input import Place, Schema, places, replaced
from tests.support.samples import full_documents, world

#: Name of a document → plain data of one with every member in use.
SOURCES = {name: document.model_dump(mode="json") for name, document in full_documents().items()}


class Token(str):
    """A YAML value as it is written."""

    __slots__ = ()


def yaml_lines(value: Any, at: Place = (), indent: int = 0) -> list[tuple[Place, str]]:
    """Block style, one place on each line: (the place that begins there, the line)."""
    rows: list[tuple[Place, str]] = []
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for name, member in members:
        head = " " * indent + (f"{json.dumps(name)}:" if isinstance(value, dict) else "-")
        if isinstance(member, dict | list) and member:
            rows += [((*at, name), head), *yaml_lines(member, (*at, name), indent + 2)]
        else:
            rows.append(((*at, name), f"{head} {member if isinstance(member, Token) else json.dumps(member)}"))
    return rows


class Folder:
    """Sources in which one document is replaced; the others are sound."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name, self.file = folder, name, folder / f"{name}.yaml"
        (folder / "projects").mkdir(parents=True)
        self.write(name, SOURCES[name])

    def write(self, name: str, value: Any) -> dict[Place, int]:
        rows = yaml_lines(value)
        (self.folder / f"{name}.yaml").write_text("".join(f"{line}\n" for _, line in rows), encoding="utf-8")
        return {place: number for number, (place, _) in enumerate(rows, 1)}

    def problems(self) -> list[str]:
        try:
            read_document(self.name, self.file)
        except PolicyProblems as problem:
            listed = problem.details["problems"]
            assert isinstance(listed, list)
            return [str(line) for line in listed]
        except ConfigurationError as problem:
            return [problem.message]
        return []


@pytest.fixture(params=SOURCES)
def folder(request, tmp_path):
    return Folder(tmp_path, request.param)


def schema(folder: Folder) -> Schema:
    return Schema({(): DOCUMENTS.get(folder.name, Project)})


def test_the_sources_are_read_as_they_are(folder):
    assert folder.problems() == []


WRONG: tuple[Any, ...] = (
    None,
    True,
    3,
    -1,
    1 << 60,
    "",
    "unheard-of",
    "\u00dcnheard of!",
    [],
    {},
    [7],
    {"unheard-of": 7},
)


def test_a_wrong_value_is_named_by_file_line_and_field_with_what_was_found(folder):
    value, judge, wrong, tried = SOURCES[folder.name], schema(folder), [], 0
    for number, (place, before) in enumerate(list(places(value))[1:]):
        for other in WRONG[number % 3 :: 3]:
            changed = replaced(value, place, other)
            if (type(other) is type(before) and other == before) or judge.fits(changed):
                continue
            lines = folder.write(folder.name, changed)
            said, tried = folder.problems(), tried + 1
            if not any(_says(line, folder, lines, place=place, found=other) for line in said):
                wrong.append(f"{place} = {other!r}: {said}")
    assert not wrong, "\n".join(wrong[:20])
    assert tried > 15


def _says(line: str, folder: Folder, lines: dict[Place, int], *, place: Place, found: Any) -> bool:
    """At a line of that place: the field, what was wanted and, where it is one value, what was found."""
    numbers = {number for one, number in lines.items() if one[: len(place)] == place}
    file, number, rest = line.removeprefix(str(folder.file)).split(":", 2)
    shown = isinstance(found, dict | list) or str(found)[:40] in line
    return not file and int(number) in numbers and rest.startswith(" " + ".".join(map(str, place))) and shown


def test_an_unknown_a_missing_and_a_doubled_name_are_named(folder):
    value, judge, wrong = SOURCES[folder.name], schema(folder), []
    for place, before in places(value):
        if not isinstance(before, dict):
            continue
        more = replaced(value, place, {**before, "Unheard Of": 1})
        lines = folder.write(folder.name, more)
        head = f"{folder.file}:{lines[(*place, 'Unheard Of')]}: {'.'.join(map(str, (*place, 'Unheard Of')))}"
        if not any(line.startswith(head) for line in folder.problems()):
            wrong.append(f"{head}: {folder.problems()}")
        for name in before:
            fewer = replaced(value, place, {n: m for n, m in before.items() if n != name})
            if not fewer:
                continue
            lines = folder.write(folder.name, fewer)
            said, field = folder.problems(), ".".join(map(str, (*place, name)))
            # A dash has a line of its own here, and the item begins on the next one.
            near = tuple(f"{folder.file}:{lines.get(place, 1) + n}: {field}: " for n in (0, 1))
            if judge.fits(fewer) != (not said) or (said and not any(line.startswith(near) for line in said)):
                wrong.append(f"without {field}: {said}")
    assert not wrong, "\n".join(wrong[:20])


def test_a_name_that_stands_twice_is_named_at_its_second_line(folder):
    value = SOURCES[folder.name]
    for place, before in places(value):
        if not place or isinstance(before, dict | list) or not isinstance(place[-1], str):
            continue
        rows = yaml_lines(value)
        at = next(number for number, (row, _) in enumerate(rows) if row == place)
        texts = [line for _, line in rows]
        folder.file.write_text("\n".join([*texts[: at + 1], texts[at], *texts[at + 1 :], ""]), encoding="utf-8")
        (said,) = folder.problems()
        assert said == f"{folder.file}:{at + 2}: {'.'.join(map(str, place))}: stands twice"


NEVER = (
    *("1.5", ".nan", "-.inf", "1e3", "0x1f", "017", "1_000", "yes", "~", "2026-11-21", "1:30", "!!str x", "&a x", "*a"),
    *(
        '"\\e[31m"',
        '"\\u202e"',
        '"a\\u200bb"',
        '"\\ud800"',
        "'",
        '"',
        "[",
        "{",
        "{a: 1, a: 2}",
        "@x",
        "`x",
        "a: b: c",
        "%",
    ),
    *("9" * 30, "[" * 40 + "]" * 40, "- x", "? x", "| x", "x\u202ey", "\x07"),
)


def test_what_is_never_a_value_is_named_by_file_and_line(folder):
    value, wrong = SOURCES[folder.name], []
    for number, (place, before) in enumerate(list(places(value))[1:]):
        for token in () if isinstance(before, dict | list) else NEVER[number % 5 :: 5]:
            lines = folder.write(folder.name, replaced(value, place, Token(token)))
            said = folder.problems()
            # An open quote or bracket is only noticed further on.
            named = [
                n
                for n in range(lines[place], len(lines) + 2)
                if any(s.startswith(f"{folder.file}:{n}: ") for s in said)
            ]
            if not named or not all(c.isprintable() for line in said for c in line):
                wrong.append(f"{place} = {token!r}: {said}")
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"a: \xff", "name: x".encode("utf-16"), b"\x00", b"[" * 5000, b"a: " * 5000, b"- 1", b"1"],
)
def test_what_is_no_document_is_refused_by_file(folder, content):
    folder.file.write_bytes(content)
    assert all(line.startswith(f"{folder.file}:") for line in folder.problems())
    assert folder.problems()


def test_a_cut_at_each_byte_is_refused_by_file_or_is_a_whole_document(folder):
    folder.write(folder.name, SOURCES[folder.name])
    content = folder.file.read_bytes()
    for length in list(range(len(content)))[:: max(1, len(content) // 25)]:
        folder.file.write_bytes(content[:length])
        assert all(line.startswith(f"{folder.file}:") for line in folder.problems())


def test_a_huge_source_is_refused_by_file(folder):
    with folder.file.open("wb") as opened:
        opened.truncate(1 << 30)
    assert folder.problems()[0].startswith(f"{folder.file}:1: more than ")


def test_a_missing_source_is_refused_by_file(folder):
    folder.file.unlink()
    assert str(folder.file) in folder.problems()[0]


def test_problems_of_all_sources_are_told_at_once(tmp_path):
    for name in SOURCES:
        Folder(tmp_path / name.replace("/", "-"), name)
    whole = Folder(tmp_path / "all", "organisation")
    for name, value in SOURCES.items():
        whole.write(name, value)
    assert read_sources(whole.folder) == full_documents()
    for name, value in SOURCES.items():
        whole.write(name, {**value, "unheard-of": 1})
    with pytest.raises(PolicyProblems) as caught:
        read_sources(whole.folder)
    assert len(caught.value.details["problems"]) == len(SOURCES)


WHOLE = (
    ("projects/default", ("signing_policies", "release", "key"), "gone", ("signing_policies", "release")),
    ("projects/default", ("signing_policies", "test", "artifact_configuration"), "gone", ("signing_policies", "test")),
    ("people", ("people", "bob", "keys"), ["ssh-ed25519 AAAA"], ("people", "bob")),
    ("keys", ("keys", "test", "purposes"), ["raw"], ("keys", "test")),
    ("services", ("gate_key",), "ed25519:AAAA", ("gate_key",)),
    ("services", ("receipt_keys",), ["ed25519:AAAA"], ("receipt_keys",)),
    ("services", ("quorum", "local"), 9, ("quorum",)),
    ("services", ("scanners", 0, "public_key"), "ed25519:AAAA", ("scanners",)),
    ("services", ("timestamp_authorities", 0, "anchors"), ["AAAAA"], ("timestamp_authorities",)),
)


@pytest.mark.parametrize(("name", "place", "value", "where"), WHOLE)
def test_a_problem_of_the_whole_policy_is_named_by_file_and_line(tmp_path, name, place, value, where):
    whole = Folder(tmp_path / "policy", name)
    plain = {other: document.model_dump(mode="json") for other, document in world().documents().items()}
    lines = {n: whole.write(n, replaced(v, place, value) if n == name else v) for n, v in plain.items()}
    root, index, documents, digest = world().policy_parts()
    write_signed(whole.folder / "signed", PolicyParts(root, index, documents))
    current = read_signed(whole.folder / "signed", pinned_root_sha256=digest)
    with pytest.raises(SignwrightError) as caught:
        checked(whole.folder, current, quiet=True)
    assert f"{whole.file}:{lines[name][where]}: " in caught.value.message
