# SPDX-License-Identifier: Apache-2.0
"""``signwright monitor``: read the whole log again and again, one line per alarm. Run it where the signer is not."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signwright.cli.console import json_result, result, say
from signwright.cli.hubs import hub_options, output_option
from signwright.cli.settings import output_format
from signwright.errors import ConfigurationError, NotFoundError, SignwrightError, VerificationError
from signwright.model.operation import Strict
from signwright.statements.models import SeenCheckpoint

if TYPE_CHECKING:
    from signwright.client.log_reader import LogReader
    from signwright.client.monitoring import Alarm
    from signwright.client.trust import TrustFile
    from signwright.statements.bundle import ReceiptBundle

_PATH = click.Path(path_type=Path)
#: Receipts that one round counts again.
MAX_RECEIPTS = 200
#: How often, and after how many seconds each, the log is read again for a leaf that a receipt names.
PUBLISHED_TRIES, PUBLISHED_PAUSE = 20, 0.5


class MonitorState(Strict):
    """The newest checkpoint that was found good. Keep the file: without it a fork in the past cannot be noticed."""

    seen: SeenCheckpoint


@click.command()
@click.option("--once", is_flag=True, help="one round; exit code 8 when there was an alarm")
@click.option("--interval", type=click.IntRange(1), default=300, show_default=True, help="seconds between two rounds")
@click.option(
    "--from-state", "state", type=_PATH, help="where the newest checkpoint is kept; default: one file for each log"
)
@click.option("--receipts/--no-receipts", default=True, help="re-count the authorisations of the caller's own requests")
@hub_options
@output_option
def command(
    once: bool,
    interval: int,
    state: Path | None,
    receipts: bool,
    hub: str | None,
    credentials: Path | None,
    trust: Path | None,
    output: str | None,
) -> None:
    """Check the whole log: signatures, witnesses, continuity, every leaf, every intent's result, the heartbeat.

    Results of the caller's own requests are counted again from their receipts. An alarm is one line on stdout.
    """
    as_json = output_format(output) == "json"
    while True:
        found = _round(state, hub=hub, credentials=credentials, trust=trust, receipts=receipts)
        for alarm in found:
            if as_json:
                json_result({"code": alarm.code, "index": alarm.index, "text": alarm.text})
            else:
                result(f"ALARM {alarm}")
        if once:
            break
        time.sleep(interval)
    if found:
        raise VerificationError(f"{len(found)} alarms", code="alarm")


def _round(
    state: Path | None, *, hub: str | None, credentials: Path | None, trust: Path | None, receipts: bool
) -> list[Alarm]:
    """One look at everything. What cannot be verified is an alarm; what cannot be reached is an error."""
    from signwright.cli.log import read_log
    from signwright.client.monitoring import Alarm

    try:
        log, believed = read_log(hub, credentials, trust)
    except VerificationError as problem:
        return [Alarm(problem.code, problem.message)]
    file = state or _default_state(believed)
    before = load_state(file)
    if before is not None and before.origin != believed.log.origin:
        found_and_wanted = f"remembers the log {before.origin}, and the trust file names {believed.log.origin}"
        raise ConfigurationError(f"{file}: {found_and_wanted}", code="bad-state")
    found = check_log(log, believed, before, now=datetime.now(UTC))
    if not any(alarm.code in ("log-rollback", "bad-proof") for alarm in found):
        save_state(file, log)
    if receipts:
        again = partial(read_log, hub, credentials, trust)
        found += _own_receipts(log, believed, hub=hub, credentials=credentials, again=again)
    checkpoint = log.checkpoint
    say(f"{checkpoint.origin}: size {checkpoint.size}, {len(found)} alarms")
    return found


def check_log(log: LogReader, believed: TrustFile, before: SeenCheckpoint | None, *, now: datetime) -> list[Alarm]:
    """Every alarm about the log itself."""
    from signwright.client.monitoring import Alarm, Monitor

    monitor = Monitor(believed.trial, believed.log.origin, believed.policy_root_sha256)
    found = []
    try:
        if before is not None:
            log.continues(before.size, bytes.fromhex(before.root))
    except SignwrightError as problem:
        found.append(Alarm(problem.code, problem.message))
    try:
        monitor.see(log.all_leaves())
    except (VerificationError, NotFoundError) as problem:
        code = problem.code if isinstance(problem, VerificationError) else "log-incomplete"
        return [*found, Alarm(code, problem.message)]
    except SignwrightError as problem:
        if problem.code not in ("bad-bundle", "bad-tile"):
            raise
        return [*found, Alarm(problem.code, problem.message)]
    cosigned = log.witnessed.cosigned.median_time
    if cosigned is not None and (now - cosigned).total_seconds() > 2 * 3600:
        found.append(Alarm("stale-checkpoint", f"the newest checkpoint was cosigned {cosigned:%Y-%m-%dT%H:%M:%SZ}"))
    return [*found, *monitor.end(now=now)]


def _own_receipts(
    log: LogReader,
    believed: TrustFile,
    *,
    hub: str | None,
    credentials: Path | None,
    again: Callable[[], tuple[LogReader, TrustFile]],
) -> list[Alarm]:
    """Count again what the caller may see: its own completed requests.

    A result comes home before the log's files are published: a leaf that is not there yet gets some seconds.
    """
    from signwright.cli.hubs import credentials_of, machine_hub
    from signwright.client.monitoring import Alarm
    from signwright.statements.bundle import ReceiptBundle

    found, counted = [], 0
    caller = machine_hub(hub, credentials_of(credentials))
    for view in caller.requests(state="completed", limit=MAX_RECEIPTS):
        for row in view.results:
            try:
                bundle = ReceiptBundle.decode(caller.result(view, row.artifact, "receipt"))
                log = _published(bundle, log, again)
                recheck(bundle, believed, log)
                counted += 1
            except SignwrightError as problem:
                found.append(Alarm(problem.code, f"request {view.id}, artifact {row.artifact}: {problem.message}"))
    say(f"{counted} receipts counted again")
    return found


def _published(
    bundle: ReceiptBundle,
    log: LogReader,
    again: Callable[[], tuple[LogReader, TrustFile]],
    *,
    tries: int = PUBLISHED_TRIES,
    pause: Callable[[float], None] = time.sleep,
) -> LogReader:
    """The log as soon as it holds every leaf that the receipt names, or as it was at the last try."""
    from signwright.transparency.proof import TlogProof

    last = max(TlogProof.parse(wave.intent.proof_text()).index for wave in bundle.waves)
    for _ in range(tries):
        if last < log.checkpoint.size:
            break
        pause(PUBLISHED_PAUSE)
        log, _ = again()
    return log


def recheck(bundle: ReceiptBundle, believed: TrustFile, log: LogReader) -> None:
    """Receipt key, proof, authorisation, and that the intent stands in the log as it is now.

    Raises `VerificationError` and `MalformedError`.
    """
    from signwright.client.authorisation import open_intent, recount
    from signwright.statements.bundle import open_envelope
    from signwright.statements.keys import verify_envelope

    if not verify_envelope(open_envelope(bundle.receipt), "receipt", list(believed.receipt_keys)):
        raise VerificationError("not signed by a receipt key of the trust file", code="unknown-receipt-key")
    intents = [open_intent(wave, believed.log_trust) for wave in bundle.waves]
    for wave, intent in zip(bundle.waves, intents, strict=True):
        content, _ = log.proof(intent.index)
        if content != wave.intent.leaf_bytes():
            raise VerificationError(f"leaf {intent.index} of the log is another: the log was forked", code="log-fork")
    if bundle.authorisation is not None:
        recount(bundle.authorisation, intents, policy_root_sha256=believed.policy_root_sha256)


def _default_state(believed: TrustFile) -> Path:
    """One file for each log: two homes on one machine are no fork of each other."""
    from signwright.client.seen_log import memory_file
    from signwright.client.sessions import state_folder

    return memory_file(believed.log_trust, state_folder() / "monitor")


def load_state(file: Path) -> SeenCheckpoint | None:
    """Raises `ConfigurationError`: memory that does not read is no fresh start."""
    from signwright.statements.parse import parse_model

    try:
        return parse_model(MonitorState, file.read_bytes()).seen
    except FileNotFoundError:
        say(f"{file}: nothing remembered yet; watching starts now")
        return None
    except (OSError, SignwrightError) as problem:
        raise ConfigurationError(f"{file}: the remembered checkpoint does not read", code="bad-state") from problem


def save_state(file: Path, log: LogReader) -> None:
    from signwright.client.files import write_private

    checkpoint = log.checkpoint
    if checkpoint.size:
        seen = SeenCheckpoint(origin=checkpoint.origin, size=checkpoint.size, root=checkpoint.root.hex())
        write_private(file, MonitorState(seen=seen).model_dump_json().encode())
