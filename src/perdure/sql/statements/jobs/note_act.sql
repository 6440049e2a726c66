-- Does: notes what an operator does to many jobs, in the transaction that does it: a new row with its first batch, the same one with each further batch.
-- Locks: the row.
-- Index: act by id.
-- Bound: one row.
insert into perdure.act as a (id, by, act, filter, reason, jobs, first_id, last_id)
overriding system value
values (coalesce(%(id)s::bigint, nextval(pg_get_serial_sequence('perdure.act', 'id'))), %(by)s::text, %(act)s::text,
        %(filter)s::text::json, %(reason)s::text, %(jobs)s::bigint, %(first)s::bigint, %(last)s::bigint)
on conflict (id) do update set jobs = a.jobs + excluded.jobs, last_id = excluded.last_id
returning id
