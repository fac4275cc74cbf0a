-- Facts. `time` is occurred_at where the venue says when, else received_at: windows are cut on it.
-- Each table's only index is its unique key, so that COPY stays fast.

create table market.instruments (
    instrument_id smallint generated always as identity primary key,
    venue text not null,
    symbol text not null,
    venue_symbol text not null,
    kind text not null check (kind in ('spot', 'perpetual', 'future', 'equity')),
    base text not null,
    quote text not null,
    tick_size double precision check (tick_size > 0),
    contract_size double precision not null default 1 check (contract_size > 0),
    is_active boolean not null default true,
    unique (venue, symbol),
    unique (venue, venue_symbol)
);
comment on column market.instruments.symbol is 'Canonical: BTC-USDT, BTC-USDT-PERP.';
comment on column market.instruments.contract_size is 'Base units a contract; 1 where the venue trades in base units.';

create table market.trades (
    instrument_id smallint not null,
    trade_id bigint not null,
    time timestamptz not null,
    occurred_at timestamptz not null,
    received_at timestamptz not null,
    price double precision not null,
    size double precision not null,
    aggressor smallint not null,
    fills integer not null,
    unique (instrument_id, trade_id, time)
);
comment on column market.trades.aggressor is '1 the buyer took liquidity, -1 the seller did, 0 unknown.';
comment on column market.trades.fills is 'Executions summed in this row.';

create table market.quotes (
    instrument_id smallint not null,
    update_id bigint not null,
    time timestamptz not null,
    occurred_at timestamptz,
    received_at timestamptz not null,
    bid_price double precision not null,
    bid_size double precision not null,
    ask_price double precision not null,
    ask_size double precision not null,
    unique (instrument_id, update_id, time)
);

create table market.books (
    instrument_id smallint not null,
    update_id bigint not null,
    time timestamptz not null,
    occurred_at timestamptz,
    received_at timestamptz not null,
    bid_prices double precision[] not null,
    bid_sizes double precision[] not null,
    ask_prices double precision[] not null,
    ask_sizes double precision[] not null,
    unique (instrument_id, update_id, time)
);

create table market.reference_prices (
    instrument_id smallint not null,
    time timestamptz not null,
    occurred_at timestamptz not null,
    received_at timestamptz not null,
    mark_price double precision,
    index_price double precision,
    funding_rate double precision,
    next_funding_at timestamptz,
    unique (instrument_id, time)
);

create table market.feed_gaps (
    gap_id bigint generated always as identity primary key,
    venue text not null,
    channel text,
    instrument_id smallint,
    started_at timestamptz not null,
    ended_at timestamptz not null,
    cause text not null,
    detail text not null default '',
    lost_events bigint,
    repaired_at timestamptz,
    recorded_at timestamptz not null default clock_timestamp(),
    check (ended_at >= started_at),
    unique nulls not distinct (venue, channel, instrument_id, started_at, ended_at, cause)
);
create index feed_gaps_ended_at on market.feed_gaps (ended_at);
comment on column market.feed_gaps.instrument_id is 'Null: every instrument of the venue.';
comment on column market.feed_gaps.channel is 'Null: every channel.';

create table market.rejected_frames (
    rejected_frame_id bigint generated always as identity primary key,
    venue text not null,
    channel text,
    instrument_id smallint,
    received_at timestamptz not null,
    error text not null,
    frame bytea not null
);
-- By digest: a frame may be longer than an index takes.
create unique index rejected_frames_frame on market.rejected_frames (venue, received_at, sha256(frame));
create index rejected_frames_received_at on market.rejected_frames (received_at);
