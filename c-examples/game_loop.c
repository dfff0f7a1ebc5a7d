/* A game loop of 60 frames a second in which a character talks: the model has 2 ms of each frame, and no frame waits for it. */
#include "common.h"

#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "Usage: game_loop [options]\n"
    "Runs a simulated game without the model and then with it, and prints the frame times of both and what the character said.\n\n"
    "  -p TEXT         what the character goes on from (default: One misty morning,)\n"
    "  -n N            tokens at most (default: 60)\n"
    "  --frames N      frames without the model, and at most with it (default: 300)\n"
    "  --budget MS     milliseconds of a frame for the model (default: 2)\n"
    "  --work MS       milliseconds of a frame that the game itself computes (default: 6)\n"
    "  --json          print JSON instead of a table\n";

#define FRAME_S (1.0 / 60)

struct plan {
    const char *prompt;
    uint32_t tokens, frames;
    float budget_ms, work_ms;
    int json;
};

/* What the frames of one run took, in milliseconds, and what the steps took beyond their budget. */
struct frames {
    double *busy_ms, *late_ms, *over_ms;
    uint32_t count, missed;
};

struct dialogue {
    char *text;
    size_t length;
    uint32_t tokens;
    int over;
};

/* The game's own work: computes for so long. */
static void simulate(double work_s) {
    double end = seconds() + work_s;
    volatile double world = 0;
    while (seconds() < end) {
        for (int i = 0; i < 100; i++) {
            world = world * 0.999 + i;
        }
    }
}

/* One frame's share of the model: at most one token or what the budget allows of it. */
static void think(loquat_session *session, float budget_ms, struct dialogue *dialogue) {
    loquat_error *error = NULL;
    loquat_event event = {.struct_size = sizeof event};
    loquat_status status = check(loquat_session_step(session, (uint64_t)(budget_ms * 1e6f), &event, &error), &error);
    dialogue->text = realloc(dialogue->text, dialogue->length + event.text_length + 1);
    if (!dialogue->text) {
        fail("out of memory");
    }
    memcpy(dialogue->text + dialogue->length, event.text, event.text_length);
    dialogue->length += event.text_length;
    dialogue->tokens += status == LOQUAT_TOKEN;
    dialogue->over = status == LOQUAT_DONE;
}

/* Runs frames at 60 a second; with a session until its dialogue is over. */
static struct frames play(const struct plan *plan, loquat_session *session, struct dialogue *dialogue) {
    struct frames frames = {allocate(plan->frames * sizeof(double)), allocate(plan->frames * sizeof(double)),
                            allocate(plan->frames * sizeof(double)), 0, 0};
    double start = seconds();
    while (frames.count < plan->frames && !(session && dialogue->over)) {
        double due = start + frames.count * FRAME_S, begun = seconds();
        simulate(plan->work_ms * 1e-3);
        double before = seconds();
        if (session) {
            think(session, plan->budget_ms, dialogue);
        }
        double end = seconds();
        frames.busy_ms[frames.count] = (end - begun) * 1e3;
        frames.late_ms[frames.count] = (begun - due) * 1e3;
        frames.over_ms[frames.count] = session ? (end - before) * 1e3 - plan->budget_ms : 0;
        frames.missed += end - due > FRAME_S;
        frames.count++;
        double left = start + frames.count * FRAME_S - seconds();
        if (left > 0) {
            pause_for(left);
        }
    }
    return frames;
}

static void report(const char *name, struct frames *frames, const struct plan *plan) {
    double *const figures[] = {frames->busy_ms, frames->late_ms, frames->over_ms};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        sort_numbers(figures[i], frames->count);
    }
    double p50 = percentile(frames->busy_ms, frames->count, 500), p99 = percentile(frames->busy_ms, frames->count, 990);
    double most = percentile(frames->busy_ms, frames->count, 1000), over99 = percentile(frames->over_ms, frames->count, 990);
    double over = percentile(frames->over_ms, frames->count, 1000), late = percentile(frames->late_ms, frames->count, 990);
    if (plan->json) {
        printf("\"%s\":{\"frames\":%u,\"missed\":%u,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,\"late_p99_ms\":%.3f,"
               "\"overshoot_p99_ms\":%.3f,\"overshoot_max_ms\":%.3f}", name, frames->count, frames->missed, p50, p99, most, late, over99, over);
    } else {
        printf("%-14s %6u %7u %9.2f %9.2f %9.2f %12.2f %12.2f\n", name, frames->count, frames->missed, p50, p99, most, over99, over);
    }
    free(frames->busy_ms);
    free(frames->late_ms);
    free(frames->over_ms);
}

static loquat_session *character(const loquat_model *model, const struct common *common, const struct plan *plan) {
    loquat_error *error = NULL;
    loquat_session_options *options = NULL;
    loquat_session *session = NULL;
    check(loquat_session_options_new(&options, &error), &error);
    check(loquat_session_options_set_context(options, common->context, &error), &error);
    check(loquat_session_options_set_max_tokens(options, plan->tokens, &error), &error);
    check(loquat_session_new(model, options, &session, &error), &error);
    loquat_session_options_free(options);
    check(loquat_session_append_text(session, plan->prompt, strlen(plan->prompt), LOQUAT_ADD_SPECIAL, &error), &error);
    return session;
}

int main(int argc, char **argv) {
    begin(argc, argv, HELP);
    struct common common = {0};
    struct plan plan = {"One misty morning,", 60, 300, 2, 6, 0};
    for (int i = 1; i < argc; i++) {
        if (common_option(&common, argc, argv, &i)) {
            continue;
        } else if (strcmp(argv[i], "-p") == 0) {
            plan.prompt = text_value(argc, argv, &i);
        } else if (strcmp(argv[i], "-n") == 0) {
            plan.tokens = (uint32_t)number_value(argc, argv, &i, 1, 1 << 20);
        } else if (strcmp(argv[i], "--frames") == 0) {
            plan.frames = (uint32_t)number_value(argc, argv, &i, 1, 1 << 20);
        } else if (strcmp(argv[i], "--budget") == 0) {
            plan.budget_ms = float_value(argc, argv, &i);
        } else if (strcmp(argv[i], "--work") == 0) {
            plan.work_ms = float_value(argc, argv, &i);
        } else if (strcmp(argv[i], "--json") == 0) {
            plan.json = 1;
        } else {
            bad_usage("unknown option %s", argv[i]);
        }
    }
    if (!(plan.budget_ms >= 0 && plan.budget_ms < 1e6f && plan.work_ms >= 0 && plan.work_ms < 1e6f)) {
        bad_usage("--budget and --work are milliseconds, at least 0");
    }

    loquat_runtime *runtime = open_runtime(&common);
    loquat_model *model = open_model(&common, runtime, 0);
    loquat_session *session = character(model, &common, &plan);
    struct dialogue dialogue = {NULL, 0, 0, 0};
    struct frames without = play(&plan, NULL, &dialogue);
    struct frames with = play(&plan, session, &dialogue);

    uint32_t frames = with.count;
    if (plan.json) {
        printf("{\"budget_ms\":%.3f,\"tokens\":%u,\"tok_s\":%.2f,\"text\":", plan.budget_ms, dialogue.tokens, dialogue.tokens / (frames * FRAME_S));
        json_text(stdout, dialogue.text ? dialogue.text : "", dialogue.length);
        putchar(',');
    } else {
        printf("%s%.*s\n\n%-14s %6s %7s %9s %9s %9s %12s %12s\n", plan.prompt, (int)dialogue.length, dialogue.text ? dialogue.text : "",
               "frame time, ms", "frames", "missed", "p50", "p99", "max", "over p99", "over max");
    }
    report(plan.json ? "without" : "without model", &without, &plan);
    if (plan.json) {
        putchar(',');
    }
    report(plan.json ? "with" : "with model", &with, &plan);
    if (plan.json) {
        puts("}");
    } else {
        printf("\n%u tokens in %u frames of which the model had %.1f ms each: %.1f tokens/s\n", dialogue.tokens, frames, plan.budget_ms,
               dialogue.tokens / (frames * FRAME_S));
    }
    free(dialogue.text);
    loquat_session_free(session);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return fflush(stdout) == 0 ? 0 : 1;
}
