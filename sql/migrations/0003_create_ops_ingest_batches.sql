-- The batch ledger: one row a relation and transaction, written in the transaction that wrote the rows.
-- A reader that has seen all xid below s may next read those in [s, pg_snapshot_xmin(pg_current_snapshot())):
-- every transaction below that horizon has ended, so nothing can appear behind the cursor.
create table ops.ingest_batches (
    batch_id bigint generated always as identity primary key,
    xid xid8 not null default pg_current_xact_id(),
    venue text not null,
    relation text not null,
    rows integer not null,
    duplicates integer not null,
    bytes bigint not null,
    touched tstzmultirange not null,
    max_received_at timestamptz not null,
    committed_at timestamptz not null default clock_timestamp()
);
create index ingest_batches_xid on ops.ingest_batches (xid);
create index ingest_batches_committed_at on ops.ingest_batches (committed_at);
comment on column ops.ingest_batches.relation is 'The table of schema market that the rows went to.';
comment on column ops.ingest_batches.rows is 'Rows that are new.';
comment on column ops.ingest_batches.duplicates is 'Rows that were there already and were left alone.';
comment on column ops.ingest_batches.touched is
'The spans of `time` with new rows; neighbours less than 5 s apart are one span.';
comment on column ops.ingest_batches.committed_at is
'When the ledger row was written: the last statement before the commit.';
