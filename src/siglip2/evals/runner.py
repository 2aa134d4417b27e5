"""Run tasks one after another: what is done stays done, what is missing is named, the rest goes on."""

import importlib.metadata
import json
import logging
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from siglip2 import __version__
from siglip2.errors import Siglip2Error
from siglip2.evals.protocol import single_switches
from siglip2.evals.published import published_value
from siglip2.evals.results import RESULT_SUFFIX, Outcome, read_result, write_result
from siglip2.evals.task import Context, Task
from siglip2.fingerprint import weights_fingerprint

logger = logging.getLogger(__name__)

_PACKAGES = ("numpy", "pillow", "openvino", "tokenizers", "torch", "scikit-learn")


@dataclass(frozen=True, kw_only=True)
class TaskReport:
    """What became of one task.

    Attributes:
        task: its name.
        state: `measured`, `kept` (an equal run had already finished) or `failed`.
        result: the content of its JSON file, None where it failed.
        reason: why it failed.
    """

    task: str
    state: str
    result: dict[str, Any] | None = None
    reason: str | None = None


def run_tasks(
    tasks: Sequence[Task],
    context: Context,
    output: Path,
    *,
    again: bool = False,
    explain: Callable[[Any], Context] | None = None,
    always: bool = False,
    report: Callable[[TaskReport], None] = lambda _: None,
) -> list[TaskReport]:
    """Run tasks and write one result file each.

    Args:
        tasks: in this order.
        context: model, protocol, data.
        output: folder of this model's results.
        again: measure anew what is there already.
        explain: opens a context for another protocol; a task whose published figure lies outside of the
            measured interval is then run once more per deviating switch, with that switch put back, to say
            what it costs.
        always: explain every task.
        report: called after each task.
    """
    reports = []
    for task in tasks:
        finished = _run_task(task, context, output, again, explain, always)
        report(finished)
        reports.append(finished)
    return reports


def _run_task(
    task: Task,
    context: Context,
    output: Path,
    again: bool,
    explain: Callable[[Any], Context] | None,
    always: bool,
) -> TaskReport:
    identity = _identity(task, context)
    kept = None if again else _finished(output, task.name, identity)
    # One that is to be explained now, and was not then, is measured again.
    if kept is not None and (not (explain and always) or kept["explained"] or not context.deviations):
        return TaskReport(task=task.name, state="kept", result=kept)
    started, embedded = time.perf_counter(), context.cache.embedded
    try:
        outcome = task.run(context)
        published = _published(task, context, outcome)
        differs = any(not outcome.measures[name].contains(value) for name, value in published.items())
        explained = _explain(task, context, outcome, explain) if explain and (always or differs) else {}
    except Siglip2Error as error:
        return TaskReport(task=task.name, state="failed", reason=str(error))
    except ModuleNotFoundError as error:
        reason = f"it needs {error.name}: pip install 'siglip2[train,evals]'"
        return TaskReport(task=task.name, state="failed", reason=reason)
    seconds = time.perf_counter() - started
    circumstances = {
        "title": task.title,
        "main": task.main,
        "identity": identity,
        "model": context.encoder.model_id,
        "weights": weights_fingerprint(context.encoder.checkpoint),
        "data_sets": [asdict(data) for data in task.data],
        "deviations": [str(deviation) for deviation in context.deviations],
        "explained": explained,
        "published": published,
        "seconds": round(seconds, 2),
        "embedded": context.cache.embedded - embedded,
        "command": " ".join(sys.argv),
        "machine": f"{platform.system()} {platform.machine()}, {context.encoder.runtime.device}",
        "versions": {"python": platform.python_version(), "siglip2": __version__, **_versions()},
    }
    path = write_result(output, task.name, outcome, circumstances)
    return TaskReport(task=task.name, state="measured", result=json.loads(path.read_text(encoding="utf-8")))


def _identity(task: Task, context: Context) -> dict[str, Any]:
    """Everything that decides the numbers; an equal one means that nothing has to be measured again."""
    return {
        "task": task.name,
        "fingerprint": context.encoder.fingerprint,
        "precision": context.protocol.precision,
        "protocol": asdict(context.protocol),
        "max_num_patches": context.cache.max_num_patches,
        "limit": context.limit,
        "seed": context.seed,
        "data": str(context.data.resolve()),
        "files": [context.file_stamp(data) for data in task.data],
        "code": __version__,
    }


def _finished(output: Path, name: str, identity: dict[str, Any]) -> dict[str, Any] | None:
    path = output / f"{name}{RESULT_SUFFIX}"
    if not path.exists():
        return None
    content = read_result(path)
    if content is None or content["identity"] == identity:
        return content
    changed = [key for key, value in identity.items() if content["identity"].get(key) != value]
    logger.info("%s is measured again: %s changed", name, ", ".join(changed))
    return None


def _explain(
    task: Task, context: Context, outcome: Outcome, open_context: Callable[[Any], Context]
) -> dict[str, float]:
    """How much of the main measure each deviating switch costs."""
    measured = outcome.measures[task.main].value
    costs = {}
    for switch, protocol in single_switches(context.protocol):
        other = open_context(protocol)
        costs[switch] = measured - task.run(other).measures[task.main].value
    return costs


def _published(task: Task, context: Context, outcome: Outcome) -> dict[str, float]:
    """The paper's figures for this checkpoint, as shares, by measure."""
    if task.published is None:
        return {}
    found = {
        name: published_value(context.encoder.model_id, task.published, name, context.cache.max_num_patches)
        for name in outcome.measures
    }
    return {name: value for name, value in found.items() if value is not None}


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
