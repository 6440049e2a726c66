-- What an enqueue has to say and to do beyond 0012.
--
-- Keys: many at once are taken as if all were free, which they nearly always are: a plain insert costs two thirds of one that is
-- ready to meet another row. When one isn't free, what was inserted is rolled back, and each is taken or met by itself.
--
-- A job that a full queue has put off says so in its options (put_off): its due time alone can't be told from one that its
-- enqueuer wanted. And a user that may only add jobs is told so where an enqueue would take another one out of its place, and
-- not which table it lacks a privilege on.

-- Only a key that may outlive its job has the hash of the arguments; of any other the job itself tells.
alter table perdure.unique_key alter column payload drop not null;

-- Takes keys for jobs, in ascending order; which of the jobs got theirs, null for all of them. An array of one value, in `scopes`
-- and `untils`, stands for every job; a missing value of the others is null. A key that somebody's open transaction has just
-- taken is waited for, with the ones before it in hand or with none.
create function perdure.take_keys(scopes text[], keys text[], ids bigint[], untils text[], lifetimes float8[], payloads bigint[])
returns bigint[]
language plpgsql volatile set search_path = pg_catalog as $$
declare
    now constant timestamptz := clock_timestamp();
    won bigint[];
begin
    begin
        insert into perdure.unique_key (scope, key, id, until, expires_at, payload)
        select coalesce(t.scope, scopes[1]), t.key, t.id, coalesce(t.until, untils[1]),
               now + t.lifetime * interval '1 second', t.payload
        from unnest(scopes, keys, ids, untils, lifetimes, payloads) as t(scope, key, id, until, lifetime, payload)
        order by t.key collate "C", coalesce(t.scope, scopes[1]) collate "C", t.id;
        return null;
    exception when unique_violation then
        null;
    end;
    with taken as (
        insert into perdure.unique_key (scope, key, id, until, expires_at, payload)
        select coalesce(t.scope, scopes[1]), t.key, t.id, coalesce(t.until, untils[1]),
               now + t.lifetime * interval '1 second', t.payload
        from unnest(scopes, keys, ids, untils, lifetimes, payloads) as t(scope, key, id, until, lifetime, payload)
        order by t.key collate "C", coalesce(t.scope, scopes[1]) collate "C", t.id
        on conflict do nothing
        returning unique_key.id
    )
    select coalesce(array_agg(n.id), '{}') into won from taken n;
    return won;
end $$;

create or replace function perdure.take_in(queue int, name text, priority int, due timestamptz, tenant text) returns timestamptz
language plpgsql volatile set search_path = pg_catalog as $$
#variable_conflict use_variable
declare
    found record;
begin
    select * into found from perdure.admit(queue, 1);
    if found.tenant_required and tenant is null then
        perform perdure.refuse('PD001', 'context.tenant', format('is missing, and the queue %s takes no job without', name),
                               'name the tenant in context');
    elsif found.room is null or found.room > 0 or due is not null and found.when_full in ('spill', 'delay') then
        return due;
    elsif found.when_full = 'spill' then
        return perdure.line(queue);
    elsif found.when_full = 'delay' then
        return clock_timestamp() + found.retry_after * interval '1 second';
    elsif found.when_full = 'shed_lowest' then
        if not has_table_privilege('perdure.ready', 'delete') then
            perform perdure.refuse('42501', 'queue', format('%s is full, and this database user may not discard what is less urgent in it', name),
                                   format('enqueue as a user that is granted perdure_worker, or try again in %s s', ceil(found.retry_after)));
        elsif perdure.shed(queue, priority, 1) = 1 then
            return due;
        end if;
    end if;
    raise exception using errcode = 'PD005', column = 'queue', detail = ceil(found.retry_after),
        message = format('queue: %s holds %s jobs, and has no room for another', name, found.depth),
        hint = format('try again in %s s, or see why the queue drains no faster', ceil(found.retry_after));
end $$;

create or replace function perdure.enqueue_v1(
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
    tag text; said json; kept json; lane_queue int; due timestamptz; wanted timestamptz; made bigint; holder bigint; spot int;
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
        elsif holder is not null and on_conflict is distinct from 'replace' then
            return holder;
        elsif holder is not null and not has_table_privilege('perdure.ready', 'delete') then
            perform perdure.refuse('42501', 'on_conflict', format('replace takes job %s out of its place, and this database user may only add jobs', holder),
                                   'enqueue as a user that is granted perdure_worker, or say skip or raise');
        elsif holder is not null and not perdure.unseat(holder) then
            return holder;
        end if;
    end if;
    if (select q.guarded from perdure.queue q where q.id = lane_queue) then
        wanted := due;
        due := perdure.take_in(lane_queue, queue, coalesce(priority, 5), wanted, kept ->> 'tenant');
        if wanted is null and due < perdure.line(0) then
            said := (said::jsonb || '{"put_off": true}')::json;
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
