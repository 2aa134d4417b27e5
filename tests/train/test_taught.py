"""A larger model teaches: distillation, ACID's teacher from a folder, what is remembered; softmax besides."""

import dataclasses

import numpy as np
import pytest
import torch
from tests.train.test_stages import losses, staged, with_regions

from siglip2.errors import InvalidInput
from siglip2.recipes.recipe import Curation, LossWeights, Schedule, Stage
from siglip2.train.larger_model import LargerModel, same_views, teacher_name
from siglip2.train.loop import train

__all__ = ["staged", "with_regions"]


def of_one_stage(recipe, stage, **changes):
    schedule = Schedule(num_steps=6, warmup_steps=1)
    return dataclasses.replace(recipe, stages=(stage,), schedule=schedule, **changes)


def taught_by_nano(recipe, **changes):
    weights = LossWeights(sigmoid=0.5, distillation=0.5)
    return of_one_stage(
        recipe, Stage(name="taught", begin=0.0, losses=weights), distil_from="nano", **changes
    )


@pytest.mark.parametrize("changes", [{}, {"accumulate": 3}])
def test_distillation_is_trained_resumed_and_the_same_in_parts(
    staged, with_regions, tokenize, tmp_path, changes
):
    train(taught_by_nano(staged), with_regions, tokenize, tmp_path / "straight")
    recipe = taught_by_nano(staged, **changes)
    train(recipe, with_regions, tokenize, tmp_path / "parts", stop_after=3)
    train(recipe, with_regions, tokenize, tmp_path / "parts")
    pairs = zip(losses(tmp_path / "straight"), losses(tmp_path / "parts"), strict=True)
    for (step, one), (_, other) in pairs:
        assert one.keys() == {"sigmoid", "distillation"}
        assert one == (pytest.approx(other, rel=1e-5) if changes else other), step


def test_the_student_comes_to_score_as_the_teacher_does(staged, with_regions, tokenize, tmp_path):
    weights = LossWeights(sigmoid=0.0, distillation=1.0)
    stage = Stage(name="taught", begin=0.0, losses=weights)
    recipe = of_one_stage(staged, stage, distil_from="nano", initial_bias=0.0)
    recipe = dataclasses.replace(recipe, schedule=Schedule(num_steps=25, warmup_steps=2))
    train(recipe, with_regions, tokenize, tmp_path)
    found = [parts["distillation"] for _, parts in losses(tmp_path)]
    assert np.mean(found[-3:]) < 0.5 * np.mean(found[:3])


def test_curation_by_a_model_resumes_to_the_bit_and_computes_each_picture_once(
    staged, with_regions, tokenize, tmp_path, monkeypatch
):
    models = []
    real = LargerModel.__init__

    def noted(self, *arguments):
        models.append(self)
        real(self, *arguments)

    monkeypatch.setattr(LargerModel, "__init__", noted)
    stage = Stage(name="curated", begin=0.0, curation=Curation(teacher="nano", chunks=4))
    sources = tuple(dataclasses.replace(source, flip=False) for source in staged.sources)
    recipe = of_one_stage(staged, stage, min_crop_area=1.0, sources=sources)
    assert same_views(recipe, stage)
    train(recipe, with_regions, tokenize, tmp_path / "straight")
    # 6 steps of 2 x 17 pictures, of 30 and 11 samples; passes of 16 are filled up.
    assert 41 <= models[0].computed < 6 * 34
    train(recipe, with_regions, tokenize, tmp_path / "parts", stop_after=3)
    train(recipe, with_regions, tokenize, tmp_path / "parts")
    assert losses(tmp_path / "straight") == losses(tmp_path / "parts")


def test_augmented_pictures_are_not_remembered(staged):
    stage = staged.stages[0]
    whole = dataclasses.replace(staged, min_crop_area=1.0, sources=staged.sources[1:])
    assert same_views(whole, stage)
    assert not same_views(dataclasses.replace(whole, min_crop_area=0.9), stage)
    assert not same_views(dataclasses.replace(whole, sources=staged.sources), stage)  # one flips
    assert not same_views(whole, dataclasses.replace(stage, sequence_lengths=(4,)))


def test_a_stage_without_its_teacher_is_refused(staged):
    stage = Stage(name="taught", begin=0.0, losses=LossWeights(distillation=1.0))
    with pytest.raises(InvalidInput, match="--distil_from names the model to learn from"):
        teacher_name(staged, stage)
    two = dataclasses.replace(stage, curation=Curation(teacher="another"))
    with pytest.raises(InvalidInput, match="two teachers, another and nano"):
        teacher_name(dataclasses.replace(staged, distil_from="nano"), two)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_softmax_in_place_of_the_sigmoid(staged, with_regions, tokenize, tmp_path, accumulate):
    stage = Stage(name="clip", begin=0.0, losses=LossWeights(sigmoid=0.0, softmax=1.0))
    recipe = of_one_stage(staged, stage, accumulate=accumulate)
    weights = train(recipe, with_regions, tokenize, tmp_path)
    found = [parts["softmax"] for _, parts in losses(tmp_path)]
    assert found[-1] < found[0]
    assert torch.equal(weights["logit_bias"], torch.tensor([-10.0]))  # it has no effect, and no decay
