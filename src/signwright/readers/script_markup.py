# SPDX-License-Identifier: Apache-2.0
"""Whether a Windows script file is open in its last job where the signature begins, whichever way it is read.

Written from XML 1.0 (sections 2.4 to 2.8 and 3.1) and from how the Windows Script Host treats files without an XML
declaration: there a ``script`` is plain text up to ``</script``. What the two ways could split differently is refused.
"""

from __future__ import annotations

import re

from signwright.errors import FormatError

LONGEST = 4 << 20
_DEEPEST = 32
# Every pattern is linear: what was matched is not given back.
_COMMENT = r"<!--(?!-?>)(?:[^-]|-(?!->))*+-->"
_ATTRIBUTE = r"""[ \t\r\n]++[A-Za-z_][\w.:-]*+(?:[ \t\r\n]*+=[ \t\r\n]*+(?:"[^"<>]*+"|'[^'<>]*+'|[\w.:-]++))?+"""
_PART = re.compile(
    rf"""
    (?P<text>[^<]++)
    |{_COMMENT}
    |<!\[CDATA\[(?:[^\]<]|\](?!\]>))*+\]\]>
    |<\?(?:[^?<>]|\?(?!>))*+\?>
    |</(?P<end>[A-Za-z_][\w.:-]*+)[ \t\r\n]*+>
    |<(?P<start>[A-Za-z_][\w.:-]*+)(?:{_ATTRIBUTE})*+[ \t\r\n]*+(?P<empty>/?)>
    """,
    re.ASCII | re.VERBOSE,
)
_SCRIPT = re.compile(
    rf"(?:[^<]++|{_COMMENT}|<!\[CDATA\[(?:[^\]]|\](?!\]>))*+\]\]>|<(?!!--|!\[CDATA\[|/script))*+(?=</script)",
    re.IGNORECASE,
)


def check_open(before: str, behind: str) -> None:
    """Raise `FormatError` (``bad-wsf``) unless ``before`` (the text in front of the signature) leaves open exactly the
    elements that ``behind`` ends: a job, or a package and a job. Of `LONGEST` bytes at most.
    """
    path: tuple[str, ...] = ()
    has_root = False
    at = 0
    while at < len(before):
        part = _PART.match(before, at)
        if part is None or (not path and (part.group("text") or "").strip(" \t\r\n")):
            raise _unclear(f"at character {at}")
        at = part.end()
        path = _path_behind(part, path)
        if has_root and not path:
            raise _unclear(f"the file ends at character {at}")
        has_root = bool(path)
        if part.group("start") and not part.group("empty") and path[-1].lower() == "script":
            at = _behind_script(before, at)
    if path != (("package", "job") if behind.count("</") == 2 else ("job",)):
        raise _unclear("other elements than those of the last job are open")


def _path_behind(part: re.Match[str], path: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the open elements behind a tag, outermost first."""
    start, end = part.group("start", "end")
    if end is not None:
        if path[-1:] != (end,):
            raise _unclear(f"the end tag at character {part.start()}")
        return path[:-1]
    if start is None or (part.group("empty") and path):
        return path
    if part.group("empty") or len(path) == _DEEPEST:
        raise _unclear(f"the element at character {part.start()}")
    return (*path, start)


def _behind_script(before: str, at: int) -> int:
    content = _SCRIPT.match(before, at)
    if content is None or "</script" in content.group().lower():
        raise _unclear(f"the script at character {at} has no certain end")
    return content.end()


def _unclear(found: str) -> FormatError:
    return FormatError(f"markup before the signature is not clear: {found}", code="bad-wsf")
