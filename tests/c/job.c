/* Loading as a job: slices, progress, cancel, deadline, lent memory, errors; and the memory estimate against what is accounted. */
#include <pthread.h>
#include <time.h>

#include "check.h"

static loquat_runtime *runtime_of(uint64_t memory_limit) {
    loquat_runtime_options *options = NULL;
    loquat_runtime *runtime = NULL;
    EXPECT(LOQUAT_OK, loquat_runtime_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_options_set_threads(options, 2, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_options_set_memory_limit(options, memory_limit, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_new(options, &runtime, NULL));
    loquat_runtime_options_free(options);
    return runtime;
}

static loquat_job *start(const loquat_runtime *runtime, const char *path) {
    loquat_job *job = NULL;
    EXPECT(LOQUAT_OK, loquat_model_load_start(runtime, path, strlen(path), NULL, &job, NULL));
    return job;
}

static loquat_job_progress progress_of(const loquat_job *job) {
    loquat_job_progress progress = {.struct_size = sizeof progress};
    EXPECT(LOQUAT_OK, loquat_job_get_progress(job, &progress, NULL));
    CHECK(progress.progress >= 0 && progress.progress <= 1 && progress.stage);
    return progress;
}

static void nothing_held(const loquat_runtime *runtime) {
    loquat_memory memory = {.struct_size = sizeof memory};
    EXPECT(LOQUAT_OK, loquat_runtime_get_memory(runtime, &memory, NULL));
    CHECK(memory.private_total == 0 && memory.weights_mapped == 0);
}

/* To the end in pieces; the number of polls. */
static int to_the_end(loquat_job *job) {
    const char *stages[] = {"file", "metadata", "tokenizer", "weights"};
    size_t stage = 0;
    float last = 0;
    for (int polls = 1;; polls++) {
        loquat_job_progress progress = progress_of(job);
        CHECK(progress.state == LOQUAT_JOB_RUNNING && progress.progress >= last);
        while (strcmp(progress.stage, stages[stage]) != 0) {
            CHECK(++stage < 4);
        }
        last = progress.progress;
        loquat_status status = loquat_job_poll(job, 0, NULL);
        if (status == LOQUAT_DONE) {
            progress = progress_of(job);
            CHECK(stage == 3 && progress.state == LOQUAT_JOB_FINISHED && progress.progress == 1);
            return polls;
        }
        CHECK(status == LOQUAT_PENDING);
    }
}

static void finished(void) {
    loquat_runtime *runtime = runtime_of(UINT64_MAX);
    loquat_job *job = start(runtime, DEMO_MODEL);
    loquat_model *model = NULL;
    loquat_model_info info = {.struct_size = sizeof info};
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "not finished", loquat_job_take_model(job, &model, &error));
    CHECK(to_the_end(job) > 50);
    EXPECT(LOQUAT_DONE, loquat_job_poll(job, 0, NULL));
    EXPECT(LOQUAT_OK, loquat_job_cancel(job, NULL)); /* too late, and no harm */
    EXPECT(LOQUAT_DONE, loquat_job_poll(job, 0, NULL));
    EXPECT(LOQUAT_OK, loquat_job_take_model(job, &model, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "taken", loquat_job_take_model(job, &model, &error));
    /* The model needs neither the job nor the host's handle of the runtime. */
    loquat_runtime_free(runtime);
    loquat_job_free(job);
    EXPECT(LOQUAT_OK, loquat_model_get_info(model, &info, NULL));
    CHECK(info.vocab_size == 2048 && info.has_weights == 1);
    loquat_model_free(model);

    /* A result that nobody takes goes with the job; so does work in progress, which keeps its runtime. */
    runtime = runtime_of(UINT64_MAX);
    job = start(runtime, DEMO_MODEL);
    to_the_end(job);
    loquat_job_free(job);
    nothing_held(runtime);
    job = start(runtime, DEMO_MODEL);
    EXPECT(LOQUAT_PENDING, loquat_job_poll(job, 0, NULL));
    loquat_runtime_free(runtime);
    EXPECT(LOQUAT_PENDING, loquat_job_poll(job, 0, NULL));
    loquat_job_free(job);
}

static void given_up(void) {
    loquat_runtime *runtime = runtime_of(UINT64_MAX);
    for (int place = 0; place < 100; place += 9) {
        for (int deadline = 0; deadline < 2; deadline++) {
            loquat_job *job = start(runtime, DEMO_MODEL);
            loquat_model *model = NULL;
            EXPECT(LOQUAT_OK, loquat_job_set_deadline(job, 3600ull * 1000000000, NULL));
            for (int i = 0; i < place; i++) {
                EXPECT(LOQUAT_PENDING, loquat_job_poll(job, 0, NULL));
            }
            if (deadline) {
                EXPECT(LOQUAT_OK, loquat_job_set_deadline(job, 0, NULL));
            } else {
                EXPECT(LOQUAT_OK, loquat_job_cancel(job, NULL));
            }
            EXPECT(LOQUAT_CANCELLED, loquat_job_poll(job, UINT64_MAX, NULL));
            nothing_held(runtime);
            CHECK(progress_of(job).state == (deadline ? LOQUAT_JOB_EXPIRED : LOQUAT_JOB_CANCELLED));
            EXPECT(LOQUAT_CANCELLED, loquat_job_poll(job, UINT64_MAX, NULL));
            EXPECT(LOQUAT_INVALID_ARGUMENT, loquat_job_take_model(job, &model, NULL));
            loquat_job_free(job);
        }
    }
    loquat_runtime_free(runtime);
}

/* What a job had read into memory goes back in the polls after the one that says that it was given up, or with the job. */
static void given_back(void) {
    loquat_runtime *runtime = runtime_of(UINT64_MAX);
    loquat_model_options *options = NULL;
    EXPECT(LOQUAT_OK, loquat_model_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_model_options_set_access(options, LOQUAT_ACCESS_READ, NULL));
    for (int polled = 0; polled < 2; polled++) {
        loquat_job *job = NULL;
        loquat_memory memory = {.struct_size = sizeof memory};
        EXPECT(LOQUAT_OK, loquat_model_load_start(runtime, DEMO_MODEL, strlen(DEMO_MODEL), options, &job, NULL));
        for (int i = 0; i < 40; i++) {
            EXPECT(LOQUAT_PENDING, loquat_job_poll(job, 0, NULL));
            CHECK(progress_of(job).held_bytes == 0);
        }
        EXPECT(LOQUAT_OK, loquat_job_cancel(job, NULL));
        EXPECT(LOQUAT_CANCELLED, loquat_job_poll(job, UINT64_MAX, NULL));
        uint64_t held = progress_of(job).held_bytes;
#ifdef __linux__
        CHECK(held > 3000000);
#endif
        while (polled && held > 0) {
            EXPECT(LOQUAT_CANCELLED, loquat_job_poll(job, 0, NULL));
            CHECK(progress_of(job).held_bytes < held);
            held = progress_of(job).held_bytes;
        }
        EXPECT(LOQUAT_OK, loquat_runtime_get_memory(runtime, &memory, NULL));
        CHECK(memory.private_total == held && memory.weights_private == held);
        loquat_job_free(job);
        nothing_held(runtime);
    }
    loquat_model_options_free(options);
    loquat_runtime_free(runtime);
}

static void *watch_and_cancel(void *argument) {
    const loquat_job *job = argument;
    while (progress_of(job).progress < 0.1f) {
    }
    EXPECT(LOQUAT_OK, loquat_job_cancel(job, NULL));
    return NULL;
}

/* Another thread watches and cancels while this one polls; the load may be quicker than that. */
static void from_another_thread(void) {
    loquat_runtime *runtime = runtime_of(UINT64_MAX);
    for (int round = 0; round < 20; round++) {
        loquat_job *job = start(runtime, DEMO_MODEL);
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, watch_and_cancel, job) == 0);
        loquat_status status;
        while ((status = loquat_job_poll(job, 20000, NULL)) == LOQUAT_PENDING) {
        }
        CHECK(status == LOQUAT_DONE || status == LOQUAT_CANCELLED);
        CHECK(pthread_join(thread, NULL) == 0);
        loquat_job_free(job);
        nothing_held(runtime);
    }
    loquat_runtime_free(runtime);
}

static void errors(void) {
    loquat_runtime *runtime = runtime_of(1000);
    loquat_job *job = start(runtime, "no-such.gguf");
    EXPECT_ERROR(LOQUAT_IO, "no-such.gguf", loquat_job_poll(job, UINT64_MAX, &error));
    EXPECT_ERROR(LOQUAT_IO, "no-such.gguf", loquat_job_poll(job, 0, &error));
    CHECK(progress_of(job).state == LOQUAT_JOB_FAILED);
    loquat_job_free(job);
    job = start(runtime, "models/goldens.json");
    EXPECT_ERROR(LOQUAT_INVALID_FILE, "goldens.json", loquat_job_poll(job, UINT64_MAX, &error));
    loquat_job_free(job);
    job = start(runtime, DEMO_MODEL);
    EXPECT_ERROR(LOQUAT_OUT_OF_MEMORY, "budget", loquat_job_poll(job, UINT64_MAX, &error));
    loquat_job_free(job);
    nothing_held(runtime);
    loquat_runtime_free(runtime);
}

static char *whole_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    CHECK(file);
    CHECK(fseek(file, 0, SEEK_END) == 0);
    *length = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(*length);
    CHECK(fread(data, 1, *length, file) == *length);
    fclose(file);
    return data;
}

static void on_release(void *user_data) {
    ++*(int *)user_data;
}

static void lent(void) {
    size_t length = 0;
    char *data = whole_file(DEMO_MODEL, &length);
    loquat_runtime *runtime = runtime_of(UINT64_MAX);
    loquat_job *job = NULL;
    loquat_model *model = NULL;
    int released = 0;
#define START(bytes) loquat_model_load_buffer_start(runtime, (const uint8_t *)data, bytes, on_release, &released, NULL, &job, NULL)
    EXPECT(LOQUAT_OK, START(length));
    to_the_end(job);
    EXPECT(LOQUAT_OK, loquat_job_take_model(job, &model, NULL));
    loquat_job_free(job);
    CHECK(released == 0);
    loquat_model_free(model);
    CHECK(released == 1);
    /* Cancelled: at the poll that says so. */
    EXPECT(LOQUAT_OK, START(length));
    EXPECT(LOQUAT_PENDING, loquat_job_poll(job, 0, NULL));
    EXPECT(LOQUAT_OK, loquat_job_cancel(job, NULL));
    CHECK(released == 1);
    EXPECT(LOQUAT_CANCELLED, loquat_job_poll(job, 0, NULL));
    CHECK(released == 2);
    loquat_job_free(job);
    /* Failed: at the poll that says so. */
    EXPECT(LOQUAT_OK, START(length / 2));
    EXPECT(LOQUAT_INVALID_FILE, loquat_job_poll(job, UINT64_MAX, NULL));
    CHECK(released == 3);
    loquat_job_free(job);
    /* Freed before it was begun. */
    EXPECT(LOQUAT_OK, START(length));
    loquat_job_free(job);
    CHECK(released == 4);
    loquat_runtime_free(runtime);
    free(data);
}

static void estimates(void) {
    loquat_runtime *runtime = runtime_of(UINT64_MAX), *small;
    loquat_session_options *options = NULL;
    loquat_model_options *vocabulary = NULL;
    loquat_estimate estimate = {.struct_size = sizeof estimate}, lent_estimate = estimate;
    loquat_memory memory = {.struct_size = sizeof memory};
    loquat_model *model = NULL;
    loquat_session *session = NULL;
    EXPECT(LOQUAT_OK, loquat_session_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_context(options, 300, NULL));
    EXPECT(LOQUAT_OK, loquat_model_estimate(runtime, DEMO_MODEL, strlen(DEMO_MODEL), NULL, options, &estimate, NULL));
    nothing_held(runtime);
    CHECK(estimate.fits == 1 && estimate.available == UINT64_MAX);
    EXPECT(LOQUAT_OK, loquat_model_load(runtime, DEMO_MODEL, strlen(DEMO_MODEL), NULL, &model, NULL));
    EXPECT(LOQUAT_OK, loquat_session_new(model, options, &session, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_get_memory(runtime, &memory, NULL));
    CHECK(memory.weights_mapped == estimate.weights_mapped && memory.weights_private == estimate.weights_private);
    CHECK(memory.kv_cache == estimate.session_kv_cache && memory.scratch == estimate.session_scratch);
    CHECK(memory.other == estimate.tables + estimate.session_other);
    CHECK(memory.private_total == estimate.private_total);
    loquat_session_free(session);
    loquat_model_free(model);

    /* A limit that is too small by one byte is seen beforehand. */
    for (uint64_t less = 0; less < 2; less++) {
        small = runtime_of(memory.private_total - less);
        EXPECT(LOQUAT_OK, loquat_model_estimate(small, DEMO_MODEL, strlen(DEMO_MODEL), NULL, options, &estimate, NULL));
        CHECK(estimate.fits == !less && estimate.available == memory.private_total - less);
        loquat_runtime_free(small);
    }

    /* As a job: the same, and no model. */
    loquat_job *job = NULL;
    loquat_estimate sliced = {.struct_size = sizeof sliced};
    EXPECT(LOQUAT_OK, loquat_model_estimate(runtime, DEMO_MODEL, strlen(DEMO_MODEL), NULL, options, &estimate, NULL));
    EXPECT(LOQUAT_OK, loquat_model_estimate_start(runtime, DEMO_MODEL, strlen(DEMO_MODEL), NULL, options, &job, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "not finished", loquat_job_take_estimate(job, &sliced, &error));
    CHECK(to_the_end(job) > 50);
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "no model", loquat_job_take_model(job, &model, &error));
    EXPECT(LOQUAT_OK, loquat_job_take_estimate(job, &sliced, NULL));
    CHECK(memcmp(&sliced, &estimate, sizeof sliced) == 0);
    loquat_job_free(job);
    job = start(runtime, DEMO_MODEL);
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "no estimate", loquat_job_take_estimate(job, &sliced, &error));
    loquat_job_free(job);

    size_t length = 0;
    char *data = whole_file(DEMO_MODEL, &length);
    EXPECT(LOQUAT_OK, loquat_model_estimate_buffer(runtime, (uint8_t *)data, length, NULL, options, &lent_estimate, NULL));
    CHECK(lent_estimate.private_total == estimate.private_total && lent_estimate.weights_mapped == 0);
    EXPECT(LOQUAT_INVALID_FILE, loquat_model_estimate_buffer(runtime, (uint8_t *)data, length / 2, NULL, NULL, &lent_estimate, NULL));
    free(data);

    EXPECT(LOQUAT_OK, loquat_model_options_new(&vocabulary, NULL));
    EXPECT(LOQUAT_OK, loquat_model_options_set_vocab_only(vocabulary, 1, NULL));
    EXPECT(LOQUAT_OK, loquat_model_estimate(runtime, DEMO_MODEL, strlen(DEMO_MODEL), vocabulary, NULL, &estimate, NULL));
    CHECK(estimate.session_kv_cache == UINT64_MAX && estimate.weights_private == 0 && estimate.private_total == estimate.tables);
    EXPECT_ERROR(LOQUAT_IO, "none.gguf", loquat_model_estimate(runtime, "none.gguf", 9, NULL, NULL, &estimate, &error));
    loquat_model_options_free(vocabulary);
    loquat_session_options_free(options);
    loquat_runtime_free(runtime);
}

int main(void) {
    finished();
    given_up();
    given_back();
    from_another_thread();
    errors();
    lent();
    estimates();
    loquat_job_free(NULL);
    return 0;
}
