-- How each relation that grows with time is kept: config/storage.yaml as `sentinet migrate` applied it last.
create table ops.storage (
    relation text primary key,
    time_column text not null,
    keep interval,
    chunk interval,
    columnstore_after interval,
    segment_by text,
    order_by text,
    applied_at timestamptz not null default clock_timestamp()
);
comment on column ops.storage.relation is 'schema.table; schema.* stands for every table there that has the column.';
comment on column ops.storage.keep is 'Rows older than this by time_column are removed; null: never.';
comment on column ops.storage.chunk is 'The span of a hypertable''s chunk; null: never a hypertable.';
comment on column ops.storage.columnstore_after is 'Age at which a chunk is stored by columns; null: never.';
comment on column ops.storage.applied_at is 'When one of the values was last changed.';
