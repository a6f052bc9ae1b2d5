/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * simctl SOCKET REQUEST...: sends one request to purse-sim's control socket.
 *
 * The words are joined by spaces to one line. What follows "ok" in the reply goes to standard output, and the status is
 * 0; an error's reason goes to standard error, and the status is 1 (also when the simulator cannot be reached).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATIENCE_SECONDS = 120 }; /* longer than any "until" of a test */

static int fail(const char *what)
{
    fprintf(stderr, "simctl: %s: %s\n", what, strerror(errno));
    return 1;
}

static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = PATIENCE_SECONDS};

    if (strlen(path) >= sizeof a.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(a.sun_path, path, strlen(path) + 1);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        return -1;
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(s, (struct sockaddr *)&a, sizeof a) == 0)
        return s;
    int error = errno;
    close(s);
    errno = error;
    return -1;
}

static int send_request(FILE *out, int argc, char **argv)
{
    for (int i = 2; i < argc; i++)
        fprintf(out, "%s%s", i > 2 ? " " : "", argv[i]);
    fputc('\n', out);
    return fflush(out);
}

static int print_reply(FILE *in)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n = getline(&line, &room, in);
    int status = 1;

    if (n <= 0) {
        fputs("simctl: no reply\n", stderr);
    } else if (strncmp(line, "ok", 2) == 0 && (line[2] == ' ' || line[2] == '\n')) {
        if (line[2] == ' ')
            fputs(line + 3, stdout);
        status = 0;
    } else {
        fprintf(stderr, "simctl: %s", strncmp(line, "error ", 6) == 0 ? line + 6 : line);
    }
    free(line);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fputs("usage: simctl SOCKET REQUEST...\n", stderr);
        return 1;
    }
    int s = connect_to(argv[1]);
    FILE *f = s < 0 ? NULL : fdopen(s, "r+");
    if (!f)
        return fail(argv[1]);
    int status = send_request(f, argc, argv) == 0 ? print_reply(f) : fail("sending");
    fclose(f);
    return status;
}
