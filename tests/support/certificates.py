"""A certificate authority for one run of the tests, and what it vouches for."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM form."""

    ca_file: Path
    """Whom a client should trust: the relay's `ca_file`."""
    server_file: Path
    """The server's key, then its certificate: what Postfix calls a chain file."""

    def server_context(self) -> ssl.SSLContext:
        """What a server of ours needs to speak TLS with it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server_file)
        return context


def make_certificates(folder: Path, *names: str) -> Certificates:
    """Write a new authority and a certificate of it for `names` (host names and addresses) into `folder`."""
    authority = trustme.CA()
    files = Certificates(folder / "ca.pem", folder / "server.pem")
    authority.cert_pem.write_to_path(str(files.ca_file))
    authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(str(files.server_file))
    files.server_file.chmod(0o600)
    return files
