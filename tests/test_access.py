"""Keys open what they are for and nothing else, and only their hashes are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from index.access import REQUEST_KEPT_S, REQUEST_LOST_S, Access, AlreadyAsked, Refused
from index.ledger import Ledger


class Clock:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def access(ledger: Ledger, clock: Clock) -> Access:
    return Access(ledger, clock=clock)


def test_a_key_is_for_its_scopes_and_admin_for_all(access: Access) -> None:
    _, text = access.create(["search"])
    key = access.check(text)
    assert key.may("search")
    assert not key.may("uploads")
    _, text = access.create(["admin"])
    assert all(access.check(text).may(scope) for scope in ("search", "uploads", "videos", "admin"))


def test_the_secret_is_nowhere_on_the_disk(access: Access, ledger: Ledger, tmp_path: Path) -> None:
    _, text = access.create(["search"])
    secret = text.split("_", 2)[2]
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert access.check(text).key_id.encode() in kept, "the right files were read"
    assert secret.encode() not in kept


@pytest.mark.parametrize("spoil", ["", "fl", "fl_", "fl__", "x" * 500, "fl_000000000000_abc", "\u2603", "Bearer"])
def test_what_is_no_key_is_refused(access: Access, spoil: str) -> None:
    access.create(["search"])
    with pytest.raises(Refused, match="no such key"):
        access.check(spoil)


def test_one_letter_off_is_no_key(access: Access) -> None:
    _, text = access.create(["search"])
    with pytest.raises(Refused, match="no such key"):
        access.check(text[:-1] + ("a" if text[-1] != "a" else "b"))


def test_keys_end(access: Access, clock: Clock) -> None:
    _, text = access.create(["search"], ttl_s=60)
    access.check(text)
    clock.now_s += 61
    with pytest.raises(Refused, match="expired"):
        access.check(text)
    key, text = access.create(["search"])
    assert access.revoke(key.key_id)
    with pytest.raises(Refused, match="revoked"):
        access.check(text)
    assert not access.revoke(key.key_id), "only once"


def test_a_session_ends_with_the_key_that_opened_it(access: Access) -> None:
    key, _ = access.create(["search"])
    session, text = access.create(key.scopes, parent=key)
    assert access.check(text).parent_id == key.key_id
    assert [one.key_id for one in access.listed()] == [key.key_id], "sessions are not listed"
    access.revoke(key.key_id)
    with pytest.raises(Refused, match="revoked"):
        access.check(text)
    assert session.key_id != key.key_id


def test_a_session_expires_with_its_key(access: Access, clock: Clock) -> None:
    key, _ = access.create(["search"], ttl_s=60)
    session, text = access.create(key.scopes, ttl_s=3_600, parent=key)
    assert session.expires_s == key.expires_s
    clock.now_s += 61
    with pytest.raises(Refused, match="expired"):
        access.check(text)


@pytest.mark.parametrize(("scopes", "said"), [([], "wants a scope"), (["search", "all"], "no scope all")])
def test_a_key_for_nothing_or_for_what_there_is_not_is_not_made(access: Access, scopes: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        access.create(scopes)


def test_a_request_is_worked_on_once(access: Access, clock: Clock) -> None:
    key, _ = access.create(["uploads"])
    other, _ = access.create(["uploads"])
    assert access.begin(key, "one", "cat") is None
    with pytest.raises(AlreadyAsked, match="still being worked on"):
        access.begin(key, "one", "cat")
    assert access.begin(other, "one", "cat") is None, "another key's requests are its own"
    access.finish(key, "one", "v_1")
    assert access.begin(key, "one", "cat") == "v_1"
    with pytest.raises(AlreadyAsked, match="another request"):
        access.begin(key, "one", "dog")
    clock.now_s += REQUEST_KEPT_S + 1
    assert access.begin(key, "one", "dog") is None, "it is forgotten after a day"


def test_a_request_that_failed_or_whose_worker_died_may_be_made_again(access: Access, clock: Clock) -> None:
    key, _ = access.create(["uploads"])
    access.begin(key, "one", "cat")
    access.finish(key, "one", None)
    assert access.begin(key, "one", "cat") is None
    clock.now_s += REQUEST_LOST_S + 1
    assert access.begin(key, "one", "cat") is None
