# SPDX-License-Identifier: Apache-2.0
"""A release as gate and keyholder get to see it: three people's approvals, verdicts on three files, a freshness
statement; signed with the keys of a trial home.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.cli import policy_text
from signwright.cli.bench.trial import append_text, copy_rule, enrol_key, sign_policy
from signwright.cli.demo.counting import leaves
from signwright.cli.home import Home
from signwright.cli.new_keys import TrialAuthority, new_p256, software_key
from signwright.client.credentials import MachineCredential, load_credentials
from signwright.client.policy_files import read_signed
from signwright.client.ssh_keys import PersonKey, load_person_key, make_key_files
from signwright.client.submit import Order, prepare_request
from signwright.client.trust import load_trust
from signwright.errors import UnavailableError
from signwright.model.digest import sha256_hex
from signwright.model.times import format_time
from signwright.policy.decide import decide
from signwright.policy.facts import Facts, gather
from signwright.policy.policy import Policy
from signwright.statements.dsse import Envelope, parse_envelope
from signwright.statements.keyfile import load_seed
from signwright.statements.models import Approval, Engine, Request, ScanEvidence, SeenCheckpoint, parse_statement
from signwright.statements.writing import sign_ed25519, statement_payload
from signwright.transparency.growth import Frontier

#: A signing policy that wants the approval of everybody in `PEOPLE`, and its key: P-256, of kind release.
RELEASE_POLICY, RELEASE_KEY = "bench-release", "bench-release"
PEOPLE = ("alice", "bob", "carol")
#: With the freshness statement, four pieces of evidence.
FILES = 3


def add_release_policy(home: Home) -> None:
    """Before the first start: a third approver, the key, and a signing policy made from ``default/release-file``."""
    carol = PEOPLE[-1]
    line = make_key_files(home / "people" / carol, comment=carol)
    append_text(home / "policy" / "people.yaml", policy_text.people_yaml({carol: line}).partition("\npeople:\n")[2])
    authority = TrialAuthority("signwright bench", mark="TRIAL", now=datetime.now(UTC))
    enrol_key(home, software_key(home, RELEASE_KEY, kind="release", make=new_p256, authority=authority))
    changes = {
        "  release-file:": f"  {RELEASE_POLICY}:",
        "key: release": f"key: {RELEASE_KEY}",
        "required: 2": f"required: {len(PEOPLE)}",
    }
    copy_rule(home, "release-file", changes)
    sign_policy(home)


@dataclass(frozen=True, slots=True)
class Release:
    """One request and everything that speaks for it."""

    request: Envelope
    approvals: tuple[Envelope, ...] = ()
    evidence: tuple[Envelope, ...] = ()

    def facts(self, policy: Policy, *, now: datetime) -> Facts:
        """What of it counts; raises `UnavailableError` unless the policy allows it: then nothing would be measured."""
        facts = gather(policy, self.request, approvals=self.approvals, evidence=self.evidence, now=now)
        decision = decide(policy, facts)
        if decision.outcome != "allow" or facts.ignored:
            said = [*map(str, decision.reasons), *facts.ignored]
            raise UnavailableError(f"the release is not allowed: {'; '.join(said)}", code="bench")
        return facts


@dataclass(frozen=True, slots=True)
class Site:
    """A trial home from the outside: the keys of everybody who signs something for a release."""

    home: Home
    policy: Policy
    credentials: tuple[MachineCredential, ...]
    people: Mapping[str, PersonKey]
    scanner: Ed25519PrivateKey
    files: tuple[Path, ...]

    def test(self) -> Release:
        """One file for a test key: nobody approves, nobody scans."""
        return Release(self._request(self.files[:1], "test-raw"))

    def release(self, seen: SeenCheckpoint) -> Release:
        """All files, approved by everybody, who saw the log at ``seen``; each verdict is a new one."""
        request = self._request(self.files, RELEASE_POLICY)
        approvals = tuple(self._approval(request, person, seen) for person in PEOPLE)
        fresh = parse_envelope((self.home / "policy" / "signed" / "freshness.json").read_bytes())
        return Release(request, approvals, (*map(self._verdict, self.files), fresh))

    def _request(self, files: tuple[Path, ...], name: str) -> Envelope:
        order, now = Order("default", name, mode="artifact"), datetime.now(UTC)
        return prepare_request(files, order, policy=self.policy, credentials=self.credentials, now=now).envelope

    def _approval(self, request: Envelope, person: str, seen: SeenCheckpoint) -> Envelope:
        statement, now = parse_statement(request, Request), datetime.now(UTC)
        values: dict[str, Any] = {
            "decision": "approve",
            "person": person,
            "project": statement.predicate.project,
            "signing_policy": statement.predicate.signing_policy,
            "policy_sha256": self.policy.sha256,
            "checkpoint": seen,
            "artifacts_rehashed": True,
            "created": format_time(now),
            "expires": format_time(now + timedelta(hours=24)),
        }
        subjects = [("request", statement.digest), *((s.name, s.digest.sha256) for s in statement.subjects)]
        return self.people[person].sign_statement(statement_payload(Approval(**values), subjects), "approval")

    def _verdict(self, file: Path) -> Envelope:
        engine = Engine(name="yara-x", version="1", definitions="bench")
        verdict = ScanEvidence(
            verdict="clean",
            engines=(engine,),
            members=0,
            sandbox="required",
            created=format_time(datetime.now(UTC)),
        )
        return sign_ed25519(statement_payload(verdict, [("artifact", sha256_hex(file.read_bytes()))]), self.scanner)


def site_of(home: Home, folder: Path) -> Site:
    """``folder``: where the files come; the home was made with `add_release_policy`."""
    files = tuple(folder / f"part-{number}.bin" for number in range(FILES))
    for number, file in enumerate(files):
        file.write_bytes(b"part %d of a release\n" % number * 50)
    return Site(
        home,
        read_signed(home / "policy" / "signed", pinned_root_sha256=None).policy,
        load_credentials(home / "credentials" / "ci.json"),
        {name: load_person_key(home / "people" / name, lambda _: "") for name in PEOPLE},
        load_seed((home / "scanner" / "scanner.key").read_text(encoding="ascii")),
        files,
    )


def seen_log(home: Home) -> SeenCheckpoint:
    """The home's whole log, as an approver who looked at it has seen it."""
    growth = Frontier().grow(leaves(home.folder))
    origin = load_trust(home / "trust.json").log.origin
    return SeenCheckpoint(origin=origin, size=growth.size, root=growth.root.hex())
