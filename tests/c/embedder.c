/* Embeddings: what an encoder gives for tokens and for text, by each pooling; what is refused. */
#include "check.h"

#include <math.h>

#define ENCODER "tests/goldens/models/bert.gguf"
#define WIDTH 32

static const uint32_t TOKENS[] = {6, 9, 30, 12, 50};
#define COUNT (sizeof TOKENS / sizeof *TOKENS)

static loquat_model *load(const loquat_runtime *runtime, const char *path) {
    loquat_model *model = NULL;
    EXPECT(LOQUAT_OK, loquat_model_load(runtime, path, strlen(path), NULL, &model, NULL));
    return model;
}

static void pool(const loquat_model *model, uint32_t pooling, uint64_t budget, uint32_t rows, float *out) {
    loquat_embedder *embedder = NULL;
    uint32_t got = 9, width = 0, most = 0;
    EXPECT(LOQUAT_OK, loquat_embedder_new(model, 16, pooling, LOQUAT_EMBED_RAW, &embedder, NULL));
    EXPECT(LOQUAT_OK, loquat_embedder_begin_tokens(embedder, TOKENS, COUNT, NULL));
    EXPECT(LOQUAT_OK, loquat_embedder_shape(embedder, &got, &width, &most, NULL));
    CHECK(got == 0 && width == WIDTH && most == 16);
    EXPECT(LOQUAT_NOT_FOUND, loquat_embedder_get(embedder, 0, out, WIDTH, NULL, NULL));
    EXPECT(LOQUAT_OK, loquat_embedder_cancel(embedder, NULL));
    EXPECT(LOQUAT_CANCELLED, loquat_embedder_step(embedder, budget, NULL));
    loquat_status status;
    unsigned steps = 0;
    do {
        status = loquat_embedder_step(embedder, budget, NULL);
        steps++;
    } while (status == LOQUAT_PENDING);
    EXPECT(LOQUAT_OK, status);
    CHECK((steps > 1) == (budget == 0));
    EXPECT(LOQUAT_OK, loquat_embedder_step(embedder, budget, NULL));
    EXPECT(LOQUAT_OK, loquat_embedder_shape(embedder, &got, NULL, NULL, NULL));
    CHECK(got == rows);
    size_t length = 0;
    for (uint32_t row = 0; row < rows; row++) {
        EXPECT(LOQUAT_BUFFER_TOO_SMALL, loquat_embedder_get(embedder, row, out, WIDTH - 1, &length, NULL));
        CHECK(length == WIDTH);
        EXPECT(LOQUAT_OK, loquat_embedder_get(embedder, row, out + row * WIDTH, WIDTH, &length, NULL));
    }
    EXPECT(LOQUAT_NOT_FOUND, loquat_embedder_get(embedder, rows, out, WIDTH, NULL, NULL));
    loquat_embedder_free(embedder);
}

int main(void) {
    loquat_runtime *runtime = NULL;
    loquat_embedder *embedder = NULL;
    EXPECT(LOQUAT_OK, loquat_runtime_new(NULL, &runtime, NULL));
    loquat_model *model = load(runtime, ENCODER);

    /* What stands for the text follows from the tokens' embeddings; slices change no bit. */
    float all[COUNT * WIDTH], one[WIDTH];
    pool(model, LOQUAT_POOLING_NONE, UINT64_MAX, COUNT, all);
    pool(model, LOQUAT_POOLING_CLS, 0, 1, one);
    CHECK(memcmp(one, all, sizeof one) == 0);
    pool(model, LOQUAT_POOLING_LAST, 0, 1, one);
    CHECK(memcmp(one, all + (COUNT - 1) * WIDTH, sizeof one) == 0);
    pool(model, LOQUAT_POOLING_MEAN, 0, 1, one);
    for (size_t i = 0; i < WIDTH; i++) {
        double sum = 0;
        for (size_t token = 0; token < COUNT; token++) {
            sum += (double)all[token * WIDTH + i];
        }
        CHECK(fabs(sum / COUNT - (double)one[i]) < 1e-6);
    }

    /* Text, and embeddings of length 1. */
    EXPECT(LOQUAT_OK, loquat_embedder_new(model, 0, LOQUAT_POOLING_OF_MODEL, 0, &embedder, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "begin", loquat_embedder_step(embedder, 0, &error));
    EXPECT(LOQUAT_OK, loquat_embedder_begin_text(embedder, "abc d", 5, NULL));
    EXPECT(LOQUAT_OK, loquat_embedder_step(embedder, UINT64_MAX, NULL));
    EXPECT(LOQUAT_OK, loquat_embedder_get(embedder, 0, one, WIDTH, NULL, NULL));
    double length = 0;
    for (size_t i = 0; i < WIDTH; i++) {
        length += (double)one[i] * (double)one[i];
    }
    CHECK(fabs(length - 1) < 1e-6);

    /* What is refused. */
    uint32_t many[65] = {0}, outside = 64;
    EXPECT_ERROR(LOQUAT_CONTEXT_FULL, "64", loquat_embedder_begin_tokens(embedder, many, 65, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "vocabulary", loquat_embedder_begin_tokens(embedder, &outside, 1, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "without tokens", loquat_embedder_begin_tokens(embedder, NULL, 0, &error));
    loquat_embedder_free(embedder);
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "positions", loquat_embedder_new(model, 65, 0, 0, &embedder, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "pooling", loquat_embedder_new(model, 0, 9, 0, &embedder, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "flags", loquat_embedder_new(model, 0, 0, 8, &embedder, &error));
    loquat_session *session = NULL;
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "embeddings", loquat_session_new(model, NULL, &session, &error));
    loquat_model *decoder = load(runtime, DEMO_MODEL);
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "text, not embeddings", loquat_embedder_new(decoder, 0, 0, 0, &embedder, &error));
    loquat_model_free(decoder);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return 0;
}
