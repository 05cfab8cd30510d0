"""What a module says of its dependencies, and where their packages are put."""

import os
import re
import subprocess
import sys

import pytest

import manta
from manta._dependencies import dependencies, interpreter, requires_python
from manta.apis import AuthoringError

NOTHING = {"lock": None, "pythons": [], "platforms": [], "allow_source": []}


@pytest.fixture
def module(tmp_path):
    (tmp_path / "__init__.py").write_text("def main(): pass\n")
    return tmp_path


def test_a_module_without_requirements_depends_on_nothing(module):
    assert dependencies(module) is None
    (module / "requirements.txt").write_text("# nothing\n\n")
    assert dependencies(module) is None
    assert requires_python(module) is None


def test_requirements_go_before_the_project(module):
    project = '[project]\nname = "x"\nrequires-python = ">=3.10"\ndependencies = ["six"]\n'
    (module / "pyproject.toml").write_text(project + '[tool.manta.module]\npythons = ["3.11"]\n')
    told = {**NOTHING, "pythons": ["3.11"]}
    origin = str(module / "pyproject.toml")
    assert dependencies(module) == {**told, "origin": origin, "requirements": ["six"]}
    (module / "requirements.txt").write_text("numpy\n")
    (module / "pylock.toml").write_text("")
    told["lock"] = str(module / "pylock.toml")
    assert dependencies(module) == {**told, "origin": str(module / "requirements.txt"), "requirements": None}
    assert requires_python(module) == ">=3.10"


def test_a_script_says_it_in_its_block(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(
        '# /// script\n# requires-python = ">=3.9"\n# dependencies = ["six"]\n'
        '# [tool.manta.module]\n# allow-source = ["six"]\n# ///\n'
    )
    told = {**NOTHING, "allow_source": ["six"], "origin": str(script), "requirements": ["six"]}
    assert dependencies(script) == told
    assert requires_python(script) == ">=3.9"


def test_what_is_no_list_of_texts_is_refused_with_its_place(module):
    (module / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = "six"\n')
    with pytest.raises(AuthoringError, match=r"`dependencies` in `.*pyproject.toml` is 'six'"):
        dependencies(module)
    (module / "pyproject.toml").write_text("[project]\nname = 'x'\nrequires-python = 3\n")
    with pytest.raises(AuthoringError, match=r"a text like `>=3\.10`"):
        requires_python(module)


def test_the_interpreter_is_told_as_locks_name_it():
    told = interpreter()
    assert told["executable"] == sys.executable
    assert re.fullmatch(r"3\.\d+", told["python"])
    assert re.fullmatch(r"\w+-(manylinux_2_\d+|musllinux_1_2)", told["platform"])


def test_packages_come_before_the_images_and_after_the_standard_library(tmp_path):
    for name in ("json", "packaged", "pytest"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "more").mkdir()
    (tmp_path / "more.pth").write_text("more\n")
    code = (
        "import sys; from manta.light._packages import offer_packages; offer_packages(sys.argv[1])\n"
        "import json, packaged, pytest; print(json.__file__, packaged.__file__, pytest.__file__, sys.path)"
    )
    environment = {**os.environ, "PYTHONPATH": _package_folder()}
    command = [sys.executable, "-c", code, str(tmp_path)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    standard, packaged, shadowing, path = told.split(" ", 3)
    assert not standard.startswith(str(tmp_path))
    assert packaged.startswith(str(tmp_path)) and shadowing.startswith(str(tmp_path))
    assert str(tmp_path / "more") in path


def _package_folder():
    return os.path.dirname(os.path.dirname(os.path.abspath(manta.__file__)))
