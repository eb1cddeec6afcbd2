# SPDX-License-Identifier: Apache-2.0
"""From the policy's services to what `signwright.transparency` needs to believe a checkpoint."""

from __future__ import annotations

from signwright.policy.documents import LogIdentity, Quorum, Services, Witness
from signwright.transparency import cosignature
from signwright.transparency.note import COSIGNATURE_V1, VerifierKey


def log_trust(services: Services) -> cosignature.LogTrust:
    """Raises `MalformedError` for keys that do not parse and `ConfigurationError` for a quorum that cannot be met."""
    return log_trust_of(services.log, services.witnesses, services.quorum)


def log_trust_of(log: LogIdentity, witnesses: tuple[Witness, ...], quorum: Quorum) -> cosignature.LogTrust:
    """The same from its parts, as a trust file has them."""
    known = []
    for witness in witnesses:
        key = VerifierKey.parse(witness.key, algorithm=COSIGNATURE_V1)
        known.append(cosignature.WitnessKey(key.name, key.public_key, witness.operator, witness.outside))
    wanted = cosignature.Quorum(tuple(known), quorum.outside, quorum.local)
    return cosignature.LogTrust(log.origin, (VerifierKey.parse(log.key),), wanted)
