-- Many jobs with unique keys, written as if all of these were free, which they nearly always are.

-- Writes the bodies of jobs that are due now and differ in their arguments and keys only, their keys, in ascending order, and
-- their arrivals in ready; their ids, in order. When a key is taken nothing of them is kept, and null is returned. `payloads` and
-- `keys` are one text each, between unit separators. The keys stand last because what stands last is done first: when one is
-- taken, nothing has been written in vain but keys.
create function perdure.enqueue_free(lane int, task text, payloads text, tenant_key text, tags text[], options json, context json, expires_at timestamptz,
                                     scope text, keys text, until text, lifetime float8)
returns bigint[]
language plpgsql volatile set search_path = pg_catalog as $$
#variable_conflict use_column
declare
    ids bigint[];
begin
    with arriving as materialized (
        select nextval('perdure.pos') as id, t.payload, t.held
        from rows from (string_to_table(payloads, chr(31)), string_to_table(keys, chr(31))) as t(payload, held)
    ), bodies as (
        insert into perdure.job (id, pos, created_at, expires_at, lane, task, key, tags, options, context, payload)
        select a.id, a.id, statement_timestamp(), enqueue_free.expires_at, enqueue_free.lane, enqueue_free.task, tenant_key,
               enqueue_free.tags, enqueue_free.options, enqueue_free.context, a.payload::json
        from arriving a
    ), arrivals as (
        insert into perdure.ready (lane, pos, id) select enqueue_free.lane, a.id, a.id from arriving a
    ), taken as (
        insert into perdure.unique_key (scope, key, id, until, expires_at, payload)
        select enqueue_free.scope, a.held, a.id, enqueue_free.until, clock_timestamp() + lifetime * interval '1 second',
               case when lifetime is not null then hashtextextended(a.payload::jsonb::text, 0) end
        from arriving a order by a.held collate "C", a.id
    )
    select array_agg(a.id) into ids from arriving a;
    return ids;
exception when unique_violation then
    return null;
end $$;
