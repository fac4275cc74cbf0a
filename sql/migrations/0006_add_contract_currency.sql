-- What a contract is measured in: BTC-USDT-SWAP is 0.01 of the base currency, BTCUSD_PERP 100 of the quote.

alter table market.instruments
add column contract_currency text not null default 'base'
check (contract_currency in ('base', 'quote'));
comment on column market.instruments.contract_size is
'Units of the contract''s currency a contract; 1 base unit where the venue trades in base units.';
comment on column market.instruments.contract_currency is
'base: a contract is so many base units. quote: so many of the quote currency, divided by the price.';
