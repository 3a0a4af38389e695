"""A folder as somebody has it who is about to queue a campaign: a configuration, a text, a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from support.cli import Cli, Ran

CONFIG: Final = """\
[database]
url = "sqlite:///mailer.db"

[defaults]
from = "News <news@example.com>"
zone = "Asia/Shanghai"

[[relay]]
name = "local"
host = "127.0.0.1"
port = {port}
tls = "none"
auth = "none"
senders = ["@example.com"]

[[relay]]
name = "slow"
host = "127.0.0.1"
port = {port}
tls = "none"
auth = "none"
senders = ["slow@example.net"]
rate = "60/hour"
daily_limit = 100
"""
TEXT: Final = "Dear {{ name }},\n\nspring is here.\n"
LIST: Final = "email,name\nann@gmail.com,Ann\nbob@qq.com,Bob\ncem@example.org,Cem\n"


class CampaignFolder:
    """Files, and the command lines that one types most."""

    def __init__(self, folder: Path, *, port: int = 1) -> None:
        """`port` is where both relays listen; nobody listens on 1."""
        self.folder = folder
        self.cli = Cli(folder)
        self.write("config.toml", CONFIG.format(port=port))
        self.write("spring.txt", TEXT)
        self.write("list.csv", LIST)

    def write(self, name: str, content: str | bytes) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def queue(self, *more: str | Path, name: str = "spring", **how: Any) -> Ran:
        """`mailer campaign queue spring --subject … --text … --recipients list.csv`, and what else is wanted."""
        given = {str(one) for one in more}
        args: list[str | Path] = []
        for option, value in (
            ("--subject", "Hello {{ name }}"),
            ("--text", "spring.txt"),
            ("--recipients", "list.csv"),
        ):
            args += [] if option in given else [option, value]
        return self.cli("campaign", "queue", name, *args, *more, **how)

    def show(self, name: str = "spring") -> Any:
        """What `campaign show --json` says."""
        return self.cli("campaign", "show", name, "--json").ok().json

    @property
    def has_database(self) -> bool:
        """Whether one has been made."""
        return (self.folder / "mailer.db").exists()
