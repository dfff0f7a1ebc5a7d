/* Prefill and decode speed with their spread: measured here, with the calls that every host has. */
#include "bench_stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The values of one figure, in the order in which they were measured. */
struct series {
    double *values;
    size_t count, capacity;
};

struct result {
    struct series prefill_tok_s, decode_tok_s, ttft_ms, itl_ms, batch_decode_tok_s, overshoot_ms;
};

static void add(struct series *series, double value) {
    if (series->count == series->capacity) {
        series->capacity = series->capacity ? 2 * series->capacity : 64;
        series->values = realloc(series->values, series->capacity * sizeof value);
        if (!series->values) {
            fail("out of memory");
        }
    }
    series->values[series->count++] = value;
}

static double *sorted_copy(const struct series *series) {
    double *sorted = allocate(series->count * sizeof *sorted);
    memcpy(sorted, series->values, series->count * sizeof *sorted);
    sort_numbers(sorted, series->count);
    return sorted;
}

static double mean(const struct series *series) {
    double sum = 0;
    for (size_t i = 0; i < series->count; i++) {
        sum += series->values[i];
    }
    return series->count ? sum / (double)series->count : NAN;
}

/* Sample standard deviation. */
static double deviation(const struct series *series) {
    double centre = mean(series), sum = 0;
    for (size_t i = 0; i < series->count; i++) {
        sum += (series->values[i] - centre) * (series->values[i] - centre);
    }
    return series->count > 1 ? sqrt(sum / (double)(series->count - 1)) : NAN;
}

/* Steps until a token or the end of the turn. What steps take beyond their budget goes into `overshoot_ms`, unless that is NULL. */
static void step(loquat_session *session, uint64_t budget_ns, struct series *overshoot_ms) {
    loquat_error *error = NULL;
    loquat_event event = {.struct_size = sizeof event};
    loquat_status status = LOQUAT_PENDING;
    while (status == LOQUAT_PENDING) {
        double start = seconds();
        status = check(loquat_session_step(session, budget_ns, &event, &error), &error);
        if (status == LOQUAT_PENDING && overshoot_ms) {
            double over = (seconds() - start) * 1e3 - (double)budget_ns * 1e-6;
            add(overshoot_ms, over > 0 ? over : 0);
        }
    }
}

/* Appends `count` tokens from the middle of the vocabulary, always the same ones for a position. */
static void append(loquat_session *session, uint32_t first, uint32_t count, uint32_t vocab_size) {
    loquat_error *error = NULL;
    uint32_t *tokens = allocate(count * sizeof *tokens);
    for (uint32_t i = 0; i < count; i++) {
        tokens[i] = vocab_size / 4 + (uint32_t)((uint64_t)(first + i) * 7919 % (vocab_size / 2 + 1));
    }
    check(loquat_session_append_tokens(session, tokens, count, &error), &error);
    free(tokens);
}

/* Puts `before` tokens into the context, processed; where they are there already, forgets what came after. */
static void prepare(loquat_session *session, uint32_t first, uint32_t before, uint32_t vocab_size) {
    loquat_error *error = NULL;
    uint32_t held = 0;
    check(loquat_session_position(session, &held, NULL, &error), &error);
    check(loquat_session_truncate(session, held < before ? 0 : before, &error), &error);
    check(loquat_session_set_max_tokens(session, 0, &error), &error);
    if (before) {
        append(session, first, held < before ? before : 0, vocab_size);
        step(session, UINT64_MAX, NULL);
    }
}

static void repeat(loquat_session *session, const struct speed_plan *plan, uint32_t vocab_size, struct result *result) {
    loquat_error *error = NULL;
    /* The context before: processed, nothing generated. Without a prompt its last token is what generation goes on from. */
    uint32_t before = plan->depth ? plan->depth : plan->prompt ? 0 : 1;
    prepare(session, 0, before, vocab_size);
    uint32_t tokens = plan->generate ? plan->generate : 1;
    check(loquat_session_set_max_tokens(session, tokens, &error), &error);
    double start = seconds();
    append(session, before, plan->prompt, vocab_size);
    step(session, plan->budget_ns, &result->overshoot_ms);
    double first = seconds(), last = first;
    if (plan->prompt) {
        add(&result->ttft_ms, (first - start) * 1e3);
        add(&result->prefill_tok_s, plan->prompt / (first - start));
    }
    for (uint32_t i = 1; i < tokens; i++) {
        step(session, plan->budget_ns, &result->overshoot_ms);
        double now = seconds();
        add(&result->itl_ms, (now - last) * 1e3);
        last = now;
    }
    if (tokens > 1) {
        add(&result->decode_tok_s, (tokens - 1) / (last - first));
    }
}

static const struct {
    const char *name;
    uint32_t per_mille;
    size_t least; /* values that it takes for one to lie beyond */
} PERCENTILES[] = {{"p50", 500, 2}, {"p95", 950, 20}, {"p99", 990, 100}, {"p99_9", 999, 1000}};

static void json_series(const char *name, const struct series *series, int samples) {
    double *sorted = sorted_copy(series);
    printf("\"%s\":{\"n\":%zu,\"median\":", name, series->count);
    json_number(stdout, percentile(sorted, series->count, 500));
    fputs(",\"min\":", stdout);
    json_number(stdout, percentile(sorted, series->count, 0));
    fputs(",\"max\":", stdout);
    json_number(stdout, percentile(sorted, series->count, 1000));
    fputs(",\"mean\":", stdout);
    json_number(stdout, mean(series));
    fputs(",\"std\":", stdout);
    json_number(stdout, deviation(series));
    for (size_t i = 0; i < sizeof PERCENTILES / sizeof *PERCENTILES; i++) {
        printf(",\"%s\":", PERCENTILES[i].name);
        json_number(stdout, percentile(sorted, series->count, PERCENTILES[i].per_mille));
    }
    fputs(",\"resolved\":{", stdout);
    for (size_t i = 0; i < sizeof PERCENTILES / sizeof *PERCENTILES; i++) {
        printf("%s\"%s\":%s", i ? "," : "", PERCENTILES[i].name, series->count >= PERCENTILES[i].least ? "true" : "false");
    }
    fputs("}", stdout);
    if (samples) {
        fputs(",\"samples\":[", stdout);
        for (size_t i = 0; i < series->count; i++) {
            fputs(i ? "," : "", stdout);
            json_number(stdout, series->values[i]);
        }
        fputs("]", stdout);
    }
    fputs("}", stdout);
    free(sorted);
}

static void table_row(const char *name, const struct series *series) {
    double *sorted = sorted_copy(series);
    if (series->count) {
        printf("%-16s %7zu", name, series->count);
        const uint32_t columns[] = {500, 0, 1000, 950, 990};
        for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
            printf(" %11.3f", percentile(sorted, series->count, columns[i]));
        }
        printf(" %11.3f\n", mean(series));
    }
    free(sorted);
}

/* Generates with all sessions at once. Their first tokens come from what is processed already, so the passes that are timed are those after. */
static void repeat_batch(loquat_batch *batch, loquat_session **sessions, const struct speed_plan *plan, uint32_t vocab_size, struct result *result) {
    loquat_error *error = NULL;
    uint32_t before = plan->depth ? plan->depth : 1, done = 0, tokens = 0;
    double start = seconds(), last = start;
    for (uint32_t i = 0; i < plan->sequences; i++) {
        prepare(sessions[i], i * 1009, before, vocab_size);
        check(loquat_session_set_max_tokens(sessions[i], plan->generate + 1, &error), &error);
        append(sessions[i], 0, 0, vocab_size); /* begins a turn */
    }
    while (done < plan->sequences) {
        loquat_batch_event event = {.struct_size = sizeof event};
        if (check(loquat_batch_step(batch, UINT64_MAX, &event, &error), &error) != LOQUAT_OK || event.status < 0) {
            fail("the batch stopped: %.*s", (int)event.message_length, event.message);
        }
        done += event.status == LOQUAT_DONE;
        if (event.status == LOQUAT_TOKEN && ++tokens == plan->sequences) {
            start = seconds();
        }
        last = event.status == LOQUAT_TOKEN ? seconds() : last;
    }
    add(&result->batch_decode_tok_s, plan->sequences * plan->generate / (last - start));
}

/* Makes the batch and its sessions, and measures. */
static void measure_batch(const loquat_model *model, loquat_session_options *options, const struct speed_plan *plan, uint32_t vocab_size,
                          struct result *result) {
    loquat_error *error = NULL;
    loquat_batch_options *batch_options = NULL;
    loquat_batch *batch = NULL;
    loquat_session **sessions = allocate(plan->sequences * sizeof *sessions);
    check(loquat_batch_options_new(&batch_options, &error), &error);
    check(loquat_batch_options_set_sessions(batch_options, plan->sequences, &error), &error);
    check(loquat_batch_new(model, batch_options, &batch, &error), &error);
    for (uint32_t i = 0; i < plan->sequences; i++) {
        check(loquat_session_new(model, options, &sessions[i], &error), &error);
        check(loquat_batch_add(batch, sessions[i], NULL, &error), &error);
    }
    for (uint32_t i = 0; i <= plan->repeats; i++) {
        repeat_batch(batch, sessions, plan, vocab_size, result);
        if (i == 0) {
            result->batch_decode_tok_s.count = 0; /* the warm-up */
        }
    }
    for (uint32_t i = 0; i < plan->sequences; i++) {
        loquat_session_free(sessions[i]);
    }
    free(sessions);
    loquat_batch_free(batch);
    loquat_batch_options_free(batch_options);
}

/* What the figures are figures of. */
struct setting {
    char model[256], isa[32];
    size_t model_length, isa_length;
    uint32_t threads;
    double load_ms;
};

static struct setting describe(const loquat_runtime *runtime, const loquat_model *model, double load_ms) {
    loquat_error *error = NULL;
    struct setting setting = {.load_ms = load_ms};
    check(loquat_model_description(model, setting.model, sizeof setting.model, &setting.model_length, &error), &error);
    check(loquat_runtime_isa(runtime, setting.isa, sizeof setting.isa, &setting.isa_length, &error), &error);
    check(loquat_runtime_threads(runtime, &setting.threads, &error), &error);
    if (setting.model_length > sizeof setting.model) {
        setting.model_length = 0;
    }
    return setting;
}

static void print_json(const struct setting *setting, const struct speed_plan *plan, const struct result *result) {
    char date[32];
    time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    uint64_t peak = peak_rss_bytes();
    fputs("{\"schema\":1,\"model\":", stdout);
    json_text(stdout, setting->model, setting->model_length);
    printf(",\"threads\":%u,\"isa\":", setting->threads);
    json_text(stdout, setting->isa, setting->isa_length);
    printf(",\"version\":\"%s\",\"time\":\"%s\",\"prompt\":%u,\"generate\":%u,\"depth\":%u,\"repeats\":%u,\"load_ms\":%.3f,\"peak_rss_bytes\":",
           loquat_version(), date, plan->prompt, plan->generate, plan->depth, plan->repeats, setting->load_ms);
    if (peak) {
        printf("%llu,", (unsigned long long)peak);
    } else {
        fputs("null,", stdout);
    }
    json_series("prefill_tok_s", &result->prefill_tok_s, 1);
    putchar(',');
    json_series("decode_tok_s", &result->decode_tok_s, 1);
    putchar(',');
    json_series("ttft_ms", &result->ttft_ms, 1);
    putchar(',');
    json_series("itl_ms", &result->itl_ms, 0);
    printf(",\"sequences\":%u,", plan->sequences);
    json_series("batch_decode_tok_s", &result->batch_decode_tok_s, 1);
    putchar(',');
    json_series("overshoot_ms", &result->overshoot_ms, 0);
    puts("}");
}

static void print_table(const struct setting *setting, const struct speed_plan *plan, const struct result *result) {
    printf("%.*s\nloquat %s, %u threads, %.*s; prompt %u, generated %u, depth %u; loaded in %.1f ms\n\n", (int)setting->model_length,
           setting->model, loquat_version(), setting->threads, (int)setting->isa_length, setting->isa, plan->prompt, plan->generate,
           plan->depth, setting->load_ms);
    printf("%-16s %7s %11s %11s %11s %11s %11s %11s\n", "", "n", "median", "min", "max", "p95", "p99", "mean");
    table_row("prefill tok/s", &result->prefill_tok_s);
    table_row("decode tok/s", &result->decode_tok_s);
    table_row("first token ms", &result->ttft_ms);
    table_row("inter-token ms", &result->itl_ms);
    if (plan->budget_ns != UINT64_MAX) {
        table_row("overshoot ms", &result->overshoot_ms);
    }
    if (plan->sequences > 1) {
        printf("%u sequences:\n", plan->sequences);
        table_row("decode tok/s", &result->batch_decode_tok_s);
    }
}

int bench_speed(const struct common *common, const struct speed_plan *plan, int json) {
    loquat_error *error = NULL;
    loquat_session_options *options = NULL;
    loquat_session *session = NULL;
    loquat_model_info info = {.struct_size = sizeof info};
    double start = seconds();
    loquat_runtime *runtime = open_runtime(common);
    loquat_model *model = open_model(common, runtime, 0);
    double load_ms = (seconds() - start) * 1e3;
    uint32_t needed = plan->depth + plan->prompt + plan->generate + 1;
    check(loquat_model_get_info(model, &info, &error), &error);
    check(loquat_session_options_new(&options, &error), &error);
    check(loquat_session_options_set_context(options, common->context > needed ? common->context : needed, &error), &error);
    check(loquat_session_options_set_ignore_end(options, 1, &error), &error);
    /* Every repeat computes its whole prompt. */
    check(loquat_session_options_set_prefix_reuse(options, 0, &error), &error);

    struct result result;
    memset(&result, 0, sizeof result);
    struct series *all[] = {&result.prefill_tok_s, &result.decode_tok_s, &result.ttft_ms, &result.itl_ms, &result.batch_decode_tok_s,
                            &result.overshoot_ms};
    if (plan->sequences > 1) {
        measure_batch(model, options, plan, info.vocab_size, &result);
    } else {
        check(loquat_session_new(model, options, &session, &error), &error);
    }
    for (uint32_t i = 0; session && i <= plan->repeats; i++) {
        if (stderr_is_terminal()) {
            fprintf(stderr, "\r%u of %u", i, plan->repeats);
        }
        repeat(session, plan, info.vocab_size, &result);
        for (size_t k = 0; i == 0 && k < sizeof all / sizeof *all; k++) {
            all[k]->count = 0; /* the warm-up */
        }
    }
    if (stderr_is_terminal()) {
        fputs("\r                    \r", stderr);
    }

    struct setting setting = describe(runtime, model, load_ms);
    if (json) {
        print_json(&setting, plan, &result);
    } else {
        print_table(&setting, plan, &result);
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]->values);
    }
    loquat_session_free(session);
    loquat_session_options_free(options);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return fflush(stdout) == 0 ? 0 : 1;
}
