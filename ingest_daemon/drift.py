"""Whether a venue's frames still look as they did: fields that are new, gone, or of another type. Pure.

What lives here: the shape of frames by channel, learnt from the first of them, and what differs since. What
never does: judging a frame: one that can be read is read, whatever else is in it; one that cannot is refused,
and names its field here too.

The fields that we read are held by the parser at every frame (`venues/frame_schemas.py` writes them out). The
others are looked at in one frame of many: a venue that changes its format changes it for good.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

__all__ = ["LEARNT_FROM", "Change", "Drift"]

LEARNT_FROM: Final = 16
"""Frames of a channel whose fields are taken for its format."""

_DEEPEST: Final = 5
_MOST_FIELDS: Final = 256  # of a channel; more are no fields but data, and the channel is left alone
_MOST_CHANNELS: Final = 64
_MOST_CHANGES: Final = 256
_TYPES: Final = {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}
_PATH: Final = re.compile(r"`\$((?:\.\w+|\[[^\]]*\])*)`")
_MISSING: Final = re.compile(r"missing required field `(\w+)`")
_MISTYPED: Final = re.compile(r"Expected `[^`]+`, got `[^`]+`")


class Change(NamedTuple):
    """How the frames of a channel differ from what they were."""

    channel: str  # without the symbol
    field: str  # a path: data.p; of a list, its first item: data[].p
    change: str  # new_field, missing_field, changed_type


@dataclass(slots=True)
class _Format:
    """What a channel's frames look like."""

    learnt: int = 0
    types: dict[str, set[str]] = field(default_factory=dict)
    always: set[str] = field(default_factory=set)
    is_known: bool = True  # False: it has too many fields to be a format

    def learn(self, shape: Mapping[str, str]) -> None:
        for path, kind in shape.items():
            self.types.setdefault(path, set()).add(kind)
        self.always = {*shape} if self.learnt == 0 else self.always & shape.keys()
        self.learnt += 1
        self.is_known = len(self.types) <= _MOST_FIELDS

    def differences(self, shape: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        for path, kind in shape.items():
            known = self.types.get(path)
            if known is None:
                yield path, "new_field"
            elif kind not in known:
                yield path, "changed_type"
        for path in self.always - shape.keys():
            # What it is part of is named alone.
            if path.rpartition(".")[0].removesuffix("[]") not in self.always - shape.keys():
                yield path, "missing_field"


class Drift:
    """Of one venue. Not thread-safe."""

    def __init__(self) -> None:
        self.counts: dict[Change, int] = {}
        """Frames that differed, of those looked at and those refused."""
        self._formats: dict[str, _Format] = {}

    def look(self, channel: str, frame: bytes) -> Sequence[Change]:
        """Look at a frame that was read. Returns the changes that are seen for the first time."""
        known = self._formats.get(channel)
        if known is None:
            if len(self._formats) >= _MOST_CHANNELS:
                return ()
            known = self._formats[channel] = _Format()
        if not known.is_known:
            return ()
        shape = dict(_shape(msgspec.json.decode(frame), "", 0))
        if known.learnt < LEARNT_FROM:
            known.learn(shape)
            return ()
        return self._count(Change(channel, path, change) for path, change in known.differences(shape))

    def refused(self, channel: str, error: str) -> Sequence[Change]:
        """Take in why a frame was refused, if it is for its format; as `look`."""
        path = _PATH.search(error)
        where = re.sub(r"\[[^\]]*\]", "[]", path[1]).lstrip(".") if path is not None else ""
        missing = _MISSING.search(error)
        if missing is not None:
            name = f"{where}.{missing[1]}".lstrip(".")
            return self._count([Change(channel, name, "missing_field")])
        if _MISTYPED.search(error) is not None:
            return self._count([Change(channel, where, "changed_type")])
        return ()

    def _count(self, changes: Sequence[Change] | Iterator[Change]) -> Sequence[Change]:
        first = []
        for change in changes:
            if change not in self.counts:
                if len(self.counts) >= _MOST_CHANGES:
                    continue
                first.append(change)
            self.counts[change] = self.counts.get(change, 0) + 1
        return first


def _shape(value: object, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Path → type of every field; of a list its first item stands for all."""
    if isinstance(value, dict):
        if path:
            yield path, "object"
        if depth < _DEEPEST:
            for name, each in value.items():
                yield from _shape(each, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(value, list):
        if path:
            yield path, "array"
        if value and depth < _DEEPEST:
            yield from _shape(value[0], f"{path}[]", depth + 1)
    elif path:
        yield path, _TYPES[type(value)]
