-- The functions that any language may call. They take named arguments, check them as the Python client does, and refuse with
-- an SQLSTATE of their own, the field in COLUMN and the fix in HINT: PD001 an option, PD002 the arguments, PD003 their size.
-- A function of several statements begins by locking ready (and scheduled): the floors rely on a position, or a due time, being
-- drawn under that lock.

create function perdure.refuse(state text, field text, problem text, fix text) returns void
language plpgsql immutable set search_path = pg_catalog as $$
begin
    raise exception using errcode = state, message = field || ': ' || problem, hint = fix, column = field;
end $$;

create function perdure.check_name(field text, value text, chars_max int) returns void
language plpgsql immutable set search_path = pg_catalog as $$
begin
    if value is null or value = '' then
        perform perdure.refuse('PD001', field, 'is missing', 'give at least one character');
    elsif char_length(value) > chars_max then
        perform perdure.refuse('PD001', field, format('has %s characters', char_length(value)), format('give at most %s', chars_max));
    elsif value collate "C" !~ '^[A-Za-z0-9_\u0080-\U0010FFFF][A-Za-z0-9_./\u0080-\U0010FFFF-]*$' then
        perform perdure.refuse('PD001', field, format('%L is not allowed', value),
                               'use letters, digits, _ . - and /, beginning with a letter or digit');
    end if;
end $$;

create function perdure.check_text(field text, value text, chars_max int) returns void
language plpgsql immutable set search_path = pg_catalog as $$
begin
    if value is null or value = '' then
        perform perdure.refuse('PD001', field, 'is empty', 'give at least one character');
    elsif char_length(value) > chars_max then
        perform perdure.refuse('PD001', field, format('has %s characters', char_length(value)), format('give at most %s', chars_max));
    end if;
end $$;

-- Seconds between two bounds, the low one itself only when `closed`.
create function perdure.check_seconds(field text, value float8, low float8, closed boolean, high float8) returns void
language plpgsql immutable set search_path = pg_catalog as $$
begin
    if not (value > low or closed and value = low) or value > high then
        perform perdure.refuse('PD001', field, format('%s is not allowed', value),
                               format('give %s %s, at most %s seconds', case when closed then 'at least' else 'more than' end, low, high));
    end if;
end $$;

-- A moment that drivers and time zones can hold.
create function perdure.check_moment(field text, value timestamptz) returns void
language plpgsql immutable set search_path = pg_catalog as $$
begin
    if value < '1970-01-01 00:00:00+00' or value >= '9000-01-01 00:00:00+00' then
        perform perdure.refuse('PD001', field, 'is too far away', 'give a year of 1970 to 8999');
    end if;
end $$;

create function perdure.check_payload(payload json) returns void
language plpgsql immutable set search_path = pg_catalog as $$
declare
    brackets text := translate(payload::text, '{}', '[]');
begin
    if payload is null or json_typeof(payload) <> 'object' then
        perform perdure.refuse('PD002', 'payload', 'is no JSON object', 'give the arguments by name: {…}');
    elsif octet_length(payload::text) > 1048576 then
        perform perdure.refuse('PD003', 'payload', format('has %s bytes, the limit is 1048576', octet_length(payload::text)),
                               'keep the data in a table or a file, and pass its id');
    elsif payload::text ~ '\\u(0000|[dD][89a-fA-F])' then
        -- json keeps what it can't read back: NUL and half a surrogate pair; jsonb looks.
        begin
            perform payload::jsonb;
        exception when untranslatable_character or invalid_text_representation then
            perform perdure.refuse('PD002', 'payload', 'holds a NUL character or half a surrogate pair', 'remove it');
        end;
    end if;
    if length(brackets) - length(replace(brackets, '[', '')) > 200 then
        brackets := regexp_replace(regexp_replace(brackets, '"(?:\\.|[^"\\])*"', '', 'g'), '[^][]', '', 'g');
        for level in 1 .. 200 loop
            brackets := replace(brackets, '[]', '');
        end loop;
        if brackets <> '' then
            perform perdure.refuse('PD002', 'payload', 'is nested more than 200 levels deep',
                                   'give a flatter value, or keep it in a table and pass its id');
        end if;
    end if;
end $$;

create function perdure.check_retry(retry json) returns void
language plpgsql immutable set search_path = pg_catalog as $$
declare
    option record; seconds text; longest constant float8 := 315360000;
begin
    if json_typeof(retry) <> 'object' then
        perform perdure.refuse('PD001', 'retry', 'is no JSON object', 'give its options by name');
    end if;
    for option in select key, value, json_typeof(value) as kind, value #>> '{}' as said from json_each(retry) loop
        if option.key not in ('max_attempts', 'base', 'cap', 'jitter', 'max_elapsed', 'retry_after_cap', 'delays') then
            perform perdure.refuse('PD001', 'retry.' || option.key, 'no such option',
                                   'use base, cap, delays, jitter, max_attempts, max_elapsed, retry_after_cap');
        elsif option.key = 'jitter' then
            if option.said is null or option.said not in ('full', 'decorrelated', 'none') then
                perform perdure.refuse('PD001', 'retry.jitter', 'is not allowed', 'give full, decorrelated or none');
            end if;
        elsif option.key = 'delays' then
            if option.kind <> 'array' then
                perform perdure.refuse('PD001', 'retry.delays', 'is not allowed', 'give an array of seconds');
            end if;
            for seconds in select d.value #>> '{}' from json_array_elements(option.value) d loop
                perform perdure.check_seconds('retry.delays', seconds::float8, 0, true, longest);
            end loop;
        elsif option.key = 'max_elapsed' and option.kind = 'null' then
            null;
        elsif option.kind <> 'number' then
            perform perdure.refuse('PD001', 'retry.' || option.key, 'is no number', 'give a number');
        elsif option.key = 'max_attempts' then
            if option.said::numeric not between 1 and 10000 or option.said::numeric <> trunc(option.said::numeric) then
                perform perdure.refuse('PD001', 'retry.max_attempts', option.said || ' is not allowed', 'give 1 to 10000');
            end if;
        else
            perform perdure.check_seconds('retry.' || option.key, option.said::float8, 0, option.key = 'retry_after_cap', longest);
        end if;
    end loop;
    if coalesce((retry ->> 'cap')::float8, 300) < coalesce((retry ->> 'base')::float8, 1) then
        perform perdure.refuse('PD001', 'retry.cap', 'is less than base', 'give seconds, at least base');
    end if;
end $$;

create function perdure.enqueue_v1(
    task text,
    payload json default '{}',
    queue text default 'default',
    key text default null,
    priority int default null,
    delay interval default null,
    run_at timestamptz default null,
    expires_at timestamptz default null,
    expires_in interval default null,
    timeout float8 default null,
    retry json default null,
    tags text[] default null,
    at_most_once boolean default null,
    wake boolean default true
) returns bigint
language plpgsql volatile set search_path = pg_catalog as $$
#variable_conflict use_variable
declare
    longest constant float8 := 315360000;
    waits float8 := extract(epoch from delay);
    lasts float8 := extract(epoch from expires_in);
    tag text; said json; lane_queue int; due timestamptz; made bigint;
begin
    lock table perdure.ready, perdure.scheduled in row exclusive mode;
    perform perdure.check_name('task', task, 200);
    perform perdure.check_payload(payload);
    perform perdure.check_name('queue', queue, 100);
    if key is not null then
        perform perdure.check_text('key', key, 255);
    end if;
    if priority not between 0 and 9 then
        perform perdure.refuse('PD001', 'priority', priority || ' is not allowed', 'give 0 (first) to 9 (last)');
    end if;
    perform perdure.check_moment('run_at', run_at);
    perform perdure.check_moment('expires', expires_at);
    perform perdure.check_seconds('delay', waits, 0, true, longest);
    if delay is not null and run_at is not null then
        perform perdure.refuse('PD001', 'delay', 'is given together with run_at', 'give one, and null for the other');
    end if;
    perform perdure.check_seconds('expires', lasts, 0, false, longest);
    if expires_at is not null and expires_in is not null then
        perform perdure.refuse('PD001', 'expires', 'is given twice', 'give expires_at or expires_in');
    elsif expires_at <= run_at or lasts <= waits then
        perform perdure.refuse('PD001', 'expires', 'comes before the job is due', 'let the job expire after it is due');
    end if;
    perform perdure.check_seconds('timeout', timeout, 0, false, 604800);
    if retry is not null then
        perform perdure.check_retry(retry);
    end if;
    if cardinality(tags) > 16 then
        perform perdure.refuse('PD001', 'tags', format('has %s tags', cardinality(tags)), 'give at most 16');
    end if;
    foreach tag in array coalesce(tags, '{}') loop
        perform perdure.check_text('tags', tag, 64);
    end loop;
    tags := (select array_agg(t.tag order by t.first)
             from (select u.tag, min(u.place) as first from unnest(tags) with ordinality as u(tag, place) group by u.tag) t);
    -- An empty policy is kept: it says the default one, whatever the task declares.
    said := json_strip_nulls(json_build_object('timeout', timeout, 'retry', retry, 'at_most_once', nullif(at_most_once, false)));

    lane_queue := (select q.id from perdure.queue q where q.name = queue);
    if lane_queue is null then
        insert into perdure.queue (name) values (queue) on conflict (name) do nothing;
        lane_queue := (select q.id from perdure.queue q where q.name = queue);
        if lane_queue is null then
            perform perdure.refuse('PD001', 'queue', 'could not be created', 'create it before this transaction');
        end if;
    end if;
    due := coalesce(run_at, clock_timestamp() + waits * interval '1 second');
    if due <= clock_timestamp() then
        due := null;
    end if;
    insert into perdure.job (id, pos, created_at, run_at, expires_at, lane, task, key, tags, options, payload)
    select d.id, d.id, statement_timestamp(), due, coalesce(expires_at, clock_timestamp() + lasts * interval '1 second'),
           lane_queue * 4096 + coalesce(priority, 5), task, key, tags, nullif(said::text, '{}')::json, payload
    from (select nextval('perdure.pos') as id) d
    returning id into made;
    if due is null then
        insert into perdure.ready (lane, pos, id) values (lane_queue * 4096 + coalesce(priority, 5), made, made);
    else
        insert into perdure.scheduled (run_at, id) values (due, made);
    end if;
    if wake and coalesce(due < clock_timestamp() + interval '2 seconds', true) then
        perform perdure.wake(lane_queue);
    end if;
    return made;
end $$;

-- Answers cancelled (it waited), requested (whoever runs it is asked to stop), finished or dead (too late), or missing.
create function perdure.cancel_v1(id bigint, reason text default null) returns text
language plpgsql volatile set search_path = pg_catalog as $$
#variable_conflict use_column
declare
    body perdure.job; seated boolean := false;
begin
    lock table perdure.ready in row exclusive mode;
    if reason is not null then
        perform perdure.check_text('reason', reason, 500);
    end if;
    select * into body from perdure.job j where j.id = cancel_v1.id;
    if not found then
        return case when exists (select from perdure.history h where h.id = cancel_v1.id) then 'finished' else 'missing' end;
    end if;
    if exists (select from perdure.dead d where d.id = body.id) then
        return 'dead';
    end if;
    -- As in jobs.cancel: whoever holds the row of its place is taking the job out of it, and hears of the request.
    delete from perdure.ready r using (
        select y.lane, y.pos from perdure.ready y where y.lane = body.lane and y.pos = body.pos for update skip locked) l
    where r.lane = l.lane and r.pos = l.pos;
    seated := found;
    delete from perdure.scheduled s using (
        select y.run_at, y.id from perdure.scheduled y where y.run_at = body.run_at and y.id = body.id for update skip locked) l
    where s.run_at = l.run_at and s.id = l.id;
    seated := seated or found;
    delete from perdure.held h using (
        select y.id from perdure.held y where y.id = body.id for update skip locked) l
    where h.id = l.id;
    seated := seated or found;
    if not seated then
        insert into perdure.cancel_request (id, reason) values (body.id, cancel_v1.reason) on conflict (id) do nothing;
        perform pg_notify('perdure', 'cancel');
        return 'requested';
    end if;
    delete from perdure.job j where j.id = body.id returning * into body;
    insert into perdure.history (id, created_at, finished_at, lane, generation, attempt, rescues, outcome, task, key, tags,
                                 options, error, payload)
    values (body.id, body.created_at, statement_timestamp(), body.lane, body.generation, body.attempt, body.rescues,
            'cancelled', body.task, body.key, body.tags, body.options, cancel_v1.reason, body.payload);
    delete from perdure.cancel_request c where c.id = body.id;
    return 'cancelled';
end $$;
