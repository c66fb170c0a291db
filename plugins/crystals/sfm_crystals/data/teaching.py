"""Labels from a teacher: a published model that runs in an environment of its own.

A teacher's module is also a script, `python MODULE.py INPUT.jsonl OUTPUT.jsonl ...`, which appends
one answer per line of its input; it imports neither sfm nor this plugin.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sfm.data.atomic import write_text
from sfm.errors import RunError


def taught(
    script: str | Path,
    python: str,
    tasks: Iterable[Mapping[str, Any]],
    answers: Path,
    *,
    requires: Iterable[str],
    arguments: Iterable[str] = (),
) -> dict[str, dict[str, Any]]:
    """The teacher's answers by `id`. Those that the file holds already are not asked for again.

    Args:
        script: the teacher.
        python: a Python that has what the teacher needs.
        tasks: what is asked, each with its `id`.
        answers: file of all answers; grows while the teacher works.
        requires: what `pip install` needs to make such a Python, for the message.
        arguments: more arguments of the script.

    Raises:
        RunError: the teacher failed; the message says how to make an environment for it.
    """
    done = labelled_ids(answers)
    lines = [json.dumps(task) + "\n" for task in tasks if task["id"] not in done]
    if lines:
        asked = answers.with_name(f"asked-{answers.name}")
        write_text(asked, "".join(lines))
        # isolated: the script's folder must not hide the package that it is named after
        command = [python, "-I", "-W", "ignore", str(script), str(asked), str(answers), *arguments]
        if subprocess.run(command).returncode:
            raise RunError(
                f"the teacher failed under {python}; make an environment for it with `python -m "
                f"venv teacher && teacher/bin/pip install {' '.join(requires)}` and pass "
                "--teacher-python teacher/bin/python"
            )
    return {row["id"]: row for row in map(json.loads, answers.read_text().splitlines())}


def labelled_ids(answers: Path) -> set[str]:
    """Identifiers that `answers` holds; a line that a crash cut off is removed from the file."""
    if not answers.exists():
        return set()
    lines = answers.read_text().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("}\n")]
    if len(whole) < len(lines):
        write_text(answers, "".join(whole))
    return {json.loads(line)["id"] for line in whole}
