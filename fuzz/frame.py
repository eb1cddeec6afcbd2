# SPDX-License-Identifier: Apache-2.0
"""Messages between processes: a frame that is read can be written again, and nothing is read beyond it."""

from __future__ import annotations

import io

from signwright.model.framing import encode_frame, read_frame


def one_input(data: bytes) -> None:
    stream = io.BytesIO(data)

    def read_exactly(length: int) -> bytes:
        piece = stream.read(length)
        if len(piece) != length:
            raise EOFError
        return piece

    try:
        frame = read_frame(read_exactly)
    except EOFError:
        return
    again = io.BytesIO(encode_frame(frame.message, frame.parts))
    assert read_frame(again.read) == frame
