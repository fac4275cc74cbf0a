"""`market/*` as external assets: facts that the ingest daemon writes and Dagster only reads.

What lives here: what each relation means and who owns it. What never does: code that runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dagster import AssetKey, AssetSpec, TableColumn, TableColumnConstraints, TableSchema

from sentinet_dagster.partitions import HOURS
from sentinet_dagster.surveillance import schema

__all__ = ["MARKET_ASSETS", "column_schema"]

_MEANINGS: Final = (
    (schema.TRADES, "Executions at the venues, exactly once by (instrument, trade id, time)."),
    (schema.QUOTES, "Best bid and ask after each change. Level 1."),
    (schema.BOOKS, "The top of the book, at most 20 levels a side. Level 2."),
    (schema.BOOK_FLOWS, "What was placed, withdrawn and traded in a book, by second, side and distance."),
    (schema.REFERENCE_PRICES, "Mark price, index price and funding of derivatives."),
    (schema.FEED_GAPS, "Spans in which data is known to be missing, and why."),
    (schema.REJECTED_FRAMES, "Frames that could not be parsed, as received, with the reason."),
)


def column_schema(relation: schema.Relation) -> TableSchema:
    """The relation's columns for the catalogue: type, meaning, whether null is possible."""
    return TableSchema(
        [
            TableColumn(
                column.name,
                str(column.dtype),
                description=column.meaning,
                constraints=TableColumnConstraints(nullable=column.nullable),
            )
            for column in relation.columns
        ]
    )


def _spec(relation: schema.Relation, description: str) -> AssetSpec:
    return AssetSpec(
        AssetKey(relation.name.split(".")),
        description=description,
        metadata={"dagster/table_name": relation.name, "dagster/column_schema": column_schema(relation)},
        kinds={"postgres", "timescale"},
        owners=["team:ingest"],
        group_name="market",
        partitions_def=HOURS,
    )


MARKET_ASSETS: Final[Sequence[AssetSpec]] = [_spec(relation, meaning) for relation, meaning in _MEANINGS]
