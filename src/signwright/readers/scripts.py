# SPDX-License-Identifier: Apache-2.0
"""The kinds of script that are read: PowerShell, and VBScript, JScript and script files of the Windows Script Host.

GUIDs are those under which Windows registers the packages that read them (``pwrshsip.dll``, ``wshext.dll``), with the
first three numbers little-endian as they stand in a signature.
"""

from __future__ import annotations

import re

from signwright.readers.script import Dialect, ScriptReader

_ALL = frozenset({"utf-8", "utf-16-le"})


def _comments(prefix: str, word: str, before: str, behind: str) -> tuple[str, str, str, str]:
    return f"{prefix}Begin{word}", f"{prefix}End{word}", before, behind


def _markers(opening: str, sign: str = "") -> tuple[str, str]:
    return f"{opening}sig{sign or opening}beginsignatureblock", f"{opening}sig{sign or opening}endsignatureblock"


def _host(name: str, comment: str, package: str, marked: frozenset[str]) -> ScriptReader:
    prefix = f"{comment} SIG {comment} "
    return ScriptReader(
        Dialect(
            name=name,
            package=bytes.fromhex(package),
            frames=(_comments(prefix, " signature block", prefix, ""),),
            markers=_markers(comment),
            marked=marked,
            rewritten="utf-16-le",
            digests_mark=False,
        )
    )


POWERSHELL = ScriptReader(
    Dialect(
        name="powershell",
        package=bytes.fromhex("1fcc3b60594b084eb724d2c6297ef351"),
        frames=(
            _comments("# SIG # ", " signature block", "# ", ""),
            _comments("<!-- SIG # ", " signature block -->", "<!-- ", " -->"),
            _comments("/* SIG # ", " signature block */", "/* ", " */"),
        ),
        markers=(*_markers("#"), *_markers("<!--", "#"), *_markers("/*", "#")),
        marked=_ALL,
        rewritten="utf-8",
        digests_mark=True,
    )
)
VBSCRIPT = _host("vbscript", "''", "4ef029169927b54d8fe5ace10f17ebab", frozenset({"utf-16-le"}))
JSCRIPT = _host("jscript", "//", "10e0c906ce38d411a2a300104bd35090", _ALL)
WSF = ScriptReader(
    Dialect(
        name="wsf",
        package=bytes.fromhex("7005611ace38d411a2a300104bd35090"),
        frames=(("<signature>", "</signature>", "** SIG ** ", ""),),
        markers=(),
        stray=re.compile(r"</?signature\b", re.IGNORECASE),
        marked=_ALL,
        rewritten="utf-8",
        digests_mark=False,
        closing=re.compile(r"</job>[ \t\r\n\f\v]*(</package>[ \t\r\n\f\v]*)?\Z"),
    )
)
