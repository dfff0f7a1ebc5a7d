/*
 * loquat.h - language models inside your program.
 *
 * Generated from src/ffi; do not edit. C99 and C++17.
 *
 * Objects.  A runtime (threads, memory budget) loads models (weights, tokenizer); a model opens sessions (one conversation each).
 *   All are opaque. What a _new or _load function stores through its output pointer is yours: give it back with the _free function of
 *   its kind. The order of freeing does not matter, because a session keeps its model and a model its runtime; freeing NULL does
 *   nothing. When the last object of a runtime is freed, its threads have ended and its memory is returned.
 *
 * Errors.  Every call that can fail returns a loquat_status: negative is an error. Such a call takes, as its last argument, the
 *   address of a `loquat_error *`, or NULL. On an error it stores an object there that tells more and that you free with
 *   loquat_error_free; otherwise it leaves the variable alone. Other outputs are written only on success. There is no errno, no
 *   "last error". Besides the statuses that a declaration names, any call may return LOQUAT_INVALID_HANDLE, LOQUAT_INVALID_ARGUMENT (NULL
 *   where it is not allowed, a number out of range), LOQUAT_BUSY, LOQUAT_POISONED, LOQUAT_OUT_OF_MEMORY and LOQUAT_INTERNAL.
 *   The library never ends the process, installs no signal handlers, and prints nothing.
 *
 * Threads.  A call that takes `const T *` may run on many threads at once. A call that takes `T *` needs the object for itself: while it
 *   runs, other calls on the same object return LOQUAT_BUSY and do nothing, except those that say "at any time" (cancel,
 *   metrics). Freeing must come after all other uses. Any thread may use any object: nothing is tied to the thread that made it.
 *
 * Memory.  Buffers, structs and texts that you pass are yours and are read or written only during the call, except where a declaration
 *   says "lent". A pointer that the library gives out says how long it lives.
 *
 * Text.  UTF-8 as pointer and length; no NUL is needed at the end, and NUL may stand inside. (NULL, 0) is an empty text. A call that
 *   fills a buffer takes its capacity and the address of a length (or NULL): it stores the length of the result, and where that is more
 *   than the capacity it returns LOQUAT_BUFFER_TOO_SMALL and leaves the buffer alone. So (NULL, 0) asks for the length. No NUL is added.
 *
 * Structs.  Those that the library fills begin with struct_size: set it to sizeof the struct before the call. Later versions only append
 *   fields, so that a program and a library of different ages understand each other. A figure that is not available has all its bits
 *   set: UINT64_MAX, UINT32_MAX, NaN. Numbers that stand for one of several choices are uint32_t and checked.
 */
#ifndef LOQUAT_H
#define LOQUAT_H

#include <stddef.h>
#include <stdint.h>

/* The compiler warns where the result of a call that can fail is not looked at. */
#if defined(__cplusplus) && __cplusplus >= 201703L
#define LOQUAT_MUST_USE [[nodiscard]]
#elif defined(__GNUC__)
#define LOQUAT_MUST_USE __attribute__((warn_unused_result))
#else
#define LOQUAT_MUST_USE
#endif
