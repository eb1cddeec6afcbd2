# SPDX-License-Identifier: Apache-2.0
"""What is on the PKCS #11 tokens of this machine: a small program of the signer's environment, JSON on stdout.

    list --module SO
    keys --module SO --token URI --pin-file F
    generate --module SO --token URI --pin-file F --label NAME

Public things only come out. The PIN is read from a file of mode 0600, never from the command line, and tried once.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, ObjectClass, TokenFlag
from pkcs11.exceptions import PKCS11Error

from signwright.errors import ConfigurationError, KeystoreError, SignwrightError

RSA_BITS = 3072
_CURVES: dict[bytes, ec.EllipticCurve] = {
    bytes.fromhex("06082a8648ce3d030107"): ec.SECP256R1(),
    bytes.fromhex("06052b81040022"): ec.SECP384R1(),
    bytes.fromhex("06052b81040023"): ec.SECP521R1(),
}


def main(arguments: Sequence[str]) -> int:
    """0 with JSON on stdout, 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="signwright.signer.tokens")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("list", "keys", "generate"):
        one = verbs.add_parser(verb)
        one.add_argument("--module", required=True)
        if verb != "list":
            one.add_argument("--token", required=True, help="pkcs11: URI with token or serial")
            one.add_argument("--pin-file", type=Path, required=True)
        if verb == "generate":
            one.add_argument("--label", required=True)
    options = parser.parse_args(arguments)
    try:
        print(json.dumps(_answer(options)))
    except SignwrightError as problem:
        print(f"tokens: {problem.message}", file=sys.stderr)
        return 1
    except PKCS11Error as problem:
        print(f"tokens: {options.module}: {type(problem).__name__} {problem}".rstrip(), file=sys.stderr)
        return 1
    return 0


def _answer(options: argparse.Namespace) -> dict[str, object]:
    try:
        library = pkcs11.lib(options.module)
    except (RuntimeError, OSError) as problem:
        raise ConfigurationError(f"module {options.module}: {problem}") from problem
    if options.verb == "list":
        return {"tokens": [_token_row(t) for t in library.get_tokens() if TokenFlag.TOKEN_INITIALIZED in t.flags]}
    token = _token(library, options.token)
    with token.open(user_pin=_pin(options.pin_file), rw=options.verb == "generate") as session:
        if options.verb == "generate":
            _generate(session, options.label)
        return {"token": _token_row(token), "keys": _keys(session, token)}


def _token_row(token: Any) -> dict[str, str]:
    serial = token.serial.decode("ascii", "replace").strip("\0 ")
    return {
        "label": str(token.label).strip(),
        "serial": serial,
        "manufacturer": str(token.manufacturer_id).strip(),
        "model": str(token.model).strip(),
        "uri": f"pkcs11:token={quote(str(token.label).strip(), safe='')};serial={quote(serial, safe='')}",
    }


def _token(library: Any, uri: str) -> Any:
    """The one token that the URI's ``token`` and ``serial`` name; other attributes are about keys."""
    names = dict(part.partition("=")[::2] for part in uri.removeprefix("pkcs11:").partition("?")[0].split(";"))
    wanted: dict[str, Any] = {}
    if "token" in names:
        wanted["token_label"] = _decoded(names["token"]).decode("utf-8", "replace")
    if "serial" in names:
        wanted["token_serial"] = _decoded(names["serial"])
    if not uri.startswith("pkcs11:") or not wanted:
        raise ConfigurationError(f"token URI {uri[:200]!r}; wanted pkcs11: with token or serial")
    return library.get_token(**wanted)


def _decoded(text: str) -> bytes:
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), text.encode())


def _pin(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            content = opened.read(256)
    except OSError as problem:
        raise ConfigurationError(f"PIN file {file}: {problem.strerror}") from problem
    if mode & 0o077:
        raise ConfigurationError(f"PIN file {file}: mode {mode & 0o777:04o}; wanted 0600")
    return content.split(b"\n", 1)[0].rstrip(b"\r").decode("utf-8", "replace")


def _keys(session: Any, token: Any) -> list[dict[str, Any]]:
    certificates = {
        bytes(c[Attribute.ID]): bytes(c[Attribute.VALUE])
        for c in session.get_objects({Attribute.CLASS: ObjectClass.CERTIFICATE})
    }
    rows: list[dict[str, Any]] = []
    # A list first: a token runs one search at a time, and each key below starts another.
    for private in list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})):
        identifier = bytes(private[Attribute.ID])
        certificate = certificates.get(identifier)
        rows.append(
            {
                "label": str(private[Attribute.LABEL]),
                "id": identifier.hex(),
                "uri": f"{_token_row(token)['uri']};id={''.join(f'%{byte:02X}' for byte in identifier)}",
                "type": private.key_type.name,
                "public_key": _public(session, private),
                "certificate": base64.b64encode(certificate).decode() if certificate else None,
                "sensitive": private[Attribute.SENSITIVE] is True,
                "extractable": private[Attribute.EXTRACTABLE] is not False,
                "sign": private[Attribute.SIGN] is True,
            }
        )
    # A token lists its keys in any order; people are shown the same numbers each time.
    return sorted(rows, key=lambda row: (row["label"], row["id"]))


def _public(session: Any, private: Any) -> str | None:
    """base64 DER SubjectPublicKeyInfo, None for a key without a public half on the token or of a kind we do not use."""
    found = list(session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: private[Attribute.ID]}))
    if not found:
        return None
    public = found[0]
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    if private.key_type is KeyType.RSA:
        exponent = int.from_bytes(public[Attribute.PUBLIC_EXPONENT], "big")
        key = rsa.RSAPublicNumbers(exponent, int.from_bytes(public[Attribute.MODULUS], "big")).public_key()
    elif private.key_type is KeyType.EC and bytes(public[Attribute.EC_PARAMS]) in _CURVES:
        key = ec.EllipticCurvePublicKey.from_encoded_point(
            _CURVES[bytes(public[Attribute.EC_PARAMS])], _point(bytes(public[Attribute.EC_POINT]))
        )
    else:
        return None
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def _point(content: bytes) -> bytes:
    """CKA_EC_POINT is a DER OCTET STRING around the point (PKCS #11 v3.0, 2.3.3); some tokens give the bare point."""
    if content[:1] == b"\x04" and len(content) > 2 and content[1] == len(content) - 2:
        return content[2:]
    if content[:2] == b"\x04\x81" and content[2] == len(content) - 3:
        return content[3:]
    return content


def _generate(session: Any, label: str) -> None:
    """A new RSA key that the token makes and keeps."""
    if list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.LABEL: label})):
        raise KeystoreError(f"a key with the label {label!r} is on the token already")
    session.generate_keypair(
        KeyType.RSA,
        RSA_BITS,
        id=os.urandom(8),
        label=label,
        store=True,
        private_template={
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.SIGN: True,
            Attribute.DECRYPT: False,
            Attribute.UNWRAP: False,
        },
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
