# SPDX-License-Identifier: Apache-2.0
"""Archives and members that somebody signed before, and names that could be two places, through gate and verifier."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from signwright.errors import FormatError
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.registry import FORMATS
from signwright.model.digest import sha256_hex
from signwright.model.view import BytesView
from signwright.plan import signing
from signwright.policy import documents as d
from signwright.policy.documents import Inside
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.bundle import ReceiptBundle
from signwright.statements.models import RequestedArtifact
from signwright.transparency.leaf import parse_leaf
from tests.attacks.gate.test_between_waves import tries, verified
from tests.support.deep import inside, kept, signed
from tests.support.gates import GateSite, organisation, sha256, taking
from tests.support.msix_builder import Msix
from tests.support.pe_builder import Pe
from tests.support.receipts import failures
from tests.support.signed_files import identity, sign
from tests.support.zip_builder import Zip

PROGRAM = Pe(overlay=b"ours").build()
THEIRS = identity("rsa2048")
LISTED = [sha256_hex(THEIRS.chain[0])]
MANIFEST = b"Manifest-Version: 1.0\r\nCreated-By: a build\r\n\r\n"


def jar(**members: bytes) -> bytes:
    files = {"META-INF/MANIFEST.MF": MANIFEST, "a/B.class": b"\xca\xfe\xba\xbe", "native/lib.dll": PROGRAM}
    return Zip(tuple({**files, **{name.replace("__", "/"): m for name, m in members.items()}}.items())).build()


def old(content: bytes, form: str = "jar") -> bytes:
    return sign(FORMATS[form], content, THEIRS)


def within(path: str = "*.jar", native: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return signed(path, "jar", members=[native or signed("native/*", "pe"), kept()], **more)


def run(
    tmp_path: Path, pool: WorkerPool, content: bytes, rules: Inside, form: str = "zip", **options: Any
) -> tuple[str, list[tuple[int, int]], dict[str, str]]:
    """ "signed" or the code, attempts and waves, and what does not hold about the result."""
    rule = d.ArtifactRule(name=f"*.{form}", format=form, members=rules.members)
    known = {name: d.OptionRule(values=(value,)) for name, value in options.items()}
    world = taking(organisation(), rule, modes=("artifact",), derived="allow", options=known)
    site = GateSite(tmp_path, world=world)
    typed = FormatOptions() if form == "zip" else FORMATS[form].options.model_validate(options)
    chain = site.keyholder.identities["test"].chain
    made = Prepared.unpack(signing.prepare(FORMATS[form], BytesView(content), chain, typed, rules).pack())
    told = {"operations": made.operations, "derived": made.later, "options": options}
    artifact = RequestedArtifact(size=len(content), format=form, **told)
    request = site.world.request("test", files={f"a.{form}": content}, artifacts=[artifact])

    async def scenario() -> Any:
        async with site.run(pool) as (gate, courier):
            courier.blobs[sha256(content)] = content
            answer = await courier.sign(request)
            return answer, tries([parse_leaf(leaf) for leaf in gate.parts.log.leaves(0, gate.parts.log.size)])

    try:
        answer, waves = asyncio.run(scenario())
        if answer.message["outcome"] != "signed":
            return str(answer.message["code"]), waves, {}
        (row,) = answer.message["artifacts"]
        bundle = ReceiptBundle.decode(answer.parts[row["bundle"]])
        return "signed", waves, failures(verified(site, content, answer.parts[row["patch"]], bundle, form))
    finally:
        site.close()


CASES = [
    pytest.param(old(jar()), inside(signed("native/*", "pe"), kept()), "jar", {"existing": "replace"}, 2, id="outer"),
    pytest.param(
        jar(**{"native__lib.dll": old(PROGRAM, "pe")}),
        inside(signed("native/*.dll", "pe", existing="replace"), kept()),
        "jar",
        {},
        2,
        id="program-replace",
    ),
    pytest.param(
        jar(**{"native__lib.dll": old(PROGRAM, "pe")}),
        inside(signed("native/*.dll", "pe", existing="append"), kept()),
        "jar",
        {},
        2,
        id="program-append",
    ),
    pytest.param(
        old(jar(**{"native__lib.dll": old(PROGRAM, "pe")})),
        inside(signed("native/*.dll", "pe", existing="replace"), kept()),
        "jar",
        {"existing": "replace"},
        2,
        id="both-replace",
    ),
    pytest.param(
        old(jar(**{"native__lib.dll": old(PROGRAM, "pe")})),
        inside(signed("native/*.dll", "pe", signers=LISTED), kept()),
        "jar",
        {"existing": "append"},
        1,
        id="program-listed-outer-append",
    ),
    pytest.param(
        Zip((("a.jar", old(jar())), ("b.jar", jar()), ("t.exe", PROGRAM))).build(),
        inside(within(existing="replace"), signed("*.exe", "pe"), kept()),
        "zip",
        {},
        2,
        id="member-jar-replace",
    ),
    pytest.param(
        Zip((("a.jar", old(jar(), "jar")), ("t.exe", PROGRAM))).build(),
        inside(signed("*.jar", "jar", existing="append"), signed("*.exe", "pe"), kept()),
        "zip",
        {},
        1,
        id="member-jar-append-direct",
    ),
    pytest.param(
        Zip((("x.jar", jar(**{"lib__y.jar": jar()})), ("z.zip", Zip((("q.jar", jar()),)).build()))).build(),
        inside(
            signed("*.jar", "jar", members=[within("lib/*.jar"), signed("native/*", "pe"), kept()]),
            signed("*.zip", "zip", members=[within(), kept()]),
            kept(),
        ),
        "zip",
        {},
        3,
        id="nested",
    ),
    pytest.param(
        Zip((("x.jar", jar()), ("X.JAR.txt", b"t"), ("x.jar.d/native/lib.dll", PROGRAM))).build(),
        inside(within(), signed("x.jar.d/**", "pe"), kept()),
        "zip",
        {},
        2,
        id="like-named",
    ),
    pytest.param(
        jar(**{"lib__y.jar": jar(), "lib__Y.jar": jar()}),
        inside(within("lib/*.jar"), kept()),
        "jar",
        {},
        3,
        id="case-in-a-jar",
    ),
]


@pytest.mark.parametrize(("content", "rules", "form", "options", "waves"), CASES)
def test_what_was_signed_before_gives_way_or_stays_as_the_policy_says(
    tmp_path: Path, pool: WorkerPool, content: bytes, rules: Inside, form: str, options: Any, waves: int
) -> None:
    outcome, seen, wrong = run(tmp_path, pool, content, rules, form, **options)
    assert (outcome, wrong, seen) == ("signed", {}, [(1, wave) for wave in range(waves)])


REFUSED = [
    pytest.param(
        jar(**{"lib__y.jar": jar(), "lib__y.jar__native__lib.dll": PROGRAM}),
        inside(within("lib/*.jar"), signed("lib/y.jar/native/*", "pe"), kept()),
        "jar",
        id="archive-and-folder",
    ),
    pytest.param(
        jar(**{"lib__y.jar": jar(), "lib__y.jar__native__lib.dll": PROGRAM}),
        inside(signed("lib/y.jar", "jar"), signed("lib/y.jar/native/*", "pe"), kept()),
        "jar",
        id="archive-direct-and-folder",
    ),
    pytest.param(
        jar(**{"lib__y.jar": jar(), "lib__y.jar__readme": b"x"}),
        inside(within("lib/*.jar"), kept()),
        "jar",
        id="archive-and-kept-folder",
    ),
]


PACKAGE = Msix(files=(("app.exe", PROGRAM), ("readme.txt", b"text"))).build()


@pytest.mark.parametrize(
    ("content", "rules"),
    [
        pytest.param(PACKAGE, inside(signed("*.exe", "pe"), kept()), id="itself"),
        pytest.param(
            Zip((("app.zip", PACKAGE),)).build(),
            inside(signed("*.zip", "zip", members=[signed("*.exe", "pe"), kept()]), kept()),
            id="within",
        ),
    ],
)
def test_package_that_is_passed_off_as_a_plain_archive_is_refused_before_the_key_is_used(
    tmp_path: Path, pool: WorkerPool, content: bytes, rules: Inside
) -> None:
    """Its block map would no longer hold: the reader would refuse the result, three times after a use of the key."""
    with pytest.raises(FormatError, match="sign it as msix"):
        run(tmp_path, pool, content, rules)


@pytest.mark.parametrize(("content", "rules", "form"), REFUSED)
def test_path_that_leads_to_two_places_is_refused_before_an_intent(
    tmp_path: Path, pool: WorkerPool, content: bytes, rules: Inside, form: str
) -> None:
    outcome, seen, _ = run(tmp_path, pool, content, rules, form)
    assert (outcome, seen) == ("name-twice", [])
