# SPDX-License-Identifier: Apache-2.0
"""A job from the inside: what the child was given, and how it answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from signwright.errors import FormatError
from signwright.model.framing import Frame, encode_frame, read_frame
from signwright.model.view import check_range
from signwright.signer.worker.wire import describe_error, read_exactly_from, write_all

#: Where the zygote puts a child's descriptors.
ANSWER, FIRST_VIEW = 3, 4


class DescriptorView:
    """A view of a file by its descriptor. Reads do not move a file position, so threads need no lock."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = os.lseek(descriptor, 0, os.SEEK_END)

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.size)
        content = os.pread(self.descriptor, length, offset)
        if len(content) == length:
            return content
        return self._pieces(content, offset, length)

    def _pieces(self, content: bytes, offset: int, length: int) -> bytes:
        """The kernel gives at most 2 GiB at once, and less after a signal."""
        pieces = [content]
        have = len(content)
        while have < length:
            piece = os.pread(self.descriptor, length - have, offset + have)
            if not piece:
                raise FormatError("the file became shorter while it was read", offset=offset + have)
            pieces.append(piece)
            have += len(piece)
        return b"".join(pieces)


class Task:
    """``message`` and ``parts``: the asker's; ``views``: the files it passed."""

    def __init__(self, frame: Frame, views: Sequence[DescriptorView]) -> None:
        self.message = frame.message
        self.parts = frame.parts
        self.views = tuple(views)

    def send(self, message: dict[str, object], parts: Sequence[bytes] = ()) -> None:
        """One part of a long answer. Blocks while the asker does not read."""
        write_all(ANSWER, encode_frame({"part": message}, parts))

    def receive(self) -> Frame:
        """The asker's next frame, for jobs that are a conversation; raises `EOFError` when it has closed."""
        return read_frame(read_exactly_from(ANSWER))


#: What a child does. The frame is its whole answer, or the last part of it.
Job = Callable[[Task], Frame]


def perform(job: Job, views: int) -> None:
    """Read the job frame, do the job, answer with its result or with its error. Runs inside the sandbox."""
    frame = read_frame(read_exactly_from(ANSWER))
    try:
        answer = job(Task(frame, [DescriptorView(FIRST_VIEW + n) for n in range(views)]))
        wire = encode_frame({"done": answer.message}, answer.parts)
    except Exception as error:  # noqa: BLE001 - the border of the process
        wire = encode_frame({"failed": describe_error(error)})
    write_all(ANSWER, wire)
