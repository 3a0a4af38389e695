"""A configuration as it would be written, loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mailer.config import Loaded, load

Load = Callable[..., Loaded]


@pytest.fixture
def read(tmp_path: Path) -> Load:
    """Writes the text to config.toml and loads it, in the given environment and nothing else."""

    def loading(text: str = "", environ: Mapping[str, str] | None = None) -> Loaded:
        (tmp_path / "config.toml").write_text(text, "utf-8")
        return load(environ or {}, file=Path("config.toml"), cwd=tmp_path)

    return loading
