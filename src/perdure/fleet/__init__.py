"""The fleet: who is alive. One row and one heartbeat per worker; declaring one dead waits for its claims in flight."""
