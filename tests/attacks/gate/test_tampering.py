# SPDX-License-Identifier: Apache-2.0
"""Files changed or taken back under the gate's feet, older policies, and frames that are none."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import ConfigurationError, SignwrightError
from signwright.signer.gate.state import State
from tests.support.gates import Courier, GateSite, Release, digest_request, sha256, until


async def _some_requests(site: GateSite, count: int = 3) -> None:
    async with site.run() as (_, courier):
        for _ in range(count):
            assert (await courier.sign(digest_request(site))).message["outcome"] == "signed"


def _refuses_to_start(site: GateSite, code: str) -> None:
    async def start() -> None:
        async with site.run():
            raise AssertionError("it started")

    with pytest.raises(ConfigurationError) as refused:
        asyncio.run(start())
    assert refused.value.code == code, refused.value.message


@pytest.mark.parametrize("part", ["entries", "0"])
def test_edited_tile_stops_the_start(site: GateSite, part: str) -> None:
    asyncio.run(_some_requests(site))
    newest = max((site.settings.tiles / "tile" / part / "000.p").iterdir(), key=lambda path: int(path.name))
    content = bytearray(newest.read_bytes())
    content[10] ^= 1
    newest.write_bytes(content)
    _refuses_to_start(site, "log-damaged")


def test_missing_tile_stops_the_start(site: GateSite) -> None:
    asyncio.run(_some_requests(site))
    shutil.rmtree(site.settings.tiles / "tile" / "0")
    _refuses_to_start(site, "log-damaged")


def test_edited_full_tile_of_a_longer_log_stops_the_start(site: GateSite) -> None:
    async def fill() -> None:
        async with site.run() as (_, courier):
            answers = await asyncio.gather(*(courier.sign(digest_request(site)) for _ in range(140)))
            assert {answer.message["outcome"] for answer in answers} == {"signed"}

    asyncio.run(fill())
    asyncio.run(_some_requests(site, 1))  # an honest restart of a log with a full tile
    full = site.settings.tiles / "tile" / "entries" / "000"
    content = full.read_bytes()
    full.write_bytes(content.replace(b'"trial":true', b'"trial":trua', 1))
    _refuses_to_start(site, "log-damaged")


def test_missing_database_stops_the_start(site: GateSite) -> None:
    asyncio.run(_some_requests(site, 1))
    for path in site.settings.database.parent.glob("gate.sqlite3*"):
        path.unlink()
    _refuses_to_start(site, "no-state")


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def test_gate_restored_from_an_older_copy_is_refused_by_the_witness(site: GateSite) -> None:
    state, saved = Path(site.settings.state), site.folder / "saved"
    asyncio.run(_some_requests(site, 1))
    _copy(state, saved)
    asyncio.run(_some_requests(site, 2))
    _copy(saved, state)
    site.keyholder.position, site.keyholder.claims = (0, b""), {}  # the keyholder's memory is gone as well
    used = site.keyholder.operations

    async def again() -> None:
        async with site.run(policy=False) as (_, courier):
            answer = await courier.sign(digest_request(site))
            assert (answer.message["outcome"], answer.message["code"]) == ("failed", "log-behind-witness")
            assert "older copy" in str(answer.message["message"])

    asyncio.run(again())
    assert site.keyholder.operations == used


def test_gate_older_than_its_keyholder_does_not_start(site: GateSite) -> None:
    state, saved = Path(site.settings.state), site.folder / "saved"
    asyncio.run(_some_requests(site, 1))
    _copy(state, saved)
    asyncio.run(_some_requests(site, 2))
    _copy(saved, state)
    _refuses_to_start(site, "log-damaged")


def test_everything_restored_is_refused_because_the_approvers_are_ahead(site: GateSite) -> None:
    """Gate, keyholder and the local witness all go back; only what the approvers' clients have seen does not."""
    state, saved = Path(site.settings.state), site.folder / "saved"
    asyncio.run(_some_requests(site, 1))
    _copy(state, saved)
    memory = site.keyholder.position, dict(site.keyholder.claims)
    seen = []

    async def go_on() -> None:
        async with site.run() as (_, courier):
            for _ in range(3):
                await courier.sign(digest_request(site))
            await until(lambda: site.seen(courier).size > 8)
            seen.append(site.seen(courier))

    asyncio.run(go_on())
    asyncio.run(_some_requests(site, 1))
    _copy(saved, state)
    site.keyholder.position, site.keyholder.claims = memory
    site.forget_witness()
    used = site.keyholder.operations

    async def again() -> None:
        async with site.run() as (_, courier):
            release = Release(site, courier)
            words = [release.approval(person, checkpoint=seen[0]) for person in ("alice", "bob")]
            answer = await release.sign(approvals=words)
            assert (answer.message["outcome"], answer.message["code"]) == ("failed", "log-rollback")

    asyncio.run(again())
    assert site.keyholder.operations == used


def test_older_policy_is_refused_also_after_a_restart(site: GateSite) -> None:
    older = site.policy_parts
    newer = site.world.policy_parts()

    async def first() -> None:
        async with site.run() as (gate, courier):
            assert (await courier.policy(newer)).message["version"] == 2
            refused = await courier.policy(older)
            assert (refused.message["ok"], refused.message["code"]) == (False, "policy-rollback")
            assert gate.parts.policies.in_force.policy.version == 2

    async def later() -> None:
        async with site.run(policy=False) as (_, courier):
            refused = await courier.policy(older)
            assert (refused.message["ok"], refused.message["code"]) == (False, "policy-rollback")

    asyncio.run(first())
    asyncio.run(later())


def test_another_policy_of_the_same_version_is_refused(site: GateSite) -> None:
    site.world.version -= 1
    twin = site.world.policy_parts(expires=site.world.now + timedelta(days=20))

    async def scenario() -> None:
        async with site.run() as (_, courier):
            refused = await courier.policy(twin)
            assert (refused.message["ok"], refused.message["code"]) == (False, "policy-fork")

    asyncio.run(scenario())


def test_policy_of_another_root_is_refused(site: GateSite, tmp_path_factory: pytest.TempPathFactory) -> None:
    stranger = GateSite(tmp_path_factory.mktemp("stranger"))

    async def scenario() -> None:
        async with site.run() as (_, courier):
            refused = await courier.policy(stranger.policy_parts)
            assert (refused.message["ok"], refused.message["code"]) == (False, "unknown-policy-root")

    asyncio.run(scenario())
    stranger.close()


def test_approvals_under_the_older_policy_lapse_with_it(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (_, courier):
            release = Release(site, courier)
            words = [release.approval(person) for person in ("alice", "bob")]
            parts = site.world.policy_parts()
            assert (await courier.policy(parts)).message["ok"]
            answer = await release.sign(approvals=words)
            assert (answer.message["outcome"], answer.message["code"]) == ("waiting", "approvals")
            assert site.keyholder.operations == 0

    asyncio.run(scenario())


def test_policy_written_for_another_gate_is_refused(site: GateSite) -> None:
    site.world.gate = Ed25519PrivateKey.generate()
    parts = site.world.policy_parts()

    async def scenario() -> None:
        async with site.run() as (_, courier):
            refused = await courier.policy(parts)
            assert (refused.message["ok"], refused.message["code"]) == (False, "other-signer")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "bytes_in",
    [
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">I", 5) + b"{}}}}",
        struct.pack(">I", 30) + b'{"message":1,"parts":[9999999]}',
        struct.pack(">I", 56) + b'{"message":{"type":"sign"},"parts":[99999999999999999]}  ',
        struct.pack(">I", 44) + b'{"message":{"type":"nonsense"},"parts":[]}  ',
    ],
)
def test_garbage_is_hung_up_on_and_the_gate_goes_on(site: GateSite, bytes_in: bytes) -> None:
    async def scenario() -> None:
        async with site.run():
            reader, writer = await asyncio.open_unix_connection(site.settings.socket)
            writer.write(bytes_in)
            async with asyncio.timeout(10):
                assert await reader.read(100) == b""
            writer.close()
            await writer.wait_closed()
            late = Courier(site)
            await late.connect()
            assert (await late.sign(digest_request(site))).message["outcome"] == "signed"
            await late.close()

    asyncio.run(scenario())


def test_bytes_that_nobody_asked_for_are_not_read(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run():
            reader, writer = await asyncio.open_unix_connection(site.settings.socket)
            message = b'{"message":{"type":"blob","errand":77,"size":1000000},"parts":[]}'
            writer.write(struct.pack(">I", len(message)) + message + b"x" * 1000)
            async with asyncio.timeout(10):
                try:
                    assert await reader.read(10) == b""
                except ConnectionResetError:
                    pass
            writer.close()

    asyncio.run(scenario())


def test_oversized_artifact_is_refused_before_it_is_asked_for(site: GateSite) -> None:
    limits = site.settings.limits.model_copy(update={"artifact_bytes": 100})
    site.settings = site.settings.model_copy(update={"limits": limits})

    async def scenario() -> None:
        async with site.run() as (_, courier):
            release = Release(site, courier)
            answer = await release.sign()
            assert (answer.message["outcome"], answer.message["code"]) == ("denied", "artifact-size")
            assert "fetch" not in courier.errands
            assert sha256(release.content) in courier.blobs

    asyncio.run(scenario())


def test_socket_is_for_its_user_alone(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run():
            assert os.stat(site.settings.socket).st_mode & 0o777 == 0o600

    asyncio.run(scenario())


def test_process_of_another_user_is_not_heard(site: GateSite) -> None:
    if os.getuid() != 0:
        pytest.skip("another user can only be played by root")

    async def scenario() -> None:
        async with site.run():
            os.chmod(site.settings.socket, 0o666)
            for folder in (site.folder, *site.folder.parents):
                if folder != Path("/") and folder.owner() == "root" and str(folder) != "/tmp":
                    os.chmod(folder, os.stat(folder).st_mode | 0o011)
            child = os.fork()
            if child == 0:
                heard = 1
                try:
                    os.setuid(65534)
                    with socket.socket(socket.AF_UNIX) as stranger:
                        stranger.settimeout(10)
                        stranger.connect(site.settings.socket)
                        message = b'{"message":{"type":"status","id":1},"parts":[]}'
                        stranger.sendall(struct.pack(">I", len(message)) + message)
                        heard = 2 if stranger.recv(10) else 0
                except (BrokenPipeError, ConnectionResetError):
                    heard = 0
                finally:
                    os._exit(heard)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            assert os.waitstatus_to_exitcode(status) == 0

    asyncio.run(scenario())


def test_second_gate_on_the_same_state_does_not_start(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run():
            with pytest.raises(ConfigurationError) as refused:
                State(site.settings.database)
            assert refused.value.code == "already-running"

    asyncio.run(scenario())


def test_policy_that_was_pinned_is_verified_again_at_each_start(site: GateSite) -> None:
    asyncio.run(_some_requests(site, 1))
    state = State(site.settings.database)
    try:
        stored = state.policy()
        assert stored is not None
        name, content = next(iter(stored.documents.items()))
        stored.documents[name] = content.replace(b"e", b"f", 1)
        state.transaction([("UPDATE policies SET content = ?", (stored.encode(),))])
    finally:
        state.close()

    async def start() -> None:
        async with site.run():
            raise AssertionError("it started")

    with pytest.raises(SignwrightError):
        asyncio.run(start())
