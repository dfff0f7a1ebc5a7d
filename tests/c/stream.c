/* Turns in the background: events, waking, waiting, cancel, stop, and freeing in every order. */
#include <dirent.h>
#include <pthread.h>

#include "check.h"
#include "golden.h"

static int threads_now(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks) {
        return 0;
    }
    for (struct dirent *entry; (entry = readdir(tasks));) {
        count += entry->d_name[0] != '.';
    }
    closedir(tasks);
    return count;
}

static loquat_model *model_of(uint32_t threads) {
    loquat_runtime_options *options = NULL;
    loquat_runtime *runtime = NULL;
    loquat_model *model = NULL;
    EXPECT(LOQUAT_OK, loquat_runtime_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_options_set_threads(options, threads, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_new(options, &runtime, NULL));
    EXPECT(LOQUAT_OK, loquat_model_load(runtime, DEMO_MODEL, strlen(DEMO_MODEL), NULL, &model, NULL));
    loquat_runtime_options_free(options);
    loquat_runtime_free(runtime);
    return model;
}

static loquat_session *session_of(const loquat_model *model, uint32_t max_tokens) {
    loquat_session_options *options = NULL;
    loquat_session *session = NULL;
    EXPECT(LOQUAT_OK, loquat_session_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_max_tokens(options, max_tokens, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set(options, "ignore_end", 10, "true", 4, NULL));
    EXPECT(LOQUAT_OK, loquat_session_new(model, options, &session, NULL));
    loquat_session_options_free(options);
    EXPECT(LOQUAT_OK, loquat_session_append_tokens(session, PROMPT, PROMPT_LENGTH, NULL));
    return session;
}

struct signals {
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    int count;
};

static void on_wake(void *user_data) {
    struct signals *signals = user_data;
    pthread_mutex_lock(&signals->mutex);
    signals->count++;
    pthread_cond_signal(&signals->condition);
    pthread_mutex_unlock(&signals->mutex);
}

/* A host that sleeps until it is woken, then pops without waiting. */
static void woken(void) {
    loquat_model *model = model_of(2);
    loquat_session *session = session_of(model, GOLDEN_LENGTH);
    loquat_stream *stream = NULL;
    struct signals signals = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    loquat_event event = {.struct_size = sizeof event};
    char text[256];
    size_t length = 0, tokens = 0;
    EXPECT(LOQUAT_OK, loquat_stream_start(session, 2, on_wake, &signals, &stream, NULL));
    for (loquat_status status = LOQUAT_PENDING; status != LOQUAT_DONE;) {
        pthread_mutex_lock(&signals.mutex);
        while (signals.count == 0) {
            pthread_cond_wait(&signals.condition, &signals.mutex);
        }
        signals.count--;
        pthread_mutex_unlock(&signals.mutex);
        status = loquat_stream_pop(stream, 0, &event, NULL);
        CHECK(status == LOQUAT_TOKEN || status == LOQUAT_DONE);
        CHECK(length + event.text_length < sizeof text);
        memcpy(text + length, event.text, event.text_length);
        length += event.text_length;
        if (status == LOQUAT_TOKEN) {
            CHECK(tokens < GOLDEN_LENGTH && event.token == GOLDEN[tokens] && event.progress == 1);
            CHECK(event.position == PROMPT_LENGTH + tokens);
            tokens++;
        }
    }
    CHECK(tokens == GOLDEN_LENGTH && event.reason == LOQUAT_REASON_LIMIT && event.token == LOQUAT_NO_TOKEN);
    text[length] = 0;
    CHECK(strstr(text, "Odo the merchant sells a rope for"));
    EXPECT(LOQUAT_DONE, loquat_stream_pop(stream, UINT64_MAX, &event, NULL));
    CHECK(event.text_length == 0 && event.reason == LOQUAT_REASON_LIMIT);
    loquat_stream_free(stream);
    loquat_session_free(session);
    loquat_model_free(model);
}

static void busy_and_given_back(void) {
    loquat_model *model = model_of(1);
    loquat_session *session = session_of(model, UINT32_MAX);
    loquat_stream *stream = NULL, *second = NULL;
    loquat_event event = {.struct_size = sizeof event};
    loquat_session_metrics metrics = {.struct_size = sizeof metrics};
    uint32_t position = 0, capacity = 0;
    EXPECT(LOQUAT_OK, loquat_stream_start(session, 4, NULL, NULL, &stream, NULL));
    EXPECT(LOQUAT_BUSY, loquat_session_step(session, 0, &event, NULL));
    EXPECT(LOQUAT_BUSY, loquat_session_position(session, &position, &capacity, NULL));
    EXPECT(LOQUAT_BUSY, loquat_session_reset(session, NULL));
    EXPECT(LOQUAT_BUSY, loquat_stream_start(session, 4, NULL, NULL, &second, NULL));
    EXPECT(LOQUAT_OK, loquat_session_get_metrics(session, &metrics, NULL));
    for (int i = 0; i < 3; i++) {
        EXPECT(LOQUAT_TOKEN, loquat_stream_pop(stream, UINT64_MAX, &event, NULL));
        CHECK(event.token == GOLDEN[i]);
    }
    loquat_stream_free(stream);
    EXPECT(LOQUAT_OK, loquat_session_position(session, &position, &capacity, NULL));
    CHECK(position >= PROMPT_LENGTH + 2 && position <= PROMPT_LENGTH + 9); /* the last token need not be computed yet */
    EXPECT(LOQUAT_TOKEN, loquat_session_step(session, UINT64_MAX, &event, NULL));

    /* Cancelled from either handle: what is there comes, then the cancel, and no event is missing. */
    for (int round = 0; round < 2; round++) {
        EXPECT(LOQUAT_OK, loquat_session_reset(session, NULL));
        EXPECT(LOQUAT_OK, loquat_session_append_tokens(session, PROMPT, PROMPT_LENGTH, NULL));
        EXPECT(LOQUAT_OK, loquat_stream_start(session, 4, NULL, NULL, &stream, NULL));
        EXPECT(LOQUAT_TOKEN, loquat_stream_pop(stream, UINT64_MAX, &event, NULL));
        EXPECT(LOQUAT_OK, round ? loquat_session_cancel(session, NULL) : loquat_stream_cancel(stream, NULL));
        uint32_t popped = 1;
        loquat_status status;
        while ((status = loquat_stream_pop(stream, UINT64_MAX, &event, NULL)) == LOQUAT_TOKEN) {
            CHECK(popped >= GOLDEN_LENGTH || event.token == GOLDEN[popped]);
            popped++;
        }
        CHECK(status == LOQUAT_CANCELLED);
        loquat_stream_free(stream);
        size_t count = 0;
        EXPECT(LOQUAT_BUFFER_TOO_SMALL, loquat_session_tokens(session, NULL, 0, &count, NULL));
        CHECK(count == PROMPT_LENGTH + popped);
        EXPECT(LOQUAT_TOKEN, loquat_session_step(session, UINT64_MAX, &event, NULL));
    }
    loquat_session_free(session);
    loquat_model_free(model);
}

static void freed_in_every_order(void) {
    for (int order = 0; order < 6; order++) {
        int before = threads_now();
        loquat_model *model = model_of(2);
        loquat_session *session = session_of(model, UINT32_MAX);
        loquat_stream *stream = NULL;
        loquat_event event = {.struct_size = sizeof event};
        EXPECT(LOQUAT_OK, loquat_stream_start(session, 1, NULL, NULL, &stream, NULL));
        static const char *const orders[] = {"mst", "mts", "smt", "stm", "tms", "tsm"};
        for (const char *next = orders[order]; *next; next++) {
            switch (*next) {
            case 'm': loquat_model_free(model); break;
            case 's': loquat_session_free(session); break;
            case 't':
                EXPECT(LOQUAT_TOKEN, loquat_stream_pop(stream, UINT64_MAX, &event, NULL));
                loquat_stream_free(stream);
                break;
            }
        }
        CHECK(threads_now() == before);
    }
}

static void errors(void) {
    loquat_model *model = model_of(1);
    loquat_session *session = NULL;
    loquat_stream *stream = NULL;
    loquat_event event = {.struct_size = sizeof event};
    EXPECT(LOQUAT_OK, loquat_session_new(model, NULL, &session, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "0 events", loquat_stream_start(session, 0, NULL, NULL, &stream, &error));
    EXPECT(LOQUAT_OK, loquat_stream_start(session, 1, NULL, NULL, &stream, NULL));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "prompt", loquat_stream_pop(stream, UINT64_MAX, &event, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "prompt", loquat_stream_pop(stream, 0, &event, &error));
    event.struct_size = 3;
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "struct_size", loquat_stream_pop(stream, 0, &event, &error));
    loquat_stream_free(stream);
    event.struct_size = sizeof event;
    EXPECT(LOQUAT_OK, loquat_session_append_tokens(session, PROMPT, PROMPT_LENGTH, NULL));
    EXPECT(LOQUAT_OK, loquat_stream_start(session, 1, NULL, NULL, &stream, NULL));
    while (loquat_stream_pop(stream, 1000, &event, NULL) == LOQUAT_PENDING) {
        CHECK(event.text_length == 0 && event.token == LOQUAT_NO_TOKEN && event.progress <= 1);
    }
    loquat_stream_free(stream);
    loquat_stream_free(NULL);
    loquat_session_free(session);
    loquat_model_free(model);
}

int main(void) {
    woken();
    busy_and_given_back();
    freed_in_every_order();
    errors();
    return 0;
}
