# SPDX-License-Identifier: Apache-2.0
"""Key stores: one file each, one line in the table below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from signwright.signer.keyholder.keystores.base import KeyStore
from signwright.signer.keyholder.keystores.pkcs11 import open_pkcs11
from signwright.signer.keyholder.keystores.software import open_software
from signwright.signer.keyholder.settings import KeySettings

#: Store name → what opens it, in the child that will use it.
KEYSTORES: Mapping[str, Callable[[KeySettings], KeyStore]] = MappingProxyType(
    {"software": open_software, "pkcs11": open_pkcs11}
)
