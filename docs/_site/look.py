"""Opens pages of the built site in headless Chromium, from disk: python docs/_site/look.py SITE [PAGE ...]

At 360, 768 and 1280 pixels, light and dark, a page must write nothing to the console, load nothing from another host,
and not be wider than the window; --shots FOLDER keeps what was seen.  Needs `pip install playwright` and a Chromium:
Debian's package, or playwright's own.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

WIDTHS = (360, 768, 1280)
THEMES = ("light", "dark")
TOO_WIDE = "document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"


def faults_of(page: Any, url: str, width: int, theme: str, shot: Path | None) -> list[str]:
    """What is wrong with a page at a width, in a theme."""
    said: list[str] = []
    tab = page.context.new_page()
    tab.on("console", lambda message: said.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: said.append(f"error: {error}"))
    tab.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else said.append(f"loads {r.url}"))
    tab.on("requestfailed", lambda r: said.append(f"cannot load {r.url}"))
    tab.set_viewport_size({"width": width, "height": 900})
    tab.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    tab.goto(url)
    if "search.html?" in url:
        tab.wait_for_selector("ul.search li")
        tab.wait_for_timeout(1000)
    excess = tab.evaluate(TOO_WIDE)
    if excess > 0:
        said.append(f"{excess} pixels too wide")
    if shot is not None:
        tab.screenshot(path=shot, full_page=True)
    tab.close()
    return said


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("pages", nargs="*", help="such as learn/nce; all but those of the source, if none is given")
    parser.add_argument("--shots", type=Path, help="folder for screenshots")
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    found = sorted(path for path in args.site.rglob("*.html") if "source" not in path.relative_to(args.site).parts)
    paths = [args.site / f"{page}.html" for page in args.pages] or found
    faults = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        first = browser.new_context().new_page()
        for path in paths:
            name = path.relative_to(args.site).with_suffix("").as_posix()
            for width in WIDTHS:
                for theme in THEMES:
                    shot = args.shots and args.shots / f"{name.replace('/', '-')}-{width}-{theme}.png"
                    url = path.resolve().as_uri() + "?q=softmax" * (name == "search")
                    for fault in faults_of(first, url, width, theme, shot):
                        faults += 1
                        print(f"{name} {width} {theme}: {fault}")
        browser.close()
    print(f"{len(paths)} pages, {faults} faults")
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
