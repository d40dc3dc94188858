"""The page of dlcm serve in headless Chromium, through ChromeDriver (Debian: chromium, chromium-driver).

Skipped where they are not installed: they are large, and nothing else needs them. DLCM_SCREENSHOTS=FOLDER keeps what the
page looked like; DLCM_BINARY and DLCM_PAGE_MODEL take another binary and a trained model.
"""

import base64
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("DLCM_BINARY", REPOSITORY / "build/release/dlcm"))
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"enter": "\ue007", "escape": "\ue00c", "right": "\ue014", "end": "\ue010", "home": "\ue011", "control": "\ue009"}


class Browser:
    """A session of the WebDriver protocol."""

    def __init__(self, port):
        self.base = f"http://127.0.0.1:{port}"
        options = {"binary": CHROMIUM, "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]}
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        self.base += "/session/" + self.post("/session", {"capabilities": wanted})["sessionId"]

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def post(self, path, body):
        return self.ask("POST", path, body)

    def run(self, script, *arguments):
        return self.post("/execute/sync", {"script": script, "args": list(arguments)})

    def element(self, selector):
        return self.post("/element", {"using": "css selector", "value": selector})[ELEMENT]

    def click(self, selector):
        self.post(f"/element/{self.element(selector)}/click", {})

    def type(self, selector, text):
        element = self.element(selector)
        self.post(f"/element/{element}/clear", {})
        self.post(f"/element/{element}/value", {"text": text})

    def press(self, *keys):
        down = [{"type": "keyDown", "value": KEYS[key]} for key in keys]
        up = [{"type": "keyUp", "value": KEYS[key]} for key in reversed(keys)]
        self.post("/actions", {"actions": [{"type": "key", "id": "keys", "actions": down + up}]})

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def wait(self, script, seconds=60):
        end = time.monotonic() + seconds
        while not self.run(f"return {script}"):
            if time.monotonic() > end:
                raise AssertionError(f"after {seconds} s still not: {script}")
            time.sleep(0.05)

    def media(self, **features):
        self.post("/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {
            "features": [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]}})

    def size(self, width, height):
        self.post("/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}})

    def slow_network(self, bytes_per_second):
        self.post("/chromium/network_conditions", {"network_conditions": {
            "offline": False, "latency": 0, "download_throughput": bytes_per_second, "upload_throughput": bytes_per_second}})

    def keep_screenshot(self, name):
        if folder := os.environ.get("DLCM_SCREENSHOTS"):
            pathlib.Path(folder, f"{name}.png").write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))

    def close(self):
        self.ask("DELETE", "")


def port_of(process, pattern):
    for line in process:
        if found := re.search(pattern, line):
            return int(found.group(1))
    raise AssertionError("a process ended without naming its port")


@unittest.skipUnless(CHROMIUM and DRIVER, "no Chromium with ChromeDriver here (Debian: chromium, chromium-driver)")
class ServePage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        model = os.environ.get("DLCM_PAGE_MODEL")
        if not model:
            model = str(pathlib.Path(cls.folder.name, "random.safetensors"))
            subprocess.run([BINARY, "export", "--config", REPOSITORY / "configs/nano.toml", "--set", "model.vocabulary=0",
                            "--random-weights", "1", "--output", model], check=True, capture_output=True)
        cls.server = subprocess.Popen([BINARY, "serve", "--model", model, "--port", "0"], stderr=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.server.stderr.close)
        cls.addClassCleanup(cls.server.wait)
        cls.addClassCleanup(cls.server.terminate)
        cls.address = f"http://127.0.0.1:{port_of(cls.server.stderr, r':([0-9]+)/, loading')}/"
        cls.server.stderr.readline()  # the model is loaded
        cls.driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.driver.stdout.close)
        cls.addClassCleanup(cls.driver.wait)
        cls.addClassCleanup(cls.driver.terminate)
        cls.driver_port = port_of(cls.driver.stdout, r"started successfully on port ([0-9]+)")

    def setUp(self):
        self.browser = Browser(self.driver_port)
        self.addCleanup(self.browser.close)
        self.browser.size(1100, 900)
        self.open()

    def open(self):
        self.browser.post("/url", {"url": self.address})
        self.browser.wait("!document.getElementById('model').textContent.startsWith('Asking')")

    def write(self, tokens):
        self.browser.run("const slider = document.getElementById('length'); slider.value = arguments[0];"
                         "slider.dispatchEvent(new Event('input'))", tokens)
        self.browser.click("#write-button")

    def wait_until_written(self):
        self.browser.wait("!document.getElementById('write-button').disabled")

    def check_quiet(self):
        self.assertTrue(self.browser.run("return document.getElementById('problem').hidden"), self.browser.text("#problem"))
        self.assertEqual([entry for entry in self.browser.post("/se/log", {"type": "browser"})
                          if entry["level"] in ("SEVERE", "WARNING")], [])

    def test_streams_a_text_with_its_concepts_in_colour(self):
        self.browser.type("#prompt", "Once upon")
        self.write(60)
        self.wait_until_written()
        self.check_quiet()
        spans = self.browser.run("return [...document.querySelectorAll('#written .concept')].map((span) => "
                                 "[span.textContent, span.className, span.title, getComputedStyle(span).backgroundColor])")
        self.assertGreater(len(spans), 1)
        self.assertTrue(self.browser.text("#written").startswith("Once upon"))
        self.assertEqual(sum(int(re.search(r"(\d+) token", title)[1]) for _, _, title, _ in spans),
                         int(self.browser.text("#tokens-count")))
        for _, name, title, colour in spans:
            self.assertNotIn("open", name.split())
            self.assertRegex(title, r"^Concept \d+: (boundary score [01]\.\d{3}|began in the given text), \d+ tokens?$")
            self.assertNotEqual(colour, "rgba(0, 0, 0, 0)")
        self.assertGreater(float(self.browser.text("#tokens-rate")), 0)
        self.assertGreater(float(self.browser.text("#concepts-rate")), 0)
        self.browser.keep_screenshot("written")

    def test_is_used_by_keyboard(self):
        self.browser.type("#prompt", "Once upon")
        self.browser.slow_network(20_000)  # 1,000 tokens take seconds, so that escape comes in their midst on any machine
        self.browser.run("const slider = document.getElementById('length'); slider.value = 1000; slider.dispatchEvent(new Event('input'))")
        concepts = "document.querySelectorAll('#written .concept').length"
        for _ in range(20):  # a random model may draw its end after a few tokens
            self.browser.press("control", "enter")
            self.browser.wait(f"{concepts} > 3 || !document.getElementById('write-button').disabled")
            if self.browser.run(f"return {concepts}") > 3:
                break
        self.browser.press("escape")
        self.wait_until_written()
        self.assertLess(int(self.browser.text("#tokens-count")), 1000)
        self.browser.run("document.getElementById('written').focus()")
        self.browser.press("right")
        self.assertIn("tokens", self.browser.text("#written-detail") + "s")
        first = self.browser.text("#written-detail")
        self.browser.press("right")
        self.assertNotEqual(self.browser.text("#written-detail"), first)
        self.browser.press("home")
        self.assertEqual(self.browser.text("#written-detail"), first)
        self.browser.run("document.getElementById('write-tab').focus()")
        self.browser.press("right")
        self.assertEqual(self.browser.run("return document.activeElement.id"), "cut-tab")
        self.assertFalse(self.browser.run("return document.getElementById('cut').hidden"))
        self.check_quiet()

    def test_cuts_a_pasted_text(self):
        self.browser.click("#cut-tab")
        text = "It was the best of times – \u6700\u597d <b>not bold</b> & so on."
        self.browser.type("#source", text)
        self.browser.click("#cut-form .main")
        self.browser.wait("!document.getElementById('cut-summary').hidden")
        self.assertEqual(self.browser.text("#segmented"), text)
        self.assertRegex(self.browser.text("#cut-summary"), r"^\d+ tokens in \d+ concepts: \d+\.\d\d tokens per concept")
        self.browser.run("arguments[0].dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))",
                         {ELEMENT: self.browser.element("#segmented .concept")})
        self.assertIn("Concept 1: boundary score 1.000", self.browser.text("#segmented-detail"))
        self.check_quiet()
        self.browser.keep_screenshot("segmented")

    def test_fits_a_phone_and_the_dark(self):
        self.browser.size(360, 740)
        self.browser.media(prefers_color_scheme="dark")
        self.open()
        self.write(40)
        self.wait_until_written()
        self.assertLessEqual(self.browser.run("return document.scrollingElement.scrollWidth"), 360)
        background = self.browser.run("return getComputedStyle(document.body).backgroundColor")
        self.assertLess(max(map(int, re.findall(r"\d+", background))), 64)
        small = self.browser.run("return [...document.querySelectorAll('button')].filter((button) => button.offsetParent && "
                                 "button.offsetHeight < 40).map((button) => button.id)")
        self.assertEqual(small, [], "too small for a thumb")
        self.browser.keep_screenshot("phone-dark")
        self.check_quiet()

    def test_names_every_control_and_loads_nothing_else(self):
        unnamed = self.browser.run(
            "return [...document.querySelectorAll('input, textarea, button, [tabindex]')].filter((one) => !(one.labels?.length "
            "|| one.textContent.trim() || one.getAttribute('aria-label'))).map((one) => one.outerHTML)")
        self.assertEqual(unnamed, [])
        self.assertEqual(self.browser.run("return document.documentElement.lang"), "en")
        loaded = self.browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        self.assertTrue(all(name.startswith((self.address, "data:")) for name in loaded), loaded)

    def test_says_what_went_wrong(self):
        self.browser.run("document.getElementById('prompt').value = 'word '.repeat(9000)")
        self.write(20)
        self.wait_until_written()
        self.assertIn("8192 tokens", self.browser.text("#problem"))
        self.assertFalse(self.browser.run("return document.getElementById('problem').hidden"))
