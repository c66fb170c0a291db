"""The commands: which module each is in, and what `--help` says of it."""

from __future__ import annotations

# command -> (module of this package, or its full name; summary for --help)
COMMANDS: dict[str, tuple[str, str]] = {
    "predict": ("predict", "quantities of a file's systems, with units and uncertainty"),
    "embed": ("embed", "a model's features of a file's systems"),
    "neighbours": ("neighbours", "structures of a dataset that are most like a file's systems"),
    "simulate": ("simulate", "run a differentiable simulator, with or without a learned closure"),
    "fit": ("fit", "estimate a simulator's parameters from observations"),
    "discover": ("discover", "the differential equation behind a time series"),
    "pretrain": ("pretrain", "train one model on several domains, from a recipe"),
    "finetune": ("finetune", "adapt a model to your data"),
    "evaluate": ("evaluate", "errors of a model beside baselines"),
    "dataset": ("dataset", "list, show, build, convert, check and pack data"),
    "plugin": ("plugin", "list, check and create plugins"),
    "example": ("example", "paths of the small input files that come with sfm"),
    "models": ("models", "bundled, cached and published models"),
    "push": ("push", "publish a model or a dataset on a Hub"),
    "pull": ("pull", "download a model or a dataset from a Hub"),
    "serve": (
        "sfm.serve.command",
        "the hub as a local page: look at it, predict, simulate",
    ),
    "doctor": ("doctor", "versions, devices, plugins, cache: what is missing and how to get it"),
}
