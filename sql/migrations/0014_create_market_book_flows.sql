-- What is placed, withdrawn and traded in a book, a row a second, side and distance. Column meaning and units:
-- ingest_daemon/events.py, BookFlow. A second that one session saw in part and another whole has both rows: is_partial
-- is in the key, so that neither keeps the other out, and readers take the whole one.
create table market.book_flows (
    instrument_id smallint not null,
    side smallint not null,
    distance_bps smallint not null,
    is_partial boolean not null,
    time timestamptz not null,
    received_at timestamptz not null,
    added double precision not null,
    removed double precision not null,
    cancelled double precision not null,
    traded double precision not null,
    adds integer not null,
    cancels integer not null,
    levels integer not null,
    largest_added double precision not null,
    fleeting double precision not null,
    withdrawn double precision not null,
    withdrawn_life_us bigint,
    layers integer not null,
    layered double precision not null,
    unique (instrument_id, side, distance_bps, is_partial, time)
);
create index book_flows_time on market.book_flows using brin (time) with (pages_per_range = 32, autosummarize = on);
comment on column market.book_flows.side is '1 the bids, -1 the asks.';
comment on column market.book_flows.distance_bps is
'Beyond so many basis points from the touch (0: from the touch on), up to the next of 0, 1, 2, 5, 10, 25.';
comment on column market.book_flows.is_partial is 'The book was not in sync throughout the second.';

alter table market.feed_gaps
drop constraint feed_gaps_relation_check,
add constraint feed_gaps_relation_check
check (relation in ('trades', 'quotes', 'books', 'book_flows', 'reference_prices'));

alter table surveillance.windows
add column flow_seconds integer not null default 0,
add column partial_flow_seconds integer not null default 0,
add column flow_changes integer not null default 0,
add column bid_added_near double precision,
add column ask_added_near double precision,
add column bid_cancelled_near double precision,
add column ask_cancelled_near double precision,
add column bid_traded_near double precision,
add column ask_traded_near double precision,
add column bid_cancel_share double precision,
add column ask_cancel_share double precision,
add column bid_fleeting_near double precision,
add column ask_fleeting_near double precision,
add column bid_withdrawn_max double precision,
add column ask_withdrawn_max double precision,
add column bid_withdrawn_life_s double precision,
add column ask_withdrawn_life_s double precision,
add column bid_layered_max double precision,
add column ask_layered_max double precision,
add column bid_layers integer,
add column ask_layers integer;
