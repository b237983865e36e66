"""The rows: what is measured, on which driver, and what is promised and aimed at there."""

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Limit:
    """Met by one of: a ratio to the peer, a ratio to the floor, an absolute figure."""

    peer: Optional[float] = None
    floor: Optional[float] = None
    most: Optional[float] = None

    def met(self, ours: float, peer: Optional[float], floor: Optional[float]) -> Optional[bool]:
        """Whether any way holds; None when what it needs was not measured."""
        ways = [
            None if ratio is None or reference is None else ours <= ratio * reference
            for ratio, reference in ((self.peer, peer), (self.floor, floor), (self.most, 1.0))
        ]
        known = [way for way in ways if way is not None]
        return any(known) if known else None

    def __str__(self) -> str:
        named = ((self.peer, "≤ {} of peer"), (self.floor, "≤ {} of floor"), (self.most, "≤ {}"))
        return " or ".join(text.format(figure(limit)) for limit, text in named if limit is not None)


@dataclass(frozen=True)
class Metric:
    """One figure of a row. `key` is the client's name for it; `unit` is how people read it."""

    key: str
    title: str
    unit: str
    promise: Optional[Limit] = None
    aim: Optional[Limit] = None


@dataclass(frozen=True)
class Row:
    """One measurement on one driver, on every side that can do it."""

    measurement: str
    language: str
    driver: str
    metrics: tuple
    sides: tuple = ("ours", "peer", "floor")
    repeats: int = 1  # fresh processes per side and round
    one_core: bool = False  # client, emulator and database take turns on one core

    @property
    def name(self) -> str:
        return f"{self.measurement}/{self.driver}"


def chosen(only: str) -> list:
    """The rows whose name begins with one of the comma-separated words; all when there are none."""
    words = [word.strip() for word in only.split(",") if word.strip()]
    return [row for row in ROWS if not words or any(row.name.startswith(word) for word in words)]


def figure(value: float) -> str:
    """1/50 rather than 0.02, as the promises are written."""
    return f"1/{round(1 / value)}" if 0 < value < 0.2 else f"{value:g}"


def peers(ratios: tuple) -> list:
    return [Limit(peer=ratio) for ratio in ratios]


def drivers(language: str, *names: str) -> list:
    return [(language, name) for name in names]


BLOCKING = drivers("python", "pg8000", "psycopg")
ASYNCIO = drivers("python", "asyncpg")
NODE = drivers("node", "node-pg")
# On the other databases drivers read and write as on the first: the rows that differ by database are enough.
ELSEWHERE = drivers("python", "pymysql", "alloydb-pg8000") + drivers("node", "node-mysql2")
NEAR_FLOOR = Limit(floor=1.1)
SIDES = ("ours", "peer", "floor")
NO_FLOOR = ("ours", "peer")

IMPORTS = [
    Row(
        "import", "python", "python",
        (
            Metric("cpu", "import: CPU", "ms", Limit(peer=1 / 50), Limit(peer=1 / 200)),
            Metric("resident", "import: added RSS", "MiB", Limit(peer=1 / 8), Limit(peer=1 / 20)),
        ),
        sides=NO_FLOOR, repeats=3,
    ),
    Row(
        "import", "node", "node",
        (
            Metric("cpu", "require: CPU", "ms", Limit(peer=1 / 20), Limit(peer=1 / 60)),
            Metric("resident", "require: added RSS", "MiB"),
        ),
        sides=NO_FLOOR, repeats=3,
    ),
]  # fmt: skip

FIRST_ROWS = [
    Row(
        "first-row", language, driver,
        (
            Metric("cpu", "start to first row: CPU", "ms", Limit(peer=0.4), NEAR_FLOOR),
            Metric("wall", "start to first row: wall", "ms", Limit(peer=0.7), NEAR_FLOOR),
            Metric("admin_calls", "calls to the first row: Admin API", "", Limit(most=2)),
            Metric("metadata_calls", "calls to the first row: metadata", "", Limit(most=2)),
        ),
        sides=NO_FLOOR if (language, driver) in ELSEWHERE else SIDES,
        repeats=3,  # an RSA key takes 30 to 300 ms
    )
    for language, driver in BLOCKING + ASYNCIO + NODE + ELSEWHERE
]  # fmt: skip

CONNECT_P50 = {
    "pg8000": 0.35,
    "psycopg": 0.9,
    "asyncpg": 1.0,
    "node-pg": 0.9,
    "pymysql": 0.9,
    "alloydb-pg8000": 0.35,
    "node-mysql2": 0.9,
}
CONNECTS = [
    Row(
        "connect", language, driver,
        (
            Metric("p50", "connect + login: p50", "ms", Limit(peer=CONNECT_P50[driver]), NEAR_FLOOR),
            Metric("cpu", "connect + login: CPU", "ms", Limit(peer=0.7), Limit(peer=0.5)),
        ),
        sides=NO_FLOOR if (language, driver) in ELSEWHERE else SIDES,
    )
    for language, driver in BLOCKING + ASYNCIO + NODE + ELSEWHERE
]  # fmt: skip

SELECT_CPU = {"node-pg": (1.3, 0.95), "node-mysql2": (1.3, 0.95), "asyncpg-uvloop": (0.9, 0.6)}
SELECTS = [
    Row(
        "select", language, driver,
        (
            Metric("cpu", "SELECT 1: CPU", "µs", *peers(SELECT_CPU.get(driver, (0.7, 0.6)))),
            Metric("p50", "SELECT 1: p50", "µs", Limit(peer=1.25 if language == "node" else 1.0), Limit(peer=0.95)),
        ),
        sides=NO_FLOOR,
        one_core=True,
    )
    for language, driver in BLOCKING + ASYNCIO + drivers("python", "asyncpg-uvloop") + NODE + ELSEWHERE
]  # fmt: skip

BULK_CPU = {"psycopg": (0.8, 0.8), "node-pg": (1.5, 0.9)}
BULKS = [
    Row(
        "bulk", language, driver,
        (
            Metric("cpu", "100 MiB read: CPU", "ms", *peers(BULK_CPU.get(driver, (1.0, 0.9)))),
            Metric("wall", "100 MiB read: wall", "ms"),
        ),
        sides=NO_FLOOR,
    )
    for language, driver in BLOCKING + ASYNCIO + NODE
]  # fmt: skip

BURST_P50 = Metric("p50", "16 connects at once: p50", "ms", Limit(peer=0.7, floor=1.1), Limit(floor=1.0))
BURST_STALL = Metric("stall", "16 connects at once: longest stall", "ms", Limit(peer=0.25), Limit(floor=1.0))
BURSTS = [
    *(Row("burst", language, driver, (BURST_P50,)) for language, driver in BLOCKING),
    *(Row("burst", language, driver, (BURST_P50, BURST_STALL)) for language, driver in ASYNCIO + NODE),
]

IDLE = Metric("private", "idle connection: private memory", "KiB", Limit(peer=1.0), Limit(peer=0.5))
IDLES = [Row("idle", language, driver, (IDLE,), sides=NO_FLOOR) for language, driver in BLOCKING + ASYNCIO + NODE]

RUST = [
    Row(
        "connect", "rust", "rust",
        (Metric("p50", "connect + login: p50", "ms"), Metric("cpu", "connect + login: CPU", "ms")),
        sides=("ours", "floor"),
    ),
    Row(
        "select", "rust", "rust",
        (
            Metric("p50", "SELECT 1: p50", "µs", Limit(floor=1.05), Limit(floor=0.95)),
            Metric("cpu", "SELECT 1: CPU", "µs"),
        ),
        sides=("ours", "floor"),
        one_core=True,
    ),
    Row(
        "bulk", "rust", "rust",
        (Metric("cpu", "100 MiB read: CPU", "ms"), Metric("wall", "100 MiB read: wall", "ms")),
        sides=("ours", "floor"),
    ),
]  # fmt: skip

ROWS = [*IMPORTS, *FIRST_ROWS, *CONNECTS, *SELECTS, *BULKS, *BURSTS, *IDLES, *RUST]
