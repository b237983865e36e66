"""Django on our backend, and on its own with nothing but settings."""

import pytest

from emulator import DATABASE, IAM_USER

SETUP = """
import os, django
from django.conf import settings
import iamsql

def configure(**database):
    entry = {"NAME": os.environ["DATABASE"], **database}
    settings.configure(
        DATABASES={"default": entry},
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    )
    django.setup()

OURS = {"ENGINE": "iamsql.django.postgresql", "HOST": os.environ["INSTANCE"]}

def who():
    from django.db import connection
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, current_database()")
        print(*cursor.fetchone())
"""


def test_our_backend_needs_the_instance_alone(run):
    ended = run(SETUP + "configure(**OURS)\nwho()")
    assert ended.stdout.split() == [IAM_USER, DATABASE]


def test_django_itself_works_over_a_socket_in_its_settings(run):
    ended = run(
        SETUP
        + """
connector = iamsql.Connector()
listener = connector.listen(os.environ["INSTANCE"])
configure(ENGINE="django.db.backends.postgresql", HOST=listener.directory, USER=connector.user(os.environ["INSTANCE"]))
who()
"""
    )
    assert ended.stdout.split() == [IAM_USER, DATABASE]


def test_a_built_in_user_logs_in_with_its_password(run, password_user):
    name, password = password_user
    ended = run(
        SETUP + "configure(**OURS, USER=os.environ['THEIR_NAME'], PASSWORD=os.environ['THEIR_PASSWORD'])\nwho()",
        environment={"THEIR_NAME": name, "THEIR_PASSWORD": password},
    )
    assert ended.stdout.split() == [name, DATABASE]


def test_models_transactions_and_migrations(emulator, run):
    instance = emulator.instance("postgres")
    ended = run(
        SETUP
        + """
configure(**OURS)
from django.core.management import call_command
from django.db import connection, transaction
call_command("migrate", verbosity=0)
from django.contrib.auth.models import Group
Group.objects.bulk_create(Group(name=f"group {n}") for n in range(50))
try:
    with transaction.atomic():
        Group.objects.create(name="never")
        raise LookupError
except LookupError:
    pass
print(Group.objects.count(), Group.objects.filter(name__endswith="9").count())
connection.close()
print(Group.objects.count())
call_command("migrate", "auth", "zero", verbosity=0)
call_command("migrate", "contenttypes", "zero", verbosity=0)
""",
        environment={"INSTANCE": instance},
    )
    assert ended.stdout.split() == ["50", "5", "50"]


def test_what_is_wrong_is_djangos_error_with_ours_as_its_cause(run):
    ended = run(
        SETUP
        + """
from django.db import OperationalError
configure(**{**OURS, "HOST": "your-project-id:us-central1:no-such-instance"})
try:
    who()
except OperationalError as error:
    print(type(error.__cause__.__cause__).__name__)
"""
    )
    assert ended.stdout.split() == ["NotFoundError"]


def test_a_refused_login_says_which_user_would_work(run):
    ended = run(
        SETUP
        + """
from django.db import OperationalError
from iamsql import Connector
configure(**{**OURS, "USER": "somebody@example.com", "OPTIONS": {"connector": Connector(enable_iam_auth=True)}})
try:
    who()
except OperationalError as error:
    print(error)
"""
    )
    assert IAM_USER in ended.stdout
    assert "leave user out" in ended.stdout


@pytest.mark.parametrize("options", ["", "connector={'ip_type': 'PRIVATE'}"])
def test_the_shell_of_another_process_gets_in_too(run, options):
    ended = run(
        SETUP
        + f"""
configure(**OURS, OPTIONS=dict({options}))
import subprocess, sys
from django.db import connection
arguments, environment = connection.client.settings_to_cmd_args_env(connection.settings_dict, [])
import psycopg
host = arguments[arguments.index("-h") + 1]
user = arguments[arguments.index("-U") + 1]
code = "import psycopg, sys; print(psycopg.connect(host=sys.argv[1], user=sys.argv[2], dbname=sys.argv[3])" \\
    ".execute('SELECT current_user').fetchone()[0])"
print(subprocess.run([sys.executable, "-c", code, host, user, arguments[-1]], env={{**os.environ, **environment}},
                     capture_output=True, text=True, check=True).stdout)
"""
    )
    assert ended.stdout.split() == [IAM_USER]
