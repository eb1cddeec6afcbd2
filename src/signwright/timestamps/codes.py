# SPDX-License-Identifier: Apache-2.0
"""The stable codes of everything that can be wrong with a timestamp: one per check."""

from __future__ import annotations

from enum import StrEnum


class Check(StrEnum):
    """Value: the ``code`` of the `VerificationError` (a token) or `TimestampError` (a reply, an authority)."""

    # the way to the authority and its reply
    UNREACHABLE = "timestamp-unreachable"
    TIMED_OUT = "timestamp-timed-out"
    HTTP_STATUS = "timestamp-http-status"
    MEDIA_TYPE = "timestamp-media-type"
    REPLY = "timestamp-bad-reply"
    REJECTED = "timestamp-rejected"
    # the token's form
    SIZE = "timestamp-too-large"
    DER = "timestamp-der"
    SET_ORDER = "timestamp-set-order"
    STRUCTURE = "timestamp-structure"
    CONTENT_TYPE = "timestamp-content-type"
    VERSION = "timestamp-version"
    SIGNERS = "timestamp-signers"
    ALGORITHM = "timestamp-algorithm"
    # who signed it
    NO_CERTIFICATE = "timestamp-no-certificate"
    SIGNED_ATTRIBUTES = "timestamp-signed-attributes"
    MESSAGE_DIGEST = "timestamp-message-digest"
    SIGNING_CERTIFICATE = "timestamp-signing-certificate"
    SIGNATURE = "timestamp-signature"
    KEY_USAGE = "timestamp-key-usage"
    VALIDITY = "timestamp-certificate-validity"
    CHAIN = "timestamp-chain"
    # what it says
    IMPRINT = "timestamp-imprint"
    NONCE = "timestamp-nonce"
    POLICY = "timestamp-policy"
    TSA_NAME = "timestamp-tsa-name"
    EXTENSION = "timestamp-extension"
    TIME = "timestamp-time"
