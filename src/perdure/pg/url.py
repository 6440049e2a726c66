"""The database URL: which one, whether it can be read, and how it is shown.

Only URLs are taken, ``postgresql://user:password@host:5432/database?option=value`` with several hosts if need be,
because libpq, asyncpg and SQLAlchemy all read those. They are checked here, strictly, because each of them misreads a
password that isn't percent-encoded in its own way, and libpq's complaint then quotes a piece of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ..core.errors import InvalidUrl
from .embedded import aloud, ensure

EXAMPLE = "postgresql://user:password@host:5432/database"

_SCHEME = re.compile(r"postgres(?:ql)?(?:\+\w+)?://")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%\w]+\]|[\w.%-]*)(?::(?P<port>.*))?")
_UNKNOWN = re.compile(r'invalid URI query parameter: "(\w+)"')
_WHERE = ("host", "hostaddr", "port", "dbname", "user")
_LIBPQ_ONLY = frozenset({
    "channel_binding", "client_encoding", "connect_timeout", "fallback_application_name", "gssdelegation", "gssencmode",
    "hostaddr", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "load_balance_hosts",
    "max_protocol_version", "min_protocol_version", "replication", "require_auth", "sslcertmode", "sslcompression",
    "sslkeylogfile", "sslsni", "tcp_user_timeout",
})  # fmt: skip


def resolve(
    url: str | None = None, *, environ: Mapping[str, str] = os.environ, say: Callable[[str], None] = aloud
) -> str:
    """The URL to use: the one given, else $DATABASE_URL, else that of the embedded Postgres, which is started.

    ``say`` is told what the embedded Postgres does. Raises ``InvalidUrl``, and what ``embedded.ensure`` raises.
    """
    if url is not None:
        return checked(url)
    named = environ.get("DATABASE_URL")
    return checked(named, field="DATABASE_URL") if named else ensure(say=say)


def direct(*, environ: Mapping[str, str] = os.environ) -> str | None:
    """The URL of the server itself, where $PERDURE_DIRECT_URL gives one beside a pooler's. Raises ``InvalidUrl``."""
    named = environ.get("PERDURE_DIRECT_URL")
    return checked(named, field="PERDURE_DIRECT_URL") if named else None


def checked(url: str, *, field: str = "url") -> str:
    """The URL in libpq's own spelling (``postgresql+asyncpg://`` loses its driver), when every driver can read it.

    Raises ``InvalidUrl`` naming ``field``; no part of the URL that may be the password is repeated.
    """

    def refused(message: str, fix: str) -> InvalidUrl:
        return InvalidUrl(message, field=field, fix=fix)

    if not isinstance(url, str):
        raise refused(f"got {type(url).__name__}", f"give a text, as {EXAMPLE}")
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise refused("doesn't begin with postgresql://", f"give {EXAMPLE}")
    rest = url[scheme.end() :]
    authority, _, tail = _cut(rest)
    if re.search(r"\s|#", rest) or "@" in tail or authority.count("@") > 1:
        encoded = "percent-encode them in the password: @ is %40, / is %2F, ? is %3F, # is %23, space is %20"
        raise refused("holds characters that end a part of a URL, or spaces", encoded)
    for host in authority.rpartition("@")[2].split(","):
        named = _HOST.fullmatch(host)
        if named is None:
            raise refused("its host can't be read", f"give {EXAMPLE}, an IPv6 address in brackets")
        port = named["port"]
        if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
            raise refused("its port isn't a number from 1 to 65535", f"give {EXAMPLE}")
    plain = f"postgresql://{rest}"
    try:
        conninfo_to_dict(plain)
    except psycopg.ProgrammingError as error:
        unknown = _UNKNOWN.search(str(error))
        if unknown is not None:
            raise refused(f"Postgres knows no option {unknown[1]!r}", "take it out of the URL") from None
        raise refused("can't be read as a URL", f"give {EXAMPLE}; a % itself is %25") from None
    return plain


def shown(url: str) -> str:
    """The URL for people, and for their own clients: without the password, and of the options those that say where the
    database is, such as the directory of a socket."""
    authority, database, tail = _cut(url.partition("://")[2])
    user, at, host = authority.rpartition("@")
    where = [(name, value) for name, value in parse_qsl(tail.partition("?")[2]) if name in _WHERE]
    options = f"{'' if database else '/'}?{urlencode(where, safe='/,', quote_via=quote)}" if where else ""
    return f"postgresql://{user.partition(':')[0]}{at}{host}{database}{options}"


def user_of(url: str) -> str:
    """The user that the URL names; empty when it leaves that to the driver."""
    return str(conninfo_to_dict(url).get("user") or "")


def database_of(url: str) -> str:
    """The database that the URL names, which without a path is called like the user."""
    return str(conninfo_to_dict(url).get("dbname") or user_of(url))


def for_asyncpg(url: str) -> str:
    """The URL without the options that only libpq knows; asyncpg would send them to the server, which refuses them."""
    front, mark, tail = url.partition("?")
    kept = [(name, value) for name, value in parse_qsl(tail) if name not in _LIBPQ_ONLY]
    return f"{front}{mark}{urlencode(kept, safe='/', quote_via=quote)}" if kept else front


def options_of(url: str) -> str:
    """The ``options`` of the URL (``-c name=value``), decoded; empty when it has none."""
    return str(conninfo_to_dict(url).get("options") or "")


def _cut(rest: str) -> tuple[str, str, str]:
    """What follows ``://`` as authority, path with its slash but without the query, and everything after the authority.

    A ``?`` ends the authority too; libpq allows a URL without a path.
    """
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    tail = rest[len(authority) :]
    return authority, tail.partition("?")[0], tail
