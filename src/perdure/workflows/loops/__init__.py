"""What waits: the driver of a run, and the performer of its steps."""
