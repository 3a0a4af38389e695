"""The frames of a flight file: 512 bytes each, packed and unpacked without touching a file.

    frame 0    identity   whose file this is; written once, at birth
    frame 1    progress   the number of the last exchange known to have committed
    frame 2…   records    a slot each: how far one message in work has got, or empty

    a frame    checksum (4 bytes) · body · a byte 0xFF · zeros up to 512

The checksum covers the body and its end byte, and nothing but zeros may follow: any changed bit of the 512 bytes is
noticed, and the checksum, most of the price of a record, is not spent on padding. The checksum of the identity is the
starting value for those of all other frames: a frame of another file is as bad as a torn one. A slot is never all
zeros, not even before its first use, so a block that the disk lost is noticed as well.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from mailer.core.message import Phase
from mailer.core.progress import Step
from mailer.core.reply import Reply

# A power of two that divides the page: a frame never lies in two pages, so the kernel copies it in one go.
FRAME_BYTES: Final = 512
FIRST_SLOT: Final = 2

# On disk, little-endian. A change of any layout or number below needs a new MAGIC: an old file is then no evidence.
MAGIC: Final = b"mailerF1"
_SEALED: Final = struct.Struct("<I508s")
_IDENTITY: Final = struct.Struct("<8s32sBB64s64sI")  # magic, incarnation, lengths of the next two, boot, store, slots
_PROGRESS: Final = struct.Struct("<BQ")  # kind, exchange number
_RECORD: Final = struct.Struct("<BBHBHqqqq")  # step, phase, code, lengths of the texts, claim, message, started, noted
_BARE_RECORD: Final = struct.Struct("<BBHBHqqqqB")  # the same with its end byte, for a record without texts
_END: Final = b"\xff"
_END_BYTE: Final = 0xFF

_PROGRESS_KIND: Final = 0xC0  # no step has this number
_EMPTY_STEP: Final = 0
_NO_CODE: Final = 0xFFFF  # a reply's code has three digits
_NO_ENHANCED: Final = 0xFF

_ID_BYTES: Final = 64
_TEXT_BYTES: Final = FRAME_BYTES - 4 - _RECORD.size - len(_END)
# `5.999.999` is the longest there can be (RFC 3463 section 2). A longer one is not believed and is cut like a text, so
# that it does not crowd out the server's own words.
_ENHANCED_BYTES: Final = 32

CUT: Final = "…"
"""Ends a text that did not fit. One character and not three dots, which servers write themselves."""
_CUT_BYTES: Final = CUT.encode()

_PHASES: Final[tuple[Phase | None, ...]] = (  # 0 is no phase
    None,
    Phase.CONNECT,
    Phase.TLS,
    Phase.AUTH,
    Phase.MAIL,
    Phase.RCPT,
    Phase.DATA,
    Phase.END_OF_DATA,
)
_PHASE_NUMBERS: Final[Mapping[Phase | None, int]] = {phase: number for number, phase in enumerate(_PHASES)}


class BadFrame(ValueError):
    """These 512 bytes are not what was written: torn, changed, of another file or of another version."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose flight file it is. A file is evidence about a claim only as far as these agree with the claim's own."""

    incarnation: str
    """The worker's 128 random bits, as 32 hex digits."""
    boot_id: str
    """Which run of the kernel it belongs to, as `boot_id()` gives it; empty where that cannot be known."""
    store_id: str
    """Which database the claims are of."""


@dataclass(frozen=True, slots=True)
class FlightRecord:
    """How far one message had got."""

    claim: int
    message_id: int
    step: Step
    phase: Phase | None
    reply: Reply | None
    """The deciding reply, with the start of its text. There is one exactly if the step is ANSWERED."""
    started_at_us: int
    """When it was begun."""
    at_us: int
    """When the step was noted."""


def is_consistent(step: Step, phase: Phase | None, reply: Reply | None) -> bool:
    """Whether the three can stand in one record: an answer has a reply and a phase, an earlier step has no reply."""
    return (reply is not None and phase is not None) if step is Step.ANSWERED else reply is None


def pack_identity(identity: Identity, slots: int) -> bytes:
    """Frame 0. Raises ValueError for an incarnation that is not 32 hex digits and for an id over 64 characters."""
    incarnation, boot, store = (
        text.encode("ascii") for text in (identity.incarnation, identity.boot_id, identity.store_id)
    )
    if len(incarnation) != 32 or set(incarnation) - set(b"0123456789abcdef"):
        raise ValueError(f"an incarnation is 32 hex digits, not {identity.incarnation!r}")
    if len(boot) > _ID_BYTES or len(store) > _ID_BYTES:
        raise ValueError(f"a boot id or a store id has at most {_ID_BYTES} characters")
    if slots < 1:
        raise ValueError(f"a flight file has at least one slot, not {slots}")
    return _seal(_IDENTITY.pack(MAGIC, incarnation, len(boot), len(store), boot, store, slots) + _END, 0)


def unpack_identity(frame: bytes) -> tuple[Identity, int]:
    """Identity and number of slots. Raises BadFrame."""
    body = _unseal(frame, 0)
    try:
        magic, incarnation, boot_bytes, store_bytes, boot, store, slots = _IDENTITY.unpack(body)
        ids = (text.decode("ascii") for text in (incarnation, boot[:boot_bytes], store[:store_bytes]))
        identity = Identity(*ids)
    except (struct.error, UnicodeDecodeError) as error:
        raise BadFrame("not an identity") from error
    if magic != MAGIC:
        raise BadFrame("the identity of a flight file of another version")
    return identity, slots


def seed_of(identity_frame: bytes) -> int:
    """What the checksums of a file's other frames start from. `identity_frame` must be a good one."""
    return int.from_bytes(identity_frame[:4], "little")


def pack_progress(exchange_n: int, seed: int) -> bytes:
    """Frame 1."""
    return _seal(_PROGRESS.pack(_PROGRESS_KIND, exchange_n) + _END, seed)


def unpack_progress(frame: bytes, seed: int) -> int:
    """The number of the last exchange known to have committed. Raises BadFrame."""
    body = _unseal(frame, seed)
    try:
        kind, exchange_n = _PROGRESS.unpack(body)
    except struct.error as error:
        raise BadFrame("not a progress frame") from error
    if kind != _PROGRESS_KIND:
        raise BadFrame("not a progress frame")
    return int(exchange_n)


def pack_empty(seed: int) -> bytes:
    """A slot before its first use."""
    return _seal(_RECORD.pack(_EMPTY_STEP, 0, _NO_CODE, _NO_ENHANCED, 0, 0, 0, 0, 0) + _END, seed)


def pack_record(
    claim: int,
    message_id: int,
    step: Step,
    phase: Phase | None,
    reply: Reply | None,
    started_at_us: int,
    at_us: int,
    seed: int,
) -> bytes:
    """A slot in use, from the fields of a FlightRecord one by one: making one first would double the price.

    Of the reply's text is kept what fits, at least 436 bytes of UTF-8, up to the border of a character; a text that was
    cut ends in `CUT`. Raises ValueError for a number that no reply and no row of a database can have.
    """
    try:
        if reply is None:
            body = _BARE_RECORD.pack(
                step,
                _PHASE_NUMBERS[phase],
                _NO_CODE,
                _NO_ENHANCED,
                0,
                claim,
                message_id,
                started_at_us,
                at_us,
                _END_BYTE,
            )
        else:
            enhanced = b"" if reply.enhanced is None else _fit(reply.enhanced, _ENHANCED_BYTES)
            text = _fit(reply.text, _TEXT_BYTES - len(enhanced))
            numbers = _RECORD.pack(
                step,
                _PHASE_NUMBERS[phase],
                reply.code,
                _NO_ENHANCED if reply.enhanced is None else len(enhanced),
                len(text),
                claim,
                message_id,
                started_at_us,
                at_us,
            )
            body = b"".join((numbers, enhanced, text, _END))
    except struct.error as error:
        raise ValueError(f"claim {claim} has a number that no record can hold: {error}") from error
    return _SEALED.pack(crc32(body, seed), body)


def unpack_record(frame: bytes, seed: int) -> FlightRecord | None:
    """What a slot says, or None if it was never used. Raises BadFrame."""
    body = _unseal(frame, seed)
    try:
        step, phase, code, enhanced_bytes, text_bytes, claim, message_id, started, at = _RECORD.unpack_from(body)
        if step == _EMPTY_STEP:
            return None
        texts = body[_RECORD.size :]
        if code == _NO_CODE:
            reply, expected_bytes = None, 0
        elif enhanced_bytes == _NO_ENHANCED:
            reply, expected_bytes = Reply(code, None, _text(texts)), text_bytes
        else:
            reply = Reply(code, _text(texts[:enhanced_bytes]), _text(texts[enhanced_bytes:]))
            expected_bytes = enhanced_bytes + text_bytes
        record = FlightRecord(claim, message_id, Step(step), _PHASES[phase], reply, started, at)
    except (struct.error, ValueError, IndexError) as error:
        raise BadFrame("not a record that this version writes") from error
    if len(texts) != expected_bytes or not is_consistent(record.step, record.phase, record.reply):
        raise BadFrame("a record that contradicts itself")
    return record


def _seal(body: bytes, seed: int) -> bytes:
    return _SEALED.pack(crc32(body, seed), body)


def _unseal(frame: bytes, seed: int) -> bytes:
    """The body, without its end byte."""
    if len(frame) != FRAME_BYTES:
        raise BadFrame(f"{len(frame)} bytes instead of {FRAME_BYTES}")
    body = frame[4:].rstrip(b"\0")
    if not body.endswith(_END) or crc32(body, seed) != int.from_bytes(frame[:4], "little"):
        raise BadFrame("the checksum is wrong")
    return body[:-1]


def _fit(text: str, room: int) -> bytes:
    """`text` in at most `room` bytes. Lone surrogates pass: a reply that was not UTF-8 may have been read into them."""
    # A character has at least one byte: no need to encode 32 KiB of a hostile server's words to keep 400 of them.
    encoded = text[: room + 1].encode("utf-8", "surrogatepass")
    if len(encoded) <= room:
        return encoded
    end = room - len(_CUT_BYTES)
    while encoded[end] & 0xC0 == 0x80:  # the middle of a character
        end -= 1
    return encoded[:end] + _CUT_BYTES


def _text(encoded: bytes) -> str:
    return encoded.decode("utf-8", "surrogatepass")
