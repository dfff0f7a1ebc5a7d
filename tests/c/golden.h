/* A prompt of the demo model and how the model goes on, by token ids. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include <stdint.h>

/* "<|im_start|>user\nWho sells a rope?<|im_end|>\n<|im_start|>assistant\n" */
static const uint32_t PROMPT[] = {1, 309, 201, 986, 903, 261, 706, 33, 2, 201, 1, 310, 201};
static const uint32_t GOLDEN[] = {49, 509, 262, 789, 903, 261, 706, 345, 941, 383, 14, 319};
#define PROMPT_LENGTH (sizeof PROMPT / sizeof *PROMPT)
#define GOLDEN_LENGTH (sizeof GOLDEN / sizeof *GOLDEN)

#endif
