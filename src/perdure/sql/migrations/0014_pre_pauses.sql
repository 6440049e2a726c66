-- What a person does to jobs that run: pause them and let them go on; and signals that are as well-formed as arguments.

-- What is wrong with a JSON text that json keeps and nobody could read back. `payload` is its name in refusals.
create function perdure.check_json(payload json) returns void
language plpgsql immutable set search_path = pg_catalog as $$
declare
    brackets text := translate(payload::text, '{}', '[]');
begin
    if octet_length(payload::text) > 1048576 then
        perform perdure.refuse('PD003', 'payload', format('has %s bytes, the limit is 1048576', octet_length(payload::text)),
                               'keep the data in a table or a file, and pass its id');
    elsif payload::text ~ '\\u(0000|[dD][89a-fA-F])' then
        -- json keeps what it can't read back: NUL and half a surrogate pair; jsonb looks.
        begin
            perform payload::jsonb;
        exception when untranslatable_character or invalid_text_representation then
            perform perdure.refuse('PD002', 'payload', 'holds a NUL character or half a surrogate pair', 'remove it');
        end;
    end if;
    if length(brackets) - length(replace(brackets, '[', '')) > 200 then
        brackets := regexp_replace(regexp_replace(brackets, '"(?:\\.|[^"\\])*"', '', 'g'), '[^][]', '', 'g');
        for level in 1 .. 200 loop
            brackets := replace(brackets, '[]', '');
        end loop;
        if brackets <> '' then
            perform perdure.refuse('PD002', 'payload', 'is nested more than 200 levels deep',
                                   'give a flatter value, or keep it in a table and pass its id');
        end if;
    end if;
end $$;

create or replace function perdure.check_payload(payload json) returns void
language plpgsql immutable set search_path = pg_catalog as $$
begin
    if payload is null or json_typeof(payload) <> 'object' then
        perform perdure.refuse('PD002', 'payload', 'is no JSON object', 'give the arguments by name: {…}');
    end if;
    perform perdure.check_json(payload);
end $$;

-- As before, but for the check of its payload: a run couldn't be given what it can't read.
create or replace function perdure.signal_v1(id text, name text, payload json default null, key text default null) returns text
language plpgsql volatile set search_path = pg_catalog as $$
#variable_conflict use_variable
declare
    target bigint; moved bigint; lane int;
begin
    lock table perdure.ready in row exclusive mode;
    perform perdure.check_text('id', id, 255);
    perform perdure.check_text('name', name, 100);
    if key is not null then
        perform perdure.check_text('key', key, 255);
    end if;
    if payload is not null then
        perform perdure.check_json(payload);
    end if;
    -- As in workflows.hold: a run that is going to wait sees this lock, and doesn't wait for long.
    select r.job into target from perdure.run r where r.id = signal_v1.id and not r.superseded for key share;
    if target is null then
        return 'missing';
    elsif not exists (select from perdure.job j where j.id = target) then
        return 'finished';
    end if;
    insert into perdure.signal (run, name, key, payload) values (target, name, key, coalesce(payload, 'null'))
    on conflict do nothing;
    if not found then
        return 'duplicate';
    end if;
    if not exists (select from perdure.step s where s.run = target and s.kind = 'signal' and s.state = 'waiting' and s.detail = name) then
        return 'sent';
    end if;
    delete from perdure.waiting w using (select y.id from perdure.waiting y where y.id = target for update skip locked) l
    where w.id = l.id returning w.id into moved;
    if moved is not null then
        update perdure.job j set pos = nextval('perdure.pos') where j.id = target returning j.lane, j.pos into lane, moved;
        insert into perdure.ready (lane, pos, id) values (lane, moved, target);
        perform perdure.wake(lane / 4096);
    elsif exists (select from perdure.waiting w where w.id = target) then
        insert into perdure.nudge (id) values (target) on conflict do nothing;
    end if;
    return 'sent';
end $$;

-- Jobs that a person has paused. The row stands as long as the job isn't to run, wherever the job is at the moment: who runs it
-- is told to stop, and a job that waits for its turn is set aside in held. `resumed`: it is to go on, once it can.
create table perdure.pause (
    id bigint primary key,
    asked_at timestamptz not null default clock_timestamp(),
    resumed boolean not null default false
);
