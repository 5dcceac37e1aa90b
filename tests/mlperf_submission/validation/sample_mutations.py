"""Mutations of the sample submission: each breaks one rule, and says which and how ours judges it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from tests.mlperf_submission.validation.sample_submission import (
    BOX,
    BOX_SERVER,
    FAR,
    GPTJ,
    LAB,
    LLAMA,
    LLAMA_SERVER,
    NULL,
    SDXL,
    TIN,
    Mutation,
    Submission,
    detail_line,
)


@dataclass(frozen=True)
class Case:
    """One mutation.

    Attributes:
        name: in words, joined by underscores.
        parts: the systems that the tree needs.
        rule: the rule that it breaks; empty: none, the tree is still fine.
        expected: how ours judges it. `error` means that the official checker refuses or crashes, too.
    """

    name: str
    parts: str
    rule: str
    expected: Literal["error", "warning", "fine"]
    mutate: Mutation


CASES: list[Case] = []


def error(rule: str, name: str, mutate: Mutation, parts: str = "box") -> None:
    CASES.append(Case(name, parts, rule, "error", mutate))


def warning(rule: str, name: str, mutate: Mutation, parts: str = "box") -> None:
    CASES.append(Case(name, parts, rule, "warning", mutate))


def fine(name: str, mutate: Mutation, parts: str = "box") -> None:
    CASES.append(Case(name, parts, "", "fine", mutate))


def _measure(result: str) -> str:
    return result.replace("/results/", "/measurements/")


def _comply(result: str) -> str:
    return result.replace("/results/", "/compliance/")


def _json_of(result: str) -> str:
    parts = result.split("/")
    return f"{_measure(result)}/{parts[3]}_{parts[5]}.json"


RUN = f"{BOX}/performance/run_1"
SERVER_RUN = f"{BOX_SERVER}/performance/run_1"
DETAIL = f"{RUN}/mlperf_log_detail.txt"
SYSTEM = "closed/Acme/systems/box.json"
ACCURACY = f"{BOX}/accuracy/accuracy.txt"
TESTS = _comply(BOX)


def _link(target: str) -> Mutation:
    return lambda s: (s.root / "closed/Acme/code/link").symlink_to(target)


def _setup_structure() -> None:
    error("S-03", "file_in_root", lambda s: s.write("notes.txt", "x"))
    fine("markdown_and_pdf_in_root", lambda s: s.write("a.md", "x").write("b.pdf", "x"))
    error("S-04", "file_in_division", lambda s: s.write("closed/README.md", "x"))
    error(
        "S-05",
        "results_is_a_file",
        lambda s: s.delete("closed/Acme/results").write("closed/Acme/results", ""),
    )
    error("S-06", "broken_link", _link("nowhere"))
    error("S-06", "sound_relative_link", _link("resnet50/README.md"))
    error("S-06", "link_that_only_resolves_from_root", _link("closed/Acme/calibration.md"))
    error("S-07", "file_over_50_mib", lambda s: _sparse(s, 50 * 1024 * 1024 + 1))
    fine("file_of_50_mib", lambda s: _sparse(s, 50 * 1024 * 1024))
    error("S-08", "name_with_dot", lambda s: s.write("closed/Acme/code/resnet50/.gitkeep", ""))
    error("S-09", "name_with_blank", lambda s: s.write("closed/Acme/code/resnet50/a b", ""))
    error("S-10", "pycache", lambda s: s.write("closed/Acme/code/__pycache__/a.pyc", "x"))
    error("S-11", "empty_folder", lambda s: (s.root / "closed/Acme/code/empty").mkdir())
    fine("odd_characters_in_a_name", lambda s: s.write("closed/Acme/code/é(1)", "x"))
    error("+nothing-to-check", "everything_removed", lambda s: s.delete("closed"))
    error("+nothing-to-check", "division_capitalised", lambda s: s.move("closed", "Closed"))
    warning(
        "+no-results-folder", "submitter_without_results", lambda s: s.write("closed/Other/README.md", "x")
    )
    warning("+unknown-root-folder", "unknown_root_folder", lambda s: s.write("extra/a.txt", "x"))
    warning(
        "+unused-system", "system_without_results", lambda s: s.copy(SYSTEM, "closed/Acme/systems/other.json")
    )
    warning("+calibration", "no_calibration", lambda s: s.delete("closed/Acme/calibration.md"))


def _sparse(s: Submission, size: int) -> None:
    with (s.root / "closed/Acme/code/large").open("wb") as stream:
        stream.truncate(size)


def _setup_systems() -> None:
    error("Y-01", "no_system_json", lambda s: s.move(SYSTEM, "closed/Acme/systems/Box.json"))
    error("Y-02", "system_json_broken", lambda s: s.write(SYSTEM, "{"))
    error("Y-02", "system_json_not_utf8", lambda s: s.write(SYSTEM, b"\xff\xfe{"))
    error("Y-02", "system_json_a_list", lambda s: s.write(SYSTEM, "[]"))
    error("Y-03", "status_unknown", lambda s: s.json(SYSTEM, status="soon"))
    error("Y-03", "status_absent", lambda s: s.json(SYSTEM, status=None))
    error("Y-03", "status_number", lambda s: s.json(SYSTEM, status=3))
    fine("status_upper_case", lambda s: s.json(SYSTEM, status="AVAILABLE"))
    error("Y-04", "type_with_blank", lambda s: s.json(SYSTEM, system_type="datacenter, edge"))
    error("Y-05", "field_absent", lambda s: s.json(SYSTEM, cooling=None))
    error("Y-06", "field_empty", lambda s: s.json(SYSTEM, cooling=""))
    error("Y-06", "field_null", lambda s: s.json(SYSTEM, framework=NULL))
    fine("field_that_may_be_empty", lambda s: s.json(SYSTEM, hw_notes=""))
    error("Y-08", "submitter_differs", lambda s: s.json(SYSTEM, submitter="Other"))
    error("Y-08", "submitter_absent", lambda s: s.json(SYSTEM, submitter=None))
    fine("submitter_in_other_case", lambda s: s.json(SYSTEM, submitter="ACME"))
    error("Y-09", "division_differs", lambda s: s.json(SYSTEM, division="Closed"))
    error("N-01", "network_in_closed", lambda s: s.json(SYSTEM, is_network="True"))
    error("N-01", "network_a_boolean", lambda s: s.json(SYSTEM, is_network=True))
    network = "network/Acme/systems/far.json"
    error("N-01", "no_network_in_network", lambda s: s.json(network, is_network="false"), "far")
    error("N-03", "network_field_absent", lambda s: s.json(network, nic_sut=None), "far")
    error("N-04", "sut_name_not_network", lambda s: s.log(f"{FAR}/performance/run_1", sut_name="SUT"), "far")
    error("G-07", "processor_a_number", lambda s: s.json(SYSTEM, host_processor_model_name=7))
    error("G-07", "notes_a_list", lambda s: s.json(SYSTEM, sw_notes=["a"]))
    warning("+csv", "quote_in_name", lambda s: s.json(SYSTEM, system_name='a "b"'))
    warning("+not-a-number", "nodes_two", lambda s: s.json(SYSTEM, number_of_nodes="two"))
    warning("+unknown-field", "unknown_field", lambda s: s.json(SYSTEM, coolin="air"))


def _setup_models() -> None:
    box = "closed/Acme/results/box"
    error("M-02", "unknown_model", lambda s: s.copy(f"{box}/resnet50", f"{box}/lenet"))
    error("M-08", "model_not_for_edge", lambda s: s.json(SYSTEM, system_type="edge"), "models")
    error("M-05", "scenario_missing", lambda s: s.delete(BOX_SERVER))
    error("M-04", "scenario_not_allowed", lambda s: s.copy(BOX, f"{box}/resnet50/MultiStream"))
    error("M-04", "scenario_misspelled", lambda s: s.copy(BOX, f"{box}/resnet50/OffLine"))
    error("D-04", "open_scenario_unknown", lambda s: _copy_scenario(s, LAB, "Bulk"), "lab")
    fine("open_scenario_missing", lambda s: s.delete(LAB), "lab")
    error("D-07", "open_mapping_broken", lambda s: s.write("open/Acme/model_mapping.json", "{"), "lab")
    error("M-08", "open_model_unmapped", lambda s: s.delete("open/Acme/model_mapping.json"), "lab")
    error(
        "M-08",
        "open_mapped_to_an_alias",
        lambda s: s.write("open/Acme/model_mapping.json", '{"my_net": "resnet50"}'),
        "lab",
    )
    warning("+guessed-model", "guessed_model", lambda s: _rename_model(s, "efficientnet-b0"))
    fine("lower_case_scenario", _lower_case)


def _copy_scenario(s: Submission, result: str, name: str) -> None:
    for room in ("results", "measurements"):
        source = result.replace("/results/", f"/{room}/")
        s.copy(source, f"{source.rsplit('/', 1)[0]}/{name}")


def _rename_model(s: Submission, name: str) -> None:
    for room in ("results", "measurements", "compliance"):
        s.move(f"closed/Acme/{room}/box/resnet50", f"closed/Acme/{room}/box/{name}")
    s.move("closed/Acme/code/resnet50", f"closed/Acme/code/{name}")


def _lower_case(s: Submission) -> None:
    for room in ("results", "measurements", "compliance"):
        s.move(f"closed/Acme/{room}/box/resnet50/Offline", f"closed/Acme/{room}/box/resnet50/offline")


def _setup_measurements() -> None:
    here = _measure(BOX)
    llama = _measure(LLAMA)
    off = "*.*.sample_concatenate_permutation = 0\n"
    error("E-01", "measurements_missing", lambda s: s.delete(here))
    error("E-02", "mlperf_conf_missing", lambda s: s.delete(f"{here}/mlperf.conf"))
    error("E-02", "readme_in_other_case", lambda s: s.move(f"{here}/README.md", f"{here}/readme.md"))
    error("E-03", "user_conf_empty", lambda s: s.write(f"{here}/user.conf", ""))
    fine("extra_file", lambda s: s.write(f"{here}/extra.txt", "x"))
    error("E-05", "json_missing", lambda s: s.delete(_json_of(BOX)))
    error("E-05", "json_of_another_system", lambda s: s.move(_json_of(BOX), f"{here}/other_Offline.json"))
    error("E-06", "json_field_missing", lambda s: s.json(_json_of(BOX), retraining=None))
    error("E-07", "json_field_empty", lambda s: s.json(_json_of(BOX), retraining=""))
    error("E-08", "json_broken", lambda s: s.write(_json_of(BOX), "{"))
    error("E-08", "json_a_number", lambda s: s.write(_json_of(BOX), "3"))
    error("E-10", "equal_issue_off", lambda s: s.write(f"{llama}/mlperf.conf", off), "models")
    text = {"effective_sample_concatenate_permutation": "true"}
    fine(
        "equal_issue_only_as_text_in_the_log",
        lambda s: s.write(f"{llama}/mlperf.conf", off).log(f"{LLAMA}/performance/run_1", **text),
        "models",
    )
    error("E-10", "equal_issue_off_in_user_conf", lambda s: s.append(f"{llama}/user.conf", off), "models")
    fine(
        "equal_issue_for_the_model",
        lambda s: s.write(f"{llama}/mlperf.conf", "llama2-70b.*.sample_concatenate_permutation = 1\n"),
        "models",
    )
    error("E-12", "conf_line_odd", lambda s: s.append(f"{llama}/user.conf", "plain text\n"), "models")
    error(
        "E-12", "conf_two_equals", lambda s: s.append(f"{llama}/user.conf", "a.b.c = 1 # x = 2\n"), "models"
    )
    fine("conf_line_odd_for_resnet", lambda s: s.append(f"{here}/mlperf.conf", "plain text\n"))
    warning("+equal-issue", "equal_issue_off_gptj", lambda s: _equal_issue_off(s, GPTJ), "models")
    warning(
        "+user-conf",
        "user_conf_differs",
        lambda s: s.write(f"{here}/user.conf", "*.Offline.target_qps = 7\n"),
    )
    warning("+retraining", "retrained", lambda s: s.json(_json_of(BOX), retraining="Yes"))
    warning("+several-json", "two_json", lambda s: s.copy(_json_of(BOX), f"{here}/box_x.json"))
    error("C-01", "code_missing", lambda s: s.delete("closed/Acme/code/resnet50"))
    fine("code_in_another_folder", lambda s: _code_text(s, "shared"))
    error("C-01", "code_text_names_nothing", lambda s: _code_text(s, "shared/none"))
    error("C-02", "code_text_not_utf8", lambda s: _code_text(s, b"\xff"))


def _equal_issue_off(s: Submission, result: str) -> None:
    s.write(f"{_measure(result)}/mlperf.conf", "*.*.sample_concatenate_permutation = 0\n")
    s.log(f"{result}/performance/run_1", effective_sample_concatenate_permutation=False)


def _code_text(s: Submission, text: str | bytes) -> None:
    s.move("closed/Acme/code/resnet50", "closed/Acme/code/shared")
    s.write("closed/Acme/code/resnet50", text)


def _setup_performance() -> None:
    error("P-01", "run_missing", lambda s: s.move(f"{BOX}/performance/run_1", f"{BOX}/performance/run_2"))
    error("P-01", "summary_missing", lambda s: s.delete(f"{RUN}/mlperf_log_summary.txt"))
    error("P-01", "extra_file_in_run", lambda s: s.write(f"{RUN}/notes.txt", "x"))
    fine("optional_files_in_run", lambda s: s.write(f"{RUN}/results.json", "x"))
    error("P-02", "invalid", lambda s: s.log(RUN, result_validity="INVALID"))
    error("P-02", "validity_missing", lambda s: s.log(RUN, result_validity=None))
    error("P-03", "error_in_log", lambda s: s.append(DETAIL, detail_line("error_x", "bad", error=True)))
    error("P-04", "few_samples", lambda s: s.log(RUN, effective_performance_sample_count=1023))
    error("P-05", "other_seed", lambda s: s.log(RUN, effective_schedule_rng_seed=1))
    error("P-05", "seed_missing", lambda s: s.log(RUN, effective_qsl_rng_seed=None))
    error("P-05", "seed_as_text", lambda s: s.log(RUN, effective_qsl_rng_seed="3066443479025735752"))
    error("P-06", "short_minimum", lambda s: s.log(RUN, effective_min_duration_ms=599999))
    error("P-07", "no_queries", lambda s: s.log(RUN, effective_min_query_count=0))
    error("P-08", "small_query", lambda s: s.log(RUN, effective_samples_per_query=24575))
    error("P-10", "target_latency_over", lambda s: s.log(SERVER_RUN, effective_target_latency_ns=15000001))
    error("P-13", "log_line_broken", lambda s: s.append(DETAIL, ":::MLLOG {"))
    error("P-13", "log_not_utf8", lambda s: s.append(DETAIL, b"\xff"))
    error("P-15", "log_empty", lambda s: s.write(DETAIL, ""))
    fine("log_with_other_text", lambda s: s.append(DETAIL, "\nother text\r\n\n"))
    error("P-15", "scenario_unknown", lambda s: s.log(RUN, effective_scenario="Bulk"))
    error("P-15", "metric_missing", lambda s: s.log(RUN, result_samples_per_second=None))
    error("P-15", "duration_missing", lambda s: s.log(RUN, effective_min_duration_ms=None))
    error("P-15", "samples_as_text", lambda s: s.log(RUN, effective_samples_per_query="many"))
    fine("metric_as_text", lambda s: s.log(RUN, result_samples_per_second="1234.5"))
    error("P-16", "result_zero", lambda s: s.log(RUN, result_samples_per_second=0))
    error("P-16", "result_negative", lambda s: s.log(RUN, result_samples_per_second=-1))
    error("P-16", "result_infinite", lambda s: s.log(RUN, result_samples_per_second=float("inf")))
    error("P-16", "result_nan", lambda s: s.log(RUN, result_samples_per_second=float("nan")))
    error("P-15", "result_true", lambda s: s.log(RUN, result_samples_per_second=True))
    error("P-15", "duration_true", lambda s: s.log(RUN, effective_min_duration_ms=True))
    tokens = {"result_inferred_tokens_per_second": None}
    error("P-17", "no_token_metric", lambda s: s.log(f"{GPTJ}/performance/run_1", **tokens), "models")
    warning(
        "+early-stopping", "early_stopping_not_met", lambda s: s.log(SERVER_RUN, early_stopping_met=False)
    )
    again = detail_line("result_validity", "INVALID")
    warning("+later-validity", "later_invalid", lambda s: s.append(DETAIL, again))
    warning("+short-run", "ended_early", lambda s: s.log(RUN, power_end=_begin(s)))
    key = "result_99.00_percentile_latency_ns"
    warning("+measured-latency", "latency_over", lambda s: s.log(SERVER_RUN, **{key: 16000000}))
    low = {"effective_target_latency_percentile": 0.9}
    warning("+target-percentile", "percentile_90", lambda s: s.log(SERVER_RUN, **low))
    warning("+test-mode", "accuracy_log_in_run", lambda s: s.log(RUN, effective_test_mode="AccuracyOnly"))
    dirty = {"loadgen_git_status_message": "M loadgen.cc"}
    warning("+loadgen-modified", "loadgen_modified", lambda s: s.log(RUN, **dirty))
    unknown = {"loadgen_git_status_message": "NA"}
    fine("loadgen_of_a_package_index", lambda s: s.log(RUN, **unknown))
    warning(
        "+summary",
        "summary_invalid",
        lambda s: s.write(f"{RUN}/mlperf_log_summary.txt", "Result is : INVALID\n"),
    )
    warning("+other-runs", "second_run", lambda s: s.copy(RUN, f"{BOX}/performance/run_2"))
    multi = f"{TIN}/MultiStream/performance/run_1"
    warning(
        "+samples-per-query", "multistream_of_4", lambda s: s.log(multi, effective_samples_per_query=4), "tin"
    )


def _begin(s: Submission) -> str:
    lines = s.read(DETAIL).splitlines()
    message = next(json.loads(line[8:]) for line in lines if "power_begin" in line)
    return str(message["value"])


def _setup_token_models() -> None:
    run, online = f"{LLAMA}/performance/run_1", f"{LLAMA_SERVER}/performance/run_1"
    off = {"requested_use_token_latencies": False}
    error("L-01", "token_latencies_off", lambda s: s.log(run, **off), "models")
    first = "result_first_token_99.00_percentile_latency_ns"
    each = "result_time_per_output_token_99.00_percentile_ns"
    error("L-02", "first_token_at_2_s", lambda s: s.log(online, **{first: 2000000000}), "models")
    error("L-02", "per_token_at_200_ms", lambda s: s.log(online, **{each: 200000000}), "models")
    error("P-15", "first_token_missing", lambda s: s.log(online, **{first: None}), "models")
    fine("offline_has_no_token_limit", lambda s: s.log(run, **{first: 9000000000}), "models")
    warning(
        "+token-run-invalid", "token_run_invalid", lambda s: s.log(run, result_validity="INVALID"), "models"
    )
    warning("+scenario-differs", "offline_log_in_server", lambda s: s.copy(RUN, SERVER_RUN))
    error(
        "P-15",
        "offline_log_in_llama_server",
        lambda s: s.copy(run, online).log(online, **{first: None}),
        "models",
    )
    offline, single = f"{TIN}/Offline/performance/run_1", f"{TIN}/SingleStream/performance/run_1"
    multi = f"{TIN}/MultiStream/performance/run_1"
    fine("offline_inferred_from_single", lambda s: s.copy(single, offline), "tin")
    fine("offline_inferred_from_multi", lambda s: s.copy(multi, offline), "tin")
    fine("multi_inferred_from_single", lambda s: s.copy(single, multi), "tin")
    zero = {"early_stopping_latency_ms": 0}
    error("P-16", "multi_inferred_from_zero", lambda s: s.copy(single, multi).log(multi, **zero), "tin")
    none = {"result_qps_without_loadgen_overhead": None}
    error("P-15", "inferred_from_nothing", lambda s: s.copy(single, offline).log(offline, **none), "tin")
    warning("+scenario-differs", "single_from_offline", lambda s: s.copy(offline, single), "tin")
    single_log = {"effective_scenario": "SingleStream"}
    warning("+inferred-datacenter", "inferred_in_datacenter", lambda s: s.log(RUN, **single_log))


def _setup_accuracy() -> None:
    run = f"{BOX}/accuracy"
    digest = f"hash={'ab' * 32}\n"
    error("A-01", "accuracy_low", lambda s: s.write(ACCURACY, f"accuracy=75.695%\n{digest}"))
    error("A-01", "accuracy_tiny", lambda s: s.write(ACCURACY, f"accuracy=8.6e-05%\n{digest}"))
    fine("accuracy_with_exponent", lambda s: s.write(ACCURACY, f"accuracy=7.61e+01%\n{digest}"))
    error("A-01", "bad_line_then_good", lambda s: s.write(ACCURACY, f"accuracy=1%\naccuracy=76%\n{digest}"))
    error("A-02", "metric_missing_in_text", lambda s: s.write(ACCURACY, f"acc 76.1\n{digest}"))
    error("A-02", "metric_indented", lambda s: s.write(ACCURACY, f" accuracy=76.1%\n{digest}"))
    llama, gptj = f"{LLAMA}/accuracy/accuracy.txt", f"{GPTJ}/accuracy/accuracy.txt"
    error(
        "A-03", "too_many_tokens", lambda s: s.write(llama, s.read(llama).replace("294.5", "330.0")), "models"
    )
    error(
        "A-02",
        "one_of_many_missing",
        lambda s: s.write(llama, s.read(llama).replace("rougeL'", "rl'")),
        "models",
    )
    error(
        "+totals",
        "total_over_few_samples",
        lambda s: s.write(gptj, s.read(gptj).replace("4016000", "30050, 'gen_num': 100")),
        "models",
    )
    error(
        "A-01",
        "total_over_few_short_samples",
        lambda s: s.write(gptj, s.read(gptj).replace("4016000", "27000, 'gen_num': 100")),
        "models",
    )
    error("A-04", "number_broken", lambda s: s.write(ACCURACY, f"accuracy=7.6.1%\n{digest}"))
    error("A-04", "text_not_utf8", lambda s: s.append(ACCURACY, b"\xff"))
    error("A-05", "no_hash", lambda s: s.write(ACCURACY, "accuracy=76.1%\n"))
    error("A-05", "hash_with_text", lambda s: s.write(ACCURACY, "accuracy=76.1%\nhash=abc of log\n"))
    error("A-06", "accuracy_txt_missing", lambda s: s.delete(ACCURACY))
    error("A-06", "open_accuracy_txt_missing", lambda s: s.delete(f"{LAB}/accuracy/accuracy.txt"), "lab")
    error("A-07", "accuracy_log_missing", lambda s: s.delete(f"{run}/mlperf_log_accuracy.json"))
    error("A-07", "extra_accuracy_file", lambda s: s.write(f"{run}/notes.txt", "x"))
    error("A-07", "open_extra_accuracy_file", lambda s: s.write(f"{LAB}/accuracy/notes.txt", "x"), "lab")
    error("A-08", "log_not_truncated", lambda s: s.write(f"{run}/mlperf_log_accuracy.json", "x" * 10241))
    fine("log_of_10240_bytes", lambda s: s.write(f"{run}/mlperf_log_accuracy.json", "x" * 10240))
    detail = f"{run}/mlperf_log_detail.txt"
    error("A-09", "accuracy_run_with_error", lambda s: s.append(detail, detail_line("e", "bad", error=True)))
    error("A-10", "accuracy_detail_broken", lambda s: s.append(detail, ":::MLLOG {"))
    fine("accuracy_detail_empty", lambda s: s.write(detail, ""))
    error("A-11", "image_missing", lambda s: s.delete(f"{SDXL}/accuracy/images/4655.png"), "models")
    low = f"{LAB}/accuracy/accuracy.txt"
    fine("open_accuracy_low", lambda s: s.write(low, f"accuracy=3%\n{digest}"), "lab")
    warning("+open-accuracy", "open_no_hash", lambda s: s.write(low, "accuracy=3%\n"), "lab")
    warning("+unread-accuracy", "bad_after_hash", lambda s: s.append(ACCURACY, "accuracy=3%\n"))
    warning("+impossible-accuracy", "accuracy_250", lambda s: s.write(ACCURACY, f"accuracy=250%\n{digest}"))
    warning(
        "+accuracy-number", "accuracy_with_comma", lambda s: s.write(ACCURACY, f"accuracy=76,1%\n{digest}")
    )
    warning(
        "+accuracy-number", "accuracy_unit", lambda s: s.write(ACCURACY, f"accuracy=76.1percent\n{digest}")
    )
    error("A-01", "accuracy_hexadecimal", lambda s: s.write(ACCURACY, f"accuracy=0x4C%\n{digest}"))
    warning("+hash", "hash_a_word", lambda s: s.write(ACCURACY, "accuracy=76.1%\nhash=none\n"))
    warning("+accuracy-mode", "performance_log_in_accuracy", lambda s: s.copy(DETAIL, detail))
    warning("+accuracy-samples", "few_accuracy_samples", lambda s: s.log(run, qsl_reported_total_count=500))


def _setup_compliance() -> None:
    test01, test05 = f"{TESTS}/TEST01", f"{TESTS}/TEST05/performance/run_1"
    error("T-02", "compliance_missing", lambda s: s.delete(TESTS))
    error("T-03", "test_missing", lambda s: s.delete(f"{TESTS}/TEST04"))
    fine("other_test", lambda s: s.copy(f"{TESTS}/TEST04", f"{TESTS}/TEST99"))
    error(
        "T-04",
        "performance_not_verified",
        lambda s: s.write(f"{test01}/verify_performance.txt", "TEST FAIL\n"),
    )
    error("T-04", "verify_performance_missing", lambda s: s.delete(f"{TESTS}/TEST05/verify_performance.txt"))
    error("T-05", "test_summary_missing", lambda s: s.delete(f"{test05}/mlperf_log_summary.txt"))
    error("T-05", "extra_file_in_test", lambda s: s.write(f"{test05}/notes.txt", "x"))
    error("P-02", "test_invalid", lambda s: s.log(test05, result_validity="INVALID"))
    error("P-05", "test05_with_ordinary_seeds", lambda s: s.copy(f"{TESTS}/TEST04/performance/run_1", test05))
    error("P-06", "test_short", lambda s: s.log(test05, effective_min_duration_ms=1000))
    error(
        "P-15",
        "test01_key_missing",
        lambda s: s.log(f"{test01}/performance/run_1", effective_min_duration_ms=None),
    )
    error("T-09", "verify_accuracy_missing", lambda s: s.delete(f"{test01}/verify_accuracy.txt"))
    error(
        "T-10",
        "baseline_where_none_is_needed",
        lambda s: s.write(f"{test01}/accuracy/baseline_accuracy.txt", "x"),
    )
    error("T-10", "fallback_files_missing", lambda s: s.write(f"{test01}/verify_accuracy.txt", "TEST FAIL\n"))
    fine("fallback_within_one_percent", lambda s: _fallback(s, "76.1", "75.9"))
    error("T-11", "fallback_beyond_one_percent", lambda s: _fallback(s, "76.1", "75.0"))
    test06 = f"{_comply(LLAMA_SERVER)}/TEST06/verify_accuracy.txt"
    no_end = "First token check pass: True\nEOS check pass: False\nSample length check pass: True\n"
    error("T-12", "test06_without_end", lambda s: s.write(test06, no_end), "models")
    skipped = no_end.replace("True", "Skipped", 1).replace("False", "True")
    warning("+first-token-skipped", "first_token_skipped", lambda s: s.write(test06, skipped), "models")
    warning(
        "+audit-unreadable", "test05_key_missing", lambda s: s.log(test05, effective_min_duration_ms=None)
    )
    warning(
        "+audit-unreadable",
        "test05_broken",
        lambda s: s.append(f"{test05}/mlperf_log_detail.txt", ":::MLLOG {"),
    )
    result_as_test = "+audit-copy"
    warning(result_as_test, "result_as_test01", lambda s: s.copy(RUN, f"{test01}/performance/run_1"))
    same = {"effective_performance_issue_same": False}
    warning(
        "+audit-not-applied",
        "test04_not_applied",
        lambda s: s.log(f"{TESTS}/TEST04/performance/run_1", **same),
    )
    other = f"{_comply(BOX_SERVER)}/TEST05/performance/run_1"
    warning("+audit-target", "test_with_other_target", lambda s: s.log(other, effective_target_qps=500))
    warning("+audit-system", "test_of_other_system", lambda s: s.log(other, sut_name="another machine"))
    elsewhere = f"{TIN}/Offline/performance/run_1"
    warning("+same-log", "log_of_another_system", lambda s: s.copy(elsewhere, RUN), "box tin")
    warning(
        "+overlap", "runs_overlap", lambda s: s.log(SERVER_RUN, power_begin=_begin(s), test_datetime=None)
    )


def _fallback(s: Submission, baseline: str, compliance: str) -> None:
    test01 = f"{TESTS}/TEST01"
    s.write(f"{test01}/verify_accuracy.txt", "TEST FAIL\n")
    s.write(f"{test01}/accuracy/baseline_accuracy.txt", f"accuracy={baseline}%\n")
    s.write(f"{test01}/accuracy/compliance_accuracy.txt", f"accuracy={compliance}%\n")


_setup_structure()
_setup_systems()
_setup_models()
_setup_measurements()
_setup_performance()
_setup_token_models()
_setup_accuracy()
_setup_compliance()
