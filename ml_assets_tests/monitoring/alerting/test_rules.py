"""The file of the rules: what is shipped, what a person writes, and each thing that is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ml_assets.errors import SettingError
from ml_assets.monitoring.alerting.evaluation import rules_of
from ml_assets.monitoring.alerting.model import Rule
from ml_assets.monitoring.alerting.rules import MOST_BYTES, duration
from ml_assets.settings import load_settings

GOOD = """[rules.slow]
metric = "p95_ms"
condition = "> 500"
over = "5m"
for = "15m"
severity = "critical"
who = ["log", "file", "log"]
"""
SERVERS = {
    "alert_webhook_url": "https://example.org/hook",
    "alert_webhook_secret": "whsec_" + "QUJD" * 8,
    "alert_slack_url": "https://hooks.slack.com/services/T/B/x",
    "alert_smtp_url": "smtp://localhost:25",
}


def read(tmp_path: Path, text: str | bytes, **settings: object) -> list[Rule]:
    file = tmp_path / "rules.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return rules_of(load_settings(home=tmp_path, alert_rules=file, **settings))


def test_the_shipped_rules_are_for_a_deployment_without_settings(tmp_path: Path) -> None:
    rules = rules_of(load_settings(home=tmp_path))
    assert {rule.who for rule in rules} == {("log", "file")}
    assert [rule.name for rule in rules if rule.severity == "critical"] == ["model_lost_accuracy"]
    assert len({rule.metric for rule in rules}) == len(rules)


def test_a_rule_is_read(tmp_path: Path) -> None:
    (rule,) = read(tmp_path, GOOD)
    assert rule == Rule(
        name="slow",
        metric="p95_ms",
        operator=">",
        limit=500.0,
        over=timedelta(minutes=5),
        lasting=timedelta(minutes=15),
        severity="critical",
        who=("log", "file"),
    )
    least = "".join(line for line in GOOD.splitlines(True) if line[:3] not in ("for", "ove"))
    (short,) = read(tmp_path, least)
    assert (short.over, short.lasting) == (timedelta(hours=1), timedelta())
    series = "p99.5 of training_loss by family, run"
    (of_series,) = read(tmp_path, GOOD.replace("p95_ms", series))
    assert of_series == replace(rule, metric=series)
    assert read(tmp_path, "") == []


def test_every_channel_can_be_named(tmp_path: Path) -> None:
    who = '["webhook", "slack", "email:ann@example.org", "file:/tmp/alerts.jsonl"]'
    (rule,) = read(tmp_path, GOOD.replace('["log", "file", "log"]', who), **SERVERS)
    assert len(rule.who) == 4


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('metric = "p95_ms"', "", "rule 'slow', metric: it is missing. Add a line metric = …"),
        ('"p95_ms"', '"p96"', "rule 'slow', metric: 'p96' is not measured. Use one of accuracy,"),
        ('"p95_ms"', "3", "rule 'slow', metric: 3 is not measured"),
        ('"p95_ms"', '"p95 of"', "metric: 'p95 of' is not measured. Use one of accuracy,"),
        ('"p95_ms"', '"p100 of x"', "or a series, such as 'p95 of service_latency_ms by route'"),
        ('"p95_ms"', '"max of x by"', "metric: 'max of x by' is not measured"),
        ('"> 500"', '"500"', "rule 'slow', condition: '500' is not a comparison. Write one of >"),
        ('"> 500"', '"> nan"', "rule 'slow', condition: '> nan' is not a comparison"),
        ('"> 500"', '"> 1e999"', "rule 'slow', condition: '> 1e999' is not a comparison"),
        ('"> 500"', "500", "rule 'slow', condition: 500 is not a comparison"),
        ('"> 500"', '"== 5"', "rule 'slow', condition: '== 5' is not a comparison"),
        ('"15m"', '"15"', "rule 'slow', for: '15' is not a duration. Write a number and s, m, h"),
        ('"15m"', '"91d"', "rule 'slow', for: '91d' is not a duration"),
        ('"15m"', '"-1m"', "rule 'slow', for: '-1m' is not a duration"),
        ('"15m"', "15", "rule 'slow', for: 15 is not a duration"),
        ('"5m"', '"59s"', "rule 'slow', over: it is less than a minute"),
        ('"5m"', '"x"', "rule 'slow', over: 'x' is not a duration"),
        ('"p95_ms"', '"drift"', "rule 'slow', over: a value of drift has a span of its own"),
        ('"critical"', '"page"', "rule 'slow', severity: 'page' is none. Use one of info, warning"),
        ('"critical"', "[]", "rule 'slow', severity: [] is none"),
        ('["log", "file", "log"]', '"log"', "rule 'slow', who: it is not a list of recipients"),
        ('["log", "file", "log"]', "[]", "rule 'slow', who: it is not a list of recipients"),
        ('["log", "file", "log"]', "[1]", "rule 'slow', who: 1 is no recipient. Use one of log"),
        ('"file", "log"', '"pager"', "rule 'slow', who: 'pager' is no recipient"),
        ('"file", "log"', '"log:x"', "rule 'slow', who: log takes no address"),
        ('"file", "log"', '"file:x"', "rule 'slow', who: 'x' is not a whole path"),
        (
            '"file", "log"',
            '"webhook"',
            "who: webhook has no server. Set ML_ASSETS_ALERT_WEBHOOK_URL",
        ),
        ('"file", "log"', '"slack"', "who: slack has no server. Set ML_ASSETS_ALERT_SLACK_URL"),
        ('"file", "log"', '"email:a@b.c"', "email has no server. Set ML_ASSETS_ALERT_SMTP_URL"),
        ('"file", "log"', '"email:ann"', "who: 'ann' is not an address"),
        ('"file", "log"', '"email:a@b.c\\\\nBcc: d@e.f"', "is not an address"),
        ("for =", "fro =", "rule 'slow', 'fro': it is not known. Use metric, condition, over"),
        ("[rules.slow]", "[rule.slow]", "'rule' is not known here. Begin each rule with"),
        ("[rules.slow]", '[rules."a b"]', "rule 'a b': its name is not one"),
        (GOOD, "[rules]\nslow = 3", "rule 'slow': it is not a table"),
        (GOOD, "rules = 3", "`rules` is not a table of rules"),
        (GOOD, "[[rules]]\nmetric = 1", "`rules` is not a table of rules"),
        ("[rules.slow]", "[rules.slow", "rules.toml: "),
        (GOOD, "a = " + "[" * 5_000, "rules.toml: "),
        (GOOD, "#" * (MOST_BYTES + 1), "it is larger than 262,144 bytes. Write fewer rules"),
        (GOOD, "".join(f"[rules.r{n}]\n" for n in range(201)), "`rules` is not a table of rules"),
    ],
)
def test_what_cannot_be_used_is_one_line_with_rule_and_key(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    with pytest.raises(SettingError) as refused:
        read(tmp_path, GOOD.replace(old, new))
    line = str(refused.value)
    assert told in line
    assert line.startswith(f"{tmp_path / 'rules.toml'}")
    assert "\n" not in line


def test_what_is_no_text_or_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"rules\.toml: 'utf-8' codec can't decode"):
        read(tmp_path, b"\xff\xfe")
    with pytest.raises(SettingError, match="No such file"):
        rules_of(load_settings(home=tmp_path, alert_rules=tmp_path / "none"))
    with pytest.raises(SettingError, match="Is a directory"):
        rules_of(load_settings(home=tmp_path, alert_rules=tmp_path))


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("30s", 30), ("2h", 7200), ("90 d", 7_776_000)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration(text, "--for") == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("alert_webhook_url", "ftp://h", "ML_ASSETS_ALERT_WEBHOOK_URL: it is not a URL such as"),
        ("alert_webhook_secret", "hunter2", "ML_ASSETS_ALERT_WEBHOOK_SECRET: it is not whsec_"),
        ("alert_smtp_url", "http://h", "ML_ASSETS_ALERT_SMTP_URL: it is not a URL such as smtp"),
        ("alert_sender", "ann", "ML_ASSETS_ALERT_SENDER: 'ann' is not an address"),
    ],
)
def test_settings_that_cannot_be_used_are_named_and_secrets_not_shown(
    name: str, value: str, told: str
) -> None:
    with pytest.raises(SettingError) as refused:
        load_settings(**{name: value})
    assert told in str(refused.value)
    assert "hunter2" not in str(refused.value)
