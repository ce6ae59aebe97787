"""HTML pages that need no other file."""

from __future__ import annotations

import base64
import html
import io
import re
import warnings
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid #ddd; }
th.words, td.words { text-align: left; }
div.wide { overflow-x: auto; } td:not(.words) { white-space: nowrap; }
tr.best td { background: #eef6ee; }
img { max-width: 100%; } p.advice { font-size: 1.1rem; } p.note { color: #555; }
"""


def as_document(title: str, body: str) -> str:
    """A page with a title, and a body of HTML."""
    title = html.escape(title)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>{_STYLE}</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


def table(rows: Sequence[Sequence[str]], best: Collection[int] = ()) -> str:
    """A table in HTML, its headings first; columns of words stand at the left, those of numbers at the right, and the
    rows of these numbers, from 1, are marked as the best."""
    widest = max(len(row) for row in rows)
    kinds = ["words" if _is_of_words([row[k] for row in rows[1:] if k < len(row)]) else "" for k in range(widest)]

    def cells(row: Sequence[str], tag: str) -> str:
        named = (f' class="{kind}"' if kind else "" for kind in kinds)
        return "".join(f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for kind, cell in zip(named, row, strict=False))

    lines = [f"<tr{' class=best' * (k in best)}>{cells(row, 'td')}</tr>" for k, row in enumerate(rows[1:], 1)]
    head, body = f"<tr>{cells(rows[0], 'th')}</tr>", "\n".join(lines)
    return f'<div class="wide"><table><thead>{head}</thead><tbody>\n{body}\n</tbody></table></div>'


def _is_of_words(column: Sequence[str]) -> bool:
    """Whether most cells that are not blank are no numbers."""
    known = [cell for cell in column if cell]
    return sum(re.fullmatch(r"[-+\d.,%/=e ]+", cell) is None for cell in known) > len(known) / 2


def embedded(figure: Figure, what: str) -> str:
    """A figure as HTML; `what` is what it shows, for those who do not see it."""
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of scripts that no font here has
        figure.savefig(written, format="png", dpi=130)
    data = base64.b64encode(written.getvalue()).decode()
    return f'<p><img alt="{html.escape(what)}" src="data:image/png;base64,{data}"></p>\n'
