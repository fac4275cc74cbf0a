"""Which instruments are watched: config/instruments.yaml, checked, and brought into market.instruments.

What lives here: the accepted form of an entry, and the upsert. What never does: the venues' protocols.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import psycopg
import yaml
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sentinet_dagster.runtime.errors import UserError

# What pydantic says of a type, in words an operator can act on.
_FORMS = {
    "venue": "a key of venues.yaml, such as binance",
    "symbol": "upper case such as BTC-USDT or BTC-USDT-PERP",
    "venue_symbol": "what the venue calls it, such as BTCUSDT",
    "kind": "spot, perpetual, future or equity",
    "base": "upper case such as BTC",
    "quote": "upper case such as USDT",
    "tick_size": "a number above 0, or left out",
    "contract_size": "a number above 0, or left out for 1",
    "contract_currency": "base or quote, or left out for base",
}

Code = Annotated[str, Field(pattern=r"^[A-Z0-9.]+(-[A-Z0-9.]+)*$")]


class Instrument(BaseModel):
    """One entry of instruments.yaml; the fields are the columns of market.instruments."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    venue: Annotated[str, Field(min_length=1)]
    symbol: Code
    venue_symbol: Annotated[str, Field(min_length=1)]
    kind: Literal["spot", "perpetual", "future", "equity"]
    base: Code
    quote: Code
    tick_size: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=False)] | None = None
    contract_size: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=False)] = 1.0
    contract_currency: Literal["base", "quote"] = "base"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What `load_instruments` did to market.instruments."""

    active: int  # in the file
    added: int
    changed: int  # had other columns, or were inactive
    deactivated: int


def read_instruments(config_directory: Path) -> tuple[Instrument, ...]:
    """The entries of instruments.yaml, each of a venue in venues.yaml.

    Raises:
        UserError: names the file, the entry, the key and the accepted form.
    """
    path = config_directory / "instruments.yaml"
    venues = _mapping(config_directory / "venues.yaml", "venues")
    entries = read_mapping(path).get("instruments")
    if not isinstance(entries, list):
        raise UserError(f"{path}: instruments must be a list of entries such as {{venue: binance, …}}")
    instruments = []
    seen: dict[tuple[str, str], int] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"{path}: entry {number}"
        instrument = _instrument(entry, where)
        if instrument.venue not in venues:
            known = ", ".join(sorted(venues)) or "none"
            raise UserError(f"{where}: venue {instrument.venue!r} is not in venues.yaml, which has: {known}")
        for key in ("symbol", "venue_symbol"):
            value = getattr(instrument, key)
            earlier = seen.setdefault((f"{instrument.venue} {key}", value), number)
            if earlier != number:
                raise UserError(f"{where}: {key} {value!r} of {instrument.venue} is entry {earlier} already")
        instruments.append(instrument)
    return tuple(instruments)


def load_instruments(connection: psycopg.Connection[Any], instruments: Sequence[Instrument]) -> Loaded:
    """Make market.instruments say what the file says, within the caller's transaction.

    An instrument is the same as long as its venue and venue symbol are: it keeps its id, its other columns
    follow the file. One that is no longer in the file becomes inactive; its facts stay.
    """
    entries = Jsonb([instrument.model_dump() for instrument in instruments])
    with connection.transaction():
        connection.execute(_LOCK)
        connection.execute(_PARK, [entries])
        changed = connection.execute(_UPDATE, [entries]).rowcount
        added = connection.execute(_INSERT, [entries]).rowcount
        deactivated = connection.execute(_DEACTIVATE, [entries]).rowcount
    return Loaded(active=len(instruments), added=added, changed=changed, deactivated=deactivated)


# Update, then insert: `on conflict` would draw an id for every entry that is there already, and ids are small
# integers. The lock makes that safe.
_LOCK = "lock table market.instruments in share row exclusive mode"

_ENTRIES = """
with entries as (
    select *
    from jsonb_to_recordset(%s) as entry (
        venue text, symbol text, venue_symbol text, kind text, base text, quote text,
        tick_size double precision, contract_size double precision, contract_currency text
    )
)
"""

# A symbol that now means another venue symbol: its old bearer gives it up first, so that nothing collides.
_PARK = (
    _ENTRIES
    + """
update market.instruments as instrument
set symbol = instrument.symbol || ' (was ' || instrument.venue_symbol || ')'
from entries
where
    instrument.venue = entries.venue
    and instrument.symbol = entries.symbol
    and instrument.venue_symbol <> entries.venue_symbol
"""
)

_UPDATE = (
    _ENTRIES
    + """
update market.instruments as instrument
set
    symbol = entries.symbol,
    kind = entries.kind,
    base = entries.base,
    quote = entries.quote,
    tick_size = entries.tick_size,
    contract_size = entries.contract_size,
    contract_currency = entries.contract_currency,
    is_active = true
from entries
where
    instrument.venue = entries.venue
    and instrument.venue_symbol = entries.venue_symbol
    and (
        instrument.symbol, instrument.kind, instrument.base, instrument.quote,
        instrument.tick_size, instrument.contract_size, instrument.contract_currency,
        instrument.is_active
    ) is distinct from (
        entries.symbol, entries.kind, entries.base, entries.quote,
        entries.tick_size, entries.contract_size, entries.contract_currency,
        true
    )
"""
)

_INSERT = (
    _ENTRIES
    + """
insert into market.instruments (
    venue, symbol, venue_symbol, kind, base, quote, tick_size, contract_size, contract_currency
)
select
    entries.venue,
    entries.symbol,
    entries.venue_symbol,
    entries.kind,
    entries.base,
    entries.quote,
    entries.tick_size,
    entries.contract_size,
    entries.contract_currency
from entries
where not exists (
    select
    from market.instruments as instrument
    where instrument.venue = entries.venue and instrument.venue_symbol = entries.venue_symbol
)
"""
)

_DEACTIVATE = (
    _ENTRIES
    + """
update market.instruments as instrument
set is_active = false
where
    instrument.is_active
    and not exists (
        select
        from entries
        where instrument.venue = entries.venue and instrument.venue_symbol = entries.venue_symbol
    )
"""
)


def _instrument(entry: object, where: str) -> Instrument:
    try:
        return Instrument.model_validate(entry)
    except ValidationError as error:
        problem = error.errors()[0]
        key = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "missing":
            raise UserError(f"{where}: {key} is missing: write {_FORMS[key]}") from None
        if problem["type"] == "extra_forbidden":
            raise UserError(f"{where}: unknown key {key!r}; the keys are {', '.join(_FORMS)}") from None
        if not key:
            raise UserError(f"{where} is {entry!r}: write keys and values, {{venue: binance, …}}") from None
        raise UserError(f"{where}: {key} is {problem['input']!r}: write {_FORMS[key]}") from None


def read_mapping(path: Path) -> Mapping[str, object]:
    """The keys and values of a YAML file.

    Raises:
        UserError: it is missing, cannot be read, or is something else; the message says where.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} is missing: set SENTINET_CONFIG_DIR to a folder that has it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise UserError(f"{path}: {place}: not YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must be keys and values")
    return content


def _mapping(path: Path, key: str) -> Mapping[str, object]:
    value = read_mapping(path).get(key)
    if not isinstance(value, dict):
        raise UserError(f"{path}: {key} must be keys and values, one key a venue")
    return value
