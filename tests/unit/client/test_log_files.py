# SPDX-License-Identifier: Apache-2.0
"""A log's files from a folder or a server: bounded, by their own names only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from signwright.client.http import HubConnection
from signwright.client.log_files import MAX_FILE, folder_files, served_files
from signwright.errors import ConfigurationError, LimitError, MalformedError, NotFoundError, UsageError
from signwright.transparency.note import MAX_NOTE
from tests.support.served_log import Served, served_log


@pytest.fixture
def served(tmp_path, monkeypatch) -> Iterator[Served]:
    with served_log(tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture(params=["folder", "server"])
def read(request, served, tmp_path):
    if request.param == "folder":
        yield folder_files(served.write(tmp_path / "mirror"))
        return
    with HubConnection(served.url, None) as connection:
        yield served_files(connection, "/v1/log")


def test_files_are_read_by_their_paths(served, read):
    assert read("checkpoint") == served.files["checkpoint"]
    assert read("tile/entries/000.p/4") == served.files["tile/entries/000.p/4"]


def test_a_file_that_is_not_there_is_not_found(read):
    with pytest.raises(NotFoundError):
        read("tile/0/007")


@pytest.mark.parametrize("path", ["../trust.json", "/etc/passwd", "tile/0/../../trust.json", "tile/0/7", "tile"])
def test_only_names_of_log_files_are_asked_for(read, path):
    with pytest.raises(MalformedError):
        read(path)


def test_files_beyond_any_honest_size_are_refused(served, tmp_path):
    served.files |= {"checkpoint": bytes(MAX_NOTE + 1), "tile/0/000": bytes(MAX_FILE + 1)}
    read = folder_files(served.write(tmp_path / "mirror"))
    for path in ("checkpoint", "tile/0/000"):
        with pytest.raises(LimitError):
            read(path)


def test_a_folder_that_is_none_is_the_callers_mistake(tmp_path):
    with pytest.raises(UsageError):
        folder_files(tmp_path / "nowhere")
    (tmp_path / "checkpoint").symlink_to("checkpoint")
    with pytest.raises(ConfigurationError):
        folder_files(tmp_path)("checkpoint")
