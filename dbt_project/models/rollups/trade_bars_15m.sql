{{ config(materialized='continuous_aggregate', bucket_width='15 minutes', facts=['trades']) }}

{{ longer_bars(ref('trade_bars_5m'), '15 minutes') }}
