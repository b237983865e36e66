"""The committed types against the built module."""

import pathlib
import subprocess
import sys

import iamsql


def test_the_stub_describes_the_built_module():
    checked = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "iamsql._native"],
        cwd=pathlib.Path(iamsql.__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_package_says_that_it_is_typed():
    assert (pathlib.Path(iamsql.__file__).parent / "py.typed").exists()
