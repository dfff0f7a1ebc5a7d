/* A thread pool as a host has one, and the ways in which it may answer to a loquat_parallel_for_fn. */
#ifndef HOST_POOL_H
#define HOST_POOL_H

#include <fenv.h>
#include <pthread.h>

#include "check.h"

enum manner {
    TOGETHER,  /* on several threads, the calling one among them; waits */
    ELSEWHERE, /* on other threads than the calling one, which waits */
    QUEUED,    /* on other threads, whenever they come to it; does not wait */
    IN_TURN,   /* one after the other on the calling thread */
    TOO_FEW,   /* only one, on the calling thread */
    NEVER,
    MANNERS
};

#define POOL_THREADS 3
#define QUEUE 4096

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pthread_t threads[POOL_THREADS];
    enum manner manner;
    int rounding; /* of the pool's threads: an FE_ number */
    int quit;
    unsigned calls, bodies, most; /* of parallel_for, and of the pool's threads; the largest count that was asked for */
    struct item {
        loquat_body_fn body;
        void *context;
        uint32_t index;
        unsigned *left;
    } queue[QUEUE];
    unsigned begin, end; /* of the queue, modulo its length */
    unsigned unfinished;
};

/* Takes one item from the queue. The lock is held before and after. */
static int pool_help(struct pool *pool) {
    if (pool->begin == pool->end) {
        return 0;
    }
    struct item item = pool->queue[pool->begin++ % QUEUE];
    pool->bodies++;
    pthread_mutex_unlock(&pool->lock);
    item.body(item.context, item.index);
    pthread_mutex_lock(&pool->lock);
    pool->unfinished--;
    if (item.left) {
        --*item.left;
    }
    pthread_cond_broadcast(&pool->done);
    return 1;
}

static void *pool_thread(void *argument) {
    struct pool *pool = argument;
    CHECK(fesetround(pool->rounding) == 0);
    pthread_mutex_lock(&pool->lock);
    while (!pool->quit) {
        if (!pool_help(pool)) {
            pthread_cond_wait(&pool->work, &pool->lock);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    CHECK(fegetround() == pool->rounding);
    return NULL;
}

static void pool_for(void *user_data, uint32_t count, loquat_body_fn body, void *context) {
    struct pool *pool = user_data;
    CHECK(count > 1);
    pthread_mutex_lock(&pool->lock);
    pool->calls++;
    pool->most = count > pool->most ? count : pool->most;
    enum manner manner = pool->manner;
    unsigned left = count;
    if (manner <= QUEUED) {
        if (manner == QUEUED && pool->end - pool->begin > QUEUE - 64) {
            count = 0; /* a host that is busy may leave it all to the thread that steps */
        }
        for (uint32_t i = 0; i < count; i++) {
            CHECK(pool->end - pool->begin < QUEUE);
            struct item item = {body, context, i, manner == QUEUED ? NULL : &left};
            pool->queue[pool->end++ % QUEUE] = item;
            pool->unfinished++;
        }
        pthread_cond_broadcast(&pool->work);
        while (manner != QUEUED && left > 0) {
            if (manner == ELSEWHERE || !pool_help(pool)) {
                pthread_cond_wait(&pool->done, &pool->lock);
            }
        }
    }
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < (manner == IN_TURN ? count : manner == TOO_FEW ? 1 : 0); i++) {
        body(context, i);
    }
}

/* Waits until all bodies that are queued have returned. */
static void pool_drain(struct pool *pool) {
    pthread_mutex_lock(&pool->lock);
    while (pool->unfinished) {
        pthread_cond_wait(&pool->done, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
}

static struct pool *pool_start(enum manner manner, int rounding) {
    struct pool *pool = calloc(1, sizeof *pool);
    CHECK(pool);
    pool->manner = manner;
    pool->rounding = rounding;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    pthread_attr_t small;
    pthread_attr_init(&small);
    CHECK(pthread_attr_setstacksize(&small, POOL_STACK) == 0);
    for (int i = 0; i < POOL_THREADS; i++) {
        CHECK(pthread_create(&pool->threads[i], &small, pool_thread, pool) == 0);
    }
    pthread_attr_destroy(&small);
    return pool;
}

static void pool_end(struct pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->quit = 1;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < POOL_THREADS; i++) {
        CHECK(pthread_join(pool->threads[i], NULL) == 0);
    }
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->done);
    free(pool);
}

#endif
