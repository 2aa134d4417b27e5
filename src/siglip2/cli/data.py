"""`siglip2 data`: make shards of captioned pictures, check and balance them, and find boxes for phrases."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from siglip2.cli.output import check_file
from siglip2.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np

    from siglip2.data.check import Embed
    from siglip2.data.detectors import Detector

Action = Literal["prepare", "check", "balance", "regions"]


def data(
    action: Action,
    source: Path,
    out: Path | None = None,
    *,
    shard_size: int = 10_000,
    most_broken: float = 0.05,
    image_column: str = "",
    caption_column: str = "",
    language_column: str = "",
    split: str = "",
    index: bool = False,
    model: str | None = None,
    similarity: float = 0.97,
    report: Path | None = None,
    json: bool = False,
    words: Path | None = None,
    traits: Path | None = None,
    targets: str = "equal",
    detector: Path | None = None,
    categories: Path | None = None,
    only_captions: bool = False,
    threshold: float = 0.2,
    longest_phrase: int = 4,
    device: str = "cpu",
) -> int:
    """Work on the data that a model is trained with.

    prepare SOURCE OUT: write WebDataset tars with an index from a folder with captions.csv, .jsonl or
    .parquet, from one that Hugging Face `datasets` saved, or from the output of img2dataset. The same command
    goes on after a stop.
    check SHARDS: size, languages, boxes, duplicates, and what is broken; exit code 1 where something is.
    balance SHARDS OUT.parquet: weights by which samples are kept so that gender, or attributes of your own,
    are balanced, over all and with each label (M4, CLIP the Bias).
    regions SHARDS OUT --detector FOLDER: write the shards anew with boxes for parts of their captions and for
    common things. The same command goes on after a stop.

    Args:
        action: what to do.
        source: what to read; for all but prepare a folder of shards.
        out: where to write.
        shard_size: prepare: pictures in each tar.
        most_broken: prepare: share of unusable pictures above which it stops.
        image_column: prepare: which column of a table holds the picture or its path.
        caption_column: prepare: which one holds the caption.
        language_column: prepare: which one holds its language; identified where there is none.
        split: prepare: of a data set that has several.
        index: check: write the table of samples and the index that training reads shards of others by.
        model: check: find near duplicates by this model's vectors; without it by a hash of how they look.
        similarity: check: least cosine of near duplicates.
        report: check, balance: an HTML page with plots.
        json: check: print JSON.
        words: balance: JSON lists of words for attributes and labels; English ones come with the package.
        traits: balance: a table of attributes and labels, in place of words in captions.
        targets: balance: `equal` shares of the values of an attribute; `observed` leaves shares and removes
            associations with labels; or a JSON file of shares.
        detector: regions: folder of an OWL-ViT, OWLv2 or Grounding DINO that `transformers` can load.
        categories: regions: what to look for in every picture, one a line; 166 things come with the package.
        only_captions: regions: look for parts of captions alone.
        threshold: regions: least score of a box.
        longest_phrase: regions: words of a part of a caption.
        device: regions: where the detector runs.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    match action:
        case "prepare":
            from siglip2.data.raw_sources import Columns

            columns = Columns(
                picture=image_column, caption=caption_column, language=language_column, split=split
            )
            return _prepare(source, _named(out, action), columns, shard_size, most_broken)
        case "check":
            return _check(source, index, model, similarity, report, json)
        case "balance":
            return _balance(source, _named(out, action), words, traits, targets, report)
        case "regions":
            if detector is None:
                raise InvalidInput("name the folder of an open-vocabulary detector with --detector")
            from siglip2.data.detectors import describe_detector, open_detector
            from siglip2.data.phrases import read_categories

            named = [] if only_captions else read_categories(categories)
            found = open_detector(detector, threshold=threshold, device=device)
            described = describe_detector(detector, threshold)
            return _regions(source, _named(out, action), found, described, named, longest_phrase)


def _prepare(source: Path, out: Path, columns: object, shard_size: int, most_broken: float) -> int:
    from siglip2.data.prepare import prepare_shards
    from siglip2.data.raw_sources import Columns, open_raw
    from siglip2.progress import progress_bar

    assert isinstance(columns, Columns)
    if shard_size < 1:
        raise InvalidInput("--shard-size must be at least 1")
    raw = open_raw(source, columns)
    with progress_bar("pictures", raw.total, enabled=sys.stderr.isatty()) as advance:
        done = prepare_shards(raw, out, shard_size=shard_size, most_broken=most_broken, advance=advance)
    print(
        f"{len(done.samples)} samples in {done.shards} shards in {out} (from {raw.kind}); "
        f"{len(done.broken)} left out"
    )
    return 0


def _named(out: Path | None, action: str) -> Path:
    if out is None:
        raise InvalidInput(f"say where to write: siglip2 data {action} SOURCE OUT")
    return out


def _check(
    shards: Path, index: bool, model: str | None, similarity: float, report: Path | None, as_json: bool
) -> int:
    import json

    from siglip2.data.check import check_shards
    from siglip2.data.check_report import faults, overview, write_report
    from siglip2.progress import progress_bar

    if report is not None:
        check_file("--report", report)
    if index:
        from siglip2.data.random_access import tars_to_index

        tars_to_index(shards)
    embed = None if model is None else _embedder(model)
    with progress_bar("samples", None, enabled=sys.stderr.isatty()) as advance:
        checked = check_shards(shards, embed=embed, similarity=similarity, advance=advance)
    if report is not None:
        write_report(checked, report, f"Shards in {shards}")
    if as_json:
        print(json.dumps(checked.summary(), ensure_ascii=False))
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, words in overview(checked):
            table.add_row(name, words)
        Console(highlight=False).print(table)
        for shard, key, reason in faults(checked):
            print(f"{shard}\t{key}\t{reason}")
    if index:
        from siglip2.data.inspection import write_table
        from siglip2.data.random_access import write_index

        write_index(shards, len(checked.samples))
        write_table(checked.samples, shards)
    return 0 if checked.sound else 1


def _balance(
    shards: Path, out: Path, words: Path | None, table: Path | None, targets: str, report: Path | None
) -> int:
    from siglip2.data.balance import Balance, balance, find_constraints, read_targets
    from siglip2.data.balance_report import measures, write_keep_weights, write_report
    from siglip2.data.traits import WordLists, traits_of_shards, traits_of_table

    if words is not None and table is not None:
        raise InvalidInput("--words and --traits exclude each other")
    check_file("OUT", out)
    if report is not None:
        check_file("--report", report)
    if targets not in ("equal", "observed"):
        path = Path(targets)
        if not path.is_file():
            raise InvalidInput(f"--targets {targets}: expected equal, observed, or a JSON file of shares")
        settings = Balance(targets=read_targets(path))
    else:
        settings = Balance(targets=targets)
    traits = traits_of_table(table) if table else traits_of_shards(shards, WordLists.read(words))
    weights = balance(traits, settings)
    write_keep_weights(traits, weights, out)
    constraints = find_constraints(traits, settings)
    for name, before, after in measures(constraints, weights):
        print(f"{name}\t{before:.4f}\t{after:.4f}")
    if report is not None:
        write_report(constraints, weights, report, f"Balance of {shards}")
    return 0


def _regions(
    shards: Path,
    out: Path,
    detect: "Detector",
    described: dict[str, Any],
    categories: list[str],
    longest: int,
) -> int:
    from siglip2.data.regions import RegionSettings, add_regions
    from siglip2.progress import progress_bar

    settings = RegionSettings(longest=longest)
    with progress_bar("pictures", None, enabled=sys.stderr.isatty()) as advance:
        samples = add_regions(shards, out, detect, categories, settings, advance, detector=described)
    boxes = sum(each.num_regions for each in samples)
    found = sum(each.num_regions > 0 for each in samples)
    print(f"{boxes} boxes on {found} of {len(samples)} samples in {out}")
    return 0


def _embedder(model: str) -> "Embed":
    from siglip2.encoder import load

    encoder = load(model)

    def embed(pictures: Sequence[bytes]) -> "np.ndarray":
        return encoder.embed_images(pictures)

    return embed
