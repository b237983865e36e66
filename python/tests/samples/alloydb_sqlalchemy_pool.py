"""The shape of Google's sample of a SQLAlchemy pool on AlloyDB."""

import os

import sqlalchemy
from google.cloud.alloydbconnector import Connector, IPTypes


def create_sqlalchemy_engine(inst_uri: str, user: str, db: str) -> tuple:
    connector = Connector(alloydb_api_endpoint=os.environ["ALLOYDB_ENDPOINT"])

    def getconn():
        return connector.connect(inst_uri, "pg8000", user=user, db=db, enable_iam_auth=True, ip_type=IPTypes.PRIVATE)

    return sqlalchemy.create_engine("postgresql+pg8000://", creator=getconn), connector


engine, connector = create_sqlalchemy_engine(
    os.environ["ALLOYDB_INSTANCE"], os.environ["DB_IAM_USER"], os.environ["DB_NAME"]
)
with engine.connect() as conn:
    print(conn.execute(sqlalchemy.text("SELECT current_user")).scalar())
engine.dispose()
connector.close()
