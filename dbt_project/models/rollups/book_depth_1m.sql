{{ config(materialized='continuous_aggregate', bucket_width='1 minute', facts=['books']) }}

select
    books.instrument_id,
    {{ bucket_of('1 minute', 'books.time') }} as bucket,
    count(*) as book_count,
    avg(
        {{ target.schema }}.depth_within_10bps(
            books.bid_prices, books.bid_sizes, (books.bid_prices[1] + books.ask_prices[1]) / 2
        )
        order by books.time, books.update_id
    ) as bid_depth_10bps,
    avg(
        {{ target.schema }}.depth_within_10bps(
            books.ask_prices, books.ask_sizes, (books.bid_prices[1] + books.ask_prices[1]) / 2
        )
        order by books.time, books.update_id
    ) as ask_depth_10bps,
    count(books.occurred_at) as timed_count,
    sum(
        {{ milliseconds_of('(books.received_at - books.occurred_at)') }} order by books.time, books.update_id
    ) as latency_ms_sum,
    max({{ milliseconds_of('(books.received_at - books.occurred_at)') }}) as latency_ms_max
{{ from_judged('books', 'books.update_id') }}
group by 1, 2
