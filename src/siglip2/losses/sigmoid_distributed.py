"""The sigmoid loss over the batches of all ranks.

Each rank holds its own images and texts. `gather` collects all texts on every rank: one collective, simplest
to overlap. `ring` passes the texts round, with their gradients: memory of two ranks' texts, at any number of
ranks. Both compute block by block (`sigmoid_blockwise`).

A rank's loss is (world / all images) times the sum over its own images, so that the mean over ranks, which is
what data-parallel training takes of gradients, is the loss of the global batch, uneven batches included.
Source: big_vision `trainers/proj/image_text/_deprecated_contrastive.py` for the travelling texts.
"""

from typing import Any, Literal

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

from siglip2.losses.sigmoid_blockwise import BlockGradients, row_groups, save_gradients

Exchange = Literal["gather", "ring"]


class _DistributedSigmoidLoss(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        images: Tensor,
        texts: Tensor,
        log_scale: Tensor,
        bias: Tensor,
        image_groups: Tensor,
        text_groups: Tensor,
        block: int,
        exchange: Exchange,
        group: dist.ProcessGroup | None,
    ) -> Tensor:
        sizes = _sizes(images, texts, group)
        sums = BlockGradients(images, log_scale, bias)
        compare = _compare_gathered if exchange == "gather" else _compare_in_a_ring
        text_gradient = compare(sums, texts.detach(), image_groups, text_groups, sizes[:, 1], block, group)
        divisor = float(sizes[:, 0].sum()) / len(sizes)
        save_gradients(ctx, (images, texts, log_scale, bias), sums, text_gradient, divisor)
        return sums.loss / divisor

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        # Text gradients were summed over ranks in the forward pass, for an outer gradient of one everywhere.
        return (*(saved * gradient.to(saved.dtype) for saved in ctx.saved_tensors), *(5 * [None]))


def distributed_sigmoid_loss(
    images: Float[Tensor, "B E"],
    texts: Float[Tensor, "T E"],
    log_scale: Float[Tensor, "1"],
    bias: Float[Tensor, "1"],
    *,
    image_groups: Int[Tensor, " B"] | Int[Tensor, "B G"] | None = None,
    text_groups: Int[Tensor, " T"] | None = None,
    block: int = 4096,
    exchange: Exchange = "gather",
    group: dist.ProcessGroup | None = None,
) -> Float[Tensor, ""]:
    """One rank's share of the global loss; its mean over ranks is the loss.

    Every rank has to scale its loss by the same factor before the backward pass.

    Args:
        images: this rank's unit image embeddings.
        texts: this rank's unit text embeddings.
        log_scale: logarithm of the scale, equal on all ranks.
        bias: added to every logit, equal on all ranks.
        image_groups: as in `blockwise_sigmoid_loss`, unique over all ranks; None numbers the rows.
        text_groups: see `image_groups`.
        block: texts compared at a time.
        exchange: how ranks see each other's texts.
        group: process group; None is the default one.
    """
    if image_groups is None and text_groups is None:
        before = _sizes(images, texts, group)[: dist.get_rank(group), 0].sum()
        image_groups, text_groups = row_groups(images, texts, None, None, first=int(before))
    else:
        image_groups, text_groups = row_groups(images, texts, image_groups, text_groups)
    arguments = (images, texts, log_scale, bias, image_groups, text_groups, block, exchange, group)
    return _DistributedSigmoidLoss.apply(*arguments)  # type: ignore[return-value]


def _compare_gathered(
    sums: BlockGradients,
    texts: Tensor,
    image_groups: Tensor,
    text_groups: Tensor,
    counts: Tensor,
    block: int,
    group: dist.ProcessGroup | None,
) -> Tensor:
    everyone = _gather(texts, counts, group)
    groups = _gather(text_groups, counts, group)
    gradients = [
        sums.add(own, image_groups, labels, block) for own, labels in zip(everyone, groups, strict=True)
    ]
    total = torch.cat(gradients)
    dist.all_reduce(total, group=group)
    rank = dist.get_rank(group)
    return total.split(counts.tolist())[rank]


def _compare_in_a_ring(
    sums: BlockGradients,
    texts: Tensor,
    image_groups: Tensor,
    text_groups: Tensor,
    counts: Tensor,
    block: int,
    group: dist.ProcessGroup | None,
) -> Tensor:
    world, rank, most = len(counts), dist.get_rank(group), int(counts.max())
    travelling = [_padded(texts, most), _padded(text_groups, most), None]
    for turn in range(world):
        owner = (rank - turn) % world
        count = int(counts[owner])
        held, labels, gradient = travelling
        assert held is not None
        assert labels is not None
        part = sums.add(held[:count], image_groups, labels[:count], block)
        gradient = _padded(part, most) if gradient is None else gradient + _padded(part, most)
        # After the last turn everything has gone round: the gradients arrive at their owner.
        travelling = [_pass_on(each, group) for each in (held, labels, gradient)]
    assert travelling[2] is not None
    return travelling[2][: len(texts)]


def _sizes(images: Tensor, texts: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    own = torch.tensor([len(images), len(texts)], device=images.device)
    sizes = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(sizes, own, group=group)
    return torch.stack(sizes)


def _gather(rows: Tensor, counts: Tensor, group: dist.ProcessGroup | None) -> list[Tensor]:
    """Every rank's rows; shorter ones travel padded."""
    padded = _padded(rows, int(counts.max()))
    everyone = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(everyone, padded, group=group)
    return [each[: int(count)] for each, count in zip(everyone, counts, strict=True)]


def _padded(rows: Tensor, length: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(length - len(rows), *rows.shape[1:])]).contiguous()


def _pass_on(rows: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    world, rank = dist.get_world_size(group), dist.get_rank(group)
    if world == 1:
        return rows
    received = torch.empty_like(rows)
    following, preceding = ((rank + step) % world for step in (1, -1))
    if group is not None:
        following, preceding = (dist.get_global_rank(group, each) for each in (following, preceding))
    operations = [
        dist.P2POp(dist.isend, rows.contiguous(), following, group),
        dist.P2POp(dist.irecv, received, preceding, group),
    ]
    for request in dist.batch_isend_irecv(operations):
        request.wait()
    return received
