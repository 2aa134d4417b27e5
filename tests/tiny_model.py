"""A model of random weights with a vocabulary of single letters: a few milliseconds an image."""

import json
from pathlib import Path

import numpy as np

from siglip2.config import ModelConfig, TextConfig, VisionConfig
from siglip2.encoder import Encoder
from siglip2.runtime.openvino import OpenVinoRuntime
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.load import save_checkpoint
from siglip2.weights.shapes import expected_shapes

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789,.'▁"
RESERVED = ("<pad>", "<eos>", "<bos>", "<unk>")


def tiny_config(*, naflex: bool = False) -> ModelConfig:
    vision = VisionConfig(
        width=32,
        depth=2,
        mlp_dim=64,
        num_heads=2,
        patch_size=8,
        image_size=None if naflex else 32,
        position_grid=4,
        max_num_patches=16,
    )
    vocab_size = len(RESERVED) + len(LETTERS)
    text = TextConfig(width=16, depth=2, mlp_dim=32, num_heads=2, vocab_size=vocab_size, context_length=48)
    return ModelConfig(vision=vision, text=text)


def tiny_checkpoint(folder: Path, *, naflex: bool = False, seed: int = 0) -> Checkpoint:
    """Weights large enough that different inputs end in clearly different embeddings."""
    rng = np.random.default_rng(seed)
    config = tiny_config(naflex=naflex)
    tensors = {}
    for name, shape in expected_shapes(config).items():
        matrix = (rng.normal(size=shape) / np.sqrt(shape[-1]) * 2).astype(np.float32)
        norm = np.full(shape, name.endswith("weight"), np.float32)
        tensors[name] = norm if len(shape) == 1 else matrix
    tensors["logit_scale"] = np.log(np.array([10.0], np.float32))
    tensors["logit_bias"] = np.array([-3.0], np.float32)
    return Checkpoint.from_tensors(config, tensors, tokenizer=write_tokenizer(folder))


def write_tokenizer(folder: Path) -> Path:
    vocabulary = {piece: index for index, piece in enumerate([*RESERVED, *LETTERS])}
    content = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "<unk>"},
    }
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(content))
    return path


def tiny_encoder(folder: Path, *, naflex: bool = False, seed: int = 0) -> Encoder:
    checkpoint = tiny_checkpoint(folder, naflex=naflex, seed=seed)
    runtime = OpenVinoRuntime(checkpoint, precision="float32", threads=1)
    return Encoder(checkpoint, runtime, model_id="tiny")


def write_tiny_model(folder: Path, *, naflex: bool = False, seed: int = 0) -> Path:
    """The model as a Hugging Face folder, for the command line."""
    source = folder / "source"
    source.mkdir(parents=True)
    save_checkpoint(tiny_checkpoint(source, naflex=naflex, seed=seed), folder / "tiny")
    return folder / "tiny"


def random_photo(seed: int, height: int = 40, width: int = 52) -> np.ndarray:
    """Colourful blotches, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    rows = np.arange(height) * 5 // height
    return coarse[rows][:, np.arange(width) * 5 // width]
