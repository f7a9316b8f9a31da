"""Check that a stranger can install it: `python scripts/check_install.py`, which needs the network.

First every extra, with the tools, is resolved within constraints.txt on each supported Python;
only metadata is read. Then the wheel is installed, with all its libraries, into an empty
environment, and asked from another folder. Standard library only; uv, which can resolve for another
Python than its own, is installed for the occasion.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
UV = "uv==0.13.9"
OF_GPUS = re.compile("nvidia-|cuda-|triton$")
"""What torch brings along where its build for GPUs is resolved."""


def main() -> None:
    """Resolve, install and try; end with 1 and a line when something does not fit."""
    with tempfile.TemporaryDirectory(prefix="ml_assets-") as scratch:
        uv = new_environment(Path(scratch) / "uv") / "uv"
        pip(uv.parent, UV)
        for python in PYTHONS:
            check_resolution(uv, python)
        check_wheel(Path(scratch))


def check_resolution(uv: Path, python: str) -> None:
    """All extras and tools resolve on `python`, each package to its pin, all of them pinned."""
    started = time.monotonic()
    companions = direct_requirements()
    command = [uv, "pip", "compile", "--quiet", "--no-annotate", "--no-header", "--no-build"]
    command += ["--python-version", python, "--constraint", "constraints.txt", "--all-extras"]
    command += ["--group", "pyproject.toml:dev", "pyproject.toml", "-"]
    # As `pip install NAME -c constraints.txt` asks: without a bound an old one could be taken.
    bare = "\n".join(companions)
    resolved = pins(run(command, input=bare))
    known = pins((PROJECT / "constraints.txt").read_text(encoding="utf-8"))
    unpinned = [name for name in resolved.keys() - known.keys() if not OF_GPUS.match(name)]
    if unpinned:
        sys.exit(f"Python {python}: not in constraints.txt: {', '.join(sorted(unpinned))}")
    shown = ", ".join(f"{name} {resolved[name]}" for name in companions)
    say(f"Python {python}: {len(resolved)} packages resolve; {shown}", started)


def check_wheel(scratch: Path) -> None:
    """The wheel installs into an empty environment, and works from a folder of its own."""
    started = time.monotonic()
    programs = new_environment(scratch / "installed")
    constraint = ("--constraint", str(PROJECT / "constraints.txt"))
    build = ("--build-constraint", str(PROJECT / "constraints.txt"))
    pip(programs, "pip", *constraint)
    # Before what depends on it, so that the index that was asked for decides which build it is.
    pip(programs, "torch", *constraint)
    pip(programs, str(PROJECT), *constraint, *build)
    say("the wheel and its libraries are installed", started)
    started = time.monotonic()
    notes = scratch / "notes"
    notes.mkdir()
    (notes / "bread.txt").write_text("Sourdough rises slowly in a cold kitchen.")
    (notes / "owl.txt").write_text("Owls hunt mice at night without a sound.")
    environment = {
        "PATH": os.defpath,
        "HOME": str(scratch),
        "ML_ASSETS_HOME": str(scratch / "home"),
        "ML_ASSETS_SOURCE": f"files:{notes}/*.txt",
    }
    for words in (["--version"], ["status"], ["run"], ["search", "baking", "-k", "1"]):
        shown = run([programs / "ml-assets", *words], cwd=scratch, env=environment)
    if "bread" not in shown:
        sys.exit(f"The installed search does not find the document about bread:\n{shown}")
    check_page(programs / "python", scratch)
    say("status, run and search work in it, and the page is whole", started)


def check_page(python: Path, scratch: Path) -> None:
    """What the page of the service is rendered with was installed with it."""
    code = "from ml_assets.service.page.rendering import ROOM; print(ROOM)"
    installed = Path(run([python, "-c", code], cwd=scratch).strip())
    room = PROJECT / "ml_assets" / "service" / "page"
    files = [file for kind in ("templates", "static") for file in (room / kind).rglob("*.*")]
    lacking = [file.name for file in files if not (installed / file.relative_to(room)).is_file()]
    if lacking or not files:
        sys.exit(f"The installed page lacks {', '.join(lacking) or 'everything'}")


def direct_requirements() -> list[str]:
    """The names that the extras ask for."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    return sorted({canonical(re.split(r"[^\w.-]", text)[0]) for extra in extras for text in extra})


def pins(lines: str) -> dict[str, str]:
    """The `name==version` lines of a text, under canonical names."""
    found = re.findall(r"^([\w.-]+)==(\S+)", lines, re.MULTILINE)
    return {canonical(name): version for name, version in found}


def canonical(name: str) -> str:
    """A name of a distribution as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def new_environment(folder: Path) -> Path:
    """Make an empty environment; return its folder of programs."""
    venv.create(folder, with_pip=True)
    return folder / "bin"


def pip(programs: Path, *arguments: str) -> None:
    """Install into the environment that `programs` belongs to."""
    run([programs / "python", "-m", "pip", "install", "--quiet", "--no-input", *arguments])


def run(
    command: list[str | Path],
    cwd: Path = PROJECT,
    env: dict[str, str] | None = None,
    input: str | None = None,  # noqa: A002
) -> str:
    """Run a command and return what it prints; when it fails, end with all it said."""
    done = subprocess.run(
        command, cwd=cwd, env=env, input=input, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def say(line: str, started: float) -> None:
    """Print a line with the seconds since `started`."""
    print(f"{line} ({time.monotonic() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
