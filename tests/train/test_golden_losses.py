"""Twenty losses of the tiny form of every recipe, stored.

They are compared to the bit on a processor of the kind that stored them, with its version of torch. Others
add in another order, which twenty steps enlarge; there they have to agree to 2e-4. Whatever the processor,
the same run twice gives the same bits. To accept a change, delete the file and run this.
"""

import json
import platform
from pathlib import Path

import pytest
import torch
from tests.train.test_stages import losses, with_regions
from tests.train.tiny_recipes import STEPS, all_recipes, tiny

from siglip2.train.loop import train

GOLDEN = Path(__file__).parent / "golden_losses.json"

__all__ = ["with_regions"]


def processor() -> str:
    """What decides in which order numbers are added."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "model\t"))]
    kind = " ".join(dict.fromkeys(names)) or platform.processor()
    return f"{kind}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", all_recipes())
def test_twenty_steps_give_the_stored_losses(name, with_regions, tokenize, tmp_path, one_thread):
    if name == "fine_tune_lora":
        pytest.importorskip("peft", reason="needs siglip2[lora]")
    train(tiny(all_recipes()[name]), with_regions, tokenize, tmp_path)
    found = [list(parts.values()) for _, parts in losses(tmp_path)]
    stored = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {"processor": processor()}
    if name not in stored:
        GOLDEN.write_text(json.dumps(stored | {name: found}) + "\n")
        pytest.fail(f"the losses of {name} were not stored; they are now")
    assert len(found) == len(stored[name]) == STEPS
    if stored["processor"] == processor():
        assert found == stored[name]
    for step, (ours, kept) in enumerate(zip(found, stored[name], strict=True)):
        assert ours == pytest.approx(kept, rel=2e-4), step


def test_the_same_run_gives_the_same_bits(with_regions, tokenize, tmp_path, one_thread):
    recipe = tiny(all_recipes()["nano"])
    for folder in ("one", "two"):
        train(recipe, with_regions, tokenize, tmp_path / folder)
    assert losses(tmp_path / "one") == losses(tmp_path / "two")
