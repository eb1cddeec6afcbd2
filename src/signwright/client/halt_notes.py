# SPDX-License-Identifier: Apache-2.0
"""The halts that this client knows of, whatever the hub says: those that it signed, was handed, or saw named.

Whoever renews freshness names every halt that is not known to be over, so that a halt which somebody keeps from the
signer ends releases all the same. A note is struck only by a resume that holds, or by the keeper's own word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from signwright.client.files import replace_file, write_private
from signwright.client.logged_words import LoggedWords
from signwright.client.sessions import state_folder
from signwright.client.standing import Known, remembered
from signwright.errors import ConfigurationError, SignwrightError, UsageError
from signwright.model.operation import Many, Sha256Text, Strict
from signwright.policy.policy import Policy
from signwright.policy.succession import opened_resume
from signwright.statements.dsse import Envelope
from signwright.statements.models import Halt, parse_statement
from signwright.statements.parse import parse_model

_LEAST = 8


class _Notes(Strict):
    """Digests of halts. ``over``: known to have ended, so that nothing brings them back."""

    told: Many[Sha256Text] = ()
    over: Many[Sha256Text] = ()


def note_halt(root_sha256: str, halt: Envelope, *, folder: Path | None = None) -> Path:
    """Remember a halt under the pinned root; returns the file with it, to be handed to freshness keepers."""
    digest = parse_statement(halt, Halt).digest
    base = _base(folder)
    notes = _read(base, root_sha256)
    _write(base, root_sha256, {*notes.told, digest}, notes.over)
    file = base / f"halt-{digest[:16]}.json"
    replace_file(file, halt.encode(), mode=0o600)
    return file


def forget_halt(root_sha256: str, halt: Envelope, *, folder: Path | None = None) -> None:
    """It was none: no panic key signed it."""
    digest, base = parse_statement(halt, Halt).digest, _base(folder)
    notes = _read(base, root_sha256)
    _write(base, root_sha256, {*notes.told} - {digest}, notes.over)
    (base / f"halt-{digest[:16]}.json").unlink(missing_ok=True)


def open_halts(
    known: Known,
    logged: LoggedWords | None,
    *,
    given: Iterable[str] = (),
    resumes: Sequence[Envelope] = (),
    over: Iterable[str] = (),
    folder: Path | None = None,
) -> list[str]:
    """Digests of every halt that is not known to be over, and remember them.

    ``given``: digests of verified halts that came by another way; ``resumes``: signed resumes, of the hub or by another
    way; ``over``: digests or beginnings of them that the keeper says are over. Raises `UsageError`.
    """
    policy, base = known.policy, _base(folder)
    notes = _read(base, policy.roots[0])
    before = remembered(policy, folder=folder / "freshness" if folder else None)
    named = {halt for one in (known.freshness, before) if one is not None for halt in one.predicate.halts}
    told = {*notes.told, *given, *named, *(halt.digest for halt in known.halts)}
    candidates = told | set(logged.open_halts(policy.version) if logged else ())
    ended = {*notes.over, *_ended(policy, logged, resumes), *_named(over, candidates)}
    _write(base, policy.roots[0], told, sorted(ended & (told | {*notes.over})))
    return sorted(candidates - ended)


def _ended(policy: Policy, logged: LoggedWords | None, resumes: Sequence[Envelope]) -> set[str]:
    """What signed resumes ended: by the threshold of policy keepers, with the version that they name in force."""
    found: set[str] = set()
    for envelope in resumes:
        try:
            said = opened_resume(policy, envelope).predicate
        except SignwrightError:
            continue  # of keepers whom a newer root no longer knows, or nobody's
        under = logged.halts if logged else {}
        if said.policy_version <= policy.version:
            found |= {halt for halt in said.halts if under.get(halt, 0) < said.policy_version}
    return found


def _named(texts: Iterable[str], candidates: set[str]) -> set[str]:
    found = set()
    for text in texts:
        rows = [digest for digest in candidates if digest.startswith(text)]
        if len(rows) != 1 or len(text) < _LEAST:
            raise UsageError(
                f"{len(rows)} known halts begin with {text[:80]!r}",
                code="no-such-halt",
                hint=f"at least {_LEAST} hex digits",
            )
        found.add(rows[0])
    return found


def _base(folder: Path | None) -> Path:
    return folder or state_folder() / "halts"


def _file(base: Path, root_sha256: str) -> Path:
    return base / f"{root_sha256[:24]}.json"


def _read(base: Path, root_sha256: str) -> _Notes:
    file = _file(base, root_sha256)
    try:
        return parse_model(_Notes, file.read_bytes())
    except FileNotFoundError:
        return _Notes()
    except SignwrightError as problem:
        raise ConfigurationError(f"{file}: the remembered halts do not read", code="bad-state") from problem


def _write(base: Path, root_sha256: str, told: Iterable[str], over: Iterable[str]) -> None:
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    over = sorted(set(over))
    notes = _Notes(told=tuple(sorted(set(told) - set(over))), over=tuple(over))
    if notes != _read(base, root_sha256):
        write_private(_file(base, root_sha256), notes.model_dump_json().encode())
