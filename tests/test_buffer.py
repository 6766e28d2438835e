"""The buffer against a plain list: what goes in comes out, in order, and what is dropped is the oldest."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inverter_capture.backends.influxdb2 import buffer as module
from inverter_capture.backends.influxdb2.buffer import IMPORT_BATCH_BYTES_MAX, TEXT_OVERHEAD, Buffer
from inverter_capture.backends.influxdb2.columns import compress, decompress
from inverter_capture.output.line_protocol import line_protocol, narrow_line_protocol
from inverter_capture.protocol.readings import Reading
from tests.dongle.inverter import Inverter
from tests.dongle.profiles import SMALL


class Machine(RuleBasedStateMachine):
    """Small limits, so that all that can happen happens."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(module, "RAW_BYTES_MAX", 4000)
        self.patch.setattr(module, "PACK_BYTES", 1000)
        self.patch.setattr(module, "PACK_TEXTS", 7)
        self.patch.setattr(module, "BATCH_BYTES_MAX", 3000)
        self.patch.setattr(module, "SMALL_BATCH_BYTES_MAX", 1500)
        self.buffer = Buffer(8000)
        self.waiting: list[bytes] = []
        self.taken: list[bytes] | None = None
        self.number = 0
        self.delivered = 0
        self.lost: set[bytes] = set()

    def teardown(self) -> None:
        self.patch.undo()

    @rule(count=st.integers(1, 30), length=st.integers(0, 1500), kind=st.sampled_from(("noise", "same", "fields")))
    def add(self, count: int, length: int, kind: str) -> None:
        for _ in range(count):
            self.number += 1
            filling = b"x" * length
            if kind == "noise":
                filling = random.Random(self.number).randbytes(length).replace(b"\0", b"\1")
            elif kind == "fields":
                filling = bytes(random.Random(self.number).choices(b"=,1", k=length))
            text = b"%d " % self.number + filling
            dropped = self.buffer.add(text)
            self.waiting.append(text)
            self.lost |= set(self.waiting[:dropped])
            del self.waiting[:dropped]

    @rule(small=st.booleans())
    def take(self, small: bool) -> None:
        limit = 1500 if small else 3000
        self.taken = self.buffer.take(small=small)
        assert self.taken == self.waiting[: len(self.taken)]
        assert bool(self.taken) == bool(self.waiting)
        sizes = [len(text) + TEXT_OVERHEAD for text in self.taken]
        # A pack that is begun counts whole.
        assert sum(sizes) <= limit or len(sizes) == 1
        if len(self.taken) < len(self.waiting):
            assert sum(sizes) >= limit - 1000 - 1600

    @precondition(lambda self: self.taken)
    @rule(share=st.floats(0, 1))
    def remove(self, share: float) -> None:
        assert self.taken is not None
        count = round(len(self.taken) * share)
        self.buffer.remove(count)
        for text in self.taken[:count]:
            if text in self.lost:
                # It was dropped while it was in flight, and has arrived.
                self.lost.discard(text)
            else:
                assert self.waiting.pop(0) == text
        del self.taken[:count]
        self.delivered += count

    @rule(more=st.integers(1, 5))
    def remove_too_many(self, more: int) -> None:
        with pytest.raises(ValueError, match="texts to remove"):
            self.buffer.remove(len(self.taken or []) + more)

    @invariant()
    def agrees(self) -> None:
        counts = self.buffer.counts
        assert len(self.buffer) == len(self.waiting)
        assert (counts.added, counts.removed, counts.dropped) == (self.number, self.delivered, len(self.lost))
        assert 0 <= self.buffer.size <= self.buffer.limit
        if not self.waiting:
            assert self.buffer.size == 0


TestBuffer = Machine.TestCase
TestBuffer.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def test_packs_that_were_delivered_in_part() -> None:
    buffer = Buffer(64 * 1024)
    texts = [b"%d " % number + bytes(random.Random(number).choices(b"=,1", k=300)) for number in range(200)]
    for text in texts:
        assert buffer.add(text) == 0
    for count in (1, module.PACK_TEXTS, 3):
        assert buffer.take() == texts
        buffer.remove(count)
        del texts[:count]
    assert buffer.take(small=True) == texts[: len(buffer.take(small=True))]


def test_a_batch_of_which_a_part_is_dropped_in_flight() -> None:
    buffer = Buffer(64 * 1024)

    def add() -> int:
        return buffer.add(random.Random(buffer.counts.added).randbytes(500).replace(b"\0", b"\1"))

    assert [add() for _ in range(60)] == [0] * 60
    batch = buffer.take()
    dropped = 0
    while not dropped:
        dropped = add()
    assert 0 < dropped < len(batch) == 60
    for delivered in range(1, len(batch) + 1):
        buffer.remove(1)
        assert (buffer.counts.removed, buffer.counts.dropped) == (delivered, max(0, dropped - delivered))
    assert len(buffer.take()) == len(buffer) == buffer.counts.added - len(batch)


@pytest.mark.parametrize("limit", [16 * 1024, 1024 * 1024, 4 * 1024 * 1024, 16 * 1024 * 1024])
def test_room(limit: int) -> None:
    buffer = Buffer(limit, keep_raw=True)
    count = 0
    while buffer.has_room():
        assert buffer.add(b"x" * 500) == 0
        count += 1
        assert buffer.size == count * (500 + TEXT_OVERHEAD), "nothing is compressed"
        assert buffer.has_batch == (buffer.size >= min(IMPORT_BATCH_BYTES_MAX, limit // 4))
    assert buffer.size >= min(2 * IMPORT_BATCH_BYTES_MAX, limit // 2)
    batch = buffer.take()
    assert len(b"\n".join(batch)) <= IMPORT_BATCH_BYTES_MAX
    buffer.remove(len(batch))
    assert buffer.has_room()


def test_a_text_larger_than_the_buffer() -> None:
    buffer = Buffer(16 * 1024)
    assert buffer.add(b"small") == 0
    assert buffer.add(random.Random(1).randbytes(20_000).replace(b"\0", b"\1")) == 2
    assert (len(buffer), buffer.size) == (0, 0)
    assert buffer.add(b"small") == 0
    assert buffer.take() == [b"small"]


@pytest.mark.parametrize("limit", [16, 64, 256, 1024])
def test_a_small_buffer_compresses(limit: int, month: list[Reading]) -> None:
    """It holds several times as many readings as lie in it raw."""
    texts = [line_protocol(reading, "inverter", {}) for reading in month]
    buffer = Buffer(limit * 1024)
    for text in texts:
        if buffer.add(text):
            break
    least = {16: 2, 64: 3, 256: 8, 1024: 8}[limit]
    assert len(buffer) >= least * limit * 1024 / (len(texts[0]) + TEXT_OVERHEAD)


@pytest.fixture(scope="module")
def month() -> list[Reading]:
    """30 days of one inverter, every five minutes: six days, five times. Far apart, likeness helps no compression."""
    start = datetime(2024, 6, 1, tzinfo=UTC)
    inverter = Inverter(SMALL, start)
    reports = (inverter.report(start + timedelta(seconds=303 * number)) for number in range(6 * 288))
    return [Reading.of(report.serial, int(report.moment.timestamp()) * 10**9, report.values) for report in reports] * 5


TEXTS = st.lists(st.binary() | st.lists(st.sampled_from([b"=", b",", b"!", b"1", b"\xff"])).map(b"".join), min_size=1)


@given(texts=TEXTS)
def test_what_is_compressed_comes_back(texts: list[bytes]) -> None:
    texts = [text.replace(b"\0", b"\1") for text in texts]
    assert decompress(compress(texts)) == texts


@pytest.mark.parametrize("write", [line_protocol, narrow_line_protocol])
@pytest.mark.parametrize("kinds", [1, 2])
def test_readings_are_compressed_better_by_columns(
    write: Callable[..., bytes], kinds: int, month: list[Reading]
) -> None:
    """Also those of two kinds of inverters in turns, whose fields stand in different columns."""
    readings = [
        reading.with_values(dict(list(reading.values.items())[number % kinds * 7 :]))
        for number, reading in enumerate(month[:36])
    ]
    texts = [write(reading, "inverter", {}) for reading in readings]
    limit = 0.7 if kinds == 1 else 1
    assert len(compress(texts)) < limit * len(zlib.compress(b"\0".join(texts)))


@pytest.mark.parametrize(("schema", "days"), [("wide", 60), ("narrow", 30)])
def test_a_month_and_more_fits(schema: str, days: int, month: list[Reading]) -> None:
    write = line_protocol if schema == "wide" else narrow_line_protocol
    tags = {"site": "farm"}
    buffer = Buffer(4 * 1024 * 1024)
    texts = ([write(reading, "inverter", tags) for reading in month[: len(month) // 5]] * 10)[: days * 288]
    for text in texts:
        assert buffer.add(text) == 0
    print(f"{schema}: {sum(map(len, texts)) / 2**20:.1f} MiB in {buffer.size / 2**20:.2f} MiB")
    taken = []
    while batch := buffer.take():
        taken += batch
        buffer.remove(len(batch))
    assert taken == texts
