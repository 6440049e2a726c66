-- The context of a job (who asked for it, for whom, as part of what) in a column of its own, kept into history; and the
-- version of its arguments, which stands in its options. Workers of the version before leave both alone: what they finish
-- has no context in history.

alter table perdure.job add column context json;
alter table perdure.history add column context json;

-- The words of a context, as the Python client checks them: nothing that authorises, nothing that isn't a short text.
create function perdure.check_context(context json) returns void
language plpgsql immutable set search_path = pg_catalog as $$
declare
    word record;
begin
    if context is null then
        return;
    elsif json_typeof(context) <> 'object' then
        perform perdure.refuse('PD001', 'context', 'is no JSON object', 'give its words by name');
    elsif octet_length(context::text) > 1024 then
        perform perdure.refuse('PD001', 'context', format('has %s bytes', octet_length(context::text)), 'give at most 1024: ids, not data');
    end if;
    for word in select key, value #>> '{}' as said, json_typeof(value) as kind from json_each(context) where key <> 'v' loop
        if word.key not in ('correlation_id', 'causation_id', 'traceparent', 'tenant', 'actor', 'origin', 'replayed_by') then
            perform perdure.refuse('PD001', 'context.' || word.key, 'isn''t a word of a context',
                                   'use correlation_id, causation_id, traceparent, tenant, actor, origin, replayed_by');
        elsif word.kind = 'null' then
            continue;
        elsif word.kind <> 'string' then
            perform perdure.refuse('PD001', 'context.' || word.key, 'is no text', 'give a text');
        end if;
        perform perdure.check_text('context.' || word.key, word.said, 255);
        if word.said ~* '^((bearer|basic)\s|eyj[a-z0-9_-]+\.[a-z0-9_-]+\.|(sk|pk|rk)_(live|test)_|gh[pousr]_\w{20}|github_pat_|glpat-|xox[abepr]-|akia[a-z0-9]{12}|aiza[a-z0-9_-]{20}|sk-[a-z0-9_-]{16}|hf_\w{16}|sg\.[a-z0-9_-]{16}|whsec_|(session_?id|sid|token|secret|api_?key|password)[=:]|\w+://[^/\s]*:[^/\s]*@)|-----begin|password=' then
            perform perdure.refuse('PD001', 'context.' || word.key, 'looks like a credential, which a context can''t carry', 'give an id instead');
        elsif word.key = 'traceparent' and word.said !~ '^[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$' then
            perform perdure.refuse('PD001', 'context.traceparent', 'is no traceparent of W3C Trace Context',
                                   'give version-trace-parent-flags, in hex');
        end if;
    end loop;
end $$;

drop function perdure.enqueue_v1(text, json, text, text, int, interval, timestamptz, timestamptz, interval, float8, json,
                                 text[], boolean, boolean);
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
    version int default null
) returns bigint
language plpgsql volatile set search_path = pg_catalog as $$
#variable_conflict use_variable
declare
    longest constant float8 := 315360000;
    waits float8 := extract(epoch from delay);
    lasts float8 := extract(epoch from expires_in);
    tag text; said json; kept json; lane_queue int; due timestamptz; made bigint;
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
    -- An empty policy is kept: it says the default one, whatever the task declares.
    said := json_strip_nulls(json_build_object('timeout', timeout, 'retry', retry, 'at_most_once', nullif(at_most_once, false),
                                                'version', nullif(version, 1)));

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
    insert into perdure.job (id, pos, created_at, run_at, expires_at, lane, task, key, tags, options, context, payload)
    select d.id, d.id, statement_timestamp(), due, coalesce(expires_at, clock_timestamp() + lasts * interval '1 second'),
           lane_queue * 4096 + coalesce(priority, 5), task, key, tags, nullif(said::text, '{}')::json,
           (jsonb '{"v": 1}' || kept::jsonb)::json, payload
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
    return 'cancelled';
end $$;

create or replace view perdure.jobs as
select j.id, j.task, q.name as queue, j.key,
       case when r.id is not null then 'ready' when s.id is not null then 'scheduled' when h.id is not null then 'held'
            when d.id is not null then 'dead' else 'leased' end as place,
       coalesce(h.reason, d.reason) as reason, null::text as outcome,
       j.lane % 4096 % 10 as priority,
       j.attempt + case when coalesce(r.id, s.id, h.id, d.id) is null then 1 else 0 end as attempt,
       j.rescues, j.generation, j.created_at, s.run_at, j.expires_at, null::timestamptz as started_at,
       null::timestamptz as finished_at, j.tags, j.options,
       coalesce(d.error, case when j.attempt > 0 then
           (select a.error from perdure.attempt a where a.job = j.id order by a.ended_at desc limit 1) end) as error,
       j.payload, null::json as result, j.context
from perdure.job j
join perdure.queue q on q.id = j.lane / 4096
left join perdure.ready r on r.lane = j.lane and r.pos = j.pos
left join perdure.scheduled s on s.run_at = j.run_at and s.id = j.id
left join perdure.held h on h.id = j.id
left join perdure.dead d on d.id = j.id
union all
select f.id, f.task, q.name, f.key, 'history', null, f.outcome, f.lane % 4096 % 10, f.attempt, f.rescues, f.generation,
       f.created_at, null, null, f.started_at, f.finished_at, f.tags, f.options, f.error, f.payload, f.result, f.context
from perdure.history f
join perdure.queue q on q.id = f.lane / 4096;
