-- The kernel's places. A job is one row in job (its body) and stands in exactly one place: ready, scheduled, lease, held,
-- dead, or history when it has finished. Nothing hot is updated in place: a claim deletes from ready, a settlement moves
-- the body from job to history. One sequence, pos, gives both a job's id and its place in line; CACHE 1, because the
-- claim floor relies on a later draw being a higher number.

create sequence perdure.pos as bigint cache 1;

create table perdure.queue (
    id int generated always as identity primary key check (id between 1 and 500000),
    name text not null unique check (name <> ''),
    paused_at timestamptz,
    created_at timestamptz not null default now()
);

-- lane = queue id * 4096 + slot * 10 + priority; slot 0 is the plain queue.
create table perdure.job (
    id bigint primary key,
    pos bigint not null,
    created_at timestamptz not null,
    run_at timestamptz,
    expires_at timestamptz,
    lane int not null,
    generation int not null default 0,
    attempt int not null default 0,
    rescues int not null default 0,
    task text not null,
    key text,
    tags text[],
    options json,
    payload json not null,
    -- One CHECK and not five: each of them costs every enqueued row a tenth of a microsecond.
    constraint job_sane check (lane >= 4096 and generation >= 0 and attempt >= 0 and rescues >= 0 and task <> '')
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

create table perdure.ready (
    lane int not null,
    pos bigint not null,
    id bigint not null,
    primary key (lane, pos)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

create table perdure.scheduled (
    run_at timestamptz not null,
    id bigint not null,
    primary key (run_at, id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

create table perdure.worker (
    id int generated always as identity primary key,
    name text not null check (name <> ''),
    state text not null default 'alive' check (state in ('alive', 'draining', 'dead', 'left')),
    incarnation int not null default 0,
    expires_at timestamptz not null,
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    host text not null,
    pid int not null,
    slots int not null,
    queues text[] not null,
    gauges json,
    check ((state in ('dead', 'left')) = (ended_at is not null))
) with (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
create index worker_living on perdure.worker (expires_at) where state in ('alive', 'draining');

create table perdure.lease (
    id bigint generated always as identity primary key,
    worker int not null,
    claimed_at timestamptz not null default now(),
    jobs bigint[] not null,
    generations int[] not null,
    check (cardinality(jobs) > 0 and cardinality(jobs) = cardinality(generations))
) with (toast_tuple_target = 128, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
alter table perdure.lease alter column jobs set storage external, alter column generations set storage external;
create index lease_worker on perdure.lease (worker);

create table perdure.held (
    id bigint primary key,
    reason text not null check (reason <> ''),
    key text,
    held_at timestamptz not null default now()
);
create index held_reason on perdure.held (reason, key, id);

create table perdure.dead (
    id bigint primary key,
    reason text not null check (reason <> ''),
    error text,
    died_at timestamptz not null default now()
);

create table perdure.cancel_request (
    id bigint primary key,
    reason text,
    requested_at timestamptz not null default now()
);

-- Finished jobs, by day. No primary key: the day is the partition, and an id finishes once by the fence, not by an index.
create table perdure.history (
    id bigint not null,
    created_at timestamptz not null,
    started_at timestamptz,
    finished_at timestamptz not null,
    lease bigint,
    lane int not null,
    generation int not null,
    attempt int not null,
    rescues int not null,
    outcome text not null check (outcome in ('completed', 'cancelled', 'expired', 'discarded')),
    task text not null,
    key text,
    tags text[],
    options json,
    error text,
    result json,
    payload json not null
) partition by range (finished_at);
create index history_id on perdure.history (id);
create table perdure.history_default partition of perdure.history default;

-- Attempts that ended and left their job alive (or dead): one row each. What completed stands in history alone.
create table perdure.attempt (
    job bigint not null,
    ended_at timestamptz not null,
    started_at timestamptz,
    worker int,
    lease bigint,
    generation int not null,
    attempt int not null,
    ending text not null check (ending in ('retry', 'snooze', 'dead', 'held', 'returned', 'rescued')),
    error text
) partition by range (ended_at);
create index attempt_job on perdure.attempt (job);
create table perdure.attempt_default partition of perdure.attempt default;

-- The sign of sleepers: a worker asleep on a queue holds this advisory lock shared, on its listener's session. Whoever
-- writes ready tries it exclusively and lets go at once; failing means somebody sleeps, and only then is a notify sent. Both
-- stand in one expression, which no cancelled statement ends in the middle: the lock would stay with the session.
create function perdure.wake(queue int) returns boolean
language plpgsql volatile set search_path = pg_catalog as $$
begin
    if (case when pg_try_advisory_lock(hashtext('perdure.sleepers'), queue)
             then pg_advisory_unlock(hashtext('perdure.sleepers'), queue) else false end) then
        return false;
    end if;
    perform pg_notify('perdure', queue::text);
    return true;
end $$;

-- Makes the day partitions from today to `ahead` days on, in UTC, for history and the attempt log. A day that already has
-- rows in the default partition is left there: it goes with them when it is old. Making or dropping a day locks a table
-- against readers, and one transaction that did so for both would deadlock with a reader of the view, who takes them in an
-- order of his own: one transaction each.
create function perdure.make_days(ahead int, parents text[] default '{history,attempt}') returns int
language plpgsql volatile set search_path = pg_catalog set timezone = 'UTC' as $$
declare
    parent text; day date; part text; stamp text; spoiled boolean; made int := 0;
begin
    foreach parent in array parents loop
        stamp := case parent when 'history' then 'finished_at' else 'ended_at' end;
        for day in select d::date from generate_series(current_date, current_date + ahead, interval '1 day') d loop
            part := parent || to_char(day, '_YYYYMMDD');
            continue when to_regclass(format('perdure.%I', part)) is not null;
            execute format('select exists (select from perdure.%I where %I >= %L and %I < %L)',
                           parent || '_default', stamp, day, stamp, day + 1) into spoiled;
            continue when spoiled;
            execute format('create table perdure.%I partition of perdure.%I for values from (%L) to (%L)',
                           part, parent, day, day + 1);
            made := made + 1;
        end loop;
    end loop;
    return made;
end $$;

-- Drops the day partitions that end more than `days` days ago, and empties the default partitions of what is as old.
create function perdure.drop_days(days int, parents text[] default '{history,attempt}') returns int
language plpgsql volatile set search_path = pg_catalog set timezone = 'UTC' as $$
declare
    parent text; part text; dropped int := 0;
begin
    foreach parent in array parents loop
        for part in
            select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent = to_regclass(format('perdure.%I', parent)) and c.relname ~ ('^' || parent || '_[0-9]{8}$')
              and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= current_date - days
        loop
            execute format('alter table perdure.%I detach partition perdure.%I', parent, part);
            execute format('drop table perdure.%I', part);
            dropped := dropped + 1;
        end loop;
    end loop;
    if 'history' = any(parents) then
        delete from perdure.history_default where finished_at < current_date - days;
    end if;
    if 'attempt' = any(parents) then
        delete from perdure.attempt_default where ended_at < current_date - days;
    end if;
    return dropped;
end $$;

select perdure.make_days(2);

-- The view's priority: a lane is queue * 4096 + slot * 10 + priority, so its last digit alone says nothing.
create view perdure.jobs as
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
       j.payload, null::json as result
from perdure.job j
join perdure.queue q on q.id = j.lane / 4096
left join perdure.ready r on r.lane = j.lane and r.pos = j.pos
left join perdure.scheduled s on s.run_at = j.run_at and s.id = j.id
left join perdure.held h on h.id = j.id
left join perdure.dead d on d.id = j.id
union all
select f.id, f.task, q.name, f.key, 'history', null, f.outcome, f.lane % 4096 % 10, f.attempt, f.rescues, f.generation,
       f.created_at, null, null, f.started_at, f.finished_at, f.tags, f.options, f.error, f.payload, f.result
from perdure.history f
join perdure.queue q on q.id = f.lane / 4096;
