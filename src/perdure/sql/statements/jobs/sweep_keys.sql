-- Does: drops unique keys that nobody needs any more: their lifetime is over and their job done, or their job ended in the hands of a worker that doesn't know of keys. Returns where the next batch begins (null: this was the last).
-- Locks: the keys, skipping locked ones.
-- Index: unique_key by id, from a position on; job by id.
-- Bound: `limit` keys looked at.
with looked as materialized (
    select key, scope, id, until, expires_at from perdure.unique_key where id > %(after)s::bigint order by id limit %(limit)s::int
), mine as materialized (
    select u.key, u.scope from perdure.unique_key u join looked l on l.key = u.key and l.scope = u.scope and l.id = u.id
    where (u.until <> 'expired' or u.expires_at <= clock_timestamp()) and coalesce(u.expires_at <= clock_timestamp(), true)
      and (u.until = 'expired' or not exists (select from perdure.job j where j.id = u.id))
    order by u.key, u.scope for update of u skip locked
), gone as (
    delete from perdure.unique_key u using mine m where u.key = m.key and u.scope = m.scope returning u.id
)
select (select count(*) from gone) as dropped,
       case when (select count(*) from looked) = %(limit)s::int then (select max(id) from looked) end as after
