/* Has Loquat compute on threads of this program, and compares the speed with threads of its own.
 *
 * The pool below is the plainest one: a lock, a condition, and a list of one job. Job systems of engines fit in the same way. */
#include "common.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "Usage: host_threads [options]\n"
    "Generates on threads of the library and on threads of this program, by turns, and compares speed and tokens.\n\n"
    "  -p N        tokens of the prompt (default: 256)\n"
    "  -n N        tokens that are generated (default: 128)\n"
    "  -r REPEATS  how often (default: 5)\n";

/* Threads that wait for something to do. */
struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pthread_t *threads;
    uint32_t thread_count;
    int quit;
    /* The job: calls that were not begun yet, and those that have not returned yet. */
    loquat_body_fn body;
    void *context;
    uint32_t next, count, running;
};

/* Makes calls until none is left. The lock is held before and after. */
static void take_part(struct pool *pool) {
    while (pool->next < pool->count) {
        uint32_t index = pool->next++;
        pool->running++;
        pthread_mutex_unlock(&pool->lock);
        pool->body(pool->context, index);
        pthread_mutex_lock(&pool->lock);
        if (--pool->running == 0 && pool->next == pool->count) {
            pthread_cond_signal(&pool->done);
        }
    }
}

static void *worker(void *argument) {
    struct pool *pool = argument;
    pthread_mutex_lock(&pool->lock);
    while (!pool->quit) {
        take_part(pool);
        pthread_cond_wait(&pool->work, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* The loquat_parallel_for_fn. Only one thread of this program steps a session, so there is one job at a time. */
static void parallel_for(void *user_data, uint32_t count, loquat_body_fn body, void *context) {
    struct pool *pool = user_data;
    pthread_mutex_lock(&pool->lock);
    pool->body = body;
    pool->context = context;
    pool->next = 0;
    pool->count = count;
    pthread_cond_broadcast(&pool->work);
    take_part(pool);
    while (pool->running) {
        pthread_cond_wait(&pool->done, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
}

static void pool_start(struct pool *pool, uint32_t threads) {
    memset(pool, 0, sizeof *pool);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->threads = allocate(threads * sizeof *pool->threads);
    for (; pool->thread_count < threads; pool->thread_count++) {
        if (pthread_create(&pool->threads[pool->thread_count], NULL, worker, pool)) {
            fail("the system gives no more than %u threads", pool->thread_count);
        }
    }
}

static void pool_end(struct pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->quit = 1;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->thread_count; i++) {
        pthread_join(pool->threads[i], NULL);
    }
    free(pool->threads);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->done);
}

struct plan {
    uint32_t prompt, generate, repeats;
};

/* One way of computing: its runtime, model and session, and what was measured. */
struct side {
    const char *name;
    loquat_runtime *runtime;
    loquat_model *model;
    loquat_session *session;
    uint32_t *tokens;
    double *prefill, *decode;
};

static struct side side_of(const char *name, const struct common *common, const struct plan *plan, uint32_t threads, struct pool *pool) {
    struct side side = {.name = name};
    loquat_error *error = NULL;
    loquat_runtime_options *options = NULL;
    check(loquat_runtime_options_new(&options, &error), &error);
    check(loquat_runtime_options_set_threads(options, threads, &error), &error);
    if (pool) {
        check(loquat_runtime_options_set_parallel_for(options, parallel_for, pool, &error), &error);
    }
    check(loquat_runtime_new(options, &side.runtime, &error), &error);
    loquat_runtime_options_free(options);
    side.model = open_model(common, side.runtime, 0);

    loquat_session_options *session_options = NULL;
    check(loquat_session_options_new(&session_options, &error), &error);
    check(loquat_session_options_set_context(session_options, plan->prompt + plan->generate + 1, &error), &error);
    check(loquat_session_options_set_ignore_end(session_options, 1, &error), &error);
    check(loquat_session_options_set_prefix_reuse(session_options, 0, &error), &error); /* each round computes its prompt */
    check(loquat_session_new(side.model, session_options, &side.session, &error), &error);
    loquat_session_options_free(session_options);
    side.tokens = allocate(plan->generate * sizeof *side.tokens);
    side.prefill = allocate(plan->repeats * sizeof *side.prefill);
    side.decode = allocate(plan->repeats * sizeof *side.decode);
    return side;
}

static void side_free(struct side *side) {
    loquat_session_free(side->session);
    loquat_model_free(side->model);
    loquat_runtime_free(side->runtime);
    free(side->tokens);
    free(side->prefill);
    free(side->decode);
}

/* One prompt and its continuation; `repeat` is where the speed is noted. */
static void measure(struct side *side, const struct plan *plan, const uint32_t *prompt, uint32_t repeat) {
    loquat_error *error = NULL;
    loquat_event event = {.struct_size = sizeof event};
    check(loquat_session_reset(side->session, &error), &error);
    check(loquat_session_append_tokens(side->session, prompt, plan->prompt, &error), &error);
    double begin = seconds(), first = begin;
    for (uint32_t i = 0; i < plan->generate; i++) {
        if (check(loquat_session_step(side->session, UINT64_MAX, &event, &error), &error) != LOQUAT_TOKEN) {
            fail("the turn ended early");
        }
        side->tokens[i] = event.token;
        first = i == 0 ? seconds() : first;
    }
    side->prefill[repeat] = plan->prompt / (first - begin);
    side->decode[repeat] = (plan->generate - 1) / (seconds() - first);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, uint32_t count) {
    qsort(values, count, sizeof *values, ascending);
    return values[count / 2];
}

int main(int argc, char **argv) {
    begin(argc, argv, HELP);
    struct common common = {0};
    struct plan plan = {256, 128, 5};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-p") == 0) {
            plan.prompt = (uint32_t)number_value(argc, argv, &i, 1, 1000000);
        } else if (strcmp(argv[i], "-n") == 0) {
            plan.generate = (uint32_t)number_value(argc, argv, &i, 2, 1000000);
        } else if (strcmp(argv[i], "-r") == 0) {
            plan.repeats = (uint32_t)number_value(argc, argv, &i, 1, 1000);
        } else if (!common_option(&common, argc, argv, &i)) {
            bad_usage("what is %s?", argv[i]);
        }
    }
    loquat_error *error = NULL;
    uint32_t threads = common.threads;
    struct side own = side_of("the library's threads", &common, &plan, threads, NULL);
    check(loquat_runtime_threads(own.runtime, &threads, &error), &error);
    struct pool pool;
    pool_start(&pool, threads - 1); /* the thread that steps is one of them */
    struct side host = side_of("this program's threads", &common, &plan, threads, &pool);

    loquat_model_info info = {.struct_size = sizeof info};
    check(loquat_model_get_info(own.model, &info, &error), &error);
    uint32_t *prompt = allocate(plan.prompt * sizeof *prompt);
    for (uint32_t i = 0; i < plan.prompt; i++) {
        prompt[i] = 3 + i * 2654435761u % (info.vocab_size - 3);
    }
    struct side *sides[] = {&own, &host};
    for (uint32_t repeat = 0; repeat <= plan.repeats; repeat++) { /* the first time warms up */
        for (int i = 0; i < 2; i++) {
            measure(sides[i], &plan, prompt, repeat ? repeat - 1 : 0);
        }
    }
    int same = memcmp(own.tokens, host.tokens, plan.generate * sizeof *own.tokens) == 0;
    printf("%u threads, medians of %u\n", threads, plan.repeats);
    for (int i = 0; i < 2; i++) {
        printf("%-24s prefill %9.1f tok/s   decode %9.1f tok/s\n", sides[i]->name, median(sides[i]->prefill, plan.repeats),
               median(sides[i]->decode, plan.repeats));
    }
    printf("the same tokens: %s\n", same ? "yes" : "no");
    free(prompt);
    side_free(&own);
    side_free(&host);
    pool_end(&pool);
    return same ? 0 : 1;
}
