"""State machines of the application's own entities: an order, a subscription, a delivery.

A machine is a table of transitions. Postgres holds everybody to it, programs in other languages too; here it is
declared, moved by compare-and-set, and drawn. What an entity *is* stays in the application's own tables.
"""
