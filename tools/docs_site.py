"""What MkDocs asks while it makes the documentation (`make docs`): a hook of `mkdocs.yml`.

The site takes up whatever lies in `docs/`, the generated reference (`docs_reference`), and each
file of the repository that a page links to: a card, a table of measurements, a JSON of results. A
link that leads nowhere stops it. Tutorials show what their code printed, and can be downloaded as
notebooks (`notebooks`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))  # MkDocs loads this file by its path

import docs_reference
import notebooks

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")
FIRST = {"Home": "README.md", "Gallery": "gallery.md"}
# section: its folder, and pages of the top folder that belong there; the rest is `Project`
SECTIONS = {
    "Start": ("start", ()),
    "How to": ("howto", ("serve.md", "files.md", "fields.md", "plugins.md")),
    "Tutorials": ("tutorials", ()),
    "Theory": ("theory", ()),
    "Reference": ("reference", ()),
    "Measured": ("benchmarks", ("results.md",)),
}
CARDS = {"reference/datasets": "datasets/", "reference/models": "model_cards/"}
TITLES = {"dft": "Density-functional theory", "python": "Python", "commands": "Command line"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference, and what pages link to outside of `docs/`."""
    for path, text in docs_reference.pages():
        files.append(File.generated(config, path, content=text))
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        files.append(_of_repository(name, config))
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if not file.is_documentation_page():
            continue
        for name in _linked(file):
            if files.get_file_from_path(name) is None:
                added = _of_repository(name, config)
                files.append(added)
                waiting.append(added)
    for file in list(files):
        if file.src_uri.startswith("tutorials/") and file.is_documentation_page():
            path = DOCS / file.src_uri
            text = notebooks.notebook(file.content_string, path.parent, notebooks.printed(path))
            place = file.src_uri.replace(".md", ".ipynb")
            files.append(File.generated(config, place, content=text))
    config.nav = _navigation(files)
    return files


def _of_repository(name: str, config: MkDocsConfig) -> File:
    """A file of the repository at its own path in the site; of a card without its YAML head."""
    path = ROOT / name
    if path.suffix != ".md":
        return File.generated(config, name, abs_src_path=str(path))
    text = re.sub(r"\A---\n.*?\n---\n", "", path.read_text(encoding="utf-8"), flags=re.S)
    return File.generated(config, name, content=text)


def _home(file: File) -> Path:
    """The folder in the repository against which the links of a page are meant."""
    inside = DOCS / file.src_uri
    known = inside.exists() or file.src_uri.startswith("reference/")
    return (inside if known else ROOT / file.src_uri).parent


def _target(link: str, file: File) -> str | None:
    """Path in the site of a link that leads into or out of `docs/`, to a file that is there."""
    home = _home(file)
    path = (home / link).resolve()
    if path.is_dir():
        path /= "README.md"
    inside = path.is_relative_to(DOCS)
    if (inside and home.is_relative_to(DOCS)) or not path.is_file():
        return None
    return path.relative_to(DOCS if inside else ROOT).as_posix()


def _linked(file: File) -> Iterator[str]:
    for match in LINK.finditer(file.content_string):
        name = _target(match[2], file)
        if name is not None:
            yield name


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links out of `docs/` lead to the copies in the site; tutorials offer their notebook."""
    up = "../" * page.file.src_uri.count("/")

    def moved(match: re.Match[str]) -> str:
        name = _target(match[2], page.file)
        return match[0] if name is None else f"{match[1]}{up}{name}{match[3] or ''}{match[4]}"

    markdown = LINK.sub(moved, markdown)
    if page.file.src_uri.startswith("tutorials/"):
        name = Path(page.file.src_uri).stem
        markdown = notebooks.with_prints(markdown, notebooks.printed(DOCS / page.file.src_uri))
        title, line, rest = markdown.partition("\n")
        markdown = f"{title}{line}\n[Download as a notebook]({name}.ipynb)\n\n{rest}"
    return markdown


def _navigation(files: Files) -> list[Any]:
    """Sections by folder; what has no section stands under the last one."""
    paths = sorted(f.src_uri for f in files if f.is_documentation_page())
    nav: list[Any] = [{title: page} for title, page in FIRST.items()]
    for title, (folder, pages) in SECTIONS.items():
        nav.append({title: [*_tree(paths, folder), *(p for p in pages if p in paths)]})
    nav.append({"Project": [path for path in paths if path not in set(_listed(nav))]})
    return nav


def _listed(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        else:
            for inside in entry.values():
                yield from _listed([inside] if isinstance(inside, str) else inside)


def _tree(paths: list[str], folder: str) -> list[Any]:
    """Pages of a folder, its index first, then its folders."""
    pages = [p for p in paths if p.rpartition("/")[0] == folder]
    pages.sort(key=lambda p: not p.endswith(("index.md", "README.md")))
    pages += [p for p in paths if folder in CARDS and p.startswith(CARDS[folder])]
    below = {p[len(folder) + 1 :].split("/")[0] for p in paths if p.startswith(f"{folder}/")}
    deeper = sorted(name for name in below if not name.endswith(".md"))
    return pages + [{_title(name): _tree(paths, f"{folder}/{name}")} for name in deeper]


def _title(name: str) -> str:
    return TITLES.get(name, name if name.startswith("sfm") else name.capitalize())
