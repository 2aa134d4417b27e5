"""`siglip2 eval`: measure a model, compare two, and write the report."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from siglip2.cli.options import DEFAULT_RUNTIME_OPTIONS, RuntimeOptions
from siglip2.errors import InvalidInput

CACHE = Path("~/.cache/siglip2/evals").expanduser()


def eval(
    model_or_action: str,
    arguments: tuple[Path, ...] = (),
    *,
    tasks: tuple[str, ...] = ("small",),
    data: Path = Path("data"),
    output: Path = Path("eval"),
    cache: Path = CACHE,
    templates: str = "clip81",
    canonicalize: bool = True,
    lowercase: Literal["ascii", "unicode", "none"] = "ascii",
    preset: Literal["reference", "transformers", "timm"] = "reference",
    ties: Literal["against", "order"] = "against",
    limit: int | None = None,
    max_num_patches: int | None = None,
    seed: int = 0,
    again: bool = False,
    explain: Literal["differing", "always", "never"] = "differing",
    runner: RuntimeOptions = DEFAULT_RUNTIME_OPTIONS,
) -> int:
    """Measure a model the way the paper does.

    `siglip2 eval MODEL --tasks ...` measures; `siglip2 eval list` shows the tasks; `siglip2 eval compare A B`
    tests two folders of results against each other; `siglip2 eval report FOLDER...` writes one page.

    Args:
        model_or_action: what to measure, or `list`, `compare`, `report`.
        arguments: folders of results, for `compare` and `report`.
        tasks: names of tasks or sets of them; `paper` and `small` are sets.
        data: folder with a folder for each data set.
        output: where results go, in a folder named for the model, and for its weights where another model of
            that name has results there; where `report` writes its page.
        cache: where embeddings are kept between runs.
        templates: clip81 as in the paper, clip8, plain, or one of your own with {}.
        canonicalize: drop punctuation and case from class names and templates.
        lowercase: which letters of texts are lower-cased.
        preset: how pixels reach the model's resolution.
        ties: whether an equally good wrong answer stands in front, or whatever comes first.
        limit: measure on so many images only.
        max_num_patches: NaFlex models, the most patches of an image.
        seed: of every random choice.
        again: measure anew what is there already.
        explain: run once more for every switch that is not the paper's, and say what it costs: where the
            paper's figure lies outside the interval, always, or never.
        runner: how the model runs.
    """
    actions: dict[str, Callable[..., int]] = {"list": _list, "compare": _compare, "report": _report}
    if model_or_action in actions:
        return actions[model_or_action](arguments, output)
    if arguments:
        raise InvalidInput(f"{model_or_action} is taken for a model, and {arguments[0]} means nothing then")

    from siglip2.evals.protocol import Protocol
    from siglip2.evals.registry import choose_tasks

    chosen = choose_tasks(tasks)
    if not data.is_dir():
        raise InvalidInput(
            f"{data} is not a folder: --data names the one that holds a folder for each data set"
        )
    if limit is not None and limit < 1:
        raise InvalidInput(f"--limit is {limit}; it must be at least 1")
    protocol = Protocol(
        templates=templates, canonicalize=canonicalize, lowercase=lowercase, image_preset=preset, ties=ties
    )
    return _measure(
        model_or_action,
        runner,
        chosen,
        protocol,
        data,
        output,
        cache,
        limit,
        max_num_patches,
        seed,
        again,
        explain,
    )


def _measure(
    model, runner, tasks, protocol, data, output, cache, limit, max_num_patches, seed, again, explain
) -> int:
    from siglip2.encoder import load
    from siglip2.evals.cache import EmbeddingCache
    from siglip2.evals.protocol import with_encoder
    from siglip2.evals.report.table import print_report
    from siglip2.evals.results import results_folder
    from siglip2.evals.runner import run_tasks
    from siglip2.evals.task import Context
    from siglip2.fingerprint import weights_fingerprint

    opened: dict[tuple[str, ...], EmbeddingCache] = {}

    def context(wanted, precision=None) -> Context:
        key = (wanted.lowercase, wanted.image_preset, precision or wanted.precision)
        if key not in opened:
            encoder = load(
                model,
                runtime=runner.runtime,
                precision=precision or wanted.precision,
                device=runner.device,
                image_preset=wanted.image_preset,
                lowercase=wanted.lowercase,
                revision=runner.revision,
                offline=runner.offline,
            )
            opened[key] = EmbeddingCache(encoder, cache, max_num_patches=max_num_patches)
            opened[(*key[:2], encoder.runtime.precision)] = opened[key]  # what `auto` turned out to be
        return Context(
            encoder=opened[key].encoder,
            data=data,
            protocol=with_encoder(wanted, opened[key].encoder),
            cache=opened[key],
            limit=limit,
            seed=seed,
            progress=sys.stderr.isatty(),
        )

    # What `auto` stands for only the opened model knows.
    first = context(protocol, runner.precision)
    for deviation in first.deviations:
        print(f"differs from the paper: {deviation}", file=sys.stderr)
    name = Path(model).name
    if name in ("", ".."):
        name = Path(model).resolve().name
    if max_num_patches:
        name = f"{name}@{max_num_patches}"
    folder = results_folder(output, name, weights_fingerprint(first.encoder.checkpoint))
    if folder.name != name:
        print(f"{output / name} is for another model of that name: results go to {folder}", file=sys.stderr)
    reports = run_tasks(
        tasks,
        first,
        folder,
        again=again,
        explain=None if explain == "never" else context,
        always=explain == "always",
        report=print_report,
    )
    for each in set(opened.values()):
        each.close()
    print(f"results in {folder}", file=sys.stderr)
    return 1 if any(report.state == "failed" for report in reports) else 0


def _list(arguments: tuple[Path, ...], output: Path) -> int:
    from siglip2.evals.report.table import print_tasks

    print_tasks()
    return 0


def _compare(arguments: tuple[Path, ...], output: Path) -> int:
    from siglip2.evals.compare import compare_folders
    from siglip2.evals.report.table import print_comparison
    from siglip2.evals.results import model_names

    if len(arguments) != 2:
        raise InvalidInput("compare takes two folders of results: siglip2 eval compare A B")
    print_comparison(compare_folders(*arguments), *model_names(arguments))
    return 0


def _report(arguments: tuple[Path, ...], output: Path) -> int:
    from siglip2.evals.report.page import write_page

    if not arguments:
        raise InvalidInput("report takes one or more folders of results: siglip2 eval report eval/nano")
    print(write_page(list(arguments), output))
    return 0
