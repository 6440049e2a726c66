"""Workflows: functions whose recorded steps never run twice.

A run is a job whose function is replayed over what it has recorded. ``machine`` does that and touches nothing outside
of it; ``ops`` record, load and signal; ``loops`` carry out what the machine asks for. Nothing here claims, settles or
rescues: that is the jobs' room.
"""
