/* The library opened at run time, used and closed, a hundred times: no thread and no mapping is left, and no memory is lost. */
#include <dirent.h>
#include <dlfcn.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <time.h>

#include "check.h"

static int threads_now(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks);
    for (struct dirent *entry; (entry = readdir(tasks));) {
        count += entry->d_name[0] != '.';
    }
    closedir(tasks);
    return count;
}

static int mapped_now(void) {
    char line[1024];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps);
    while (fgets(line, sizeof line, maps)) {
        found |= strstr(line, "libloquat") != NULL || strstr(line, "emberfield") != NULL;
    }
    fclose(maps);
    return found;
}

/* Whether the process has so many threads, now or within a second: a thread that was joined may stay listed a moment longer. */
static int threads_become(int count) {
    for (int i = 0; i < 1000 && threads_now() != count; i++) {
        struct timespec pause = {0, 1000000};
        nanosleep(&pause, NULL);
    }
    return threads_now() == count;
}

/* Declares a pointer to a function of the header and looks it up. */
#define LOOK_UP(name)                           \
    __extension__ __typeof__(&name) name##_p;                 \
    *(void **)&name##_p = dlsym(library, #name); \
    CHECK(name##_p)

/* `before`: the threads of the process without the library's. */
static void once(int before) {
    void *library = dlopen("libloquat.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    LOOK_UP(loquat_runtime_options_new);
    LOOK_UP(loquat_runtime_options_set_threads);
    LOOK_UP(loquat_runtime_options_free);
    LOOK_UP(loquat_runtime_new);
    LOOK_UP(loquat_runtime_free);
    LOOK_UP(loquat_model_load);
    LOOK_UP(loquat_model_free);
    LOOK_UP(loquat_session_new);
    LOOK_UP(loquat_session_append_tokens);
    LOOK_UP(loquat_session_step);
    LOOK_UP(loquat_session_free);
    LOOK_UP(loquat_model_load_start);
    LOOK_UP(loquat_job_poll);
    LOOK_UP(loquat_job_take_model);
    LOOK_UP(loquat_job_free);
    LOOK_UP(loquat_stream_start);
    LOOK_UP(loquat_stream_pop);
    LOOK_UP(loquat_stream_free);
    LOOK_UP(loquat_error_free);

    loquat_runtime_options *options = NULL;
    loquat_runtime *runtime = NULL;
    loquat_model *model = NULL;
    loquat_session *session = NULL;
    loquat_job *job = NULL;
    loquat_stream *stream = NULL;
    loquat_error *error = NULL;
    static const uint32_t prompt[] = {1, 309, 201, 986, 903, 261, 706, 33, 2, 201, 1, 310, 201};
    CHECK(loquat_runtime_options_new_p(&options, NULL) == LOQUAT_OK);
    CHECK(loquat_runtime_options_set_threads_p(options, 4, NULL) == LOQUAT_OK);
    CHECK(loquat_runtime_new_p(options, &runtime, NULL) == LOQUAT_OK);
    loquat_runtime_options_free_p(options);
    CHECK(threads_become(before + 3));
    CHECK(loquat_model_load_p(runtime, "none", 4, NULL, &model, &error) == LOQUAT_IO);
    loquat_error_free_p(error);
    CHECK(loquat_model_load_start_p(runtime, DEMO_MODEL, strlen(DEMO_MODEL), NULL, &job, NULL) == LOQUAT_OK);
    while (loquat_job_poll_p(job, 100000, NULL) == LOQUAT_PENDING) {
    }
    CHECK(loquat_job_take_model_p(job, &model, NULL) == LOQUAT_OK);
    loquat_job_free_p(job);
    CHECK(loquat_session_new_p(model, NULL, &session, NULL) == LOQUAT_OK);
    CHECK(loquat_session_append_tokens_p(session, prompt, sizeof prompt / sizeof *prompt, NULL) == LOQUAT_OK);
    loquat_event event = {.struct_size = sizeof event};
    for (int i = 0; i < 5; i++) {
        CHECK(loquat_session_step_p(session, UINT64_MAX, &event, NULL) == LOQUAT_TOKEN);
    }
    CHECK(loquat_stream_start_p(session, 2, NULL, NULL, &stream, NULL) == LOQUAT_OK);
    CHECK(loquat_stream_pop_p(stream, UINT64_MAX, &event, NULL) == LOQUAT_TOKEN);
    loquat_stream_free_p(stream);
    loquat_runtime_free_p(runtime);
    loquat_session_free_p(session);
    loquat_model_free_p(model);
    CHECK(threads_become(before));
    CHECK(dlclose(library) == 0);
}

/* Pages that the process has in memory. */
static long resident_now(void) {
    long size = 0, resident = 0;
#ifdef __GLIBC__
    malloc_trim(0); /* what is free counts as gone, whether or not the allocator has given it back yet */
#endif
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm && fscanf(statm, "%ld %ld", &size, &resident) == 2);
    fclose(statm);
    return resident;
}

int main(void) {
    const char *check = getenv("LOQUAT_TEST_CHECK");
    int plain = !check || strcmp(check, "Plain") == 0;
    int before = threads_now();
#ifdef __GLIBC__
    /* One arena of the allocator: with several, which of them the threads of a round meet for the first time is chance. */
    mallopt(M_ARENA_MAX, 1);
#endif
    long warm = 0;
    for (int i = 0; i < (plain ? 100 : 10); i++) {
        once(before);
        CHECK(!mapped_now());
        warm = i == 19 ? resident_now() : warm;
    }
    /* 80 more times may not cost 80 pages. */
    CHECK(!plain || resident_now() - warm < 80);
    return 0;
}
