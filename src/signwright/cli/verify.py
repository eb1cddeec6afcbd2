# SPDX-License-Identifier: Apache-2.0
"""``signwright verify``: a signed file and who authorised it, offline, one line per check."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signwright.cli.console import json_result, result, say, warn
from signwright.cli.settings import output_format, trust_path
from signwright.errors import MalformedError, UsageError, VerificationError
from signwright.model.times import parse_time

if TYPE_CHECKING:
    from signwright.client.trust import TrustFile
    from signwright.client.verify import Check

MAX_KEY = 64 << 10
MAX_CRL = 32 << 20
_MARKS = {True: "ok", False: "FAILED", None: "-"}
_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--receipt", type=_FILE, help="receipt bundle; default: FILE.swreceipt when it is there")
@click.option("--trust", type=_FILE, help="trust file")
@click.option("--at", "moment", help="judge at this time (RFC 3339, UTC) what no timestamp dates; default: now")
@click.option("--crl", "crls", type=_FILE, multiple=True, help="revocation list, DER or PEM")
@click.option("--public-key", "key_file", type=_FILE, help="key of a raw signature, PEM or DER")
@click.option("--format", "format_name", help="read FILE as this format")
@click.option(
    "--content", type=_FILE, help="what the detached signature FILE is about; default: its name without suffix"
)
@click.option(
    "--source", type=_FILE, help="the approved file: whether an archive signed after its members follows from it"
)
@click.option("--output", type=click.Choice(["text", "json"]), help="default: text")
def command(
    file: Path,
    receipt: Path | None,
    trust: Path | None,
    moment: str | None,
    crls: tuple[Path, ...],
    key_file: Path | None,
    format_name: str | None,
    content: Path | None,
    source: Path | None,
    output: str | None,
) -> None:
    """Check FILE: its signature, certificate and timestamp, and with its receipt the log and every approval.

    Nothing is asked over the network. Exit code 8 when a check fails.
    """
    from signwright.client.follows import follows_from
    from signwright.client.subject import find_subject, load_bundle, opened_evidence
    from signwright.client.trust import load_trust
    from signwright.client.verify import verify

    where = trust_path(trust)
    if where is None:
        raise UsageError("no trust file given", code="no-trust", hint="--trust FILE or SIGNWRIGHT_TRUST")
    believed = load_trust(where)
    at = _moment(moment)
    subject = find_subject(file, receipt=receipt, content=content, format_name=format_name)
    bundle = load_bundle(subject.receipt) if subject.receipt else None
    public_key = read_public_key(key_file) if key_file else None
    with opened_evidence(subject, bundle, [read_crl(crl) for crl in crls], public_key=public_key) as evidence:
        checks = verify(evidence, believed, at=at)
        if source is not None:
            checks.append(follows_from(source, evidence, believed))
    as_json = output_format(output) == "json"
    _show(file, checks, trust=believed, as_json=as_json)
    failed = [check for check in checks if check.ok is False]
    if failed and as_json:
        raise click.exceptions.Exit(8)  # the one object on stdout says it all
    if failed:
        names = ", ".join(f"{check.name} ({check.code})" for check in failed)
        raise VerificationError(f"{file}: {len(failed)} of {len(checks)} checks failed: {names}", code=failed[0].code)


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        return parse_time(text)
    except MalformedError as problem:
        raise UsageError(f"--at: {problem.message}", code="bad-time") from problem


def _show(file: Path, checks: list[Check], *, trust: TrustFile, as_json: bool) -> None:
    good = all(check.ok is not False for check in checks)
    if trust.trial:
        warn("TRIAL: signatures of this organisation prove nothing to anybody else")
    if as_json:
        rows = [{"name": c.name, "ok": c.ok, "text": c.text, "code": c.code or None} for c in checks]
        json_result({"file": str(file), "ok": good, "trial": trust.trial, "checks": rows})
        return
    for check in checks:
        result(f"{_MARKS[check.ok]:<7} {check.name:<14} {check.text}{f' [{check.code}]' if check.code else ''}")
    if good and any(check.ok is None for check in checks):
        say("lines with - were not checked")


def read_public_key(file: Path) -> bytes:
    """DER SubjectPublicKeyInfo from a PEM or DER file; raises `UsageError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_KEY + 1)
        pem = content.lstrip().startswith(b"-----BEGIN")
        load = serialization.load_pem_public_key if pem else serialization.load_der_public_key
        key = load(content)
    except OSError as problem:
        raise UsageError(f"public key {file}: {problem.strerror}", code="cannot-read") from problem
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise UsageError(f"public key {file}: neither PEM nor DER", code="bad-key") from problem
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def read_crl(file: Path) -> bytes:
    """DER of a revocation list in DER or PEM; raises `UsageError`."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_CRL + 1)
        if len(content) > MAX_CRL:
            raise UsageError(f"revocation list {file}: more than {MAX_CRL} bytes", code="too-large")
        pem = content.lstrip().startswith(b"-----BEGIN")
        crl = x509.load_pem_x509_crl(content) if pem else x509.load_der_x509_crl(content)
        return crl.public_bytes(Encoding.DER)
    except OSError as problem:
        raise UsageError(f"revocation list {file}: {problem.strerror}", code="cannot-read") from problem
    except (ValueError, x509.InvalidVersion) as problem:
        raise UsageError(f"revocation list {file}: neither DER nor PEM", code="bad-crl") from problem
