"""HTML pages that need no other file."""

from __future__ import annotations

import base64
import html
import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left; }
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


def embedded(figure: Figure, what: str) -> str:
    """A figure as HTML; `what` is what it shows, for those who do not see it."""
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of scripts that no font here has
        figure.savefig(written, format="png", dpi=130)
    data = base64.b64encode(written.getvalue()).decode()
    return f'<p><img alt="{html.escape(what)}" src="data:image/png;base64,{data}"></p>\n'
