# SPDX-License-Identifier: Apache-2.0
"""Format ``cms``: a detached CMS signature (RFC 5652) of any file, in a ``.p7s`` beside it."""

from __future__ import annotations

from collections.abc import Sequence

from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.whole_file import (
    WholeFileOptions,
    prepare_whole_file,
    refuse_to_remove,
    replace_by_envelope,
)
from signwright.model.patch import Patch
from signwright.model.view import View


class CmsFormat:
    """Implements `signwright.formats.base.Format`."""

    name = "cms"
    title = "Detached CMS signature of any file"
    purpose = "file"
    options: type[FormatOptions] = WholeFileOptions
    digest_mode = True
    file_names = ("*",)
    detached_suffix = ".p7s"
    verifiers: tuple[str, ...] = ("openssl cms",)

    def recognizes(self, view: View) -> bool:
        """Any file can be signed so; it is chosen by name or by policy, never by recognition."""
        del view
        return False

    def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:
        del chain
        return prepare_whole_file(view, options, name=self.name, template="cms-detached")

    def embed(self, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
        return replace_by_envelope(prepared, envelopes, name=self.name)

    def remove(self, view: View) -> Patch:
        del view
        refuse_to_remove(self.name)
