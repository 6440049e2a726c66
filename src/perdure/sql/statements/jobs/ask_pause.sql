-- Does: notes that a job isn't to run until it is resumed, and hurries the worker that runs it. A workflow's run isn't paused like this.
-- Locks: the pause's row.
-- Index: pause and run by id.
-- Bound: one row. None: it is a run.
with asked as (
    insert into perdure.pause as p (id)
    select %(id)s::bigint where not exists (select from perdure.run r where r.job = %(id)s::bigint)
    on conflict (id) do update set resumed = false, asked_at = case when p.resumed then clock_timestamp() else p.asked_at end
    returning p.id
)
select id, pg_notify('perdure', 'cancel')::text as hurried from asked
