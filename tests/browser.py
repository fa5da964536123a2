"""A headless Chromium that a test drives over a pipe, and axe-core to check pages with.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

AXE_PACKAGE = "axe_playwright_python"
"""Bundles axe-core, of which the tests only take the script."""


def program() -> str | None:
    """Return the path of Chromium, None where it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def axe_script() -> str | None:
    """Return the source of axe-core, None where it is not installed."""
    found = importlib.util.find_spec(AXE_PACKAGE)
    given = os.environ.get("XCOMCTL_TEST_AXE")
    if given is None and (found is None or found.origin is None):
        return None
    path = Path(given) if given else Path(str(found and found.origin)).with_name("axe.min.js")
    return path.read_text(encoding="utf-8")


class Page:
    """A page in a browser of its own."""

    def __init__(self, browser: subprocess.Popen[bytes], out: Any, answers: Any) -> None:
        self._browser = browser
        self._out = out
        self._answers = answers
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while (answer := self._read()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> dict[str, Any]:
        found = bytearray()
        while (char := self._answers.read(1)) != b"\0":
            assert char, "the browser has ended"
            found += char
        answer: dict[str, Any] = json.loads(found)
        return answer

    def show(
        self, path: Path, *, width: int = 1440, scripts: bool = True, dark: bool = False
    ) -> None:
        """Load a file, and wait until it is there."""
        self.events.clear()
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1,
            mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(one.get("method") == "Page.loadEventFired" for one in self.events):
            self.events.append(self._read())
        if scripts:
            self.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")

    def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; a promise is waited for."""
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key."""
        text = "\r" if key == "Enter" else ""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text)

    def complaints(self) -> list[str]:
        """Return what the console says, and every request but for the page itself."""
        self.run("1")
        found = []
        for one in self.events:
            method, given = one.get("method"), one.get("params", {})
            if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                found.append(json.dumps(given)[:500])
            elif method == "Network.requestWillBeSent" and given["type"] != "Document":
                found.append(given["request"]["url"])
        return found

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Write a screenshot."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def check(self, axe: str) -> list[dict[str, Any]]:
        """Return what axe-core finds serious or critical."""
        self.run(f"{axe}; 1")
        found = self.run("axe.run().then((result) => JSON.stringify(result.violations))")
        return [
            {"id": one["id"], "help": one["help"], "nodes": [node["html"][:200] for node in one["nodes"]][:3]}
            for one in json.loads(found)
            if one["impact"] in ("serious", "critical")
        ]  # fmt: skip


@contextmanager
def open_page() -> Iterator[Page]:
    """Start a browser with one page, and end it."""
    there, out = os.pipe()
    answers, here = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            str(program()), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--remote-debugging-pipe", f"--user-data-dir={profile}",
        ]  # fmt: skip

        # Chromium speaks on descriptors 3 and 4.
        browser = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{there} 4>&{here}', "bash", *command],
            pass_fds=(there, here), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(there)
        os.close(here)
        with os.fdopen(out, "wb") as to_browser, os.fdopen(answers, "rb") as from_browser:
            try:
                yield Page(browser, to_browser, from_browser)
            finally:
                browser.kill()
                browser.wait()
