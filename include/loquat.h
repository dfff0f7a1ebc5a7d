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
 *   runs, other calls on the same object return LOQUAT_BUSY and do nothing, except those marked "at any time" (cancel, progress,
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

#ifdef __cplusplus
extern "C" {
#endif

/* ===========================================================================
 * Version
 *
 * The LOQUAT_VERSION_ macros are the version of this header; the functions are the version of the library that is loaded. A library
 * whose loquat_abi_version() equals LOQUAT_ABI_VERSION serves programs that were compiled with this header, whichever of the two is newer.
 * ======================================================================== */

/** The version of the binary interface. It is also the number in the name of the shared library (libloquat.so.0). */
#define LOQUAT_ABI_VERSION 0

/** The first part of the version of this header. */
#define LOQUAT_VERSION_MAJOR 0

/** The second part of the version of this header. */
#define LOQUAT_VERSION_MINOR 1

/** The third part of the version of this header. */
#define LOQUAT_VERSION_PATCH 0

/**
 * The version of the binary interface of the loaded library: compare with LOQUAT_ABI_VERSION.
 *
 * Never fails. Any thread.
 */
uint32_t loquat_abi_version(void);

/**
 * The version of the loaded library as text, "0.1.0".
 *
 * Never fails. The string is static and ends with NUL. Any thread.
 */
const char *loquat_version(void);

/* ===========================================================================
 * Statuses
 *
 * Every call that can fail returns one of these numbers. Zero and the positive ones are outcomes; the negative ones are errors. A
 * number never changes its meaning and is never given away again.
 * ======================================================================== */

/** Done as asked. */
#define LOQUAT_OK 0

/** A step produced a token; the event describes it. */
#define LOQUAT_TOKEN 1

/** The budget of the step is used up; the next step goes on from there. Nothing is lost. */
#define LOQUAT_PENDING 2

/** The turn is over, or there is nothing to do; the event says why. */
#define LOQUAT_DONE 3

/** loquat_session_cancel was called. The session is valid and the next step goes on. */
#define LOQUAT_CANCELLED 4

/** The buffer holds fewer elements than the result has. The length that is needed was returned, the buffer was not touched. */
#define LOQUAT_BUFFER_TOO_SMALL 5

/** There is nothing of that name or at that index. Outputs were not touched. */
#define LOQUAT_NOT_FOUND 6

/**
 * An argument is outside its range, NULL where that is not allowed, not UTF-8 where text is asked, or the call makes no sense in
 * the present state.
 */
#define LOQUAT_INVALID_ARGUMENT (-1)

/** The handle is NULL, or points to something that is not a live object of the right kind. */
#define LOQUAT_INVALID_HANDLE (-2)

/** The operating system refused: file not found, permission, read failure. */
#define LOQUAT_IO (-3)

/** A file (model, tokenizer, template) contradicts its own format. The message names the place. */
#define LOQUAT_INVALID_FILE (-4)

/** A well-formed thing that this version can't run. The message names it. */
#define LOQUAT_UNSUPPORTED (-5)

/** The memory budget of the runtime, or the system, has no room for it. Nothing was changed. */
#define LOQUAT_OUT_OF_MEMORY (-6)

/** The context of the session has no room for more tokens. Nothing was changed. */
#define LOQUAT_CONTEXT_FULL (-7)

/** Another thread is using the handle in a way that excludes this call. Nothing was done. */
#define LOQUAT_BUSY (-8)

/** An earlier internal error left the handle in an unknown state; only freeing it is allowed. */
#define LOQUAT_POISONED (-9)

/** The model computed logits that are NaN or infinite: a broken file or a numeric overflow. */
#define LOQUAT_NON_FINITE (-10)

/** The chat template can't be parsed, or it raised an exception. */
#define LOQUAT_TEMPLATE (-11)

/** A fault of this library. Please report it with the message. */
#define LOQUAT_INTERNAL (-12)

/** An option of that name does not exist. */
#define LOQUAT_UNKNOWN_OPTION (-13)

/** The outcome of a call: one of the constants above. Negative means that the call failed. */
typedef int32_t loquat_status;

/**
 * The name of a status, "LOQUAT_OK" for 0; "unknown status" for a number that this version does not have.
 *
 * Never fails. The string is static and ends with NUL. Any thread.
 */
const char *loquat_status_name(loquat_status status);

/* ===========================================================================
 * Errors
 *
 * The error object of a failed call: its status and a message for people.
 * ======================================================================== */

/**
 * What a failed call tells: a status and a message. Made by the library, freed by the host with loquat_error_free. Immutable: any
 * number of threads may read it at once.
 */
typedef struct loquat_error loquat_error;

/**
 * The status of the failed call; LOQUAT_OK for NULL.
 *
 * Never fails. Any thread.
 */
loquat_status loquat_error_status(const loquat_error *error);

/**
 * The message: UTF-8, for people, subject to change. It ends with NUL and lives as long as the error object. "" for NULL.
 *
 * Never fails. Any thread.
 */
const char *loquat_error_message(const loquat_error *error);

/** Frees an error object. NULL is fine. */
void loquat_error_free(loquat_error *error);

#ifdef __cplusplus
}
#endif

#endif /* LOQUAT_H */
