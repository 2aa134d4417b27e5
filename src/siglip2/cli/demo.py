"""`siglip2 demo`: sample photographs, the bundled model, a table and a picture."""

from dataclasses import asdict
from pathlib import Path

from siglip2.cli.classify import COLUMNS
from siglip2.cli.options import ModelOptions
from siglip2.cli.output import open_writer
from siglip2.errors import InvalidInput

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_NANO = ModelOptions(model="nano")


def demo(*, output: Path = Path("demo/demo.png"), top_k: int = 5, model: ModelOptions = _NANO) -> None:
    """Classify a few real photographs offline, and draw photos with bars.

    Args:
        output: the picture to write: .png, .jpg or .webp.
        top_k: how many labels to show for a photo in the table.
        model: which model; the bundled one by default.
    """
    if output.suffix.lower() not in _PICTURES:
        raise InvalidInput(f"--output {output} must end in {', '.join(_PICTURES)}")

    from siglip2.classify import ZeroShotClassifier
    from siglip2.demo import LABELS, draw_demo, sample_photos
    from siglip2.inputs.decode import load_image

    photos = sample_photos()
    classifier = ZeroShotClassifier(model.load(), LABELS)
    results = classifier.classify(photos)
    writer = open_writer(COLUMNS, as_json=False, as_csv=False, texts=LABELS)
    for photo, ranking in zip(photos, results, strict=True):
        writer.write(photo.name, [asdict(prediction) for prediction in ranking[:top_k]])
    title = f"SigLIP 2 with your own labels: {classifier.encoder.model_id}"
    picture = draw_demo([load_image(photo) for photo in photos], results, title)
    output.parent.mkdir(parents=True, exist_ok=True)
    picture.save(output, optimize=True)
    print(f"picture: {output}")
