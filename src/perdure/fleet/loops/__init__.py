"""The heartbeat, on a thread and a connection of its own."""
