"""Where in a photo a phrase is, or where the pooling head looks: a number per patch, and a picture of it.

The features of a patch do not live in the space of the texts; only the pooling head leads there. Attention
over a single token gives it a weight of one, whatever the probe asks, so that the head applied to one patch
alone is an ordinary function: value projection, output projection, MLP. A patch's similarity is the cosine of
that with the text. The head was trained on mixtures of patches and not on single ones, so the map shows
where the evidence lies and not how much of it there is: ask `Encoder.score` whether the phrase holds at all.
The same reduction of an attention pool to its value path is known from MaskCLIP (arXiv 2112.01071).
"""

import numpy as np
from PIL import Image

from siglip2.encoder import PatchFeatures
from siglip2.similarity import to_unit_length
from siglip2.weights.checkpoint import Checkpoint

_HEAD = "vision_model.head"
_STRIP_PIXELS = 500_000


def project_patches(checkpoint: Checkpoint, features: np.ndarray) -> np.ndarray:
    """Each patch alone through the attention-pooling head.

    Args:
        checkpoint: holds the head's tensors.
        features: (..., D) output of `Encoder.patch_features`.

    Returns:
        (..., E) float32 of unit length, in the space of the texts.
    """
    width = checkpoint.config.vision.width
    values = slice(2 * width, None)  # the rows of the fused projection after those of queries and keys
    weight = checkpoint.read(f"{_HEAD}.attention.in_proj_weight")[values]
    bias = checkpoint.read(f"{_HEAD}.attention.in_proj_bias")[values]
    x = _linear(checkpoint, "attention.out_proj", features @ weight.T + bias)
    hidden = _linear(checkpoint, "mlp.fc1", _layer_norm(checkpoint, x))
    return to_unit_length(x + _linear(checkpoint, "mlp.fc2", _gelu_tanh(hidden)))


def similarity_map(checkpoint: Checkpoint, patches: PatchFeatures, text: np.ndarray) -> np.ndarray:
    """Cosine of every patch with one text.

    Args:
        checkpoint: the model.
        patches: of one image.
        text: (E,) of unit length.

    Returns:
        (h, w) float32.
    """
    return project_patches(checkpoint, patches.features) @ text


def attention_map(checkpoint: Checkpoint, features: np.ndarray) -> np.ndarray:
    """Where the attention-pooling head looks, whatever the phrase.

    Args:
        checkpoint: holds the head's tensors.
        features: (h, w, D) output of `Encoder.patch_features`.

    Returns:
        (h, w) float32, the mean of all heads; adds up to 1.
    """
    width, heads = checkpoint.config.vision.width, checkpoint.config.vision.num_heads
    weight = checkpoint.read(f"{_HEAD}.attention.in_proj_weight")
    bias = checkpoint.read(f"{_HEAD}.attention.in_proj_bias")
    query = checkpoint.read(f"{_HEAD}.probe").reshape(width) @ weight[:width].T + bias[:width]
    keys = features.reshape(-1, width) @ weight[width : 2 * width].T + bias[width : 2 * width]
    scores = np.einsum("hk,nhk->hn", query.reshape(heads, -1), keys.reshape(len(keys), heads, -1))
    scores /= np.sqrt(width / heads)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares.mean(axis=0).reshape(features.shape[:2]).astype(np.float32)


def draw_heatmap(photo: Image.Image, similarity: np.ndarray) -> Image.Image:
    """Lay a map over a photo, from clear and dark (least) to yellow (most).

    Colours span the map's own 2nd to 98th percentile: they compare places, and say nothing across photos.

    Args:
        photo: upright, any mode.
        similarity: (h, w), stretched over the whole photo.
    """
    low, high = np.percentile(similarity, (2, 98))
    share = Image.fromarray(np.clip((similarity - low) / max(high - low, 1e-8), 0, 1).astype(np.float32))
    colours, picture = _colours(), Image.new("RGB", photo.size)
    rows = max(1, _STRIP_PIXELS // photo.width)
    for top in range(0, photo.height, rows):
        bottom = min(top + rows, photo.height)
        part = (0, top * share.height / photo.height, share.width, bottom * share.height / photo.height)
        size, box = (photo.width, bottom - top), (0, top, photo.width, bottom)
        stretched = np.clip(np.asarray(share.resize(size, Image.Resampling.BICUBIC, part)), 0, 1)
        level, grey = np.rint(255 * stretched).astype(np.uint8), np.asarray(photo.crop(box).convert("L"))
        picture.paste(Image.fromarray(colours[level, grey]), box)
    return picture


def _colours() -> np.ndarray:
    """The colour of every level (0..255) over every grey (0..255), (256, 256, 3) uint8.

    From violet over red to yellow. Grey keeps the photo readable, so that colour means similarity alone.
    """
    stops = np.array([[60, 20, 110], [180, 40, 100], [240, 110, 40], [255, 220, 60]])
    level = np.linspace(0, 1, 256)
    positions = np.linspace(0, 1, len(stops))
    colour = np.stack([np.interp(level, positions, stops[:, channel]) for channel in range(3)], axis=-1)
    opacity = 0.65 * level[:, None, None]
    grey = 0.75 * np.arange(256)[None, :, None]
    return ((1 - opacity) * grey + opacity * colour[:, None]).astype(np.uint8)


def _linear(checkpoint: Checkpoint, name: str, x: np.ndarray) -> np.ndarray:
    return x @ checkpoint.read(f"{_HEAD}.{name}.weight").T + checkpoint.read(f"{_HEAD}.{name}.bias")


def _layer_norm(checkpoint: Checkpoint, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + checkpoint.config.layer_norm_eps)
    weight, bias = (checkpoint.read(f"{_HEAD}.layernorm.{part}") for part in ("weight", "bias"))
    return centred / deviation * weight + bias


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.float32(0.7978845608) * (x + np.float32(0.044715) * x**3)))
