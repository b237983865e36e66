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


class Alike:
    """Credentials that show nothing of whose they are."""

    def __init__(self, email):
        self.email = email

    def token(self, scope):
        return "ya29.a-token", None, self.email

    def principal(self):
        return self.email

    def __repr__(self):
        return "<Alike>"


@pytest.fixture
def entry(monkeypatch):
    """The connector of an entry whose `OPTIONS["connector"]` are these."""
    settings = pytest.importorskip("iamsql.django.settings")
    monkeypatch.setattr(settings, "_connectors", {})
    monkeypatch.delenv("IAMSQL_EMULATOR_HOST", raising=False)

    def connector(**options):
        return settings._connector({"OPTIONS": {"connector": options}})

    connector.known = lambda: settings._connectors
    return connector


def test_two_identities_never_share_a_connector(entry):
    first, second = Alike("first@example.com"), Alike("second@example.com")
    assert entry(credentials=first) is entry(credentials=first)
    assert entry(credentials=first) is not entry(credentials=second)
    assert entry(token="one") is not entry(token="two")


def test_an_identity_outlives_its_settings(entry):
    connectors = {id(entry(credentials=Alike(f"{n}@example.com"))) for n in range(20)}
    assert len(connectors) == 20


def test_equal_options_share_a_connector(entry):
    assert entry(token="one") is entry(token="one")
    here, there = {"domain_projects": ["a-project"]}, {"domain_projects": ["another-project"]}
    assert entry(token="one", timeout=5, **here) is entry(**here, timeout=5, token="one")
    assert entry(token="one", **here) is not entry(token="one", **there)


def test_no_secret_stands_in_what_is_remembered(entry):
    entry(token="ya29.not-to-be-seen", login_token="ya29.nor-this")
    remembered = repr(entry.known())
    assert "not-to-be-seen" not in remembered
    assert "nor-this" not in remembered
