# SPDX-License-Identifier: Apache-2.0
"""``signwright key``: uses of a signing key that are no release. Keepers sign what is wanted; it stands in the log."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signwright.cli.console import json_result, result, say
from signwright.cli.policy import policy_folder
from signwright.cli.policy_shared import HOME, OUTPUT, PATH, TRUST, YES, confirm, keeper_of, signed_last
from signwright.cli.settings import output_format
from signwright.errors import DeniedError, MalformedError, UsageError

if TYPE_CHECKING:
    from signwright.policy.policy import Policy
    from signwright.statements.dsse import Envelope

SEND_SECONDS = 120.0
_PARAMETERS = ("common_name", "organisation", "unit", "locality", "state", "country")


@click.group()
def command() -> None:
    """Uses of a signing key that are no release."""


@command.command()
@click.option("--key", help="name of the key in the policy")
@click.option("--common-name", help="who the certificate is for")
@click.option("--organisation")
@click.option("--unit")
@click.option("--locality")
@click.option("--state")
@click.option("--country", metavar="XX", help="two capital letters")
@click.option("--keeper", "keepers", type=PATH, multiple=True, help="SSH key of a policy keeper; may be repeated")
@click.option("--hours", type=click.IntRange(1, 167), default=24, show_default=True, help="how long it may be used")
@click.option("--sign-only", type=PATH, help="sign, keep it in this file for the next keeper, and send nothing")
@click.option("--from", "from_file", type=PATH, help="send what keepers signed with --sign-only")
@click.option("-o", "--out", type=PATH, help="where the request goes, PEM")
@HOME
@TRUST
@YES
@OUTPUT
def csr(**flags: Any) -> None:
    """Have a key sign a certification request (PKCS #10) for itself.

    As many policy keepers as the policy root wants sign what is asked for; the gate logs it, has witnesses cosign it,
    and only then the key is used, once. It takes the gate's own socket: run it on the signer host.

    Keepers on several machines: the first names key and subject with --sign-only FILE, each further one runs
    --sign-only FILE again, and --from FILE sends it.
    """
    from signwright.client import key_operations as operations
    from signwright.client.partial import write_partial

    if flags["sign_only"] is None and flags["out"] is None:
        raise UsageError("where to?", code="no-output", hint="-o OUT.csr, or --sign-only FILE")
    sources, now = policy_folder(None, flags["home"]), datetime.now(UTC)
    policy = signed_last(sources, flags["trust"], flags["home"]).policy
    envelope = _statement(policy, flags, now)
    statement = operations.checked_request(policy, envelope, now=now)
    say(operations.in_words(policy, statement))
    if flags["keepers"]:
        confirm("sign this as policy keeper?", yes=flags["yes"])
    for file in flags["keepers"]:
        envelope = operations.sign_request(policy, envelope, keeper_of(sources, file))
    found = operations.standing_of(policy, envelope)
    if flags["sign_only"] is not None:
        write_partial(flags["sign_only"], envelope)
        result(f"{flags['sign_only']}: {found}")
        return
    if not found.reached:
        raise DeniedError(
            f"key operation: {found}", code="too-few-keepers", hint="--keeper FILE for each, or --sign-only FILE"
        )
    content, index = _send(flags["home"], envelope)
    flags["out"].write_bytes(operations.pem_of(policy, statement, content))
    if output_format(flags["output"]) == "json":
        json_result({"file": str(flags["out"]), "leaf": index, "statement": statement.digest})
    else:
        result(f"{flags['out']}: leaf {index} of the log")


def _statement(policy: Policy, flags: dict[str, Any], now: datetime) -> Envelope:
    """Read from a file where there is one, else new."""
    from signwright.client.key_operations import draft_request
    from signwright.client.partial import read_partial

    named = {n.replace("_", "-"): flags[n] for n in _PARAMETERS if flags[n] is not None}
    begun = flags["from_file"] or flags["sign_only"]
    if flags["from_file"] is not None or (begun is not None and begun.exists()):
        if named or flags["key"]:
            raise UsageError(f"{begun} says what is asked for", code="usage", hint="leave key and names out")
        return read_partial(begun)
    if not flags["key"] or "common-name" not in named:
        raise UsageError("--key and --common-name are wanted", code="usage")
    return draft_request(policy, flags["key"], named, now=now, hours=flags["hours"])


def _send(home: Path | None, envelope: Envelope) -> tuple[bytes, int]:
    """(DER of the request, index of the leaf)."""
    from signwright.cli.gate_socket import ask_gate
    from signwright.cli.home import home_of
    from signwright.model.base64text import strict_base64

    message: dict[str, object] = {"type": "key-operation"}
    answer = ask_gate(home_of(home), message, [envelope.encode()], seconds=SEND_SECONDS)
    request, index = answer.get("request"), answer.get("leaf_index")
    if not isinstance(request, str) or type(index) is not int:
        raise MalformedError("the gate's answer holds no certification request", code="bad-answer")
    return strict_base64(request), index
