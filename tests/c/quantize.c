/* Quantising: options, the call and the job, what is given up or refused leaves nothing behind. */
#define _XOPEN_SOURCE 700

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "check.h"

static loquat_runtime *runtime_new(void) {
    loquat_runtime_options *options = NULL;
    loquat_runtime *runtime = NULL;
    EXPECT(LOQUAT_OK, loquat_runtime_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_options_set_threads(options, 2, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_new(options, &runtime, NULL));
    loquat_runtime_options_free(options);
    return runtime;
}

static loquat_quantize_options *options_of(const char *type) {
    loquat_quantize_options *options = NULL;
    EXPECT(LOQUAT_OK, loquat_quantize_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_quantize_options_set_type(options, type, strlen(type), NULL));
    EXPECT(LOQUAT_OK, loquat_quantize_options_set_threads(options, 2, NULL));
    return options;
}

/* Files in a folder. */
static int files_in(const char *path) {
    int count = 0;
    DIR *folder = opendir(path);
    CHECK(folder);
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count - 2;
}

static void loads(const loquat_runtime *runtime, const char *path) {
    loquat_model *model = NULL;
    EXPECT(LOQUAT_OK, loquat_model_load(runtime, path, strlen(path), NULL, &model, NULL));
    loquat_model_free(model);
}

/* A disk that takes no more: files may only have so many bytes. */
static void on_a_full_disk(const loquat_runtime *runtime, const char *in, const char *out) {
    struct rlimit before, limit;
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    limit = before;
    limit.rlim_cur = 1 << 20;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    EXPECT_ERROR(LOQUAT_IO, "out.gguf", loquat_quantize(runtime, in, strlen(in), out, strlen(out), NULL, NULL, &error));
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
}

int main(void) {
    char folder[] = "/tmp/loquat-quantize-XXXXXX", out[64];
    CHECK(mkdtemp(folder));
    snprintf(out, sizeof out, "%s/out.gguf", folder);
    const char *in = "models/emberfield-3m-f32.gguf", *no_model = "Cargo.toml";
    loquat_runtime *runtime = runtime_new();
    loquat_quantize_options *options = options_of("q4_k_m");
    loquat_job *job = NULL;

    /* Options are checked. */
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "IQ4_XS", loquat_quantize_options_set_type(options, "Q7", 2, &error));
    EXPECT(LOQUAT_INVALID_ARGUMENT, loquat_quantize_options_set_importance_text(options, "a", 1, 0, NULL));
    EXPECT(LOQUAT_INVALID_HANDLE, loquat_quantize_options_set_threads(NULL, 1, NULL));

    /* At once. */
    loquat_quantized done = {.struct_size = sizeof done};
    EXPECT(LOQUAT_OK, loquat_quantize(runtime, in, strlen(in), out, strlen(out), options, &done, NULL));
    CHECK(done.changed > 0 && done.changed < done.tensors && done.bytes_after < done.bytes_before && done.importance_tokens == 0);
    loads(runtime, out);
    CHECK(files_in(folder) == 1);

    /* In slices, with a text, over the file that is there. */
    const char *text = "Once upon a time there was a smith who sold a rope to a king.";
    EXPECT(LOQUAT_OK, loquat_quantize_options_set_importance_text(options, text, strlen(text), 16, NULL));
    EXPECT(LOQUAT_OK, loquat_quantize_start(runtime, in, strlen(in), out, strlen(out), options, &job, NULL));
    EXPECT(LOQUAT_INVALID_ARGUMENT, loquat_job_take_quantized(job, &done, NULL));
    float last = 0;
    loquat_status status;
    while ((status = loquat_job_poll(job, 100000, NULL)) == LOQUAT_PENDING) {
        loquat_job_progress progress = {.struct_size = sizeof progress};
        EXPECT(LOQUAT_OK, loquat_job_get_progress(job, &progress, NULL));
        CHECK(progress.progress >= last && progress.progress <= 1);
        last = progress.progress;
    }
    CHECK(status == LOQUAT_DONE);
    loquat_model *model = NULL;
    EXPECT(LOQUAT_INVALID_ARGUMENT, loquat_job_take_model(job, &model, NULL));
    EXPECT(LOQUAT_OK, loquat_job_take_quantized(job, &done, NULL));
    CHECK(done.importance_tokens > 8);
    EXPECT(LOQUAT_INVALID_ARGUMENT, loquat_job_take_quantized(job, &done, NULL));
    loquat_job_free(job);
    loads(runtime, out);
    CHECK(files_in(folder) == 1);

    /* Given up in the middle: the file that was there stays. */
    EXPECT(LOQUAT_OK, loquat_quantize_options_set_importance_text(options, NULL, 0, 1, NULL));
    EXPECT(LOQUAT_OK, loquat_quantize_start(runtime, in, strlen(in), out, strlen(out), options, &job, NULL));
    while (files_in(folder) == 1) {
        EXPECT(LOQUAT_PENDING, loquat_job_poll(job, 0, NULL));
    }
    EXPECT(LOQUAT_PENDING, loquat_job_poll(job, 0, NULL));
    EXPECT(LOQUAT_OK, loquat_job_cancel(job, NULL));
    EXPECT(LOQUAT_CANCELLED, loquat_job_poll(job, UINT64_MAX, NULL));
    CHECK(files_in(folder) == 1);
    loquat_job_free(job);
    loads(runtime, out);

    /* Freed in the middle. */
    EXPECT(LOQUAT_OK, loquat_quantize_start(runtime, in, strlen(in), out, strlen(out), NULL, &job, NULL));
    while (files_in(folder) == 1) {
        EXPECT(LOQUAT_PENDING, loquat_job_poll(job, 0, NULL));
    }
    loquat_job_free(job);
    CHECK(files_in(folder) == 1);

    /* Refused. */
    CHECK(unlink(out) == 0);
    EXPECT(LOQUAT_IO, loquat_quantize(runtime, "/nowhere", 8, out, strlen(out), NULL, NULL, NULL));
    EXPECT(LOQUAT_IO, loquat_quantize(runtime, in, strlen(in), "/nowhere/out.gguf", 17, NULL, NULL, NULL));
    EXPECT(LOQUAT_IO, loquat_quantize(runtime, in, strlen(in), folder, strlen(folder), NULL, NULL, NULL));
    EXPECT(LOQUAT_INVALID_FILE, loquat_quantize(runtime, no_model, strlen(no_model), out, strlen(out), NULL, NULL, NULL));
    on_a_full_disk(runtime, in, out);
    CHECK(files_in(folder) == 0);

    CHECK(rmdir(folder) == 0);
    loquat_quantize_options_free(options);
    loquat_runtime_free(runtime);
    return 0;
}
