"""The live table: a status that is redrawn in place on a terminal, and told in lines where none is.

One bar a campaign, cut to the terminal's size: campaigns that go on come first, and what does not fit is counted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TextIO

from mailer.cli.figures import duration_words, eta_seconds, is_ended, per_cent, relays_of, waiting
from mailer.cli.known import Known
from mailer.cli.session import Session
from mailer.cli.status_view import document, line, speed_words
from mailer.cli.table import printable, width_of
from mailer.core.clock import SECOND_US
from mailer.core.message import State
from mailer.store import CampaignStatus, Status

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

__all__ = ["EVERY_S", "Display", "Documents", "Lines", "LiveTable", "open_display", "trouble_key"]

# Often enough to look alive; a redraw costs a few milliseconds of a core that may be sending.
EVERY_S: Final = 0.5
# In a log a line says something only if it is not one of thousands.
LINE_EVERY_US: Final = 2 * SECOND_US
NARROW: Final = 60
LONGEST_BAR: Final = 40
LONGEST_NAME: Final = 30


class Display(Protocol):
    """Where a status is shown again and again."""

    def show(self, status: Status, trouble: Sequence[str]) -> None:
        """This is how things stand now."""


def open_display(session: Session, known: Known, out: TextIO | None = None) -> AbstractContextManager[Display]:
    """The live table if `out` (stdout) is a terminal on which it can be drawn, else lines."""
    out = sys.stdout if out is None else out
    if out.isatty() and session.environ.get("TERM") != "dumb" and session.wants_progress:
        return LiveTable(known, out, colour=session.has_colour(out))
    return Lines(out)


class Lines:
    """A line a campaign, when its state changes and otherwise every two seconds in which something happened."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._said: dict[int, tuple[str, str]] = {}
        self._said_at_us: dict[int, int] = {}
        self._troubles: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, status: Status, trouble: Sequence[str]) -> None:
        """Say what is new."""
        for sentence in trouble:
            key = trouble_key(sentence)
            if key not in self._troubles:
                self._troubles.add(key)
                self._write(f"! {sentence}")
        for campaign in status.campaigns:
            text = line(campaign)
            before = self._said.get(campaign.id)
            is_first_and_over = before is None and is_ended(campaign)
            if is_first_and_over or (before is not None and before[1] == text):
                self._said[campaign.id] = (campaign.state, text)
                continue
            is_due = status.at_us - self._said_at_us.get(campaign.id, 0) >= LINE_EVERY_US
            if before is None or before[0] != campaign.state or is_due:
                self._said[campaign.id] = (campaign.state, text)
                self._said_at_us[campaign.id] = status.at_us
                self._write(text)

    def _write(self, text: str) -> None:
        self._out.write(f"{text}\n")
        self._out.flush()


def trouble_key(sentence: str) -> str:
    """The same for the same trouble although its numbers grow."""
    return "".join(char for char in sentence if not char.isdigit())[:40]


class Documents:
    """A JSON document a line, whenever something but the time has changed."""

    def __init__(self, known: Known) -> None:
        from mailer.cli.output import RowWriter

        self._known = known
        self._writer = RowWriter("jsonl", ())
        self._last: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, status: Status, trouble: Sequence[str]) -> None:
        """Write this status unless it says the same as the last one."""
        shown = document(status, self._known, trouble)
        if shown | {"at": None} != self._last:
            self._last = shown | {"at": None}
            self._writer.write(shown)
            sys.stdout.flush()


class LiveTable:
    """Redraws a table in place with rich."""

    def __init__(self, known: Known, out: TextIO, *, colour: bool) -> None:
        from rich.console import Console

        self._known = known
        # Not rich's own guess: NO_COLOR and FORCE_COLOR are decided in one place.
        self._console = Console(file=out, no_color=not colour, highlight=False, force_terminal=True)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from rich.live import Live

        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._live.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, status: Status, trouble: Sequence[str]) -> None:
        """Draw this status in the place of the last one."""
        if self._live is not None:
            self._live.update(frame(status, self._known, trouble, self._console), refresh=True)


def frame(status: Status, known: Known, trouble: Sequence[str], console: Console) -> RenderableType:
    """One picture, no higher than the terminal less the line of the cursor."""
    from rich.console import Group
    from rich.text import Text

    width, room = console.width, max(console.height - 1, 2)
    lines: list[Text] = [Text.assemble(("! ", "bold red"), sentence) for sentence in trouble[: max(1, room // 3)]]
    relays = _relays(status, known)
    # Two lines a campaign, one where there is little room.
    per_campaign = 2 if width >= NARROW and room >= 8 else 1
    places = max(1, (room - len(lines) - (len(relays) + 1 if room >= 10 else 0)) // per_campaign)
    campaigns = sorted(status.campaigns, key=lambda campaign: (is_ended(campaign), -campaign.id))
    if len(campaigns) > places > 1:
        places = max(1, places - 1)
    shown = campaigns[:places]
    name_width = min(LONGEST_NAME, max(8, width // 4), max((width_of(one.name) for one in shown), default=0))
    for campaign in shown:
        lines.append(_bar_line(campaign, width, name_width, console))
        if per_campaign == 2:
            lines.append(_counts_line(campaign, name_width))
    if not shown:
        lines.append(Text("No campaign yet: `mailer campaign queue` makes one.", style="dim"))
    if hidden := len(campaigns) - len(shown):
        lines.append(Text(f"… and {hidden:,} more", style="dim"))
    if relays and len(lines) + len(relays) + 1 <= room:
        lines += [Text(""), *relays]
    for text in lines:
        text.no_wrap = True
        text.truncate(width, overflow="ellipsis")
    return Group(*lines[:room])


def _bar_line(campaign: CampaignStatus, width: int, name_width: int, console: Console) -> Text:
    """`spring  ████████▒░░░░  63 %  1,260/2,000  112/s  7 s left`, less of it where there is no room."""
    from rich.text import Text

    name = Text(printable(campaign.name), style="bold")
    name.truncate(name_width, overflow="ellipsis", pad=True)
    tail = f" {per_cent(campaign):3} %"
    if width >= NARROW:
        tail += f"  {campaign.total - waiting(campaign):,}/{campaign.total:,}"
    if is_ended(campaign) or campaign.state != "running":
        tail += f"  {campaign.state}"
    elif width >= NARROW:
        tail += "".join(
            f"  {text}"
            for text in (speed_words(campaign.rate_per_second), duration_words(eta_seconds(campaign)))
            if text is not None
        )
        tail += " left" if eta_seconds(campaign) is not None else ""
    # Room for the longest tail, so that the bars of all campaigns end in the same column and do not dance.
    bar_width = min(LONGEST_BAR, width - name_width - (44 if width >= NARROW else 18))
    line_ = Text.assemble(name, "  ")
    if bar_width >= 4:
        line_.append_text(_bar(campaign, bar_width, console))
    return line_.append(tail)


def _bar(campaign: CampaignStatus, width: int, console: Console) -> Text:
    """Sent, ended otherwise, deferred, still to come: told apart by shade where there are no colours."""
    from rich.text import Text

    full, half, empty = "█▒░" if console.encoding.lower().startswith("utf") else "#=."
    counts, total = campaign.counts, max(campaign.total, 1)
    sent = counts[State.SENT]
    deferred = counts[State.DEFERRED]
    ended = campaign.total - waiting(campaign)
    marks = [width * upto // total for upto in (sent, ended, ended + deferred)]
    bar = Text(full * marks[0], style="green")
    bar.append(full * (marks[1] - marks[0]), style="red")
    bar.append(half * (marks[2] - marks[1]), style="yellow")
    return bar.append(empty * (width - marks[2]), style="dim")


_STYLES: Final = {
    State.SENT: "green",
    State.DEFERRED: "yellow",
    State.FAILED: "red",
    State.UNCERTAIN: "magenta",
    State.BOUNCED: "red",
}


def _counts_line(campaign: CampaignStatus, name_width: int) -> Text:
    from rich.text import Text

    text = Text(" " * (name_width + 2))
    told = [(state, campaign.counts[state]) for state in State if campaign.counts[state]]
    for number, (state, count) in enumerate(told):
        text.append(" · " if number else "", style="dim")
        text.append(f"{count:,} {state}", style=_STYLES.get(state, ""))
    return text


def _relays(status: Status, known: Known) -> list[Text]:
    from rich.text import Text

    lines = []
    for relay in relays_of(status, known):
        style = {"ready": "green", "paused": "yellow", "stopped": "red"}.get(relay.state, "dim")
        # Not its rate: that is an average over a minute, which lags behind what the bars show.
        connected = {0: [], 1: ["1 connection"]}.get(relay.connections, [f"{relay.connections} connections"])
        parts = [*connected, *([printable(relay.reason)] if relay.reason else [])]
        lines.append(
            Text.assemble("relay ", (relay.name, "bold"), "  ", (relay.state, style), f"  {' · '.join(parts)}")
        )
    return lines
