# SPDX-License-Identifier: Apache-2.0
"""A small genuine unsigned file of every format: one line each, made in the format's own ``tests/support`` module."""

from __future__ import annotations

from collections.abc import Callable

from signwright.formats.msix_publisher import publisher_of
from tests.support.cab_builder import compact_cab
from tests.support.catalog_builder import small_catalog
from tests.support.jar_builder import small_jar
from tests.support.msi_builder import wixl_installer
from tests.support.msix_builder import small_msix
from tests.support.nuget_builder import small_package
from tests.support.pe_builder import compact_pe
from tests.support.script_vectors import sample_of
from tests.support.whole_files import some_text
from tests.support.zip_builder import Zip

#: Format name → bytes of a file that the format signs with its default options. Each call gives the same bytes.
SAMPLES: dict[str, Callable[[], bytes]] = {
    "cab": compact_cab,
    "catalog": small_catalog,
    "cms": some_text,
    "jar": small_jar,
    "jscript": lambda: sample_of("jscript"),
    "msi": wixl_installer,
    "msix": small_msix,
    "nuget": small_package,
    "pe": compact_pe,
    "powershell": lambda: sample_of("powershell"),
    "raw": some_text,
    "vbscript": lambda: sample_of("vbscript"),
    "wsf": lambda: sample_of("wsf"),
    "zip": lambda: Zip((("bin/a.exe", compact_pe()), ("readme.txt", b"read me\n" * 9))).build(),
}

#: Format name → the same for a signer whose certificate (DER) the file must name.
NAMED: dict[str, Callable[[bytes], bytes]] = {"msix": lambda certificate: small_msix(publisher_of(certificate))}


def sample_for(name: str, certificate: bytes) -> bytes:
    """One that the owner of ``certificate`` can sign; `SAMPLES` are for `tests.support.signed_files.identity`."""
    return NAMED[name](certificate) if name in NAMED else SAMPLES[name]()
