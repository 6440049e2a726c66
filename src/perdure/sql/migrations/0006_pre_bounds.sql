-- What is declared of queues, and how it is kept. The statements that enqueue pass over a guarded queue: whoever finds none asks
-- perdure.admit what the queue may still take, and then writes as admitted. So a queue without a bound pays for one boolean.

alter table perdure.queue add column guarded boolean not null default false;

-- No max_depth and no max_age: the queue has no bound, and `unlimited` says that somebody meant that. Seconds, where not said.
-- What finished before `forgotten_day` (in it, up to `forgotten_id`) and was to be kept for retention_days only, is gone.
create table perdure.queue_rule (
    queue int primary key,
    unlimited boolean not null default false,
    max_depth int check (max_depth > 0),
    max_age float8 check (max_age > 0),
    when_full text check (when_full in ('reject', 'block', 'shed_lowest', 'delay', 'spill')),
    deadline float8 check (deadline > 0),
    retention_days int check (retention_days > 0),
    tenant_required boolean not null default false,
    declared_by text not null,
    declared_at timestamptz not null default now(),
    forgotten_day date,
    forgotten_id bigint,
    check ((when_full is not null) = (max_depth is not null or max_age is not null)),
    check ((deadline is not null) = (when_full is not distinct from 'block')),
    check (not unlimited or when_full is null)
);

-- What stood in a queue at a moment: `ready` jobs up to position `pos`, the `line` of those that wait for room, the one that had
-- been ready longest. Appended at most every so often, by workers and by enqueuers, and forgotten after ten minutes.
create table perdure.queue_sample (
    queue int not null,
    at timestamptz not null,
    pos bigint not null,
    ready int not null,
    line int not null,
    oldest_lane int,
    oldest_pos bigint,
    oldest_at timestamptz,
    ended_per_second float8 not null,
    workers int not null,
    took float8 not null
) with (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
create index queue_sample_latest on perdure.queue_sample (queue, at);

-- Where jobs of a queue wait for room in it: in scheduled, under a moment of the queue's own that nobody else can name, the
-- queue's number in seconds after the beginning of the year 9000. Without settings of its own, so that it is inlined.
create function perdure.line(queue int) returns timestamptz
language sql immutable parallel safe as $$
    select pg_catalog.to_timestamp(221845392000 operator(pg_catalog.+) queue)
$$;

-- Counts a queue, and appends what it found; false, when somebody else is counting it now. The lock is taken in a block that is
-- rolled back, so it is held for the count and not to the end of the caller's transaction. The highest position is that of a
-- row that was seen: whatever is in flight above it is counted as an arrival once it has committed.
create function perdure.sample(queue int) returns boolean
language plpgsql volatile
set search_path = pg_catalog set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_variable
declare
    began constant timestamptz := clock_timestamp();
    most bigint := coalesce((select r.max_depth::bigint * 2 from perdure.queue_rule r where r.queue = sample.queue), 100000);
    seen perdure.queue_sample;
begin
    begin
        if not pg_try_advisory_xact_lock(hashtext('perdure.sample'), queue) then
            return false;
        end if;
        with heads as materialized (
            select c.lane, count(*) as jobs, min(c.pos) as first, max(c.pos) as last
            from (select r.lane, r.pos from perdure.ready r
                  where r.lane >= queue * 4096 and r.lane < (queue + 1) * 4096 order by r.lane, r.pos limit most) c
            group by c.lane
        ), eldest as (
            select h.lane, h.first, greatest(j.created_at, case when j.run_at <= began then j.run_at end) as since
            from heads h join perdure.ready r on r.lane = h.lane and r.pos = h.first join perdure.job j on j.id = r.id
            order by 3 limit 1
        )
        select coalesce(sum(h.jobs), 0), max(h.last), (select e.lane from eldest e), (select e.first from eldest e),
               (select e.since from eldest e)
        into seen.ready, seen.pos, seen.oldest_lane, seen.oldest_pos, seen.oldest_at
        from heads h;
        seen.line := (select count(*) from (select from perdure.scheduled s where s.run_at = perdure.line(queue) limit most) c);
        raise exception using errcode = 'PD000';
    exception when sqlstate 'PD000' then
        null;
    end;
    if seen.pos is null then
        seen.pos := coalesce((select x.pos from perdure.queue_sample x where x.queue = sample.queue order by x.at desc limit 1), 0);
    end if;
    select coalesce(sum((w.gauges -> 'queues' -> q.name ->> 'ended_per_second')::float8), 0), count(w.id)
    into seen.ended_per_second, seen.workers
    from perdure.queue q
    left join perdure.worker w on w.state = 'alive' and w.expires_at > began and q.name = any(w.queues)
    where q.id = queue;
    if random() < 0.02 then
        delete from perdure.queue_sample x where x.ctid = any(array(
            select y.ctid from perdure.queue_sample y where y.queue = sample.queue and y.at < began - interval '10 minutes'
            order by y.at limit 1000 for update skip locked));
    end if;
    insert into perdure.queue_sample (queue, at, pos, ready, line, oldest_lane, oldest_pos, oldest_at, ended_per_second, workers, took)
    values (queue, began, seen.pos, seen.ready, seen.line, seen.oldest_lane, seen.oldest_pos, seen.oldest_at,
            seen.ended_per_second, seen.workers, extract(epoch from clock_timestamp() - began));
    return true;
end $$;

-- What a queue may still take, and what is to be done with the rest. It locks nothing: it reads the last sample, counts what has
-- arrived since (a microsecond each), and has the queue counted anew when those are many or the answer would be "full", yet never
-- for more than a twentieth of the time. Others' open transactions aren't seen: what the queue holds
-- passes its bound by what is being written at the moment, and by what was being written at the last sample, at most.
-- `space`: what ready may still take, null without a bound. `room`: the same for what is new, nought while others wait in line.
create function perdure.admit(
    queue int, wanted int,
    out max_depth int, out max_age float8, out when_full text, out deadline float8, out tenant_required boolean,
    out depth bigint, out age float8, out space bigint, out room bigint, out retry_after float8
) language plpgsql volatile
set search_path = pg_catalog set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_variable
declare
    last_seen perdure.queue_sample;
    arrived bigint; most bigint; lined boolean; known boolean; surplus float8;
begin
    select r.max_depth, r.max_age, r.when_full, r.deadline, r.tenant_required
    into max_depth, max_age, when_full, deadline, tenant_required
    from perdure.queue_rule r where r.queue = admit.queue;
    if when_full is null then
        return;
    end if;
    most := greatest(coalesce(max_depth, 0), 1000) + 1;
    for turn in 1 .. 2 loop
        select * into last_seen from perdure.queue_sample x where x.queue = admit.queue order by x.at desc limit 1;
        known := last_seen.at is not null;
        arrived := (select count(*) from (
            select from generate_series(queue * 4096, queue * 4096 + 9) as l(lane)
            cross join lateral (select from perdure.ready r
                                where r.lane = l.lane and r.pos > coalesce(last_seen.pos, 0) limit most) p limit most) c);
        lined := exists (select from perdure.scheduled s where s.run_at = perdure.line(queue));
        age := null;
        if exists (select from perdure.ready r where r.lane = last_seen.oldest_lane and r.pos = last_seen.oldest_pos) then
            age := extract(epoch from clock_timestamp() - last_seen.oldest_at);
        elsif max_age is not null and (last_seen.oldest_pos is not null or arrived > 0) then
            known := false;
        end if;
        depth := coalesce(last_seen.ready, 0) + arrived;
        space := case when age > max_age then 0 when max_depth is not null then greatest(max_depth - depth, 0) end;
        room := case when lined then 0 else space end;
        depth := depth + case when lined then greatest(last_seen.line, 1) else 0 end;
        exit when turn = 2;
        exit when known and arrived <= greatest(50, sqrt(last_seen.ready)) and (room is null or room >= wanted);
        exit when last_seen.at > clock_timestamp() - greatest(0.05, 20 * last_seen.took) * interval '1 second';
        exit when not perdure.sample(queue);
    end loop;
    -- The time in which a tenth of the bound drains, or what is too old: long enough to be worth coming back after.
    surplus := greatest(wanted, max_depth / 10.0, depth - max_depth, case when age > max_age then depth * (1 - max_age / age) end);
    retry_after := case when last_seen.ended_per_second > 0 then least(greatest(surplus / last_seen.ended_per_second, 1), 300) else 300 end;
end $$;

-- Discards as many waiting jobs as are wanted, the lowest priority first and in it the newest, all of them less urgent than
-- `priority`; none, if there aren't as many. Locked rows are passed over: nobody is waited for.
create function perdure.shed(queue int, priority int, wanted int) returns int
language plpgsql volatile
set search_path = pg_catalog set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_variable
declare
    gone bigint[]; positions bigint[]; lanes int[];
begin
    lock table perdure.ready in row exclusive mode;
    select array_agg(p.id), array_agg(p.pos), array_agg(p.lane) into gone, positions, lanes
    from (
        select b.id, b.pos, b.lane
        from generate_series(queue * 4096 + 9, queue * 4096 + priority + 1, -1) as l(lane)
        cross join lateral (
            select j.id, r.pos, r.lane from perdure.ready r join perdure.job j on j.id = r.id
            where r.lane = l.lane order by r.pos desc limit wanted for update of r, j skip locked
        ) b
        limit wanted
    ) p;
    if coalesce(cardinality(gone), 0) < wanted then
        return 0;
    end if;
    delete from perdure.ready r using unnest(lanes, positions) as t(lane, pos) where r.lane = t.lane and r.pos = t.pos;
    with ended as (
        delete from perdure.job j where j.id = any(gone) returning j.*
    )
    insert into perdure.history (id, created_at, finished_at, lane, generation, attempt, rescues, outcome, task, key, tags,
                                 options, context, error, payload)
    select id, created_at, statement_timestamp(), lane, generation, attempt, rescues, 'discarded', task, key, tags, options,
           context, 'shed: its queue was full, and more urgent jobs came', payload
    from ended;
    delete from perdure.cancel_request c where c.id = any(gone);
    return wanted;
end $$;

-- When a job for a guarded queue is due: as it says, null for now, or later, if the queue takes it in so; discards what gives
-- way for it. Refuses it with PD005 when the queue is full (the seconds after which to try again in DETAIL), also where the
-- queue would let its enqueuers wait: nobody may wait in a transaction.
create function perdure.take_in(queue int, name text, priority int, due timestamptz, tenant text) returns timestamptz
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
    elsif found.when_full = 'shed_lowest' and perdure.shed(queue, priority, 1) = 1 then
        return due;
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
    if (select q.guarded from perdure.queue q where q.id = lane_queue) then
        due := perdure.take_in(lane_queue, queue, coalesce(priority, 5), due, kept ->> 'tenant');
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
