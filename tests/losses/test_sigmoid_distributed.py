"""Every way to share the loss over ranks equals the plain formula on the whole batch, in float64."""

import os

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from siglip2.losses.sigmoid_distributed import distributed_sigmoid_loss

SIZES = {1: [7], 2: [5, 3], 4: [3, 1, 4, 2]}
WIDTH = 8


def whole_batch(sizes):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, sum(sizes), WIDTH, generator=generator, dtype=torch.float64)
    images, texts = torch.nn.functional.normalize(rows, dim=-1)
    scalars = torch.tensor([[1.2], [-2.5]], dtype=torch.float64)
    return [images, texts, scalars[0], scalars[1]]


def formula(images, texts, log_scale, bias):
    logits = log_scale.exp() * images @ texts.T + bias
    signs = 2 * torch.eye(len(images), dtype=torch.float64) - 1
    return -torch.nn.functional.logsigmoid(signs * logits).sum() / len(images)


def one_rank(rank, world, exchange, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=world)
    sizes = SIZES[world]
    plain = [each.clone().requires_grad_() for each in whole_batch(sizes)]
    expected = formula(*plain)
    expected.backward()
    own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    images, texts, log_scale, bias = whole_batch(sizes)
    ours = [each.clone().requires_grad_() for each in (images[own], texts[own], log_scale, bias)]
    loss = distributed_sigmoid_loss(*ours, block=2, exchange=exchange)
    loss.backward()
    # What data-parallel training does: the mean over ranks.
    mean = loss.detach().clone()
    dist.all_reduce(mean)
    torch.testing.assert_close(mean / world, expected.detach())
    for tensor, whole in zip(ours[:2], plain[:2], strict=True):
        assert tensor.grad is not None
        assert whole.grad is not None
        torch.testing.assert_close(tensor.grad / world, whole.grad[own])
    for tensor, whole in zip(ours[2:], plain[2:], strict=True):
        assert tensor.grad is not None
        summed = tensor.grad.clone()
        dist.all_reduce(summed)
        torch.testing.assert_close(summed / world, whole.grad)
    dist.destroy_process_group()


@pytest.mark.parametrize("exchange", ["gather", "ring"])
@pytest.mark.parametrize("world", SIZES)
def test_ranks_together_equal_one_process(world, exchange, free_port):
    spawn(one_rank, (world, exchange, free_port), nprocs=world)
