# SPDX-License-Identifier: Apache-2.0
"""The bare key: as many signatures as one process makes with it in a loop, and nothing else.

``python -m signwright.cli.bench.bare rsa3072|p256 SECONDS`` prints signatures per second.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable

_AT_ONCE = 16


def signer(kind: str) -> Callable[[bytes], bytes]:
    """From a SHA-256 digest to a signature value, with a fresh software key."""
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import SHA256

    hashed = Prehashed(SHA256())
    if kind == "rsa3072":
        key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
        return lambda digest: key.sign(digest, padding.PKCS1v15(), hashed)
    curve_key = ec.generate_private_key(ec.SECP256R1())
    return lambda digest: curve_key.sign(digest, ec.ECDSA(hashed))


def rate(sign: Callable[[bytes], bytes], seconds: float) -> float:
    """Signatures per second, each over another digest."""
    digest, count, start = hashlib.sha256(b"bench").digest(), 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        for _ in range(_AT_ONCE):
            digest = hashlib.sha256(sign(digest)).digest()
        count += _AT_ONCE
    return count / spent


def main() -> None:
    """The process of its own."""
    sign = signer(sys.argv[1])
    rate(sign, 0.1)
    print(rate(sign, float(sys.argv[2])))


if __name__ == "__main__":
    main()
