# SPDX-License-Identifier: Apache-2.0
"""A driver package on disk: an INF, a driver, a program beside it, symbols."""

from __future__ import annotations

from pathlib import Path

from tests.support.pe_builder import PE32_PLUS, Pe

INF = r"""; A driver of nothing
[Version]
Signature   = "$WINDOWS NT$"
Class       = System
Provider    = %Provider%
CatalogFile = Example.cat ; made at release
DriverVer   = 11/21/2026,1.0.0.0

[Manufacturer]
%Provider% = Models, NTamd64, NTarm64.10.0...16299

[Models.NTamd64]
%Name% = Install, Root\EXAMPLE, PCI\VEN_1234&DEV_%Device%
[Models.NTarm64.10.0...16299]
"Example; a device" = Install, \
    ACPI\EXAM0001

[Strings]
Provider = "Example; Ltd"
Name     = "Example device"
Device   = "5678"
"""


def make_package(folder: Path, *, driver: bytes | None = None, inf: str = INF) -> Path:
    """``folder`` with the package in it. The driver's size is no multiple of 8."""
    (folder / "tools").mkdir(parents=True)
    (folder / "example.inf").write_bytes(inf.replace("\n", "\r\n").encode("utf-16"))
    (folder / "example.sys").write_bytes(driver or Pe(overlay=b"12345").build())
    (folder / "example.pdb").write_bytes(b"symbols" * 100)
    (folder / "tools" / "setup.exe").write_bytes(PE32_PLUS.build())
    (folder / "tools" / "readme.txt").write_bytes(b"read me\r\n")
    return folder
