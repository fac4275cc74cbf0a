"""The contract with each venue: its examples hold it, and a frame without a field that it needs does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ingest_daemon.venues import VENUES
from ingest_daemon.venues.frame_schemas import frame_schemas
from tests.unit.ingest_daemon.venues.examples import EXAMPLES

CHANNELS = [(name, channel) for name, venue in EXAMPLES.items() for channel in venue.frames]


@pytest.mark.parametrize("protocol", sorted(VENUES))
def test_every_schema_is_one(protocol: str) -> None:
    schemas = frame_schemas(protocol)
    assert schemas
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(("protocol", "channel"), CHANNELS)
def test_an_example_holds_the_contract_and_less_of_it_does_not(protocol: str, channel: str) -> None:
    frame, _ = EXAMPLES[protocol].frames[channel]
    content = json.loads(frame)
    held = [
        (schema, part) for schema in demanding(protocol) for part in parts(content) if is_of(schema, part)
    ]
    assert held, content
    for schema, part in held:
        assert not all(is_of(schema, less) for less in lacking(part))


def parts(content: Any) -> list[Any]:
    """What a module decodes by itself: the frame, its items, or an object in it."""
    inside = content if isinstance(content, list) else content.values()
    return [content, *(each for each in inside if isinstance(each, dict))]


def lacking(part: Any) -> list[Any]:
    """The same without one of its fields, in turn."""
    if isinstance(part, list):
        return [[less] for less in lacking(part[0])]
    return [{name: part[name] for name in part if name != gone} for gone in part]


def demanding(protocol: str) -> Iterator[Any]:
    """The schemas that want something: what only tells frames apart wants nothing."""
    for schema in frame_schemas(protocol).values():
        if not is_of(schema, {}):
            yield schema


def is_of(schema: Any, content: object) -> bool:
    return Draft202012Validator(schema).is_valid(content)
