/* A host with a loop of its own: the turn runs in the background, each round of the loop takes what has come. */
#include "common.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "Usage: stream -p TEXT [options]\n"
    "Prints what the model says after a prompt while the host's own loop goes on. Ctrl-C ends the turn.\n\n"
    "  -p TEXT       the prompt\n"
    "  -n TOKENS     tokens at most (default: 128)\n"
    "  --queue N     events that may wait for the host (default: 16)\n"
    "  --frame MS    how long a round of the host's loop takes (default: 16; 0: wait for events)\n";

struct arguments {
    struct common common;
    const char *prompt;
    uint32_t tokens, queue;
    uint64_t frame_ms;
};

static volatile sig_atomic_t interrupted = 0;

static void on_interrupt(int number) {
    (void)number;
    interrupted = 1;
}

static struct arguments parse(int argc, char **argv) {
    struct arguments arguments = {{0}, NULL, 128, 16, 16};
    for (int i = 1; i < argc; i++) {
        if (common_option(&arguments.common, argc, argv, &i)) {
            continue;
        } else if (strcmp(argv[i], "-p") == 0) {
            arguments.prompt = text_value(argc, argv, &i);
        } else if (strcmp(argv[i], "-n") == 0) {
            arguments.tokens = (uint32_t)number_value(argc, argv, &i, 0, UINT32_MAX - 1);
        } else if (strcmp(argv[i], "--queue") == 0) {
            arguments.queue = (uint32_t)number_value(argc, argv, &i, 1, 65536);
        } else if (strcmp(argv[i], "--frame") == 0) {
            arguments.frame_ms = number_value(argc, argv, &i, 0, 10000);
        } else {
            bad_usage("unknown option %s", argv[i]);
        }
    }
    if (!arguments.prompt) {
        bad_usage("give -p");
    }
    return arguments;
}

static loquat_session *open_session(const struct arguments *arguments, const loquat_model *model) {
    loquat_error *error = NULL;
    loquat_session_options *options = NULL;
    loquat_session *session = NULL;
    check(loquat_session_options_new(&options, &error), &error);
    check(loquat_session_options_set_context(options, arguments->common.context, &error), &error);
    check(loquat_session_options_set_max_tokens(options, arguments->tokens, &error), &error);
    check(loquat_session_new(model, options, &session, &error), &error);
    loquat_session_options_free(options);
    check(loquat_session_append_text(session, arguments->prompt, strlen(arguments->prompt), LOQUAT_ADD_SPECIAL | LOQUAT_PARSE_SPECIAL, &error),
          &error);
    return session;
}

int main(int argc, char **argv) {
    begin(argc, argv, HELP);
    struct arguments arguments = parse(argc, argv);
    loquat_error *error = NULL;
    loquat_runtime *runtime = open_runtime(&arguments.common);
    loquat_model *model = open_model(&arguments.common, runtime, 0);
    loquat_session *session = open_session(&arguments, model);
    loquat_stream *stream = NULL;
    signal(SIGINT, on_interrupt);
    /* A host that sleeps in an event loop gives a function here that wakes it; this one looks again in each round anyway. */
    check(loquat_stream_start(session, arguments.queue, NULL, NULL, &stream, &error), &error);

    /* Without rounds of its own the host lets the library wait: for as long as Ctrl-C may go unnoticed. */
    uint64_t wait_ns = arguments.frame_ms ? 0 : 50000000;
    int rounds = 0, tokens = 0;
    loquat_event event = {.struct_size = sizeof event};
    loquat_status status = LOQUAT_PENDING;
    while (status == LOQUAT_PENDING || status == LOQUAT_TOKEN) {
        rounds++;
        if (interrupted) {
            check(loquat_stream_cancel(stream, &error), &error);
        }
        do {
            status = check(loquat_stream_pop(stream, wait_ns, &event, &error), &error);
            tokens += status == LOQUAT_TOKEN;
            fwrite(event.text, 1, event.text_length, stdout);
        } while (status == LOQUAT_TOKEN && !interrupted);
        fflush(stdout);
        if (status == LOQUAT_PENDING) {
            pause_for((double)arguments.frame_ms / 1e3); /* here the host does what it is there for */
        }
    }
    putchar('\n');
    fprintf(stderr, "%d tokens in %d rounds%s\n", tokens, rounds, status == LOQUAT_CANCELLED ? ", cancelled" : "");
    loquat_stream_free(stream);
    loquat_session_free(session);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return 0;
}
