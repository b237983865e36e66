"""Logs in as whoever this process is, through SQLAlchemy's pool, and prints who that was: the demo's Python door."""

import json
import sys
import time


def main(instance: str, database: str) -> None:
    begun = time.monotonic()
    # What importing takes is part of what is shown.
    import sqlalchemy

    from iamsql import Connector

    with Connector() as connector:
        creator = connector.creator(instance, "psycopg", db=database)
        engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=creator)
        with engine.connect() as connection:
            query = sqlalchemy.text("select current_user, current_setting('server_version')")
            user, version = connection.execute(query).one()
        seconds = time.monotonic() - begun
        engine.dispose()
    print(json.dumps({"user": user, "version": version, "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
