"""Planted credentials are found, look-alikes are not, and neither is ever printed.

Every credential is made up here, of random characters in the provider's shape.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import uuid
from typing import TYPE_CHECKING, Any

from tests.metadata import Metadata
from xcomctl.audit.secrets import find
from xcomctl.formats import AUDIT_FORMATS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


def made(seed: int, length: int, alphabet: str = ALNUM) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=length))


def planted(seed: int) -> dict[str, Any]:
    """Return values with a credential, by the kind of it."""
    one = {
        "aws": "AKIA" + made(seed, 16, string.ascii_uppercase + "234567"),
        "github": "ghp_" + made(seed, 36),
        "github pat": "github_pat_" + made(seed, 82),
        "gitlab": "glpat-" + made(seed, 20),
        "slack": f"xoxb-{made(seed, 12, string.digits)}-{made(seed, 24)}",
        "webhook": f"https://hooks.slack.com/services/T{made(seed, 8)}/B{made(seed, 8)}/{made(seed, 24)}",
        "google": "AIza" + made(seed, 35),
        "stripe": "sk_live_" + made(seed, 24),
        "openai": f"sk-proj-{made(seed, 40)}T3BlbkFJ{made(seed + 1, 40)}",
        "anthropic": f"sk-ant-api03-{made(seed, 90)}",
        "sendgrid": f"SG.{made(seed, 22)}.{made(seed, 43)}",
        "npm": "npm_" + made(seed, 36),
        "databricks": "dapi" + made(seed, 32, HEX),
        "vault": "hvs." + made(seed, 24),
        "hugging face": "hf_" + made(seed, 34),
        "azure": f"AccountName=x;AccountKey={made(seed, 86)}==;EndpointSuffix=core.windows.net",
        "jwt": f"eyJ{made(seed, 30)}.eyJ{made(seed, 60)}.{made(seed, 43)}",
        "key": f"-----BEGIN RSA PRIVATE KEY-----\n{made(seed, 64)}\n-----END RSA PRIVATE KEY-----",
        "openssh": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{made(seed, 64)}",
        "url": f"postgresql://user:{made(seed, 12)}@db.internal:5432/x",
    }
    values: dict[str, Any] = {name: {"conf": ["a", text]} for name, text in one.items()}
    values["field"] = {"host": "h", "password": made(seed, 12)}
    values["api_key field"] = {"api_key": made(seed, 32)}
    values["secret field"] = [{"client_secret": made(seed, 40)}]
    values["aws secret field"] = {"aws_secret_access_key": made(seed, 40)}
    values["token field"] = {"token": made(seed, 40)}
    values["camel"] = {"accessToken": made(seed, 40)}
    values["encoded twice"] = json.dumps({"password": made(seed, 14)})
    return values


def fernet(seed: int) -> str:
    """Return a token as https://github.com/fernet/spec describes it, with random contents."""
    rng = random.Random(seed)
    data = b"\x80" + (1_767_322_800 + seed).to_bytes(8) + rng.randbytes(16 + 64 + 32)
    return base64.urlsafe_b64encode(data).decode()


def test_what_airflow_encrypts_is_not_reported() -> None:
    """Options of a serialized Delta or Iceberg table are ciphertext; elsewhere a Fernet token is a credential."""
    options = {"AWS_SECRET_ACCESS_KEY": fernet(1), "token": fernet(2)}
    tables: list[Any] = [
        {"__classname__": "deltalake.table.DeltaTable", "__version__": 1, "__data__": {"table_uri": "s3://b/t", "version": 0, "storage_options": options}},
        {"__classname__": "pyiceberg.table.Table", "__version__": 1, "__data__": {"identifier": ["c", "d", "t"], "catalog_properties": options}},
    ]  # fmt: skip
    for table in (*tables, tables, {"nested": tables}, json.dumps(tables)):
        assert find(json.dumps(table).encode(), "return_value") is None
        assert find(json.dumps(table), "return_value") is None
    for table in tables:
        plain = json.loads(json.dumps(table).replace(options["token"], made(3, 40)))
        assert find(json.dumps(plain).encode(), None) == 'a credential in a field "token"'
        beside = {"table": table, "client_secret": fernet(4)}
        assert find(json.dumps(beside).encode(), None) == 'a credential in a field "client_secret"'
    assert find(json.dumps(options).encode(), None) is not None


def look_alikes(seed: int) -> list[Any]:
    """Return values without a credential."""
    rng = random.Random(seed)
    digest = hashlib.sha256(str(seed).encode()).hexdigest()
    return [
        digest,
        {"sha256": digest, "md5": digest[:32], "etag": f'"{digest[:32]}"'},
        {"id": str(uuid.UUID(int=rng.getrandbits(128))), "token_id": str(uuid.UUID(int=seed))},
        base64.b64encode(rng.randbytes(300)).decode(),
        {"png": base64.b64encode(rng.randbytes(1000)).decode()},
        f"s3://bucket/{made(seed, 20)}/part-{made(seed, 40)}.parquet",
        {"path": f"/data/secret-project/{made(seed, 12)}/token.csv"},
        {"next_page_token": made(seed, 60), "continuation_token": made(seed, 40)},
        {"password": "********", "token": "<your token here>", "secret": "${VAULT_SECRET}"},
        {"password": "changeme", "api_key": "YOUR_API_KEY", "secret": "{{ var.value.x }}"},
        "AKIAIOSFODNN7EXAMPLE",
        {"aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
        "ghp_" + "x" * 36,
        {"token_count": 4096, "max_tokens": 1024, "tokens": ["the", "quick"]},
        {"secret_name": "prod/db/main", "secret_arn": "arn:aws:secretsmanager:eu:1:secret:db"},
        {"password_hash": digest, "password_expired": "2026-01-01T00:00:00Z"},
        "postgresql://user@db.internal:5432/x",
        "postgresql://user:***@db.internal/x",
        {"url": "https://example.com:8443/a:b@c", "mail": "someone@example.com:25"},
        "-----BEGIN CERTIFICATE-----\nMIIB" + made(seed, 60),
        "-----BEGIN PUBLIC KEY-----\nMIIB" + made(seed, 60),
        "the password must not be longer than the secret token allows",
        [rng.random() for _ in range(50)],
        {"columns": ["password", "token"], "rows": 3},
        {"access_key_id": "", "secret": None, "token": 123456},
        f"eyJ{made(seed, 30)}",
        "sk-learn-model-" + made(seed, 24),
        f"run_{made(seed, 30)}-{made(seed, 30)}",
    ]


def test_planted_ones_are_found_and_look_alikes_are_not() -> None:
    """Precision and recall over 50 sets of generated values are at least 99%."""
    hits = misses = false = 0
    missed: list[str] = []
    alarmed: list[str] = []
    for seed in range(50):
        for name, value in planted(seed).items():
            if find(json.dumps(value).encode(), "return_value"):
                hits += 1
            else:
                misses += 1
                missed.append(f"{name}: {value}")
        for value in look_alikes(seed):
            text = json.dumps(value)
            if kind := find(text.encode(), "return_value"):
                false += 1
                alarmed.append(f"{kind}: {text[:200]}")
    print(f"recall {hits / (hits + misses):.4f}, precision {hits / (hits + false):.4f}")
    assert hits / (hits + misses) >= 0.99, missed[:5]
    assert hits / (hits + false) >= 0.99, alarmed[:5]


def test_the_key_of_the_xcom_counts() -> None:
    """A string under `db_password` is a credential; under `return_value` it is not."""
    text = json.dumps(made(1, 20)).encode()
    assert find(text, "db_password")
    assert find(text, "api_key")
    assert not find(text, "return_value")
    assert not find(b'"s3://bucket/x"', "secret")
    assert not find(b"[1, 2]", "token")


def test_no_format_prints_the_credential(run: Run, tmp_path: Path) -> None:
    """Its place and kind are reported; the credential is in no report, baseline or log."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    values = planted(7)
    for number, value in enumerate(values.values()):
        metadata.add(json.dumps(value).encode(), task_id=f"task_{number}")
    secrets = {made(7, length)[:12] for length in (12, 24, 36)} | {made(7, 16, HEX)[:12]}
    baseline = tmp_path / "baseline.json"
    for form in AUDIT_FORMATS:
        done = run("audit", "--deep", "-v", "--url", path, "-o", form, "--fail-on", "warning",
                   "--baseline", baseline, "--update-baseline")  # fmt: skip
        assert done.code == 0, done.err
        told = done.out + done.err + baseline.read_text()
        assert not any(secret in told for secret in secrets)
    done = run("audit", "--deep", "--url", path, "-o", "json", "--fail-on", "warning")
    assert done.code == 1
    rules = [one["rule"] for one in json.loads(done.stdout)["findings"]]
    assert rules.count("xcom-secret") == len(values)
    assert not any(secret in done.out + done.err for secret in secrets)


def test_without_deep_the_rule_is_listed_as_skipped(run: Run, tmp_path: Path) -> None:
    """Otherwise its silence would be mistaken for a result."""
    path = tmp_path / "airflow.db"
    Metadata(str(path)).add(json.dumps(planted(1)["aws"]).encode())
    done = run("audit", "--url", path)
    assert "xcom-secret" in done.out
    assert done.code == 0
