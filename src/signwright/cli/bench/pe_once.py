# SPDX-License-Identifier: Apache-2.0
"""Sign one stored PE in a process of its own and say how long it took and how much memory it had.

``python -m signwright.cli.bench.pe_once FOLDER [--pure] [--no-result-digest]`` with ``source``, ``key.pem`` and
``cert.pem`` in FOLDER; writes ``target``. The clock runs from the open source to the closed target; reading the key and
starting the interpreter are left out. ``--pure``: as if numpy were not installed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path


def sign_once(folder: Path, *, result_digest: bool) -> dict[str, object]:
    """Seconds per step, peak memory, and the digests of source, image and result."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    from signwright.cli.bench.measure import cpu_seconds, peak_mib
    from signwright.envelopes.authenticode import Authenticode
    from signwright.envelopes.base import SignerContext
    from signwright.formats.pe import PeFormat, PeOptions
    from signwright.formats.pe_checksum import vectorised
    from signwright.model.patch import Patch, apply_patch
    from signwright.model.view import FileView

    key = load_pem_private_key((folder / "key.pem").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    chain = (x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes()).public_bytes(Encoding.DER),)
    public_key = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    context, template = SignerContext(chain, public_key, datetime.now(UTC)), Authenticode("pe")

    def write(source: Path, view: FileView, patch: Patch) -> str | None:
        with (folder / "target").open("xb", buffering=0) as target:
            if result_digest:
                return apply_patch(view, patch, target.write)
        shutil.copyfile(source, folder / "target")
        with (folder / "target").open("r+b") as target:
            for splice in patch.splices:  # a PE's replacements keep their length, up to the table at the end
                target.seek(splice.offset)
                target.write(splice.insert)
            target.truncate(patch.result_size)
        return None

    cpu, start = cpu_seconds(), time.perf_counter()
    with (folder / "source").open("rb") as source:
        view = FileView(source)
        prepared = PeFormat().prepare(view, chain, PeOptions())
        after_prepare = time.perf_counter()
        operation = prepared.operations[0]
        value = key.sign(template.to_be_signed(operation, context).content, padding.PKCS1v15(), SHA256())
        patch = PeFormat().embed(prepared, [template.envelope(operation, context, value, None)])
        after_embed = time.perf_counter()
        result_sha256 = write(folder / "source", view, patch)
    end = time.perf_counter()
    return {
        "seconds": end - start,
        "cpu s": cpu_seconds() - cpu,
        "prepare s": after_prepare - start,
        "write s": end - after_embed,
        "peak MiB": peak_mib(),
        "numpy": vectorised() is not None,
        "source_sha256": prepared.source_sha256,
        "image": operation.digest,
        "result_sha256": result_sha256,
    }


def main() -> None:
    """Prints the measurement as JSON."""
    parser = argparse.ArgumentParser(prog="signwright.cli.bench.pe_once")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pure", action="store_true")
    parser.add_argument("--no-result-digest", action="store_true")
    told = parser.parse_args()
    if told.pure:
        sys.modules["numpy"] = None  # type: ignore[assignment]
    print(json.dumps(sign_once(told.folder, result_digest=not told.no_result_digest)))


if __name__ == "__main__":
    main()
