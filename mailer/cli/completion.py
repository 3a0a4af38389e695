"""`mailer completion`: the script that teaches a shell to complete mailer's command line."""

from __future__ import annotations

import click

from mailer.cli import app
from mailer.cli.entry import COMPLETE_VAR
from mailer.cli.session import Session


@app.command(
    examples=(
        "mailer completion bash > ~/.local/share/bash-completion/completions/mailer",
        "mailer completion fish > ~/.config/fish/completions/mailer.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(_session: Session, shell: str) -> None:
    """Print a script that completes commands, options and names in SHELL.

    For zsh write it to a file named _mailer in a folder of $fpath. Names of campaigns and relays come from the
    configuration and the database at hand when you press Tab.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise LookupError(f"click has no completion for {shell}")
    script = found(app.root(), {}, "mailer", COMPLETE_VAR)
    # Not `script.source()`: it runs the shell to ask for its version, and the shell may be on another machine.
    click.echo(script.source_template % script.source_vars())
