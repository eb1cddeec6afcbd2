# SPDX-License-Identifier: Apache-2.0
"""``signwright trust``: read the trust file aloud, or hand it on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from signwright.cli.console import json_result, result, say, warn
from signwright.cli.settings import output_format, trust_path
from signwright.errors import UsageError
from signwright.model.spoken import spoken

_PATH = click.Path(path_type=Path)
_HOME = click.option("--home", type=_PATH, help="home directory (its trust.json)")
_TRUST = click.option("--trust", type=_PATH, help="trust file; default: SIGNWRIGHT_TRUST")


@click.group()
def command() -> None:
    """Show or export the trust file."""


@command.command()
@_HOME
@_TRUST
@click.option("--output", type=click.Choice(["text", "json"]))
def show(home: Path | None, trust: Path | None, output: str | None) -> None:
    """What is believed, and the fingerprint to compare over the telephone."""
    from signwright.client.trust import load_trust

    file = trust_file(home, trust)
    believed = load_trust(file)
    print_ = fingerprint(believed.encode())
    if output_format(output) == "json":
        json_result({"file": str(file), "fingerprint": print_, **believed.model_dump(mode="json")})
        return
    if believed.trial:
        warn("TRIAL: what verifies against this proves nothing to anybody else")
    result(f"organisation   {believed.organisation}{' (TRIAL)' if believed.trial else ''}")
    result(f"fingerprint    {print_}")
    result(f"policy root    {believed.policy_root_sha256}")
    result(f"log            {believed.log.origin}")
    for witness in believed.witnesses:
        result(f"witness        {witness.name}, {witness.operator}, {'outside' if witness.outside else 'local'}")
    result(f"quorum         outside {believed.quorum.outside}, local {believed.quorum.local}")
    for root in believed.roots:
        result(f"certificate    sha256:{hashlib.sha256(root).hexdigest()}")
    for authority in believed.timestamp_authorities:
        result(f"timestamps     {authority.name}, {'outside' if authority.outside else 'local'}")


@command.command()
@_HOME
@_TRUST
@click.option("-o", "--out", type=_PATH, help="file; default: stdout")
def export(home: Path | None, trust: Path | None, out: Path | None) -> None:
    """Write the trust file for somebody who verifies. Tell them the fingerprint by another way."""
    from signwright.client.files import check_output, replace_file
    from signwright.client.trust import load_trust

    content = load_trust(trust_file(home, trust)).encode()
    if out is None:
        click.echo(content, nl=False)
    else:
        check_output(out)
        replace_file(out, content)
    say(f"fingerprint {fingerprint(content)}")


def trust_file(home: Path | None, trust: Path | None) -> Path:
    """Raises `UsageError` when nothing names one."""
    if home is not None:
        return home / "trust.json"
    found = trust_path(trust)
    if found is None:
        raise UsageError("no trust file given", code="no-trust", hint="--home DIR, --trust FILE or SIGNWRIGHT_TRUST")
    return found


def fingerprint(content: bytes) -> str:
    """Of a trust file, short enough to read aloud."""
    return spoken(hashlib.sha256(content).hexdigest())
