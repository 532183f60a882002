"""The command `headstart`, also as `python -m headstart`; Ctrl-C while it is still being imported is no traceback either."""

import sys


def run() -> None:
    """Runs the command line and leaves with its exit code."""
    try:
        from headstart.cli.main import run as run_commands
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        raise SystemExit(130) from None
    run_commands()


if __name__ == "__main__":
    run()
