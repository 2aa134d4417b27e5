"""Before the first step from given weights: do true pairs still cost little?

Users of every peer have trained for hours on weights that were loaded or fed wrongly. What goes in is looked
at first: the range of the pixels, the case of the captions, their padding. Then true pairs must lie nearer to
each other than shuffled ones, and scale and bias must not be so far off that another value of one of them
alone would save most of the loss.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from siglip2.errors import Siglip2Error
from siglip2.inputs.text import TextPreprocessor
from siglip2.train.batches import Tokenize, Views
from siglip2.train.parallel import Ranks

FEW_TEXTS = 8
"""Different captions of a batch below which scale and bias are not judged: they were learned among many."""


class NotSane(Siglip2Error):
    """Pretrained weights are fed wrongly, or do not tell true pairs from shuffled ones."""


@torch.no_grad()
def check_true_pairs(
    module: nn.Module,
    views: Views,
    ranks: Ranks,
    *,
    texts: Sequence[str] = (),
    tokenize: Tokenize | None = None,
) -> dict[str, float]:
    """Mean cosine of true and of shuffled pairs, and the mean logit of the true ones, over all ranks.

    Args:
        module: the objective.
        views: of the first batch.
        ranks: of the run.
        texts: captions of the batch.
        tokenize: what made ids of them.

    Raises:
        NotSane: says which of normalisation, case, padding, scale or bias is off; or that true pairs are no
            nearer than shuffled ones.
    """
    if (fault := _fault_of_inputs(views, texts, tokenize)) is not None:
        raise NotSane(f"the model is fed wrongly: {fault}. --unchecked trains anyway")
    images, captions, log_scale, bias = module(views, "embed")
    images, captions, text_of_image = (ranks.gather(each) for each in (images, captions, views.text_of_image))
    cosines = images @ captions.T
    true = cosines[torch.arange(len(images)), text_of_image]
    same = text_of_image[:, None] == torch.arange(len(captions), device=captions.device)
    others = cosines[~same]
    if others.numel() == 0:
        return {"true": true.mean().item()}
    # The standard error of the difference of two means, so that a small batch is not blamed for chance.
    error = (true.var() / len(true) + others.var() / len(true)).sqrt()
    found = {
        "true": true.mean().item(),
        "shuffled": others.mean().item(),
        "logit": (log_scale.exp() * true + bias).mean().item(),
    }
    if not found["true"] - found["shuffled"] > 2 * error.item():
        raise NotSane(
            "the initial weights do not tell true pairs from shuffled ones: mean cosine "
            f"{found['true']:.3f} against {found['shuffled']:.3f}. Case, padding and range of the pixels are "
            "right, so that captions may be of other pictures, or the vocabulary of another model. If the "
            "data are merely unlike anything the model knows, --unchecked trains anyway"
        )
    fault = _fault_of_scalars(cosines, same, log_scale, bias) if len(captions) >= FEW_TEXTS else None
    if fault is not None:
        raise NotSane(f"{fault}. --unchecked trains anyway")
    return found


def _fault_of_inputs(views: Views, texts: Sequence[str], tokenize: Tokenize | None) -> str | None:
    low, high = views.patches.min().item(), views.patches.max().item()
    if low < -1.01 or high > 1.01:
        return f"normalisation: pixels go from {low:.2f} to {high:.2f}, and it was trained on -1 to 1"
    if low >= 0 and high > 0.5 and len(views.patches) > 1:
        return f"normalisation: pixels go from {low:.2f} to {high:.2f}, as if 0 to 1 were meant for -1 to 1"
    last = views.ids[:, -1]
    ends = (views.ids == 1).int()
    padded = (views.ids == 0).int().sum(dim=1) == views.ids.shape[1] - 1 - ends.argmax(dim=1)
    if not bool((ends.any(dim=1) & padded).all()) or not bool(((last == 0) | (last == 1)).all()):
        return "padding: captions have to end with one end token (1) and be padded with 0 to the full length"
    as_written = isinstance(tokenize, TextPreprocessor) and tokenize.lowercase == "none"
    if tokenize is not None and texts and not as_written:
        lower = [text.encode().lower().decode() for text in texts]
        if (tokenize(texts) != tokenize(lower)).any():
            return "case: captions are not lower-cased, and it has only seen lower case"
    return None


def _fault_of_scalars(cosines: Tensor, same: Tensor, log_scale: Tensor, bias: Tensor) -> str | None:
    """Scale or bias, if another value of it alone would save most of the loss; None for neither."""

    def loss(t: Tensor, b: Tensor) -> float:
        logits = t.exp() * cosines + b
        return -F.logsigmoid(torch.where(same, logits, -logits)).sum().item() / len(cosines)

    now = loss(log_scale, bias)
    best = {
        "scale": min((loss(t, bias), t.exp().item()) for t in torch.linspace(0, 5.5, 23)[:, None]),
        "bias": min((loss(log_scale, b), b.item()) for b in torch.linspace(-30, 5, 36)[:, None]),
    }
    name, (least, value) = min(best.items(), key=lambda item: item[1][0])
    if least > 0.4 * now or now < 1:
        return None
    stored = {"scale": log_scale.exp().item(), "bias": bias.item()}[name]
    return (
        f"the {name} of the initial weights, {stored:.3g}, does not fit them: the loss of the first batch is "
        f"{now:.2f}, and would be {least:.2f} with {value:.3g}. It may not have been loaded"
    )
