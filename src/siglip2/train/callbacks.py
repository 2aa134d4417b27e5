"""Who hears of a run: a file of JSON lines always, and on request a terminal, TensorBoard, W&B, MLflow."""

import json
from pathlib import Path
from typing import Any, Protocol

from siglip2.errors import InvalidInput

Entry = dict[str, Any]

LOGGERS = ("tensorboard", "wandb", "mlflow")


class Callback(Protocol):
    """Something that hears of a run."""

    def log(self, entry: Entry) -> None:
        """A log entry; `parts` holds the losses, everything else is a number or a name."""

    def close(self) -> None:
        """The run is over or stopped."""


class JsonLines:
    """Appends entries to a file, one a line."""

    def __init__(self, path: Path):
        self._file = path.open("a")

    def log(self, entry: Entry) -> None:
        """Write at once, so that a killed run has its log."""
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """Event files in the run's folder."""

    def __init__(self, run: Path):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run / "tensorboard"))

    def log(self, entry: Entry) -> None:
        """One scalar for every number."""
        for name, value in numbers(entry).items():
            self._writer.add_scalar(name, value, entry["step"])

    def close(self) -> None:
        """Flush."""
        self._writer.close()


class WeightsAndBiases:
    """A run of `wandb`, where the environment says: online, or `WANDB_MODE=offline`."""

    def __init__(self, run: Path, config: Entry):
        import wandb  # pyright: ignore[reportMissingImports]

        self._run = wandb.init(dir=str(run), name=run.name, config=config, resume="allow", id=run.name)

    def log(self, entry: Entry) -> None:
        """All numbers."""
        self._run.log(numbers(entry), step=entry["step"])

    def close(self) -> None:
        """Finish."""
        self._run.finish()


class MLflow:
    """A run of `mlflow`, at its tracking address or in the run's folder."""

    def __init__(self, run: Path, config: Entry):
        import mlflow  # pyright: ignore[reportMissingImports]

        if not mlflow.is_tracking_uri_set():
            mlflow.set_tracking_uri(f"sqlite:///{run.resolve() / 'mlflow.db'}")
        mlflow.set_experiment(str(config["name"]))
        self._mlflow = mlflow
        mlflow.start_run(run_name=run.name)
        mlflow.log_params(
            {key: value for key, value in config.items() if not isinstance(value, (dict, list))}
        )

    def log(self, entry: Entry) -> None:
        """All numbers."""
        self._mlflow.log_metrics(numbers(entry), step=entry["step"])

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


def numbers(entry: Entry) -> dict[str, float]:
    """The numbers of an entry, losses as `loss/...`."""
    found = {name: value for name, value in entry.items() if isinstance(value, float)}
    return found | {f"loss/{name}": value for name, value in entry["parts"].items()}


def open_logger(name: str, run: Path, config: Entry) -> Callback:
    """One of `LOGGERS`.

    Raises:
        InvalidInput: there is none of this name, or its package is missing.
    """
    try:
        if name == "tensorboard":
            return TensorBoard(run)
        if name == "wandb":
            return WeightsAndBiases(run, config)
        if name == "mlflow":
            return MLflow(run, config)
    except ModuleNotFoundError as error:
        raise InvalidInput(f"--log-to {name} needs its package: pip install {name}") from error
    raise InvalidInput(f"--log-to {name}: expected one of {', '.join(LOGGERS)}")
