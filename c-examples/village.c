/* A village where everybody answers at once: many characters, each a session of one model, computed together in one batch. */
#include "common.h"

#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "Usage: village [options]\n"
    "Asks every character of a village the same question and prints the answers. All are computed in one batch; what the characters have\n"
    "in common (the system message) is computed once.\n\n"
    "  -p TEXT     the question (default: What do you sell?)\n"
    "  -n N        tokens of an answer at most (default: 48)\n"
    "  --people N  how many characters (default: 12)\n"
    "  --seed S    seed of the draws; character i has seed S + i (default: 1)\n"
    "  --stats     write figures to stderr as JSON\n";

static const char SYSTEM[] = "You are a villager of Emberfield. You answer every stranger kindly and in few words.";

static const char *const TRADES[] = {"the baker", "the smith", "the weaver", "the miller", "the fisher", "the carpenter",
                                     "the potter", "the herbalist", "the ferryman", "the shepherd", "the innkeeper", "the rope-maker"};

struct character {
    loquat_session *session;
    const char *trade;
    char *answer;
    size_t length;
};

struct plan {
    const char *question;
    uint32_t tokens, people, seed;
    int stats;
};

/* The prompt of a character: the model's chat template around the system message, which all have in common, and the question. */
static struct bytes prompt_of(const loquat_model *model, const char *trade, const char *question) {
    loquat_error *error = NULL;
    loquat_chat *chat = NULL;
    struct bytes prompt = {NULL, 0};
    char *text = allocate(strlen(trade) + strlen(question) + 16);
    sprintf(text, "Good day, %s! %s", trade, question);
    check(loquat_chat_new(model, &chat, &error), &error);
    check(loquat_chat_add(chat, "system", 6, SYSTEM, strlen(SYSTEM), &error), &error);
    check(loquat_chat_add(chat, "user", 4, text, strlen(text), &error), &error);
    check(loquat_chat_render(chat, 1, NULL, 0, &prompt.length, &error), &error);
    prompt.data = allocate(prompt.length + 1);
    check(loquat_chat_render(chat, 1, prompt.data, prompt.length, &prompt.length, &error), &error);
    loquat_chat_free(chat);
    free(text);
    return prompt;
}

/* A character that was asked and has not thought about it yet. */
static void create(struct character *character, const loquat_model *model, const struct common *common, const struct plan *plan,
                   uint32_t number) {
    loquat_error *error = NULL;
    loquat_session_options *options = NULL;
    character->trade = TRADES[number % (sizeof TRADES / sizeof *TRADES)];
    character->answer = NULL;
    character->length = 0;
    check(loquat_session_options_new(&options, &error), &error);
    check(loquat_session_options_set_context(options, common->context ? common->context : 512, &error), &error);
    /* The batch computes, so the scratch memory for steps of its own can be small; and the cache may grow with the talk. */
    check(loquat_session_options_set_batch(options, 1, &error), &error);
    check(loquat_session_options_set_reserve(options, 0, &error), &error);
    check(loquat_session_options_set_max_tokens(options, plan->tokens, &error), &error);
    check(loquat_session_options_set_temperature(options, 0.7f, &error), &error);
    check(loquat_session_options_set_seed(options, plan->seed + number, &error), &error);
    check(loquat_session_new(model, options, &character->session, &error), &error);
    loquat_session_options_free(options);
    struct bytes prompt = prompt_of(model, character->trade, plan->question);
    check(loquat_session_append_text(character->session, prompt.data, prompt.length, LOQUAT_PARSE_SPECIAL, &error), &error);
    free(prompt.data);
}

/* Adds what an event says to the answer of its character. */
static void listen(struct character *character, const loquat_batch_event *event) {
    character->answer = realloc(character->answer, character->length + event->text_length + 1);
    if (!character->answer) {
        fail("out of memory");
    }
    memcpy(character->answer + character->length, event->text, event->text_length);
    character->length += event->text_length;
}

/* Steps until everybody has answered; returns the number of tokens. */
static uint32_t talk(loquat_batch *batch) {
    loquat_error *error = NULL;
    loquat_batch_event event = {.struct_size = sizeof event};
    uint32_t tokens = 0;
    while (check(loquat_batch_step(batch, UINT64_MAX, &event, &error), &error) != LOQUAT_IDLE) {
        struct character *character = event.user_data;
        if (event.status < 0) {
            fail("%s: %.*s", character->trade, (int)event.message_length, event.message);
        }
        listen(character, &event);
        tokens += event.status == LOQUAT_TOKEN;
    }
    return tokens;
}

int main(int argc, char **argv) {
    begin(argc, argv, HELP);
    struct common common = {0};
    struct plan plan = {"What do you sell?", 48, 12, 1, 0};
    for (int i = 1; i < argc; i++) {
        if (common_option(&common, argc, argv, &i)) {
            continue;
        } else if (strcmp(argv[i], "-p") == 0) {
            plan.question = text_value(argc, argv, &i);
        } else if (strcmp(argv[i], "-n") == 0) {
            plan.tokens = (uint32_t)number_value(argc, argv, &i, 1, 1 << 20);
        } else if (strcmp(argv[i], "--people") == 0) {
            plan.people = (uint32_t)number_value(argc, argv, &i, 1, 512);
        } else if (strcmp(argv[i], "--seed") == 0) {
            plan.seed = (uint32_t)number_value(argc, argv, &i, 0, 1 << 30);
        } else if (strcmp(argv[i], "--stats") == 0) {
            plan.stats = 1;
        } else {
            bad_usage("unknown option %s", argv[i]);
        }
    }

    loquat_error *error = NULL;
    loquat_batch *batch = NULL;
    loquat_batch_options *options = NULL;
    loquat_runtime *runtime = open_runtime(&common);
    loquat_model *model = open_model(&common, runtime, 0);
    struct character *people = allocate(plan.people * sizeof *people);
    check(loquat_batch_options_new(&options, &error), &error);
    check(loquat_batch_options_set_sessions(options, plan.people, &error), &error);
    check(loquat_batch_new(model, options, &batch, &error), &error);
    loquat_batch_options_free(options);
    for (uint32_t i = 0; i < plan.people; i++) {
        create(&people[i], model, &common, &plan, i);
        check(loquat_batch_add(batch, people[i].session, &people[i], &error), &error);
    }

    double start = seconds();
    uint32_t tokens = talk(batch);
    double took = seconds() - start;
    for (uint32_t i = 0; i < plan.people; i++) {
        printf("%s: %.*s\n", people[i].trade, (int)people[i].length, people[i].answer ? people[i].answer : "");
        free(people[i].answer);
    }
    if (plan.stats) {
        loquat_prefix_cache cache = {.struct_size = sizeof cache};
        check(loquat_model_get_prefix_cache(model, &cache, &error), &error);
        fprintf(stderr, "{\"people\":%u,\"tokens\":%u,\"seconds\":%.4f,\"tok_s\":%.1f,\"reused_tokens\":%llu}\n", plan.people, tokens, took,
                tokens / took, (unsigned long long)cache.reused_tokens);
    }
    for (uint32_t i = 0; i < plan.people; i++) {
        loquat_session_free(people[i].session);
    }
    free(people);
    loquat_batch_free(batch);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return fflush(stdout) == 0 ? 0 : 1;
}
