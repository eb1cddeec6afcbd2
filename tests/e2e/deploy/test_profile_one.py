# SPDX-License-Identifier: Apache-2.0
"""Profile 1 as a new user installs it: a home with a token, ``install``, real systemd, one user for each process."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pe_builder import Pe
from tests.support.processes import wait_until
from tests.support.systemd_box import Box, systemd_box
from tests.support.tools import require_softhsm_module, require_tool

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("systemd")]

HOME = Path("/var/lib/signwright")
CONFIGURATION = "/etc/softhsm-box.conf"
PIN = "20261121"
RUNNING = ("hub", "scanner", "witness", "tsa", "courier", "gate", "keyholder")
#: A peer's attempt: connect, and say whether the other side keeps the line open.
CONNECT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.settimeout(1)
    try:
        line.connect(sys.argv[1])
    except PermissionError:
        print("refused"); sys.exit()
    try:
        print("hung up" if line.recv(1) == b"" else "spoke")
    except ConnectionResetError:
        print("hung up")
    except TimeoutError:
        print("heard")
"""


def put(box: Box, path: str | Path, content: str | bytes, *, mode: int = 0o644) -> None:
    file = box.root / str(path).lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    file.chmod(mode)


def make_token(box: Box) -> str:
    """SoftHSM for one user; what an administrator of another token does with its maker's tools. The key's URI."""
    module = str(require_softhsm_module())
    box.run("install", "-d", "-m", "700", "/var/lib/token-box")
    put(
        box, CONFIGURATION, "directories.tokendir = /var/lib/token-box\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    words = ["--init-token", "--free", "--label", "box", "--pin", PIN, "--so-pin", "87654321"]
    box.run(require_tool("softhsm2-util", "softhsm2"), *words, SOFTHSM2_CONF=CONFIGURATION)
    put(box, "/root/pin", PIN + "\n", mode=0o600)
    return module


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Installed, started, and with a program to sign."""
    folder = tmp_path_factory.mktemp("box")
    with systemd_box(folder) as box:
        module = make_token(box)
        for name in ("alice", "bob"):
            box.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"/root/{name}")
        people = [word for name in ("alice", "bob") for word in ("--approver", f"{name}=/root/{name}.pub")]
        token = ["--release-store", "pkcs11:token=box;object=release", "--module", module, "--pin-file", "/root/pin"]
        box.signwright(
            "init", "--home", HOME, "--profile", "1", *token, "--generate", *people, SOFTHSM2_CONF=CONFIGURATION
        )
        before = keys_of(box)
        box.signwright("install", "--profile", "1")
        assert keys_of(box) == before
        box.run("chown", "-R", "signwright-keyholder:", "/var/lib/token-box")
        dropin = f"[Service]\nEnvironment=SOFTHSM2_CONF={CONFIGURATION}\nReadWritePaths=/var/lib/token-box\n"
        put(box, "/etc/systemd/system/signwright-keyholder.service.d/30-token.conf", dropin)
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "start", "signwright.target")
        wait_until(lambda: serves(box), what="the signer", seconds=60)
        yield box


def serves(box: Box) -> bool:
    """The key is open, and the hub has a checkpoint."""
    return "release: ready" in doctor(box) and "signwright: error" not in client(box, "log", "show", check=False)


def doctor(box: Box) -> str:
    return box.signwright("doctor", "--home", HOME, check=False).stdout


def keys_of(box: Box) -> list[str]:
    """Digests of every secret below the home, wherever it lies."""
    home = box.root / str(HOME).lstrip("/")
    kinds = ("*.key", "*.p8", "*.pass", "*.pin", "*.secret", "*.pem", "ci.json")
    files = [path for kind in kinds for path in home.rglob(kind)]
    assert len(files) > 8
    return sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)


def pid_of(box: Box, process: str) -> int:
    """Of a unit's main process, as the box sees it."""
    return int(box.run("systemctl", "show", "-P", "MainPID", f"signwright-{process}.service").stdout)


def status_of(box: Box, process: str) -> dict[str, str]:
    text = box.run("cat", f"/proc/{pid_of(box, process)}/status").stdout
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def client(box: Box, *words: str | Path, check: bool = True) -> str:
    rows = (box.root / str(HOME / "env").lstrip("/")).read_text(encoding="utf-8").splitlines()
    pairs = [row.removeprefix("export ").split("=", 1) for row in rows if row.startswith("export ")]
    done = box.signwright(*words, check=check, **{name: value.strip("'") for name, value in pairs})
    return done.stdout + done.stderr


def program(box: Box) -> Path:
    path = Path(f"/root/{secrets.token_hex(4)}.exe")
    put(box, path, Pe(overlay=secrets.token_bytes(5 << 20)).build())
    return path


def test_each_process_runs_as_its_own_user_without_any_privilege(box: Box) -> None:
    users = {}
    for process in RUNNING:
        status = status_of(box, process)
        users[process] = status["Uid"].split()[0]
        assert status["NoNewPrivs"] == "1", process
        assert {status[name].strip("0") for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}, process
        assert status["Seccomp"] == "2", process
        assert status["Groups"] in ("", box.run("id", "-g", f"signwright-{process}").stdout.strip()), process
        limits = box.run("cat", f"/proc/{pid_of(box, process)}/limits").stdout
        assert [line.split()[4] for line in limits.splitlines() if line.startswith("Max core")] == ["0"]
    assert len(set(users.values())) == len(RUNNING)
    assert "0" not in users.values()


@pytest.mark.parametrize("process", ["gate", "keyholder", "scanner"])
def test_the_signer_has_no_network_and_nothing_to_run(box: Box, process: str) -> None:
    inside = ["nsenter", "--target", str(pid_of(box, process))]
    interfaces = box.run(*inside, "-n", "ip", "-o", "link").stdout
    assert [line.split()[1] for line in interfaces.splitlines()] == ["lo:"]
    for name in ("/bin/sh", "/usr/bin/openssl", "/usr/bin/perl"):
        ran = box.run(*inside, "-m", name, "-c", "true", check=False)
        assert "Permission denied" in ran.stderr, name


def test_a_release_is_signed_by_the_token_after_two_approvals(box: Box) -> None:
    file = program(box)
    request = client(box, "sign", file, "--policy", "default/release", "--no-wait").splitlines()[0].strip()
    for name in ("alice", "bob"):
        client(box, "approve", request, "--key", f"/root/{name}", "--yes")
    signed = file.with_name(f"signed-{file.name}")
    client(box, "wait", request)
    client(box, "fetch", request, file, "-o", signed)
    said = client(box, "verify", signed)
    assert "profile 1" in said or "profile: 1" in said, said


def test_only_the_courier_reaches_the_gate_and_only_the_gate_the_keyholder(box: Box) -> None:
    def attempt(user: str, socket: str) -> str:
        words = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"]
        return box.run(*words, "/usr/bin/python3", "-I", "-c", CONNECT, f"/run/signwright/{socket}").stdout.strip()

    gate, keyholder, scanner = "gate/gate.sock", "keyholder/keyholder.sock", "scanner/scanner.sock"
    assert attempt("signwright-courier", gate) == "heard"
    assert attempt("signwright-hub", scanner) == "heard"
    for user in ("signwright-hub", "signwright-keyholder", "signwright-witness", "daemon"):
        assert attempt(user, gate) == "refused"
    for user in ("signwright-courier", "signwright-hub", "daemon"):
        assert attempt(user, keyholder) == "refused"
    # Whom the folder's permissions cannot stop, the kernel's word on the user does.
    assert attempt("root", keyholder) == "hung up"
    assert "hung up on user 0" in box.journal("signwright-keyholder")


def test_secrets_are_read_by_their_process_only(box: Box) -> None:
    def reads(user: str, path: str) -> bool:
        words = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "cat", str(HOME / path)]
        return box.run(*words, check=False).returncode == 0

    assert reads("signwright-gate", "signer/gate/log.key")
    for user in ("signwright-courier", "signwright-hub", "signwright-keyholder"):
        assert not reads(user, "signer/gate/log.key")
    for user in ("signwright-courier", "signwright-hub", "signwright-gate", "signwright-keyholder"):
        assert not reads(user, "signer/secrets/release.secret"), "the PIN is root's; the keyholder gets a copy"
        assert not reads(user, "credentials/ci.json")
    assert not reads("signwright-gate", "signer/keyholder/keyholder.sqlite3")
    assert not list((box.root / str(HOME / "signer/keyholder").lstrip("/")).rglob("*.p[ia]*")), "no PIN, no passphrase"


def test_what_root_reads_for_a_process_the_process_cannot_replace(box: Box) -> None:
    """A link in the place of a PIN or of a socket would have root hand over another file."""
    for unit in ("signwright-keyholder.service", "signwright-monitor.service"):
        shown = box.run("systemctl", "cat", unit).stdout
        rows = [
            line.partition("=")[2] for line in shown.splitlines() if line.startswith(("LoadCred", "EnvironmentFile"))
        ]
        assert rows
        for path in [Path(row.rpartition(":")[2]) for row in rows] + [Path("/run/signwright/keyholder/keyholder.sock")]:
            owners = {box.run("stat", "-c", "%U", folder).stdout.strip() for folder in path.parents}
            assert owners == {"root"}, path


def test_a_gate_that_dies_comes_back_with_a_new_keyholder(box: Box) -> None:
    gate, before = pid_of(box, "gate"), keyholder_child(box)
    box.run("kill", "-KILL", str(gate))
    wait_until(lambda: pid_of(box, "gate") not in (0, gate), what="a new gate", seconds=30)
    wait_until(lambda: "release: ready" in doctor(box), what="the signer", seconds=60)
    assert keyholder_child(box) != before
    file = program(box)
    client(box, "sign", file, "-o", file.with_name("again.exe"))


def keyholder_child(box: Box) -> str:
    """The keyholder behind the door, by its process id."""
    main = pid_of(box, "keyholder")
    return box.run("cat", f"/proc/{main}/task/{main}/children").stdout.split()[0]


def test_installing_again_changes_nothing(box: Box) -> None:
    before = keys_of(box)
    done = box.signwright("install", "--profile", "1", "--output", "json")
    assert '"changed": []' in done.stdout, done.stdout
    assert keys_of(box) == before


def test_up_leaves_an_installed_home_alone(box: Box) -> None:
    done = box.signwright("up", "--home", HOME, check=False)
    assert done.returncode != 0
    assert "systemctl start signwright.target" in done.stderr


def test_doctor_finds_profile_one_and_says_what_the_next_one_wants(box: Box) -> None:
    done = box.signwright("doctor", "--home", HOME, check=False)
    assert "profile 1 (one server)" in done.stdout, done.stdout
    assert "profile 2" in done.stdout


def test_doctor_hears_scanner_and_keepers_of_an_installed_home(box: Box) -> None:
    said = doctor(box)
    assert "yara-x" in said
    assert "ok    freshness    number 1" in said


def test_root_halts_at_the_gates_own_socket(box: Box) -> None:
    """The last of these tests: a halt lasts until the keepers resume."""
    words = ["halt", "--local", "--home", HOME, "--key", HOME / "keeper/keeper", "--reason", "test", "--yes"]
    done = box.signwright(*words, check=False)
    assert done.returncode == 0, done.stderr
    file = program(box)
    said = client(box, "sign", file, "-o", file.with_name("never.exe"), "--timeout", "30", check=False)
    request = next(word for word in said.split() if word.startswith("r-"))
    for _ in range(3):
        # The gate was killed by an earlier test: on a busy machine its courier may still be on its way back.
        if "halt" not in said:
            said = client(box, "wait", request, "--timeout", "30", check=False)
    assert "halt" in said, said
    assert not (box.root / str(file.with_name("never.exe")).lstrip("/")).exists()
