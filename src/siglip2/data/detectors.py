"""Open-vocabulary detectors that people have: OWL-ViT, OWLv2 and Grounding DINO from a local folder."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from siglip2.data.phrases import in_groups
from siglip2.data.request import files_fingerprint
from siglip2.data.sample import Box
from siglip2.errors import InvalidInput

Detector = Callable[[Image.Image, Sequence[str]], list[Box]]
"""An RGB picture and phrases to boxes with scores; a phrase may have none or many."""

PHRASES_AT_ONCE = 64


def open_detector(folder: Path, *, threshold: float, device: str = "cpu") -> Detector:
    """Load a detector that `transformers` knows as zero-shot object detection.

    Args:
        folder: with its weights and its processor, on this machine; nothing is downloaded.
        threshold: least score of a box.
        device: where it runs.

    Raises:
        InvalidInput: transformers is not installed, or the folder holds no such model.
    """
    try:
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor
    except ModuleNotFoundError:
        raise InvalidInput("detectors need transformers and torch: pip install transformers torch") from None
    if not (folder / "config.json").is_file():
        raise InvalidInput(f"{folder} is not a folder with a detector; expected config.json and its weights")
    try:
        model = AutoModelForZeroShotObjectDetection.from_pretrained(folder, local_files_only=True)
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (ValueError, OSError, KeyError) as error:
        raise InvalidInput(f"{folder} holds no open-vocabulary detector: {error}") from None
    model = model.to(device).eval()
    find = _find_in_sentence if "dino" in model.config.model_type else _find_phrases

    def detect(picture: Image.Image, phrases: Sequence[str]) -> list[Box]:
        boxes = []
        for group in in_groups(phrases, PHRASES_AT_ONCE):
            boxes += find(model, processor, picture, group, threshold)
        return boxes

    return detect


def describe_detector(folder: Path, threshold: float) -> dict[str, Any]:
    """What tells a detector from others: its folder, files and threshold, as JSON has them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "detector": str(folder.resolve()),
        "detector fingerprint": files_fingerprint(files),
        "threshold": threshold,
    }


def _find_phrases(
    model: Any, processor: Any, picture: Image.Image, phrases: Sequence[str], threshold: float
) -> list[Box]:
    """OWL-ViT and OWLv2: each phrase has a vector of its own."""
    import torch

    inputs = processor(
        text=[list(phrases)], images=picture, return_tensors="pt", padding="max_length", truncation=True
    ).to(model.device)
    with torch.inference_mode():
        outputs = model(**inputs)
    found = processor.post_process_grounded_object_detection(
        outputs,
        threshold=threshold,
        target_sizes=[(picture.height, picture.width)],
        text_labels=[list(phrases)],
    )[0]
    return _boxes(found, picture)


def _find_in_sentence(
    model: Any, processor: Any, picture: Image.Image, phrases: Sequence[str], threshold: float
) -> list[Box]:
    """Grounding DINO: all phrases are one sentence; a box has the words that it was found by."""
    import torch

    sentence = ". ".join(phrases) + "."
    inputs = processor(text=sentence, images=picture, return_tensors="pt", truncation=True).to(model.device)
    with torch.inference_mode():
        outputs = model(**inputs)
    found = processor.post_process_grounded_object_detection(
        outputs,
        inputs.input_ids,
        threshold=threshold,
        text_threshold=threshold,
        target_sizes=[(picture.height, picture.width)],
    )[0]
    return [box for box in _boxes(found, picture) if box.phrase in phrases]


def _boxes(found: dict[str, Any], picture: Image.Image) -> list[Box]:
    boxes = []
    for box, score, phrase in zip(found["boxes"], found["scores"], found["text_labels"], strict=True):
        x0, y0, x1, y1 = (float(value) for value in box)
        corners = (x0 / picture.width, y0 / picture.height, x1 / picture.width, y1 / picture.height)
        boxes.append(Box(corners, str(phrase), float(score)))
    return boxes
