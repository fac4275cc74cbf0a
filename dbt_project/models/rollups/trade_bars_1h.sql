{{ config(materialized='continuous_aggregate', bucket_width='1 hour', facts=['trades']) }}

{{ longer_bars(ref('trade_bars_15m'), '1 hour') }}
