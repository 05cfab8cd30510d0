"""The task's logger: Python's own logging, with a handler that sends each record to the agent."""

import logging
import sys
import time
from typing import Optional

from . import _attempt
from .errors import MantaError

MESSAGE_CHARS_MAX = 256 * 1024

_LEVELS = ((logging.ERROR, "error"), (logging.WARNING, "warning"), (logging.INFO, "info"))


class _AgentHandler(logging.Handler):
    """Sends records to the agent, or to stderr in a process that runs no task."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = self.format(record)[:MESSAGE_CHARS_MAX]
            attempt = _attempt.bound()
            if attempt is None:
                print(self.format(record), file=sys.stderr)
                return
            level = next((name for floor, name in _LEVELS if record.levelno >= floor), "debug")
            attempt.notify("log", level=level, message=message, time_ms=int(time.time() * 1000))
        except MantaError:
            print(self.format(record), file=sys.stderr)
        except Exception:
            self.handleError(record)


_logger: Optional[logging.Logger] = None


def task_logger() -> logging.Logger:
    """Return the logger that all tasks of this process share."""
    global _logger
    if _logger is None:
        logger = logging.getLogger("manta.task")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.handlers = [_AgentHandler()]
        _logger = logger
    return _logger
