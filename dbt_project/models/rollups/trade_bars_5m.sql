{{ config(materialized='continuous_aggregate', bucket_width='5 minutes', facts=['trades']) }}

{{ longer_bars(ref('trade_bars_1m'), '5 minutes') }}
