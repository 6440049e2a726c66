-- A job that is given other arguments leaves behind what belonged to the ones before: how far it had come with them, and what
-- was to follow it.

-- Takes a job that waits out of its place, to give it other arguments. False: it doesn't wait, or is being taken.
create or replace function perdure.unseat(job bigint) returns boolean
language plpgsql volatile set search_path = pg_catalog as $$
declare
    body perdure.job; seated boolean := false;
begin
    select * into body from perdure.job j where j.id = job;
    delete from perdure.ready r using (
        select y.lane, y.pos from perdure.ready y where y.lane = body.lane and y.pos = body.pos for update skip locked) l
    where r.lane = l.lane and r.pos = l.pos;
    seated := found;
    delete from perdure.scheduled s using (
        select y.run_at, y.id from perdure.scheduled y where y.run_at = body.run_at and y.id = body.id for update skip locked) l
    where s.run_at = l.run_at and s.id = l.id;
    seated := seated or found;
    delete from perdure.held h using (
        select y.id from perdure.held y where y.id = body.id for update skip locked) l
    where h.id = l.id;
    seated := seated or found;
    if seated then
        delete from perdure.checkpoint c where c.job = body.id;
        delete from perdure.progress p where p.job = body.id;
        delete from perdure.follow_up f where f.job = body.id;
    end if;
    return seated;
end $$;
