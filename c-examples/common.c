/* What the example programs share: arguments, files, time, errors. */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE

#include "common.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#include <windows.h>
#include <psapi.h>
#include <shellapi.h>
#else
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#endif

#ifndef DEMO_MODEL
#define DEMO_MODEL "models/emberfield-3m-q8_0.gguf"
#endif

static const char *program = "example";

static void say(const char *format, va_list arguments) {
    fflush(stdout);
    fprintf(stderr, "%s: ", program);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    exit(1);
}

void bad_usage(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    fprintf(stderr, "Try '%s --help'.\n", program);
    exit(2);
}

loquat_status check(loquat_status status, loquat_error *const *error) {
    if (status < 0) {
        fail("%s", *error ? loquat_error_message(*error) : loquat_status_name(status));
    }
    return status;
}

#ifdef _WIN32
/* The text in UTF-16 of a text in UTF-8, or the other way round. */
static wchar_t *to_wide(const char *text) {
    int length = MultiByteToWideChar(CP_UTF8, 0, text, -1, NULL, 0);
    wchar_t *wide = allocate((size_t)length * sizeof *wide);
    MultiByteToWideChar(CP_UTF8, 0, text, -1, wide, length);
    return wide;
}

static char *to_utf8(const wchar_t *wide) {
    int length = WideCharToMultiByte(CP_UTF8, 0, wide, -1, NULL, 0, NULL, NULL);
    char *text = allocate((size_t)length);
    WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, length, NULL, NULL);
    return text;
}

/* Puts the arguments in UTF-8, as elsewhere: main gets them in the code page of the system. */
static void arguments_to_utf8(int argc, char **argv) {
    int count = 0;
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), &count);
    for (int i = 0; wide && count == argc && i < argc; i++) {
        argv[i] = to_utf8(wide[i]);
    }
    LocalFree(wide);
}
#endif

static void begin_with(int argc, char **argv, const char *help, const char *common) {
#ifdef _WIN32
    arguments_to_utf8(argc, argv);
    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
    SetConsoleOutputCP(CP_UTF8);
#endif
    if (argc > 0) {
        const char *slash = strrchr(argv[0], '/'), *backslash = strrchr(argv[0], '\\');
        slash = backslash && (!slash || backslash > slash) ? backslash : slash;
        program = slash ? slash + 1 : argv[0];
    }
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            fputs(common, stdout);
            exit(0);
        }
    }
}

void begin(int argc, char **argv, const char *help) {
    begin_with(argc, argv, help,
               "  -m MODEL    a GGUF or APR file, or a Hugging Face folder (default: the demo model)\n"
               "  -t THREADS  threads that compute (default: one for each core)\n"
               "  -c CONTEXT  tokens that the context holds (default: the model's)\n"
               "  --read      read the model into memory instead of mapping its file: slower to load, faster with few threads\n"
               "  --quantize TYPE  put the weights into a type such as Q8_0 or Q4_K_M while loading (default: as they are)\n"
               "  --isa NAME  instructions to use, such as portable, avx2, avx512vnni, dotprod (default: the best here)\n"
               "  --help      this text\n");
}

void begin_alone(int argc, char **argv, const char *help) {
    begin_with(argc, argv, help, "");
}

int common_option(struct common *options, int argc, char **argv, int *at) {
    const char *name = argv[*at];
    if (strcmp(name, "-m") == 0) {
        options->model = text_value(argc, argv, at);
    } else if (strcmp(name, "-t") == 0) {
        options->threads = (uint32_t)number_value(argc, argv, at, 1, 1024);
    } else if (strcmp(name, "-c") == 0) {
        options->context = (uint32_t)number_value(argc, argv, at, 1, UINT32_MAX);
    } else if (strcmp(name, "--read") == 0) {
        options->read = 1;
    } else if (strcmp(name, "--isa") == 0) {
        options->isa = text_value(argc, argv, at);
    } else if (strcmp(name, "--quantize") == 0) {
        options->quantize = text_value(argc, argv, at);
    } else {
        return 0;
    }
    return 1;
}

const char *text_value(int argc, char **argv, int *at) {
    if (*at + 1 >= argc) {
        bad_usage("%s wants a value", argv[*at]);
    }
    return argv[++*at];
}

uint64_t number_value(int argc, char **argv, int *at, uint64_t least, uint64_t most) {
    const char *name = argv[*at], *text = text_value(argc, argv, at);
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || number < least || number > most) {
        bad_usage("%s %s: wants a whole number from %llu to %llu", name, text, (unsigned long long)least, (unsigned long long)most);
    }
    return number;
}

float float_value(int argc, char **argv, int *at) {
    const char *name = argv[*at], *text = text_value(argc, argv, at);
    char *end = NULL;
    float number = strtof(text, &end);
    if (end == text || *end || !isfinite(number)) {
        bad_usage("%s %s: wants a number", name, text);
    }
    return number;
}

void *allocate(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) {
        fail("out of memory (%zu bytes)", bytes);
    }
    return memory;
}

FILE *open_file(const char *path, const char *mode) {
#ifdef _WIN32
    wchar_t *wide_path = to_wide(path), *wide_mode = to_wide(mode);
    FILE *file = _wfopen(wide_path, wide_mode);
    free(wide_path);
    free(wide_mode);
    return file;
#else
    return fopen(path, mode);
#endif
}

int replace_file(const char *from, const char *to) {
#ifdef _WIN32
    wchar_t *wide_from = to_wide(from), *wide_to = to_wide(to);
    int failed = !MoveFileExW(wide_from, wide_to, MOVEFILE_REPLACE_EXISTING);
    free(wide_from);
    free(wide_to);
    return failed;
#else
    return rename(from, to);
#endif
}

void make_folder(const char *path) {
#ifdef _WIN32
    wchar_t *wide = to_wide(path);
    int failed = !CreateDirectoryW(wide, NULL) && GetLastError() != ERROR_ALREADY_EXISTS;
    free(wide);
    if (failed) {
        fail("%s: the folder can't be made", path);
    }
#else
    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        fail("%s: %s", path, strerror(errno));
    }
#endif
}

struct bytes read_file(const char *path) {
    int standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : open_file(path, "rb");
    if (!file) {
        fail("%s: %s", path, strerror(errno));
    }
    struct bytes content = {allocate(1 << 16), 0};
    size_t capacity = 1 << 16, got;
    while ((got = fread(content.data + content.length, 1, capacity - content.length, file)) > 0) {
        content.length += got;
        if (content.length == capacity) {
            char *larger = realloc(content.data, capacity *= 2);
            if (!larger) {
                fail("%s: out of memory", path);
            }
            content.data = larger;
        }
    }
    if (ferror(file)) {
        fail("%s: %s", path, strerror(errno));
    }
    if (!standard) {
        fclose(file);
    }
    return content;
}

const char *model_path(const struct common *options) {
    return options->model ? options->model : DEMO_MODEL;
}

loquat_runtime *open_runtime(const struct common *options) {
    loquat_error *error = NULL;
    loquat_runtime_options *settings = NULL;
    loquat_runtime *runtime = NULL;
    check(loquat_runtime_options_new(&settings, &error), &error);
    check(loquat_runtime_options_set_threads(settings, options->threads, &error), &error);
    if (options->isa) {
        check(loquat_runtime_options_set(settings, "isa", 3, options->isa, strlen(options->isa), &error), &error);
    }
    check(loquat_runtime_new(settings, &runtime, &error), &error);
    loquat_runtime_options_free(settings);
    return runtime;
}

loquat_model *open_model(const struct common *options, const loquat_runtime *runtime, uint32_t vocab_only) {
    const char *path = model_path(options);
    loquat_error *error = NULL;
    loquat_model_options *settings = NULL;
    loquat_model *model = NULL;
    check(loquat_model_options_new(&settings, &error), &error);
    check(loquat_model_options_set_vocab_only(settings, vocab_only, &error), &error);
    check(loquat_model_options_set_access(settings, options->read ? LOQUAT_ACCESS_READ : LOQUAT_ACCESS_MAP, &error), &error);
    if (options->quantize) {
        check(loquat_model_options_set_quantize(settings, options->quantize, strlen(options->quantize), &error), &error);
    }
    check(loquat_model_load(runtime, path, strlen(path), settings, &model, &error), &error);
    loquat_model_options_free(settings);
    return model;
}

uint32_t *tokenize(const loquat_model *model, const char *text, size_t length, uint32_t flags, size_t *count) {
    loquat_error *error = NULL;
    size_t capacity = length + 2; /* no text has more tokens */
    uint32_t *tokens = allocate(capacity * sizeof *tokens);
    check(loquat_model_tokenize(model, text, length, flags, tokens, capacity, count, &error), &error);
    return tokens;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void sort_numbers(double *values, size_t count) {
    qsort(values, count, sizeof *values, ascending);
}

double percentile(const double *sorted, size_t count, uint32_t per_mille) {
    if (count == 0) {
        return NAN;
    }
    size_t rank = (count * per_mille + 999) / 1000;
    return sorted[rank ? rank - 1 : 0];
}

double seconds(void) {
#ifdef _WIN32
    LARGE_INTEGER frequency, now;
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&now);
    return (double)now.QuadPart / (double)frequency.QuadPart;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
#endif
}

void pause_for(double seconds) {
#ifdef _WIN32
    Sleep((DWORD)(seconds * 1e3));
#else
    struct timespec time = {(time_t)seconds, 0};
    time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
    nanosleep(&time, NULL);
#endif
}

uint64_t peak_rss_bytes(void) {
#ifdef _WIN32
    PROCESS_MEMORY_COUNTERS counters;
    return K32GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof counters) ? counters.PeakWorkingSetSize : 0;
#else
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        return 0;
    }
#ifdef __APPLE__
    return (uint64_t)usage.ru_maxrss;
#else
    return (uint64_t)usage.ru_maxrss * 1024;
#endif
#endif
}

int stderr_is_terminal(void) {
#ifdef _WIN32
    return _isatty(_fileno(stderr));
#else
    return isatty(STDERR_FILENO);
#endif
}

void json_text(FILE *out, const char *text, size_t length) {
    fputc('"', out);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') {
            fprintf(out, "\\%c", c);
        } else if (c < 0x20) {
            fprintf(out, "\\u%04x", c);
        } else {
            fputc(c, out);
        }
    }
    fputc('"', out);
}

void json_number(FILE *out, double number) {
    if (isfinite(number)) {
        fprintf(out, "%.4f", number);
    } else {
        fputs("null", out);
    }
}

/* Between two looks at whether Ctrl-C was pressed, and between two lines of progress. The library's clock stands still between polls. */
#define SLICE_NS 20000000u
#define PROGRESS_SECONDS 0.2

static volatile sig_atomic_t interrupted = 0;

static void on_interrupt(int number) {
    (void)number;
    interrupted = 1;
}

void watch_interrupts(void) {
    signal(SIGINT, on_interrupt);
}

int was_interrupted(void) {
    return interrupted;
}

static void show_progress(const loquat_job *job, double *shown) {
    loquat_error *error = NULL;
    loquat_job_progress progress = {.struct_size = sizeof progress};
    if (!stderr_is_terminal() || seconds() - *shown < PROGRESS_SECONDS) {
        return;
    }
    *shown = seconds();
    check(loquat_job_get_progress(job, &progress, &error), &error);
    fprintf(stderr, "\r%3.0f %% %-12s", 100 * progress.progress, progress.stage);
}

loquat_status run_job(loquat_job *job) {
    loquat_error *error = NULL;
    loquat_status status = LOQUAT_PENDING;
    double shown = 0;
    void (*before)(int) = signal(SIGINT, on_interrupt);
    while (status == LOQUAT_PENDING) {
        status = check(loquat_job_poll(job, SLICE_NS, &error), &error);
        if (interrupted) {
            check(loquat_job_cancel(job, &error), &error);
        }
        show_progress(job, &shown);
    }
    signal(SIGINT, before);
    if (stderr_is_terminal()) {
        fputs("\r                    \r", stderr);
    }
    return status;
}
