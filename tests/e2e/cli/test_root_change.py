# SPDX-License-Identifier: Apache-2.0
"""The policy root changes while everything runs: two keepers instead of one, then the first one is replaced.

The tests build on each other: what one has put in force is what the next one begins with.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from signwright.cli.gate_socket import ask_gate
from signwright.cli.home import Home
from signwright.client.hub import PolicyParts
from signwright.client.partial import read_partial
from signwright.client.policy_files import read_parts
from signwright.client.ssh_keys import make_key_files
from signwright.errors import DeniedError
from signwright.statements.dsse import Envelope
from tests.support.homes import RunningHome, ok, running_home
from tests.support.pe_builder import Pe
from tests.support.processes import wait_until

KEEPERS = ("keeper", "carol", "dave")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHome]:
    folder = tmp_path_factory.mktemp("roots")
    with running_home(folder / "h", folder / "state") as running:
        for name in KEEPERS[1:]:
            make_key_files(running.folder / "keeper" / name, comment=name)
        yield running


def key(home: RunningHome, name: str) -> Path:
    return home.folder / "keeper" / name


def public(home: RunningHome, name: str) -> Path:
    return home.folder / "keeper" / f"{name}.pub"


def in_force(home: RunningHome, version: int) -> None:
    """The signer's own word, not the hub's."""

    def said() -> bool:
        findings = home.cli("doctor", "--home", home.folder, "--output", "json").json["findings"]
        return not any(f["level"] == "bad" for f in findings)

    assert json.loads(ok(home, "policy", "show", home.folder, "--output", "json"))["version"] == version
    wait_until(said, what="the signer takes the policy", seconds=60)


def released(home: RunningHome, folder: Path, name: str) -> Path:
    """A signed release with its receipt."""
    file = folder / f"{name}.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(16)).build())
    request = home.cli("sign", file, "--policy", "default/release", "--no-wait").out.strip()
    wait_until(lambda: "awaiting-approval" in home.cli("status", request).out, what="scan", seconds=30)
    home.approve(request)
    ok(home, "wait", request)
    ok(home, "fetch", request, file, "--in-place")
    return file


def test_root_is_changed_twice_and_releases_from_before_and_after_verify(
    own: RunningHome, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("files")
    trust = (own.folder / "trust.json").read_bytes()
    shutil.copytree(own.folder / "policy", own.folder / "old" / "policy")
    shutil.copy(own.folder / "trust.json", own.folder / "old")
    before = released(own, folder, "before")

    drafted = ok(
        own, "root", "new", own.folder, "--add", f"keeper={public(own, 'carol')}", "--add",
        f"panic={public(own, 'carol')}", "--threshold", "root=2", "--threshold", "policy=2",
    )  # fmt: skip
    assert "policy keepers who must sign: from 1 to 2" in drafted
    ok(own, "root", "sign", own.folder, "--key", key(own, "keeper"), "--yes")
    early = own.cli("root", "apply", own.folder, "--key", key(own, "keeper"), "--yes")
    assert early.code == 3
    assert "1 of 2 signed" in early.err
    ok(own, "root", "sign", own.folder, "--key", key(own, "carol"), "--yes")
    ok(own, "root", "apply", own.folder, "--key", key(own, "keeper"), "--yes")
    lonely = own.cli("policy", "apply", own.folder, "--yes")
    assert lonely.code == 3
    assert "1 of 2 signed" in lonely.err
    ok(own, "policy", "sign", own.folder, "--key", key(own, "carol"), "--yes")
    ok(own, "policy", "apply", own.folder, "--yes")
    in_force(own, 2)
    between = released(own, folder, "between")

    ok(
        own, "root", "new", own.folder, "--add", f"keeper={public(own, 'dave')}",
        "--remove", f"keeper={public(own, 'keeper')}", "--remove", f"panic={public(own, 'keeper')}",
    )  # fmt: skip
    for name in ("keeper", "carol", "dave"):
        ok(own, "root", "sign", own.folder, "--key", key(own, name), "--yes")
    ok(own, "root", "apply", own.folder, "--key", key(own, "dave"), "--yes")
    ok(own, "policy", "sign", own.folder, "--key", key(own, "carol"), "--yes")
    ok(own, "policy", "apply", own.folder, "--yes", "--key", key(own, "dave"))
    in_force(own, 3)
    after = released(own, folder, "after")

    assert (own.folder / "trust.json").read_bytes() == trust
    for file in (before, between, after):
        verified = own.cli("verify", file)
        assert verified.code == 0, verified.out
        assert "approved by alice, bob" in verified.out
    assert not (own.folder / "policy" / "root-next.json").exists()


def test_keeper_who_was_replaced_can_change_nothing(own: RunningHome) -> None:
    refused = own.cli("policy", "sign", own.folder, "--key", key(own, "keeper"), "--yes")
    assert refused.code == 3
    assert "is not a policy keeper's" in refused.err
    drafted = own.cli("root", "new", own.folder, "--threshold", "policy=1")
    assert drafted.code == 0
    refused = own.cli("root", "sign", own.folder, "--key", key(own, "keeper"), "--yes")
    assert refused.code == 3
    assert "is not a root keeper's" in refused.err
    shown = own.cli("root", "show", own.folder, "--output", "json").json
    assert shown["version"] == 3
    assert shown["next"]["old"]["signed"] == []


def test_policy_that_a_replaced_keeper_signs_under_the_old_root_is_not_taken(own: RunningHome) -> None:
    """The old files and key still make a policy in which every signature holds; neither hub nor signer takes it."""
    old = own.folder / "old"
    for _ in range(4):  # until its version is above the one in force
        ok(own, "policy", "apply", old, "--no-post", "--yes", "--key", key(own, "keeper"))
    assert json.loads(ok(own, "policy", "show", old, "--output", "json"))["version"] == 5
    posted = own.cli("policy", "apply", old, "--post-only")
    assert posted.code == 3
    assert "does not come from root 3" in posted.err
    in_force(own, 3)


def test_certification_request_takes_two_keepers_on_two_machines(own: RunningHome, tmp_path: Path) -> None:
    begun, out = tmp_path / "operation.json", tmp_path / "r.csr"
    common = ("key", "csr", "--home", own.folder, "--yes")
    asked = ("--key", "release", "--common-name", "Five People Software")
    assert "1 of 2 signed" in ok(own, *common, *asked, "--keeper", key(own, "carol"), "--sign-only", begun)
    early = own.cli(*common, "--from", begun, "-o", out)
    assert early.code == 3
    with pytest.raises(DeniedError) as refused:  # and the gate does not take the command's word for it
        ask_gate(Home(own.folder), {"type": "key-operation"}, [read_partial(begun).encode()])
    assert refused.value.code == "too-few-keepers"
    assert (
        "is not a policy keeper's" in own.cli(*common, "--from", begun, "--keeper", key(own, "keeper"), "-o", out).err
    )
    assert "2 of 2 signed" in ok(own, *common, "--keeper", key(own, "dave"), "--sign-only", begun)
    ok(own, *common, "--from", begun, "-o", out)
    assert x509.load_pem_x509_csr(out.read_bytes()).is_signature_valid


def offer_to_the_gate(home: RunningHome, parts: PolicyParts) -> str:
    """Past the hub, at the gate's own socket, as a courier would; the code of its refusal."""
    message: dict[str, object] = {"type": "policy", "documents": list(parts.documents)}
    content = [parts.root.encode(), parts.policy.encode(), *parts.documents.values()]
    with pytest.raises(DeniedError) as refused:
        ask_gate(Home(home.folder), message, content)
    return refused.value.code


def test_gate_believes_no_courier(own: RunningHome) -> None:
    newest = read_parts(own.folder / "policy" / "signed")
    lonely = Envelope(newest.policy.payload, newest.policy.signatures[:1])
    rootless = {name: content for name, content in newest.documents.items() if not name.startswith("roots/")}
    halved = {**newest.documents}
    del halved["roots/2"]
    assert offer_to_the_gate(own, read_parts(own.folder / "old" / "policy" / "signed")) == "root-rollback"
    assert offer_to_the_gate(own, PolicyParts(newest.root, lonely, newest.documents)) == "too-few-keepers"
    assert offer_to_the_gate(own, PolicyParts(newest.root, newest.policy, rootless)) == "unknown-policy-root"
    assert offer_to_the_gate(own, PolicyParts(newest.root, newest.policy, halved)) == "policy-root-version"
    in_force(own, 3)


def test_monitor_counts_everything_again_across_the_roots(own: RunningHome) -> None:
    ran = own.cli("monitor", "--once", "--output", "json")
    assert ran.code == 0, ran.out + ran.err
    look = next(row for row in map(json.loads, ran.out.splitlines()) if row["type"] == "look")
    assert (look["errors"], look["receipts"]) == (0, 3)


def test_all_processes_come_up_again_under_the_newest_root(own: RunningHome, tmp_path: Path) -> None:
    ok(own, "down", "--home", own.folder)
    command = own.command("up", "--home", own.folder, "--detach")  # leaves the supervisor behind
    subprocess.run(command, env=own.env, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    file = released(own, tmp_path, "later")
    assert own.cli("verify", file).code == 0
