"""Tracebacks as users want them: their own frames, without the platform's."""

import os
import re
import traceback
from typing import Iterator, List, Optional, Set

PLATFORM_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The directory of the ``manta`` package; frames in it are the platform's."""

SHOW_ALL = "MANTA_TRACEBACK"
"""Set to 1, this environment variable shows the platform's frames, too."""

_TEXT_BYTES_MAX = 60 * 1024
_LIBRARY_FRAMES_KEPT = 3
"""At each end of a row of library frames, where a traceback is too long."""

_PACKAGES = ("site-packages", "dist-packages")
_LEFT_OUT = "<frames of libraries left out>"
_LEFT_OUT_LINE = re.compile(rf'File "{_LEFT_OUT}", line (\d+), in \.\.\.')


def user_traceback(error: BaseException, root: Optional[str] = None) -> str:
    """Return the traceback without the platform's frames, or whole if ``MANTA_TRACEBACK=1``.

    One that is too long first loses the midst of its library frames, those of files not below ``root``.
    """
    report = traceback.TracebackException.from_exception(error)
    if os.environ.get(SHOW_ALL) != "1":
        for part in _parts(report, set()):
            part.stack[:] = [frame for frame in part.stack if not is_platform(frame.filename)]
    text = "".join(report.format())
    if len(_bytes(text)) > _TEXT_BYTES_MAX:
        for part in _parts(report, set()):
            part.stack[:] = _without_libraries(part.stack, root)
        text = _LEFT_OUT_LINE.sub(r"[... \1 frames of libraries left out ...]", "".join(report.format()))
    return _cut(text)


def user_location(error: BaseException, root: Optional[str] = None) -> Optional[str]:
    """Return ``file:line`` of the user's innermost frame, relative to ``root`` where it is below.

    The user's frames are those below ``root``, without installed packages; where there is none, all that are not the
    platform's. A syntax error is located where it stands, if that is a file.
    """
    if isinstance(error, SyntaxError) and error.filename and _is_file(error.filename) and error.lineno:
        return f"{_shown(error.filename, root)}:{error.lineno}"
    walked = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    places = [place for place in walked if not is_platform(place[0])]
    own = [place for place in places if _is_own(place[0], root)]
    if not places:
        return None if error.__cause__ is None else user_location(error.__cause__, root)
    file_name, line = (own or places)[-1]
    return f"{_shown(file_name, root)}:{line}"


def is_platform(file_name: str) -> bool:
    """Return whether a frame in that file belongs to the platform or to the import machinery."""
    if file_name.startswith(("<frozen ", "<string>")) or file_name.endswith("/boot.py"):
        return True
    return os.path.abspath(file_name).startswith(PLATFORM_ROOT + os.sep)


def _parts(report: traceback.TracebackException, seen: Set[int]) -> Iterator[traceback.TracebackException]:
    """Yield the report, and those of what caused it and of what it groups."""
    if id(report) in seen:
        return
    seen.add(id(report))
    yield report
    for other in (report.__cause__, report.__context__, *(getattr(report, "exceptions", None) or ())):
        if other is not None:
            yield from _parts(other, seen)


def _without_libraries(stack: List[traceback.FrameSummary], root: Optional[str]) -> List[traceback.FrameSummary]:
    """Return the frames with one that tells a number in place of the midst of each long row of library frames."""
    kept: List[traceback.FrameSummary] = []
    row: List[traceback.FrameSummary] = []
    for frame in [*stack, None]:
        if frame is not None and not _is_own(frame.filename, root):
            row.append(frame)
            continue
        left_out = len(row) - 2 * _LIBRARY_FRAMES_KEPT
        if left_out > 1:
            told = traceback.FrameSummary(_LEFT_OUT, left_out, "...", lookup_line=False, line="")
            row[_LIBRARY_FRAMES_KEPT:-_LIBRARY_FRAMES_KEPT] = [told]
        kept += row if frame is None else [*row, frame]
        row = []
    return kept


def _cut(text: str) -> str:
    """Return the text without its midst where it is too long: the last lines say what went wrong."""
    data = _bytes(text)
    if len(data) <= _TEXT_BYTES_MAX:
        return text
    half = _TEXT_BYTES_MAX // 2
    first, last = (part.decode("utf-8", "ignore") for part in (data[:half], data[-half:]))
    return f"{first}\n  [... {len(data) - 2 * half} bytes left out ...]\n{last}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _is_file(file_name: str) -> bool:
    """Whether code says that it is of a file: text that was compiled has a name such as ``<unknown>``, or none."""
    return file_name != "" and not file_name.startswith("<")


def _is_own(file_name: str, root: Optional[str]) -> bool:
    if not _is_file(file_name) or any(part in _PACKAGES for part in file_name.split(os.sep)):
        return False
    return root is None or _below(file_name, root) is not None


def _below(file_name: str, root: str) -> Optional[str]:
    inside = os.path.relpath(file_name, root)
    return None if inside.split(os.sep)[0] == os.pardir else inside


def _shown(file_name: str, root: Optional[str]) -> str:
    inside = None if root is None or not _is_file(file_name) else _below(file_name, root)
    return file_name if inside is None else inside
