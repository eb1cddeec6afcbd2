# SPDX-License-Identifier: Apache-2.0
"""Two of three keepers sign a policy one after the other; nothing runs here but the command line."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from signwright.client.ssh_keys import make_key_files
from tests.support.homes import RunningHome, ok
from tests.support.terminal import on_terminal

NO_POST = ("--yes", "--no-post")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that ``init`` made, with keys of two more keepers."""
    folder = tmp_path_factory.mktemp("keepers") / "h"
    command = [sys.executable, "-m", "signwright.cli", "init", "--home", str(folder)]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SIGNWRIGHT_") or k == "SIGNWRIGHT_SIGNER_ENV"}
    subprocess.run(command, env=kept, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    for name in ("carol", "dave"):
        make_key_files(folder / "keeper" / name, comment=name)
    return folder


@pytest.fixture
def alone(made: Path, tmp_path: Path) -> RunningHome:
    """One keeper."""
    shutil.copytree(made, tmp_path / "h", symlinks=True)
    return RunningHome(tmp_path / "h", tmp_path / "state")


@pytest.fixture
def three(alone: RunningHome) -> RunningHome:
    """Three keepers of whom two must sign, for root and policy."""
    add = [part for name in ("carol", "dave") for part in ("--add", f"keeper={key(alone, name)}.pub")]
    ok(alone, "root", "new", alone.folder, *add, "--threshold", "root=2", "--threshold", "policy=2")
    for name in ("keeper", "carol"):
        ok(alone, "root", "sign", alone.folder, "--key", key(alone, name), "--yes")
    ok(alone, "root", "apply", alone.folder, *NO_POST)
    ok(alone, "policy", "sign", alone.folder, "--key", key(alone, "carol"), "--yes")
    ok(alone, "policy", "apply", alone.folder, *NO_POST)
    return alone


def key(home: RunningHome, name: str) -> Path:
    return home.folder / "keeper" / name


def refused(home: RunningHome, *arguments: object, code: int = 3) -> str:
    ran = home.cli(*arguments)
    assert ran.code == code, ran.out + ran.err
    return ran.err


def edit(home: RunningHome, old: str, new: str) -> None:
    file = home.folder / "policy" / "organisation.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def version(home: RunningHome) -> int:
    return int(json.loads(ok(home, "policy", "show", home.folder, "--output", "json"))["version"])


def next_of(home: RunningHome) -> dict[str, object] | None:
    found: dict[str, object] | None = json.loads(ok(home, "policy", "show", home.folder, "--next", "--output", "json"))[
        "next"
    ]
    return found


def test_two_of_three_sign_and_the_third_is_not_needed(three: RunningHome) -> None:
    edit(three, "retention_days: 365", "retention_days: 364")
    assert "0 of 2 signed (nobody)" not in refused(three, "policy", "apply", three.folder, *NO_POST)
    first = ok(three, "policy", "sign", three.folder, "--key", key(three, "dave"), "--yes")
    assert "organisation minimum for retention_days of a release: from 365 to 364" in first
    assert "1 of 2 signed" in first
    said = next_of(three)
    assert said is not None
    assert (said["version"], said["wanted"], len(said["missing"]), said["complete"]) == (3, 2, 2, False)  # type: ignore[arg-type]
    assert "1 of 2 signed" in refused(three, "policy", "apply", three.folder, *NO_POST)
    assert version(three) == 2
    second = ok(three, "policy", "sign", three.folder, "--key", key(three, "carol"), "--yes")
    assert "from 365 to 364" in second  # shown again to whoever signs next
    ok(three, "policy", "apply", three.folder, *NO_POST)
    assert version(three) == 3
    assert next_of(three) is None
    assert not (three.folder / "policy" / "next").exists()


def test_one_keeper_who_signs_twice_counts_once(three: RunningHome) -> None:
    for _ in range(2):
        told = ok(three, "policy", "sign", three.folder, "--key", key(three, "carol"), "--yes")
        assert "1 of 2 signed" in told
    refused(three, "policy", "apply", three.folder, *NO_POST)


def test_sources_that_changed_since_the_first_signature_are_refused(three: RunningHome) -> None:
    ok(three, "policy", "sign", three.folder, "--key", key(three, "carol"), "--yes")
    edit(three, "approvals: 2", "approvals: 1")
    told = refused(three, "policy", "sign", three.folder, "--key", key(three, "dave"), "--yes", code=1)
    assert "the sources are not what the first keeper signed: organisation differ" in told
    assert next_of(three)["signed"] != []  # type: ignore[index]
    again = ok(three, "policy", "sign", three.folder, "--key", key(three, "dave"), "--yes", "--restart")
    assert "1 of 2 signed" in again
    assert "from 2 to 1" in again


def test_draft_that_somebody_put_there_is_not_signed(three: RunningHome) -> None:
    """Not what the files say: the statement is made again from the sources before anybody signs it."""
    ok(three, "policy", "sign", three.folder, "--key", key(three, "carol"), "--yes")
    forged = three.folder / "policy" / "next" / "documents" / "organisation.json"
    forged.write_bytes(forged.read_bytes().replace(b'"approvals":2', b'"approvals":1'))
    ok(three, "policy", "sign", three.folder, "--key", key(three, "dave"), "--yes")  # writes the sources' own again
    ok(three, "policy", "apply", three.folder, *NO_POST)
    shown = json.loads(ok(three, "policy", "show", three.folder, "--output", "json"))
    assert shown["documents"]["organisation"]["release"]["approvals"] == 2


def test_signature_of_a_version_that_is_over_is_not_carried_on(three: RunningHome) -> None:
    ok(three, "policy", "sign", three.folder, "--key", key(three, "carol"), "--yes")
    shutil.copytree(three.folder / "policy" / "next", three.folder / "kept")
    ok(three, "policy", "sign", three.folder, "--key", key(three, "dave"), "--yes")
    ok(three, "policy", "apply", three.folder, *NO_POST)
    shutil.copytree(three.folder / "kept", three.folder / "policy" / "next")
    assert next_of(three) is None
    assert "1 of 2 signed" in ok(three, "policy", "sign", three.folder, "--key", key(three, "dave"), "--yes")


def test_keeper_who_is_enrolled_as_a_person_is_called_by_name(alone: RunningHome) -> None:
    told = ok(alone, "root", "new", alone.folder, "--add", f"keeper={alone.key('alice')}.pub")
    assert "(alice) is a policy keeper's" in told
    assert "(alice) is a root keeper's" in told


def test_stranger_signs_nothing_and_nobody_is_asked_without_a_terminal(three: RunningHome, tmp_path: Path) -> None:
    make_key_files(tmp_path / "mallory", comment="mallory")
    sign = ("policy", "sign", three.folder, "--key")
    assert "is not a policy keeper's" in refused(three, *sign, tmp_path / "mallory", "--yes")
    assert "nobody can be asked here" in refused(three, *sign, key(three, "carol"), code=2)
    assert next_of(three) is None


def test_one_keeper_is_enough_where_one_is_wanted(alone: RunningHome) -> None:
    ok(alone, "policy", "apply", alone.folder, *NO_POST)
    assert version(alone) == 2
    ok(alone, "policy", "sign", alone.folder, "--yes")
    ok(alone, "policy", "apply", alone.folder, *NO_POST)
    assert version(alone) == 3


def test_root_that_is_not_signed_by_all_is_not_applied(three: RunningHome) -> None:
    ok(three, "root", "new", three.folder, "--remove", f"keeper={key(three, 'keeper')}.pub")
    ok(three, "root", "sign", three.folder, "--key", key(three, "carol"), "--yes")
    told = refused(three, "root", "apply", three.folder, *NO_POST)
    assert "root 3: by the keepers in use 1 of 2 signed" in told
    shown = json.loads(ok(three, "root", "show", three.folder, "--output", "json"))
    assert (shown["version"], shown["next"]["complete"]) == (2, False)
    assert "a next root is being signed" in refused(three, "root", "new", three.folder, code=1)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--threshold", "policy=4"), "threshold 4 of 3 keys"),
        (("--threshold", "panic=2"), "threshold 2 of 1 keys"),
        (("--threshold", "everybody=2"), "ROLE one of root, policy, freshness, panic, keeper"),
        (("--threshold", "policy=0"), "wanted 1 to 16"),
        (("--remove", "policy=SHA256:nobody"), "has no key SHA256:nobody"),
        (("--add", "policy=KEEPER.pub"), "already"),
    ],
)
def test_root_that_could_not_work_is_not_drafted(three: RunningHome, flags: tuple[str, str], words: str) -> None:
    option, value = flags
    value = value.replace("KEEPER", str(key(three, "keeper")))
    ran = three.cli("root", "new", three.folder, option, value)
    assert ran.code in (1, 2), ran.err
    assert words in ran.err
    assert not (three.folder / "policy" / "root-next.json").exists()


def test_halt_that_would_take_two_is_not_drafted(three: RunningHome) -> None:
    add = ("--add", f"panic={key(three, 'carol')}.pub", "--threshold", "panic=2")
    assert "any one panic key must be enough" in refused(three, "root", "new", three.folder, *add)


@pytest.mark.parametrize(("old", "new"), [('"trial":true', '"trial":false'), ('"version":3', '"version":4')])
def test_root_draft_that_somebody_edited_is_not_signed(three: RunningHome, old: str, new: str) -> None:
    ok(three, "root", "new", three.folder, "--days", "100")
    file = three.folder / "policy" / "root-next.json"
    draft = json.loads(file.read_bytes())
    payload = base64.b64decode(draft["payload"]).decode()
    assert old in payload
    draft["payload"] = base64.b64encode(payload.replace(old, new).encode()).decode()
    file.write_text(json.dumps(draft), encoding="utf-8")
    refused(three, "root", "sign", three.folder, "--key", key(three, "carol"), "--yes")


def test_go_live_is_a_policy_after_which_what_weakens_waits(alone: RunningHome) -> None:
    edit(alone, "approval_max_age_hours: 72", "approval_max_age_hours: 96")
    before = ok(alone, "policy", "diff", alone.folder)
    assert "this weakens organisation; it counts at once, because this organisation is not live yet" in before
    edit(alone, "approval_max_age_hours: 96", "approval_max_age_hours: 72")
    told = ok(alone, "go-live", alone.folder, *NO_POST)
    assert "this cannot be taken back silently" in told
    assert "live: true\n" in (alone.folder / "policy" / "organisation.yaml").read_text(encoding="utf-8")
    assert version(alone) == 2
    assert "is live already" in refused(alone, "go-live", alone.folder, *NO_POST, code=1)
    edit(alone, "live: true", "live: false")
    after = ok(alone, "policy", "diff", alone.folder)
    assert "WEAKER   organisation: live: no longer: weakening changes wait" in after
    assert "this weakens organisation and comes into force on 20" in after
    rows = json.loads(alone.cli("policy", "diff", alone.folder, "--output", "json").out)
    assert "at the earliest" in rows["waits"][0]


def test_go_live_that_is_declined_leaves_the_sources_alone(alone: RunningHome) -> None:
    source = alone.folder / "policy" / "organisation.yaml"
    before = source.read_bytes()
    refused(alone, "go-live", alone.folder, "--key", alone.key("alice"), *NO_POST)
    assert source.read_bytes() == before


def test_keeper_reads_the_change_on_a_terminal_and_says_no(three: RunningHome) -> None:
    edit(three, "retention_days: 365", "retention_days: 364")
    command = three.command("policy", "sign", three.folder, "--key", key(three, "carol"))
    asked = {name: value for name, value in three.env.items() if name != "CI"}  # where nobody is asked anything
    with on_terminal(command, env=asked) as terminal:
        terminal.expect("from 365 to 364")
        terminal.expect("sign this as version 3?")
        terminal.type("n")
        assert terminal.end()[0] != 0
    assert next_of(three) is None
