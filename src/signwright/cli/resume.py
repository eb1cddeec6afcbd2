# SPDX-License-Identifier: Apache-2.0
"""``signwright resume``: the threshold of policy keepers ends halts, under a policy newer than the one they met."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signwright.cli import hubs, settings
from signwright.cli.console import json_result, result, say, warn
from signwright.cli.halt import HOME, LOCAL, SOCKET, hand_in, trust_flag
from signwright.cli.policy_shared import YES, confirm
from signwright.errors import DeniedError, UsageError
from signwright.model.text import check_text

if TYPE_CHECKING:
    from signwright.client.standing import Known, OpenHalt
    from signwright.statements.dsse import Envelope

_PATH = click.Path(path_type=Path)
_FULL, _LEAST = 64, 8


@click.command("resume")
@click.argument("halts", nargs=-1, metavar="[HALT]...")
@click.option("--key", "keys", type=_PATH, multiple=True, help="SSH key of a policy keeper; may be repeated")
@click.option("--reason", metavar="TEXT", help="why; stands in what is signed")
@click.option("--policy-version", type=click.IntRange(2), help="the version that ends the halts (default: see below)")
@click.option("--sign-only", type=_PATH, help="sign, keep it in this file for the next keeper, and send nothing")
@click.option("--from", "from_file", type=_PATH, help="send what keepers signed with --sign-only")
@YES
@LOCAL
@SOCKET
@HOME
@hubs.hub_options
@hubs.output_option
def resume_command(**flags: Any) -> None:
    """End each HALT: a digest that `halt` printed, or enough of its beginning.

    A halt ends when the threshold of policy keepers has signed that, and a policy is in force that is newer than the
    one in force when it came: whatever led to the halt has been answered in the policy. By default that is the version
    in force, or, where nothing newer is in force yet, the next one.

    Keepers on several machines: the first names the halts with --sign-only FILE, each further one runs --sign-only
    FILE again, and --from FILE sends it.
    """
    known = _known(flags)
    envelope = _begun(known, flags)
    _show(known, envelope)
    if flags["keys"]:
        confirm("sign this as policy keeper?", yes=flags["yes"])
    envelope, reached = _signed(known, envelope, flags["keys"])
    if flags["sign_only"] is not None:
        from signwright.client.partial import write_partial

        write_partial(flags["sign_only"], envelope)
        result(f"{flags['sign_only']}: {reached}")
        return
    if not reached.reached:
        raise DeniedError(f"resume: {reached}", code="too-few-keepers", hint="--key FILE for each, or --sign-only FILE")
    hand_in("resume", envelope, flags)
    _report(known, envelope, flags)


def _known(flags: dict[str, Any]) -> Known:
    """What the hub shows, verified; on the signer host without a hub, the policy that was signed last."""
    from signwright.client.standing import Known, look

    if not flags["local"] and flags["socket"] is None:
        hub = hubs.caller_of(flags["hub"], flags["credentials"], None, None).hub
        return look(hub, hubs.policy_of(hub, hubs.needed_trust(flags["trust"])), now=hubs.now())
    from signwright.cli.home import home_of
    from signwright.client.policy_files import read_signed

    pinned = hubs.needed_trust(trust_flag(flags)).policy_root_sha256
    signed = read_signed(home_of(flags["home"]) / "policy" / "signed", pinned_root_sha256=pinned)
    return Known(signed.policy, None, None, (), None, ())


def _begun(known: Known, flags: dict[str, Any]) -> Envelope:
    from signwright.client.keepers_words import draft_resume
    from signwright.client.partial import read_partial
    from signwright.statements.dsse import Envelope

    begun = flags["from_file"] or (flags["sign_only"] if flags["sign_only"] and flags["sign_only"].exists() else None)
    if begun is not None:
        if flags["halts"] or flags["policy_version"] or flags["reason"]:
            raise UsageError(f"{begun} says which halts end", code="usage", hint="leave halts, version and reason out")
        return read_partial(begun)
    if not flags["halts"]:
        for halt in known.halts:
            say(f"halted: {_words(halt)}")
        raise UsageError(
            f"which of the {len(known.halts)} open halts?", code="usage", hint="signwright resume --key FILE HALT..."
        )
    digests = [_digest(known, text) for text in flags["halts"]]
    reason = flags["reason"] or "answered"
    check_text(reason, "reason")
    version = flags["policy_version"] or _version(known, digests)
    payload = draft_resume(
        known.policy.root_sha256, halts=digests, policy_version=version, reason=reason, now=hubs.now()
    )
    return Envelope(payload, ())


def _digest(known: Known, text: str) -> str:
    """The halt that begins so; a whole digest is also one that this client has not seen."""
    found = [halt.digest for halt in known.halts if halt.digest.startswith(text)]
    if len(found) == 1 and len(text) >= _LEAST:
        return found[0]
    if len(text) == _FULL and set(text) <= set("0123456789abcdef"):
        return text
    raise UsageError(
        f"{len(found)} open halts begin with {text[:80]!r}",
        code="no-such-halt",
        hint=f"at least {_LEAST} hex digits; all {_FULL} for a halt that went to the gate's own socket",
    )


def _version(known: Known, digests: list[str]) -> int:
    """The version in force when it is newer than each halt, else the next."""
    unders = [halt.under for halt in known.halts if halt.digest in digests]
    newer = len(unders) == len(digests) and max(unders) < known.policy.version
    return known.policy.version if newer else known.policy.version + 1


def _words(halt: OpenHalt) -> str:
    said = halt.statement.predicate
    return f"{halt.digest} since {said.created}, under policy version {halt.under}: {said.reason}"


def _show(known: Known, envelope: Envelope) -> None:
    """What is about to be signed, on stderr."""
    from signwright.statements.models import Resume, parse_statement

    said = parse_statement(envelope, Resume).predicate
    seen = {halt.digest: halt for halt in known.halts}
    for digest in said.halts:
        if digest in seen:
            say(f"ends {_words(seen[digest])}")
        else:
            warn(f"ends {digest}, a halt that this client has not seen: sign only if you know which one it is")
    say(f"from policy version {said.policy_version} on; in force: {known.policy.version}; reason: {said.reason}")


def _signed(known: Known, envelope: Envelope, files: tuple[Path, ...]) -> tuple[Envelope, Any]:
    from signwright.client.partial import check_keeper, standing, with_signature

    role = known.policy.root.policy
    for file in files:
        key = hubs.person_key(file)
        check_keeper(key, [role], "a policy keeper")
        envelope = with_signature(envelope, "resume", key)
    return envelope, standing(envelope, "resume", role)


def _report(known: Known, envelope: Envelope, flags: dict[str, Any]) -> None:
    from signwright.statements.models import Resume, parse_statement

    statement = parse_statement(envelope, Resume)
    version = statement.predicate.policy_version
    if settings.output_format(flags["output"]) == "json":
        json_result({"resume": statement.digest, "halts": list(statement.predicate.halts), "policy_version": version})
    else:
        result(statement.digest)
    if version > known.policy.version:
        say(f"signing goes on when policy version {version} is in force: signwright policy apply")
