"""The comparison that a run on a GPU makes before it begins."""

import pytest
import torch

from siglip2.kernels import availability
from siglip2.kernels.availability import KernelsDisagree, check_kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def test_right_kernels_pass():
    check_kernels(DEVICE)


@pytest.mark.parametrize("fault", [lambda x: 1.02 * x, lambda x: x * float("nan"), torch.zeros_like])
@pytest.mark.parametrize("name", ["bias_gelu_backward", "join_gradients"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_wrong_one_stops_the_run_and_is_named(monkeypatch, name, which, fault):
    right = getattr(availability, name)
    calls = []

    def wrong(*arguments):
        calls.append(1)
        found = list(right(*arguments))
        # The first call is the device's, the second the processor's.
        if len(calls) == 1:
            found[which] = fault(found[which])
        return tuple(found)

    monkeypatch.setattr(availability, name, wrong)
    with pytest.raises(KernelsDisagree, match=f"{name.removesuffix('_backward')}.* is off by"):
        check_kernels(DEVICE)
