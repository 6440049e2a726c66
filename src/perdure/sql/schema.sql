-- The sum of the migrations, written by tools/dump_schema.py and compared with them by a test. Nothing runs this file.

CREATE SCHEMA perdure;

CREATE FUNCTION perdure.drop_days(days integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    SET "TimeZone" TO 'UTC'
    AS $_$
declare
    parent text; part text; dropped int := 0;
begin
    foreach parent in array array['history', 'attempt'] loop
        for part in
            select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent = to_regclass(format('perdure.%I', parent)) and c.relname ~ ('^' || parent || '_[0-9]{8}$')
              and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= current_date - days
        loop
            execute format('alter table perdure.%I detach partition perdure.%I', parent, part);
            execute format('drop table perdure.%I', part);
            dropped := dropped + 1;
        end loop;
    end loop;
    delete from perdure.history_default where finished_at < current_date - days;
    delete from perdure.attempt_default where ended_at < current_date - days;
    return dropped;
end $_$;

CREATE FUNCTION perdure.make_days(ahead integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    SET "TimeZone" TO 'UTC'
    AS $$
declare
    parent text; day date; part text; stamp text; spoiled boolean; made int := 0;
begin
    foreach parent in array array['history', 'attempt'] loop
        stamp := case parent when 'history' then 'finished_at' else 'ended_at' end;
        for day in select d::date from generate_series(current_date, current_date + ahead, interval '1 day') d loop
            part := parent || to_char(day, '_YYYYMMDD');
            continue when to_regclass(format('perdure.%I', part)) is not null;
            execute format('select exists (select from perdure.%I where %I >= %L and %I < %L)',
                           parent || '_default', stamp, day, stamp, day + 1) into spoiled;
            continue when spoiled;
            execute format('create table perdure.%I partition of perdure.%I for values from (%L) to (%L)',
                           part, parent, day, day + 1);
            made := made + 1;
        end loop;
    end loop;
    return made;
end $$;

CREATE FUNCTION perdure.wake(queue integer) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    if pg_try_advisory_lock(hashtext('perdure.sleepers'), queue) then
        perform pg_advisory_unlock(hashtext('perdure.sleepers'), queue);
        return false;
    end if;
    perform pg_notify('perdure', queue::text);
    return true;
end $$;

CREATE TABLE perdure.attempt (
    job bigint NOT NULL,
    ended_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    worker integer,
    lease bigint,
    generation integer NOT NULL,
    attempt integer NOT NULL,
    ending text NOT NULL,
    error text,
    CONSTRAINT attempt_ending_check CHECK ((ending = ANY (ARRAY['retry'::text, 'snooze'::text, 'dead'::text, 'held'::text, 'returned'::text, 'rescued'::text])))
)
PARTITION BY RANGE (ended_at);

CREATE TABLE perdure.attempt_default (
    job bigint CONSTRAINT attempt_job_not_null NOT NULL,
    ended_at timestamp with time zone CONSTRAINT attempt_ended_at_not_null NOT NULL,
    started_at timestamp with time zone,
    worker integer,
    lease bigint,
    generation integer CONSTRAINT attempt_generation_not_null NOT NULL,
    attempt integer CONSTRAINT attempt_attempt_not_null NOT NULL,
    ending text CONSTRAINT attempt_ending_not_null NOT NULL,
    error text,
    CONSTRAINT attempt_ending_check CHECK ((ending = ANY (ARRAY['retry'::text, 'snooze'::text, 'dead'::text, 'held'::text, 'returned'::text, 'rescued'::text])))
);

CREATE TABLE perdure.cancel_request (
    id bigint NOT NULL,
    reason text,
    requested_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE perdure.dead (
    id bigint NOT NULL,
    reason text NOT NULL,
    error text,
    died_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT dead_reason_check CHECK ((reason <> ''::text))
);

CREATE TABLE perdure.held (
    id bigint NOT NULL,
    reason text NOT NULL,
    key text,
    held_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT held_reason_check CHECK ((reason <> ''::text))
);

CREATE TABLE perdure.history (
    id bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone NOT NULL,
    lease bigint,
    lane integer NOT NULL,
    generation integer NOT NULL,
    attempt integer NOT NULL,
    rescues integer NOT NULL,
    outcome text NOT NULL,
    task text NOT NULL,
    key text,
    tags text[],
    options json,
    error text,
    result json,
    payload json NOT NULL,
    CONSTRAINT history_outcome_check CHECK ((outcome = ANY (ARRAY['completed'::text, 'cancelled'::text, 'expired'::text, 'discarded'::text])))
)
PARTITION BY RANGE (finished_at);

CREATE TABLE perdure.history_default (
    id bigint CONSTRAINT history_id_not_null NOT NULL,
    created_at timestamp with time zone CONSTRAINT history_created_at_not_null NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone CONSTRAINT history_finished_at_not_null NOT NULL,
    lease bigint,
    lane integer CONSTRAINT history_lane_not_null NOT NULL,
    generation integer CONSTRAINT history_generation_not_null NOT NULL,
    attempt integer CONSTRAINT history_attempt_not_null NOT NULL,
    rescues integer CONSTRAINT history_rescues_not_null NOT NULL,
    outcome text CONSTRAINT history_outcome_not_null NOT NULL,
    task text CONSTRAINT history_task_not_null NOT NULL,
    key text,
    tags text[],
    options json,
    error text,
    result json,
    payload json CONSTRAINT history_payload_not_null NOT NULL,
    CONSTRAINT history_outcome_check CHECK ((outcome = ANY (ARRAY['completed'::text, 'cancelled'::text, 'expired'::text, 'discarded'::text])))
);

CREATE TABLE perdure.job (
    id bigint NOT NULL,
    pos bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    run_at timestamp with time zone,
    expires_at timestamp with time zone,
    lane integer NOT NULL,
    generation integer DEFAULT 0 NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    rescues integer DEFAULT 0 NOT NULL,
    task text NOT NULL,
    key text,
    tags text[],
    options json,
    payload json NOT NULL,
    CONSTRAINT job_attempt_check CHECK ((attempt >= 0)),
    CONSTRAINT job_generation_check CHECK ((generation >= 0)),
    CONSTRAINT job_lane_check CHECK ((lane >= 4096)),
    CONSTRAINT job_rescues_check CHECK ((rescues >= 0)),
    CONSTRAINT job_task_check CHECK ((task <> ''::text))
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE perdure.queue (
    id integer NOT NULL,
    name text NOT NULL,
    paused_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT queue_id_check CHECK (((id >= 1) AND (id <= 500000))),
    CONSTRAINT queue_name_check CHECK ((name <> ''::text))
);

CREATE TABLE perdure.ready (
    lane integer NOT NULL,
    pos bigint NOT NULL,
    id bigint NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE perdure.scheduled (
    run_at timestamp with time zone NOT NULL,
    id bigint NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE VIEW perdure.jobs AS
 SELECT j.id,
    j.task,
    q.name AS queue,
    j.key,
        CASE
            WHEN (r.id IS NOT NULL) THEN 'ready'::text
            WHEN (s.id IS NOT NULL) THEN 'scheduled'::text
            WHEN (h.id IS NOT NULL) THEN 'held'::text
            WHEN (d.id IS NOT NULL) THEN 'dead'::text
            ELSE 'leased'::text
        END AS place,
    COALESCE(h.reason, d.reason) AS reason,
    NULL::text AS outcome,
    (j.lane % 10) AS priority,
    (j.attempt +
        CASE
            WHEN (COALESCE(r.id, s.id, h.id, d.id) IS NULL) THEN 1
            ELSE 0
        END) AS attempt,
    j.rescues,
    j.generation,
    j.created_at,
    s.run_at,
    j.expires_at,
    NULL::timestamp with time zone AS started_at,
    NULL::timestamp with time zone AS finished_at,
    j.tags,
    j.options,
    COALESCE(d.error,
        CASE
            WHEN (j.attempt > 0) THEN ( SELECT a.error
               FROM perdure.attempt a
              WHERE (a.job = j.id)
              ORDER BY a.ended_at DESC
             LIMIT 1)
            ELSE NULL::text
        END) AS error,
    j.payload,
    NULL::json AS result
   FROM (((((perdure.job j
     JOIN perdure.queue q ON ((q.id = (j.lane / 4096))))
     LEFT JOIN perdure.ready r ON (((r.lane = j.lane) AND (r.pos = j.pos))))
     LEFT JOIN perdure.scheduled s ON (((s.run_at = j.run_at) AND (s.id = j.id))))
     LEFT JOIN perdure.held h ON ((h.id = j.id)))
     LEFT JOIN perdure.dead d ON ((d.id = j.id)))
UNION ALL
 SELECT f.id,
    f.task,
    q.name AS queue,
    f.key,
    'history'::text AS place,
    NULL::text AS reason,
    f.outcome,
    (f.lane % 10) AS priority,
    f.attempt,
    f.rescues,
    f.generation,
    f.created_at,
    NULL::timestamp with time zone AS run_at,
    NULL::timestamp with time zone AS expires_at,
    f.started_at,
    f.finished_at,
    f.tags,
    f.options,
    f.error,
    f.payload,
    f.result
   FROM (perdure.history f
     JOIN perdure.queue q ON ((q.id = (f.lane / 4096))));

CREATE TABLE perdure.lease (
    id bigint NOT NULL,
    worker integer NOT NULL,
    claimed_at timestamp with time zone DEFAULT now() NOT NULL,
    jobs bigint[] NOT NULL,
    generations integer[] NOT NULL,
    CONSTRAINT lease_check CHECK (((cardinality(jobs) > 0) AND (cardinality(jobs) = cardinality(generations))))
)
WITH (toast_tuple_target='128', autovacuum_vacuum_threshold='500', autovacuum_vacuum_scale_factor='0');
ALTER TABLE ONLY perdure.lease ALTER COLUMN jobs SET STORAGE EXTERNAL;
ALTER TABLE ONLY perdure.lease ALTER COLUMN generations SET STORAGE EXTERNAL;

ALTER TABLE perdure.lease ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME perdure.lease_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE perdure.migration (
    number integer NOT NULL,
    phase text NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT migration_number_check CHECK ((number > 0)),
    CONSTRAINT migration_phase_check CHECK ((phase = ANY (ARRAY['pre'::text, 'post'::text])))
);

CREATE SEQUENCE perdure.pos
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER TABLE perdure.queue ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME perdure.queue_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE perdure.worker (
    id integer NOT NULL,
    name text NOT NULL,
    state text DEFAULT 'alive'::text NOT NULL,
    incarnation integer DEFAULT 0 NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone,
    host text NOT NULL,
    pid integer NOT NULL,
    slots integer NOT NULL,
    queues text[] NOT NULL,
    gauges json,
    CONSTRAINT worker_check CHECK (((state = ANY (ARRAY['dead'::text, 'left'::text])) = (ended_at IS NOT NULL))),
    CONSTRAINT worker_name_check CHECK ((name <> ''::text)),
    CONSTRAINT worker_state_check CHECK ((state = ANY (ARRAY['alive'::text, 'draining'::text, 'dead'::text, 'left'::text])))
)
WITH (fillfactor='50', autovacuum_vacuum_threshold='200', autovacuum_vacuum_scale_factor='0');

ALTER TABLE perdure.worker ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME perdure.worker_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE ONLY perdure.attempt ATTACH PARTITION perdure.attempt_default DEFAULT;

ALTER TABLE ONLY perdure.history ATTACH PARTITION perdure.history_default DEFAULT;

ALTER TABLE ONLY perdure.cancel_request
    ADD CONSTRAINT cancel_request_pkey PRIMARY KEY (id);

ALTER TABLE ONLY perdure.dead
    ADD CONSTRAINT dead_pkey PRIMARY KEY (id);

ALTER TABLE ONLY perdure.held
    ADD CONSTRAINT held_pkey PRIMARY KEY (id);

ALTER TABLE ONLY perdure.job
    ADD CONSTRAINT job_pkey PRIMARY KEY (id);

ALTER TABLE ONLY perdure.lease
    ADD CONSTRAINT lease_pkey PRIMARY KEY (id);

ALTER TABLE ONLY perdure.migration
    ADD CONSTRAINT migration_pkey PRIMARY KEY (number);

ALTER TABLE ONLY perdure.queue
    ADD CONSTRAINT queue_name_key UNIQUE (name);

ALTER TABLE ONLY perdure.queue
    ADD CONSTRAINT queue_pkey PRIMARY KEY (id);

ALTER TABLE ONLY perdure.ready
    ADD CONSTRAINT ready_pkey PRIMARY KEY (lane, pos);

ALTER TABLE ONLY perdure.scheduled
    ADD CONSTRAINT scheduled_pkey PRIMARY KEY (run_at, id);

ALTER TABLE ONLY perdure.worker
    ADD CONSTRAINT worker_pkey PRIMARY KEY (id);

CREATE INDEX attempt_job ON ONLY perdure.attempt USING btree (job);

CREATE INDEX attempt_default_job_idx ON perdure.attempt_default USING btree (job);

CREATE INDEX held_reason ON perdure.held USING btree (reason, key, id);

CREATE INDEX history_id ON ONLY perdure.history USING btree (id);

CREATE INDEX history_default_id_idx ON perdure.history_default USING btree (id);

CREATE INDEX lease_worker ON perdure.lease USING btree (worker);

CREATE INDEX worker_living ON perdure.worker USING btree (expires_at) WHERE (state = ANY (ARRAY['alive'::text, 'draining'::text]));

ALTER INDEX perdure.attempt_job ATTACH PARTITION perdure.attempt_default_job_idx;

ALTER INDEX perdure.history_id ATTACH PARTITION perdure.history_default_id_idx;
