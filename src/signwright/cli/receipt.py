# SPDX-License-Identifier: Apache-2.0
"""``signwright receipt``: show a receipt bundle, or export the form that may be published."""

from __future__ import annotations

from pathlib import Path

import click

from signwright.cli.console import json_result, result, say, warn
from signwright.cli.settings import output_format
from signwright.errors import UsageError

_FILE = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Show a receipt, export its shareable form."""


@command.command()
@click.argument("receipt", type=_FILE)
@click.option("--output", type=click.Choice(["text", "json"]))
def show(receipt: Path, output: str | None) -> None:
    """What RECEIPT says. Nothing is verified: that is what `signwright verify` does."""
    from signwright.client.subject import load_bundle
    from signwright.statements.bundle import open_envelope
    from signwright.statements.models import parse_statement
    from signwright.statements.receipt import Receipt

    bundle = load_bundle(receipt)
    statement = parse_statement(open_envelope(bundle.receipt), Receipt)
    said = statement.predicate.model_dump(mode="json")
    about = statement.subjects[0]
    warn("nothing is verified here: use signwright verify")
    if output_format(output) == "json":
        shareable = bundle.authorisation is None
        json_result({"subject": about.model_dump(mode="json"), "receipt": said, "shareable": shareable})
        return
    if said["trial"]:
        result("TRIAL           proves nothing to anybody else")
    result(f"{'subject':<16}{about.name} sha256:{about.digest.sha256}")
    for name, value in said.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        result(f"{name:<16} {text or '-'}")
    form = "shareable: without request, approvals, evidence and policy" if bundle.authorisation is None else "complete"
    result(f"{'form':<16} {form}")


@command.command()
@click.argument("receipt", type=_FILE)
@click.option(
    "--public", is_flag=True, help="without request, approvals, evidence and policy (the only export there is)"
)
@click.option("-o", "--out", type=_FILE, required=True, help="where to write it")
def export(receipt: Path, public: bool, out: Path) -> None:
    """Write the form of RECEIPT that may be published beside the artifact."""
    from signwright.client.files import check_output, replace_file
    from signwright.client.subject import load_bundle

    if not public:
        raise UsageError("nothing to export without --public; the receipt itself is the complete form", code="usage")
    check_output(out)
    replace_file(out, load_bundle(receipt).public().encode())
    say(f"{out}: the receipt still names who approved, its request, key and log entry; not the statements themselves")
