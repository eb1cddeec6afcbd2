# SPDX-License-Identifier: Apache-2.0
"""A reader's own view of manifests and signature files of JARs ("JAR File Specification"). No writer's code.

A text is cut into sections at its empty lines; each is kept as a range of bytes, because digests are of bytes. What
readers of manifests take in different ways is `FormatError`: a name twice, a line that is none, an end that is none.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from signwright.errors import FormatError
from signwright.model.digest import ALGORITHMS

MAX_TEXT = 8_000_000
#: Of one section.
MAX_ATTRIBUTES = 4096

_BREAK = re.compile(rb"\r\n|\n|\r")
_FOLDED = re.compile(rb"(?:\r\n|\n|\r) ")
_ATTRIBUTE = re.compile(rb"([0-9A-Za-z][0-9A-Za-z_-]{0,69}): ([^\0\r\n]{0,65535})")
#: A line break at the start, or behind another one; never the second half of a CRLF.
_EMPTY_LINE = re.compile(rb"(?:\A|(?<=\n)|(?<=\r)(?!\n))(?:\r\n|\n|\r)")
_ACCEPTED = {"sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512"}

#: Attributes of one section: name in lower case to raw value, in the order of the text.
Attributes = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Text:
    """A manifest or signature file. ``sections``: name of the entry to the range of its bytes, the empty line that ends
    it included; ``main``: the range of the main section; ``digested``, ``telling``: names of those with a digest of
    whatever algorithm, and of those with anything besides digests.
    """

    content: bytes
    main: tuple[int, int]
    sections: dict[str, tuple[int, int]]
    digested: frozenset[str] = frozenset()
    telling: frozenset[str] = frozenset()

    def main_bytes(self) -> bytes:
        return self.content[slice(*self.main)]

    def section_bytes(self, name: str) -> bytes:
        return self.content[slice(*self.sections[name])]

    def main_attributes(self) -> Attributes:
        return _attributes(self.content, *self.main)

    def attributes(self, name: str) -> Attributes:
        """Without ``Name``."""
        return {key: value for key, value in _attributes(self.content, *self.sections[name]).items() if key != "name"}

    def digests(self, name: str) -> dict[str, bytes]:
        """Of an entry, by accepted algorithm; none without a section."""
        return digests(self.attributes(name)) if name in self.sections else {}


def read_text(content: bytes, what: str, most: int = MAX_TEXT) -> Text:
    """``what``: for messages; ``most``: sections besides the main one. Every section is checked."""
    if len(content) > MAX_TEXT:
        raise FormatError(f"{what} of {len(content)} bytes, at most {MAX_TEXT} are read", code="too-large")
    if content[-1:] not in (b"\r", b"\n"):
        raise FormatError(f"{what}: the last line does not end", offset=len(content), code="manifest-end")
    main: tuple[int, int] | None = None
    sections: dict[str, tuple[int, int]] = {}
    digested, telling = set[str](), set[str]()
    for start, end in _ranges(content):
        found = _attributes(content, start, end)
        if "magic" in found:
            raise FormatError(f"{what}: attribute Magic", offset=start, code="manifest-magic")
        if main is None:
            if start or "name" in found:
                raise FormatError(f"{what} does not begin with its main section", offset=start, code="manifest")
            main = (start, end)
            continue
        name = _name(found, start)
        if name in sections:
            raise FormatError(f"{what}: two sections of one name", offset=start, code="manifest-twice")
        sections[name] = (start, end)
        if len(sections) > most:
            raise FormatError(f"{what}: more than {most} sections", offset=start, code="too-large")
        number = sum(map(is_digest, found))
        if number:
            digested.add(name)
        if number + 1 < len(found):
            telling.add(name)
    if main is None:
        raise FormatError(f"{what} is empty", code="manifest")
    return Text(content, main, sections, frozenset(digested), frozenset(telling))


def _ranges(content: bytes) -> Iterator[tuple[int, int]]:
    """Sections as start and end; further empty lines belong to none."""
    start = 0
    for line in _EMPTY_LINE.finditer(content):
        if line.start() > start:
            yield start, line.end()
        elif not start:
            raise FormatError("a manifest that begins with an empty line", code="manifest")
        start = line.end()
    if start < len(content):
        yield start, len(content)


def _attributes(content: bytes, start: int, end: int) -> Attributes:
    found: Attributes = {}
    for line in _BREAK.split(_FOLDED.sub(b"", content[start:end])):
        if not line:
            continue
        match = _ATTRIBUTE.fullmatch(line)
        if match is None:
            raise FormatError("a line that is not a name and a value", offset=start, code="manifest")
        name = match[1].decode("ascii").lower()
        if name in found:
            raise FormatError(f"attribute {name} stands twice in a section", offset=start, code="manifest-twice")
        found[name] = match[2]
        if len(found) > MAX_ATTRIBUTES:
            raise FormatError(f"more than {MAX_ATTRIBUTES} attributes in a section", offset=start, code="too-large")
    return found


def _name(found: Attributes, start: int) -> str:
    if next(iter(found)) != "name":
        raise FormatError("a section does not begin with its Name", offset=start, code="manifest")
    try:
        name = found["name"].decode()
    except UnicodeDecodeError as problem:
        raise FormatError("a Name that is not UTF-8", offset=start, code="manifest") from problem
    if not name or name.startswith(("/", "./")):
        raise FormatError("a Name that is empty, or that readers shorten", offset=start, code="manifest")
    return name


def digests(found: Attributes, kind: str = "-digest") -> dict[str, bytes]:
    """Accepted algorithm to value, of the attributes that end with ``kind``; weaker and unknown ones are left out."""
    accepted = {}
    for name, value in found.items():
        algorithm = _ACCEPTED.get(name.removesuffix(kind)) if name.endswith(kind) else None
        if algorithm is not None:
            accepted[algorithm] = _decoded(value, ALGORITHMS[algorithm])
    return accepted


def _decoded(value: bytes, size: int) -> bytes:
    try:
        raw = binascii.a2b_base64(value, strict_mode=True)
    except binascii.Error as problem:
        raise FormatError("a digest that is no base64", code="manifest-digest") from problem
    if len(raw) != size or base64.b64encode(raw) != value:
        raise FormatError(f"a digest of {len(raw)} bytes, wanted {size}", code="manifest-digest")
    return raw


def is_digest(name: str) -> bool:
    """Whether an attribute (name in lower case) is a digest, of whatever algorithm."""
    return name.endswith("-digest")
