"""TCP ports on the loopback interface: which one a part of Sentinet listens on.

What lives here: asking the operating system. What never does: remembering (`home.py`).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from sentinet_dagster.runtime.errors import UserError

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on now. Another process may take it before you do: be ready to try again."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether `port` can be listened on now. Connections that are still closing do not matter."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            # SO_REUSEADDR alone lets the bind pass beside a socket that is bound and does not listen yet.
            probe.listen(1)
        except OSError:
            return False
    return True


def port_variable(name: str) -> str:
    """The environment variable that sets the port of part `name`.

    >>> port_variable("postgres")
    'SENTINET_POSTGRES_PORT'
    """
    return f"SENTINET_{name.upper()}_PORT"


def port_setting(name: str, environ: Mapping[str, str]) -> int | None:
    """The port the user set for part `name`, or None.

    Raises:
        UserError: it is not a port number.
    """
    variable = port_variable(name)
    text = environ.get(variable, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise UserError(f"{variable}={text!r} is not a port: write a number from 1 to 65535")
    return int(text)


def refuse_port(name: str, port: int) -> UserError:
    """The error for a port that the user set and that somebody else listens on."""
    return UserError(
        f"port {port} is in use: set {port_variable(name)} to a free port, or unset it to get one chosen"
    )
