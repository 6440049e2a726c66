-- Does: makes the table that says which migrations were applied, unless it is there.
-- Locks: the catalogue row; the caller holds the migration lock, so two don't meet here.
-- Index: the catalogue's own.
-- Bound: one table.
create table if not exists perdure.migration (
    number int primary key check (number > 0),
    phase text not null check (phase in ('pre', 'post')),
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now()
);
