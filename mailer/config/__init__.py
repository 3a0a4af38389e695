"""config.toml, the environment over it and the secrets beside it, as one checked, frozen model.

`load` finds and reads the file and gives the model together with where each value came from. Nothing here reads the
process's environment: it is handed in. A secret is resolved only when it is asked for (`await secret.resolve()`), and
stands in no repr, error or log.
"""

from mailer.config.load import Loaded, find_file, load
from mailer.config.model import Config, Relay
from mailer.config.presets import Preset, preset, preset_names
from mailer.config.secrets import Secret
from mailer.config.senders import carries, describe_senders, may_take
from mailer.config.show import Setting, settings
from mailer.config.values import Rate

__all__ = [
    "Config",
    "Loaded",
    "Preset",
    "Rate",
    "Relay",
    "Secret",
    "Setting",
    "carries",
    "describe_senders",
    "find_file",
    "load",
    "may_take",
    "preset",
    "preset_names",
    "settings",
]
