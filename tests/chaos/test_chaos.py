"""The short form of the chaos: what `make chaos` does for minutes, for seconds.

The database is a shared one here: it is away because nobody is let in. In the long form it is restarted, and
killed.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from sentinet_dagster.runtime.venue_faults import Faults
from tests.chaos.databases import SharedServer
from tests.chaos.plan import Amounts
from tests.chaos.run import Chaos, unleash
from tests.conftest import PostgresServer

pytestmark = pytest.mark.integration

SHORT = Chaos(
    Amounts(seconds=9, kills=3, restarts=2, cuts=4, silences=1, overflow_s=2),
    seed=7,
    frames_per_s=1_500,
    faults=Faults(malformed=0.02, duplicated=0.01, reordered=0.01),
    spool_bytes=65_536,
)


async def test_every_trade_is_there_once_or_in_a_gap_whatever_happens(
    postgres_server: PostgresServer,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # To be cut off in the middle of a handshake is what the venue is for.
    monkeypatch.setattr(logging.getLogger("websockets.server"), "level", logging.CRITICAL)
    database = SharedServer(database_url, postgres_server.admin_url)

    account = await unleash(SHORT, database, tmp_path)

    assert account["is_proved"], json.dumps(account, indent=2)
    assert account["done"] == {"kill": 3, "away": 2, "cut": 4, "silence": 1}
    assert account["gaps"].keys() >= {"not_running trades", "stale trades", "shed books"}
    assert account["refused_frames"]["counted"] > 0
