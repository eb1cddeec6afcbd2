# SPDX-License-Identifier: Apache-2.0
"""Reader of signed scripts, written from what Windows writes and sharing nothing with the writer.

A signature counts in the one place where every verifier looks: at the very end of the script (for a Windows script file
before the end tag of its last job). The text must be such that every Windows reads it alike: CRLF line ends only, ASCII
or a byte order mark, no NUL, and nowhere else a line that could begin or end a signature block. A signed script that is
otherwise is an error; an unsigned one has warnings.

The strip test compares bytes: ``stripped_sha256`` is the SHA-256 of the script without its block *as the conversion
would write it*. Text that needs no conversion is its own conversion, and a signed script always is such text, so the
digest of a signed script is that of its very bytes. Of a source it is that of the one text which line ends of CRLF, and
the byte order mark where a character needs one, make of it. Two sources that differ in anything else have different
digests; what was approved is bound by its own SHA-256 besides.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from signwright.errors import FormatError, VerificationError
from signwright.model.view import View
from signwright.readers import authenticode, script_markup, script_mof
from signwright.readers.base import Reading

MAX_SIZE = 72 << 20
MAX_LINES = 60_000
_BLOCK = 128 << 10
#: Characters that a block may take: far more than any that is written.
_TAIL = 4 << 20
_GLANCE = 4 << 10

_UTF8, _UTF16_LE, _UTF16_BE = "utf-8", "utf-16-le", "utf-16-be"
_MARKS = ((codecs.BOM_UTF8, _UTF8), (codecs.BOM_UTF16_LE, _UTF16_LE), (codecs.BOM_UTF16_BE, _UTF16_BE))
_REFUSED = re.compile("[\0\x1a\ufffe]")
_BASE64 = r"[A-Za-z0-9+/=]{1,200}"
_DECLARATION = re.compile(r"\s*<\?xml(?P<attributes>\s[^>]*)(?P<end>>?)")
_ENCODING = re.compile(r"\sencoding\s*=\s*(?P<quote>[\"'])(?P<name>.*?)(?P=quote)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of script as Windows knows it.

    ``package``: GUID of its SIP as it stands in a signature; ``frames``: first line, last line, and what stands before
    and behind each line of base64, for every way in which a block may be written; ``markers``: what must not
    begin a line of the text, without white space and in small letters; ``stray``: what must not stand anywhere in it;
    ``marked``: encodings with a mark that Windows reads; ``rewritten``: what the conversion writes where one is
    needed; ``digests_mark``: the mark is digested, else the place of the block; ``closing``: what follows the block.
    """

    name: str
    package: bytes
    frames: tuple[tuple[str, str, str, str], ...]
    markers: tuple[str, ...]
    marked: frozenset[str]
    rewritten: str
    digests_mark: bool
    closing: re.Pattern[str] | None = None
    stray: re.Pattern[str] | None = None


@dataclass(slots=True)
class _Script:
    """Where things lie, in bytes: text from ``start`` to ``block_start`` and from ``block_end`` to the end of the file.
    ``codec`` as the mark says, ``marked`` whether there is one; ``envelope``: what the block holds; ``comment``: what
    stands before each of its lines.
    """

    codec: str
    marked: bool
    start: int
    block_start: int
    block_end: int
    envelope: bytes | None = None
    comment: str = ""


@dataclass(slots=True)
class _Looks:
    """What the text turned out to be."""

    is_ascii: bool = True
    other_line_ends: int = 0
    digests: dict[str, bytes] = field(default_factory=dict)
    stripped: str = ""


class ScriptReader:
    """Implements `signwright.readers.base.Reader` for one `Dialect`."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.name = dialect.name

    def recognizes(self, view: View) -> bool:
        """Whether a block of this kind ends, or seems to end, near the end of the file."""
        length = min(view.size, _GLANCE)
        tail = view.read(view.size - length, length)
        ends = {f"\n{last}" for _, last, _, _ in self._dialect.frames}
        needs = [b"** SIG **", "** SIG **".encode(_UTF16_LE)] if self._dialect.closing else [b""]
        return any(end.encode(codec) in tail for end in ends for codec in (_UTF8, _UTF16_LE, _UTF16_BE)) and any(
            need in tail for need in needs
        )

    def stripped(self, view: View) -> str:
        """See `signwright.readers.base.Stripper`."""
        return _look(view, _laid_out(view, self._dialect), self._dialect, set()).stripped

    def read(self, view: View, content: View | None = None) -> Reading:
        """Every signature of the script, also nested ones; a script without any gives a `Reading` without signatures.

        A signature whose digest is SHA-1 or MD5 is not counted: it is a warning beside another one, and
        `VerificationError` alone. Any other signature that does not hold, or whose text could be read differently, is
        `VerificationError`.
        """
        if content is not None:
            raise FormatError("a script carries its signature inside, there is no content beside it")
        script = _laid_out(view, self._dialect)
        entries = [("1", script.envelope)] if script.envelope is not None else []
        claims = list(authenticode.claims_in(entries, authenticode.of_package(self._dialect.package)))
        looks = _look(view, script, self._dialect, {claim.algorithm for claim in claims if claim.is_accepted})
        warnings = self._oddities(view, script, looks)
        if claims and warnings:
            raise VerificationError(f"a signed script with {warnings[0]}", code="ambiguous-text")
        counted, weak = authenticode.accepted(claims)
        found = tuple(authenticode.checked(claim, looks.digests, self.name) for claim in counted)
        return Reading(self.name, found, looks.stripped, (*warnings, *weak))

    def _oddities(self, view: View, script: _Script, looks: _Looks) -> list[str]:
        """What different versions and locales of Windows could read differently."""
        odd: list[str] = []
        if script.marked and script.codec not in self._dialect.marked:
            odd.append(f"text in {script.codec}, which not every Windows reads")
        if not script.marked and not looks.is_ascii:
            odd.append("characters beyond ASCII without a byte order mark")
        if looks.other_line_ends:
            odd.append(f"{looks.other_line_ends} line ends that are not CRLF")
        length = min(_GLANCE, script.block_start - script.start)
        head = view.read(script.start, length).decode(script.codec, "replace")
        odd += _declared_otherwise(head, script, looks)
        if script.envelope is not None and not _fits(script.comment, head):
            odd.append("a signature block in comments of another language")
        return odd


def _laid_out(view: View, dialect: Dialect) -> _Script:
    if view.size > MAX_SIZE:
        raise FormatError(f"a script of {view.size} bytes, at most {MAX_SIZE} are read", code="too-large")
    head = view.read(0, min(4, view.size))
    if head in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        raise FormatError("text in UTF-32", code="encoding")
    mark, codec = next(((mark, codec) for mark, codec in _MARKS if head.startswith(mark)), (b"", _UTF8))
    unit = 1 if codec == _UTF8 else 2
    if (view.size - len(mark)) % unit or view.size == len(mark):
        raise FormatError("no text, or half a character at its end", offset=view.size, code="encoding")
    script = _Script(codec, bool(mark), len(mark), view.size, view.size)
    length = min(view.size - len(mark), _TAIL * unit)
    # A block is ASCII, so that its place can be counted in characters from the end, whatever stands before it.
    text = view.read(view.size - length, length).decode("latin-1" if unit == 1 else codec, "replace")
    closing = None
    if dialect.closing is not None:
        closing = dialect.closing.search(text, max(len(text) - _GLANCE // unit, 0))
        if closing is None:
            raise FormatError("the end of a Windows script file was not found", offset=view.size, code="bad-wsf")
        script.block_start = script.block_end = view.size - len(closing.group()) * unit
        text = text[: closing.start()]
    _find_block(text, script, dialect, unit)
    if closing is not None:
        _check_markup(view, script, closing.group())
    return script


def _check_markup(view: View, script: _Script, closing: str) -> None:
    length = script.block_start - script.start
    if length > script_markup.LONGEST:
        raise FormatError("a Windows script file that is too long", code="too-large")
    script_markup.check_open(view.read(script.start, length).decode(script.codec, "replace"), closing)


def _find_block(text: str, script: _Script, dialect: Dialect, unit: int) -> None:
    """Fill in the block at the end of ``text``, if there is one."""
    for first, last, before, behind in dialect.frames:
        start = text.rfind(f"\r\n{first}\r\n")
        if start < 0 or not text.endswith(f"\r\n{last}\r\n"):
            continue
        line = f"{re.escape(before)}({_BASE64}){re.escape(behind)}\r\n"
        if text.count("\r\n", start) > MAX_LINES:
            raise FormatError(f"signature block of more than {MAX_LINES} lines", code="too-large")
        inner = text[start + len(first) + 4 : -len(last) - 2]
        lines = re.findall(line, inner)
        if sum(map(len, lines)) + len(lines) * (len(before) + len(behind) + 2) != len(inner):
            raise FormatError("signature block has a line that is none of it", code="bad-signature-block")
        try:
            script.envelope = base64.b64decode("".join(lines), validate=True)
        except binascii.Error as problem:
            raise FormatError("signature block is not base64", code="bad-signature-block") from problem
        if base64.b64encode(script.envelope).decode() != "".join(lines):
            raise FormatError("signature block is not base64 in its one form", code="bad-signature-block")
        script.block_start = script.block_end - (len(text) - start) * unit
        script.comment = before


def _texts(view: View, script: _Script, start: int, end: int) -> Iterator[str]:
    """The decoded text of a range; a CR is given together with the character behind it."""
    decoder = codecs.getincrementaldecoder(script.codec)()
    waiting = ""
    for at in range(start, end, _BLOCK):
        length = min(_BLOCK, end - at)
        try:
            text = waiting + decoder.decode(view.read(at, length), at + length == end)
        except UnicodeDecodeError as problem:
            raise FormatError(f"text is not {script.codec}", offset=at, code="encoding") from problem
        waiting = "\r" if text.endswith("\r") and at + length < end else ""
        yield text.removesuffix(waiting) if waiting else text


def _look(view: View, script: _Script, dialect: Dialect, algorithms: set[str]) -> _Looks:
    """One pass over the text: what stands in it, its digests, and the digest of the strip test."""
    looks = _Looks()
    mark = codecs.BOM_UTF16_LE if dialect.digests_mark and script.marked else b""
    running = {name: hashlib.new(name, mark) for name in algorithms}
    kept = script.codec if script.marked and script.codec in dialect.marked else dialect.rewritten
    stripped = {True: hashlib.sha256(), False: hashlib.sha256("\ufeff".encode(kept))}
    lines, units, places = _Lines(dialect), 0, []
    for start, end in ((script.start, script.block_start), (script.block_end, view.size)):
        for text in _texts(view, script, start, end):
            lines.check(text)
            looks.is_ascii = looks.is_ascii and text.isascii()
            looks.other_line_ends += len(re.findall("\r(?!\n)|(?<!\r)\n", text))
            encoded = text.encode(_UTF16_LE)
            units += len(encoded) // 2
            for digest in running.values():
                digest.update(encoded)
            uniform = re.sub("\r\n?|\n", "\r\n", text)
            stripped[True].update(uniform.encode(_UTF8))
            stripped[False].update(uniform.encode(kept))
        places.append(units)
    for digest in running.values():
        digest.update(b"" if dialect.digests_mark else places[0].to_bytes(4, "little"))
    looks.digests = {name: digest.digest() for name, digest in running.items()}
    looks.stripped = stripped[looks.is_ascii and not script.marked].hexdigest()
    return looks


class _Lines:
    """Looks for what no conversion mends, in text that comes in pieces."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._is_first = True
        self._before = self._begun = ""

    def check(self, text: str) -> None:
        found = _REFUSED.search(text)
        if found is not None or (self._is_first and text[:1] == "\ufeff"):
            character = found.group() if found else "\ufeff"
            raise FormatError(f"text holds U+{ord(character):04X}, which is read differently", code="bad-character")
        self._is_first = False
        stray = self._dialect.stray
        if self._has_marker(text) or (stray is not None and stray.search(self._before + text)):
            raise FormatError(
                "a signature block, or a part of one, stands where every verifier should not look",
                code="signature-in-text",
            )
        self._before = (self._before + text)[-80:]

    def _has_marker(self, text: str) -> bool:
        """Whether a line begins, but for white space and letter case, as a block does or ends."""
        first, *others = ("".join(line.split()).casefold() for line in re.split("[\r\n]", text))
        lines = [self._begun + first, *others]
        self._begun = lines[-1][:80]
        return any(line.startswith(self._dialect.markers) for line in lines)


def _fits(comment: str, head: str) -> bool:
    """Whether text that begins with ``head`` is of the language whose comments begin so."""
    is_xml = head.lstrip()[:1] == "<" and head.lstrip()[:2] != "<#"
    if is_xml or comment.startswith(("<", "**")):
        return is_xml and comment.startswith(("<", "**"))
    if comment.startswith("/*"):
        return script_mof.begins(head)
    return not (comment.startswith("#") and script_mof.is_compiled(head))


def _declared_otherwise(head: str, script: _Script, looks: _Looks) -> Sequence[str]:
    """XML that names an encoding in which the text is not written is read differently by different programs."""
    declaration = _DECLARATION.match(head)
    if declaration is None:
        return ()
    if not declaration.group("end"):
        return ("an XML declaration that does not end",)
    named = _ENCODING.search(declaration.group("attributes"))
    plain = {"utf-8", "us-ascii", "ascii", "iso-8859-1", "windows-1252"}
    fitting = {"utf-16", "utf-16le"} if script.codec != _UTF8 else plain if looks.is_ascii else {"utf-8"}
    if script.marked and script.codec == _UTF8:
        fitting = {"utf-8"}
    if named is None or named.group("name").lower() in fitting:
        return ()
    return (f"an XML declaration of encoding {named.group('name')[:40]!a}",)
