"""The shape of Google's sample of a SQLAlchemy pool on pg8000."""

import os

import pg8000
import sqlalchemy
from google.cloud.sql.connector import Connector, IPTypes


def connect_with_connector() -> sqlalchemy.engine.base.Engine:
    instance_connection_name = os.environ["INSTANCE_CONNECTION_NAME"]
    db_iam_user = os.environ["DB_IAM_USER"]
    db_name = os.environ["DB_NAME"]
    ip_type = IPTypes.PRIVATE if os.environ.get("PRIVATE_IP") else IPTypes.PUBLIC

    connector = Connector(refresh_strategy="LAZY", sqladmin_api_endpoint=os.environ["SQLADMIN_ENDPOINT"])

    def getconn() -> pg8000.dbapi.Connection:
        conn: pg8000.dbapi.Connection = connector.connect(
            instance_connection_name,
            "pg8000",
            user=db_iam_user,
            db=db_name,
            enable_iam_auth=True,
            ip_type=ip_type,
        )
        return conn

    return sqlalchemy.create_engine(
        "postgresql+pg8000://",
        creator=getconn,
        pool_size=5,
        max_overflow=2,
        pool_timeout=30,
        pool_recycle=1800,
    )


pool = connect_with_connector()
with pool.connect() as db_conn:
    print(db_conn.execute(sqlalchemy.text("SELECT current_user")).scalar())
pool.dispose()
