from __future__ import annotations

import pytest

from sentinet_dagster.runtime.database_url import check_url, connect, without_password
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.ports import free_port


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ana:secret@db:5432/sentinet",
        "postgres://ana@db/sentinet?sslmode=require",
        "postgresql://ana:s%40crt@[::1]:5432/sentinet",
    ],
)
def test_accepted(url: str) -> None:
    assert check_url(url) == url
    assert "s%40crt" not in without_password(url)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://ana:secret@db/x", "starts with mysql://"),
        ("db:5432", "is not a URL"),
        ("", "is not a URL"),
        ("/var/run/postgresql", "is not a URL"),
        ("postgresql://ana:secret@db:5432", "names no database"),
        ("postgresql://ana:secret@db:5432/", "names no database"),
        ("postgresql://ana:secret@db:port/x", "is not a URL"),
        ("postgresql://ana:secret@db:0/x", "names port 0"),
        ("postgresql://ana:secret@db:70000/x", "is not a URL"),
        ("postgresql://ana:secret@db/x?sslmod=require", "sslmod"),
        ("postgresql://ana:secret@[db/x", "is not a URL"),
    ],
)
def test_refused_in_one_line_without_the_password(url: str, complaint: str) -> None:
    with pytest.raises(UserError) as failure:
        check_url(url, "SENTINET_DATABASE_URL")
    message = str(failure.value)
    assert message.startswith("SENTINET_DATABASE_URL")
    assert complaint in message
    assert "write postgresql://user:password@host:5432/database" in message
    assert "secret" not in message
    assert "\n" not in message


def test_nobody_answers() -> None:
    port = free_port()
    with pytest.raises(UserError) as failure:
        connect(f"postgresql://ana:secret@127.0.0.1:{port}/x?password=hidden")
    assert str(failure.value) == f"cannot connect to postgresql://ana@127.0.0.1:{port}/x: Connection refused"
