"""Whether the service, which OpenWrt runs as a user of its own, can read the files that the settings name."""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

USER = "inverter-capture"
UJAIL = "/sbin/ujail"  # The jail in which the service runs as USER; without it, the service runs as root


def unreadable(path: str) -> tuple[str, str] | None:
    """The problem when the service's user cannot read this file or directory, and its remedy. Needs root."""
    if os.geteuid() != 0 or not os.path.exists(UJAIL):
        return None
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        return None
    path = os.path.abspath(path)
    wanted, rights = (os.R_OK | os.X_OK, "rx") if os.path.isdir(path) else (os.R_OK, "r")
    with _as_user(user):
        blocked = _blocked(path, wanted)
    if not blocked:
        return None
    place = shlex.quote(blocked)
    remedy = f"chgrp {USER} {place}; chmod g+{rights if blocked == path else 'x'} {place}"
    return f"the service's user {USER} cannot read it", remedy


def _blocked(path: str, wanted: int) -> str:
    """The first directory or file on this path that the current user cannot access; empty when there is none."""
    above = os.path.dirname(path)
    blocked = _blocked(above, os.X_OK) if above != path else ""
    return blocked or ("" if os.access(path, wanted, effective_ids=True) else path)


@contextmanager
def _as_user(user: pwd.struct_passwd) -> Iterator[None]:
    """Access files with the rights of this user within the context."""
    groups = os.getgroups()
    os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
