/* Writes a model as a GGUF file in other tensor types. */
#include "common.h"

#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "Usage: quantize IN OUT TYPE [options]\n"
    "Writes the model IN (a GGUF or APR file, or a Hugging Face folder) to the GGUF file OUT in tensor types of TYPE, with its progress on\n"
    "stderr. Ctrl-C leaves nothing behind.\n\n"
    "TYPE is one of\n"
    "  F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q2_K_S Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K\n"
    "  IQ4_NL IQ4_XS MXFP4 MXFP4_MOE\n"
    "The best for their size are the Q..K ones; Q4_K_M is the usual choice.\n\n"
    "  --threads N      how many threads work (default: one for each core)\n"
    "  --imatrix TEXT   a text file like what the model is for: it is read first, to see what in the model matters more\n"
    "  --context N      how many tokens of the text are read at a time (default: 512)\n"
    "  --help           this text\n";

struct arguments {
    const char *paths[3]; /* in, out, type */
    const char *imatrix;
    uint32_t threads, context;
};

static struct arguments parse(int argc, char **argv) {
    struct arguments arguments = {{NULL, NULL, NULL}, NULL, 0, 512};
    int count = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--threads") == 0 || strcmp(argv[i], "-t") == 0) {
            arguments.threads = (uint32_t)number_value(argc, argv, &i, 1, 1024);
        } else if (strcmp(argv[i], "--imatrix") == 0) {
            arguments.imatrix = text_value(argc, argv, &i);
        } else if (strcmp(argv[i], "--context") == 0) {
            arguments.context = (uint32_t)number_value(argc, argv, &i, 1, 1000000);
        } else if (argv[i][0] == '-') {
            bad_usage("unknown option %s", argv[i]);
        } else if (count == 3) {
            bad_usage("too many arguments: %s", argv[i]);
        } else {
            arguments.paths[count++] = argv[i];
        }
    }
    if (count < 3) {
        bad_usage("expected IN, OUT and TYPE");
    }
    return arguments;
}

static void set_importance(loquat_quantize_options *options, const struct arguments *arguments) {
    loquat_error *error = NULL;
    struct bytes text = read_file(arguments->imatrix);
    if (text.length == 0) {
        fail("%s is empty", arguments->imatrix);
    }
    check(loquat_quantize_options_set_importance_text(options, text.data, text.length, arguments->context, &error), &error);
    free(text.data);
}

int main(int argc, char **argv) {
    begin_alone(argc, argv, HELP);
    struct arguments arguments = parse(argc, argv);
    const char *in = arguments.paths[0], *out = arguments.paths[1], *type = arguments.paths[2];
    loquat_error *error = NULL;
    loquat_quantize_options *options = NULL;
    loquat_job *job = NULL;
    struct common common = {0};
    common.threads = arguments.threads;
    loquat_runtime *runtime = open_runtime(&common);
    check(loquat_quantize_options_new(&options, &error), &error);
    if (loquat_quantize_options_set_type(options, type, strlen(type), &error) < 0) {
        bad_usage("%s", loquat_error_message(error));
    }
    if (arguments.imatrix) {
        set_importance(options, &arguments);
    }
    check(loquat_quantize_start(runtime, in, strlen(in), out, strlen(out), options, &job, &error), &error);

    double start = seconds();
    loquat_status status = run_job(job);
    if (status == LOQUAT_DONE) {
        loquat_quantized done = {.struct_size = sizeof done};
        check(loquat_job_take_quantized(job, &done, &error), &error);
        printf("%llu of %llu tensors changed, %.1f MB to %.1f MB in %.2f s\n", (unsigned long long)done.changed,
               (unsigned long long)done.tensors, (double)done.bytes_before / 1e6, (double)done.bytes_after / 1e6, seconds() - start);
    } else {
        printf("given up: nothing was written\n");
    }
    loquat_job_free(job);
    loquat_quantize_options_free(options);
    loquat_runtime_free(runtime);
    return status == LOQUAT_DONE ? 0 : 130;
}
