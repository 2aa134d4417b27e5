"""What a run shows: the page, the terminal, other loggers; and the guard against spikes."""

import dataclasses
import io
import json

import pytest
from rich.console import Console

from siglip2.cli.main import run as command
from siglip2.errors import InvalidInput
from siglip2.train.callbacks import open_logger
from siglip2.train.loop import train
from siglip2.train.parallel import Ranks
from siglip2.train.report import read_log, write_report
from siglip2.train.run_state import RunState
from siglip2.train.terminal import Terminal, sparkline


def test_report_shows_every_loss_and_stage(tiny_recipe, tiny_data, tokenize, tmp_path, capsys):
    train(tiny_recipe, tiny_data, tokenize, tmp_path)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 13, "cut o')
    assert len(read_log(tmp_path)) == 12
    assert command(["train", "report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    assert page.count("<img") == 8
    assert "<td>sigmoid<td>to 12" in page
    assert "No step was skipped" in page


def test_report_of_something_else_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"is not the folder of a run: it holds no log\.jsonl"):
        write_report(tmp_path)


def test_terminal_shows_losses_rates_and_progress(tiny_recipe, tiny_data, tokenize, tmp_path):
    written = io.StringIO()
    view = Terminal(tiny_recipe, Console(file=written, width=100, force_terminal=True))
    train(tiny_recipe, tiny_data, tokenize, tmp_path, callbacks=[view])
    text = written.getvalue()
    for expected in ("tiny: sigmoid", "images a second", "12 of 12", "waiting for data"):
        assert expected in text


def test_sparkline_goes_from_least_to_greatest():
    assert sparkline([1.0, 2.0, 3.0], 8) == "▁▄█"
    assert sparkline([1.0, float("nan"), float("inf"), 3.0], 8) == "▁  █"
    assert sparkline([float("nan")], 8) == " "
    assert sparkline([5.0] * 100, 4) == "▁▁▁▁"
    assert len(sparkline(list(range(100)), 32)) == 32


def test_tensorboard_hears_of_the_run(tiny_recipe, tiny_data, tokenize, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = open_logger("tensorboard", tmp_path, dataclasses.asdict(tiny_recipe))
    train(tiny_recipe, tiny_data, tokenize, tmp_path, callbacks=[logger])
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = [event.value for event in events.Scalars("loss/sigmoid")]
    logged = [
        json.loads(line)["parts"]["sigmoid"] for line in (tmp_path / "log.jsonl").read_text().splitlines()
    ]
    assert found == pytest.approx(logged, rel=1e-6)


def test_unknown_loggers_are_named(tmp_path):
    with pytest.raises(InvalidInput, match="expected one of tensorboard, wandb, mlflow"):
        open_logger("paper", tmp_path, {})


def test_a_norm_far_above_the_mean_is_a_spike_after_a_hundred_steps(tiny_recipe, tmp_path):
    state = RunState(tiny_recipe, tmp_path, Ranks(), None)
    state.enter(0)
    assert not state.is_spike(1000.0, 10.0)  # nothing to compare it with
    state.norms.zero_()
    assert not any(state.is_spike(1.0, 10.0) for _ in range(100))
    assert state.is_spike(11.0, 10.0)
    assert not state.is_spike(11.0, 0.0)  # switched off
    assert not state.is_spike(9.0, 10.0)
