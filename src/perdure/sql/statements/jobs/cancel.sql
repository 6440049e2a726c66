-- Does: ends a job that stands in ready, scheduled or held as cancelled, and leaves it alone anywhere else; with `asked`, only while a request for it still stands. A workflow's run is left alone unless `force`: it hears of a request, and compensates.
-- Locks: the row of its place, skipping a locked one; then the job row, which nobody can have moved while that one stood.
-- Index: ready (lane, pos); scheduled (run_at, id); held, waiting, run, job and cancel_request by id.
-- Bound: one job.
with body as materialized (
    select * from perdure.job j where id = %(id)s::bigint
      and (%(force)s::boolean or not exists (select from perdure.run r where r.job = j.id offset 0))
      and (not %(asked)s::boolean or exists (select from perdure.cancel_request c where c.id = j.id offset 0))
), r as (
    delete from perdure.ready x where x.ctid = any(array(
        select y.ctid from perdure.ready y
        where y.lane = (select lane from body) and y.pos = (select pos from body) for update skip locked)) returning x.id
), s as (
    delete from perdure.scheduled x where x.ctid = any(array(
        select y.ctid from perdure.scheduled y
        where y.run_at = (select run_at from body) and y.id = (select id from body) for update skip locked)) returning x.id
), h as (
    delete from perdure.held x where x.id = any(array(
        select y.id from perdure.held y where y.id = (select id from body) for update skip locked)) returning x.id
), w as (
    delete from perdure.waiting x where x.id = any(array(
        select y.id from perdure.waiting y where y.id = (select id from body) for update skip locked)) returning x.id
), left_place as materialized (
    select id from r union all select id from s union all select id from h union all select id from w
), ended as (
    delete from perdure.job j where j.id = any(array(select id from left_place)) returning j.*
), filed as (
    insert into perdure.history (id, created_at, finished_at, lane, generation, attempt, rescues, outcome, task, key, tags,
                                 options, context, error, payload)
    select id, created_at, statement_timestamp(), lane, generation, attempt, rescues, 'cancelled', task, key, tags, options, context,
           %(reason)s::text, payload
    from ended
), forgotten as (
    delete from perdure.cancel_request where id in (select id from ended)
)
select id from ended
