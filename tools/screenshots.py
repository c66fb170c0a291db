"""The pictures of `sfm serve` in the docs, taken in headless Chromium.

    python tools/screenshots.py            # writes docs/images/serve-*.png
    python tools/screenshots.py training   # one of them: molecule, flow, density, models, training

Needs the extra `serve`, playwright and Debian's `chromium`. A picture has 256 colours
(`tools/pictures.py`).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from pictures import shrink
from playwright.sync_api import Page, sync_playwright

from sfm.data.bundled import models_dir

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
# software rendering, for machines without a graphics card
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WAIT = 600_000  # ms; a busy machine takes long to load its first model


def molecule(page: Page, address: str) -> None:
    """Aspirin with forces as arrows and charges as colours."""
    page.goto(f"{address}#/predict")
    page.get_by_label("SMILES, or a file's text").fill("CC(=O)Oc1ccccc1C(=O)O")
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("Arrows: forces, the longest").wait_for()
    page.wait_for_timeout(1500)


def flow(page: Page, address: str) -> None:
    """Turbulence behind its sliders."""
    page.goto(f"{address}#/simulate/fluids/navier-stokes-2d")
    page.get_by_label("Steps", exact=True).fill("150")
    page.get_by_label("viscosity, exact value", exact=True).fill("0.002")
    page.get_by_role("button", name="Run").click()
    page.get_by_text("Done.").wait_for()
    page.evaluate("scrollTo(0, 0)")


def density(page: Page, address: str) -> None:
    """What bonding does to the density of water, as surfaces."""
    page.goto(f"{address}#/simulate/dft/kohn-sham")
    page.get_by_role("button", name="Run").click()
    page.get_by_text("Done.").wait_for()
    page.get_by_label("Surface of", exact=True).select_option("density_change")
    page.get_by_text("at its negative (blue)").wait_for()
    view = page.get_by_role("img", name="Surfaces of dft/kohn-sham")
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp", "+", "+"):
        view.press(key)
    page.wait_for_timeout(1500)
    page.evaluate("scrollTo(0, 0)")


def models(page: Page, address: str) -> None:
    """Errors beside baselines."""
    page.goto(f"{address}#/models")
    page.get_by_text("Errors beside baselines").first.wait_for()


def training(page: Page, address: str) -> None:
    """The losses of the bundled model's last leg, by domain."""
    page.goto(f"{address}#/training")
    page.get_by_role("link", name="sfm-tiny").click()
    page.get_by_role("img", name="Training loss by domain").wait_for()
    page.wait_for_timeout(500)


PICTURES = (molecule, flow, density, models, training)


def main() -> None:
    """Start the page, take the pictures, end it."""
    asked = sys.argv[1:] or [what.__name__ for what in PICTURES]
    if unknown := set(asked) - {what.__name__ for what in PICTURES}:
        names = ", ".join(what.__name__ for what in PICTURES)
        sys.exit(f"no picture {', '.join(sorted(unknown))}; there are {names}")
    chromium = shutil.which("chromium") or sys.exit(
        "no chromium here (Debian: apt install chromium)"
    )
    command = [sys.executable, "-m", "sfm", "serve", "--port", "0", "--seconds", "3000"]
    command += ["--watch", str(models_dir())]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport={"width": 1200, "height": 850})
            page.set_default_timeout(WAIT)
            for what in PICTURES:
                if what.__name__ not in asked:
                    continue
                what(page, address)
                path = IMAGES / f"serve-{what.__name__}.png"
                page.screenshot(path=path)
                shrink(path)
                print(path)
            browser.close()
    finally:
        server.terminate()
        server.wait(60)


if __name__ == "__main__":
    main()
