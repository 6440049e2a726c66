-- Durable workflows. A run is a job whose function is replayed over its recorded steps: the job says where the run stands,
-- run says what it is, step what it has done. A run with nothing to do until something happens stands in waiting, which
-- costs no worker, lease or connection.

create table perdure.waiting (
    id bigint primary key,
    wake_at timestamptz,
    since timestamptz not null default now()
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
create index waiting_due on perdure.waiting (wake_at, id) where wake_at is not null;

-- job is the run's job, and stays it for the run's whole life; id is what callers name it by. `superseded`: another run has
-- taken the id. `round` counts continuations as new. `close`: what becomes of a child when its parent is cancelled or fails.
-- `trouble`: why it is parked. `skew`: how far a test has moved this run's clock.
create table perdure.run (
    job bigint primary key,
    id text not null check (id <> ''),
    name text not null check (name <> ''),
    version int not null check (version >= 1),
    round int not null default 0,
    superseded boolean not null default false,
    parent bigint,
    close text check (close in ('cancel', 'abandon')),
    attributes json,
    skew interval not null default '0',
    created_at timestamptz not null default now(),
    deadline_at timestamptz,
    paused_at timestamptz,
    ended_at timestamptz,
    failed_step text,
    trouble text
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
create unique index run_id on perdure.run (id) where not superseded;
create index run_ended on perdure.run (ended_at) where ended_at is not null;
create index run_parent on perdure.run (parent) where parent is not null;

-- What a run has done, by name. A step that has ended (done, failed, cancelled) never changes again. `detail` is what a
-- waiting step waits for: a signal's name, a child's job. `seq` is the order of recording.
create table perdure.step (
    run bigint not null,
    name text not null,
    seq int not null,
    kind text not null,
    state text not null,
    attempt int not null,
    started_at timestamptz,
    ended_at timestamptz,
    due_at timestamptz,
    detail text,
    outcome json,
    primary key (run, name),
    constraint step_sane check (state in ('begun', 'waiting', 'retry', 'done', 'failed', 'cancelled')
                                and (state in ('done', 'failed', 'cancelled')) = (ended_at is not null))
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- The inbox of a run: signals, and updates, which are answered. `key`: of two with one key the second is dropped.
-- `taken`: by which step. An accepted update is a signal like any other.
create table perdure.signal (
    id bigint generated always as identity primary key,
    run bigint not null,
    name text not null check (name <> ''),
    key text,
    payload json,
    sent_at timestamptz not null default clock_timestamp(),
    taken text,
    taken_at timestamptz,
    "update" boolean not null default false,
    answered_at timestamptz,
    refusal text,
    answer json,
    check ((taken is null) = (taken_at is null))
);
create unique index signal_key on perdure.signal (run, name, key) where key is not null;
create index signal_run on perdure.signal (run, id);

-- Runs that somebody wants to look up: at a request, or because their waiting row was locked when they were to be woken.
create table perdure.nudge (
    id bigint primary key
);

alter table perdure.attempt drop constraint attempt_ending_check;
alter table perdure.attempt add constraint attempt_ending_check
    check (ending in ('retry', 'snooze', 'dead', 'held', 'returned', 'rescued', 'waiting')) not valid;
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
    if exists (select from perdure.run r where r.job = body.id) then
        -- A run hears of it wherever it stands: it may have something to undo.
        insert into perdure.cancel_request (id, reason) values (body.id, cancel_v1.reason) on conflict (id) do nothing;
        insert into perdure.nudge (id) values (body.id) on conflict (id) do nothing;
        perform pg_notify('perdure', 'cancel');
        return 'requested';
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

-- Sends a signal to the run of this id. Answers sent, duplicate (one of this name and key was sent before), finished (the
-- run has ended) or missing; the last two keep nothing.
create function perdure.signal_v1(id text, name text, payload json default null, key text default null) returns text
language plpgsql volatile set search_path = pg_catalog as $$
#variable_conflict use_variable
declare
    target bigint; waits boolean; moved bigint; lane int;
begin
    lock table perdure.ready in row exclusive mode;
    perform perdure.check_text('id', id, 255);
    perform perdure.check_text('name', name, 100);
    if key is not null then
        perform perdure.check_text('key', key, 255);
    end if;
    if octet_length(payload::text) > 1048576 then
        perform perdure.refuse('PD003', 'payload', format('has %s bytes, the limit is 1048576', octet_length(payload::text)),
                               'keep the data in a table or a file, and pass its id');
    end if;
    -- As in workflows.hold: a run that is going to wait sees this lock, and doesn't wait for long.
    select r.job into target from perdure.run r where r.id = signal_v1.id and not r.superseded for key share;
    if target is null then
        return 'missing';
    elsif not exists (select from perdure.job j where j.id = target) then
        return 'finished';
    end if;
    insert into perdure.signal (run, name, key, payload) values (target, name, key, coalesce(payload, 'null'))
    on conflict do nothing;
    if not found then
        return 'duplicate';
    end if;
    if not exists (select from perdure.step s where s.run = target and s.kind = 'signal' and s.state = 'waiting' and s.detail = name) then
        return 'sent';
    end if;
    delete from perdure.waiting w using (select y.id from perdure.waiting y where y.id = target for update skip locked) l
    where w.id = l.id returning w.id into moved;
    if moved is not null then
        update perdure.job j set pos = nextval('perdure.pos') where j.id = target returning j.lane, j.pos into lane, moved;
        insert into perdure.ready (lane, pos, id) values (lane, moved, target);
        perform perdure.wake(lane / 4096);
    elsif exists (select from perdure.waiting w where w.id = target) then
        insert into perdure.nudge (id) values (target) on conflict do nothing;
    end if;
    return 'sent';
end $$;

create or replace view perdure.jobs as
select j.id, j.task, q.name as queue, j.key,
       case when r.id is not null then 'ready' when s.id is not null then 'scheduled' when h.id is not null then 'held'
            when w.id is not null then 'waiting' when d.id is not null then 'dead' else 'leased' end as place,
       coalesce(h.reason, d.reason) as reason, null::text as outcome,
       j.lane % 4096 % 10 as priority,
       j.attempt + case when coalesce(r.id, s.id, h.id, w.id, d.id) is null then 1 else 0 end as attempt,
       j.rescues, j.generation, j.created_at, coalesce(s.run_at, w.wake_at) as run_at, j.expires_at, null::timestamptz as started_at,
       null::timestamptz as finished_at, j.tags, j.options,
       coalesce(d.error, case when j.attempt > 0 then
           (select a.error from perdure.attempt a where a.job = j.id order by a.ended_at desc limit 1) end) as error,
       j.payload, null::json as result, j.context
from perdure.job j
join perdure.queue q on q.id = j.lane / 4096
left join perdure.ready r on r.lane = j.lane and r.pos = j.pos
left join perdure.scheduled s on s.run_at = j.run_at and s.id = j.id
left join perdure.held h on h.id = j.id
left join perdure.waiting w on w.id = j.id
left join perdure.dead d on d.id = j.id
union all
select f.id, f.task, q.name, f.key, 'history', null, f.outcome, f.lane % 4096 % 10, f.attempt, f.rescues, f.generation,
       f.created_at, null, null, f.started_at, f.finished_at, f.tags, f.options, f.error, f.payload, f.result, f.context
from perdure.history f
join perdure.queue q on q.id = f.lane / 4096;
