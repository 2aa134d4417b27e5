"""Fixtures of the tests of weights."""

import pytest
from random_models import FIXED, NAFLEX, ODD_SIZE, random_checkpoint

from siglip2.weights.checkpoint import Checkpoint


@pytest.fixture(params=["fixed", "naflex", "odd_size"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return random_checkpoint({"fixed": FIXED, "naflex": NAFLEX, "odd_size": ODD_SIZE}[request.param])
