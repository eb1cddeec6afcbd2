# SPDX-License-Identifier: Apache-2.0
"""What a catalog wants to know of an INF file: its catalog's name, hardware ids, Windows versions.

Sources: "INF Version Section", "INF Manufacturer Section" and "INF Models Section" (Windows drivers documentation).
Read strictly: where an INF says something in a way that is not read here, the caller is asked to say it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from signwright.errors import UsageError

MAX_SIZE = 4 << 20
MAX_IDS = 10_000
#: Architecture of a decorated section → name of the oldest Windows 10 for it in catalogs.
_SYSTEMS = {"ntx86": "_v100", "ntamd64": "_v100_X64", "ntarm64": "_v100_ARM64"}
_TOKEN = re.compile(r"%([^%\s]+)%")
_CATALOG = re.compile(r"catalogfile(\.nt(x86|amd64|arm64)?)?")
_FILE_NAME = re.compile(r"[A-Za-z0-9._ -]{1,60}\.cat", re.IGNORECASE)

#: Section name in lower case → its lines as (key or "", values).
Sections = Mapping[str, Sequence[tuple[str, tuple[str, ...]]]]


@dataclass(frozen=True, slots=True)
class Inf:
    """``systems``: names for `signwright.formats.catalog_content.windows_version`; empty where it does not say."""

    catalog: str
    hardware_ids: tuple[str, ...]
    systems: tuple[str, ...]


def read_inf(content: bytes) -> Inf:
    """Raises `UsageError` (``bad-inf``)."""
    if len(content) > MAX_SIZE:
        raise _wrong(f"of {len(content)} bytes, at most {MAX_SIZE} are read")
    sections = _sections(_text(content))
    if not sections.get("version"):
        raise _wrong("without a [Version] section")
    ids: dict[str, None] = {}
    systems: dict[str, None] = {}
    for name, decoration in _models(sections):
        rows = sections.get(name, ())
        if rows:
            systems[_SYSTEMS.get(decoration.split(".")[0].lower(), "")] = None
        ids.update(dict.fromkeys(value for _, values in rows for value in values[1:] if value))
    if len(ids) > MAX_IDS or any("%" in one for one in ids):
        raise _wrong("with hardware ids that are not read here", hint="--hardware-id ID")
    return Inf(_catalog(sections), tuple(ids), () if "" in systems else tuple(systems))


def _catalog(sections: Sections) -> str:
    """The name of the one catalog: that of CatalogFile, decorated or not."""
    named = {values[0] for key, values in sections["version"] if _CATALOG.fullmatch(key) and values}
    if len({name.lower() for name in named}) != 1:
        raise _wrong(f"that names {len(named)} catalogs, one is wanted", hint="[Version] CatalogFile=NAME.cat")
    name = named.pop()
    if not _FILE_NAME.fullmatch(name):
        raise _wrong(f"whose catalog is named {name[:60]!r}")
    return name


def _models(sections: Sections) -> Iterator[tuple[str, str]]:
    """Names of the Models sections, in lower case, with their decoration or ""."""
    for key, values in sections.get("manufacturer", ()):
        base = (values[0] if values else key).lower()
        yield base, ""
        for decoration in values[1:]:
            yield f"{base}.{decoration.lower()}", decoration


def _text(content: bytes) -> str:
    for mark, codec in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xef\xbb\xbf", "utf-8")):
        if content.startswith(mark):
            try:
                return content[len(mark) :].decode(codec)
            except UnicodeDecodeError as problem:
                raise _wrong(f"that is no {codec}") from problem
    if b"\0" in content:
        raise _wrong("in UTF-16 without a byte order mark, or no text at all")
    # What is asked for is ASCII; the code page matters to descriptions alone.
    return content.decode("latin-1")


def _sections(text: str) -> Sections:
    raw: dict[str, list[str]] = {}
    lines: list[str] | None = None
    held = ""
    for line in text.splitlines():
        plain = held + _without_comment(line).strip()
        held = ""
        if plain.endswith("\\") and "=" in plain:
            held = plain[:-1]
        elif plain.startswith("["):
            if not plain.endswith("]"):
                raise _wrong(f"with a section that does not end: {plain[:60]!r}")
            lines = raw.setdefault(plain[1:-1].strip().lower(), [])
        elif plain and lines is not None:
            lines.append(plain)
    strings = {key.lower(): ",".join(values) for key, values in map(_entry, raw.get("strings", ()))}
    return {name: [_resolved(_entry(row), strings) for row in rows] for name, rows in raw.items() if name != "strings"}


def _without_comment(line: str) -> str:
    quoted = False
    for at, character in enumerate(line):
        if character == '"':
            quoted = not quoted
        elif character == ";" and not quoted:
            return line[:at]
    return line


def _entry(line: str) -> tuple[str, tuple[str, ...]]:
    """``key = value, value`` or a lone word; quotes around a value are taken off."""
    key, separator, rest = line.partition("=")
    values = tuple(part.strip().strip('"').strip() for part in rest.split(",")) if separator else ()
    return key.strip().strip('"').lower(), values


def _resolved(entry: tuple[str, tuple[str, ...]], strings: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    def text_of(match: re.Match[str]) -> str:
        return strings.get(match[1].lower(), match[0])

    key, values = entry
    return key, tuple(_TOKEN.sub(text_of, value) for value in values)


def _wrong(found: str, hint: str | None = None) -> UsageError:
    return UsageError(f"an INF file {found}", code="bad-inf", hint=hint)
