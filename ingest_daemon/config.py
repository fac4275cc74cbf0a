"""What an operator can set, read once and frozen. The only reader of the environment in this program.

What lives here: the settings, their accepted forms, and messages that name what is wrong. What never does:
acting on a setting. A message shows no secret: the database's address is not quoted, a venue's only in part.

    <config dir>/venues.yaml      which venues, by which dialect, from where, which channels
    SENTINET_DATABASE_URL         where facts go
    SENTINET_CONFIG_DIR           the config dir; the checkout's `config` unless set
    SENTINET_HOME                 where state is kept; `.sentinet` unless set
    SENTINET_INGEST_<NAME>        a field of `Tuning` each
    SENTINET_INGEST_RECORD        where raw frames are recorded; nowhere unless set
    SENTINET_VENUE_<NAME>_KEY     what proves an account at the venue <name> of venues.yaml, in capitals;
    SENTINET_VENUE_<NAME>_SECRET  both from nowhere but the environment, and never shown
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

import psycopg
import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from ingest_daemon.errors import ConfigError
from ingest_daemon.hours import ACCEPTED as ACCEPTED_HOURS
from ingest_daemon.hours import MarketHours
from ingest_daemon.venues import VENUES, CallLimit, Credentials, KeyedVenueProtocol, PolledVenueProtocol

__all__ = ["Settings", "Tuning", "VenueSettings", "load"]

_DATABASE_URL: Final = "SENTINET_DATABASE_URL"
_CONFIG_DIR: Final = "SENTINET_CONFIG_DIR"
_HOME: Final = "SENTINET_HOME"
_PREFIX: Final = "SENTINET_INGEST_"
_RECORD: Final = "SENTINET_INGEST_RECORD"
_EXPLAINED: Final = "explained"  # faults whose message is the accepted form
_LONGEST_SHOWN: Final = 80
_SMALLEST_SPOOL: Final = 65_536
# What needs no escaping in a URL or in JSON, so that it looks the same wherever it must be found and hidden.
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9._~-]{8,256}")
_DEFAULT_CONFIG_DIR: Final = Path(__file__).resolve().parents[1] / "config"


def _address(url: str, schemes: Sequence[str]) -> str:
    parts = urlsplit(url)
    if (
        parts.scheme not in schemes
        or not parts.hostname
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
    ):
        raise ValueError(url)
    _ = parts.port  # raises ValueError where it is no port
    return url.rstrip("/")


def _websocket_address(url: str) -> str:
    return _address(url, ("ws", "wss"))


def _rest_address(url: str) -> str:
    return _address(url, ("http", "https"))


def _spool_size(size: int) -> int:
    if 0 < size < _SMALLEST_SPOOL:
        raise ValueError(size)
    return size


_Channels = TypeVar("_Channels", tuple[str, ...], dict[str, float])


class VenueSettings(BaseModel):
    """One entry of venues.yaml. A field's description is its accepted form, as messages quote it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str = Field(description=f"one of {', '.join(VENUES)}")
    websocket_url: Annotated[str, AfterValidator(_websocket_address)] | None = Field(
        default=None,
        validate_default=True,
        description="ws://host:port or wss://host:port, without user and query",
    )
    """None of a venue that is polled."""
    rest_url: Annotated[str, AfterValidator(_rest_address)] = Field(
        description="http://host:port or https://host:port, without user and query"
    )
    channels: tuple[str, ...] = Field(
        min_length=1, description="a list of channels of the protocol, at least one"
    )
    enabled: bool = Field(default=True, description="true or false")
    received_at: Literal["clock", "recorded"] = Field(default="clock", description="clock or recorded")
    """Whose receive times are kept: our clock's, or those that a server of recordings sends along."""
    stale_after_s: float = Field(
        default=30.0, gt=0, le=3_600, description="a number of seconds, above 0 and at most 3600"
    )
    """A socket that is silent for longer is given up."""
    channel_stale_after_s: dict[str, Annotated[float, Field(ge=0, le=86_400)]] = Field(
        default_factory=dict,
        description="a mapping from channels of the protocol to seconds, 0 (never) to 86400",
    )
    """Such a stream that is silent for longer is subscribed to anew; of channels not named this is learnt."""
    rotate_after_s: float | None = Field(
        default=None, gt=0, le=604_800, description="a number of seconds, above 0 and at most 604800"
    )
    """When a new socket takes over; without it, before the venue closes the old one by its own rule."""

    repair: bool = Field(default=True, description="true or false")
    """Whether trades that were missed are fetched from the venue's history, where it has one."""

    market_hours: str | None = Field(default=None, description=ACCEPTED_HOURS)
    """When its market is open; outside of it a feed that is not live is closed, not lost. None: always."""
    calls_per_minute: int | None = Field(
        default=None, ge=1, le=100_000, description="a whole number of calls, at least 1"
    )
    calls_per_day: int | None = Field(
        default=None, ge=1, le=100_000_000, description="a whole number of calls, at least 1"
    )
    """What the account's plan allows, of a venue that is polled; else what one allows that costs nothing."""

    @property
    def call_limits(self) -> tuple[CallLimit, ...]:
        """What the operator says of the account's plan."""
        said = ((self.calls_per_minute, 60.0), (self.calls_per_day, 86_400.0))
        return tuple(CallLimit(calls, period_s) for calls, period_s in said if calls is not None)

    @property
    def hours(self) -> MarketHours | None:
        """`market_hours` as such."""
        return None if self.market_hours is None else MarketHours.parse(self.market_hours)

    @field_validator("market_hours")
    @classmethod
    def _are_hours(cls, hours: str | None) -> str | None:
        if hours is not None:
            MarketHours.parse(hours)
        return hours

    @field_validator("protocol")
    @classmethod
    def _is_spoken(cls, protocol: str) -> str:
        if protocol not in VENUES:
            raise ValueError(protocol)
        return protocol

    @field_validator("websocket_url")
    @classmethod
    def _is_there_for_a_socket(cls, url: str | None, info: ValidationInfo) -> str | None:
        protocol = VENUES.get(info.data.get("protocol", ""))
        if url is None and not isinstance(protocol, PolledVenueProtocol):
            raise PydanticCustomError("missing", "there is no address to connect to")
        return url

    @field_validator("rotate_after_s")
    @classmethod
    def _suits_the_account(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and isinstance(VENUES.get(info.data.get("protocol", "")), KeyedVenueProtocol):
            raise PydanticCustomError(_EXPLAINED, "none: an account of the protocol has one connection")
        return value

    @field_validator("received_at", "calls_per_minute", "calls_per_day")
    @classmethod
    def _suits_the_transport(cls, value: object, info: ValidationInfo) -> object:
        is_polled = isinstance(VENUES.get(info.data.get("protocol", "")), PolledVenueProtocol)
        if is_polled and value == "recorded":
            raise PydanticCustomError(_EXPLAINED, "clock: a venue that is polled has no recorded times")
        if not is_polled and isinstance(value, int):
            raise PydanticCustomError(_EXPLAINED, "none: the protocol is not polled")
        return value

    @field_validator("channels", "channel_stale_after_s")
    @classmethod
    def _are_the_protocols(cls, channels: _Channels, info: ValidationInfo) -> _Channels:
        protocol = VENUES.get(info.data.get("protocol", ""))
        if protocol is not None and not set(channels) <= set(protocol.channels):
            accepted = ", ".join(protocol.channels)
            raise PydanticCustomError(
                _EXPLAINED,
                "channels of {protocol}: {accepted}",
                {"protocol": protocol.name, "accepted": accepted},
            )
        return channels


class Tuning(BaseModel):
    """What may be set by SENTINET_INGEST_<NAME>. A field's description is its accepted form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_rows: int = Field(default=10_000, ge=1, description="a whole number of rows, at least 1")
    batch_bytes: int = Field(
        default=4 * 2**20, ge=1_024, description="a whole number of bytes, at least 1024"
    )
    batch_age_s: float = Field(
        default=0.1, gt=0, le=60, description="a number of seconds, above 0 and at most 60"
    )
    queue_bytes: int = Field(
        default=64 * 2**20, ge=65_536, description="a whole number of bytes, at least 65536"
    )
    """What may wait for the database before the sockets are no longer read."""
    spool_bytes: Annotated[int, AfterValidator(_spool_size)] = Field(
        default=2**30,
        ge=0,
        description=f"a whole number of bytes, at least {_SMALLEST_SPOOL}; 0 for no spool",
    )
    """What may wait on the disk for the database before something is shed."""
    drain_s: float = Field(
        default=6.0, gt=0, le=600, description="a number of seconds, above 0 and at most 600"
    )
    """How long a stopping daemon tries to write what it has received."""
    record: Path | None = Field(default=None, description="a folder")
    """Where raw frames are recorded."""
    record_file_bytes: int = Field(
        default=256 * 2**20, ge=65_536, description="a whole number of bytes, at least 65536"
    )
    """A file of a recording that is larger is completed, and another begun."""
    record_buffer_bytes: int = Field(
        default=32 * 2**20, ge=65_536, description="a whole number of bytes, at least 65536"
    )
    """What may wait to be recorded before frames are left out of the recording."""
    health_host: Annotated[str, StringConstraints(min_length=1)] = Field(
        default="127.0.0.1", description="an address of this machine"
    )
    health_port: int = Field(
        default=9464, ge=0, le=65_535, description="a port number, 0 to 65535; 0 takes a free one"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )


class Settings(BaseModel):
    """Everything the daemon is told."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    database_url: str = Field(repr=False)
    venues: dict[str, VenueSettings]
    tuning: Tuning
    home: Path = Path(".sentinet")
    credentials: dict[str, Credentials] = Field(default_factory=dict, repr=False)
    """Of the enabled venues that want an account, by the operator's name."""

    @property
    def spool(self) -> Path:
        """Where events wait while the database is away."""
        return self.home / "spool"

    @property
    def enabled_venues(self) -> dict[str, VenueSettings]:
        """The venues to connect to, by the operator's name."""
        return {name: venue for name, venue in self.venues.items() if venue.enabled}


def load(
    config_dir: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    record: Path | None = None,
) -> Settings:
    """Read everything.

    Args:
        config_dir: where venues.yaml is; without it SENTINET_CONFIG_DIR says, else the checkout's `config`.
        environment: where SENTINET_* are.
        record: where to record; without it SENTINET_INGEST_RECORD says.

    Raises:
        ConfigError: one line that names the file, the key, the value and the accepted form.
    """
    place = config_dir or Path(environment.get(_CONFIG_DIR) or _DEFAULT_CONFIG_DIR)
    venues = _read_venues(place / "venues.yaml")
    tuning = _read_tuning(environment)
    return Settings(
        database_url=_database_url(environment),
        venues=venues,
        tuning=tuning if record is None else tuning.model_copy(update={"record": record}),
        home=Path(environment.get(_HOME, "").strip() or ".sentinet"),
        credentials=_read_credentials(venues, environment),
    )


def _database_url(environment: Mapping[str, str]) -> str:
    accepted = "expected postgresql://user:password@host:port/database"
    url = environment.get(_DATABASE_URL, "")
    if not url:
        raise ConfigError(f"{_DATABASE_URL} is not set: {accepted}")
    try:
        psycopg.conninfo.conninfo_to_dict(url)
        understood = url.startswith(("postgresql://", "postgres://"))
    except psycopg.ProgrammingError:
        understood = False
    if not understood:
        raise ConfigError(f"{_DATABASE_URL} is not accepted: {accepted}")
    return url


def _read_tuning(environment: Mapping[str, str]) -> Tuning:
    given = {
        name.removeprefix(_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(_PREFIX) and (value or name != _RECORD)  # set to nothing: nowhere
    }
    try:
        return Tuning.model_validate(given)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = str(fault["loc"][0])
        raise _explained(_PREFIX + name.upper(), fault, Tuning, name, _PREFIX) from None


def _read_credentials(
    venues: Mapping[str, VenueSettings], environment: Mapping[str, str]
) -> dict[str, Credentials]:
    credentials = {}
    for name, venue in venues.items():
        protocol = VENUES[venue.protocol]
        # A server of recordings plays to anybody.
        if (
            not venue.enabled
            or venue.received_at == "recorded"
            or not isinstance(protocol, KeyedVenueProtocol)
        ):
            continue
        found: dict[str, str] = {need: _read_credential(name, need, environment) for need in protocol.needs}
        credentials[name] = Credentials(**found)
    return credentials


def _read_credential(venue: str, need: str, environment: Mapping[str, str]) -> str:
    variable = f"SENTINET_VENUE_{venue.upper()}_{need.upper()}"
    value = environment.get(variable, "")
    if not value:
        raise ConfigError(f"{variable} is not set: the venue {venue} wants a {need}; or disable it")
    if not _CREDENTIAL.fullmatch(value):
        raise ConfigError(f"{variable} is not accepted: expected 8 to 256 of A-Z, a-z, 0-9 and - . _ ~")
    return value


def _read_venues(file: Path) -> dict[str, VenueSettings]:
    try:
        document = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise ConfigError(f"{file}{line}: {error.problem or 'not YAML'}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"{file}: not YAML in UTF-8") from None
    try:
        venues = _VenuesFile.model_validate(document).venues
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        path = [str(part) for part in fault["loc"] if part != "[key]"] or ["venues"]
        is_of_a_venue = len(path) > 2
        model = VenueSettings if is_of_a_venue else _VenuesFile
        field = path[2] if is_of_a_venue else path[0]
        raise _explained(f"{file}: {'.'.join(path)}", fault, model, field) from None
    if not any(venue.enabled for venue in venues.values()):
        raise ConfigError(f"{file}: venues: none is enabled; expected at least one")
    return venues


def _explained(
    name: str, fault: ErrorDetails, model: type[BaseModel], field: str, prefix: str = ""
) -> ConfigError:
    """A fault in one line: the key by its full name, what was found, what is accepted."""
    known = model.model_fields
    if fault["type"] == "extra_forbidden":
        names = ", ".join(prefix + key.upper() if prefix else key for key in known)
        return ConfigError(f"{name}: unknown; expected one of {names}")
    accepted = fault["msg"] if fault["type"] == _EXPLAINED else known[field].description
    if fault["type"] == "missing":
        return ConfigError(f"{name}: missing; expected {accepted}")
    return ConfigError(f"{name}: {_shown(fault['input'])} is not accepted; expected {accepted}")


def _shown(value: object) -> str:
    """A value as a message may quote it: short, and without what may be a secret of an address."""
    if isinstance(value, Mapping):
        return "a mapping"
    text = repr(list(value)) if isinstance(value, list | tuple) else repr(value)
    text = re.sub(r"//[^/@]*@", "//…@", text)
    text = re.sub(r"\?.*", "?…'", text) if "://" in text else text
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


class _VenuesFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    venues: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], VenueSettings] = Field(
        description="a mapping from a name (a-z, 0-9 and _) to the settings of a venue"
    )


class _Loader(yaml.SafeLoader):
    """A key given twice is an error: the first one would be lost in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)
