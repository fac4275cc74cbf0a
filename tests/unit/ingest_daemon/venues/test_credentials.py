"""Credentials: they are sent, and shown to nobody."""

from __future__ import annotations

import pickle

import pytest

from ingest_daemon.venues import Credentials

ACCOUNT = Credentials("PKTESTKEY0001", "PKTESTKEY0001-and-more")


def test_neither_repr_nor_format_nor_pickle_has_them() -> None:
    assert f"{ACCOUNT} {ACCOUNT!r} {[ACCOUNT]} {'%s' % ACCOUNT}".count("[hidden]") == 4  # noqa: UP031
    assert "PKTEST" not in f"{ACCOUNT} {ACCOUNT!r} {[ACCOUNT]}"
    with pytest.raises(TypeError, match="not written"):
        pickle.dumps(ACCOUNT)


def test_what_others_say_is_redacted_the_longer_first() -> None:
    said = "no PKTESTKEY0001, no PKTESTKEY0001-and-more"
    assert ACCOUNT.redact(said) == "no [hidden], no [hidden]"
    assert ACCOUNT.redact_bytes(said.encode()) == b"no [hidden], no [hidden]"


def test_what_does_not_say_them_stays_what_it_is() -> None:
    frame = b'{"price":"1"}'
    assert ACCOUNT.redact_bytes(frame) is frame
    assert Credentials("PKTESTKEY0001").redact("a b") == "a b"
