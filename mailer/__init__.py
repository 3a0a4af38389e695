"""mailer: a bulk mailer in which every recipient ends in exactly one recorded state."""

__version__ = "0.1.0"
