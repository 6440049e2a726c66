-- State machines of the application's own entities: the declared transitions, where each entity stands, and every move it
-- has made. The triggers hold whoever writes to them, with whatever program: an illegal move is refused, a legal one is
-- logged in the same statement.

create table perdure.machine (
    name text primary key check (name <> ''),
    initial text not null,
    declared_at timestamptz not null default now()
);

create table perdure.machine_state (
    machine text not null references perdure.machine (name) on delete cascade,
    state text not null check (state <> ''),
    stuck_after interval,
    primary key (machine, state)
);

create table perdure.transition (
    machine text not null references perdure.machine (name) on delete cascade,
    event text not null check (event <> ''),
    source text not null,
    target text not null,
    after interval,
    primary key (machine, source, event)
);

create table perdure.entity (
    machine text not null,
    id text not null check (id <> ''),
    state text not null,
    revision int not null default 0,
    event text,
    entered_at timestamptz not null default now(),
    stuck_at timestamptz,
    moved_by text,
    reason text,
    context json,
    primary key (machine, id)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
create index entity_state on perdure.entity (machine, state, id);
create index entity_stuck on perdure.entity (stuck_at) where stuck_at is not null;

create table perdure.entity_move (
    machine text not null,
    id text not null,
    revision int not null,
    event text,
    source text,
    target text not null,
    moved_at timestamptz not null,
    moved_by text,
    reason text,
    context json,
    primary key (machine, id, revision)
);

-- Refuses what isn't declared, and fills in what follows from the new state, whatever the writer said of it.
create function perdure.check_entity() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    if tg_op = 'INSERT' then
        if new.state is distinct from (select m.initial from perdure.machine m where m.name = new.machine) then
            raise exception using errcode = 'PD010', column = 'state',
                message = format('machine %s: %s isn''t where %s begins', new.machine, new.state, new.id),
                hint = 'declare the machine, and create its entities in the initial state';
        end if;
        new.revision := 0;
    elsif new.state is not distinct from old.state and new.revision = old.revision then
        if (new.machine, new.id, new.entered_at, new.stuck_at) is distinct from (old.machine, old.id, old.entered_at, old.stuck_at) then
            raise exception using errcode = 'PD010', message = format('machine %s: %s is changed without a move', old.machine, old.id),
                hint = 'only moves change an entity';
        end if;
        return new;
    elsif (new.machine, new.id) is distinct from (old.machine, old.id) or not exists (
        select from perdure.transition t
        where t.machine = old.machine and t.source = old.state and t.target = new.state and t.event = new.event) then
        raise exception using errcode = 'PD010', column = 'state',
            message = format('machine %s: %s can''t go from %s to %s by %s', old.machine, old.id, old.state, new.state,
                             coalesce(new.event, 'no event')),
            hint = 'move it by a transition that the machine declares';
    else
        new.revision := old.revision + 1;
    end if;
    new.entered_at := clock_timestamp();
    new.stuck_at := (select new.entered_at + s.stuck_after from perdure.machine_state s
                     where s.machine = new.machine and s.state = new.state);
    return new;
end $$;
create trigger entity_checked before insert or update on perdure.entity for each row execute function perdure.check_entity();

create function perdure.log_entity() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    if tg_op = 'INSERT' or new.revision <> old.revision then
        insert into perdure.entity_move (machine, id, revision, event, source, target, moved_at, moved_by, reason, context)
        values (new.machine, new.id, new.revision, new.event, case when tg_op = 'UPDATE' then old.state end, new.state,
                new.entered_at, new.moved_by, new.reason, new.context);
    end if;
    return null;
end $$;
create trigger entity_logged after insert or update on perdure.entity for each row execute function perdure.log_entity();
