"""Tracebacks as users want them: their own frames, without the platform's."""

import os
import traceback
from typing import Optional, Set, Tuple

PLATFORM_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The directory of the ``manta`` package; frames in it are the platform's."""

SHOW_ALL = "MANTA_TRACEBACK"
"""Set to 1, this environment variable shows the platform's frames, too."""

_TEXT_BYTES_MAX = 60 * 1024


def user_traceback(error: BaseException) -> str:
    """Return the traceback with the user's frames only, or whole if ``MANTA_TRACEBACK=1``."""
    report = traceback.TracebackException.from_exception(error)
    if os.environ.get(SHOW_ALL) != "1":
        _hide_platform(report, set())
    text = "".join(report.format())
    if len(text) > _TEXT_BYTES_MAX:
        half = _TEXT_BYTES_MAX // 2
        text = f"{text[:half]}\n  [... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
    return text


def user_location(error: BaseException, root: Optional[str] = None) -> Optional[str]:
    """Return ``file:line`` of the user's innermost frame, relative to ``root`` where it is below.

    A syntax error is located where it stands.
    """
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{_relative(error.filename, root)}:{error.lineno}"
    place: Optional[Tuple[str, int]] = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if not is_platform(frame.f_code.co_filename):
            place = (frame.f_code.co_filename, line)
    if place is None and error.__cause__ is not None:
        return user_location(error.__cause__, root)
    return None if place is None else f"{_relative(place[0], root)}:{place[1]}"


def is_platform(file_name: str) -> bool:
    """Return whether a frame in that file belongs to the platform or to the import machinery."""
    if file_name.startswith(("<frozen ", "<string>")) or file_name.endswith("/boot.py"):
        return True
    return os.path.abspath(file_name).startswith(PLATFORM_ROOT + os.sep)


def _hide_platform(report: traceback.TracebackException, seen: Set[int]) -> None:
    if id(report) in seen:
        return
    seen.add(id(report))
    kept = [frame for frame in report.stack if not is_platform(frame.filename)]
    report.stack[:] = kept
    for other in (report.__cause__, report.__context__):
        if other is not None:
            _hide_platform(other, seen)


def _relative(file_name: str, root: Optional[str]) -> str:
    if root is not None:
        inside = os.path.relpath(file_name, root)
        if not inside.startswith(os.pardir):
            return inside
    return file_name
