"""The program: its commands, and how each run of it ends."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence

import click

from weightzip import __version__
from weightzip.cli.bench import bench
from weightzip.cli.completion import completion
from weightzip.cli.compress import compress
from weightzip.cli.demo import demo
from weightzip.cli.errors import Interrupts, explain
from weightzip.cli.group import SuggestingGroup
from weightzip.cli.info import info, test
from weightzip.cli.output import Output
from weightzip.cli.report import report
from weightzip.cli.restore import restore
from weightzip.cli.sample import sample
from weightzip.cli.scan import scan
from weightzip.cli.zoo import zoo


@click.group(cls=SuggestingGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="weightzip", message="%(prog)s %(version)s")
def main() -> None:
    """A neural codec for the weights of neural networks: any checkpoint in, one small file out, every byte counted.

    \b
    Examples:
      weightzip compress model.safetensors    writes model.wz
      weightzip restore model.wz              gives the checkpoint back
      weightzip demo                          shows all of it on a few models
    """


for _command in (compress, restore, sample, info, test, scan, report, bench, zoo, demo, completion):
    main.add_command(_command)


def run() -> None:
    """The console script."""
    code = execute(sys.argv[1:])
    gc.freeze()  # at the end of a process that has imported torch, Python would look through all of it for half a second
    sys.exit(code)


def execute(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code: 0 done, 1 failed, 2 usage, 3 damaged file, 4 refused."""
    out = Output()
    interrupts = Interrupts()
    try:
        with interrupts.handled(), _libraries_in_check():
            code = main.main(list(arguments), prog_name="weightzip", standalone_mode=False, obj=out)
            sys.stdout.flush()  # here, where a full disk or a closed pipe can still be told
            return code if isinstance(code, int) else 0
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    except BaseException as error:
        return explain(error, interrupts, out)


@contextlib.contextmanager
def _libraries_in_check() -> Iterator[None]:
    """What has to be said to torch and matplotlib before they are imported; what was set by the user stays.

    What libraries think of each other is kept from the user; whoever starts Python with -W gets what they asked for.
    Threads that wait for each other sleep: on a busy machine, spinning made the demo four times slower.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        yield
