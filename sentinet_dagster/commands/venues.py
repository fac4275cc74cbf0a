"""`sentinet venues`: the dialects that the daemon speaks, and what each gives.

What lives here: the list as JSON and as a table. What never does: deciding what a venue gives.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from sentinet_dagster.commands.console import JsonOption, print_json
from sentinet_dagster.runtime.errors import UserError

_GIVES = (
    ("trades", "trades"),
    ("quotes", "quotes"),
    ("book_depth", "book"),
    ("reference_prices", "prices"),
    ("sequence_check", "sequence"),
    ("checksum", "checksum"),
    ("trade_history", "history"),
)

# In columns: of a narrower table the words would be cut.
_NARROWEST: Final = 132


def venues(
    schemas: Annotated[
        str | None,
        typer.Option(
            metavar="PROTOCOL",
            help="Print JSON Schemas of the frames that this one reads, as JSON.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the dialects that venues.yaml may name as `protocol`, and what each gives."""
    if schemas is not None:
        print_json({"protocol": schemas, "frames": _schemas(schemas)})
        return
    found = _described()
    if as_json:
        print_json({"venues": found})
    else:
        _print_table(found)


def _schemas(protocol: str) -> Mapping[str, Any]:
    from ingest_daemon.venues import VENUES
    from ingest_daemon.venues.frame_schemas import frame_schemas

    if protocol not in VENUES:
        raise UserError(f"--schemas {protocol} is no protocol: there are {', '.join(VENUES)}")
    return frame_schemas(protocol)


def _described() -> dict[str, dict[str, Any]]:
    import msgspec

    from ingest_daemon.venues import VENUES, KeyedVenueProtocol, PolledVenueProtocol

    return {
        name: {
            **msgspec.structs.asdict(venue.capabilities),
            "channels": list(venue.channels),
            "transport": "poll" if isinstance(venue, PolledVenueProtocol) else "websocket",
            "needs": list(venue.needs) if isinstance(venue, KeyedVenueProtocol) else [],
        }
        for name, venue in VENUES.items()
    }


def _print_table(found: Mapping[str, Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("protocol", *(heading for _, heading in _GIVES), "by", "needs", "channels"):
        table.add_column(heading, no_wrap=heading != "channels")
    for name, venue in found.items():
        gives = (_word(venue[field]) for field, _ in _GIVES)
        table.add_row(name, *gives, venue["transport"], _words(venue["needs"]), _words(venue["channels"]))
    console = Console(file=sys.stdout, highlight=False)
    console.width = max(console.width, _NARROWEST)
    console.print(table)
    console.print(
        "book: levels a side. Keys come from SENTINET_VENUE_<NAME>_KEY and _SECRET, <NAME> in venues.yaml."
    )


def _word(value: bool | int) -> str:
    if isinstance(value, bool):
        return "yes" if value else "–"
    return str(value) if value else "–"


def _words(values: Sequence[str]) -> str:
    return ", ".join(values) or "–"
