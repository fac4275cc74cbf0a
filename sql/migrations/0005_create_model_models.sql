-- A model judges the windows from effective_from on, until a newer one does. It never judges what it was trained on,
-- nor a window judged before it was registered: so a backfill chooses the model that live judged with.
create table model.models (
    model_id uuid primary key,
    model text not null,
    trained_from timestamptz not null,
    trained_through timestamptz not null,
    effective_from timestamptz not null,
    feature_names text[] not null,
    parameters jsonb not null,
    threshold double precision not null,
    samples bigint not null,
    artefact bytea not null,
    artefact_sha256 text not null,
    library_versions jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    unique (model, effective_from),
    check (effective_from >= trained_through)
);
