# SPDX-License-Identifier: Apache-2.0
"""`signwright monitor` and `signwright orphans` against a real home: its own log, its own witness, its own keys."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path

from signwright.client.trust import load_trust
from tests.support.homes import RunningHome
from tests.support.pe_builder import Pe
from tests.support.tools import require_tool


def sign_many(home: RunningHome, folder: Path, count: int) -> list[Path]:
    """Firmware images signed raw in one request."""
    files = [folder / f"fw{number}.bin" for number in range(count)]
    for file in files:
        file.write_bytes(secrets.token_bytes(64))
    ran = home.cli("sign", *files, "--policy", "default/test-raw", "--format", "raw", "--mode", "digest")
    assert ran.code == 0, ran.err
    return files


def test_monitor_of_an_honest_home_is_quiet_and_reads_each_leaf_once(home: RunningHome, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    sign_many(home, tmp_path, 1)
    ran = home.cli("monitor", "--from-state", state, "--output", "json")
    *alarms, look = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.code == 0, ran.out
    assert [row for row in alarms if row["severity"] == "error"] == []
    assert look["leaves"] == look["size"] > 0
    assert look["receipts"] >= 1
    again = json.loads(home.cli("monitor", "--from-state", state, "--output", "json").out.splitlines()[-1])
    assert again["leaves"] == again["size"] - look["size"]
    assert again["receipts"] == 0


def test_person_has_every_authorisation_counted_again_and_asks_the_witness(home: RunningHome, tmp_path: Path) -> None:
    file = tmp_path / "setup.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(16)).build())
    assert home.cli("sign", file, "--in-place").code == 0
    witness = load_trust(home.folder / "trust.json").witnesses[0]
    settings = (home.folder / "settings" / "courier.toml").read_text(encoding="utf-8")
    url = next(
        part
        for part in settings.split('"')
        if part.startswith("http://127.0.0.1") and part != home.env["SIGNWRIGHT_URL"]
    )
    asked = ("--witness", f"{witness.name}={url}", "--key", home.key("alice"), "--person", "alice")
    ran = home.cli("monitor", "--from-state", tmp_path / "s", "--output", "json", *asked)
    assert ran.code == 0, ran.out + ran.err
    *alarms, look = [json.loads(line) for line in ran.out.splitlines()]
    assert "witness-silent" not in {row["code"] for row in alarms}
    assert look["receipts"] >= look["signed"] >= 1


def test_files_of_a_home_are_no_orphans_also_where_results_were_folded(home: RunningHome, tmp_path: Path) -> None:
    sign_many(home, tmp_path, 26)
    program = tmp_path / "setup.exe"
    program.write_bytes(Pe(overlay=secrets.token_bytes(16)).build())
    assert home.cli("sign", program, "--in-place").code == 0
    for receipt in tmp_path.glob("*.swreceipt"):
        receipt.unlink()
    ran = home.cli("orphans", tmp_path, "--output", "json")
    last = json.loads(ran.out.splitlines()[-1])
    assert (ran.code, last["ours"], last["orphans"]) == (0, 27, 0), ran.out


def test_key_of_a_home_that_was_used_past_its_signer_leaves_an_orphan(home: RunningHome, tmp_path: Path) -> None:
    """A trial home's keys are files: whoever has the machine signs with one, as openssl does here."""
    openssl = require_tool("openssl", "openssl")
    keys = sorted((home.folder / "signer" / "keyholder").rglob("*.p8"))
    made = [tmp_path / f"evil{number}.bin.sig" for number, _ in enumerate(keys)]
    for key, file in zip(keys, made, strict=True):
        content = file.with_suffix("")
        content.write_bytes(b"evil")
        sign = [openssl, "dgst", "-sha256", "-sign", str(key), "-passin", f"file:{key.with_suffix('.pass')}"]
        subprocess.run([*sign, "-out", str(file), str(content)], check=True, capture_output=True)
    ran = home.cli("orphans", tmp_path)
    assert ran.code == 8, ran.err
    assert made
    assert {line.split()[1] for line in ran.out.splitlines()} == {str(path) for path in made}
