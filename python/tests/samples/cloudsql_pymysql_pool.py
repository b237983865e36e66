"""The shape of Google's sample of a SQLAlchemy pool on PyMySQL."""

import os

import pymysql
import sqlalchemy
from google.cloud.sql.connector import Connector, IPTypes

connector = Connector(ip_type=IPTypes.PUBLIC, sqladmin_api_endpoint=os.environ["SQLADMIN_ENDPOINT"])


def getconn() -> pymysql.connections.Connection:
    return connector.connect(
        os.environ["MYSQL_CONNECTION_NAME"],
        "pymysql",
        user=os.environ["DB_IAM_USER"],
        db=os.environ["DB_NAME"],
        enable_iam_auth=True,
    )


pool = sqlalchemy.create_engine("mysql+pymysql://", creator=getconn)
with pool.connect() as db_conn:
    print(db_conn.execute(sqlalchemy.text("SELECT CURRENT_USER()")).scalar().split("@")[0])
pool.dispose()
connector.close()
