"""The patch embedding for patches of another size (FlexiViT, arXiv 2212.08013, section 3.4).

A resized kernel is to say of a resized patch what the old one says of the patch. Resizing a patch is linear,
x -> R x, so the new kernel is the least-squares solution of R^T w = w_old: pinv(R^T) w_old. Where patches
grow nothing is lost; where they shrink it is the best there is.
Source: big_vision `models/proj/flexi/vit.py`, `resample_patchemb`; bilinear without anti-aliasing as there.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def resize_patch_kernel(weight: Float[Tensor, "D P"], patch_size: int) -> Float[Tensor, "D Q"]:
    """Weights of the patch embedding for other patches, in the dtype they have.

    Args:
        weight: of patches flattened as (row, column, channel).
        patch_size: pixels a side of the new ones.
    """
    before = round((weight.shape[1] // 3) ** 0.5)
    if before == patch_size:
        return weight
    basis = torch.eye(before**2, dtype=torch.float64, device=weight.device).view(-1, 1, before, before)
    resized = F.interpolate(basis, size=(patch_size, patch_size), mode="bilinear", align_corners=False)
    inverse = torch.linalg.pinv(resized.flatten(1))  # (new pixels, old pixels)
    kernel = weight.double().unflatten(1, (before**2, 3))
    return torch.einsum("qp,dpc->dqc", inverse, kernel).flatten(1).to(weight.dtype)
