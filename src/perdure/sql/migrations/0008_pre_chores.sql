-- What is remembered of housekeeping, so that failures outlive the worker that met them. A row is written when a chore of a
-- period runs, when any chore fails, and else once a minute at most: never for each run of what jobs wait for.
create table perdure.chore (
    name text primary key check (name <> ''),
    running_on int,
    last_started_at timestamptz,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    last_error text,
    consecutive_failures int not null default 0 check (consecutive_failures >= 0),
    period interval,
    due_at timestamptz,
    parked_until timestamptz,
    batch int check (batch > 0)
) with (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

-- Why a worker's run ended otherwise than by a clean stop; null for one that left cleanly, and for the dead, of whom only
-- the silence is known. `excused`: an operator has seen it, and it doesn't count towards a crash loop any more.
alter table perdure.worker add column cause text, add column excused boolean not null default false;
create index worker_ended on perdure.worker (ended_at) where state in ('dead', 'left');

-- Drops at most `parts_max` of the day partitions that end more than `days` days ago, the oldest first; nothing else.
create function perdure.drop_parts(parent text, days int, parts_max int) returns int
language plpgsql volatile set search_path = pg_catalog set timezone = 'UTC' as $$
declare
    part text; dropped int := 0;
begin
    for part in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = to_regclass(format('perdure.%I', parent)) and c.relname ~ ('^' || parent || '_[0-9]{8}$')
          and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= current_date - days
        order by c.relname limit parts_max
    loop
        execute format('alter table perdure.%I detach partition perdure.%I', parent, part);
        execute format('drop table perdure.%I', part);
        dropped := dropped + 1;
    end loop;
    return dropped;
end $$;

-- Partitions belong to the owner of their table, so these are the owner's acts, which a worker of a lesser role may ask for.
-- The names of the parents are quoted as identifiers, and everything happens in this schema.
alter function perdure.make_days(int, text[]) security definer;
alter function perdure.drop_days(int, text[]) security definer;
alter function perdure.drop_parts(text, int, int) security definer;
revoke execute on function perdure.make_days(int, text[]), perdure.drop_days(int, text[]), perdure.drop_parts(text, int, int)
    from public;
