"""A run that is asked to stop: it saves, says so, exports nothing, and leaves signals as they were."""

import signal
import threading

import pytest
from tests.train.test_fine_tune import write_folder

from siglip2.cli import train as command
from siglip2.cli.main import main
from siglip2.train.checkpoints import Checkpoints
from siglip2.train.loop import train
from siglip2.train.stopping import Stopped, asked_to_stop


class Sender:
    """Sends this thread a signal at a step; one to the process may come late where other threads are."""

    def __init__(self, number: int, step: int):
        self.number, self.step = number, step

    def log(self, entry) -> None:
        if entry["step"] == self.step:
            signal.raise_signal(self.number)

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def interrupts():
    """A shell's background jobs ignore SIGINT, and so would these tests there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_what_is_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with asked_to_stop() as received:
        signal.raise_signal(signal.SIGINT)
        assert received == []
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_and_saves(tiny_recipe, tiny_data, tokenize, tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match="stopped at step 3 of 12 and saved"):
        train(tiny_recipe, tiny_data, tokenize, tmp_path, callbacks=[Sender(number, 3)])
    assert Checkpoints(tmp_path).steps == [3]
    assert signal.getsignal(number) is before
    train(tiny_recipe, tiny_data, tokenize, tmp_path, callbacks=[Sender(number, 12)])
    assert Checkpoints(tmp_path).steps[-1] == 12  # asked at the very end: nothing is left to stop


def test_a_second_interrupt_does_not_wait():
    with asked_to_stop() as received:
        signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_run_in_a_thread_trains(tiny_recipe, tiny_data, tokenize, tmp_path):
    thread = threading.Thread(
        target=train, args=(tiny_recipe, tiny_data, tokenize, tmp_path), kwargs={"stop_after": 1}
    )
    thread.start()
    thread.join()
    assert Checkpoints(tmp_path).steps == [1]


def test_the_command_exports_only_what_is_finished(tmp_path, capsys, monkeypatch):
    photos, run = write_folder(tmp_path / "photos"), tmp_path / "run"
    arguments = [
        "train",
        "fine_tune",
        "--data",
        str(photos),
        "--run",
        str(run),
        "--steps",
        "4",
        "--unchecked",
    ]
    arguments += ["--unchecked", "--log_every", "1", "--sources.0.images_per_batch", "4"]
    senders = [Sender(signal.SIGTERM, 2)]
    monkeypatch.setattr(command, "_callbacks", lambda *_: [senders.pop()] if senders else [])
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 130
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "siglip2: stopped at step 2 of 4 and saved; the same command goes on" in printed.err
    assert not (run / "model").exists()
    with pytest.raises(SystemExit) as finished:
        main(arguments)
    assert finished.value.code == 0
    assert (run / "model" / "model.safetensors").is_file()
