"""The rules: pure functions over frozen dataclasses. No I/O, no asyncio, no clock of its own, nothing of ours imported.

The one thing read is `replies.toml`, which is part of the package: when the first reply is judged, and only then.
"""
