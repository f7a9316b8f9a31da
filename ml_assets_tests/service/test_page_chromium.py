"""The page in a browser: as one types, by keys alone, without a script, and as axe-core sees it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ml_assets.service.admission.keys import create_key
from ml_assets_tests.servers import free_port, program
from ml_assets_tests.service.deployed import Deployed, OpenService, soon

AXE = Path(__file__).parent / "axe" / "axe-4.14.1.min.js"
PAGES = (
    *("/", "/?q=w3+w6+w9&label=music", "/?q=w3&filter=wrong", "/document?id=document-0003"),
    *("/predict", "/release", "/compare?q=w3+w6", "/nowhere"),
)

EXPECTED = re.compile(r"responded with a status of 4|^htmx:(afterRequest|sendAbort),")
"""What a browser tells, too: what is refused on purpose, and what another letter overtook."""


@pytest.fixture(scope="module")
def address(open_service: OpenService, deployed: Deployed) -> Iterator[str]:
    """Where a service answers; two generations can be compared in it."""
    deployed.generation(hnsw_m=12)
    port = free_port()
    config = uvicorn.Config(
        open_service().app, port=port, log_config=None, timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        soon(lambda: server.started, 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
        deployed.deployment.connection.execute("delete from judgments")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program("chromium"), args=["--no-sandbox"]
        )
        yield opened
        opened.close()


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """A page that asks nobody else, and whose console has no complaint, of a refused script say."""
    with browser.new_context(base_url=address, **options) as context:
        page, wrong = context.new_page(), list[str]()
        page.on("console", lambda told: wrong.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request", lambda asked: wrong.append(asked.url) if address not in asked.url else None
        )
        page.set_default_timeout(30_000)
        yield page
        assert [told for told in wrong if not EXPECTED.search(told)] == []


def test_results_appear_as_one_types(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        page.goto("/")
        expect(page.locator("#q")).to_be_focused()
        page.keyboard.type("w3 w6 w9")
        expect(page.locator(".hit")).to_have_count(10)
        expect(page.locator("#status")).to_have_text("1 to 10 of the best 100 documents")
        assert page.url.endswith("/?q=w3+w6+w9")
        expect(page.locator("#q")).to_be_focused()
        choice = page.get_by_label("music")
        choice.check()
        page.wait_for_url("**/?q=w3+w6+w9&label=music")
        expect(page.locator(".hit .tag").first).to_have_text("music")
        expect(page.get_by_label("music")).to_be_focused()
        thumb = page.locator(".hit .thumb.up").first
        thumb.click()
        expect(page.locator(".hit .thumb.up[aria-pressed=true]")).to_have_count(1)
        page.reload()
        expect(page.locator(".hit .thumb.up[aria-pressed=true]")).to_have_count(1)
        page.locator(".hit .thumb.up[aria-pressed=true]").click()
        expect(page.locator(".hit .thumb[aria-pressed=true]")).to_have_count(0)
        page.locator(".hit a.open").first.click()
        expect(page.locator("h1")).to_contain_text("document-")
        page.go_back()
        expect(page.locator("header.top")).to_be_visible()
        expect(page.locator(".hit")).to_have_count(10)
        page.locator("#filter").fill("label =")
        page.locator("#filter").press("Enter")
        expect(page.locator("#found .problem")).to_contain_text("should stand here")


def test_all_is_reached_by_keys(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        page.goto("/?q=w3+w6")
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        page.keyboard.press("/")
        expect(page.locator("#q")).to_be_focused()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        expect(page.locator(".hit:nth-child(2) a.open")).to_be_focused()
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Tab")
        expect(page.locator(".hit:nth-child(1) summary")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator(".hit:nth-child(1) .why table")).to_be_visible()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("ArrowUp")
        expect(page.locator("#q")).to_be_focused()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_url("**/document?id=*")


def test_without_a_script_one_searches_and_judges(browser: Browser, address: str) -> None:
    with opened(browser, address, java_script_enabled=False) as page:
        page.goto("/")
        page.locator("#q").fill("w3 w6 w9")
        page.get_by_role("button", name="Search").click()
        expect(page.locator(".hit")).to_have_count(10)
        page.get_by_label("sport").check()
        page.get_by_role("button", name="Apply").click()
        expect(page.locator(".hit .tag").first).to_have_text("sport")
        page.locator(".hit .thumb.down").first.click()
        expect(page.locator(".hit .thumb.down[aria-pressed=true]")).to_have_count(1)
        expect(page.get_by_label("sport")).to_be_checked()
        page.get_by_role("link", name="Similar").first.click()
        expect(page.locator("#similar .hit")).to_have_count(6)
        page.goto("/predict")
        page.locator("#text").fill("w3 w6 w9 w30")
        page.get_by_role("button", name="Predict").click()
        expect(page.locator(".lead")).to_contain_text("It is")


def serious(page: Page) -> list[tuple[str, str]]:
    """What axe-core finds on a page that keeps somebody out: the rule, and the first place."""
    page.evaluate("document.querySelectorAll('.hit details').forEach(d => d.open = true)")
    page.evaluate(AXE.read_text("utf-8"))
    violations = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    found = [each for each in violations if each["impact"] in ("serious", "critical")]
    return [(each["id"], each["nodes"][0]["html"]) for each in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_keeps_anybody_out(browser: Browser, address: str, scheme: Any) -> None:
    with opened(browser, address, color_scheme=scheme) as page:
        for path in PAGES:
            page.goto(path)
            assert (path, serious(page)) == (path, [])


@pytest.fixture
def key(deployed: Deployed, address: str) -> Iterator[str]:
    """A key without which nobody is let in."""
    connection = deployed.deployment.connection
    made = create_key(connection, "ann", "viewer", ["read"], "tester")
    soon(lambda: httpx.get(f"{address}/v1/release").status_code == 401)
    yield made
    connection.execute("delete from api_keys")
    soon(lambda: httpx.get(f"{address}/v1/release").status_code == 200)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out_where_one_logs_in(
    browser: Browser, address: str, key: str, scheme: Any
) -> None:
    with opened(browser, address, color_scheme=scheme) as page:
        page.goto("/document?id=document-0003")
        expect(page.get_by_label("API key")).to_be_focused()
        assert serious(page) == []
        page.keyboard.type("mla_wrong")
        page.keyboard.press("Enter")
        expect(page.locator(".problem")).to_contain_text("That is no key")
        assert serious(page) == []
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        page.wait_for_url("**/document?id=document-0003")
        assert serious(page) == [], "with what only those see who are logged in"


def test_a_small_screen_is_wide_enough(browser: Browser, address: str) -> None:
    with opened(browser, address, viewport={"width": 360, "height": 740}) as page:
        for path in PAGES:
            page.goto(path)
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert (path, wide) == (path, 0)
        page.goto("/?q=w3")
        expect(page.get_by_label("music")).to_be_hidden()
        page.get_by_text("Narrow the search").click()
        expect(page.get_by_label("music")).to_be_visible()
