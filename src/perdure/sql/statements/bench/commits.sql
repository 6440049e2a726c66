-- Does: how many transactions this database has committed; a statement outside of a transaction is one of its own.
-- Locks: none.
-- Index: none.
-- Bound: one row.
select xact_commit as commits from pg_stat_database where datname = current_database()
