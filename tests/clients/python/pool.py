"""Logs in as whoever this process is, through SQLAlchemy's pool, and prints who that was: the demo's Python door."""

import json
import sys
import time

DIALECTS = {"psycopg": "postgresql+psycopg://", "pymysql": "mysql+pymysql://"}
QUERIES = {
    "psycopg": "select current_user, current_setting('server_version')",
    "pymysql": "select substring_index(current_user(), '@', 1), version()",
}


def main(driver: str, instance: str, database: str) -> None:
    begun = time.monotonic()
    # What importing takes is part of what is shown.
    import sqlalchemy

    from iamsql import Connector

    with Connector() as connector:
        creator = connector.creator(instance, driver, db=database)
        engine = sqlalchemy.create_engine(DIALECTS[driver], creator=creator)
        with engine.connect() as connection:
            user, version = connection.execute(sqlalchemy.text(QUERIES[driver])).one()
        seconds = time.monotonic() - begun
        engine.dispose()
    print(json.dumps({"user": user, "version": version, "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
