"""The fuzzer of values: it goes on where it was, keeps what is new, and finds a decoder that is broken."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("fuzz_values", ROOT / "python" / "fuzz" / "values.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # What long runs kept leaves short ones little to find.
    monkeypatch.setattr(module, "KEPT", tmp_path / "none.zip")
    return module


def state(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "state.json").read_text())
    return found


def test_a_run_goes_on_where_the_last_one_was(fuzz: Any, tmp_path: Path) -> None:
    arguments = ["--corpus", str(tmp_path), "--seconds", "60", "--seed", "1"]
    assert fuzz.main([*arguments, "--inputs", "300"]) == 0
    first = state(tmp_path)
    assert first["inputs"] >= 300 and len(first["ways"]) > 20 and list((tmp_path / "corpus").iterdir())
    assert fuzz.main([*arguments, "--inputs", "600"]) == 0
    assert state(tmp_path)["inputs"] >= 600 and set(first["ways"]) <= set(state(tmp_path)["ways"])


def test_errors_and_values_that_do_not_survive_are_found(
    fuzz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = fuzz.decode

    def broken(data: bytes) -> Any:
        value = real(data)
        if value is None:
            raise KeyError("tree")
        return {"wrong": len(data)} if value == {} else value

    monkeypatch.setattr(fuzz, "decode", broken)
    assert fuzz.main(["--corpus", str(tmp_path), "--seconds", "60", "--inputs", "1", "--seed", "1"]) == 1
    printed = capsys.readouterr().out
    assert "KeyError" in printed, printed


def test_a_decoder_that_dies_is_found(fuzz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(data: bytes) -> Any:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(fuzz, "decode", dies)
    monkeypatch.setattr(fuzz, "CRASHES_MAX", 1)
    assert fuzz.main(["--corpus", str(tmp_path), "--seconds", "60", "--inputs", "1", "--seed", "1"]) == 1
    reasons = [path.read_text() for path in (tmp_path / "found").glob("*.txt")]
    assert reasons == ["the process ended with -9\n"]
