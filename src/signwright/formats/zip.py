# SPDX-License-Identifier: Apache-2.0
"""Format ``zip``: an archive that has no signature of its own and whose members are signed.

Which ones, an artifact configuration says, and `signwright.plan` has it done. This is the name under which requests and
policies know such archives; without a configuration nothing in one is signed.
"""

from __future__ import annotations

from collections.abc import Sequence

from signwright.containers.zip import END, LOCAL
from signwright.errors import FormatError, LimitError
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.zip_patch import open_zip
from signwright.model.patch import Patch
from signwright.model.view import View


class ZipFormat:
    """Implements `signwright.formats.base.Format`. ``purpose``: none, the members have theirs."""

    name = "zip"
    title = "Zip archive with members to be signed"
    purpose = ""
    options: type[FormatOptions] = FormatOptions
    digest_mode = False
    file_names = ("*.zip",)
    detached_suffix = ""
    verifiers: tuple[str, ...] = ("those of its members",)

    def recognizes(self, view: View) -> bool:
        """By its first bytes, and that it opens; kinds of files that are zips come before it in the registry."""
        if view.size < len(END) or view.read(0, len(END)) not in {LOCAL, END}:
            return False
        try:
            open_zip(view)
        except (FormatError, LimitError):
            return False
        return True

    def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:
        del view, chain, options
        raise _no_members()

    def embed(self, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
        del prepared, envelopes
        raise _no_members()

    def remove(self, view: View) -> Patch:
        del view
        raise FormatError(
            "a zip has no signature of its own; its members may have", code="not-signed", hint="unpack it first"
        )


def _no_members() -> FormatError:
    return FormatError(
        "a zip is signed by its members, and the artifact configuration names none",
        code="no-members",
        hint="signwright config new SAMPLE",
    )
