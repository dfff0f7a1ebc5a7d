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

/* Where the result of one of the library's own benchmarks goes (bench_suite.c). */
struct suite_output {
    int json;         /* JSON on stdout instead of a table */
    const char *file; /* and into this file; NULL for none */
};

/* Runs a benchmark of the kind that a LOQUAT_BENCH_ number says, with progress on stderr where that is a terminal, and hands its result out. With
 * a `baseline`, the path of a stored result, what is printed is the comparison of the two instead. Returns the status that the program ends
 * with: 3 where `gate` is not 0, or there is a baseline, and the verdict is a failure; 130 where Ctrl-C ended it, and nothing was handed out. */
int bench_suite(const struct common *common, uint32_t kind, const loquat_bench_options *options, int gate, const char *baseline,
                const struct suite_output *output);

/* Compares two stored results; as above. */
int bench_compare(const char *baseline, const char *current, const loquat_bench_options *options, const struct suite_output *output);

#endif
