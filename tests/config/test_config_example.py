"""config.toml at the top level: the commented example is complete, true, loads as it is, and can be filled in."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from support.cli import ROOT

from mailer.config import load
from mailer.config.example import example, fill_in
from mailer.config.model import SECTIONS, Config, Relay, Section
from mailer.core.duration import parse_duration

TEXT = (ROOT / "config.toml").read_text("utf-8")
LINE = re.compile(r"(# )?([a-z_]+) = ")


def keys_of(model: type[Section]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def models() -> dict[str, type[Section]]:
    found: dict[str, type[Section]] = {}
    for name in SECTIONS:
        annotation = Config.model_fields[name].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, Section)
        found[name] = annotation
    return {**found, "relay": Relay}


def lines() -> dict[str, list[str]]:
    """The lines of each section that set a key or show how it would be set."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in TEXT.splitlines():
        if head := re.match(r"\[+(\w+)\]+", line):
            section = head[1]
            found[section] = []
        elif LINE.match(line) and section:
            found[section].append(line)
    return found


def uncommented() -> dict[str, Any]:
    return tomllib.loads("\n".join(re.sub(r"^# (?=[a-z_]+ = )", "", line) for line in TEXT.splitlines()))


def loaded(text: str, folder: Path) -> Any:
    (folder / "config.toml").write_text(text, "utf-8")
    return load({"QQ_PASSWORD": "x"}, file=folder / "config.toml")


def test_what_init_writes_is_the_file_at_the_top_level() -> None:
    assert example() == TEXT
    assert (ROOT / "mailer" / "config.example.toml").resolve() == ROOT / "config.toml"


def test_it_has_exactly_the_keys_of_the_model_in_their_order() -> None:
    named = {
        section: [found[2] for line in their_lines if (found := LINE.match(line))]
        for section, their_lines in lines().items()
    }
    assert named == {section: keys_of(model) for section, model in models().items()}


def test_it_loads_as_it_is_and_holds_no_password(tmp_path: Path) -> None:
    done = loaded(TEXT, tmp_path)
    assert done.warnings == ()  # a password in the file is warned of
    [relay] = done.config.relays
    assert (relay.name, relay.preset, relay.host, relay.port, relay.tls, relay.auth) == (
        "qq",
        "qq",
        "smtp.qq.com",
        465,
        "implicit",
        "login",
    )
    assert str(relay.password) == "env QQ_PASSWORD"


def test_it_loads_with_every_comment_taken_away(tmp_path: Path) -> None:
    done = loaded(re.sub(r"(?m)^# (?=[a-z_]+ = )", "", TEXT), tmp_path)
    assert done.config.defaults.zone == "Asia/Shanghai"
    assert done.config.relays[0].ehlo_name == "mail.example.com"


@pytest.mark.parametrize("section", [*SECTIONS, "relay"])
def test_what_is_commented_out_shows_the_default_where_there_is_one(section: str) -> None:
    shown = uncommented()[section]
    shown = shown[0] if isinstance(shown, list) else shown
    for line in lines()[section]:
        found = LINE.match(line)
        assert found is not None
        field = next(info for name, info in models()[section].model_fields.items() if (info.alias or name) == found[2])
        default = field.default
        if not found[1] or default is None:
            continue
        value = shown[found[2]]
        if isinstance(default, timedelta):
            value = parse_duration(value)
        assert value == (str(default) if isinstance(default, Path) else default), line


def test_the_words_that_a_key_may_have_are_those_of_the_model() -> None:
    # `# debug | info | …` behind a key: each word of the model is offered, and no other.
    keys = [("log", "level"), ("log", "format")]
    keys += [("relay", key) for key in ("tls", "auth", "pipelining", "chunking")]
    for section, key in keys:
        [line] = [line for line in lines()[section] if re.match(rf"(# )?{key} = ", line)]
        annotation = models()[section].model_fields[key].annotation
        offered = {part.split(":")[0].split("(")[0].strip() for part in line.split("#")[-1].split("|")}
        words = {word for part in offered for word in [part.split(" ")[0]]}
        assert words == set(get_args(annotation)), line


def test_the_presets_are_all_named() -> None:
    from mailer.config import preset_names

    [line] = [line for line in lines()["relay"] if line.startswith("preset")]
    assert " | ".join(preset_names()) in line


def test_filling_in_changes_the_values_and_nothing_else() -> None:
    filled = fill_in(
        TEXT,
        {
            ("defaults", "from"): 'The "News" <a@b.example>',
            ("relay", "name"): "own",
            ("relay", "port"): 587,
            ("relay", "senders"): ("a@b.example", "@b.example"),
            ("relay", "password"): {"env": "OWN_PASSWORD"},
            ("relay", "rate"): None,
        },
    )
    before, after = tomllib.loads(TEXT), tomllib.loads(filled)
    assert after["defaults"] == {"from": 'The "News" <a@b.example>'}
    [relay] = after["relay"]
    assert relay["name"] == "own"
    assert relay["port"] == 587
    assert relay["senders"] == ["a@b.example", "@b.example"]
    assert relay["password"] == {"env": "OWN_PASSWORD"}
    assert "rate" not in relay
    assert {key: relay[key] for key in ("host", "daily_limit")} == {
        key: before["relay"][0][key] for key in ("host", "daily_limit")
    }
    changed = [pair for pair in zip(TEXT.splitlines(), filled.splitlines(), strict=True) if pair[0] != pair[1]]
    assert len(changed) == 6
    for old, new in changed:
        assert re.split(" +# ", old)[1:] == re.split(" +# ", new)[1:]


def test_filling_in_nothing_changes_nothing() -> None:
    assert fill_in(TEXT, {}) == TEXT


@pytest.mark.parametrize("line", [line for their_lines in lines().values() for line in their_lines])
def test_every_line_with_a_key_can_be_filled_in(line: str) -> None:
    found = LINE.match(line)
    assert found is not None
    section = next(name for name, their_lines in lines().items() if line in their_lines)
    filled = tomllib.loads(fill_in(TEXT, {(section, found[2]): 'a "b" \\ # \x7f'}))[section]
    assert (filled[0] if isinstance(filled, list) else filled)[found[2]] == 'a "b" \\ # \x7f'


def test_a_key_without_a_line_is_said() -> None:
    with pytest.raises(LookupError, match="no line for"):
        fill_in(TEXT, {("relay", "nonsense"): 1})
