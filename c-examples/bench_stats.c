/* How fast a model is on this machine, and how it behaves under load: speeds with their spread, and the library's own benchmarks. */
#include "bench_stats.h"

#include <stdio.h>
#include <string.h>

static const char HELP[] =
    "Usage: bench_stats [options]\n"
    "Measures how fast a prompt is processed and tokens are generated. One repeat: with DEPTH tokens in the context, append a prompt, wait for\n"
    "the first token, generate the rest, forget both. One repeat for warming up is not counted. Greedy, past end-of-generation tokens.\n\n"
    "  -p N        tokens of the prompt (default: 512; 0: measure generation only)\n"
    "  -n N        tokens that are generated (default: 128; 0: measure the prompt only)\n"
    "  -r REPEATS  how often (default: 5)\n"
    "  -d DEPTH    tokens in the context before (default: 0)\n"
    "  --sequences S   measure generation of S sessions in one batch instead: the tokens of all, with DEPTH tokens (at least 1) in each\n"
    "  --budget MS step with a budget, as a game would, and count what steps take beyond it\n"
    "  --json      print JSON instead of a table\n\n"
    "Instead, one of the library's own benchmarks:\n"
    "  --workload NAME  requests of a kind, until their median is known to 2 %: short_qa, code_gen, summarize, long_context\n"
    "  --convoy         short requests right behind long ones, against the short ones alone; ends with status 3 beyond its limits\n"
    "  --saturation     requests while other threads use half of the processors; ends with status 3 beyond its limits\n"
    "  --kv-falsify     a decode step with the key/value cache, against computing everything again\n"
    "  --prefill        a prompt at once, against token by token\n"
    "  --roofline       how fast this machine reads and computes, and how much of that the model reaches with one and with many tokens at once\n"
    "  --quality REF_MODEL -f TEXT   perplexity, divergence and agreement of the model (-m) beside a reference on the text in a file (- for\n"
    "                   standard input); ends with status 3 where the quantisation loses more than is usual for its kind\n"
    "  --cold-start     fresh processes, from their start to their first token (Unix); with --workload, besides the requests\n"
    "  --report DIR     requests, prompts, the cache, the roofline and a convoy, and a page about them: DIR/report.html, and each as JSON\n"
    "  --compare A B    two results of --workload that were stored with -o; ends with status 3 where B is slower by more than 5 %\n"
    "  --check A        runs --workload (default: short_qa) and compares with the stored result A, as above\n"
    "  --stop RULE      when requests are enough: default, relaxed, reproducible, matrix\n"
    "  --set KEY=VALUE  any option of the benchmarks (loquat_bench_options_set in loquat.h lists them)\n"
    "  -o FILE          write the result into FILE, as JSON\n"
    "  --first-token    load the model, print one token, end: the process that --cold-start starts\n"
    "Ctrl-C ends a benchmark at once: nothing is printed or written, the status is 130.\n\n";

/* The benchmarks by their options. A gate has limits that are to be kept; a claim that does not hold is a finding like any other. */
static const struct benchmark {
    const char *option;
    uint32_t kind;
    int gate;
} BENCHMARKS[] = {
    {"--workload", LOQUAT_BENCH_REQUESTS, 0},   {"--convoy", LOQUAT_BENCH_CONVOY, 1},
    {"--saturation", LOQUAT_BENCH_SATURATION, 1}, {"--kv-falsify", LOQUAT_BENCH_KV_CACHE, 0},
    {"--prefill", LOQUAT_BENCH_PREFILL, 0},       {"--roofline", LOQUAT_BENCH_ROOFLINE, 0},
    {"--quality", LOQUAT_BENCH_QUALITY, 1},
};

/* An option of the benchmarks by name, as it was given: set once it is known what is measured, in the order of the command line. */
struct setting {
    const char *key, *value;
    size_t key_length;
    const char *option; /* that it came from */
};

enum { MOST_SETTINGS = 64 };

struct arguments {
    struct common common;
    struct speed_plan speed;
    const char *speed_option; /* one that only the speeds have a use for, as it was given */
    const struct benchmark *benchmark;
    const char *suite_option; /* one that only the benchmarks have a use for */
    const char *compare[2], *report;
    int cold_start, first_token;
    struct setting settings[MOST_SETTINGS];
    size_t setting_count;
    struct suite_plan suite;
    struct suite_output output;
};

static void add_setting(struct arguments *arguments, const char *option, const char *key, size_t key_length, const char *value) {
    if (arguments->setting_count == MOST_SETTINGS) {
        bad_usage("more than %d options of benchmarks", MOST_SETTINGS);
    }
    arguments->settings[arguments->setting_count++] = (struct setting){key, value, key_length, option};
}

/* Takes "KEY=VALUE" apart. */
static void add_assignment(struct arguments *arguments, const char *assignment) {
    const char *sign = strchr(assignment, '=');
    if (!sign) {
        bad_usage("--set %s: wants KEY=VALUE", assignment);
    }
    add_setting(arguments, "--set", assignment, (size_t)(sign - assignment), sign + 1);
}

static void apply_settings(const struct arguments *arguments, loquat_bench_options *options) {
    loquat_error *error = NULL;
    for (size_t i = 0; i < arguments->setting_count; i++) {
        const struct setting *setting = &arguments->settings[i];
        if (loquat_bench_options_set(options, setting->key, setting->key_length, setting->value, strlen(setting->value), &error) < 0) {
            bad_usage("%s: %s", setting->option, loquat_error_message(error));
        }
    }
}

/* One of the options about speeds at argv[*at]; 0 where it is something else. */
static int speed_option(struct arguments *arguments, int argc, char **argv, int *at) {
    struct speed_plan *plan = &arguments->speed;
    const char *name = argv[*at];
    if (strcmp(name, "-p") == 0) {
        plan->prompt = (uint32_t)number_value(argc, argv, at, 0, 1 << 20);
    } else if (strcmp(name, "-n") == 0) {
        plan->generate = (uint32_t)number_value(argc, argv, at, 0, 1 << 20);
    } else if (strcmp(name, "-r") == 0) {
        plan->repeats = (uint32_t)number_value(argc, argv, at, 1, 100000);
    } else if (strcmp(name, "-d") == 0) {
        plan->depth = (uint32_t)number_value(argc, argv, at, 0, 1 << 20);
    } else if (strcmp(name, "--sequences") == 0) {
        plan->sequences = (uint32_t)number_value(argc, argv, at, 1, 512);
    } else if (strcmp(name, "--budget") == 0) {
        float budget_ms = float_value(argc, argv, at);
        if (!(budget_ms > 0 && budget_ms < 1e6f)) {
            bad_usage("--budget wants milliseconds above 0");
        }
        plan->budget_ns = (uint64_t)(budget_ms * 1e6f);
    } else {
        return 0;
    }
    arguments->speed_option = name;
    return 1;
}

static const struct benchmark *benchmark_of(const char *option) {
    for (size_t i = 0; i < sizeof BENCHMARKS / sizeof *BENCHMARKS; i++) {
        if (strcmp(option, BENCHMARKS[i].option) == 0) {
            return &BENCHMARKS[i];
        }
    }
    return NULL;
}

/* One of the options about the library's benchmarks at argv[*at]; 0 where it is something else. */
static int suite_option(struct arguments *arguments, int argc, char **argv, int *at) {
    const char *name = argv[*at];
    const struct benchmark *benchmark = benchmark_of(name);
    if (benchmark) {
        if (arguments->benchmark && arguments->benchmark != benchmark) {
            bad_usage("%s and %s: one benchmark at a time", arguments->benchmark->option, name);
        }
        arguments->benchmark = benchmark;
        if (benchmark->kind == LOQUAT_BENCH_REQUESTS) {
            add_setting(arguments, name, "workload", strlen("workload"), text_value(argc, argv, at));
        } else if (benchmark->kind == LOQUAT_BENCH_QUALITY) {
            arguments->suite.reference = text_value(argc, argv, at);
        }
    } else if (strcmp(name, "--cold-start") == 0) {
        arguments->cold_start = 1;
    } else if (strcmp(name, "--first-token") == 0) {
        arguments->first_token = 1;
    } else if (strcmp(name, "--report") == 0) {
        arguments->report = text_value(argc, argv, at);
    } else if (strcmp(name, "-f") == 0) {
        arguments->suite.text = text_value(argc, argv, at);
    } else if (strcmp(name, "--compare") == 0) {
        arguments->compare[0] = text_value(argc, argv, at);
        arguments->compare[1] = text_value(argc, argv, at);
    } else if (strcmp(name, "--check") == 0) {
        arguments->suite.baseline = text_value(argc, argv, at);
    } else if (strcmp(name, "--stop") == 0) {
        add_setting(arguments, name, "stop_rule", strlen("stop_rule"), text_value(argc, argv, at));
    } else if (strcmp(name, "--set") == 0) {
        add_assignment(arguments, text_value(argc, argv, at));
    } else if (strcmp(name, "-o") == 0) {
        arguments->output.file = text_value(argc, argv, at);
    } else {
        return 0;
    }
    arguments->suite_option = name;
    return 1;
}

/* What does not go together. */
static void check_usage(const struct arguments *arguments) {
    uint32_t kind = arguments->benchmark ? arguments->benchmark->kind : 0;
    int requests = kind == LOQUAT_BENCH_REQUESTS || arguments->suite.baseline;
    int tasks = (kind != 0 || arguments->suite.baseline) + (arguments->cold_start && !requests) + (arguments->compare[0] != NULL) +
                (arguments->report != NULL) + arguments->first_token;
    if (tasks > 1 || (arguments->suite.baseline && kind && kind != LOQUAT_BENCH_REQUESTS)) {
        bad_usage("--compare, --check, --report, --first-token and benchmarks other than --workload: one at a time");
    }
    if (arguments->suite_option && arguments->speed_option) {
        bad_usage("%s and %s do not go together", arguments->speed_option, arguments->suite_option);
    }
    if (arguments->suite_option && tasks == 0) {
        bad_usage("%s is about a benchmark: say which, for example --workload short_qa", arguments->suite_option);
    }
    if (kind == LOQUAT_BENCH_QUALITY ? !arguments->suite.text : arguments->suite.text != NULL) {
        bad_usage("--quality and -f TEXT go together");
    }
    if (arguments->report && (arguments->output.file || arguments->output.json)) {
        bad_usage("--report writes files of its own: no -o, no --json");
    }
    if (!arguments->speed.prompt && !arguments->speed.generate) {
        bad_usage("-p and -n are both 0: nothing to measure");
    }
}

/* The command line of the processes that are started anew: this program with --first-token. */
static void set_command(const struct arguments *arguments, const char *program, loquat_bench_options *options) {
    loquat_error *error = NULL;
    char threads[16], context[16];
    const char *command[11] = {program, "--first-token", "-m", model_path(&arguments->common)};
    size_t count = 4;
    if (arguments->common.threads) {
        snprintf(threads, sizeof threads, "%u", arguments->common.threads);
        command[count++] = "-t";
        command[count++] = threads;
    }
    if (arguments->common.context) {
        snprintf(context, sizeof context, "%u", arguments->common.context);
        command[count++] = "-c";
        command[count++] = context;
    }
    if (arguments->common.isa) {
        command[count++] = "--isa";
        command[count++] = arguments->common.isa;
    }
    if (arguments->common.read) {
        command[count++] = "--read";
    }
    check(loquat_bench_options_set_command(options, command, count, &error), &error);
}

static int run_suite(struct arguments *arguments, const char *program, loquat_bench_options *options) {
    loquat_error *error = NULL;
    const struct common *common = &arguments->common;
    const char *path = model_path(common);
    if (arguments->first_token) {
        return bench_first_token(common);
    }
    check(loquat_bench_options_set_model_path(options, path, strlen(path), &error), &error);
    if (common->context) {
        check(loquat_bench_options_set_context(options, common->context, &error), &error);
    }
    if (arguments->cold_start) {
        set_command(arguments, program, options);
    }
    if (arguments->report) {
        /* A page is looked at once; who wants narrow intervals says so with --stop. */
        check(loquat_bench_options_set_stop_rule(options, "relaxed", strlen("relaxed"), &error), &error);
    }
    apply_settings(arguments, options);
    if (arguments->compare[0]) {
        return bench_compare(arguments->compare[0], arguments->compare[1], options, &arguments->output);
    }
    if (arguments->report) {
        return bench_report(common, options, arguments->report);
    }
    if (arguments->benchmark) {
        arguments->suite.kind = arguments->benchmark->kind;
        arguments->suite.gate = arguments->benchmark->gate;
    } else {
        arguments->suite.kind = arguments->cold_start && !arguments->suite.baseline ? LOQUAT_BENCH_COLD_START : LOQUAT_BENCH_REQUESTS;
    }
    return bench_suite(common, &arguments->suite, options, &arguments->output);
}

int main(int argc, char **argv) {
    begin(argc, argv, HELP);
    loquat_error *error = NULL;
    loquat_bench_options *options = NULL;
    struct arguments arguments = {.speed = {512, 128, 5, 0, 1, UINT64_MAX}};
    check(loquat_bench_options_new(&options, &error), &error);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            arguments.output.json = 1;
        } else if (!common_option(&arguments.common, argc, argv, &i) && !speed_option(&arguments, argc, argv, &i) &&
                   !suite_option(&arguments, argc, argv, &i)) {
            bad_usage("unknown option %s", argv[i]);
        }
    }
    check_usage(&arguments);
    int status;
    if (arguments.suite_option) {
        status = run_suite(&arguments, argv[0], options);
    } else {
        struct speed_plan *plan = &arguments.speed;
        if (plan->sequences > 1) {
            plan->prompt = 0;
            if (!plan->generate) {
                bad_usage("--sequences measures generation: -n is 0");
            }
        }
        status = bench_speed(&arguments.common, plan, arguments.output.json);
    }
    loquat_bench_options_free(options);
    return status;
}
