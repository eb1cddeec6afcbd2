# SPDX-License-Identifier: Apache-2.0
"""The real signer: launcher, gate, keyholder and its child as processes, isolated, with a software key."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from signwright.identity.keyfile import encrypted_pkcs8
from tests.support.gates import Courier, GateSite, Release, digest_request, until
from tests.support.processes import stop, wait_until
from tests.support.workers import worker_environment


def write_settings(site: GateSite) -> Path:
    """signer.toml as ``init`` writes it."""
    holder = site.folder / "keyholder"
    holder.mkdir(mode=0o700)
    lines = ["[gate]", *(f'{name} = "{getattr(site.settings, name)}"' for name in ("state", "socket"))]
    lines += [f'{name}_key = "{site.folder / name}.key"' for name in ("order", "receipt", "log")]
    lines += ["[keyholder]", f'state = "{holder}/keyholder.sqlite3"']
    for name, identity in site.keyholder.identities.items():
        (holder / f"{name}.p8").write_bytes(encrypted_pkcs8(identity.key, b"a passphrase"))  # type: ignore[arg-type]
        (holder / f"{name}.pass").write_text("a passphrase", encoding="ascii")
        (holder / f"{name}.pass").chmod(0o600)
        (holder / f"{name}.p8").chmod(0o600)
        lines += [f"[keyholder.keys.{name}]", 'store = "software"']
        lines += [f'file = "{holder}/{name}.p8"', f'secret_file = "{holder}/{name}.pass"']
    path = site.folder / "signer.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GateSite]:
    made = GateSite(tmp_path, create_state=False)
    yield made
    made.close()


@contextmanager
def signer(settings: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The launcher, ready; ended by its pid."""
    command = [sys.executable, "-m", "signwright.signer.start", "--settings", str(settings), *arguments]
    environment = {**os.environ, "SIGNWRIGHT_SIGNER_ENV": str(worker_environment())}
    log = settings.with_name("signer.log").open("ab")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(b"ready "), settings.with_name("signer.log").read_text(encoding="utf-8")
        yield process
    finally:
        stop(process, seconds=20)
        log.close()


def children(process: subprocess.Popen[bytes]) -> dict[str, int]:
    """Module name → pid of the launcher's children."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
    found = {}
    for pid in listed:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        found[words[5].decode() if len(words) > 5 else "?"] = int(pid)
    return found


async def connected(site: GateSite, *, policy: bool = True) -> Courier:
    courier = Courier(site)
    await courier.connect()
    if policy:
        answer = await courier.policy(site.policy_parts)
        assert answer.message["ok"], answer.message
        fresh = site.world.freshness(root_sha256=site.root_sha256)
        answer = await courier.call({"type": "freshness"}, [fresh.encode()])
        assert answer.message["ok"], answer.message
        await until(lambda: "checkpoint" in courier.published)
    return courier


def test_release_is_signed_by_the_real_keyholder_and_survives_a_restart_of_both(site: GateSite) -> None:
    settings = write_settings(site)
    requests = []

    async def first() -> None:
        courier = await connected(site)
        release = Release(site, courier)
        answer = await release.sign()
        assert answer.message["outcome"] == "signed", answer.message
        requests.append((release.request, answer.parts))
        await courier.close()

    async def after_restart() -> None:
        courier = await connected(site)
        again = await courier.sign(requests[0][0])
        assert (again.message["outcome"], again.parts) == ("signed", requests[0][1])
        answer = await courier.sign(digest_request(site))
        assert answer.message["outcome"] == "signed", answer.message
        status = await courier.call({"type": "status"})
        assert status.message["keyholder"]["keys"]["release"]["protection"] == "software"  # type: ignore[index]
        await courier.close()

    with signer(settings, "--genesis", site.root_sha256):
        asyncio.run(first())
    with signer(settings):
        asyncio.run(after_restart())


@pytest.mark.parametrize("victim", ["gate", "keyholder"])
def test_either_one_that_is_killed_is_started_again_with_the_other(site: GateSite, victim: str) -> None:
    settings = write_settings(site)

    async def sign() -> None:
        courier = await connected(site)
        answer = await courier.sign(digest_request(site))
        assert answer.message["outcome"] == "signed", answer.message
        await courier.close()

    with signer(settings, "--genesis", site.root_sha256) as launcher:
        asyncio.run(sign())
        before = children(launcher)
        os.kill(before[f"signwright.signer.{victim}"], signal.SIGKILL)
        wait_until(lambda: not set(before.values()) & set(children(launcher).values()), what="both are new")
        wait_until(lambda: _answers(site), what="the gate listens again")
        asyncio.run(sign())


def _answers(site: GateSite) -> bool:
    async def ask() -> bool:
        courier = Courier(site)
        try:
            await courier.connect()
        except OSError:
            return False
        try:
            return (await courier.call({"type": "status"})).message["ok"] is True
        finally:
            await courier.close()

    return asyncio.run(ask())


def test_gate_and_keyholder_see_only_the_listed_variables(site: GateSite, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = write_settings(site)
    for name in ("CI_JOB_SECRET", "LD_LIBRARY_PATH", "HTTPS_PROXY", "OPENSSL_CONF"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("MAKERS_MODULE_CONF", "/etc/module.conf")
    monkeypatch.setenv("SIGNWRIGHT_TOKEN_VARIABLES", "MAKERS_MODULE_CONF NOT_SET")
    with signer(settings, "--genesis", site.root_sha256) as launcher:
        for pid in (launcher.pid, *children(launcher).values()):
            found = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
            variables = dict(row.split("=", 1) for row in found if row)
            assert variables["MAKERS_MODULE_CONF"] == "/etc/module.conf"
            assert variables["TZ"] == "UTC"
            allowed = {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "HOME", "TMPDIR", "SOFTHSM2_CONF", "OPENSC_CONF"}
            assert set(variables) <= allowed | {"MAKERS_MODULE_CONF"}


def test_a_variable_that_loads_code_cannot_be_let_in(site: GateSite, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = write_settings(site)
    monkeypatch.setenv("SIGNWRIGHT_TOKEN_VARIABLES", "LD_PRELOAD")
    command = [sys.executable, "-m", "signwright.signer.start", "--settings", str(settings)]
    environment = {**os.environ, "SIGNWRIGHT_SIGNER_ENV": str(worker_environment())}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "names LD_PRELOAD" in ended.stderr


def test_without_state_nothing_starts(site: GateSite) -> None:
    settings = write_settings(site)
    command = [sys.executable, "-m", "signwright.signer.start", "--settings", str(settings)]
    environment = {**os.environ, "SIGNWRIGHT_SIGNER_ENV": str(worker_environment())}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "ended before it was ready" in ended.stderr
    assert "ready" not in ended.stdout


def test_launcher_killed_outright_leaves_no_process_behind(site: GateSite) -> None:
    settings = write_settings(site)
    with signer(settings, "--genesis", site.root_sha256) as launcher:
        pids = list(children(launcher).values())
        assert len(pids) == 2
        launcher.kill()
        launcher.wait()
        wait_until(lambda: not any(_alive(pid) for pid in pids), what="gate and keyholder ended")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("[gate]", "[gate]\nprofile = 1"), "one user runs every process, which is profile 0"),
        (
            (
                "[gate]",
                '[users]\ngate = "daemon"\nkeyholder = "bin"\ncourier = "games"\nkeyholder_socket = "/run/k"\n[gate]',
            ),
            "systemctl start signwright.target",
        ),
    ],
)
def test_the_launcher_runs_nothing_that_the_settings_call_otherwise(
    site: GateSite, change: tuple[str, str], said: str
) -> None:
    settings = write_settings(site)
    settings.write_text(settings.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    command = [sys.executable, "-m", "signwright.signer.start", "--settings", str(settings)]
    environment = {**os.environ, "SIGNWRIGHT_SIGNER_ENV": str(worker_environment())}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert said in ended.stderr
