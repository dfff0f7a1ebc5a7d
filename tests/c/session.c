/* A whole conversation by token ids: load, prompt, steps, logits, metrics, cancel, limits; and freeing in every order. */
#include <math.h>
#include <pthread.h>

#include "check.h"
#include "golden.h"

static loquat_runtime *runtime_of(uint32_t threads) {
    loquat_runtime_options *options = NULL;
    loquat_runtime *runtime = NULL;
    EXPECT(LOQUAT_OK, loquat_runtime_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_options_set_threads(options, threads, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_new(options, &runtime, NULL));
    loquat_runtime_options_free(options);
    return runtime;
}

static loquat_model *model_of(const loquat_runtime *runtime) {
    loquat_model *model = NULL;
    EXPECT(LOQUAT_OK, loquat_model_load(runtime, DEMO_MODEL, strlen(DEMO_MODEL), NULL, &model, NULL));
    return model;
}

static loquat_session *session_of(const loquat_model *model, uint32_t max_tokens) {
    loquat_session_options *options = NULL;
    loquat_session *session = NULL;
    EXPECT(LOQUAT_OK, loquat_session_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_max_tokens(options, max_tokens, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_context(options, 128, NULL));
    EXPECT(LOQUAT_OK, loquat_session_new(model, options, &session, NULL));
    loquat_session_options_free(options);
    return session;
}

/* Steps to the end of the turn with a budget and compares the tokens with the golden ones. */
static void golden_turn(loquat_session *session, uint64_t budget_ns) {
    loquat_event event = {.struct_size = sizeof event};
    size_t tokens = 0;
    loquat_status status;
    EXPECT(LOQUAT_OK, loquat_session_append_tokens(session, PROMPT, PROMPT_LENGTH, NULL));
    while ((status = loquat_session_step(session, budget_ns, &event, NULL)) != LOQUAT_DONE) {
        CHECK(status == LOQUAT_TOKEN || status == LOQUAT_PENDING);
        CHECK(event.progress >= 0 && event.progress <= 1);
        if (status == LOQUAT_TOKEN) {
            CHECK(tokens < GOLDEN_LENGTH);
            CHECK(event.token == GOLDEN[tokens++]);
        }
    }
    CHECK(event.reason == LOQUAT_REASON_LIMIT);
    CHECK(tokens == GOLDEN_LENGTH);
}

static void conversation(void) {
    loquat_runtime *runtime = runtime_of(2);
    loquat_model *model = model_of(runtime);
    loquat_session *session = session_of(model, GOLDEN_LENGTH);
    loquat_event event = {.struct_size = sizeof event};
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "append", loquat_session_step(session, UINT64_MAX, &event, &error));
    size_t count = 0;
    EXPECT(LOQUAT_NOT_FOUND, loquat_session_logits(session, NULL, 0, &count, NULL));

    golden_turn(session, UINT64_MAX);
    EXPECT(LOQUAT_DONE, loquat_session_step(session, UINT64_MAX, &event, NULL));

    EXPECT(LOQUAT_BUFFER_TOO_SMALL, loquat_session_logits(session, NULL, 0, &count, NULL));
    CHECK(count == 2048);
    float *logits = malloc(count * sizeof *logits);
    EXPECT(LOQUAT_OK, loquat_session_logits(session, logits, count, &count, NULL));
    for (size_t i = 0; i < count; i++) {
        CHECK(isfinite(logits[i]));
    }
    free(logits);

    uint32_t tokens[64], position = 0, capacity = 0;
    EXPECT(LOQUAT_OK, loquat_session_tokens(session, tokens, 64, &count, NULL));
    CHECK(count == PROMPT_LENGTH + GOLDEN_LENGTH);
    CHECK(memcmp(tokens, PROMPT, sizeof PROMPT) == 0 && memcmp(tokens + PROMPT_LENGTH, GOLDEN, sizeof GOLDEN) == 0);
    EXPECT(LOQUAT_OK, loquat_session_position(session, &position, &capacity, NULL));
    CHECK(position >= count - 1 && position <= count && capacity == 128);

    /* The same again after a reset, sliced as thinly as can be; and after going back to the middle. */
    EXPECT(LOQUAT_OK, loquat_session_reset(session, NULL));
    golden_turn(session, 0);
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "truncate", loquat_session_truncate(session, 100, &error));
    EXPECT(LOQUAT_OK, loquat_session_truncate(session, PROMPT_LENGTH + 2, NULL));
    EXPECT(LOQUAT_TOKEN, loquat_session_step(session, UINT64_MAX, &event, NULL));
    CHECK(event.token == GOLDEN[2]);

    loquat_session_metrics metrics = {.struct_size = sizeof metrics};
    EXPECT(LOQUAT_OK, loquat_session_get_metrics(session, &metrics, NULL));
    CHECK(metrics.generated_tokens == 2 * GOLDEN_LENGTH + 1);
    CHECK(metrics.prompt_tokens >= 2 * PROMPT_LENGTH);
    CHECK(metrics.prefill_tokens_per_s > 0 && metrics.decode_tokens_per_s > 0);
    CHECK(metrics.kv_used_bytes > 0 && metrics.kv_used_bytes <= metrics.kv_capacity_bytes);
    loquat_latency latency = {.struct_size = sizeof latency};
    EXPECT(LOQUAT_OK, loquat_session_get_latency(session, LOQUAT_SERIES_INTER_TOKEN, &latency, NULL));
    CHECK(latency.count == 2 * (GOLDEN_LENGTH - 1) && latency.min_ns <= latency.p50_ns && latency.p50_ns <= latency.max_ns);
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "series", loquat_session_get_latency(session, 99, &latency, &error));
    uint64_t bounds[64], counts[64], sum = 0;
    EXPECT(LOQUAT_OK, loquat_session_get_histogram(session, LOQUAT_SERIES_INTER_TOKEN, bounds, counts, 64, &count, NULL));
    for (size_t i = 0; i < count; i++) {
        sum += counts[i];
    }
    CHECK(sum == latency.count);

    static char text[1 << 16];
    size_t length = 0;
    EXPECT(LOQUAT_OK, loquat_session_metrics_json(session, text, sizeof text, &length, NULL));
    CHECK(text[0] == '{' && length > 100);
    EXPECT(LOQUAT_OK, loquat_runtime_metrics_json(runtime, text, sizeof text, &length, NULL));
    CHECK(text[0] == '{' && length > 100);
    EXPECT(LOQUAT_OK, loquat_runtime_metrics_prometheus(runtime, text, sizeof text, &length, NULL));
    CHECK(length > 100 && text[0] == '#');
    loquat_runtime_metrics totals = {.struct_size = sizeof totals};
    EXPECT(LOQUAT_OK, loquat_runtime_get_metrics(runtime, &totals, NULL));
    CHECK(totals.sessions_alive == 1 && totals.models_alive == 1 && totals.threads == 2);
    CHECK(totals.generated_tokens == metrics.generated_tokens && totals.dispatches > 0);

    /* Bad tokens and too many tokens change nothing. */
    static const uint32_t bad[] = {1, 2048};
    static uint32_t many[200];
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "2048", loquat_session_append_tokens(session, bad, 2, &error));
    EXPECT_ERROR(LOQUAT_CONTEXT_FULL, "", loquat_session_append_tokens(session, many, 200, &error));
    EXPECT(LOQUAT_OK, loquat_session_append_tokens(session, NULL, 0, NULL));

    /* Freed from the bottom up: the session keeps the model, the model the runtime. */
    loquat_runtime_free(runtime);
    loquat_model_free(model);
    EXPECT(LOQUAT_OK, loquat_session_reset(session, NULL));
    golden_turn(session, 50000);
    loquat_session_free(session);
}

struct stepper {
    loquat_session *session;
    loquat_status status;
};

static void *step_for_long(void *data) {
    struct stepper *stepper = data;
    loquat_event event = {.struct_size = sizeof event};
    do {
        stepper->status = loquat_session_step(stepper->session, UINT64_MAX, &event, NULL);
        /* BUSY where the other thread looks at the session at just that moment. */
    } while (stepper->status == LOQUAT_TOKEN || stepper->status == LOQUAT_BUSY);
    return NULL;
}

/* One thread steps; this one cancels, measures, and is refused what the other one has. */
static void two_threads(void) {
    loquat_runtime *runtime = runtime_of(1);
    loquat_model *model = model_of(runtime);
    loquat_session_options *options = NULL;
    loquat_session *session = NULL;
    EXPECT(LOQUAT_OK, loquat_session_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_ignore_end(options, 1, NULL));
    EXPECT(LOQUAT_OK, loquat_session_new(model, options, &session, NULL));
    loquat_session_options_free(options);

    /* A cancellation before the step is one for the step. */
    loquat_event event = {.struct_size = sizeof event};
    EXPECT(LOQUAT_OK, loquat_session_append_tokens(session, PROMPT, PROMPT_LENGTH, NULL));
    EXPECT(LOQUAT_OK, loquat_session_cancel(session, NULL));
    EXPECT(LOQUAT_CANCELLED, loquat_session_step(session, UINT64_MAX, &event, NULL));
    EXPECT(LOQUAT_TOKEN, loquat_session_step(session, UINT64_MAX, &event, NULL));
    CHECK(event.token == GOLDEN[0]);

    struct stepper stepper = {session, LOQUAT_OK};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, step_for_long, &stepper) == 0);
    loquat_session_metrics metrics = {.struct_size = sizeof metrics};
    do {
        EXPECT(LOQUAT_OK, loquat_session_get_metrics(session, &metrics, NULL));
    } while (metrics.generated_tokens < 8);
    int busy = 0;
    for (int i = 0; i < 1000000 && !busy; i++) {
        uint32_t position;
        loquat_status status = loquat_session_position(session, &position, NULL, NULL);
        CHECK(status == LOQUAT_BUSY || status == LOQUAT_OK);
        busy = status == LOQUAT_BUSY;
    }
    CHECK(busy);
    EXPECT(LOQUAT_OK, loquat_session_cancel(session, NULL));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(stepper.status == LOQUAT_CANCELLED);

    loquat_session_free(session);
    loquat_runtime_free(runtime);
    loquat_model_free(model);
}

static void options(void) {
    loquat_session_options *options = NULL;
    EXPECT(LOQUAT_OK, loquat_session_options_new(&options, NULL));
    static const char *const good[][2] = {{"temperature", "0.5"}, {"top_k", "10"}, {"kv_type", "f32"}, {"seed", "18446744073709551615"},
                                          {"ignore_end", "true"}, {"stop", "END"}, {"batch", "64"},    {"context", "64"}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        EXPECT(LOQUAT_OK, loquat_session_options_set(options, good[i][0], strlen(good[i][0]), good[i][1], strlen(good[i][1]), NULL));
    }
    EXPECT_ERROR(LOQUAT_UNKNOWN_OPTION, "heat", loquat_session_options_set(options, "heat", 4, "1", 1, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "top_k", loquat_session_options_set(options, "top_k", 5, "many", 4, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "kv_type", loquat_session_options_set_kv_type(options, 77, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "ignore", loquat_session_options_set_ignore_end(options, 2, &error));

    loquat_runtime *runtime = runtime_of(0);
    loquat_model *model = model_of(runtime);
    loquat_session *session = NULL;
    EXPECT(LOQUAT_OK, loquat_session_new(model, options, &session, NULL));
    loquat_session_free(session);
    EXPECT(LOQUAT_OK, loquat_session_options_set_top_p(options, 7.0f, NULL));
    session = NULL;
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "top_p", loquat_session_new(model, options, &session, &error));
    CHECK(session == NULL);
    loquat_session_options_free(options);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
}

/* Logits of every position: the largest after each token of the golden turn is the next one. */
static void all_logits(void) {
    loquat_runtime *runtime = runtime_of(1);
    loquat_model *model = model_of(runtime);
    loquat_session_options *options = NULL;
    loquat_session *session = NULL;
    loquat_event event = {.struct_size = sizeof event};
    static float logits[2048];
    size_t count = 0;
    EXPECT(LOQUAT_OK, loquat_session_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_all_logits(options, 1, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_max_tokens(options, 0, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set(options, "kv_type", 7, "f32", 3, NULL));
    EXPECT(LOQUAT_OK, loquat_session_new(model, options, &session, NULL));
    loquat_session_options_free(options);
    EXPECT(LOQUAT_OK, loquat_session_append_tokens(session, PROMPT, PROMPT_LENGTH, NULL));
    EXPECT(LOQUAT_OK, loquat_session_append_tokens(session, GOLDEN, GOLDEN_LENGTH, NULL));
    EXPECT(LOQUAT_DONE, loquat_session_step(session, UINT64_MAX, &event, NULL));
    for (uint32_t i = 0; i < GOLDEN_LENGTH; i++) {
        EXPECT(LOQUAT_OK, loquat_session_logits_at(session, (uint32_t)PROMPT_LENGTH - 1 + i, logits, 2048, &count, NULL));
        for (uint32_t token = 0; token < count; token++) {
            CHECK(logits[token] <= logits[GOLDEN[i]]);
        }
    }
    EXPECT(LOQUAT_NOT_FOUND, loquat_session_logits_at(session, 99, logits, 2048, &count, NULL));
    loquat_session_free(session);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
}

int main(void) {
    all_logits();
    conversation();
    two_threads();
    options();
    return 0;
}
