"""What people do with alerts: find one, take a step of its life, snooze a detector.

What lives here: asking the database. What never does: which step is allowed; its functions refuse what is
not, for everybody (sql/migrations, `surveillance.change_alert`).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

import psycopg

from sentinet_dagster.runtime import readings
from sentinet_dagster.runtime.errors import UserError

__all__ = ["change", "find", "snooze"]

_PREFIX: Final = re.compile(r"[0-9a-f]{4}[0-9a-f-]{0,32}")
_MAY_NOT: Final = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)


def find(connection: readings.Connection, wanted: str) -> dict[str, Any]:
    """The alert of an id, or of the beginning of one, four characters or more.

    Raises:
        UserError: there is none, or more than one.
    """
    prefix = wanted.strip().lower()
    if not _PREFIX.fullmatch(prefix):
        raise UserError(f"{wanted!r} is no alert: write its id, or at least the first 4 characters")
    found = readings.alerts(connection, readings.AlertFilter(id_prefix=prefix, limit=3))
    if not found:
        raise UserError(f"there is no alert {wanted}: `sentinet alerts` lists them")
    if len(found) > 1:
        raise UserError(f"more than one alert begins with {wanted}: write more of the id")
    return found[0]


def change(
    connection: readings.Connection,
    wanted: str,
    step: str,
    actor: str,
    note: str = "",
    disposition: str | None = None,
) -> dict[str, Any]:
    """Take a step: acknowledged, escalated, or closed with a disposition. Returns the alert as it is now.

    Raises:
        UserError: no such alert, a step that its state does not allow, or a login that may not.
    """
    alert_id = str(find(connection, wanted)["alert_id"])
    parameters = (alert_id, step, actor, note, disposition)
    _ask(connection, "select surveillance.change_alert(%s, %s, %s, %s, %s)", parameters)
    return find(connection, alert_id)


def snooze(
    connection: readings.Connection, detector: str, instrument: str, until: datetime, actor: str, note: str
) -> list[int]:
    """Say that nobody need look at what a detector finds on an instrument until then. Returns the numbers of
    the instruments: a symbol may be of several venues.

    Raises:
        UserError: no such instrument, or a login that may not.
    """
    numbers = readings.instrument_numbers(connection, instrument)
    if not numbers:
        raise UserError(f"{instrument} is no instrument: write a symbol such as BTC-USDT, or venue/symbol")
    with connection.transaction():
        for number in numbers:
            parameters = (detector, number, until, actor, note)
            _ask(connection, "select surveillance.snooze(%s, %s::smallint, %s, %s, %s)", parameters)
    return numbers


def _ask(connection: readings.Connection, statement: str, parameters: tuple[object, ...]) -> None:
    try:
        connection.execute(statement.encode(), parameters)
    except _MAY_NOT:
        raise UserError("this login only reads: take sentinet_officer, or the database's owner") from None
    except psycopg.errors.InvalidParameterValue as error:
        raise UserError(str(error.diag.message_primary)) from None
