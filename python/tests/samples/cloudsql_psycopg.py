"""The shape of Google's sample of psycopg."""

import os

from google.cloud.sql.connector import Connector, RefreshStrategy

with (
    Connector(
        ip_type="public",
        enable_iam_auth=True,
        timeout=30,
        refresh_strategy=RefreshStrategy.BACKGROUND,
        sqladmin_api_endpoint=os.environ["SQLADMIN_ENDPOINT"],
    ) as connector,
    connector.connect(
        os.environ["INSTANCE_CONNECTION_NAME"], "psycopg", user=os.environ["DB_IAM_USER"], db=os.environ["DB_NAME"]
    ) as conn,
):
    print(conn.execute("SELECT current_user").fetchone()[0])
