"""The command line: what is typed, what is shown, and the one place where an error becomes a sentence and an exit code.

No rule of mailing lives here. Nothing heavy is imported before the command that needs it runs, so that
`mailer --version` and shell completion stay quick.
"""

from __future__ import annotations

from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    import os
    import sys

    from mailer.cli.entry import run

    sys.exit(run(sys.argv[1:], os.environ))
