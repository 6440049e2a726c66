-- What a job has beside its body and its place, and few jobs have: a checkpoint, a report of progress, follow-ups. Side tables,
-- so that the others pay nothing for it and a body that is saved a thousand times has no thousand versions. And the book of
-- what operators did to many jobs at once.

-- How far a job has come. Written under the job's row lock by whoever holds (job, generation); a write can't go back, neither
-- to an older generation nor within one (serial). advanced_in: the generation that last saved something new. Gone in the
-- transaction that ends the job.
create table perdure.checkpoint (
    job bigint primary key,
    generation int not null,
    serial bigint not null,
    version int not null check (version > 0),
    value json not null,
    saved_at timestamptz not null,
    advanced_at timestamptz not null,
    advanced_in int not null
) with (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.02);

-- What a handler last said about its progress. began_n and began_at: where this run began, for the rate.
create table perdure.progress (
    job bigint primary key,
    generation int not null,
    n float8 not null,
    total float8,
    message text,
    began_n float8 not null,
    began_at timestamptz not null,
    reported_at timestamptz not null,
    advanced_at timestamptz not null
) with (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.02);

-- Jobs to be enqueued when this one ends so: written with it, gone in the transaction that enqueues them. problem: why they
-- can't be, for somebody to look at.
create table perdure.follow_up (
    job bigint not null,
    number int not null,
    cause text not null check (cause in ('success', 'death')),
    spec json not null,
    problem text,
    primary key (job, number)
);

-- Which jobs were enqueued because this one ended so: for whoever waits for a chain. Kept as long as history.
create table perdure.followed (
    job bigint not null,
    follower bigint not null,
    cause text not null,
    at timestamptz not null default statement_timestamp(),
    primary key (job, follower)
);

-- What operators did to many jobs at once: who, when, what they asked for, and how many it was in the end.
create table perdure.act (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    by text not null check (by <> ''),
    act text not null check (act in ('redrive', 'discard')),
    filter json not null,
    reason text,
    jobs bigint not null,
    first_id bigint,
    last_id bigint
);
