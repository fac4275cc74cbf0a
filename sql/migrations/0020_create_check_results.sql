-- Data quality: what was checked and what came of it, and the facts that are set aside.
create table ops.check_results (
    check_result_id bigint generated always as identity primary key,
    relation text not null,
    expectation text not null,
    severity text not null check (severity in ('error', 'warning')),
    engine text not null check (engine in ('incremental', 'range', 'full')),
    range_start timestamptz not null,
    range_end timestamptz not null,
    rows bigint,
    failing bigint not null,
    keys jsonb not null default '[]',
    error text,
    checked_at timestamptz not null default clock_timestamp()
);
create index check_results_checked_at on ops.check_results (checked_at);
comment on column ops.check_results.engine is
'incremental: in a micro-batch, written only where something is broken; range: hourly; full: Great Expectations.';
comment on column ops.check_results.rows is 'Rows looked at; null: not counted.';
comment on column ops.check_results.failing is 'Rows, or keys, that break the expectation; 0: it holds.';
comment on column ops.check_results.keys is 'The keys of the first 20.';
comment on column ops.check_results.error is 'Why it could not be told; then failing says nothing.';

-- Facts stay where they are for ever: one that is not to be judged has a row here.
create table surveillance.quarantined_facts (
    relation text not null,
    instrument_id smallint not null,
    time timestamptz not null,
    row_id bigint not null,
    reasons text[] not null,
    is_judged boolean not null,
    marked_at timestamptz not null default clock_timestamp(),
    lifted_at timestamptz,
    xid xid8 not null default pg_current_xact_id(),
    primary key (relation, time, instrument_id, row_id)
);
create index quarantined_facts_xid on surveillance.quarantined_facts (xid) where not is_judged;
comment on table surveillance.quarantined_facts is
'Facts that break an expectation of severity error: left out of judgement. Their windows count them as refused.';
comment on column surveillance.quarantined_facts.row_id is
'With relation, instrument_id and time, the fact''s key: trade_id, update_id, 0 of reference prices; of book flows
distance_bps * 4 + side + 1 + is_partial.';
comment on column surveillance.quarantined_facts.reasons is 'The expectations that it breaks.';
comment on column surveillance.quarantined_facts.is_judged is
'Whoever marked it built its window anew. Otherwise the plan does: its transaction is read as the ledger''s are.';
comment on column surveillance.quarantined_facts.lifted_at is 'When it was found to break none; null: it is in force.';
