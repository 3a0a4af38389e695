"""One Postfix of its own: configuration, queue, data and log in a folder, nothing of the machine's.

Root is needed: Postfix's master opens its queue as root and gives each part away to the user `postfix`.

Settings that every instance shares, and why:

- `compatibility_level`: today's defaults, without the notices about those of 2012.
- `queue_directory`, `data_directory`, `maillog_file`: in the folder. `maillog_file` needs the `postlog` service, and
  `maillog_file_prefixes` to allow a place outside /var.
- `mydestination` empty and `alias_maps` empty: no system user gets mail, /etc/aliases is not read.
- `smtp_dns_support_level = disabled`, `smtpd_peername_lookup = no`, `inet_protocols = ipv4`: no look-up ever leaves the
  machine; where mail goes is said with addresses in brackets.
- `mynetworks` empty: being on this machine gives no rights; relaying is for those who log in.
- `smtpd_error_sleep_time = 0`: no second's pause after a client's error. The limit of 20 errors per session
  (`smtpd_hard_error_limit`) stays, as a real provider has it.
- `minimal_backoff_time`, `queue_run_delay`, `maximal_backoff_time` of 1 s: what was put off is tried again at once.
- `notify_classes` empty: the postmaster gets no reports that nobody reads. `fast_flush_domains` empty: without it
  every deferred message wants the `flush` service, which serves ETRN.

The maps are `inline:` and `texthash:`: plain text, no `postmap`, no database files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from support.daemon import Daemon, Place, ServerError

# Debian's user for Postfix; `mail_owner` by default.
POSTFIX_USER: Final = "postfix"
_DROP_GROUP: Final = "postdrop"

# Delivery agents and managers that any of our instances needs; none is chrooted, so that paths mean what they say.
_INTERNAL_SERVICES: Final = """\
cleanup    unix       n - n - 0 cleanup
qmgr       unix       n - n 300 1 qmgr
rewrite    unix       - - n - - trivial-rewrite
bounce     unix       - - n - 0 bounce
defer      unix       - - n - 0 bounce
trace      unix       - - n - 0 bounce
tlsmgr     unix       - - n 1000? 1 tlsmgr
smtp       unix       - - n - - smtp
lmtp       unix       - - n - - lmtp
virtual    unix       - n n - - virtual
error      unix       - - n - - error
retry      unix       - - n - - error
proxymap   unix       - - n - - proxymap
anvil      unix       - - n - 1 anvil
scache     unix       - - n - 1 scache
showq      unix       n - n - - showq
postlog    unix-dgram n - n - 1 postlogd
"""

_OWN_FOLDERS: Final = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush"),
    *("hold", "incoming", "private", "saved", "trace"),
)


def postfix(
    folder: Path, hostname: str, *, settings: Mapping[str, str], services: Mapping[Place, Mapping[str, str]]
) -> Daemon:
    """A Postfix that calls itself `hostname`, configured in `folder` and ready to be started.

    `services` are the ports it takes mail on by SMTP, each with the settings that hold for it alone. Raises
    ServerError with Postfix's own words if it does not like the configuration.
    """
    config, queue, data, log = folder / "etc", folder / "queue", folder / "data", folder / "maillog"
    config.mkdir(parents=True)
    data.mkdir()
    shutil.chown(data, POSTFIX_USER)
    _make_queue(queue)
    common = {
        "compatibility_level": "3.6",
        "queue_directory": str(queue),
        "data_directory": str(data),
        "maillog_file": str(log),
        "maillog_file_prefixes": str(folder),
        "myhostname": hostname,
        "mydestination": "",
        "alias_maps": "",
        "mynetworks": "",
        "inet_interfaces": "loopback-only",
        "inet_protocols": "ipv4",
        "smtp_dns_support_level": "disabled",
        "smtpd_peername_lookup": "no",
        "smtpd_error_sleep_time": "0",
        "minimal_backoff_time": "1s",
        "maximal_backoff_time": "1s",
        "queue_run_delay": "1s",
        "notify_classes": "",
        "fast_flush_domains": "",
    }
    _write_old(config / "main.cf", "".join(f"{key} = {value}\n" for key, value in {**common, **settings}.items()))
    _write_old(config / "master.cf", _smtp_services(services) + _INTERNAL_SERVICES)
    _ask(config, "check")
    master = Path(_ask(config, "-h", "daemon_directory", program="postconf").strip()) / "master"
    # `postfix start-fg` would put a shell between us and the master; -d is what it tells it: stay in the foreground.
    return Daemon(
        hostname,
        [master, "-c", config, "-d"],
        listens=list(services),
        log=log,
        started="daemon started",
        # What `postfix` tells its master. With it the master writes to the log itself while nobody serves `postlog`
        # yet, so that what keeps it from starting is said; that is also why the ports come first in master.cf.
        environ={"POSTLOG_SERVICE": str(queue / "public" / "postlog"), "POSTLOG_HOSTNAME": hostname},
    )


def inline_map(entries: Mapping[str, str]) -> str:
    """A look-up table that stands in main.cf itself."""
    return "inline:{" + ", ".join(f"{{ {key} = {value} }}" for key, value in entries.items()) + "}"


def text_map(file: Path, keys: Sequence[str], value: str = "OK") -> str:
    """A look-up table in `file` in which `keys` are known: one a line, as an administrator keeps it."""
    _write_old(file, "".join(f"{key} {value}\n" for key in keys))
    return f"texthash:{file}"


def _make_queue(queue: Path) -> None:
    """The folders of a queue, as Postfix's own postfix-files lists them."""
    # `postfix check` would make them too, with a hundred processes; this way it finds nothing to do.
    queue.mkdir()
    for name in _OWN_FOLDERS:
        _make_folder(queue / name, 0o700, POSTFIX_USER)
    _make_folder(queue / "maildrop", 0o730, POSTFIX_USER, _DROP_GROUP)
    _make_folder(queue / "public", 0o710, POSTFIX_USER, _DROP_GROUP)
    _make_folder(queue / "pid", 0o755, "root")


def _write_old(file: Path, text: str) -> None:
    # Postfix does not read a file that was changed within the last two seconds: it waits, lest someone still writes.
    file.write_text(text)
    os.utime(file, (0, 0))


def _make_folder(folder: Path, mode: int, user: str, group: str | None = None) -> None:
    folder.mkdir()
    folder.chmod(mode)
    shutil.chown(folder, user, group or "root")


def _smtp_services(services: Mapping[Place, Mapping[str, str]]) -> str:
    lines = []
    for (address, port), settings in services.items():
        host = f"[{address}]" if ":" in address else address
        lines.append(f"{host}:{port} inet n - n - - smtpd\n")
        lines += [f"  -o {{ {key} = {value} }}\n" for key, value in settings.items()]
    return "".join(lines)


def _ask(config: Path, *words: str, program: str = "postfix") -> str:
    done = subprocess.run([program, "-c", config, *words], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        log = config.parent / "maillog"
        raise ServerError(
            f"{program} {' '.join(words)}: {done.stdout}{done.stderr}{log.read_text() if log.exists() else ''}"
        )
    return done.stdout
