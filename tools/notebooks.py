"""A Markdown page whose code runs, as a Jupyter notebook.

    python tools/notebooks.py docs/tutorials/fit.md > fit.ipynb

Python blocks become cells, bash blocks cells of `%%bash`; pictures are attached.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```\n?", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[([^]]*)\]\(([^)]+\.png)\)")


def notebook(page: str, folder: Path) -> str:
    """The notebook (nbformat 4.5) as JSON text.

    Args:
        page: Markdown.
        folder: against which the page's pictures are meant.
    """
    cells: list[dict[str, Any]] = []
    pieces = [*BLOCK.split(page), "", ""]  # text, kind, code, text, kind, code, ..., text
    for text, kind, code in zip(pieces[0::3], pieces[1::3], pieces[2::3], strict=True):
        if text.strip():
            cells.append(_text(text.strip(), folder))
        if kind:
            shown = code.strip() if kind == "python" else f"%%bash\n{code.strip()}"
            cells.append(_cell("code", shown, execution_count=None, outputs=[]))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    body = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"


def _cell(kind: str, text: str, **more: Any) -> dict[str, Any]:
    return {"cell_type": kind, "metadata": {}, "source": text.splitlines(keepends=True), **more}


def _text(text: str, folder: Path) -> dict[str, Any]:
    attached: dict[str, Any] = {}

    def attach(match: re.Match[str]) -> str:
        path = folder / match[2]
        attached[path.name] = {"image/png": base64.b64encode(path.read_bytes()).decode("ascii")}
        return f"![{match[1]}](attachment:{path.name})"

    text = PICTURE.sub(attach, text)
    return _cell("markdown", text, **({"attachments": attached} if attached else {}))


if __name__ == "__main__":
    given = Path(sys.argv[1])
    sys.stdout.write(notebook(given.read_text(encoding="utf-8"), given.parent))
