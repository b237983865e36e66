"""Makes the floor's client certificate: a key, the settings and one signing request, as any connector would.

Prints where the instance answers. Usage: certificate.py DIRECTORY
"""

import json
import os
import sys
import urllib.request
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ADMIN = os.environ["BENCH_ADMIN_ENDPOINT"].rstrip("/")
METADATA = "http://" + os.environ["GCE_METADATA_HOST"]
SCOPES = {name: f"https://www.googleapis.com/auth/sqlservice.{name}" for name in ("admin", "login")}


def main(directory):
    project, _, name = os.environ["BENCH_INSTANCE"].rsplit(":", 2)
    instance = f"{ADMIN}/sql/v1beta4/projects/{project}/instances/{name}"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    authorization = {"Authorization": "Bearer " + token(SCOPES["admin"])}
    settings = call(f"{instance}/connectSettings", authorization)
    request = {"public_key": public_pem(key), "access_token": token(SCOPES["login"])}
    signed = call(f"{instance}:generateEphemeralCert", authorization, request)

    (directory / "client.pem").write_text(signed["ephemeralCert"]["cert"].rstrip() + "\n" + private_pem(key))
    (directory / "server-ca.pem").write_text(settings["serverCaCert"]["cert"])
    addresses = {address["type"]: address["ipAddress"] for address in settings["ipAddresses"]}
    print(json.dumps({"address": addresses["PRIMARY"]}))


def token(scope):
    url = f"{METADATA}/computeMetadata/v1/instance/service-accounts/default/token?scopes={scope}"
    return call(url, {"Metadata-Flavor": "Google"})["access_token"]


def call(url, headers, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {**headers, "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=15) as response:
        return json.load(response)


def public_pem(key):
    encoding, shape = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, shape).decode()


def private_pem(key):
    encoding, shape = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, shape, serialization.NoEncryption()).decode()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
