"""Ranks together train as one process does, by DDP and FSDP2, in every stage, and resume on other ranks."""

import dataclasses
import json
import os
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from tests.train.conftest import tokenize as tokenize_fixture
from tests.train.test_stages import staged, unwrapped, with_regions

from siglip2.recipes.recipe import LossWeights, Optimizer, Schedule, Stage
from siglip2.train.loop import train
from siglip2.train.parallel import join_ranks

__all__ = ["staged", "with_regions"]


def tokenize(texts):
    """As the fixture of this name, but other processes can import it."""
    return unwrapped(tokenize_fixture)()(texts)


def one_rank(rank, world, port, recipe, data, run, stop_after, queue):
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        RANK=str(rank),
        WORLD_SIZE=str(world),
        LOCAL_RANK=str(rank),
    )
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=120))
    ranks = join_ranks("cpu", recipe.parallel)
    weights = train(recipe, data, tokenize, run, ranks=ranks, stop_after=stop_after)
    if rank == 0:
        torch.save(weights, queue)
    dist.destroy_process_group()


def train_on(world, recipe, data, run, port, stop_after=None):
    out = run.with_suffix(".pt")
    multiprocessing.spawn(one_rank, (world, port, recipe, data, run, stop_after, out), nprocs=world)  # pyright: ignore[reportPrivateImportUsage]
    return torch.load(out)


def losses(run):
    return [json.loads(line)["parts"] for line in (run / "log.jsonl").read_text().splitlines()]


def assert_same_losses(ours, theirs):
    assert len(ours) == len(theirs)
    for step, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-5), step


@pytest.fixture
def recipe(staged):
    return dataclasses.replace(staged, schedule=Schedule(num_steps=15, warmup_steps=2), checkpoint_every=5)


@pytest.fixture
def alone(recipe, with_regions, tmp_path):
    weights = train(recipe, with_regions, tokenize, tmp_path / "alone")
    return weights, losses(tmp_path / "alone")


@pytest.mark.parametrize(
    ("kind", "world"),
    [("ddp", 2), ("fsdp", 2), *(pytest.param(kind, 4, marks=pytest.mark.slow) for kind in ("ddp", "fsdp"))],
)
def test_ranks_agree_with_one_process_through_every_stage(
    recipe, with_regions, alone, tmp_path, free_tcp_port, kind, world
):
    """Self-distillation, masking, resolution change, NaFlex and curation included."""
    weights, expected = alone
    spread = dataclasses.replace(recipe, parallel=kind)
    found = train_on(world, spread, with_regions, tmp_path / "ranks", free_tcp_port)
    assert_same_losses(losses(tmp_path / "ranks"), expected)
    for name, value in weights.items():
        if name.endswith("k_proj.bias"):
            continue  # its gradient is zero but for rounding, which Adam makes as large as any other
        torch.testing.assert_close(found[name], value, atol=2e-4, rtol=0, msg=name)


UNUSED = {
    "softmax": LossWeights(sigmoid=0.0, softmax=1.0),
    "captions": LossWeights(sigmoid=0.0, locca=1.0),
    "views": LossWeights(self_distillation=0.25),
    "masks": LossWeights(sigmoid=0.0, masked_prediction=0.25),
}


@pytest.mark.parametrize("kind", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_losses_that_leave_parameters_unused_agree_with_one_process(
    staged, with_regions, tmp_path, free_tcp_port, kind
):
    """The bias, the text tower, one of the two heads: each stage leaves out something else."""
    stages = [Stage(name=name, begin=0.25 * place, losses=UNUSED[name]) for place, name in enumerate(UNUSED)]
    schedule = Schedule(num_steps=12, warmup_steps=2)
    recipe = dataclasses.replace(staged, stages=tuple(stages), schedule=schedule, parallel=kind)
    train(recipe, with_regions, tokenize, tmp_path / "alone")
    train_on(2, recipe, with_regions, tmp_path / "ranks", free_tcp_port)
    assert_same_losses(losses(tmp_path / "ranks"), losses(tmp_path / "alone"))


@pytest.mark.parametrize("kind", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_a_run_goes_on_with_another_number_of_ranks(
    recipe, with_regions, alone, tmp_path, free_tcp_port_factory, kind
):
    """Four ranks, then two, then one process: the same samples in the same steps, none lost or repeated."""
    _, expected = alone
    spread = dataclasses.replace(recipe, parallel=kind)
    run = tmp_path / "ranks"
    train_on(4, spread, with_regions, run, free_tcp_port_factory(), stop_after=4)
    train_on(2, spread, with_regions, run, free_tcp_port_factory(), stop_after=8)
    train(spread, with_regions, tokenize, run)
    assert_same_losses(losses(run), expected)


@pytest.mark.parametrize("kind", ["fsdp", pytest.param("ddp", marks=pytest.mark.slow)])
def test_parts_of_a_batch_on_ranks_agree_with_the_whole(
    recipe, with_regions, alone, tmp_path, free_tcp_port, kind
):
    _, expected = alone
    spread = dataclasses.replace(recipe, parallel=kind, accumulate=2)
    train_on(2, spread, with_regions, tmp_path / "ranks", free_tcp_port, stop_after=8)
    assert_same_losses(losses(tmp_path / "ranks"), expected[:8])


def fails_on_rank_one(rank, world, port, recipe, data, run):
    from siglip2.train.objective import Objective

    real = Objective.forward

    def faulty(self, *arguments):
        parts = real(self, *arguments)
        return {name: value * float("nan") for name, value in parts.items()} if rank == 1 else parts

    setattr(Objective, "forward", faulty)  # noqa: B010
    one_rank(rank, world, port, recipe, data, run, 2, run / "weights.pt")


def test_one_rank_without_finite_gradients_makes_all_skip(tiny_recipe, tiny_data, tmp_path, free_tcp_port):
    run = tmp_path / "ranks"
    multiprocessing.spawn(fails_on_rank_one, (2, free_tcp_port, tiny_recipe, tiny_data, run), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]
    weights = torch.load(run / "weights.pt")
    start = train(
        dataclasses.replace(tiny_recipe, optimizer=Optimizer(learning_rate=0.0)),
        tiny_data,
        tokenize,
        tmp_path / "still",
        stop_after=1,
    )
    assert all(torch.equal(weights[name], start[name]) for name in weights)
    skipped = (run / "skipped.txt").read_text().splitlines()
    assert sorted(line.split(":")[0] for line in skipped) == ["step 0", "step 0", "step 1", "step 1"]


@pytest.mark.parametrize("kind", ["fsdp", pytest.param("ddp", marks=pytest.mark.slow)])
def test_packed_and_taught_ranks_agree_with_one_process(staged, with_regions, tmp_path, free_tcp_port, kind):
    """Images in one sequence, softmax and a larger model's scores: their gradients cross the ranks too."""
    weights = LossWeights(sigmoid=0.5, softmax=0.5, distillation=0.5)
    lengths = (4, 9)
    stage = Stage(name="all", begin=0.0, losses=weights, sequence_lengths=lengths, packed=32)
    schedule = Schedule(num_steps=4, warmup_steps=1)
    recipe = dataclasses.replace(
        staged, stages=(stage,), schedule=schedule, distil_from="nano", parallel=kind
    )
    train(recipe, with_regions, tokenize, tmp_path / "alone")
    train_on(2, recipe, with_regions, tmp_path / "ranks", free_tcp_port)
    assert_same_losses(losses(tmp_path / "ranks"), losses(tmp_path / "alone"))
