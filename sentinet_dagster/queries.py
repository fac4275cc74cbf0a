"""The statements of `queries.sql` by name. Pure: text in, statements out; nothing here talks to a
database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["Query", "parse_queries", "queries"]

_PARAMETER: Final = re.compile(r"%\((\w+)\)s")


@dataclass(frozen=True, slots=True)
class Query:
    """A statement with `%(name)s` parameters, as psycopg binds them, and what it answers."""

    name: str
    description: str
    sql: str

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters, each once, in order of appearance."""
        return tuple(dict.fromkeys(_PARAMETER.findall(self.sql)))

    @property
    def sql_of_settings(self) -> str:
        """The statement without parameters: it reads them from the session's settings `sentinet.<name>`.

        PostgreSQL takes no parameters in COPY, and ADBC reads a statement through COPY only where it has
        none: half the CPU a row (measured: 0.31 s instead of 0.70 s for 500,000 trades). `settings_sql` binds
        the values.
        """
        return _PARAMETER.sub(r"current_setting('sentinet.\1')", self.sql)

    @property
    def of_instruments(self) -> Query:
        """The statement narrowed to the instruments of parameter `instruments`, a text array."""
        sql = (
            f"select * from ({self.sql}) as facts "  # noqa: S608 - no value is formatted in
            "where instrument_id = any(%(instruments)s::smallint [])"
        )
        return Query(self.name, self.description, sql)

    @property
    def settings_sql(self) -> str:
        """The statement that binds $1, $2 … to the session's settings, in the order of `parameters`."""
        columns = (
            f"set_config('sentinet.{name}', ${i}, false) as {name}_"
            for i, name in enumerate(self.parameters, start=1)
        )
        return f"select {', '.join(columns)}"


def parse_queries(text: str) -> Mapping[str, Query]:
    """Name → query.

    Raises:
        ValueError: two queries of one name, or one without a description.

    >>> parse_queries("-- name: one\\n-- The number one.\\nselect 1;")["one"]
    Query(name='one', description='The number one.', sql='select 1')
    """
    found: dict[str, Query] = {}
    for block in re.split(r"^-- name: ", text, flags=re.MULTILINE)[1:]:
        name, *lines = block.strip().splitlines()
        body = next((i for i, line in enumerate(lines) if not line.startswith("--")), len(lines))
        description = " ".join(line.removeprefix("--").strip() for line in lines[:body])
        if not description or name in found:
            raise ValueError(f"query {name!r} is there twice or says not what it answers")
        found[name] = Query(name, description, "\n".join(lines[body:]).rstrip("; \n"))
    return found


@cache
def queries() -> Mapping[str, Query]:
    """The statements of `queries.sql`, which lies beside this file."""
    return parse_queries(Path(__file__).with_name("queries.sql").read_text(encoding="utf-8"))
