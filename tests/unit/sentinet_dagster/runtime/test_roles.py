from __future__ import annotations

import pytest

from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.roles import Passwords

INGEST = "SENTINET_ROLE_INGEST_PASSWORD"
ANALYST = "SENTINET_ROLE_ANALYST_PASSWORD"


def test_passwords_come_from_the_environment_and_are_not_shown() -> None:
    passwords = Passwords.from_environment({INGEST: "correct horse 1", ANALYST: "", "PATH": "/bin"})
    assert passwords.by_role == {"ingest": "correct horse 1"}
    assert "horse" not in repr(passwords)


@pytest.mark.parametrize("password", ["short", "elevenchars", "tab\tin the middle", "žluťoučký kůň"])
def test_what_is_no_password_is_named_and_not_quoted(password: str) -> None:
    with pytest.raises(UserError) as failure:
        Passwords.from_environment({INGEST: password})
    assert str(failure.value) == f"{INGEST} is not accepted: write at least 12 ASCII characters"


@pytest.mark.parametrize(
    ("product", "dagster", "name"),
    [
        (
            "postgresql://a:b@db:5432/sentinet",
            "postgresql://a:b@db:5432/sentinet_dagster",
            "sentinet_dagster",
        ),
        ("postgresql://a:b@db:5432/sentinet", "postgresql://a:b@other:5432/sentinet_dagster", ""),
        ("postgresql://a:b@db:5432/sentinet", "postgresql://a:b@db:5433/sentinet_dagster", ""),
        ("postgresql://a:b@db:5432/sentinet", "postgresql://a:b@db:5432/sentinet", ""),
        ("postgresql://a:b@db:5432/sentinet", "", ""),
    ],
)
def test_dagsters_database_is_given_away_only_on_the_same_server(
    product: str, dagster: str, name: str
) -> None:
    environ = {"SENTINET_DATABASE_URL": product, "SENTINET_DAGSTER_DATABASE_URL": dagster}
    assert Passwords.from_environment(environ).dagster_database == name
