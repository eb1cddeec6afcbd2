# SPDX-License-Identifier: Apache-2.0
"""``signwright people``: enrol people in the policy sources."""

from __future__ import annotations

import re
from pathlib import Path

import click

from signwright.cli.console import say
from signwright.errors import MalformedError, UsageError
from signwright.statements.sshsig import SshPublicKey

_PATH = click.Path(path_type=Path)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@click.group()
def command() -> None:
    """Enrol people."""


@command.command()
@click.argument("name")
@click.option("--key", "key_file", type=_PATH, required=True, help="their SSH public key, FILE.pub")
@click.option("--group", "groups", multiple=True, help="a group they are in; may be repeated")
@click.option("--home", type=_PATH, help="home directory; default: SIGNWRIGHT_HOME")
def add(name: str, key_file: Path, groups: tuple[str, ...], home: Path | None) -> None:
    """Write NAME with a public key into DIR/policy/people.yaml. It counts once the policy is signed."""
    from signwright.cli.policy import policy_folder
    from signwright.cli.policy_edit import add_entry

    for text in (name, *groups):
        if not _NAME.fullmatch(text):
            raise UsageError(f"not a name: {text[:80]!r}; wanted lower-case letters, digits, . _ -", code="bad-name")
    key = read_public_key(key_file)
    file = policy_folder(None, home) / "people.yaml"
    holder = holder_of(key, file)
    if holder is not None and holder != name:
        raise UsageError(
            f"key {key_file}: {holder} signs with it ({key.fingerprint}); one key is one person",
            code="key-taken",
            hint=f"{name} needs a key of their own",
        )
    add_entry(file, "people", name, {"groups": list(groups), "keys": [key.line]})
    say(f"{name} signs with {key.fingerprint}: let them read it to you, then run signwright policy apply")


def holder_of(key: SshPublicKey, file: Path) -> str | None:
    """Who has this key in the source ``people.yaml``, whatever comment stands beside it."""
    from signwright.cli.policy import read_yaml

    content = read_yaml(file).content
    people = content.get("people") if isinstance(content, dict) else None
    for name, row in (people if isinstance(people, dict) else {}).items():
        lines = row.get("keys") if isinstance(row, dict) else None
        if any(_same_key(key, line) for line in (lines if isinstance(lines, list) else ())):
            return str(name)
    return None


def _same_key(key: SshPublicKey, line: object) -> bool:
    try:
        return isinstance(line, str) and SshPublicKey.parse(line).blob == key.blob
    except MalformedError:
        return False  # `policy check` says what is wrong with it


def read_public_key(file: Path) -> SshPublicKey:
    """An `SshPublicKey` from a ``.pub`` file; raises `UsageError`, loudest for a private key."""
    try:
        text = file.expanduser().read_text(encoding="utf-8", errors="replace")[:8192]
    except OSError as problem:
        raise UsageError(f"key {file}: {problem.strerror}", code="cannot-read") from problem
    if "PRIVATE KEY" in text:
        raise UsageError(f"key {file}: a PRIVATE key; wanted the .pub file beside it", code="private-key")
    try:
        return SshPublicKey.parse(text.strip())
    except MalformedError as problem:
        raise UsageError(f"key {file}: {problem.message}", code="bad-key") from problem
