"""The canonical tensors of a model: names of the published files, with a linear patch embedding."""

from collections.abc import Callable
from difflib import get_close_matches

from siglip2.config import ModelConfig
from siglip2.errors import InvalidCheckpoint

Shape = tuple[int, ...]


def expected_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Name and shape of every tensor of a model, in file order."""
    vision, text = config.vision, config.text
    shapes: dict[str, Shape] = {
        "logit_scale": (1,),
        "logit_bias": (1,),
        "vision_model.embeddings.patch_embedding.weight": (vision.width, vision.patch_dim),
        "vision_model.embeddings.patch_embedding.bias": (vision.width,),
        "vision_model.embeddings.position_embedding.weight": (vision.num_positions, vision.width),
        "text_model.embeddings.token_embedding.weight": (text.vocab_size, text.width),
        "text_model.embeddings.position_embedding.weight": (text.context_length, text.width),
    }
    for tower, shape in (("vision_model", vision), ("text_model", text)):
        for layer in range(shape.depth):
            prefix = f"{tower}.encoder.layers.{layer}"
            shapes |= _norm(f"{prefix}.layer_norm1", shape.width)
            for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
                shapes |= _linear(f"{prefix}.self_attn.{projection}", shape.width, shape.width)
            shapes |= _norm(f"{prefix}.layer_norm2", shape.width)
            shapes |= _mlp(f"{prefix}.mlp", shape.width, shape.mlp_dim)
    shapes |= _norm("vision_model.post_layernorm", vision.width)
    head = "vision_model.head"
    shapes[f"{head}.probe"] = (1, 1, vision.width)
    shapes[f"{head}.attention.in_proj_weight"] = (3 * vision.width, vision.width)
    shapes[f"{head}.attention.in_proj_bias"] = (3 * vision.width,)
    shapes |= _linear(f"{head}.attention.out_proj", vision.width, vision.width)
    shapes |= _norm(f"{head}.layernorm", vision.width)
    shapes |= _mlp(f"{head}.mlp", vision.width, vision.mlp_dim)
    shapes |= _norm("text_model.final_layer_norm", text.width)
    shapes |= _linear("text_model.head", text.width, config.embed_dim)
    return shapes


def _linear(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _mlp(name: str, width: int, mlp_dim: int) -> dict[str, Shape]:
    return _linear(f"{name}.fc1", width, mlp_dim) | _linear(f"{name}.fc2", mlp_dim, width)


def check_shapes(expected: dict[str, Shape], found: dict[str, Shape], source: str) -> None:
    """Compare the tensors of a source with those of a model.

    Raises:
        InvalidCheckpoint: lists missing, left over and wrongly shaped tensors, with the nearest names.
    """
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    wrong = [name for name in expected if name in found and expected[name] != found[name]]
    if not (missing or extra or wrong):
        return
    lines = [
        *_listed("missing", missing, lambda name: f"{expected[name]}{_nearest(name, extra)}"),
        *_listed("not part of the model", extra, lambda name: f"{found[name]}{_nearest(name, missing)}"),
        *_listed("wrong shape", wrong, lambda name: f"{found[name]}, expected {expected[name]}"),
    ]
    raise InvalidCheckpoint(f"{source} does not hold this model's tensors\n" + "\n".join(lines))


def nearest_names(name: str, candidates: list[str], most: int = 3) -> str:
    """The most similar of the candidates, for messages; empty if none is similar."""
    return ", ".join(get_close_matches(name, candidates, n=most, cutoff=0.6))


def _nearest(name: str, candidates: list[str]) -> str:
    near = nearest_names(name, candidates, most=1)
    return f" (nearest: {near})" if near else ""


def _listed(title: str, names: list[str], describe: Callable[[str], str], most: int = 12) -> list[str]:
    if not names:
        return []
    lines = [f"  {name} {describe(name)}" for name in names[:most]]
    if len(names) > most:
        lines.append(f"  and {len(names) - most} more")
    return [f"{title}: {len(names)}", *lines]
