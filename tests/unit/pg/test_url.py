"""The database URL is checked before anything connects, and its password is never shown."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from perdure.core.errors import InvalidUrl
from perdure.pg.url import checked, database_of, for_asyncpg, options_of, resolve, shown, user_of

GOOD = [
    "postgresql://host",
    "postgres://user@host/database",
    "postgresql://user:p%40ss:word@host:5432/database?sslmode=require",
    "postgresql://one:5432,two:5433/database?target_session_attrs=read-write",
    "postgresql://user@[::1]:5432/database",
    "postgresql://user@/database?host=/var/run/postgresql",
    "postgresql://user@%2Fvar%2Frun/database",
]
SECRET = "s3cret"
BAD = [
    ("mysql://user:s3cret@host/database", "postgresql://"),
    ("user:s3cret@host/database", "postgresql://"),
    ("host=db password=s3cret", "postgresql://"),
    ("", "postgresql://"),
    ("postgresql://user:s3cret@host:port/database", "port"),
    ("postgresql://user:s3cret@host:0/database", "port"),
    ("postgresql://user:s3cret@host:99999/database", "port"),
    ("postgresql://user:s3cret", "port"),
    ("postgresql://user:s3cret@[::1/database", "host"),
    ("postgresql://user:s3cret@ho$t/database", "host"),
    ("postgresql://user:x@s3cret@host/database", "percent-encode"),
    ("postgresql://user:x/s3cret@host/database", "percent-encode"),
    ("postgresql://user:x?s3cret@host/database", "percent-encode"),
    ("postgresql://user:x#s3cret@host/database", "percent-encode"),
    ("postgresql://user:x s3cret@host/database", "percent-encode"),
    ("postgresql://user:%zzs3cret@host/database", "%25"),
    ("postgresql://user:s3cret@host/database?timeout=3", "'timeout'"),
]


@pytest.mark.parametrize("url", GOOD)
def test_a_url_that_every_driver_reads_is_taken(url: str) -> None:
    """What libpq, asyncpg and SQLAlchemy all understand passes, in libpq's spelling."""
    assert checked(url) == url.replace("postgres://", "postgresql://")


@pytest.mark.parametrize(("url", "named"), BAD)
def test_a_malformed_url_is_refused_without_its_password(url: str, named: str) -> None:
    """The error names the setting, the part and the fix, and repeats nothing that could be the password."""
    with pytest.raises(InvalidUrl) as caught:
        resolve(environ={"DATABASE_URL": url} if url else {}, url=None if url else "")

    assert caught.value.field == ("DATABASE_URL" if url else "url")
    assert caught.value.fix
    assert named in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.exit_code == 2


def test_what_is_no_text_is_refused() -> None:
    """A URL that is no text is named by its kind alone."""
    with pytest.raises(InvalidUrl, match=r"^url: got int; give a text"):
        checked(5)  # type: ignore[arg-type]


def test_a_drivers_name_in_the_scheme_is_dropped() -> None:
    """SQLAlchemy's spelling of the same database is the same database."""
    assert checked("postgresql+asyncpg://user@host/database") == "postgresql://user@host/database"


def test_the_url_given_wins_over_the_environment() -> None:
    """An explicit URL is used whatever $DATABASE_URL says, and $DATABASE_URL when there is none."""
    environ = {"DATABASE_URL": "postgresql://theirs/database"}

    assert resolve("postgresql://mine/database", environ=environ) == "postgresql://mine/database"
    assert resolve(environ=environ) == "postgresql://theirs/database"


def test_a_url_is_shown_without_password_and_options() -> None:
    """People see user, host and database, as a URL that leads there; a socket's directory stays in it. Red when what
    says where it is is left out, or put where no client reads it."""
    assert shown("postgresql://user:s3cret@host:5432/db?password=s3cret") == "postgresql://user@host:5432/db"
    assert shown("postgresql://user:s3cret@/db?host=/var/run&sslmode=require") == "postgresql://user@/db?host=/var/run"
    assert shown("postgresql://?password=s3cret&host=/a%26b&port=5433") == "postgresql:///?host=/a%26b&port=5433"
    for url in GOOD:
        told = conninfo_to_dict(shown(url))
        assert told == {name: value for name, value in conninfo_to_dict(checked(url)).items() if name in told}
        assert told.keys() >= conninfo_to_dict(checked(url)).keys() & {"host", "port", "user", "dbname"}


def test_the_parts_of_a_url_are_read_as_libpq_reads_them() -> None:
    """Percent-encoding is undone, and a database without a name is called like its user."""
    assert user_of("postgresql://a%40b:x@host/db") == "a@b"
    assert database_of("postgresql://host/d%20b") == "d b"
    assert database_of("postgresql://me@host") == "me"
    assert options_of("postgresql://host/db?options=-c%20search_path%3Dx") == "-c search_path=x"


def test_asyncpg_is_spared_the_options_of_libpq() -> None:
    """What asyncpg would send to the server as a setting, and the server would refuse, is left out; the rest stays."""
    url = "postgresql://u@h/d?connect_timeout=3&sslmode=require&channel_binding=prefer&host=/a%20b"

    assert for_asyncpg(url) == "postgresql://u@h/d?sslmode=require&host=/a%20b"
    assert for_asyncpg("postgresql://u@h/d?connect_timeout=3") == "postgresql://u@h/d"
