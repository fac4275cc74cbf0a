from __future__ import annotations

import doctest

import pytest

from sentinet_dagster.superset import bundle, target
from sentinet_dagster.superset.target import Target, TargetError, for_superset

URL, PASSWORD = "SENTINET_SUPERSET_URL", "SENTINET_SUPERSET_PASSWORD"
DATABASE = "postgresql://ana:secret@db:5432/sentinet"


def test_examples_hold() -> None:
    for module in (bundle, target):
        outcome = doctest.testmod(module)
        assert outcome.attempted > 0
        assert outcome.failed == 0


def test_without_an_address_there_is_none() -> None:
    assert Target.from_environment({PASSWORD: "x"}) is None


def test_everything_but_the_address_and_the_password_has_a_default() -> None:
    environ = {URL: "http://superset:8088/", PASSWORD: "hush", "SENTINET_DATABASE_URL": DATABASE}
    found = Target.from_environment(environ)
    assert found == Target("http://superset:8088", "admin", "hush", DATABASE, "", "")
    assert "hush" not in repr(found)
    assert "secret" not in repr(found)


def test_the_database_may_have_another_address_for_superset() -> None:
    environ = {
        PASSWORD: "hush",
        "SENTINET_DATABASE_URL": DATABASE,
        "SENTINET_SUPERSET_DATABASE_URL": "postgresql://b/c",
    }
    found = Target.from_environment(environ, "https://superset")
    assert found is not None
    assert (found.url, found.database_url) == ("https://superset", "postgresql://b/c")


@pytest.mark.parametrize("url", ["superset:8088", "ftp://superset", "http://"])
def test_what_is_no_address_is_named(url: str) -> None:
    with pytest.raises(TargetError, match="is no address of a Superset: want http"):
        Target.from_environment({URL: url, PASSWORD: "x"})


def test_a_missing_password_is_named() -> None:
    with pytest.raises(TargetError, match=r"^SENTINET_SUPERSET_PASSWORD is not set"):
        Target.from_environment({URL: "http://superset"})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://db/sentinet", ("postgresql+psycopg2://db/sentinet", "")),
        ("postgres://ana@db/sentinet", ("postgresql+psycopg2://ana@db/sentinet", "")),
        ("postgresql://a%40b:p%2Fq@[::1]:5/s", (f"postgresql+psycopg2://a%40b:{'X' * 10}@[::1]:5/s", "p/q")),
    ],
)
def test_a_database_as_superset_wants_it(url: str, expected: tuple[str, str]) -> None:
    assert for_superset(url) == expected
