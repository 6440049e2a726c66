-- How full queues treat what is in them, corrected.
--
-- A run is never shed: half way, it would end without compensating what it has done, and fresh, its parent would wait for it.
-- Where several queues must discard, all of them do, or none.

-- Discards as many waiting jobs as are wanted, the lowest priority first and in it the newest, all of them less urgent than
-- `priority`; none, if there aren't as many. Runs of workflows stay. Locked rows are passed over: nobody is waited for.
create or replace function perdure.shed(queue int, priority int, wanted int) returns int
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
            where r.lane = l.lane and (select u.job from perdure.run u where u.job = r.id) is null
            order by r.pos desc limit wanted for update of r, j skip locked
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

-- The same in several queues, all of them or none; the place (from 1) of the first that has too little to discard, null when
-- all had enough.
create function perdure.shed_all(queues int[], priorities int[], wanted int[]) returns int
language plpgsql volatile set search_path = pg_catalog as $$
#variable_conflict use_variable
declare
    place int;
begin
    for place in 1 .. cardinality(queues) loop
        if perdure.shed(queues[place], priorities[place], wanted[place]) < wanted[place] then
            raise exception using errcode = 'PD000', detail = place;
        end if;
    end loop;
    return null;
exception when sqlstate 'PD000' then
    get stacked diagnostics place = pg_exception_detail;
    return place;
end $$;
