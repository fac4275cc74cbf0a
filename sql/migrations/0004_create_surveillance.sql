-- Judgement. Column meaning and units: sentinet_dagster/surveillance/schema.py, which a test keeps equal to this file.
create table surveillance.windows (
    instrument_id smallint not null,
    window_start timestamptz not null,
    open double precision,
    high double precision,
    low double precision,
    close double precision,
    volume double precision not null,
    buy_volume double precision not null,
    sell_volume double precision not null,
    notional double precision not null,
    vwap double precision,
    trade_count integer not null,
    quote_count integer not null,
    book_count integer not null,
    mid_close double precision,
    spread_bps_mean double precision,
    spread_bps_min double precision,
    spread_bps_max double precision,
    spread_bps_std double precision,
    imbalance_mean double precision,
    bid_depth_10bps double precision,
    ask_depth_10bps double precision,
    order_trade_ratio double precision not null,
    latency_ms_mean double precision,
    latency_ms_max double precision,
    completeness double precision not null check (completeness between 0 and 1),
    book_completeness double precision not null check (book_completeness between 0 and 1),
    gap_seconds double precision not null,
    refused_frames integer not null,
    computed_at timestamptz not null default clock_timestamp(),
    primary key (instrument_id, window_start)
);
create index windows_window_start on surveillance.windows (window_start);

create table surveillance.features (
    instrument_id smallint not null,
    window_start timestamptz not null,
    price double precision,
    return_bps double precision,
    return_z double precision,
    price_z double precision,
    price_z_samples integer not null,
    rsi_14 double precision,
    volatility_20_bps double precision,
    volume_change double precision,
    volume_z double precision,
    spread_bps_mean double precision,
    spread_bps_z double precision,
    imbalance_mean double precision,
    depth_imbalance double precision,
    buy_share double precision,
    order_trade_ratio double precision,
    price_move_bps double precision,
    completeness double precision not null,
    warm_up text,
    computed_at timestamptz not null default clock_timestamp(),
    primary key (instrument_id, window_start)
);
create index features_window_start on surveillance.features (window_start);

-- One row a window: the upper triangle of the matrix as parallel arrays. Pairs: surveillance.correlation_pairs.
create table surveillance.correlations (
    window_start timestamptz primary key,
    instrument_a smallint[] not null,
    instrument_b smallint[] not null,
    correlation double precision[] not null,
    correlation_slow double precision[] not null,
    computed_at timestamptz not null default clock_timestamp()
);

create table surveillance.scores (
    instrument_id smallint not null,
    window_start timestamptz not null,
    model text not null,
    model_id uuid,
    score double precision,
    threshold double precision,
    reason text,
    computed_at timestamptz not null default clock_timestamp(),
    primary key (instrument_id, window_start, model)
);
create index scores_window_start on surveillance.scores (window_start);
comment on column surveillance.scores.reason is 'Why score is null: no model in force, warming up, data not whole.';

create table surveillance.alerts (
    alert_id uuid primary key,
    detector text not null,
    detector_version integer not null,
    instrument_id smallint not null,
    window_start timestamptz not null,
    window_end timestamptz not null,
    raised_at timestamptz not null,
    severity text not null check (severity in ('info', 'warning', 'critical')),
    score double precision not null,
    threshold double precision not null,
    summary text not null,
    evidence jsonb not null,
    evidence_level text not null check (evidence_level in ('trades', 'L1', 'L2', 'derived')),
    completeness double precision not null,
    model_id uuid,
    code_hash text not null,
    config_hash text not null,
    state text not null default 'open' check (state in ('open', 'acknowledged', 'escalated', 'closed', 'retracted')),
    created_at timestamptz not null default clock_timestamp()
);
create index alerts_raised_at on surveillance.alerts (raised_at);
create index alerts_window_start on surveillance.alerts (window_start);

create table surveillance.alert_events (
    alert_event_id bigint generated always as identity primary key,
    alert_id uuid not null references surveillance.alerts (alert_id),
    event text not null,
    actor text not null,
    note text not null default '',
    occurred_at timestamptz not null default clock_timestamp()
);
create index alert_events_alert_id on surveillance.alert_events (alert_id);

create view surveillance.correlation_pairs as
select
    correlations.window_start,
    pair.instrument_a,
    pair.instrument_b,
    pair.correlation,
    pair.correlation_slow
from surveillance.correlations as correlations
cross join lateral unnest(
    correlations.instrument_a,
    correlations.instrument_b,
    correlations.correlation,
    correlations.correlation_slow
) as pair (instrument_a, instrument_b, correlation, correlation_slow);
