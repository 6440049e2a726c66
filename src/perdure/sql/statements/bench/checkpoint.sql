-- Does: keeps the checkpoint of one measurement out of the next one.
-- Locks: none.
-- Index: none.
-- Bound: what is dirty in the buffers.
checkpoint
