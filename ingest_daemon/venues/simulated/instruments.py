"""The instruments of the simulated market, in tiers of liquidity.

What lives here: what an instrument is and the default twelve. What never does: how prices move (`paths.py`),
episodes, frames. `config/demo/instruments.yaml` says the same to the operator's side; a test holds the two
together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

SPOT_VENUE = "simulated"
PERPETUAL_VENUE = "simulated_usdm"


class InstrumentKey(NamedTuple):
    """What names an instrument: the operator's name of the venue and the venue's symbol."""

    venue: str
    symbol: str  # as the venue writes it: BTCUSDT


@dataclass(frozen=True, slots=True)
class SimulatedInstrument:
    """One instrument and the constants of its behaviour in calm.

    Shares are shares of variance of the return; what `market_share` and `group_share` leave is the
    instrument's own. Instruments of one `group` share its factor: legs of one base, or two assets that move
    together.
    """

    base: str
    is_perpetual: bool
    price: float  # in USDT, at the market's anchor
    price_decimals: int  # the tick is 10 ** -price_decimals
    size_decimals: int  # the lot is 10 ** -size_decimals
    group: str
    market_share: float
    group_share: float
    volatility_bps: float  # standard deviation of the return over 5 s
    basis_bps: float  # standard deviation of the mean-reverting distance from the other leg
    spread_bps: float
    touch_notional: float  # median value resting at the best bid, and at the best ask
    trades_per_s: float
    quotes_per_s: int
    quote: str = "USDT"

    @property
    def venue(self) -> str:
        """The operator's name of the venue."""
        return PERPETUAL_VENUE if self.is_perpetual else SPOT_VENUE

    @property
    def venue_symbol(self) -> str:
        """As the venue writes it: BTCUSDT."""
        return self.base + self.quote

    @property
    def symbol(self) -> str:
        """Canonical: BTC-USDT, BTC-USDT-PERP."""
        return f"{self.base}-{self.quote}" + ("-PERP" if self.is_perpetual else "")

    @property
    def kind(self) -> str:
        """As `market.instruments.kind` says it."""
        return "perpetual" if self.is_perpetual else "spot"

    @property
    def tick_size(self) -> float:
        """The least price difference, in USDT."""
        return float(f"1e-{self.price_decimals}")

    @property
    def key(self) -> InstrumentKey:
        """What names it."""
        return InstrumentKey(self.venue, self.venue_symbol)


def _legs(
    spot: SimulatedInstrument, price_decimals: int, size_decimals: int
) -> tuple[SimulatedInstrument, ...]:
    """A spot instrument and its perpetual: the busier and tighter of the two, straying a little from it."""
    perpetual = replace(
        spot,
        is_perpetual=True,
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        basis_bps=0.35,
        spread_bps=spot.spread_bps * 0.8,
        touch_notional=spot.touch_notional * 2.5,
        trades_per_s=spot.trades_per_s * 1.2,
    )
    return spot, perpetual


def _spot(
    base: str,
    price: float,
    decimals: tuple[int, int],
    group: str,
    shares: tuple[float, float],
    volatility_bps: float,
    spread_bps: float,
    touch_notional: float,
    rates: tuple[float, int],
) -> SimulatedInstrument:
    return SimulatedInstrument(
        base=base,
        is_perpetual=False,
        price=price,
        price_decimals=decimals[0],
        size_decimals=decimals[1],
        group=group,
        market_share=shares[0],
        group_share=shares[1],
        volatility_bps=volatility_bps,
        basis_bps=0.0,
        spread_bps=spread_bps,
        touch_notional=touch_notional,
        trades_per_s=rates[0],
        quotes_per_s=rates[1],
    )


# Two legs of one base have no variance of their own beside the basis. KSA and KSB, and DRA and DRB, are pairs
# that move together; the bases of the last tier move with the market only.
DEFAULT_INSTRUMENTS: tuple[SimulatedInstrument, ...] = (
    *_legs(_spot("BTC", 61_830.0, (2, 5), "BTC", (0.50, 0.50), 1.2, 1.2, 90_000, (2.5, 5)), 1, 3),
    *_legs(_spot("ETH", 2_683.0, (2, 4), "ETH", (0.50, 0.50), 1.3, 1.5, 60_000, (2.2, 5)), 2, 3),
    *_legs(_spot("SOL", 154.6, (3, 3), "SOL", (0.45, 0.55), 1.5, 2.5, 30_000, (2.0, 5)), 3, 2),
    _spot("KSA", 12.84, (4, 2), "KS", (0.35, 0.62), 1.6, 5.0, 9_000, (1.6, 4)),
    _spot("KSB", 3.417, (5, 1), "KS", (0.35, 0.62), 1.6, 6.0, 8_000, (1.4, 4)),
    _spot("DRA", 0.6125, (5, 0), "DR", (0.35, 0.62), 1.7, 8.0, 5_000, (1.2, 4)),
    _spot("DRB", 0.2271, (6, 0), "DR", (0.35, 0.62), 1.7, 9.0, 4_000, (1.2, 4)),
    _spot("LNA", 0.0846, (6, 0), "LNA", (0.25, 0.00), 2.0, 12.0, 2_500, (1.0, 3)),
    _spot("LNB", 0.01932, (7, 0), "LNB", (0.25, 0.00), 2.2, 15.0, 2_000, (1.0, 2)),
)
