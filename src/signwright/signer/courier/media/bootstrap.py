# SPDX-License-Identifier: Apache-2.0
"""Where the media courier is put together, on either side of the gap."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from httpx import create_ssl_context

from signwright.errors import ConfigurationError
from signwright.signer.courier.errands import Relay
from signwright.signer.courier.http import HttpClient
from signwright.signer.courier.hub import Hub
from signwright.signer.courier.media.door import Door, Tell
from signwright.signer.courier.media.inside import InsideErrands
from signwright.signer.courier.media.outside import Outside
from signwright.signer.courier.media.store import MediaStore
from signwright.signer.courier.media.vault import Vault
from signwright.signer.courier.settings import CourierSettings, MediaSettings
from signwright.statements.writing import public_text

#: Path of a key file to the key.
LoadKey = Callable[[str], Ed25519PrivateKey]


async def serve_media(
    settings: CourierSettings, media: MediaSettings, *, load: LoadKey, ready: Callable[[], None]
) -> None:
    """Until cancelled. ``ready``: called once, when the socket is there and, in a vault, the gate is connected."""
    if media.side == "vault":
        await _serve_vault(settings, media, _own(load(media.vault_key_file), media.vault_key), ready)
    else:
        await _serve_outside(settings, media, _own(load(settings.key_file), media.outside_key), ready)


def _own(key: Ed25519PrivateKey, public: str) -> Ed25519PrivateKey:
    if public_text(key) != public:
        raise ConfigurationError("courier settings: [media] names another public key than our own", code="bad-settings")
    return key


async def _serve_vault(
    settings: CourierSettings, media: MediaSettings, key: Ed25519PrivateKey, ready: Callable[[], None]
) -> None:
    store = MediaStore(Path(media.folder))
    async with HttpClient(tls=create_ssl_context(trust_env=False)) as inside:
        vault = Vault(settings, media, store, key=key)
        errands = InsideErrands(
            settings, inside, store=store, questions=vault.questions, link=vault.open_link, stirred=vault.stir
        )

        async def take_in(descriptor: int | None, tell: Tell) -> dict[str, object]:
            return await vault.take_in(descriptor, tell, errands)

        async def give_out(descriptor: int | None, tell: Tell) -> dict[str, object]:
            return await vault.give_out(descriptor, tell, errands)

        door = Door(Path(media.socket), {"import": take_in, "export": give_out, "status": vault.status})
        await _together(door.run(), vault.run(errands, on_ready=ready))


async def _serve_outside(
    settings: CourierSettings, media: MediaSettings, key: Ed25519PrivateKey, ready: Callable[[], None]
) -> None:
    store = MediaStore(Path(media.folder))
    verify = ssl.create_default_context(cafile=settings.ca_file)
    async with (
        HttpClient(tls=verify, base=settings.hub) as to_hub,
        HttpClient(tls=create_ssl_context(trust_env=False)) as elsewhere,
    ):
        outside = Outside(media, store, Hub(to_hub, key), relay=Relay(settings, elsewhere), key=key)
        verbs = {"import": outside.take_in, "export": outside.give_out, "status": outside.status}
        door = Door(Path(media.socket), verbs)
        await _together(door.run(on_ready=ready), outside.run())


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    """Until one of them ends or fails; then none goes on."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
