/* Goes on from a prompt and prints the text as it comes. */
#include "common.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "Usage: generate (-p TEXT | -f FILE) [options]\n"
    "Prints what the model says after a prompt.\n\n"
    "  -p TEXT                 the prompt\n"
    "  -f FILE                 a file with the prompt (- for standard input)\n"
    "  -n MAX_TOKENS           tokens at most (default: 256)\n"
    "  --chat                  the prompt is a user's message: apply the model's chat template\n"
    "  --system TEXT           with --chat: the system message before it\n"
    "  --ids                   print token ids instead of text\n"
    "  --stop TEXT             stop before this text (may be given several times)\n"
    "  --ignore-eos            go on past end-of-generation tokens\n"
    "  --temp T                temperature (default: 0, always the most probable token)\n"
    "  --top-k K, --top-p P, --min-p P   draw among the most probable tokens only\n"
    "  --repeat-penalty R, --presence-penalty P, --frequency-penalty F, --penalty-window N\n"
    "  --seed S                seed of the draws (default: 0)\n"
    "  --logits FILE           write the logits of the last prompt position: float32, little endian\n"
    "  --stats                 write timings to stderr as JSON\n";

struct arguments {
    struct common common;
    const char *prompt, *file, *system, *logits;
    int chat, ids, stats;
};

/* The options that are the library's, by their names there. */
static const char *const SAMPLING[][2] = {
    {"--temp", "temperature"},
    {"--top-k", "top_k"},
    {"--top-p", "top_p"},
    {"--min-p", "min_p"},
    {"--repeat-penalty", "repetition_penalty"},
    {"--presence-penalty", "presence_penalty"},
    {"--frequency-penalty", "frequency_penalty"},
    {"--penalty-window", "penalty_window"},
    {"--seed", "seed"},
    {"--stop", "stop"},
};

/* Hands an option on to the library; returns 0 where it is not one of SAMPLING. */
static int sampling_option(loquat_session_options *options, int argc, char **argv, int *at) {
    for (size_t i = 0; i < sizeof SAMPLING / sizeof *SAMPLING; i++) {
        if (strcmp(argv[*at], SAMPLING[i][0]) == 0) {
            const char *name = argv[*at], *key = SAMPLING[i][1], *value = text_value(argc, argv, at);
            if (loquat_session_options_set(options, key, strlen(key), value, strlen(value), NULL) != LOQUAT_OK) {
                bad_usage("%s %s: wants a number", name, value);
            }
            return 1;
        }
    }
    return 0;
}

static void parse(struct arguments *arguments, loquat_session_options *options, int argc, char **argv) {
    loquat_error *error = NULL;
    uint32_t max_tokens = 256, ignore_end = 0;
    for (int i = 1; i < argc; i++) {
        if (common_option(&arguments->common, argc, argv, &i) || sampling_option(options, argc, argv, &i)) {
            continue;
        } else if (strcmp(argv[i], "-p") == 0) {
            arguments->prompt = text_value(argc, argv, &i);
        } else if (strcmp(argv[i], "-f") == 0) {
            arguments->file = text_value(argc, argv, &i);
        } else if (strcmp(argv[i], "-n") == 0) {
            max_tokens = (uint32_t)number_value(argc, argv, &i, 0, UINT32_MAX - 1);
        } else if (strcmp(argv[i], "--system") == 0) {
            arguments->system = text_value(argc, argv, &i);
        } else if (strcmp(argv[i], "--logits") == 0) {
            arguments->logits = text_value(argc, argv, &i);
        } else if (strcmp(argv[i], "--chat") == 0) {
            arguments->chat = 1;
        } else if (strcmp(argv[i], "--ids") == 0) {
            arguments->ids = 1;
        } else if (strcmp(argv[i], "--ignore-eos") == 0) {
            ignore_end = 1;
        } else if (strcmp(argv[i], "--stats") == 0) {
            arguments->stats = 1;
        } else {
            bad_usage("unknown option %s", argv[i]);
        }
    }
    if (!arguments->prompt == !arguments->file) {
        bad_usage("give one of -p and -f");
    }
    if (arguments->system && !arguments->chat) {
        bad_usage("--system goes with --chat");
    }
    check(loquat_session_options_set_context(options, arguments->common.context, &error), &error);
    check(loquat_session_options_set_max_tokens(options, max_tokens, &error), &error);
    check(loquat_session_options_set_ignore_end(options, ignore_end, &error), &error);
    /* What goes on past the end of a turn is readable only with the marks between the turns. */
    check(loquat_session_options_set_show_special(options, ignore_end, &error), &error);
}

/* The prompt that the model's template makes of the system's and the user's message. */
static struct bytes apply_template(const loquat_model *model, const char *system, struct bytes message) {
    loquat_error *error = NULL;
    loquat_chat *chat = NULL;
    struct bytes prompt = {NULL, 0};
    check(loquat_chat_new(model, &chat, &error), &error);
    if (system) {
        check(loquat_chat_add(chat, "system", 6, system, strlen(system), &error), &error);
    }
    check(loquat_chat_add(chat, "user", 4, message.data, message.length, &error), &error);
    check(loquat_chat_render(chat, 1, NULL, 0, &prompt.length, &error), &error);
    prompt.data = allocate(prompt.length);
    check(loquat_chat_render(chat, 1, prompt.data, prompt.length, &prompt.length, &error), &error);
    loquat_chat_free(chat);
    return prompt;
}

static void write_logits(const loquat_session *session, const char *path) {
    loquat_error *error = NULL;
    size_t count = 0;
    check(loquat_session_logits(session, NULL, 0, &count, &error), &error);
    float *logits = allocate(count * sizeof *logits);
    check(loquat_session_logits(session, logits, count, &count, &error), &error);
    unsigned char *out = allocate(count * 4);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &logits[i], 4);
        for (int k = 0; k < 4; k++) {
            out[4 * i + k] = (unsigned char)(bits >> (8 * k));
        }
    }
    FILE *file = open_file(path, "wb");
    if (!file || fwrite(out, 4, count, file) != count || fclose(file) != 0) {
        fail("%s: %s", path, strerror(errno));
    }
    free(out);
    free(logits);
}

/* Steps to the end of the turn. */
static void generate(loquat_session *session, const struct arguments *arguments) {
    loquat_error *error = NULL;
    loquat_event event = {.struct_size = sizeof event};
    int terminal = stderr_is_terminal(), shown = 0, first = 1;
    /* With somebody to watch, come back ten times a second to say how far the prompt is. */
    uint64_t budget_ns = terminal ? 100000000 : UINT64_MAX;
    loquat_status status;
    do {
        status = check(loquat_session_step(session, budget_ns, &event, &error), &error);
        if (status == LOQUAT_PENDING && terminal && first) {
            fprintf(stderr, "\rprompt %3.0f %%", 100.0 * event.progress);
            shown = 1;
            continue;
        }
        if (shown) {
            fprintf(stderr, "\r            \r");
            shown = 0;
        }
        if (first && arguments->logits && status != LOQUAT_PENDING) {
            write_logits(session, arguments->logits);
        }
        if (!arguments->ids) {
            fwrite(event.text, 1, event.text_length, stdout);
        } else if (status == LOQUAT_TOKEN) {
            printf(first ? "%u" : " %u", event.token);
        }
        fflush(stdout);
        first &= status == LOQUAT_PENDING;
    } while (status != LOQUAT_DONE);
    putchar('\n');
    fflush(stdout);
}

static void print_stats(const loquat_session *session, double load_seconds) {
    loquat_error *error = NULL;
    loquat_session_metrics metrics = {.struct_size = sizeof metrics};
    check(loquat_session_get_metrics(session, &metrics, &error), &error);
    uint64_t peak = peak_rss_bytes();
    fprintf(stderr, "{\"load_ms\":%.3f,\"prompt_tokens\":%llu,\"prefill_tok_s\":", load_seconds * 1e3, (unsigned long long)metrics.prompt_tokens);
    json_number(stderr, metrics.prefill_tokens_per_s);
    fputs(",\"ttft_ms\":", stderr);
    json_number(stderr, metrics.last_ttft_ns == UINT64_MAX ? NAN : (double)metrics.last_ttft_ns / 1e6);
    fprintf(stderr, ",\"tokens\":%llu,\"decode_tok_s\":", (unsigned long long)metrics.generated_tokens);
    json_number(stderr, metrics.decode_tokens_per_s);
    fputs(",\"peak_rss_bytes\":", stderr);
    if (peak) {
        fprintf(stderr, "%llu}\n", (unsigned long long)peak);
    } else {
        fputs("null}\n", stderr);
    }
}

int main(int argc, char **argv) {
    begin(argc, argv, HELP);
    loquat_error *error = NULL;
    loquat_session_options *options = NULL;
    loquat_session *session = NULL;
    struct arguments arguments = {0};
    check(loquat_session_options_new(&options, &error), &error);
    parse(&arguments, options, argc, argv);

    struct bytes prompt = {NULL, 0};
    if (arguments.file) {
        prompt = read_file(arguments.file);
    } else {
        prompt.length = strlen(arguments.prompt);
        prompt.data = memcpy(allocate(prompt.length), arguments.prompt, prompt.length);
    }
    double start = seconds();
    loquat_runtime *runtime = open_runtime(&arguments.common);
    loquat_model *model = open_model(&arguments.common, runtime, 0);
    double load_seconds = seconds() - start;
    /* A template writes the beginning-of-sequence token itself. */
    uint32_t flags = LOQUAT_PARSE_SPECIAL | LOQUAT_ADD_SPECIAL;
    if (arguments.chat) {
        struct bytes message = prompt;
        prompt = apply_template(model, arguments.system, message);
        free(message.data);
        flags = LOQUAT_PARSE_SPECIAL;
    }

    check(loquat_session_new(model, options, &session, &error), &error);
    check(loquat_session_append_text(session, prompt.data, prompt.length, flags, &error), &error);
    generate(session, &arguments);
    if (arguments.stats) {
        print_stats(session, load_seconds);
    }

    free(prompt.data);
    loquat_session_free(session);
    loquat_session_options_free(options);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return fflush(stdout) == 0 ? 0 : 1;
}
