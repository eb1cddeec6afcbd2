# SPDX-License-Identifier: Apache-2.0
"""Collects what the signer needs to rebuild its log: a checkpoint, its entries, and what each witness saw last. The
signer's own program verifies all of it again.
"""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from signwright.cli.console import say
from signwright.cli.down import running_pid
from signwright.cli.home import Home
from signwright.cli.processes import PYTHON, environment_of, run_helper
from signwright.client.http import HubConnection
from signwright.client.log_files import folder_files, served_files
from signwright.client.policy_files import read_signed
from signwright.client.witness_latest import LatestCheckpoint, latest_of
from signwright.errors import (
    ConfigurationError,
    MalformedError,
    NotFoundError,
    SignwrightError,
    UsageError,
    VerificationError,
)
from signwright.policy.policy import Policy
from signwright.transparency.checkpoint import Checkpoint, verify_checkpoint
from signwright.transparency.cosignature import LogTrust, check_cosignature
from signwright.transparency.signing import add_signatures
from signwright.transparency.tiles import ENTRIES, WIDTH, Tile, bundle_entry, parse_bundle

ReadFile = Callable[[str], bytes]


def recover_home(home: Home, mirrors: Sequence[str], *, gone: Sequence[str]) -> dict[str, int]:
    """Sizes: ``size``, ``added``, ``dropped``, ``unfinished``. Raises `SignwrightError`; then nothing was changed."""
    described = home.read()
    home.check_place(described)
    if running_pid(home) is not None:
        raise UsageError("the home is up", code="is-up", hint=f"signwright down --home {home.folder}")
    signed = home / "policy" / "signed"
    policy = read_signed(signed, pinned_root_sha256=described.policy_root_sha256).policy
    readers = [_reader(mirror) for mirror in mirrors or [str(home / "hub" / "log")]]
    notes = [note for read in readers if (note := _optional(read, "checkpoint")) is not None]
    with _local_witness(home):
        answers = _ask_witnesses(home, policy, notes[0] if notes else None)
    notes += [answer.note for answer in answers.values() if answer is not None and answer.note]
    with tempfile.TemporaryDirectory(prefix="signwright-recover-") as folder:
        _fill(Path(folder), _candidates(notes, policy.log_trust), readers, answers=answers, gone=gone)
        settings = ["--settings", str(home.settings("signer")), "--root", described.policy_root_sha256]
        arguments = ["--recover", *settings, "--from", folder, "--signed", str(signed)]
        try:
            said = run_helper("signwright.signer.start", arguments, signer_env=described.signer_env)
        except ConfigurationError as problem:
            text = problem.message.removeprefix("signwright.signer.start: signer: error: ")
            raise VerificationError(text, code="not-recovered", hint="nothing was changed") from problem
    return dict(zip(("size", "added", "dropped", "unfinished"), map(int, said.split()), strict=True))


def _reader(mirror: str) -> ReadFile:
    """Files of one mirror."""
    if not mirror.startswith(("http://", "https://")):
        return folder_files(Path(mirror))
    prefix = mirror.rstrip("/")
    scheme, _, rest = prefix.partition("://")
    host, slash, path = rest.partition("/")
    return served_files(HubConnection(f"{scheme}://{host}", None), f"{slash}{path}")


def _optional(read: ReadFile, path: str) -> bytes | None:
    try:
        return read(path)
    except NotFoundError:
        return None


def _ask_witnesses(home: Home, policy: Policy, offer: bytes | None) -> dict[str, LatestCheckpoint | None]:
    """What each witness of the policy cosigned last, None for one that does not say."""
    urls = tomllib.loads(home.settings("courier").read_text(encoding="utf-8")).get("witnesses", {})
    trust = policy.log_trust
    found: dict[str, LatestCheckpoint | None] = {}
    for witness, key in zip(policy.services.witnesses, trust.quorum.witnesses, strict=True):
        try:
            if witness.name not in urls:
                raise ConfigurationError("it has no address in settings/courier.toml", code="no-address")
            latest = latest_of(urls[witness.name], key.key, origin=trust.origin, log_keys=trust.keys, offer=offer)
            found[witness.name] = latest
            say(f"witness {witness.name} has cosigned {latest.size} leaves")
        except SignwrightError as problem:
            found[witness.name] = None
            say(f"witness {witness.name} does not say: {problem.message}")
    return found


@contextmanager
def _local_witness(home: Home) -> Iterator[None]:
    """The home's own witness, which is down like everything else, serves while this lasts."""
    settings = home.settings("witness")
    if not settings.is_file():
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready"
        command = [*PYTHON, "signwright.witness", "--settings", str(settings), "--ready-file", str(ready)]
        running = subprocess.Popen(
            command,
            env=environment_of(home.read()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert running.stdout is not None
            running.stdout.readline()  # ready, or its end
            yield
        finally:
            running.terminate()
            running.wait()
            assert running.stdout is not None
            running.stdout.close()


def _candidates(notes: Sequence[bytes], trust: LogTrust) -> list[tuple[Checkpoint, bytes]]:
    """Checkpoints with a quorum, the largest first. Cosignatures of one checkpoint are put together."""
    merged: dict[bytes, bytes] = {}
    for content in notes:
        try:
            note = verify_checkpoint(content, origin=trust.origin, keys=trust.keys).note
            for witness in trust.quorum.witnesses:
                for line in note.signatures_by(witness.key):
                    check_cosignature(note.text, line, witness.key)
        except SignwrightError as problem:
            # Alone it counts for nothing; put together with others it would spoil them.
            say(f"a checkpoint that does not count: {problem.message}")
            continue
        merged[note.text] = add_signatures(merged.get(note.text, content), note.signatures)
    found = []
    for content in merged.values():
        try:
            found.append((trust.verify(content).checkpoint, content))
        except VerificationError as problem:
            say(f"a checkpoint that does not count: {problem.message}")
    if not found:
        raise VerificationError(
            "no checkpoint of this log with a quorum of witnesses was found",
            code="no-checkpoint",
            hint="--from another mirror",
        )
    return sorted(found, key=lambda row: row[0].size, reverse=True)


def _fill(
    folder: Path,
    candidates: Sequence[tuple[Checkpoint, bytes]],
    readers: Sequence[ReadFile],
    *,
    answers: dict[str, LatestCheckpoint | None],
    gone: Sequence[str],
) -> None:
    """Write the largest checkpoint whose entries are all there, and what the witnesses said."""
    for checkpoint, note in candidates:
        try:
            for number in range(-(-checkpoint.size // WIDTH)):
                width = min(WIDTH, checkpoint.size - number * WIDTH)
                path = folder / Tile(ENTRIES, number, width).path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_bundle(readers, number, width))
        except NotFoundError as problem:
            say(f"the checkpoint of {checkpoint.size} leaves cannot be read whole: {problem.message}")
            missing = problem
            continue
        (folder / "checkpoint").write_bytes(note)
        break
    else:
        raise VerificationError(f"no mirror has the whole log: {missing.message}", code="mirror-incomplete")
    rows = {
        name: {
            "size": answer.size if answer else None,
            "note": base64.b64encode(answer.note).decode() if answer and answer.note else None,
        }
        for name, answer in answers.items()
    }
    (folder / "witnesses.json").write_text(json.dumps({"witnesses": rows, "gone": list(gone)}), encoding="utf-8")


def _bundle(readers: Sequence[ReadFile], number: int, width: int) -> bytes:
    """From the first mirror that has it whole; a bundle that has grown since is cut to ``width``."""
    problem: SignwrightError | None = None
    for read in readers:
        for wide in dict.fromkeys((width, WIDTH)):
            try:
                entries = parse_bundle(read(Tile(ENTRIES, number, wide).path), wide)
            except (NotFoundError, MalformedError) as missing:
                problem = problem or missing
                continue
            return b"".join(map(bundle_entry, entries[:width]))
    assert problem is not None
    raise NotFoundError(problem.message, code="no-such-log-file")
