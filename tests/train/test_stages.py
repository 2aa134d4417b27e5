"""Every stage in one run: what each brings in, and that stopping anywhere changes nothing."""

import dataclasses
import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from siglip2.network.model import SigLIP2
from siglip2.recipes.recipe import Curation, LossWeights, Schedule, SelfSupervision, Stage
from siglip2.train.checkpoints import Checkpoints
from siglip2.train.loop import NotFinite, train
from siglip2.train.objective import POSITIONS, Objective, stage_config

CAPTIONS = LossWeights(locca=1.0)
DENSE = LossWeights(locca=1.0, self_distillation=0.25, masked_prediction=0.0625)


@pytest.fixture
def staged(tiny_recipe):
    return dataclasses.replace(
        tiny_recipe,
        schedule=Schedule(num_steps=15, warmup_steps=2),
        checkpoint_every=4,
        stages=(
            Stage(name="captions", begin=0.0, losses=CAPTIONS),
            Stage(name="dense", begin=0.2, losses=DENSE),
            Stage(name="larger", begin=0.4, losses=DENSE, image_size=24),
            Stage(name="naflex", begin=0.6, losses=CAPTIONS, sequence_lengths=(4, 9), halved_from=9),
            Stage(name="curated", begin=0.8, sequence_lengths=(4, 9), curation=Curation(chunks=4)),
        ),
        self_supervision=SelfSupervision(
            local_views=2, local_share=0.5, hidden=16, bottleneck=8, prototypes=32
        ),
    )


@pytest.fixture
def with_regions(tiny_data):
    first = tiny_data[0]
    regions = [[((0.1, 0.2, 0.9, 0.8), "it")] if index % 2 else [] for index in range(len(first))]
    return [dataclasses.replace(first, regions=regions), tiny_data[1]]


def log(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def losses(run):
    return [(entry["step"], entry["parts"]) for entry in log(run)]


def test_each_stage_trains_what_it_says(staged, with_regions, tokenize, tmp_path):
    average = train(staged, with_regions, tokenize, tmp_path)
    parts = {entry["stage"]: set(entry["parts"]) for entry in log(tmp_path)}
    assert list(parts) == ["captions", "dense", "larger", "naflex", "curated"]
    assert parts["captions"] == parts["naflex"] == {"sigmoid", "locca"}
    assert parts["dense"] == parts["larger"] == {
        "sigmoid", "locca", "self_distillation", "masked_prediction"
    }  # fmt: skip
    assert parts["curated"] == {"sigmoid"}
    assert average[POSITIONS].shape[0] == 9
    final = stage_config(staged, 4)
    assert final.vision.naflex
    model = SigLIP2(final)
    model.load_state_dict(average)
    assert all(torch.isfinite(value).all() for value in average.values())


@pytest.mark.parametrize("stops", [(2,), (3,), (5, 6, 7), (9, 12, 14)])
def test_stopping_in_any_stage_changes_nothing(staged, with_regions, tokenize, tmp_path, stops):
    """Augmentation, mixing, curation, teacher and stage changes included; to the bit."""
    straight = train(staged, with_regions, tokenize, tmp_path / "straight")
    for stop in stops:
        train(staged, with_regions, tokenize, tmp_path / "parts", stop_after=stop)
    parts = train(staged, with_regions, tokenize, tmp_path / "parts")
    assert losses(tmp_path / "straight") == losses(tmp_path / "parts")
    assert all(torch.equal(straight[name], parts[name]) for name in straight)


def test_teacher_starts_as_the_student_and_follows_it(staged, with_regions, tokenize, tmp_path):
    objective = Objective(staged)
    average = {name: value.clone() for name, value in objective.model.state_dict().items()}
    objective.enter(0, average)
    assert objective.teacher is None
    objective.enter(1, average)
    assert objective.student is not None
    assert objective.teacher is not None
    student, teacher = (dict(each.named_parameters()) for each in (objective.student, objective.teacher))
    assert all(torch.equal(student[name], teacher[name]) for name in student)
    assert not any(each.requires_grad for each in teacher.values())
    with torch.no_grad():
        student["tower.post_layernorm.weight"].add_(1.0)
    objective.after_step()
    moved = teacher["tower.post_layernorm.weight"] - 1.0
    assert moved == pytest.approx(torch.full_like(moved, 1 - staged.self_supervision.momentum), abs=1e-6)


def test_resolution_change_keeps_what_the_positions_say(staged):
    """The table of a larger grid is the resized one, and every other tensor is untouched."""
    objective = Objective(staged)
    average = {name: value.clone() for name, value in objective.model.state_dict().items()}
    for index in range(2):
        objective.enter(index, average)
    before = {name: value.clone() for name, value in objective.model.state_dict().items()}
    objective.enter(2, average)
    after = objective.model.state_dict()
    changed = [name for name in before if before[name].shape != after[name].shape]
    assert changed == [POSITIONS]
    assert after[POSITIONS].shape[0] == average[POSITIONS].shape[0] == 9
    corner = torch.stack([before[POSITIONS][0], after[POSITIONS][0]])
    assert torch.nn.functional.cosine_similarity(corner[0], corner[1], dim=0) > 0.9
    # Nothing has learned yet: the average goes the same way.
    torch.testing.assert_close(average[POSITIONS], after[POSITIONS])


REAL_FORWARD = Objective.forward


def plant_faults(monkeypatch, faulty):
    """Losses are no numbers at the calls, counted from 1, of which `faulty` says so."""
    calls = 0

    def forward(self, views, *arguments):
        nonlocal calls
        calls += 1
        factor = float("nan") if faulty(calls) else 1.0
        return {name: value * factor for name, value in REAL_FORWARD(self, views, *arguments).items()}

    monkeypatch.setattr(Objective, "forward", forward)


def test_gradients_that_are_not_finite_skip_the_step_and_then_stop(
    staged, with_regions, tokenize, tmp_path, monkeypatch
):
    plant_faults(monkeypatch, lambda call: 2 <= call <= 3)
    average = train(staged, with_regions, tokenize, tmp_path / "two", stop_after=6)
    assert all(torch.isfinite(value).all() for value in average.values())
    assert (tmp_path / "two" / "skipped.txt").read_text().startswith("step 1: not finite: classes/")
    plant_faults(monkeypatch, lambda call: call >= 2)
    with pytest.raises(NotFinite, match=r"not finite for 3 steps in a row, up to step 3"):
        train(staged, with_regions, tokenize, tmp_path / "many", stop_after=6)


def test_a_run_that_is_resumed_after_a_skipped_step_is_the_same_to_the_bit(
    staged, with_regions, tokenize, tmp_path, monkeypatch
):
    """What the teacher said in a skipped step moves nothing, so that there is nothing of it to save."""
    plant_faults(monkeypatch, lambda call: call == 5)
    train(staged, with_regions, tokenize, tmp_path / "straight", stop_after=8)
    plant_faults(monkeypatch, lambda call: call == 5)
    for stop in (5, 8):
        train(staged, with_regions, tokenize, tmp_path / "parts", stop_after=stop)
    found = [[each for each in losses(tmp_path / run) if each[0] > 5] for run in ("straight", "parts")]
    assert len(found[0]) == 3
    assert found[0] == found[1]


def test_a_second_curated_stage_compares_with_the_weights_of_its_own_beginning(
    staged, with_regions, tokenize, tmp_path
):
    """Between the two the resolution changes, and so do the weights."""
    curation = Curation(chunks=4)
    stages = (
        Stage(name="curated", begin=0.0, curation=curation),
        Stage(name="larger", begin=0.4, curation=curation, image_size=24),
    )
    recipe = dataclasses.replace(staged, stages=stages, schedule=Schedule(num_steps=5, warmup_steps=1))
    straight = train(recipe, with_regions, tokenize, tmp_path / "straight")
    for stop in (1, 3, None):
        parts = train(recipe, with_regions, tokenize, tmp_path / "parts", stop_after=stop)
    assert losses(tmp_path / "straight") == losses(tmp_path / "parts")
    assert all(torch.equal(straight[name], parts[name]) for name in straight)


SCRIPT = """
import sys
from pathlib import Path
import tests.train.conftest as given
import tests.train.test_stages as stages
recipe = stages.unwrapped(stages.staged)(stages.unwrapped(given.tiny_recipe)())
data = stages.unwrapped(stages.with_regions)(stages.unwrapped(given.tiny_data)())
stages.torch.set_num_threads(int(sys.argv[2]))
stages.train(recipe, data, stages.unwrapped(given.tokenize)(), Path(sys.argv[1]))
"""


def last_step(run):
    path = run / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return int(lines[-1].split(",")[0].split(":")[1]) if lines else 0


def unwrapped(fixture):
    """The function behind a fixture."""
    return fixture.__wrapped__ if hasattr(fixture, "__wrapped__") else fixture._get_wrapped_function()


@pytest.mark.parametrize("seed", [0, *(pytest.param(each, marks=pytest.mark.slow) for each in (1, 2, 3))])
def test_killed_runs_end_as_straight_ones(staged, with_regions, tokenize, tmp_path, seed):
    """`kill -9` at random moments, in the middle of saving included."""
    train(staged, with_regions, tokenize, tmp_path / "straight")
    rng = np.random.default_rng(seed)
    root = Path(__file__).resolve().parents[2]
    run, threads = str(tmp_path / "killed"), str(torch.get_num_threads())
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), run, threads]
    moments = sorted(rng.choice(np.arange(1, 14), 3, replace=False).tolist())
    for moment in [*moments, None]:
        process = subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            if moment is not None and last_step(tmp_path / "killed") >= moment:
                time.sleep(float(rng.uniform(0, 0.05)))
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
        assert process.wait() == (0 if moment is None else -signal.SIGKILL)
    assert Checkpoints(tmp_path / "killed").steps[-1] == 15
    seen = {}
    for step, parts in losses(tmp_path / "killed"):
        assert seen.setdefault(step, parts) == parts  # steps done twice gave the same numbers
    assert seen == dict(losses(tmp_path / "straight"))
