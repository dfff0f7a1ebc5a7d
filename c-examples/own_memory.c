/* A host that keeps its memory in its own hands: it asks beforehand what a model and a session will take, sets a limit, and gives the large
 * blocks from its own allocator, which counts them. */
#include "common.h"

#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "Usage: own_memory [options]\n"
    "Estimates, loads, talks and frees on memory of the program, and prints what was taken at each point.\n\n"
    "  -p TEXT         the prompt (default: One misty morning,)\n"
    "  --limit BYTES   the most private memory that the library may take (default: what was estimated)\n";

/* The host's memory for the model. Blocks are asked for from one thread here, so a plain count does. */
struct heap {
    uint64_t held, most, blocks;
};

static void *take(void *user_data, size_t size, size_t alignment) {
    struct heap *heap = user_data;
    /* Room for the alignment, and before the block the address that malloc gave. */
    char *whole = malloc(size + alignment + sizeof(void *));
    if (!whole) {
        return NULL;
    }
    uintptr_t start = ((uintptr_t)whole + sizeof(void *) + alignment - 1) / alignment * alignment;
    memcpy((char *)start - sizeof(void *), &whole, sizeof whole);
    heap->held += size;
    heap->blocks++;
    heap->most = heap->held > heap->most ? heap->held : heap->most;
    return (void *)start;
}

static void give_back(void *user_data, void *block, size_t size, size_t alignment) {
    struct heap *heap = user_data;
    char *whole;
    (void)alignment;
    memcpy(&whole, (char *)block - sizeof(void *), sizeof whole);
    heap->held -= size;
    heap->blocks--;
    free(whole);
}

static void report(const char *when, const struct heap *heap, const loquat_runtime *runtime) {
    loquat_error *error = NULL;
    loquat_memory memory = {.struct_size = sizeof memory};
    check(loquat_runtime_get_memory(runtime, &memory, &error), &error);
    printf("%-16s %9llu bytes in %3llu blocks; the library counts %9llu private, %llu mapped\n", when, (unsigned long long)heap->held,
           (unsigned long long)heap->blocks, (unsigned long long)memory.private_total, (unsigned long long)memory.weights_mapped);
}

static loquat_runtime *runtime_on(struct heap *heap, const struct common *common, uint64_t limit) {
    loquat_error *error = NULL;
    loquat_runtime_options *options = NULL;
    loquat_runtime *runtime = NULL;
    check(loquat_runtime_options_new(&options, &error), &error);
    check(loquat_runtime_options_set_allocator(options, take, give_back, 0, heap, &error), &error);
    check(loquat_runtime_options_set_threads(options, common->threads, &error), &error);
    if (limit) {
        check(loquat_runtime_options_set_memory_limit(options, limit, &error), &error);
    }
    check(loquat_runtime_new(options, &runtime, &error), &error);
    loquat_runtime_options_free(options);
    return runtime;
}

int main(int argc, char **argv) {
    begin(argc, argv, HELP);
    struct common common = {0};
    struct heap heap = {0, 0, 0};
    const char *prompt = "One misty morning,";
    uint64_t limit = 0;
    for (int i = 1; i < argc; i++) {
        if (common_option(&common, argc, argv, &i)) {
            continue;
        } else if (strcmp(argv[i], "-p") == 0) {
            prompt = text_value(argc, argv, &i);
        } else if (strcmp(argv[i], "--limit") == 0) {
            limit = number_value(argc, argv, &i, 1, UINT64_MAX - 1);
        } else {
            bad_usage("unknown option %s", argv[i]);
        }
    }

    loquat_error *error = NULL;
    loquat_session_options *options = NULL;
    loquat_session *session = NULL;
    const char *path = model_path(&common);
    check(loquat_session_options_new(&options, &error), &error);
    check(loquat_session_options_set_context(options, common.context, &error), &error);
    check(loquat_session_options_set_max_tokens(options, 24, &error), &error);

    if (!limit) {
        loquat_estimate estimate = {.struct_size = sizeof estimate};
        loquat_runtime *runtime = runtime_on(&heap, &common, 0);
        check(loquat_model_estimate(runtime, path, strlen(path), NULL, options, &estimate, &error), &error);
        loquat_runtime_free(runtime);
        limit = estimate.private_total;
        printf("estimated        %9llu bytes for the model and a session\n", (unsigned long long)limit);
    }
    loquat_runtime *runtime = runtime_on(&heap, &common, limit);
    loquat_model *model = open_model(&common, runtime, 0);
    report("model loaded", &heap, runtime);
    check(loquat_session_new(model, options, &session, &error), &error);
    loquat_session_options_free(options);
    report("session made", &heap, runtime);

    loquat_event event = {.struct_size = sizeof event};
    check(loquat_session_append_text(session, prompt, strlen(prompt), LOQUAT_ADD_SPECIAL, &error), &error);
    printf("%s", prompt);
    while (check(loquat_session_step(session, UINT64_MAX, &event, &error), &error) == LOQUAT_TOKEN) {
        fwrite(event.text, 1, event.text_length, stdout);
    }
    putchar('\n');
    report("after the talk", &heap, runtime);
    loquat_session_free(session);
    loquat_model_free(model);
    report("all freed", &heap, runtime);
    loquat_runtime_free(runtime);
    printf("at most          %9llu bytes\n", (unsigned long long)heap.most);
    return fflush(stdout) == 0 ? 0 : 1;
}
