# SPDX-License-Identifier: Apache-2.0
"""Template ``jar``: CMS over a signature file of a JAR (``META-INF/NAME.SF``), the content beside it.

Source: "JAR File Specification" (Oracle), sections "Signature File" and "Signature Validation". No parameters. Signed
attributes as in ``cms-detached``: verifiers of JARs want contentType and messageDigest and pass over the others.

The content must be seen: a detached signature over it is otherwise one of any file, and the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from signwright.envelopes import cms, id_data
from signwright.envelopes.base import SignerContext, ToBeSigned
from signwright.envelopes.parameters import check_known
from signwright.errors import MalformedError
from signwright.model.operation import Operation

#: Bytes of a line; of a joined line (the specification's limit of a name), and lines of a section.
_LINE, _MAX_NAME, _MAX_ATTRIBUTES = 72, 65_535, 16
_DIGEST = rb"(SHA-256|SHA-384|SHA-512)-Digest%b: [A-Za-z0-9+/]{43,86}={0,2}"
_MAIN = re.compile(rb"Created-By: [\x20-\x7e]{1,200}|" + _DIGEST % rb"-Manifest(-Main-Attributes)?")
_NAME = re.compile(rb"Name: [^\x00-\x1f\x7f]+")
_ENTRY = re.compile(_DIGEST % b"")


class Jar:
    """Implements `signwright.envelopes.base.Template`; the operation's digest is of the signature file."""

    name = "jar"
    family = "cms"
    purpose = "jar"
    formats = ("jar",)
    timestamped = True

    def check_content(self, operation: Operation, content: bytes) -> None:
        """``content`` is a signature file, and nothing else: version 1.0, digests of a manifest and of its sections."""
        check_known(operation, self.name, ())
        sections = _sections(content)
        first, *main = next(sections)
        if first != b"Signature-Version: 1.0":
            raise _wrong("it does not begin with Signature-Version: 1.0")
        if not all(_MAIN.fullmatch(line) for line in main) or not any(b"-Digest-Manifest: " in line for line in main):
            raise _wrong("its main section has another attribute, or no digest of the manifest")
        for name, *digests in sections:
            if not digests or not _NAME.fullmatch(name) or not all(map(_ENTRY.fullmatch, digests)):
                raise _wrong("a section is not a name and its digests")

    def to_be_signed(self, operation: Operation, context: SignerContext) -> ToBeSigned:
        return cms.to_be_signed(id_data.content_beside(self.name, operation, context), context)

    def envelope(
        self, operation: Operation, context: SignerContext, value: bytes, token: bytes | None, content: bytes = b""
    ) -> bytes:
        del content
        return id_data.envelope(id_data.content_beside(self.name, operation, context), context, value, token)


def _sections(content: bytes) -> Iterator[list[bytes]]:
    """The lines of each section, section by section, continuation lines joined. Lines end with CRLF and have at most 72
    bytes with it; each section has a line and ends with an empty one.
    """
    lines: list[bytearray] = []
    at = 0
    while at < len(content):
        end = content.find(b"\r\n", at, at + _LINE)
        line, at = content[at:end], end + 2
        if end < 0 or b"\r" in line or b"\n" in line:
            raise _wrong("a line is longer than 72 bytes, or ends otherwise than with CRLF")
        if line[:1] == b" " and lines and len(lines[-1]) < _MAX_NAME:
            lines[-1] += line[1:]
        elif line and line[:1] != b" " and len(lines) < _MAX_ATTRIBUTES:
            lines.append(bytearray(line))
        elif not line and lines:
            yield [bytes(one) for one in lines]
            lines = []
        else:
            raise _wrong("an empty section, one of too many attributes, a long name, or a continuation of nothing")
    if lines or not content:
        raise _wrong("its last section is not ended by an empty line")


def _wrong(found: str) -> MalformedError:
    return MalformedError(f"the content is no signature file of a JAR: {found}", code="other-purpose")
