"""Imports go one way: plugin, quantity, units <- data <- nn, simulate <- model <- the rest."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import rules
from arrows import Package

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "sfm").rglob("*.py"))
PLUGINS = {p.name.removeprefix("sfm_"): p for p in (ROOT / "plugins").glob("*/sfm_*") if p.is_dir()}

# a module of layer k may import layers below k and its own
LAYERS = [
    {"version", "errors", "progress", "quantity", "units", "plugin", "registry"},
    {"formats", "config", "recipe"},
    {"data"},
    {"hub", "nn", "simulate"},
    {"model"},
    {"train"},
    {"testing", "scaffold"},
    {"cli", "demo", "__main__", "__init__"},
    {"serve"},
]
HEIGHT = {name: number for number, layer in enumerate(LAYERS) for name in layer}


def imports(path: Path, *, top_level: bool) -> set[str]:
    """Absolute module names that a file imports; TYPE_CHECKING blocks do not count."""
    found: set[str] = set()

    def visit(nodes) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                visit(node.orelse)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if not top_level:
                    visit(node.body)
            else:
                visit(list(ast.iter_child_nodes(node)))

    visit(ast.parse(path.read_text(encoding="utf-8")).body)
    return found


def layer_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "sfm" and len(parts) > 1 and parts[1] in HEIGHT else None


def test_every_module_of_the_core_has_a_layer():
    names = {p.relative_to(ROOT / "sfm").parts[0].removesuffix(".py") for p in CORE}
    names = {n for n in names if not n.startswith("_bundled")}
    assert names <= set(HEIGHT), f"say where they belong: {sorted(names - set(HEIGHT))}"


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_top_level_imports_go_down(path):
    own = path.relative_to(ROOT / "sfm").parts[0].removesuffix(".py")
    above = {
        module
        for module in imports(path, top_level=True)
        if (name := layer_of(module)) and HEIGHT[name] > HEIGHT[own]
    }
    assert not above, f"sfm.{own} is below {sorted(above)}"


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_never_imports_a_plugin(path):
    plugins = {m for m in imports(path, top_level=False) if m.split(".")[0].startswith("sfm_")}
    assert not plugins


@pytest.fixture(scope="module")
def read():
    """The package of a plugin, read once."""
    known: dict[str, Package] = {}

    def package(name: str) -> Package:
        return known.setdefault(name, Package.read(PLUGINS[name]))

    return package


RULES = (rules.undeclared, rules.upward, rules.circular, rules.styled, rules.trespassing)


# what still reaches above the model, by its text; it may only shrink
KNOWN = {
    "(sfm_dft.neural.saving) imports sfm.hub.files.read_config",
    "(sfm_dft.neural.saving) imports sfm.hub.files.tensor_shapes",
    "(sfm_dft.neural.saving) imports sfm.hub.resolve.resolve",
    "(sfm_dft.simulators.kohn_sham) imports sfm.load",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", sorted(PLUGINS))
def test_a_plugin_keeps_the_rules_of_the_house(name, rule, read):
    """Its rooms in their order, no circle, one style, nothing from above the model."""
    assert [line for line in rule(read(name)) if line.partition(" ")[2] not in KNOWN] == []


def test_known_violations_are_still_there(read):
    found = {line.partition(" ")[2] for name in PLUGINS for line in rules.trespassing(read(name))}
    assert found >= KNOWN, f"take off the list: {sorted(KNOWN - found)}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_what_plugin_new_writes_keeps_them_too(rule, toy_site):
    assert rule(Package.read(toy_site / "sfm_toy")) == []


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_global_is_set_and_no_pickle_is_read(path):
    text = path.read_text(encoding="utf-8")
    for word in ("set_default_dtype", "use_deterministic_algorithms", "pickle.load"):
        assert word not in text, word
    if path.parent.name != "train":
        assert "torch.load" not in text


def test_files_are_small_and_no_module_is_called_utils():
    for path in CORE + [p for folder in PLUGINS.values() for p in folder.rglob("*.py")]:
        assert path.stem not in ("utils", "helpers", "misc", "common"), path
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 600, f"{path}: {lines} lines"
