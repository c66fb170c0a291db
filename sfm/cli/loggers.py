"""`--logger` of `pretrain` and `finetune`."""

from __future__ import annotations

import argparse

NAMES = ("csv", "tensorboard", "wandb", "trackio")


def add_logger(parser: argparse.ArgumentParser) -> None:
    """Add the flag."""
    parser.add_argument(
        "--logger",
        action="append",
        default=[],
        choices=NAMES,
        help="where the numbers of the run go; may be repeated (default: csv and tensorboard)",
    )


def logger_settings(arguments: argparse.Namespace) -> list[str]:
    """The flag as a setting of the recipe."""
    return [f"training.loggers=[{', '.join(arguments.logger)}]"] if arguments.logger else []
