-- Does: asks the worker that runs a job to stop it, and hurries that worker.
-- Locks: the row of a workflow's run for key share, so that who asks the same on behalf of its parent doesn't wait; then the request's row, against a second request for the same job.
-- Index: cancel_request by id; run by job.
-- Bound: one row.
with held as materialized (
    select r.job from perdure.run r where r.job = %(id)s::bigint for key share
), asked as (
    insert into perdure.cancel_request (id, reason)
    select %(id)s::bigint, %(reason)s::text from (select count(*) from held) h
    on conflict (id) do nothing
    returning id
)
select (select count(*) from asked) as asked, pg_notify('perdure', 'cancel')::text as hurried
