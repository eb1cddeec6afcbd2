# SPDX-License-Identifier: Apache-2.0
"""What a submitter is told before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from signwright.client.credentials import MachineCredential
from signwright.client.submit import Order, prepare_request
from signwright.errors import DeniedError
from signwright.policy import documents as d
from signwright.statements.models import Request, parse_statement
from tests.support.gates import organisation, taking
from tests.support.pe_builder import Pe
from tests.support.world import World, key_id
from tests.support.zip_builder import Zip

RULE = d.ArtifactRule(
    name="*.jar", format="jar", members=(d.MemberRule(path="*.dll", action="sign", format="pe"),), unlisted="keep"
)


def asked(world: World, file: Path) -> Request:
    credential = MachineCredential(key_id(world.test_credential), "test", world.test_credential)
    made = prepare_request(
        [file], Order("default", "test"), policy=world.policy(), credentials=[credential], now=world.now
    )
    return parse_statement(made.envelope, Request).predicate


def test_archive_with_members_to_be_signed_names_what_follows_where_the_policy_allows_it(tmp_path: Path) -> None:
    file = tmp_path / "a.jar"
    file.write_bytes(Zip((("a/B.class", b"\xca\xfe\xba\xbe"), ("lib.dll", Pe().build()))).build())
    (artifact,) = asked(taking(organisation(), RULE, modes=("artifact",), derived="allow"), file).artifacts
    assert [one.inner_path for one in artifact.operations] == ["lib.dll"]
    assert [(one.inner_path, one.wave) for one in artifact.derived] == [("", 1)]
    with pytest.raises(DeniedError) as refused:
        asked(taking(organisation(), RULE, modes=("artifact",)), file)
    assert refused.value.code == "derived"
    assert "derived: allow" in (refused.value.hint or "")
