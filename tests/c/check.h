/* Checks for the programs of this folder: a failed one says where and ends the program with status 1. */
#ifndef CHECK_H
#define CHECK_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loquat.h"

#define DEMO_MODEL "models/emberfield-3m-q8_0.gguf"

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

/* `call` must return `wanted`. */
#define EXPECT(wanted, call)                                                                             \
    do {                                                                                                 \
        loquat_status got_ = (call);                                                                     \
        if (got_ != (wanted)) {                                                                          \
            fprintf(stderr, "%s:%d: %s gave %s\n", __FILE__, __LINE__, #call, loquat_status_name(got_)); \
            exit(1);                                                                                     \
        }                                                                                                \
    } while (0)

/* `call`, whose last argument is &error, must fail with `wanted` and a message that contains `part`. */
#define EXPECT_ERROR(wanted, part, call)                                                                           \
    do {                                                                                                           \
        loquat_error *error = NULL;                                                                                \
        EXPECT(wanted, call);                                                                                      \
        CHECK(loquat_error_status(error) == (wanted));                                                             \
        if (!strstr(loquat_error_message(error), part)) {                                                          \
            fprintf(stderr, "%s:%d: the message is: %s\n", __FILE__, __LINE__, loquat_error_message(error));       \
            exit(1);                                                                                               \
        }                                                                                                          \
        loquat_error_free(error);                                                                                  \
    } while (0)

#endif
