"""Files and folders are replaced whole or not at all: full disks, mount points, links, kills."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sfm.data.atomic import atomic
from sfm.data.lock import LOCK, only_run
from sfm.data.replacing import COMMITTED, replacing, settle
from sfm.errors import InputError, RunError, disk_fault, printable


def contents(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_text() for p in files}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB of its own; only root may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("cannot mount a file system here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def old_model(folder: Path) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "model-1-of-2.safetensors", "model-2-of-2.safetensors", "mine"):
        (folder / name).write_text(f"old {name}")
    return contents(folder)


def replace_model(folder: Path, text: str = "new") -> None:
    with replacing(folder, stale=("model*.safetensors",)) as scratch:
        (scratch / "config.json").write_text(f"{text} config")
        (scratch / "model.safetensors").write_text(f"{text} weights")
        (scratch / "deep").mkdir()
        (scratch / "deep" / "part").write_text(text)


NEW = {
    "config.json": "new config",
    "model.safetensors": "new weights",
    "deep/part": "new",
    "mine": "old mine",
}


def test_files_of_a_folder_are_replaced_and_others_stay(tmp_path):
    folder = tmp_path / "model"
    old_model(folder)
    replace_model(folder)
    assert contents(folder) == NEW
    replace_model(folder)
    assert contents(folder) == NEW
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in folder.rglob("*"))


def test_a_failure_before_the_step_changes_nothing(tmp_path):
    before = old_model(tmp_path / "model")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "model", ("*",)) as scratch:
        (scratch / "config.json").write_text(f"half {1 // 0}")
    assert contents(tmp_path / "model") == before


class Killed(BaseException):
    """Stands for kill -9: no handler of ours may catch it on its way."""


@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("call", ["replace", "unlink"])
def test_a_kill_behind_the_step_is_finished_by_the_next_reader(tmp_path, monkeypatch, call, after):
    folder = tmp_path / "model"
    old_model(folder)
    place = os if call == "replace" else Path
    real, calls = getattr(place, call), []

    def killing(*args, **options):
        if (folder / COMMITTED).is_dir():
            calls.append(args)
            if len(calls) == after + 1:
                raise Killed
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(place, call, killing)
        try:
            replace_model(folder)
        except Killed:
            assert (folder / COMMITTED).is_dir()
    settle(folder)
    assert contents(folder) == NEW
    settle(folder)
    assert contents(folder) == NEW


def test_a_mount_point_keeps_the_old_files_until_the_new_are_whole(small_disk):
    """Scratch files on another file system made the last step fail after the old files had gone."""
    old_model(small_disk)
    replace_model(small_disk)
    assert contents(small_disk) == NEW
    (small_disk / "config.json").write_text("x" * 100_000)
    before = contents(small_disk)
    with pytest.raises(RunError, match="No space left on device"):
        replace_model(small_disk, "much too long " * 20_000)
    assert contents(small_disk) == before


def test_a_link_to_another_file_system(small_disk, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(small_disk)
    old_model(small_disk)
    replace_model(link)
    assert contents(small_disk) == NEW
    (small_disk / "table").write_text("old")
    file = tmp_path / "table"
    file.symlink_to(small_disk / "table")
    with atomic(file) as scratch:
        scratch.write_text("new")
    assert file.is_symlink()
    assert (small_disk / "table").read_text() == "new"


def test_a_functional_saved_on_a_full_disk_leaves_the_old_one_whole(small_disk):
    pytest.importorskip("sfm_dft")
    from sfm_dft.neural.functional import KINDS
    from sfm_dft.neural.saving import load, save

    save([KINDS["NeuralGGA"](seed=0, hidden=8)], small_disk)
    before = {p.name: p.read_bytes() for p in small_disk.iterdir()}
    with pytest.raises(RunError, match="No space left on device"):
        save([KINDS["NeuralGGA"](seed=0, hidden=512)], small_disk)
    assert {p.name: p.read_bytes() for p in small_disk.iterdir()} == before
    load(small_disk)


def test_parquet_on_a_full_disk(small_disk):
    import numpy as np

    from sfm.data.storage import ID, SPLIT, Column, Dataset, write_dataset

    columns = [ID, SPLIT, Column("energy", "eV", "label", "PBE", shape=(-1,), dtype="float64")]

    def rows(n):
        values = np.random.default_rng(0).normal(size=n)
        return [{"id": "a", "split": "train", "energy[eV]@PBE": values}]

    write_dataset(small_disk, columns, rows(10), {"domain": "toy"})
    with pytest.raises(RunError, match="No space left on device"):
        write_dataset(small_disk, columns, rows(100_000), {"domain": "toy"})
    assert len(Dataset(small_disk)) == 1
    assert [p.name for p in (small_disk / "data").iterdir()] == ["part-00000-of-00001.parquet"]


def test_a_full_disk_under_one_file(small_disk):
    path = small_disk / "out.npz"
    path.write_text("old")
    import numpy as np

    with (
        pytest.raises(RunError, match=r"out\.npz: cannot be written") as caught,
        atomic(path) as new,
    ):
        np.savez(new, a=np.random.default_rng(0).normal(size=100_000))
    assert "\n" not in str(caught.value)
    assert contents(small_disk) == {"out.npz": "old"}


def test_hdf5_on_a_full_disk(small_disk):
    import numpy as np

    from sfm.cli.results import write_arrays

    path = small_disk / "out.h5"
    path.write_text("old")
    with pytest.raises(RunError, match="No space left"):
        write_arrays(path, {"a": np.zeros(100_000)}, {"a": "1"})
    assert contents(small_disk) == {"out.h5": "old"}


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("a file")
    for path in (tmp_path / "file" / "out.npz", tmp_path / ("x" * 300)):
        with pytest.raises(InputError), atomic(path) as scratch:
            scratch.write_text("")
    with pytest.raises(InputError, match="no regular file"), atomic("/dev/null"):
        pass
    with pytest.raises(InputError, match="is a file"), replacing(tmp_path / "file"):
        pass
    with pytest.raises(InputError, match="cannot be used"), replacing(tmp_path / "file" / "in"):
        pass
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(InputError), replacing(loop):
        pass


def _hold(folder: Path, ready, done) -> None:
    with only_run(folder):
        ready.set()
        done.wait(60)


def test_the_second_run_is_refused_and_told_of_the_first(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    first = context.Process(target=_hold, args=(tmp_path, ready, done))
    first.start()
    assert ready.wait(60)
    said = f"in use by process {first.pid} on "
    with pytest.raises(InputError, match=said) as caught, only_run(tmp_path):
        pass
    assert "since 20" in str(caught.value)
    assert "\n" not in str(caught.value)
    done.set()
    first.join()
    with only_run(tmp_path):
        assert (tmp_path / LOCK).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_does_not_keep_its_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    first = context.Process(target=_hold, args=(tmp_path, ready, done))
    first.start()
    assert ready.wait(60)
    first.kill()
    first.join()
    assert (tmp_path / LOCK).exists()
    with only_run(tmp_path):
        pass


def test_the_other_processes_of_one_run_do_not_ask(tmp_path, monkeypatch):
    with only_run(tmp_path):
        with pytest.raises(InputError), only_run(tmp_path):
            pass
        monkeypatch.setenv("LOCAL_RANK", "1")
        with only_run(tmp_path):
            pass


def test_which_errors_are_the_disk_s():
    assert isinstance(disk_fault(OSError(errno.ENOSPC, "x")), RunError)
    assert isinstance(disk_fault(OSError("write failed: errno = 28, error message")), RunError)
    assert isinstance(disk_fault(RuntimeError("I/O error: (os error 122)")), RunError)
    assert isinstance(disk_fault(PermissionError(errno.EACCES, "no", "file")), InputError)
    assert disk_fault(ConnectionRefusedError(errno.ECONNREFUSED, "no")) is None
    assert disk_fault(ValueError("28")) is None


def test_text_for_the_terminal_commands_nothing():
    assert printable("a\x1b[31mb\x9bc\u202ed\te\n") == "a?[31mb?c?d\te\n"


def test_a_dataset_that_is_being_written_is_not_written_twice(tmp_path, monkeypatch):
    """Whoever writes it: the command line, or a `build.py` by itself."""
    from sfm.data.lock import HELD
    from sfm.data.storage import ID, SPLIT, Column, write_dataset

    columns = [ID, SPLIT, Column("energy", "eV", "label", "PBE", dtype="float64")]
    rows = [{"id": "a", "split": "train", "energy[eV]@PBE": 1.0}]
    folder = tmp_path / "d"
    with only_run(folder):
        with pytest.raises(InputError, match="is in use by process"):
            write_dataset(folder, columns, rows, {"domain": "toy"})
        monkeypatch.setenv(HELD, os.path.realpath(folder))  # started by the one that holds it
        write_dataset(folder, columns, rows, {"domain": "toy"})
    monkeypatch.delenv(HELD)
    with pytest.raises(InputError, match="split 'other'"):
        write_dataset(tmp_path / "no", columns, [{**rows[0], "split": "other"}], {})
    assert not (tmp_path / "no").exists()
