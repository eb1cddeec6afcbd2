# SPDX-License-Identifier: Apache-2.0
"""Markup of Windows script files before the place of the signature: is it really the end of a job?

The Windows Script Host reads these files in two ways: as XML 1.0 where an XML declaration stands in front, else with
the content of ``script`` as plain text up to its end tag ("Windows Script Host", Script Component and File Elements).
Text passes only where both ways find the same elements, with no comment, CDATA section or ``script`` left open.
"""

from __future__ import annotations

import re

from signwright.errors import FormatError
from signwright.formats.script_text import TextEncoding
from signwright.model.view import View

#: Bytes of the text before the signature; the markup is looked at as a whole.
MAX_MARKUP = 4 << 20
_MAX_DEPTH = 32
_SPACE = r"[ \t\r\n]"
_NAME = r"[A-Za-z_][A-Za-z0-9_.:-]*+"
#: A ``<`` or ``>`` in a value is XML only in part, and a program that does not know quotes ends the tag there.
_VALUE = r"(?:\"[^\"<>]*+\"|'[^'<>]*+'|[A-Za-z0-9_.:-]++)"
_START = re.compile(
    rf"<({_NAME})(?:{_SPACE}++{_NAME}(?:{_SPACE}*+={_SPACE}*+{_VALUE})?+)*+{_SPACE}*+(/)?>",
)
_END = re.compile(rf"</({_NAME}){_SPACE}*+>")
_SCRIPT_END = re.compile(r"</script", re.IGNORECASE)


def check_place(view: View, encoding: TextEncoding, start: int, end: int) -> None:
    """Raise `FormatError` (``bad-wsf``) unless the job whose end tag stands at ``end`` is open at ``start``, alone or
    in a package, and nothing else is. Between the two, in bytes, stands a signature or nothing.
    """
    mark = len(encoding.mark)
    if start - mark > MAX_MARKUP:
        raise FormatError(f"a Windows script file of more than {MAX_MARKUP} bytes", code="too-large")
    text = view.read(mark, start - mark).decode(encoding.codec, "replace")
    tail = view.read(end, view.size - end).decode(encoding.codec, "replace")
    markup = _Markup(text)
    try:
        markup.read()
        wanted = ["package", "job"] if "</package" in tail else ["job"]
        if markup.open != wanted:
            raise _Unclear(len(text), f"open elements are {'/'.join(markup.open)[:80]!a}, wanted {'/'.join(wanted)}")
    except _Unclear as problem:
        offset = mark + len(text[: problem.at].encode(encoding.codec, "replace"))
        raise FormatError(f"markup that is not clear: {problem.why}", offset=offset, code="bad-wsf") from None


class _Unclear(Exception):
    def __init__(self, at: int, why: str) -> None:
        super().__init__(why)
        self.at, self.why = at, why


class _Markup:
    """Names of the elements that are ``open`` behind what was read of the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.open: list[str] = []

    def read(self) -> None:
        at, text = 0, self._text
        while (mark := text.find("<", at)) >= 0:
            self._check_outside(at, mark)
            at = self._markup(mark)
        self._check_outside(at, len(text))

    def _check_outside(self, start: int, end: int) -> None:
        if not self.open and self._text[start:end].strip(" \t\r\n"):
            raise _Unclear(start, "text outside of all elements")

    def _markup(self, at: int) -> int:
        """What begins at ``at``; returns where it ends."""
        text = self._text
        if text.startswith("<!--", at):
            return self._comment(at, len(text))
        if text.startswith("<![CDATA[", at):
            end = self._until("]]>", at, at + 9, len(text), "a CDATA section")
            if "<" in text[at + 9 : end]:
                raise _Unclear(at, "a CDATA section with markup in it, outside of a script")
            return end
        if text.startswith("<?", at):
            end = self._until("?>", at, at + 2, len(text), "a processing instruction")
            if re.search("[<>]", text[at + 2 : end - 2]):
                raise _Unclear(at, "a processing instruction with < or > in it")
            return end
        return self._end_tag(at) if text.startswith("</", at) else self._start_tag(at)

    def _until(self, closing: str, at: int, start: int, limit: int, what: str) -> int:
        found = self._text.find(closing, start, limit)
        if found < 0:
            raise _Unclear(at, f"{what} that does not end before the signature or the script does")
        return found + len(closing)

    def _comment(self, at: int, limit: int) -> int:
        if self._text.startswith((">", "->"), at + 4):
            raise _Unclear(at, "a comment that some programs end at once")
        return self._until("-->", at, at + 4, limit, "a comment")

    def _end_tag(self, at: int) -> int:
        found = _END.match(self._text, at)
        if found is None or not self.open or self.open.pop() != found.group(1) or not self.open:
            raise _Unclear(at, "an end tag that does not belong there")
        return found.end()

    def _start_tag(self, at: int) -> int:
        found = _START.match(self._text, at)
        if found is None:
            raise _Unclear(at, "a < that begins nothing that is known")
        name, empty = found.groups()
        if empty and self.open:
            return found.end()
        self.open.append(name)
        if empty or len(self.open) > _MAX_DEPTH:
            raise _Unclear(at, f"no element in the file, or more than {_MAX_DEPTH} inside each other")
        return self._script(found.end()) if name.lower() == "script" else found.end()

    def _script(self, start: int) -> int:
        """The first ``</script`` ends the plain text; in XML it must not stand in a comment or a CDATA section."""
        text = self._text
        found = _SCRIPT_END.search(text, start)
        if found is None:
            raise _Unclear(start, "a script that does not end before the signature")
        at = start
        while inner := re.compile(r"<!--|<!\[CDATA\[").search(text, at, found.start()):
            if inner.group() == "<!--":
                at = self._comment(inner.start(), found.start())
            else:
                at = self._until("]]>", inner.start(), inner.end(), found.start(), "a CDATA section")
        return self._end_tag(found.start())
