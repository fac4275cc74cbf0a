from __future__ import annotations

import socket

import pytest

from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.ports import free_port, is_free, port_setting


def test_a_free_port_is_free_until_somebody_listens() -> None:
    port = free_port()
    assert is_free(port)
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
    assert is_free(port)


@pytest.mark.parametrize("text", ["0", "65536", "-1", "80a", "８０", "4.5"])
def test_what_is_no_port_is_named(text: str) -> None:
    with pytest.raises(
        UserError, match=r"^SENTINET_WEB_PORT='.*' is not a port: write a number from 1 to 65535$"
    ):
        port_setting("web", {"SENTINET_WEB_PORT": text})


def test_a_port_setting_may_be_absent() -> None:
    assert port_setting("web", {}) is None
    assert port_setting("web", {"SENTINET_WEB_PORT": " "}) is None
    assert port_setting("web", {"SENTINET_WEB_PORT": "3000"}) == 3000
