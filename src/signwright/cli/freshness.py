# SPDX-License-Identifier: Apache-2.0
"""``signwright freshness show | renew``: a keeper's regular word that nothing was revoked, or what was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signwright.cli import hubs, settings
from signwright.cli.console import json_result, result, say, warn
from signwright.cli.keepers_log import wait_options
from signwright.cli.policy_shared import YES, confirm
from signwright.cli.standing import age_words, standing_json, standing_lines, warn_ahead
from signwright.errors import DeniedError, SignwrightError, UsageError, VerificationError
from signwright.statements.keys import verifying_key
from signwright.statements.models import MAX_HALTS

if TYPE_CHECKING:
    from signwright.client.hub import Hub
    from signwright.client.logged_words import LoggedWords
    from signwright.client.ssh_keys import PersonKey
    from signwright.client.standing import Known
    from signwright.policy.policy import Policy
    from signwright.statements.dsse import Envelope

_PATH = click.Path(path_type=Path)
#: A lowest policy version may be so far above the newest one that is known.
_AHEAD = 8


@click.group()
def command() -> None:
    """How old the word is that nothing was revoked, and a newer one.

    No release is signed without a recent one: whoever runs the hub could otherwise hold back that a credential or a
    person was revoked.
    """


@command.command()
@hubs.hub_options
@hubs.person_options
@hubs.output_option
def show(**flags: Any) -> None:
    """The newest freshness statement, open halts and a policy that waits, verified on this machine."""
    hub, known = _known(flags)
    now = hubs.now()
    _warn_of_log(hub, known)
    if settings.output_format(flags["output"]) == "json":
        json_result(standing_json(known, now))
        return
    for line in standing_lines(known, now):
        result(line)
    if known.gets_old(now):
        warn(age_words(known, now))


@command.command()
@click.option("--key", "keys", type=_PATH, multiple=True, help="SSH key of a freshness keeper; may be repeated")
@click.option("--revoke-credential", "credentials_gone", metavar="KEYID", multiple=True, help="it counts no longer")
@click.option("--revoke-person", "people_gone", metavar="NAME", multiple=True, help="their word counts no longer")
@click.option("--unrevoke", metavar="WHO", multiple=True, help="a KeyId or name that was revoked and counts again")
@click.option("--halt", "halt_files", type=_PATH, multiple=True, help="a halt that may not have reached the signer")
@click.option("--resume", "resume_files", type=_PATH, multiple=True, help="a signed resume that the hub does not show")
@click.option("--over", metavar="HALT", multiple=True, help="a halt that is over, whatever this client has seen")
@click.option("--number", type=click.IntRange(1), help="go on with this one, above what the log and the hub show")
@click.option("--minimum-policy", type=click.IntRange(1), help="lowest policy version that counts from now on")
@click.option("--without-log", is_flag=True, help="sign whatever the log says, or when it cannot be read")
@click.option("--hours", type=click.IntRange(1, 168), help="how long it holds (default: as the policy allows)")
@click.option("--sign-only", type=_PATH, help="sign, keep it in this file for the next keeper, and send nothing")
@click.option("--from", "from_file", type=_PATH, help="send what keepers signed with --sign-only")
@click.option("--home", type=_PATH, help="also write it into this home (SIGNWRIGHT_HOME), whose keeper's key is meant")
@YES
@wait_options
@hubs.hub_options
@hubs.output_option
def renew(**flags: Any) -> None:
    """Say again, as of now, that nothing was revoked beside what is listed.

    What was revoked before stays revoked. The number goes up by one, and the policy version in force becomes the
    lowest that counts. Every halt is named that is not known to be over: until one follows that names none, no release
    is signed.

    Before it signs, the newest freshness statement in the witnessed log must be the one that the hub shows: else
    another keeper's revocation is kept from you. Afterwards it waits until the log has yours.
    """
    hub, known = _known({**flags, "key": None, "person": None})
    _check_names(known, flags)
    logged = _logged(hub, known, flags)
    envelope = _begun(known, flags, logged)
    show_words(known, envelope)
    confirm("sign and send this?" if flags["sign_only"] is None else "sign this?", yes=flags["yes"])
    keys = [hubs.person_key(file) for file in _key_files(flags)]
    envelope, reached = signed_by(known, envelope, keys)
    if flags["sign_only"] is not None:
        from signwright.client.partial import write_partial

        write_partial(flags["sign_only"], envelope)
        result(f"{flags['sign_only']}: {reached}")
        return
    home = _home(flags["home"])
    send(hub, known, envelope, folder=home / "policy" / "signed" if home is not None else None)
    if logged is not None and not flags["no_wait"]:
        _wait(hub, known, envelope, seconds=flags["wait"])
    known = _known({**flags, "key": None, "person": None})[1]
    if settings.output_format(flags["output"]) == "json":
        json_result(standing_json(known, hubs.now()))
    else:
        result(f"number {known.freshness.predicate.number if known.freshness else '?'}")


def _known(flags: dict[str, Any]) -> tuple[Hub, Known]:
    from signwright.client.standing import look

    hub = hubs.caller_of(flags["hub"], flags["credentials"], flags["key"], flags["person"]).hub
    policy = hubs.policy_of(hub, hubs.needed_trust(flags["trust"]))
    return hub, look(hub, policy, now=hubs.now())


def _logged(hub: Hub, known: Known, flags: dict[str, Any]) -> LoggedWords | None:
    """What the witnessed log has; raises `VerificationError` when the hub shows another newest statement than it."""
    from signwright.cli.keepers_log import logged_words
    from signwright.client.logged_words import check_shown

    if flags["without_log"]:
        warn("without the log: nobody can tell whether the hub hides a revocation or a halt")
        return None
    logged = logged_words(hub, known.policy)
    try:
        check_shown(logged, known.shown)
    except VerificationError as problem:
        if flags["number"] is None:
            raise
        warn(problem.message)
        if flags["number"] <= logged.number:
            raise UsageError(f"--number {flags['number']}: the log has {logged.number}", code="usage") from problem
    return logged


def _warn_of_log(hub: Hub, known: Known) -> None:
    """What does not fit together, for people; nothing is decided here."""
    from signwright.cli.keepers_log import logged_words
    from signwright.client.logged_words import check_shown

    try:
        logged = logged_words(hub, known.policy)
        check_shown(logged, known.shown)
    except SignwrightError as problem:
        warn(problem.message)
        return
    if known.freshness is not None and known.freshness.predicate.number > logged.number:
        warn(f"freshness number {known.freshness.predicate.number} is not in the witnessed log yet")


def _wait(hub: Hub, known: Known, envelope: Envelope, *, seconds: float) -> None:
    from signwright.cli.keepers_log import wait_for_word
    from signwright.client.logged_words import check_taken
    from signwright.statements.models import Freshness, parse_statement

    own = parse_statement(envelope, Freshness)
    wait_for_word(
        hub,
        known.policy,
        own.digest,
        what="freshness",
        seconds=seconds,
        check=lambda logged: check_taken(logged, own),
    )


def _halts(known: Known, logged: LoggedWords | None, flags: dict[str, Any]) -> list[str]:
    """Every halt that is not known to be over."""
    from signwright.client.halt_notes import open_halts
    from signwright.client.partial import read_partial
    from signwright.policy.succession import opened_halt, opened_resume

    given = [opened_halt(known.policy, read_partial(file)).digest for file in flags["halt_files"]]
    resumes = [read_partial(file) for file in flags["resume_files"]]
    for envelope in resumes:
        opened_resume(known.policy, envelope)  # one that is handed over must hold
    return open_halts(known, logged, given=given, resumes=[*known.resumes, *resumes], over=flags["over"])


def _check_names(known: Known, flags: dict[str, Any]) -> None:
    """A mistyped name would revoke nobody."""
    policy = known.policy
    strange = [n for n in flags["credentials_gone"] if n not in policy.credentials.credentials]
    strange += [n for n in flags["people_gone"] if n not in policy.people.people]
    if strange:
        raise UsageError(f"not enrolled: {', '.join(strange)}", code="unknown-name", hint="signwright people list")


def _begun(known: Known, flags: dict[str, Any], logged: LoggedWords | None) -> Envelope:
    """What somebody signed already, or a new draft."""
    from signwright.client.partial import read_partial
    from signwright.client.standing import next_freshness
    from signwright.statements.dsse import Envelope

    begun = flags["from_file"] or (flags["sign_only"] if flags["sign_only"] and flags["sign_only"].exists() else None)
    gone = frozenset(flags["credentials_gone"]), frozenset(flags["people_gone"])
    halts = _halts(known, logged, flags)
    if begun is not None:
        if any(gone) or flags["unrevoke"] or flags["number"] or flags["minimum_policy"]:
            raise UsageError(f"{begun} says what is revoked", code="usage", hint="leave names and numbers out")
        return _with_all(read_partial(begun), halts, begun)
    highest = max(known.policy.version, known.waiting.version if known.waiting else 0) + _AHEAD
    if (flags["minimum_policy"] or 0) > highest:  # nothing takes it back
        raise UsageError(f"--minimum-policy {flags['minimum_policy']}: at most {highest} now", code="usage")
    payload = next_freshness(
        known,
        now=hubs.now(),
        hours=flags["hours"],
        revoke=gone,
        unrevoke=frozenset(flags["unrevoke"]),
        halts=halts,
        number=flags["number"],
        minimum_policy_version=flags["minimum_policy"] or 1,
    )
    return Envelope(payload, ())


def _with_all(envelope: Envelope, halts: list[str], file: Path) -> Envelope:
    """The next keeper signs no draft that leaves out a halt which that keeper's client knows."""
    from signwright.statements.models import Freshness, parse_statement

    missing = sorted(set(halts) - {*parse_statement(envelope, Freshness).predicate.halts})
    if missing and len(halts) <= MAX_HALTS:
        raise DeniedError(f"{file} leaves out halt {missing[0]}", code="halt-left-out", hint="begin a new draft")
    return envelope


def _key_files(flags: dict[str, Any]) -> list[Path | None]:
    """Those named, or the keeper's of the home; none for what is only sent."""
    if flags["keys"]:
        return list(flags["keys"])
    if flags["from_file"] is not None:
        return []
    home = _home(flags["home"])
    beside = home / "keeper" / "keeper" if home is not None else None
    return [beside if beside is not None and beside.is_file() else None]


def _home(flag: Path | None) -> Path | None:
    named = os.environ.get("SIGNWRIGHT_HOME")
    return flag or (Path(named) if named else None)


def show_words(known: Known, envelope: Envelope) -> None:
    """What is about to be signed, on stderr."""
    from signwright.statements.models import Freshness, parse_statement

    said = parse_statement(envelope, Freshness).predicate
    say(f"freshness number {said.number}, created {said.created}, expires {said.expires}")
    say(f"lowest policy version that counts: {said.minimum_policy_version}; in force: {known.policy.version}")
    for name in (*said.revoked_credentials, *said.revoked_people):
        say(f"revoked: {name}")
    if not said.revoked_credentials and not said.revoked_people:
        say("revoked: nobody")
    for digest in said.halts:
        warn(f"open halt {digest}: no release is signed until a freshness statement names it no more")


def signed_by(known: Known, envelope: Envelope, keys: list[PersonKey]) -> tuple[Envelope, object]:
    """With a signature of each key more, and how far that is."""
    from signwright.client.partial import check_keeper, standing, with_signature

    role = known.policy.root.freshness
    for key in keys:
        check_keeper(key, [role], "a freshness keeper")
        envelope = with_signature(envelope, "freshness", key)
    return envelope, standing(envelope, "freshness", role)


def send(hub: Hub, known: Known, envelope: Envelope, *, folder: Path | None) -> None:
    """Hand it to the hub, and write it into ``folder``, from which a hub that lost its database takes it up."""
    from signwright.client.partial import standing

    reached = standing(envelope, "freshness", known.policy.root.freshness)
    if not reached.reached:
        raise DeniedError(
            f"freshness: {reached}", code="too-few-keepers", hint="--sign-only FILE, and the next keeper signs it too"
        )
    hub.carry("freshness", envelope)
    if folder is not None and folder.is_dir():
        from signwright.client.files import replace_file

        replace_file(folder / "freshness.json", envelope.encode(), mode=0o644)


def renew_with(hub: Hub, signed: Policy, keeper: Path | None, *, folder: Path | None) -> None:
    """After a policy was loaded: one freshness statement more, when this keeper's key alone may make it; else a word
    about the one that there is. ``folder``: where the signed policy lies.
    """
    from signwright.client.halt_notes import open_halts
    from signwright.client.standing import look, next_freshness

    now = hubs.now()
    policy = hub.policy().open(pinned_root_sha256=signed.roots[0])  # a version that weakens may have to wait
    known = look(hub, policy, now=now)
    role = policy.root.freshness
    if keeper is not None and role.threshold == 1 and keeper.is_file():
        key = hubs.person_key(keeper)
        if key.public.material in {verifying_key(text).material for text in role.keys}:
            try:
                logged = _logged(hub, known, {"without_log": False, "number": None})
            except SignwrightError as problem:
                warn(f"freshness is not renewed: {problem.message} (signwright freshness renew)")
                return
            halts = open_halts(known, logged, resumes=known.resumes)
            envelope = key.sign_statement(next_freshness(known, now=now, halts=halts), "freshness")
            send(hub, known, envelope, folder=folder)
            say(f"freshness renewed; {age_words(look(hub, policy, now=now), now)}")
            return
    warn_ahead(known, now)
