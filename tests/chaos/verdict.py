"""What the venue did against what the database has. Pure.

A trade that happened and is not there must lie inside a gap that is not repaired, by the time that the venue
gives it: that is the time by which windows are judged.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

from tests.chaos.plan import Kind

_SHOWN = 5
_MILLISECOND_US = 1_000  # the venue's times are of this grain
_SLACK_US = 2_000_000  # between a fault and what is seen of it
_NEAR_A_GAP_US = 300_000  # a damaged frame has no time of the venue's: whether it came, nobody can say there
_CAUSES = {
    "disconnected": {Kind.CUT},
    "stale": {Kind.SILENCE},
    "not_running": {Kind.KILL},
    "shed": {Kind.AWAY, Kind.KILL},  # a start, too, spools until the database has answered
}
Key = tuple[str, str]  # venue, its symbol


@dataclass
class Told:
    """What the venue did."""

    happened: dict[Key, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    """Number of each trade → when, microseconds."""
    sent: dict[Key, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Numbers of those that went into a socket."""
    damaged: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """By venue, when each unreadable frame was sent."""
    first_at: dict[str, int] = field(default_factory=dict)
    """By venue, the time of the first trade that was sent."""
    frames: int = 0


class Gap(NamedTuple):
    venue: str
    symbol: str | None
    relation: str | None
    started_at: int
    ended_at: int
    cause: str
    detail: str
    lost_events: int | None
    is_repaired: bool

    def has_trades(self) -> bool:
        return self.relation in (None, "trades") and not self.is_repaired


@dataclass
class Found:
    """What the database has."""

    trades: Mapping[Key, Sequence[int]]
    gaps: Sequence[Gap]
    refused: Mapping[str, int]
    """By venue, the frames that the rows stand for."""


class Fault(NamedTuple):
    """What was done, from when to when."""

    kind: Kind
    started_at: int
    ended_at: int


def judge(told: Told, found: Found, faults: Sequence[Fault]) -> dict[str, Any]:
    """The account, and under `wrong` what must not be: in words, empty if all is proved."""
    wrong: list[str] = []
    lost = Counter[str]()
    unexplained: list[str] = []
    twice = invented = 0
    for key, happened in told.happened.items():
        rows = Counter(found.trades.get(key, ()))
        twice += sum(count - 1 for count in rows.values())
        invented += len(rows.keys() - happened.keys())
        cover = {
            cause: _Cover(gap for gap in found.gaps if gap.cause == cause and _concerns(gap, key))
            for cause in {gap.cause for gap in found.gaps}
        }
        since = told.first_at.get(key[0], 0)
        for number in sorted(happened.keys() - rows.keys()):
            at = happened[number]
            is_sent = number in told.sent[key]
            if not is_sent and at <= since + _MILLISECOND_US:  # before anybody listened
                continue
            why = next((cause for cause, spans in cover.items() if at in spans), None)
            if why is None:
                is_sent = "sent" if number in told.sent[key] else "not sent"
                unexplained.append(
                    f"{key[0]} {key[1]} {number} ({is_sent}) at {at}: {_nearest(found, key, at)}"
                )
            else:
                lost[why] += 1
    if not any(found.trades.values()):
        wrong.append("no trade is there")
    wrong += [f"missing and in no gap: {text}" for text in unexplained[:_SHOWN]]
    if len(unexplained) > _SHOWN:
        wrong.append(f"missing and in no gap: {len(unexplained) - _SHOWN} more")
    wrong += [f"{twice} trades are there twice"] if twice else []
    wrong += [f"{invented} trades never happened"] if invented else []
    wrong += [text for gap in found.gaps for text in _faults_of(gap, faults)]
    refused, said = _refused(told, found)
    return {
        "trades": {
            "happened": sum(map(len, told.happened.values())),
            "sent": sum(map(len, told.sent.values())),
            "committed": sum(map(len, found.trades.values())),
            "missing_in_gaps": dict(lost),
            "missing_and_in_no_gap": len(unexplained),
            "twice": twice,
            "invented": invented,
        },
        "gaps": {f"{cause} {relation}": n for (cause, relation), n in sorted(_counted(found.gaps).items())},
        "shed_events": dict(_shed(found.gaps)),
        "refused_frames": refused,
        "wrong": wrong + said,
    }


class _Cover:
    """The union of gaps."""

    def __init__(self, gaps: Iterable[Gap]) -> None:
        spans = sorted((gap.started_at, gap.ended_at) for gap in gaps)
        self._starts = [start for start, _ in spans]
        self._ends = list(accumulate((end for _, end in spans), max))

    def __contains__(self, at: int) -> bool:
        last = bisect_right(self._starts, at) - 1
        return last >= 0 and at < self._ends[last]


def _concerns(gap: Gap, key: Key) -> bool:
    return gap.venue == key[0] and gap.symbol in (None, key[1]) and gap.has_trades()


def _nearest(found: Found, key: Key, at: int) -> str:
    mine = [gap for gap in found.gaps if _concerns(gap, key)]
    if not mine:
        return "no gap at all"
    gap = min(mine, key=lambda gap: max(gap.started_at - at, at - gap.ended_at, 0))
    return f"{gap.cause} is from {gap.started_at - at:+} to {gap.ended_at - at:+} µs"


def _faults_of(gap: Gap, faults: Sequence[Fault]) -> list[str]:
    named = f"gap of {gap.venue} {gap.symbol} {gap.relation} {gap.cause} {gap.started_at}-{gap.ended_at}"
    if gap.ended_at < gap.started_at:
        return [f"{named}: ends before it starts"]
    if not gap.detail:
        return [f"{named}: has no detail"]
    kinds = _CAUSES.get(gap.cause, set())
    if not any(
        fault.kind in kinds
        and fault.started_at - _SLACK_US <= gap.ended_at
        and gap.started_at <= fault.ended_at + _SLACK_US
        for fault in faults
    ):
        return [f"{named}: nothing was done that makes such a gap"]
    return []


def _counted(gaps: Sequence[Gap]) -> Counter[tuple[str, str]]:
    return Counter((gap.cause, gap.relation or "any") for gap in gaps)


def _shed(gaps: Sequence[Gap]) -> Counter[str]:
    shed: Counter[str] = Counter()
    for gap in gaps:
        if gap.cause == "shed":
            shed[gap.relation or "rejected_frames"] += gap.lost_events or 0
    return shed


def _refused(told: Told, found: Found) -> tuple[dict[str, int], list[str]]:
    """A frame that came is counted; near a gap nobody can say whether it came."""
    wrong = []
    sent = counted = at_least = shed = 0
    for venue, times in told.damaged.items():
        holes = _Cover(
            gap._replace(started_at=gap.started_at - _NEAR_A_GAP_US, ended_at=gap.ended_at + _NEAR_A_GAP_US)
            for gap in found.gaps
            if gap.venue == venue and gap.cause != "shed"
        )
        mine = found.refused.get(venue, 0)
        dropped = _shed([gap for gap in found.gaps if gap.venue == venue])["rejected_frames"]
        least = sum(at not in holes for at in times)
        if not least <= mine + dropped <= len(times):
            wrong.append(
                f"{venue}: {mine} refused frames counted, {dropped} shed, not {least} to {len(times)}"
            )
        sent, counted, at_least, shed = sent + len(times), counted + mine, at_least + least, shed + dropped
    return {"sent": sent, "outside_of_gaps": at_least, "counted": counted, "shed": shed}, wrong
