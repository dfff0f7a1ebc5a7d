/* Benchmarks from C: options, jobs in slices, results as structs, samples, JSON and text; cancelled, compared, refused. */
#include <math.h>

#include "check.h"

static loquat_model *open_demo(loquat_runtime **runtime) {
    loquat_runtime_options *options = NULL;
    loquat_model *model = NULL;
    EXPECT(LOQUAT_OK, loquat_runtime_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_options_set_threads(options, 2, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_new(options, runtime, NULL));
    EXPECT(LOQUAT_OK, loquat_model_load(*runtime, DEMO_MODEL, strlen(DEMO_MODEL), NULL, &model, NULL));
    loquat_runtime_options_free(options);
    return model;
}

static loquat_status set(loquat_bench_options *options, const char *key, const char *value, loquat_error **error) {
    return loquat_bench_options_set(options, key, strlen(key), value, strlen(value), error);
}

/* Few short requests and no time to warm up. */
static loquat_bench_options *quick(void) {
    loquat_bench_options *options = NULL;
    EXPECT(LOQUAT_OK, loquat_bench_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_request(options, 6, 4, NULL));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_samples(options, 8, 8, NULL));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_warmup(options, 1, 0, NULL));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_requests(options, 3, NULL));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_slots(options, 2, NULL));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_max_length(options, 16, NULL));
    return options;
}

static loquat_bench *measured(const loquat_model *model, uint32_t kind, const loquat_bench_options *options) {
    loquat_job *job = NULL;
    loquat_bench *bench = NULL;
    loquat_model *none = NULL;
    loquat_status status;
    EXPECT(LOQUAT_OK, loquat_bench_start(model, kind, options, &job, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "not finished", loquat_job_take_bench(job, &bench, &error));
    int polls = 0;
    while ((status = loquat_job_poll(job, 200000, NULL)) == LOQUAT_PENDING) {
        polls++;
    }
    CHECK(status == LOQUAT_DONE && polls > 1);
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "makes no model", loquat_job_take_model(job, &none, &error));
    EXPECT(LOQUAT_OK, loquat_job_take_bench(job, &bench, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "taken", loquat_job_take_bench(job, &bench, &error));
    loquat_job_free(job);
    return bench;
}

static loquat_bench_outcome outcome_of(const loquat_bench *bench) {
    loquat_bench_outcome outcome = {.struct_size = sizeof outcome};
    EXPECT(LOQUAT_OK, loquat_bench_get_outcome(bench, &outcome, NULL));
    CHECK(outcome.schema_version == 1);
    return outcome;
}

static char *json_of(const loquat_bench *bench, size_t *length) {
    EXPECT(LOQUAT_BUFFER_TOO_SMALL, loquat_bench_json(bench, NULL, 0, length, NULL));
    char *json = malloc(*length + 1);
    CHECK(json);
    EXPECT(LOQUAT_OK, loquat_bench_json(bench, json, *length, length, NULL));
    json[*length] = 0;
    return json;
}

static void requests(const loquat_model *model) {
    loquat_bench_options *options = quick();
    EXPECT(LOQUAT_OK, loquat_bench_options_set_model_path(options, DEMO_MODEL, strlen(DEMO_MODEL), NULL));
    loquat_bench *bench = measured(model, LOQUAT_BENCH_REQUESTS, options);
    loquat_bench_outcome outcome = outcome_of(bench);
    CHECK(outcome.kind == LOQUAT_BENCH_REQUESTS && outcome.verdict == UINT32_MAX);

    loquat_bench_summary summary = {.struct_size = sizeof summary};
    EXPECT(LOQUAT_OK, loquat_bench_get_summary(bench, &summary, NULL));
    CHECK(summary.iterations == 8 && summary.tokens_generated == 32);
    CHECK(summary.model_load_ms > 0 && summary.first_pass_ms > 0 && summary.kv_cache_waste_pct > 0 && summary.itl_mad_ms >= 0);

    const uint32_t counts[] = {0, 8, 24, 8, 8};
    for (uint32_t series = LOQUAT_BENCH_TTFT_MS; series <= LOQUAT_BENCH_GENERATION_TOK_S; series++) {
        loquat_bench_series figures = {.struct_size = sizeof figures};
        double values[32];
        size_t count = 0;
        EXPECT(LOQUAT_OK, loquat_bench_get_series(bench, series, &figures, NULL));
        EXPECT(LOQUAT_OK, loquat_bench_samples(bench, series, values, 32, &count, NULL));
        CHECK(figures.count == counts[series] && count == counts[series] && !(figures.resolved & 4));
        CHECK(figures.median > 0 && figures.median_low <= figures.median && figures.median <= figures.median_high);
        int found = 0;
        for (size_t i = 0; i < count; i++) {
            found += values[i] == figures.median;
        }
        CHECK(found > 0);
    }
    loquat_bench_series figures = {.struct_size = sizeof figures};
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "series is 9", loquat_bench_get_series(bench, 9, &figures, &error));
    loquat_bench_convoy convoy = {.struct_size = sizeof convoy};
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "kind requests", loquat_bench_get_convoy(bench, &convoy, &error));

    /* A result is no regression of itself; texts that are no results are refused by name. */
    size_t length = 0;
    char *json = json_of(bench, &length);
    CHECK(strstr(json, "\"schema\":\"loquat.bench.requests\"") && strstr(json, "\"cold_start_ms\":null"));
    loquat_bench *comparison = NULL;
    EXPECT(LOQUAT_OK, loquat_bench_compare(json, length, json, length, options, &comparison, NULL));
    outcome = outcome_of(comparison);
    CHECK(outcome.kind == LOQUAT_BENCH_COMPARISON && outcome.verdict == LOQUAT_VERDICT_PASSED);
    EXPECT_ERROR(LOQUAT_INVALID_FILE, "baseline", loquat_bench_compare("{", 1, json, length, NULL, &comparison, &error));
    char text[4096];
    EXPECT(LOQUAT_OK, loquat_bench_text(comparison, text, sizeof text, &length, NULL));
    CHECK(length > 100 && text[length - 1] == '\n');
    free(json);
    loquat_bench_free(comparison);
    loquat_bench_free(bench);
    loquat_bench_options_free(options);
}

static void tests_with_limits(const loquat_model *model) {
    loquat_bench_options *options = quick();
    EXPECT(LOQUAT_OK, loquat_bench_options_set_convoy_limits(options, 1e9, 1e9, 100, NULL));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_saturation_limits(options, -1e9, 1e9, 1e9, NULL));
    loquat_bench *bench = measured(model, LOQUAT_BENCH_SATURATION, options);
    loquat_bench_saturation saturation = {.struct_size = sizeof saturation};
    EXPECT(LOQUAT_OK, loquat_bench_get_saturation(bench, &saturation, NULL));
    CHECK(!saturation.passed && saturation.burning_threads >= 1 && saturation.alone_tok_s > 0);
    CHECK(outcome_of(bench).verdict == LOQUAT_VERDICT_FAILED);
    loquat_bench_free(bench);

    EXPECT(LOQUAT_OK, loquat_bench_options_set_threshold(options, 1e-9, NULL));
    for (uint32_t kind = LOQUAT_BENCH_KV_CACHE; kind <= LOQUAT_BENCH_PREFILL; kind++) {
        bench = measured(model, kind, options);
        loquat_bench_ratio ratio = {.struct_size = sizeof ratio};
        EXPECT(LOQUAT_OK, loquat_bench_get_ratio(bench, 0, &ratio, NULL));
        CHECK(ratio.equal == 1 && ratio.ratio > 0 && ratio.low <= ratio.high && outcome_of(bench).verdict == LOQUAT_VERDICT_PASSED);
        EXPECT(LOQUAT_NOT_FOUND, loquat_bench_get_ratio(bench, 9, &ratio, NULL));
        loquat_bench_free(bench);
    }
    loquat_bench_options_free(options);
}

/* A text of the model's own making, so that there are tokens enough. */
static char *tale(size_t *length) {
    static const char SENTENCE[] = "One misty morning, the baker of Emberfield found a silver key under the old bridge. ";
    size_t each = sizeof SENTENCE - 1, times = 120;
    char *text = malloc(times * each);
    CHECK(text);
    for (size_t i = 0; i < times; i++) {
        memcpy(text + i * each, SENTENCE, each);
    }
    *length = times * each;
    return text;
}

static void quality(const loquat_model *model) {
    loquat_bench_options *options = quick();
    loquat_job *job = NULL;
    size_t length = 0;
    char *text = tale(&length);
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "reference", loquat_bench_start(model, LOQUAT_BENCH_QUALITY, options, &job, &error));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_reference(options, model, NULL));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_text(options, text, length, NULL));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_context(options, 64, NULL));
    free(text);
    loquat_bench *bench = measured(model, LOQUAT_BENCH_QUALITY, options);
    loquat_bench_quality found = {.struct_size = sizeof found};
    EXPECT(LOQUAT_OK, loquat_bench_get_quality(bench, &found, NULL));
    CHECK(found.positions >= 512 && found.positions == 31 * (uint64_t)found.windows);
    CHECK(found.kl_max == 0 && found.top_1_agreement == 1 && found.top_5_agreement == 1 && found.perplexity == found.reference_perplexity);
    CHECK(found.perplexity > 1 && found.greedy_agreement_least == 32 && found.continuations == 8);
    CHECK(outcome_of(bench).verdict == LOQUAT_VERDICT_PASSED);
    loquat_bench_roofline roofline = {.struct_size = sizeof roofline};
    loquat_bench_roof_point point = {.struct_size = sizeof point};
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "kind quality", loquat_bench_get_roofline(bench, &roofline, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "kind quality", loquat_bench_get_roof_point(bench, 0, &point, &error));

    /* A page about it, and about nothing. */
    const loquat_bench *one = bench;
    EXPECT(LOQUAT_BUFFER_TOO_SMALL, loquat_bench_report(&one, 1, NULL, 0, &length, NULL));
    char *page = malloc(length + 1);
    CHECK(page);
    EXPECT(LOQUAT_OK, loquat_bench_report(&one, 1, page, length, &length, NULL));
    page[length] = 0;
    CHECK(strstr(page, "<svg") && strstr(page, "perplexity") && !strstr(page, "http"));
    free(page);
    EXPECT(LOQUAT_BUFFER_TOO_SMALL, loquat_bench_report(NULL, 0, NULL, 0, &length, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "NULL", loquat_bench_report(NULL, 2, NULL, 0, &length, &error));
    loquat_bench_free(bench);
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "mean_kl", loquat_bench_options_set_quality_limits(options, -1, NAN, &error));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_quality_limits(options, NAN, NAN, NULL));
    loquat_bench_options_free(options);
}

static void roofline(const loquat_model *model) {
    loquat_bench_options *options = quick();
    EXPECT(LOQUAT_OK, loquat_bench_options_set_slots(options, 2, NULL));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_repeats(options, 2, NULL));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_prompt_share(options, 32, NULL));
    loquat_bench *bench = measured(model, LOQUAT_BENCH_ROOFLINE, options);
    loquat_bench_roofline found = {.struct_size = sizeof found};
    EXPECT(LOQUAT_OK, loquat_bench_get_roofline(bench, &found, NULL));
    CHECK(found.threads >= 1 && found.memory_block_bytes > 0 && found.memory_gb_s > 0 && found.weights_gb_s > 0);
    CHECK(found.int8_gop_s > 0 && found.f32_gop_s > 0 && found.bf16_gop_s > 0 && found.ridge > 0);
    CHECK(found.token_bytes > 1e6 && found.token_operations > 1e6);
    CHECK(found.fusion_ratio_low <= found.fusion_ratio && found.fusion_ratio <= found.fusion_ratio_high);
    loquat_bench_roof_point point = {.struct_size = sizeof point};
    EXPECT(LOQUAT_OK, loquat_bench_get_roof_point(bench, 0, &point, NULL));
    CHECK(point.tokens == 1 && !point.prefill && point.tok_s > 0 && point.ceiling_tok_s > 0 && point.intensity > 1);
    uint32_t count = 0;
    while (loquat_bench_get_roof_point(bench, count, &point, NULL) == LOQUAT_OK) {
        count++;
    }
    EXPECT(LOQUAT_NOT_FOUND, loquat_bench_get_roof_point(bench, count, &point, NULL));
    CHECK(count >= 3 && point.prefill && point.tokens > 1);
    loquat_bench_free(bench);
    loquat_bench_options_free(options);
}

static void cold_starts(const loquat_model *model) {
    loquat_bench_options *options = quick();
    loquat_job *job = NULL;
    const char *const command[] = {"sh", "-c", "echo x"};
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "LOQUAT_PAGE_CACHE_", loquat_bench_options_set_page_cache(options, 7, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "arguments is NULL", loquat_bench_options_set_command(options, NULL, 1, &error));
#ifndef _WIN32
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "command", loquat_bench_start(model, LOQUAT_BENCH_COLD_START, options, &job, &error));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_command(options, command, 3, NULL));
    loquat_bench *bench = measured(model, LOQUAT_BENCH_COLD_START, options);
    loquat_bench_cold_start found = {.struct_size = sizeof found};
    EXPECT(LOQUAT_OK, loquat_bench_get_cold_start(bench, &found, NULL));
    CHECK(found.starts == 10 && found.page_cache_held == UINT32_MAX && 0 < found.min_ms && found.min_ms <= found.median_ms);
    loquat_bench_free(bench);
#else
    EXPECT(LOQUAT_OK, loquat_bench_options_set_command(options, command, 3, NULL));
    EXPECT_ERROR(LOQUAT_UNSUPPORTED, "Unix", loquat_bench_start(model, LOQUAT_BENCH_COLD_START, options, &job, &error));
#endif
    loquat_bench_options_free(options);
}

static void given_up(const loquat_model *model) {
    for (uint32_t kind = LOQUAT_BENCH_REQUESTS; kind <= LOQUAT_BENCH_PREFILL; kind++) {
        loquat_job *job = NULL;
        loquat_job_progress progress = {.struct_size = sizeof progress};
        EXPECT(LOQUAT_OK, loquat_bench_start(model, kind, NULL, &job, NULL));
        EXPECT(LOQUAT_PENDING, loquat_job_poll(job, 1000000, NULL));
        EXPECT(LOQUAT_OK, loquat_job_get_progress(job, &progress, NULL));
        CHECK(progress.state == LOQUAT_JOB_RUNNING && progress.stage[0]);
        if (kind % 2) {
            EXPECT(LOQUAT_OK, loquat_job_cancel(job, NULL));
        } else {
            EXPECT(LOQUAT_OK, loquat_job_set_deadline(job, 2000000, NULL));
        }
        EXPECT(LOQUAT_CANCELLED, loquat_job_poll(job, UINT64_MAX, NULL));
        loquat_job_free(job);
    }
}

static void refused(const loquat_model *model) {
    loquat_bench_options *options = quick();
    loquat_job *job = NULL;
    EXPECT_ERROR(LOQUAT_INVALID_HANDLE, "model options", loquat_model_options_set_vocab_only((loquat_model_options *)options, 1, &error));
    EXPECT_ERROR(LOQUAT_UNKNOWN_OPTION, "no-such", set(options, "no-such", "1", &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "short_qa", set(options, "workload", "poem", &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "reproducible", set(options, "stop_rule", "sometimes", &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "prompt_tokens", set(options, "prompt_tokens", "many", &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "0 prompt tokens", loquat_bench_options_set_request(options, 0, 1, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "gb_s", loquat_bench_options_set_read_bandwidth(options, -1, &error));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_read_bandwidth(options, NAN, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "kind is 77", loquat_bench_start(model, 77, options, &job, &error));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_sampling(options, 0.7f, 1, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "temperature", loquat_bench_start(model, LOQUAT_BENCH_REQUESTS, options, &job, &error));
    EXPECT(LOQUAT_OK, loquat_bench_options_set_sampling(options, 0, 40, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "top_k", loquat_bench_start(model, LOQUAT_BENCH_CONVOY, options, &job, &error));
    const char *const all[][2] = {
        {"workload", "code_gen"}, {"prompt_tokens", "9"}, {"output_tokens", "3"}, {"stop_rule", "matrix"}, {"min_samples", "3"},
        {"max_samples", "9"}, {"precision", "0.1"}, {"cv_threshold", "0.1"}, {"window", "5"}, {"consecutive", "2"},
        {"warmup_requests", "1"}, {"warmup_ms", "2"}, {"time_budget_ms", "3"}, {"model_path", DEMO_MODEL}, {"seed", "7"},
        {"temperature", "0"}, {"top_k", "1"}, {"kv_type", "q8_0"}, {"context", "99"}, {"batch", "64"}, {"requests", "5"},
        {"long_requests", "2"}, {"slots", "3"}, {"prompt_share", "32"}, {"repeats", "4"}, {"p99_increase_pct", "60"}, {"head_of_line_blocking_ms", "70"},
        {"kv_fragmentation_pct", "20"}, {"load_pct", "25"}, {"throughput_loss_pct", "10"}, {"saturated_p99_increase_pct", "20"},
        {"starvation_factor", "5"}, {"max_length", "40"}, {"threshold", "3"}, {"read_bandwidth_gb_s", "20"}, {"warn_pct", "1"},
        {"fail_pct", "3"}, {"mean_kl", "0.2"}, {"p99_kl", "2"}, {"page_cache", "evicted"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        EXPECT(LOQUAT_OK, set(options, all[i][0], all[i][1], NULL));
    }
    loquat_bench_options_free(options);
}

int main(void) {
    loquat_runtime *runtime = NULL;
    loquat_model *model = open_demo(&runtime);
    requests(model);
    tests_with_limits(model);
    const char *how = getenv("LOQUAT_TEST_CHECK");
    if (!how || strcmp(how, "Valgrind") != 0) { /* a thousand tokens take minutes there */
        quality(model);
        roofline(model);
    }
    cold_starts(model);
    given_up(model);
    refused(model);
    loquat_model_free(model);
    loquat_memory memory = {.struct_size = sizeof memory};
    EXPECT(LOQUAT_OK, loquat_runtime_get_memory(runtime, &memory, NULL));
    CHECK(memory.private_total == 0);
    loquat_runtime_free(runtime);
    return 0;
}
