# SPDX-License-Identifier: Apache-2.0
"""Taking an outside witness into a home: policy sources, courier settings, trust file; made before one is written."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from signwright.cli.console import say, warn
from signwright.cli.home import Home
from signwright.cli.policy import read_yaml
from signwright.cli.policy_edit import added_row, changed_number
from signwright.cli.settings_text import q
from signwright.client.files import replace_file
from signwright.client.http import check_transport
from signwright.client.trust import TrustFile, load_trust
from signwright.client.witness_lines import LogLine, WitnessLine
from signwright.errors import MalformedError, UsageError
from signwright.model.operation import Strict
from signwright.policy.documents import Organisation, Quorum, Services, Witness
from signwright.policy.operators import witness_problems
from signwright.statements.parse import validate_model


@dataclass(frozen=True, slots=True)
class _Change:
    file: Path
    content: bytes


def join_witness(home: Home, asked: WitnessLine, *, outside: int | None) -> LogLine:
    """Write ``asked`` into the files of ``home``; the line for the witness's operator. Raises `UsageError`."""
    check_transport(asked.url)
    sources = home / "policy"
    services = _document(sources / "services.yaml", Services)
    organisation = _document(sources / "organisation.yaml", Organisation)
    assert isinstance(services, Services)
    assert isinstance(organisation, Organisation)
    witness = Witness(name=asked.name, key=asked.key, operator=asked.operator, outside=True)
    quorum = services.quorum if outside is None else services.quorum.model_copy(update={"outside": outside})
    _check(services, witness, organisation=organisation.name, quorum=quorum)
    changes = [
        _Change(sources / "services.yaml", _services_text(sources / "services.yaml", witness, outside)),
        _Change(home.settings("courier"), _courier_text(home.settings("courier"), asked)),
    ]
    trust = _trust(home, witness)
    if trust is not None:
        changes.append(_Change(home / "trust.json", trust.encode()))
    for change in changes:
        replace_file(change.file, change.content)
        say(f"written: {change.file}")
    _say_what_counts(quorum, trust)
    return LogLine(services.log.origin, services.log.key)


def _check(services: Services, witness: Witness, *, organisation: str, quorum: Quorum) -> None:
    if any(one.name == witness.name for one in services.witnesses):
        raise UsageError(f"witness {witness.name!r} is in the policy already", code="exists", hint="--name NAME")
    own = [("the gate", services.gate_key), *(("a receipt key", key) for key in services.receipt_keys)]
    own += [(f"scanner {scanner.name}", scanner.public_key) for scanner in services.scanners]
    rows = (*services.witnesses, witness)
    problems = list(witness_problems(organisation, services.log, rows, quorum=quorum, own_keys=own))
    if problems:
        raise UsageError("; ".join(problems), code="bad-witness")


def _services_text(file: Path, witness: Witness, outside: int | None) -> bytes:
    row = {"name": witness.name, "key": witness.key, "operator": witness.operator, "outside": True}
    text = added_row(file, file.read_text(encoding="utf-8"), "witnesses", row)
    return (text if outside is None else changed_number(file, text, ("quorum", "outside"), outside)).encode()


def _courier_text(file: Path, asked: WitnessLine) -> bytes:
    """The settings with one line more in the table of witnesses, everything else as it was."""
    text = file.read_text(encoding="utf-8")
    before = tomllib.loads(text)
    known = before.get("witnesses", {})
    if known.get(asked.name, asked.url) != asked.url:
        raise UsageError(f"{file}: witness {asked.name!r} has the address {known[asked.name]!r}", code="exists")
    if asked.name not in known:
        lines = text.splitlines()
        at = next((i for i, line in enumerate(lines) if line.split("#")[0].strip() == "[witnesses]"), None)
        if at is None:
            lines += ["", "[witnesses]"]
            at = len(lines) - 1
        lines.insert(at + 1, f"{q(asked.name)} = {q(asked.url)}")
        text = "\n".join(lines) + "\n"
    if tomllib.loads(text) != {**before, "witnesses": {**known, asked.name: asked.url}}:
        raise UsageError(f"{file}: written in a way that cannot be added to here", code="edit-by-hand")
    return text.encode()


def _trust(home: Home, witness: Witness) -> TrustFile | None:
    """The home's trust file with one witness more; its quorum stays, or older receipts would no longer verify."""
    if not (home / "trust.json").is_file():
        return None
    trust = load_trust(home / "trust.json")
    if any(one.key == witness.key for one in trust.witnesses):
        return None
    return trust.model_copy(update={"witnesses": (*trust.witnesses, witness)})


def _say_what_counts(quorum: Quorum, trust: TrustFile | None) -> None:
    if quorum.outside == 0:
        warn("the policy's quorum wants no outside witness yet: signatures do not wait for it (--outside 1 demands it)")
    if trust is not None and trust.quorum.outside == 0:
        say("trust.json now knows the witness and still takes receipts without it, such as older ones; to demand it,")
        say("raise quorum.outside there. Hand the file on: signwright trust export")


def _document(file: Path, model: type[Strict]) -> Strict:
    try:
        return validate_model(model, read_yaml(file).content)
    except MalformedError as problem:
        raise UsageError(f"{file}: {problem.message}", code="bad-policy-source") from problem
