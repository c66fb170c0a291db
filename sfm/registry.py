"""Finding plugins and their parts.

Three steps of laziness: read the entry points (no import), load the `Plugin` object (a light
module), resolve one part (may import torch). A broken plugin is kept as a row that says why, and
stops nobody until it is asked for.

Environment:
    SFM_PLUGINS: only these, comma-separated; empty for none.
    SFM_PLUGINS_STRICT: `1` raises at the first broken plugin.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from sfm.errors import PluginError, did_you_mean
from sfm.plugin import API, KINDS, Plugin
from sfm.quantity import CORE, Quantity, QuantityTable

GROUP = "sfm.plugins"
FIRST_PARTY = ("molecules", "crystals", "fluids", "dft", "dynamics")
SUPPORTED_API = (API,)


@dataclass(frozen=True)
class Found:
    """A discovered plugin: either `plugin` or `error` is set."""

    name: str
    distribution: str
    version: str
    plugin: Plugin | None = None
    error: str | None = None


@dataclass(frozen=True)
class Part:
    """One part of a plugin, not yet imported."""

    plugin: str
    domain: str
    kind: str
    name: str
    target: str

    @property
    def full_name(self) -> str:
        return f"{self.plugin}/{self.name}"

    def load(self) -> Any:
        """Import the part.

        Raises:
            PluginError: it cannot be imported; the message says how to get a missing extra.
        """
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            hint = ""
            if self.plugin in FIRST_PARTY and not (error.name or "").startswith("sfm"):
                hint = f"; install it with: pip install 'sfm-hub[{self.plugin}]'"
            raise PluginError(
                f"part '{self.full_name}' needs the package '{error.name}', "
                f"which is not installed{hint}"
            ) from error
        except Exception as error:
            raise PluginError(
                f"part '{self.full_name}' ({self.target}) cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error


def _allowed() -> set[str] | None:
    value = os.environ.get("SFM_PLUGINS")
    return None if value is None else {name.strip() for name in value.split(",") if name.strip()}


def _load(entry: EntryPoint) -> Found:
    distribution = entry.dist.name if entry.dist else "unknown"
    version = entry.dist.version if entry.dist else "unknown"
    row: dict[str, Any] = {
        "name": entry.name,
        "distribution": distribution,
        "version": version,
    }
    try:
        plugin = entry.load()
        if not isinstance(plugin, Plugin):
            raise PluginError(f"'{entry.value}' is a {type(plugin).__name__}, not an sfm Plugin")
        if plugin.name != entry.name:
            raise PluginError(f"its entry point is '{entry.name}', its name is '{plugin.name}'")
        if plugin.api not in SUPPORTED_API:
            raise PluginError(
                f"it was written for plugin API {plugin.api}, this sfm has "
                f"{', '.join(map(str, SUPPORTED_API))}: upgrade "
                f"{'sfm-hub' if plugin.api > max(SUPPORTED_API) else distribution}"
            )
        return Found(**row, plugin=plugin)
    except Exception as error:
        reason = (
            str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        )
        return Found(**row, error=reason)


@cache
def _discover(allowed: tuple[str, ...] | None, strict: bool) -> tuple[Found, ...]:
    by_name: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        if allowed is None or entry.name in allowed:
            same = by_name.setdefault(entry.name, [])
            # an editable install beside a build folder lists the same entry twice
            if _owner(entry) not in map(_owner, same):
                same.append(entry)
    rows = []
    for name, entries in sorted(by_name.items()):
        if len(entries) > 1:
            owners = " and ".join(
                sorted(f"'{e.dist.name if e.dist else e.value}'" for e in entries)
            )
            error = f"two distributions, {owners}, both provide it; uninstall one"
            rows.append(Found(name, owners, "", error=error))
        else:
            rows.append(_load(entries[0]))
    rows = _without_conflicts(rows)
    broken = next((row for row in rows if row.error), None)
    if strict and broken:
        raise PluginError(_broken(broken))
    return tuple(rows)


def _owner(entry: EntryPoint) -> tuple[str, str]:
    return entry.value, entry.dist.name if entry.dist else ""


def _without_conflicts(rows: list[Found]) -> list[Found]:
    """A plugin that redefines another one's quantity is broken; first-party ones come first."""
    table = {quantity.name: ("the core", quantity) for quantity in CORE}
    checked: dict[str, Found] = {}
    for row in sorted(rows, key=lambda r: (r.name not in FIRST_PARTY, r.name)):
        for quantity in row.plugin.quantities if row.plugin else ():
            owner, known = table.setdefault(quantity.name, (f"plugin '{row.name}'", quantity))
            if known != quantity:
                error = (
                    f"it defines the quantity '{quantity.name}' as [{quantity.unit}, "
                    f"{quantity.irreps}, {quantity.per}], {owner} as [{known.unit}, "
                    f"{known.irreps}, {known.per}]: give it another name"
                )
                row = Found(row.name, row.distribution, row.version, error=error)
                break
        checked[row.name] = row
    return [checked[row.name] for row in rows]


def _broken(row: Found) -> str:
    return f"plugin '{row.name}' ({row.distribution} {row.version}) is broken: {row.error}"


def discover() -> tuple[Found, ...]:
    """All installed plugins, sorted by name, broken ones included.

    Raises:
        PluginError: a plugin is broken and `SFM_PLUGINS_STRICT=1`.
    """
    allowed = _allowed()
    strict = os.environ.get("SFM_PLUGINS_STRICT") == "1"
    return _discover(tuple(sorted(allowed)) if allowed is not None else None, strict)


def plugins() -> dict[str, Plugin]:
    """The plugins that loaded, by name."""
    return {row.name: row.plugin for row in discover() if row.plugin is not None}


def plugin(name: str) -> Plugin:
    """The plugin `name`.

    Raises:
        PluginError: it is not installed, or it is broken.
    """
    for row in discover():
        if row.name == name:
            if row.plugin is None:
                raise PluginError(_broken(row))
            return row.plugin
    names = [row.name for row in discover()]
    raise PluginError(
        f"no plugin '{name}' is installed (installed: {', '.join(names) or 'none'})."
        f"{did_you_mean(name, names)}"
    )


def parts(kind: str | None = None, *, domain: str | None = None) -> Iterator[Part]:
    """Every part of every working plugin, of one kind and one domain if given."""
    for row in plugins().values():
        if domain is not None and row.domain != domain:
            continue
        for part_kind, name, target in row.parts():
            if kind is None or kind == part_kind:
                yield Part(row.name, row.domain, part_kind, name, target)


def find(kind: str, name: str) -> Part:
    """The part `plugin/part`, or `part` alone where only one plugin has it.

    Raises:
        PluginError: no such part, or an ambiguous name.
    """
    if kind not in KINDS:
        raise ValueError(f"kind '{kind}' is not one of {', '.join(KINDS)}")
    if "/" in name:
        owner, _, short = name.partition("/")
        target = getattr(plugin(owner), kind).get(short)
        if target is not None:
            return Part(owner, plugin(owner).domain, kind, short, target)
    else:
        same = [part for part in parts(kind) if part.name == name]
        if len(same) == 1:
            return same[0]
        if same:
            choices = ", ".join(part.full_name for part in same)
            raise PluginError(f"{kind[:-1]} '{name}' is ambiguous: say one of {choices}")
        broken = [row for row in discover() if row.error]
        if broken:
            named = "; ".join(_broken(row) for row in broken)
            raise PluginError(f"no {kind[:-1]} '{name}' in the working plugins; {named}")
    known = [part.full_name for part in parts(kind)]
    short_names = {part.name: part.full_name for part in parts(kind)}
    hint = did_you_mean(name, known) or did_you_mean(name.rpartition("/")[2], short_names)
    raise PluginError(f"no {kind[:-1]} '{name}' (known: {', '.join(known) or 'none'}).{hint}")


_defined: dict[str, Quantity] = {}


def define(quantity: Quantity) -> None:
    """Make a quantity known that no plugin declares, for this process: a user's own.

    A model that learns it keeps its definition, and makes it known again when it is loaded.

    Raises:
        InputError: the name is taken by another definition.
    """
    quantities().add(quantity)
    _defined[quantity.name] = quantity


def quantities() -> QuantityTable:
    """The core's quantities, those that the installed plugins declare, and the user's own."""
    table = QuantityTable(CORE)
    for row in plugins().values():
        for quantity in row.quantities:
            table.add(quantity)
    for quantity in _defined.values():
        if quantity.name not in table:
            table.add(quantity)
    return table


def length_unit(domain: str) -> str:
    """Unit of positions and cells in the samples of `domain`, `angstrom` if no plugin says.

    The domain's datasets are asked first, for they are light; then its encoders.
    """
    for kind in ("datasets", "encoders"):
        for part in parts(kind, domain=domain):
            try:
                unit: str = part.load().length_unit
                return unit
            except PluginError:
                continue  # this one is broken; that of another part is as good
    return "angstrom"


def clear_cache() -> None:
    """Forget what was discovered (after installing a plugin in the same process)."""
    _discover.cache_clear()
