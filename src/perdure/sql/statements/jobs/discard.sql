-- Does: files dead jobs in history as discarded, with the reason given or their last error; leaves them alone anywhere else.
-- Locks: the job rows, in ascending id; the dead rows, the requests'.
-- Index: dead, job and cancel_request by id.
-- Bound: the ids given.
with mine as materialized (
    select j.id from perdure.job j join perdure.dead d on d.id = j.id
    where j.id = any(%(ids)s::bigint[]) and d.id = any(%(ids)s::bigint[]) order by j.id for update of j
), gone as (
    delete from perdure.dead d where d.id = any(array(select id from mine)) returning d.id, d.error
), ended as (
    delete from perdure.job j using gone g where j.id = g.id and j.id = any(array(select id from gone)) returning j.*, g.error
), filed as (
    insert into perdure.history (id, created_at, finished_at, lane, generation, attempt, rescues, outcome, task, key, tags,
                                 options, context, error, payload)
    select id, created_at, statement_timestamp(), lane, generation, attempt, rescues, 'discarded', task, key, tags, options, context,
           coalesce(%(reason)s::text, error), payload
    from ended
), forgotten as (
    delete from perdure.cancel_request where id in (select id from ended)
)
select array_agg(id order by id) as ids from ended
