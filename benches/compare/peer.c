/* llama.cpp as the other lane of a comparison, in C: what peer.py does where speed counts, without Python's time for each token or at
 * the start. native.py compiles it against the headers and libraries that llama-cpp-python installed. One JSON object on standard output.
 *
 *   peer version
 *   peer bench -m MODEL [-t 2] [-p 512] [-n 64] [-d 0] [-r 5] [--sequences 1] [--kv-unified] [--warm-up 1] [--seed 1] [ENGINE OPTIONS]
 *   peer first -m MODEL [-t 2] [-c 2048] --text TEXT [--logits FILE] [ENGINE OPTIONS]
 *   ENGINE OPTIONS: [--flash auto|on|off] [--batch 512] [--no-repack]
 *
 * `bench`, one repeat: with D tokens in the cache, prefill of P tokens, then decode of N, fed seeded random ids one at a time, so that
 * neither sampling nor text counts. The D tokens are computed once and stay. With --sequences S above 1 there is no prefill: S sequences
 * with D tokens each (at least 1) are decoded for N passes of S tokens, and `batch_decode_tok_s` counts the tokens of all.
 * `first` loads, runs the prompt and prints the id of the most probable token on a line of its own as soon as it is known, then the JSON;
 * --logits writes the logits behind the prompt as float32. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "llama.h"

struct options {
    const char *command, *model, *text, *logits, *flash;
    int threads, context, prompt, generate, depth, repeats, warm_up, sequences, batch;
    uint64_t seed;
    bool repack, kv_unified;
};

struct engine {
    struct llama_model *model;
    struct llama_context *context;
    const struct llama_vocab *vocab;
    struct llama_batch batch;
    int n_vocab;
    double load_s, context_s;
    double cpu_s; /* processor time of all threads in `evaluate` */
};

/* The values of one figure, in the order in which they were measured. */
struct series {
    double *values;
    size_t count, capacity;
};

static void fail(const char *what) {
    fflush(stdout);
    fprintf(stderr, "peer: %s\n", what);
    exit(1);
}

static double clock_s(clockid_t which) {
    struct timespec now;
    clock_gettime(which, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double seconds(void) {
    return clock_s(CLOCK_MONOTONIC);
}

static void *allocate(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) {
        fail("out of memory");
    }
    return memory;
}

/* ---- JSON ---- */

static void add(struct series *series, double value) {
    if (series->count == series->capacity) {
        series->capacity = series->capacity ? 2 * series->capacity : 64;
        series->values = realloc(series->values, series->capacity * sizeof *series->values);
        if (!series->values) {
            fail("out of memory");
        }
    }
    series->values[series->count++] = value;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_number(double value) {
    if (isfinite(value)) {
        printf("%.6g", value);
    } else {
        fputs("null", stdout);
    }
}

static void print_text(const char *text) {
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            putchar('\\');
        }
        putchar((unsigned char)*text < ' ' ? ' ' : *text);
    }
    putchar('"');
}

/* median, mean, std, min, max and the samples; a statistic that can't be had is null. Sorts the values. */
static void print_series(const char *name, struct series *series) {
    size_t n = series->count;
    printf(",\"%s\":{\"n\":%zu,\"samples\":[", name, n);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        fputs(i ? "," : "", stdout);
        print_number(series->values[i]);
        sum += series->values[i];
    }
    double mean = n ? sum / (double)n : NAN;
    for (size_t i = 0; i < n; i++) {
        squares += (series->values[i] - mean) * (series->values[i] - mean);
    }
    if (n) {
        qsort(series->values, n, sizeof *series->values, ascending);
    }
    fputs("],\"median\":", stdout);
    print_number(n ? (series->values[(n - 1) / 2] + series->values[n / 2]) / 2 : NAN);
    fputs(",\"mean\":", stdout);
    print_number(mean);
    fputs(",\"std\":", stdout);
    print_number(n > 1 ? sqrt(squares / (double)(n - 1)) : NAN);
    fputs(",\"min\":", stdout);
    print_number(n ? series->values[0] : NAN);
    fputs(",\"max\":", stdout);
    print_number(n ? series->values[n - 1] : NAN);
    putchar('}');
    free(series->values);
}

static void print_version(void) {
    fputs("\"peer\":\"c\",\"system_info\":", stdout);
    print_text(llama_print_system_info());
}

static void print_settings(const struct options *options) {
    const char *slash = strrchr(options->model, '/');
    fputs(",\"model\":", stdout);
    print_text(slash ? slash + 1 : options->model);
    printf(",\"threads\":%d,\"batch\":%d,\"flash\":\"%s\",\"repack\":%s", options->threads, options->batch, options->flash,
           options->repack ? "true" : "false");
}

/* ---- The engine ---- */

static void no_log(enum ggml_log_level level, const char *text, void *user) {
    (void)level;
    (void)text;
    (void)user;
}

static struct engine open_engine(const struct options *options, int context) {
    struct engine engine = {0};
    double began = seconds();
    llama_backend_init();
    struct llama_model_params model = llama_model_default_params();
    model.n_gpu_layers = 0;
    model.use_extra_bufts = options->repack;
    engine.model = llama_model_load_from_file(options->model, model);
    if (!engine.model) {
        fail("llama.cpp can't load the model");
    }
    engine.load_s = seconds() - began;
    engine.vocab = llama_model_get_vocab(engine.model);
    engine.n_vocab = llama_vocab_n_tokens(engine.vocab);
    began = seconds();
    struct llama_context_params settings = llama_context_default_params();
    settings.n_ctx = (uint32_t)context;
    settings.n_batch = settings.n_ubatch = (uint32_t)options->batch;
    settings.n_seq_max = (uint32_t)options->sequences;
    settings.kv_unified = options->kv_unified;
    settings.n_threads = settings.n_threads_batch = options->threads;
    settings.flash_attn_type = strcmp(options->flash, "on") == 0    ? LLAMA_FLASH_ATTN_TYPE_ENABLED
                               : strcmp(options->flash, "off") == 0 ? LLAMA_FLASH_ATTN_TYPE_DISABLED
                                                                    : LLAMA_FLASH_ATTN_TYPE_AUTO;
    settings.no_perf = true;
    engine.context = llama_init_from_model(engine.model, settings);
    if (!engine.context) {
        fail("llama.cpp can't create a context");
    }
    engine.context_s = seconds() - began;
    engine.batch = llama_batch_init(options->batch, 0, 1);
    return engine;
}

static void close_engine(struct engine *engine) {
    llama_batch_free(engine->batch);
    llama_free(engine->context);
    llama_model_free(engine->model);
    llama_backend_free();
}

static void put(struct engine *engine, llama_token token, int position, int sequence, bool logits) {
    struct llama_batch *batch = &engine->batch;
    int i = batch->n_tokens++;
    batch->token[i] = token;
    batch->pos[i] = position;
    batch->n_seq_id[i] = 1;
    batch->seq_id[i][0] = sequence;
    batch->logits[i] = logits;
}

/* Runs what was `put`; returns the seconds until the results are there. */
static double evaluate(struct engine *engine) {
    double cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID), began = seconds();
    int status = llama_decode(engine->context, engine->batch);
    llama_synchronize(engine->context);
    double took = seconds() - began;
    engine->cpu_s += clock_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    engine->batch.n_tokens = 0;
    if (status != 0) {
        fail("llama_decode failed");
    }
    return took;
}

/* Random, the same ones for a seed; not the first three ids, which most vocabularies have for control. */
static llama_token random_id(struct engine *engine, uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (llama_token)(3 + (*state >> 33) % (uint64_t)(engine->n_vocab - 3));
}

/* Runs `count` random ids of one sequence from `position` on, in batches; returns the seconds. */
static double run_random(struct engine *engine, const struct options *options, uint64_t *random, int sequence, int position, int count) {
    double took = 0;
    for (int i = 0; i < count; i++) {
        put(engine, random_id(engine, random), position + i, sequence, i == count - 1);
        if (engine->batch.n_tokens == options->batch || i == count - 1) {
            took += evaluate(engine);
        }
    }
    return took;
}

/* Forgets everything from `position` on, in every sequence. */
static void truncate_to(struct engine *engine, const struct options *options, int position) {
    for (int sequence = 0; sequence < options->sequences; sequence++) {
        if (!llama_memory_seq_rm(llama_get_memory(engine->context), sequence, position, -1)) {
            fail("llama.cpp can't forget a part of a sequence of this model");
        }
    }
}

/* ---- Commands ---- */

static void bench(const struct options *options) {
    int sequences = options->sequences, prompt = sequences > 1 ? 0 : options->prompt;
    /* The first token of an empty cache is not part of the decode. */
    int depth = options->depth || prompt ? options->depth : 1;
    int context = (depth + prompt + options->generate + 8 + 255) / 256 * 256;
    struct engine engine = open_engine(options, context * sequences);
    uint64_t random = options->seed;
    for (int sequence = 0; sequence < sequences; sequence++) {
        run_random(&engine, options, &random, sequence, 0, depth);
    }
    struct series prefill = {0}, decode = {0}, itl_ms = {0}, prefill_cpu = {0}, decode_cpu = {0}, batch_decode = {0};
    for (int repeat = -options->warm_up; repeat < options->repeats; repeat++) {
        truncate_to(&engine, options, depth);
        if (prompt) {
            double cpu = engine.cpu_s, took = run_random(&engine, options, &random, 0, depth, prompt);
            if (repeat >= 0) {
                add(&prefill, prompt / took);
                add(&prefill_cpu, prompt / (engine.cpu_s - cpu));
            }
        }
        int passes = repeat >= 0 || options->generate < 4 ? options->generate : 4;
        double cpu = engine.cpu_s, sum = 0;
        for (int i = 0; i < passes; i++) {
            for (int sequence = 0; sequence < sequences; sequence++) {
                put(&engine, random_id(&engine, &random), depth + prompt + i, sequence, true);
            }
            double took = evaluate(&engine);
            sum += took;
            if (repeat >= 0 && sequences == 1) {
                add(&itl_ms, 1e3 * took);
            }
        }
        if (repeat >= 0 && passes) {
            add(sequences > 1 ? &batch_decode : &decode, passes * sequences / sum);
            add(&decode_cpu, passes * sequences / (engine.cpu_s - cpu));
        }
    }
    putchar('{');
    print_version();
    print_settings(options);
    printf(",\"prompt_tokens\":%d,\"generated_tokens\":%d,\"depth\":%d,\"sequences\":%d,\"kv_unified\":%s,\"load_s\":", prompt,
           options->generate, options->depth, sequences, options->kv_unified ? "true" : "false");
    print_number(engine.load_s);
    print_series("prefill_tok_s", &prefill);
    print_series("decode_tok_s", &decode);
    print_series("batch_decode_tok_s", &batch_decode);
    print_series("inter_token_ms", &itl_ms);
    print_series("prefill_tok_cpu_s", &prefill_cpu);
    print_series("decode_tok_cpu_s", &decode_cpu);
    puts("}");
    close_engine(&engine);
}

static void write_logits(const char *path, const float *logits, int count) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(logits, sizeof *logits, (size_t)count, file) != (size_t)count || fclose(file) != 0) {
        fail(strerror(errno));
    }
}

static void first(const struct options *options) {
    struct engine engine = open_engine(options, options->context);
    int length = (int)strlen(options->text), capacity = length + 8;
    llama_token *ids = allocate((size_t)capacity * sizeof *ids);
    int count = llama_tokenize(engine.vocab, options->text, length, ids, capacity, true, true);
    if (count < 1) {
        fail("the text has no tokens");
    }
    double prefill_s = 0;
    for (int i = 0; i < count; i++) {
        put(&engine, ids[i], i, 0, i == count - 1);
        if (engine.batch.n_tokens == options->batch || i == count - 1) {
            prefill_s += evaluate(&engine);
        }
    }
    const float *logits = llama_get_logits_ith(engine.context, -1);
    int best = 0;
    for (int i = 1; i < engine.n_vocab; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    printf("%d\n", best);
    fflush(stdout);
    if (options->logits) {
        write_logits(options->logits, logits, engine.n_vocab);
    }
    putchar('{');
    print_version();
    print_settings(options);
    printf(",\"context\":%d,\"prompt_tokens\":%d,\"token\":%d,\"load_s\":", options->context, count, best);
    print_number(engine.load_s);
    fputs(",\"context_s\":", stdout);
    print_number(engine.context_s);
    fputs(",\"prefill_s\":", stdout);
    print_number(prefill_s);
    puts("}");
    free(ids);
    close_engine(&engine);
}

static _Noreturn void usage(const char *what) {
    fprintf(stderr, "peer: %s\nusage: peer version | bench -m MODEL … | first -m MODEL --text TEXT … (see the top of peer.c)\n", what);
    exit(2);
}

static int number(const char *text, int least, int most) {
    char *end = NULL;
    long value = strtol(text, &end, 10);
    if (end == text || *end || value < least || value > most) {
        usage("a number is out of bounds");
    }
    return (int)value;
}

static struct options parse(int argc, char **argv) {
    struct options o = {.flash = "auto", .threads = 2, .context = 2048, .prompt = 512, .generate = 64, .repeats = 5};
    o.warm_up = o.sequences = 1;
    o.batch = 512;
    o.seed = 1;
    o.repack = true;
    o.command = argc > 1 ? argv[1] : "";
    const struct {
        const char *name;
        int *value, least;
    } numbers[] = {{"-t", &o.threads, 1}, {"-c", &o.context, 1},      {"-p", &o.prompt, 0},     {"-n", &o.generate, 0}, {"-d", &o.depth, 0},
                   {"-r", &o.repeats, 1}, {"--warm-up", &o.warm_up, 0}, {"--batch", &o.batch, 1}, {"--sequences", &o.sequences, 1}};
    const struct {
        const char *name, **value;
    } texts[] = {{"-m", &o.model}, {"--text", &o.text}, {"--logits", &o.logits}, {"--flash", &o.flash}};
    for (int i = 2; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool known = false;
        if (strcmp(name, "--no-repack") == 0) {
            o.repack = false;
            continue;
        } else if (strcmp(name, "--kv-unified") == 0) {
            o.kv_unified = true;
            continue;
        } else if (!value) {
            usage("the last option is unknown or wants a value");
        }
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
            if (strcmp(name, numbers[k].name) == 0) {
                *numbers[k].value = number(value, numbers[k].least, 1 << 20);
                known = true;
            }
        }
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
            if (strcmp(name, texts[k].name) == 0) {
                *texts[k].value = value;
                known = true;
            }
        }
        if (strcmp(name, "--seed") == 0) {
            o.seed = (uint64_t)number(value, 0, INT32_MAX);
            known = true;
        }
        if (!known) {
            usage("unknown option");
        }
        i++;
    }
    if (strcmp(o.flash, "auto") != 0 && strcmp(o.flash, "on") != 0 && strcmp(o.flash, "off") != 0) {
        usage("--flash is auto, on or off");
    }
    if (o.sequences > o.batch) {
        usage("--batch is smaller than --sequences");
    }
    return o;
}

int main(int argc, char **argv) {
    struct options options = parse(argc, argv);
    llama_log_set(no_log, NULL);
    if (strcmp(options.command, "version") == 0) {
        putchar('{');
        print_version();
        puts("}");
    } else if (strcmp(options.command, "bench") == 0 && options.model) {
        bench(&options);
    } else if (strcmp(options.command, "first") == 0 && options.model && options.text) {
        first(&options);
    } else {
        usage("a command or one of its options is missing");
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
