# SPDX-License-Identifier: Apache-2.0
"""``signwright credential``: make a machine credential where it will be used, and enrol its public line."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

import click

from signwright.cli.console import result, say
from signwright.cli.settings import config_folder, setting
from signwright.errors import MalformedError, UsageError

_PATH = click.Path(path_type=Path)
_KIND = click.Choice(["test", "release"])
_LINE = re.compile(r"(swk_[a-z2-7]{20}) (test|release) (ed25519:[A-Za-z0-9+/]{43}=)")


@click.group()
def command() -> None:
    """Make and enrol machine credentials."""


@command.command()
@click.option("--kind", type=_KIND, default="test", show_default=True)
@click.option("--out", type=_PATH, help="credential file; default: SIGNWRIGHT_CREDENTIALS or the user's own")
def new(kind: Literal["test", "release"], out: Path | None) -> None:
    """Make a KeyId and a KeySecret, append them to the credential file and print the public line.

    The secret never leaves the file. Give the line to a policy keeper, who runs `signwright credential add`.
    """
    from signwright.client.credentials import encode_credentials, load_credentials, new_credential
    from signwright.client.files import write_private
    from signwright.statements.writing import public_text

    named = setting("credentials", out)
    file = Path(named.value) if named else config_folder() / "credentials.json"
    if not file.parent.is_dir():
        os.makedirs(file.parent, mode=0o700)
    there = load_credentials(file) if file.exists() else ()
    made = new_credential(kind)
    write_private(file, encode_credentials([*there, made]))
    say(f"KeySecret written to {file}; only the line below may leave this machine")
    result(f"{made.key_id} {made.kind} {public_text(made.key)}")


@command.command()
@click.argument("line")
@click.option("--policy", "policies", multiple=True, required=True, help="project/policy it may submit to")
@click.option("--description", help="what uses it; default: who adds it")
@click.option("--person", help="whose own credential it is; they cannot approve its requests")
@click.option("--home", type=_PATH, help="home directory; default: SIGNWRIGHT_HOME")
def add(line: str, policies: tuple[str, ...], description: str | None, person: str | None, home: Path | None) -> None:
    """Write the public LINE of `credential new` into the policy sources. It counts once the policy is signed."""
    from signwright.cli.policy import policy_folder, read_yaml
    from signwright.cli.policy_edit import add_entry, add_item

    key_id, kind, public_key = _parse(line)
    sources = policy_folder(None, home)
    places = [_place(sources, address) for address in policies]
    for file, name in places:
        content = read_yaml(file).content
        rule = content.get("signing_policies", {}).get(name) if isinstance(content, dict) else None
        if not isinstance(rule, dict):
            raise UsageError(f"{file}: no signing policy {name!r}", code="no-signing-policy")
        if rule.get("kind") != kind:
            found = f"a {kind} credential, {name!r} is a {rule.get('kind')} policy"
            raise UsageError(f"{found}; test and release are different worlds", code="wrong-kind")
    entry: dict[str, object] = {"public_key": public_key, "kind": kind, "description": description or "machine"}
    add_entry(sources / "credentials.yaml", "credentials", key_id, entry | ({"person": person} if person else {}))
    for file, name in places:
        add_item(file, ("signing_policies", name, "submitters"), key_id)
    say(f"{key_id} may submit to {', '.join(policies)} once the policy is signed: run signwright policy apply")


def _parse(line: str) -> tuple[str, str, str]:
    from signwright.statements.keys import verifying_key

    match = _LINE.fullmatch(" ".join(line.split()))
    if match is None:
        raise UsageError("not a line of `credential new`: KeyId, kind, ed25519:…", code="bad-line")
    try:
        found = verifying_key(match[3]).key_id
    except MalformedError as problem:
        raise UsageError(problem.message, code="bad-line") from problem
    if found != match[1]:
        raise UsageError(f"the key's KeyId is {found}, the line says {match[1]}", code="bad-line")
    return match[1], match[2], match[3]


def _place(sources: Path, address: str) -> tuple[Path, str]:
    project, _, name = address.rpartition("/")
    file = sources / "projects" / f"{project or 'default'}.yaml"
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", project or "default") or not file.is_file():
        raise UsageError(f"no project {project!r} in {sources}", code="no-project")
    return file, name
