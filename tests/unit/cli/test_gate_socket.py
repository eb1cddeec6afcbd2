# SPDX-License-Identifier: Apache-2.0
"""What the command line makes of a gate's answer: a refusal is a refusal, and what is only not there now is that."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from signwright.cli.gate_socket import ask_socket
from signwright.cli.main import exit_code_of
from signwright.errors import DeniedError, SignwrightError, UnavailableError
from signwright.model.framing import Frame
from signwright.signer.gate.console import Reply
from signwright.signer.gate.cycle import Cycle
from signwright.signer.gate.errands import Errands
from signwright.signer.gate.server import Server


async def resume(_frame: Frame) -> dict[str, object]:
    """Its leaf needs cosignatures, and nobody carries them."""
    await Errands().run("witness", {"witness": "local"}, [b""], seconds=1)
    return {"ok": True}


async def halt(_frame: Frame) -> dict[str, object]:
    raise DeniedError("0 of 1 keys", code="too-few-keepers")


async def custodian_list(_frame: Frame) -> Reply:
    raise UnavailableError("the gate has no policy yet", code="no-policy")


def asked(folder: Path, kind: str) -> SignwrightError:
    """What is raised when a real server of a gate is asked for ``kind``."""

    async def run() -> SignwrightError:
        path, verbs = folder / "gate.sock", {"resume": resume, "halt": halt}
        console = {"custodian-list": custodian_list}
        server = Server(cast(Cycle, None), Errands(), verbs=verbs, console=console, requests=4)
        async with await server.listen(path):
            try:
                with pytest.raises(SignwrightError) as raised:
                    await asyncio.to_thread(ask_socket, path, {"type": kind})
                return raised.value
            finally:
                await server.close()

    return asyncio.run(run())


@pytest.mark.parametrize(("kind", "code"), [("resume", "no-courier"), ("custodian-list", "no-policy")])
def test_what_the_gate_cannot_reach_now_is_unavailable(tmp_path: Path, kind: str, code: str) -> None:
    problem = asked(tmp_path, kind)
    assert (type(problem), problem.code, exit_code_of(problem)) == (UnavailableError, code, 7)


def test_what_the_gate_refuses_is_denied(tmp_path: Path) -> None:
    problem = asked(tmp_path, "halt")
    assert (type(problem), problem.code, exit_code_of(problem)) == (DeniedError, "too-few-keepers", 3)
