# SPDX-License-Identifier: Apache-2.0
"""Whether a signed archive follows from the file that people approved: made again from it and the signatures inside.

Of an archive that is signed after its members nobody approved the digest. Who has both files derives it again, as the
signer's workers did, with the signatures that are in the result: it must come out the same.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from signwright.client.authorisation import ArtifactOperation, policy_of
from signwright.client.files import open_input
from signwright.client.members import reader_of, waves_of
from signwright.client.recognise import format_named, options_of
from signwright.client.trust import TrustFile
from signwright.client.verify import Check, Evidence
from signwright.containers.zip import Member, ZipArchive
from signwright.errors import FormatError, LimitError, SignwrightError, UsageError, VerificationError
from signwright.formats.base import Prepared
from signwright.model.digest import sha256_hex
from signwright.model.patch import Patch, Patched, compose, sealed
from signwright.model.view import FileView, View, Window, sha256_of
from signwright.plan import signing
from signwright.plan.contents import unpacked
from signwright.policy.metadata import artifact_rule
from signwright.readers.base import FoundSignature
from signwright.readers.members import PACKAGE
from signwright.readers.msix_members import MAP, check_block_map
from signwright.statements.bundle import Authorisation, ReceiptBundle, open_envelope
from signwright.statements.models import Request, parse_statement
from signwright.statements.receipt import Receipt

_DEEP = 8
_MARK = b"PK\3\4"


def check_follows(bundle: ReceiptBundle, trust: TrustFile, source: View, result: View) -> str:
    """How it was found to follow, in words. ``source``: the approved file; ``result``: the signed one, which has been
    verified with its receipt. Raises `VerificationError` (``not-derived``), also where that cannot be said. Of other
    files the approved digest says all, and the source is only compared with the receipt.
    """
    if bundle.authorisation is None:
        raise VerificationError("a shareable receipt does not say what it follows from", code="not-derived")
    said = parse_statement(open_envelope(bundle.receipt), Receipt).predicate
    found = sha256_of(source)
    if found != said.source_sha256:
        raise VerificationError(f"SHA-256 {found}; approved was {said.source_sha256}", code="wrong-source")
    if not said.derived:
        return "the approved file; nothing that was signed is derived"
    signatures = reader_of(said.format, bundle)(result, None).signatures
    ours = [one for one in signatures if sha256_hex(one.envelope) in said.envelopes_sha256]
    try:
        again = _made_again(bundle.authorisation, trust, said, source, waves=waves_of(bundle), signatures=ours)
        if sha256_of(again) == sha256_of(result):
            return "made again from the approved file: the same, byte for byte"
        _same_contents(again, result, "", 0)
    except (FormatError, LimitError) as problem:
        raise VerificationError(f"it cannot be made again: {problem.message}", code="not-derived") from problem
    return "made again from the approved file: the same, but for how members are packed"


def follows_from(source: Path, evidence: Evidence, trust: TrustFile) -> Check:
    """The same as a check of its own; raises `UsageError` without a receipt, and for a file that cannot be read."""
    if evidence.bundle is None:
        raise UsageError("whether it follows from its source, the receipt says", code="no-receipt", hint="--receipt")
    with open_input(source) as opened:
        try:
            return Check("source", True, check_follows(evidence.bundle, trust, FileView(opened), evidence.view))
        except SignwrightError as problem:
            return Check("source", False, problem.message, problem.code)


def _made_again(
    authorisation: Authorisation,
    trust: TrustFile,
    said: Receipt,
    source: View,
    *,
    waves: Sequence[Sequence[ArtifactOperation]],
    signatures: Sequence[FoundSignature],
) -> View:
    policy = policy_of(authorisation, policy_root_sha256=trust.policy_root_sha256)
    request = parse_statement(open_envelope(authorisation.request), Request)
    subject, artifact = request.subjects[said.artifact], request.predicate.artifacts[said.artifact]
    project = policy.projects[said.project]
    rule = project.signing_policies[said.signing_policy]
    chain = [base64.b64decode(certificate) for certificate in policy.key_of(rule).chain]
    configuration = project.artifact_configurations[rule.artifact_configuration]
    inside = artifact_rule(configuration, subject.name, artifact.format) or signing.NOTHING_INSIDE
    one = format_named(artifact.format)
    options = options_of(one, artifact.options)
    patch: Patch | None = None
    for number, rows in enumerate(waves):
        if not rows:
            continue
        current = source if patch is None else Patched(source, patch)
        if number == 0:
            prepared = signing.prepare(one, current, chain, options, inside)
            _check_asked(prepared, artifact.operations == prepared.operations and artifact.derived == prepared.later)
        else:
            paths = [row.inner_path for row in rows]
            prepared = signing.prepare_again(one, current, chain, options, inside, paths)
        step = sealed(current, signing.embed(current, prepared, [_envelope(signatures, row) for row in rows]))
        patch = step if patch is None else compose(patch, step)
    return source if patch is None else Patched(source, patch)


def _check_asked(prepared: Prepared, same: bool) -> None:
    if not same:
        raise VerificationError(
            f"the approved file asks for other operations ({len(prepared.operations)}) than the request",
            code="not-derived",
        )


def _envelope(signatures: Sequence[FoundSignature], row: ArtifactOperation) -> bytes:
    """The one that the operation led to."""
    found = {
        one.envelope for one in signatures if (one.inner_path, str(one.content_digest)) == (row.inner_path, row.digest)
    }
    if len(found) != 1:
        where = row.inner_path or "the file itself"
        raise VerificationError(
            f"{where}: {len(found)} signatures of the logged digest, wanted one", code="not-derived"
        )
    return found.pop()


def _same_contents(ours: View, theirs: View, path: str, depth: int) -> None:
    """Every member unpacks to the same; how small one is packed is the packer's business (another zlib). The block map
    of a package tells of that, and has to be right.
    """
    if depth == _DEEP:
        raise FormatError(f"archives in more than {_DEEP} others", code="archive-depth")
    here, there = ZipArchive(ours), ZipArchive(theirs)
    names = [member.name for member in here.members]
    if names != [member.name for member in there.members]:
        raise VerificationError(f"{path or 'the archive'}: it has other members", code="not-derived")
    for mine, other in zip(here.members, there.members, strict=True):
        if mine.name == MAP and PACKAGE in names:
            check_block_map(theirs)
        elif not _is_packed_alike(ours, mine, theirs, other):
            inner = f"{path}{mine.name}"
            _same_content(_content(here, ours, mine), _content(there, theirs, other), inner, depth)


def _is_packed_alike(ours: View, mine: Member, theirs: View, other: Member) -> bool:
    told = ((one.method, one.encrypted, one.crc, one.size, one.packed) for one in (mine, other))
    if len(set(told)) > 1:
        return False
    places = (Window(view, one.start, one.packed) for view, one in ((ours, mine), (theirs, other)))
    return len({sha256_of(place) for place in places}) == 1


def _content(archive: ZipArchive, view: View, member: Member) -> View:
    return unpacked(archive, member) if member.method else Window(view, member.start, member.size)


def _same_content(ours: View, theirs: View, path: str, depth: int) -> None:
    if sha256_of(ours) == sha256_of(theirs):
        return
    if any(one.size < len(_MARK) or one.read(0, len(_MARK)) != _MARK for one in (ours, theirs)):
        raise VerificationError(f"{path}: other content than follows from the approved file", code="not-derived")
    _same_contents(ours, theirs, f"{path}/", depth + 1)
