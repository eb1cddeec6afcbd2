# SPDX-License-Identifier: Apache-2.0
"""Sign one stored file in a process of its own and say how long it took and how much memory it had.

``python -m signwright.cli.bench.once FORMAT FOLDER [--pure] [--no-result-digest]`` with ``source``, ``key.pem`` and
``cert.pem`` in FOLDER; writes ``target``. The clock runs from the open source to the closed target; reading the key and
starting the interpreter are left out. ``--pure``: as if numpy were not installed; ``--no-result-digest``: of a PE only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signwright.cli.bench.figures import Sample
from signwright.cli.bench.measure import cpu_seconds, peak_mib, run_program

if TYPE_CHECKING:
    from signwright.envelopes.base import Template
    from signwright.formats.base import Format, FormatOptions, Prepared
    from signwright.model.patch import Patch
    from signwright.model.view import FileView, View

FORMATS = ("jar", "msi", "pe", "zip")


@dataclass(frozen=True, slots=True)
class Tools:
    """What signs files of one format: prepare a view, embed envelopes into it, and the template of each operation."""

    prepare: Callable[[View, Sequence[bytes]], Prepared]
    embed: Callable[[View, Prepared, Sequence[bytes]], Patch]
    template: Callable[[str], Template]


def in_fresh_process(name: str, folder: Path, *flags: str) -> tuple[Sample, dict[str, Any]]:
    """Sign ``source`` into ``target``; also all that the process said of itself."""
    (folder / "target").unlink(missing_ok=True)
    command = [sys.executable, "-m", "signwright.cli.bench.once", name, str(folder), *flags]
    told = json.loads(run_program(command))
    return Sample(told["seconds"], {n: told[n] for n in ("cpu s", "prepare s", "write s", "peak MiB")}), told


def sign_once(name: str, folder: Path, *, result_digest: bool = True) -> dict[str, object]:
    """Seconds per step, peak memory, digests of source, content and result; of a PE, whether numpy was there."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    from signwright.envelopes.base import SignerContext, check_seen
    from signwright.model.view import FileView

    tools = _tools(name)
    key = load_pem_private_key((folder / "key.pem").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    chain = (x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes()).public_bytes(Encoding.DER),)
    public_key = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    context = SignerContext(chain, public_key, datetime.now(UTC))

    cpu, start = cpu_seconds(), time.perf_counter()
    with (folder / "source").open("rb") as source:
        view = FileView(source)
        prepared = tools.prepare(view, chain)
        after_prepare = time.perf_counter()
        contents, envelopes = list(prepared.contents), []
        for operation in prepared.operations:
            template = tools.template(operation.template)
            if template.check_content is not None:
                check_seen(template, operation, contents.pop(0))
            value = key.sign(template.to_be_signed(operation, context).content, padding.PKCS1v15(), SHA256())
            envelopes.append(template.envelope(operation, context, value, None))
        patch = tools.embed(view, prepared, envelopes)
        after_embed = time.perf_counter()
        result_sha256 = _write(folder, view, patch, result_digest=result_digest)
    end = time.perf_counter()
    told: dict[str, object] = {
        "seconds": end - start,
        "cpu s": cpu_seconds() - cpu,
        "prepare s": after_prepare - start,
        "write s": end - after_embed,
        "peak MiB": peak_mib(),
        "source_sha256": prepared.source_sha256,
        "content": prepared.operations[0].digest,
        "result_sha256": result_sha256,
    }
    if name == "pe":
        from signwright.formats.pe_checksum import vectorised

        told["numpy"] = vectorised() is not None
    return told


def _tools(name: str) -> Tools:
    """What signs files of one format; nothing of another one is loaded, whose memory would be counted."""
    if name == "zip":
        return _members()
    if name == "jar":
        from signwright.envelopes.jar import Jar
        from signwright.formats.jar import JarFormat, JarOptions

        return _alone(JarFormat(), JarOptions(), Jar())
    from signwright.envelopes.authenticode import Authenticode

    if name == "msi":
        from signwright.formats.msi import MsiFormat, MsiOptions

        return _alone(MsiFormat(), MsiOptions(), Authenticode("msi"))
    from signwright.formats.pe import PeFormat, PeOptions

    return _alone(PeFormat(), PeOptions(), Authenticode("pe"))


def _alone(one: Format, options: FormatOptions, template: Template) -> Tools:
    return Tools(
        prepare=lambda view, chain: one.prepare(view, chain, options),
        embed=lambda _, prepared, envelopes: one.embed(prepared, envelopes),
        template=lambda _: template,
    )


def _members() -> Tools:
    """Programs in an archive."""
    from signwright.envelopes.templates import template_named
    from signwright.formats.base import FormatOptions
    from signwright.formats.zip import ZipFormat
    from signwright.plan import signing
    from signwright.policy.documents import Inside, MemberRule

    programs = MemberRule(path="**/*.exe", action="sign", format="pe")
    inside, one = Inside(members=(programs,), unlisted="keep"), ZipFormat()
    return Tools(
        prepare=lambda view, chain: signing.prepare(one, view, chain, FormatOptions(), inside),
        embed=signing.embed,
        template=template_named,
    )


def _write(folder: Path, view: FileView, patch: Patch, *, result_digest: bool) -> str | None:
    from signwright.model.patch import apply_patch

    with (folder / "target").open("xb", buffering=0) as target:
        if result_digest:
            return apply_patch(view, patch, target.write)
    shutil.copyfile(folder / "source", folder / "target")
    with (folder / "target").open("r+b") as target:
        for splice in patch.splices:  # a PE's replacements keep their length, up to the table at the end
            target.seek(splice.offset)
            target.write(splice.insert)
        target.truncate(patch.result_size)
    return None


def main() -> None:
    """Prints the measurement as JSON."""
    parser = argparse.ArgumentParser(prog="signwright.cli.bench.once")
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pure", action="store_true")
    parser.add_argument("--no-result-digest", action="store_true")
    told = parser.parse_args()
    if told.no_result_digest and told.format != "pe":
        parser.error("--no-result-digest is for a PE only")
    if told.pure:
        sys.modules["numpy"] = None  # type: ignore[assignment]
    print(json.dumps(sign_once(told.format, told.folder, result_digest=not told.no_result_digest)))


if __name__ == "__main__":
    main()
