-- Does: files one dead job in history as discarded, with the reason given or its last error; leaves it alone anywhere else.
-- Locks: the dead row; its job row is locked by jobs.unseat before.
-- Index: dead, job and cancel_request by id.
-- Bound: one job.
with gone as (
    delete from perdure.dead where id = %(id)s::bigint returning id, error
), ended as (
    delete from perdure.job j using gone g where j.id = g.id returning j.*, g.error
), filed as (
    insert into perdure.history (id, created_at, finished_at, lane, generation, attempt, rescues, outcome, task, key, tags,
                                 options, context, error, payload)
    select id, created_at, statement_timestamp(), lane, generation, attempt, rescues, 'discarded', task, key, tags, options, context,
           coalesce(%(reason)s::text, error), payload
    from ended
), forgotten as (
    delete from perdure.cancel_request where id in (select id from ended)
)
select id from ended
