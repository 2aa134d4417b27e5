"""What a vision-language model knows about photographs it was not trained on."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from model import VisionLanguageModel, Words, to_ids
from split import Split
from torch import Tensor

from data import Sample, Turn, captions, questions


def batches(turns: Sequence[Turn], size: int) -> Iterator[Sequence[Turn]]:
    for start in range(0, len(turns), size):
        yield turns[start : start + size]


@torch.no_grad()
def held_out(
    model: VisionLanguageModel,
    words: Words,
    samples: Sequence[Sample],
    captions_a_picture: int,
    max_num_patches: int,
    tiles: int,
) -> dict[str, float]:
    """Losses in nats a token and answers that are right, on photographs it never saw.

    `caption_loss_shuffled` shows every caption with another photograph: what is lost by not looking.
    """
    turns = {"captions": captions(samples, captions_a_picture), "questions": questions(samples)}
    split = Split(samples, turns, model, max_num_patches, tiles=tiles)
    order = np.random.default_rng(0).permutation(len(split))

    def losses(turns: Sequence[Turn], pictures: Sequence[int]) -> Tensor:
        ids, answers = to_ids(words, [each.prompt for each in turns], [each.answer for each in turns])
        return model.losses(split.look(model, pictures), ids, answers)

    own, other, right, asked = [], [], 0, 0
    for chunk in batches(turns["captions"], 128):
        own.append(losses(chunk, [each.picture for each in chunk]))
        other.append(losses(chunk, [int(order[each.picture]) for each in chunk]))
    yes, no = (words.encode(word)[0] for word in ("yes", "no"))
    for chunk in batches(turns["questions"], 128):
        ids, answers = to_ids(words, [each.prompt for each in chunk], [""] * len(chunk))
        states = model.states(split.look(model, [each.picture for each in chunk]), ids)
        # The state at the prompt's last token, one before the end of text, predicts the answer.
        scores = model.language.lm_head(states[torch.arange(len(chunk)), answers.int().argmax(1) - 1])
        says_yes = (scores[:, yes] > scores[:, no]).tolist()
        right += sum((each.answer == "yes") == said for each, said in zip(chunk, says_yes, strict=True))
        asked += len(chunk)
    return {
        "photographs": len(samples),
        "caption_loss": torch.cat(own).mean().item(),
        "caption_loss_shuffled": torch.cat(other).mean().item(),
        "questions": asked,
        "questions_right": right / max(asked, 1),
    }
