"""Django's PostgreSQL backend, resolved and logged in anew with every connection."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base, client
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from ...drivers import inherited, libpq
from ...errors import Error
from ...login import Login
from .. import settings


class DatabaseClient(client.DatabaseClient):
    """`manage.py dbshell`: psql, over a socket that it may use although it is another process."""

    @classmethod
    def settings_to_cmd_args_env(cls, settings_dict: dict[str, Any], parameters: list[str]) -> Any:
        listener, user = settings.inheritable(settings_dict, "POSTGRES")
        return super().settings_to_cmd_args_env(
            {
                **settings_dict,
                "HOST": listener.directory,
                "PORT": "5432",
                "USER": user,
                "OPTIONS": {"sslmode": "disable"},
            },
            parameters,
        )


class DatabaseWrapper(base.DatabaseWrapper):
    """Connects where `HOST` says, an instance, as whoever this process is unless `USER` says otherwise."""

    client_class = DatabaseClient

    def get_connection_params(self) -> dict[str, Any]:
        parameters: dict[str, Any] = super().get_connection_params()
        parameters.pop("connector", None)
        try:
            login = settings.login(self.settings_dict, "psycopg" if is_psycopg3 else "psycopg2")
            listener, user = login.park()
        except Error as error:
            # What Django's own callers catch; ours is its cause.
            raise self.Database.OperationalError(str(error)) from error
        self._login: Login = login
        parameters.update(libpq.parameters(login, listener, user))
        return parameters

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        try:
            connection = super().get_new_connection(conn_params)
        except self.Database.OperationalError as error:
            text = libpq.refusal(error)
            ours = libpq.reason(error, self._login) or (text and self._login.refused(text, conn_params["user"]))
            if not ours:
                raise
            raise self.Database.OperationalError(str(ours)) from ours
        inherited.keep_from_children(connection)
        return connection
