/* Sessions in a batch: the tokens of each alone, joining and leaving, freeing in every order, forks, shifts, saved states. */
#include <pthread.h>

#include "check.h"
#include "golden.h"

static loquat_model *model_of(void) {
    loquat_runtime *runtime = NULL;
    loquat_model *model = NULL;
    EXPECT(LOQUAT_OK, loquat_runtime_new(NULL, &runtime, NULL));
    EXPECT(LOQUAT_OK, loquat_model_load(runtime, DEMO_MODEL, strlen(DEMO_MODEL), NULL, &model, NULL));
    loquat_runtime_free(runtime); /* the model keeps it */
    return model;
}

static loquat_session *session_of(const loquat_model *model, uint32_t context, uint32_t max_tokens) {
    loquat_session_options *options = NULL;
    loquat_session *session = NULL;
    EXPECT(LOQUAT_OK, loquat_session_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_max_tokens(options, max_tokens, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_context(options, context, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_reserve(options, 0, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_batch(options, 4, NULL));
    EXPECT(LOQUAT_OK, loquat_session_new(model, options, &session, NULL));
    loquat_session_options_free(options);
    EXPECT(LOQUAT_OK, loquat_session_append_tokens(session, PROMPT, PROMPT_LENGTH, NULL));
    return session;
}

/* Takes one event, with pending steps before it. */
static loquat_status next(loquat_batch *batch, uint64_t budget_ns, loquat_batch_event *event) {
    loquat_status status;
    event->struct_size = sizeof *event;
    while ((status = loquat_batch_step(batch, budget_ns, event, NULL)) == LOQUAT_PENDING) {
    }
    return status;
}

static void together(uint64_t budget_ns) {
    loquat_model *model = model_of();
    loquat_batch *batch = NULL;
    loquat_session *sessions[5];
    size_t tokens[5] = {0}, done = 0;
    loquat_batch_event event;
    EXPECT(LOQUAT_OK, loquat_batch_new(model, NULL, &batch, NULL));
    EXPECT(LOQUAT_IDLE, next(batch, budget_ns, &event));
    for (size_t i = 0; i < 5; i++) {
        sessions[i] = session_of(model, 64, GOLDEN_LENGTH);
        EXPECT(LOQUAT_OK, loquat_batch_add(batch, sessions[i], &tokens[i], NULL));
    }
    EXPECT(LOQUAT_INVALID_ARGUMENT, loquat_batch_add(batch, sessions[0], NULL, NULL));
    loquat_model_free(model); /* the batch and the sessions keep it */
    while (done < 3) {
        EXPECT(LOQUAT_OK, next(batch, budget_ns, &event));
        size_t *count = event.user_data;
        CHECK(event.session == sessions[count - tokens] && event.message_length == 0);
        if (event.status == LOQUAT_TOKEN) {
            CHECK(event.token == GOLDEN[(*count)++]);
            if (*count == 3 && count == &tokens[3]) {
                EXPECT(LOQUAT_OK, loquat_batch_remove(batch, sessions[3], NULL));
                EXPECT(LOQUAT_NOT_FOUND, loquat_batch_remove(batch, sessions[3], NULL));
            }
            if (*count == 5 && count == &tokens[4]) {
                loquat_session_free(sessions[4]); /* it leaves the batch by itself */
            }
        } else {
            CHECK(event.status == LOQUAT_DONE && event.reason == LOQUAT_REASON_LIMIT && *count == GOLDEN_LENGTH);
            done++;
        }
    }
    CHECK(tokens[3] == 3 && tokens[4] == 5);
    EXPECT(LOQUAT_IDLE, next(batch, budget_ns, &event));
    /* The one that left goes on alone. Another is freed before the batch, the last ones after it. */
    loquat_event own = {.struct_size = sizeof own};
    while (tokens[3] < GOLDEN_LENGTH) {
        EXPECT(LOQUAT_TOKEN, loquat_session_step(sessions[3], UINT64_MAX, &own, NULL));
        CHECK(own.token == GOLDEN[tokens[3]++]);
    }
    loquat_session_free(sessions[0]);
    loquat_batch_free(batch);
    loquat_session_free(sessions[1]);
    loquat_session_free(sessions[2]);
    loquat_session_free(sessions[3]);
}

static void strangers_and_options(void) {
    loquat_model *model = model_of(), *other = model_of();
    loquat_batch_options *options = NULL;
    loquat_batch *batch = NULL;
    loquat_session *session = session_of(other, 64, 4);
    EXPECT(LOQUAT_OK, loquat_batch_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_batch_options_set(options, "sessions", 8, "2", 1, NULL));
    EXPECT(LOQUAT_UNKNOWN_OPTION, loquat_batch_options_set(options, "threads", 7, "2", 1, NULL));
    EXPECT(LOQUAT_OK, loquat_batch_options_set_columns(options, 1, NULL));
    EXPECT(LOQUAT_INVALID_ARGUMENT, loquat_batch_new(model, options, &batch, NULL));
    EXPECT(LOQUAT_OK, loquat_batch_options_set_columns(options, 32, NULL));
    EXPECT(LOQUAT_OK, loquat_batch_options_set_prompt_share(options, 8, NULL));
    EXPECT(LOQUAT_OK, loquat_batch_new(model, options, &batch, NULL));
    EXPECT(LOQUAT_INVALID_ARGUMENT, loquat_batch_add(batch, session, NULL, NULL));
    loquat_batch_options_free(options);
    loquat_session_free(session);
    loquat_batch_free(batch);
    loquat_model_free(model);
    loquat_model_free(other);
}

/* A fork says what the original says, and shares its cache. */
static void forks(void) {
    loquat_model *model = model_of();
    loquat_session *session = session_of(model, 64, GOLDEN_LENGTH), *fork = NULL;
    loquat_event event = {.struct_size = sizeof event};
    for (size_t i = 0; i < 4; i++) {
        EXPECT(LOQUAT_TOKEN, loquat_session_step(session, UINT64_MAX, &event, NULL));
    }
    EXPECT(LOQUAT_OK, loquat_session_fork(session, &fork, NULL));
    for (size_t i = 4; i < GOLDEN_LENGTH; i++) {
        EXPECT(LOQUAT_TOKEN, loquat_session_step(fork, UINT64_MAX, &event, NULL));
        CHECK(event.token == GOLDEN[i]);
        if (i == 7) {
            loquat_session_free(session);
        }
    }
    EXPECT(LOQUAT_DONE, loquat_session_step(fork, UINT64_MAX, &event, NULL));
    loquat_session_free(fork);
    loquat_model_free(model);
}

/* A context that shifts goes on past its end; the tokens that are kept stay. */
static void shifts(void) {
    loquat_model *model = model_of();
    loquat_session_options *options = NULL;
    loquat_session *session = NULL;
    loquat_event event = {.struct_size = sizeof event};
    uint32_t tokens[64];
    size_t count = 0, generated = 0;
    EXPECT(LOQUAT_OK, loquat_session_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_context(options, 40, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_ignore_end(options, 1, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_max_tokens(options, 100, NULL));
    EXPECT(LOQUAT_INVALID_ARGUMENT, loquat_session_options_set_context_policy(options, LOQUAT_CONTEXT_STOP, 5, NULL));
    EXPECT(LOQUAT_INVALID_ARGUMENT, loquat_session_options_set_context_policy(options, 7, 0, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "LOQUAT_CONTEXT_SLIDE",
                 loquat_session_options_set_context_policy(options, LOQUAT_CONTEXT_SLIDE, 21, &error));
    EXPECT(LOQUAT_OK, loquat_session_options_set(options, "context_policy", 14, "slide", 5, NULL));
    loquat_session *sliding = NULL;
    EXPECT_ERROR(LOQUAT_UNSUPPORTED, "see the whole context", loquat_session_new(model, options, &sliding, &error));
    EXPECT(LOQUAT_OK, loquat_session_options_set_context_policy(options, LOQUAT_CONTEXT_SHIFT, 21, NULL));
    EXPECT(LOQUAT_INVALID_ARGUMENT, loquat_session_new(model, options, &session, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set(options, "keep", 4, "5", 1, NULL));
    EXPECT(LOQUAT_OK, loquat_session_new(model, options, &session, NULL));
    loquat_session_options_free(options);
    EXPECT(LOQUAT_OK, loquat_session_append_tokens(session, PROMPT, PROMPT_LENGTH, NULL));
    while (loquat_session_step(session, 50000, &event, NULL) != LOQUAT_DONE) {
        generated += event.token != LOQUAT_NO_TOKEN;
    }
    CHECK(event.reason == LOQUAT_REASON_LIMIT && generated == 100);
    EXPECT(LOQUAT_OK, loquat_session_tokens(session, tokens, 64, &count, NULL));
    CHECK(count <= 41 && memcmp(tokens, PROMPT, 5 * sizeof *tokens) == 0);
    loquat_session_free(session);
    loquat_model_free(model);
}

/* A saved session goes on in another one; what does not fit is refused. */
static void states(void) {
    loquat_model *model = model_of();
    loquat_session *session = session_of(model, 64, GOLDEN_LENGTH), *other = session_of(model, 64, GOLDEN_LENGTH);
    loquat_session *small = session_of(model, 14, 1);
    loquat_event event = {.struct_size = sizeof event};
    size_t length = 0, again = 0;
    for (size_t i = 0; i < 6; i++) {
        EXPECT(LOQUAT_TOKEN, loquat_session_step(session, UINT64_MAX, &event, NULL));
    }
    EXPECT(LOQUAT_BUFFER_TOO_SMALL, loquat_session_save(session, NULL, 0, &length, NULL));
    uint8_t *state = malloc(length + 1);
    state[length] = 77;
    EXPECT(LOQUAT_BUFFER_TOO_SMALL, loquat_session_save(session, state, length - 1, &again, NULL));
    CHECK(again == length);
    EXPECT(LOQUAT_OK, loquat_session_save(session, state, length, &again, NULL));
    CHECK(again == length && state[length] == 77);
    loquat_session_free(session);
    EXPECT(LOQUAT_CONTEXT_FULL, loquat_session_restore(small, state, length, NULL));
    EXPECT(LOQUAT_INVALID_FILE, loquat_session_restore(other, state, length - 1, NULL));
    EXPECT(LOQUAT_INVALID_FILE, loquat_session_restore(other, NULL, 0, NULL));
    EXPECT(LOQUAT_OK, loquat_session_restore(other, state, length, NULL));
    for (size_t i = 6; i < GOLDEN_LENGTH; i++) {
        EXPECT(LOQUAT_TOKEN, loquat_session_step(other, UINT64_MAX, &event, NULL));
        CHECK(event.token == GOLDEN[i]);
        if (i == 8) {
            const char *path = "batch-test.state", *nowhere = "no-such-folder/x";
            EXPECT(LOQUAT_OK, loquat_session_save_file(other, path, strlen(path), NULL));
            EXPECT(LOQUAT_OK, loquat_session_reset(other, NULL));
            EXPECT(LOQUAT_OK, loquat_session_restore_file(other, path, strlen(path), NULL));
            EXPECT(LOQUAT_IO, loquat_session_save_file(other, nowhere, strlen(nowhere), NULL));
            EXPECT(LOQUAT_IO, loquat_session_restore_file(other, nowhere, strlen(nowhere), NULL));
            remove(path);
        }
    }
    free(state);
    loquat_session_free(small);
    loquat_session_free(other);
    loquat_model_free(model);
}

/* A session that another thread uses may have something to do: the batch does not say that nobody has. */
static void in_use(void) {
    loquat_model *model = model_of();
    loquat_batch *batch = NULL;
    loquat_stream *stream = NULL;
    loquat_batch_event event;
    loquat_session *session = session_of(model, 64, 4);
    EXPECT(LOQUAT_OK, loquat_batch_new(model, NULL, &batch, NULL));
    EXPECT(LOQUAT_OK, loquat_batch_add(batch, session, NULL, NULL));
    event.struct_size = sizeof event;
    EXPECT(LOQUAT_OK, loquat_stream_start(session, 1, NULL, NULL, &stream, NULL));
    EXPECT(LOQUAT_PENDING, loquat_batch_step(batch, UINT64_MAX, &event, NULL));
    loquat_stream_free(stream); /* in the middle of the turn: its queue was full */
    for (;;) {
        EXPECT(LOQUAT_OK, next(batch, UINT64_MAX, &event));
        if (event.status == LOQUAT_DONE) {
            break;
        }
        EXPECT(LOQUAT_TOKEN, event.status);
    }
    EXPECT(LOQUAT_IDLE, loquat_batch_step(batch, UINT64_MAX, &event, NULL));
    loquat_session_free(session);
    loquat_batch_free(batch);
    loquat_model_free(model);
}

int main(void) {
    const char *how = getenv("LOQUAT_TEST_CHECK");
    together(UINT64_MAX);
    if (!how || strcmp(how, "Valgrind") != 0) { /* item by item takes minutes there */
        together(0);
        together(40000);
    }
    strangers_and_options();
    forks();
    shifts();
    states();
    in_use();
    return 0;
}
