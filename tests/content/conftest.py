"""How generated examples are run here."""

from __future__ import annotations

from hypothesis import settings

# No limit on the time of one example: compiling templates takes long on a machine that has other work.
settings.register_profile("content", deadline=None)
settings.load_profile("content")
