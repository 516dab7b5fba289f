"""`shield check`: what it prints, what it says of variables and secret files, and that it never prints a secret."""

from __future__ import annotations

import os
import re
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.build.storage import directory_notes
from shield.cli.check import check
from shield.config.loading import load
from shield.errors import ConfigError
from tests.doubles.certificates import Authority
from tests.ground import DOCUMENTED, PLAIN, SECRET, SIGNED, Ground

KEYS = "    access_key_id: AK\n    secret_key: SK\n"


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("SHIELD_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)


# what is printed


def test_good_settings_are_summed_up(
    ground: Ground, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.secret("shield_origins__fra__secret_key", SECRET, own=True)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(ground.own))
    monkeypatch.setenv("SHIELD_ORIGINS__IAD__SECRET_KEY", SECRET)
    ground.file.write_text(DOCUMENTED)

    code = check(ground.file)

    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    assert printed.out.replace(f"{ground.file.parent}/", "") == (
        "node     fra-1\n"
        "listen   127.0.0.1:8080; admin 127.0.0.1:9180\n"
        "workers  1\n"
        "memory   256MiB of entries, 256MiB of fills\n"
        "origin   fra: primary, ceph, http://127.0.0.1:5001/images/\n"
        "           access_key_id from shield.yaml:10\n"
        "           secret_key from credentials/shield_origins__fra__secret_key\n"
        "origin   iad: replica, aws, http://127.0.0.1:5002/images-iad/\n"
        "           access_key_id from shield.yaml:18\n"
        "           secret_key from SHIELD_ORIGINS__IAD__SECRET_KEY\n"
        "route    default: / from fra, iad\n"
        "settings can be used\n"
    )


def test_it_is_said_where_secrets_of_access_come_from(
    ground: Ground, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHIELD_ACCESS__SIGNED_URLS__KEYS__K2", SECRET * 4)
    (ground.file.parent / "cdn").write_text(f"{SECRET * 4}\n{SECRET * 5}\n")
    access = f"access:\n  header: {{secrets_file: cdn}}\n  signed_urls:\n    keys:\n      k1: {SECRET * 4}\n"
    ground.file.write_text(PLAIN + access)

    code = check(ground.file)

    printed = capsys.readouterr().out
    assert code == 0 and SECRET not in printed
    assert (
        "access   header, signed_urls\n"
        "           header.secrets from cdn\n"
        "           signed_urls.keys.k1 from shield.yaml:9\n"
        "           signed_urls.keys.k2 from SHIELD_ACCESS__SIGNED_URLS__KEYS__K2\n"
    ) in printed.replace(f"{ground.file.parent}/", "")


def test_problems_are_printed_one_a_line(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.file.write_text(f'{PLAIN}node: "a\\nb"\nlog: {{level: "\\e[31m"}}\n')

    code = check(ground.file)

    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert printed.err.splitlines() == [
        f'{ground.file}:5: node: got "a\\nb"; expected letters, digits, dots, hyphens',
        f'{ground.file}:6: log.level: got "\\x1b[31m"; expected one of debug info warning error',
        "2 problems; these settings can't be used",
    ]


def test_a_file_that_cant_be_read_is_one_problem(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(ground.file) == 2
    assert capsys.readouterr().err.startswith(f"{ground.file}: can't be read: No such file or directory\n1 problem;")


def test_a_file_that_is_no_text_is_one_problem(ground: Ground) -> None:
    ground.file.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError) as caught:
        load(ground.file, environ={}, secret_directories=[])

    assert caught.value.problems == [f"{ground.file}: expected text in UTF-8"]


NOTES = {
    "public listener": (
        PLAIN + "listen: ':8080'\naccess: off\n",
        ["shield.yaml:5: listen: 0.0.0.0:8080 can be reached from *"],
    ),
    "public admin": (
        PLAIN + "admin: {listen: ':9', tokens: {oncall: {role: operate, secret: 0123456789abcdef}}}\n",
        ["shield.yaml:5: admin.listen: 0.0.0.0:9 can be reached *"],
    ),
    "plain origin": (
        SIGNED.replace("127.0.0.1", "s3.example.net") + KEYS,
        ["shield.yaml:4: origins.fra.endpoint: s3.example.net is reached over plain HTTP: *"],
    ),
    "unused key": (PLAIN + KEYS, ["shield.yaml:6: origins.fra.secret_key: has no effect: *"]),
    "no primary": (
        PLAIN + "  iad: {provider: http, endpoint: 'http://127.0.0.1:5002'}\n",
        ["shield.yaml:1: origins: none has role: primary, so that after a purge *"],
    ),
    "unused fraction": (
        PLAIN + "freshness: {heuristic_fraction: 0.1}\n",
        ["shield.yaml:5: freshness.heuristic_fraction: has no effect *"],
    ),
}


@pytest.mark.parametrize("case", NOTES)
def test_what_had_better_be_known_is_noted(ground: Ground, case: str) -> None:
    text, expected = NOTES[case]

    notes = [note.replace(f"{ground.file.parent}/", "") for note in ground.load(text).notes]

    assert len(notes) == len(expected)
    for pattern, note in zip(expected, notes, strict=True):
        start = pattern.rstrip("*")
        assert note.startswith(start), note


def test_a_secret_that_all_may_read_is_noted(ground: Ground) -> None:
    ground.file.write_text(SIGNED + KEYS)
    ground.file.chmod(0o644)

    notes = load(ground.file, environ={}, secret_directories=[]).notes

    assert notes == (f"{ground.file}:7: a secret in a file that every user of this machine may read; chmod 600 it",)


TIERS = """\
workers: 4
cache:
  slice_bytes: 64KiB
  tiers:
    - name: fast
      directories:
        - {{path: {0}/one, capacity: 1MiB, free_floor: 0}}
        - {{path: {0}/two, capacity: 2MiB, free_floor: 0}}
    - name: slow
      directories: [{{path: {0}/three, capacity: {1}, free_floor: 1GiB}}]
"""


def test_tiers_and_workers_are_summed_up_and_nothing_is_made(
    ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ground.file.write_text(PLAIN + TIERS.format(tmp_path, "3MiB"))

    code = check(ground.file)

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert "workers  4" in lines
    assert [line for line in lines if line.startswith("tier")] == [
        f"tier     fast: {tmp_path}/one, 1MiB",
        f"tier     fast: {tmp_path}/two, 2MiB",
        f"tier     slow: {tmp_path}/three, 3MiB",
    ]
    assert not (tmp_path / "one").exists()


def test_what_stands_in_a_directorys_way_is_noted(
    ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ground.file.write_text(PLAIN + TIERS.format(tmp_path, "1000000TiB"))

    code = check(ground.file)

    noted = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note") and "/t" in line]
    assert code == 0
    assert any(f"{tmp_path}/two: lies on the same file system as {tmp_path}/one" in line for line in noted)
    assert any(f"{tmp_path}/three: its file system has " in line for line in noted)


def test_the_same_notes_are_there_for_whoever_serves(ground: Ground, tmp_path: Path) -> None:
    settings = ground.settings(PLAIN + TIERS.format(tmp_path, "1000000TiB"))

    assert any("three: its file system has" in note for note in directory_notes(settings))
    assert directory_notes(ground.settings(PLAIN)) == []


# variables and secret files


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("SHIELD_NODE__X", "x", 'no setting has this name; did you mean "SHIELD_NODE"?'),
        ("SHIELD_LISTEN__0", "x", 'no setting has this name; did you mean "SHIELD_LISTEN"?'),
        (
            "SHIELD_ORIGINS__FRA__ENDPIONT",
            "x",
            'no setting has this name; did you mean "SHIELD_ORIGINS__FRA__ENDPOINT"?',
        ),
        ("SHIELD_LOG__LEVEL", "lout", 'log.level: got "lout"; expected one of debug info warning error'),
        ("SHIELD_DRAIN", "{delay: soon}", 'drain.delay: got "soon"; expected a duration: *'),
        ("SHIELD_DRAIN", "{delay: ", "not YAML: *"),
        ("SHIELD_DRAIN", "30s", "drain: expected a mapping of keys to values"),
        (
            "SHIELD_ROUTES__DEFAULT__ORIGINS",
            "fra",
            'routes.default.origins: got "fra"; expected a list, as [one, two]',
        ),
        ("SHIELD_ORIGINS__FRA__SECRET_KEY_FILE", "/none", "origins.fra.secret_key_file: the file can't be read: *"),
    ],
)
def test_a_problem_with_a_variable_names_it(ground: Ground, name: str, value: str, problem: str) -> None:
    found = ground.problems(PLAIN, **{name: value})

    assert len(found) == 1
    assert re.fullmatch(re.escape(f"{name}: {problem}").replace(r"\*", ".*"), found[0]), found


SERVICE = {  # as Kubernetes tells of a Service named shield, or one whose name begins so
    "SHIELD_PORT": "tcp://10.0.0.1:80",
    "SHIELD_PORT_80_TCP_ADDR": "10.0.0.1",
    "SHIELD_SERVICE_HOST": "10.0.0.1",
    "SHIELD_SERVICE_PORT_HTTP": "80",
    "SHIELD_ADMIN_PORT": "tcp://10.0.0.2:80",
    "SHIELD_": "x",
    "SHIELD_OF_ANOTHER_MAKE": "x",
}


def test_variables_of_others_are_left_alone(ground: Ground) -> None:
    loaded = ground.load(PLAIN, **SERVICE)

    assert (loaded.settings, loaded.notes) == (ground.load(PLAIN).settings, ground.load(PLAIN).notes)


@pytest.mark.parametrize(("name", "meant"), [("SHIELD_NDOE", "SHIELD_NODE"), ("shield_workers", "SHIELD_WORKERS")])
def test_a_variable_that_may_have_been_meant_for_us_is_noted(ground: Ground, name: str, meant: str) -> None:
    loaded = ground.load(PLAIN, **{name: "2"})

    assert f'{name}: has no effect: no setting has this name; did you mean "{meant}"?' in loaded.notes
    assert loaded.settings.workers == 1


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (
            "shield_origins__fra__secretkey",
            SECRET,
            'isn\'t read: no setting has this name; did you mean "shield_*key"?',
        ),
        ("shield_Node", "x", 'isn\'t read: no setting has this name; did you mean "shield_node"?'),
        ("shield_node", "", "node: is empty"),
        ("shield_node", b"\xff", "node: can't be read: expected text in UTF-8"),
        ("shield_node", "x" * 70_000, "node: is too large for a secret: expected at most 64KiB"),
        ("shield_origins__fra__secret_key", "with blanks", "origins.fra.secret_key: expected printable ASCII *"),
        ("shield_log__level", "lout", 'log.level: got "lout"; expected one of debug info warning error'),
    ],
)
def test_a_problem_with_a_secret_file_names_it(ground: Ground, name: str, content: str | bytes, problem: str) -> None:
    ground.secret(name, content)

    found = ground.problems(PLAIN)

    assert len(found) == 1
    assert re.fullmatch(re.escape(f"secrets/{name}: {problem}").replace(r"\*", ".*"), found[0]), found


def test_a_secret_that_is_a_directory_is_a_problem(ground: Ground) -> None:
    (ground.shared / "shield_node").mkdir(parents=True)

    assert ground.problems(PLAIN) == ["secrets/shield_node: node: can't be read: Is a directory"]


def test_other_peoples_secrets_are_none_of_our_business(ground: Ground) -> None:
    ground.secret("database_password", SECRET)

    assert ground.settings(PLAIN).origins["fra"].secret_key is None


def test_in_our_own_directory_every_file_must_be_read(ground: Ground) -> None:
    ground.secret("fra_key", SECRET, own=True)
    ground.secret(".hidden", SECRET, own=True)

    assert ground.problems(PLAIN) == [
        "credentials/fra_key: isn't read: expected shield_origins__NAME__secret_key",
    ]


def test_a_credentials_directory_that_isnt_there_is_a_problem(ground: Ground) -> None:
    found = ground.problems(PLAIN, CREDENTIALS_DIRECTORY=str(ground.own))

    assert found == ["credentials: credentials directory can't be read: no such directory"]


def test_a_shared_directory_that_isnt_there_is_none(ground: Ground) -> None:
    assert not ground.shared.exists()
    assert ground.load(PLAIN).notes == ()


# no secret is ever said

LETTERS = "hunter2VerySecretLongAsKeysOfAWSAre1234567"
FRA = (
    "origins:\n  fra:\n    provider: minio\n    bucket: b\n    endpoint: http://127.0.0.1:1\n    access_key_id: AK\n"
)
LEAKS = {
    "a list": f"{FRA}    secret_key: [{SECRET}]\n",
    "a mapping": f"{FRA}    secret_key: {{{SECRET}: {SECRET}, {SECRET}: 1}}\n",
    "a tag": f"{FRA}    secret_key: !{SECRET} x\n",
    "an alias": f"{FRA}    secret_key: *{SECRET}\n",
    "an anchor": f"{FRA}    secret_key: &{SECRET}\n    session_token: &{SECRET}\n",
    "blanks": f"{FRA}    secret_key: '{SECRET} {SECRET}'\n",
    "not ASCII": f"{FRA}    secret_key: '{SECRET}é'\n",
    "a control character": f'{FRA}    secret_key: "{SECRET}\\n"\n',
    "an alias of letters": f"{FRA}    secret_key: *{LETTERS}\n",
    "anchors of letters": f"{FRA}    secret_key: &{LETTERS} x\n    session_token: &{LETTERS} x\n",
    "a tag of letters": f"{FRA}    secret_key: !{LETTERS}!x x\n",
    "a line of its own": f"{FRA}    secret_key:\n{SECRET}: x\n",
    "a line of its own, letters": f"{FRA}    secret_key:\n{LETTERS}: x\n{LETTERS}: x\n",
    "a line among origins": f"{FRA}    secret_key:\n  {LETTERS}: x\n",
    "a line among origins, twice": f"{FRA}    secret_key:\n  {SECRET}: {{role: primary}}\n  {SECRET}: x\n",
    "an open quote": f"{FRA}    secret_key: '{SECRET}\n",
    "a wrong escape": f'{FRA}    secret_key: "\\{SECRET}"\n',
    "a comma": f"origins: {{fra: {{provider: http, endpoint: 'http://h', secret_key: a,{SECRET}}}}}\n",
    "a colon": f"{FRA}    secret_key: a: {SECRET}\n",
    "given twice": f"{FRA}    secret_key: {SECRET}\n    secret_key: {SECRET}\n",
    "an unknown key": f"{FRA}    secret-key: {SECRET}\n",
    "an unknown section": f"{FRA}secrets: {{fra: {{secret_key: {SECRET}}}}}\n",
    "with a file": f"{FRA}    secret_key: {SECRET}\n    secret_key_file: {SECRET}\n",
    "in place of a file": f"{FRA}    secret_key_file: {SECRET}\n",
    "in place of a file, in a list": f"{FRA}    secret_key_file: [{SECRET}]\n",
    "in place of a file, with a null": f'{FRA}    secret_key_file: "{SECRET}\\0"\n',
    "in place of an origin": f"origins: {{fra: {SECRET}}}\n",
    "in place of all": f"{SECRET}\n",
    "in a list of origins": f"origins: [{SECRET}]\n",
    "as the key's id": f"{FRA}    access_key_id: {SECRET} {SECRET}\n",
    "in a URL": f"origins: {{fra: {{provider: http, endpoint: 'http://me:{SECRET.replace('/', '')}@h/'}}}}\n",
    "in a URL's port": f"origins: {{fra: {{provider: http, endpoint: 'http://me:{SECRET.replace('/', '')}@:x/'}}}}\n",
    "in a URL's query": f"origins: {{fra: {{provider: http, endpoint: 'http://h/?X-Amz-Signature={SECRET}'}}}}\n",
    "with bad neighbours": f"{FRA}    secret_key: {SECRET}\n    region: [x]\n    bogus: 1\nnode: []\n",
}
PIECE = SECRET[:7]  # some of it is too much as well


def everything_said(ground: Ground, text: str, **environ: str) -> str:
    """Problems, exceptions with all that hangs on them, representations and notes."""
    try:
        loaded = ground.load(text, **environ)
    except ConfigError as error:
        assert error.__cause__ is None and error.__context__ is None
        return "\n".join([*traceback.format_exception(error), repr(error), *error.problems])
    settings = loaded.settings
    return f"{loaded!r} {settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()} {loaded.notes}"


@pytest.mark.parametrize("case", LEAKS)
def test_a_secret_is_never_said_whatever_is_wrong_with_it(ground: Ground, case: str) -> None:
    with pytest.raises(ConfigError):
        ground.load(LEAKS[case])

    assert PIECE not in everything_said(ground, LEAKS[case])


def test_a_secret_is_never_said_when_all_is_well(ground: Ground) -> None:
    text = f"{FRA}    secret_key: {SECRET}\n    session_token: {SECRET}\n"

    assert PIECE not in everything_said(ground, text)


@pytest.mark.parametrize("value", [f"{SECRET} x", f"[{SECRET}]", f"{{{SECRET}: 1}}", f"{SECRET}\n\n", f"é{SECRET}"])
@pytest.mark.parametrize("key", ["SECRET_KEY", "ACCESS_KEY_ID", "SESSION_TOKEN_FILE", "SECRETKEY"])
def test_a_secret_in_a_variable_is_never_said(ground: Ground, key: str, value: str) -> None:
    assert PIECE not in everything_said(ground, FRA, **{f"SHIELD_ORIGINS__FRA__{key}": value})


@given(
    st.sampled_from([SECRET, LETTERS]),
    st.text("ab:,[]{}&*!|>'\"%@`#?- \\\n\t=é", max_size=8),
    st.text("ab:,[]{}'\"#- \n", max_size=8),
)
def test_a_secret_is_never_said_whatever_is_around_it(secret: str, before: str, after: str) -> None:
    text = f"{FRA}    secret_key: {before}{secret}{after}\n"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda self: text.encode())
        try:
            load(Path("shield.yaml"), environ={}, secret_directories=[])
        except ConfigError as error:
            said = "\n".join(error.problems)
        else:
            said = ""

    assert PIECE not in said, said


# certificates


def test_a_certificate_and_a_key_that_do_not_match_are_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = Authority().write_server(tmp_path, "localhost")
    file = tmp_path / "shield.yaml"
    file.write_text(PLAIN + f"tls: {{certificate_file: {certificate}, key_file: {key}}}\n")
    good, kept = check(file), certificate.read_bytes()
    Authority().write_server(tmp_path, "localhost")
    certificate.write_bytes(kept)

    bad = check(file)

    assert (good, bad) == (0, 2)
    assert "server.key can't be used" in capsys.readouterr().err


def test_a_file_of_authorities_that_has_none_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    file = tmp_path / "shield.yaml"
    file.write_text(PLAIN + "    ca_file: ca.pem\n")

    assert check(file) == 2
    said = capsys.readouterr().err
    assert "origins.fra.ca_file" in said and "no PEM certificates" in said


# tiers


def test_a_tier_that_nobody_could_make_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "shield.yaml"
    tier = f"{{name: nvme, directories: [{{path: {file}/nvme0, capacity: 1GiB}}]}}"
    file.write_text(PLAIN + f"cache: {{tiers: [{tier}]}}\n")

    assert check(file) == 2
    assert f"cache.tiers: nvme: {file}/nvme0: {file} is no directory" in capsys.readouterr().err
