"""What a reply means, in sentences: the table's words, and what mailer does about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mailer.core import replies
from mailer.core.message import Phase
from mailer.core.reply import Pasted
from mailer.core.verdict import Permanence, Scope, Verdict, speaking, verdict_of

_FIRST_DIGIT: Final = {
    "2": "done as asked",
    "3": "go on",
    "4": "not now, perhaps later",
    "5": "refused for good",
}
_GENERAL_ADVICE: Final = {
    Permanence.SUCCESS: "Nothing to do.",
    Permanence.TEMPORARY: "Read the server's words. It is tried again; if it stays, tell whoever runs the server.",
    Permanence.PERMANENT: "Read the server's words, and put right what they name before sending again.",
}
_ACTIONS: Final = {
    (
        Scope.MESSAGE,
        Permanence.TEMPORARY,
    ): "The message is deferred, and tried again as [retry] says until it is too old.",
    (Scope.MESSAGE, Permanence.PERMANENT): "The message ends as failed, these words beside it; it is not tried again.",
    (
        Scope.DESTINATION,
        Permanence.TEMPORARY,
    ): "All messages to that destination wait a while; none of them pays for it.",
    (Scope.DESTINATION, Permanence.PERMANENT): "All messages to that destination wait; none of them pays for it.",
    (
        Scope.RELAY,
        Permanence.TEMPORARY,
    ): "The relay pauses, and is tried again after a growing while; no message pays for it.",
    (
        Scope.RELAY,
        Permanence.PERMANENT,
    ): "The relay stops and says why; its messages wait, and none of them pays for it.",
}
_IN_A_MESSAGE: Final = {
    Permanence.TEMPORARY: "it defers that message instead.",
    Permanence.PERMANENT: "it ends that message as failed instead.",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a reply means without its conversation: whom it is usually about, for how long, why, and what to do."""

    code: int | None
    enhanced: str | None
    verdict: Verdict
    meaning: str
    advice: str
    """What an operator does next."""
    action: str
    """What mailer does about it by itself."""
    source: str


def explain(reply: Pasted) -> Explanation:
    """The explanation of `reply`; a code that no standard defines is explained by its first digit, and says so."""
    code, enhanced = reply.code, reply.enhanced
    verdict = verdict_of(code, enhanced, None)
    known = speaking(code, enhanced)
    notes = _undefined(code, enhanced)
    meaning = known[0].meaning if known else f"By its first digit: {_FIRST_DIGIT[_digit(code, enhanced)]}."
    return Explanation(
        code=code,
        enhanced=enhanced,
        verdict=verdict,
        meaning=" ".join([*notes, meaning]),
        advice=known[0].advice if known else _GENERAL_ADVICE[verdict.permanence],
        action=_action(code, enhanced, verdict),
        source=known[0].source if known else "RFC 5321 4.2.1" if code is not None else "RFC 3463 2",
    )


def advice_on(code: int | None, enhanced: str | None) -> str:
    """What an operator does next about a recorded reply; empty where there was none."""
    return "" if code is None and enhanced is None else explain(Pasted(code, enhanced, "")).advice


def _undefined(code: int | None, enhanced: str | None) -> list[str]:
    """Which of the codes no standard defines."""
    found = []
    if code is not None and replies.of_code(code) is None:
        found.append(f"No standard defines the reply code {code}.")
    if enhanced is not None and replies.of_enhanced(enhanced) is None:
        found.append(f"The code {enhanced} is in no registry; what its subject says is:")
        if replies.of_subject(enhanced) is None:
            found[-1] = f"The code {enhanced} is in no registry."
    return found


def _action(code: int | None, enhanced: str | None, verdict: Verdict) -> str:
    if verdict.permanence is Permanence.SUCCESS:
        if code is not None and 300 <= code < 400:
            return "mailer sends what the server asks for."
        action = "mailer goes on; as the answer to the end of a text it makes the message sent."
    else:
        action = _ACTIONS[verdict.scope, verdict.permanence]
        if verdict.scope is Scope.RELAY and verdict_of(code, enhanced, Phase.RCPT).scope is Scope.MESSAGE:
            at_mail = "MAIL, " if verdict_of(code, enhanced, Phase.MAIL).scope is Scope.MESSAGE else ""
            action += f" As an answer to {at_mail}RCPT or a text {_IN_A_MESSAGE[verdict.permanence]}"
    if code is not None and enhanced is not None and str(code)[0] != enhanced[0]:
        action += f" {code} and {enhanced} do not agree on how long it holds: the reply code decides."
    return action


def _digit(code: int | None, enhanced: str | None) -> str:
    return (str(code) if code is not None else enhanced or "5")[0]
