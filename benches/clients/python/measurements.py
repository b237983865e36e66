"""Warm measurements on blocking drivers: connect, select, bulk, burst and idle."""

import statistics
import threading
import time

import samples
from doors import open_door


def measure(measurement, side, driver):
    door = open_door(side, driver)
    door.connect(driver).close()
    report = MEASUREMENTS[measurement](door, driver)
    door.close()
    return report


def connect(door, driver):
    latencies = []
    cpu = time.process_time()
    for _ in range(samples.CONNECTS):
        begin = time.perf_counter()
        connection = door.connect(driver)
        latencies.append(time.perf_counter() - begin)
        connection.close()
    return {"p50": statistics.median(latencies), "cpu": (time.process_time() - cpu) / samples.CONNECTS}


def select(door, driver):
    latencies, cpu = [], 0.0
    for _ in range(samples.SELECT_SESSIONS):
        connection = door.connect(driver)
        cursor = connection.cursor()
        for _ in range(samples.SELECTS // 10):
            one(cursor)
        before = time.process_time()
        for _ in range(samples.SELECTS):
            begin = time.perf_counter()
            one(cursor)
            latencies.append(time.perf_counter() - begin)
        cpu += time.process_time() - before
        connection.close()
    return {"p50": statistics.median(latencies), "cpu": cpu / len(latencies)}


def one(cursor):
    cursor.execute("SELECT 1")
    return cursor.fetchone()


def bulk(door, driver):
    connection = door.connect(driver)
    cursor = connection.cursor()
    received = 0
    begin, cpu = time.perf_counter(), time.process_time()
    for _ in range(samples.BULK_QUERIES):
        cursor.execute(samples.BULK_SQL)
        received += sum(len(row[0]) for row in cursor.fetchall())
    report = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - begin}
    assert received == samples.BULK_BYTES
    connection.close()
    return report


def burst(door, driver):
    latencies = []
    for _ in range(samples.BURSTS):
        for seconds, connection in at_once(samples.BURST_SIZE, lambda: timed_connect(door, driver)):
            latencies.append(seconds)
            connection.close()
    return {"p50": statistics.median(latencies)}


def at_once(count, act):
    """What `act` returns in each of so many threads that begin together."""
    barrier, results = threading.Barrier(count), []

    def run():
        barrier.wait()
        results.append(act())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == count, "one of many failed"
    return results


def timed_connect(door, driver):
    begin = time.perf_counter()
    connection = door.connect(driver)
    return time.perf_counter() - begin, connection


def idle(door, driver):
    kept = [door.connect(driver)]
    one(kept[0].cursor())
    levels = [samples.private_memory()]
    for _ in range(samples.IDLE_BATCHES):
        for _ in range(samples.IDLE_BATCH):
            kept.append(door.connect(driver))
            one(kept[-1].cursor())
        levels.append(samples.private_memory())
    for connection in kept:
        connection.close()
    return {"private": samples.growth(levels)}


MEASUREMENTS = {"connect": connect, "select": select, "bulk": bulk, "burst": burst, "idle": idle}
