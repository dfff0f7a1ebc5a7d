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

/** The budget of the step or poll is used up; the next one goes on from there. Nothing is lost. Of a stream: there is no event yet. */
#define LOQUAT_PENDING 2

/** The turn is over, or there is nothing to do; the event says why. Of a job: the result is there. */
#define LOQUAT_DONE 3

/** A cancel function was called. The session is valid and the next step goes on. Of a job: it was given up, also by its deadline. */
#define LOQUAT_CANCELLED 4

/** The buffer holds fewer elements than the result has. The length that is needed was returned, the buffer was not touched. */
#define LOQUAT_BUFFER_TOO_SMALL 5

/** There is nothing of that name or at that index. Outputs were not touched. */
#define LOQUAT_NOT_FOUND 6

/** Nothing is left to do: no session of the batch has work. */
#define LOQUAT_IDLE 7

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

/* ===========================================================================
 * Runtime
 *
 * Threads, the memory budget, the log. A process may have several runtimes; they share nothing.
 * ======================================================================== */

/** Level of a log message: for people who debug the library. */
#define LOQUAT_LOG_DEBUG 0

/** Level of a log message: what was loaded, with which settings. */
#define LOQUAT_LOG_INFO 1

/** Level of a log message: something that the host may want to change. */
#define LOQUAT_LOG_WARNING 2

/** Threads, memory and log for models and sessions. Any number of threads may use it at once. */
typedef struct loquat_runtime loquat_runtime;

/** How a runtime is to be made. Later changes do not reach runtimes that were made from it. */
typedef struct loquat_runtime_options loquat_runtime_options;

/**
 * Receives log messages: `length` bytes of UTF-8 without a NUL at the end, valid during the call only. It may be called on any
 * thread, on several at once; it must not call the library.
 */
typedef void (*loquat_log_fn)(void *user_data, uint32_t level, const char *message, size_t length);

/** Memory of a runtime in bytes: what its models and sessions hold, by category. */
typedef struct loquat_memory {
    /** Set by the caller to sizeof(loquat_memory). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t reserved;
    /** Model files mapped read-only. Shared with the page cache of the system and not held against the limit. */
    uint64_t weights_mapped;
    /** Weights in private memory. */
    uint64_t weights_private;
    /** Key/value caches of sessions. */
    uint64_t kv_cache;
    /** Working memory of sessions and threads. */
    uint64_t scratch;
    /** Tokenizer tables, sampler buffers and the rest. */
    uint64_t other;
    /** All but the mapped weights. */
    uint64_t private_total;
    /** The largest value that private_total has had. */
    uint64_t private_peak;
    /** The limit on private_total; UINT64_MAX for none. */
    uint64_t limit;
} loquat_memory;

/** New options: one thread for each core, no memory limit, no log. */
LOQUAT_MUST_USE loquat_status loquat_runtime_options_new(loquat_runtime_options **options, loquat_error **error);

/** Frees options. NULL is fine. */
void loquat_runtime_options_free(loquat_runtime_options *options);

/**
 * How many threads compute, the one that calls loquat_session_step included: 0 for one per core, 1 for the caller's alone (the
 * library then starts no thread).
 */
LOQUAT_MUST_USE
loquat_status loquat_runtime_options_set_threads(loquat_runtime_options *options,
                                                 uint32_t threads,
                                                 loquat_error **error);

/**
 * The most private memory, in bytes, that models and sessions of the runtime may hold together; UINT64_MAX for no limit. What would pass
 * it fails with LOQUAT_OUT_OF_MEMORY.
 */
LOQUAT_MUST_USE
loquat_status loquat_runtime_options_set_memory_limit(loquat_runtime_options *options,
                                                      uint64_t bytes,
                                                      loquat_error **error);

/**
 * Has messages of `least_level` (a LOQUAT_LOG_ number) and above sent to `log`, with `user_data`; NULL turns the log off. Steps do not log.
 *
 * Lent: `user_data` must live until the runtime and everything that was made with it is freed.
 */
LOQUAT_MUST_USE
loquat_status loquat_runtime_options_set_log(loquat_runtime_options *options,
                                             loquat_log_fn log,
                                             void *user_data,
                                             uint32_t least_level,
                                             loquat_error **error);

/**
 * Sets an option by name, for configuration files and for what has no function of its own.
 *
 * "threads" (a number, or "all"), "memory_limit" (bytes), "isa" (instruction set: "portable", "avx2", "avx512",
 * "avx512vnni", "amx", "neon", "dotprod", "i8mm"; one that the machine lacks is an error when the runtime is made), "metrics" (switch, on as a rule:
 * whether sessions record what their steps cost; off, their counts stay 0 and loquat_runtime_metrics_json says "recording": false).
 * LOQUAT_UNKNOWN_OPTION for another key.
 */
LOQUAT_MUST_USE
loquat_status loquat_runtime_options_set(loquat_runtime_options *options,
                                         const char *key,
                                         size_t key_length,
                                         const char *value,
                                         size_t value_length,
                                         loquat_error **error);

/**
 * Makes a runtime and starts its threads. `options` may be NULL for the defaults; they are not kept.
 *
 * LOQUAT_UNSUPPORTED for an instruction set that the machine lacks; LOQUAT_IO where the system gives no thread.
 */
LOQUAT_MUST_USE
loquat_status loquat_runtime_new(const loquat_runtime_options *options,
                                 loquat_runtime **runtime,
                                 loquat_error **error);

/** Frees the host's hold on a runtime. Its threads end when its last model and session are freed too. NULL is fine. */
void loquat_runtime_free(loquat_runtime *runtime);

/** Stores how many threads compute, the calling one included. */
LOQUAT_MUST_USE loquat_status loquat_runtime_threads(const loquat_runtime *runtime, uint32_t *threads, loquat_error **error);

/**
 * Fills `buffer` with the name of the instruction set that the runtime computes with ("avx512", "dotprod", "portable").
 *
 * LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_runtime_isa(const loquat_runtime *runtime,
                                 char *buffer,
                                 size_t capacity,
                                 size_t *length,
                                 loquat_error **error);

/** Fills `memory` with what the models and sessions of the runtime hold now. */
LOQUAT_MUST_USE
loquat_status loquat_runtime_get_memory(const loquat_runtime *runtime,
                                        loquat_memory *memory,
                                        loquat_error **error);

/* ===========================================================================
 * The host's threads and memory
 *
 * For hosts with a job system or an allocator of their own: threads that work on steps, a say in the threads that the library
 * starts, and large blocks of memory. All of it is chosen when a runtime is made.
 * ======================================================================== */

/** What the library has the host's threads do: its part of a step. `context` and `index` are passed on as they came. */
typedef void (*loquat_body_fn)(void *context, uint32_t index);

/**
 * Calls `body(context, index)` once for each index below `count`, on several of the host's threads at once as far as it can, and returns
 * when those calls have returned. The calling thread may make some of the calls. See loquat_runtime_options_set_parallel_for.
 */
typedef void (*loquat_parallel_for_fn)(void *user_data, uint32_t count, loquat_body_fn body, void *context);

/** Called on a worker thread of the library. `index` is the number of the worker among those of its runtime, from 1 on. */
typedef void (*loquat_thread_fn)(void *user_data, uint32_t index);

/**
 * Gives a block of `size` bytes at an address that is a multiple of `alignment`, or NULL where there is none. `size` is not 0, `alignment` a
 * power of two.
 */
typedef void *(*loquat_alloc_fn)(void *user_data, size_t size, size_t alignment);

/** Takes back a block that the loquat_alloc_fn gave for this `size` and `alignment`. */
typedef void (*loquat_dealloc_fn)(void *user_data, void *block, size_t size, size_t alignment);

/**
 * Has steps worked on by threads of the host: a job system, a thread pool. The runtime starts no threads then. NULL (the default) for threads of
 * the runtime. loquat_runtime_options_set_threads says how many threads are to work at once, the one that calls loquat_session_step
 * included; with 1 `parallel_for` is never called. The results are the same, bit for bit, whoever computes them.
 *
 * When: each step calls it once or a few times, on the thread that steps; several threads at once where several step at once. `count` is the
 * number of threads, or the session's own limit where that is lower.
 *
 * What a body does: it takes one small piece of the step's work after the other, and returns when there is none left or the step is to
 * stop (budget used up, cancelled), at most one piece later. While all pieces that can be done are in other threads' hands it waits for
 * them, awake and yielding the processor: it blocks on nothing, and it never waits for a body to *begin*. So bodies may run at the same time,
 * one after the other on one thread, or nested in other work of a job system, and all of them end.
 *
 * What may go wrong: nothing but speed. The thread that steps does what is left, also where bodies are not called at all, or fewer of them. A
 * body that is called when the step is over returns at once, so `parallel_for` may also return without waiting, as a queue of jobs does:
 * the thread that steps works meanwhile, and bodies come when they come. Do that where your threads may be busy for long: a `parallel_for`
 * that waits for its last body to begin makes the step wait, whatever its budget. But each call of a body must have returned before
 * the session or batch that was stepped is freed.
 *
 * `parallel_for` must not call the library for the session that is stepped (LOQUAT_BUSY), throw an exception or jump out. Bodies throw
 * nothing; an internal error in one is the step's LOQUAT_INTERNAL. A body needs 64 KiB of stack, and computes in the standard
 * floating-point mode (it puts the thread's own back).
 *
 * Lent: `user_data` must live until the runtime and everything that was made with it is freed.
 */
LOQUAT_MUST_USE
loquat_status loquat_runtime_options_set_parallel_for(loquat_runtime_options *options,
                                                      loquat_parallel_for_fn parallel_for,
                                                      void *user_data,
                                                      loquat_error **error);

/**
 * Has each worker thread of the runtime call `start` before it does anything else, and `end` when it has nothing more to do: to name it, to give
 * it a priority or processors, to register it with a profiler. Either may be NULL. Without them threads are called "loquat-1" and so on.
 *
 * loquat_runtime_new returns after all calls of `start` have returned. `end` is called within the call that frees the last object of
 * the runtime. Both may run on several threads at once. They must not call the library, throw an exception or end the thread.
 *
 * Lent: `user_data` must live until the runtime and everything that was made with it is freed.
 */
LOQUAT_MUST_USE
loquat_status loquat_runtime_options_set_thread_hooks(loquat_runtime_options *options,
                                                      loquat_thread_fn start,
                                                      loquat_thread_fn end,
                                                      void *user_data,
                                                      loquat_error **error);

/**
 * Has large blocks of memory come from the host: key/value caches, working memory of sessions, model files that are read
 * (LOQUAT_ACCESS_READ), tables of samplers. Small things (names, lists, tokenizer tables) and mapped files do not. NULL and NULL (the default)
 * for the system's memory. The memory limit counts blocks of either kind. (Of small things the system must have enough: where it refuses
 * a few bytes to the C library's malloc, Rust's run time ends the process.)
 *
 * `alloc` may refuse: the call that needs the block then returns LOQUAT_OUT_OF_MEMORY, holds none of what it took, and has changed nothing. A
 * block that is not aligned is given back, and the call returns LOQUAT_INVALID_ARGUMENT. `zeroed`: 1 if the blocks are filled with
 * zeros, 0 if the library is to fill them. Steps ask for no blocks but those of a cache that is to grow
 * (loquat_session_options_set_reserve). Each block is given back, to `dealloc`, at the latest when the last
 * object of the runtime is freed.
 *
 * Both are called on any thread that calls the library, on several at once. They must not call the library, throw an exception or jump out.
 *
 * Lent: `user_data` must live until the runtime and everything that was made with it is freed.
 */
LOQUAT_MUST_USE
loquat_status loquat_runtime_options_set_allocator(loquat_runtime_options *options,
                                                   loquat_alloc_fn alloc,
                                                   loquat_dealloc_fn dealloc,
                                                   uint32_t zeroed,
                                                   void *user_data,
                                                   loquat_error **error);

/**
 * Gives back memory that is kept in case it is needed again, and asks the C library to return free pages of the process to the system
 * (where it is glibc). Nothing that a model or session needs goes away. Stores in `*bytes` how much of the runtime's own memory was given
 * back; `bytes` may be NULL. May take milliseconds. Any thread, also while sessions step.
 */
LOQUAT_MUST_USE loquat_status loquat_runtime_trim(const loquat_runtime *runtime, uint64_t *bytes, loquat_error **error);

/* ===========================================================================
 * Model
 *
 * A model file in memory: weights, tokenizer, metadata. Immutable, and shared by any number of sessions.
 * ======================================================================== */

/**
 * Map the file: nothing is copied, pages are read when they are needed and shared with other processes. The file must not be
 * truncated or overwritten while the model lives; the system may end the process then (SIGBUS).
 */
#define LOQUAT_ACCESS_MAP 0

/**
 * Read the file into private memory: slower to load, counted in the memory limit, independent of the file afterwards. Where the system
 * gives large pages on request (Linux), tokens come faster with few threads.
 */
#define LOQUAT_ACCESS_READ 1

/** Stands where there is no such token. */
#define LOQUAT_NO_TOKEN UINT32_MAX

/** A loaded model. Any number of threads and sessions may use it at once. */
typedef struct loquat_model loquat_model;

/** How a model is to be loaded. Later changes do not reach models that were loaded with it. */
typedef struct loquat_model_options loquat_model_options;

/** Tells the host that the bytes it lent are no longer used. May be called from any thread; it must not call the library. */
typedef void (*loquat_release_fn)(void *user_data);

/** The shape of a model. What only the weights tell is UINT32_MAX where they are not loaded. */
typedef struct loquat_model_info {
    /** Set by the caller to sizeof(loquat_model_info). */
    uint32_t struct_size;
    /** Number of tokens in the vocabulary; also the number of logits. */
    uint32_t vocab_size;
    /** Tokens of context that the model was trained for. */
    uint32_t context_length;
    /** Number of layers. */
    uint32_t layers;
    /** Width of the hidden state. */
    uint32_t embedding_length;
    /** Number of attention heads. */
    uint32_t heads;
    /** Number of key/value heads. */
    uint32_t kv_heads;
    /** Token that begins a text, or LOQUAT_NO_TOKEN. */
    uint32_t bos_token;
    /** Token that ends a text, or LOQUAT_NO_TOKEN. Others may end generation too: see loquat_model_token_attributes. */
    uint32_t eos_token;
    /** 1 if the weights are loaded, 0 if only the vocabulary is. */
    uint32_t has_weights;
    /** Number of parameters: elements of all tensors. */
    uint64_t parameters;
    /** Bytes of all tensors in the file. */
    uint64_t tensor_bytes;
} loquat_model_info;

/** What a model keeps for sessions that begin alike, and has done with it. */
typedef struct loquat_prefix_cache {
    /** Set by the caller to sizeof(loquat_prefix_cache). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t reserved;
    /** Bytes of key/value cache that are kept; live sessions may share them. */
    uint64_t bytes;
    /** The most bytes that may be kept. */
    uint64_t limit;
    /** Tokens that sessions took from it instead of computing them. */
    uint64_t reused_tokens;
    /** Pages (of 32 tokens) that are kept. */
    uint64_t pages;
    /** Pages that were let go for others. */
    uint64_t evicted_pages;
} loquat_prefix_cache;

/** New options: map the file, load everything. */
LOQUAT_MUST_USE loquat_status loquat_model_options_new(loquat_model_options **options, loquat_error **error);

/** Frees options. NULL is fine. */
void loquat_model_options_free(loquat_model_options *options);

/** How the file is read: LOQUAT_ACCESS_MAP (default) or LOQUAT_ACCESS_READ. */
LOQUAT_MUST_USE loquat_status loquat_model_options_set_access(loquat_model_options *options, uint32_t access, loquat_error **error);

/** 1 to load the tokenizer and metadata only: such a model can't have sessions. Default 0. */
LOQUAT_MUST_USE
loquat_status loquat_model_options_set_vocab_only(loquat_model_options *options,
                                                  uint32_t vocab_only,
                                                  loquat_error **error);

/**
 * The most bytes of key/value cache that the model keeps for sessions that begin like earlier ones (a common system prompt), 0 for none;
 * default 64 MiB. What live sessions share is counted too. It is let go where the runtime's memory is short.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_options_set_prefix_cache(loquat_model_options *options,
                                                    uint64_t bytes,
                                                    loquat_error **error);

/**
 * The types that the tensors are put into while the model is loaded, by a name that loquat_quantize_options_set_type() takes, such as "Q4_K_M"
 * or "Q8_0"; "none" (the default) to compute with them as they are. A model whose files hold 16-bit floats then takes
 * half of the memory or less and generates faster, with the loss of quality of that type.
 *
 * The tensors are read from the file, quantised on the runtime's threads (a stage "quantising" of the job) and kept in private memory, which
 * the runtime's limit holds and loquat_model_estimate() knows. To quantise once and load often, write a file with loquat_quantize_start().
 * With LOQUAT_ACCESS_READ the bytes of a GGUF file stay in memory beside them: map it. Tensors of 8-bit floats are converted one by one: each
 * needs 4 bytes for each of its weights until it is quantised, which the estimate leaves out.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_options_set_quantize(loquat_model_options *options,
                                                const char *name,
                                                size_t name_length,
                                                loquat_error **error);

/**
 * Sets an option by name: "access" ("map", "read"), "vocab_only", "prefix_cache" (bytes), "quantize" (a type or "none"). LOQUAT_UNKNOWN_OPTION for
 * another key.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_options_set(loquat_model_options *options,
                                       const char *key,
                                       size_t key_length,
                                       const char *value,
                                       size_t value_length,
                                       loquat_error **error);

/**
 * Loads a model: a GGUF file (or any of those of a model in several files, NAME-00001-of-00003.gguf, beside each other), an APR file (version 2), a
 * folder as Hugging Face's libraries write it (config.json, safetensors, tokenizer.json), or a safetensors file in such a folder. `path` is UTF-8
 * on every system. `options` may be NULL for the defaults; they are not kept. Blocks until
 * the model is there; loquat_model_load_start does the same in slices.
 *
 * LOQUAT_IO, LOQUAT_INVALID_FILE, LOQUAT_UNSUPPORTED (an architecture, tensor type or tokenizer that this version lacks; the message names
 * it), LOQUAT_OUT_OF_MEMORY.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_load(const loquat_runtime *runtime,
                                const char *path,
                                size_t path_length,
                                const loquat_model_options *options,
                                loquat_model **model,
                                loquat_error **error);

/**
 * Loads a model from memory that the host lends. Nothing is copied where the alignment of the data allows it.
 *
 * Lent: `data` must stay as it is until `release` is called with `user_data`. That happens exactly once, when the last object that uses the
 * bytes is gone: after the model and its sessions are freed, or before this call returns where it fails. `release` may be NULL. Where `data` or `model` is
 * NULL the call fails and `release` is not called.
 *
 * Statuses as loquat_model_load.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_load_buffer(const loquat_runtime *runtime,
                                       const uint8_t *data,
                                       size_t length,
                                       loquat_release_fn release,
                                       void *user_data,
                                       const loquat_model_options *options,
                                       loquat_model **model,
                                       loquat_error **error);

/** Frees the host's hold on a model. The weights go when its last session is freed too. NULL is fine. */
void loquat_model_free(loquat_model *model);

/** Fills `info` with the shape of the model. */
LOQUAT_MUST_USE loquat_status loquat_model_get_info(const loquat_model *model, loquat_model_info *info, loquat_error **error);

/**
 * Fills `buffer` with a line about the model for people: architecture, size, type of the weights.
 *
 * LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_description(const loquat_model *model,
                                       char *buffer,
                                       size_t capacity,
                                       size_t *length,
                                       loquat_error **error);

/** Fills `cache` with what the model keeps for sessions that begin alike. At any time, from any thread. */
LOQUAT_MUST_USE
loquat_status loquat_model_get_prefix_cache(const loquat_model *model,
                                            loquat_prefix_cache *cache,
                                            loquat_error **error);

/** Lets go of all that the model keeps for sessions that begin alike. Sessions keep what they share. At any time, from any thread. */
LOQUAT_MUST_USE loquat_status loquat_model_clear_prefix_cache(const loquat_model *model, loquat_error **error);

/* ===========================================================================
 * Job
 *
 * Long work that the host drives: it polls with a time budget, watches the progress, may cancel. The thread that polls does the work; no
 * thread is started. Loading a model is such work, benchmarking one, and quantising a file; the calls that block are the same work without a pause.
 * ======================================================================== */

/** State of a job: there is work left. */
#define LOQUAT_JOB_RUNNING 0

/** State of a job: the result is there, or was taken. */
#define LOQUAT_JOB_FINISHED 1

/** State of a job: the work failed; each poll says how. */
#define LOQUAT_JOB_FAILED 2

/** State of a job: it was given up because loquat_job_cancel was called. */
#define LOQUAT_JOB_CANCELLED 3

/** State of a job: it was given up because its deadline passed. */
#define LOQUAT_JOB_EXPIRED 4

/** Long work in progress, or its result. */
typedef struct loquat_job loquat_job;

/** How far a job has come. */
typedef struct loquat_job_progress {
    /** Set by the caller to sizeof(loquat_job_progress). */
    uint32_t struct_size;
    /** A LOQUAT_JOB_ number: how the job stood when it was last polled. */
    uint32_t state;
    /**
     * The share of the work that is done, from 0 to 1, weighed by the times that the stages usually take. It never falls, and is 1 when the job
     * has finished.
     */
    float progress;
    /** Zero. */
    uint32_t reserved;
    /**
     * What is being done, in one word of English: for a model "file", "metadata", "tokenizer", "weights"; for other work see loquat_bench_start and
     * loquat_quantize_start. Static, ends with NUL.
     */
    const char *stage;
    /**
     * Where the job was given up or has failed: bytes of private memory that it had written and has not given back yet, as of the last poll. Polls
     * give them back, each for its budget; loquat_job_free gives back at once what is left, which takes the system some tens of milliseconds for
     * each gigabyte. Else 0.
     */
    uint64_t held_bytes;
} loquat_job_progress;

/**
 * Begins to load a model file, as loquat_model_load does it. Nothing is done yet, not even looked for: that is the polls' work. The result is
 * taken with loquat_job_take_model. The job keeps its runtime.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_load_start(const loquat_runtime *runtime,
                                      const char *path,
                                      size_t path_length,
                                      const loquat_model_options *options,
                                      loquat_job **job,
                                      loquat_error **error);

/**
 * Begins to load a model from memory that the host lends, as loquat_model_load_buffer does it.
 *
 * Lent: `data` must stay as it is until `release` is called with `user_data`. That happens exactly once: when the job is given up, fails or is
 * freed before its result was taken; else when the model and its sessions are gone; or before this call returns where it fails. Where `data`
 * or `job` is NULL the call fails and `release` is not called.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_load_buffer_start(const loquat_runtime *runtime,
                                             const uint8_t *data,
                                             size_t length,
                                             loquat_release_fn release,
                                             void *user_data,
                                             const loquat_model_options *options,
                                             loquat_job **job,
                                             loquat_error **error);

/**
 * Works on the job for about `budget_ns` nanoseconds, on the calling thread. 0 does one piece of work (some microseconds), UINT64_MAX goes on to
 * the end. It may take longer where the system has to bring a page of a file from the disk.
 *
 * LOQUAT_PENDING: there is work left, poll again. LOQUAT_DONE: the result is there. LOQUAT_CANCELLED: the job was given up, because it was
 * cancelled or its deadline has passed (loquat_job_get_progress tells). An error: the work failed, with the statuses of the call that does the same
 * at once. Where the job has ended, a poll says again how.
 *
 * What a job that was given up held is given back, but for a file that it had read into private memory: giving back a gigabyte takes the
 * system tens of milliseconds. That is the work of further polls, as long as loquat_job_progress has held_bytes above 0, or of loquat_job_free.
 */
LOQUAT_MUST_USE
loquat_status loquat_job_poll(loquat_job *job,
                              uint64_t budget_ns,
                              loquat_error **error);

/** Fills `progress` with how far the job has come. At any time, from any thread. */
LOQUAT_MUST_USE
loquat_status loquat_job_get_progress(const loquat_job *job,
                                      loquat_job_progress *progress,
                                      loquat_error **error);

/**
 * Has the job given up: the poll that runs now, or the next one, returns LOQUAT_CANCELLED. Without effect on a job that has ended. At any time,
 * from any thread.
 */
LOQUAT_MUST_USE
loquat_status loquat_job_cancel(const loquat_job *job,
                                loquat_error **error);

/**
 * Has the job given up where it has not ended in `ns` nanoseconds from now, whether it is polled or not; UINT64_MAX takes the deadline back. At
 * any time, from any thread.
 */
LOQUAT_MUST_USE
loquat_status loquat_job_set_deadline(const loquat_job *job,
                                      uint64_t ns,
                                      loquat_error **error);

/**
 * Takes the model out of a finished job that loads one. It is then yours, to be freed with loquat_model_free, and does not need the job any more.
 *
 * LOQUAT_INVALID_ARGUMENT where the job has not finished, its result was taken before, or it makes something else.
 */
LOQUAT_MUST_USE
loquat_status loquat_job_take_model(loquat_job *job,
                                    loquat_model **model,
                                    loquat_error **error);

/**
 * Frees a job: the work in progress is given up, a result that was not taken is dropped, and all that is left of them is given back at once
 * (see loquat_job_poll for what that may take). NULL is fine.
 */
void loquat_job_free(loquat_job *job);

/* ===========================================================================
 * Where a model comes from
 *
 * Model files that are not a path or a buffer: a part of an open file (an archive, a content provider), or bytes that only the host can
 * read (a package of a game, an encrypted store, a network).
 * ======================================================================== */

/**
 * Reads up to `length` bytes of a model file from `offset` on into `buffer` and returns how many: fewer than asked for are fine, 0 is the end,
 * a negative number is an error. It must not call the library.
 */
typedef int64_t (*loquat_read_fn)(void *user_data, uint64_t offset, uint8_t *buffer, size_t length);

/**
 * Loads a model from `length` bytes of an open file, from `offset` on, that are one whole model file (GGUF or APR). The descriptor is duplicated:
 * the host may close its own afterwards. Its file position is not used and not changed. `offset` need not be aligned for mapping, but tensors that
 * then lie at odd addresses are read more slowly.
 *
 * Statuses as loquat_model_load; LOQUAT_INVALID_ARGUMENT where the file has no such part; LOQUAT_UNSUPPORTED where the system has no
 * descriptors (Windows).
 */
LOQUAT_MUST_USE
loquat_status loquat_model_load_descriptor(const loquat_runtime *runtime,
                                           int32_t descriptor,
                                           uint64_t offset,
                                           uint64_t length,
                                           const loquat_model_options *options,
                                           loquat_model **model,
                                           loquat_error **error);

/** Begins to load a model as loquat_model_load_descriptor does it. The descriptor is duplicated at once. */
LOQUAT_MUST_USE
loquat_status loquat_model_load_descriptor_start(const loquat_runtime *runtime,
                                                 int32_t descriptor,
                                                 uint64_t offset,
                                                 uint64_t length,
                                                 const loquat_model_options *options,
                                                 loquat_job **job,
                                                 loquat_error **error);

/**
 * Loads a model from `length` bytes that `read` gives: one whole model file (GGUF or APR), from its first byte to its last, in this order, about
 * 256 KiB at a time. They are kept in private memory, whatever the access of the options. `read` is called on this thread, during this call only.
 *
 * Statuses as loquat_model_load; LOQUAT_IO where `read` fails or ends early.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_load_callback(const loquat_runtime *runtime,
                                         loquat_read_fn read,
                                         void *user_data,
                                         uint64_t length,
                                         const loquat_model_options *options,
                                         loquat_model **model,
                                         loquat_error **error);

/**
 * Begins to load a model as loquat_model_load_callback does it. `read` is called by loquat_job_poll, on the thread that polls, until the job
 * has ended or is freed; `user_data` must live as long.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_load_callback_start(const loquat_runtime *runtime,
                                               loquat_read_fn read,
                                               void *user_data,
                                               uint64_t length,
                                               const loquat_model_options *options,
                                               loquat_job **job,
                                               loquat_error **error);

/* ===========================================================================
 * Metadata
 *
 * What a model file says about itself: keys with typed values, in the order of the file. Values of arrays are read one by one, by index;
 * for a value that is no array the index is 0.
 * ======================================================================== */

/** Type of a metadata value: 8-bit unsigned integer. */
#define LOQUAT_VALUE_U8 0

/** Type of a metadata value: 8-bit signed integer. */
#define LOQUAT_VALUE_I8 1

/** Type of a metadata value: 16-bit unsigned integer. */
#define LOQUAT_VALUE_U16 2

/** Type of a metadata value: 16-bit signed integer. */
#define LOQUAT_VALUE_I16 3

/** Type of a metadata value: 32-bit unsigned integer. */
#define LOQUAT_VALUE_U32 4

/** Type of a metadata value: 32-bit signed integer. */
#define LOQUAT_VALUE_I32 5

/** Type of a metadata value: 32-bit float. */
#define LOQUAT_VALUE_F32 6

/** Type of a metadata value: truth value. */
#define LOQUAT_VALUE_BOOL 7

/** Type of a metadata value: text. */
#define LOQUAT_VALUE_STRING 8

/** Type of a metadata value: array. */
#define LOQUAT_VALUE_ARRAY 9

/** Type of a metadata value: 64-bit unsigned integer. */
#define LOQUAT_VALUE_U64 10

/** Type of a metadata value: 64-bit signed integer. */
#define LOQUAT_VALUE_I64 11

/** Type of a metadata value: 64-bit float. */
#define LOQUAT_VALUE_F64 12

/** Stores the number of keys. */
LOQUAT_MUST_USE loquat_status loquat_model_metadata_count(const loquat_model *model, uint64_t *count, loquat_error **error);

/**
 * Fills `buffer` with the key at `index`.
 *
 * LOQUAT_NOT_FOUND past the last key; LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_metadata_key(const loquat_model *model,
                                        uint64_t index,
                                        char *buffer,
                                        size_t capacity,
                                        size_t *length,
                                        loquat_error **error);

/**
 * Stores the type of a value and its number of elements. For an array the type is that of its elements (LOQUAT_VALUE_ARRAY: arrays in an
 * array, whose elements can't be read) and `*is_array` is 1; for other values the number is 1 and `*is_array` 0.
 *
 * LOQUAT_NOT_FOUND.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_metadata_type(const loquat_model *model,
                                         const char *key,
                                         size_t key_length,
                                         uint32_t *value_type,
                                         uint32_t *is_array,
                                         uint64_t *count,
                                         loquat_error **error);

/**
 * Stores an integer of any type that is not negative.
 *
 * LOQUAT_NOT_FOUND; LOQUAT_INVALID_ARGUMENT for a value of another kind or range.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_metadata_u64(const loquat_model *model,
                                        const char *key,
                                        size_t key_length,
                                        uint64_t index,
                                        uint64_t *value,
                                        loquat_error **error);

/**
 * Stores an integer of any type.
 *
 * LOQUAT_NOT_FOUND; LOQUAT_INVALID_ARGUMENT for a value of another kind or range.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_metadata_i64(const loquat_model *model,
                                        const char *key,
                                        size_t key_length,
                                        uint64_t index,
                                        int64_t *value,
                                        loquat_error **error);

/**
 * Stores a number of any type, rounded to the nearest double.
 *
 * LOQUAT_NOT_FOUND; LOQUAT_INVALID_ARGUMENT for a value of another kind.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_metadata_f64(const loquat_model *model,
                                        const char *key,
                                        size_t key_length,
                                        uint64_t index,
                                        double *value,
                                        loquat_error **error);

/**
 * Stores a truth value as 0 or 1.
 *
 * LOQUAT_NOT_FOUND; LOQUAT_INVALID_ARGUMENT for a value of another kind.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_metadata_bool(const loquat_model *model,
                                         const char *key,
                                         size_t key_length,
                                         uint64_t index,
                                         uint32_t *value,
                                         loquat_error **error);

/**
 * Fills `buffer` with a text as the file has it: usually UTF-8, but that is the file's affair.
 *
 * LOQUAT_NOT_FOUND; LOQUAT_BUFFER_TOO_SMALL; LOQUAT_INVALID_ARGUMENT for a value of another kind.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_metadata_string(const loquat_model *model,
                                           const char *key,
                                           size_t key_length,
                                           uint64_t index,
                                           char *buffer,
                                           size_t capacity,
                                           size_t *length,
                                           loquat_error **error);

/* ===========================================================================
 * Tensors
 *
 * The table of tensors of a model file.
 * ======================================================================== */

/** A tensor of a model file. */
typedef struct loquat_tensor {
    /** Set by the caller to sizeof(loquat_tensor). */
    uint32_t struct_size;
    /** How the elements are stored: the type's number in GGUF files. loquat_tensor_type_name names it. */
    uint32_t tensor_type;
    /** The number of dimensions, 1 to 4. */
    uint32_t dimensions;
    /** Which of the model's files it lies in, counted from 0. */
    uint32_t file;
    /** The dimensions, the contiguous one first: a matrix of r rows and c columns is c, r. 1 past the last dimension. */
    uint64_t size[4];
    /** Offset of the first byte from the start of that file. */
    uint64_t offset;
    /** Number of bytes. */
    uint64_t bytes;
} loquat_tensor;

/** Stores the number of tensors. */
LOQUAT_MUST_USE loquat_status loquat_model_tensor_count(const loquat_model *model, uint64_t *count, loquat_error **error);

/**
 * Fills `tensor` with the tensor at `index`, in the order of the file.
 *
 * LOQUAT_NOT_FOUND past the last one.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_get_tensor(const loquat_model *model,
                                      uint64_t index,
                                      loquat_tensor *tensor,
                                      loquat_error **error);

/**
 * Fills `buffer` with the name of the tensor at `index`.
 *
 * LOQUAT_NOT_FOUND past the last one; LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_tensor_name(const loquat_model *model,
                                       uint64_t index,
                                       char *buffer,
                                       size_t capacity,
                                       size_t *length,
                                       loquat_error **error);

/**
 * Stores the index of the tensor with a name.
 *
 * LOQUAT_NOT_FOUND.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_find_tensor(const loquat_model *model,
                                       const char *name,
                                       size_t name_length,
                                       uint64_t *index,
                                       loquat_error **error);

/**
 * Fills `buffer` with the name of a tensor type ("Q4_K").
 *
 * LOQUAT_NOT_FOUND for a number that names no type; LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_tensor_type_name(uint32_t tensor_type,
                                      char *buffer,
                                      size_t capacity,
                                      size_t *length,
                                      loquat_error **error);

/* ===========================================================================
 * Tokenizer
 *
 * Text to token ids and back, with the tokenizer of a model.
 * ======================================================================== */

/** Add what the model wants around a text: its beginning-of-sequence token and the like. */
#define LOQUAT_ADD_SPECIAL 1

/** Read the text of special tokens ("<|im_start|>") as those tokens. Without it they are plain text: right for what a user typed. */
#define LOQUAT_PARSE_SPECIAL 2

/** Leave special tokens out of the text. */
#define LOQUAT_SKIP_SPECIAL 1

/** The tokens go on from earlier ones: keep a leading space that the tokenizer would take for its own at the start of a text. */
#define LOQUAT_MIDDLE 2

/** Attribute of a token: generation ends with it. */
#define LOQUAT_TOKEN_END 1

/** Attribute of a token: special, not part of the text. */
#define LOQUAT_TOKEN_SPECIAL 2

/** Turns the tokens of one stream into text piece by piece, whole characters only. */
typedef struct loquat_detokenizer loquat_detokenizer;

/**
 * Fills `tokens` with the ids of a text. `flags`: LOQUAT_ADD_SPECIAL, LOQUAT_PARSE_SPECIAL.
 *
 * A text never has more tokens than bytes + 2. LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_tokenize(const loquat_model *model,
                                    const char *text,
                                    size_t text_length,
                                    uint32_t flags,
                                    uint32_t *tokens,
                                    size_t capacity,
                                    size_t *count,
                                    loquat_error **error);

/**
 * Fills `text` with the text of tokens. `flags`: LOQUAT_SKIP_SPECIAL, LOQUAT_MIDDLE.
 *
 * Bytes that are no UTF-8 (half a character at the end) come out as U+FFFD; a stream that goes on wants a loquat_detokenizer.
 * LOQUAT_BUFFER_TOO_SMALL; LOQUAT_INVALID_ARGUMENT for an id outside the vocabulary.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_detokenize(const loquat_model *model,
                                      const uint32_t *tokens,
                                      size_t count,
                                      uint32_t flags,
                                      char *text,
                                      size_t capacity,
                                      size_t *text_length,
                                      loquat_error **error);

/**
 * Fills `text` with how the vocabulary writes one token: the raw entry, with the tokenizer's own marks for spaces and bytes.
 *
 * LOQUAT_BUFFER_TOO_SMALL; LOQUAT_NOT_FOUND for an id outside the vocabulary.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_token_text(const loquat_model *model,
                                      uint32_t token,
                                      char *text,
                                      size_t capacity,
                                      size_t *text_length,
                                      loquat_error **error);

/**
 * Stores the attributes of a token, a set of LOQUAT_TOKEN_END and LOQUAT_TOKEN_SPECIAL.
 *
 * LOQUAT_NOT_FOUND for an id outside the vocabulary.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_token_attributes(const loquat_model *model,
                                            uint32_t token,
                                            uint32_t *attributes,
                                            loquat_error **error);

/**
 * A new stream of tokens to be turned into text. `flags`: LOQUAT_SKIP_SPECIAL, LOQUAT_MIDDLE. Free it with
 * loquat_detokenizer_free.
 */
LOQUAT_MUST_USE
loquat_status loquat_detokenizer_new(const loquat_model *model,
                                     uint32_t flags,
                                     loquat_detokenizer **detokenizer,
                                     loquat_error **error);

/** Frees a stream. NULL is fine. */
void loquat_detokenizer_free(loquat_detokenizer *detokenizer);

/**
 * Adds a token to the stream and stores what text is complete now: whole UTF-8 characters, perhaps none. The text is not
 * NUL-terminated and lives until the next call on the stream.
 *
 * LOQUAT_INVALID_ARGUMENT for an id outside the vocabulary.
 */
LOQUAT_MUST_USE
loquat_status loquat_detokenizer_push(loquat_detokenizer *detokenizer,
                                      uint32_t token,
                                      const char **text,
                                      size_t *text_length,
                                      loquat_error **error);

/** Ends the stream and stores the rest: U+FFFD where the tokens ended inside a character. The stream can then be used afresh. */
LOQUAT_MUST_USE
loquat_status loquat_detokenizer_finish(loquat_detokenizer *detokenizer,
                                        const char **text,
                                        size_t *text_length,
                                        loquat_error **error);

/* ===========================================================================
 * Chat
 *
 * Messages, and the prompt that the model's own template makes of them.
 * ======================================================================== */

/**
 * A list of messages with the template of a model, each with a role ("system", "user", "assistant", whatever the template knows) and a
 * text.
 */
typedef struct loquat_chat loquat_chat;

/**
 * A new empty list for a model. Free it with loquat_chat_free.
 *
 * LOQUAT_INVALID_ARGUMENT for a model without a template; LOQUAT_TEMPLATE for a template that can't be parsed.
 */
LOQUAT_MUST_USE loquat_status loquat_chat_new(const loquat_model *model, loquat_chat **chat, loquat_error **error);

/** Frees a list. NULL is fine. */
void loquat_chat_free(loquat_chat *chat);

/** Adds a message at the end. Both texts are copied. */
LOQUAT_MUST_USE
loquat_status loquat_chat_add(loquat_chat *chat,
                              const char *role,
                              size_t role_length,
                              const char *content,
                              size_t content_length,
                              loquat_error **error);

/** Removes all messages. */
LOQUAT_MUST_USE loquat_status loquat_chat_clear(loquat_chat *chat, loquat_error **error);

/**
 * Fills `prompt` with the messages as the template writes them; `generation_prompt` is 1 to end with the beginning of the assistant's
 * turn, else 0. Give the result to loquat_session_append_text with LOQUAT_PARSE_SPECIAL.
 *
 * LOQUAT_BUFFER_TOO_SMALL; LOQUAT_TEMPLATE where the template raises an exception (its message is the error's).
 */
LOQUAT_MUST_USE
loquat_status loquat_chat_render(const loquat_chat *chat,
                                 uint32_t generation_prompt,
                                 char *prompt,
                                 size_t capacity,
                                 size_t *prompt_length,
                                 loquat_error **error);

/* ===========================================================================
 * Session options
 *
 * What can be chosen when a session is made: context, cache, sampling, and where a turn ends.
 * ======================================================================== */

/** Element type of the key/value cache: 32-bit floats. (The numbers are those of tensor types in GGUF files.) */
#define LOQUAT_KV_F32 0

/** Element type of the key/value cache: 16-bit floats, the default. */
#define LOQUAT_KV_F16 1

/**
 * Element type of the key/value cache: 8-bit integers with a scale for each 32, a little more than half the size of 16-bit floats, less exact.
 */
#define LOQUAT_KV_Q8_0 8

/** Element type of the key/value cache: bfloat16. */
#define LOQUAT_KV_BF16 30

/** What happens when the context is full: the turn ends with LOQUAT_REASON_CONTEXT. The default. */
#define LOQUAT_CONTEXT_STOP 0

/**
 * What happens when the context is full: the oldest quarter of the tokens behind those that are kept is dropped, the others move forward,
 * and the turn goes on. An approximation: what remains was computed with the dropped tokens in sight.
 */
#define LOQUAT_CONTEXT_SHIFT 1

/**
 * What happens when the context is full: what no later token sees is dropped, and the turn goes on as in a context without an end, with the same
 * tokens to the bit. For models all of whose layers have a window (Mistral 7B v0.1, Phi-3-mini, StarCoder 2); others make no such session
 * (LOQUAT_UNSUPPORTED). The context must hold the window and 255 positions more.
 */
#define LOQUAT_CONTEXT_SLIDE 2

/** How a session is to be made. Later changes do not reach sessions that were made from it. */
typedef struct loquat_session_options loquat_session_options;

/** New options: the model's context length, a 16-bit cache, always the most probable token, no limit on tokens. */
LOQUAT_MUST_USE loquat_status loquat_session_options_new(loquat_session_options **options, loquat_error **error);

/** Frees options. NULL is fine. */
void loquat_session_options_free(loquat_session_options *options);

/** The number of tokens that the context holds; 0 for the model's own context length. */
LOQUAT_MUST_USE
loquat_status loquat_session_options_set_context(loquat_session_options *options,
                                                 uint32_t tokens,
                                                 loquat_error **error);

/**
 * 1 (the default) to take the memory of the whole context when the session is made; 0 to take it as the conversation grows: a step may
 * say LOQUAT_OUT_OF_MEMORY then, and changes nothing. With 1 that is left to one case: a session rewound into tokens that it computed
 * and that other sessions share by now writes into a copy.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_options_set_reserve(loquat_session_options *options,
                                                 uint32_t reserve,
                                                 loquat_error **error);

/**
 * What happens when the context is full: a LOQUAT_CONTEXT_ number. `keep`: with LOQUAT_CONTEXT_SHIFT, how many tokens at the front are never
 * dropped (a system prompt), at most half of the context; else 0.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_options_set_context_policy(loquat_session_options *options,
                                                        uint32_t policy,
                                                        uint32_t keep,
                                                        loquat_error **error);

/**
 * 1 (the default) to begin with what other sessions of the model have computed of the same prompt, and to let them begin with this
 * session's; it changes no result. 0 to compute everything, as benchmarks do. The memory is limited by
 * loquat_model_options_set_prefix_cache.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_options_set_prefix_reuse(loquat_session_options *options,
                                                      uint32_t reuse,
                                                      loquat_error **error);

/** The number of prompt tokens that are processed together; default 512. It changes speed and scratch memory, not results. */
LOQUAT_MUST_USE
loquat_status loquat_session_options_set_batch(loquat_session_options *options,
                                               uint32_t tokens,
                                               loquat_error **error);

/** The element type of the key/value cache: a LOQUAT_KV_ number. */
LOQUAT_MUST_USE
loquat_status loquat_session_options_set_kv_type(loquat_session_options *options,
                                                 uint32_t kv_type,
                                                 loquat_error **error);

/**
 * The most threads of the runtime that work on a step of the session, the one that calls loquat_session_step included; 0 (the default) for all.
 * Leaves the others to other sessions. It changes speed, not results.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_options_set_threads(loquat_session_options *options,
                                                 uint32_t threads,
                                                 loquat_error **error);

/**
 * Divides the logits before the draw: below 1 sharper, above 1 flatter, 0 (the default) always the most probable token, whatever the
 * three settings below. Finite, at least 0.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_options_set_temperature(loquat_session_options *options,
                                                     float temperature,
                                                     loquat_error **error);

/** Draws among the `top_k` most probable tokens only; 0 for all. Default 40. */
LOQUAT_MUST_USE
loquat_status loquat_session_options_set_top_k(loquat_session_options *options,
                                               uint32_t top_k,
                                               loquat_error **error);

/** Draws among the fewest tokens whose probabilities reach `top_p`, above 0 and at most 1; 1 for all. Default 0.95. */
LOQUAT_MUST_USE loquat_status loquat_session_options_set_top_p(loquat_session_options *options, float top_p, loquat_error **error);

/** Draws among tokens that are at least `min_p` times as probable as the most probable one, from 0 to 1; 0 for all. Default 0.05. */
LOQUAT_MUST_USE loquat_status loquat_session_options_set_min_p(loquat_session_options *options, float min_p, loquat_error **error);

/**
 * Penalties on the last `window` tokens (0 for none): `repetition` divides positive logits and multiplies negative ones (1 is off),
 * `presence` is taken once from the logit of each token there, `frequency` once for each time it is there (0 is off).
 */
LOQUAT_MUST_USE
loquat_status loquat_session_options_set_penalties(loquat_session_options *options,
                                                   float repetition,
                                                   float presence,
                                                   float frequency,
                                                   uint32_t window,
                                                   loquat_error **error);

/** The seed of the draws: the same seed, prompt and options give the same text, whatever the number of threads. Default 0. */
LOQUAT_MUST_USE loquat_status loquat_session_options_set_seed(loquat_session_options *options, uint64_t seed, loquat_error **error);

/** Adds `bias` to the logit of `token` in every draw: finite, or -INFINITY to forbid it. Each token at most once. */
LOQUAT_MUST_USE
loquat_status loquat_session_options_add_logit_bias(loquat_session_options *options,
                                                    uint32_t token,
                                                    float bias,
                                                    loquat_error **error);

/** Ends a turn where the text comes to `stop`, which is left out. May be called several times. Not empty. */
LOQUAT_MUST_USE
loquat_status loquat_session_options_add_stop(loquat_session_options *options,
                                              const char *stop,
                                              size_t stop_length,
                                              loquat_error **error);

/** The most tokens that a turn generates; UINT32_MAX for no limit but the context. Default: no limit. */
LOQUAT_MUST_USE
loquat_status loquat_session_options_set_max_tokens(loquat_session_options *options,
                                                    uint32_t tokens,
                                                    loquat_error **error);

/** 1 to go on past end-of-generation tokens, as benchmarks do; default 0. */
LOQUAT_MUST_USE
loquat_status loquat_session_options_set_ignore_end(loquat_session_options *options,
                                                    uint32_t ignore,
                                                    loquat_error **error);

/** 1 to have special tokens appear in the text as they are written ("<|im_end|>"); default 0, they are left out. */
LOQUAT_MUST_USE
loquat_status loquat_session_options_set_show_special(loquat_session_options *options,
                                                      uint32_t show,
                                                      loquat_error **error);

/**
 * 1 to keep the logits of every position of the last batch that was processed (see loquat_session_logits_at), not only of the last
 * position; default 0. Costs 4 bytes of memory for each token of the vocabulary and of a batch.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_options_set_all_logits(loquat_session_options *options,
                                                    uint32_t all,
                                                    loquat_error **error);

/**
 * Sets an option by name, for configuration files and for what has no function of its own.
 *
 * "context", "reserve", "context_policy" ("stop", "shift", "slide"), "keep" (with "shift"), "prefix_reuse", "batch", "threads", "kv_type" ("f16",
 * "bf16", "f32", "q8_0"), "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty",
 * "frequency_penalty", "penalty_window", "seed", "max_tokens", "stop" (adds one), "ignore_end", "show_special", "all_logits".
 * LOQUAT_UNKNOWN_OPTION for another key.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_options_set(loquat_session_options *options,
                                         const char *key,
                                         size_t key_length,
                                         const char *value,
                                         size_t value_length,
                                         loquat_error **error);

/* ===========================================================================
 * Memory estimate
 *
 * What a model and a session of it will hold, before either is made.
 * ======================================================================== */

/** Memory that a model and one session of it take, in bytes, in the categories of loquat_memory. */
typedef struct loquat_estimate {
    /** Set by the caller to sizeof(loquat_estimate). */
    uint32_t struct_size;
    /**
     * 1 if the model and one session would fit in what the runtime's memory limit leaves now, else 0. For a vocabulary alone: the model.
     */
    uint32_t fits;
    /** The model file, where it is mapped. Not held against the limit. */
    uint64_t weights_mapped;
    /** Weights in private memory. */
    uint64_t weights_private;
    /** Tokenizer tables and indexes of the metadata (in loquat_memory: other). */
    uint64_t tables;
    /**
     * The key/value cache of one session for its whole context; UINT64_MAX for a vocabulary alone and for an encoder, which have no sessions.
     */
    uint64_t session_kv_cache;
    /** The working memory of one session; UINT64_MAX as above. */
    uint64_t session_scratch;
    /** The sampler of one session (in loquat_memory: other); UINT64_MAX as above. */
    uint64_t session_other;
    /** All private memory of the model and one session. */
    uint64_t private_total;
    /** What the runtime's limit leaves now; UINT64_MAX without a limit. */
    uint64_t available;
} loquat_estimate;

/**
 * Fills `estimate` with the memory that loquat_model_load with these arguments and one session with `session_options` will hold on this runtime.
 * Either options may be NULL for the defaults. The numbers are those that will be accounted, not a guess.
 *
 * It reads the metadata and the table of tensors, not the weights, and takes about as long as loading a mapped file does:
 * loquat_model_estimate_start does the same in slices. While it runs it needs as much memory as the tables, outside the limit. (So does a load
 * need, besides what it keeps and outside the limit, a copy of the vocabulary while it builds the tokenizer.)
 *
 * Statuses as loquat_model_load and loquat_session_new, but for a model that does not fit: that is what `fits` says.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_estimate(const loquat_runtime *runtime,
                                    const char *path,
                                    size_t path_length,
                                    const loquat_model_options *options,
                                    const loquat_session_options *session_options,
                                    loquat_estimate *estimate,
                                    loquat_error **error);

/**
 * Begins an estimate as loquat_model_estimate makes it. Nothing is done yet: that is the polls' work, in the stages of a load. The result is taken with
 * loquat_job_take_estimate. The job keeps its runtime.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_estimate_start(const loquat_runtime *runtime,
                                          const char *path,
                                          size_t path_length,
                                          const loquat_model_options *options,
                                          const loquat_session_options *session_options,
                                          loquat_job **job,
                                          loquat_error **error);

/**
 * Fills `estimate` with the result of a finished job that loquat_model_estimate_start began, by what the runtime's limit leaves now. Once.
 *
 * LOQUAT_INVALID_ARGUMENT where the job has not finished, or makes something else.
 */
LOQUAT_MUST_USE loquat_status loquat_job_take_estimate(loquat_job *job, loquat_estimate *estimate, loquat_error **error);

/**
 * As loquat_model_estimate, for a model that is loaded from memory with loquat_model_load_buffer. `data` is read during the call only; it is the
 * host's own and not part of the numbers.
 */
LOQUAT_MUST_USE
loquat_status loquat_model_estimate_buffer(const loquat_runtime *runtime,
                                           const uint8_t *data,
                                           size_t length,
                                           const loquat_model_options *options,
                                           const loquat_session_options *session_options,
                                           loquat_estimate *estimate,
                                           loquat_error **error);

/* ===========================================================================
 * Session
 *
 * One conversation with a model: its context, its key/value cache, its sampler. Append a prompt, then step until the turn is over.
 * ======================================================================== */

/** Why a turn is over: the model said an end-of-generation token. */
#define LOQUAT_REASON_END 1

/** Why a turn is over: the text came to a stop string, which is not part of it. */
#define LOQUAT_REASON_STOP 2

/** Why a turn is over: as many tokens were generated as the options allow. */
#define LOQUAT_REASON_LIMIT 3

/** Why a turn is over: the context is full. */
#define LOQUAT_REASON_CONTEXT 4

/** One conversation. It keeps its model, and all memory that a step touches, from its creation on. */
typedef struct loquat_session loquat_session;

/** What a step did. */
typedef struct loquat_event {
    /** Set by the caller to sizeof(loquat_event). */
    uint32_t struct_size;
    /** The token that was generated: with LOQUAT_TOKEN, and with LOQUAT_DONE where a token ended the turn. Else LOQUAT_NO_TOKEN. */
    uint32_t token;
    /**
     * What this step adds to the text: whole UTF-8 characters, perhaps none. Text that may be the beginning of a stop string is held back until
     * that is decided. Never NULL, not NUL-terminated. Lives until the next call that takes the session as `loquat_session *`.
     */
    const char *text;
    /** The length of `text` in bytes. */
    uint64_t text_length;
    /** With LOQUAT_DONE: a LOQUAT_REASON_ number. Else 0. */
    uint32_t reason;
    /** How many tokens of the context have been processed. The one that was generated last is processed by the next step. */
    uint32_t position;
    /** How much of the appended prompt has been processed, from 0 to 1. */
    float progress;
    /** Zero. */
    uint32_t reserved;
} loquat_event;

/**
 * Opens a session: takes its memory and checks its options. `options` may be NULL for the defaults; they are not kept.
 *
 * LOQUAT_UNSUPPORTED for a model that was loaded without its weights.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_new(const loquat_model *model,
                                 const loquat_session_options *options,
                                 loquat_session **session,
                                 loquat_error **error);

/** Frees a session and its memory. NULL is fine. */
void loquat_session_free(loquat_session *session);

/**
 * Appends the tokens of a text to the prompt. `flags`: LOQUAT_ADD_SPECIAL (right for the first text of a conversation that no chat
 * template made), LOQUAT_PARSE_SPECIAL. Nothing is computed yet: that is the steps' work. Begins a new turn.
 *
 * LOQUAT_CONTEXT_FULL where the tokens do not fit; none is appended then.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_append_text(loquat_session *session,
                                         const char *text,
                                         size_t text_length,
                                         uint32_t flags,
                                         loquat_error **error);

/**
 * Appends tokens to the prompt. Nothing is computed yet: that is the steps' work. Begins a new turn.
 *
 * LOQUAT_CONTEXT_FULL where they do not fit; none is appended then. LOQUAT_INVALID_ARGUMENT for an id outside the vocabulary.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_append_tokens(loquat_session *session,
                                           const uint32_t *tokens,
                                           size_t count,
                                           loquat_error **error);

/**
 * Changes how many tokens a turn generates at most, from the turn in progress on; UINT32_MAX for no limit but the context, 0 to process the
 * prompt and generate nothing.
 */
LOQUAT_MUST_USE loquat_status loquat_session_set_max_tokens(loquat_session *session, uint32_t tokens, loquat_error **error);

/**
 * Works on the session for about `budget_ns` nanoseconds: first on what is left of the prompt, then on the next token. 0 does one item of
 * work, UINT64_MAX goes on until there is a token. The calling thread works; the threads of the runtime help.
 *
 * LOQUAT_TOKEN: a token was generated and is in the context; step again for the next. LOQUAT_PENDING: the budget is used up, step again.
 * LOQUAT_DONE: the turn is over, `event->reason` says why; append something before stepping again. LOQUAT_CANCELLED: loquat_session_cancel was
 * called; step again to go on. LOQUAT_NON_FINITE: the logits are no numbers. LOQUAT_INVALID_ARGUMENT: nothing was appended yet.
 *
 * The text and what is sampled do not depend on the budget or on the number of threads.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_step(loquat_session *session,
                                  uint64_t budget_ns,
                                  loquat_event *event,
                                  loquat_error **error);

/** Makes the step that runs now, or the next one, return LOQUAT_CANCELLED within one item of work. At any time, from any thread. */
LOQUAT_MUST_USE loquat_status loquat_session_cancel(const loquat_session *session, loquat_error **error);

/**
 * Copies the logits of the last position that was processed: `*count` floats, one for each token of the vocabulary, as the model computed
 * them (no penalties, no bias).
 *
 * LOQUAT_NOT_FOUND before the prompt is processed; LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_logits(const loquat_session *session,
                                    float *logits,
                                    size_t capacity,
                                    size_t *count,
                                    loquat_error **error);

/**
 * Copies the logits after the token at `position` (counted from 0), as loquat_session_logits those after the last.
 *
 * LOQUAT_NOT_FOUND where they were not kept: without loquat_session_options_set_all_logits only those of the last position are, with it
 * those of the last batch. LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_logits_at(const loquat_session *session,
                                       uint32_t position,
                                       float *logits,
                                       size_t capacity,
                                       size_t *count,
                                       loquat_error **error);

/**
 * Fills `tokens` with the tokens of the context: prompt and generated ones, in order.
 *
 * LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_tokens(const loquat_session *session,
                                    uint32_t *tokens,
                                    size_t capacity,
                                    size_t *count,
                                    loquat_error **error);

/**
 * Stores how many tokens of the context have been processed (one that was just generated is not yet), and how many it can hold. Either
 * pointer may be NULL. loquat_session_tokens gives all that it holds.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_position(const loquat_session *session,
                                      uint32_t *position,
                                      uint32_t *capacity,
                                      loquat_error **error);

/**
 * Makes a second session that has come as far as `session` and goes on by itself, with the same options and random numbers. What is in
 * the key/value cache is shared until one of the two writes into it, so that a fork costs little. A step in progress is not taken over.
 *
 * LOQUAT_OUT_OF_MEMORY.
 */
LOQUAT_MUST_USE loquat_status loquat_session_fork(loquat_session *session, loquat_session **fork, loquat_error **error);

/**
 * Writes into `buffer` all that another session of the same model needs to go on as this one would, to the bit: tokens, key/value cache,
 * random numbers, the text in flight; with a checksum. The options are not part of it.
 *
 * LOQUAT_BUFFER_TOO_SMALL with the length that is needed (ask with (NULL, 0); it stays right until the next call that changes the session).
 */
LOQUAT_MUST_USE
loquat_status loquat_session_save(loquat_session *session,
                                  uint8_t *buffer,
                                  size_t capacity,
                                  size_t *length,
                                  loquat_error **error);

/**
 * As loquat_session_save, into the file at `path` (UTF-8). The file is there in whole afterwards, or as it was before.
 *
 * LOQUAT_IO.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_save_file(loquat_session *session,
                                       const char *path,
                                       size_t path_length,
                                       loquat_error **error);

/**
 * Takes up a state that loquat_session_save wrote, in place of all that is in the session. The session is one of the same model, made with
 * the same sampler settings and type of cache, and with room for the tokens; threads, batch and the rest may differ. The bytes may
 * come from anyone: what is damaged or does not fit is refused, and nothing changes.
 *
 * LOQUAT_INVALID_FILE (damaged, of another model, another type of cache, another sampler), LOQUAT_UNSUPPORTED (of a newer version),
 * LOQUAT_CONTEXT_FULL (more tokens than fit), LOQUAT_OUT_OF_MEMORY.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_restore(loquat_session *session,
                                     const uint8_t *state,
                                     size_t length,
                                     loquat_error **error);

/**
 * As loquat_session_restore, from the file at `path` (UTF-8).
 *
 * LOQUAT_IO too.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_restore_file(loquat_session *session,
                                          const char *path,
                                          size_t path_length,
                                          loquat_error **error);

/** Forgets all tokens, and puts the sampler back to its seed. The session is then as new. */
LOQUAT_MUST_USE loquat_status loquat_session_reset(loquat_session *session, loquat_error **error);

/**
 * Forgets all tokens from position `tokens` on, so that the context holds that many.
 *
 * LOQUAT_INVALID_ARGUMENT where it holds fewer.
 */
LOQUAT_MUST_USE loquat_status loquat_session_truncate(loquat_session *session, uint32_t tokens, loquat_error **error);

/* ===========================================================================
 * Batch
 *
 * Many sessions of one model in one pass: the weights are read once for all of them. Each session says what it would say alone, to the
 * bit. Sessions that generate have a token in every pass; prompts are processed beside them in pieces, so that nobody waits for another's
 * long prompt.
 * ======================================================================== */

/** Sessions that are computed together, and the scratch memory for that. */
typedef struct loquat_batch loquat_batch;

/** How a batch is to be made. Later changes do not reach batches that were made from it. */
typedef struct loquat_batch_options loquat_batch_options;

/** What a step brought for one session of a batch. */
typedef struct loquat_batch_event {
    /** Set by the caller to sizeof(loquat_batch_event). */
    uint32_t struct_size;
    /** What loquat_session_step would have returned for the session: LOQUAT_TOKEN, LOQUAT_DONE, LOQUAT_CANCELLED, or an error. */
    loquat_status status;
    /** The session. */
    loquat_session *session;
    /** What was given with it to loquat_batch_add. */
    void *user_data;
    /**
     * What this event adds to the text of the session: whole UTF-8 characters, perhaps none. Never NULL, not NUL-terminated. Lives until the
     * next call with the batch.
     */
    const char *text;
    /** The length of `text` in bytes. */
    uint64_t text_length;
    /** With an error: what is wrong, for people. Never NULL, not NUL-terminated. Lives as long as `text`. */
    const char *message;
    /** The length of `message` in bytes. */
    uint64_t message_length;
    /** The token, as in loquat_event. */
    uint32_t token;
    /** With LOQUAT_DONE: a LOQUAT_REASON_ number. Else 0. */
    uint32_t reason;
    /** How many tokens of the context have been processed, as in loquat_event. */
    uint32_t position;
    /** Zero. */
    uint32_t reserved;
} loquat_batch_event;

/** New options: up to 16 sessions in a pass of up to 512 tokens, of which 64 may be prompt tokens while another session generates. */
LOQUAT_MUST_USE loquat_status loquat_batch_options_new(loquat_batch_options **options, loquat_error **error);

/** Frees options. NULL is fine. */
void loquat_batch_options_free(loquat_batch_options *options);

/** The number of sessions that are computed in one pass, 1 to 1024. A batch may have more; they take turns. */
LOQUAT_MUST_USE
loquat_status loquat_batch_options_set_sessions(loquat_batch_options *options,
                                                uint32_t sessions,
                                                loquat_error **error);

/**
 * The number of tokens that are computed in one pass, at least one for each session. It changes speed on long prompts and scratch memory,
 * not results.
 */
LOQUAT_MUST_USE loquat_status loquat_batch_options_set_columns(loquat_batch_options *options, uint32_t tokens, loquat_error **error);

/**
 * The number of prompt tokens in a pass in which another session generates, at least 1: fewer let its token come earlier, more end the
 * prompt earlier.
 */
LOQUAT_MUST_USE
loquat_status loquat_batch_options_set_prompt_share(loquat_batch_options *options,
                                                    uint32_t tokens,
                                                    loquat_error **error);

/** Sets an option by name: "sessions", "columns", "prompt_share". LOQUAT_UNKNOWN_OPTION for another key. */
LOQUAT_MUST_USE
loquat_status loquat_batch_options_set(loquat_batch_options *options,
                                       const char *key,
                                       size_t key_length,
                                       const char *value,
                                       size_t value_length,
                                       loquat_error **error);

/**
 * Makes a batch for sessions of `model`, without sessions yet. `options` may be NULL for the defaults; they are not kept.
 *
 * LOQUAT_OUT_OF_MEMORY; LOQUAT_INVALID_ARGUMENT for options out of range.
 */
LOQUAT_MUST_USE
loquat_status loquat_batch_new(const loquat_model *model,
                               const loquat_batch_options *options,
                               loquat_batch **batch,
                               loquat_error **error);

/** Frees a batch, not its sessions: they go on alone where they are. NULL is fine. */
void loquat_batch_free(loquat_batch *batch);

/**
 * Adds a session, between any two steps. `user_data` comes back with the session's events. The session stays the host's: to append to it,
 * to look at it, to step it alone, or to free it, which also takes it out of the batch. During a step of the batch it is BUSY.
 *
 * For many sessions make each with a small loquat_session_options_set_batch: the scratch memory of its own steps is then small too.
 *
 * LOQUAT_INVALID_ARGUMENT for a session of another model, one that keeps all logits, or one that is in the batch already.
 */
LOQUAT_MUST_USE loquat_status loquat_batch_add(loquat_batch *batch, loquat_session *session, void *user_data, loquat_error **error);

/**
 * Takes a session out of a batch, between any two steps. Its events that were not taken yet are dropped; the tokens are in the session.
 *
 * LOQUAT_NOT_FOUND where it is not in it.
 */
LOQUAT_MUST_USE loquat_status loquat_batch_remove(loquat_batch *batch, loquat_session *session, loquat_error **error);

/**
 * Works on the sessions of a batch for about `budget_ns` nanoseconds (0: one item of work, UINT64_MAX: until there is an event), and gives
 * out one event. Where a pass has brought several, the next calls give them out at once. The calling thread works; the threads of the
 * runtime help.
 *
 * LOQUAT_OK: `event` says what happened in which session. LOQUAT_PENDING: the budget is used up, step again; or the only sessions that may have
 * something to do are in use by another thread, then at once, whatever the budget: step again later. LOQUAT_IDLE: no session
 * has anything to do; append something to one. Of a session whose turn is over, or that has failed, there is one event, and no other until
 * something is appended to it (appending nothing lets a failed one try again); it hurts no other session. One that was cancelled has its
 * event and then goes on; remove it to stop it. A session that is in use by another thread is left out of the step.
 */
LOQUAT_MUST_USE
loquat_status loquat_batch_step(loquat_batch *batch,
                                uint64_t budget_ns,
                                loquat_batch_event *event,
                                loquat_error **error);

/* ===========================================================================
 * Embedder
 *
 * Texts to vectors, with an encoder model (BERT and its kind): begin with a text, step until it is done, read the embedding.
 * ======================================================================== */

/** What becomes of the embeddings of a text's tokens: what the model's file says, or the mean where it says nothing. */
#define LOQUAT_POOLING_OF_MODEL 0

/** What becomes of the embeddings of a text's tokens: they stay, one for each token. */
#define LOQUAT_POOLING_NONE 1

/** What becomes of the embeddings of a text's tokens: their mean. */
#define LOQUAT_POOLING_MEAN 2

/** What becomes of the embeddings of a text's tokens: the first one stands for the text. */
#define LOQUAT_POOLING_CLS 3

/** What becomes of the embeddings of a text's tokens: the last one stands for the text. */
#define LOQUAT_POOLING_LAST 4

/**
 * An embedder flag: leave embeddings as they are computed. Otherwise each is divided by its length (L2 norm), so that the similarity of
 * two is their dot product.
 */
#define LOQUAT_EMBED_RAW 1

/** Computes embeddings, one text at a time. It keeps its model, and all memory that a step touches, from its creation on. */
typedef struct loquat_embedder loquat_embedder;

/**
 * Opens an embedder for texts of up to `max_tokens` tokens (0: as many as the model was trained for; the memory grows with it) that pools
 * as `pooling` says (a LOQUAT_POOLING_ number). `flags`: LOQUAT_EMBED_RAW, or 0.
 *
 * LOQUAT_INVALID_ARGUMENT for a model that is no encoder, one that was loaded without its weights, or more tokens than it has positions
 * for.
 */
LOQUAT_MUST_USE
loquat_status loquat_embedder_new(const loquat_model *model,
                                  uint32_t max_tokens,
                                  uint32_t pooling,
                                  uint32_t flags,
                                  loquat_embedder **embedder,
                                  loquat_error **error);

/** Frees an embedder and its memory. NULL is fine. */
void loquat_embedder_free(loquat_embedder *embedder);

/**
 * Begins with a text (UTF-8), in place of the one before; the model's tokenizer makes the tokens, with the special ones around them that
 * the model was trained with. Nothing is computed yet: that is the steps' work.
 *
 * LOQUAT_CONTEXT_FULL for more tokens than the embedder takes; what was there before stays then.
 */
LOQUAT_MUST_USE
loquat_status loquat_embedder_begin_text(loquat_embedder *embedder,
                                         const char *text,
                                         size_t text_length,
                                         loquat_error **error);

/**
 * Begins with tokens, in place of the text before.
 *
 * LOQUAT_CONTEXT_FULL for more tokens than the embedder takes, LOQUAT_INVALID_ARGUMENT for none or an id outside the vocabulary; what was
 * there before stays then.
 */
LOQUAT_MUST_USE
loquat_status loquat_embedder_begin_tokens(loquat_embedder *embedder,
                                           const uint32_t *tokens,
                                           size_t count,
                                           loquat_error **error);

/**
 * Computes until the embeddings are there or `budget_ns` nanoseconds are spent (UINT64_MAX: no limit; 0: one work item).
 *
 * LOQUAT_OK: they are there. LOQUAT_PENDING: the budget is spent; call again to go on. LOQUAT_CANCELLED: loquat_embedder_cancel was
 * called; call again to go on. LOQUAT_INVALID_ARGUMENT where no text was begun.
 */
LOQUAT_MUST_USE loquat_status loquat_embedder_step(loquat_embedder *embedder, uint64_t budget_ns, loquat_error **error);

/** Stops the step in progress, or the next one. Any thread, at any time. */
LOQUAT_MUST_USE loquat_status loquat_embedder_cancel(const loquat_embedder *embedder, loquat_error **error);

/**
 * Stores how many embeddings are there (one for the text, or with LOQUAT_POOLING_NONE one for each token; 0 before they are computed), how
 * many floats each has, and how many tokens a text may have. Each pointer may be NULL.
 */
LOQUAT_MUST_USE
loquat_status loquat_embedder_shape(const loquat_embedder *embedder,
                                    uint32_t *rows,
                                    uint32_t *width,
                                    uint32_t *max_tokens,
                                    loquat_error **error);

/**
 * Copies embedding number `row` into `buffer`, which holds `capacity` floats.
 *
 * LOQUAT_NOT_FOUND where there is no such row (yet), LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_embedder_get(const loquat_embedder *embedder,
                                  uint32_t row,
                                  float *buffer,
                                  size_t capacity,
                                  size_t *length,
                                  loquat_error **error);

/* ===========================================================================
 * Stream
 *
 * A turn of a session that runs by itself: the library steps, on a thread of its own, and the host takes the events out of a queue when
 * it suits it. No code of the host runs in between but a function that may signal.
 * ======================================================================== */

/** A turn in progress in the background. */
typedef struct loquat_stream loquat_stream;

/**
 * Tells the host that an event is in the queue. It is called on the stream's thread, after every event, and holds that thread up: it should do
 * no more than signal (set a flag, post a semaphore, write to a pipe). It must not call the library.
 */
typedef void (*loquat_wake_fn)(void *user_data);

/**
 * Lets the turn of a session, begun by appending to it, run in the background, with room for `events` events (1 to 65536) that the host
 * has not popped yet. Where the queue is full, the session waits: nothing is dropped. `wake` may be NULL. The queue's memory is counted in the runtime's
 * limit (other).
 *
 * The library starts one thread for the stream, which ends with the turn and is joined by loquat_stream_free. It counts as the thread that steps: the
 * threads of the runtime help it.
 *
 * Until the stream is freed the session is in use: calls that take it return LOQUAT_BUSY, except those "at any time" (loquat_session_cancel,
 * metrics). It may be freed meanwhile; it then goes with the stream. Lent: `user_data` must live until the stream is freed.
 *
 * LOQUAT_IO where the system gives no thread. The session is unchanged where the call fails.
 */
LOQUAT_MUST_USE
loquat_status loquat_stream_start(loquat_session *session,
                                  uint32_t events,
                                  loquat_wake_fn wake,
                                  void *user_data,
                                  loquat_stream **stream,
                                  loquat_error **error);

/**
 * Takes the next event out of the queue. Where it is empty, waits for `wait_ns` nanoseconds at most: 0 does not wait, UINT64_MAX waits as long as
 * it takes. `event->text` lives until the next call that takes the stream as `loquat_stream *`.
 *
 * LOQUAT_TOKEN: a token was generated. LOQUAT_PENDING: there is no event yet; `event` has the position and the progress of the prompt. LOQUAT_DONE:
 * the turn is over, `event->reason` says why. LOQUAT_CANCELLED: loquat_stream_cancel or loquat_session_cancel was called. An error: a step
 * failed, with the statuses of loquat_session_step. The last three are the end of the stream, and come again where it is popped further.
 */
LOQUAT_MUST_USE
loquat_status loquat_stream_pop(loquat_stream *stream,
                                uint64_t wait_ns,
                                loquat_event *event,
                                loquat_error **error);

/**
 * Has the turn stopped within one item of work. The events that are in the queue, then LOQUAT_CANCELLED, can still be popped. At any time, from any
 * thread.
 */
LOQUAT_MUST_USE
loquat_status loquat_stream_cancel(const loquat_stream *stream,
                                   loquat_error **error);

/**
 * Stops the turn where it is, within one item of work, ends the thread and waits for that, and gives the session back: it may be stepped on, or
 * appended to. Events that were not popped are gone; their tokens are in the context. NULL is fine.
 */
void loquat_stream_free(loquat_stream *stream);

/* ===========================================================================
 * Metrics
 *
 * What sessions and runtimes count about themselves. All of it may be read at any time, from any thread, also while a step runs: a
 * snapshot never shows half a step. Times are nanoseconds of a monotonic clock. A figure that is not available is UINT64_MAX or NaN.
 * ======================================================================== */

/** Series of times: from the request of a turn to its first token, one value for each turn. */
#define LOQUAT_SERIES_TTFT 1

/** Series of times: from one token to the next. */
#define LOQUAT_SERIES_INTER_TOKEN 2

/** Series of times: by how much steps with a budget outlasted it. */
#define LOQUAT_SERIES_OVERSHOOT 3

/** Series of times: runs of the worker threads. Of runtimes only. */
#define LOQUAT_SERIES_DISPATCH 4

/** The counters of one session. */
typedef struct loquat_session_metrics {
    /** Set by the caller to sizeof(loquat_session_metrics). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t reserved;
    /** Prompt tokens that were processed. */
    uint64_t prompt_tokens;
    /** Tokens that were generated. */
    uint64_t generated_tokens;
    /** Time spent on prompt tokens, nanoseconds, without the pauses between steps. */
    uint64_t prefill_ns;
    /** Time spent on generating tokens, nanoseconds, likewise. */
    uint64_t decode_ns;
    /** Prompt tokens per second of prefill_ns; NaN where there were none. */
    double prefill_tokens_per_s;
    /** Generated tokens (the first of each turn excluded) per second of decode_ns; NaN where there were none. */
    double decode_tokens_per_s;
    /** Time to the first token in the latest turn, nanoseconds; UINT64_MAX before the first and in a runtime's metrics. */
    uint64_t last_ttft_ns;
    /** Calls of loquat_session_step. */
    uint64_t steps;
    /** Steps whose budget ran out before a token. */
    uint64_t pending_steps;
    /** Steps that a cancellation ended. */
    uint64_t cancellations;
    /** Steps that failed. */
    uint64_t errors;
    /** Size of the key/value cache, bytes. */
    uint64_t kv_capacity_bytes;
    /** The part of it that holds tokens, bytes. */
    uint64_t kv_used_bytes;
    /** Size of the scratch memory, bytes. */
    uint64_t scratch_bytes;
} loquat_session_metrics;

/** The figures of a series of times, nanoseconds. */
typedef struct loquat_latency {
    /** Set by the caller to sizeof(loquat_latency). */
    uint32_t struct_size;
    /** Which percentiles have enough values to mean something, a set of bits: 1 for p50, 2 for p95, 4 for p99, 8 for p99.9. */
    uint32_t resolved;
    /** Number of values. */
    uint64_t count;
    /** Their sum. */
    uint64_t sum_ns;
    /** The least; UINT64_MAX without values. */
    uint64_t min_ns;
    /** The greatest; UINT64_MAX without values. */
    uint64_t max_ns;
    /** The mean; NaN without values. */
    double mean_ns;
    /** Sample standard deviation; NaN below two values. */
    double std_ns;
    /** Coefficient of variation, 100 std / mean; NaN below two values. */
    double cv_pct;
    /** The median, by nearest rank, at most 2.5 % off; UINT64_MAX without values, as the percentiles below. */
    uint64_t p50_ns;
    /** The 95th percentile. */
    uint64_t p95_ns;
    /** The 99th percentile. */
    uint64_t p99_ns;
    /** The 99.9th percentile. */
    uint64_t p999_ns;
    /** Values above 10 minutes, which the percentiles can't tell apart. */
    uint64_t overflow;
} loquat_latency;

/** The counters of a runtime. Those of sessions are sums over all of its sessions, living and gone; sizes are sums over the living. */
typedef struct loquat_runtime_metrics {
    /** Set by the caller to sizeof(loquat_runtime_metrics). */
    uint32_t struct_size;
    /** Threads that compute, the calling one included. */
    uint32_t threads;
    /** Age of the runtime, nanoseconds. */
    uint64_t elapsed_ns;
    /** Sessions that live. */
    uint64_t sessions_alive;
    /** Sessions that were ever opened. */
    uint64_t sessions_created;
    /** Models that live. */
    uint64_t models_alive;
    /** Models that were ever loaded. */
    uint64_t models_loaded;
    /** Runs of the worker threads: one for each part of a step. */
    uint64_t dispatches;
    /** Runs per second of elapsed_ns; NaN where no time has passed. */
    double dispatches_per_s;
    /** Prompt tokens that were processed. */
    uint64_t prompt_tokens;
    /** Tokens that were generated. */
    uint64_t generated_tokens;
    /** Time spent on prompt tokens, nanoseconds, without the pauses between steps. */
    uint64_t prefill_ns;
    /** Time spent on generating tokens, nanoseconds, likewise. */
    uint64_t decode_ns;
    /** Prompt tokens per second of prefill_ns; NaN where there were none. */
    double prefill_tokens_per_s;
    /** Generated tokens (the first of each turn excluded) per second of decode_ns; NaN where there were none. */
    double decode_tokens_per_s;
    /** Time to the first token in the latest turn, nanoseconds; UINT64_MAX before the first and in a runtime's metrics. */
    uint64_t last_ttft_ns;
    /** Calls of loquat_session_step. */
    uint64_t steps;
    /** Steps whose budget ran out before a token. */
    uint64_t pending_steps;
    /** Steps that a cancellation ended. */
    uint64_t cancellations;
    /** Steps that failed. */
    uint64_t errors;
    /** Size of the key/value cache, bytes. */
    uint64_t kv_capacity_bytes;
    /** The part of it that holds tokens, bytes. */
    uint64_t kv_used_bytes;
    /** Size of the scratch memory, bytes. */
    uint64_t scratch_bytes;
} loquat_runtime_metrics;

/** Fills `metrics` with the counters of the session. */
LOQUAT_MUST_USE
loquat_status loquat_session_get_metrics(const loquat_session *session,
                                         loquat_session_metrics *metrics,
                                         loquat_error **error);

/** Fills `latency` with the figures of a series of the session, a LOQUAT_SERIES_ number. */
LOQUAT_MUST_USE
loquat_status loquat_session_get_latency(const loquat_session *session,
                                         uint32_t series,
                                         loquat_latency *latency,
                                         loquat_error **error);

/**
 * Fills two arrays with the histogram of a series of the session: the buckets that hold values, each with the greatest time that belongs to it
 * (UINT64_MAX for the last, open one) and the number of its values.
 *
 * LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_get_histogram(const loquat_session *session,
                                           uint32_t series,
                                           uint64_t *bounds_ns,
                                           uint64_t *counts,
                                           size_t capacity,
                                           size_t *count,
                                           loquat_error **error);

/**
 * Fills `buffer` with all figures of the session as a JSON object. The figures go on moving: give it some room (8 KiB are plenty) rather than
 * ask for the length first.
 *
 * LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_session_metrics_json(const loquat_session *session,
                                          char *buffer,
                                          size_t capacity,
                                          size_t *length,
                                          loquat_error **error);

/** Fills `metrics` with the counters of the runtime. */
LOQUAT_MUST_USE
loquat_status loquat_runtime_get_metrics(const loquat_runtime *runtime,
                                         loquat_runtime_metrics *metrics,
                                         loquat_error **error);

/** Fills `latency` with the figures of a series of the runtime, a LOQUAT_SERIES_ number. */
LOQUAT_MUST_USE
loquat_status loquat_runtime_get_latency(const loquat_runtime *runtime,
                                         uint32_t series,
                                         loquat_latency *latency,
                                         loquat_error **error);

/**
 * Fills two arrays with the histogram of a series of the runtime: the buckets that hold values, each with the greatest time that belongs to it
 * (UINT64_MAX for the last, open one) and the number of its values.
 *
 * LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_runtime_get_histogram(const loquat_runtime *runtime,
                                           uint32_t series,
                                           uint64_t *bounds_ns,
                                           uint64_t *counts,
                                           size_t capacity,
                                           size_t *count,
                                           loquat_error **error);

/**
 * Fills `buffer` with all figures of the runtime as a JSON object. The figures go on moving: give it some room (16 KiB are plenty) rather than
 * ask for the length first.
 *
 * LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_runtime_metrics_json(const loquat_runtime *runtime,
                                          char *buffer,
                                          size_t capacity,
                                          size_t *length,
                                          loquat_error **error);

/**
 * Fills `buffer` with all figures of the runtime in the text format of Prometheus (a page for its scraper).
 *
 * LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_runtime_metrics_prometheus(const loquat_runtime *runtime,
                                                char *buffer,
                                                size_t capacity,
                                                size_t *length,
                                                loquat_error **error);

/* ===========================================================================
 * Quantising
 *
 * A model written as a GGUF file in other tensor types: a job that reads it and writes the file, tensor by tensor, in bounded memory.
 * ======================================================================== */

/** How a model is to be quantised. Later changes do not reach jobs that were started with it. */
typedef struct loquat_quantize_options loquat_quantize_options;

/** What was done. */
typedef struct loquat_quantized {
    /** Set by the caller to sizeof(loquat_quantized). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t reserved;
    /** Tensors in the file. */
    uint64_t tensors;
    /** Tensors whose type has changed. */
    uint64_t changed;
    /** Bytes of the file that was read. */
    uint64_t bytes_before;
    /** Bytes of the file that was written. */
    uint64_t bytes_after;
    /** Tokens of the text that importance was measured with; 0 without. */
    uint64_t importance_tokens;
} loquat_quantized;

/** New options: Q4_K_M, all threads of the runtime, no importance. */
LOQUAT_MUST_USE loquat_status loquat_quantize_options_new(loquat_quantize_options **options, loquat_error **error);

/** Frees options. NULL is fine. */
void loquat_quantize_options_free(loquat_quantize_options *options);

/**
 * What the file is written in, by name, in letters of either case: "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q2_K_S", "Q3_K_S",
 * "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M" (the default), "Q5_K_S", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4", "MXFP4_MOE" (experts alone); "Q3_K", "Q4_K" and
 * "Q5_K" are the medium ones.
 *
 * Most matrices get the type that the name begins with, some more bits: which ones, llama.cpp's rules say. Vectors, norms and routers keep their
 * types. Where rows are no whole number of blocks, another type of about as many bits takes its place.
 */
LOQUAT_MUST_USE
loquat_status loquat_quantize_options_set_type(loquat_quantize_options *options,
                                               const char *name,
                                               size_t name_length,
                                               loquat_error **error);

/** Most threads that work at a time, the polling one included; 0 (default) for all of the runtime's. */
LOQUAT_MUST_USE
loquat_status loquat_quantize_options_set_threads(loquat_quantize_options *options,
                                                  uint32_t threads,
                                                  loquat_error **error);

/**
 * A text like those that the model is for (UTF-8, copied; some thousand words). The model reads it first, `context` tokens at a time (at least 1; 512 is
 * usual), and the columns of its matrices that larger values enter are then stored more exactly: an importance matrix. An empty text takes it back.
 *
 * The file must be one that this library can run; it takes the memory of a session and the time of a prompt of that length.
 */
LOQUAT_MUST_USE
loquat_status loquat_quantize_options_set_importance_text(loquat_quantize_options *options,
                                                          const char *text,
                                                          size_t text_length,
                                                          uint32_t context,
                                                          loquat_error **error);

/**
 * Writes the model at `input` (what loquat_model_load() takes, of any types that the library can decode) to `output`, a GGUF file, as `options` (NULL
 * for the defaults) say, on the calling thread and the runtime's, and fills `done` (NULL where it does not matter).
 *
 * The metadata of a GGUF file is passed on as it is, but for general.file_type and general.quantization_version; that of a folder is made of its
 * configuration and tokenizer.json, which comes along whole where GGUF has no exact words for it. While it is written the new file lies beside
 * `output` under a longer name; it takes the place of a file at `output` when it is whole, and is removed where the call fails.
 * `input` is mapped and must not be changed meanwhile. The same file always gives the same bytes, whatever the number of threads.
 *
 * LOQUAT_IO where the system refuses (the message names the path: the disk is full, for one); LOQUAT_INVALID_FILE where the file is broken or a value is
 * NaN, infinite or beyond the range of its new type (the message names tensor, row and column); LOQUAT_UNSUPPORTED for types that can't be decoded and,
 * with a text for importance, models that can't be run.
 */
LOQUAT_MUST_USE
loquat_status loquat_quantize(const loquat_runtime *runtime,
                              const char *input,
                              size_t input_length,
                              const char *output,
                              size_t output_length,
                              const loquat_quantize_options *options,
                              loquat_quantized *done,
                              loquat_error **error);

/**
 * Begins what loquat_quantize does. Nothing is done yet: that is the polls' work, on the calling thread and the runtime's. A poll may last some
 * hundred microseconds longer than its budget. The job keeps its runtime; where it is given up, nothing of the new file is left.
 *
 * Stages: "file", "metadata", with a text "tokenizer", "weights" and "importance", then "tensors".
 */
LOQUAT_MUST_USE
loquat_status loquat_quantize_start(const loquat_runtime *runtime,
                                    const char *input,
                                    size_t input_length,
                                    const char *output,
                                    size_t output_length,
                                    const loquat_quantize_options *options,
                                    loquat_job **job,
                                    loquat_error **error);

/**
 * Fills `done` with what a finished job that loquat_quantize_start began has done. Once.
 *
 * LOQUAT_INVALID_ARGUMENT where the job has not finished, or makes something else.
 */
LOQUAT_MUST_USE loquat_status loquat_job_take_quantized(loquat_job *job, loquat_quantized *done, loquat_error **error);

/* ===========================================================================
 * Benchmark options
 *
 * What is measured and how; one object for all measurements, each of which looks at what it has a use for. Every benchmark generates greedily
 * (temperature 0, top-k 1) past the end of a text, computes every prompt itself, and makes its prompts from the seed.
 * ======================================================================== */

/** What a benchmark is to measure. Later changes do not reach benchmarks that were started with it. */
typedef struct loquat_bench_options loquat_bench_options;

/** New options: short requests, the default stop rule and limits. */
LOQUAT_MUST_USE loquat_status loquat_bench_options_new(loquat_bench_options **options, loquat_error **error);

/** Frees options. NULL is fine. */
void loquat_bench_options_free(loquat_bench_options *options);

/**
 * The requests, by name: "short_qa" (32 tokens of prompt, 64 generated; the default), "code_gen" (128, 256), "summarize" (512, 128),
 * "long_context" (2048, 512). Of benchmarks of requests and of saturation.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_workload(loquat_bench_options *options,
                                                const char *name,
                                                size_t name_length,
                                                loquat_error **error);

/** Requests of other sizes than those with names: tokens of the prompt and tokens that are generated, at least 1 of each. */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_request(loquat_bench_options *options,
                                               uint32_t prompt_tokens,
                                               uint32_t output_tokens,
                                               loquat_error **error);

/**
 * When there are requests enough, by name: "default" (100 to 10,000), "relaxed" (3 to 10), "reproducible" (10 to 50), "matrix" (30 to 200). The rule
 * stops where half the 95 % interval of the median speed is at most 2 % of it and the samples do not drift, or where three windows of samples vary
 * little. Takes back what the five functions below have set.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_stop_rule(loquat_bench_options *options,
                                                 const char *name,
                                                 size_t name_length,
                                                 loquat_error **error);

/** Fewest and most requests that are counted. */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_samples(loquat_bench_options *options,
                                               uint32_t least,
                                               uint32_t most,
                                               loquat_error **error);

/** Half the interval of the median, as a share of it, at which there are requests enough. Default 0.02. */
LOQUAT_MUST_USE loquat_status loquat_bench_options_set_precision(loquat_bench_options *options, double share, loquat_error **error);

/**
 * The second rule: the coefficient of variation (a share, default 0.05) that `consecutive` windows (default 3) of `window` samples (default 50) must
 * keep. Windows share no samples.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_variation(loquat_bench_options *options,
                                                 double threshold,
                                                 uint32_t window,
                                                 uint32_t consecutive,
                                                 loquat_error **error);

/** Requests before those that are counted: at least so many (default 10), for at least so many nanoseconds (default one second). */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_warmup(loquat_bench_options *options,
                                              uint32_t requests,
                                              uint64_t ns,
                                              loquat_error **error);

/** The most time for requests that are counted, nanoseconds; UINT64_MAX (the default) for no limit. */
LOQUAT_MUST_USE loquat_status loquat_bench_options_set_time_budget(loquat_bench_options *options, uint64_t ns, loquat_error **error);

/**
 * The file of the model, to have it loaded once more beside the loaded one and timed stage by stage. Without it the load is not measured. An empty path
 * takes it back.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_model_path(loquat_bench_options *options,
                                                  const char *path,
                                                  size_t path_length,
                                                  loquat_error **error);

/** The seed of prompts and resamples. Default 0. */
LOQUAT_MUST_USE loquat_status loquat_bench_options_set_seed(loquat_bench_options *options, uint64_t seed, loquat_error **error);

/**
 * Temperature and top-k of the sampler. A benchmark starts only with 0 and 1, the defaults: this exists so that a host which hands its own
 * settings on hears of it where they would leave tokens to chance.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_sampling(loquat_bench_options *options,
                                                float temperature,
                                                uint32_t top_k,
                                                loquat_error **error);

/** The element type of the key/value cache: a LOQUAT_KV_ number. */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_kv_type(loquat_bench_options *options,
                                               uint32_t kv_type,
                                               loquat_error **error);

/** The number of tokens that the context of a session holds; 0 (the default) for as many as the measurement needs. */
LOQUAT_MUST_USE loquat_status loquat_bench_options_set_context(loquat_bench_options *options, uint32_t tokens, loquat_error **error);

/** The number of prompt tokens that a session processes together; default 512. */
LOQUAT_MUST_USE loquat_status loquat_bench_options_set_batch(loquat_bench_options *options, uint32_t tokens, loquat_error **error);

/** Requests of a saturated run, or short requests of a convoy; default 100. */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_requests(loquat_bench_options *options,
                                                uint32_t requests,
                                                loquat_error **error);

/** Long requests of a convoy; default 10. */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_long_requests(loquat_bench_options *options,
                                                     uint32_t requests,
                                                     loquat_error **error);

/**
 * Requests of a convoy or a saturated run that are computed at once, while the others wait: 0 for all of them (the default of a convoy; of
 * saturation 16). Of a roofline the most conversations that decode at once, from 1 to 512, default 64.
 */
LOQUAT_MUST_USE loquat_status loquat_bench_options_set_slots(loquat_bench_options *options, uint32_t slots, loquat_error **error);

/**
 * The most prompt tokens of a pass of a convoy in which another request generates; the default is that of batches, 64. Fewer hold up the short requests
 * less, and the long ones more. (loquat_batch_options_set_prompt_share)
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_prompt_share(loquat_bench_options *options,
                                                    uint32_t tokens,
                                                    loquat_error **error);

/**
 * Pairs of runs (convoy, saturation: at least 3, the default), or of measurements at each length (cache, prefill: at least 10, the default). Of a
 * roofline samples of each point, default 5.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_repeats(loquat_bench_options *options,
                                               uint32_t repeats,
                                               loquat_error **error);

/**
 * Beyond which a convoy fails: growth of the short requests' p99 (default 50 %), time that a short request is blocked (default 500 ms), mean
 * share of the cache's pages in use that holds nothing (default 15 %).
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_convoy_limits(loquat_bench_options *options,
                                                     double p99_increase_pct,
                                                     double head_of_line_blocking_ms,
                                                     double kv_fragmentation_pct,
                                                     loquat_error **error);

/** The share of the processors that other threads use up in a saturated run, percent; default 50, at least one processor. */
LOQUAT_MUST_USE loquat_status loquat_bench_options_set_load(loquat_bench_options *options, double percent, loquat_error **error);

/**
 * Beyond which a saturated run fails: loss of throughput (default 30 %), growth of the p99 (default 100 %), and how many times longer than
 * the median session one may wait for a token (default 10).
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_saturation_limits(loquat_bench_options *options,
                                                         double throughput_loss_pct,
                                                         double p99_increase_pct,
                                                         double starvation_factor,
                                                         loquat_error **error);

/**
 * The greatest length of the cache and prefill benchmarks, tokens; 0 (the default) for what the model's context has room for, of prefill 2048 at
 * most.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_max_length(loquat_bench_options *options,
                                                  uint32_t tokens,
                                                  loquat_error **error);

/** How many times faster something has to be for a claim to hold: default 10 for the cache, 8.2 for a prompt at once. */
LOQUAT_MUST_USE loquat_status loquat_bench_options_set_threshold(loquat_bench_options *options, double times, loquat_error **error);

/**
 * Measured read bandwidth of this machine in GB/s, to set beside the rate at which the cache is read; NaN (the default) where it is not known.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_read_bandwidth(loquat_bench_options *options,
                                                      double gb_s,
                                                      loquat_error **error);

/**
 * By how much a figure may be worse than the baseline's: above `warn_pct` (default 2) a comparison warns, above `fail_pct` (default 5) it fails.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_regression_limits(loquat_bench_options *options,
                                                         double warn_pct,
                                                         double fail_pct,
                                                         loquat_error **error);

/**
 * Sets an option by name, for configuration files.
 *
 * "workload", "prompt_tokens" and "output_tokens" (of a workload of other sizes), "stop_rule", "min_samples", "max_samples", "precision",
 * "cv_threshold", "window", "consecutive", "warmup_requests", "warmup_ms", "time_budget_ms", "model_path", "seed", "temperature", "top_k",
 * "kv_type" ("f16", "bf16", "f32", "q8_0"), "context", "batch", "requests", "long_requests", "slots", "prompt_share", "repeats", "p99_increase_pct" (convoy),
 * "head_of_line_blocking_ms", "kv_fragmentation_pct", "load_pct", "throughput_loss_pct", "saturated_p99_increase_pct", "starvation_factor",
 * "max_length", "threshold", "read_bandwidth_gb_s", "mean_kl", "p99_kl", "page_cache" ("warm", "evicted"), "warn_pct", "fail_pct". LOQUAT_UNKNOWN_OPTION for another key.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set(loquat_bench_options *options,
                                       const char *key,
                                       size_t key_length,
                                       const char *value,
                                       size_t value_length,
                                       loquat_error **error);

/* ===========================================================================
 * Benchmark subjects
 *
 * What two kinds of benchmarks need besides the model: quality a reference and a text, cold starts a program to be started.
 * ======================================================================== */

/** State of the model's file before a cold start: as the start before has left it, in memory as a rule (the default). */
#define LOQUAT_PAGE_CACHE_WARM 0

/** State of the model's file before a cold start: taken out of memory, as far as the system does that. Linux. */
#define LOQUAT_PAGE_CACHE_EVICTED 1

/**
 * The model that a benchmark of quality takes to be right: as a rule the same one before it was quantised. The options, and benchmarks that were
 * started with them, keep it. It must have the same tokens.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_reference(loquat_bench_options *options,
                                                 const loquat_model *reference,
                                                 loquat_error **error);

/**
 * The text of a benchmark of quality, any bytes; copied. In windows of 512 tokens (or as many as the option "context" says) of which the second half
 * is scored, at least 512 positions must be scored: three windows of 512.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_text(loquat_bench_options *options,
                                            const char *text,
                                            size_t length,
                                            loquat_error **error);

/**
 * Beyond which a benchmark of quality fails, in nats: mean and 99th percentile of the divergence KL(reference || model). NaN for the default: of the
 * mean 0.001 for F32, F16 and BF16, 0.01 for Q8_0, 0.05 for Q4_K, Q5_K and Q6_K, 0.1 for Q4_0, Q4_1, Q5_0 and Q5_1, by the type of most weights, and
 * none for others, of which the verdict is LOQUAT_VERDICT_INCONCLUSIVE; of the percentile ten times that of the mean.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_quality_limits(loquat_bench_options *options,
                                                      double mean_kl,
                                                      double p99_kl,
                                                      loquat_error **error);

/**
 * The program that a benchmark of cold starts starts anew each time, with `count` - 1 arguments; copied. What it writes to standard output first
 * counts as its first token; it must then end, with status 0. A benchmark of requests with such a program starts it as well, after the requests. 0
 * arguments take it back. Unix: elsewhere such benchmarks do not start (LOQUAT_UNSUPPORTED).
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_command(loquat_bench_options *options,
                                               const char *const *arguments,
                                               size_t count,
                                               loquat_error **error);

/**
 * In what state the model's file is before each cold start: a LOQUAT_PAGE_CACHE_ number. Taking it out of memory needs the path of the model
 * (loquat_bench_options_set_model_path); how much was left is measured and part of the result.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_options_set_page_cache(loquat_bench_options *options,
                                                  uint32_t state,
                                                  loquat_error **error);

/* ===========================================================================
 * Benchmark
 *
 * Measurements of a loaded model by the library itself. A benchmark is a job: start it, poll it, watch it, cancel it; the result is an object that can
 * be asked for single figures, for samples, for all of it as JSON, and for a table that people can read.
 *
 * The time between polls is not counted, so that it does not matter how a host polls. (Where other threads load the processors, they go on
 * between polls.) While the engine works, a benchmark looks at least every 20 milliseconds whether it was cancelled; where it makes or copies tens
 * of MiB for the map of strings, a few times a second.
 * ======================================================================== */

/** Kind of a benchmark: one request after the other on one session, until the stop rule has enough of them. */
#define LOQUAT_BENCH_REQUESTS 1

/**
 * Kind of a benchmark: short requests right behind long ones (2048 tokens of prompt, 512 generated) on a batch of sessions, against the short ones alone.
 */
#define LOQUAT_BENCH_CONVOY 2

/** Kind of a benchmark: requests on a batch of sessions while other threads use up processors, against the same requests undisturbed. */
#define LOQUAT_BENCH_SATURATION 3

/**
 * Kind of a benchmark: a decode step with the key/value cache against computing everything again; and a map of strings to vectors against one
 * block of memory.
 */
#define LOQUAT_BENCH_KV_CACHE 4

/** Kind of a benchmark: a prompt at once against the same prompt token by token. */
#define LOQUAT_BENCH_PREFILL 5

/**
 * Kind of a benchmark: how fast this machine reads memory and computes, measured by the library's own loops, and how much of that the model reaches in
 * passes over one and over many tokens; and what it is worth that gate and up projections are one operation.
 */
#define LOQUAT_BENCH_ROOFLINE 6

/**
 * Kind of a benchmark: what quantisation costs. The model's predictions on a text beside those of a reference (loquat_bench_options_set_reference,
 * loquat_bench_options_set_text): perplexity, divergence, agreement.
 */
#define LOQUAT_BENCH_QUALITY 7

/** Kind of a benchmark: fresh processes of a program (loquat_bench_options_set_command), from their start to their first token. */
#define LOQUAT_BENCH_COLD_START 8

/** Kind of a result: two stored results beside each other (loquat_bench_compare). */
#define LOQUAT_BENCH_COMPARISON 100

/** Verdict of a benchmark: within all limits, or a claim that holds. */
#define LOQUAT_VERDICT_PASSED 0

/** Verdict of a benchmark: worse than is good, within what is borne. */
#define LOQUAT_VERDICT_WARNED 1

/** Verdict of a benchmark: what was measured allows no judgement. */
#define LOQUAT_VERDICT_INCONCLUSIVE 2

/** Verdict of a benchmark: beyond a limit, or a claim that does not hold. */
#define LOQUAT_VERDICT_FAILED 3

/** The result of a benchmark. It does not change; any number of threads may read it at once. */
typedef struct loquat_bench loquat_bench;

/** What kind of result a result is, and how it stands. */
typedef struct loquat_bench_outcome {
    /** Set by the caller to sizeof(loquat_bench_outcome). */
    uint32_t struct_size;
    /** A LOQUAT_BENCH_ number. */
    uint32_t kind;
    /** A LOQUAT_VERDICT_ number; UINT32_MAX for a kind without limits. */
    uint32_t verdict;
    /** Version of the JSON. */
    uint32_t schema_version;
} loquat_bench_outcome;

/**
 * Begins a benchmark of `model`, of the kind that a LOQUAT_BENCH_ number says. `options` may be NULL for the defaults. Nothing is measured yet: that
 * is the polls' work, on the calling thread and the runtime's. The result is taken with loquat_job_take_bench. The job keeps the model.
 *
 * Stages: "load" (only with a path), "warm-up", then "requests", "convoy" or "saturation", then "statistics"; of the cache "decoding" and "map"; of
 * prefill "prefill"; of a roofline "roofs", "decode", "prefill", "fusion"; of quality "text", "windows", "greedy", "statistics"; of cold starts, and after requests
 * with a program to start, "starting". A benchmark of saturation starts threads here, which the library joins when the job is freed or has ended.
 *
 * LOQUAT_INVALID_ARGUMENT for options out of range or with which tokens would be left to chance, LOQUAT_IO where the system gives no thread. A poll
 * fails as sessions and batches do.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_start(const loquat_model *model,
                                 uint32_t kind,
                                 const loquat_bench_options *options,
                                 loquat_job **job,
                                 loquat_error **error);

/**
 * Takes the result out of a finished job that loquat_bench_start began. It is then yours, to be freed with loquat_bench_free, and needs neither
 * the job nor the model any more.
 *
 * LOQUAT_INVALID_ARGUMENT where the job has not finished, its result was taken before, or it makes something else.
 */
LOQUAT_MUST_USE
loquat_status loquat_job_take_bench(loquat_job *job,
                                    loquat_bench **bench,
                                    loquat_error **error);

/**
 * Compares two results of requests that were stored as JSON: a baseline and a later one. The verdict fails where a figure is worse than the baseline's
 * by more than the options' limits (NULL for the defaults: 2 % to warn, 5 % to fail) and its interval excludes that nothing has changed. The intervals
 * are computed here, on the calling thread, in a time that grows with the number of requests.
 *
 * LOQUAT_INVALID_FILE where a text is no such result; LOQUAT_INVALID_ARGUMENT where the two did different work or other tokens came out.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_compare(const char *baseline,
                                   size_t baseline_length,
                                   const char *current,
                                   size_t current_length,
                                   const loquat_bench_options *options,
                                   loquat_bench **bench,
                                   loquat_error **error);

/** Fills `outcome` with the kind of a result and its verdict. */
LOQUAT_MUST_USE
loquat_status loquat_bench_get_outcome(const loquat_bench *bench,
                                       loquat_bench_outcome *outcome,
                                       loquat_error **error);

/**
 * Fills `buffer` with the whole result as a JSON object on one line: schema and its version, library, time (RFC 3339), hardware, model, settings,
 * verdict, figures, and every sample; a comparison has no time, hardware and model of its own. What could not be measured is null.
 *
 * LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_json(const loquat_bench *bench,
                                char *buffer,
                                size_t capacity,
                                size_t *length,
                                loquat_error **error);

/**
 * Fills `buffer` with the result as a text for people, lines of up to some 140 characters. For the eye: it may change with any version.
 *
 * LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_text(const loquat_bench *bench,
                                char *buffer,
                                size_t capacity,
                                size_t *length,
                                loquat_error **error);

/**
 * Fills `buffer` with a page about `count` results, in their order: one HTML file with tables and plots that loads nothing. For the eye, as above.
 *
 * LOQUAT_BUFFER_TOO_SMALL.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_report(const loquat_bench *const *benches,
                                  size_t count,
                                  char *buffer,
                                  size_t capacity,
                                  size_t *length,
                                  loquat_error **error);

/** Frees a result. NULL is fine. */
void loquat_bench_free(loquat_bench *bench);

/* ===========================================================================
 * Benchmark figures
 *
 * The single figures of a result, for hosts that do not want to read JSON. What could not be measured is NaN, UINT64_MAX or UINT32_MAX.
 * ======================================================================== */

/** Series of a benchmark of requests: milliseconds from a request to its first token, one value for each. */
#define LOQUAT_BENCH_TTFT_MS 1

/** Series of a benchmark of requests: milliseconds from one token to the next, of all requests one after the other. */
#define LOQUAT_BENCH_ITL_MS 2

/** Series of a benchmark of requests: prompt tokens per second, one value for each request. */
#define LOQUAT_BENCH_PREFILL_TOK_S 3

/** Series of a benchmark of requests: generated tokens per second, the first one excluded, one value for each request. */
#define LOQUAT_BENCH_GENERATION_TOK_S 4

/** What a benchmark of requests found, but for its series. */
typedef struct loquat_bench_summary {
    /** Set by the caller to sizeof(loquat_bench_summary). */
    uint32_t struct_size;
    /** 1 where the stop rule was satisfied, 0 where a limit ended the requests. */
    uint32_t converged;
    /** Why the requests ended: "precision", "cv", "max_samples" or "time_budget". Static, ends with NUL. */
    const char *stop_reason;
    /** Requests that were counted. */
    uint64_t iterations;
    /** Tokens that they generated. */
    uint64_t tokens_generated;
    /** Coefficient of variation of the generation speed, a share. */
    double cv;
    /** Half the 95 % interval of its median, as a share of it. */
    double half_width_share;
    /** Time to load the model's file; NaN unless a path was given. */
    double model_load_ms;
    /** Time of its first forward pass, of one token; NaN likewise. */
    double first_pass_ms;
    /** Mean share of the reserved cache that held nothing, percent. */
    double kv_cache_waste_pct;
    /** The greatest such share. */
    double kv_cache_waste_max_pct;
    /** Mean difference between a gap between tokens and the one before it. */
    double itl_jitter_ms;
    /** Median absolute deviation of the gaps. */
    double itl_mad_ms;
    /** Gaps of more than three times their median; UINT64_MAX without gaps. */
    uint64_t itl_stalls;
    /** From the start of a fresh process to its first token, median; NaN unless a command was given. */
    double cold_start_ms;
    /** Most memory that the process has held, 10^6 bytes. Linux and Apple's systems. */
    double peak_memory_mb;
    /**
     * Energy of the counted requests by the processor's counters, where the system shows them: of all that the machine did meanwhile, between polls too.
     */
    double energy_joules;
    /** The same less what the idle machine uses in that time. */
    double energy_net_joules;
    /** Energy of a generated token, its share of the prompt's included. */
    double token_joules;
    /** Share of the model's file that was in memory before the requests, 0 to 1; NaN unless a path was given. Linux. */
    double file_in_memory_share;
    /** The highest temperature before a request or behind the last, degrees Celsius, where the system shows any. */
    double temperature_max_c;
    /** 1 where temperatures stayed below 80 degrees and within 2, 0 where not, UINT32_MAX where there are none. */
    uint32_t temperatures_valid;
    /** 0. */
    uint32_t reserved;
} loquat_bench_summary;

/** The figures of a series. Percentiles are by nearest rank: values that were measured. */
typedef struct loquat_bench_series {
    /** Set by the caller to sizeof(loquat_bench_series). */
    uint32_t struct_size;
    /** Which percentiles have enough values to mean something, a set of bits: 1 for the median, 2 for p95, 4 for p99, 8 for p99.9. */
    uint32_t resolved;
    /** Values. */
    uint64_t count;
    /** The median. */
    double median;
    /** Lower end of its 95 % interval, by resampling requests; NaN below 8 of them. */
    double median_low;
    /** Upper end. */
    double median_high;
    /** The 95th percentile. */
    double p95;
    /** The 99th percentile. */
    double p99;
    /** The 99.9th percentile. */
    double p999;
    /** The greatest value. */
    double max;
    /** The mean. */
    double mean;
    /** Sample standard deviation. */
    double std;
} loquat_bench_series;

/** What a convoy found. */
typedef struct loquat_bench_convoy {
    /** Set by the caller to sizeof(loquat_bench_convoy). */
    uint32_t struct_size;
    /** 1 where all limits were kept, else 0. */
    uint32_t passed;
    /** p99 of the short requests' latency without long ones. */
    double baseline_short_p99_ms;
    /** The same behind them. */
    double convoy_short_p99_ms;
    /** By how much it grew, percent. */
    double p99_increase_pct;
    /** Lower end of the 95 % interval of the ratio of the two. */
    double p99_ratio_low;
    /** Upper end. */
    double p99_ratio_high;
    /** The longest that a short request was blocked. */
    double max_hol_blocking_ms;
    /** The mean. */
    double avg_hol_blocking_ms;
    /** Mean share of the cache's pages in use that held nothing, percent. */
    double kv_fragmentation_pct;
    /** Median time to the first token of the long requests. */
    double long_ttft_p50_ms;
    /** Their median time between tokens. */
    double long_itl_p50_ms;
} loquat_bench_convoy;

/** What a saturated run found. */
typedef struct loquat_bench_saturation {
    /** Set by the caller to sizeof(loquat_bench_saturation). */
    uint32_t struct_size;
    /** 1 where all limits were kept, else 0. */
    uint32_t passed;
    /** Threads that used up processors. */
    uint32_t burning_threads;
    /** Requests that starved. */
    uint32_t starved;
    /** Median throughput, undisturbed. */
    double alone_tok_s;
    /** Saturated. */
    double saturated_tok_s;
    /** How much was lost, percent. */
    double throughput_loss_pct;
    /** p99 of the requests' latency, undisturbed. */
    double alone_p99_ms;
    /** Saturated. */
    double saturated_p99_ms;
    /** By how much it grew, percent. */
    double p99_increase_pct;
} loquat_bench_saturation;

/** One length of the cache or prefill benchmark: how many times longer the slower way takes. */
typedef struct loquat_bench_ratio {
    /** Set by the caller to sizeof(loquat_bench_ratio). */
    uint32_t struct_size;
    /** 1 where both ways computed the same, to the bit; the ratio is NaN where not. */
    uint32_t equal;
    /** Tokens. */
    uint64_t length;
    /**
     * Of the cache: computing everything again as one prompt, over a step with the cache. Of prefill: token by token over at once. Median of the pairs.
     */
    double ratio;
    /** Lower end of its 95 % interval. */
    double low;
    /** Upper end. */
    double high;
} loquat_bench_ratio;

/** Fills `summary` with the figures of a benchmark of requests. LOQUAT_INVALID_ARGUMENT for a result of another kind. */
LOQUAT_MUST_USE
loquat_status loquat_bench_get_summary(const loquat_bench *bench,
                                       loquat_bench_summary *summary,
                                       loquat_error **error);

/**
 * Fills `figures` with those of a series of a benchmark of requests. LOQUAT_NOT_FOUND where it has no values (gaps of requests for one token),
 * LOQUAT_INVALID_ARGUMENT for a result of another kind.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_get_series(const loquat_bench *bench,
                                      uint32_t series,
                                      loquat_bench_series *figures,
                                      loquat_error **error);

/**
 * Fills `values` with the samples of a series of a benchmark of requests, in the order in which they were measured.
 *
 * LOQUAT_BUFFER_TOO_SMALL; LOQUAT_INVALID_ARGUMENT for a result of another kind.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_samples(const loquat_bench *bench,
                                   uint32_t series,
                                   double *values,
                                   size_t capacity,
                                   size_t *count,
                                   loquat_error **error);

/** Fills `convoy` with the figures of a convoy. LOQUAT_INVALID_ARGUMENT for a result of another kind. */
LOQUAT_MUST_USE loquat_status loquat_bench_get_convoy(const loquat_bench *bench, loquat_bench_convoy *convoy, loquat_error **error);

/** Fills `saturation` with the figures of a saturated run. LOQUAT_INVALID_ARGUMENT for a result of another kind. */
LOQUAT_MUST_USE
loquat_status loquat_bench_get_saturation(const loquat_bench *bench,
                                          loquat_bench_saturation *saturation,
                                          loquat_error **error);

/**
 * Fills `ratio` with length number `index`, from 0 on, of the cache or prefill benchmark. LOQUAT_NOT_FOUND behind the last one,
 * LOQUAT_INVALID_ARGUMENT for a result of another kind.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_get_ratio(const loquat_bench *bench,
                                     size_t index,
                                     loquat_bench_ratio *ratio,
                                     loquat_error **error);

/* ===========================================================================
 * Benchmark roofline
 *
 * The figures of a benchmark of kind LOQUAT_BENCH_ROOFLINE. What could not be measured is NaN.
 * ======================================================================== */

/** What this machine allows a model. */
typedef struct loquat_bench_roofline {
    /** Set by the caller to sizeof(loquat_bench_roofline). */
    uint32_t struct_size;
    /** Threads that were measured together: all of the runtime. */
    uint32_t threads;
    /** Bytes of the block that stands for main memory. */
    uint64_t memory_block_bytes;
    /** Rate at which that block is read, GB/s. */
    double memory_gb_s;
    /** Rate at which a block as large as the weights of a token is read again and again, GB/s: from caches, where it fits in them. */
    double weights_gb_s;
    /** Products and sums of bytes, 10^9 operations a second. */
    double int8_gop_s;
    /** The same of f32. */
    double f32_gop_s;
    /** The same of bf16. */
    double bf16_gop_s;
    /** Bytes of weights that a token reads. */
    double token_bytes;
    /** Operations of a token (a multiplication and an addition are two). */
    double token_operations;
    /** Operations for each byte from which on arithmetic limits the model and not memory. */
    double ridge;
    /**
     * Computing gate and up projections as operations of their own, over both in one with the activation, for one token: median of the pairs.
     * NaN where the model has no such layers, and where the two gave different bits.
     */
    double fusion_ratio;
    /** Lower end of its 95 % interval. */
    double fusion_ratio_low;
    /** Upper end. */
    double fusion_ratio_high;
} loquat_bench_roofline;

/** Passes of the model under the roofs. */
typedef struct loquat_bench_roof_point {
    /** Set by the caller to sizeof(loquat_bench_roof_point). */
    uint32_t struct_size;
    /** 1 for a prompt at once, 0 for a token of each of several conversations. */
    uint32_t prefill;
    /** Tokens of a pass. */
    uint32_t tokens;
    /** 1 where arithmetic is the lower roof, 0 where memory is. */
    uint32_t bound_by_arithmetic;
    /** Tokens a second, median. */
    double tok_s;
    /** Tokens a second under the lower roof. */
    double ceiling_tok_s;
    /** Operations for each byte. */
    double intensity;
    /** Bytes read, GB/s. */
    double gb_s;
    /** Operations done, 10^9 a second. */
    double gop_s;
} loquat_bench_roof_point;

/** Fills `roofline` with the figures of a roofline. LOQUAT_INVALID_ARGUMENT for a result of another kind. */
LOQUAT_MUST_USE
loquat_status loquat_bench_get_roofline(const loquat_bench *bench,
                                        loquat_bench_roofline *roofline,
                                        loquat_error **error);

/**
 * Fills `point` with number `index`, from 0 on, of the passes of a roofline: those of decoding, then those of prompts, each with growing numbers of
 * tokens. LOQUAT_NOT_FOUND behind the last one, LOQUAT_INVALID_ARGUMENT for a result of another kind.
 */
LOQUAT_MUST_USE
loquat_status loquat_bench_get_roof_point(const loquat_bench *bench,
                                          size_t index,
                                          loquat_bench_roof_point *point,
                                          loquat_error **error);

/* ===========================================================================
 * Benchmark quality and cold start
 *
 * The figures of benchmarks of kind LOQUAT_BENCH_QUALITY and LOQUAT_BENCH_COLD_START. What could not be measured is NaN or UINT32_MAX.
 * ======================================================================== */

/** The predictions of a model beside those of its reference. */
typedef struct loquat_bench_quality {
    /** Set by the caller to sizeof(loquat_bench_quality). */
    uint32_t struct_size;
    /** Windows of the text. */
    uint32_t windows;
    /** Positions that were scored. */
    uint64_t positions;
    /** Perplexity of the reference. */
    double reference_perplexity;
    /** Perplexity of the model. */
    double perplexity;
    /** Lower end of the 95 % interval of the model's over the reference's, by resampling windows; NaN below 8 of them. */
    double perplexity_ratio_low;
    /** Upper end. */
    double perplexity_ratio_high;
    /** Divergence KL(reference || model) of the positions, nats: mean. */
    double kl_mean;
    /** Median. */
    double kl_median;
    /** 99th percentile. */
    double kl_p99;
    /** The greatest. */
    double kl_max;
    /** Share of the positions at which both have the same most probable token. */
    double top_1_agreement;
    /** Mean share of the reference's five most probable tokens that are among the model's five. */
    double top_5_agreement;
    /** The least of the lengths for which greedy continuations of both agree, up to 64 tokens. */
    uint32_t greedy_agreement_least;
    /** Continuations. */
    uint32_t continuations;
} loquat_bench_quality;

/** Fresh processes, from their start to their first token. */
typedef struct loquat_bench_cold_start {
    /** Set by the caller to sizeof(loquat_bench_cold_start). */
    uint32_t struct_size;
    /** Starts. */
    uint32_t starts;
    /**
     * 1 where the model's file was in the state that was asked for before every start, 0 where not, UINT32_MAX where that is not known.
     */
    uint32_t page_cache_held;
    /** 0. */
    uint32_t reserved;
    /** Milliseconds to the first token: median. */
    double median_ms;
    /** Lower end of its 95 % interval. */
    double median_low_ms;
    /** Upper end. */
    double median_high_ms;
    /** The least. */
    double min_ms;
    /** The most. */
    double max_ms;
} loquat_bench_cold_start;

/** Fills `quality` with the figures of a benchmark of quality. LOQUAT_INVALID_ARGUMENT for a result of another kind. */
LOQUAT_MUST_USE
loquat_status loquat_bench_get_quality(const loquat_bench *bench,
                                       loquat_bench_quality *quality,
                                       loquat_error **error);

/** Fills `cold_start` with the figures of cold starts. LOQUAT_INVALID_ARGUMENT for a result of another kind. */
LOQUAT_MUST_USE
loquat_status loquat_bench_get_cold_start(const loquat_bench *bench,
                                          loquat_bench_cold_start *cold_start,
                                          loquat_error **error);

#ifdef __cplusplus
}
#endif

#endif /* LOQUAT_H */
