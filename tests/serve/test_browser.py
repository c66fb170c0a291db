"""The page in headless Chromium, as a person meets it. Skipped where there is no Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt install chromium)"),
]
WAIT = 600_000  # ms; a busy machine takes long to load its first model
UNNAMED = """() => [...document.querySelectorAll("a, button, input, select, textarea, [role=img]")]
    .filter((e) => !(e.labels?.length || e.getAttribute("aria-label") || e.textContent.trim()))
    .map((e) => e.outerHTML)"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def address(tmp_path_factory, runs) -> Iterator[str]:
    command = [sys.executable, "-m", "sfm", "serve", "--port", "0", "--seconds", "3000"]
    process = subprocess.Popen(
        [*command, "--watch", str(runs)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path_factory.mktemp("serve"),
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.wait(60)
    process.stdout.close()


@pytest.fixture(scope="module")
def page(address):
    with sync_api.sync_playwright() as playwright:
        # software rendering, for machines without a graphics card
        flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        tab.set_default_timeout(WAIT)
        tab.problems = []
        tab.on("pageerror", lambda error: tab.problems.append(str(error)))
        tab.on(
            "console",
            lambda message: message.type == "error" and tab.problems.append(message.text),
        )
        tab.goto(address)
        yield tab
        browser.close()


def test_a_molecule_is_predicted_and_seen(page):
    page.get_by_label("SMILES, or a file's text").fill("CCO")
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("sfm predict sfm-tiny CCO").wait_for()
    assert page.get_by_role("cell", name="eV", exact=True).count() >= 1
    assert "±" in page.get_by_role("region", name="Quantities of CCO").inner_text()
    page.get_by_text("Arrows: forces, the longest").wait_for()
    page.get_by_role("img", name="CCO, in three dimensions").press("ArrowLeft")
    assert page.evaluate(UNNAMED) == []
    assert page.problems == []


def test_a_molecule_is_drawn(page):
    page.get_by_text("Draw a molecule").click()
    box = page.get_by_role("application", name="Editor to draw a molecule")
    page.locator(".editor > *").first.wait_for()
    text = page.get_by_label("SMILES, or a file's text")
    text.fill("c1ccccc1")
    text.dispatch_event("change")  # what is typed is drawn
    page.wait_for_timeout(500)
    place = box.bounding_box()
    box.click(position={"x": 0.85 * place["width"], "y": 40})  # one bond beside it
    sync_api.expect(text).to_have_value(re.compile(r"\."), timeout=WAIT)
    assert sorted(text.input_value().split(".")) == ["CC", "c1ccccc1"]
    text.fill("CCO")
    text.dispatch_event("change")
    page.get_by_text("Draw a molecule").click()
    assert page.problems == []


def test_what_is_like_it_is_found(page):
    page.get_by_text("What a dataset holds that is like it").click()
    page.get_by_label("Dataset", exact=True).select_option("dft/g2-atomisation")
    page.get_by_label("Neighbours", exact=True).fill("4")
    page.get_by_role("button", name="Search").press("Enter")
    page.get_by_text("sfm neighbours sfm-tiny CCO").wait_for()
    nearest = page.get_by_role("region", name="Nearest to CCO")
    assert nearest.get_by_role("button").count() == 4
    nearest.get_by_role("button").nth(1).press("Enter")
    labels = page.get_by_role("region", name="Labels of")
    labels.get_by_role("cell", name="eV", exact=True).first.wait_for()
    page.get_by_role("img", name="of the dataset, in three dimensions").wait_for()
    assert page.evaluate(UNNAMED) == []
    assert page.evaluate(OVERFLOW) <= 0
    assert page.problems == []


def test_two_levels_stand_side_by_side_and_features_are_seen(page, address):
    page.goto(f"{address}#/predict")
    page.get_by_label("SMILES, or a file's text").fill("CCO")
    both = ("GFN2-xTB", "experiment (chemicals 1.5.2)")
    page.get_by_label("Level of theory", exact=True).select_option(both[0])
    page.get_by_label("Beside it", exact=True).select_option("sfm-tiny")
    page.get_by_label("At the level", exact=True).select_option(both[1])
    page.get_by_role("button", name="Predict").press("Enter")
    panels = [page.get_by_role("region", name=f"sfm-tiny at {x}", exact=True) for x in both]
    for panel, level in zip(panels, both, strict=True):
        panel.get_by_role("heading", name="CCO").wait_for()
        table = panel.get_by_role("region", name="Quantities of CCO")
        assert set(table.locator("tbody td:last-child").all_inner_texts()) == {level}
    left, right = (panel.bounding_box() for panel in panels)
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    panels[0].get_by_text("What the model sees in it: features").click()
    panels[0].get_by_role("img", name="features of CCO").wait_for()
    with page.expect_download() as download:
        panels[0].get_by_role("link", name="features.json").click()
    assert download.value.suggested_filename == "features.json"
    assert page.evaluate(UNNAMED) == []
    assert page.evaluate(OVERFLOW) <= 0
    assert page.problems == []


def test_a_density_is_seen_from_all_sides(page, address):
    page.goto(f"{address}#/simulate/dft/kohn-sham")
    page.get_by_text("Settings", exact=True).click()
    page.get_by_label("basis", exact=True).fill("sto-3g")
    page.get_by_role("button", name="Run").click()
    page.get_by_text("Done.").wait_for()
    view = page.get_by_role("img", name="Surfaces of dft/kohn-sham, in three dimensions")
    view.press("ArrowRight")
    page.get_by_text("density: surface at 0.3 e/angstrom^3").wait_for()
    level = page.get_by_label("At the level", exact=True)
    level.press("Home")
    assert level.get_attribute("aria-valuetext").endswith("e/angstrom^3")
    page.get_by_label("Surface of", exact=True).select_option("density_change")
    page.get_by_text("(red), and at its negative (blue)").wait_for()
    assert page.evaluate(UNNAMED) == []
    assert page.evaluate(OVERFLOW) <= 0
    assert page.problems == []


def test_a_flow_in_three_dimensions_is_seen(page, address):
    page.goto(f"{address}#/simulate/fluids/navier-stokes-3d")
    page.get_by_label("Steps", exact=True).fill("3")
    page.get_by_role("button", name="Run").click()
    page.get_by_text("Done.").wait_for()
    page.get_by_role("img", name="Surfaces of fluids/navier-stokes-3d").wait_for()
    assert page.evaluate(UNNAMED) == []
    assert page.problems == []


def test_a_training_run_is_watched(page, address, runs):
    page.goto(f"{address}#/training")
    page.get_by_text("No run yet").wait_for()
    command = [sys.executable, "-m", "sfm", "pretrain", "demo", "--out", str(runs / "mine")]
    settings = ["training.steps=40", "training.log_every=2", "training.accelerator=cpu"]
    process = subprocess.Popen([*command, "--set", *settings], stderr=subprocess.DEVNULL)
    table = page.get_by_role("region", name="Runs", exact=True)
    table.get_by_role("link", name="mine").press("Enter")
    table.get_by_role("cell", name="running").wait_for()
    page.get_by_role("img", name="Training loss by domain").wait_for()
    assert page.get_by_role("progressbar", name="Steps of mine").count() == 1
    page.set_viewport_size({"width": 390, "height": 800})  # a telephone
    assert page.evaluate(OVERFLOW) <= 0
    page.set_viewport_size({"width": 1200, "height": 900})
    assert process.wait(WAIT / 1000) == 0
    table.get_by_role("cell", name="finished").wait_for()
    page.get_by_role("region", name="Errors after training").wait_for()
    assert page.evaluate(UNNAMED) == []
    assert page.problems == []


def test_every_page_loads(page, address):
    for name in ("Training", "Models", "Datasets", "Plugins"):
        page.get_by_role("link", name=name, exact=True).click()
        page.get_by_role("heading", level=1, name=name).wait_for()
        page.locator("main details, main section, main p").first.wait_for()
        assert page.evaluate(UNNAMED) == []
    assert page.problems == []


def test_a_flow_runs(page, address):
    page.goto(f"{address}#/simulate/fluids/navier-stokes-2d")
    page.get_by_label("Steps", exact=True).fill("10")
    page.get_by_label("viscosity, exact value", exact=True).fill("0.002")
    page.get_by_role("button", name="Run").click()
    page.get_by_text("Done.").wait_for()
    assert page.get_by_role("img", name="vorticity").count() == 1
    shown = page.locator("pre", has_text="sfm simulate").inner_text()
    assert shown == "sfm simulate fluids/navier-stokes-2d --set viscosity=0.002 --steps 10"
    assert page.get_by_role("link", name="run.npz").count() == 1
    assert page.evaluate(UNNAMED) == []
    page.set_viewport_size({"width": 390, "height": 800})  # a telephone
    assert page.evaluate(OVERFLOW) <= 0
    page.set_viewport_size({"width": 1200, "height": 900})
    assert page.problems == []


def test_a_mistake_is_one_line(page, address):
    page.goto(f"{address}#/predict")
    page.get_by_label("SMILES, or a file's text").fill("CC(O")
    page.get_by_role("button", name="Predict").click()
    said = page.get_by_role("alert").inner_text()
    assert "is not a SMILES string" in said
    assert "\n" not in said
