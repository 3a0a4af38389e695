"""The demo's folder: a configuration, a list and letters, just as an operator would have them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailer.demo.account import Account
from mailer.demo.people import write_recipients

__all__ = ["CAMPAIGN", "SENDER", "SUBJECT", "Folder", "make_folder"]

CAMPAIGN: Final = "spring"
SENDER: Final = "Mailer Demo <demo@example.com>"
SUBJECT: Final = (
    "{% if language == 'zh' %}{{ name }}，您的订单 {{ order }}{% else %}{{ name }}, your order {{ order }}{% endif %}"
)

TEXT: Final = """\
{% if language == 'zh' -%}
{{ name }}，您好！

您的订单 {{ order }} 今天寄往{{ city }}。

此致
Mailer 演示
{%- else -%}
Hello {{ name }},

your order {{ order }} leaves for {{ city }} today.

Kind regards
Mailer Demo
{%- endif %}

--
You get this at {{ address }} as part of the campaign {{ campaign }} of {{ today }}.
"""

HTML: Final = """\
<!doctype html>
<html>
  <body style="font-family: sans-serif">
    <h1>{% if language == 'zh' %}{{ name }}，您好！{% else %}Hello {{ name }}{% endif %}</h1>
    <p>
      {%- if language == 'zh' %}您的订单 <b>{{ order }}</b> 今天寄往{{ city }}。
      {%- else %}Your order <b>{{ order }}</b> leaves for {{ city }} today.
      {%- endif %}</p>
    <p><small>{{ address }} · {{ campaign }} · {{ today }}</small></p>
  </body>
</html>
"""

CONFIG: Final = """\
# Made by `mailer demo`. The server it speaks of ran only while the demo did.

[database]
url = "sqlite:///mailer.db"

[defaults]
from = "{sender}"

[log]
file = "mailer.log"

[retry]                                    # short waits, so that nobody has to watch for hours
first = "1s"
factor = 1.5
longest = "3s"
give_up_after = "1m"

[[relay]]
name = "demo"
host = "127.0.0.1"
port = {port}
tls = "none"                               # accepted for the loopback interface alone
auth = "login"
username = "{username}"
password = {{ file = "password" }}
max_connections = 4
"""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where everything of one demo lies. Kept, so that one can look around."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def recipients(self) -> Path:
        return self.path / "recipients.csv"

    @property
    def text(self) -> Path:
        return self.path / "spring.txt"

    @property
    def html(self) -> Path:
        return self.path / "spring.html"

    @property
    def server_log(self) -> Path:
        return self.path / "server.log"

    def write_config(self, port: int, account: Account) -> None:
        """Now that the server's port is known."""
        password = self.path / "password"
        password.touch(mode=0o600)
        password.write_text(account.password + "\n", "utf-8")
        self.config.write_text(CONFIG.format(sender=SENDER, port=port, username=account.username), "utf-8")


def make_folder() -> Folder:
    """A new folder for temporary files, with the list and the letters in it."""
    folder = Folder(Path(tempfile.mkdtemp(prefix="mailer-demo-")))
    write_recipients(folder.recipients)
    folder.text.write_text(TEXT, "utf-8")
    folder.html.write_text(HTML, "utf-8")
    return folder
