"""Attention: the formula that bfloat16 training takes on a processor against torch's kernel."""

import torch
from torch.nn import functional as F

from siglip2.network import attention


def test_written_out_formula_equals_the_kernel_with_gradients(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    q, k, v = inputs = [
        torch.randn(3, 2, 9, 16, generator=generator).bfloat16().requires_grad_() for _ in range(3)
    ]
    mask = torch.ones(9, 9, dtype=torch.bool).tril().expand(3, 1, 9, 9)
    called = []
    real = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: called.append(1) or real(*a, **k))
    for visible in (None, mask):
        ours = attention.attend(q, k, v, visible)
        theirs = real(*(each.float() for each in inputs), attn_mask=visible)
        assert not called
        torch.testing.assert_close(ours.float(), theirs, atol=0.03, rtol=0.03)
        gradients = [torch.autograd.grad(out.float().square().sum(), inputs) for out in (ours, theirs)]
        for one, other in zip(*gradients, strict=True):
            assert F.cosine_similarity(one.flatten().float(), other.flatten().float(), dim=0) > 0.999
    attention.attend(q.float(), k.float(), v.float())
    with torch.no_grad():
        attention.attend(q, k, v)
    assert len(called) == 2  # float32, and without gradients: the kernel
