-- What is declared of queues, and how it is kept. The statements that enqueue pass over a guarded queue: whoever finds none asks
-- perdure.admit what the queue may still take, and then writes as admitted. So a queue without a bound pays for one boolean.

alter table perdure.queue add column guarded boolean not null default false;

-- No max_depth and no max_age: the queue has no bound, and `unlimited` says that somebody meant that. Seconds, where not said.
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

-- Where jobs of a queue wait for room in it: in scheduled, under a moment of the queue's own that nobody else can name.
create function perdure.line(queue int) returns timestamptz
language sql immutable parallel safe set search_path = pg_catalog as $$
    select timestamptz '9000-01-01 00:00:00+00' + queue * interval '1 second'
$$;

-- Counts a queue, and appends what it found; false, when somebody else is counting it now. The lock is taken in a block that is
-- rolled back, so it is held for the count and not to the end of the caller's transaction. The highest position is that of a
-- row that was seen: whatever is in flight above it is counted as an arrival once it has committed.
create function perdure.sample(queue int) returns boolean
language plpgsql volatile
set search_path = pg_catalog set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
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
set search_path = pg_catalog set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
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
set search_path = pg_catalog set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
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
