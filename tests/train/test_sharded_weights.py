"""Weights sharded over two processes (torch's FSDP2, gloo): one step equals that of one process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

STEP = """
import sys, torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
import sfm
from sfm.model import FoundationModel
from sfm.testing.models import config_for

folder, rank, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
part = "molecules/atoms"
torch.manual_seed(0)
model = FoundationModel(config_for({part: ("energy",)})).double().train()
start = {name: value.detach().clone() for name, value in model.named_parameters()}
if size > 1:
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=size)
    fully_shard(model, mesh=init_device_mesh("cpu", (size,)))
    for name, value in model.named_parameters():
        assert isinstance(value, DTensor), name
        assert value.to_local().shape[0] <= -(-value.shape[0] // size), name
samples = [sfm.read(smiles)[0] for smiles in ("CCO", "CCN", "O", "CC=O")]
tokens = model.tokenize(part, samples[rank::size], model.targets(encoder=part)[0].level)
out = model({part: tokens}, {part: ["energy", "forces"]}, create_graph=True)[part]
loss = (1e-3 * out["energy"].square().sum() + out["forces"].square().sum()) * size / 4
loss.backward()  # gradients are averaged over processes
weights = [p for p in model.parameters() if p.requires_grad]
torch.optim.SGD(weights, 1e-3).step()
whole = {n: p.full_tensor() if size > 1 else p for n, p in model.named_parameters()}
if rank == 0:
    torch.save({n: (start[n], p.detach()) for n, p in whole.items()}, f"{folder}/{size}.pt")
if size > 1:
    dist.destroy_process_group()
"""


@pytest.mark.slow
def test_a_step_with_sharded_weights_is_that_of_one_process(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", STEP, str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for size in (1, 2):
        ranks = [
            subprocess.Popen([*command, str(rank), str(size)], env=environment)
            for rank in range(size)
        ]
        assert [process.wait(600) for process in ranks] == [0] * size
    one, two = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in (1, 2))
    assert one.keys() == two.keys()
    moved = 0
    for name, (start, value) in one.items():
        # float64: another order of summation differs by rounding only
        torch.testing.assert_close(two[name][1], value, rtol=1e-9, atol=1e-12, msg=name)
        moved += not torch.equal(start, value)
    assert moved > len(one) / 2
