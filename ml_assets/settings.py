"""Settings: the only module that reads ours from the environment.

MLflow's own variables are read in `stores/mlflow`; `stores/processes` hands all to children.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ml_assets.errors import SettingError

Until = Literal["documents", "search", "models"]
"""Where a run ends: vectors (which pgvector's index follows), the published search, the models."""


def shipped(name: str) -> Path:
    """The path of `sql`, `dagster.yaml` or `workspace.yaml`.

    They lie beside the package in a checkout, and in it once a wheel is installed.
    """
    package = Path(__file__).resolve().parent
    installed = package / "_data" / name
    return installed if installed.exists() else package.parent / name


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without an account, as containers have
        return f"uid:{os.getuid()}"


class Settings(BaseSettings):
    """The configuration of one deployment; every field is one environment variable.

    Fields are read from `ML_ASSETS_<FIELD>`, the store URLs from their own names
    (`POSTGRES_URL`, …). An unset URL means: embedded, under `home`.
    """

    model_config = SettingsConfigDict(
        env_prefix="ML_ASSETS_",
        env_ignore_empty=True,
        frozen=True,
        populate_by_name=True,
        allow_inf_nan=False,
    )

    home: Path = Field(Path(".ml_assets"), description="folder of every embedded store")
    source: str = Field("python_docs", description="where documents come from")
    source_url: SecretStr | None = Field(
        None, description="database of the source sql or mongodb, its password included"
    )
    embedding_model: str = Field(
        "", description="model id, path, or openai:NAME; empty: the bundled MiniLM"
    )
    embedding_dimensions: int | None = Field(
        None, ge=1, le=65_535, description="first numbers of a vector to keep; empty: all"
    )
    query_prompt: str | None = Field(
        None, description="what is put before a query; empty: as the model's files say"
    )
    document_prompt: str | None = Field(
        None, description="what is put before a text; empty: as the model's files say"
    )
    embedding_url: SecretStr = Field(
        SecretStr("https://api.openai.com/v1"), description="server of a model openai:NAME"
    )
    embedding_key: SecretStr | None = Field(None, description="key of that server")
    embedding_input_types: str = Field(
        "", description="input_type that it is told of queries and texts, as in query,passage"
    )
    embedding_tokenizer: str = Field(
        "", description="tokenizer of a remote model, id or path; empty: the bundled MiniLM's"
    )
    embedding_max_tokens: int = Field(
        512, ge=16, le=1 << 20, description="tokens that a remote model reads of a text"
    )
    embedding_request_tokens: int = Field(
        8_192, ge=1, le=1 << 20, description="tokens of a request, at most"
    )
    embedding_requests: int = Field(8, ge=1, le=256, description="requests at a time")
    embedding_timeout: float = Field(60, gt=0, le=3600, description="seconds for an answer")
    embedding_price: float = Field(0, ge=0, le=1e6, description="price of a million tokens")
    embedding_max_cost: float | None = Field(
        None, gt=0, le=1e9, description="what the embedding of a run may cost, at most"
    )
    encoder: Literal["auto", "onnx", "sentence-transformers"] = Field(
        "auto", description="what runs the model; auto: what ends sooner, as measured"
    )
    embedding_precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="arithmetic for many texts; auto: bfloat16 where the processor has it"
    )
    compute: str = Field(
        "local",
        pattern=r"^(local|ray|ray://.+)$",
        description="where many texts are encoded: local, ray (a cluster of this machine), ray://…",
    )
    compute_workers: int = Field(2, ge=1, le=1024, description="workers of Ray, one encoder each")
    chunk_tokens: int = Field(220, ge=16, le=65_536, description="tokens of a chunk, at most")
    chunk_overlap: int = Field(30, ge=0, description="tokens two neighbouring chunks share")
    max_document_bytes: int = Field(
        10_000_000, ge=1, le=1 << 29, description="larger ones are quarantined"
    )
    max_removed_fraction: float = Field(
        0.5, ge=0, le=1, description="a read that loses a larger part of a collection is refused"
    )
    vector_index: Literal["pgvector", "chroma", "faiss-flat", "faiss-ivfpq"] = Field(
        "pgvector", description="the vector index that answers searches"
    )
    pgvector_index: Literal["hnsw", "ivfflat", "binary"] = Field(
        "hnsw", description="pgvector's index; binary: HNSW over signs, then the stored vectors"
    )
    pgvector_type: Literal["halfvec", "vector"] = Field(
        "halfvec", description="numbers that pgvector's hnsw and ivfflat index: 2 bytes or 4"
    )
    fusion: Literal["auto", "tmm", "minmax", "zscore", "rrf"] = Field(
        "auto", description="how rankings are fused; auto: as tuned on judged queries, else tmm"
    )
    feedback: Literal["auto", "on", "off"] = Field(
        "auto", description="ask again near the first results; auto: unless tuning found it worse"
    )
    judged_queries: Path | None = Field(
        None, description="file of judged queries beside those of the source; empty: none"
    )
    rerank_model: str = Field(
        "", description="cross-encoder, id or path, that reorders first results; empty: none"
    )
    rerank_top: int = Field(20, ge=2, le=100, description="documents the cross-encoder reads")
    hnsw_m: int = Field(16, ge=2, le=100, description="HNSW neighbours per node")
    hnsw_ef_construction: int = Field(128, ge=4, le=1000, description="HNSW build beam")
    build_memory: ByteSize = Field(
        ByteSize(1 << 30),
        ge=1 << 20,
        le=1 << 40,
        description="memory for building an HNSW index, at most",
    )
    hnsw_ef_search: int = Field(100, ge=1, le=1000, description="HNSW query beam")
    min_recall: float = Field(0.95, ge=0, le=1, description="gate: recall@10 against exact search")
    min_recall_by_index: str = Field(
        "", description="gate: other minima, such as chroma=0.9,pgvector=0.98"
    )
    ndcg_margin: float = Field(
        0.02, ge=0, le=1, description="gate: nDCG@10 a generation may lose to the published one"
    )
    keep_generations_days: float = Field(
        7, ge=0, le=36_500, description="days until the indexes of a retired generation are dropped"
    )
    retrain_after_labels: int = Field(
        100,
        ge=1,
        le=10**9,
        description="labelled documents that changed until automation trains models again",
    )
    retrain_after_days: float = Field(
        7, ge=0, le=36_500, description="days until it does when fewer changed"
    )
    promotion_margin: float = Field(
        0.0, ge=0, le=1, description="gate: macro-F1 a challenger must add to the champion's"
    )
    max_slice_loss: float = Field(
        0.05,
        ge=0,
        le=1,
        description="gate: accuracy a challenger may lose in a collection, length or label",
    )
    max_calibration_error: float = Field(
        0.1, ge=0, le=1, description="gate: expected calibration error of a challenger"
    )
    max_latency_ms: float = Field(
        250, gt=0, le=1e6, description="gate: milliseconds of 99 of 100 answers, encoder aside"
    )
    max_training_set_days: float = Field(
        90, gt=0, le=36_500, description="gate: age of a challenger's training set"
    )
    max_drift: float = Field(
        2.5,
        ge=1,
        le=1e6,
        description="gate: drift, as a multiple of what counts as one, of new documents",
    )
    promote_forgotten: bool = Field(
        False,
        description="gate: whether a challenger may have learned from a document forgotten since",
    )
    approval: bool = Field(
        False, description="whether a challenger that passed waits for `ml-assets approve`"
    )
    training_seconds: float = Field(
        120,
        gt=0,
        le=10**7,
        description="of a processor, for training on one set; what costs most is left out first",
    )
    query_cache_seconds: float = Field(
        7 * 24 * 3600,
        ge=0,
        le=10**9,
        description="for which the vector of a query is kept, of any model; 0: not",
    )
    prediction_cache_seconds: float = Field(
        3600, ge=0, le=10**9, description="for which the answer of a model is kept; 0: not"
    )
    features: str = Field(
        "",
        pattern=r"^([A-Za-z_]\w*(\.[A-Za-z_]\w*)*)?$",
        description="module or package of your own feature views, such as package.views",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="seed of splits and models")
    service_lanes: int = Field(
        4, ge=1, le=64, description="requests that a process of the service works on at a time"
    )
    service_requests: int = Field(
        64, ge=1, le=10_000, description="requests in a process, waiting or not; more are refused"
    )
    service_timeout: float = Field(
        5, gt=0, le=600, description="seconds for an answer of the service, and for a statement"
    )
    service_rate: str = Field(
        "1000/second", description="requests of a key, such as 100/second; empty: any number"
    )
    service_body: ByteSize = Field(
        ByteSize(2 << 20), ge=1024, le=1 << 30, description="bytes of a request, at most"
    )
    service_origins: str = Field(
        "", description="sites whose pages may ask the service, separated by blanks"
    )
    service_key: SecretStr | None = Field(
        None, description="the key that the Python client sends to a service"
    )
    service_log_texts: bool = Field(
        False, description="whether the log of the service has the texts that were asked"
    )
    answer_min_relevance: float = Field(
        0.12,
        ge=0,
        le=1,
        description="relevance that the best passage must have, or a question is not answered",
    )
    answer_tokens: int = Field(
        512, ge=16, le=32_768, description="tokens that a language model writes of an answer"
    )
    answer_context: int = Field(
        4096,
        ge=1024,
        le=1 << 20,
        description="tokens of a question, its passages, the rules and the answer, at most",
    )
    answer_timeout: float = Field(
        60, gt=0, le=3600, description="seconds for an answer of the language model"
    )
    answer_requests: int = Field(
        4, ge=1, le=256, description="answers that a process of the service has written at a time"
    )
    prediction_log_sync: Literal["always", "interval", "never"] = Field(
        "interval", description="when the disk is waited for: each time, each second, or not"
    )
    prediction_log_bytes: ByteSize = Field(
        ByteSize(256 << 20),
        ge=1 << 16,
        le=1 << 40,
        description="predictions, and as much feedback, that wait in the home to be loaded",
    )
    prediction_log_texts: bool = Field(
        False, description="whether the log of predictions has the texts, beside their hashes"
    )
    metrics_days: int = Field(
        400, ge=8, le=36_500, description="days for which points of metrics are kept"
    )
    alert_rules: Path | None = Field(
        None, description="file of the rules of alerts; empty: those that are shipped"
    )
    alert_webhook_url: SecretStr | None = Field(
        None, description="server that is told of alerts as JSON, by recipients `webhook`"
    )
    alert_webhook_secret: SecretStr | None = Field(
        None, description="key that signs what it is told: whsec_ and base64"
    )
    alert_slack_url: SecretStr | None = Field(
        None, description="incoming webhook of Slack, or like it, of recipients `slack`"
    )
    alert_smtp_url: SecretStr | None = Field(
        None, description="SMTP server of recipients `email:…`, its password included"
    )
    alert_sender: str = Field("ml-assets@localhost", description="from whom e-mails are")
    owners: str = Field(
        "team:ml-platform",
        description="owners of the assets in the UI: team:NAME or email addresses",
    )
    key_prefix: str = Field(
        "",
        pattern=r"^([A-Za-z0-9_]+(/[A-Za-z0-9_]+)*)?$",
        description="what the keys of all assets begin with: NAME, or NAME/NAME",
    )
    actor: str = Field(default_factory=_user, description="who, in the audit log")

    llm_url: SecretStr | None = Field(None, validation_alias="LLM_URL")
    llm_model: str = Field("", validation_alias="LLM_MODEL")
    llm_api_key: SecretStr | None = Field(None, validation_alias="LLM_API_KEY")
    postgres_url: SecretStr | None = Field(None, validation_alias="POSTGRES_URL")
    postgres_read_url: SecretStr | None = Field(None, validation_alias="POSTGRES_READ_URL")
    chroma_url: SecretStr | None = Field(None, validation_alias="CHROMA_URL")
    clickhouse_url: SecretStr | None = Field(None, validation_alias="CLICKHOUSE_URL")
    timeseries_url: SecretStr | None = Field(None, validation_alias="TIMESERIES_URL")
    metrics_store: Literal["auto", "clickhouse", "timeseries"] = Field(
        "auto",
        description="the store that has the metrics, where both of their URLs are set",
        validate_default=True,
    )
    redis_url: SecretStr | None = Field(None, validation_alias="REDIS_URL")
    memcached_url: SecretStr | None = Field(None, validation_alias="MEMCACHED_URL")
    dynamodb_url: SecretStr | None = Field(None, validation_alias="DYNAMODB_URL")
    mlflow_tracking_uri: SecretStr | None = Field(None, validation_alias="MLFLOW_TRACKING_URI")
    duckdb_path: Path | None = Field(None, validation_alias="DUCKDB_PATH")
    keyword_index_path: Path | None = Field(None, validation_alias="KEYWORD_INDEX_PATH")
    dagster_home: Path | None = Field(None, validation_alias="DAGSTER_HOME")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Without files: there are none, and looking for each field in them takes as long again."""
        return init_settings, env_settings

    @field_validator("*", mode="before")
    @classmethod
    def _is_text(cls, value: object) -> object:
        if isinstance(value, str | Path):
            try:
                str(value).encode()
            except UnicodeEncodeError:
                raise ValueError(
                    f"it is not in {sys.getfilesystemencoding()}, as the locale says"
                ) from None
        return value

    @field_validator("postgres_url", "postgres_read_url", "timeseries_url")
    @classmethod
    def _is_url(cls, url: SecretStr | None) -> SecretStr | None:
        # Words such as host=x dbname=y are a client's; a database beside ours has none of them.
        if url and not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("it is not a URL such as postgresql://user@host:5432/database")
        return url

    @field_validator(
        "chroma_url",
        "clickhouse_url",
        "redis_url",
        "memcached_url",
        "mlflow_tracking_uri",
        "alert_smtp_url",
    )
    @classmethod
    def _splits(cls, url: SecretStr | None) -> SecretStr | None:
        # What follows the / or # of a password would be taken for a path, and shown as one.
        text = url.get_secret_value() if url else ""
        user, at, _ = text.partition("://")[2].rpartition("@")
        host = urlsplit(text).netloc
        if at and "@" not in host and ":" in host and "?" not in user:
            raise ValueError("its host cannot be told: in a password write / as %2F, # as %23")
        try:
            _ = urlsplit(text).port
        except ValueError:
            raise ValueError("its port is not a number") from None
        return url

    @field_validator("metrics_store")
    @classmethod
    def _is_one(cls, store: str, info: ValidationInfo) -> str:
        urls = [name for name in ("clickhouse_url", "timeseries_url") if info.data.get(name)]
        if store == "auto" and len(urls) == 2:
            raise ValueError(
                "CLICKHOUSE_URL and TIMESERIES_URL are set: name clickhouse or timeseries"
            )
        if store == "timeseries" and "timeseries_url" not in urls:
            raise ValueError("it needs the URL of a PostgreSQL in TIMESERIES_URL")
        return store

    @field_validator("embedding_url", "llm_url", "alert_webhook_url", "alert_slack_url")
    @classmethod
    def _is_http(cls, url: SecretStr | None) -> SecretStr | None:
        parts = urlsplit(url.get_secret_value()) if url else None
        if parts and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("it is not a URL such as http://localhost:11434/v1")
        return url

    @field_validator("alert_smtp_url")
    @classmethod
    def _is_smtp(cls, url: SecretStr | None) -> SecretStr | None:
        parts = urlsplit(url.get_secret_value()) if url else None
        if parts and (parts.scheme not in ("smtp", "smtps") or not parts.hostname):
            raise ValueError("it is not a URL such as smtp://user:password@host:587")
        return url

    @field_validator("alert_webhook_secret")
    @classmethod
    def _is_key(cls, key: SecretStr | None) -> SecretStr | None:
        text = key.get_secret_value() if key else ""
        if key and not re.fullmatch(r"whsec_([A-Za-z0-9+/]{4}){8,21}[A-Za-z0-9+/=]{0,4}", text):
            raise ValueError("it is not whsec_ and 24 to 64 bytes in base64")
        return key

    @field_validator("alert_sender")
    @classmethod
    def _is_sender(cls, sender: str) -> str:
        if not re.fullmatch(r"[^@\s<>]{1,64}@[A-Za-z0-9.-]{1,255}", sender):
            raise ValueError(f"{sender!r} is not an address such as alerts@example.org")
        return sender

    @field_validator("answer_context")
    @classmethod
    def _answer_fits(cls, context: int, info: ValidationInfo) -> int:
        answer = info.data.get("answer_tokens")
        if answer and answer * 2 > context:
            raise ValueError(f"{context} is less than twice ML_ASSETS_ANSWER_TOKENS={answer}")
        return context

    @field_validator("embedding_input_types")
    @classmethod
    def _is_pair(cls, pair: str) -> str:
        words = [word.strip() for word in pair.split(",")]
        if pair.strip() and (len(words) != 2 or not all(words)):
            raise ValueError("it is not a pair of words such as query,passage")
        return ",".join(filter(None, words))

    @field_validator("embedding_max_cost")
    @classmethod
    def _has_price(cls, cost: float | None, info: ValidationInfo) -> float | None:
        if cost and not info.data.get("embedding_price"):
            raise ValueError("it needs the price of a million tokens in ML_ASSETS_EMBEDDING_PRICE")
        return cost

    @field_validator("service_rate")
    @classmethod
    def _is_rate(cls, rate: str) -> str:
        if rate and not re.fullmatch(r"\s*[1-9]\d*\s*/\s*(second|minute|hour|day)\s*", rate):
            raise ValueError(f"{rate!r} is not a number of requests, such as 100/second")
        return rate.strip()

    @field_validator(
        "home", "judged_queries", "alert_rules", "duckdb_path", "keyword_index_path", "dagster_home"
    )
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        if path and "?" in str(path):
            raise ValueError("Dagster keeps no records in a path with a ?")
        return path.expanduser().resolve() if path else None

    @field_validator("chunk_overlap")
    @classmethod
    def _overlap_fits(cls, overlap: int, info: ValidationInfo) -> int:
        tokens = info.data.get("chunk_tokens")
        if tokens and overlap * 2 > tokens:
            raise ValueError(f"{overlap} is more than half of ML_ASSETS_CHUNK_TOKENS={tokens}")
        return overlap

    @field_validator("min_recall_by_index")
    @classmethod
    def _are_minima(cls, text: str) -> str:
        for pair in filter(None, text.split(",")):
            if not re.fullmatch(r"\s*\w+\s*=\s*(0(\.\d+)?|1(\.0+)?)\s*", pair):
                raise ValueError(f"{pair!r} is not an index and its minimum, such as chroma=0.9")
        return text

    @cached_property
    def recall_minima(self) -> dict[str, float]:
        """The minima of `min_recall_by_index`, by index."""
        pairs = [pair.split("=") for pair in self.min_recall_by_index.split(",") if pair]
        return {index.strip(): float(minimum) for index, minimum in pairs}

    @cached_property
    def reading_url(self) -> SecretStr | None:
        """The PostgreSQL of what only reads: a replica, or that of the runs."""
        return self.postgres_read_url or self.postgres_url

    @field_validator("dynamodb_url")
    @classmethod
    def _is_table(cls, url: SecretStr | None) -> SecretStr | None:
        if url and not re.match(r"dynamodb://[^/?]+/[\w.-]{3,255}(\?|$)", url.get_secret_value()):
            raise ValueError("it is not a URL such as dynamodb://eu-west-1/ml_assets")
        return url

    @property
    def metrics_kind(self) -> Literal["clickhouse", "timeseries"]:
        """The one store that metrics are written to and read from."""
        if self.metrics_store == "auto":
            return "timeseries" if self.timeseries_url else "clickhouse"
        return self.metrics_store

    @property
    def metrics_url(self) -> SecretStr | None:
        """Its server; None: the embedded one in the home."""
        return self.timeseries_url if self.metrics_kind == "timeseries" else self.clickhouse_url

    @property
    def online_url(self) -> SecretStr | None:
        """Where online features are: DynamoDB, or Redis; None: a file in the home."""
        return self.dynamodb_url or self.redis_url

    @property
    def cache_url(self) -> SecretStr | None:
        """Where caches are: Memcached, or Redis; None: a file in the home."""
        return self.memcached_url or self.redis_url

    @cached_property
    def duckdb_file(self) -> Path:
        """The DuckDB file: offline features, training sets, analytics."""
        return self.duckdb_path or self.home / "offline.duckdb"

    @cached_property
    def keyword_folder(self) -> Path:
        """The folder of the keyword indexes, one subfolder per generation."""
        return self.keyword_index_path or self.home / "keyword"

    @cached_property
    def faiss_folder(self) -> Path:
        """The folder of the FAISS indexes, one subfolder per generation."""
        return self.home / "faiss"

    @cached_property
    def dagster_folder(self) -> Path:
        """DAGSTER_HOME: runs, events and schedules, shared by the command line and the UI."""
        return self.dagster_home or self.home / "dagster"


def secret(url: SecretStr | None) -> str | None:
    """Reveal a URL, at the moment it is used to connect."""
    return url.get_secret_value() if url else None


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingError: a value cannot be used; the line names the variable.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        raise SettingError(
            _complaint(first["type"], first["input"], first.get("ctx", {})),
            where=name if name.isupper() else f"ML_ASSETS_{name.upper()}",
            do="Correct it, or unset it for the default",
        ) from None


_KINDS = {
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "byte_size": "a size such as 512MiB",
}


def _complaint(kind: str, value: object, context: Mapping[str, object]) -> str:
    """Say in plain words why pydantic refused `value`."""
    match kind:
        case "value_error":
            return str(context["error"])
        case "greater_than_equal":
            return f"{value} is less than {context['ge']}"
        case "greater_than":
            return f"{value} is not more than {context['gt']}"
        case "less_than_equal":
            return f"{value} is more than {context['le']}"
    expected = context.get("expected") or _KINDS.get(kind, "a value that it can have")
    return f"{value!r} is not {expected}"
