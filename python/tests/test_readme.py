"""The Python snippets of the package's page run as printed."""

import pathlib
import re

import pytest

from emulator import DATABASE, IAM_USER, INSTANCE

README = pathlib.Path(__file__).resolve().parents[1] / "README.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_there_are_snippets():
    assert len(SNIPPETS) >= 3


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_runs_as_printed(run, number):
    ended = run(
        SNIPPETS[number],
        environment={"INSTANCE_CONNECTION_NAME": INSTANCE, "DB_USER": IAM_USER, "DB_NAME": DATABASE},
    )
    assert ended.stdout.strip() == IAM_USER
