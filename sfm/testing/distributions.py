"""Installing a distribution by hand, for tests of discovery."""

from __future__ import annotations

from pathlib import Path


def install(
    site: Path,
    distribution: str,
    entry_points: dict[str, str],
    modules: dict[str, str] | None = None,
    version: str = "1.0",
) -> None:
    """What pip leaves of a distribution: metadata, entry points and modules in `site`."""
    info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    head = f"Metadata-Version: 2.4\nName: {distribution}\nVersion: {version}\n"
    (info / "METADATA").write_text(head + "Summary: for tests\nLicense-Expression: MIT\n")
    lines = [f"{name} = {value}" for name, value in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[sfm.plugins]", *lines, ""]))
    for name, text in (modules or {}).items():
        (site / f"{name}.py").write_text(text)
