"""What a tokenizer tells of the scripts that a model knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from ml_assets.embeddings.scripts import is_readable, unknown_scripts
from ml_assets.embeddings.space import current_model
from ml_assets.settings import Settings, load_settings
from ml_assets_tests.embeddings.serving import embedding_server

THAI = "เครื่องพิมพ์ไม่ทำงาน กรุณาตรวจสอบสายไฟ ประชุมพรุ่งนี้"
CHINESE = "数据库的连接超时请检查防火墙设置今天晚上我们去公园散步"


def test_the_bundled_model_knows_letters_of_others_but_no_words(settings: Settings) -> None:
    unknown = unknown_scripts(current_model(settings).tokenizer_file)
    assert {"Chinese", "Japanese", "Korean", "Thai", "Cyrillic", "Hebrew"} <= {*unknown}


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("plain words", True),
        ("Grüße, mañana, đường phố", True),
        ("3.14 !?", True),
        ("— … 「」", True),
        ("数据库", False),
        ("数据库 3.14!", False),
        ("パスワード", False),
        ("비밀번호", False),
        ("ฐานข้อมูล", False),
        ("база данных", False),
        ("قاعدة بيانات", False),
        ("数据库 of python", True),
        ("数据库连接 SQL", False),
        ("of βeta", True),
    ],
)
def test_what_is_half_in_scripts_of_others_is_not_readable(
    settings: Settings, text: str, known: bool
) -> None:
    assert is_readable(text, settings) == known


def test_a_remote_model_may_know_any_script(settings: Settings) -> None:
    with embedding_server() as server:
        remote = load_settings(
            home=settings.home, embedding_model="openai:m", embedding_url=server.url
        )
        assert is_readable("数据库", remote)


def test_a_model_of_the_script_knows_it(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=2_000, special_tokens=["[UNK]"], show_progress=False, min_frequency=1
    )
    tokenizer.train_from_iterator([THAI, CHINESE] * 3, trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    unknown = unknown_scripts(tmp_path / "tokenizer.json")
    assert not {"Chinese", "Thai"} & {*unknown}
    assert {"Korean", "Cyrillic"} <= {*unknown}


def test_one_that_spells_bytes_knows_none(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["plain words"], trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert "Thai" in unknown_scripts(tmp_path / "tokenizer.json")
    assert "Chinese" in unknown_scripts(tmp_path / "tokenizer.json")
