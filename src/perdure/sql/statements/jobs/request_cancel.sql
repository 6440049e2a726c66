-- Does: asks the worker that runs a job to stop it, and hurries that worker.
-- Locks: the request's row, against a second request for the same job.
-- Index: cancel_request by id.
-- Bound: one row.
with asked as (
    insert into perdure.cancel_request (id, reason) values (%(id)s::bigint, %(reason)s::text)
    on conflict (id) do nothing
    returning id
)
select (select count(*) from asked) as asked, pg_notify('perdure', 'cancel')::text as hurried
