/* Text to token ids, or ids to text. */
#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "Usage: tokenize (-p TEXT | -f FILE | --decode IDS) [options]\n"
    "Prints the token ids of a text on one line, or the text of token ids.\n\n"
    "  -p TEXT       the text\n"
    "  -f FILE       a file with the text (- for standard input)\n"
    "  --no-bos      add no beginning-of-sequence token and the like\n"
    "  --no-special  read the text of special tokens as plain text\n"
    "  --decode IDS  print the text of these ids (separated by spaces or commas)\n";

/* The numbers of a list. */
static uint32_t *parse_ids(const char *list, size_t *count) {
    uint32_t *ids = allocate((strlen(list) / 2 + 1) * sizeof *ids);
    *count = 0;
    for (const char *at = list + strspn(list, " ,\n\t"); *at; at += strspn(at, " ,\n\t")) {
        char *end;
        errno = 0;
        unsigned long long id = strtoull(at, &end, 10);
        if (*at < '0' || *at > '9' || errno || id > UINT32_MAX || (*end && !strchr(" ,\n\t", *end))) {
            bad_usage("--decode: '%.20s' is no token id", at);
        }
        ids[(*count)++] = (uint32_t)id;
        at = end;
    }
    return ids;
}

static void print_text(const loquat_model *model, const uint32_t *ids, size_t count) {
    loquat_error *error = NULL;
    size_t length = 0;
    check(loquat_model_detokenize(model, ids, count, 0, NULL, 0, &length, &error), &error);
    char *text = allocate(length);
    check(loquat_model_detokenize(model, ids, count, 0, text, length, &length, &error), &error);
    fwrite(text, 1, length, stdout);
    putchar('\n');
    free(text);
}

int main(int argc, char **argv) {
    begin(argc, argv, HELP);
    struct common common = {.threads = 1};
    const char *prompt = NULL, *file = NULL, *decode = NULL;
    uint32_t flags = LOQUAT_ADD_SPECIAL | LOQUAT_PARSE_SPECIAL;
    for (int i = 1; i < argc; i++) {
        if (common_option(&common, argc, argv, &i)) {
            continue;
        } else if (strcmp(argv[i], "-p") == 0) {
            prompt = text_value(argc, argv, &i);
        } else if (strcmp(argv[i], "-f") == 0) {
            file = text_value(argc, argv, &i);
        } else if (strcmp(argv[i], "--decode") == 0) {
            decode = text_value(argc, argv, &i);
        } else if (strcmp(argv[i], "--no-bos") == 0) {
            flags &= ~(uint32_t)LOQUAT_ADD_SPECIAL;
        } else if (strcmp(argv[i], "--no-special") == 0) {
            flags &= ~(uint32_t)LOQUAT_PARSE_SPECIAL;
        } else {
            bad_usage("unknown option %s", argv[i]);
        }
    }
    if (!!prompt + !!file + !!decode != 1) {
        bad_usage("give one of -p, -f and --decode");
    }

    size_t count = 0;
    uint32_t *ids = decode ? parse_ids(decode, &count) : NULL;
    loquat_runtime *runtime = open_runtime(&common);
    loquat_model *model = open_model(&common, runtime, 1);
    if (decode) {
        print_text(model, ids, count);
    } else {
        struct bytes content = {NULL, 0};
        if (file) {
            content = read_file(file);
        }
        ids = tokenize(model, file ? content.data : prompt, file ? content.length : strlen(prompt), flags, &count);
        for (size_t i = 0; i < count; i++) {
            printf(i ? " %u" : "%u", ids[i]);
        }
        putchar('\n');
        free(content.data);
    }
    free(ids);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return fflush(stdout) == 0 ? 0 : 1;
}
