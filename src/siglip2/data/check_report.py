"""The report of `siglip2 data check`: a page with plots, and rows for a terminal."""

from collections.abc import Iterator
from pathlib import Path

from siglip2.data.check import Checked
from siglip2.data.report_page import Plot, Table, new_figure, write_page

MOST_LANGUAGES = 25
MOST_LISTED = 200


def overview(checked: Checked) -> list[tuple[str, str]]:
    """What is in the shards, as pairs of a name and words."""
    found = checked.summary()
    return [
        ("shards", f"{found['shards']} ({_size(found['bytes'])})"),
        ("samples", f"{found['samples']:,}"),
        ("captions", f"{found['captions']:,}"),
        ("languages", _shares(found["languages"]) or "none"),
        ("longer side", _range(found["sizes"], "px")),
        ("caption length", _range(found["caption_lengths"], "characters")),
        ("boxes", f"{found['boxes']:,} on {found['samples_with_boxes']:,} samples"),
        ("exact duplicates", _groups(found["exact_duplicates"])),
        ("near duplicates", _groups(found["near_duplicates"])),
        ("repeated keys", f"{len(found['repeated_keys'])}"),
        ("broken samples", f"{len(found['broken'])}"),
        ("damaged shards", f"{len(found['damaged_shards'])}"),
    ]


def faults(checked: Checked) -> Iterator[tuple[str, str, str]]:
    """Shard, key and reason of everything that cannot be used."""
    for shard, reason in checked.damaged.items():
        yield shard, "", reason
    for each in checked.broken:
        yield each.shard, each.key, each.broken
    for key in checked.repeated_keys:
        yield "", key, "stands for more than one sample"


def write_report(checked: Checked, path: Path, title: str) -> None:
    """Write the page, with plots of languages, sizes and caption lengths."""
    parts: list[Table | Plot] = [Table("What is in it", ("", ""), overview(checked))]
    if checked.usable:
        parts += [_languages(checked), _sizes(checked)]
    faulty = list(faults(checked))
    if faulty:
        parts.append(Table("What cannot be used", ("shard", "key", "reason"), faulty[:MOST_LISTED]))
    for heading, groups in (("Exact duplicates", checked.exact), ("Near duplicates", checked.near)):
        if groups:
            parts.append(Table(heading, ("keys",), [(", ".join(group),) for group in groups[:MOST_LISTED]]))
    write_page(path, title, parts)


def _languages(checked: Checked) -> Plot:
    languages = dict(list(checked.languages.items())[:MOST_LANGUAGES])
    figure, axes = new_figure(height=0.6 + 0.22 * len(languages) + 0.6)
    axes.barh(list(languages), list(languages.values()), color="#2a78b8")
    axes.invert_yaxis()
    axes.set_xlabel("captions")
    return Plot("Languages", figure, f"Captions by language: {_shares(checked.languages)}")


def _sizes(checked: Checked) -> Plot:
    figure, (sides, lengths) = new_figure(1, 2)
    sides.hist([max(each.width, each.height) for each in checked.usable], bins=40, color="#2a78b8")
    sides.set_xlabel("longer side in pixels")
    sides.set_ylabel("pictures")
    lengths.hist([length for each in checked.usable for length in each.lengths], bins=40, color="#2a78b8")
    lengths.set_xlabel("characters")
    lengths.set_ylabel("captions")
    found = checked.summary()
    size, length = _range(found["sizes"], "px"), _range(found["caption_lengths"], "characters")
    return Plot("Sizes", figure, f"Longer side: {size}. Captions: {length}.")


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"


def _shares(languages: dict[str, int]) -> str:
    total = sum(languages.values())
    return ", ".join(f"{name} {count / total:.1%}" for name, count in list(languages.items())[:12])


def _range(quantiles: dict[str, float], unit: str) -> str:
    if not quantiles:
        return "none"
    low, median, high = (f"{quantiles[name]:g}" for name in ("min", "median", "max"))
    return f"{low} to {high} {unit}, half of them below {median}"


def _groups(groups: list[list[str]]) -> str:
    return f"{sum(len(each) for each in groups)} samples in {len(groups)} groups" if groups else "none"
