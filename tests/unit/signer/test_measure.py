# SPDX-License-Identifier: Apache-2.0
"""What appends made-up leaves to measure a log does so in trials alone, and is no part of what runs."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from signwright.errors import DeniedError
from signwright.signer.gate.errands import Errands
from signwright.signer.gate.state import State
from signwright.signer.measure import open_gate_log
from tests.support.gates import GateSite, organisation
from tests.support.source_tree import imports_of, modules


@pytest.mark.parametrize("trial", [True, False])
def test_log_of_an_organisation_is_not_measured(tmp_path: Path, trial: bool) -> None:
    world = organisation(trial=trial)
    world.keys["release"] = world.keys["release"].model_copy(update={"protection": "claimed"})
    site = GateSite(tmp_path, world)

    async def scenario() -> None:
        async with site.run():
            pass
        with closing(State(site.settings.database)) as state:
            if trial:
                assert open_gate_log(site.settings, state, Errands()).size > 0
            else:
                with pytest.raises(DeniedError) as refused:
                    open_gate_log(site.settings, state, Errands())
                assert refused.value.code == "no-trial"

    try:
        asyncio.run(scenario())
    finally:
        site.close()


def test_nothing_imports_what_measures() -> None:
    module = "signwright.signer.measure"
    assert module in modules()
    found = [name for name in modules() if any(one.name.startswith(module) for one in imports_of(name))]
    assert found == []
