-- Suspects run alone. A job whose rescues are above nought may have been running when its worker was lost: it is a suspect
-- until it ends by itself. crashes counts the children that have died under it since; what it says of a job without rescues
-- is of an earlier time. unsettled is a worker's promise: so many handlers at most that have returned and whose jobs aren't
-- settled yet; together with its slots it bounds how many jobs of a lease may have been started. Null is no promise.

alter table perdure.job add column crashes int;
alter table perdure.worker add column unsettled int;
