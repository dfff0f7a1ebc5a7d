/* A host that steps sessions and serves the figures of its runtime to Prometheus: http://127.0.0.1:PORT/metrics. One thread does both; between two
 * steps it looks whether somebody asks. POSIX. */
#define _POSIX_C_SOURCE 200809L
#define _DARWIN_C_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

static const char HELP[] =
    "Usage: metrics_server [options]\n"
    "Has sessions write tales for ever, and serves the figures of the runtime in the text format of Prometheus on the loopback interface:\n"
    "GET /metrics. Prints the address when it listens. Ctrl-C or SIGTERM ends it.\n\n"
    "  --port PORT     (default: 9464; 0: one that is free)\n"
    "  --sessions N    sessions that are stepped in turns (default: 2)\n"
    "  --budget MS     longest step before somebody who asks is answered (default: 5)\n"
    "  --answers N     end after so many answers (default: 0, never)\n\n";

/* How long a client may take to ask and to take the answer: the sessions wait for it. */
enum { MOST_SESSIONS = 64, PATIENCE_MS = 200, MOST_REQUEST = 2048 };

static volatile sig_atomic_t ended = 0;

static void on_signal(int number) {
    (void)number;
    ended = 1;
}

/* A socket that listens on the loopback interface; the port that it has goes to `port`. */
static int listen_on(uint16_t *port) {
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(*port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 8) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0 || fcntl(listener, F_SETFL, O_NONBLOCK) != 0) {
        fail("port %u: %s", *port, strerror(errno));
    }
    *port = ntohs(address.sin_port);
    return listener;
}

/* Whether a socket is ready for `events` before the deadline. */
static int ready(int client, short events, double deadline) {
    struct pollfd wait = {.fd = client, .events = events};
    double left = (deadline - seconds()) * 1e3;
    return left > 0 && poll(&wait, 1, (int)left + 1) == 1;
}

/* Sends all of it; what a client does not take in time is its loss. */
static void send_all(int client, const char *data, size_t length, double deadline) {
    while (length && ready(client, POLLOUT, deadline)) {
        ssize_t sent = send(client, data, length, 0);
        if (sent <= 0) {
            return;
        }
        data += sent;
        length -= (size_t)sent;
    }
}

static void answer(int client, const char *status, const char *type, const char *body, size_t length, double deadline) {
    char head[256];
    int size = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status, type, length);
    send_all(client, head, (size_t)size, deadline);
    send_all(client, body, length, deadline);
}

/* The page. It may grow between asking for its length and filling it: then it is asked for anew. */
static struct bytes metrics_page(const loquat_runtime *runtime) {
    loquat_error *error = NULL;
    struct bytes page = {NULL, 0};
    size_t capacity = 0;
    while (check(loquat_runtime_metrics_prometheus(runtime, page.data, capacity, &page.length, &error), &error) == LOQUAT_BUFFER_TOO_SMALL) {
        free(page.data);
        capacity = page.length + 256;
        page.data = allocate(capacity);
    }
    return page;
}

/* Reads the head of a request, whose first line decides, and answers it. */
static void serve(int client, const loquat_runtime *runtime) {
    char request[MOST_REQUEST + 1] = "";
    size_t length = 0;
    double deadline = seconds() + PATIENCE_MS * 1e-3;
    while (!strstr(request, "\r\n\r\n") && length < MOST_REQUEST) {
        ssize_t got = ready(client, POLLIN, deadline) ? recv(client, request + length, MOST_REQUEST - length, 0) : 0;
        if (got <= 0) {
            return;
        }
        length += (size_t)got;
        request[length] = 0;
    }
    if (strncmp(request, "GET /metrics ", 13) == 0) {
        struct bytes page = metrics_page(runtime);
        answer(client, "200 OK", "text/plain; version=0.0.4; charset=utf-8", page.data, page.length, deadline);
        free(page.data);
    } else if (strncmp(request, "GET ", 4) == 0) {
        answer(client, "404 Not Found", "text/plain", "only /metrics is here\n", 22, deadline);
    } else {
        answer(client, "405 Method Not Allowed", "text/plain", "only GET\n", 9, deadline);
    }
}

/* Goes on with a session for a while; a tale that has ended, or has filled the context, begins anew. */
static void step(loquat_session *session, uint64_t budget_ns, const uint32_t *prompt, size_t count) {
    loquat_error *error = NULL;
    loquat_event event = {.struct_size = sizeof event};
    if (check(loquat_session_step(session, budget_ns, &event, &error), &error) == LOQUAT_DONE) {
        check(loquat_session_reset(session, &error), &error);
        check(loquat_session_append_tokens(session, prompt, count, &error), &error);
    }
}

int main(int argc, char **argv) {
    begin(argc, argv, HELP);
    loquat_error *error = NULL;
    struct common common = {0};
    uint16_t port = 9464;
    uint32_t sessions = 2;
    uint64_t answers = 0, answered = 0;
    float budget_ms = 5;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--port") == 0) {
            port = (uint16_t)number_value(argc, argv, &i, 0, 65535);
        } else if (strcmp(argv[i], "--sessions") == 0) {
            sessions = (uint32_t)number_value(argc, argv, &i, 1, MOST_SESSIONS);
        } else if (strcmp(argv[i], "--answers") == 0) {
            answers = number_value(argc, argv, &i, 0, UINT64_MAX);
        } else if (strcmp(argv[i], "--budget") == 0) {
            budget_ms = float_value(argc, argv, &i);
            if (!(budget_ms > 0 && budget_ms < 1e6f)) {
                bad_usage("--budget wants milliseconds above 0");
            }
        } else if (!common_option(&common, argc, argv, &i)) {
            bad_usage("unknown option %s", argv[i]);
        }
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGPIPE, SIG_IGN); /* a client that has gone is no reason to end */

    static const char TALE[] = "One misty morning,";
    size_t count = 0;
    loquat_session *running[MOST_SESSIONS] = {NULL};
    loquat_session_options *options = NULL;
    loquat_runtime *runtime = open_runtime(&common);
    loquat_model *model = open_model(&common, runtime, 0);
    uint32_t *prompt = tokenize(model, TALE, sizeof TALE - 1, 0, &count);
    check(loquat_session_options_new(&options, &error), &error);
    check(loquat_session_options_set_context(options, common.context ? common.context : 512, &error), &error);
    for (uint32_t i = 0; i < sessions; i++) {
        check(loquat_session_new(model, options, &running[i], &error), &error);
        check(loquat_session_append_tokens(running[i], prompt, count, &error), &error);
    }
    int listener = listen_on(&port);
    printf("http://127.0.0.1:%u/metrics\n", port);
    fflush(stdout);
    for (uint32_t turn = 0; !ended && (!answers || answered < answers); turn = (turn + 1) % sessions) {
        step(running[turn], (uint64_t)(budget_ms * 1e6f), prompt, count);
        int client = accept(listener, NULL, NULL);
        if (client >= 0) {
            fcntl(client, F_SETFL, O_NONBLOCK);
            serve(client, runtime);
            close(client);
            answered++;
        }
    }
    close(listener);
    for (uint32_t i = 0; i < sessions; i++) {
        loquat_session_free(running[i]);
    }
    free(prompt);
    loquat_session_options_free(options);
    loquat_model_free(model);
    loquat_runtime_free(runtime);
    return 0;
}
