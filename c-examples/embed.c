/* Texts to vectors with an encoder model, and how similar the texts are. */
#include "common.h"

#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "Usage: embed -m MODEL -p TEXT [-p TEXT ...] [options]\n"
    "Computes an embedding of each text with an encoder model (BERT and its kind), and prints how similar the texts are: the\n"
    "dot products of their embeddings, 1 for equal ones.\n\n"
    "  -p TEXT     a text; as often as you like\n"
    "  --vectors   print the embeddings instead, one a line\n"
    "  --pooling P what stands for a text: mean, cls or last (default: what the model's file says)\n";

static uint32_t pooling_of(const char *name) {
    static const char *const names[] = {"mean", "cls", "last"};
    static const uint32_t numbers[] = {LOQUAT_POOLING_MEAN, LOQUAT_POOLING_CLS, LOQUAT_POOLING_LAST};
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) == 0) {
            return numbers[i];
        }
    }
    bad_usage("--pooling: '%s' is none of mean, cls, last", name);
    return 0;
}

/* Computes the embedding of one text. A host that must not wait gives the step a budget, and calls it again while it says PENDING. */
static void embed(loquat_embedder *embedder, const char *text, float *vector, uint32_t width) {
    loquat_error *error = NULL;
    check(loquat_embedder_begin_text(embedder, text, strlen(text), &error), &error);
    check(loquat_embedder_step(embedder, UINT64_MAX, &error), &error);
    check(loquat_embedder_get(embedder, 0, vector, width, NULL, &error), &error);
}

static float dot(const float *a, const float *b, uint32_t width) {
    float sum = 0;
    for (uint32_t i = 0; i < width; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

int main(int argc, char **argv) {
    begin(argc, argv, HELP);
    struct common common = {.threads = 0};
    const char **texts = allocate((size_t)argc * sizeof *texts);
    size_t count = 0;
    uint32_t pooling = LOQUAT_POOLING_OF_MODEL;
    int vectors = 0;
    for (int i = 1; i < argc; i++) {
        if (common_option(&common, argc, argv, &i)) {
            continue;
        } else if (strcmp(argv[i], "-p") == 0) {
            texts[count++] = text_value(argc, argv, &i);
        } else if (strcmp(argv[i], "--pooling") == 0) {
            pooling = pooling_of(text_value(argc, argv, &i));
        } else if (strcmp(argv[i], "--vectors") == 0) {
            vectors = 1;
        } else {
            bad_usage("unknown option %s", argv[i]);
        }
    }
    if (count == 0) {
        bad_usage("give at least one text with -p");
    }

    loquat_error *error = NULL;
    loquat_embedder *embedder = NULL;
    uint32_t width = 0;
    loquat_runtime *runtime = open_runtime(&common);
    loquat_model *model = open_model(&common, runtime, 0);
    check(loquat_embedder_new(model, common.context, pooling, 0, &embedder, &error), &error);
    check(loquat_embedder_shape(embedder, NULL, &width, NULL, &error), &error);
    float *embeddings = allocate(count * width * sizeof *embeddings);
    for (size_t i = 0; i < count; i++) {
        embed(embedder, texts[i], embeddings + i * width, width);
    }
    for (size_t i = 0; i < count; i++) {
        const float *row = embeddings + i * width;
        for (size_t j = 0; j < (vectors ? width : count); j++) {
            printf(j ? " %.4f" : "%.4f", (double)(vectors ? row[j] : dot(row, embeddings + j * width, width)));
        }
        putchar('\n');
    }
    free(embeddings);
    free(texts);
    loquat_embedder_free(embedder);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return fflush(stdout) == 0 ? 0 : 1;
}
