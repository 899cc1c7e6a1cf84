"""The pictures of the README, from a real MNIST run: `make figures` (needs MNIST, Chromium and its driver).

docs/study.png is the report's own figure; docs/tensorboard.png is what a browser shows of the same folder, at the
address that fanin-report prints.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from fanin.report.write.terminal import PROFILES
from few_colours import few_colours

DOCS = Path(__file__).parents[1] / "docs"
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1280,860",
)  # fmt: skip


def main() -> None:
    """Run the study on MNIST (what is finished is not run again), then take both pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", type=Path, default=Path("outputs/init_study_mnist"))
    grid: Path = parser.parse_args().grid
    command = [
        str(Path(sys.executable).with_name("fanin")),
        "experiment=init_study",
        "data=mnist",
        f"hydra.sweep.dir={grid}",
    ]
    subprocess.run(command, check=True)
    DOCS.mkdir(exist_ok=True)
    shrink(grid / "report" / "study.png", DOCS / "study.png", width=1400)
    with tempfile.TemporaryDirectory() as scratch:
        shot = Path(scratch) / "shot.png"
        with tensorboard(grid) as address:
            photograph(f"{address}/?{PROFILES}#timeseries", shot)
        shrink(shot, DOCS / "tensorboard.png", width=1280)


@contextmanager
def tensorboard(logdir: Path) -> Iterator[str]:
    """TensorBoard on a free port while the block runs; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    binary = shutil.which("tensorboard", path=str(Path(sys.executable).parent))
    assert binary, "tensorboard is not installed beside this Python"
    server = subprocess.Popen(
        [binary, "--logdir", str(logdir), "--port", str(port), "--load_fast=false"], stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(60):
            try:
                urllib.request.urlopen(address, timeout=2)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        time.sleep(5)  # it answers before it has read the runs
        yield address
    finally:
        server.terminate()
        server.wait()


def photograph(address: str, path: Path) -> None:
    """Open the time series view with the settings closed, and save what is seen."""
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.get(address)
        time.sleep(12)
        for button in driver.find_elements(By.CSS_SELECTOR, "button.settings-button"):
            driver.execute_script("arguments[0].click()", button)
        time.sleep(3)
        driver.save_screenshot(str(path))
    finally:
        driver.quit()


def shrink(source: Path, target: Path, width: int) -> None:
    """A smaller copy with 128 colours: pictures in a repository should weigh little."""
    image = Image.open(source).convert("RGB")
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    few_colours(image, 128).save(target, optimize=True)


if __name__ == "__main__":
    main()
