-- Schemas and their owners: market (ingest daemon), surveillance and model (Dagster), ops (both), rollup (dbt).
create schema market;
create schema surveillance;
create schema model;
create schema ops;
create schema rollup;

comment on schema market is
'Facts: what venues said, when, and what is known to be missing. Written by the ingest daemon only.';
comment on schema surveillance is
'Judgement: windows, features, correlations, scores, alerts. Written by Dagster only.';
comment on schema model is
'Learnt models with what they were trained on.';
comment on schema ops is
'The batch ledger, the migrations applied, and the product''s own measurements.';
comment on schema rollup is
'Sums of facts and marts for dashboards. Written by dbt only.';

-- Written by `sentinet migrate` in the transaction of each migration: what exactly was applied.
create table ops.migrations (
    version text primary key,
    name text not null,
    sha256 text not null,
    applied_at timestamptz not null default clock_timestamp()
);
comment on column ops.migrations.sha256 is 'Of the file''s bytes: an applied migration that was edited is refused.';
