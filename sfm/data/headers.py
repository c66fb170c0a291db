"""Headers of columns that say a unit: `quantity[unit]`."""

from __future__ import annotations


def split_header(text: str) -> tuple[str, str | None]:
    """Name and unit that a header states, None where it states none.

    Blanks around both do not count: `surface_tension [mN/m]` is `surface_tension` in `mN/m`.
    """
    name, bracket, rest = text.strip().partition("[")
    if not bracket or not rest.endswith("]"):
        return text.strip(), None
    return name.strip(), rest[:-1].strip()


def joined_header(name: str, unit: str | None) -> str:
    """The other way round, without blanks."""
    return name if unit is None else f"{name}[{unit}]"
