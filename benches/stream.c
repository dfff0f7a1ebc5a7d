/* What the roofs of `bench_stats --roofline` are checked against: memory reads and multiply-adds in plain C, made fast by the compiler alone.
 *
 *   cc -O3 -march=native -ffp-contract=fast benches/stream.c -o stream -lpthread && ./stream [THREADS [MIB]]
 *
 * Prints the rate at which all threads together read blocks of MIB (default 600) and of 3 MiB, the large one in pages as they come and in large
 * ones, and the rate of f32 multiply-adds: the best of seven runs each. Linux. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { RUNS = 7, MOST_THREADS = 256, LANES = 64 };

static int threads = 2;
static const uint64_t *block;
static size_t words, times;
static pthread_barrier_t barrier;
static volatile uint64_t sink;
static volatile float float_sink;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void read_part(size_t thread) {
    size_t first = words / threads * thread, last = first + words / threads;
    uint64_t sum[32] = {0};
    for (size_t k = 0; k < times; k++) {
        for (size_t i = first; i + 32 <= last; i += 32) {
            for (int j = 0; j < 32; j++) {
                sum[j] += block[i + j];
            }
        }
        __asm__ volatile("" ::: "memory");
    }
    for (int j = 0; j < 32; j++) {
        sink += sum[j];
    }
}

/* Twelve vectors of the widest kind that the compiler has been told of. */
#if defined(__AVX512F__)
enum { WIDTH = 16 };
#elif defined(__AVX2__)
enum { WIDTH = 8 };
#else
enum { WIDTH = 4 };
#endif
typedef float vector __attribute__((vector_size(4 * WIDTH)));

static void multiply_part(size_t thread) {
    vector sums[12], a, b;
    (void)thread;
    for (int j = 0; j < WIDTH; j++) {
        a[j] = 0.5f;
        b[j] = 0.25f;
    }
    for (int i = 0; i < 12; i++) {
        sums[i] = a * (float)i;
    }
    for (size_t k = 0; k < times; k++) {
        for (int i = 0; i < 12; i++) {
            sums[i] += a * b;
        }
        __asm__ volatile("" : "+x"(a), "+x"(b)); /* the compiler must not see that every round is the same */
    }
    for (int i = 0; i < 12; i++) {
        float_sink = sums[i][0];
    }
}

static void (*part)(size_t);

static void *run(void *number) {
    for (int i = 0; i < RUNS; i++) {
        pthread_barrier_wait(&barrier);
        part((size_t)number);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

/* The best rate, in 10^9 a second, of `units` in all. */
static double best(void (*what)(size_t), double units) {
    pthread_t ids[MOST_THREADS];
    double rate = 0;
    part = what;
    pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
    for (long i = 0; i < threads; i++) {
        pthread_create(&ids[i], NULL, run, (void *)i);
    }
    for (int i = 0; i < RUNS; i++) {
        pthread_barrier_wait(&barrier);
        double begin = now();
        pthread_barrier_wait(&barrier);
        double took = now() - begin;
        rate = units / took / 1e9 > rate ? units / took / 1e9 : rate;
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
    }
    return rate;
}

static double reading(size_t bytes, size_t repeats, int large) {
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    madvise(memory, bytes, large ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    memset(memory, 1, bytes);
    block = (const uint64_t *)memory;
    words = bytes / 8;
    times = repeats;
    double rate = best(read_part, (double)bytes * (double)repeats);
    munmap(memory, bytes);
    return rate;
}

int main(int argc, char **argv) {
    threads = argc > 1 ? atoi(argv[1]) : threads;
    size_t mib = argc > 2 ? (size_t)atoi(argv[2]) : 600;
    if (threads < 1 || threads > MOST_THREADS || mib < 1) {
        fprintf(stderr, "usage: stream [THREADS [MIB]]\n");
        return 2;
    }
    printf("threads %d\n", threads);
    printf("read %zu MiB, large pages: %.2f GB/s\n", mib, reading(mib << 20, 1, 1));
    printf("read %zu MiB, small pages: %.2f GB/s\n", mib, reading(mib << 20, 1, 0));
    printf("read 3 MiB again and again: %.2f GB/s\n", reading(3 << 20, 200, 1));
    times = 2000000;
    printf("f32 multiply-add: %.1f Gop/s\n", best(multiply_part, (double)times * threads * 12 * WIDTH * 2));
    return 0;
}
