-- A gap says which table lacks the data, so that one of trades can be repaired and leaves the others as they are.
alter table market.feed_gaps add column relation text
check (relation in ('trades', 'quotes', 'books', 'reference_prices'));
comment on column market.feed_gaps.relation is 'The table of schema market that lacks the data. Null: any may.';
comment on column market.feed_gaps.channel is 'The venue''s word. Null: not one of its channels.';
alter table market.feed_gaps
drop constraint feed_gaps_venue_channel_instrument_id_started_at_ended_at_c_key,
add constraint feed_gaps_key
unique nulls not distinct (venue, channel, relation, instrument_id, started_at, ended_at, cause);
update market.feed_gaps set
    channel = case when cause = 'shed' then null else channel end,
    relation = case
        when cause = 'shed' then nullif(channel, 'rejected_frames')
        when channel = 'matches' then 'trades'
        else 'books'
    end
where cause in ('shed', 'sequence_break', 'checksum_mismatch', 'crossed_book', 'book_outrun');

-- Gaps of trades that are not repaired: what the daemon looks for.
create index feed_gaps_to_repair on market.feed_gaps (venue, ended_at)
where relation = 'trades' and repaired_at is null;

alter table surveillance.windows add column trade_completeness double precision
check (trade_completeness between 0 and 1);
update surveillance.windows set trade_completeness = completeness;
alter table surveillance.windows alter column trade_completeness set not null;
