-- Incidents: alerts of one asset at one time. They are made of alerts anew whenever these change, and have no life of
-- their own: that is the alerts'.
create table surveillance.incidents (
    incident_id uuid primary key,
    base text not null,
    started_at timestamptz not null,
    ended_at timestamptz not null,
    severity text not null check (severity in ('info', 'warning', 'critical')),
    alert_ids uuid[] not null,
    detectors text[] not null,
    venues text[] not null,
    instrument_ids smallint[] not null,
    changed_at timestamptz not null default clock_timestamp()
);
create index incidents_base_started_at on surveillance.incidents (base, started_at);
comment on table surveillance.incidents is
'Alerts of one asset, of any detector and venue, that overlap or follow at once.';

alter table surveillance.alerts add column incident_id uuid references surveillance.incidents (incident_id);
create index alerts_incident_id on surveillance.alerts (incident_id);
comment on column surveillance.alerts.incident_id is
'The incident it is part of; null: retracted, or not judged again since there are incidents.';
