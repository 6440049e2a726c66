-- Whoever settles runs waits for no transaction of a caller: what is asked of a run has no unique key that an uncommitted row
-- could hold, and a nudge that a load is just forgetting doesn't swallow a later one.
alter table perdure.nudge drop constraint nudge_pkey;
alter table perdure.nudge add column no bigint generated always as identity primary key;
create index nudge_run on perdure.nudge (id);

-- Runs that are to be asked to end, as soon as the transaction is over that has their row locked: it may be asking the same.
create table perdure.plea (
    no bigint generated always as identity primary key,
    id bigint not null,
    reason text
);

-- As before, but that a nudge has no key, and that a request for a run holds the run's row first, as every writer to it does.
do $do$
declare
    before text := pg_get_functiondef('perdure.cancel_v1'::regproc);
    after text := replace(replace(before,
        'insert into perdure.nudge (id) values (body.id) on conflict (id) do nothing', 'insert into perdure.nudge (id) values (body.id)'),
        'if exists (select from perdure.run r where r.job = body.id) then',
        E'perform from perdure.run r where r.job = body.id for key share;\n    if found then');
begin
    if position('body.id for key share' in after) = 0 or position('nudge (id) values (body.id) on' in after) > 0 then
        raise exception 'cancel_v1 is not the function that this migration knows';
    end if;
    execute after;
end
$do$;
