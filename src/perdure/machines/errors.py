"""What can be wrong with a machine, or with a move of an entity. Codes as in ``core.errors``."""

from __future__ import annotations

from ..core.errors import InvalidInput, PerdureError


class InvalidMachine(InvalidInput):
    """A state machine can't be as it is declared: a state that nothing leads to, one event that leads to two."""

    code = "invalid_machine"


class MachineError(PerdureError):
    """Something about one entity of a state machine; nothing was written."""

    code = "machine_error"


class EntityNotFound(MachineError):
    """No entity has that id, or its machine isn't declared in the database."""

    code = "entity_not_found"


class EntityExists(MachineError):
    """An entity of that id has begun already."""

    code = "entity_exists"


class IllegalTransition(MachineError):
    """No transition by that event leaves the state in which the entity stands."""

    code = "illegal_transition"


class GuardRefused(MachineError):
    """A transition isn't open to the entity now."""

    code = "guard_refused"


class TransitionConflict(MachineError):
    """Somebody else has moved the entity: it hasn't the revision that was expected."""

    code = "transition_conflict"
