/* What the example programs share: arguments, files, time, errors. Nothing here is part of Loquat. */
#ifndef COMMON_H
#define COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "loquat.h"

/* Options that every example has. */
struct common {
    const char *model;  /* -m */
    uint32_t threads;   /* -t; 0: one for each core */
    uint32_t context;   /* -c; 0: the model's own */
    int read;           /* --read: into memory, instead of mapping the file */
    const char *isa;    /* --isa; NULL: the best of this machine */
    const char *quantize; /* --quantize; NULL: the types of the file */
};

/* A text or other bytes from malloc. */
struct bytes {
    char *data;
    size_t length;
};

/* Prints "PROGRAM: MESSAGE" and ends the program with status 1. */
void fail(const char *format, ...);
/* Prints "PROGRAM: MESSAGE" and where help is to be had, and ends the program with status 2. */
void bad_usage(const char *format, ...);
/* Passes outcomes of Loquat on; on an error prints its message and ends the program with status 1. (The error by address: C may look at an
 * argument before it makes the call in the argument beside it.) */
loquat_status check(loquat_status status, loquat_error *const *error);

/* Remembers the program's name, puts the arguments, stdin and stdout in order (UTF-8, bytes as they are), prints `help` and the common
 * options and ends the program where --help is among the arguments. begin_alone() is for a program without the common options. */
void begin(int argc, char **argv, const char *help);
void begin_alone(int argc, char **argv, const char *help);
/* Reads one of -m, -t, -c, --read, --isa, --quantize at argv[*at] into `options` and steps over it; returns 0 where it is something else. */
int common_option(struct common *options, int argc, char **argv, int *at);
/* The value of the option at argv[*at], as text or as a number within bounds; steps to it. */
const char *text_value(int argc, char **argv, int *at);
uint64_t number_value(int argc, char **argv, int *at, uint64_t least, uint64_t most);
float float_value(int argc, char **argv, int *at);

/* fopen, with a path in UTF-8 on every system. */
FILE *open_file(const char *path, const char *mode);
/* rename, with paths in UTF-8 on every system, over a file that is there. */
int replace_file(const char *from, const char *to);
/* Makes a folder, unless it is there. */
void make_folder(const char *path);
/* A whole file, or standard input for "-". */
struct bytes read_file(const char *path);
/* malloc that does not return NULL. */
void *allocate(size_t bytes);

/* The path of the model: of the options, or of the demo model. */
const char *model_path(const struct common *options);
/* A runtime, and the model of the options on it. */
loquat_runtime *open_runtime(const struct common *options);
loquat_model *open_model(const struct common *options, const loquat_runtime *runtime, uint32_t vocab_only);
/* The tokens of a text. */
uint32_t *tokenize(const loquat_model *model, const char *text, size_t length, uint32_t flags, size_t *count);

/* From here on Ctrl-C does not end the program; whether it was pressed. */
void watch_interrupts(void);
int was_interrupted(void);
/* Polls a job to its end, with progress where stderr is a terminal; Ctrl-C cancels it. The status of the last poll. */
loquat_status run_job(loquat_job *job);

/* Puts numbers into ascending order. */
void sort_numbers(double *values, size_t count);
/* Percentile by nearest rank of sorted values: number ceil(n p / 100), counted from 1. `per_mille` is 10 p. */
double percentile(const double *sorted, size_t count, uint32_t per_mille);

/* Seconds of a monotonic clock. */
double seconds(void);
/* Does nothing for so many seconds. */
void pause_for(double seconds);
/* The most memory that the process has held, in bytes; 0 where the system does not say. */
uint64_t peak_rss_bytes(void);
/* Whether stderr is a terminal. */
int stderr_is_terminal(void);
/* Writes a text as a JSON string. */
void json_text(FILE *out, const char *text, size_t length);
/* Writes a number to 4 digits behind the point, or null where it is no number. */
void json_number(FILE *out, double number);

#endif
