"""gevent and eventlet: connecting and asking lets other greenlets run."""

import pytest

from emulator import IAM_USER

GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent
spawn, sleep, result = gevent.spawn, gevent.sleep, lambda greenlet: greenlet.get()
"""

EVENTLET = """
import warnings
warnings.simplefilter("ignore")
import eventlet
eventlet.monkey_patch()
spawn, sleep, result = eventlet.spawn, eventlet.sleep, lambda greenlet: greenlet.wait()
"""

ASK = """
import os, sys, time
import iamsql

ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        sleep(0.01)

def one():
    connection = connector.connect(os.environ["INSTANCE"], os.environ["DRIVER"], db=os.environ["DATABASE"])
    cursor = connection.cursor()
    cursor.execute("SELECT pg_sleep(0.7), current_user, repeat('x', 1000000)")
    _, user, large = cursor.fetchone()
    connection.close()
    return user, len(large)

connector = iamsql.Connector()
spawn(tick)
answers = [result(greenlet) for greenlet in [spawn(one) for _ in range(4)]]
print(*(user for user, length in answers if length == 1_000_000))
print(ticks)
"""


@pytest.mark.parametrize(
    ("hub", "driver"),
    [(GEVENT, "pg8000"), (GEVENT, "psycopg"), (EVENTLET, "pg8000")],
    ids=["gevent-pg8000", "gevent-psycopg", "eventlet-pg8000"],
)
def test_greenlets_go_on_while_others_wait(run, hub, driver):
    pytest.importorskip("gevent" if hub is GEVENT else "eventlet")
    users, ticks = run(hub + ASK, environment={"DRIVER": driver}).stdout.splitlines()
    assert users.split() == [IAM_USER] * 4
    assert int(ticks) > 20  # of some seventy; a hub that is stopped gets round a few times


@pytest.mark.parametrize(("hub", "driver"), [(GEVENT, "psycopg2"), (EVENTLET, "psycopg"), (EVENTLET, "psycopg2")])
def test_drivers_that_wait_in_c_work_too(run, hub, driver):
    pytest.importorskip("gevent" if hub is GEVENT else "eventlet")
    users, _ = run(hub + ASK, environment={"DRIVER": driver}).stdout.splitlines()
    assert users.split() == [IAM_USER] * 4


@pytest.mark.parametrize("hub", [GEVENT, EVENTLET], ids=["gevent", "eventlet"])
def test_a_refusal_is_the_same_error(emulator, run, hub):
    ended = run(
        hub
        + """
import os, iamsql
try:
    iamsql.Connector().connect(os.environ["INSTANCE"], "pg8000", db="mydb", user="somebody", enable_iam_auth=True)
except iamsql.LoginError as error:
    print(error.advice)
try:
    iamsql.Connector().connect("your-project-id:us-central1:no-such-instance", "pg8000", db="mydb")
except iamsql.NotFoundError as error:
    print(error.code)
"""
    )
    advice, code = ended.stdout.splitlines()
    assert IAM_USER in advice
    assert code == "IAMSQL_NOT_FOUND"
