"""A vision-language model of nano's image tower, a pixel-shuffle projector and a small Llama."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM

from data import Picture
from siglip2.interop.pixel_shuffle import pixel_shuffle
from siglip2.network.vision import VisionTower
from siglip2.runtime.torch import load_model
from siglip2.weights.load import load_checkpoint

PAD, EOS, UNKNOWN = 0, 1, 2
JOIN = 2
"""Two by two patches become one token of the language model."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the tower gives for the S squares of a picture: patches (S, N, D), their grid, pooled (S, D)."""

    features: Tensor
    grid: tuple[int, int]
    pooled: Tensor


class Words:
    """The pieces of nano's vocabulary that the training texts use: 2,400 of 12,000, to save time."""

    def __init__(self, tokenizer: Tokenizer, kept: Sequence[int]):
        self.tokenizer = tokenizer
        self.kept = list(kept)
        self._new = {old: new for new, old in enumerate(kept)}

    @classmethod
    def used_in(cls, texts: Sequence[str]) -> "Words":
        """The pieces of these texts, after padding, end of text and what stands for all others."""
        tokenizer = load_tokenizer()
        encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
        reserved = (PAD, EOS, UNKNOWN)
        return cls(tokenizer, [*reserved, *sorted({i for each in encoded for i in each.ids} - {*reserved})])

    def __len__(self) -> int:
        return len(self.kept)

    def encode(self, text: str) -> list[int]:
        """Ids, counted in the kept pieces."""
        found = self.tokenizer.encode(text, add_special_tokens=False).ids
        return [self._new.get(each, UNKNOWN) for each in found]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids."""
        return self.tokenizer.decode([self.kept[each] for each in ids])


class VisionLanguageModel(nn.Module):
    """The picture comes first (pooled vectors, then patches), then the prompt, then the answer."""

    def __init__(self, tower: VisionTower, embeddings: Tensor, *, depth: int = 4, dropout: float = 0.0):
        """Put the parts together.

        Args:
            tower: sees.
            embeddings: (V, W) to start the language model's from; its blocks start random.
            depth: blocks of the language model.
            dropout: share of the features, and half as much of the embeddings and the attention, that is left
                out while it learns: photographs are few, and are learned by heart otherwise.
        """
        super().__init__()
        self.tower = tower
        vocab_size, width = embeddings.shape
        joined = tower.config.width * JOIN**2
        self.drop, self.drop_less = nn.Dropout(dropout), nn.Dropout(dropout / 2)
        self.projector = nn.Sequential(
            nn.LayerNorm(joined), nn.Linear(joined, width), nn.GELU(), nn.Linear(width, width)
        )
        self.summary = nn.Linear(tower.config.width, width)
        self.language = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocab_size,
                hidden_size=width,
                intermediate_size=width * 3,
                num_hidden_layers=depth,
                num_attention_heads=width // 64,
                max_position_embeddings=512,
                tie_word_embeddings=True,
                attention_dropout=dropout / 2,
                pad_token_id=PAD,
                eos_token_id=EOS,
                bos_token_id=None,
            )
        )
        with torch.no_grad():
            # Tied to the output layer, whose first guesses should be nearly even.
            table = self.language.model.embed_tokens.weight
            table.copy_(embeddings * (0.03 / embeddings.std()))

    def look(self, pictures: Sequence[Picture]) -> list[Seen]:
        """Features of pictures: after the last norm, as SmolVLM and LFM2-VL take them.

        Of a tower that was cut off, those of its last block, normed, and their mean as the pooled vector.
        """
        squares = [torch.from_numpy(square) for each in pictures for square in each.patches]
        grids = [each.grid for each in pictures for _ in each.patches]
        patches = pad_sequence(squares, batch_first=True)
        lengths = torch.tensor([len(each) for each in squares])
        naflex, num_blocks = self.tower.config.naflex, len(self.tower.encoder.layers)
        cut_off = num_blocks < self.tower.config.depth
        output = self.tower(
            patches.float() / 127.5 - 1,
            grids=torch.tensor(grids) if naflex else None,
            mask=torch.arange(patches.shape[1]) < lengths[:, None] if naflex else None,
            return_intermediates=cut_off,
        )
        features = output.patches
        if cut_off:
            features = output.intermediates[f"block{num_blocks - 1:02}"]
            features = F.layer_norm(features, features.shape[-1:])
        counts = [len(each.patches) for each in pictures]
        seen = []
        for each, of_one, pooled in zip(
            pictures, features.split(counts), output.pooled.split(counts), strict=True
        ):
            real = of_one[:, : each.patches.shape[1]]
            seen.append(Seen(features=real, grid=each.grid, pooled=real.mean(1) if cut_off else pooled))
        return seen

    def states(self, seen: Sequence[Seen], ids: Tensor) -> Tensor:
        """(B, L, W) last states of the language model at the L text tokens; `PAD` fills rows of `ids`."""
        pooled = F.normalize(torch.stack([each.pooled for each in seen]), dim=-1) * 10
        summary = self.summary(self.drop(pooled))
        joined = [
            pixel_shuffle(each.features, each.grid, JOIN, require_square=False).flatten(0, 1) for each in seen
        ]
        visual = self.projector(self.drop(pad_sequence(joined, batch_first=True)))
        lengths = torch.tensor([len(each) for each in joined])
        real = torch.arange(visual.shape[1]) < lengths[:, None]
        visual, real = torch.cat([summary, visual], 1), F.pad(real, (summary.shape[1], 0), value=True)
        mask = torch.cat([real, ids != PAD], dim=1)
        output = self.language.model(
            inputs_embeds=self.drop_less(
                torch.cat([visual, self.language.get_input_embeddings()(ids)], dim=1)
            ),
            attention_mask=mask.long(),
            # Padding between picture and text takes no position.
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
        )
        return output.last_hidden_state[:, visual.shape[1] :]

    def losses(self, seen: Sequence[Seen], ids: Tensor, answers: Tensor) -> Tensor:
        """Negative log likelihood of every answer token, in nats.

        Args:
            seen: B pictures.
            ids: (B, L) prompts with their answers.
            answers: (B, L) bool, where `ids` is answer or end of text.
        """
        before = self.states(seen, ids)[:, :-1]
        wanted = answers[:, 1:]
        # Only states that predict a token of an answer meet the vocabulary: most of the work is there.
        return F.cross_entropy(self.language.lm_head(before[wanted]), ids[:, 1:][wanted], reduction="none")

    @torch.no_grad()
    def answer(self, seen: Sequence[Seen], prompt: Sequence[int], *, max_tokens: int = 20) -> list[list[int]]:
        """Greedy answers to one prompt about each picture, without the end-of-text token."""
        ids = torch.tensor(prompt).expand(len(seen), -1)
        for _ in range(max_tokens):
            next_ids = self.language.lm_head(self.states(seen, ids)[:, -1]).argmax(-1)
            # Rows that have ended go on with the end; nothing after it is read.
            next_ids[(ids == EOS).any(1)] = EOS
            ids = torch.cat([ids, next_ids[:, None]], dim=1)
            if (ids == EOS).any(1).all():
                break
        written = ids[:, len(prompt) :].tolist()
        return [row[: row.index(EOS)] if EOS in row else row for row in written]


def load_tower(
    kind: Literal["fixed", "naflex"], model: str = "nano", *, num_blocks: int | None = None
) -> VisionTower:
    """The first blocks of a model's image tower, or all.

    NaFlex takes the same weights and resizes the positions to each grid.
    """
    tower = load_model(load_checkpoint(model)).vision_model
    if kind == "naflex" and not tower.config.naflex:
        config = replace(tower.config, image_size=None)
        naflex = VisionTower(config)
        naflex.load_state_dict(tower.state_dict())
        tower = naflex
    if num_blocks is not None:
        del tower.encoder.layers[num_blocks:]
    return tower


def load_tokenizer(model: str = "nano") -> Tokenizer:
    """The vocabulary of a model, with which texts are read and written."""
    path = load_checkpoint(model).tokenizer
    return Tokenizer.from_file(str(path))


def build(
    kind: Literal["fixed", "naflex"], words: Words, *, num_blocks: int | None = None, dropout: float = 0.0
) -> VisionLanguageModel:
    """Nano's tower before a new language model, which starts from the embeddings of nano's text tower."""
    table = load_model(load_checkpoint("nano")).text_model.embeddings.token_embedding.weight.detach()
    tower = load_tower(kind, num_blocks=num_blocks)
    return VisionLanguageModel(tower, table[torch.tensor(words.kept)], dropout=dropout)


def to_ids(
    words: Words, prompts: Sequence[str], answers: Sequence[str], max_tokens: int = 40
) -> tuple[Tensor, Tensor]:
    """Prompts and answers as (B, L) ids and the (B, L) places of the answers, end of text included."""
    rows, places = [], []
    for prompt, answer in zip(prompts, answers, strict=True):
        asked = words.encode(prompt)
        said = words.encode(answer)[: max_tokens - len(asked) - 1]
        rows.append(torch.tensor([*asked, *said, EOS]))
        places.append(torch.from_numpy(np.arange(len(rows[-1])) >= len(asked)))
    return pad_sequence(rows, batch_first=True, padding_value=PAD), pad_sequence(places, batch_first=True)
