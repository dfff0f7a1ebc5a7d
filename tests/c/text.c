/* Text: tokens and back, streams, chat prompts, and a turn of a session from text to text. */
#include "check.h"

#define TEXT(text) text, sizeof text - 1

static const char PROMPT[] = "<|im_start|>user\nWho sells a rope?<|im_end|>\n<|im_start|>assistant\n";
static const uint32_t IDS[] = {1, 309, 201, 986, 903, 261, 706, 33, 2, 201, 1, 310, 201};
#define COUNT (sizeof IDS / sizeof *IDS)

static void tokens(const loquat_model *model) {
    uint32_t ids[64];
    size_t count = 0, length = 0;
    char text[128];
    EXPECT(LOQUAT_OK, loquat_model_tokenize(model, TEXT(PROMPT), LOQUAT_ADD_SPECIAL | LOQUAT_PARSE_SPECIAL, ids, 64, &count, NULL));
    CHECK(count == COUNT && memcmp(ids, IDS, sizeof IDS) == 0);
    EXPECT(LOQUAT_BUFFER_TOO_SMALL, loquat_model_tokenize(model, TEXT(PROMPT), LOQUAT_PARSE_SPECIAL, ids, COUNT - 1, &count, NULL));
    CHECK(count == COUNT);
    /* As plain text the same has more tokens and no special one. */
    EXPECT(LOQUAT_OK, loquat_model_tokenize(model, TEXT(PROMPT), 0, ids, 64, &count, NULL));
    CHECK(count > COUNT);
    for (size_t i = 0; i < count; i++) {
        uint32_t attributes = 9;
        EXPECT(LOQUAT_OK, loquat_model_token_attributes(model, ids[i], &attributes, NULL));
        CHECK(attributes == 0);
    }
    EXPECT(LOQUAT_OK, loquat_model_tokenize(model, NULL, 0, 0, NULL, 0, &count, NULL));
    CHECK(count == 0);
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "flags", loquat_model_tokenize(model, TEXT("a"), 64, ids, 64, &count, &error));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "UTF-8", loquat_model_tokenize(model, TEXT("a\xff"), 0, ids, 64, &count, &error));

    EXPECT(LOQUAT_OK, loquat_model_detokenize(model, IDS, COUNT, 0, text, sizeof text, &length, NULL));
    CHECK(length == sizeof PROMPT - 1 && memcmp(text, PROMPT, length) == 0);
    EXPECT(LOQUAT_OK, loquat_model_detokenize(model, IDS, COUNT, LOQUAT_SKIP_SPECIAL, text, sizeof text, &length, NULL));
    CHECK(length == strlen("user\nWho sells a rope?\nassistant\n"));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "2048", loquat_model_detokenize(model, (uint32_t[]){2048}, 1, 0, text, 8, &length, &error));

    EXPECT(LOQUAT_OK, loquat_model_token_text(model, 2, text, sizeof text, &length, NULL));
    CHECK(length == 10 && memcmp(text, "<|im_end|>", 10) == 0);
    EXPECT(LOQUAT_NOT_FOUND, loquat_model_token_text(model, 2048, text, sizeof text, &length, NULL));
    uint32_t attributes = 0;
    EXPECT(LOQUAT_OK, loquat_model_token_attributes(model, 2, &attributes, NULL));
    CHECK(attributes == (LOQUAT_TOKEN_END | LOQUAT_TOKEN_SPECIAL));
    EXPECT(LOQUAT_NOT_FOUND, loquat_model_token_attributes(model, 2048, &attributes, NULL));
}

/* A stream gives whole characters only, whatever the tokens cut. */
static void stream(const loquat_model *model) {
    static const char content[] = "na\xc3\xafve \xf0\x9f\x90\x89 \xe6\x97\xa5\xe6\x9c\xac";
    loquat_detokenizer *stream = NULL;
    uint32_t ids[64];
    size_t count = 0, length = 0, total = 0;
    const char *piece = NULL;
    char whole[64];
    EXPECT(LOQUAT_OK, loquat_model_tokenize(model, TEXT(content), 0, ids, 64, &count, NULL));
    EXPECT(LOQUAT_OK, loquat_detokenizer_new(model, 0, &stream, NULL));
    for (size_t i = 0; i < count; i++) {
        EXPECT(LOQUAT_OK, loquat_detokenizer_push(stream, ids[i], &piece, &length, NULL));
        if (length) {
            CHECK(((unsigned char)piece[0] & 0xC0) != 0x80);
            memcpy(whole + total, piece, length);
            total += length;
        }
    }
    EXPECT(LOQUAT_OK, loquat_detokenizer_finish(stream, &piece, &length, NULL));
    CHECK(length == 0 && total == sizeof content - 1 && memcmp(whole, content, total) == 0);
    /* Ended inside a character. */
    EXPECT(LOQUAT_OK, loquat_detokenizer_push(stream, ids[count - 2], &piece, &length, NULL));
    EXPECT(LOQUAT_OK, loquat_detokenizer_finish(stream, &piece, &length, NULL));
    CHECK(length == 0 || (length == 3 && memcmp(piece, "\xef\xbf\xbd", 3) == 0));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "2048", loquat_detokenizer_push(stream, 2048, &piece, &length, &error));
    loquat_detokenizer_free(stream);
}

static void chat(const loquat_model *model) {
    loquat_chat *chat = NULL;
    char prompt[256];
    size_t length = 0;
    EXPECT(LOQUAT_OK, loquat_chat_new(model, &chat, NULL));
    EXPECT(LOQUAT_OK, loquat_chat_add(chat, TEXT("user"), TEXT("Who sells a rope?"), NULL));
    EXPECT(LOQUAT_BUFFER_TOO_SMALL, loquat_chat_render(chat, 1, prompt, 5, &length, NULL));
    CHECK(length == sizeof PROMPT - 1);
    EXPECT(LOQUAT_OK, loquat_chat_render(chat, 1, prompt, sizeof prompt, &length, NULL));
    CHECK(length == sizeof PROMPT - 1 && memcmp(prompt, PROMPT, length) == 0);
    EXPECT(LOQUAT_OK, loquat_chat_render(chat, 0, prompt, sizeof prompt, &length, NULL));
    CHECK(length == sizeof PROMPT - 1 - strlen("<|im_start|>assistant\n"));
    EXPECT_ERROR(LOQUAT_INVALID_ARGUMENT, "generation_prompt", loquat_chat_render(chat, 2, NULL, 0, &length, &error));
    EXPECT(LOQUAT_OK, loquat_chat_clear(chat, NULL));
    EXPECT(LOQUAT_OK, loquat_chat_render(chat, 0, NULL, 0, &length, NULL));
    CHECK(length == 0);
    loquat_chat_free(chat);
}

/* Runs a turn and returns its text (to be freed) and why it ended. */
static char *turn(const loquat_model *model, const loquat_session_options *options, uint32_t *reason) {
    loquat_session *session = NULL;
    loquat_event event = {.struct_size = sizeof event};
    char *text = calloc(1, 4096);
    loquat_status status;
    EXPECT(LOQUAT_OK, loquat_session_new(model, options, &session, NULL));
    EXPECT(LOQUAT_OK, loquat_session_append_text(session, TEXT(PROMPT), LOQUAT_PARSE_SPECIAL, NULL));
    do {
        status = loquat_session_step(session, UINT64_MAX, &event, NULL);
        CHECK(status == LOQUAT_TOKEN || status == LOQUAT_DONE);
        strncat(text, event.text, event.text_length);
    } while (status == LOQUAT_TOKEN);
    *reason = event.reason;
    loquat_session_free(session);
    return text;
}

static void turns(const loquat_model *model) {
    loquat_session_options *options = NULL;
    uint32_t reason = 0;
    EXPECT(LOQUAT_OK, loquat_session_options_new(&options, NULL));
    char *text = turn(model, options, &reason);
    if (strcmp(text, "Odo the merchant sells a rope for 3 coins, in the market square.") != 0) {
        fprintf(stderr, "the model said: %s\n", text);
        exit(1);
    }
    CHECK(reason == LOQUAT_REASON_END);
    free(text);

    EXPECT(LOQUAT_OK, loquat_session_options_add_stop(options, TEXT(" rope"), NULL));
    text = turn(model, options, &reason);
    CHECK(strcmp(text, "Odo the merchant sells a") == 0 && reason == LOQUAT_REASON_STOP);
    free(text);
    loquat_session_options_free(options);
}

int main(void) {
    loquat_runtime *runtime = NULL;
    loquat_model *model = NULL;
    EXPECT(LOQUAT_OK, loquat_runtime_new(NULL, &runtime, NULL));
    EXPECT(LOQUAT_OK, loquat_model_load(runtime, DEMO_MODEL, strlen(DEMO_MODEL), NULL, &model, NULL));
    tokens(model);
    stream(model);
    chat(model);
    turns(model);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return 0;
}
