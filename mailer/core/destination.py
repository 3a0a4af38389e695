"""Destination groups: the big mailbox providers each have one, all other domains share one.

A group is what a lane is made of: a provider that throttles or greylists slows its own lane and no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

OTHER: Final = "other"

# Only domains that the provider itself gives to its users. Domains of customers that it hosts are in `other`: telling
# those apart would need a DNS look-up for each.
_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "gmail": ("gmail.com", "googlemail.com"),
    "outlook": (
        "outlook.com", "hotmail.com", "live.com", "msn.com", "outlook.de", "outlook.fr", "hotmail.co.uk", "hotmail.de",
        "hotmail.fr", "hotmail.it", "live.co.uk", "live.fr", "live.nl", "live.cn", "passport.com",
    ),
    "yahoo": (
        "yahoo.com", "ymail.com", "rocketmail.com", "aol.com", "yahoo.co.uk", "yahoo.de", "yahoo.fr", "yahoo.it",
        "yahoo.es", "yahoo.ca", "yahoo.com.br", "yahoo.co.in", "yahoo.com.tw", "yahoo.com.hk",
    ),
    "icloud": ("icloud.com", "me.com", "mac.com"),
    "qq": ("qq.com", "foxmail.com", "vip.qq.com"),
    "163": ("163.com", "126.com", "yeah.net", "188.com", "vip.163.com", "vip.126.com"),
    "sina": ("sina.com", "sina.cn", "vip.sina.com"),
    "gmx": ("gmx.de", "gmx.net", "gmx.at", "gmx.ch", "gmx.com", "web.de"),
    "yandex": ("yandex.ru", "yandex.com", "ya.ru"),
    "mailru": ("mail.ru", "bk.ru", "inbox.ru", "list.ru"),
    "proton": ("proton.me", "protonmail.com", "pm.me"),
}  # fmt: skip
_GROUP_OF: Final[Mapping[str, str]] = {domain: group for group, domains in _GROUPS.items() for domain in domains}


def destination_of(domain: str) -> str:
    """The group of `domain` (A-labels, lower case), as `address.domain_of` gives it."""
    return _GROUP_OF.get(domain, OTHER)
