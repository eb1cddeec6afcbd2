# SPDX-License-Identifier: Apache-2.0
"""URIs that name a key in a PKCS #11 token. Source: RFC 7512."""

from __future__ import annotations

import re

from signwright.errors import KeystoreError


def parse_uri(uri: str) -> dict[str, bytes]:
    """Path attributes of an RFC 7512 URI, percent-decoded; raises `KeystoreError` for attributes that we do not
    match.
    """
    path = uri.removeprefix("pkcs11:").partition("?")[0]
    names: dict[str, bytes] = {}
    for part in filter(None, path.split(";")):
        name, _, value = part.partition("=")
        if name not in ("token", "serial", "object", "id", "type") or name in names:
            raise KeystoreError(f"key URI: attribute {name!r}; wanted token, serial, object or id, each once")
        names[name] = re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), value.encode())
    if not uri.startswith("pkcs11:") or not ({"token", "serial"} & set(names) and {"object", "id"} & set(names)):
        raise KeystoreError("key URI: wanted pkcs11: with token or serial, and object or id", code="bad-key-uri")
    return names
