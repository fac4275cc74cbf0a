-- A source of delayed prices may name the day and not the time: `time` is then when the price was seen.
alter table market.reference_prices alter column occurred_at drop not null;
