"""Which patches a score comes from, by its gradient: three ways, as (h, w) maps of one image each.

They go further than `siglip2.heatmap`, which looks at the last layer alone: a gradient goes through all
blocks, and so counts what a patch gives to others.

The paper does not say: it shows no attributions. Gradient times input and integrated gradients are
Sundararajan et al. 2017 (arXiv 1703.01365), Grad-CAM is Selvaraju et al. 2017 (arXiv 1610.02391).
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from siglip2.errors import InvalidInput
from siglip2.network.model import SigLIP2, normalize

Method = Literal["gradient-x-input", "integrated-gradients", "grad-cam"]

Score = Callable[[Tensor], Tensor]
"""From (B, N, D), of which the batch is independent rows, to (B,) scores."""


def gradient_x_input(score: Score, inputs: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
    """Gradient times input, summed over D. Exact where the score is linear: sums to score - score at zero."""
    leaf, gradient = _gradient(score, inputs[None])
    return (gradient * leaf).sum(-1)[0]


def integrated_gradients(
    score: Score,
    inputs: Float[Tensor, "N D"],
    baseline: Float[Tensor, "N D"] | None = None,
    *,
    steps: int = 32,
    batch_size: int = 8,
) -> Float[Tensor, " N"]:
    """Gradients along the straight way from a baseline, times the difference to it.

    Args:
        score: what to explain.
        inputs: of one image.
        baseline: where the way begins; zeros if None.
        steps: points on the way, in the middles of as many equal parts.
        batch_size: points at once.

    Returns:
        Sums to score(inputs) - score(baseline), the closer the more steps.

    Raises:
        InvalidInput: no step.
    """
    if steps < 1:
        raise InvalidInput(f"integrated gradients need at least one step, not {steps}")
    start = torch.zeros_like(inputs) if baseline is None else baseline
    difference = inputs - start
    shares = (torch.arange(steps, device=inputs.device, dtype=inputs.dtype) + 0.5) / steps
    total = torch.zeros_like(inputs)
    for part in shares.split(batch_size):
        total += _gradient(score, start + part[:, None, None] * difference)[1].sum(0)
    return (total * difference / steps).sum(-1)


def grad_cam(score: Score, inputs: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
    """Channels weighted by their gradient's mean over patches; what speaks against the score becomes 0."""
    leaf, gradient = _gradient(score, inputs[None])
    return (leaf * gradient.mean(1, keepdim=True)).sum(-1)[0].clamp(min=0)


def attribute(
    model: SigLIP2,
    patches: Float[Tensor, "N P"],
    text_ids: Int[Tensor, " L"],
    *,
    grid: tuple[int, int],
    method: Method | str = "grad-cam",
    layer: int | None = None,
    steps: int = 32,
) -> Float[Tensor, "h w"]:
    """Where the cosine of one image and one text comes from.

    Args:
        model: any shape; its weights' gradients are left alone.
        patches: of one image without padding, in [-1, 1].
        text_ids: of one text.
        grid: patches high and wide.
        method: how; see the functions of this file.
        layer: explain by the output of this block (negative from the end); None for the features after the
            last norm with `grad-cam`, and for the pixels of each patch with the two others.
        steps: integrated gradients only.

    Returns:
        One number per patch. Those of integrated gradients add up to the cosine of this image less that of
        a grey one, whose features at the layer are the baseline: zeros would not do, as all later layers
        begin with a norm, which jumps there. For the same reason gradient times input at a block's output
        adds up to zero. Grad-CAM has no unit and nothing below 0.

    Raises:
        InvalidInput: an unknown method, a layer that is not there, or a grid that does not hold the patches.
    """
    if method not in get_args(Method):
        raise InvalidInput(f"unknown method {method!r}; there are {', '.join(get_args(Method))}")
    if grid[0] * grid[1] != len(patches):
        raise InvalidInput(f"a grid of {grid[0]}x{grid[1]} does not hold {len(patches)} patches")
    tower = model.vision_model
    depth = len(tower.encoder.layers)
    if layer is not None and not -depth <= layer < depth:
        raise InvalidInput(f"the image tower has {depth} blocks, there is no block {layer}")
    with torch.no_grad():
        text = model.embed_texts(text_ids[None])[0].to(patches.dtype)
    grids = torch.tensor([grid]) if tower.config.naflex else None

    def embed(x: Tensor) -> Tensor:
        return tower.embeddings(x, None if grids is None else grids.expand(len(x), 2))

    def finish(x: Tensor) -> Tensor:
        return normalize(tower.head(x)).to(text.dtype) @ text

    pixels = layer is None and method != "grad-cam"
    first = depth if layer is None else layer % depth + 1

    def before(x: Tensor) -> Tensor:
        """Up to the layer: runs once, outside of what is explained."""
        x = _run(model, embed(x), 0, first)
        return tower.post_layernorm(x) if layer is None else x

    def score(x: Tensor) -> Tensor:
        if pixels:
            x = embed(x)
        if pixels or layer is not None:
            x = tower.post_layernorm(_run(model, x, 0 if pixels else first, depth))
        return finish(x)

    with torch.no_grad():
        inputs, grey = (x if pixels else before(x) for x in (patches[None], torch.zeros_like(patches)[None]))
    if method == "integrated-gradients":
        found = integrated_gradients(score, inputs[0], grey[0], steps=steps)
    elif method == "gradient-x-input":
        found = gradient_x_input(score, inputs[0])
    else:
        found = grad_cam(score, inputs[0])
    return found.unflatten(0, grid)


def _run(model: SigLIP2, x: Float[Tensor, "B N D"], first: int, end: int) -> Float[Tensor, "B N D"]:
    for layer in list(model.vision_model.encoder.layers)[first:end]:
        x = layer(x)
    return x


def _gradient(score: Score, x: Float[Tensor, "B N D"]) -> tuple[Tensor, Tensor]:
    """The inputs and the gradient of each row's score; gradients of weights stay as they are."""
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(score(leaf).sum(), leaf)
    return leaf.detach(), gradient
