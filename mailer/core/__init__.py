"""The rules: pure functions over frozen dataclasses. No I/O, no asyncio, no clock of its own, nothing of ours imported."""
