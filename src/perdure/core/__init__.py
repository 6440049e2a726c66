"""Words everyone may use: values, errors, bounds, delays, encodings and the shape of a conversation with Postgres.

The law of this floor: the standard library and msgspec only; no clock, no dice, no waiting, no database. Time and
chance are arguments.
"""
