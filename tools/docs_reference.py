"""Pages of the documentation that nobody writes: made from parsers, specs, cards and docstrings.

`pages()` is what `tools/docs_site.py` adds to `docs/`. Each part of each installed plugin is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sfm.cli import plugin_index
from sfm.cli.commands import COMMANDS
from sfm.cli.parser import Parser, build
from sfm.data.bundled import datasets_dir, models_dir, recipes_dir
from sfm.hub.markdown import fenced, table
from sfm.registry import Part, parts

ROOT = Path(__file__).resolve().parents[1]
os.environ["COLUMNS"] = "100"  # argparse's width of a help text


def pages() -> Iterator[tuple[str, str]]:
    """Path in the site and Markdown of every page of the reference."""
    yield "reference/plugins.md", plugin_index.page()
    yield from _commands()
    yield from _python()
    yield from _simulators()
    yield from _datasets()
    yield from _models()
    yield from _recipes()


def _index(title: str, text: str, rows: list[tuple[str, str, str]]) -> str:
    """A page that lists others: (title, address, summary)."""
    lines = "\n".join(f"| [{name}]({place}) | {_cell(summary)} |" for name, place, summary in rows)
    return f"# {title}\n{text}\n\n| | |\n| --- | --- |\n{lines}\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _commands() -> Iterator[tuple[str, str]]:
    rows = []
    for name, (_, summary) in COMMANDS.items():
        yield f"reference/commands/{name}.md", f"# sfm {name}\n" + "\n".join(_help(name))
        rows.append((f"sfm {name}", f"{name}.md", summary))
    text = (
        "What `--help` prints, from the parser. Exit codes: 0 done, 1 the run failed, 2 usage or "
    )
    text += "input, 3 plugin, 4 hub, 130 interrupted."
    yield "reference/commands/index.md", _index("Command line", text, rows)


def _help(name: str) -> Iterator[str]:
    top = build(name)
    commands = next(a for a in top._actions if hasattr(a, "choices") and a.dest == "command")
    assert isinstance(commands.choices, dict)
    waiting: list[Parser] = [commands.choices[name]]
    while waiting:
        parser = waiting.pop(0)
        yield f"\n## {parser.prog}\n\n{fenced('text', parser.format_help())}\n"
        for action in parser._actions:
            if isinstance(action.choices, dict):
                waiting += action.choices.values()


def _python() -> Iterator[tuple[str, str]]:
    """One page for each room: a folder of a package, or a file that lies loose in it."""
    yield (
        "reference/python/index.md",
        "# Python\nFrom the docstrings: one page for each room of a package, in the order in which "
        "its docstring names them. [Where is what](../../where.md) is the map.\n\n::: sfm\n"
        "    options: {show_submodules: false}\n",
    )
    folders = [ROOT / "sfm", *sorted(ROOT.glob("plugins/*/sfm_*"))]
    for folder in folders:
        for room in sorted(folder.iterdir()):
            name = f"{folder.name}.{room.stem}"
            if room.name.startswith("_") or not (room.suffix == ".py" or list(room.glob("*.py"))):
                continue
            files = [room] if room.suffix == ".py" else sorted(room.rglob("*.py"))
            modules = [_module(path, folder) for path in files if "static" not in path.parts]
            body = "\n\n".join(f"::: {module}" for module in modules if module)
            yield f"reference/python/{folder.name}/{room.stem}.md", f"# {name}\n\n{body}\n"


def _module(path: Path, package: Path) -> str:
    if path.stat().st_size == 0 or path.stem == "__main__":
        return ""
    words = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(word for word in words if word != "__init__")


def _simulators() -> Iterator[tuple[str, str]]:
    rows = []
    for part in sorted(parts("simulators"), key=lambda part: part.full_name):
        cls = part.load()
        yield f"reference/simulators/{part.full_name}.md", _simulator(part, cls)
        rows.append((part.full_name, f"{part.full_name}.md", cls.summary))
    text = "`sfm simulate NAME --describe` prints the same."
    yield "reference/simulators/index.md", _index("Simulators", text, rows)


def _simulator(part: Part, cls: Any) -> str:
    theory = ROOT / "docs" / "theory" / f"{part.full_name}.md"
    link = (
        f"[Theory, proofs, limits](../../../theory/{part.full_name}.md)\n"
        if theory.exists()
        else ""
    )
    parameters = [
        {"parameter": p.name, "default": p.default, "unit": p.unit, "from": p.low, "to": p.high,
         "": p.summary}
        for p in cls.parameters_spec
    ]  # fmt: skip
    settings = [
        {"setting": s.name, "default": str(s.default), "unit": s.unit,
         "choices": [str(c) for c in (*s.choices, s.others) if c != ""], "": s.summary}
        for s in cls.settings_spec
    ]  # fmt: skip
    observed = [
        {"observable": q.name, "unit": q.unit, "irreps": q.irreps, "": q.summary}
        for q in cls.observables
    ]
    cited = "\n".join(f"- {line}" for line in cls.citations)
    blocks = [
        f"# {part.full_name}\n{link}",
        fenced("text", cls.describe()),
        fenced("bash", f"sfm simulate {part.full_name}"),
        *(table(rows) for rows in (parameters, settings, observed)),
        f"**Sources**\n\n{cited}" if cited else "",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _datasets() -> Iterator[tuple[str, str]]:
    rows = []
    for part in sorted(parts("datasets"), key=lambda part: part.full_name):
        spec = part.load()
        card = spec.folder / "README.md"
        if card.exists() and spec.folder.parent == datasets_dir():
            rows.append((part.full_name, f"../../../datasets/{spec.name}/README.md", spec.summary))
            continue
        facts = {"quantities": spec.quantities, "levels": spec.levels, "licence": spec.licence,
                 "origin": spec.origin}  # fmt: skip
        body = table([{"": key, "value": value} for key, value in facts.items()])
        yield (
            f"reference/datasets/{part.full_name}.md",
            f"# {part.full_name}\n{spec.summary}\n\n{body}\n",
        )
        rows.append((part.full_name, f"{part.full_name}.md", spec.summary))
    text = "`sfm dataset show NAME` prints columns with units and levels, and first samples."
    yield "reference/datasets/index.md", _index("Datasets", text, rows)


def _models() -> Iterator[tuple[str, str]]:
    from sfm.hub.cards import report_of

    rows = []
    for folder in sorted(path for path in models_dir().iterdir() if (path / "README.md").exists()):
        summary = str(report_of(folder).get("summary", ""))
        rows.append((folder.name, f"../../../model_cards/{folder.name}/README.md", summary))
    yield "reference/models/index.md", _index("Models", "The bundled models' cards.", rows)


def _recipes() -> Iterator[tuple[str, str]]:
    from sfm.recipe import load

    rows = []
    for path in sorted(recipes_dir().glob("*.yaml")):
        text, summary = path.read_text(encoding="utf-8"), load(path, []).summary
        command = fenced("bash", f"sfm pretrain {path.stem}")
        body = f"# {path.stem}\n{summary}\n\n{command}\n\n{fenced('yaml', text)}\n"
        yield f"reference/recipes/{path.stem}.md", body
        rows.append((path.stem, f"{path.stem}.md", summary))
    text = "`sfm pretrain NAME --print-config` prints one with all its defaults."
    yield "reference/recipes/index.md", _index("Recipes", text, rows)
