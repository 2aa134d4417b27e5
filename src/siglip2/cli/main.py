"""`siglip2`: finds the command and turns errors into sentences and exit codes.

Nothing but the chosen command is imported, so that `siglip2 --help` answers at once.

Exit codes: 0 all well; 1 some photos could not be used, the rest is done; 2 a mistake in the request, nothing
is done; 130 stopped by Ctrl-C, or by SIGTERM in training, finished results are out.
"""

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, get_type_hints

from siglip2 import __version__
from siglip2.errors import Siglip2Error

USAGE_ERROR = 2
INTERRUPTED = 130

_PATH_FAULTS: dict[type[OSError], str] = {
    FileExistsError: "is a file, and a folder is needed",
    NotADirectoryError: "lies below a file, and a folder is needed",
    IsADirectoryError: "is a folder, and a file is needed",
    PermissionError: "may not be read or written",
}
"""What is wrong with a path that a user chose. Any other error of the system may be a fault of ours."""


@dataclass(frozen=True)
class Command:
    """Where a command lives: function `name` of module `siglip2.cli.name`."""

    name: str
    summary: str

    def function(self) -> Callable[..., int | None]:
        """Import it."""
        return getattr(import_module(f"siglip2.cli.{self.name}"), self.name)

    def arguments(self, given: Sequence[str]) -> Sequence[str]:
        """Its arguments as the parser takes them; a command may have forms of its own."""
        prepare = getattr(import_module(f"siglip2.cli.{self.name}"), "prepare_arguments", None)
        return given if prepare is None else prepare(given)


COMMANDS = (
    Command("classify", "say which of your labels fit photos"),
    Command("score", "compare photos with texts, pair by pair"),
    Command("embed", "write the vectors of photos or texts to a file"),
    Command("features", "write patch features, and draw where in a photo a phrase is"),
    Command("index", "make a searchable collection of photos, and look after it"),
    Command("search", "find photos of a collection by words or by example"),
    Command("eval", "measure a model the way the paper does"),
    Command("models", "list the released models"),
    Command("convert", "turn weights from one format into another"),
    Command("export", "write a model for ONNX Runtime, OpenVINO, torch.export or transformers"),
    Command("train", "train a model from a recipe"),
    Command("data", "make shards of captioned photos, check and balance them, find boxes for phrases"),
    Command("demo", "classify sample photographs with the bundled model"),
    Command("serve", "serve a model over HTTP, to the clients that people have"),
    Command("accounts", "manage the accounts, keys and credit of a service"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # File names need not be valid text; written like this they reach the next program unchanged.
        stream.reconfigure(errors="surrogateescape")  # pyright: ignore[reportAttributeAccessIssue]
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except Siglip2Error as error:
        print(f"siglip2: {error}", file=sys.stderr)
        code = USAGE_ERROR
    except KeyboardInterrupt as error:
        print(f"siglip2: {str(error) or 'stopped; what was finished is there'}", file=sys.stderr)
        code = INTERRUPTED
    except tuple(_PATH_FAULTS) as error:
        # Without a path it is about something else, such as a port.
        path = error.filename2 or error.filename
        if path is None:
            raise
        fault = next(each for kind, each in _PATH_FAULTS.items() if isinstance(error, kind))
        print(f"siglip2: {os.fsdecode(path)} {fault}", file=sys.stderr)
        code = USAGE_ERROR
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; nothing may be flushed into its pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name; its exit code.

    Raises:
        Siglip2Error: a user's mistake.
    """
    name, *rest = arguments or ("--help",)
    if name in ("--help", "-h", "help"):
        print(overview())
        return 0
    if name in ("--version", "-V"):
        print(f"siglip2 {__version__}")
        return 0
    command = next((each for each in COMMANDS if each.name == name), None)
    if command is None:
        raise Siglip2Error(f"there is no command {name!r}{_nearest(name)}; `siglip2 --help` lists them")
    import tyro

    return (
        tyro.cli(
            _positional_as_in_python(command.function()),
            args=command.arguments(rest),
            prog=f"siglip2 {name}",
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
        or 0
    )


def overview() -> str:
    """What `siglip2 --help` prints."""
    listed = "\n".join(f"  {command.name:10}{command.summary}" for command in COMMANDS)
    return (
        "usage: siglip2 COMMAND ...\n\n"
        "SigLIP 2: images and text in one space.\n\n"
        f"commands:\n{listed}\n\n"
        'try: siglip2 classify photo.jpg --labels "a cat" "a dog" --model nano\n'
        "     siglip2 COMMAND --help"
    )


def _positional_as_in_python(function: Callable[..., Any]) -> Callable[..., Any]:
    """What stands before the `*` of a command's signature has no flag on the command line either."""
    import tyro

    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            function.__annotations__[name] = tyro.conf.Positional[hints[name]]
    return function


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, [command.name for command in COMMANDS], n=1)
    return f", did you mean {close[0]}?" if close else ""


if __name__ == "__main__":
    main()
