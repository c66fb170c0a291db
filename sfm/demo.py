"""`make demo`: the whole road on real bundled data, each station by the command that a user types.

Joint pretraining on four domains for two minutes, publishing that model to a Hub and downloading
it. Then, with the bundled model `sfm-tiny`, which was trained in the same way for longer:
fine-tuning on 100 measured formation energies beside training from scratch, and one simulation per
domain with the model's closure inside. Ends with a table of what was measured. The Hub is
`sfm.testing.hub_server`, in a process of its own on this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfm.data.bundled import examples_dir
from sfm.testing.hub_server import client_environment

REPO = "tester/sfm-demo"
MODEL = "sfm-tiny"


@dataclass(frozen=True)
class Row:
    """One line of the final table."""

    station: str
    measured: str
    value: str
    unit: str
    beside: str = ""


class CommandFailed(Exception):
    """A command of the demo ended with another exit code than 0."""


def sfm_json(*argv: str) -> dict[str, Any]:
    """Run one `sfm` command in this process, as typed, and return what it says with `--json`."""
    from sfm.cli import main

    print(f"\n$ sfm {' '.join(argv)}", file=sys.stderr, flush=True)
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = main([*argv, "--json"])
    if code:
        raise CommandFailed(f"`sfm {' '.join(argv)}` ended with exit code {code}")
    result: dict[str, Any] = json.loads(text.getvalue() or "{}")
    return result


@contextlib.contextmanager
def local_hub(home: Path) -> Iterator[str]:
    """A Hub in a process of its own; the client's environment points at it."""
    command = [sys.executable, "-m", "sfm.testing.hub_server", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        token = process.stdout.readline().split("HF_TOKEN=")[1].split()[0]
        os.environ.update(client_environment(url, token, home))
        yield url
    finally:
        process.terminate()
        process.communicate()


def pretraining(out: Path, recipe: str) -> list[Row]:
    """Pretrain a small model on all domains."""
    began = time.perf_counter()
    sfm_json("pretrain", recipe, "--out", str(out / "model"))
    report = json.loads((out / "model" / "report.json").read_text())
    rows = [Row("pretrain", "joint training", f"{time.perf_counter() - began:.0f}", "s")]
    rows += [_metric(f"pretrain, {m['encoder']}", m) for m in report["metrics"]]
    return rows


def _metric(station: str, metric: dict[str, Any], *others: str, total: bool = False) -> Row:
    """A test-set error beside what one has without a model; `total`: not per token."""
    per_token = metric["mae_per_token"] is not None and not total
    key = "mae_per_token" if per_token else "mae"
    beside = [f"{metric[f'baseline_{key}']:.4g} ({metric['baseline'].partition(' (')[0]})"]
    if metric["mean_mae"] is not None and not per_token:
        beside.append(f"{metric['mean_mae']:.4g} (mean predictor)")
    return Row(
        station,
        f"{metric['quantity']} MAE @ {metric['level']}",
        f"{metric[key]:.4g}",
        metric["unit"] + (f"/{metric['token']}" if per_token else ""),
        "; ".join([*beside, *others]),
    )


def publishing(out: Path, example: Path) -> list[Row]:
    """Publish the model to a Hub, load it from there, and compare."""
    before = sfm_json("predict", str(out / "model"), str(example))
    sfm_json("push", str(out / "model"), REPO)
    sfm_json("pull", REPO, "--out", str(out / "pulled"))
    after = sfm_json("predict", REPO, str(example))
    same = before["quantities"] == after["quantities"]
    if not same:
        raise CommandFailed("the downloaded model does not predict what the uploaded one did")
    size = sum(p.stat().st_size for p in (out / "pulled").rglob("*") if p.is_file()) / 1e6
    return [
        Row("hub", "predictions after push, download", "identical", "", example.name),
        Row("hub", "size of the repository", f"{size:.1f}", "MB"),
    ]


def finetuning(out: Path, steps: int) -> list[Row]:
    """Fine-tune a model to a quantity of few labels."""
    common = ["--data", "crystals/formation-energy-exp", "--target", "formation_energy"]
    sfm_json(
        "finetune", MODEL, *common, "--set", "training.max_samples=100", "--steps", str(steps),
        "--scratch", "--out", str(out / "finetuned"),
    )  # fmt: skip
    report = json.loads((out / "finetuned" / "report.json").read_text())
    scratch = {m["quantity"]: m for m in report["scratch"]}
    rows = []
    for metric in report["metrics"]:
        other = _metric("", scratch[metric["quantity"]], total=True).value
        beside = f"{other} (from scratch)"
        rows.append(_metric(f"finetune {MODEL}, 100 labels", metric, beside, total=True))
    return rows


def _last(report: dict[str, Any], name: str) -> float:
    value = report["quantities"][name]["value"]
    while isinstance(value, list):
        value = value[-1]
    return float(value)


def molecules(out: Path, model: str) -> list[Row]:
    """Molecular dynamics of ethanol, with the model's energy as the force field."""
    report = sfm_json(
        "simulate", "molecules/molecular-dynamics", "--input", str(examples_dir() / "ethanol.xyz"),
        "--closure", model, "--steps", "200", "--every", "4", "--set", "dt=0.5",
        "--plot", str(out / "molecular_dynamics.png"), "--output", str(out / "ethanol_md.extxyz"),
    )  # fmt: skip
    total = report["quantities"]["conserved_energy"]["value"]
    kinetic = report["quantities"]["nuclear_kinetic_energy"]["value"]
    drift = 1e3 * abs(total[-1][0] - total[0][0])
    swing = 1e3 * (max(kinetic)[0] - min(kinetic)[0])
    return [
        Row("simulate, molecules", "energy drift, ethanol, 100 fs", f"{drift:.3g}", "meV",
            f"{swing:.3g} (swing of the kinetic energy)"),
    ]  # fmt: skip


def crystals(out: Path, model: str) -> list[Row]:
    """Relaxation of rock salt, cell and atoms, with the model's energy."""
    report = sfm_json(
        "simulate", "crystals/lattice", "--input", str(examples_dir() / "nacl.cif"),
        "--closure", model, "--steps", "150", "--every", "3", "--plot", str(out / "lattice.png"),
        "--output", str(out / "nacl_relaxed.cif"),
    )  # fmt: skip
    side = (_last(report, "volume") / (report["quantities"]["forces"]["shape"][-2] / 8)) ** (1 / 3)
    return [Row("simulate, crystals", "lattice constant of NaCl", f"{side:.3f}", "angstrom",
                "5.640 (measured)")]  # fmt: skip


def fluids(out: Path, model: str) -> list[Row]:
    """Large-eddy simulation on 32 x 32 cells, two time units, against the filtered DNS."""
    import h5py
    import numpy as np

    field = examples_dir() / "turbulence.h5"
    with h5py.File(field) as file:
        truth = _vorticity(file["velocity"][8])
    rows = []
    for name, closure in (("trained closure", ["--closure", model]), ("no closure", [])):
        target = out / f"les_{name.split()[0]}"
        sfm_json(
            "simulate", "fluids/navier-stokes-2d", "--input", str(field), "--steps", "200",
            "--set", "viscosity=0.002", "--set", "drag=0.1", "--set", "dt=0.01",
            "--set", "height=32", "--set", "width=32",
            *closure, "--plot", f"{target}.png", "--output", f"{target}.npz",
        )  # fmt: skip
        with np.load(f"{target}.npz") as result:
            vorticity = result["vorticity"][-1].reshape(truth.shape)
        correlation = np.corrcoef(vorticity.ravel(), truth.ravel())[0, 1]
        rows.append((name, correlation))
    (_, learned), (_, bare) = rows
    return [Row("simulate, fluids", "vorticity correlation with filtered DNS at t = 2",
                f"{learned:.4f}", "1", f"{bare:.4f} (same solver, no closure)")]  # fmt: skip


def _vorticity(velocity: Any) -> Any:
    """(2, H, W) on a 2 pi square -> dv/dx - du/dy, spectrally."""
    import numpy as np

    n, m = velocity.shape[1:]
    kx, ky = np.fft.rfftfreq(m, 1 / m), np.fft.fftfreq(n, 1 / n)[:, None]
    u, v = np.fft.rfft2(velocity)
    return np.fft.irfft2(1j * kx * v - 1j * ky * u, s=(n, m))


def dft(out: Path, model: str) -> list[Row]:
    """Self-consistent methanol (in the test split): LDA, LDA with the trained closure, PBE."""
    common = ["simulate", "dft/kohn-sham", "--input", str(examples_dir() / "methanol.xyz"),
              "--steps", "25", "--set", "grid_level=1"]  # fmt: skip
    learned = sfm_json(*common, "--closure", model, "--plot", str(out / "electron_density.png"))
    lda = sfm_json(*common, "--set", "functional=LDA")
    pbe = sfm_json(*common, "--set", "functional=PBE")
    error = _last(learned, "energy") - _last(pbe, "energy")
    plain = _last(lda, "energy") - _last(pbe, "energy")
    return [Row("simulate, dft", "energy of methanol minus PBE", f"{error:.3f}", "eV",
                f"{plain:.3f} (LDA without closure)")]  # fmt: skip


def montage(out: Path) -> Path:
    """The demo's pictures on one page."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplot_mosaic(
        [["losses", "parity"], ["flow", "flow"], ["density", "density"]],
        figsize=(11, 11),
        height_ratios=[1.0, 0.62, 0.78],
        layout="constrained",
    )
    pictures = {
        "losses": out / "model" / "losses.png",
        "parity": out / "finetuned" / "parity.png",
        "flow": out / "les_trained.png",
        "density": out / "electron_density.png",
    }
    for name, path in pictures.items():
        axes[name].axis("off")
        axes[name].imshow(plt.imread(path))
    target = out / "overview.png"
    figure.savefig(target, dpi=110)
    plt.close(figure)
    return target


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text."""
    lines = [("station", "measured", "value", "unit", "beside")]
    lines += [(r.station, r.measured, r.value, r.unit, r.beside) for r in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(5)]
    text = [
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
    text.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; exit code 0 if every station worked."""
    parser = argparse.ArgumentParser(prog="python -m sfm.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of all results")
    parser.add_argument("--recipe", default="demo", help="pretraining recipe")
    parser.add_argument("--steps", type=int, default=150, help="steps of fine-tuning")
    arguments = parser.parse_args(argv)
    out: Path = arguments.out
    if out.exists():
        if any(out.iterdir()) and not (out / "hub-cache").is_dir():
            parser.error(f"{out} holds something else than a demo: give another --out")
        shutil.rmtree(out)
    (out / "hub-cache").mkdir(parents=True)
    began = time.perf_counter()
    rows: list[Row] = []
    with local_hub(out / "hub-cache") as url:
        print(f"a Hub for this demo runs at {url}", file=sys.stderr)
        try:
            rows += pretraining(out, arguments.recipe)
            rows += publishing(out, examples_dir() / "ethanol.xyz")
            rows += finetuning(out, arguments.steps)
            for simulate in (molecules, crystals, fluids, dft):
                rows += simulate(out, MODEL)
            montage(out)
        except CommandFailed as failure:
            print(f"demo: {failure}", file=sys.stderr)
            return 1
    text = table(rows)
    (out / "table.txt").write_text(text + "\n")
    print(f"\n{text}\n\nin all {time.perf_counter() - began:.0f} s; results and pictures: {out}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
