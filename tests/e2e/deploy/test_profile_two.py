# SPDX-License-Identifier: Apache-2.0
"""Profile 2: two machines with nothing between them but one line. The signer's cannot be reached, and only its courier
reaches out.
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.pe_builder import Pe
from tests.support.processes import wait_until
from tests.support.systemd_box import Box, require_box, systemd_box
from tests.support.tools import require_tool

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("systemd")]

HOME = Path("/var/lib/signwright")
HUB, SIGNER, PORT = "10.77.0.1", "10.77.0.2", 8460
#: What goes to the hub's machine: neither the signer's nor the keepers' secrets.
STAYS = ("signer", "courier", "keeper", "settings/signer.toml", "settings/courier.toml")
#: Arguments: address, first and last port. Prints the ports that took a TCP connection.
SCAN = """
import resource, select, socket, sys
address, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
batch = min(8000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 50)
resource.setrlimit(resource.RLIMIT_NOFILE, (batch + 50, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
for start in range(first, last + 1, batch):
    poll, lines = select.poll(), {}
    for port in range(start, min(start + batch, last + 1)):
        line = socket.socket(); line.setblocking(False)
        lines[line.fileno()] = (port, line)
        code = line.connect_ex((address, port))
        if code in (0, 115):
            poll.register(line, select.POLLOUT)
    for _ in range(3):
        for number, _ in poll.poll(250):
            port, line = lines[number]
            poll.unregister(number)
            if line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                print(port)
    for _, line in lines.values():
        line.close()
"""


@dataclass(frozen=True, slots=True)
class Site:
    """``hub``: the build side; ``signer``: the host behind the firewall."""

    hub: Box
    signer: Box

    def client(self, *words: str | Path, check: bool = True) -> str:
        """On the build side, with the build server's credentials."""
        variables = {
            "SIGNWRIGHT_URL": f"http://{HUB}:{PORT}",
            "SIGNWRIGHT_CREDENTIALS": str(HOME / "credentials/ci.json"),
            "SIGNWRIGHT_TRUST": str(HOME / "trust.json"),
            "SIGNWRIGHT_ALLOW_PLAIN_HTTP": "1",
        }
        done = self.hub.signwright(*words, check=check, **variables)
        return done.stdout + done.stderr


def join(hub: Box, signer: Box) -> None:
    """One line between the two; its ends exist nowhere else."""
    names = {hub: (f"sw{secrets.token_hex(3)}", HUB), signer: (f"sw{secrets.token_hex(3)}", SIGNER)}
    (first, _), (second, _) = names.values()
    subprocess.run(["ip", "link", "add", first, "type", "veth", "peer", "name", second], check=True)
    for box, (name, address) in names.items():
        subprocess.run(["ip", "link", "set", name, "netns", str(box.pid)], check=True)
        box.run("ip", "link", "set", name, "name", "line0")
        box.run("ip", "address", "add", f"{address}/24", "dev", "line0")
        box.run("ip", "link", "set", "line0", "up")


def carry(signer: Box, hub: Box) -> None:
    """The hub's part of the home, as an archive on a medium."""
    signer.run("tar", "-C", HOME, "-czf", "/root/hub.tgz", *(f"--exclude=./{name}" for name in STAYS), ".")
    (hub.root / "root/hub.tgz").write_bytes((signer.root / "root/hub.tgz").read_bytes())
    hub.run("install", "-d", HOME)
    hub.run("tar", "-C", HOME, "-xzf", "/root/hub.tgz")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two machines, installed and started; the keys were made on the signer's."""
    require_box()
    require_tool("nft", "nftables")
    require_tool("ip", "iproute2")
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        for name in ("hub", "signer"):
            (folder / name).mkdir()
        hub, signer = (stack.enter_context(systemd_box(folder / name)) for name in ("hub", "signer"))
        join(hub, signer)
        signer.signwright("init", "--home", HOME, "--profile", "2", "--address", f"{HUB}:{PORT}")
        carry(signer, hub)
        hub.signwright("install", "--profile", "2-hub")
        left = signer.signwright("install", "--profile", "2-signer").stderr
        assert f"keys and data of another machine's processes lie here: {HOME}/scanner" in left.replace(
            f"{HOME}/hub, ", ""
        )
        courier = signer.root / str(HOME / "settings/courier.toml").lstrip("/")
        courier.write_text("plain_http = true\n" + courier.read_text(encoding="utf-8"), encoding="utf-8")
        for box in (hub, signer):
            box.run("systemctl", "start", "signwright.target")
        made = Site(hub, signer)
        try:
            wait_until(lambda: "error" not in made.client("log", "show", check=False), what="the signer", seconds=90)
        except AssertionError:
            print(hub.journal("signwright-*"), signer.journal("signwright-*"))
            raise
        yield made


def scan(box: Box, address: str, first: int, last: int, *, user: str = "root") -> list[int]:
    words = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"] if user != "root" else []
    done = box.run(*words, "/usr/bin/python3", "-I", "-c", SCAN, address, str(first), str(last))
    return [int(line) for line in done.stdout.split()]


def test_a_scan_of_every_port_from_the_build_side_finds_nothing(site: Site) -> None:
    assert scan(site.hub, SIGNER, 1, 65535) == []
    # The same scan the other way sees what is there: it can find something.
    assert PORT in scan(site.signer, HUB, PORT - 1, PORT + 1, user="signwright-courier")


def test_nothing_listens_on_the_signer_even_without_the_firewall(site: Site) -> None:
    listening = site.signer.run("ss", "-H", "-l", "-n", "-t", "-u", "-w").stdout
    assert listening == ""


def test_the_signer_does_not_even_answer_a_ping(site: Site) -> None:
    answered = "import socket, struct; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)\n"
    answered += "s.settimeout(1); s.sendto(struct.pack('>BBHHH', 8, 0, 0xf7fd, 1, 1), (%r, 0))\n"
    answered += "try: print(len(s.recv(100)))\nexcept TimeoutError: print('silent')\n"
    assert site.hub.run("/usr/bin/python3", "-I", "-c", answered % SIGNER).stdout.strip() == "silent"
    assert site.hub.run("/usr/bin/python3", "-I", "-c", answered % HUB).stdout.strip() != "silent"


@pytest.mark.parametrize("user", ["root", "signwright-gate", "signwright-keyholder", "daemon"])
def test_only_the_courier_reaches_out(site: Site, user: str) -> None:
    assert scan(site.signer, HUB, PORT, PORT, user=user) == []
    assert scan(site.signer, HUB, PORT, PORT, user="signwright-courier") == [PORT]


def test_a_release_goes_from_the_build_side_through_the_courier_and_back(site: Site) -> None:
    file = Path(f"/root/{secrets.token_hex(4)}.exe")
    (site.hub.root / str(file).lstrip("/")).write_bytes(Pe(overlay=secrets.token_bytes(1 << 20)).build())
    request = site.client("sign", file, "--policy", "default/release", "--no-wait").splitlines()[0].strip()
    for name in ("alice", "bob"):
        site.client("approve", request, "--key", HOME / "people" / name, "--yes")
    site.client("wait", request)
    signed = file.with_name(f"signed-{file.name}")
    site.client("fetch", request, file, "-o", signed)
    said = site.client("verify", signed)
    assert "profile 2" in said, said


def test_without_the_firewall_the_courier_does_not_start(site: Site) -> None:
    box = site.signer
    box.run("systemctl", "stop", "signwright-courier.service", "signwright-firewall.service")
    rules = box.root / "etc/signwright/nftables.conf"
    good = rules.read_bytes()
    rules.write_text("no rules\n", encoding="ascii")
    try:
        assert box.run("systemctl", "start", "signwright-courier.service", check=False).returncode != 0
        assert box.run("systemctl", "is-active", "signwright-courier.service", check=False).stdout.strip() != "active"
    finally:
        rules.write_bytes(good)
        box.run("systemctl", "reset-failed")
        box.run("systemctl", "start", "signwright-courier.service")


def test_doctor_finds_profile_two(site: Site) -> None:
    said = site.signer.signwright("doctor", "--home", HOME, check=False).stdout
    assert "found profile 2 (dedicated signer host, outbound only)" in said, said
    assert "for profile 3 (air gap): no network interface is up: line0" in said
