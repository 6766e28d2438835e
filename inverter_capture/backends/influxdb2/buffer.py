"""The queue of texts that wait for delivery, in memory, with a size limit in bytes. No I/O, no clock, no threads.

Operations:
- `add` appends a text, and drops the oldest when the limit is exceeded
- `take` returns a batch of the oldest, which stay in the queue
- `remove` removes the first texts of the batch; the others wait again, for the next `take`

Rules:
- texts leave in the order in which they came
- the size never exceeds the limit, even if a text in flight has to be dropped; if that text is delivered all the same,
  it counts as removed
- while the server can be reached, nothing is compressed

Plan:
- new texts are kept uncompressed, in `_raw`
- when the raw texts exceed their share of the limit, the oldest of them are compressed together into a pack in
  `_packs`: readings are so similar that a pack has a twentieth of their size or less
- packs are dropped whole, and removed text by text: `_skipped` counts the removed texts of the first pack
- `_taken` counts the texts in flight, `_gone` those of them that were dropped meanwhile
- while a file is imported, the caller of `add` waits for room; nothing is dropped, and `keep_raw` avoids compression
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from inverter_capture.backends.influxdb2.columns import compress, decompress
from inverter_capture.protocol.counts import Counts

RAW_BYTES_MAX = 96 * 1024  # Maximum size of the uncompressed texts in bytes
RAW_SHARE = 4
"""Uncompressed texts take at most one part in this many of the limit, so that a small buffer compresses too."""
PACK_BYTES = 96 * 1024  # Maximum size of a pack in bytes, before compression
PACK_TEXTS = 36  # Maximum number of texts in a pack. They are dropped together.
PACK_OVERHEAD = 150  # Memory that a pack takes in addition to its data, in bytes
TEXT_OVERHEAD = 60  # Memory that an uncompressed text takes in addition to its characters, in bytes
BATCH_BYTES_MAX = 512 * 1024  # Maximum size of a batch in bytes. A single longer text makes a batch of its own.
IMPORT_BATCH_BYTES_MAX = 1024 * 1024
"""The same during an import, which has more to send, and mostly more memory. nginx passes on no larger body."""
SMALL_BATCH_BYTES_MAX = 64 * 1024  # The same of a small batch, where also a larger pack makes a batch of its own


class BufferCounts(Counts):
    """Counters of texts."""

    __slots__ = ("added", "dropped", "removed")

    added: int
    removed: int  # Removed by `remove`: delivered or refused
    dropped: int  # Lost because the buffer was full


class _Pack(NamedTuple):
    """Texts that are compressed together."""

    texts: int
    raw_bytes: int
    data: bytes

    @property
    def cost(self) -> int:
        return len(self.data) + PACK_OVERHEAD


class Buffer:
    """The queue. Texts are bytes without NUL. Not thread-safe: callers must hold a lock."""

    def __init__(self, limit: int, *, keep_raw: bool = False) -> None:
        """`limit`: maximum memory in bytes.

        `keep_raw`: do not compress. The caller of `add` waits until `has_room`; texts take at most three quarters of
        the limit.
        """
        self._keep_raw = keep_raw
        self.resize(limit)
        self.counts = BufferCounts()
        self._packs: deque[_Pack] = deque()
        self._raw: deque[bytes] = deque()
        self._packs_bytes = 0
        self._raw_bytes = 0
        self._skipped = 0
        self._taken = 0
        self._gone = 0

    def __len__(self) -> int:
        """The number of waiting texts, including those in flight."""
        return self.counts.added - self.counts.removed - self.counts.dropped

    @property
    def size(self) -> int:
        """Memory in use, in bytes. A batch that was taken needs additional memory."""
        return self._packs_bytes + self._raw_bytes

    def resize(self, limit: int) -> None:
        """Change the limit, with effect from the next `add`."""
        self.limit = limit
        if self._keep_raw:
            self._raw_limit = min(3 * IMPORT_BATCH_BYTES_MAX, limit * 3 // 4)
        else:
            self._raw_limit = min(RAW_BYTES_MAX, limit // RAW_SHARE)

    def has_room(self) -> bool:
        """With `keep_raw`: whether a text of usual length can be added without compression or loss."""
        return self.size < self._raw_limit * 3 // 4

    @property
    def has_batch(self) -> bool:
        """With `keep_raw`: whether enough texts wait to be worth a request."""
        return self.size >= self._raw_limit // 3

    @property
    def newest(self) -> bytes | None:
        """The text that was added last; None when it is gone or compressed."""
        return self._raw[-1] if self._raw else None

    def add(self, text: bytes) -> int:
        """Append a text. Returns the number of texts dropped to make room."""
        self.counts.added += 1
        self._raw.append(text)
        self._raw_bytes += len(text) + TEXT_OVERHEAD
        while self._raw_bytes > self._raw_limit:
            self._pack_oldest()
        dropped = 0
        while self.size > self.limit:
            dropped += self._drop_oldest()
        return dropped

    def take(self, *, small: bool = False) -> list[bytes]:
        """Put the oldest texts in flight, in place of those before: at most a batch. Empty when no texts wait.

        `small`: a small batch, for an attempt that probably fails, since a request takes twice the size of its batch.
        """
        texts: list[bytes] = []
        size = 0
        if small:
            bytes_max = SMALL_BATCH_BYTES_MAX
        else:
            bytes_max = IMPORT_BATCH_BYTES_MAX if self._keep_raw else BATCH_BYTES_MAX
        for pack in self._packs:
            if texts and size + pack.raw_bytes > bytes_max:
                break
            texts += decompress(pack.data)[0 if texts else self._skipped :]
            size += pack.raw_bytes
        else:
            for text in self._raw:
                size += len(text) + TEXT_OVERHEAD
                if texts and size > bytes_max:
                    break
                texts.append(text)
        self._taken = len(texts)
        self._gone = 0
        return texts

    def remove(self, count: int) -> None:
        """Remove the first texts in flight, delivered or given up. Raises ValueError when fewer are in flight."""
        if count > self._taken:
            raise ValueError(f"{count} texts to remove, but {self._taken} taken")
        # Dropped while they were in flight.
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

    def _pack_oldest(self) -> None:
        before = self._raw_bytes
        least = before - PACK_BYTES + TEXT_OVERHEAD
        texts = [self._pop_raw()]
        while self._raw and len(texts) < PACK_TEXTS and self._raw_bytes - len(self._raw[0]) >= least:
            texts.append(self._pop_raw())
        pack = _Pack(len(texts), before - self._raw_bytes, compress(texts))
        self._packs.append(pack)
        self._packs_bytes += pack.cost

    def _pop_pack(self) -> int:
        """Remove the oldest pack. Returns the number of its texts that were not removed before."""
        pack = self._packs.popleft()
        left = pack.texts - self._skipped
        self._packs_bytes -= pack.cost
        self._skipped = 0
        return left

    def _pop_raw(self) -> bytes:
        text = self._raw.popleft()
        self._raw_bytes -= len(text) + TEXT_OVERHEAD
        return text

    def _drop_oldest(self) -> int:
        """Drop the oldest pack, or the oldest text when there is no pack. Returns the number of texts dropped."""
        if self._packs:
            count = self._pop_pack()
        else:
            self._pop_raw()
            count = 1
        self.counts.dropped += count
        self._gone = min(self._taken, self._gone + count)
        return count
