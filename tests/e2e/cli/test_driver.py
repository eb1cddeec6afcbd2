# SPDX-License-Identifier: Apache-2.0
"""A driver package is signed from the inside out: drivers, catalog, cabinet; and found good by outside programs."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from signwright.client.trust import load_trust
from signwright.model.view import BytesView
from signwright.readers.cab import CabReader
from signwright.readers.catalog import CatalogReader
from signwright.readers.pe import PeReader
from tests.support.driver_package import make_package
from tests.support.homes import RunningHome, running_home
from tests.support.processes import wait_until
from tests.support.signify_shim import import_signify
from tests.support.tools import require_tool, run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHome]:
    folder = tmp_path_factory.mktemp("driver")
    with running_home(folder / "h", folder / "state") as running:
        yield running


def roots(home: RunningHome, file: Path) -> Path:
    from base64 import b64decode

    from tests.support.pki import to_pem

    trust = load_trust(home.folder / "trust.json")
    file.write_bytes(b"".join(to_pem(b64decode(one)) for one in trust.code_signing_roots))
    return file


def test_package_is_signed_in_order_and_holds_for_everybody(home: RunningHome, tmp_path: Path) -> None:
    source, out = make_package(tmp_path / "package"), tmp_path / "out"
    ran = home.cli("driver", source, "-o", out, "--description", "Example", "--output", "json")
    assert ran.code == 0, ran.err
    assert [request["policy"] for request in ran.json["requests"]] == ["default/test"] * 3
    inside = out / "example"
    assert ran.json["cabinet"] == str(out / "example.cab")
    assert ran.json["catalog"] == str(inside / "Example.cat")
    for row in (row for request in ran.json["requests"] for row in request["files"]):
        assert row["verified"]
        assert home.cli("verify", row["output"]).code == 0

    (driver,) = PeReader().read(BytesView((inside / "example.sys").read_bytes())).signatures
    (catalog,) = CatalogReader().read(BytesView((inside / "Example.cat").read_bytes())).signatures
    assert len(CabReader().read(BytesView((out / "example.cab").read_bytes())).signatures) == 1
    listed = {text for name, text in catalog.notes.items() if name.startswith("member ")}
    plain = {
        name: hashlib.sha256((source / name).read_bytes()).hexdigest() for name in ("example.inf", "tools/readme.txt")
    }
    assert f"{driver.content_digest} example.sys" in listed
    assert f"sha256:{plain['example.inf']} example.inf" in listed
    assert f"sha256:{plain['tools/readme.txt']} readme.txt" in listed
    assert len(listed) == 4

    _check_outside(home, inside, out, tmp_path)


def _check_outside(home: RunningHome, inside: Path, out: Path, work: Path) -> None:
    ossl, root = require_tool("osslsigncode"), roots(home, work / "root.pem")
    for name in ("example.sys", "tools/setup.exe"):
        told = run(ossl, "verify", "-CAfile", str(root), "-catalog", "Example.cat", "-in", name, cwd=inside)
        assert told.returncode == 0, told.stdout
    told = run(ossl, "verify", "-CAfile", str(root), "-in", "example.cab", cwd=out)
    assert told.returncode == 0, told.stdout
    unpacked = work / "unpacked"
    told = run(require_tool("cabextract"), "-q", "-d", str(unpacked), str(out / "example.cab"), cwd=out)
    assert told.returncode == 0, told.stderr
    files = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    names = ("Example.cat", "example.inf", "example.pdb", "example.sys", "tools/readme.txt", "tools/setup.exe")
    assert files == {f"example/{name}" for name in names}
    assert all((unpacked / file).read_bytes() == (out / file).read_bytes() for file in files)
    module = import_signify()
    ctl = module.AuthenticodeFile.from_stream(io.BytesIO((inside / "Example.cat").read_bytes())).ctl
    for name in ("example.inf", "tools/readme.txt"):
        assert ctl.find_subject(hashlib.sha256((inside / name).read_bytes()).digest()) is not None


def test_the_same_command_answers_with_the_earlier_requests(home: RunningHome, tmp_path: Path) -> None:
    source = make_package(tmp_path / "package")
    first, second = (home.cli("driver", source, "-o", tmp_path / name, "--output", "json") for name in ("a", "b"))
    assert (first.code, second.code) == (0, 0), second.err
    ids = [[request["request"] for request in ran.json["requests"]] for ran in (first, second)]
    assert ids[0] == ids[1]
    for name in ("example/example.sys", "example/Example.cat", "example.cab"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_release_waits_for_people_and_goes_on_where_it_stopped(home: RunningHome, tmp_path: Path) -> None:
    source, out = make_package(tmp_path / "package"), tmp_path / "out"
    for _ in range(3):
        ran = home.cli("driver", source, "-o", out, "--policy", "default/release", "--timeout", "1")
        assert ran.code == 5, ran.err
        assert "the same command continues" in ran.err
        assert not out.exists()
        wait_until(lambda: len(waiting(home)) == 1, what="scan", seconds=30)
        (request,) = waiting(home)
        home.approve(request)
        assert home.cli("wait", request).code == 0
    ran = home.cli("driver", source, "-o", out, "--policy", "default/release", "--output", "json")
    assert ran.code == 0, ran.err
    assert (out / "example.cab").is_file()


def waiting(home: RunningHome) -> list[str]:
    ran = home.cli("requests", "--state", "awaiting-approval", "--output", "json")
    return [row["request"] for row in ran.json["requests"]]


def test_a_file_that_no_catalog_takes_is_refused_before_anything_is_signed(home: RunningHome, tmp_path: Path) -> None:
    source, before = make_package(tmp_path / "package"), home.cli("requests", "--output", "json").out
    (source / "tools" / "data.cab").write_bytes(b"MSCF")
    ran = home.cli("driver", source, "-o", tmp_path / "out")
    assert ran.code == 9
    assert "data.cab: a cabinet" in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["package"]
    assert home.cli("requests", "--output", "json").out == before


def test_nothing_is_left_behind_when_a_step_fails(home: RunningHome, tmp_path: Path) -> None:
    source = make_package(tmp_path / "package", driver=b"MZ, but no driver")
    assert home.cli("driver", source, "-o", tmp_path / "out").code == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["package"]


def test_a_package_without_drivers_has_a_catalog_as_well(home: RunningHome, tmp_path: Path) -> None:
    source = make_package(tmp_path / "package")
    (source / "example.sys").unlink()
    os.utime(source / "example.inf", (0, 0))
    ran = home.cli("driver", source, "-o", tmp_path / "out", "--output", "json")
    assert ran.code == 0, ran.err
    assert [request["files"][0]["format"] for request in ran.json["requests"]] == ["catalog", "cab"]


@pytest.mark.parametrize("what", ["no-folder", "output-exists", "bad-os"])
def test_a_wrong_call_is_refused_before_anything_is_signed(home: RunningHome, tmp_path: Path, what: str) -> None:
    source, out = make_package(tmp_path / "package"), tmp_path / "out"
    flags: list[object] = []
    if what == "no-folder":
        source = tmp_path / "nowhere"
    elif what == "output-exists":
        out = source
    else:
        flags = ["--os", "Windows 95"]
    assert home.cli("driver", source, "-o", out, *flags).code == 2
