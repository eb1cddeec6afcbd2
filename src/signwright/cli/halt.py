# SPDX-License-Identifier: Apache-2.0
"""``signwright halt``: any one panic key stops all signing, through the hub or at the signer itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signwright.cli import hubs, settings
from signwright.cli.console import is_terminal, json_result, result, say, warn
from signwright.cli.keepers_log import wait_options
from signwright.cli.policy_shared import YES, confirm
from signwright.errors import SignwrightError, UsageError, VerificationError
from signwright.model.text import check_text

if TYPE_CHECKING:
    from signwright.client.hub import Hub
    from signwright.client.trust import TrustFile
    from signwright.statements.dsse import Envelope

_PATH = click.Path(path_type=Path)
LOCAL = click.option("--local", is_flag=True, help="hand it to the gate of --home, on the signer host, not to the hub")
SOCKET = click.option("--socket", type=_PATH, help="the gate's socket, instead of --local and --home")
HOME = click.option("--home", type=_PATH, help="the signer's home (SIGNWRIGHT_HOME)")


@click.command("halt")
@click.option("--reason", required=True, metavar="TEXT", help="why; stands in what you sign and is logged as a digest")
@YES
@wait_options
@LOCAL
@SOCKET
@HOME
@hubs.person_options
@hubs.hub_options
@hubs.output_option
def halt_command(**flags: Any) -> None:
    """Stop all signing, now. Any one panic key of the policy root is enough.

    It lasts until the policy keepers sign a resume and load a newer policy. The signer host's own socket (--local)
    works whatever the hub does. Through the hub, this waits until the witnessed log has the halt: if it never comes,
    the hub holds it back. This client then knows it all the same, and names it whenever it renews freshness.
    """
    from signwright.client.keepers_words import draft_halt

    check_text(flags["reason"], "reason")
    trust = hubs.needed_trust(trust_flag(flags))
    key = hubs.person_key(flags["key"])
    say(f"this stops all signing of {trust.organisation} until its policy keepers resume it")
    # Like a no: where nobody can be asked, it is the safe word.
    confirm("halt?", yes=flags["yes"] or not is_terminal())
    payload = draft_halt(trust.policy_root_sha256, reason=flags["reason"], now=hubs.now())
    envelope = key.sign_statement(payload, "halt")
    from signwright.statements.models import Halt, parse_statement

    digest = parse_statement(envelope, Halt).digest
    file = _noted(trust.policy_root_sha256, envelope)
    try:
        hub = hand_in("halt", envelope, flags)
    except SignwrightError as problem:
        if problem.code == "too-few-keepers":
            _forgotten(trust, envelope, flags)
            problem.hint = "the policy root lists the panic keys: signwright root show"
        raise
    if settings.output_format(flags["output"]) == "json":
        json_result({"halt": digest})
    else:
        result(digest)
    if hub is not None and not flags["no_wait"]:
        _wait(hub, trust, digest, file, seconds=flags["wait"])
    say("halted; to end it: signwright resume --key FILE " + digest[:16])


def _noted(root_sha256: str, envelope: Envelope) -> Path | None:
    """Kept on this machine; one that cannot be kept halts all the same."""
    from signwright.client.halt_notes import note_halt

    try:
        return note_halt(root_sha256, envelope)
    except OSError as problem:
        warn(f"this halt cannot be remembered here: {problem.strerror}; tell every freshness keeper of it")
        return None


def _forgotten(trust: TrustFile, envelope: Envelope, flags: dict[str, Any]) -> None:
    """A halt that no panic key signed is none. The gate is believed that; a hub is not."""
    from signwright.client.halt_notes import forget_halt
    from signwright.policy.succession import opened_halt

    if not flags["local"] and flags["socket"] is None:
        machine = settings.setting("credentials", flags["credentials"]) is not None
        hub = hubs.caller_of(flags["hub"], flags["credentials"], None if machine else flags["key"], flags["person"]).hub
        try:
            opened_halt(hubs.policy_of(hub, trust), envelope)
            return
        except VerificationError as problem:
            if problem.code != "too-few-keepers":
                return
    forget_halt(trust.policy_root_sha256, envelope)


def _wait(hub: Hub, trust: TrustFile, digest: str, file: Path | None, *, seconds: float) -> None:
    from signwright.cli.keepers_log import wait_for_word

    try:
        wait_for_word(hub, hubs.policy_of(hub, trust), digest, what="halt", seconds=seconds, check=lambda _: None)
    except SignwrightError as problem:
        handed = f"signwright freshness renew --halt {file}" if file else "signwright freshness renew"
        problem.hint = f"the hub may hold it back: {handed} ends releases; --local on the signer host halts at once"
        raise


def trust_flag(flags: dict[str, Any]) -> Path | None:
    """``--trust``, or the trust file of the home that is spoken to directly."""
    if flags["trust"] is None and flags["local"] and settings.setting("trust") is None:
        from signwright.cli.home import home_of

        return home_of(flags["home"]) / "trust.json"
    return flags["trust"]  # type: ignore[no-any-return]


def hand_in(kind: str, envelope: Envelope, flags: dict[str, Any]) -> Hub | None:
    """To the gate where that was asked for, else to the hub, which is returned."""
    from signwright.cli.gate_socket import ask_gate, ask_socket
    from signwright.cli.home import home_of

    if flags["local"] and flags["socket"] is not None:
        raise UsageError("--local means the home's socket; --socket names another", code="usage")
    if flags["socket"] is not None:
        ask_socket(flags["socket"], {"type": kind}, [envelope.encode()])
    elif flags["local"]:
        ask_gate(home_of(flags["home"]), {"type": kind}, [envelope.encode()])
    else:
        machine = settings.setting("credentials", flags["credentials"]) is not None
        key = None if machine else flags.get("key")  # a panic key need not be an enrolled person's
        hub = hubs.caller_of(flags["hub"], flags["credentials"], key, flags.get("person")).hub
        hub.carry(kind, envelope)  # type: ignore[arg-type]
        return hub
    return None
