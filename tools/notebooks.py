"""A Markdown page whose code runs, as an executed Jupyter notebook.

    python tools/notebooks.py docs/tutorials/fit.md > fit.ipynb
    python tools/notebooks.py --run docs/tutorials/*.md     # run their code, keep what it prints

Python blocks become cells, bash blocks cells of `%%bash`; pictures are attached. What a block
prints is kept in `outputs/PAGE.json` beside the page, with a hash of the code that printed it:
after a change of the code it is gone until the page is run again.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfm.testing.snippets import BLOCK, run_snippet, snippets

PICTURE = re.compile(r"!\[([^]]*)\]\(([^)]+\.(?:png|gif))\)")
LINES = 40  # of what a block prints that are kept


def place(page: Path) -> Path:
    """The file that keeps what the page's code prints."""
    return page.parent / "outputs" / f"{page.stem}.json"


def run(page: Path) -> list[dict[str, str]]:
    """Run every block of a page as a reader would, and keep what each prints.

    Raises:
        AssertionError: a block failed.
    """
    kept = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, code in snippets(page):
            text = run_snippet(kind, code, Path(folder)).replace(str(Path(folder).resolve()), ".")
            kept.append({"code": _hash(code), "prints": _shortened(text)})
    target = place(page)
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return kept


def printed(page: Path) -> list[str | None]:
    """What each block of a page printed when it was run; None for one that was not run as it is."""
    path = place(page)
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    known = {row["code"]: row["prints"] for row in rows}
    return [known.get(_hash(code)) for _, code in snippets(page)]


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def _shortened(text: str) -> str:
    lines = [line.rstrip() for line in text.rstrip().splitlines()]
    more = [f"... ({len(lines) - LINES} lines more)"] if len(lines) > LINES else []
    return "\n".join([*lines[:LINES], *more])


def with_prints(page: str, prints: Sequence[str | None]) -> str:
    """The page with what each block printed beneath it, in order."""
    rest = iter(prints)

    def beneath(match: re.Match[str]) -> str:
        text = next(rest)
        return match[0] if not text else f"{match[0]}\n```text\n{text}\n```"

    return BLOCK.sub(beneath, page)


def notebook(page: str, folder: Path, prints: Sequence[str | None] = ()) -> str:
    """The notebook (nbformat 4.5) as JSON text.

    Args:
        page: Markdown.
        folder: against which the page's pictures are meant.
        prints: what each block printed, in order; None for one that was not run.
    """
    rest, count = iter(prints), 0
    cells: list[dict[str, Any]] = []
    pieces = [*BLOCK.split(page), "", ""]  # text, kind, code, text, kind, code, ..., text
    for text, kind, code in zip(pieces[0::3], pieces[1::3], pieces[2::3], strict=True):
        if text.strip():
            cells.append(_text(text.strip(), folder))
        if kind:
            shown = code.strip() if kind == "python" else f"%%bash\n{code.strip()}"
            text_of = next(rest, None)
            count += text_of is not None
            cells.append(
                _cell(
                    "code",
                    shown,
                    execution_count=None if text_of is None else count,
                    outputs=[_stream(text_of)] if text_of else [],
                )
            )
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    body = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"


def _cell(kind: str, text: str, **more: Any) -> dict[str, Any]:
    return {"cell_type": kind, "metadata": {}, "source": text.splitlines(keepends=True), **more}


def _stream(text: str) -> dict[str, Any]:
    lines = f"{text}\n".splitlines(keepends=True)
    return {"output_type": "stream", "name": "stdout", "text": lines}


def _text(text: str, folder: Path) -> dict[str, Any]:
    attached: dict[str, Any] = {}

    def attach(match: re.Match[str]) -> str:
        path = folder / match[2]
        content = base64.b64encode(path.read_bytes()).decode("ascii")
        attached[path.name] = {f"image/{path.suffix[1:]}": content}
        return f"![{match[1]}](attachment:{path.name})"

    text = PICTURE.sub(attach, text)
    return _cell("markdown", text, **({"attachments": attached} if attached else {}))


def main() -> None:
    """Print one page as a notebook, or run pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--run", action="store_true", help="run their code, keep what it prints")
    parser.add_argument("pages", nargs="+", type=Path)
    arguments = parser.parse_args()
    if not arguments.run and len(arguments.pages) > 1:
        parser.error("one page is printed at a time; --run takes several")
    for page in arguments.pages:
        if arguments.run:
            print(page, len(run(page)), "blocks", flush=True)
        else:
            text = page.read_text(encoding="utf-8")
            sys.stdout.write(notebook(text, page.parent, printed(page)))


if __name__ == "__main__":
    main()
