/* Runtimes and models: log, memory, metadata, tensors, lent buffers, errors of files. */
#include "check.h"

struct log {
    int messages;
    char last[256];
};

static void on_log(void *user_data, uint32_t level, const char *message, size_t length) {
    struct log *log = user_data;
    CHECK(level <= LOQUAT_LOG_WARNING);
    log->messages++;
    snprintf(log->last, sizeof log->last, "%.*s", (int)length, message);
}

static void on_release(void *user_data) {
    ++*(int *)user_data;
}

static void runtimes(void) {
    struct log log = {0, ""};
    loquat_runtime_options *options = NULL;
    loquat_runtime *runtime = NULL;
    EXPECT(LOQUAT_OK, loquat_runtime_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_options_set(options, "threads", 7, "1", 1, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_options_set(options, "isa", 3, "portable", 8, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_options_set_log(options, on_log, &log, LOQUAT_LOG_INFO, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "isa", loquat_runtime_options_set(options, "isa", 3, "abacus", 6, &error));
    EXPECT_ERROR(LOQUAT_UNKNOWN_OPTION, "colour", loquat_runtime_options_set(options, "colour", 6, "1", 1, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "level", loquat_runtime_options_set_log(options, on_log, &log, 9, &error));
    EXPECT(LOQUAT_OK, loquat_runtime_new(options, &runtime, NULL));
    CHECK(log.messages > 0);

    char name[32];
    size_t length = 0;
    uint32_t threads = 0;
    EXPECT(LOQUAT_OK, loquat_runtime_threads(runtime, &threads, NULL));
    CHECK(threads == 1);
    EXPECT(LOQUAT_OK, loquat_runtime_isa(runtime, name, sizeof name, &length, NULL));
    CHECK(length == 8 && memcmp(name, "portable", 8) == 0);
    /* A handle of another kind is refused. */
    EXPECT_ERROR(LOQUAT_INVALID_HANDLE, "runtime", loquat_runtime_threads((const loquat_runtime *)options, &threads, &error));

    /* A budget too small for the model's session: refused, and nothing is held afterwards. */
    loquat_runtime *small = NULL;
    loquat_model *model = NULL;
    loquat_session *session = NULL;
    loquat_memory memory = {.struct_size = sizeof memory};
    EXPECT(LOQUAT_OK, loquat_runtime_options_set_memory_limit(options, 1 << 20, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_new(options, &small, NULL));
    loquat_status status = loquat_model_load(small, DEMO_MODEL, strlen(DEMO_MODEL), NULL, &model, NULL);
    CHECK(status == LOQUAT_OK || status == LOQUAT_OUT_OF_MEMORY);
    if (status == LOQUAT_OK) {
        EXPECT_ERROR(LOQUAT_OUT_OF_MEMORY, "budget", loquat_session_new(model, NULL, &session, &error));
    }
    loquat_model_free(model);
    EXPECT(LOQUAT_OK, loquat_runtime_get_memory(small, &memory, NULL));
    CHECK(memory.private_total == 0 && memory.limit == 1 << 20 && memory.weights_mapped == 0);
    loquat_runtime_free(small);
    loquat_runtime_options_free(options);
    loquat_runtime_free(runtime);
}

static void metadata(const loquat_model *model) {
    uint64_t count = 0, number = 0, keys;
    uint32_t type = 0, is_array = 0;
    int64_t integer = 0;
    double real = 0;
    char text[64];
    size_t length = 0;
    EXPECT(LOQUAT_OK, loquat_model_metadata_count(model, &keys, NULL));
    CHECK(keys > 10);
    for (uint64_t i = 0; i < keys; i++) {
        char key[256];
        EXPECT(LOQUAT_OK, loquat_model_metadata_key(model, i, key, sizeof key, &length, NULL));
        EXPECT(LOQUAT_OK, loquat_model_metadata_type(model, key, length, &type, &is_array, &count, NULL));
        CHECK(is_array || count == 1);
    }
    EXPECT(LOQUAT_NOT_FOUND, loquat_model_metadata_key(model, keys, text, sizeof text, &length, NULL));

#define KEY(name) name, sizeof name - 1
    EXPECT(LOQUAT_OK, loquat_model_metadata_string(model, KEY("general.architecture"), 0, text, sizeof text, &length, NULL));
    CHECK(length == 5 && memcmp(text, "llama", 5) == 0);
    EXPECT(LOQUAT_BUFFER_TOO_SMALL, loquat_model_metadata_string(model, KEY("general.architecture"), 0, text, 4, &length, NULL));
    EXPECT(LOQUAT_OK, loquat_model_metadata_u64(model, KEY("llama.block_count"), 0, &number, NULL));
    CHECK(number == 4);
    EXPECT(LOQUAT_OK, loquat_model_metadata_i64(model, KEY("llama.embedding_length"), 0, &integer, NULL));
    CHECK(integer == 256);
    EXPECT(LOQUAT_OK, loquat_model_metadata_f64(model, KEY("llama.rope.freq_base"), 0, &real, NULL));
    CHECK(real == 10000.0);
    EXPECT(LOQUAT_OK, loquat_model_metadata_bool(model, KEY("tokenizer.ggml.add_bos_token"), 0, &type, NULL));
    CHECK(type == 0);
    EXPECT(LOQUAT_OK, loquat_model_metadata_type(model, KEY("tokenizer.ggml.tokens"), &type, &is_array, &count, NULL));
    CHECK(type == LOQUAT_VALUE_STRING && is_array == 1 && count == 2048);
    EXPECT(LOQUAT_OK, loquat_model_metadata_string(model, KEY("tokenizer.ggml.tokens"), 1, text, sizeof text, &length, NULL));
    CHECK(length == 12 && memcmp(text, "<|im_start|>", 12) == 0);
    EXPECT(LOQUAT_NOT_FOUND, loquat_model_metadata_string(model, KEY("tokenizer.ggml.tokens"), 2048, text, sizeof text, &length, NULL));
    EXPECT(LOQUAT_NOT_FOUND, loquat_model_metadata_u64(model, KEY("no.such.key"), 0, &number, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "string", loquat_model_metadata_u64(model, KEY("general.architecture"), 0, &number, &error));
}

static void tensors(const loquat_model *model) {
    uint64_t count = 0, index = 0, elements = 0;
    char name[128];
    size_t length = 0;
    loquat_model_info info = {.struct_size = sizeof info};
    EXPECT(LOQUAT_OK, loquat_model_tensor_count(model, &count, NULL));
    for (uint64_t i = 0; i < count; i++) {
        loquat_tensor tensor = {.struct_size = sizeof tensor};
        EXPECT(LOQUAT_OK, loquat_model_get_tensor(model, i, &tensor, NULL));
        EXPECT(LOQUAT_OK, loquat_model_tensor_name(model, i, name, sizeof name, &length, NULL));
        EXPECT(LOQUAT_OK, loquat_model_find_tensor(model, name, length, &index, NULL));
        CHECK(index == i);
        elements += tensor.size[0] * tensor.size[1] * tensor.size[2] * tensor.size[3];
        EXPECT(LOQUAT_OK, loquat_tensor_type_name(tensor.tensor_type, name, sizeof name, &length, NULL));
        CHECK(memcmp(name, "Q8_0", 4) == 0 || memcmp(name, "F32", 3) == 0);
    }
    EXPECT(LOQUAT_OK, loquat_model_get_info(model, &info, NULL));
    CHECK(info.parameters == elements && elements == 2885888);
    CHECK(info.layers == 4 && info.heads == 8 && info.kv_heads == 4 && info.context_length == 1024 && info.vocab_size == 2048);
    loquat_tensor tensor = {.struct_size = sizeof tensor};
    EXPECT(LOQUAT_NOT_FOUND, loquat_model_get_tensor(model, count, &tensor, NULL));
    EXPECT(LOQUAT_NOT_FOUND, loquat_model_find_tensor(model, "none", 4, &index, NULL));
    tensor.struct_size = 1;
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "struct_size", loquat_model_get_tensor(model, 0, &tensor, &error));
}

/* Other types than the file's, put in while loading. */
static void quantised(const loquat_runtime *runtime) {
    loquat_model_options *options = NULL;
    loquat_model *model = NULL;
    EXPECT(LOQUAT_OK, loquat_model_options_new(&options, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "\"Q9_0\" is not one of F32", loquat_model_options_set_quantize(options, "Q9_0", 4, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "name", loquat_model_options_set_quantize(options, NULL, 4, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "Q4_K_M", loquat_model_options_set(options, "quantize", 8, "", 0, &error));
    EXPECT(LOQUAT_OK, loquat_model_options_set(options, "quantize", 8, "none", 4, NULL));
    EXPECT(LOQUAT_OK, loquat_model_options_set_quantize(options, "q4_0", 4, NULL));
    EXPECT(LOQUAT_OK, loquat_model_load(runtime, DEMO_MODEL, strlen(DEMO_MODEL), options, &model, NULL));
    loquat_model_options_free(options);
    uint64_t index = 0;
    char name[16] = "";
    size_t length = 0;
    loquat_tensor tensor = {.struct_size = sizeof tensor};
    EXPECT(LOQUAT_OK, loquat_model_find_tensor(model, "blk.0.attn_q.weight", 19, &index, NULL));
    EXPECT(LOQUAT_OK, loquat_model_get_tensor(model, index, &tensor, NULL));
    EXPECT(LOQUAT_OK, loquat_tensor_type_name(tensor.tensor_type, name, sizeof name, &length, NULL));
    CHECK(strcmp(name, "Q4_0") == 0);
    loquat_model_free(model);
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

/* A lent buffer is given back exactly once: when the last user of it goes, or at once where the load fails. */
static void lent(const loquat_runtime *runtime) {
    size_t length = 0;
    int released = 0;
    char *data = whole_file(DEMO_MODEL, &length);
    const uint8_t *bytes = (const uint8_t *)data;
    loquat_model *model = NULL;
    loquat_session *session = NULL;
    EXPECT(LOQUAT_OK, loquat_model_load_buffer(runtime, bytes, length, on_release, &released, NULL, &model, NULL));
    EXPECT(LOQUAT_OK, loquat_session_new(model, NULL, &session, NULL));
    loquat_model_free(model);
    CHECK(released == 0);
    loquat_session_free(session);
    CHECK(released == 1);
    model = NULL;
    EXPECT(LOQUAT_INVALID_FILE, loquat_model_load_buffer(runtime, bytes, 1000, on_release, &released, NULL, &model, NULL));
    CHECK(released == 2 && model == NULL);
    EXPECT(LOQUAT_INVALID_ARGUMENT, loquat_model_load_buffer(runtime, NULL, 1000, on_release, &released, NULL, &model, NULL));
    CHECK(released == 2);
    free(data);
}

int main(void) {
    runtimes();
    loquat_runtime *runtime = NULL;
    loquat_model *model = NULL;
    loquat_model_options *options = NULL;
    EXPECT(LOQUAT_OK, loquat_runtime_new(NULL, &runtime, NULL));
    EXPECT_ERROR(LOQUAT_IO, "no-such-file", loquat_model_load(runtime, "no-such-file", 12, NULL, &model, &error));
    EXPECT_ERROR(LOQUAT_INVALID_FILE, "README", loquat_model_load(runtime, "models/README.md", 16, NULL, &model, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "UTF-8", loquat_model_load(runtime, "\xff", 1, NULL, &model, &error));
    CHECK(model == NULL);

    EXPECT(LOQUAT_OK, loquat_model_load(runtime, DEMO_MODEL, strlen(DEMO_MODEL), NULL, &model, NULL));
    char text[128];
    size_t length = 0;
    EXPECT(LOQUAT_OK, loquat_model_description(model, text, sizeof text, &length, NULL));
    CHECK(length > 10 && memcmp(text, "emberfield-3m", 13) == 0);
    metadata(model);
    tensors(model);
    lent(runtime);
    loquat_model_free(model);

    quantised(runtime);

    /* The vocabulary alone has no sessions. Read, not mapped. */
    loquat_session *session = NULL;
    EXPECT(LOQUAT_OK, loquat_model_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_model_options_set_vocab_only(options, 1, NULL));
    EXPECT(LOQUAT_OK, loquat_model_options_set(options, "access", 6, "read", 4, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "access", loquat_model_options_set_access(options, 5, &error));
    EXPECT(LOQUAT_OK, loquat_model_load(runtime, DEMO_MODEL, strlen(DEMO_MODEL), options, &model, NULL));
    loquat_model_info info = {.struct_size = sizeof info};
    EXPECT(LOQUAT_OK, loquat_model_get_info(model, &info, NULL));
    CHECK(info.has_weights == 0);
    CHECK(loquat_session_new(model, NULL, &session, NULL) < 0 && session == NULL);
    loquat_model_options_free(options);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return 0;
}
