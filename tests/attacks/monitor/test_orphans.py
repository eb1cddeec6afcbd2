# SPDX-License-Identifier: Apache-2.0
"""Somebody has the key and signs past the service: whatever they do to the file, the scan finds it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from signwright.cli.main import run
from signwright.model.digest import sha256_hex
from signwright.model.times import format_time
from signwright.model.view import BytesView
from signwright.readers.pe import certificate_table
from tests.support.orphans import NAMES, SUFFIX, log_result, released, signature_value, stolen, write, zipped
from tests.support.pe_builder import SHAPES
from tests.support.pki import public_bytes, to_pem
from tests.support.receipts import SOURCES
from tests.support.served_log import Served, served_log

KINDS = ("pe", "cms", "raw")


@pytest.fixture
def served(tmp_path, monkeypatch) -> Iterator[Served]:
    with served_log(tmp_path, monkeypatch) as found:
        yield found


def scan(capsys, *arguments: object) -> tuple[int, list[dict], dict]:
    """(exit code, what was told, the last line)."""
    capsys.readouterr()
    code = run(["orphans", *map(str, arguments), "--output", "json"])
    *rows, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return code, rows, last


def told(rows: list[dict]) -> list[tuple[str, str]]:
    return [(row["type"], Path(row["path"]).name) for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_a_release_is_in_the_log_and_a_stolen_signature_is_an_orphan(served, capsys, tmp_path, kind):
    folder = write(tmp_path / "out", released(served, kind))
    code, rows, last = scan(capsys, folder)
    assert (code, rows, last["ours"], last["ok"]) == (0, [], 1, True)
    files = stolen(served, kind)
    write(folder, files)
    code, rows, last = scan(capsys, folder)
    name = f"evil-{NAMES[kind]}{SUFFIX[kind]}"
    assert (code, told(rows), last["ours"], last["ok"]) == (8, [("orphan", name)], 2, False)
    (row,) = rows
    assert row["signature_sha256"] == sha256_hex(signature_value(kind, files[name]))
    identity = served.world.identity
    key = public_bytes(served.world.raw_key) if kind == "raw" else identity.public_key
    assert row["key"] == sha256_hex(key)
    assert row["certificate"] == (None if kind == "raw" else sha256_hex(identity.certificate))
    when = None if kind == "raw" else format_time(served.time - timedelta(days=2))
    assert (row["time"], row["time_by"]) == (when, None if kind == "raw" else "builtin")


def test_text_is_a_line_for_each_orphan_with_all_that_is_known(served, capsys, tmp_path):
    folder = write(tmp_path / "out", stolen(served, "pe"))
    assert run(["orphans", str(folder)]) == 8
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    certificate = sha256_hex(served.world.identity.certificate)
    assert line.startswith(f"ORPHAN {folder / 'evil-setup.exe'} signature ")
    assert f" certificate {certificate} timestamp {format_time(served.time - timedelta(days=2))} by builtin: no" in line
    assert "1 signatures by our keys are not in the log" in captured.err


def test_signatures_by_others_are_counted_and_no_business_of_ours(served, capsys, tmp_path):
    other = served.world.pki.code_signing("rsa2048", "Somebody Else")
    view, _, _ = served.world.sign("pe", SOURCES["pe"], signer=other)
    folder = write(tmp_path / "out", {"theirs.exe": view, "plain.exe": SHAPES["odd-end"].build(), "a.txt": b"text"})
    code, rows, last = scan(capsys, folder)
    assert (code, rows, last["others"], last["ours"], last["files"]) == (0, [], 1, 0, 3)


def test_a_file_that_was_changed_afterwards_still_shows_who_signed_it(served, capsys, tmp_path):
    """Every verifier refuses it; that the key was used outside the service is true all the same."""
    (view,) = stolen(served, "pe").values()
    spoilt = view[:700] + bytes([view[700] ^ 1]) + view[701:]
    folder = write(tmp_path / "out", {"spoilt.exe": spoilt})
    assert told(scan(capsys, folder)[1]) == [("orphan", "spoilt.exe")]


def test_our_certificate_beside_a_number_that_our_key_did_not_make_is_told_apart(served, capsys, tmp_path):
    (view,) = stolen(served, "pe").values()
    value = signature_value("pe", view)
    forged = view.replace(value, value[:-1] + bytes([value[-1] ^ 1]))
    folder = write(tmp_path / "out", {"forged.exe": forged})
    code, rows, last = scan(capsys, folder)
    assert (code, told(rows), last["forged"]) == (0, [("forged", "forged.exe")], 1)


def test_our_key_in_another_spelling_is_our_key(served, capsys, tmp_path):
    """A certificate that writes the point of the curve in its hybrid form: the same key under another digest."""
    (view,) = stolen(served, "pe").values()
    point = served.world.identity.public_key[-65:]
    hybrid = bytes([0x06 | point[-1] & 1]) + point[1:]
    assert view.count(point) == 1
    folder = write(tmp_path / "out", {"evil.exe": view.replace(point, hybrid)})
    code, rows, last = scan(capsys, folder)
    assert (code, told(rows), last["others"]) == (8, [("orphan", "evil.exe")], 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [1, 3])
def test_an_orphan_in_an_archive_in_an_archive_is_found(served, capsys, tmp_path, kind, depth):
    files = {**released(served, kind), **stolen(served, kind)}
    for level in range(depth):
        files = {f"inner{level}.zip": zipped(files)}
    folder = write(tmp_path / "out", files)
    code, rows, last = scan(capsys, folder)
    assert (code, last["ours"], len(rows)) == (8, 2, 1)
    assert rows[0]["path"].count("!/") == depth
    assert rows[0]["path"].endswith(f"!/evil-{NAMES[kind]}{SUFFIX[kind]}")


def test_a_second_signature_in_a_file_that_others_signed_first_is_found(served, capsys, tmp_path):
    """Nested beside a signature by somebody else, as dual-signed programs carry them."""
    other = served.world.pki.code_signing("rsa2048", "Somebody Else")
    foreign, _, outer = served.world.sign("pe", SOURCES["pe"], signer=other)
    (ours,) = (next(certificate_table(BytesView(view))) for view in stolen(served, "pe").values())
    table = [foreign, ours.rstrip(b"\0")]
    view = with_second_entry(*table)
    folder = write(tmp_path / "out", {"both.exe": view})
    code, rows, last = scan(capsys, folder)
    assert (code, told(rows), last["others"]) == (8, [("orphan", "both.exe")], 1)
    assert outer


def with_second_entry(view: bytes, envelope: bytes) -> bytes:
    """``view`` with another WIN_CERTIFICATE behind the first one."""
    pe_at = int.from_bytes(view[0x3C:0x40], "little")
    optional = pe_at + 24
    entry = optional + (96 if view[optional : optional + 2] == b"\x0b\x01" else 112) + 32
    size = int.from_bytes(view[entry + 4 : entry + 8], "little")
    envelope += bytes(-(len(envelope) + 8) % 8)
    more = (len(envelope) + 8).to_bytes(4, "little") + b"\x00\x02\x02\x00" + envelope
    return view[: entry + 4] + (size + len(more)).to_bytes(4, "little") + view[entry + 8 :] + more


def test_a_structure_that_the_strict_reader_refuses_is_an_orphan_that_cannot_be_checked(served, capsys, tmp_path):
    """Made with the key by another tool, without signed attributes."""
    identity = served.world.identity
    certificate = x509.load_der_x509_certificate(identity.certificate)
    builder = pkcs7.PKCS7SignatureBuilder().set_data(b"evil").add_signer(certificate, identity.key, hashes.SHA256())
    options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.NoAttributes, pkcs7.PKCS7Options.Binary]
    folder = write(tmp_path / "out", {"evil.p7s": builder.sign(Encoding.DER, options)})
    code, rows, _ = scan(capsys, folder)
    assert (code, told(rows)) == (8, [("orphan", "evil.p7s")])
    assert "it cannot be checked: SignerInfo without signed attributes" in rows[0]["text"]


def test_a_result_for_another_key_does_not_account_for_a_signature(served, capsys, tmp_path):
    """A hostile gate lists the stolen value in the result of a test request."""
    files = stolen(served, "pe")
    (view,) = files.values()
    made = served.world.make("raw")
    log_result(served, made, signature_sha256=(sha256_hex(signature_value("pe", view)),))
    code, rows, _ = scan(capsys, write(tmp_path / "out", files))
    assert (code, told(rows)) == (8, [("orphan", "evil-setup.exe")])


@pytest.mark.parametrize("changes", [{"outcome": "failed"}, {"outcome": "unknown"}, {"request": "e" * 64}])
def test_only_a_result_that_says_signed_for_its_own_request_counts(served, tmp_path, changes):
    made = served.world.make("pe")
    log_result(served, made, **changes)
    folder = write(tmp_path / "out", {"setup.exe": made.view})
    assert scan_without_waiting(served, folder, tmp_path) == ["setup.exe"]


def scan_without_waiting(served: Served, folder: Path, tmp_path: Path) -> list[str]:
    """The scan itself, on a young signature whose leaf never comes."""
    from signwright.client.log_files import folder_files
    from signwright.client.log_reader import open_log
    from signwright.client.orphans.extract import stamps_for
    from signwright.client.orphans.scan import Orphan, Ours, Scan
    from signwright.client.orphans.walk import Walk

    read_file = folder_files(served.write(tmp_path / "mirror"))
    trust = served.world.trust()
    waited: list[float] = []
    found = Scan(
        read=lambda: open_log(trust.log_trust, read_file("checkpoint"), read_file),
        ours=Ours(frozenset({sha256_hex(served.world.identity.public_key)})),
        stamp_of=stamps_for(trust),
        now=served.time,
        pause=waited.append,
    )
    events = list(found.run(Walk().over(iter([folder]))))
    assert len(waited) == 5
    return [Path(event.found.path).name for event in events if isinstance(event, Orphan)]


def test_a_young_signature_waits_for_its_leaf(served, tmp_path):
    from signwright.client.log_files import folder_files
    from signwright.client.log_reader import open_log
    from signwright.client.orphans.extract import stamps_for
    from signwright.client.orphans.scan import Ours, Scan
    from signwright.client.orphans.walk import Walk

    trust, made = served.world.trust(), served.world.make("pe")
    served.publish()
    folder, mirror = write(tmp_path / "out", {"setup.exe": made.view}), tmp_path / "mirror"
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            log_result(served, made)
            served.write(mirror)

    read_file = folder_files(served.write(mirror))
    found = Scan(
        read=lambda: open_log(trust.log_trust, read_file("checkpoint"), read_file),
        ours=Ours(frozenset({sha256_hex(served.world.identity.public_key)})),
        stamp_of=stamps_for(trust),
        now=served.time,
        pause=pause,
    )
    assert (list(found.run(Walk().over(iter([folder])))), len(waited)) == ([], 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folded_result_needs_a_receipt(served, capsys, tmp_path, kind):
    """The log holds one digest of many signatures: the operation list, which the intent names, tells which."""
    made = served.world.make(kind)
    log_result(served, made, more=30)
    files = {NAMES[kind] + SUFFIX[kind]: made.view}
    if made.content is not None:
        files[NAMES[kind]] = made.content
    receipt = {NAMES[kind] + SUFFIX[kind] + ".swreceipt": made.bundle.public().encode()}
    evil = stolen(served, kind)
    folder = write(tmp_path / "out", {**files, **receipt, **evil})
    code, rows, _ = scan(capsys, folder)
    assert (code, told(rows)) == (8, [("orphan", f"evil-{NAMES[kind]}{SUFFIX[kind]}")])


def test_receipts_of_a_folder_or_of_the_hub_account_for_folded_results(served, capsys, tmp_path):
    made = served.world.make("raw")
    log_result(served, made, more=30)
    folder = write(tmp_path / "out", {"fw.bin": made.content, "fw.bin.sig": made.view})
    assert scan(capsys, folder)[0] == 8
    kept = write(tmp_path / "kept", {"fw.swreceipt": made.bundle.encode(), "broken.swreceipt": b"{}"})
    assert scan(capsys, folder, "--receipts", kept)[0] == 0
    reference = made.receipt.request
    view = {"id": "r-aaaaaaaaaaaaaaaa", "state": "completed", "request_sha256": reference, "results": [{"artifact": 0}]}
    served.answers[f"/v1/requests/{reference}"] = view
    served.answers["/v1/requests/r-aaaaaaaaaaaaaaaa/results/0/receipt"] = made.bundle.encode()
    assert scan(capsys, folder)[0] == 0


def test_a_receipt_with_another_operation_list_accounts_for_nothing(served, capsys, tmp_path):
    """Whoever has the key can write receipts; the list must be the one that a logged intent names."""
    made = served.world.make("cms")
    log_result(served, made, more=30)
    evil = stolen(served, "cms")
    wave = made.bundle.waves[0]
    operations = base64.b64decode(wave.operations)
    signed = sha256_hex(made.content).encode()
    changed = operations.replace(signed, sha256_hex(evil["evil-notes.txt"]).encode())
    assert changed != operations
    forged = made.with_bundle(waves=(wave.model_copy(update={"operations": base64.b64encode(changed).decode()}),))
    folder = write(tmp_path / "out", {**evil, "evil-notes.txt.p7s.swreceipt": forged.bundle.encode()})
    code, rows, _ = scan(capsys, folder)
    assert (code, told(rows)) == (8, [("orphan", "evil-notes.txt.p7s")])


def test_since_passes_over_what_a_trusted_authority_dates_before(served, capsys, tmp_path):
    folder = write(tmp_path / "out", stolen(served, "pe"))
    after = format_time(served.time - timedelta(days=1))
    before = format_time(served.time - timedelta(days=3))
    code, rows, last = scan(capsys, folder, "--since", after)
    assert (code, rows, last["older"]) == (0, [], 1)
    assert scan(capsys, folder, "--since", before)[0] == 8
    assert run(["orphans", str(folder), "--since", "yesterday"]) == 2


def test_a_date_that_no_trusted_authority_vouches_for_passes_nothing_over(served, capsys, tmp_path):
    """The thief runs a time stamp authority of their own."""
    trust = served.world.trust(timestamp_authorities=())
    (tmp_path / "trust.json").write_bytes(trust.encode())
    folder = write(tmp_path / "out", stolen(served, "pe"))
    code, rows, _ = scan(capsys, folder, "--since", format_time(served.time))
    assert (code, rows[0]["time_by"]) == (8, None)


@pytest.mark.parametrize("how", ["certificate", "key", "digest"])
def test_one_key_may_be_named(served, capsys, tmp_path, how):
    """What other keys of ours signed is not looked for then."""
    served.write(tmp_path / "mirror")
    folder = write(tmp_path / "out", {**stolen(served, "pe"), **stolen(served, "raw")})
    identity = served.world.identity
    certificate, key = tmp_path / "c.pem", tmp_path / "k.der"
    certificate.write_bytes(to_pem(identity.certificate))
    key.write_bytes(identity.public_key)
    named = {"certificate": ("--certificate", certificate), "key": ("--key", key)}
    named["digest"] = ("--key", sha256_hex(identity.public_key))
    code, rows, last = scan(capsys, folder, "--log", tmp_path / "mirror", *named[how])
    assert (code, told(rows), last["others"]) == (8, [("orphan", "evil-setup.exe")], 1)


def test_keys_that_only_the_log_still_names_are_ours(served, capsys, tmp_path):
    """Without a hub, and for keys that the policy has long forgotten."""
    released(served, "pe")
    served.write(tmp_path / "mirror")
    folder = write(tmp_path / "out", stolen(served, "pe"))
    assert scan(capsys, folder, "--log", tmp_path / "mirror")[0] == 8


def test_a_log_that_does_not_hold_settles_nothing(served, capsys, tmp_path):
    folder = write(tmp_path / "out", released(served, "pe"))
    for name in [path for path in served.files if "entries" in path]:
        served.files[name] = served.files[name].replace(b'"outcome":"signed"', b'"outcome":"signeD"')
    assert run(["orphans", str(folder)]) == 8
    assert "its entries do not make the root" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["zip", "pe", "p7s"])
def test_what_cannot_be_read_is_named_and_no_clean_bill(served, capsys, tmp_path, broken):
    (view,) = stolen(served, "pe").values()
    pe_at = int.from_bytes(view[0x3C:0x40], "little")
    optional = pe_at + 24
    entry = optional + (96 if view[optional : optional + 2] == b"\x0b\x01" else 112) + 32
    content = {
        "zip": zipped({"a": b"a"})[:-1],
        "pe": view[: entry + 4] + b"\xff\xff\xff\x7f" + view[entry + 8 :],
        "p7s": b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02" + bytes(40),
    }[broken]
    folder = write(tmp_path / "out", {"broken": content})
    code, rows, last = scan(capsys, folder)
    assert (code, told(rows), last["ok"], last["unread"]) == (1, [("unread", "broken")], False, 1)


def test_archives_that_are_not_looked_into_are_named(served, capsys, tmp_path):
    folder = write(tmp_path / "out", {"a.tar.gz": b"\x1f\x8b\x08" + bytes(20)})
    code, rows, last = scan(capsys, folder)
    assert (code, told(rows), last["whole"]) == (0, [("closed", "a.tar.gz")], False)


def test_bombs_and_endless_nesting_end_at_their_limits(served, capsys, tmp_path):
    nested = b"x"
    for _ in range(12):
        nested = zipped({"inner.zip": nested})
    folder = write(tmp_path / "out", {"bomb.zip": zipped({"zeros": bytes(200 << 20)}), "deep.zip": nested})
    code, rows, _ = scan(capsys, folder)
    assert code == 1
    assert sorted(row["code"] for row in rows) == ["archive-depth", "archive-ratio"]


def test_links_are_not_followed_and_odd_files_do_no_harm(served, capsys, tmp_path):
    folder = write(tmp_path / "out", stolen(served, "pe"))
    (folder / "link").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    odd = os.fsencode(folder) + b"/\xff\n.exe"
    with open(odd, "wb") as file:
        file.write((folder / "evil-setup.exe").read_bytes())
    assert run(["orphans", str(folder)]) == 8
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("ORPHAN ") for line in lines)
    _, rows, last = scan(capsys, folder)
    assert (last["links"], last["files"], len(rows)) == (1, 2, 2)


def test_a_list_names_the_files(served, capsys, tmp_path):
    folder = write(tmp_path / "out", {**stolen(served, "pe"), "fine.txt": b"text"})
    listed = tmp_path / "list"
    listed.write_text(f"{folder / 'fine.txt'}\n\n{folder / 'evil-setup.exe'}\r\n")
    code, rows, last = scan(capsys, "--list", listed)
    assert (code, told(rows), last["files"]) == (8, [("orphan", "evil-setup.exe")], 2)
    listed.write_text(f"{folder / 'gone'}\n")
    assert scan(capsys, "--list", listed)[0] == 1
    for bad in (b"a\0b\n", b"x" * 40_000):
        listed.write_bytes(bad)
        assert run(["orphans", "--list", str(listed)]) == 2
    assert run(["orphans", "--list", str(tmp_path / "nowhere")]) == 2
    assert run(["orphans"]) == 2
