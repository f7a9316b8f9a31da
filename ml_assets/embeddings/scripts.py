"""Scripts that a model does not know, as its tokenizer tells, and the documents written in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from psycopg.rows import class_row

from ml_assets.documents.chunking import Chunker
from ml_assets.embeddings.space import VectorSpace, current_model, load_tokenizer
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_IDEOGRAPHS = "Chinese"

_SCRIPTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        _IDEOGRAPHS: (
            "\u3400-\u4dbf\u4e00-\u9fff",
            "数据库的连接超时请检查防火墙设置今天晚上我们去公园散步",
        ),
        "Japanese": (
            "\u3041-\u30ff",
            "データベースのさくいんはけんさくをはやくするパスワードをわすれた",
        ),
        "Korean": (
            "\u1100-\u11ff\uac00-\ud7af",
            "데이터베이스 색인은 검색을 빠르게 한다 비밀번호를 잊었습니다",
        ),
        "Thai": ("\u0e00-\u0e7f", "เครื่องพิมพ์ไม่ทำงาน กรุณาตรวจสอบสายไฟ ประชุมพรุ่งนี้"),
        "Lao": ("\u0e80-\u0eff", "ຖານຂໍ້ມູນ ການຄົ້ນຫາ ປະຊຸມມື້ອື່ນ"),
        "Burmese": ("\u1000-\u109f", "ဒေတာဘေ့စ် ရှာဖွေမှု မနက်ဖြန် အစည်းအဝေး"),
        "Khmer": ("\u1780-\u17ff", "មូលដ្ឋានទិន្នន័យ ការស្វែងរក ប្រជុំថ្ងៃស្អែក"),
        "Cyrillic": (
            "\u0400-\u052f",
            "Поиск по базе данных использует индекс Завтра будет собрание",
        ),
        "Greek": ("\u0370-\u03ff", "η αναζήτηση στη βάση δεδομένων χρησιμοποιεί ευρετήριο"),
        "Arabic": (
            "\u0600-\u06ff\u0750-\u077f",
            "البحث في قاعدة البيانات يستخدم الفهرس الاجتماع غدا",
        ),
        "Hebrew": ("\u0590-\u05ff", "החיפוש במסד הנתונים משתמש באינדקס הפגישה מחר"),
        "Devanagari": ("\u0900-\u097f", "डेटाबेस में खोज सूचकांक का उपयोग करती है बैठक कल है"),
        "Bengali": ("\u0980-\u09ff", "ডাটাবেসে অনুসন্ধান সূচক ব্যবহার করে সভা আগামীকাল"),
        "Tamil": ("\u0b80-\u0bff", "தரவுத்தளத்தில் தேடல் குறியீட்டைப் பயன்படுத்துகிறது"),
        "Telugu": ("\u0c00-\u0c7f", "డేటాబేస్ లో శోధన సూచికను ఉపయోగిస్తుంది సమావేశం రేపు"),
        "Georgian": ("\u10a0-\u10ff", "ძიება მონაცემთა ბაზაში იყენებს ინდექსს შეხვედრა ხვალ"),
        "Armenian": ("\u0530-\u058f", "Տվյալների բազայում որոնումը օգտագործում է ինդեքս"),
        "Ethiopic": ("\u1200-\u137f", "በመረጃ ቋት ውስጥ ፍለጋ መረጃ ጠቋሚ ይጠቀማል ስብሰባው ነገ ነው"),
    }
)
"""The letters of a script, as in a regular expression, and ordinary words in it."""

_SIGNS = "[\x01-@\\[-`{-\u00bf\u2000-\u206f\u3000-\u303f\uff00-\uff0f]+"
"""What is no letter of any."""

_UNKNOWN = {"[UNK]", "<unk>"}

_CHARACTERS = 2_000
"""Of a document, so many tell its script."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """How many documents are written in scripts that `model` does not know, and the id of one."""

    documents: int = 0
    example: str = ""
    model: str = ""


def unreadable_documents(
    connection: postgres.Connection, chunker: Chunker, space: VectorSpace
) -> Unreadable:
    """Count the live documents half of whose letters or more are unknown to the model.

    Of a remote model nothing is told: its tokenizer need not be the one that counts here.
    """
    scripts = () if space.is_remote else unknown_scripts(chunker.tokenizer_file)
    if not scripts:
        return Unreadable()
    bound = {
        "others": f"[^{''.join(_SCRIPTS[name][0] for name in scripts)}]+",
        "signs": _SIGNS,
        "characters": _CHARACTERS,
        "model": space.model,
    }
    with connection.cursor(row_factory=class_row(Unreadable)) as cursor:
        (found,) = cursor.execute(statement("postgres/documents/in_scripts"), bound).fetchall()
    return found


def is_readable(text: str, settings: Settings) -> bool:
    """Whether more than half of a text's letters are of scripts that the model may know.

    Of a remote model nothing is told. For a text in Latin letters no model is looked for.

    Raises:
        SettingError: there is no such model.
    """
    if not _is_mostly_in(_SCRIPTS, text):
        return True
    model = current_model(settings)
    return model.space.is_remote or not _is_mostly_in(unknown_scripts(model.tokenizer_file), text)


def _is_mostly_in(scripts: Collection[str], text: str) -> bool:
    """Whether a text has at least as many letters of the scripts as of others, and has some."""
    if text.isascii() or not scripts:
        return False
    signless = re.sub(_SIGNS, "", text)
    others = re.sub(f"[{''.join(_SCRIPTS[name][0] for name in scripts)}]", "", signless)
    return len(signless) > 0 and 2 * len(others) <= len(signless)


@lru_cache(maxsize=4)
def unknown_scripts(tokenizer_file: Path) -> tuple[str, ...]:
    """The scripts whose words the tokenizer gives up, or spells letter by letter.

    A letter of Chinese is a word, so it must be unknown.
    """
    tokenizer = load_tokenizer(tokenizer_file)
    return tuple(name for name in _SCRIPTS if not _is_known(tokenizer, name))


def _is_known(tokenizer: Tokenizer, script: str) -> bool:
    """Whether more than half of the words' letters are in tokens that mean more than a letter."""
    words = _SCRIPTS[script][1]
    least = 1 if script == _IDEOGRAPHS else 2
    encoding = tokenizer.encode(words, add_special_tokens=False)
    spans = [range(start, end) for start, end in encoding.offsets]
    # What is spelled byte by byte has several tokens for a letter.
    tokens = Counter(chain.from_iterable(spans))
    known = {
        place
        for token, span in zip(encoding.tokens, spans, strict=True)
        for place in span
        if token not in _UNKNOWN and len(span) >= least and tokens[place] == 1
    }
    letters = [place for place, letter in enumerate(words) if not letter.isspace()]
    return 2 * len(known.intersection(letters)) > len(letters)
