"""What waits for delivery: texts in memory, oldest first, bounded by bytes. No I/O, no clock, no threads.

New texts lie as they came, so that a server that is well costs no compression. What waits longer is compressed by the
dozen, which makes it a tenth: readings differ little.
"""

from __future__ import annotations

import zlib
from collections import deque
from typing import NamedTuple

from inverter_capture.protocol.counts import Counts

RAW_BYTES_MAX = 256 * 1024
"""Texts kept as they came, unless much is expected. Beyond it the oldest of them are compressed."""
PACK_BYTES = 240 * 1024
"""Texts that are compressed together, by their bytes before."""
PACK_TEXTS = 36
"""And by their number: as many are dropped together."""
PACK_OVERHEAD = 150
"""Bytes that a pack takes beside its data."""
TEXT_OVERHEAD = 60
"""Bytes that a text takes beside its characters."""
BATCH_BYTES_MAX = 512 * 1024
"""Texts taken at a time, by their bytes; one longer text is taken all the same."""

_SEPARATOR = b"\0"


class BufferCounts(Counts):
    """What became of the texts."""

    __slots__ = ("added", "dropped", "removed")

    added: int
    removed: int
    """Taken out by `remove`."""
    dropped: int
    """Lost, the oldest first, because the buffer was full."""


class _Pack(NamedTuple):
    """Texts that are compressed together."""

    texts: int
    raw_bytes: int
    data: bytes

    @property
    def cost(self) -> int:
        return len(self.data) + PACK_OVERHEAD


class Buffer:
    """A queue of texts. They leave it when `remove` says so, or as the oldest when it is full.

    Texts are bytes without NUL. Not safe for threads: whoever shares a buffer locks it.
    """

    def __init__(self, limit: int) -> None:
        """`limit` is in bytes of memory."""
        self.limit = limit
        self.counts = BufferCounts()
        self._expects_much = False
        self._packs: deque[_Pack] = deque()
        self._raw: deque[bytes] = deque()
        self._packs_bytes = 0
        self._raw_bytes = 0
        self._skipped = 0
        """Texts of the oldest pack that are out already."""
        self._taken = 0
        """Of the oldest texts, those that are in flight."""
        self._gone = 0
        """Of these, those that were dropped meanwhile."""

    def __len__(self) -> int:
        """Texts that wait, those that are taken among them."""
        return self.counts.added - self.counts.removed - self.counts.dropped

    @property
    def size(self) -> int:
        """Bytes of memory, never more than the limit. Whoever holds a batch that was taken needs more."""
        return self._packs_bytes + self._raw_bytes

    def expect_much(self) -> None:
        """Texts come as fast as they leave, and whoever adds them waits for room: some batches lie as they came."""
        self._expects_much = True

    @property
    def raw_limit(self) -> int:
        """Bytes of texts kept as they came."""
        return min(3 * BATCH_BYTES_MAX, self.limit // 2) if self._expects_much else RAW_BYTES_MAX

    @property
    def has_room(self) -> bool:
        """Whether another text of common length lies as it came, after `expect_much`."""
        return self.size < self.raw_limit * 3 // 4

    @property
    def has_batch(self) -> bool:
        """Whether what waits is worth a request, after `expect_much`."""
        return self.size >= self.raw_limit // 3

    def add(self, text: bytes) -> int:
        """Append a text. Returns how many of the oldest had to go for it."""
        self.counts.added += 1
        self._raw.append(text)
        self._raw_bytes += _cost(text)
        while self._raw_bytes > self.raw_limit:
            self._pack_oldest()
        dropped = 0
        while self.size > self.limit:
            dropped += self._drop_oldest()
        return dropped

    def take(self) -> list[bytes]:
        """The oldest texts, as many as make a batch; none when there are none.

        They stay in the buffer, and are in flight until `release`: `remove` takes the first of them out.
        """
        texts: list[bytes] = []
        size = 0
        for pack in self._packs:
            if texts and size + pack.raw_bytes > BATCH_BYTES_MAX:
                break
            texts += _unpack(pack)[0 if texts else self._skipped :]
            size += pack.raw_bytes
        else:
            for text in self._raw:
                if texts and size + _cost(text) > BATCH_BYTES_MAX:
                    break
                texts.append(text)
                size += _cost(text)
        self._taken = len(texts)
        self._gone = 0
        return texts

    def remove(self, count: int) -> None:
        """The first texts of those taken are delivered, or given up. Raises ValueError when fewer are taken."""
        if count > self._taken:
            raise ValueError(f"{count} texts to remove, but {self._taken} taken")
        # What was dropped while it was in flight has arrived after all.
        gone = min(count, self._gone)
        self._taken -= count
        self._gone -= gone
        self.counts.dropped -= gone
        self.counts.removed += count
        count -= gone
        while count and self._packs:
            if count < self._packs[0].texts - self._skipped:
                self._skipped += count
                return
            count -= self._pop_pack()
        for _ in range(count):
            self._pop_raw()

    def release(self) -> None:
        """The attempt to deliver is over. What was taken and not removed is still the oldest."""
        self._taken = 0
        self._gone = 0

    def _pack_oldest(self) -> None:
        texts = [self._pop_raw()]
        raw_bytes = _cost(texts[0])
        while self._raw and len(texts) < PACK_TEXTS and raw_bytes + _cost(self._raw[0]) <= PACK_BYTES:
            texts.append(self._pop_raw())
            raw_bytes += _cost(texts[-1])
        pack = _Pack(len(texts), raw_bytes, zlib.compress(_SEPARATOR.join(texts)))
        self._packs.append(pack)
        self._packs_bytes += pack.cost

    def _pop_pack(self) -> int:
        """Returns how many texts were left in it."""
        pack = self._packs.popleft()
        left = pack.texts - self._skipped
        self._packs_bytes -= pack.cost
        self._skipped = 0
        return left

    def _pop_raw(self) -> bytes:
        text = self._raw.popleft()
        self._raw_bytes -= _cost(text)
        return text

    def _drop_oldest(self) -> int:
        """Drop the oldest text, or the oldest pack whole. Returns how many texts those were."""
        if self._packs:
            count = self._pop_pack()
        else:
            self._pop_raw()
            count = 1
        self.counts.dropped += count
        self._gone = min(self._taken, self._gone + count)
        return count


def _unpack(pack: _Pack) -> list[bytes]:
    return zlib.decompress(pack.data).split(_SEPARATOR)


def _cost(text: bytes) -> int:
    return len(text) + TEXT_OVERHEAD
