"""The README's table and the picture are made from the results' JSON alone."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree

import pytest

import benchmarks
from benchmarks import __main__ as command
from benchmarks import picture, run, table
from benchmarks.registry import cases

SPREAD = {"min": 1.0, "max": 4.0, "first": 3.0, "memory": 2**30, "ms": []}


def results(**medians):
    """Results of the dense VAE; a contender without a median did not run."""
    figures = {name: {"median": value, **SPREAD} if value else {"error": "no compiler"} for name, value in medians.items()}
    return {
        "mode": "quick",
        "threads": 2,
        "machine": {
            "date": "",
            "cores": 2,
            "cpu": "x",
            "load": 0.0,
            "versions": {"jax": "1", "torch": None},
            "peaks": {"flops": 1e11, "bytes": 1e10},
        },
        "cases": {"vae": {**figures, "counts": {"flops": 1e8, "bytes": 1e7}}},
        "imports": {
            "keras_gen": {"median": 3.0},
            "tensorflow + tensorflow_probability": {"median": 2.9},
            "tensorflow + tensorflow_probability.distributions": {"median": 3.0},
        },
        "curves": [{"case": "vae", "setting": "batch", "values": [50, 100], "ms": [1.0, 2.0], "bytes": [2**29, 2**30]}],
    }


def ratio(found, what):
    return next(row["ratio"] for row in table.ratios(found) if what in row["what"])


def test_ratios_are_ours_over_theirs_and_over_the_faster_of_two():
    found = results(keras_gen=2.0, jax_scan=4.0, torch=8.0, torch_compile=5.0)
    assert ratio(found, "lax.scan") == pytest.approx(0.5)
    assert ratio(found, "PyTorch") == pytest.approx(0.4)
    assert "| 0.50 | <= 1.15 | <= 0.8 | aim reached |" in table.markdown(found)


def test_a_case_has_its_own_limit_for_the_first_step():
    found = results(keras_gen=2.0)
    found["cases"]["draw"] = found["cases"]["vae"]
    limits = {row["what"]: row["must"] for row in table.ratios(found) if "first step" in row["what"]}
    assert sorted(limits.values()) == [10.0, 30.0]


def test_quick_mode_measures_what_the_limits_need_and_no_more():
    for case in cases().values():
        quick = case.measured(full=False)
        limited = {name for _, names, must, _ in case.limits if must is not None for name in names}
        assert quick[0] == "keras_gen" and set(quick[1:]) == limited
        assert case.measured(full=True) == list(case.contenders)
    assert "pythae" not in cases()["vae"].measured(full=False)


def test_a_contender_is_far_behind_only_where_none_of_its_steps_came_near():
    assert run._far_behind([10.0, 12.0], [1.9, 2.0])
    assert not run._far_behind([9.9, 30.0], [1.9, 2.0])
    assert not run._far_behind([1.0, 1.1], [1.0, 1.0])


def test_cases_measured_anew_replace_their_own_results_alone():
    old, new = results(keras_gen=2.0, jax_scan=4.0), results(keras_gen=3.0)
    today = {"date": "today", "peaks": {"flops": 2e11, "bytes": 2e10}}
    old["machine"]["date"], new["measured"] = "yesterday", {"gan": today}
    new["cases"] = {"gan": new["cases"]["vae"]}
    old["minutes"] = 35.2
    assert "in one run of 35 minutes," in table.markdown(old)
    merged = run.renewed(new, old)
    assert "minutes" not in merged
    assert merged["cases"] == {"vae": old["cases"]["vae"], "gan": new["cases"]["gan"]}
    assert merged["measured"] == {"vae": {"date": "yesterday", "peaks": old["machine"]["peaks"]}, "gan": today}
    text = table.markdown(merged)
    assert "today to yesterday" in text and "peaks: 100 GFLOP/s and 10 GB/s, 200 GFLOP/s and 20 GB/s" in text
    with pytest.raises(ValueError, match="quick mode, these of full"):
        run.renewed({**new, "mode": "full"}, old)


def test_ratios_of_another_machine_come_last():
    other = results(keras_gen=4.0, jax_scan=2.0)
    other["machine"] = {**other["machine"], "cpu": "another"}
    lines = table.markdown(results(keras_gen=1.0, jax_scan=2.0), [other]).splitlines()
    measured = [index for index, line in enumerate(lines) if line.startswith("Measured")]
    assert len(measured) == 2 and "cores of another" in lines[measured[1]]
    assert any("| 2.00 | <= 1.15 | <= 0.8 | missed |" in line for line in lines[measured[1] :])


def test_missed_limit_is_said():
    assert "| 2.00 | <= 1.15 | <= 0.8 | missed |" in table.markdown(results(keras_gen=4.0, jax_scan=2.0))


def test_contender_that_did_not_run_is_said():
    text = table.markdown(results(keras_gen=2.0, torch=4.0, torch_compile=None))
    assert "torch_compile | did not run: no compiler" in text
    assert "lax.scan` |  | <= 1.15 | <= 0.8 | not run |" in text


def test_curves_that_should_be_straight_are_compared_with_a_line():
    found = results(keras_gen=2.0)
    curve = {"case": "rws5", "setting": "samples", "values": [1, 2, 5], "ms": [1.0, 2.0, 3.0]}
    found["curves"] = [{**curve, "bytes": [2**30, 2**31, 5 * 2**30]}]
    assert "samples = 1, 2, 5 | 1.00, 2.00, 3.00 | 1024, 2048, 5120 | 33%, 0% |" in table.markdown(found)
    found["curves"][0]["setting"] = "size"
    assert "size = 1, 2, 5" not in table.markdown(found)


def test_picture_is_valid_xml_with_every_contender():
    text = picture.svg(results(keras_gen=2.0, jax_scan=4.0))
    xml.etree.ElementTree.fromstring(text)
    assert "jax_scan" in text and "batch" in text


def test_stored_results_make_a_table():
    path = os.path.join(os.path.dirname(benchmarks.__file__), "results.json")
    if not os.path.exists(path):
        pytest.skip("no results stored: `make bench` writes them")
    with open(path) as file:
        assert "our step over" in table.markdown(json.load(file))


def test_what_keras_gen_adds_is_timed_after_tensorflow():
    seconds = run.imports(1)
    (more,) = (row["ratio"] for row in table.ratios({**results(), "cases": {}, "imports": seconds}))
    assert 0.0 < more < seconds["tensorflow + tensorflow_probability"]["min"] / 2


def test_table_imports_nothing_heavy():
    code = "import sys, benchmarks.table, benchmarks.registry; benchmarks.registry.cases(); print(*sys.modules)"
    root = os.path.dirname(os.path.dirname(benchmarks.__file__))
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert not {"tensorflow", "numpy", "torch", "jax", "keras"} & set(ran.stdout.split())


def test_a_contender_that_did_not_run_fails_the_command_after_all_is_written(monkeypatch, tmp_path, capsys):
    found = results(keras_gen=2.0, torch=None)
    monkeypatch.setattr(run, "run", lambda *_, **__: found)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--output", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == "vae, torch did not run: no compiler"
    assert json.loads((tmp_path / "results.json").read_text()) == found
    assert (tmp_path / "results.svg").exists() and "did not run: no compiler" in capsys.readouterr().out
    found["cases"]["vae"].pop("torch")
    command.main()
