"""``python -m manta._trace PATH[:Class] --out DIR [--set NAME=VALUE ...]``.

Imports a swarm file, traces its swarm and writes the trace document. With ``--module`` the path is a
module, which is described and not imported; ``--name`` and ``--version`` go before its own metadata.
Nothing goes to stdout. On a user's mistake the last line of stderr is one JSON object with ``code``,
``message``, ``where`` and ``hint``, and the exit code is 4, or 2 where the command line is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from manta import _codes
from manta._swarm_file import UsageError, load_swarm, split_target
from manta._trace_document import write_module, write_trace
from manta.apis import Module, Swarm
from manta.apis._run import forbid_runs
from manta.light._names import did_you_mean, quoted
from manta.light._traceback import user_location, user_traceback
from manta.light.errors import MantaError

EXIT_USAGE = 2
EXIT_REFUSED = 4


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def main(arguments: list[str] | None = None) -> int:
    """Trace the swarm that the command line names, and return the exit code."""
    try:
        with contextlib.redirect_stdout(sys.stderr), forbid_runs():
            _trace(sys.argv[1:] if arguments is None else arguments)
    except UsageError as error:
        return _report(EXIT_USAGE, _codes.BAD_ARGUMENT, error.message, None, error.hint)
    except MantaError as error:
        where = getattr(error, "where", None) or _location(error)
        return _report(EXIT_REFUSED, error.code, error.message, where, error.hint)
    except (Exception, SystemExit) as error:
        print(user_traceback(error, os.getcwd()), file=sys.stderr, end="")
        message = f"the swarm's file raised {type(error).__name__}: {error}"
        return _report(EXIT_REFUSED, _codes.SWARM_FILE, message, _location(error), None)
    return 0


def _trace(arguments: list[str]) -> None:
    parser = _Parser(prog="manta._trace", add_help=False)
    parser.add_argument("target")
    parser.add_argument("--out", required=True)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--module", action="store_true")
    parser.add_argument("--name")
    parser.add_argument("--version")
    options = parser.parse_args(arguments)
    if options.module:
        module = Module(Path(options.target).absolute(), name=options.name, version=options.version)
        write_module(module, Path(options.out))
        return
    path, name = split_target(options.target)
    swarm = load_swarm(path, name)
    for setting in options.set:
        _apply(swarm, setting)
    write_trace(swarm, Path(options.out))


def _apply(swarm: Swarm, setting: str) -> None:
    """Give a global the value of one ``--set``: JSON where it is JSON, else text."""
    name, separator, text = setting.partition("=")
    if not separator or not name:
        raise UsageError(f"`--set {setting}` is not of the form NAME=VALUE")
    if name not in swarm.globals:
        known = quoted(swarm.globals)
        there = f"it has {known}" if known else "it has none"
        hint = did_you_mean(name, swarm.globals) or f'declare it in the swarm: self.set_global("{name}", ...)'
        raise UsageError(f'the swarm {swarm.name} has no global "{name}"; {there}', hint)
    swarm.set_global(name, _value(text))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _location(error: BaseException) -> str | None:
    return user_location(error, os.getcwd())


def _report(exit_code: int, code: str, message: str, where: str | None, hint: str | None) -> int:
    sys.stdout.flush()
    line = json.dumps({"code": code, "message": message, "where": where, "hint": hint})
    print(line, file=sys.stderr, flush=True)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
