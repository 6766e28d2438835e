"""Units of time. Times are whole nanoseconds since the epoch in UTC, as packets bring them."""

SECOND = 1_000_000_000  # Nanoseconds
