"""What notebooks show: tables, and a swarm's graph as a drawing. All text is escaped; nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manta.apis._graph import Vertex

_BOX_WIDTH, _BOX_HEIGHT, _GAP_X, _GAP_Y = 150, 40, 50, 16


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], foot: str = "") -> str:
    """Return an HTML table."""
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    end = f"<p>{escape(foot)}</p>" if foot else ""
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>{end}"


def heading(text: str, detail: str = "") -> str:
    """Return a line in bold, with more beside it."""
    return f"<p><b>{escape(text)}</b> {escape(detail)}</p>"


def graph(vertices: Sequence[Vertex], aliases: Sequence[str]) -> str:
    """Return a drawing of a graph from left to right, each task right of those that it follows."""
    column: dict[int, int] = {}
    rows: dict[int, int] = {}
    boxes, lines = [], []
    place: dict[int, tuple[int, int]] = {}
    for vertex, alias in zip(vertices, aliases, strict=True):
        level = 1 + max((column[id(before)] for before in vertex.previous), default=-1)
        column[id(vertex)] = level
        row = rows[level] = rows.get(level, -1) + 1
        x, y = level * (_BOX_WIDTH + _GAP_X) + 1, row * (_BOX_HEIGHT + _GAP_Y) + 1
        place[id(vertex)] = (x, y + _BOX_HEIGHT // 2)
        boxes.append(_box(x, y, alias, vertex))
        for before in vertex.previous:
            (from_x, from_y), (to_x, to_y) = place[id(before)], place[id(vertex)]
            lines.append(f'<line x1="{from_x + _BOX_WIDTH}" y1="{from_y}" x2="{to_x}" y2="{to_y}"/>')
    width = (max(rows, default=0) + 1) * (_BOX_WIDTH + _GAP_X)
    height = (max(rows.values(), default=0) + 1) * (_BOX_HEIGHT + _GAP_Y)
    style = 'stroke="currentColor" fill="none" font-family="sans-serif" font-size="12"'
    return f'<svg width="{width}" height="{height}" role="img" {style}>{"".join(lines + boxes)}</svg>'


def _box(x: int, y: int, alias: str, vertex: Vertex) -> str:
    task = vertex.task
    count = "" if task.maximum == -1 else f", at most {task.maximum}"
    texts = ((16, alias), (31, f"{task.method}{count}"))
    shown = "".join(
        f'<text x="{x + 8}" y="{y + down}" stroke="none" fill="currentColor">{escape(_short(text))}</text>'
        for down, text in texts
    )
    told = escape(f"{alias}: {task.module!r} on {task.method}{count}")
    return f'<g><title>{told}</title><rect x="{x}" y="{y}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}"/>{shown}</g>'


def _short(text: str) -> str:
    return text if len(text) <= 22 else f"{text[:21]}…"
