# SPDX-License-Identifier: Apache-2.0
"""Profile 3, the whole drill: two machines with nothing between them, people with a medium, and one at the console. A
release goes in, and its receipt comes out with the cosignature of a witness outside.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from signwright.client.ssh_keys import make_key_files
from tests.support.pe_builder import Pe
from tests.support.processes import stop, wait_until
from tests.support.systemd_box import Box, systemd_box

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("systemd")]

HOME = Path("/var/lib/signwright")
WITNESS = Path("/srv/witness")
HUB, WITNESS_PORT = "127.0.0.1:8460", 8470
#: What does not leave the vault, and what belongs into neither of the two rooms.
STAYS = ("signer", "tsa", "witness", "courier/vault.key", "settings/signer.toml", "keeper")


@dataclass
class Site:
    """``vault``, ``outside``: the machines; ``folder``: where keepers keep their key, on neither of them."""

    vault: Box
    outside: Box
    folder: Path
    carried: int = field(default=0)

    def out_of(self, box: Box, *, home: Path = HOME) -> tuple[bytes, dict[str, Any]]:
        """``export`` on a machine, and the medium in our hand."""
        self.carried += 1
        name = Path(f"/root/{self.carried}.swb")
        done = box.signwright("courier", "export", name, "--home", home, "--output", "json")
        return inside(box, name).read_bytes(), json.loads(done.stdout)

    def into(self, box: Box, content: bytes) -> dict[str, Any]:
        self.carried += 1
        name = Path(f"/root/{self.carried}.swb")
        inside(box, name).write_bytes(content)
        found: dict[str, Any] = json.loads(
            box.signwright("courier", "import", name, "--home", HOME, "--output", "json").stdout
        )
        return found

    def trip(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Into the vault and back out: what was said in the vault, and outside."""
        said = self.into(self.vault, self.out_of(self.outside)[0])
        self.confirm()
        return said, self.into(self.outside, self.out_of(self.vault)[0])

    def confirm(self) -> None:
        """Carol, at the vault's console, confirms what waits for her there."""
        if "custodian" in self.states():
            self.vault.signwright(
                "custodian", "confirm", "--all", "--yes", "--no-wait", "--key", "/root/carol", "--home", HOME
            )

    def states(self) -> list[str]:
        """Of the requests in the vault."""
        done = self.vault.signwright("courier", "status", "--home", HOME, "--output", "json")
        return list(json.loads(done.stdout)["requests"].values())

    def client(self, *words: str | Path, check: bool = True) -> str:
        """On the build side, with the build server's credentials."""
        variables = {
            "SIGNWRIGHT_URL": f"http://{HUB}",
            "SIGNWRIGHT_CREDENTIALS": str(HOME / "credentials/ci.json"),
            "SIGNWRIGHT_TRUST": str(HOME / "trust.json"),
        }
        done = self.outside.signwright(*words, check=check, **variables)
        return done.stdout + done.stderr


def inside(box: Box, path: Path) -> Path:
    return box.root / str(path).lstrip("/")


def carry_home(site: Site) -> None:
    """What belongs outside, and the keeper's key to a place that is neither machine's."""
    vault, outside = site.vault, site.outside
    vault.run("tar", "-C", HOME, "-czf", "/root/hub.tgz", *(f"--exclude=./{name}" for name in STAYS), ".")
    vault.run("tar", "-C", HOME, "-czf", "/root/keeper.tgz", "keeper")
    with tarfile.open(inside(vault, Path("/root/keeper.tgz"))) as archive:
        archive.extractall(site.folder, filter="data")
    inside(outside, Path("/root/hub.tgz")).write_bytes(inside(vault, Path("/root/hub.tgz")).read_bytes())
    outside.run("install", "-d", HOME)
    outside.run("tar", "-C", HOME, "-xzf", "/root/hub.tgz")
    vault.run("rm", "-r", HOME / "keeper", HOME / "courier/courier.key")


def start_witness(outside: Box) -> subprocess.Popen[bytes]:
    """Somebody else's witness, which only the machine outside reaches."""
    command = ["/opt/signwright/bin/signwright", "witness", "run", "--folder", str(WITNESS)]
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    return subprocess.Popen(
        outside.command(*command), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def join_witness(site: Site) -> None:
    """Take it into the policy: from now on no release without its cosignature."""
    outside = site.outside
    made = outside.signwright(
        *("witness", "init", "--folder", WITNESS, "--name", "witness.example/w1", "--operator", "Another Ltd"),
        *("--url", f"http://127.0.0.1:{WITNESS_PORT}", "--listen", f"127.0.0.1:{WITNESS_PORT}"),
    )
    ours = outside.signwright("witness", "join", made.stdout.strip(), "--home", HOME, "--outside", "1").stdout
    outside.signwright("witness", "add", "--folder", WITNESS, ours.strip())
    outside.run("systemctl", "restart", "signwright-courier.service")  # it has another address now
    enrol_custodian(site)
    apply_policy(site)


def enrol_custodian(site: Site) -> None:
    """Carol keeps her key in the room of the vault."""
    line = make_key_files(site.folder / "carol", comment="carol")
    inside(site.outside, Path("/root/carol.pub")).write_text(line + "\n", encoding="utf-8")
    key = inside(site.vault, Path("/root/carol"))
    key.write_bytes((site.folder / "carol").read_bytes())
    key.chmod(0o600)
    site.client("people", "add", "carol", "--key", "/root/carol.pub", "--group", "custodian", "--home", HOME)


def apply_policy(site: Site) -> None:
    """The keeper comes, signs what stands in the sources, and takes the key away again."""
    key = Path("/root/keeper")
    inside(site.outside, key).write_bytes((site.folder / "keeper/keeper").read_bytes())
    inside(site.outside, key).chmod(0o600)
    site.client("policy", "apply", "--home", HOME, "--key", key, "--yes")
    inside(site.outside, key).unlink()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("gap")
    with ExitStack() as stack:
        for name in ("vault", "outside"):
            (folder / name).mkdir()
        vault, outside = (stack.enter_context(systemd_box(folder / name)) for name in ("vault", "outside"))
        made = Site(vault, outside, folder)
        vault.signwright("init", "--home", HOME, "--profile", "3", "--address", HUB)
        carry_home(made)
        vault.signwright("install", "--profile", "3")
        outside.signwright("install", "--profile", "3-hub")
        for box in (vault, outside):
            box.run("systemctl", "start", "signwright.target")
        wait_until(lambda: "error" not in made.client("requests", check=False), what="the hub", seconds=60)
        join_witness(made)
        witness = start_witness(outside)
        stack.callback(stop, witness)
        yield made


@pytest.fixture(scope="module")
def ready(site: Site) -> Site:
    """After the first two trips: the vault has its policy, and the hub a checkpoint that the witness cosigned."""
    said, answered = site.trip()
    assert said["policy_on_its_way"]
    assert sorted(said["questions"]) == ["cosign witness.example-w1", "latest witness.example-w1"]
    assert answered["answered"] == 2, answered
    said, answered = site.trip()
    assert (said["policy_version"], said["policy_on_its_way"]) == (2, False)
    assert answered["published"] > 0
    return site


def ask(site: Site) -> tuple[Path, str]:
    """A program and an approved request for it."""
    file = Path(f"/root/{secrets.token_hex(4)}.exe")
    inside(site.outside, file).write_bytes(Pe(overlay=secrets.token_bytes(1 << 20)).build())
    said = site.client("sign", file, "--policy", "default/release", "--no-wait")
    request = said.splitlines()[0].strip()
    for name in ("alice", "bob"):
        site.client("approve", request, "--key", HOME / "people" / name, "--yes")
    return file, request


def test_neither_machine_has_a_network(site: Site) -> None:
    for box in (site.vault, site.outside):
        links = json.loads(box.run("ip", "-json", "link").stdout)
        assert [link["ifname"] for link in links] == ["lo"]
    spaces = {box.run("readlink", "/proc/1/ns/net").stdout for box in (site.vault, site.outside)}
    assert len(spaces) == 2


def test_in_the_vault_courier_witness_and_authority_share_a_loopback_of_their_own(site: Site) -> None:
    units = ("courier", "witness", "tsa")
    spaces = set()
    for unit in units:
        pid = site.vault.run("systemctl", "show", "-P", "MainPID", f"signwright-{unit}.service").stdout.strip()
        spaces.add(site.vault.run("readlink", f"/proc/{pid}/ns/net").stdout)
    assert len(spaces) == 1
    assert spaces != {site.vault.run("readlink", "/proc/1/ns/net").stdout}


def test_a_release_is_carried_in_and_its_receipt_out(ready: Site) -> None:
    file, request = ask(ready)
    said, answered = ready.trip()
    assert list(said["requests"].values()) == ["custodian"], said
    assert list(answered["vault"].values()) == ["logging"], answered
    said, answered = ready.trip()
    assert list(said["requests"].values()) == ["signed"], said
    assert answered["results"] == {request: "signed"}
    ready.client("wait", request)
    signed = file.with_name(f"signed-{file.name}")
    ready.client("fetch", request, file, "-o", signed)
    verified = ready.client("verify", signed)
    assert "profile 3" in verified, verified
    assert "witnesses outside 1 / local 1" in verified, verified


def test_a_bundle_that_comes_twice_or_late_changes_nothing(ready: Site) -> None:
    file, request = ask(ready)
    inwards, _ = ready.out_of(ready.outside)
    ready.into(ready.vault, inwards)
    ready.confirm()
    ready.into(ready.vault, inwards)
    outwards, _ = ready.out_of(ready.vault)
    first = ready.into(ready.outside, outwards)
    assert (first["answered"], ready.into(ready.outside, outwards)["answered"]) == (1, 1)
    later, _ = ready.out_of(ready.outside)
    ready.into(ready.vault, later)
    again = ready.into(ready.vault, inwards)
    assert list(again["requests"].values()) == ["signed"], again
    assert any("older bundle" in note for note in again["notes"])
    results, _ = ready.out_of(ready.vault)
    assert ready.into(ready.outside, results)["results"] == {request: "signed"}
    assert ready.into(ready.outside, results)["results"] == {}
    ready.client("fetch", request, file, "-o", file.with_name(f"signed-{file.name}"))


def test_the_vault_goes_on_after_a_restart(ready: Site) -> None:
    file, request = ask(ready)
    ready.trip()
    ready.vault.run("systemctl", "restart", "signwright.target")
    wait_until(lambda: at_work(ready.vault), what="the vault", seconds=60)
    # What it had is gone with its memory; outside it is brought again, as a new attempt, after two trips.
    for _ in range(3):
        said, answered = ready.trip()
        if answered["results"]:
            break
    assert answered["results"] == {request: "signed"}, (said, answered)
    ready.client("fetch", request, file, "-o", file.with_name(f"signed-{file.name}"))


def at_work(box: Box) -> bool:
    done = box.signwright("courier", "status", "--home", HOME, "--output", "json", check=False)
    return done.returncode == 0 and bool(json.loads(done.stdout).get("gate"))


def test_doctor_finds_an_air_gap(site: Site) -> None:
    said = site.vault.signwright("doctor", "--home", HOME, check=False).stdout
    assert "found profile 3 (air gap)" in said, said
