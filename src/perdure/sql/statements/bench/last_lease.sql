-- Does: the number of the newest claim, so that a later claim can be counted from it.
-- Locks: none.
-- Index: none.
-- Bound: one row.
select case when is_called then last_value else 0 end as lease from perdure.lease_id_seq
