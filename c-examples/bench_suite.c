/* The library's own benchmarks: run as jobs, watched, given up on Ctrl-C. */
#include "bench_stats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FAILED_GATE = 3, INTERRUPTED = 130 };

typedef loquat_status (*text_of)(const loquat_bench *, char *, size_t, size_t *, loquat_error **);

/* A text of a result. */
static struct bytes text_from(const loquat_bench *bench, text_of get) {
    loquat_error *error = NULL;
    struct bytes text = {NULL, 0};
    check(get(bench, NULL, 0, &text.length, &error), &error);
    text.data = allocate(text.length);
    check(get(bench, text.data, text.length, &text.length, &error), &error);
    return text;
}

/* Writes a file whole or not at all: what was there stays until all is written. */
static void write_file(const char *path, const struct bytes *content) {
    size_t length = strlen(path);
    char *aside = allocate(length + sizeof ".part");
    memcpy(aside, path, length);
    memcpy(aside + length, ".part", sizeof ".part");
    FILE *file = open_file(aside, "wb");
    if (!file) {
        fail("%s: %s", aside, strerror(errno));
    }
    int written = fwrite(content->data, 1, content->length, file) == content->length && fputc('\n', file) != EOF;
    if (fclose(file) != 0 || !written || replace_file(aside, path) != 0) {
        int reason = errno;
        remove(aside);
        fail("%s: %s", path, strerror(reason));
    }
    free(aside);
}

/* Prints a result; the status that its verdict means. */
static int hand_out(const loquat_bench *bench, const struct suite_output *output, int gate) {
    loquat_error *error = NULL;
    loquat_bench_outcome outcome = {.struct_size = sizeof outcome};
    struct bytes text = text_from(bench, output->json ? loquat_bench_json : loquat_bench_text);
    check(loquat_bench_get_outcome(bench, &outcome, &error), &error);
    fwrite(text.data, 1, text.length, stdout);
    if (output->json) {
        putchar('\n');
    }
    free(text.data);
    if (fflush(stdout) != 0) {
        return 1;
    }
    return gate && outcome.verdict == LOQUAT_VERDICT_FAILED ? FAILED_GATE : 0;
}

static void store(const loquat_bench *bench, const struct suite_output *output) {
    if (output->file) {
        struct bytes json = text_from(bench, loquat_bench_json);
        write_file(output->file, &json);
        free(json.data);
    }
}

static loquat_bench *compare(const struct bytes *baseline, const struct bytes *current, const loquat_bench_options *options) {
    loquat_error *error = NULL;
    loquat_bench *comparison = NULL;
    check(loquat_bench_compare(baseline->data, baseline->length, current->data, current->length, options, &comparison, &error), &error);
    return comparison;
}

/* Runs a benchmark to its end; NULL where Ctrl-C ended it. */
static loquat_bench *measure(const loquat_model *model, uint32_t kind, const loquat_bench_options *options) {
    loquat_error *error = NULL;
    loquat_job *job = NULL;
    loquat_bench *bench = NULL;
    check(loquat_bench_start(model, kind, options, &job, &error), &error);
    if (run_job(job) == LOQUAT_DONE) {
        check(loquat_job_take_bench(job, &bench, &error), &error);
    }
    loquat_job_free(job);
    return bench;
}

/* Gives the options the reference and the text of a benchmark of quality. */
static void set_subjects(const struct common *common, const loquat_runtime *runtime, const struct suite_plan *plan,
                         loquat_bench_options *options) {
    loquat_error *error = NULL;
    struct common other = *common;
    struct bytes text = read_file(plan->text);
    other.model = plan->reference;
    loquat_model *reference = open_model(&other, runtime, 0);
    check(loquat_bench_options_set_reference(options, reference, &error), &error);
    check(loquat_bench_options_set_text(options, text.data, text.length, &error), &error);
    free(text.data);
    loquat_model_free(reference); /* the options keep it */
}

int bench_suite(const struct common *common, const struct suite_plan *plan, loquat_bench_options *options, const struct suite_output *output) {
    int status = INTERRUPTED;
    /* Read first: a baseline that is not there is known before anything is measured. */
    struct bytes before = {NULL, 0};
    if (plan->baseline) {
        before = read_file(plan->baseline);
    }
    loquat_runtime *runtime = open_runtime(common);
    loquat_model *model = open_model(common, runtime, 0);
    if (plan->reference) {
        set_subjects(common, runtime, plan, options);
    }
    loquat_bench *bench = measure(model, plan->kind, options);
    if (bench) {
        store(bench, output);
        if (plan->baseline) {
            struct bytes now = text_from(bench, loquat_bench_json);
            loquat_bench *comparison = compare(&before, &now, options);
            status = hand_out(comparison, output, 1);
            loquat_bench_free(comparison);
            free(now.data);
        } else {
            status = hand_out(bench, output, plan->gate);
        }
    }
    free(before.data);
    loquat_bench_free(bench);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return status;
}

/* The parts of a report, by the names of their files. */
static const struct part {
    const char *file;
    uint32_t kind;
} PARTS[] = {
    {"requests.json", LOQUAT_BENCH_REQUESTS}, {"roofline.json", LOQUAT_BENCH_ROOFLINE}, {"prefill.json", LOQUAT_BENCH_PREFILL},
    {"kv_cache.json", LOQUAT_BENCH_KV_CACHE}, {"convoy.json", LOQUAT_BENCH_CONVOY},
};
enum { PART_COUNT = sizeof PARTS / sizeof *PARTS };

static void write_into(const char *folder, const char *name, const struct bytes *content) {
    size_t length = strlen(folder) + strlen(name) + 2;
    char *path = allocate(length);
    snprintf(path, length, "%s/%s", folder, name);
    write_file(path, content);
    free(path);
}

int bench_report(const struct common *common, const loquat_bench_options *options, const char *folder) {
    loquat_error *error = NULL;
    loquat_bench *benches[PART_COUNT] = {NULL};
    size_t done = 0;
    watch_interrupts(); /* to the end: a page is written whole or not at all */
    loquat_runtime *runtime = open_runtime(common);
    loquat_model *model = open_model(common, runtime, 0);
    for (; done < PART_COUNT; done++) {
        fprintf(stderr, "%s (%zu of %d)\n", PARTS[done].file, done + 1, PART_COUNT);
        benches[done] = measure(model, PARTS[done].kind, options);
        if (!benches[done]) {
            break;
        }
    }
    /* Nothing is written before all is there. */
    int whole = done == PART_COUNT && !was_interrupted();
    if (whole) {
        struct bytes page = {NULL, 0};
        const loquat_bench *const *all = (const loquat_bench *const *)benches;
        check(loquat_bench_report(all, PART_COUNT, NULL, 0, &page.length, &error), &error);
        page.data = allocate(page.length);
        check(loquat_bench_report(all, PART_COUNT, page.data, page.length, &page.length, &error), &error);
        make_folder(folder);
        for (size_t i = 0; i < PART_COUNT; i++) {
            struct bytes json = text_from(benches[i], loquat_bench_json);
            write_into(folder, PARTS[i].file, &json);
            free(json.data);
        }
        write_into(folder, "report.html", &page);
        free(page.data);
        printf("%s/report.html\n", folder);
    }
    for (size_t i = 0; i < done; i++) {
        loquat_bench_free(benches[i]);
    }
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return whole ? 0 : INTERRUPTED;
}

int bench_first_token(const struct common *common) {
    loquat_error *error = NULL;
    loquat_session_options *options = NULL;
    loquat_session *session = NULL;
    loquat_event event = {.struct_size = sizeof event};
    loquat_runtime *runtime = open_runtime(common);
    loquat_model *model = open_model(common, runtime, 0);
    const uint32_t first = 0;
    check(loquat_session_options_new(&options, &error), &error);
    check(loquat_session_options_set_ignore_end(options, 1, &error), &error);
    if (common->context) {
        check(loquat_session_options_set_context(options, common->context, &error), &error);
    }
    check(loquat_session_new(model, options, &session, &error), &error);
    check(loquat_session_append_tokens(session, &first, 1, &error), &error);
    check(loquat_session_step(session, UINT64_MAX, &event, &error), &error);
    printf("%u\n", event.token);
    int status = fflush(stdout) == 0 ? 0 : 1;
    loquat_session_free(session);
    loquat_session_options_free(options);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return status;
}

int bench_compare(const char *baseline, const char *current, const loquat_bench_options *options, const struct suite_output *output) {
    struct bytes before = read_file(baseline), now = read_file(current);
    loquat_bench *comparison = compare(&before, &now, options);
    store(comparison, output);
    int status = hand_out(comparison, output, 1);
    loquat_bench_free(comparison);
    free(before.data);
    free(now.data);
    return status;
}
