# SPDX-License-Identifier: Apache-2.0
"""Log paths: those of the log's files, and none that leads elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import ConflictError, MalformedError, NotFoundError
from signwright.hub.logfiles import log_path, read_log_file, write_log_files


@pytest.mark.parametrize("path", ["checkpoint", "tile/0/000", "tile/1/x001/234.p/17", "tile/entries/x001/x234/067"])
def test_paths_of_the_log_are_known(tmp_path, path):
    write_log_files(tmp_path, [(path, b"content")])
    assert read_log_file(tmp_path, path) == b"content"


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "tile", "tile/", "tile/..", "tile/../x", "tile//0", "checkpoint/x", "tile/0/a\0", "TILE/0"],
)
def test_other_paths_are_refused(tmp_path, path):
    with pytest.raises(MalformedError):
        log_path(tmp_path, path)


@given(st.text(max_size=40))
def test_no_path_leaves_the_folder(tmp_path_factory, path):
    folder = tmp_path_factory.getbasetemp()
    try:
        found = log_path(folder, path)
    except MalformedError:
        return
    assert found.resolve().is_relative_to(folder.resolve())


def test_only_the_checkpoint_changes(tmp_path):
    write_log_files(tmp_path, [("tile/0/000", b"a"), ("checkpoint", b"1")])
    write_log_files(tmp_path, [("tile/0/000", b"a"), ("checkpoint", b"2")])
    assert read_log_file(tmp_path, "checkpoint") == b"2"
    with pytest.raises(ConflictError):
        write_log_files(tmp_path, [("tile/0/000", b"b")])
    with pytest.raises(NotFoundError):
        read_log_file(tmp_path, "tile/0/001")
