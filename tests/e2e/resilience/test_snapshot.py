# SPDX-License-Identifier: Apache-2.0
"""Older copies restored: of the whole home, of each part alone. What is noticed, by whom, what never happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from signwright.client.approve import review, say_word
from signwright.client.seen_log import follow_log
from signwright.client.sessions import open_known
from signwright.client.ssh_keys import load_person_key
from signwright.client.submit import PreparedRequest
from signwright.statements.models import SeenCheckpoint
from tests.support.outages import Books, Site, copy_of, made_home, restore, up, verb
from tests.support.processes import wait_until


@dataclass
class History:
    """A home with a past. ``older``, ``newer``: copies of all of it; between them a release was signed."""

    site: Site
    older: Path
    newer: Path
    books: Books
    seen: SeenCheckpoint
    release: PreparedRequest

    def approve(self, request: PreparedRequest, person: str, *, seen: SeenCheckpoint | None = None) -> None:
        """As the native client does, from its parts; ``seen``: the checkpoint to name instead."""
        key = load_person_key(self.site.folder / "people" / person, lambda _: "")
        hub = open_known(self.site.url, person, key, now=datetime.now(UTC))
        try:
            looked = review(hub, request.digest, trust=self.site.trust, now=datetime.now(UTC), read_artifacts=False)
            named = replace(looked, checkpoint=seen or looked.checkpoint, rehashed=True)
            say_word(hub, named, key, word="approve", comment=None, now=datetime.now(UTC))
        finally:
            hub.connection.close()

    @contextmanager
    def restored(self, part: str = ".") -> Iterator[Site]:
        """Everything newer, but ``part`` older. Nothing runs."""
        restore(self.newer, self.site.folder)
        restore(self.older, self.site.folder, part)
        yield self.site


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> History:
    folder = tmp_path_factory.mktemp("snapshot")
    site = made_home(folder / "h", folder / "state")
    with up(site):
        assert site.home.cli("sign", site.program(), "--in-place").code == 0
        assert site.monitor().code == 0
    older = copy_of(site.folder, folder / "older")
    with up(site):
        release = site.waiting_release()
        site.home.approve(release.digest)
        (ended,) = site.ended([release])
        assert ended.state == "completed", ended.reasons
        for _ in range(3):
            assert site.home.cli("sign", site.program(), "--in-place", "--mode", "digest").code == 0
        books = site.settled()
        assert (books.outcomes["signed"], len(books.claimed)) == (5, 5)
        assert site.home.cli("log", "check").code == 0  # the approvers' client remembers what it saw
        with site.hub() as hub:  # what an approver sees who looks at the log now
            log_trust, folder_of_bob = site.trust.log_trust, folder / "bob"
            seen = follow_log(log_trust, hub.checkpoint(), hub.log_file, folder=folder_of_bob)
        assert site.monitor().code == 0
    newer = copy_of(site.folder, folder / "newer")
    return History(site, older, newer, books, seen, release)


@pytest.fixture
def own_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client in this process that remembers nothing of before."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "fresh"))


@pytest.mark.usefixtures("own_client")
def test_whole_home_restored_signs_no_release(past: History) -> None:
    with past.restored(), up(past.site) as site:
        before = site.claimed()
        request = site.waiting_release()
        # The approvers' own client remembers the longer log and refuses to say yes.
        for person in ("alice", "bob"):
            ran = site.home.cli("approve", request.digest, "--key", site.home.key(person), "--yes")
            assert (ran.code, ran.out) == (8, "")
            assert "it was taken back" in ran.err
        assert not site.view(request).approvals
        # So does the monitor.
        watched = site.monitor()
        assert watched.code == 8
        assert "ALARM log-rollback" in watched.out, watched.out
        # A client that says yes and names what it saw: the signer finds its own log to be the older one.
        past.approve(request, "alice", seen=past.seen)
        past.approve(request, "bob", seen=past.seen)
        (ended,) = site.ended([request])
        assert ended.state in ("denied", "failed"), ended
        assert [reason["rule"] for reason in ended.reasons] == ["log-rollback"], ended.reasons
        waited = site.home.cli("wait", request.digest)
        assert waited.code != 0
        assert "log-rollback" in waited.err
        assert site.claimed() == before


@pytest.mark.usefixtures("own_client")
def test_release_that_was_signed_is_not_signed_again_by_an_older_home(past: History) -> None:
    """The restored home knows nothing of the release; its very request and approvals are handed in once more."""
    with past.restored(), up(past.site) as site:
        before = site.claimed()
        site.send([past.release])
        wait_until(lambda: site.state(past.release) == "awaiting-approval", what="scan", seconds=30)
        past.approve(past.release, "alice", seen=past.seen)
        past.approve(past.release, "bob", seen=past.seen)
        (ended,) = site.ended([past.release])
        assert [reason["rule"] for reason in ended.reasons] == ["log-rollback"], ended.reasons
        assert site.claimed() == before


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("signer/gate", "the keyholder has seen another log"),
        ("signer/gate/gate.sqlite3", "log"),
        ("signer/gate/tiles", "tiles and database disagree"),
    ],
)
def test_gate_restored_alone_does_not_start(past: History, part: str, said: str) -> None:
    with past.restored(part) as site:
        done = verb("up", "--home", site.folder, "--detach")
        assert done.returncode == 7, done.stderr
        assert said in done.stderr
        assert not list((site.folder / "run").glob("*.pid"))


def test_keyholder_and_witness_restored_alone_go_on_and_sign_nothing_twice(past: History) -> None:
    """Both are led forward by the gate's longer log; what was signed stays signed once."""
    with past.restored("signer/keyholder/keyholder.sqlite3") as site:
        restore(past.older, site.folder, "witness")
        with up(site):
            assert site.claimed() == past.books.claimed[:1]
            site.send([past.release])
            assert site.view(past.release).state == "completed"
            assert site.home.cli("sign", site.program(), "--in-place").code == 0
            books = site.settled(past.books.claimed)
            # At its start it read in the log what it had forgotten.
            assert books.claimed[:-1] == list(past.books.intents)
            assert books.claimed == list(books.intents)
            # Nothing was signed twice, and it is told all the same: the keyholder's starts count back.
            watched = site.monitor()
            assert (watched.code, watched.out.count("ALARM")) == (8, 1), watched.out
            assert "ALARM start-rollback" in watched.out
