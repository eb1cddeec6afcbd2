# SPDX-License-Identifier: Apache-2.0
"""The errors that cross a module border.

    SignwrightError                 code, message, hint, details
    ├── UsageError                  the caller asked for something that makes no sense
    ├── ConfigurationError          a setting or a file of this installation is wrong
    ├── MalformedError              bytes that do not parse; nothing in them was believed
    │   └── FormatError             ... in an artifact: carries the offset
    ├── LimitError                  well formed, but larger than we accept
    ├── AuthenticationError         who sent this is not known or not proved
    ├── DeniedError                 a rule said no; carries every reason
    ├── RejectedError               a person said no
    ├── PendingError                nothing is wrong, but it is not there yet and the time to wait is over
    ├── NotFoundError
    ├── ConflictError               true a moment ago, or about something else
    ├── UnavailableError            a process, authority or device did not answer
    │   └── TimestampError          no timestamp authority gave a token that we accept
    ├── KeystoreError               the key store refused or is quarantined
    └── VerificationError           a signature, proof or receipt does not hold

``code`` is stable and part of the API (``kebab-case``). Messages are lower case, without a full stop, and name what was
found and what was wanted. Status codes live in ``hub/web/problems.py``, exit codes in ``cli/main.py``, nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping


class SignwrightError(Exception):
    """Root of the tree.

    ``code``: stable identifier; ``hint``: what to do, for a person; ``details``: plain JSON data for machines.
    """

    default_code = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint
        self.details = dict(details or {})


class UsageError(SignwrightError):
    default_code = "usage"


class ConfigurationError(SignwrightError):
    default_code = "configuration"


class MalformedError(SignwrightError):
    default_code = "malformed"


class FormatError(MalformedError):
    """An artifact that cannot be read as what it claims to be. ``offset``: in bytes from its start."""

    default_code = "bad-artifact"

    def __init__(self, message: str, *, offset: int = 0, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(f"{message} (at offset {offset})", code=code, hint=hint, details={"offset": offset})
        self.offset = offset


class LimitError(SignwrightError):
    default_code = "too-large"


class AuthenticationError(SignwrightError):
    default_code = "not-authenticated"


class DeniedError(SignwrightError):
    """``details["reasons"]`` lists every reason as ``{"rule", "found", "wanted", "who"}``."""

    default_code = "denied"


class RejectedError(SignwrightError):
    default_code = "rejected"


class PendingError(SignwrightError):
    default_code = "pending"


class NotFoundError(SignwrightError):
    default_code = "not-found"


class ConflictError(SignwrightError):
    default_code = "conflict"


class UnavailableError(SignwrightError):
    default_code = "unavailable"


class TimestampError(UnavailableError):
    default_code = "no-timestamp"


class KeystoreError(SignwrightError):
    default_code = "keystore"


class VerificationError(SignwrightError):
    default_code = "verification-failed"
