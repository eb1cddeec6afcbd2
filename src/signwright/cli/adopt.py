# SPDX-License-Identifier: Apache-2.0
"""Take over the key and certificate on a PKCS #11 token; a helper in the signer's environment touches the token."""

from __future__ import annotations

import base64
import getpass
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from signwright.cli import hubs
from signwright.cli.console import is_terminal, say, warn
from signwright.cli.home import Home
from signwright.cli.new_keys import NewKey, TrialAuthority
from signwright.cli.policy_text import PURPOSES
from signwright.cli.processes import token_helper
from signwright.errors import ConfigurationError, UsageError
from signwright.policy.documents import Key

RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Adopted:
    """``key``: None for software; ``roots``: DER of what verifiers must trust."""

    key: NewKey | None
    roots: tuple[bytes, ...]


def tokens_of(module: str, *, signer_env: str | None) -> list[dict[str, str]]:
    """The tokens that a module sees: label, serial, manufacturer, model, uri."""
    rows = token_helper(["list", "--module", module], signer_env=signer_env).get("tokens")
    return rows if isinstance(rows, list) else []


def adopt(
    home: Home,
    uri: str,
    *,
    module: str,
    pin_file: Path | None,
    generate: bool,
    chain_file: Path | None,
    organisation: str,
    signer_env: str | None,
) -> Adopted:
    """The release key of the policy, from the token; raises `UsageError` and `ConfigurationError`."""
    pin = _pin(home, pin_file)
    verb = "generate" if generate else "keys"
    arguments = [verb, "--module", module, "--token", uri, "--pin-file", str(pin)]
    if generate:
        arguments += ["--label", unquote(_part(uri, "object") or f"signwright-{RELEASE}")]
    answer = token_helper(arguments, signer_env=signer_env)
    rows = answer.get("keys")
    row = _choose([r for r in rows if _is_named(r, uri)] if isinstance(rows, list) else [], generate=generate, uri=uri)
    _check(row)
    chain, roots = _chain(row, chain_file, generate=generate, organisation=organisation)
    entry = Key(
        kind="release",
        family="cms",
        purposes=PURPOSES,
        public_key=row["public_key"],
        chain=tuple(base64.b64encode(c).decode() for c in chain),
        protection="claimed",
    )
    say(f"release key: {row['label']} ({row['type']}) on the token, reported as not extractable (a claim, not a proof)")
    settings = {"store": "pkcs11", "uri": str(row["uri"]), "module": module, "secret_file": str(pin)}
    return Adopted(NewKey(RELEASE, entry, settings), roots)


def _pin(home: Home, pin_file: Path | None) -> Path:
    """The PIN's own file in the home, mode 0600: the keyholder needs it at every start."""
    if pin_file is not None:
        try:
            content = pin_file.read_bytes()
        except OSError as problem:
            raise UsageError(f"--pin-file {pin_file}: {problem.strerror}", code="no-pin") from problem
    elif is_terminal():
        content = getpass.getpass("PIN of the token: ").encode() + b"\n"
    else:
        raise UsageError("no PIN", code="no-pin", hint="--pin-file FILE")
    return home.write_secret("signer/keyholder/keys/release.pin", content)


def _part(uri: str, name: str) -> str | None:
    parts = dict(part.partition("=")[::2] for part in uri.removeprefix("pkcs11:").split(";"))
    return parts.get(name)


def _is_named(row: dict[str, Any], uri: str) -> bool:
    """The URI may name the key by ``object`` or ``id``; without either every key of the token is meant."""
    label, identifier = _part(uri, "object"), _part(uri, "id")
    if label is not None and unquote(label) != row["label"]:
        return False
    return identifier is None or unquote(identifier, encoding="latin-1").encode("latin-1").hex() == row["id"]


def _choose(rows: list[dict[str, Any]], *, generate: bool, uri: str) -> dict[str, Any]:
    if generate:
        label = unquote(_part(uri, "object") or f"signwright-{RELEASE}")
        rows = [row for row in rows if row["label"] == label]
    if not rows:
        raise UsageError("the token has no such key", code="no-key", hint="--generate makes one on it")
    if len(rows) == 1:
        return rows[0]
    for number, row in enumerate(rows, 1):
        certificate = "with certificate" if row["certificate"] else "no certificate"
        say(f"  {number}: {row['label']} ({row['type']}, {certificate}) {row['uri']}")
    if not is_terminal():
        raise UsageError(
            f"the token has {len(rows)} keys", code="several-keys", hint="name one: --release-store 'pkcs11:…;id=%…'"
        )
    return rows[click.prompt("key", type=click.IntRange(1, len(rows)), err=True) - 1]


def _check(row: dict[str, Any]) -> None:
    if row["public_key"] is None:
        raise ConfigurationError(
            f"key {row['label']!r} has no public half on the token that we can read", code="bad-key"
        )
    if not row["sensitive"] or row["extractable"] or not row["sign"]:
        raise ConfigurationError(
            f"the token reports key {row['label']!r} as sensitive {row['sensitive']}, "
            f"extractable {row['extractable']}, sign {row['sign']}; wanted a signing key that cannot leave it",
            code="key-attributes",
        )


def _chain(
    row: dict[str, Any], chain_file: Path | None, *, generate: bool, organisation: str
) -> tuple[list[bytes], tuple[bytes, ...]]:
    """(chain without the root, leaf first; roots), both DER."""
    spki = base64.b64decode(row["public_key"])
    if row["certificate"] is None:
        if not generate:
            raise UsageError(
                f"key {row['label']!r} has no certificate on the token",
                code="no-certificate",
                hint="put it there first",
            )
        return _local_chain(spki, organisation)
    leaf = x509.load_der_x509_certificate(base64.b64decode(row["certificate"]))
    if leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != spki:
        raise ConfigurationError("the certificate on the token is not the key's", code="bad-certificate")
    others = _read_chain(chain_file) if chain_file else []
    path = [leaf]
    while path[-1].issuer != path[-1].subject:
        issuer = next((c for c in others if c.subject == path[-1].issuer and c not in path), None)
        if issuer is None:
            warn(f"no certificate of {path[-1].issuer.rfc4514_string()!r}: verifiers will need it (--chain FILE.pem)")
            return [_der(c) for c in path], (_der(path[-1]),)
        path.append(issuer)
    return [_der(c) for c in path[:-1] or path], (_der(path[-1]),)


def _local_chain(spki: bytes, organisation: str) -> tuple[list[bytes], tuple[bytes, ...]]:
    """A new key has no certificate yet; one for internal use keeps the home working until the real one arrives."""
    key = load_der_public_key(spki)
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise ConfigurationError("the new key is of a kind that we do not use", code="bad-key")
    authority = TrialAuthority(organisation, mark="INTERNAL", now=hubs.now())
    warn("the new key has a certificate for internal use only: put the real one into policy/keys.yaml when it arrives")
    return [authority.issue(key, "release signing")], (authority.root,)


def _read_chain(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as problem:
        raise UsageError(f"--chain {file}: no PEM certificates there", code="bad-chain") from problem


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
