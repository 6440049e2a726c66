-- Unique keys, apart from the jobs they stand for, because they may outlive them; and what handlers have done once. An
-- enqueue meets a key with DO NOTHING: it neither locks nor writes what it finds. Workers of the version before end jobs
-- without letting go of their keys; an enqueue that finds the job gone does, and so does a chore.

-- until: the key is held while its job waits (started), until it has finished (done; and till expires_at, where there is
-- one), or till expires_at whatever becomes of the job (expired). payload: a hash of the arguments, to tell a repetition
-- from a mistake when the job itself is long gone.
create table perdure.unique_key (
    scope text collate "C" not null,
    key text collate "C" not null,
    id bigint not null,
    until text not null check (until in ('started', 'done', 'expired')),
    expires_at timestamptz,
    payload bigint not null,
    primary key (key, scope),
    check (until <> 'expired' or expires_at is not null)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
create index unique_key_id on perdure.unique_key (id);

-- What a handler has done for a key: the row commits with the effect.
create table perdure.effect (
    handler text not null check (handler <> ''),
    key text not null check (key <> ''),
    expires_at timestamptz not null,
    primary key (handler, key)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
create index effect_expiry on perdure.effect (expires_at);

create function perdure.check_unique(key text, scope text, until text, lifetime float8, on_conflict text) returns void
language plpgsql immutable set search_path = pg_catalog as $$
begin
    if key is null then
        if on_conflict is not null then
            perform perdure.refuse('PD001', 'on_conflict', 'is given without unique', 'give unique, too, or leave it out');
        elsif lifetime is not null then
            perform perdure.refuse('PD001', 'unique.lifetime', 'is given without a key', 'give unique_key, too, or leave it out');
        elsif scope is distinct from 'task' then
            perform perdure.refuse('PD001', 'unique.scope', 'is given without a key', 'give unique_key, too, or leave it out');
        elsif until is distinct from 'done' then
            perform perdure.refuse('PD001', 'unique.until', 'is given without a key', 'give unique_key, too, or leave it out');
        end if;
        return;
    end if;
    perform perdure.check_text('unique.key', key, 255);
    if scope is null or scope not in ('task', 'queue', 'everywhere') then
        perform perdure.refuse('PD001', 'unique.scope', format('%L is not allowed', scope), 'give one of task, queue, everywhere');
    elsif until is null or until not in ('started', 'done', 'expired') then
        perform perdure.refuse('PD001', 'unique.until', format('%L is not allowed', until), 'give one of started, done, expired');
    elsif on_conflict not in ('skip', 'replace', 'raise') then
        perform perdure.refuse('PD001', 'on_conflict', format('%L is not allowed', on_conflict), 'give one of skip, replace, raise');
    elsif on_conflict = 'replace' and scope <> 'task' then
        perform perdure.refuse('PD001', 'on_conflict', '"replace" would put these arguments into a job of another task',
                               'say scope task, or skip or raise');
    elsif until = 'expired' and lifetime is null then
        perform perdure.refuse('PD001', 'unique.until', 'is "expired" without a lifetime', 'give a lifetime, too');
    elsif until = 'started' and lifetime is not null then
        perform perdure.refuse('PD001', 'unique.lifetime', 'is given together with until started, which frees the key sooner',
                               'leave it out, or say until done or expired');
    end if;
    perform perdure.check_seconds('unique.lifetime', lifetime, 0, false, 315360000);
end $$;

-- Takes a key for a job, or says which job holds it. A key that nobody needs any more is freed first, as in jobs.free_keys.
create function perdure.take_key(scope text, key text, id bigint, until text, lifetime float8, payload json) returns bigint
language plpgsql volatile set search_path = pg_catalog as $$
#variable_conflict use_variable
declare
    held record;
begin
    for round in 1 .. 10 loop
        insert into perdure.unique_key (scope, key, id, until, expires_at, payload)
        values (scope, key, id, until, clock_timestamp() + lifetime * interval '1 second',
                hashtextextended(payload::jsonb::text, 0))
        on conflict do nothing;
        if found then
            return null;
        end if;
        select u.id as job, case u.until
                   when 'started' then coalesce(v.place not in ('ready', 'scheduled', 'held'), true)
                   when 'done' then coalesce(v.place = 'history', true) and coalesce(u.expires_at <= clock_timestamp(), true)
                   else u.expires_at <= clock_timestamp() end as free
        into held
        from perdure.unique_key u
        left join lateral (select j.place from perdure.jobs j where j.id = u.id limit 1) v on true
        where u.key = take_key.key and u.scope = take_key.scope;
        if held.free then
            delete from perdure.unique_key u where u.key = take_key.key and u.scope = take_key.scope and u.id = held.job;
        elsif held.job is not null then
            return held.job;
        end if;
    end loop;
    raise exception using errcode = '40001', message = 'unique: the key changes hands all the time';
end $$;

-- Takes a job that waits out of its place, to give it other arguments. False: it doesn't wait, or is being taken.
create function perdure.unseat(job bigint) returns boolean
language plpgsql volatile set search_path = pg_catalog as $$
declare
    body perdure.job; seated boolean := false;
begin
    select * into body from perdure.job j where j.id = job;
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
    return seated or found;
end $$;

drop function perdure.enqueue_v1(text, json, text, text, int, interval, timestamptz, timestamptz, interval, float8, json,
                                 text[], boolean, boolean, json, int);
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
    wake boolean default true,
    context json default null,
    version int default null,
    unique_key text default null,
    unique_scope text default 'task',
    unique_until text default 'done',
    unique_lifetime interval default null,
    on_conflict text default null
) returns bigint
language plpgsql volatile set search_path = pg_catalog as $$
#variable_conflict use_variable
declare
    longest constant float8 := 315360000;
    waits float8 := extract(epoch from delay);
    lasts float8 := extract(epoch from expires_in);
    holds float8 := extract(epoch from unique_lifetime);
    tag text; said json; kept json; lane_queue int; due timestamptz; made bigint; holder bigint; spot int;
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
    perform perdure.check_context(context);
    kept := (select json_object_agg(c.key, c.value) from json_each(context) c
             where json_typeof(c.value) <> 'null' and c.key <> 'v');
    if version not between 1 and 30000 then
        perform perdure.refuse('PD001', 'version', version || ' is not allowed', 'give 1 to 30000');
    end if;
    perform perdure.check_unique(unique_key, unique_scope, unique_until, holds, on_conflict);
    -- An empty policy is kept: it says the default one, whatever the task declares.
    said := json_strip_nulls(json_build_object('timeout', timeout, 'retry', retry, 'at_most_once', nullif(at_most_once, false),
                                                'version', nullif(version, 1),
                                                'unique', case when unique_key is not null and holds is null then true end));

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
    spot := lane_queue * 4096 + coalesce(priority, 5);
    made := nextval('perdure.pos');
    if unique_key is not null then
        holder := perdure.take_key(case unique_scope when 'task' then 'task:' || task when 'queue' then 'queue:' || queue
                                   else 'everywhere' end, unique_key, made, unique_until, holds, payload);
        if holder is not null and on_conflict = 'raise' then
            perform perdure.refuse('PD004', 'unique', format('%L is taken by job %s', unique_key, holder),
                                   'wait until it is done, or say what else to do: on_conflict');
        elsif holder is not null and (on_conflict is distinct from 'replace' or not perdure.unseat(holder)) then
            return holder;
        end if;
    end if;
    if holder is null then
        insert into perdure.job (id, pos, created_at, run_at, expires_at, lane, task, key, tags, options, context, payload)
        values (made, made, statement_timestamp(), due, coalesce(expires_at, clock_timestamp() + lasts * interval '1 second'),
                spot, task, key, tags, nullif(said::text, '{}')::json, (jsonb '{"v": 1}' || kept::jsonb)::json, payload);
    else
        update perdure.job j
        set pos = made, run_at = due, expires_at = coalesce(enqueue_v1.expires_at, clock_timestamp() + lasts * interval '1 second'),
            lane = spot, attempt = 0, rescues = 0, key = enqueue_v1.key, tags = enqueue_v1.tags,
            options = nullif(said::text, '{}')::json, context = (jsonb '{"v": 1}' || kept::jsonb)::json,
            payload = enqueue_v1.payload
        where j.id = holder;
        update perdure.unique_key u
        set payload = hashtextextended(enqueue_v1.payload::jsonb::text, 0), until = unique_until,
            expires_at = clock_timestamp() + holds * interval '1 second'
        where u.id = holder;
    end if;
    if due is null then
        insert into perdure.ready (lane, pos, id) values (spot, made, coalesce(holder, made));
    else
        insert into perdure.scheduled (run_at, id) values (due, coalesce(holder, made));
    end if;
    if wake and coalesce(due < clock_timestamp() + interval '2 seconds', true) then
        perform perdure.wake(lane_queue);
    end if;
    return coalesce(holder, made);
end $$;

create or replace function perdure.cancel_v1(id bigint, reason text default null) returns text
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
                                 options, context, error, payload)
    values (body.id, body.created_at, statement_timestamp(), body.lane, body.generation, body.attempt, body.rescues,
            'cancelled', body.task, body.key, body.tags, body.options, body.context, cancel_v1.reason, body.payload);
    delete from perdure.cancel_request c where c.id = body.id;
    delete from perdure.unique_key u using (
        select y.key, y.scope from perdure.unique_key y where y.id = body.id and y.expires_at is null for update skip locked) l
    where u.key = l.key and u.scope = l.scope;
    return 'cancelled';
end $$;
