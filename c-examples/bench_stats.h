/* The parts of bench_stats. */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include "common.h"

/* What is measured of speed (bench_speed.c). */
struct speed_plan {
    uint32_t prompt, generate, repeats, depth, sequences;
    uint64_t budget_ns; /* of a step; UINT64_MAX for none */
};

/* Measures it and prints a table or JSON; the status that the program ends with. */
int bench_speed(const struct common *common, const struct speed_plan *plan, int json);

/* What is measured with one of the library's own benchmarks (bench_suite.c). */
struct suite_plan {
    uint32_t kind;         /* a LOQUAT_BENCH_ number */
    int gate;              /* whether it has limits that are to be kept */
    const char *baseline;  /* the path of a stored result to be compared with; NULL for none */
    const char *reference; /* of quality: the path of the reference model, */
    const char *text;      /* and of a text */
};

/* Where its result goes. */
struct suite_output {
    int json;         /* JSON on stdout instead of a table */
    const char *file; /* and into this file; NULL for none */
};

/* Runs a benchmark, with progress on stderr where that is a terminal, and hands its result out. With a baseline, what is printed is the comparison
 * of the two instead. Returns the status that the program ends with: 3 where there is a gate or a baseline and the verdict is a failure; 130 where
 * Ctrl-C ended it, and nothing was handed out. `options` keep the reference of a benchmark of quality. */
int bench_suite(const struct common *common, const struct suite_plan *plan, loquat_bench_options *options, const struct suite_output *output);

/* Runs several benchmarks and writes a page about them, and each as JSON, into a folder, which is made where it is not there. Status 130 as above. */
int bench_report(const struct common *common, const loquat_bench_options *options, const char *folder);

/* Loads the model, prints a token, and lets go of everything. */
int bench_first_token(const struct common *common);

/* Compares two stored results; as above. */
int bench_compare(const char *baseline, const char *current, const loquat_bench_options *options, const struct suite_output *output);

#endif
