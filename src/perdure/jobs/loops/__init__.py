"""The parts of the claim loop that wait: claimer, runner, settler and the chores."""
