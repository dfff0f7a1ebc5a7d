/* A talk that outlives the program: goes on from a saved session where there is one, and saves it again; or tries several ways on from one
 * place, as a game does with a quick save. */
#include "common.h"

#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "Usage: checkpoint FILE [options]\n"
    "Where FILE is there: goes on from the session that it holds. Else begins with a prompt. Saves the session to FILE at the end. Run it\n"
    "several times: the text goes on as if the program had never ended.\n\n"
    "  -p TEXT     what to begin with (default: One misty morning,)\n"
    "  -n N        tokens of this run (default: 16)\n"
    "  --ways N    instead of saving, go on in N ways from here: each is a fork with a nudge of its own\n";

struct plan {
    const char *file, *prompt;
    uint32_t tokens, ways;
};

/* Prints what the session says next. */
static void talk(loquat_session *session, uint32_t tokens) {
    loquat_error *error = NULL;
    loquat_event event = {.struct_size = sizeof event};
    check(loquat_session_set_max_tokens(session, tokens, &error), &error);
    check(loquat_session_append_tokens(session, NULL, 0, &error), &error); /* begins a turn; adds nothing */
    loquat_status status = LOQUAT_TOKEN;
    while (status == LOQUAT_TOKEN) {
        status = check(loquat_session_step(session, UINT64_MAX, &event, &error), &error);
        fwrite(event.text, 1, event.text_length, stdout);
        fflush(stdout);
    }
    putchar('\n');
}

/* Goes on from one place several times. The forks share what is cached; the original stays where it is. */
static void branch(loquat_session *session, const struct plan *plan) {
    static const char *const NUDGES[] = {" Suddenly", " But", " Then", " At last", " Nobody", " Laughing,"};
    loquat_error *error = NULL;
    for (uint32_t i = 0; i < plan->ways; i++) {
        loquat_session *fork = NULL;
        const char *nudge = NUDGES[i % (sizeof NUDGES / sizeof *NUDGES)];
        check(loquat_session_fork(session, &fork, &error), &error);
        check(loquat_session_append_text(fork, nudge, strlen(nudge), 0, &error), &error);
        printf("%u:%s", i + 1, nudge);
        talk(fork, plan->tokens);
        loquat_session_free(fork);
    }
}

static int exists(const char *path) {
    FILE *file = open_file(path, "rb");
    if (file) {
        fclose(file);
    }
    return file != NULL;
}

int main(int argc, char **argv) {
    begin(argc, argv, HELP);
    struct common common = {0};
    struct plan plan = {NULL, "One misty morning,", 16, 0};
    for (int i = 1; i < argc; i++) {
        if (common_option(&common, argc, argv, &i)) {
            continue;
        } else if (strcmp(argv[i], "-p") == 0) {
            plan.prompt = text_value(argc, argv, &i);
        } else if (strcmp(argv[i], "-n") == 0) {
            plan.tokens = (uint32_t)number_value(argc, argv, &i, 1, 1 << 20);
        } else if (strcmp(argv[i], "--ways") == 0) {
            plan.ways = (uint32_t)number_value(argc, argv, &i, 1, 1 << 10);
        } else if (argv[i][0] == '-' || plan.file) {
            bad_usage("unknown option %s", argv[i]);
        } else {
            plan.file = argv[i];
        }
    }
    if (!plan.file) {
        bad_usage("no FILE");
    }

    loquat_error *error = NULL;
    loquat_session_options *options = NULL;
    loquat_session *session = NULL;
    loquat_runtime *runtime = open_runtime(&common);
    loquat_model *model = open_model(&common, runtime, 0);
    check(loquat_session_options_new(&options, &error), &error);
    check(loquat_session_options_set_context(options, common.context, &error), &error);
    /* A session that is restored has the options that it is made with here: the same sampler and cache as the one that was saved. */
    check(loquat_session_options_set_context_policy(options, LOQUAT_CONTEXT_SHIFT, 0, &error), &error);
    check(loquat_session_new(model, options, &session, &error), &error);
    loquat_session_options_free(options);
    if (exists(plan.file)) {
        check(loquat_session_restore_file(session, plan.file, strlen(plan.file), &error), &error);
    } else {
        check(loquat_session_append_text(session, plan.prompt, strlen(plan.prompt), LOQUAT_ADD_SPECIAL, &error), &error);
    }
    if (plan.ways) {
        branch(session, &plan);
    } else {
        talk(session, plan.tokens);
        check(loquat_session_save_file(session, plan.file, strlen(plan.file), &error), &error);
    }
    loquat_session_free(session);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return fflush(stdout) == 0 ? 0 : 1;
}
