"""The pictures of the README, from a real MNIST run: `make figures` (needs MNIST, Chromium and its driver).

docs/study.png is the report's own figure; docs/tensorboard.png is what a browser shows of the same folders.
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

DOCS = Path(__file__).parents[1] / "docs"
TAG = "profile_init_module/activation_norm_log10"
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
        with one_seed(grid, Path(scratch)) as logdir, tensorboard(logdir) as address:
            photograph(f"{address}/?tagFilter={TAG.replace('/', '%2F')}%24&smoothing=0#timeseries", shot)
        shrink(shot, DOCS / "tensorboard.png", width=1280)


@contextmanager
def one_seed(grid: Path, scratch: Path) -> Iterator[Path]:
    """The runs of seed 0 and the theory under short names: a picture has room for few."""
    logdir = scratch / "logdir"
    logdir.mkdir()
    for run in grid.glob("*seed=0"):
        c = run.name.partition("initializer.c=")[2].partition(",")[0]
        (logdir / f"measured c={c}").symlink_to(run.resolve())
    for line in grid.glob("report/tensorboard/theory_*/*"):
        (logdir / f"theory {line.parent.name.removeprefix('theory_')} {line.name}").symlink_to(line.resolve())
    yield logdir


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
    """Open the time series view with the chart at full width and the settings closed, and save what is seen."""
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.get(address)
        time.sleep(12)
        for selector in (
            "button.settings-button",
            "button[aria-label='Toggle full size mode']",
        ):
            for button in driver.find_elements(By.CSS_SELECTOR, selector):
                driver.execute_script("arguments[0].click()", button)
                time.sleep(1)
        time.sleep(3)
        driver.save_screenshot(str(path))
    finally:
        driver.quit()


def shrink(source: Path, target: Path, width: int) -> None:
    """A smaller copy with 128 colours: pictures in a repository should weigh little."""
    image = Image.open(source).convert("RGB")
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    image.quantize(128).save(target, optimize=True)


if __name__ == "__main__":
    main()
