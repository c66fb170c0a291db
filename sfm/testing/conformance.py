"""The conformance kit: does a plugin keep the contract?

In a plugin's own tests, four lines:

    from sfm.testing.conformance import parametrize_checks

    @parametrize_checks("my-plugin")
    def test_conformance(check):
        check()

On the command line: `sfm plugin check my-plugin`. Which checks there are:

    plugin      light import, names, parts resolve, units, citations, licence; dtype, seeds and
                threads of the process left alone
    dataset     opens offline, columns and units, finite labels that fit each other, disjoint
                stable splits, card
    encoder     equivariance in float32 and float64, batch equals singles, no leak between systems,
                extensivity, smoothness at the cutoff, forces and stress against differences,
                boundaries, the sample left as it was
    simulator   documented, bounds, observables, determinism, shapes, gradcheck, order, conservation
    model       saved and loaded in a fresh process: equal predictions and buffers
    head, metric, reader
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sfm.registry import discover, plugin
from sfm.testing.checks import Check, CheckResult, perform


def checks_of(name: str) -> list[Check]:
    """All checks of the plugin's parts; parts are imported when their checks run.

    Raises:
        PluginError: the plugin is missing or broken.
    """
    from sfm.testing import (
        conformance_dataset,
        conformance_encoder,
        conformance_inputs,
        conformance_parts,
        conformance_plugin,
        conformance_saving,
        conformance_simulator,
    )

    package = plugin(name)
    row = next(row for row in discover() if row.name == name)
    checks = conformance_plugin.checks(package, row)
    checks += conformance_dataset.checks(package)
    checks += conformance_parts.checks(package)
    checks += conformance_encoder.checks(package)
    checks += conformance_inputs.checks(package)
    checks += conformance_saving.checks(package)
    checks += conformance_simulator.checks(package)
    return checks


def iterate_checks(name: str, *, only: str | None = None) -> Iterator[CheckResult]:
    """Run the checks one after another; `only` keeps those whose name contains it."""
    checks = [c for c in checks_of(name) if only is None or only in c.name]
    expected = dict(plugin(name).expected_failures)
    for check in checks:
        yield perform(check, expected)
    unknown = sorted(set(expected) - {c.name for c in checks}) if only is None else []
    for entry in unknown:
        yield CheckResult(entry, "failed", "expected_failures names a check that does not exist")


def run_checks(name: str, *, only: str | None = None) -> list[CheckResult]:
    """The results of all checks of an installed plugin."""
    return list(iterate_checks(name, only=only))


def summary(results: Iterable[CheckResult]) -> dict[str, int]:
    """How many passed, failed, failed as expected, were skipped."""
    counts = {"passed": 0, "failed": 0, "expected": 0, "skipped": 0}
    for result in results:
        counts[result.status] += 1
    return counts


def parametrize_checks(name: str) -> Any:
    """`pytest.mark.parametrize` over the checks; the test takes `check` and calls it."""
    import pytest

    expected = dict(plugin(name).expected_failures)

    def runner(check: Check) -> Any:
        def run() -> None:
            result = perform(check, expected)
            if result.status == "failed":
                pytest.fail(f"{result.name}: {result.detail}", pytrace=False)
            if result.status == "skipped":
                pytest.skip(result.detail)
            if result.status == "expected":
                pytest.xfail(result.detail)

        return run

    checks = checks_of(name)
    return pytest.mark.parametrize(
        "check", [runner(c) for c in checks], ids=[c.name for c in checks]
    )
