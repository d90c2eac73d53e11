// A TCP service that says "ok" to a row only when SQLite has committed it: sqlite-service PORT DATABASE delete|wal.
//
//   insert N   → ok N (committed), present N (was there before), or error TEXT
//   get N      → yes N, no N
//   count      → count K
//   check      → check ok, or what PRAGMA integrity_check found
//   stop       → stopping, and the service ends
//
// One thread answers the clients in turn, so an acknowledgement never waits for another client's commit.
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CLIENTS 64
#define MAX_LINE 128

struct client {
    char line[MAX_LINE];
    size_t used;
};

static sqlite3 *database;
static struct pollfd polled[1 + MAX_CLIENTS]; // [0] is the listener; fd -1 is a free place
static struct client clients[1 + MAX_CLIENTS];
static int stopping;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "sqlite-service: %s: %s\n", what, why);
    exit(1);
}

static void execute(const char *sql)
{
    if (sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK)
        die(sql, sqlite3_errmsg(database));
}

// The first column of the one row that the statement yields for ?1 = n, as text; "" when there is none.
// Returns SQLite's result.
static int ask(const char *sql, long long n, char *text, size_t size)
{
    sqlite3_stmt *statement;
    int result = sqlite3_prepare_v2(database, sql, -1, &statement, NULL);
    text[0] = 0;
    if (result == SQLITE_OK) {
        sqlite3_bind_int64(statement, 1, n);
        result = sqlite3_step(statement);
        if (result == SQLITE_ROW)
            snprintf(text, size, "%s", (const char *)sqlite3_column_text(statement, 0));
        sqlite3_finalize(statement);
    }
    return result;
}

static void open_database(const char *path, const char *journal)
{
    char pragma[64], mode[64];
    if (strcmp(journal, "delete") != 0 && strcmp(journal, "wal") != 0)
        die(journal, "the journal is delete or wal");
    if (sqlite3_open(path, &database) != SQLITE_OK)
        die(path, sqlite3_errmsg(database));
    snprintf(pragma, sizeof pragma, "PRAGMA journal_mode=%s", journal);
    ask(pragma, 0, mode, sizeof mode);
    if (strcmp(mode, journal) != 0)
        die(pragma, sqlite3_errmsg(database));
    // FULL would not sync the directory after the journal was deleted: a power failure could bring the journal back,
    // and the next start would undo a commit that was acknowledged.
    execute("PRAGMA synchronous=EXTRA");
    execute("CREATE TABLE IF NOT EXISTS rows (n INTEGER PRIMARY KEY, payload BLOB)");
}

static void answer(const char *line, char *text, size_t size)
{
    char found[64];
    long long n;
    char rest;
    if (sscanf(line, "insert %lld%c", &n, &rest) == 1) {
        int result = ask("INSERT INTO rows VALUES (?1, randomblob(200))", n, found, sizeof found);
        if (result == SQLITE_DONE)
            snprintf(text, size, "ok %lld\n", n);
        else if (result == SQLITE_CONSTRAINT)
            snprintf(text, size, "present %lld\n", n);
        else
            snprintf(text, size, "error %s\n", sqlite3_errmsg(database));
    } else if (sscanf(line, "get %lld%c", &n, &rest) == 1) {
        ask("SELECT n FROM rows WHERE n = ?1", n, found, sizeof found);
        snprintf(text, size, "%s %lld\n", found[0] ? "yes" : "no", n);
    } else if (strcmp(line, "count") == 0) {
        ask("SELECT count(*) FROM rows", 0, found, sizeof found);
        snprintf(text, size, "count %s\n", found);
    } else if (strcmp(line, "check") == 0) {
        ask("PRAGMA integrity_check", 0, found, sizeof found);
        snprintf(text, size, "check %s\n", found[0] ? found : sqlite3_errmsg(database));
    } else if (strcmp(line, "stop") == 0) {
        stopping = 1;
        snprintf(text, size, "stopping\n");
    } else {
        snprintf(text, size, "error not understood\n");
    }
}

static void drop(int i)
{
    close(polled[i].fd);
    polled[i].fd = -1;
}

static void take_in(int listener)
{
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        return;
    for (int i = 1; i <= MAX_CLIENTS; i++) {
        if (polled[i].fd < 0) {
            polled[i] = (struct pollfd){.fd = fd, .events = POLLIN};
            clients[i].used = 0;
            return;
        }
    }
    close(fd);
}

// Reads what a client sent and answers each whole line. A line that never ends, or an answer nobody takes, drops it.
static void serve(int i)
{
    struct client *client = &clients[i];
    ssize_t got = read(polled[i].fd, client->line + client->used, MAX_LINE - 1 - client->used);
    if (got <= 0) {
        drop(i);
        return;
    }
    client->used += got;
    char *end;
    while ((end = memchr(client->line, '\n', client->used))) {
        char text[256];
        *end = 0;
        if (end > client->line && end[-1] == '\r')
            end[-1] = 0;
        answer(client->line, text, sizeof text);
        if (send(polled[i].fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)strlen(text)) {
            drop(i);
            return;
        }
        client->used -= end + 1 - client->line;
        memmove(client->line, end + 1, client->used);
    }
    if (client->used == MAX_LINE - 1)
        drop(i);
}

static int listen_on(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, MAX_CLIENTS) != 0)
        die(port, "cannot listen on this port");
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        die("usage", "sqlite-service PORT DATABASE delete|wal");
    open_database(argv[2], argv[3]);
    polled[0] = (struct pollfd){.fd = listen_on(argv[1]), .events = POLLIN};
    for (int i = 1; i <= MAX_CLIENTS; i++)
        polled[i].fd = -1;
    while (!stopping && poll(polled, 1 + MAX_CLIENTS, -1) > 0) {
        if (polled[0].revents)
            take_in(polled[0].fd);
        for (int i = 1; i <= MAX_CLIENTS && !stopping; i++)
            if (polled[i].fd >= 0 && polled[i].revents)
                serve(i);
    }
    sqlite3_close(database);
    return stopping ? 0 : 1;
}
