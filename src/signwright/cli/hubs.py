# SPDX-License-Identifier: Apache-2.0
"""Which hub a verb talks to, and as whom: a machine credential from a file, or a person with an SSH key."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from signwright.cli import settings
from signwright.cli.console import warn
from signwright.client.credentials import MachineCredential, load_credentials
from signwright.client.http import CallKey, HubConnection
from signwright.client.hub import Hub, RequestView
from signwright.client.seen_policy import follow_policy
from signwright.client.ssh_keys import PersonKey, load_person_key
from signwright.client.trust import TrustFile, load_trust
from signwright.errors import AuthenticationError, NotFoundError, SignwrightError, UsageError
from signwright.policy.policy import Policy
from signwright.statements.dsse import statement_digest

F = TypeVar("F", bound=Callable[..., Any])


def now() -> datetime:
    return datetime.now(UTC)


def output_option(command: F) -> F:
    """``--output text|json``."""
    return click.option("--output", type=click.Choice(["text", "json"]), help="what stdout gets (default: text)")(
        command
    )


def hub_options(command: F) -> F:
    """``--hub``, ``--credentials``, ``--trust``."""
    command = click.option("--trust", type=click.Path(path_type=Path), help="trust file (SIGNWRIGHT_TRUST)")(command)
    command = click.option(
        "--credentials", type=click.Path(path_type=Path), help="credential file (SIGNWRIGHT_CREDENTIALS)"
    )(command)
    return click.option("--hub", metavar="URL", help="address of the hub (SIGNWRIGHT_URL)")(command)


def person_options(command: F) -> F:
    """``--key``, ``--person``."""
    command = click.option("--person", metavar="NAME", help="your name in the policy (SIGNWRIGHT_PERSON)")(command)
    return click.option(
        "--key",
        type=click.Path(path_type=Path),
        help="your SSH key: a private key file, or a .pub one whose other half an agent or token has (SIGNWRIGHT_KEY)",
    )(command)


@functools.lru_cache(maxsize=4)
def _credentials(file: Path) -> tuple[MachineCredential, ...]:
    return load_credentials(file)


def credentials_of(flag: Path | None) -> tuple[MachineCredential, ...]:
    """The credentials to submit with; raises `UsageError` when nothing names a file."""
    return _credentials(Path(settings.wanted("credentials", flag, option="--credentials")))


def trust_of(flag: Path | None) -> TrustFile | None:
    """The trust file, or None when nothing names one."""
    path = settings.trust_path(flag)
    return load_trust(path) if path is not None else None


def needed_trust(flag: Path | None) -> TrustFile:
    """The trust file; raises `UsageError` when nothing names one."""
    return load_trust(settings.trust_path(flag) or Path(settings.wanted("trust", flag, option="--trust")))


def machine_hub(hub: str | None, credentials: tuple[MachineCredential, ...]) -> Hub:
    """The hub as the first of ``credentials`` sees it."""
    return closed_later(Hub(HubConnection(settings.hub_url(hub), call_key(credentials[0]))))


def closed_later(hub: Hub) -> Hub:
    """The same hub, whose connection is closed when the verb ends."""
    click.get_current_context().call_on_close(hub.connection.close)
    return hub


def call_key(credential: MachineCredential) -> CallKey:
    return CallKey(credential.key_id, credential.key.sign)


def policy_of(hub: Hub, trust: TrustFile | None) -> Policy:
    """The policy in force, verified from the trust file's root; without one only from the root that it brings along."""
    parts = hub.policy()
    pinned = trust.policy_root_sha256 if trust else statement_digest("policy-root", parts.first_root)
    policy = parts.open(pinned_root_sha256=pinned)
    if trust is not None:
        try:
            follow_policy(policy)
        except OSError as problem:  # a build machine need not have a place that outlives the build
            warn(f"this policy cannot be remembered, so an older one would not be noticed: {problem.strerror}")
    return policy


def person_key(flag: Path | None) -> PersonKey:
    """The person's key, with a prompt for its passphrase: once in a verb, however often the key is used."""

    def ask(text: str) -> str:
        return str(click.prompt(text, hide_input=True, err=True))

    file = Path(settings.wanted("key", flag, option="--key"))
    known: dict[Path, PersonKey] = click.get_current_context().meta.setdefault("signwright.person_keys", {})
    if file not in known:
        known[file] = load_person_key(file, ask)
    return known[file]


def person_hub(hub: str | None, key_flag: Path | None, person: str | None) -> tuple[Hub, PersonKey, str]:
    """The hub as a person sees it, their key and their name in the policy."""
    from signwright.client.sessions import open_known

    url, key = settings.hub_url(hub), person_key(key_flag)
    name = _name_of(url, key, key_flag, person)
    return closed_later(open_known(url, name, key, now=now())), key, name


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks about requests: one person, or every credential of a file, each of which sees its own requests only."""

    hub: Hub
    credentials: tuple[MachineCredential, ...]

    def find(self, reference: str) -> tuple[Hub, RequestView]:
        """The request and the hub as whoever may see it sees it; raises `NotFoundError`."""
        for credential in self.credentials[:-1]:
            self.hub.connection.use(call_key(credential))
            try:
                return self.hub, self.hub.request(reference)
            except NotFoundError:
                continue
        if self.credentials:
            self.hub.connection.use(call_key(self.credentials[-1]))
        return self.hub, self.hub.request(reference)

    def requests(self, *, state: str | None, limit: int) -> list[RequestView]:
        """Newest first."""
        if not self.credentials:
            return self.hub.requests(state=state, limit=limit)
        found: list[RequestView] = []
        for credential in self.credentials:
            self.hub.connection.use(call_key(credential))
            found += self.hub.requests(state=state, limit=limit)
        return sorted(found, key=lambda view: str(view.created), reverse=True)[:limit]


def caller_of(hub: str | None, credentials: Path | None, key: Path | None, person: str | None) -> Caller:
    """A person when a key is named, else a machine."""
    if key is not None or (
        settings.setting("credentials", credentials) is None and settings.setting("key") is not None
    ):
        return Caller(person_hub(hub, key, person)[0], ())
    found = credentials_of(credentials)
    return Caller(machine_hub(hub, found), found)


def _name_of(url: str, key: PersonKey, key_flag: Path | None, person: str | None) -> str:
    """The name a person goes by: as told, as the policy has their key (asked with a credential, if one is at hand), or
    as the comment of their key file says. The hub checks it in any case.
    """
    told = settings.setting("person", person)
    if told is not None:
        return told.value
    found = settings.setting("credentials")
    if found is not None:
        from signwright.client.approve import person_of

        try:
            return person_of(policy_of(machine_hub(url, load_credentials(Path(found.value))), trust_of(None)), key)
        except AuthenticationError as problem:
            if problem.code == "unknown-person":
                raise
        except SignwrightError:
            pass  # an approver's machine need not have a working credential
    commented = _comment(Path(settings.wanted("key", key_flag, option="--key")))
    if commented is None:
        raise UsageError("who are you in the policy?", code="no-person", hint="--person NAME, or SIGNWRIGHT_PERSON")
    return commented


def _comment(file: Path) -> str | None:
    """The comment in the public half beside a key file, when it could be a person's name."""
    public = file if file.suffix == ".pub" else file.with_name(file.name + ".pub")
    try:
        words = public.expanduser().read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return None
    text = words[2] if len(words) == 3 else ""
    return (
        text
        if text and text.replace("-", "").replace(".", "").replace("_", "").isalnum() and text == text.lower()
        else None
    )
