"""Tells, as JSON, what an interpreter consists of: itself, its library, and distributions with all that they need.

The arguments are names of distributions. Requirements under a condition count where installed; extras never do.
"""

import json
import os
import re
import site
import sys
import sysconfig
from importlib import metadata


def normalized(name):
    """Return the comparable form of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(names):
    """Return the distributions of these names and of all they require, and the names that are missing."""
    found, missing, waiting = {}, [], [(name, True) for name in names]
    while waiting:
        name, must = waiting.pop()
        key = normalized(name)
        if key in found:
            continue
        try:
            found[key] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if must:
                missing.append(name)
            continue
        for requirement in found[key].requires or []:
            name, _, condition = requirement.partition(";")
            name = re.match(r"[A-Za-z0-9._-]+", name.strip())
            if name and "extra" not in condition:
                waiting.append((name.group(), not condition.strip()))
    return found, missing


def files(distribution):
    """Return (path on this machine, path among packages) of all files; None where there is no list of them."""
    listed = distribution.files
    if listed is None or any(path.name.startswith("__editable__") for path in listed):
        return None
    inner = [path for path in listed if ".." not in path.parts and "__pycache__" not in path.parts]
    return [(os.path.realpath(path.locate()), path.as_posix()) for path in inner]


def main():
    """Answer."""
    found, missing = needed(sys.argv[1:])
    packages, loose = {}, []
    for distribution in found.values():
        listed = files(distribution)
        if listed is None:
            loose.append(distribution.metadata["Name"])
        else:
            packages[distribution.metadata["Name"]] = {"version": distribution.version, "files": listed}
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix, "installed_base": sys.base_prefix}
    base["installed_platbase"] = sys.base_exec_prefix
    scheme = "posix_prefix"
    answer = {
        "version": list(sys.version_info[:3]),
        "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
        "prefix": os.path.realpath(sys.base_prefix),
        "library": os.path.realpath(sysconfig.get_path("stdlib", scheme, base)),
        "sites": site.getsitepackages([sys.base_prefix]),
        "packages": packages,
        "missing": missing,
        "loose": loose,
    }
    print(json.dumps(answer))


main()
