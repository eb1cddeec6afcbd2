# SPDX-License-Identifier: Apache-2.0
"""Five refusals that anybody meets, each with its reason. Whoever refuses is named: hub, scanner, a person's client."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

from signwright.cli.demo.processes import Ran, TrialHome
from signwright.cli.demo.report import Report
from signwright.client.hub import Hub, RequestView
from signwright.errors import UnavailableError
from signwright.model.digest import sha256_hex

#: More than a request ever goes through.
MOST_STATES = 16


def eicar() -> bytes:
    """The EICAR test file. It is put together here, so that no scanner takes this source for one."""
    halves = (r"X5O!P%@AP[4\PZX54(P^)7CC)7}$", "EICAR-STANDARD-", "ANTIVIRUS-TEST-", "FILE!$H+H*")
    return "".join(halves).encode("ascii")


def outcome(ran: Ran, effect: str = "deny") -> str:
    """``exit CODE: error code``, and the rules that said so. ``effect``: ``deny``, or ``await`` for what is missing."""
    error = ran.answer.get("error")
    reasons = error.get("reasons", []) if isinstance(error, dict) else []
    rules = sorted({str(row.get("rule")) for row in reasons if isinstance(row, dict) and row.get("effect") == effect})
    return f"exit {ran.code}: {ran.error_code}" + (f" ({', '.join(rules)})" if rules else "")


def half_approved(trial: TrialHome, report: Report, program: Path) -> None:
    """One approval of two; then somebody with a shell on the hub's machine changes the file before the second one."""
    request = submit(trial, program, policy="default/release")
    with trial.hub() as hub:
        wait_for_state(hub, request, "awaiting-approval")
        approve(trial, request, "alice")
        ran = trial.run("wait", request, "--timeout", "1", "--output", "json")
        name, wanted = "one approval of two", "exit 5: pending (approvals)"
        report.fact(name, wanted=wanted, found=outcome(ran, "await"), seconds=ran.seconds, text=reason(ran))
        _change_stored_file(trial, program)
        ran = approve(trial, request, "bob", must=False)
        name, wanted = "a file changed after approval", "exit 8: wrong-artifact"
        report.fact(name, wanted=wanted, found=outcome(ran), seconds=ran.seconds, text=reason(ran))
        hub.cancel(request)


def _change_stored_file(trial: TrialHome, program: Path) -> None:
    stored = stored_file(trial.home.folder, sha256_hex(program.read_bytes()))
    assert stored is not None
    changed = bytearray(stored.read_bytes())
    changed[len(changed) // 2] ^= 0xFF
    os.chmod(stored, 0o600)
    stored.write_bytes(changed)


def eicar_inside_a_zip(trial: TrialHome, report: Report) -> None:
    archive = trial.work / "setup.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("readme.txt", "nothing to see here\n")
        opened.writestr("bin/tool.com", eicar())
    ran = trial.run("sign", archive, "--policy", "default/release-file", "--output", "json")
    name = "EICAR inside a zip"
    report.fact(name, wanted="exit 9: scan (scan)", found=outcome(ran), seconds=ran.seconds, text=reason(ran))


def policy_not_for_this_credential(trial: TrialHome, report: Report, program: Path) -> None:
    """A build server that was given only the test credential asks for a release."""
    content = json.loads((trial.home / "credentials" / "ci.json").read_text(encoding="utf-8"))
    content["credentials"] = [row for row in content["credentials"] if row["kind"] == "test"]
    poor = trial.folder / "test-only.json"
    poor.touch(mode=0o600)
    poor.write_text(json.dumps(content), encoding="utf-8")
    ran = trial.run(
        "sign", program, "--policy", "default/release", "-o", trial.work / "never.exe", "--output", "json",
        SIGNWRIGHT_CREDENTIALS=str(poor),
    )  # fmt: skip
    name = "a policy that the credential may not use"
    report.fact(
        name,
        wanted="exit 3: submitter (submitter, submitter-kind)",
        found=outcome(ran),
        seconds=ran.seconds,
        text=reason(ran),
    )


def flipped_byte(trial: TrialHome, report: Report, signed: Path) -> None:
    flipped = trial.work / f"flipped-{signed.name}"
    content = bytearray(signed.read_bytes())
    content[0x400] ^= 1
    flipped.write_bytes(content)
    receipt = signed.with_name(signed.name + ".swreceipt")
    ran = trial.run("verify", flipped, "--receipt", receipt, "--output", "json", offline=True)
    name = "a flipped byte in a signed file"
    report.fact(name, wanted="exit 8: digest-mismatch", found=outcome(ran), seconds=ran.seconds, text=reason(ran))


def submit(trial: TrialHome, *files: Path, policy: str) -> str:
    """The address of a new request."""
    ran = trial.must("sign", *files, "--policy", policy, "--no-wait", "--again", "--output", "json")
    return str(ran.answer["request"])


def wait_for_state(hub: Hub, request: str, state: str) -> RequestView:
    """Raises `UnavailableError` when the request ends or does not get there."""
    view = hub.request(request)
    while view.state != state:
        if view.is_final or len(view.history) > MOST_STATES:
            raise UnavailableError(f"request {request} is {view.state}; wanted {state}", code="demo-state")
        view = hub.request(request, wait=20, after=view.state)
    return view


def approve(trial: TrialHome, request: str, person: str, *, must: bool = True) -> Ran:
    """``person`` looks and says yes, on a machine of their own."""
    words = ("approve", request, "--key", trial.home / "people" / person, "--yes", "--output", "json")
    return trial.must(*words, who=person) if must else trial.run(*words, who=person)


def reason(ran: Ran) -> str:
    """The first line that says why."""
    lines = [line.removeprefix("signwright: ") for line in ran.stderr.splitlines()]
    failed = [str(row["text"]) for row in ran.answer.get("checks", []) if row["ok"] is False]
    if failed:
        return failed[0][:200]
    wanted = [line for line in lines if line.startswith("reason:")] or [li for li in lines if li.startswith("error:")]
    return wanted[0].partition(": ")[2][:200] if wanted else ""


def stored_file(home: Path, sha256: str) -> Path | None:
    """Where the hub keeps the bytes of that digest, if it has them."""
    return next((path for path in (home / "hub").rglob(sha256) if path.is_file()), None)
