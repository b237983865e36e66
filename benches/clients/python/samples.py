"""How much of each thing is measured, the same on every side, and how memory is read."""

import gc
import statistics

CONNECTS = 30
SELECT_SESSIONS, SELECTS = 5, 3_000
BULK_ROWS, BULK_QUERIES, BULK_ROW_BYTES = 1_280, 10, 8_192
BULK_BYTES = BULK_ROWS * BULK_QUERIES * BULK_ROW_BYTES
BULK_SQL = f"SELECT repeat('x', {BULK_ROW_BYTES}) FROM generate_series(1, {BULK_ROWS})"
BURSTS, BURST_SIZE = 3, 16
IDLE_BATCHES, IDLE_BATCH = 7, 6


def private_memory():
    """Bytes that belong to this process alone."""
    gc.collect()
    with open("/proc/self/smaps_rollup") as rollup:
        fields = (line.split() for line in rollup if line.startswith("Private_"))
        return sum(int(field[1]) * 1024 for field in fields)


def growth(levels):
    """Bytes per connection: of the batches the median, for once in a while an allocator gives back megabytes."""
    return statistics.median(after - before for before, after in zip(levels, levels[1:])) / IDLE_BATCH
