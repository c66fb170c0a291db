"""Weights sharded over two processes by Lightning's strategy of torch's FSDP2: one step equals that
of one process. (Lightning's older strategy `fsdp` refuses to run without a GPU.)"""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch

STEP = """
import sys, torch
import pytorch_lightning as pl
from pytorch_lightning.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
import sfm
from sfm.model import FoundationModel
from sfm.testing.models import config_for

folder, size, part = sys.argv[1], int(sys.argv[2]), "molecules/atoms"


class Training(pl.LightningModule):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def configure_model(self):
        if size == 1 or isinstance(next(self.parameters()), DTensor):
            return
        fully_shard(self.model, mesh=self.device_mesh["data_parallel"])
        for name, value in self.model.named_parameters():
            assert isinstance(value, DTensor), name
            assert value.to_local().shape[0] <= -(-value.shape[0] // size), name

    def training_step(self, batch, index):
        samples = [sfm.read(smiles)[0] for smiles in batch[self.global_rank :: size]]
        level = self.model.targets(encoder=part)[0].level
        tokens = self.model.tokenize(part, samples, level)
        out = self.model({part: tokens}, {part: ["energy", "forces"]}, create_graph=True)[part]
        loss = 1e-3 * out["energy"].square().sum() + out["forces"].square().sum()
        return loss * size / len(batch)  # gradients are averaged over processes

    def configure_optimizers(self):
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], 1e-3)


torch.manual_seed(0)
model = FoundationModel(config_for({part: ("energy",)})).double().train()
start = {name: value.detach().clone() for name, value in model.named_parameters()}
trainer = pl.Trainer(
    accelerator="cpu", devices=size, max_steps=1, logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    inference_mode=False,
    strategy=ModelParallelStrategy(data_parallel_size=size, tensor_parallel_size=1)
    if size > 1
    else "auto",
)
data = torch.utils.data.DataLoader(["CCO", "CCN", "O", "CC=O"], batch_size=4)
module = Training(model)
trainer.fit(module, data)
assert trainer.global_step == 1
whole = {
    name: value.full_tensor() if isinstance(value, DTensor) else value
    for name, value in module.model.named_parameters()
}
if trainer.is_global_zero:
    torch.save({n: (start[n], p.detach()) for n, p in whole.items()}, f"{folder}/{size}.pt")
"""


@pytest.mark.slow
def test_a_step_with_sharded_weights_is_that_of_one_process(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", STEP, str(tmp_path)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    common |= {"MASTER_PORT": port, "NODE_RANK": "0"}
    for size in (1, 2):
        ranks = [
            subprocess.Popen(
                [*command, str(size)],
                env={**common, "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)},
            )
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
