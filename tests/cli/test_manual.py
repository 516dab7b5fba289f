"""The manual: pages that are kept are current, every command has what a user looks for, and `man` can show it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shield.cli import _app
from shield.cli.commands import CommandPage, command_pages
from shield.cli.manual import manual_page
from shield.cli.options import setting_keys
from shield.config.changes import needs_restart, waiting
from shield.config.reference import find, reference
from shield.config.settings import Settings
from shield.config.shape import all_keys

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [page for page in command_pages(_app) if page.words != "shield"]
ALONE = [page for page in PAGES if page.more != "COMMAND"]
RUNNER = CliRunner()


@pytest.mark.parametrize("subject", ["commands", "settings"])
def test_the_page_of_the_handbook_is_current(subject: str) -> None:
    made = manual_page(_app, subject, "markdown")

    assert (DOCS / f"{subject}.md").read_text() == made, f"nox -s docs, or shield manual {subject} --format markdown"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.words)
def test_a_command_is_described_by_a_sentence(page: CommandPage) -> None:
    assert page.summary.endswith(".")
    assert len(page.summary) <= 110
    assert all(it.text.endswith((".", ")")) for it in (*page.arguments, *page.options))


@pytest.mark.parametrize("page", ALONE, ids=lambda page: page.words)
def test_a_command_tells_its_exit_codes_and_has_an_example(page: CommandPage) -> None:
    assert page.exit_codes.startswith("0")
    assert all(example.startswith(page.words) for example in page.examples)
    assert page.examples


OFFLINE = {
    *(
        "advise",
        "alarms test",
        "audit",
        "check",
        "cost reconcile",
        "health",
        "prices",
        "serve",
        "sign-url",
        "simulate",
    ),
    *[f"store {word}" for word in ("ls", "verify", "export", "import", "adopt")],
}  # commands with settings that call no operation of the admin API which takes a token


def test_a_command_that_asks_the_node_takes_a_token() -> None:
    spelled = {page.words.removeprefix("shield "): " ".join(it.spelling for it in page.options) for page in ALONE}

    assert {words for words, it in spelled.items() if "--config" in it and "--token-file" not in it} == OFFLINE


@pytest.mark.parametrize("subject", ["commands", "settings"])
def test_man_has_nothing_to_complain_about(subject: str, tmp_path: Path) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff isn't installed")
    page = tmp_path / "page"
    page.write_text(manual_page(_app, subject, "man"))

    ended = subprocess.run(["groff", "-man", "-ww", "-Tutf8", page], capture_output=True, text=True)

    assert ended.stderr == ""
    assert ended.stdout.count("--config" if subject == "commands" else "(default") > 20


def test_the_reference_has_every_key_once() -> None:
    paths = [key.path for group in reference() for key in group.keys]
    repeated = {group.path for group in reference() if group.same_as is not None}

    assert len(paths) == len(set(paths))
    more = {"origins.NAME.price", "cluster.price", "purge.edges.NAME.credentials"}
    assert repeated == {"routes.NAME.freshness", "routes.NAME.response_fields", *more}
    words = {
        part.removesuffix("[]")
        for path in (*paths, *(group.path for group in reference()))
        for part in path.split(".")
    }
    assert {key.split("__")[-1] for key in all_keys({})} <= words


def test_a_key_is_found_by_the_name_that_the_operator_gave() -> None:
    (group,) = find("origins.fra.timeouts.connect")

    (key,) = group.keys
    assert (key.path, key.values, key.default) == ("origins.NAME.timeouts.connect", "duration, at least 10ms", "2s")
    assert [group.path for group in find("cache.tiers")][1:] == ["cache.tiers[]", "cache.tiers[].directories[]"]


def test_what_routes_inherit_is_found_below_them() -> None:
    (group,) = find("routes.images.freshness.grace")

    assert [key.path for key in group.keys] == ["routes.NAME.freshness.grace"]


@pytest.mark.parametrize("key", [key for key in Settings.model_fields if key not in ("admin", "cluster", "tls")])
def test_the_reference_and_a_reload_agree_on_what_needs_a_restart(key: str) -> None:
    running = Settings.model_validate({"origins": {"a": {"provider": "http", "endpoint": "http://127.0.0.1:9"}}})

    assert bool(waiting(running, running.model_copy(update={key: object()}))) == needs_restart([key])


def test_the_settings_may_be_named_by_a_variable(tmp_path: Path) -> None:
    config = tmp_path / "shield.yaml"
    config.write_text("origins: {a: {provider: http, endpoint: 'http://127.0.0.1:9'}}")

    said = RUNNER.invoke(_app, ["explain", "/a.webp"], env={"SHIELD_CONFIG": str(config)})

    assert (said.exit_code, said.stderr) == (0, "")
    assert "/a.webp" in said.output


def test_a_key_is_explained_with_its_variable() -> None:
    said = RUNNER.invoke(_app, ["settings", "cache.memory.capacity"])

    assert said.exit_code == 0
    assert said.output.startswith("cache.memory.capacity: size (default 256MiB; a change needs a restart)\n")
    assert "SHIELD_CACHE__MEMORY__CAPACITY" in said.output


def test_a_key_that_is_none_is_a_slip_with_a_suggestion() -> None:
    said = RUNNER.invoke(_app, ["settings", "cache.memry"])

    assert said.exit_code == 2
    assert said.stderr == 'no key cache.memry; did you mean "cache.memory"?\n'


def test_all_keys_are_shown_without_one() -> None:
    assert RUNNER.invoke(_app, ["settings"]).output.count("\n    ") > 150


def test_keys_are_completed_section_by_section() -> None:
    assert setting_keys("ca") == ["cache", "cache_status"]
    assert setting_keys("cache.memory.") == ["cache.memory.capacity", "cache.memory.max_entry"]


def test_bash_completes_commands_options_and_origins(tmp_path: Path) -> None:
    config = tmp_path / "shield.yaml"
    config.write_text("origins:\n  fra: {}\n  iad: {}\n")

    def completed(line: str) -> list[str]:
        words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_SHIELD_COMPLETE": "complete_bash"}
        return RUNNER.invoke(_app, prog_name="shield", env=words).output.split()

    assert completed("shield rel") == ["reload"]
    assert "verify" in completed("shield store ")
    assert "--online" in completed("shield check --o")
    assert completed(f"shield origin drain --config {config} f") == ["fra"]
    assert completed(f"shield drill --config {tmp_path / 'none'} --origin f") == []
