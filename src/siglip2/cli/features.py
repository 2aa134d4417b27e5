"""`siglip2 features`: patch features, where in a photo a phrase is, and where the model looks."""

from pathlib import Path
from typing import TYPE_CHECKING

from siglip2.cli.options import DEFAULT_MODEL_OPTIONS, ModelOptions, wants_progress
from siglip2.cli.photos import BrokenPhotos, find_photos
from siglip2.errors import InvalidImage, InvalidInput

if TYPE_CHECKING:
    import numpy as np

    from siglip2.encoder import Encoder, PatchFeatures


def features(
    photos: tuple[str, ...],
    *,
    output_dir: Path,
    phrase: str | None = None,
    attention: bool = False,
    max_num_patches: int | None = None,
    model: ModelOptions = DEFAULT_MODEL_OPTIONS,
) -> int:
    """Write the patch features of photos, and draw where a phrase is or where the model looks.

    For every photo NAME.npz appears in the output folder, with `features` (h, w, D), `grid` and `attention`
    (h, w), the share of each patch in what the pooling head looks at; with a phrase also `similarity` (h, w),
    the cosine of each patch, and NAME.heat.png.

    Args:
        photos: files, folders or patterns.
        output_dir: made if missing.
        phrase: what to look for, such as "a dog".
        attention: also draw NAME.attention.png, where the pooling head looks.
        max_num_patches: NaFlex models: the most patches of an image.
        model: which model.
    """
    found = find_photos(photos)
    if phrase is not None and not phrase.strip():
        raise InvalidInput("--phrase is empty")
    targets = _targets(found, output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)

    from siglip2.pipeline import BrokenImage
    from siglip2.progress import progress_bar

    encoder = model.load()
    text = encoder.embed_texts([phrase])[0] if phrase else None
    encoder.release_text_tower()  # only photos come now
    broken = BrokenPhotos()
    with progress_bar("photos", len(found), enabled=wants_progress(len(found))) as advance:
        for index, (photo, target) in enumerate(zip(found, targets, strict=True)):
            try:
                [patches] = encoder.patch_features([photo], max_num_patches=max_num_patches)
                _write(encoder, photo, patches, text, target, attention)
                print(f"{photo}\t{patches.grid[0]}x{patches.grid[1]}\t{target}", flush=True)
            except InvalidImage as error:
                broken.add([BrokenImage(index=index, name=photo, reason=str(error))])
            advance(1)
    return broken.report(len(found))


def _write(
    encoder: "Encoder",
    photo: str,
    patches: "PatchFeatures",
    text: "np.ndarray | None",
    target: Path,
    attention: bool,
) -> None:
    import numpy as np

    from siglip2.heatmap import attention_map, draw_heatmap, similarity_map
    from siglip2.inputs.decode import load_image

    maps = {"attention": attention_map(encoder.checkpoint, patches.features)}
    pictures = {"attention": "attention"} if attention else {}
    if text is not None:
        maps["similarity"] = similarity_map(encoder.checkpoint, patches, text)
        pictures["similarity"] = "heat"
    for name, ending in pictures.items():
        draw_heatmap(load_image(photo), maps[name]).save(target.with_suffix(f".{ending}.png"))
    np.savez(target, features=patches.features, grid=np.array(patches.grid), **maps)  # pyright: ignore[reportArgumentType]


def _targets(photos: list[str], folder: Path) -> list[Path]:
    """A file for each photo; equal names from several folders are numbered."""
    taken: set[str] = set()
    targets: list[Path] = []
    for photo in photos:
        stem, number = Path(photo).stem, 1
        name = stem
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        targets.append(folder / f"{name}.npz")
    return targets
