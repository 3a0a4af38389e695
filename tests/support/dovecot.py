"""One Dovecot of its own: mailboxes behind IMAP and POP3, delivery by LMTP, and the logins that Postfix asks about.

It can take mail, too (`Submission`): as a proxy that asks for a login and hands on to another server what it is told.

Written for Dovecot 2.3; 2.4 reads another language. Root is needed: Dovecot gives its parts away to their own users.

Settings that are not the usual ones, and why:

- `passwd-file` holds every login, by whole address; passwords are base64 (`{PLAIN.b64}`), since the file separates its
  fields by colons and a password may hold any character.
- `auth_failure_delay = 0` and no `anvil-auth-penalty` socket: a wrong password is refused at once instead of after two
  and, the more often, up to fifteen seconds.
- `disable_plaintext_auth = no`, `ssl = no`: the mailboxes are read back on loopback with passwords that are no secret.
  How mail is submitted is Postfix's business, which insists on TLS.
- `auth_username_chars` empty: any character may stand in a user name, such as the plus that the default forbids.
  `recipient_delimiter` empty: `news+me` is a mailbox, not a folder of `news`.
- `auth_mechanisms`: those that mailer knows. XOAUTH2 has a passdb of its own, which checks the token's signature.
- `mail_fsync = never`: these mailboxes live as long as the tests.
- `mail_max_userip_connections = 0`: all users come from one address.
- mail belongs to the system user `mail`, whose id is below the 500 that Dovecot takes for people's (`first_valid_uid`).
"""

from __future__ import annotations

import base64
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support.access_token import write_oauth2_config
from support.daemon import Daemon, Place

# Debian's user for mail at rest, in every base system.
MAIL_USER: Final = "mail"

_CONFIG: Final = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
instance_name = {name}
listen = {address}
protocols = imap pop3 lmtp
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 xoauth2
auth_username_chars =
recipient_delimiter =
auth_verbose = yes
auth_failure_delay = 0
mail_location = maildir:~/Maildir
mail_fsync = never
mail_max_userip_connections = 0
first_valid_uid = {uid}
first_valid_gid = {gid}

passdb {{
  driver = passwd-file
  mechanisms = plain login cram-md5
  args = {folder}/passwd
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2
  args = {oauth2}
}}
userdb {{
  driver = passwd-file
  args = {folder}/passwd
  default_fields = uid={uid} gid={gid} home={folder}/mail/%u
}}

service imap-login {{
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3_port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
}}
service auth {{
  unix_listener sasl {{
    mode = 0666
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""


_SUBMISSION: Final = """
protocols = $protocols submission
submission_relay_host = {relay_host}
submission_relay_port = {relay_port}
submission_relay_ssl = no
service submission-login {{
  inet_listener submission {{
    port = {port}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Submission:
    """Mail is taken on `port`, of those who log in, and handed on to `relay` in the same breath."""

    port: int
    relay: Place


@dataclass(frozen=True, slots=True)
class Sockets:
    """Where Postfix finds a Dovecot: Unix sockets that its user may open."""

    sasl: Path
    """For `smtpd_sasl_path`."""
    lmtp: Path
    """For `lmtp:unix:…`."""


def dovecot(
    folder: Path,
    address: str,
    *,
    imap_port: int,
    pop3_port: int,
    passwords: Mapping[str, str],
    submission: Submission | None = None,
) -> tuple[Daemon, Sockets]:
    """A Dovecot configured in `folder` for the users in `passwords`, ready to be started."""
    user = pwd.getpwnam(MAIL_USER)
    for each in ("run", "state", "mail"):
        (folder / each).mkdir(parents=True)
    shutil.chown(folder / "mail", user.pw_uid, user.pw_gid)
    lines = (f"{name}:{{PLAIN.b64}}{_base64(password)}::::::\n" for name, password in passwords.items())
    (folder / "passwd").write_text("".join(lines))
    config = folder / "dovecot.conf"
    text = _CONFIG.format(
        folder=folder,
        oauth2=write_oauth2_config(folder),
        name=folder.parent.name,
        address=address,
        imap_port=imap_port,
        pop3_port=pop3_port,
        uid=user.pw_uid,
        gid=user.pw_gid,
    )
    listens = [(address, imap_port), (address, pop3_port)]
    if submission is not None:
        relay_host, relay_port = submission.relay
        text += _SUBMISSION.format(relay_host=relay_host, relay_port=relay_port, port=submission.port)
        listens.append((address, submission.port))
    config.write_text(text)
    server = Daemon(
        "dovecot",
        ["dovecot", "-F", "-c", config],
        listens=listens,
        log=folder / "dovecot.log",
        started="starting up",
    )
    return server, Sockets(folder / "run" / "sasl", folder / "run" / "lmtp")


def dovecot_version() -> str:
    """Such as `2.3.19.1`."""
    return subprocess.run(["dovecot", "--version"], capture_output=True, text=True, check=True).stdout.split()[0]


def has_submission() -> bool:
    """Whether its submission service is installed: on Debian a package of its own."""
    return any(Path("/usr", place, "dovecot", "submission").exists() for place in ("lib", "libexec", "local/libexec"))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
