"""The exception classes against the engine's table of codes."""

import pickle

import pytest

import iamsql
from iamsql import _native, errors


def test_every_code_of_the_engine_has_its_class_and_no_other_code_has_one():
    codes = dict(_native.error_codes())
    assert set(errors.BY_CODE) == set(codes)
    for code, retryable in codes.items():
        assert errors.BY_CODE[code].code == code
        assert errors.BY_CODE[code].retryable == retryable


def test_every_class_is_exported_and_documented():
    for error in (*errors.BY_CODE.values(), errors.MissingDriverError, errors.Error):
        assert getattr(iamsql, error.__name__) is error
        assert error.__name__ in iamsql.__all__
        assert error.__doc__
        assert issubclass(error, iamsql.Error)


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (iamsql.NetworkError, ConnectionError),
        (iamsql.TimeoutError_, TimeoutError),
        (iamsql.ConfigError, ValueError),
        (iamsql.MissingDriverError, ImportError),
    ],
)
def test_errors_are_caught_by_pythons_own_bases(error, base):
    with pytest.raises(base, match=r"^gone$"):
        raise error("gone")


def test_an_error_of_the_engine_carries_what_the_engine_knows():
    with pytest.raises(iamsql.ConfigError) as caught:
        iamsql.Connector(ip_type="SOMEWHERE")
    error = caught.value
    assert (error.code, error.retryable) == ("IAMSQL_CONFIG", False)
    assert "SOMEWHERE" in str(error)


def test_the_advice_follows_the_message():
    error = iamsql.LoginError("p:r:i: no", advice="look again", instance="p:r:i")
    assert str(error) == "p:r:i: no (look again)"
    assert error.message == "p:r:i: no"


@pytest.mark.parametrize("error", list(errors.BY_CODE.values()), ids=lambda error: error.__name__)
def test_errors_survive_pickling(error):
    before = error("no", retryable=True, advice="look", instance="p:r:i", http_status=403, retry_at=1.5, errno=111)
    after = pickle.loads(pickle.dumps(before))
    assert type(after) is error
    assert str(after) == str(before)
    for name in ("retryable", "advice", "instance", "http_status", "retry_at", "errno"):
        assert getattr(after, name) == getattr(before, name)
