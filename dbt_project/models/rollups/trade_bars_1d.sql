{{ config(materialized='continuous_aggregate', bucket_width='1 day', facts=['trades']) }}

{{ longer_bars(ref('trade_bars_1h'), '1 day') }}
