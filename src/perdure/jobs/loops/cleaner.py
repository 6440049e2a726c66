"""The cleaner: does around each handler what Django does around each of its requests.

Django closes a connection that has broken, or is past its age, when a request begins and when it has ended. Nobody
else does: a thread of a worker would keep a dead one for as long as it lives. Where Django isn't set up in this process
there is no cleaner, and handlers are called as they are.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from inspect import iscoroutinefunction
from typing import Any, TypeAlias

log = logging.getLogger("perdure.run")

Function: TypeAlias = Callable[..., Any]


def found() -> Cleaner | None:
    """The cleaner of a worker, where Django is set up."""
    apps = sys.modules.get("django.apps")
    return Cleaner() if apps is not None and apps.apps.ready else None


def in_child(function: Function) -> Function:
    """The function with that done around it, in a child of a worker; as it is where Django has no settings there, since
    those of its worker were made by hand, and not in the module of the app."""
    from django.conf import settings

    known = settings.configured or "DJANGO_SETTINGS_MODULE" in os.environ
    return _of_child().around(function) if known else function


@cache
def _of_child() -> Cleaner:
    return Cleaner()


def prepare(databases: Mapping[str, str]) -> None:
    """Set Django up in a process from which children are forked, as it is in their worker, whose databases by alias
    are named: in a test they aren't those of the settings. Connections that were opened meanwhile aren't handed on.
    """
    import django
    from django.apps import apps
    from django.conf import settings
    from django.db import connections

    if "DJANGO_SETTINGS_MODULE" in os.environ and not apps.ready:
        django.setup()
    if settings.configured:
        for alias in databases.keys() & connections.settings.keys():
            connections.settings[alias]["NAME"] = databases[alias]
        connections.close_all()


class Cleaner:
    """Of one worker, or one child. It knows the connections that idle threads have kept, and ``close`` closes them."""

    def __init__(self) -> None:
        from asgiref.sync import SyncToAsync, ThreadSensitiveContext
        from django.db import connections

        self._connections: Any = connections
        self._place: Any = ThreadSensitiveContext
        self._threads: Any = SyncToAsync.context_to_thread_executor
        self._kept: set[Any] = set()
        self._closed = False

    def preparation(self) -> Sequence[Any]:
        """What is called in a process from which children are forked, with its arguments."""
        named = {alias: of.get("NAME") for alias, of in self._connections.settings.items()}
        return f"{__name__}:{prepare.__name__}", {alias: str(name) for alias, name in named.items() if name}

    def around(self, function: Function) -> Function:
        """The function, with fresh connections each time it is called. Cheap, and nothing is kept: a function may be
        one that is made anew for each call of a step."""
        return partial(self._apart if iscoroutinefunction(function) else self._called, function)

    def close(self) -> None:
        """Close what idle threads have kept: their sessions would outlast the worker. Called where no loop runs."""
        self._closed = True
        while self._kept:
            connection = self._kept.pop()
            connection.inc_thread_sharing()
            connection.close()

    def _called(self, function: Function, /, *args: Any, **kwargs: Any) -> Any:
        self._kept.difference_update(self._swept())
        try:
            return function(*args, **kwargs)
        finally:
            self._kept.update(self._swept())
            if self._closed:  # it was left behind
                self._connections.close_all()

    async def _apart(self, function: Function, /, *args: Any, **kwargs: Any) -> Any:
        """What Django calls in threads for the coroutine runs in one of its own, as for a request, and the connections
        end with that. Others' can't be closed there: a coroutine may read from one between two calls."""
        async with self._place() as own:
            try:
                return await function(*args, **kwargs)
            finally:
                if (thread := self._threads.pop(own, None)) is not None:
                    thread.submit(self._connections.close_all)  # when it has done what it does
                    thread.shutdown(wait=False)

    def _swept(self) -> list[Any]:
        """The connections of this thread, without those that no request would go on with. Never raises: the handler has
        done its work by then, or has not begun."""
        mine: list[Any] = self._connections.all(initialized_only=True)
        for connection in mine:
            try:
                connection.close_if_unusable_or_obsolete()
            except Exception:
                log.exception("a connection of Django's could not be closed")
        return mine
