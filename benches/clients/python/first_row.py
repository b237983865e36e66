"""From the start of the process to the first row, with nothing cached: what a new container does."""

import time


def measure(side, driver):
    if driver.startswith("asyncpg"):
        import asyncio

        return asyncio.run(first_row_async(side))
    from doors import open_door

    door = open_door(side, driver)
    connection = door.connect(driver)
    if side == "floor":
        from floor import query_packet

        connection.send(query_packet("SELECT 1"))
    else:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        assert cursor.fetchone()[0] == 1
    report = now()
    connection.close()
    door.close()
    return report


async def first_row_async(side):
    from doors import open_async_door

    door = await open_async_door(side)
    connection = await door.connect_async("asyncpg")
    if side == "floor":
        from floor import query_packet

        await connection.send(query_packet("SELECT 1"))
    else:
        assert await connection.fetchval("SELECT 1") == 1
    report = now()
    await connection.close()
    await door.close_async()
    return report


def now():
    """CPU since the process began, and the moment on the clock that the parent reads too."""
    return {"cpu": time.process_time(), "moment": time.monotonic()}
