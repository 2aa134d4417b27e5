"""A process of its own for `test_vlm_example.py`: trains whole, then stopped by Ctrl-C and resumed.

    python tests/interop/interrupted_training.py EXAMPLE DATA OUT

It sends itself the signal, which no process that runs other tests could do safely: whatever handlers their
libraries installed, and whoever reads a second Ctrl-C, would decide what becomes of all of them.
"""

import faulthandler
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any


def main(example: Path, data: Path, out: Path) -> None:
    """Write `OUT/curves.json`, with the run that was stopped in `OUT/stopped`."""
    sys.path.insert(0, str(example))
    train: Any = importlib.import_module("train")

    def options(name: str, **changes: bool) -> Any:
        small = dict(limit=24, batch_size=8, steps=4, warmup=2, threads=1, test_captions=1)
        return train.Options(data=data, out=out / name, **(small | changes))

    whole = train.train(options("whole"))["curve"]
    batch_of = train.batch_of

    def interrupt(split, chosen, step):
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return batch_of(split, chosen, step)

    train.batch_of, code = interrupt, 0
    before = signal.getsignal(signal.SIGINT)
    try:
        train.train(options("stopped"))
    except SystemExit as stopped:
        code = stopped.code
    handler_is_back = signal.getsignal(signal.SIGINT) is before
    measured = (out / "stopped" / "results.json").exists()
    train.batch_of = batch_of
    resumed = train.train(options("stopped", resume=True))["curve"]
    found = {"whole": whole, "resumed": resumed, "code": code, "measured_when_stopped": measured}
    (out / "curves.json").write_text(json.dumps(found | {"handler_is_back": handler_is_back}))


if __name__ == "__main__":
    faulthandler.enable()
    # A parent that ignores Ctrl-C hands that down.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(*(Path(each) for each in sys.argv[1:]))
