"""Draw what a trained model says about photographs as a sheet of pictures with captions.

    python examples/vlm/draw.py --run runs/vlm --out sheet.png

Without `--photos` it takes scikit-image's sample photographs (`pip install 'siglip2[demo]'`).
"""

import importlib.util
import json
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import tyro
from model import Words, build, load_tokenizer
from PIL import Image

from data import DESCRIBE, to_picture
from siglip2.errors import InvalidInput

SAMPLES = ("astronaut.png", "chelsea.png", "camera.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg")
QUESTIONS = ("is there a man?", "is there a dog?", "is there water?")


def draw(*, run: Path, out: Path, photos: tuple[Path, ...] = (), columns: int = 3) -> None:
    """Write the sheet.

    Args:
        run: folder of a training run.
        out: picture to write.
        photos: to look at.
        columns: photographs side by side.
    """
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    saved = torch.load(run / "checkpoint.pt", weights_only=True)
    words = Words(load_tokenizer(), saved["words"])
    chosen = results["options"]
    budget, tiles = int(chosen["max_num_patches"]), int(chosen["tiles"])
    num_blocks = None if chosen["num_blocks"] == "None" else int(chosen["num_blocks"])
    model = build(chosen["inputs"], words, num_blocks=num_blocks).eval()
    model.load_state_dict(saved["model"])
    paths = photos or sample_photos()
    images = [Image.open(path).convert("RGB") for path in paths]
    with torch.no_grad():
        seen = model.look([to_picture(image, model.tower.config, budget, tiles) for image in images])

    def say(prompt: str) -> list[str]:
        ids = words.encode(prompt)
        return [words.decode(answer) for answer in model.answer(seen, ids)]

    captions, answers = say(DESCRIBE), {question: say(question) for question in QUESTIONS}
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.2 * columns, 4.4 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for index, (axis, image) in enumerate(zip(axes.flat, images, strict=False)):
        axis.imshow(image.resize((240, max(1, round(240 * image.height / image.width)))))
        lines = textwrap.wrap(captions[index], 40)
        lines += [f"{question} {given[index]}" for question, given in answers.items()]
        axis.set_title("\n".join(lines), fontsize=8, loc="left")
        print(f"{paths[index].name}: {captions[index]}")
    figure.tight_layout(h_pad=4)
    figure.savefig(out, dpi=80, bbox_inches="tight")
    plt.close(figure)


def sample_photos() -> tuple[Path, ...]:
    """The photographs that come with scikit-image's package.

    Raises:
        InvalidInput: it is not installed.
    """
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise InvalidInput("the sample photographs come with scikit-image: pip install 'siglip2[demo]'")
    folder = Path(found.origin).parent / "data"
    return tuple(folder / name for name in SAMPLES if (folder / name).is_file())


if __name__ == "__main__":
    tyro.cli(draw)
