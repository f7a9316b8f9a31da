"""The page: what it shows without a script, to whom, and what no document can do to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient
from selectolax.lexbor import LexborHTMLParser

from ml_assets.documents.sources.judged import read_judged
from ml_assets.service.admission.keys import create_key, read_keys, revoke_key
from ml_assets.service.page.judgments import read_judged_queries
from ml_assets.service.page.visiting import COOKIE
from ml_assets.stores import postgres
from ml_assets_tests.service.deployed import Deployed, OpenService, soon

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
HERE = {**BROWSER, "Origin": "http://127.0.0.1"}
SCRIPT = {"HX-Request": "true"}


def read(answer: httpx.Response, status: int = 200) -> LexborHTMLParser:
    assert answer.status_code == status, answer.text[-2000:]
    return LexborHTMLParser(answer.text)


def see(client: TestClient, path: str, status: int = 200, **parameters: object) -> LexborHTMLParser:
    """A page as a browser gets it; what is refused is a page, too."""
    # Parameters that are empty would take the place of those of the path.
    return read(client.get(path, params=parameters or None, headers=BROWSER), status)  # type: ignore[arg-type]


def texts(page: LexborHTMLParser, chosen: str) -> list[str]:
    return [" ".join(node.text(separator=" ").split()) for node in page.css(chosen)]


def counts(page: LexborHTMLParser) -> dict[str, str]:
    """The facet values of a page with their counts."""
    values = [text.rpartition(" ") for text in texts(page, "#facets .value")]
    return {value: count for value, _, count in values}


def test_before_a_query_it_tells_what_there_is(client: TestClient) -> None:
    page = see(client, "/")
    assert texts(page, "#status") == ["240 documents in 1 collection"]
    assert texts(page, "nav a[aria-current]") == ["Search"]
    assert page.css("#q[autofocus]")


def test_a_search_shows_documents_words_and_why(client: TestClient) -> None:
    page = see(client, "/", q="w3 w6 w9")
    assert len(page.css(".hit")) == 10
    assert texts(page, "#status") == ["1 to 10 of the best 100 documents"]
    assert set(texts(page, "mark")) <= {"w3", "w6", "w9"}
    assert page.css("mark")
    rows = texts(page, ".hit:first-child .why tbody tr")
    assert [row.rpartition(" ")[0].rpartition(" ")[0] for row in rows][-1] == "together"
    assert re.fullmatch(r"meaning \(cosine\) \d+ 0\.\d{3}", rows[1])
    found = counts(page)
    assert set(found) == {"cooking", "music", "sport"}
    assert sum(map(int, found.values())) == 100


def test_pages_of_results_follow_each_other(client: TestClient) -> None:
    first = see(client, "/", q="w3 w6")
    (link,) = [node.attributes["href"] or "" for node in first.css("a[rel=next]")]
    second = see(client, link)
    assert texts(second, "#status") == ["11 to 20 of the best 100 documents"]
    assert not set(texts(first, ".hit h2")) & set(texts(second, ".hit h2"))
    assert not see(client, "/", q="w3 w6", page=10).css("a[rel=next]")
    see(client, "/", 422, q="w3", page=11)


def test_a_chosen_value_narrows_and_the_others_stay(client: TestClient) -> None:
    whole = see(client, "/", q="w3 w6")
    page = see(client, "/", q="w3 w6", label=["music", "sport"])
    assert {label for text in texts(page, ".hit .tag") for label in [text]} <= {"music", "sport"}
    assert counts(page) == {"sport": "0"} | counts(whole)  # what is chosen stays, also with none
    chosen = [node.attributes["value"] for node in page.css("#facets input[checked]")]
    assert sorted(map(str, chosen)) == ["music", "sport"]
    (clear,) = [node.attributes["href"] for node in page.css("#facets a")]
    assert clear == "/?q=w3+w6"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"filter": "label ="}, "should stand here"),
        ({"label": "absent"}, "no document has the label 'absent'"),
        ({"created": "soon"}, "'soon' is not a year or a month"),
        ({"created": "2026-13"}, "'2026-13' is not a year or a month"),
        ({"created": "9999"}, "'9999' is not a year or a month"),
        ({"where": "kind"}, "is not key=value"),
    ],
)
def test_a_filter_that_cannot_be_is_told_in_its_place(
    client: TestClient, parameters: dict[str, str], said: str
) -> None:
    page = see(client, "/", 422, q="w3", **parameters)
    assert said in texts(page, "#found .problem")[0]
    assert page.css("#q[value=w3]"), "what was asked can be mended"


def test_what_is_chosen_stays_chosen_when_a_filter_cannot_be(client: TestClient) -> None:
    chosen = {"label": ["music", "sport"], "where": "a=b", "created": "2026"}
    page = see(client, "/", 422, q="w3", filter="label =", **chosen)
    marked = [node.attributes["value"] for node in page.css("#facets input[checked]")]
    assert sorted(marked) == ["2026", "a=b", "music", "sport"]  # type: ignore[type-var]


def test_a_script_gets_the_part_that_changes(client: TestClient) -> None:
    answer = client.get("/?q=w3&label=music&method=hybrid&filter=", headers=SCRIPT)
    part = read(answer)
    assert "<html" not in answer.text
    assert len(part.css(".hit")) == 10
    assert [node.attributes["hx-swap-oob"] for node in part.css("[hx-swap-oob]")] == [
        "innerHTML:#status",
        "innerHTML:#facets",
    ]
    assert answer.headers["HX-Replace-Url"] == "/?q=w3&label=music"
    # A browser that goes back must not be shown the part as if it were the page.
    assert answer.headers["Cache-Control"] == "no-store"
    assert "HX-Request" in answer.headers["Vary"]
    restored = client.get("/?q=w3", headers={**SCRIPT, "HX-History-Restore-Request": "true"})
    assert "<html" in restored.text


def test_a_document_is_shown_with_what_is_known_of_it(client: TestClient) -> None:
    page = see(client, "/document", id="document-0003")
    assert texts(page, "h1") == ["document-0003"]
    assert re.fullmatch(r"(w\d+ ?)+", texts(page, ".text")[0])
    assert len(page.css("#similar .hit")) == 6
    assert "added in documents" in texts(page, ".history li")[-1]
    told = " ".join(texts(page, "aside dd"))
    assert re.search(r"[0-9a-f]{16} \(published\): 1 chunk\b", told)
    assert "1, of 20" in told, "the version that was registered since"
    assert (
        "there is no document" in texts(see(client, "/document", 404, id="absent"), ".problem")[0]
    )
    assert texts(see(client, "/document", 404, id="document-0003", part=2), "h1")
    see(client, "/document", 422, id="a\0b")


def test_a_long_text_is_shown_in_parts(client: TestClient, deployed: Deployed) -> None:
    with changed(deployed, text="word " * 20_000):
        page = see(client, "/document", id="document-0003", part=2)
        assert len(texts(page, ".text")[0]) <= 40_000
        assert texts(page, ".pages")[0] == "← Before Part 2 of 3 On →"
        (link, *_) = [str(node.attributes["href"]) for node in page.css("a[rel=next]")]
        assert "Part 3 of 3" in texts(see(client, link), ".pages")[0]


def test_a_text_is_labelled_with_probabilities(client: TestClient) -> None:
    see(client, "/predict")
    page = read(client.post("/predict", data={"text": "w3 w6 w9 w30 w60"}, headers=HERE))
    assert "It is cooking" in texts(page, ".lead")[0]
    shares = [float(text.rstrip(" %")) for text in texts(page, ".bars .figure")]
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(100, abs=0.2)
    blank = read(client.post("/predict", data={"text": " \n"}, headers=HERE), 422)
    assert texts(blank, "#wrong")
    read(client.post("/predict", data={"text": "w" * 100_001}, headers=HERE), 422)


def test_the_release_is_shown_with_its_gates(client: TestClient) -> None:
    page = see(client, "/release")
    assert texts(page, "h1")[0].startswith("Release ")
    assert "document_classifier/1" in texts(page, ".card dd")
    assert "pass" in texts(page, ".outcome")
    assert "here" in " ".join(texts(page, "[aria-label='Processes that serve'] td"))


def test_two_generations_are_compared(client: TestClient, deployed: Deployed) -> None:
    see(client, "/compare")
    other = deployed.generation(hnsw_m=12)
    page = see(client, "/compare", q="w3 w6 w9", right=other.generation_id)
    assert len(page.css(".hit")) == 20
    assert texts(page, "section h2 code")[1] == other.generation_id
    assert "same place" in texts(page, ".moved")
    assert "pgvector.m = 12" in texts(page, "section > .dim")[1]
    see(client, "/compare", 422, q="w3", left="not an id")


# Judgments


@pytest.fixture
def _no_judgments(deployed: Deployed) -> Iterator[None]:
    yield
    deployed.deployment.connection.execute("delete from judgments")


def say(client: TestClient, said: str, query: str = "w3 w6", **more: str) -> httpx.Response:
    data = {"q": query, "judge": said, "label": "music", **more}
    headers = {**HERE, **({"HX-Request": "true"} if more.pop("script", "") else {})}
    return client.post("/judge", data=data, headers=headers, follow_redirects=False)


@pytest.mark.usefixtures("_no_judgments")
def test_what_is_said_of_a_document_is_kept_and_shown(
    client: TestClient, deployed: Deployed
) -> None:
    connection = deployed.deployment.connection
    (best,) = see(client, "/", q="w3 w6", label="music").css(".hit:first-child .open")
    document_id = parse_qs(urlsplit(str(best.attributes["href"])).query)["id"][0]
    answer = say(client, f"up:{document_id}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?q=w3+w6&label=music")
    page = see(client, answer.headers["location"])
    pressed = page.css(".hit:first-child .thumb[aria-pressed=true]")
    assert [node.attributes["value"] for node in pressed] == [f"none:{document_id}"]
    say(client, f"down:{document_id}", " w3  w6")
    row = connection.execute("select query, document_id, judged_by, is_relevant from judgments")
    assert row.fetchall() == [("w3 w6", document_id, "address testclient", False)]
    part = say(client, f"none:{document_id}", script="yes")
    assert "<html" not in part.text
    assert not read(part).css("[aria-pressed=true]")
    assert connection.execute("select count(*) from judgments").fetchone() == (0,)


@pytest.mark.parametrize(
    ("said", "query", "status"),
    [
        ("up:absent", "w3", 404),
        ("up:", "w3", 404),
        ("better:document-0001", "w3", 400),
        ("up:document-0001", " ", 400),
        ("up:document-0001", "w" * 2_001, 400),
    ],
)
def test_what_is_no_judgment_is_refused(
    client: TestClient, deployed: Deployed, said: str, query: str, status: int
) -> None:
    read(say(client, said, query), status)
    stored = deployed.deployment.connection.execute("select count(*) from judgments").fetchone()
    assert stored == (0,)


def test_judgments_become_judged_queries(
    connection: postgres.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from ml_assets import cli

    said = [
        ("bread", "good", "ann", True),
        ("bread", "good", "bob", True),
        ("bread", "good", "eve", False),
        ("bread", "even", "ann", True),
        ("bread", "even", "bob", False),
        ("bread", "bad", "ann", False),
        ("only bad", "bad", "ann", False),
    ]
    for row in said:
        connection.execute(
            "insert into judgments (query, document_id, judged_by, is_relevant)"
            " values (%s, %s, %s, %s)",
            row,
        )
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("POSTGRES_URL", _url_of(connection))
    file = tmp_path / "judged.jsonl"
    done = CliRunner().invoke(cli.app, ["judgments", "export", str(file)])
    assert done.exit_code == 0, done.output
    assert "1 judged queries were written" in done.output
    (query,) = read_judged(file)
    assert (query.text, query.relevant) == ("bread", {"good": 1, "bad": 0})
    assert (query,) == read_judged_queries(connection)
    connection.execute("delete from judgments")
    refused = CliRunner().invoke(cli.app, ["judgments", "export", str(file)])
    assert refused.exit_code == 1
    assert read_judged(file) == (query,), "what was exported stays"


def _url_of(connection: postgres.Connection) -> str:
    info = connection.info
    user = f"{info.user}:{info.password}" if info.password else info.user
    host = "" if info.host.startswith("/") else f"{info.host}:{info.port}"
    more = f"?host={info.host}&port={info.port}" if info.host.startswith("/") else ""
    return f"postgresql://{user}@{host}/{info.dbname}{more}"


# What a document, a page of another site, or a stranger can do


@contextmanager
def changed(deployed: Deployed, **values: str) -> Iterator[None]:
    """Another title, text or address of a document, until the end of the block."""
    connection, one = deployed.deployment.connection, "document_id = 'document-0003'"
    before = connection.execute(f"select {', '.join(values)} from documents where {one}").fetchone()
    assert before
    written = ", ".join(f"{name} = %s" for name in values)
    connection.execute(f"update documents set {written} where {one}", list(values.values()))
    try:
        yield
    finally:
        connection.execute(f"update documents set {written} where {one}", list(before))


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> \u202eevil {{ 7007 * 7 }}"


@pytest.mark.parametrize("path", ["/document?id=document-0003", "/?q=", "/compare?q="])
def test_a_hostile_document_is_text(client: TestClient, deployed: Deployed, path: str) -> None:
    own = deployed.deployment.connection.execute(
        "select text from documents where document_id = 'document-0003'"
    ).fetchone()
    assert own
    deployed.generation(hnsw_m=12)
    with changed(deployed, title=HOSTILE, url="javascript:alert(1)"):
        page = see(client, path + own[0] if path.endswith("q=") else path)
    assert "<script>alert(1)" in page.body.text() if page.body else False  # as text
    assert not page.css("img[src=x], [onerror], script:not([src])")
    assert not [node for node in page.css("a") if "javascript" in str(node.attributes["href"])]
    shown = [node for node in page.css("bdi") if "\u202e" in node.text()]
    assert shown, "what turns the direction of writing ends with its element"
    assert "49049" not in " ".join(texts(page, "h1, h2, h3"))


def test_a_title_of_a_megabyte_is_cut(client: TestClient, deployed: Deployed) -> None:
    with changed(deployed, title="x" * 1_000_000):
        answer = client.get("/document?id=document-0003", headers=BROWSER)
    assert answer.status_code == 200
    assert len(answer.text) < 30_000


@pytest.mark.parametrize(
    "path", ["/", "/?q=w3", "/document?id=document-0003", "/predict", "/compare", "/release", "/no"]
)
def test_nothing_runs_but_our_own_script(client: TestClient, path: str) -> None:
    answer = client.get(path, headers=BROWSER)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    page = LexborHTMLParser(answer.text)
    assert not page.css("[style], style, script:not([src])")
    assert not [name for node in page.css("*") for name in node.attributes if name.startswith("on")]
    asked = [
        node.attributes.get("src") or node.attributes.get("href")
        for node in page.css("script, link, img")
    ]
    assert asked
    assert all(str(url).startswith("/static/") for url in asked)
    for url in asked:
        assert client.get(str(url)).status_code == 200


@pytest.mark.parametrize("path", ["/predict", "/judge", "/login", "/logout"])
@pytest.mark.parametrize("origin", ["https://attacker.example", "null", "", "http://127.0.0.1.x"])
def test_forms_of_other_sites_are_refused(client: TestClient, path: str, origin: str) -> None:
    headers = {**BROWSER, "Origin": origin} if origin else BROWSER
    page = read(client.post(path, data={"text": "w3", "judge": "up:x"}, headers=headers), 403)
    assert texts(page, "h1") == ["That is not allowed"]


def test_a_form_has_bounds(client: TestClient) -> None:
    data = {f"f{number}": "x" for number in range(201)}
    page = read(client.post("/judge", data=data, headers=HERE), 400)
    assert texts(page, "h1") == ["That cannot be read"]


def test_people_are_told_by_pages_and_programs_by_json(
    client: TestClient, open_service: OpenService
) -> None:
    page = see(client, "/nowhere", 404)
    assert texts(page, "h1") == ["There is no such page"]
    assert (
        texts(page, "code")[0]
        == client.get(
            "/nowhere", headers={**BROWSER, "X-Request-ID": texts(page, "code")[0]}
        ).headers["X-Request-ID"]
    )
    for path in ("/nowhere", "/v1/documents/absent"):
        assert client.get(path).json()["error"]["code"] == "not_found"
    assert client.get("/v1/documents/absent", headers=BROWSER).json()["error"]["do"]
    part = client.get("/document?id=absent", headers=SCRIPT)
    assert (part.status_code, "<html" in part.text) == (404, False)
    with open_service(service_rate="2/hour") as limited:
        given = [limited.get("/release", headers=BROWSER) for _ in range(3)]
        assert texts(read(given[-1], 429), "h1") == ["That was too often"]
        assert int(given[-1].headers["Retry-After"]) > 0
    with open_service(service_body=1024) as small:
        page = read(small.post("/predict", data={"text": "w" * 2000}, headers=HERE), 413)
        assert texts(page, "h1") == ["That is too large"]


def test_what_comes_too_late_is_told_by_a_page(
    open_service: OpenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_assets.service.page import releases

    def slow(connection: postgres.Connection, settings: object) -> None:
        connection.execute("select pg_sleep(20)")

    monkeypatch.setattr(releases, "readable_generations", slow)
    with open_service(service_timeout=0.5) as client:
        answer = client.get("/release", headers=BROWSER)
    assert texts(read(answer, 503), "h1") == ["That cannot be answered now"]
    assert answer.headers["Retry-After"] == "1"


# Sessions


def login(client: TestClient, key: str, back: str = "/", **headers: str) -> httpx.Response:
    data = {"key": key, "back": back}
    return client.post("/login", data=data, headers={**HERE, **headers}, follow_redirects=False)


@pytest.mark.usefixtures("_no_keys")
def test_a_session_begins_with_a_key_and_ends_with_it(
    deployed: Deployed, open_service: OpenService
) -> None:
    connection = deployed.deployment.connection
    key = create_key(connection, "ann", "viewer", [], "tester")
    with open_service() as client:
        asked = client.get("/?q=w3&label=music", headers=BROWSER, follow_redirects=False)
        assert asked.status_code == 303
        page = see(client, asked.headers["location"])
        (back,) = [node.attributes["value"] for node in page.css("input[name=back]")]
        assert back == "/?q=w3&label=music"
        part = client.get("/?q=w3", headers=SCRIPT)
        assert part.status_code == 204
        assert part.headers["HX-Redirect"].startswith("/login?back=")
        assert "is no key" in texts(read(login(client, key + "x"), 401), "#wrong")[0]
        begun = login(client, key, str(back))
        assert begun.headers["location"] == back
        cookie = begun.headers["set-cookie"]
        assert key.rpartition("_")[2] not in cookie
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        assert len(see(client, str(back)).css(".hit")) == 10
        assert client.get("/v1/release").status_code == 401, "a session is of the page alone"
        first = client.cookies[COOKIE]
        login(client, key)
        assert client.cookies[COOKIE] != first
        other = TestClient(client.app, base_url="http://127.0.0.1", cookies={COOKIE: first})
        gone = other.get("/release", headers=BROWSER, follow_redirects=False)
        assert gone.status_code == 303, "the session of before has ended"
        second = client.cookies[COOKIE]
        out = client.post("/logout", headers=HERE, follow_redirects=False)
        assert out.headers["location"] == "/login"
        assert COOKIE not in client.cookies
        other.cookies.set(COOKIE, second)
        assert other.get("/release", headers=BROWSER, follow_redirects=False).status_code == 303
        login(client, key)
        assert see(client, "/release").css("form[action='/logout']")
        (made,) = read_keys(connection)
        revoke_key(connection, made.key_id, "tester")
        took = soon(
            lambda: client.get("/", headers=BROWSER, follow_redirects=False).status_code == 303
        )
        assert took < 1.5


@pytest.mark.usefixtures("_no_keys")
def test_a_login_leads_nowhere_else(deployed: Deployed, open_service: OpenService) -> None:
    connection = deployed.deployment.connection
    key = create_key(connection, "ann", "viewer", [], "tester")
    writer = create_key(connection, "bob", "admin", ["write"], "tester")
    reader = create_key(connection, "eve", "viewer", ["read"], "tester")
    with open_service() as client:
        for back in ("//x.example", "https://x.example", "/\\x.example", "/a\nb", ""):
            assert login(client, key, back).headers["location"] == "/"
        assert "may not read" in texts(read(login(client, writer), 401), "#wrong")[0]
        secure = login(client, reader, Origin="https://127.0.0.1")
        assert "Secure" in secure.headers["set-cookie"].split("; ")
        client.cookies.set(COOKIE, secure.headers["set-cookie"].split(";")[0].partition("=")[2])
        page = read(say(client, "up:document-0001"), 403)
        assert "may not feedback" in texts(page, ".problem")[0]


def test_without_keys_nobody_logs_in(client: TestClient) -> None:
    answer = client.get("/login", headers=BROWSER, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_query_that_no_store_takes_is_refused(client: TestClient) -> None:
    see(client, "/", 422, q="a\0b")
    see(client, "/", 422, q="w" * 2_001)
    assert texts(see(client, "/", q=HOSTILE), "#q[value]") == [""]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_no_page_loads_scripts_of_other_sites(client: TestClient, path: str) -> None:
    see(client, path, 404)
