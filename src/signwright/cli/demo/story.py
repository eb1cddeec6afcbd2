# SPDX-License-Identifier: Apache-2.0
"""The demonstration, step by step: each step is a function, measured, and leaves facts in the report."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from signwright.cli.demo import keepers, refusals
from signwright.cli.demo.counting import key_use
from signwright.cli.demo.lies import LIES, Loot, honest_request, loot_of, replayed_request, same_result, told
from signwright.cli.demo.loopback import address_of
from signwright.cli.demo.lying_hub import LyingHub
from signwright.cli.demo.lying_witness import LyingWitness
from signwright.cli.demo.processes import Children, Ran, TrialHome, processes_of, still_running
from signwright.cli.demo.replay import hostile_gate
from signwright.cli.demo.report import Report
from signwright.client.trust import load_trust
from signwright.errors import ConfigurationError
from signwright.model.digest import sha256_hex
from signwright.statements.bundle import ReceiptBundle
from signwright.transparency.leaf import parse_leaf
from signwright.transparency.proof import TlogProof

#: Windows programs that this project did not write, from the distlib wheel in the lock, by their SHA-256.
PROGRAMS = {
    "t64.exe": "81a618f21cb87db9076134e70388b6e9cb7c2106739011b6a51772d22cae06b7",
    "w64.exe": "7a319ffaba23a017d7b1e18ba726ba6c54c53d6446db55f92af53c279894f8ad",
    "t32.exe": "6b4195e640a85ac32eb6f9628822a622057df1e459df7c17a12f97aeabc9415b",
}
KEYHOLDER_CHILDREN = 2


@dataclass
class Story:
    """``signed``: files to verify, each with the file that a detached signature is about, if it is one."""

    trial: TrialHome
    report: Report
    signed: list[tuple[Path, Path | None]] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)

    @property
    def _work(self) -> Path:
        return self.trial.work

    def tell(self) -> None:
        """All steps; raises what keeps one from going on."""
        steps: tuple[tuple[str, Callable[[], None]], ...] = (
            ("test-sign a real Windows program, no human step", self.test_sign),
            ("release two files at once, approved by two people", self.release),
            ("a detached CMS signature, and a program that never leaves the client", self.detached_and_digest),
            ("verify everything offline: file, receipt, trust file", self.verify_offline),
            ("five refusals", self.five_refusals),
            ("halt, resume, go-live, freshness: what keepers can say", self.keepers_words),
            ("a lying hub in front of the same signer", self.lying_hub),
            ("nothing is left running", self.nothing_left),
        )
        with self.report.step(0, "start hub, scanner, courier, gate, keyholder, witness and TSA in a fresh home"):
            self.start()
        for number, (title, work) in enumerate(steps, 1):
            with self.report.step(number, title):
                work()

    def start(self) -> None:
        for name, sha256 in PROGRAMS.items():
            content = _program(name)
            if sha256_hex(content) != sha256:
                raise ConfigurationError(
                    f"{name} of distlib has SHA-256 {sha256_hex(content)}; wanted {sha256}",
                    code="demo-program",
                    hint="install what requirements.lock pins",
                )
            (self._work / name).write_bytes(content)
        trial = self.trial
        made = trial.must("init", "--home", trial.home.folder, "--release-store", "software", "--output", "json")
        trial.read_environment()
        up = trial.must("up", "--home", trial.home.folder, "--detach")
        self.pids |= processes_of(trial.home.folder)
        self.report.fact("trial home", wanted="True", found=str(made.answer.get("trial")), seconds=made.seconds)
        text = f"{len(self.pids)} processes"
        self.report.fact("ready", wanted="ready", found=up.stdout.split()[0], seconds=up.seconds, text=text)

    def test_sign(self) -> None:
        output = self._work / "t64-test.exe"
        ran = self.trial.must("sign", "t64.exe", "-o", output, "--output", "json")
        (row,) = ran.answer["files"]
        self.report.line(f"t64.exe of distlib {metadata.version('distlib')}, sha256:{PROGRAMS['t64.exe'][:16]}…")
        found = f"{ran.answer['state']}, {row['grade']}"
        self.report.fact("test signature", wanted="completed, test", found=found, seconds=ran.seconds)
        self.report.fact("source is the pinned file", wanted=PROGRAMS["t64.exe"], found=row["source_sha256"])
        self.signed.append((output, None))

    def release(self) -> None:
        trial, report = self.trial, self.report
        out = self._work / "release"
        out.mkdir()
        files = [self._work / name for name in ("t64.exe", "w64.exe")]
        request = refusals.submit(trial, *files, policy="default/release")
        with trial.hub() as hub:
            view = refusals.wait_for_state(hub, request, "awaiting-approval")
            waiting = "; ".join(row["found"] for row in view.reasons if row.get("effect") == "await")
            report.fact("request waits", wanted="awaiting-approval", found=view.state, text=waiting)
            self._approve(request)
            ended = refusals.wait_for_state(hub, request, "completed")
        got = trial.must("fetch", request, *files, "-o", out, "--output", "json")
        found = f"{ended.state}, {len(got.answer['files'])} files"
        report.fact("both come back", wanted="completed, 2 files", found=found, seconds=got.seconds)
        for row in got.answer["files"]:
            self.signed.append((Path(row["output"]), None))
            said = f"{'TRIAL ' if row['trial'] else ''}{row['grade']} by {', '.join(row['people'])}"
            report.fact(f"receipt of {Path(row['output']).name}", wanted="TRIAL release by alice, bob", found=said)

    def _approve(self, request: str) -> None:
        """Two people, each with their own SSH key on a machine of their own; what the first one sees is shown."""
        for person in ("alice", "bob"):
            ran = refusals.approve(self.trial, request, person)
            if person == "alice":
                for line in ran.stderr.splitlines():
                    self.report.line(line.removeprefix("signwright: "))
            self.report.fact(f"{person} approves", wanted="approve", found=ran.answer["decision"], seconds=ran.seconds)

    def detached_and_digest(self) -> None:
        trial, report = self.trial, self.report
        notes = self._work / "notes.txt"
        notes.write_text("Any file at all can be signed.\n", encoding="utf-8")
        ran = trial.must("sign", notes, "--policy", "default/test-file", "--output", "json")
        (row,) = ran.answer["files"]
        found = f"{ran.answer['state']}: {Path(row['output']).name}"
        report.fact("detached CMS", wanted="completed: notes.txt.p7s", found=found, seconds=ran.seconds)
        self.signed.append((Path(row["output"]), notes))
        output = self._work / "t32-digest.exe"
        ran = trial.must("sign", "t32.exe", "--mode", "digest", "-o", output, "--output", "json")
        found = f"{ran.answer['state']}, {ran.answer['mode']} mode"
        report.fact("digest mode", wanted="completed, digest mode", found=found, seconds=ran.seconds)
        self.signed.append((output, None))
        held = {sha256_hex(path.read_bytes()) for path in (trial.home / "hub").rglob("*") if path.is_file()}
        found = ", ".join(name for name, sha256 in sorted(PROGRAMS.items()) if sha256 in held)
        text = "t32.exe was signed by its digest and never uploaded"
        report.fact("programs that the hub holds", wanted="t64.exe, w64.exe", found=found, text=text)

    def verify_offline(self) -> None:
        def verify(row: tuple[Path, Path | None]) -> Ran:
            about: list[str | Path] = ["--content", row[1]] if row[1] else []
            return self.trial.run("verify", row[0], *about, "--output", "json", offline=True)

        with ThreadPoolExecutor(2) as two:
            for (file, _), ran in zip(self.signed, two.map(verify, self.signed), strict=True):
                self._show_checks(file, ran)
        self._show_proof(self.signed[1][0])

    def _show_checks(self, file: Path, ran: Ran) -> None:
        checks = ran.answer.get("checks", [])
        self.report.line(f"{file.relative_to(self._work)}")
        for row in checks:
            mark = {True: "ok", False: "FAILED", None: "-"}[row["ok"]]
            self.report.line(f"  {mark:<7} {row['name']:<14} {row['text'][:140]}")
        good = sum(row["ok"] is True for row in checks)
        found = f"exit {ran.code}, {sum(row['ok'] is False for row in checks)} failed"
        name = f"verify {file.relative_to(self._work)}"
        self.report.fact(name, wanted="exit 0, 0 failed", found=found, seconds=ran.seconds, text=f"{good} checks ok")

    def _show_proof(self, file: Path) -> None:
        """The log entry of a release and its inclusion proof, from the receipt, against the trust file."""
        receipt = file.with_name(file.name + ".swreceipt")
        bundle = ReceiptBundle.decode(receipt.read_bytes())
        logged = bundle.waves[0].intent
        proof = TlogProof.parse(logged.proof_text())
        trust = load_trust(self.trial.home / "trust.json").log_trust
        witnessed = proof.verify(logged.leaf_bytes(), trust)
        self.report.line(f"log entry {proof.index}:")
        for name, value in parse_leaf(logged.leaf_bytes()).model_dump(mode="json").items():
            self.report.line(f"  {name}: {json.dumps(value)[:120]}")
        self.report.line("inclusion proof:")
        for line in proof.encode().decode("utf-8").splitlines():
            self.report.line(f"  {line[:120]}")
        names = ", ".join(witnessed.cosigned.witnesses)
        found = f"leaf {proof.index} of {witnessed.checkpoint.size}, cosigned by {names}"
        self.report.fact(
            "inclusion", wanted=f"leaf {proof.index} of {witnessed.checkpoint.size}, cosigned by local", found=found
        )

    def five_refusals(self) -> None:
        trial, report, program = self.trial, self.report, self._work / "t64.exe"
        refusals.half_approved(trial, report, program)
        refusals.eicar_inside_a_zip(trial, report)
        refusals.policy_not_for_this_credential(trial, report, program)
        refusals.flipped_byte(trial, report, self.signed[1][0])

    def keepers_words(self) -> None:
        keepers.halt_and_resume(self.trial, self.report)
        keepers.go_live(self.trial, self.report)
        self._newest.parent.mkdir()
        keepers.freshness(self.trial, self.report, self._newest)

    @property
    def _newest(self) -> Path:
        """The release that was made under the policy in force."""
        return self._work / "live" / "w64.exe"

    def lying_hub(self) -> None:
        """The honest hub ends; a liar takes its address, and the same courier, gate and keyholder come back to it."""
        trial, report = self.trial, self.report
        with trial.hub() as hub:
            checkpoint = hub.checkpoint()
        self.pids |= processes_of(trial.home.folder)
        trial.must("down", "--home", trial.home.folder)
        receipt = self._newest.with_name(self._newest.name + ".swreceipt")
        loot = loot_of(trial.home.folder, program=self._work / "w64.exe", receipt=receipt, checkpoint=checkpoint)
        before = key_use(trial.home.folder)
        with LyingHub(address_of(trial.variables["SIGNWRIGHT_URL"])) as liar, Children(trial.home) as children:
            children.start("witness", "signer")
            children.start("courier")
            self.pids |= processes_of(trial.home.folder, also=children.pids)
            self._lie(liar, loot)
            children.stop("witness")
            self._lie_about_witness(liar, loot)
        self._replay_order(loot)
        operations = key_use(trial.home.folder).since(before)
        report.numbers["key_operations"] = operations
        text = "by the keyholder's claims and counters and by the log's result leaves"
        report.fact("key operations in all this", wanted="0", found=str(operations), text=text)

    def _lie(self, liar: LyingHub, loot: Loot) -> None:
        for lie in LIES:
            found, answer = told(liar, lie.tell(loot))
            text = f"gate: {answer.message[:150]}"
            self.report.fact(lie.name, wanted=lie.wanted, found=found, seconds=answer.seconds, text=text)
        found, answer = told(liar, replayed_request(loot))
        same = "the first result again" if same_result(answer, loot.bundle) else f"something else ({found})"
        text = "gate: same log entry, no key used, nothing new"
        self.report.fact(
            "replayed request", wanted="the first result again", found=same, seconds=answer.seconds, text=text
        )

    def _lie_about_witness(self, liar: LyingHub, loot: Loot) -> None:
        """Everything is in order, but who answers in the witness's place has not its key."""
        courier = tomllib.loads(self.trial.home.settings("courier").read_text(encoding="utf-8"))
        (witness,) = loot.trust.log_trust.quorum.witnesses
        with LyingWitness(address_of(courier["witnesses"][witness.name]), witness) as forger:
            found, answer = told(liar, honest_request(loot))
        asked = "it was asked" if forger.asked else "nobody asked it"
        text = f"gate: {answer.message[:150]}; {asked}"
        name = "missing cosignature"
        self.report.fact(name, wanted="failed/no-quorum", found=found, seconds=answer.seconds, text=text)

    def _replay_order(self, loot: Loot) -> None:
        """Even a gate in the attacker's hands gets nothing from an intent that was used: both copies are refused."""
        with hostile_gate(self.trial.home, children=KEYHOLDER_CHILDREN) as gate:
            frames = gate.ask([gate.order(loot, number) for number in range(1, KEYHOLDER_CHILDREN + 1)])
        found = ", ".join(
            f"{'signed' if f.message.get('ok') else 'refused'} {f.message.get('code', '')}" for f in frames
        )
        text = f"keyholder: {frames[0].message.get('message')}"
        wanted = ", ".join(["refused not-started"] * KEYHOLDER_CHILDREN)
        self.report.fact("order replayed to a second keyholder child", wanted=wanted, found=found, text=text)

    def nothing_left(self) -> None:
        """The home went down before the liar came, and the liar's own children with it: nothing is left."""
        self.pids |= processes_of(self.trial.home.folder)
        left = still_running(self.pids)
        self.report.numbers["left_running"] = len(left)
        text = f"{len(self.pids)} process ids were looked for"
        self.report.fact("left running", wanted="0", found=str(len(left)), text=text)


def _program(name: str) -> bytes:
    """A file of the installed distlib; raises `ConfigurationError` when that is not installed."""
    try:
        found = next(file for file in metadata.files("distlib") or () if file.name == name)
    except (metadata.PackageNotFoundError, StopIteration) as problem:
        raise ConfigurationError(
            f"the demonstration signs {name} of distlib, which is not installed",
            code="demo-program",
            hint="pip install 'signwright[server,demo]'",
        ) from problem
    return Path(str(found.locate())).read_bytes()
