# SPDX-License-Identifier: Apache-2.0
"""Sign one stored JAR in a process of its own and say how long it took and how much memory it had.

``python -m signwright.cli.bench.jar_once FOLDER`` with ``source``, ``key.pem`` and ``cert.pem`` in FOLDER; writes
``target``. The clock runs from the open source to the closed target, with the digest of the result; reading the key and
starting the interpreter are left out.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path


def sign_once(folder: Path) -> dict[str, object]:
    """Seconds per step, peak memory, and the digest of the result."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    from signwright.cli.bench.measure import cpu_seconds, peak_mib
    from signwright.envelopes.base import SignerContext, check_seen
    from signwright.envelopes.jar import Jar
    from signwright.formats.jar import JarFormat, JarOptions
    from signwright.model.patch import apply_patch
    from signwright.model.view import FileView

    key = load_pem_private_key((folder / "key.pem").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    chain = (x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes()).public_bytes(Encoding.DER),)
    public_key = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    context, template = SignerContext(chain, public_key, datetime.now(UTC)), Jar()

    cpu, start = cpu_seconds(), time.perf_counter()
    with (folder / "source").open("rb") as source:
        view = FileView(source)
        prepared = JarFormat().prepare(view, chain, JarOptions())
        after_prepare = time.perf_counter()
        operation = prepared.operations[0]
        check_seen(template, operation, prepared.contents[0])
        value = key.sign(template.to_be_signed(operation, context).content, padding.PKCS1v15(), SHA256())
        patch = JarFormat().embed(prepared, [template.envelope(operation, context, value, None)])
        after_embed = time.perf_counter()
        with (folder / "target").open("xb", buffering=0) as target:
            result_sha256 = apply_patch(view, patch, target.write)
    end = time.perf_counter()
    return {
        "seconds": end - start,
        "cpu s": cpu_seconds() - cpu,
        "prepare s": after_prepare - start,
        "write s": end - after_embed,
        "peak MiB": peak_mib(),
        "result_sha256": result_sha256,
    }


def main() -> None:
    """Prints the measurement as JSON."""
    parser = argparse.ArgumentParser(prog="signwright.cli.bench.jar_once")
    parser.add_argument("folder", type=Path)
    print(json.dumps(sign_once(parser.parse_args().folder)))


if __name__ == "__main__":
    main()
