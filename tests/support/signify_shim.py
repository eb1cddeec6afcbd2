# SPDX-License-Identifier: Apache-2.0
"""signify, which judges files for Windows and shares no code with ours.

Its dependency oscrypto cannot read OpenSSL versions with a two-digit patch: it looks for three single digits in the
library's version text, and 3.0.19 has none; while it is imported, a one-digit patch is shown to it. Only tests do this;
signify is no dependency of the product.
"""

from __future__ import annotations

import io
import re
import warnings
from types import ModuleType
from typing import Any

from tests.support.pki import default_pki


def import_signify() -> ModuleType:
    """`signify.authenticode`."""
    found = re.search

    def search(pattern: Any, text: Any, flags: int = 0) -> Any:
        hit = found(pattern, text, flags)
        if hit is None and isinstance(text, str) and isinstance(pattern, str) and r"\d\.\d\.\d" in pattern:
            return found(pattern, re.sub(r"(\d\.\d\.\d)\d+", r"\1", text), flags)
        return hit

    re.search = search  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import signify.authenticode as module
    finally:
        re.search = found
    return module


def signify_says(content: bytes) -> str:
    """Its judgement of a file under the root of the tests: ``OK``, or the name of the result and why."""
    module = import_signify()
    from signify.x509 import Certificate
    from signify.x509.context import CertificateStore

    roots = CertificateStore([Certificate.from_der(default_pki().root)], trusted=True)
    file = module.AuthenticodeFile.from_stream(io.BytesIO(content))
    result, problem = file.explain_verify(trusted_certificate_store=roots)
    return "OK" if result.name == "OK" else f"{result.name}: {problem}"
