/* A host that draws frames while a model loads: each frame polls the load for a moment, shows how far it has come, and goes on. */
#include "common.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "Usage: load_progress [options]\n"
    "Loads a model a little in each frame, with its progress on stderr. Ctrl-C gives the load up and leaves nothing behind.\n\n"
    "  --budget MS   what a frame gives to the load, in milliseconds (default: 2; 0: the smallest piece)\n"
    "  --frame MS    what else the host does in a frame (default: 0)\n"
    "  --deadline MS give the load up after this time\n"
    "  --read        read the file into memory instead of mapping it\n"
    "  --estimate    say first what memory the model and a session of it will take\n";

struct arguments {
    struct common common;
    uint64_t budget_ms, frame_ms, deadline_ms;
    int read, estimate;
};

static volatile sig_atomic_t interrupted = 0;

static void on_interrupt(int number) {
    (void)number;
    interrupted = 1;
}

static struct arguments parse(int argc, char **argv) {
    struct arguments arguments = {{0}, 2, 0, UINT64_MAX, 0, 0};
    for (int i = 1; i < argc; i++) {
        if (common_option(&arguments.common, argc, argv, &i)) {
            continue;
        } else if (strcmp(argv[i], "--budget") == 0) {
            arguments.budget_ms = number_value(argc, argv, &i, 0, 1000000);
        } else if (strcmp(argv[i], "--frame") == 0) {
            arguments.frame_ms = number_value(argc, argv, &i, 0, 10000);
        } else if (strcmp(argv[i], "--deadline") == 0) {
            arguments.deadline_ms = number_value(argc, argv, &i, 0, 1000000000);
        } else if (strcmp(argv[i], "--read") == 0) {
            arguments.read = 1;
        } else if (strcmp(argv[i], "--estimate") == 0) {
            arguments.estimate = 1;
        } else {
            bad_usage("unknown option %s", argv[i]);
        }
    }
    return arguments;
}

static double megabytes(uint64_t bytes) {
    return (double)bytes / 1e6;
}

/* What the model and a session of it will take, before anything is loaded. */
static void show_estimate(const struct arguments *arguments, const loquat_runtime *runtime, const loquat_model_options *options) {
    const char *path = model_path(&arguments->common);
    loquat_error *error = NULL;
    loquat_session_options *session = NULL;
    loquat_estimate estimate = {.struct_size = sizeof estimate};
    check(loquat_session_options_new(&session, &error), &error);
    check(loquat_session_options_set_context(session, arguments->common.context, &error), &error);
    check(loquat_model_estimate(runtime, path, strlen(path), options, session, &estimate, &error), &error);
    loquat_session_options_free(session);
    printf("mapped %.1f MB; private %.1f MB: model %.1f, key/value cache %.1f, scratch %.1f\n", megabytes(estimate.weights_mapped),
           megabytes(estimate.private_total), megabytes(estimate.weights_private + estimate.tables), megabytes(estimate.session_kv_cache),
           megabytes(estimate.session_scratch));
}

/* One line on a terminal, else a line for each stage. */
static void show_progress(const loquat_job *job, const char **last_stage) {
    loquat_error *error = NULL;
    loquat_job_progress progress = {.struct_size = sizeof progress};
    check(loquat_job_get_progress(job, &progress, &error), &error);
    if (stderr_is_terminal()) {
        fprintf(stderr, "\r%3.0f %% %-12s", 100 * progress.progress, progress.stage);
    } else if (*last_stage != progress.stage) {
        fprintf(stderr, "%3.0f %% %s\n", 100 * progress.progress, progress.stage);
    }
    *last_stage = progress.stage;
}

int main(int argc, char **argv) {
    begin(argc, argv, HELP);
    struct arguments arguments = parse(argc, argv);
    const char *path = model_path(&arguments.common), *stage = NULL;
    loquat_error *error = NULL;
    loquat_model_options *options = NULL;
    loquat_job *job = NULL;
    loquat_runtime *runtime = open_runtime(&arguments.common);
    check(loquat_model_options_new(&options, &error), &error);
    check(loquat_model_options_set_access(options, arguments.read ? LOQUAT_ACCESS_READ : LOQUAT_ACCESS_MAP, &error), &error);
    if (arguments.estimate) {
        show_estimate(&arguments, runtime, options);
    }
    check(loquat_model_load_start(runtime, path, strlen(path), options, &job, &error), &error);
    if (arguments.deadline_ms != UINT64_MAX) {
        check(loquat_job_set_deadline(job, arguments.deadline_ms * 1000000, &error), &error);
    }
    signal(SIGINT, on_interrupt);

    int frames = 0;
    double longest = 0, start = seconds();
    loquat_status status = LOQUAT_PENDING;
    while (status == LOQUAT_PENDING) {
        if (interrupted) {
            check(loquat_job_cancel(job, &error), &error);
        }
        double before = seconds();
        status = check(loquat_job_poll(job, arguments.budget_ms * 1000000, &error), &error);
        double took = seconds() - before;
        longest = took > longest ? took : longest;
        frames++;
        show_progress(job, &stage);
        if (status == LOQUAT_PENDING) {
            pause_for((double)arguments.frame_ms / 1e3);
        }
    }
    if (stderr_is_terminal()) {
        fputc('\n', stderr);
    }

    if (status == LOQUAT_DONE) {
        char text[512];
        size_t length = 0;
        loquat_model *model = NULL;
        check(loquat_job_take_model(job, &model, &error), &error);
        check(loquat_model_description(model, text, sizeof text, &length, &error), &error);
        printf("%.*s\n%d frames in %.1f ms, the longest poll %.2f ms\n", (int)length, text, frames, 1e3 * (seconds() - start), 1e3 * longest);
        loquat_model_free(model);
    } else {
        loquat_memory memory = {.struct_size = sizeof memory};
        check(loquat_runtime_get_memory(runtime, &memory, &error), &error);
        printf("given up after %d frames; %llu bytes are held\n", frames, (unsigned long long)(memory.private_total + memory.weights_mapped));
    }
    loquat_job_free(job);
    loquat_model_options_free(options);
    loquat_runtime_free(runtime);
    return status == LOQUAT_DONE ? 0 : 130;
}
