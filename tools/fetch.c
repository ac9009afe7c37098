/* fetch.c -- ttt-fetch: objects of Google Cloud Storage and files of web servers to this machine.
 */
#include "copy.h"
#include "file.h"
#include "flags.h"
#include "gcs_auth.h"
#include "names.h"
#include "place.h"
#include "pour.h"
#include "report.h"
#include "sources.h"
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- flags -------------------------------------------------------------------------------- */

static int64_t connections, rate, retries = 23;
static double timeout_s = 30, retry_delay_s = 1;
static const char *project = "", *key = "", *token_command = "", *endpoint = "", *range = "",
                  *manifest = "";
static bool recursive, names_on_stdin, anonymous, list, dry_run, no_clobber, force, verify,
    decompress, verbose;
static struct flag_list include, exclude;

static struct flag flags[] = {
    {FLAG_GROUP, 0, "what", NULL, NULL, NULL},
    {FLAG_ON, 'r', "recursive", &recursive, NULL, "a folder stands for all that is below it"},
    {FLAG_ON, 'I', "names-on-stdin", &names_on_stdin, NULL,
     "read further sources from standard input, one a line"},
    {FLAG_LIST, 0, "include", &include, "GLOB",
     "only objects like this, by their path below DEST; a GLOB without a\n"
     "slash is held against the last part of the name"},
    {FLAG_LIST, 0, "exclude", &exclude, "GLOB", "no objects like this"},
    {FLAG_TEXT, 0, "range", &range, "OFFSET:LENGTH", "only these bytes of the one object"},
    {FLAG_ON, 'l', "list", &list, NULL, "copy nothing, list it: size, time of change, name, total"},
    {FLAG_ON, 0, "dry-run", &dry_run, NULL,
     "copy nothing, print what would be: source, bytes, file"},
    {FLAG_GROUP, 0, "who pays, who asks", NULL, NULL, NULL},
    {FLAG_TEXT, 'u', "project", &project, "ID",
     "the project to bill where the bucket asks its readers to pay; else\n"
     "TTT_BILLING_PROJECT or GCS_REQUESTER_PAYS_PROJECT"},
    {FLAG_TEXT, 0, "key", &key, "FILE", "credentials: a service account's key, or gcloud's"},
    {FLAG_TEXT, 0, "token-command", &token_command, "CMD",
     "a command that prints a token, such as 'gcloud auth print-access-token'"},
    {FLAG_ON, 0, "anonymous", &anonymous, NULL, "send no credentials, for data open to everybody"},
    {FLAG_TEXT, 0, "endpoint", &endpoint, "URL",
     "instead of https://storage.googleapis.com; STORAGE_EMULATOR_HOST does\n"
     "the same and sends no credentials but those of a flag"},
    {FLAG_GROUP, 0, "how", NULL, NULL, NULL},
    {FLAG_INT, 'j', "connections", &connections, "N",
     "at the same time, up to 128; 0: as many as the sizes ask for, up to 32"},
    {FLAG_SIZE, 0, "limit-rate", &rate, "BYTES", "a second, over all connections; 0: no limit"},
    {FLAG_INT, 0, "retries", &retries, "N",
     "of a request that failed for a passing reason, in a row without a byte"},
    {FLAG_NUMBER, 0, "retry-delay", &retry_delay_s, "S",
     "the first wait is up to so many seconds, the next up to twice as long,\n"
     "up to 32"},
    {FLAG_NUMBER, 0, "timeout", &timeout_s, "S",
     "to connect, and for a connection that brings less than a kilobyte a second"},
    {FLAG_GROUP, 0, "files", NULL, NULL, NULL},
    {FLAG_ON, 'n', "no-clobber", &no_clobber, NULL, "leave every file that is there as it is"},
    {FLAG_ON, 0, "force", &force, NULL, "fetch even what is there already"},
    {FLAG_ON, 0, "verify", &verify, NULL,
     "read what is there, whole or in part, and fetch again what is damaged"},
    {FLAG_ON, 0, "decompress", &decompress, NULL,
     "unpack objects that are stored with Content-Encoding: gzip"},
    {FLAG_TEXT, 0, "manifest", &manifest, "FILE",
     "a JSON line for each object: source, path, bytes, crc32c, what became of it"},
    {FLAG_ON, 'v', "verbose", &verbose, NULL,
     "a line for each object and each retry; every so often (--progress-every)\n"
     "how far each large one has come"},
    {FLAG_NUMBER, 0, "progress-every", &log_every_s, "S",
     "between two lines of progress where no terminal shows a live one"},
    {FLAG_ON, 'q', "quiet", &quiet, NULL, "only trouble"},
    {0},
};

static const struct program about = {
    .name = "ttt-fetch",
    .operands = "SOURCE... DEST",
    .purpose =
        "Copy objects of Google Cloud Storage to a folder, a file or a pipe (\"-\"). A SOURCE is\n"
        "gs://BUCKET/OBJECT, a folder with -r, a pattern (* and ? within a level, [..], **), or\n"
        "an https:// address. Folders are laid out as gsutil cp -r does it into a folder that is\n"
        "there. Objects are fetched in ranges over many connections and proved by their crc32c;\n"
        "what is here already is not fetched. However a run ends, the same command goes on\n"
        "where it ended. docs/fetch.md tells more.",
    .examples = "ttt-fetch -u my-project -r 'gs://llama-2-pile/*' llama-2-pile\n"
                "ttt-fetch --list -u my-project gs://llama-2-books3/\n"
                "ttt-fetch -u my-project gs://bucket/corpus.tok - | ttt-verify -",
    .flags = flags,
};

/* ---- signals ------------------------------------------------------------------------------ */

static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
    interrupted = sig; /* SA_RESETHAND: a second one ends at once */
}

static void catch_signals(void)
{
    static const int sigs[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction act = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
    for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
        struct sigaction before;
        sigaction(sigs[i], &act, &before);
        if (sigs[i] == SIGHUP && before.sa_handler == SIG_IGN)
            sigaction(SIGHUP, &before, NULL); /* nohup has asked for that */
    }
    signal(SIGXFSZ, SIG_IGN); /* writes fail with a sentence instead */
    signal(SIGPIPE, SIG_IGN);
}

/* ---- preparing ---------------------------------------------------------------------------- */

static void check_flags(void)
{
    if (connections < 0 || connections > 128)
        misuse("--connections=%" PRId64 ": expected 0 to 128", connections);
    if (retries < 0 || retries > 1000)
        misuse("--retries=%" PRId64 ": expected 0 to 1000", retries);
    if (!(timeout_s >= 0.1 && timeout_s <= 86400))
        misuse("--timeout=%g: expected 0.1 to 86400 seconds", timeout_s);
    if (!(retry_delay_s >= 0 && retry_delay_s <= 3600))
        misuse("--retry-delay=%g: expected 0 to 3600 seconds", retry_delay_s);
    if (!(log_every_s >= 0.1 && log_every_s <= 86400))
        misuse("--progress-every=%g: expected 0.1 to 86400 seconds", log_every_s);
    if (anonymous && (*key || *token_command))
        misuse("--anonymous sends no credentials: leave out --key and --token-command");
    if (no_clobber && force)
        misuse("--no-clobber and --force contradict each other");
    if (list && (dry_run || *manifest))
        misuse("--list copies nothing: leave out --dry-run and --manifest");
    if (*range && (recursive || list || decompress))
        misuse("--range is for one object as it is stored: not with -r, --list or --decompress");
}

static void parse_range(struct transfer *p)
{
    int64_t part[2];
    const char *colon = strchr(range, ':');
    if (!*range)
        return;
    char *first = strndup(range, colon ? (size_t)(colon - range) : 0);
    const char *text[2] = {first, colon ? colon + 1 : ""};
    for (int i = 0; i < 2; i++) {
        struct flag f = {FLAG_SIZE, 0, "range", &part[i], NULL, NULL};
        if (!first || !*text[i] || flag_set(&f, text[i]))
            misuse("--range=%s: expected OFFSET:LENGTH, such as 0:1G", range);
    }
    free(first);
    if (part[1] == 0)
        misuse("--range=%s: expected a length of at least one byte", range);
    p->part = true;
    p->from = (uint64_t)part[0];
    p->length = (uint64_t)part[1];
}

static const char *billed_project(void)
{
    static const char *const names[] = {"TTT_BILLING_PROJECT", "GCS_REQUESTER_PAYS_PROJECT"};
    if (*project)
        return project;
    for (size_t i = 0; i < 2; i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return value;
    }
    return NULL;
}

static char *where, *again; /* owned texts of struct gcs */

static void prepare_bucket(struct gcs *g, struct gcs_auth *auth, struct http *http, char **argv)
{
    bool emulator, of_flag = *key || *token_command;
    g->endpoint = where = place_endpoint(endpoint, &emulator);
    g->again = again = place_command(argv + 1);
    if (!where || !again)
        die("%s", where ? "out of memory" : why());
    g->project = billed_project();
    const char *quota = getenv("GOOGLE_CLOUD_QUOTA_PROJECT");
    g->suggested = quota && *quota ? quota : "YOUR_PROJECT";
    g->anonymous = anonymous || (emulator && !of_flag);
    g->caller = "nobody";
    if (g->anonymous)
        return;
    if (!strncmp(g->endpoint, "http://", 7) && !place_is_loopback(g->endpoint))
        die("%s: credentials are sent over https:// only; use that, or --anonymous", g->endpoint);
    if (gcs_auth_open(auth, key, token_command, timeout_s))
        die("%s", why());
    auth->http.retry_delay_s = retry_delay_s;
    g->caller = auth->caller;
    if (!(quota && *quota) && auth->key.quota_project && *auth->key.quota_project)
        g->suggested = auth->key.quota_project;
    http->bearer = gcs_auth_bearer;
    http->bearer_self = auth;
}

/* ---- the sources -------------------------------------------------------------------------- */

struct asked {
    struct names names;
    struct remote *remote;
    struct gcs_auth auth;
    char **given; /* the command */
};

/* Credentials are looked for when the first name needs some. */
static int next_source(void *self, char **name)
{
    struct asked *a = self;
    struct gcs *g = &a->remote->gcs;
    int got = names_next(&a->names, name);
    if (got > 0 && !g->endpoint && !strncmp(*name, "gs://", 5))
        prepare_bucket(g, &a->auth, a->remote->http, a->given);
    return got;
}

static void check_sources(struct names *n)
{
    if (names_are_none(n))
        misuse(names_on_stdin ? "no names on standard input" : "expected SOURCE... DEST");
    for (char **operand = n->operands; *operand; operand++)
        if (place_check(*operand))
            misuse("%s", why());
}

/* ---- --list ------------------------------------------------------------------------------- */

struct listing_total {
    struct transfer *plan;
    uint64_t objects, bytes, failed;
};

static int list_object(void *self, struct object *o, const char *relative)
{
    struct listing_total *t = self;
    if (interrupted)
        return fail("interrupted");
    char *source = object_text(o->source);
    if (transfer_wants(t->plan, relative)) {
        size_t whole = strcspn(o->updated, ".Z");
        printf("%10" PRIu64 "  %.*s%s  %s\n", o->total, (int)whole, o->updated, whole ? "Z" : "",
               localname_show(source));
        t->objects++;
        t->bytes += o->total;
    }
    free(source);
    return 0;
}

static void list_folder(void *self, const char *url)
{
    (void)self;
    printf("%-33s%s\n", "", url);
}

static void list_failed(void *self)
{
    warn("%s", why());
    ((struct listing_total *)self)->failed++;
}

static void print_total(const struct listing_total *t)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double size = (double)t->bytes;
    int u = 0;
    for (; size >= 1024 && u < 5; u++)
        size /= 1024;
    size = (double)(uint64_t)(size * 100 + 0.5) / 100;
    printf("TOTAL: %" PRIu64 " objects, %" PRIu64 " bytes (%.6g %s)\n", t->objects, t->bytes, size,
           units[u]);
}

static int run_list(struct sources *s, struct transfer *p)
{
    struct listing_total t = {.plan = p};
    s->list = true;
    s->found = list_object;
    s->folder = list_folder;
    s->failed = list_failed;
    s->self = &t;
    if (sources_expand(s)) {
        warn("%s", why());
        return 1;
    }
    print_total(&t);
    return t.failed != 0;
}

/* ---- to a pipe ---------------------------------------------------------------------------- */

struct only {
    struct transfer *plan;
    struct object o;
    int found;
};

static int take_only(void *self, struct object *o, const char *relative)
{
    struct only *one = self;
    if (!transfer_wants(one->plan, relative))
        return 0;
    if (one->found++)
        return fail("more than one object for a pipe: name one, or copy to a folder");
    one->o = *o;
    *o = (struct object){0};
    return 0;
}

static void only_failed(void *self)
{
    (void)self;
    die("%s", why());
}

static void sum_up_stream(const struct pour *stream, const struct http *http, double spent_s)
{
    char size[16], speed[16], spent[24], retried[64] = "";
    if (http->retried)
        snprintf(retried, sizeof retried, ", %" PRIu64 " retries", http->retried);
    say("%sB in %s (%sB/s)%s", human(size, (double)stream->received), human_s(spent, spent_s),
        human(speed, spent_s > 0 ? (double)stream->received / spent_s : 0), retried);
}

static int run_stream(struct sources *s, struct transfer *p, int fd, const char *name)
{
    struct only one = {.plan = p};
    double began_s = now_s();
    if (*manifest)
        misuse("--manifest is for files: leave it out with a pipe");
    s->found = take_only;
    s->failed = only_failed;
    s->self = &one;
    if (sources_expand(s) || (one.found && transfer_cut(p, &one.o))) {
        warn("%s", why());
        object_free(&one.o);
        return 1;
    }
    if (!one.found)
        die("nothing to copy");
    if (dry_run) {
        printf("%s\t%" PRIu64 "\t%s\n", one.o.source, one.o.size, name);
        object_free(&one.o);
        return 0;
    }
    struct http *http = s->remote->http;
    int wanted = connections ? (int)connections : copy_connections(1, one.o.size);
    http->connections = wanted;
    struct pour stream = {.remote = s->remote,
                          .object = &one.o,
                          .fd = fd,
                          .name = name,
                          .connections = wanted,
                          .unpack = decompress,
                          .interrupted = &interrupted};
    int status = pour_run(&stream);
    if (status)
        warn("%s", why());
    object_free(&one.o);
    sum_up_stream(&stream, http, now_s() - began_s);
    return status != 0;
}

/* ---- to files ----------------------------------------------------------------------------- */

static int plan_found(void *self, struct object *o, const char *relative)
{
    if (interrupted)
        return fail("interrupted");
    return transfer_object(self, o, relative);
}

static void plan_failed(void *self)
{
    warn("%s", why());
    ((struct transfer *)self)->failed++;
}

static void sum_up(const struct transfer *p, const struct copy *c, const struct http *http,
                   double spent_s)
{
    char size[16], speed[16], spent[24], text[64] = "", retried[64] = "";
    if (p->there)
        snprintf(text, sizeof text, ", %" PRIu64 " there already", p->there);
    if (http->retried)
        snprintf(retried, sizeof retried, ", %" PRIu64 " retries", http->retried);
    say("%" PRIu64 " objects, %sB in %s (%sB/s)%s, %" PRIu64 " failed%s", c->fetched,
        human(size, (double)c->new_bytes), human_s(spent, spent_s),
        human(speed, spent_s > 0 ? (double)c->received / spent_s : 0), text, p->failed + c->failed,
        retried);
    if (c->received > c->new_bytes)
        say("%" PRIu64 " bytes came in vain or are in unfinished ranges",
            c->received - c->new_bytes);
}

static int run_copy(struct sources *s, struct transfer *p)
{
    struct ledger ledger;
    double began_s = now_s();
    if (ledger_open(&ledger, dry_run ? "" : manifest))
        die("%s", why());
    p->ledger = &ledger;
    s->found = plan_found;
    s->failed = plan_failed;
    s->self = p;
    struct http *http = s->remote->http;
    struct copy c = {.remote = s->remote,
                     .queue = &p->queue,
                     .ledger = &ledger,
                     .decompress = decompress,
                     .verify = verify,
                     .tell = verbose,
                     .interrupted = &interrupted};
    int status = sources_expand(s);
    if (!status && !dry_run)
        status = transfer_room(p);
    if (!status && !dry_run) {
        c.here_bytes = p->here_bytes;
        c.connections =
            connections ? (int)connections : copy_connections(p->queue.count, p->queue.bytes);
        http->connections = c.connections;
        status = copy_run(&c);
    }
    if (status)
        warn("%s", why());
    if (!dry_run)
        sum_up(p, &c, http, now_s() - began_s);
    if (ledger_close(&ledger)) {
        warn("%s", why());
        status = -1;
    }
    return status || p->failed || c.failed;
}

/* ---- main --------------------------------------------------------------------------------- */

/* Whether the sources can only mean one object, so that DEST may be its file. */
static bool is_one(char **sources)
{
    return !names_on_stdin && !recursive && !sources[1] && !source_is_pattern(sources[0]) &&
           sources[0][strlen(sources[0]) - 1] != '/';
}

static int run(struct sources *s, struct transfer *p, char **sources, const char *dest)
{
    struct stat st;
    bool exists = !stat(dest, &st);
    size_t n = strlen(dest);
    if (!strcmp(dest, "-"))
        return run_stream(s, p, STDOUT_FILENO, "standard output");
    if (exists && !S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) {
        int fd = open(dest, O_WRONLY | O_CLOEXEC); /* a named pipe, a device */
        if (fd < 0)
            die("%s: %s", dest, strerror(errno));
        return run_stream(s, p, fd, dest);
    }
    p->dest = dest;
    p->dest_is_file =
        is_one(sources) && n && dest[n - 1] != '/' && !(exists && S_ISDIR(st.st_mode));
    if (exists && S_ISREG(st.st_mode) && !p->dest_is_file)
        misuse("%s: is a file; expected a folder for more than one object", dest);
    if (*range && !p->dest_is_file)
        misuse("--range is for one object to a file or to \"-\"");
    if (!p->dest_is_file && !dry_run && make_dirs(dest))
        die("%s", why());
    return run_copy(s, p);
}

int main(int argc, char **argv)
{
    int count;
    char **given = calloc((size_t)argc + 1, sizeof *given); /* flags_parse reorders argv */
    if (!given)
        die("out of memory");
    memcpy(given, argv, (size_t)argc * sizeof *given);
    char **operands = flags_parse(argc, argv, &about, &count);
    int dests = list ? 0 : 1;
    if (count < dests + !names_on_stdin)
        misuse(list ? "expected SOURCE..." : "expected SOURCE... DEST");
    check_flags();
    catch_signals();
    const char *dest = list ? "" : operands[count - 1];
    operands[count - dests] = NULL;
    struct http http = {.retries = (int)retries,
                        .retry_delay_s = retry_delay_s,
                        .timeout_s = timeout_s,
                        .rate = rate,
                        .connections = connections ? (int)connections : 32,
                        .tell = verbose,
                        .interrupted = &interrupted};
    struct remote remote = {.http = &http};
    struct asked asked = {.names = {operands, names_on_stdin ? stdin : NULL},
                          .remote = &remote,
                          .given = given};
    if (http_open(&http))
        die("%s", why());
    check_sources(&asked.names);
    struct sources s = {.remote = &remote,
                        .recursive = recursive,
                        .next = next_source,
                        .next_self = &asked};
    struct transfer plan = {.no_clobber = no_clobber,
                            .force = force,
                            .verify = verify,
                            .dry_run = dry_run,
                            .decompress = decompress,
                            .interrupted = &interrupted,
                            .include = &include,
                            .exclude = &exclude};
    parse_range(&plan);
    int status = list ? run_list(&s, &plan) : run(&s, &plan, operands, dest);
    transfer_free(&plan);
    http_close(&http);
    gcs_auth_close(&asked.auth);
    names_close(&asked.names);
    free(given);
    free(where);
    free(again);
    status = finish(status);
    if (interrupted)
        raise(interrupted); /* the default is back */
    return status;
}
