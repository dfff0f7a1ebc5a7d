/* Models that are no plain file: a part of an open file, bytes that the host reads, a folder, several files. */
#include <fcntl.h>
#include <unistd.h>

#include "check.h"

#define FOLDER "models/hf"

struct package {
    const char *bytes;
    uint64_t length;
    uint64_t fails_at;
    int calls;
};

/* Gives few bytes at a time. */
static int64_t on_read(void *user_data, uint64_t offset, uint8_t *buffer, size_t length) {
    struct package *package = user_data;
    package->calls++;
    if (offset >= package->fails_at) return -5;
    if (offset >= package->length) return 0;
    size_t rest = (size_t)(package->length - offset);
    size_t read = length < rest ? length : rest;
    if (read > 100000) read = 100000;
    memcpy(buffer, package->bytes + offset, read);
    return (int64_t)read;
}

static int64_t on_read_too_much(void *user_data, uint64_t offset, uint8_t *buffer, size_t length) {
    (void)user_data, (void)offset, (void)buffer;
    return (int64_t)length + 1;
}

static char *whole_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    CHECK(file);
    CHECK(fseek(file, 0, SEEK_END) == 0);
    *length = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(*length);
    CHECK(data && fread(data, 1, *length, file) == *length);
    fclose(file);
    return data;
}

/* The most likely token behind a text. */
static uint32_t next_token(const loquat_model *model) {
    loquat_session *session = NULL;
    loquat_event event = {.struct_size = sizeof event};
    const char *text = "One misty morning,";
    EXPECT(LOQUAT_OK, loquat_session_new(model, NULL, &session, NULL));
    EXPECT(LOQUAT_OK, loquat_session_append_text(session, text, strlen(text), LOQUAT_ADD_SPECIAL, NULL));
    EXPECT(LOQUAT_TOKEN, loquat_session_step(session, UINT64_MAX, &event, NULL));
    uint32_t token = event.token;
    loquat_session_free(session);
    return token;
}

static void descriptors(const loquat_runtime *runtime, const char *bytes, size_t length, uint32_t expected) {
    char path[] = "/tmp/loquat-origin-XXXXXX";
    int descriptor = mkstemp(path);
    CHECK(descriptor >= 0 && unlink(path) == 0);
    CHECK(write(descriptor, "package", 7) == 7);
    for (size_t done = 0; done < length;) {
        ssize_t written = write(descriptor, bytes + done, length - done);
        CHECK(written > 0);
        done += (size_t)written;
    }
    off_t position = lseek(descriptor, 0, SEEK_CUR);
    loquat_model *model = NULL, *other = NULL;
    loquat_job *job = NULL;
    EXPECT(LOQUAT_OK, loquat_model_load_descriptor(runtime, descriptor, 7, length, NULL, &model, NULL));
    EXPECT(LOQUAT_OK, loquat_model_load_descriptor_start(runtime, descriptor, 7, length, NULL, &job, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "the file has", loquat_model_load_descriptor(runtime, descriptor, 8, length, NULL, &other, &error));
    EXPECT_ERROR(LOQUAT_INVALID_FILE, "at byte 0", loquat_model_load_descriptor(runtime, descriptor, 0, length, NULL, &other, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "descriptor is -1", loquat_model_load_descriptor(runtime, -1, 0, length, NULL, &other, &error));
    CHECK(lseek(descriptor, 0, SEEK_CUR) == position);
    /* The library has its own. */
    CHECK(close(descriptor) == 0);
    EXPECT(LOQUAT_DONE, loquat_job_poll(job, UINT64_MAX, NULL));
    EXPECT(LOQUAT_OK, loquat_job_take_model(job, &other, NULL));
    loquat_job_free(job);
    CHECK(next_token(model) == expected && next_token(other) == expected);
    loquat_model_free(model);
    loquat_model_free(other);
    other = NULL;
    EXPECT(LOQUAT_IO, loquat_model_load_descriptor(runtime, descriptor, 7, length, NULL, &other, NULL));
}

static void callbacks(const loquat_runtime *runtime, const char *bytes, size_t length, uint32_t expected) {
    struct package package = {bytes, length, UINT64_MAX, 0};
    loquat_model *model = NULL;
    loquat_job *job = NULL;
    loquat_memory memory = {.struct_size = sizeof memory};
    EXPECT(LOQUAT_OK, loquat_model_load_callback(runtime, on_read, &package, length, NULL, &model, NULL));
    CHECK(package.calls > 10 && next_token(model) == expected);
    EXPECT(LOQUAT_OK, loquat_runtime_get_memory(runtime, &memory, NULL));
    CHECK(memory.weights_private >= length && memory.weights_mapped == 0);
    loquat_model_free(model);
    model = NULL;

    package.calls = 0;
    EXPECT(LOQUAT_OK, loquat_model_load_callback_start(runtime, on_read, &package, length, NULL, &job, NULL));
    CHECK(package.calls == 0);
    loquat_status status;
    while ((status = loquat_job_poll(job, 100000, NULL)) == LOQUAT_PENDING) {
    }
    CHECK(status == LOQUAT_DONE);
    EXPECT(LOQUAT_OK, loquat_job_take_model(job, &model, NULL));
    loquat_job_free(job);
    CHECK(next_token(model) == expected);
    loquat_model_free(model);
    model = NULL;

    package.fails_at = 300000;
    EXPECT_ERROR(LOQUAT_IO, "failed at offset", loquat_model_load_callback(runtime, on_read, &package, length, NULL, &model, &error));
    package.fails_at = UINT64_MAX;
    EXPECT_ERROR(LOQUAT_IO, "it ends at", loquat_model_load_callback(runtime, on_read, &package, length + 1, NULL, &model, &error));
    EXPECT_ERROR(LOQUAT_IO, "says that it read", loquat_model_load_callback(runtime, on_read_too_much, NULL, length, NULL, &model, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "read is NULL", loquat_model_load_callback(runtime, NULL, NULL, length, NULL, &model, &error));
    EXPECT(LOQUAT_OK, loquat_runtime_get_memory(runtime, &memory, NULL));
    CHECK(memory.weights_private == 0 && model == NULL);
}

int main(void) {
    loquat_runtime *runtime = NULL;
    loquat_model *model = NULL;
    size_t length = 0;
    EXPECT(LOQUAT_OK, loquat_runtime_new(NULL, &runtime, NULL));
    EXPECT(LOQUAT_OK, loquat_model_load(runtime, DEMO_MODEL, strlen(DEMO_MODEL), NULL, &model, NULL));
    uint32_t expected = next_token(model);
    loquat_model_free(model);
    char *bytes = whole_file(DEMO_MODEL, &length);
    descriptors(runtime, bytes, length, expected);
    callbacks(runtime, bytes, length, expected);
    free(bytes);

    /* A Hugging Face folder, and the weights in it. */
    const char *paths[] = {FOLDER, FOLDER "/model.safetensors"};
    for (int i = 0; i < 2; i++) {
        model = NULL;
        EXPECT(LOQUAT_OK, loquat_model_load(runtime, paths[i], strlen(paths[i]), NULL, &model, NULL));
        loquat_model_info info = {.struct_size = sizeof info};
        EXPECT(LOQUAT_OK, loquat_model_get_info(model, &info, NULL));
        CHECK(info.vocab_size == 2048 && info.layers == 4 && info.eos_token == 2);
        CHECK(next_token(model) == expected);
        loquat_model_free(model);
    }
    EXPECT_ERROR(LOQUAT_INVALID_FILE, "config.json", loquat_model_load(runtime, "tests", 5, NULL, &model, &error));
    loquat_runtime_free(runtime);
    return 0;
}
