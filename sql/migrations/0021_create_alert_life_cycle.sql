-- The life of an alert in people's hands: open → acknowledged → escalated → closed with a disposition. It changes by
-- the functions below only, which refuse what is no step of it and write down who did it.
alter table surveillance.alerts add column disposition text
check (disposition in ('true', 'false', 'benign', 'duplicate'));
comment on column surveillance.alerts.disposition is
'What a person closed it as: true or false of what it says, benign (true, and no abuse), duplicate of another.';

-- Who is logged in to the database says more than who somebody says to be.
alter table surveillance.alert_events add column login text;
alter table surveillance.alert_events alter column login set default session_user;
comment on column surveillance.alert_events.login is 'The database role that did it; null: before this was kept.';

create function surveillance.refuse_change() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'rows of %.% are added, and never changed or deleted', tg_table_schema, tg_table_name;
end
$$;

create trigger append_only before update or delete on surveillance.alert_events
for each row execute function surveillance.refuse_change();

-- The alerts of a detector on an instrument that are raised while it is snoozed wait for nobody. The newest row counts.
create table surveillance.snoozes (
    snooze_id bigint generated always as identity primary key,
    detector text not null,
    instrument_id smallint not null,
    started_at timestamptz not null default clock_timestamp(),
    ends_at timestamptz not null,
    actor text not null,
    note text not null default '',
    login text not null default session_user
);
create index snoozes_detector_instrument_id on surveillance.snoozes (detector, instrument_id, snooze_id);
create trigger append_only before update or delete on surveillance.snoozes
for each row execute function surveillance.refuse_change();

create function surveillance.snoozed_until(
    by_detector text, on_instrument smallint, raised_at timestamptz
) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select case when newest.ends_at > raised_at then newest.ends_at end
    from (
        select snoozes.ends_at
        from surveillance.snoozes as snoozes
        where
            snoozes.detector = by_detector
            and snoozes.instrument_id = on_instrument
            and snoozes.started_at <= raised_at
        order by snoozes.snooze_id desc
        limit 1
    ) as newest
$$;
comment on function surveillance.snoozed_until(text, smallint, timestamptz) is
'Until when the detector was snoozed on the instrument when an alert was raised; null: it was not.';

create function surveillance.change_alert(
    which uuid, change text, by_actor text, with_note text, as_disposition text
) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    before text;
    steps constant jsonb := '{
        "acknowledged": ["open"],
        "escalated": ["open", "acknowledged"],
        "closed": ["open", "acknowledged", "escalated"]
    }';
begin
    if not steps ? change then
        raise exception 'an alert cannot be %: acknowledged, escalated or closed', change using errcode = '22023';
    end if;
    if coalesce(btrim(by_actor), '') = '' then
        raise exception 'who does it is not said' using errcode = '22023';
    end if;
    if (change = 'closed') <> (as_disposition is not null) then
        raise exception 'a disposition is for closing, and closing takes one: true, false, benign or duplicate'
        using errcode = '22023';
    end if;
    if as_disposition not in ('true', 'false', 'benign', 'duplicate') then
        raise exception 'an alert cannot be closed as %: true, false, benign or duplicate', as_disposition
        using errcode = '22023';
    end if;
    select state into before from surveillance.alerts where alert_id = which for update;
    if before is null then
        raise exception 'there is no alert %', which using errcode = '22023';
    end if;
    if not (steps -> change) ? before then
        raise exception 'alert % is %: it cannot be %', which, before, change using errcode = '22023';
    end if;
    update surveillance.alerts
    set state = change, disposition = as_disposition, changed_at = clock_timestamp()
    where alert_id = which;
    insert into surveillance.alert_events (alert_id, event, actor, note, cause)
    values (
        which, change, by_actor, coalesce(with_note, ''),
        case when as_disposition is not null then jsonb_build_object('disposition', as_disposition) end
    );
    return before;
end
$$;

create function surveillance.snooze(
    by_detector text, on_instrument smallint, until timestamptz, by_actor text, with_note text
) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    made bigint;
begin
    if coalesce(btrim(by_actor), '') = '' then
        raise exception 'who does it is not said' using errcode = '22023';
    end if;
    insert into surveillance.snoozes (detector, instrument_id, ends_at, actor, note)
    values (by_detector, on_instrument, until, by_actor, coalesce(with_note, ''))
    returning snooze_id into made;
    return made;
end
$$;

revoke execute on function surveillance.change_alert(uuid, text, text, text, text) from public;
revoke execute on function surveillance.snooze(text, smallint, timestamptz, text, text) from public;
