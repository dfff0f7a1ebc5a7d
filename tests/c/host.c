/* What a host may bring along: threads, a say in the library's threads, memory. Whatever it does, the bits are the same. */
#include "check.h"
#include "golden.h"

static int under(const char *check) {
    const char *now = getenv("LOQUAT_TEST_CHECK");
    return now && strcmp(now, check) == 0;
}

/* What loquat.h promises to be enough for a body. Threads that are watched by a tool need more. */
#define POOL_STACK (under("Plain") ? 64 << 10 : 1 << 20)
#include "host_pool.h"

/* How often things are done: under Valgrind, which runs one thread at a time, slowly, as seldom as makes sense. */
#define TIMES(n) (under("Valgrind") ? 1 : (n))

#define VOCABULARY 2048

static loquat_runtime_options *options_of(uint32_t threads) {
    loquat_runtime_options *options = NULL;
    EXPECT(LOQUAT_OK, loquat_runtime_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_runtime_options_set_threads(options, threads, NULL));
    return options;
}

static loquat_runtime *started(loquat_runtime_options *options) {
    loquat_runtime *runtime = NULL;
    EXPECT(LOQUAT_OK, loquat_runtime_new(options, &runtime, NULL));
    loquat_runtime_options_free(options);
    return runtime;
}

static loquat_runtime *on_pool(struct pool *pool, uint32_t threads) {
    loquat_runtime_options *options = options_of(threads);
    EXPECT(LOQUAT_OK, loquat_runtime_options_set_parallel_for(options, pool_for, pool, NULL));
    return started(options);
}

static loquat_model *model_of(const loquat_runtime *runtime) {
    loquat_model *model = NULL;
    EXPECT(LOQUAT_OK, loquat_model_load(runtime, DEMO_MODEL, strlen(DEMO_MODEL), NULL, &model, NULL));
    return model;
}

static loquat_session *session_of(const loquat_model *model, uint32_t threads) {
    loquat_session_options *options = NULL;
    loquat_session *session = NULL;
    EXPECT(LOQUAT_OK, loquat_session_options_new(&options, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_max_tokens(options, GOLDEN_LENGTH, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_context(options, 128, NULL));
    char number[] = {(char)('0' + threads), 0};
    if (threads % 2) {
        EXPECT(LOQUAT_OK, loquat_session_options_set(options, "threads", 7, number, 1, NULL));
    } else {
        EXPECT(LOQUAT_OK, loquat_session_options_set_threads(options, threads, NULL));
    }
    EXPECT(LOQUAT_OK, loquat_session_new(model, options, &session, NULL));
    loquat_session_options_free(options);
    return session;
}

/* A turn in steps of `budget_ns`; the tokens must be the golden ones. Stores the last logits. */
static void turn(loquat_session *session, uint64_t budget_ns, float *logits) {
    loquat_event event = {.struct_size = sizeof event};
    size_t tokens = 0;
    loquat_status status;
    EXPECT(LOQUAT_OK, loquat_session_reset(session, NULL));
    EXPECT(LOQUAT_OK, loquat_session_append_tokens(session, PROMPT, PROMPT_LENGTH, NULL));
    while ((status = loquat_session_step(session, budget_ns, &event, NULL)) != LOQUAT_DONE) {
        CHECK(status == LOQUAT_TOKEN || status == LOQUAT_PENDING || status == LOQUAT_CANCELLED);
        if (status == LOQUAT_TOKEN) {
            CHECK(tokens < GOLDEN_LENGTH && event.token == GOLDEN[tokens]);
            tokens++;
        }
    }
    CHECK(tokens == GOLDEN_LENGTH);
    size_t count = 0;
    EXPECT(LOQUAT_OK, loquat_session_logits(session, logits, VOCABULARY, &count, NULL));
    CHECK(count == VOCABULARY);
}

static float alone[VOCABULARY]; /* the logits of the turn on one thread of the library */

static void check_turn(loquat_session *session, uint64_t budget_ns) {
    float logits[VOCABULARY];
    turn(session, budget_ns, logits);
    CHECK(memcmp(logits, alone, sizeof alone) == 0);
}

static void reference(void) {
    loquat_runtime *runtime = started(options_of(1));
    loquat_model *model = model_of(runtime);
    loquat_session *session = session_of(model, 0);
    turn(session, UINT64_MAX, alone);
    loquat_session_free(session);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
}

static const uint64_t BUDGETS[] = {UINT64_MAX, 20000, 0};

static void every_manner(void) {
    for (enum manner manner = 0; manner < MANNERS; manner++) {
        struct pool *pool = pool_start(manner, FE_TONEAREST);
        loquat_runtime *runtime = on_pool(pool, 3);
        uint32_t threads = 0;
        EXPECT(LOQUAT_OK, loquat_runtime_threads(runtime, &threads, NULL));
        CHECK(threads == 3);
        loquat_model *model = model_of(runtime);
        loquat_session *session = session_of(model, 0);
        for (int i = 0; i < TIMES(30); i++) {
            check_turn(session, BUDGETS[i % 3]);
        }
        CHECK(pool->calls > 0 && pool->most == 3);
        loquat_runtime_free(runtime);
        loquat_model_free(model);
        pool_drain(pool);
        loquat_session_free(session);
        pool_end(pool);
    }
}

static void caps(void) {
    struct pool *pool = pool_start(TOGETHER, FE_TONEAREST);
    loquat_runtime *runtimes[] = {on_pool(pool, 4), started(options_of(4))};
    for (int i = 0; i < 2; i++) {
        loquat_model *model = model_of(runtimes[i]);
        for (uint32_t cap = 0; cap < 6; cap += under("Valgrind") ? 2 : 1) {
            pool->calls = pool->most = 0;
            loquat_session *session = session_of(model, cap);
            check_turn(session, UINT64_MAX);
            loquat_session_free(session);
            CHECK(i == 1 || pool->most == (cap == 0 || cap > 4 ? 4 : cap == 1 ? 0 : cap));
        }
        loquat_model_free(model);
        loquat_runtime_free(runtimes[i]);
    }
    pool_end(pool);
}

struct stepping {
    loquat_session *session;
    pthread_t thread;
};

static void *steps(void *argument) {
    struct stepping *stepping = argument;
    for (int i = 0; i < TIMES(20); i++) {
        check_turn(stepping->session, BUDGETS[i % 2]);
    }
    return NULL;
}

/* Several sessions ask one pool at once, and are cancelled from outside. */
static void many_at_once(void) {
    static const enum manner manners[] = {TOGETHER, ELSEWHERE, QUEUED};
    for (int m = 0; m < TIMES(3); m++) {
        struct pool *pool = pool_start(manners[m], FE_TONEAREST);
        loquat_runtime *runtime = on_pool(pool, 3);
        loquat_model *model = model_of(runtime);
        struct stepping stepping[4];
        for (int i = 0; i < 4; i++) {
            stepping[i].session = session_of(model, 0);
            CHECK(pthread_create(&stepping[i].thread, NULL, steps, &stepping[i]) == 0);
        }
        for (int i = 0; i < 2000; i++) {
            EXPECT(LOQUAT_OK, loquat_session_cancel(stepping[i % 4].session, NULL));
        }
        for (int i = 0; i < 4; i++) {
            CHECK(pthread_join(stepping[i].thread, NULL) == 0);
        }
        pool_drain(pool);
        for (int i = 0; i < 4; i++) {
            loquat_session_free(stepping[i].session);
        }
        loquat_model_free(model);
        loquat_runtime_free(runtime);
        pool_end(pool);
    }
}

/* Threads of the host round as they like; the library does not, and puts it back. */
static void rounding(void) {
    if (under("Valgrind")) {
        return; /* it computes in its own way */
    }
    int before = fegetround();
    CHECK(fesetround(FE_TOWARDZERO) == 0);
    struct pool *pool = pool_start(TOGETHER, FE_UPWARD);
    loquat_runtime *runtimes[] = {on_pool(pool, 4), started(options_of(1)), started(options_of(4))};
    for (int i = 0; i < 3; i++) {
        loquat_model *model = model_of(runtimes[i]);
        loquat_session *session = session_of(model, 0);
        check_turn(session, UINT64_MAX);
        CHECK(fegetround() == FE_TOWARDZERO);
        loquat_session_free(session);
        loquat_model_free(model);
        loquat_runtime_free(runtimes[i]);
    }
    pool_end(pool);
    CHECK(fesetround(before) == 0);
}

struct hooked {
    pthread_mutex_t lock;
    int starts[8], ends[8];
    pthread_t threads[8];
};

static void on_start(void *user_data, uint32_t index) {
    struct hooked *hooked = user_data;
    CHECK(index >= 1 && index < 8);
    pthread_mutex_lock(&hooked->lock);
    hooked->starts[index]++;
    hooked->threads[index] = pthread_self();
    pthread_mutex_unlock(&hooked->lock);
}

static void on_end(void *user_data, uint32_t index) {
    struct hooked *hooked = user_data;
    CHECK(index >= 1 && index < 8);
    pthread_mutex_lock(&hooked->lock);
    CHECK(hooked->starts[index] == 1 && pthread_equal(hooked->threads[index], pthread_self()));
    hooked->ends[index]++;
    pthread_mutex_unlock(&hooked->lock);
}

static void hooks(void) {
    struct hooked hooked = {.lock = PTHREAD_MUTEX_INITIALIZER};
    loquat_runtime_options *options = options_of(4);
    EXPECT(LOQUAT_OK, loquat_runtime_options_set_thread_hooks(options, on_start, on_end, &hooked, NULL));
    loquat_runtime *runtime = started(options);
    for (int i = 1; i < 8; i++) {
        CHECK(hooked.starts[i] == (i < 4) && hooked.ends[i] == 0);
    }
    loquat_model *model = model_of(runtime);
    loquat_session *session = session_of(model, 0);
    loquat_runtime_free(runtime);
    loquat_model_free(model);
    check_turn(session, UINT64_MAX);
    CHECK(hooked.ends[1] == 0);
    loquat_session_free(session);
    for (int i = 1; i < 8; i++) {
        CHECK(hooked.ends[i] == (i < 4));
    }
    pthread_mutex_destroy(&hooked.lock);

    options = options_of(4);
    EXPECT(LOQUAT_OK, loquat_runtime_options_set_thread_hooks(options, NULL, NULL, NULL, NULL));
    loquat_runtime_free(started(options));
}

/* Memory of the host: blocks that remember their size, filled with something, of which the one numbered `refused` is not given. */
struct heap {
    pthread_mutex_t lock;
    unsigned asked, refused, held;
    size_t bytes;
    size_t shift; /* off the alignment */
};

#define BORDER 192

static void *heap_alloc(void *user_data, size_t size, size_t alignment) {
    struct heap *heap = user_data;
    CHECK(size > 0 && alignment == 64);
    pthread_mutex_lock(&heap->lock);
    int refuse = heap->asked++ == heap->refused;
    heap->held += !refuse;
    heap->bytes += refuse ? 0 : size;
    pthread_mutex_unlock(&heap->lock);
    if (refuse) {
        return NULL;
    }
    char *whole = malloc(size + BORDER);
    CHECK(whole);
    memset(whole, 0x5a, size + BORDER);
    char *block = whole + 128 - (uintptr_t)whole % 64 + heap->shift;
    memcpy(block - 16, &whole, sizeof whole);
    memcpy(block - 8, &size, sizeof size);
    return block;
}

static void heap_dealloc(void *user_data, void *block, size_t size, size_t alignment) {
    struct heap *heap = user_data;
    char *whole;
    size_t asked;
    memcpy(&whole, (char *)block - 16, sizeof whole);
    memcpy(&asked, (char *)block - 8, sizeof asked);
    CHECK(asked == size && alignment == 64);
    pthread_mutex_lock(&heap->lock);
    heap->held--;
    heap->bytes -= size;
    pthread_mutex_unlock(&heap->lock);
    free(whole);
}

/* A model that is read, a session with every table, a turn. Returns the first status that is an error. */
static loquat_status life(struct heap *heap, uint32_t threads) {
    loquat_runtime_options *options = options_of(threads);
    EXPECT(LOQUAT_OK, loquat_runtime_options_set_allocator(options, heap_alloc, heap_dealloc, 0, heap, NULL));
    loquat_runtime *runtime = started(options);
    loquat_model_options *model_options = NULL;
    loquat_session_options *session_options = NULL;
    EXPECT(LOQUAT_OK, loquat_model_options_new(&model_options, NULL));
    EXPECT(LOQUAT_OK, loquat_model_options_set_access(model_options, LOQUAT_ACCESS_READ, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_new(&session_options, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_context(session_options, 64, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_temperature(session_options, 0.7f, NULL));
    EXPECT(LOQUAT_OK, loquat_session_options_set_penalties(session_options, 1.1f, 0, 0, 64, NULL));
    loquat_model *model = NULL;
    loquat_session *session = NULL;
    loquat_error *error = NULL;
    loquat_status status = loquat_model_load(runtime, DEMO_MODEL, strlen(DEMO_MODEL), model_options, &model, &error);
    if (status == LOQUAT_OK) {
        status = loquat_session_new(model, session_options, &session, &error);
    }
    if (status == LOQUAT_OK) {
        loquat_event event = {.struct_size = sizeof event};
        EXPECT(LOQUAT_OK, loquat_session_append_tokens(session, PROMPT, PROMPT_LENGTH, NULL));
        unsigned asked = heap->asked;
        for (int i = 0; i < 5; i++) {
            EXPECT(LOQUAT_TOKEN, loquat_session_step(session, UINT64_MAX, &event, NULL));
        }
        CHECK(heap->asked == asked);
        loquat_memory memory = {.struct_size = sizeof memory};
        EXPECT(LOQUAT_OK, loquat_runtime_get_memory(runtime, &memory, NULL));
        CHECK(heap->bytes > 3000000 && heap->bytes <= memory.private_total);
    } else {
        CHECK(strstr(loquat_error_message(error), "the host's allocator"));
        loquat_error_free(error);
    }
    loquat_memory memory = {.struct_size = sizeof memory};
    loquat_session_free(session);
    loquat_model_free(model);
    EXPECT(LOQUAT_OK, loquat_runtime_get_memory(runtime, &memory, NULL));
    CHECK(memory.private_total == 0 && memory.weights_mapped == 0);
    CHECK(heap->held == 0 && heap->bytes == 0);
    loquat_model_options_free(model_options);
    loquat_session_options_free(session_options);
    loquat_runtime_free(runtime);
    return status;
}

static void memory(void) {
    struct heap heap = {.lock = PTHREAD_MUTEX_INITIALIZER, .refused = (unsigned)-1};
    EXPECT(LOQUAT_OK, life(&heap, 2));
    unsigned blocks = heap.asked;
    CHECK(blocks >= 5);
    for (unsigned refused = 0; refused < blocks; refused++) {
        heap.asked = 0;
        heap.refused = refused;
        EXPECT(LOQUAT_OUT_OF_MEMORY, life(&heap, 1));
    }
    heap.refused = (unsigned)-1;
    heap.shift = 32;
    EXPECT(LOQUAT_INVALID_ARGUMENT, life(&heap, 1));
    pthread_mutex_destroy(&heap.lock);

    loquat_runtime_options *options = options_of(1);
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "both", loquat_runtime_options_set_allocator(options, heap_alloc, NULL, 0, NULL, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "both", loquat_runtime_options_set_allocator(options, NULL, heap_dealloc, 0, NULL, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "zeroed",
                 loquat_runtime_options_set_allocator(options, heap_alloc, heap_dealloc, 2, NULL, &error));
    EXPECT(LOQUAT_OK, loquat_runtime_options_set_allocator(options, NULL, NULL, 0, NULL, NULL));
    loquat_runtime *runtime = started(options);
    uint64_t bytes = 1;
    EXPECT(LOQUAT_OK, loquat_runtime_trim(runtime, &bytes, NULL));
    CHECK(bytes == 0);
    EXPECT(LOQUAT_OK, loquat_runtime_trim(runtime, NULL, NULL));
    loquat_runtime_free(runtime);
}

int main(void) {
    reference();
    every_manner();
    caps();
    many_at_once();
    rounding();
    hooks();
    memory();
    return 0;
}
