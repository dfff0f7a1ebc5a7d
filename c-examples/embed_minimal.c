/* The shortest program that talks: load a model, give it a prompt, print what it says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "loquat.h"

static loquat_error *error = NULL; /* what a failed call says; a host that goes on frees it with loquat_error_free */

static loquat_status ok(loquat_status status) {
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", loquat_status_name(status), loquat_error_message(error));
        exit(1);
    }
    return status;
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "models/emberfield-3m-q8_0.gguf";
    const char *prompt = argc > 2 ? argv[2] : "One misty morning,";
    loquat_runtime *runtime = NULL;
    loquat_model *model = NULL;
    loquat_session *session = NULL;
    ok(loquat_runtime_new(NULL, &runtime, &error));
    ok(loquat_model_load(runtime, path, strlen(path), NULL, &model, &error));
    ok(loquat_session_new(model, NULL, &session, &error));
    ok(loquat_session_append_text(session, prompt, strlen(prompt), LOQUAT_ADD_SPECIAL, &error));

    loquat_event event = {.struct_size = sizeof event};
    loquat_status status = LOQUAT_TOKEN;
    while (status == LOQUAT_TOKEN) {
        status = ok(loquat_session_step(session, UINT64_MAX, &event, &error));
        fwrite(event.text, 1, event.text_length, stdout);
        fflush(stdout);
    }
    loquat_session_free(session);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return 0;
}
