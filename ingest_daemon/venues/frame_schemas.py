"""The contract with the venues: a JSON Schema of every frame that a dialect reads, made of its types. Pure.

What lives here: the schemas, found where the decoders are: a type that a module decodes is in its contract,
and no second list can fall behind. What never does: frames; what else a venue sends in them is no part of
the contract, and `drift.py` watches it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ingest_daemon.venues import VENUES

__all__ = ["frame_schemas"]


def frame_schemas(protocol: str) -> Mapping[str, Mapping[str, Any]]:
    """Kind of frame → JSON Schema; kinds are named as the decoders are. Of a list of items: of an item.

    Raises:
        KeyError: nobody speaks the protocol.

    >>> frame_schemas("finage")["trade"]["$ref"]
    '#/$defs/_Trade'
    """
    module = type(VENUES[protocol]).__module__
    return {
        name.lstrip("_").removeprefix("decode_"): _schema_of(decoder)
        for name, decoder in [*_decoders(module), *_decoders(f"{module}_frames")]
    }


def _decoders(module: str) -> Iterator[tuple[str, msgspec.json.Decoder[Any]]]:
    """The decoders of a module, which keeps each as its bound method."""
    for name, value in vars(sys.modules[module]).items() if module in sys.modules else ():
        decoder = getattr(value, "__self__", None)
        if isinstance(decoder, msgspec.json.Decoder):
            yield name, decoder


def _schema_of(decoder: msgspec.json.Decoder[Any]) -> dict[str, Any]:
    schema = msgspec.json.schema(decoder.type)
    return schema if decoder.strict else _with_texts(schema)


def _with_texts(schema: Any) -> Any:
    """A decoder that is not strict takes a number's text for the number."""
    if isinstance(schema, list):
        return [_with_texts(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _with_texts(value) for key, value in schema.items()}
    if found.get("type") in ("number", "integer"):
        found["type"] = [found["type"], "string"]
    return found
