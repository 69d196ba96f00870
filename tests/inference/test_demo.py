"""The web page of `demo`."""

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from lora_agnews import load_run
from tests.commands import ROOT, run_python

HOSTILE = "<script>alert(1)</script><b id=injected>Oil</b> prices rise"
BARS = ".bar"  # of gradio's Label


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(run_dir: Path) -> None:
    pytest.importorskip("gradio", reason='pip install -e ".[demo]"')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_python("-m", "lora_agnews", "demo", str(run_dir), "--port", str(port))
    assert done.returncode == 2
    assert f"--port={port}: it is taken; choose a free one: --port N" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_page_answers_only_on_the_loopback_address_and_needs_no_network(run_dir: Path) -> None:
    """In a headless Chromium."""
    pytest.importorskip("gradio", reason='pip install -e ".[demo]"')
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    browser = shutil.which("chromium") or shutil.which("google-chrome") or pytest.skip("no Chromium")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "lora_agnews", "demo", str(run_dir), "--port", str(port)]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as begun:
        try:
            assert begun.stdout is not None
            assert begun.stdout.readline().startswith(f"http://127.0.0.1:{port}"), begun.communicate(timeout=5)
            listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line]
            assert [address for address in listening if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]
            with playwright.sync_playwright() as driver:
                page = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
                asked, said = list[str](), list[str]()
                page.on("request", lambda request: asked.append(request.url))
                page.on("console", lambda message: said.append(message.text))
                page.goto(f"http://127.0.0.1:{port}")
                page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
                page.fill("textarea", HOSTILE)
                page.click("button:has-text('Submit')")
                page.wait_for_selector("text=%")
                shown = page.inner_text("body")
                assert page.query_selector("#injected") is None
                assert page.input_value("textarea") == HOSTILE
                bars = page.eval_on_selector_all(BARS, "bars => bars.map(bar => bar.getBoundingClientRect().width)")
            (found,) = load_run(run_dir)([HOSTILE])
            for name, probability in found.probabilities.items():
                assert re.search(rf"{name}\s+{100 * probability:.0f}%", shown), shown
            assert len(bars) == 4
            probabilities = sorted(found.probabilities.values(), reverse=True)
            shares = [width / bars[0] for width in bars]
            assert shares == pytest.approx([each / probabilities[0] for each in probabilities], abs=0.02)
            assert {urlsplit(url).netloc for url in asked} - {""} == {f"127.0.0.1:{port}"}
            assert said == []
        finally:
            begun.send_signal(signal.SIGINT)
            assert begun.wait(timeout=20) == 0


class FakePage:
    """Replaces gradio.Interface: stores its arguments and serves nothing."""

    made: "FakePage"

    def __init__(self, classify: Callable[[str], dict[str, float]], *components: object, **options: Any) -> None:
        self.classify, self.options = classify, options
        FakePage.made = self

    def launch(self, **options: Any) -> tuple[None, str, None]:
        self.launched = options
        return None, "http://127.0.0.1:7860/", None

    def block_thread(self) -> None:
        """Return at once, as after Ctrl-C."""


@pytest.mark.filterwarnings("ignore")  # of gradio's own imports
def test_the_page_is_local_and_answers_with_the_probabilities_of_the_run(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gradio", reason='pip install -e ".[demo]"')
    from lora_agnews.inference import demo

    monkeypatch.setattr(demo.gradio, "Interface", FakePage)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")  # so that it is restored afterwards
    classify = load_run(run_dir)
    demo.serve(classify, "my run", 7861)
    page = FakePage.made
    assert page.classify("Oil prices rise") == classify(["Oil prices rise"])[0].probabilities
    assert (page.options["title"], page.options["analytics_enabled"]) == ("my run", False)
    assert (page.launched["server_name"], page.launched["server_port"]) == ("127.0.0.1", 7861)
    assert page.launched["share"] is False
    assert capfd.readouterr().out == "http://127.0.0.1:7860/ (Ctrl-C ends it)\n"
