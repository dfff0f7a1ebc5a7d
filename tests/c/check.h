/* Checks for the programs of this folder: a failed one says where and ends the program with status 1. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loquat.h"

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

/* `call` must return `wanted`. */
#define EXPECT(wanted, call)                                                                                          \
    do {                                                                                                              \
        loquat_status got_ = (call);                                                                                  \
        if (got_ != (wanted)) {                                                                                       \
            fprintf(stderr, "%s:%d: %s gave %s\n", __FILE__, __LINE__, #call, loquat_status_name(got_));              \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)

#endif
