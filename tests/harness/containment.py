"""As whom the security tests run, and what the kernel must have for it."""

import functools
import os
import subprocess

ORDINARY_USER = 12345

FULL, ROOTLESS, REDUCED = "as root", "as an ordinary user", "without namespaces"
USERS = [FULL, ROOTLESS, REDUCED] if os.geteuid() == 0 else [ROOTLESS, REDUCED]
FIXTURES = {FULL: "manta", ROOTLESS: "manta_as_user", REDUCED: "manta_without_namespaces"}

WITHOUT_NAMESPACES = (
    *("unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c"),
    "echo 0 > /proc/sys/user/max_user_namespaces && "
    'exec setpriv --ambient-caps=-all --inh-caps=-all --bounding-set=-all "$@"',
    "sh",
)
"""Runs the command that follows where no further user namespace can be made."""

_NAMESPACES = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--net", "--fork", "true")
_NEEDS = {FULL: _NAMESPACES, ROOTLESS: _NAMESPACES, REDUCED: (*WITHOUT_NAMESPACES, "true")}


@functools.cache
def lacking_kernel_feature(user):
    """Return the kernel feature that this machine lacks for a test that runs so, or None."""
    identity = {"user": ORDINARY_USER, "group": ORDINARY_USER, "extra_groups": []}
    as_user = identity if user != FULL and os.geteuid() == 0 else {}
    done = subprocess.run(_NEEDS[user], capture_output=True, text=True, check=False, cwd="/", **as_user)
    return None if done.returncode == 0 else f"no user namespaces {user}: {done.stderr.strip()}"
