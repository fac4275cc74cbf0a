-- A daemon that starts asks how far each venue was received before.
create index ingest_batches_venue on ops.ingest_batches (venue, max_received_at);
