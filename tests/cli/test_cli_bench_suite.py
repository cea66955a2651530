"""`weightzip bench --suite` and `--suite --table`: what reaches the measurement, and what is told."""

import pytest
from fake_peers import write_peers

from weightzip.measure import suite
from weightzip.measure.suite import FULL, QUICK, Record, SuiteResults
from weightzip.measure.suite.results import write_json
from weightzip.zoo import names

FOUND = {"ratio": 10.0, "latent_ratio": None, "value": 98.0, "original": 98.31, "seconds": 1.0, "command": "weightzip compress"}
RECORD = Record("file", "mnist-rnn", "default", {}, "2020-02-03T00:00:00+00:00", 1.0, FOUND)
RESULTS = SuiteResults("weightzip bench --suite", "a machine", {"weightzip": "1"}, (RECORD,))


@pytest.fixture
def asked(monkeypatch):
    """What the suite is asked for; it answers at once."""
    asked = []

    def measure(settings, folder, progress, *, force):
        asked.append((settings, str(folder), force))
        return SuiteResults(
            RESULTS.command, RESULTS.machine, RESULTS.versions, RESULTS.records, {"codecs a.pt": "no luck"}, ("ZipNN",)
        )

    monkeypatch.setattr(suite, "run_suite", measure)
    return asked


def test_the_answer_is_the_page(run, asked):
    result = run("bench", "--suite")
    assert result.code == 0
    assert result.out.startswith("# Results\n")
    assert "| mnist-rnn | 98.31 |" in result.out
    assert "weightzip-suite/results.md: written\n" in result.err
    assert "not installed: ZipNN; " in result.err
    assert "codecs a.pt: left out: no luck; the same command tries it again\n" in result.err
    ((settings, folder, force),) = asked
    assert (settings.models, settings.scope, settings.checkpoints) == (names(), FULL, ())
    assert (settings.seed, settings.threads, folder, force) == (0, 1, "weightzip-suite", False)


def test_options_reach_the_suite(run, asked, model, folder):
    peers = write_peers(folder / "peers")
    command = ["bench", "--suite", model, "--peers", peers, "--quick", "--seed", 3, "--threads", 2, "-o", "out", "-f"]
    assert run(*command, "--models", "mnist-rnn", "--models", "lenet-5", "-q").out == ""
    ((settings, out, force),) = asked
    assert (settings.models, settings.scope) == (("mnist-rnn", "lenet-5"), QUICK)
    assert [str(path) for path in settings.checkpoints] == ["model.pt"]
    assert (settings.seed, settings.threads, out, force) == (3, 2, "out", True)
    assert settings.environment.versions == {"NNCodec": "9.8.7", "ZipNN": "unknown"}


def test_json_is_what_is_in_the_file(run, asked):
    data = run("bench", "--suite", "--json").json
    assert (data["machine"], data["date"], data["failed"]) == ("a machine", "2020-02-03", {"codecs a.pt": "no luck"})
    assert data["records"][0]["found"] == FOUND


def test_tables_are_filled_in_without_measuring(run, asked, folder):
    (folder / "out").mkdir()
    write_json(folder / "out" / "results.json", RESULTS.to_json())
    (folder / "README.md").write_text("a\n<!-- results:zoo -->\n<!-- /results -->\nb\n")
    result = run("bench", "--suite", "-o", "out", "--table", "README.md")
    assert (result.code, result.out, asked) == (0, "README.md: zoo\n", [])
    first, _, *block, last, end = (folder / "README.md").read_text().splitlines()
    assert (first, last, end) == ("a", "<!-- /results -->", "b")
    assert block[-1] == "Measured on 2020-02-03 on a machine, with weightzip 1: `weightzip bench --suite`."
    assert run("bench", "--suite", "-o", "out", "--table", "README.md", "--json").json == {
        "file": "README.md",
        "tables": ["zoo"],
    }


def test_tables_without_results_say_what_to_run(run, asked, folder):
    (folder / "README.md").write_text("<!-- results:zoo --><!-- /results -->")
    result = run("bench", "--suite", "-o", "out", "--table", "README.md")
    assert (result.code, asked) == (2, [])
    assert "out/results.json: no such file; run `weightzip bench --suite -o out` first" in result.err


def test_a_model_that_there_is_not_is_a_usage_error(run):
    result = run("bench", "--suite", "--models", "mnist-rn")
    assert (result.code, result.out) == (2, "")
    assert "did you mean mnist-rnn?" in result.err


@pytest.mark.parametrize("option", [("--quick",), ("--peers", "peers"), ("--models", "mnist-rnn"), ("-f",), ("model.pt",)])
def test_a_table_alone_takes_nothing_that_is_for_measuring(run, option):
    result = run("bench", "--suite", "--table", "README.md", *option)
    assert (result.code, result.out) == (2, "")
    assert "does not go with --suite --table, which measures nothing" in result.err
