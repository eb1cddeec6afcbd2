# SPDX-License-Identifier: Apache-2.0
"""The public SDK: talk to a hub, approve, and verify offline.

Imports nothing of hub or signer, and runs on every platform.
"""
