/* What this machine can do at most: read bandwidth and multiply-adds per second. No engine in here; table.py sets speeds against it.
 *
 *   cc -O3 -march=native -pthread limits.c -o limits
 *   limits [-t THREADS] [-r REPEATS] [--mib MIB]
 *
 * One JSON object on standard output, every figure with its samples (a total over all threads):
 *   read_gb_s              reading memory from beginning to end, each thread its own part (MIB in all, in huge pages where there are any)
 *   int8_dot_gmac_s        8-bit integer dot products (vpdpbusd), 10^9 multiply-adds per second
 *   f32_fma_gmac_s         f32 fused multiply-adds
 *   bf16_dot_gmac_s        bf16 dot products (vdpbf16ps)
 * A kind that the compiler was not told the processor has is null. A limit is the largest value seen; the median says how steadily
 * the machine reaches it. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { MAX_THREADS = 256, CHAINS = 12, ROUNDS = 1 << 24 };

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- Multiply-adds: ROUNDS times CHAINS independent instructions. The empty asm statements keep the compiler from computing ahead
 * (inputs it can't know) and from dropping the work (results it must have). */
#define KNOWN_TO_NOBODY(x) __asm__ volatile("" : "+x"(x))
#define CHAIN_KERNEL(name, vector, zero, operand, step)      \
    static void name(void) {                                 \
        vector sums[CHAINS], a = operand, b = operand;       \
        KNOWN_TO_NOBODY(a);                                  \
        KNOWN_TO_NOBODY(b);                                  \
        for (int i = 0; i < CHAINS; i++) {                   \
            sums[i] = zero;                                  \
        }                                                    \
        for (int round = 0; round < ROUNDS; round++) {       \
            for (int i = 0; i < CHAINS; i++) {               \
                sums[i] = step(sums[i], a, b);               \
            }                                                \
        }                                                    \
        for (int i = 0; i < CHAINS; i++) {                   \
            KNOWN_TO_NOBODY(sums[i]);                        \
        }                                                    \
    }

#if defined(__AVX512F__)
#define F32_LANES 16
#define f32_step(sum, a, b) _mm512_fmadd_ps(a, b, sum)
CHAIN_KERNEL(f32_fma, __m512, _mm512_setzero_ps(), _mm512_set1_ps(0.5f), f32_step)
#elif defined(__AVX2__) && defined(__FMA__)
#define F32_LANES 8
#define f32_step(sum, a, b) _mm256_fmadd_ps(a, b, sum)
CHAIN_KERNEL(f32_fma, __m256, _mm256_setzero_ps(), _mm256_set1_ps(0.5f), f32_step)
#else
#define F32_LANES 0
#define f32_fma NULL
#endif

#if defined(__AVX512VNNI__)
#define INT8_LANES 64
/* As an instruction, since GCC 12 copies the sums of its intrinsic around and so halves the figure. */
static inline __m512i int8_step(__m512i sum, __m512i a, __m512i b) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}
CHAIN_KERNEL(int8_dot, __m512i, _mm512_setzero_si512(), _mm512_set1_epi8(1), int8_step)
#elif defined(__AVXVNNI__)
#define INT8_LANES 32
#define int8_step(sum, a, b) _mm256_dpbusd_avx_epi32(sum, a, b)
CHAIN_KERNEL(int8_dot, __m256i, _mm256_setzero_si256(), _mm256_set1_epi8(1), int8_step)
#else
#define INT8_LANES 0
#define int8_dot NULL
#endif

#if defined(__AVX512BF16__)
#define BF16_LANES 32
#define bf16_step(sum, a, b) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))
CHAIN_KERNEL(bf16_dot, __m512, _mm512_setzero_ps(), _mm512_set1_ps(0.5f), bf16_step)
#else
#define BF16_LANES 0
#define bf16_dot NULL
#endif

/* ---- Reading: sums of everything, from beginning to end in one place or in several places at once; which of them asks the memory for
 * more at a time depends on the processor. */
typedef uint64_t words __attribute__((vector_size(64)));

#define READ_KERNEL(name, streams)                                   \
    static void name(const words *from, size_t count) {              \
        words sums[streams];                                         \
        memset(sums, 0, sizeof sums);                                \
        size_t part = count / (streams);                             \
        for (size_t i = 0; i < part; i++) {                          \
            for (size_t s = 0; s < (streams); s++) {                 \
                sums[s] += from[s * part + i];                       \
            }                                                        \
        }                                                            \
        for (size_t s = 0; s < (streams); s++) {                     \
            volatile words result = sums[s]; /* all of it is used */ \
            (void)result;                                            \
        }                                                            \
    }
READ_KERNEL(read_in_one_place, 1)
READ_KERNEL(read_in_four_places, 4)

/* ---- Threads: all begin together; the time runs from the first one's begin to the last one's end, by their own clocks (a thread that
 * only watched might itself wait for a processor). */
struct job {
    pthread_barrier_t *barrier;
    void (*compute)(void); /* or, where NULL: */
    void (*read)(const words *from, size_t count);
    const words *memory;
    size_t count;
    double began, ended;
};

static void *work(void *argument) {
    struct job *job = argument;
    pthread_barrier_wait(job->barrier);
    job->began = seconds();
    if (job->compute) {
        job->compute();
    } else {
        job->read(job->memory, job->count);
    }
    job->ended = seconds();
    return NULL;
}

static double timed(const struct job *what, int threads) {
    pthread_barrier_t barrier;
    pthread_t ids[MAX_THREADS];
    struct job jobs[MAX_THREADS];
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++) {
        size_t share = what->count / (size_t)threads;
        jobs[i] = (struct job){&barrier, what->compute, what->read, what->memory ? what->memory + (size_t)i * share : NULL, share, 0, 0};
        if (pthread_create(&ids[i], NULL, work, &jobs[i]) != 0) {
            fputs("limits: can't start a thread\n", stderr);
            exit(1);
        }
    }
    double began = 0, ended = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        began = i == 0 || jobs[i].began < began ? jobs[i].began : began;
        ended = i == 0 || jobs[i].ended > ended ? jobs[i].ended : ended;
    }
    pthread_barrier_destroy(&barrier);
    return ended - began;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Measures and prints one figure: `amount` (in 10^9) over the seconds it takes; where there are two ways, the faster one each time. */
static void report(const char *name, const struct job *ways, int count, int threads, int repeats, double amount) {
    double samples[1000];
    timed(ways, threads); /* warm-up */
    for (int i = 0; i < repeats; i++) {
        samples[i] = 0;
        for (int way = 0; way < count; way++) {
            double rate = amount / timed(&ways[way], threads);
            samples[i] = rate > samples[i] ? rate : samples[i];
        }
    }
    printf(",\"%s\":{\"samples\":[", name);
    for (int i = 0; i < repeats; i++) {
        printf("%s%.3f", i ? "," : "", samples[i]);
    }
    qsort(samples, (size_t)repeats, sizeof *samples, ascending);
    printf("],\"median\":%.3f,\"max\":%.3f}", (samples[(repeats - 1) / 2] + samples[repeats / 2]) / 2, samples[repeats - 1]);
}

static void report_compute(const char *name, void (*compute)(void), int lanes, int threads, int repeats) {
    if (!compute) {
        printf(",\"%s\":null", name);
        return;
    }
    struct job job = {NULL, compute, NULL, NULL, 0, 0, 0};
    report(name, &job, 1, threads, repeats, 1e-9 * lanes * CHAINS * ROUNDS * threads);
}

static long number(const char *text, long least, long most) {
    char *end = NULL;
    long value = text ? strtol(text, &end, 10) : least - 1;
    if (!end || *end || value < least || value > most) {
        fprintf(stderr, "limits: wants a number from %ld to %ld\n", least, most);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv) {
    long threads = 1, repeats = 7, mib = 1024;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "-t") == 0) {
            threads = number(value, 1, MAX_THREADS);
        } else if (strcmp(argv[i], "-r") == 0) {
            repeats = number(value, 1, 1000);
        } else if (strcmp(argv[i], "--mib") == 0) {
            mib = number(value, 16, 1 << 20);
        } else {
            fprintf(stderr, "usage: limits [-t THREADS] [-r REPEATS] [--mib MIB]\n");
            return 2;
        }
        i++;
    }
    size_t bytes = (size_t)mib << 20, huge = (size_t)2 << 20;
    char *mapped = mmap(NULL, bytes + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) {
        fputs("limits: no memory\n", stderr);
        return 1;
    }
    char *memory = mapped + (huge - (uintptr_t)mapped % huge) % huge;
#ifdef MADV_HUGEPAGE
    int advised = madvise(memory, bytes, MADV_HUGEPAGE) == 0;
#else
    int advised = 0;
#endif
    memset(memory, 1, bytes); /* pages of their own, not all the same page of zeros */
    size_t count = bytes / sizeof(words);
    const struct job reading[] = {{NULL, NULL, read_in_one_place, (const words *)memory, count, 0, 0},
                                  {NULL, NULL, read_in_four_places, (const words *)memory, count, 0, 0}};
    printf("{\"threads\":%ld,\"read_mib\":%ld,\"huge_pages_asked_for\":%s", threads, mib, advised ? "true" : "false");
    report("read_gb_s", reading, 2, (int)threads, (int)repeats, 1e-9 * (double)bytes);
    report_compute("int8_dot_gmac_s", int8_dot, INT8_LANES, (int)threads, (int)repeats);
    report_compute("f32_fma_gmac_s", f32_fma, F32_LANES, (int)threads, (int)repeats);
    report_compute("bf16_dot_gmac_s", bf16_dot, BF16_LANES, (int)threads, (int)repeats);
    puts("}");
    munmap(mapped, bytes + huge);
    return 0;
}
