"""How fast a run goes, and what it waits for."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from siglip2.recipes.cost import H100_FLOPS, example_flops
from siglip2.recipes.recipe import Recipe, Stage

PEAK_FLOPS = {"H100": H100_FLOPS, "H200": H100_FLOPS, "A100": 312e12, "L4": 121e12, "V100": 125e12}
"""Dense bfloat16 (V100: float16) peaks by a part of the device's name, as its maker states them."""


class Meters:
    """Rates since the last log entry."""

    def __init__(self, recipe: Recipe, device: str, step: int):
        """Begin to count.

        Args:
            recipe: of the run.
            device: where it computes.
            step: at which it starts.
        """
        self.recipe = recipe
        self.images = sum(source.images_per_batch for source in recipe.sources)
        name = torch.cuda.get_device_name(device) if device.startswith("cuda") else ""
        self.peak = next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)
        self._began, self._step, self._waited = time.perf_counter(), step, 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time within as waiting for data."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    def read(self, step: int, stage: Stage) -> dict[str, float]:
        """Images and operations per second, and time left; `mfu` where the device's peak is known."""
        now = time.perf_counter()
        seconds = max(now - self._began, 1e-9)
        rate = (step - self._step) * self.images / seconds
        flops = rate * example_flops(self.recipe, stage)
        left = (self.recipe.last_step - step) * self.images / rate
        found = {
            "images_per_second": rate,
            "teraflops": flops / 1e12,
            "waiting_share": self._waited / seconds,
            "seconds_left": left,
        }
        if self.peak is not None:
            found["mfu"] = flops / self.peak
        self._began, self._step, self._waited = now, step, 0.0
        return found
