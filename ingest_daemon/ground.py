"""What stands before the first event: the instruments, the database they are of, how far it has come. Glue.

What lives here: what the database, the spool and the files beside it say at the start, put together. What
never does: feeds, batches, SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import structlog

from ingest_daemon import known
from ingest_daemon.config import Settings
from ingest_daemon.errors import StoreRejected, StoreUnavailable
from ingest_daemon.known import Known
from ingest_daemon.resumption import Open
from ingest_daemon.spool import Spool
from ingest_daemon.tally import FileTally
from ingest_daemon.venues import Listing
from ingest_daemon.writer import StoreThread

__all__ = ["Ground"]

_KNOWN: Final = "instruments.json"
_OPEN: Final = "resumptions.json"

_log = structlog.get_logger(__name__)


class Ground:
    """What a life of the daemon begins with."""

    def __init__(self, settings: Settings, store: StoreThread, spool: Spool | None) -> None:
        self.store = store
        self.spool = spool
        self.written: Mapping[str, int] | None = None
        """How far the database has each venue; None: it was not asked yet."""
        self._venues = list(settings.enabled_venues)
        self._file = settings.spool / _KNOWN
        self._open_file = settings.spool / _OPEN
        self._kept = known.read(self._file, Known) if spool is not None else None
        self._fresh: Known | None = None
        self._tallies: list[FileTally] = []

    @property
    def spooled(self) -> Mapping[str, int]:
        """How far the spool had each venue at the start."""
        return {} if self.spool is None else self.spool.reached

    def left_open(self) -> Sequence[Open]:
        """The holes of former lives that the database did not close."""
        return [] if self.spool is None else known.read(self._open_file, list[Open]) or []

    def keep_open(self, open_: Sequence[Open]) -> None:
        """For the next life, should this one end before the database is there."""
        if self.spool is not None:
            self._write(self._open_file, open_)

    def tally(self, venue: str) -> FileTally | None:
        """Where counts of a venue's refused frames outlive this life."""
        if self.spool is None:
            return None
        path = self._file.with_name(f"refused-{quote(venue, safe='')}.tally")
        try:
            tally = FileTally(path)
        except OSError as error:
            _log.warning("not kept for the next start", file=str(path), error=str(error))
            return None
        self._tallies.append(tally)
        return tally

    def close(self) -> None:
        """Let go of the files."""
        for tally in self._tallies:
            tally.close()

    async def prepare(self) -> Mapping[str, Mapping[str, Listing]]:
        """The instruments: the database's, or those it last gave if it is away. Raises StoreRejected."""
        kept = self._kept
        if kept is not None and all(kept.instruments.get(venue) for venue in self._venues):
            try:
                self._fresh = await self.store.try_to_know(self._venues)
                self.written = await self.store.try_reached(self._venues)
            except StoreUnavailable as error:
                _log.warning("database away: starting with the instruments it last gave", error=str(error))
                return kept.instruments
        else:
            self._fresh = await self.store.know(self._venues)
            self.written = await self.store.reached(self._venues)
        return self._fresh.instruments

    async def meet(self) -> Mapping[str, int]:
        """How far the database has each venue; it is the one that the spool is for. Raises StoreRejected."""
        fresh = self._fresh or await self.store.know(self._venues)
        if self.spool is not None:
            self._accept(fresh, self.spool)
        if self.written is None:
            self.written = await self.store.reached(self._venues)
        return self.written

    def _accept(self, fresh: Known, spool: Spool) -> None:
        """An instrument's number means something in one database alone: the spool is written to no other."""
        is_other = self._kept is not None and self._kept.identity != fresh.identity
        if is_other and not spool.is_empty:
            raise StoreRejected(
                f"{self._file.parent} holds events of another database; start with that one until they are "
                "written, or move the folder away"
            )
        self._write(self._file, fresh)

    def _write(self, file: Path, value: object) -> None:
        try:
            known.write(file, value)
        except OSError as error:
            _log.warning("not kept for the next start", file=str(file), error=str(error))
