# SPDX-License-Identifier: Apache-2.0
"""Manifests and signature files of JARs as text: sections are read with their places in the bytes, and written.

Source: "JAR File Specification" (Oracle), sections "Name-Value pairs and Sections", "JAR Manifest" and "Signature
File". A digest of a section covers its very bytes up to and with the empty line that ends it, so that nothing here
writes a section anew that somebody may have signed. Lines are counted in bytes: a name may be split inside a character.
Refused is what readers of manifests take in different ways. Everything raises `FormatError`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from signwright.errors import FormatError
from signwright.model.digest import ALGORITHMS, Digest

#: Bytes of a manifest or a signature file. Java's own limit for signature files was 8,000,000 for long.
MAX_TEXT = 8_000_000
#: Of one section.
MAX_ATTRIBUTES = 4096
#: The whole of a manifest where a JAR has none.
NEW_MANIFEST = b"Manifest-Version: 1.0\r\nCreated-By: Signwright\r\n\r\n"

_LINE = 72
_MAX_VALUE = 65535
#: Characters of a section's name: far above any file's, and below what the template takes.
_MAX_NAME = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LINES = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|\Z)")
_HEADER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9_-]{0,69}): ([^\x00]*)", re.DOTALL)
_NAMES = {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}
_ALGORITHMS = {f"{name.lower()}-digest": algorithm for algorithm, name in _NAMES.items()}


@dataclass(frozen=True, slots=True)
class Header:
    """``name``: in lower case; ``value``: raw, lines joined; ``start``, ``end``: of its lines in the text."""

    name: str
    value: bytes
    start: int
    end: int

    @property
    def is_digest(self) -> bool:
        return self.name.endswith("-digest")


@dataclass(frozen=True, slots=True)
class Section:
    """``name``: of the entry, "" of the main section; ``headers``: without that name; ``lines_end``: behind its last
    line; ``end``: behind the empty line that ends it, the same where the text ends without one.
    """

    name: str
    headers: tuple[Header, ...]
    start: int
    lines_end: int
    end: int

    @property
    def is_closed(self) -> bool:
        return self.end > self.lines_end

    def value(self, name: str) -> str | None:
        """Of the header ``name`` (lower case), as text."""
        for header in self.headers:
            if header.name == name:
                return _text(header.value, header.start)
        return None

    def digests(self) -> tuple[Digest, ...]:
        """Those of an algorithm that we accept; others are passed over."""
        found = []
        for header in self.headers:
            algorithm = _ALGORITHMS.get(header.name)
            if algorithm is not None:
                found.append(Digest(algorithm, _decoded(header, ALGORITHMS[algorithm])))
        return tuple(found)


def _decoded(header: Header, size: int) -> bytes:
    try:
        value = base64.b64decode(header.value, validate=True)
    except ValueError:
        value = b""
    if len(value) != size or base64.b64encode(value) != header.value:
        raise FormatError(f"{header.name} is no digest of {size} bytes", offset=header.start, code="manifest-digest")
    return value


def read_sections(content: bytes) -> Iterator[Section]:
    """The main section, then the others in order; offsets are of ``content``."""
    if len(content) > MAX_TEXT:
        raise FormatError(f"a manifest of {len(content)} bytes, at most {MAX_TEXT} are read", code="too-large")
    if content and content[-1:] not in (b"\r", b"\n"):
        raise FormatError("the last line of the manifest does not end", offset=len(content), code="manifest-end")
    lines: list[_Lines] = []
    start = end = 0
    is_main = True
    for match in _LINES.finditer(content):
        line, at = match[1], match.start()
        if line[:1] == b" " and lines:
            lines[-1].add(line[1:], match.end())
        elif line:
            start = start if lines else at
            lines.append(_Lines([line], at, match.end()))
            if len(lines) > MAX_ATTRIBUTES:
                raise FormatError(f"more than {MAX_ATTRIBUTES} attributes in a section", offset=at, code="too-large")
        if lines and not line:
            yield _section([one.header() for one in lines], start, end, match.end(), is_main=is_main)
            lines, is_main = [], False
        elif not line and is_main:
            raise FormatError("the manifest begins with an empty line", offset=at, code="manifest")
        end = match.end()


@dataclass(slots=True)
class _Lines:
    """A line and those that continue it, joined once: there may be many."""

    pieces: list[bytes]
    start: int
    end: int

    def add(self, piece: bytes, end: int) -> None:
        self.pieces.append(piece)
        self.end = end

    def header(self) -> Header:
        match = _HEADER.fullmatch(b"".join(self.pieces))
        if match is None or len(match[2]) > _MAX_VALUE:
            raise FormatError(
                "a line of the manifest is not a name and a value, or too long", offset=self.start, code="manifest"
            )
        return Header(match[1].decode("ascii").lower(), match[2], self.start, self.end)


def _section(headers: list[Header], start: int, lines_end: int, end: int, *, is_main: bool) -> Section:
    if len({header.name for header in headers}) != len(headers):
        raise FormatError("a name stands twice in a section of the manifest", offset=start, code="manifest-twice")
    if any(header.name == "magic" for header in headers):
        raise FormatError("attribute Magic, whose meaning is not known here", offset=start, code="manifest-magic")
    if is_main:
        if any(header.name == "name" for header in headers):
            raise FormatError("the main section of the manifest has a Name", offset=start, code="manifest")
        return Section("", tuple(headers), start, lines_end, end)
    if headers[0].name != "name":
        raise FormatError("a section of the manifest does not begin with its Name", offset=start, code="manifest")
    name = _text(headers[0].value, start)
    if not name or len(name) > _MAX_NAME or name.startswith(("/", "./")) or _CONTROL.search(name):
        raise FormatError(f"a section of the manifest for {name[:60]!r}", offset=start, code="manifest")
    return Section(name, tuple(headers[1:]), start, lines_end, end)


def _text(value: bytes, offset: int) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as problem:
        raise FormatError("the manifest is not UTF-8", offset=offset, code="manifest") from problem


def main_section(content: bytes) -> Section:
    """Of a manifest; one without a version is refused, because Java drops its attributes when it writes it again."""
    found = next(read_sections(content), None)
    if found is None or found.value("manifest-version") is None:
        raise FormatError("the manifest has no Manifest-Version", code="manifest")
    return found


def digest_header(digest: Digest, what: str = "") -> bytes:
    """The line of a digest: ``SHA-256-Digest: …``; ``what`` comes behind ``Digest``."""
    return header_lines(f"{_NAMES[digest.algorithm]}-Digest{what}", base64.b64encode(digest.value).decode("ascii"))


def header_lines(name: str, value: str) -> bytes:
    """A name and its value in lines of at most 72 bytes, their ends included."""
    text = f"{name}: {value}".encode()
    lines = [text[: _LINE - 2]]
    lines += [b" " + text[at : at + _LINE - 3] for at in range(_LINE - 2, len(text), _LINE - 3)]
    return b"".join(line + b"\r\n" for line in lines)


def entry_section(name: str, digest: Digest) -> bytes:
    """A section that holds one digest, with its empty line."""
    return header_lines("Name", name) + digest_header(digest) + b"\r\n"


def without_digests(content: bytes, digests: Mapping[str, Digest]) -> tuple[bytes, set[str]]:
    """The manifest without digests of entries and without sections that hold nothing else; where a section that stays
    is of an entry in ``digests``, it ends with that digest. Answers also the names of those.

    Without any digest to take out or to put in, the bytes are those that came in, but that a last section without its
    empty line gets one.
    """
    parts: list[bytes] = []
    placed: set[str] = set()
    kept_to = 0
    for section in read_sections(content):
        parts.append(content[kept_to : section.start])
        kept_to = section.end
        if section.name and all(header.is_digest for header in section.headers):
            continue
        at = section.start
        for header in section.headers:
            if section.name and header.is_digest:
                parts.append(content[at : header.start])
                at = header.end
        parts.append(content[at : section.lines_end])
        if section.name in digests:
            parts.append(digest_header(digests[section.name]))
            placed.add(section.name)
        parts.append(content[section.lines_end : section.end] or b"\r\n")
    return b"".join((*parts, content[kept_to:])), placed


def signature_file(manifest: bytes, algorithm: str) -> bytes:
    """The text that is signed: digests of the manifest, of its main attributes, and of each other section.

    `FormatError` when two sections have one name, or when the text is too large.
    """
    sections: list[bytes] = []
    main, names = b"", set[str]()
    for section in read_sections(manifest):
        digest = Digest.of(manifest[section.start : section.end], algorithm)
        if not section.name:
            main = digest_header(digest, "-Manifest-Main-Attributes")
            continue
        if section.name in names:
            raise FormatError("two sections of one name", offset=section.start, code="manifest-twice")
        names.add(section.name)
        sections.append(entry_section(section.name, digest))
    whole = digest_header(Digest.of(manifest, algorithm), "-Manifest")
    text = b"".join((b"Signature-Version: 1.0\r\nCreated-By: Signwright\r\n", main, whole, b"\r\n", *sections))
    if len(text) > MAX_TEXT:
        raise FormatError(f"a signature file of {len(text)} bytes, at most {MAX_TEXT} are written", code="too-large")
    return text
