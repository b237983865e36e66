"""Warm measurements on asyncpg: connect, select, bulk, burst and idle."""

import asyncio
import statistics
import time

import samples
from doors import open_async_door


def measure(measurement, side, driver):
    if driver == "asyncpg-uvloop":
        import uvloop

        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(run(MEASUREMENTS[measurement], side))
    finally:
        loop.close()


async def run(measurement, side):
    door = await open_async_door(side)
    await (await door.connect_async("asyncpg")).close()
    report = await measurement(door)
    await door.close_async()
    return report


async def connect(door):
    latencies = []
    cpu = time.process_time()
    for _ in range(samples.CONNECTS):
        begin = time.perf_counter()
        connection = await door.connect_async("asyncpg")
        latencies.append(time.perf_counter() - begin)
        await connection.close()
    return {"p50": statistics.median(latencies), "cpu": (time.process_time() - cpu) / samples.CONNECTS}


async def select(door):
    latencies, cpu = [], 0.0
    for _ in range(samples.SELECT_SESSIONS):
        connection = await door.connect_async("asyncpg")
        for _ in range(samples.SELECTS // 10):
            await connection.fetchval("SELECT 1")
        before = time.process_time()
        for _ in range(samples.SELECTS):
            begin = time.perf_counter()
            await connection.fetchval("SELECT 1")
            latencies.append(time.perf_counter() - begin)
        cpu += time.process_time() - before
        await connection.close()
    return {"p50": statistics.median(latencies), "cpu": cpu / len(latencies)}


async def bulk(door):
    connection = await door.connect_async("asyncpg")
    received = 0
    begin, cpu = time.perf_counter(), time.process_time()
    for _ in range(samples.BULK_QUERIES):
        received += sum(len(row[0]) for row in await connection.fetch(samples.BULK_SQL))
    report = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - begin}
    assert received == samples.BULK_BYTES
    await connection.close()
    return report


async def burst(door):
    latencies, stalls = [], []
    for _ in range(samples.BURSTS):
        heartbeat = asyncio.ensure_future(longest_stall())
        await asyncio.sleep(0.01)
        made = await asyncio.gather(*(timed_connect(door) for _ in range(samples.BURST_SIZE)))
        await asyncio.sleep(0.01)
        heartbeat.cancel()
        stalls.append(await heartbeat)
        for seconds, connection in made:
            latencies.append(seconds)
            await connection.close()
    return {"p50": statistics.median(latencies), "stall": statistics.median(stalls)}


async def timed_connect(door):
    begin = time.perf_counter()
    connection = await door.connect_async("asyncpg")
    return time.perf_counter() - begin, connection


async def longest_stall():
    """How long the loop kept a task waiting that wanted to run every millisecond, until cancelled."""
    longest = 0.0
    try:
        while True:
            due = time.perf_counter() + HEARTBEAT
            await asyncio.sleep(HEARTBEAT)
            longest = max(longest, time.perf_counter() - due)
    except asyncio.CancelledError:
        return longest


async def idle(door):
    kept = [await door.connect_async("asyncpg")]
    await kept[0].fetchval("SELECT 1")
    levels = [samples.private_memory()]
    for _ in range(samples.IDLE_BATCHES):
        for _ in range(samples.IDLE_BATCH):
            kept.append(await door.connect_async("asyncpg"))
            await kept[-1].fetchval("SELECT 1")
        levels.append(samples.private_memory())
    for connection in kept:
        await connection.close()
    return {"private": samples.growth(levels)}


HEARTBEAT = 0.001
MEASUREMENTS = {"connect": connect, "select": select, "bulk": bulk, "burst": burst, "idle": idle}
