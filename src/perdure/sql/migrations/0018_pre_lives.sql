-- What lists of runs are read by; what a parent is told of a child when history has forgotten it; and entities that go with
-- their history, or stay.

-- `completed`: how a run has ended, as far as whoever ended it said; null is not known. `told`: of a run that another one has
-- started, its outcome, result and error, so that its parent may ask when history doesn't have them any more.
alter table perdure.run add column completed boolean, add column told json;

-- By job, the newest first: runs that live, that are paused, that have completed, and that have ended otherwise. One that has
-- ended stands in one of the last two, or in both where it isn't known how.
create index run_live on perdure.run (job) where ended_at is null;
create index run_paused on perdure.run (job) where paused_at is not null;
create index run_completed on perdure.run (job) where ended_at is not null and completed is not false;
create index run_broken on perdure.run (job) where ended_at is not null and completed is not true;
create index run_attributes on perdure.run using gin ((attributes::jsonb) jsonb_path_ops) where attributes is not null;

-- An entity whose state means something to somebody isn't deleted, by whatever program; one in a final state takes its history
-- along, so that none is left without a state and the id can be used again.
create function perdure.keep_entity() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    if exists (select from perdure.transition t where t.machine = old.machine and t.source = old.state) then
        raise exception using errcode = 'PD010', column = 'state',
            message = format('machine %s: %s stands in %s, which isn''t final, and can''t be deleted', old.machine, old.id, old.state),
            hint = 'move it to a final state first';
    end if;
    return old;
end $$;
create trigger entity_kept before delete on perdure.entity for each row execute function perdure.keep_entity();

create function perdure.drop_moves() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    delete from perdure.entity_move v where v.machine = old.machine and v.id = old.id;
    return null;
end $$;
create trigger entity_dropped after delete on perdure.entity for each row execute function perdure.drop_moves();

-- What has happened isn't rewritten while there is an entity to which it has happened.
create function perdure.keep_moves() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    if tg_op = 'UPDATE' or exists (select from perdure.entity e where e.machine = old.machine and e.id = old.id) then
        raise exception using errcode = 'PD010',
            message = format('machine %s: the history of %s isn''t changed', old.machine, old.id),
            hint = 'only moves write it; it goes when its entity is deleted';
    end if;
    return old;
end $$;
create trigger moves_kept before update or delete on perdure.entity_move for each row execute function perdure.keep_moves();
