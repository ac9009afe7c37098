/* test_fetch.c -- the parts of ttt-fetch that meet no server: patterns, names, heads, journals. */
#include "check.h"
#include "checksum.h"
#include "http_head.h"
#include "journal.h"
#include "localname.h"
#include "part.h"
#include "place.h"
#include "wildcard.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void test_wildcard(void)
{
    static const struct {
        const char *pattern, *text;
        bool match;
    } cases[] = {
        {"*", "a", true},
        {"*", "", true},
        {"*", "a/b", false},
        {"a*c", "abbc", true},
        {"a*c", "ab/c", false},
        {"**", "a/b/c", true},
        {"a/**/d", "a/b/c/d", true},
        {"a/**d", "a/d", true},
        {"**.txt", "x/y.txt", true},
        {"**b*c", "a/b/bxc", true},
        {"**b*c", "a/b/x/c", false},
        {"?", "é", true},
        {"?", "/", false},
        {"?", "", false},
        {"[ab]", "b", true},
        {"[!ab]", "c", true},
        {"[!ab]", "/", false},
        {"[a-cx]", "b", true},
        {"[a-cx]", "d", false},
        {"[]a]", "]", true},
        {"[a-é]", "z", true},
        {"[a", "[a", true},
        {"x[", "x[", true},
        {"*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
        {"abc", "abc", true},
        {"abc", "abcd", false},
    };
    case_begin("patterns");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool got = wildcard_match(cases[i].pattern, cases[i].text);
        CHECK(got == cases[i].match);
        if (got != cases[i].match)
            fprintf(stderr, "%s against %s\n", cases[i].pattern, cases[i].text);
    }
    CHECK(wildcard_picks("*.txt", "a/b.txt"));
    CHECK(!wildcard_picks("c/*.txt", "a/b.txt"));
    CHECK(wildcard_literal("ab/c*d") == 4);
    case_end("");
}

static void test_names(void)
{
    static const char *const bad[] = {
        "",         "/a",  "a/",   "a//b",  "..",         "../a",
        "a/../b",   "a/.", "a\nb", "a\x7f", "x.ttt-part", "d/x.ttt-journal",
        "a/\x1b[m",
    };
    static const char *const good[] = {"a", "a/b",  "...", "a b",    "%2F",
                                       "é", "a\\b", "-rf", ".hidden"};
    case_begin("names that may be files");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(localname_check(bad[i]));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(!localname_check(good[i]));
    case_end("");

    struct localnames taken = {0};
    char name[32];
    case_begin("names taken");
    CHECK(!localnames_take(&taken, "a/b/c"));
    CHECK(localnames_take(&taken, "a/b/c"));
    CHECK(localnames_take(&taken, "a/b"));
    CHECK(localnames_take(&taken, "a/b/c/d"));
    CHECK(!localnames_take(&taken, "a/b/d"));
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "many/%d", i);
        CHECK(!localnames_take(&taken, name));
    }
    CHECK(localnames_take(&taken, "many/4321"));
    localnames_free(&taken);
    case_end("");

    case_begin("parts have names that a file system takes");
    char path[300] = "dir/";
    memset(path + 4, 'n', 255);
    char *beside = localname_beside(path, PART_SUFFIX),
         *other = localname_beside(path, JOURNAL_SUFFIX);
    CHECK(beside && strlen(beside) < 4 + 256 && !strncmp(beside, path, 200));
    CHECK(other && strlen(other) < 4 + 256 && strcmp(other, beside));
    free(beside);
    free(other);
    beside = localname_beside("a/b", PART_SUFFIX);
    CHECK(beside && !strcmp(beside, "a/b.ttt-part"));
    free(beside);
    case_end("");
}

static struct http_head head_of(const char *text)
{
    struct http_head h;
    http_head_clear(&h);
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, "\n") + 1;
        http_head_line(&h, p, n, 1445412470); /* ten seconds before the date below */
        p += n;
    }
    return h;
}

static void test_head(void)
{
    case_begin("the head of a response");
    struct http_head h = head_of("HTTP/1.1 302 Found\r\nContent-Length: 5\r\n\r\n"
                                 "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 5-9/100\r\n"
                                 "x-goog-hash: md5=abc, crc32c=UzUoFg==\r\nETag: \"x\"\r\n"
                                 "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n");
    CHECK(h.status == 206 && h.length == -1);
    CHECK(h.has_range && h.from == 5 && h.last == 9 && h.total == 100);
    CHECK(h.has_crc32c && h.crc32c == 0x53352816);
    CHECK(!strcmp(h.etag, "\"x\""));
    CHECK(h.retry_after == 10);
    h = head_of("HTTP/1.1 416 x\nContent-Range: bytes */77\nRetry-After: 120\n");
    CHECK(!h.has_range && h.total == 77 && h.retry_after == 120);
    case_end("");

    static const char *const ranges[] = {"bytes 9-5/100",
                                         "bytes 5-100/100",
                                         "bytes 5-9",
                                         "bytes -9/100",
                                         "items 5-9/100",
                                         "bytes 5-9/100x",
                                         "bytes 5-99999999999999999999/*"};
    char text[200];
    case_begin("ranges that cannot be");
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        snprintf(text, sizeof text, "HTTP/1.1 206 x\nContent-Range: %s\n", ranges[i]);
        h = head_of(text);
        CHECK(!h.has_range);
    }
    h = head_of(
        "HTTP/1.1 200 x\nContent-Length: -5\nx-goog-hash: crc32c=UzUoFh==\nnonsense\n: x\n");
    CHECK(h.length == -1 && !h.has_crc32c);
    case_end("");
}

enum { RANGES = 9 };

static size_t make_journal(char *text, size_t starts[RANGES + 2])
{
    char *first = journal_first(850, 100, "gs://bucket/a b\n", "12%");
    size_t n = strlen(first);
    memcpy(text, first, n);
    free(first);
    for (uint64_t i = 0; i < RANGES; i++) {
        starts[i] = n;
        n += journal_line(text + n, i, crc32c(0, &i, sizeof i));
    }
    starts[RANGES] = n;
    return n;
}

static void test_journal(void)
{
    char text[1024], spoilt[1024];
    size_t starts[RANGES + 2], n = make_journal(text, starts);
    struct journal j;
    case_begin("a journal");
    CHECK(!journal_read(&j, text, n));
    CHECK(j.size == 850 && j.range_bytes == 100 && j.ranges == RANGES && j.finished == RANGES);
    CHECK(!strcmp(j.source, "gs://bucket/a b\n") && !strcmp(j.version, "12%"));
    CHECK(j.good_bytes == n);
    journal_free(&j);
    case_end("");

    case_begin("a journal cut anywhere");
    for (size_t cut = 0; cut < n; cut++) {
        int status = journal_read(&j, text, cut);
        CHECK(status == (cut < starts[0] ? -1 : 0));
        if (status)
            continue;
        uint64_t whole = 0;
        while (starts[whole + 1] <= cut && whole < RANGES)
            whole++;
        CHECK(j.finished == whole && j.good_bytes == starts[whole]);
        journal_free(&j);
    }
    case_end("");

    case_begin("a journal with one bit flipped");
    for (size_t bit = 0; bit < 8 * n; bit++) {
        memcpy(spoilt, text, n);
        spoilt[bit / 8] = (char)(spoilt[bit / 8] ^ 1 << bit % 8);
        if (journal_read(&j, spoilt, n)) {
            CHECK(bit / 8 < starts[0]);
            continue;
        }
        CHECK(bit / 8 >= starts[0]);
        for (uint64_t i = 0; i < j.ranges; i++)
            CHECK(!j.marks[i].state || j.marks[i].crc32c == crc32c(0, &i, sizeof i));
        CHECK(j.good_bytes <= bit / 8);
        journal_free(&j);
    }
    case_end("");
}

static void test_places(void)
{
    case_begin("this machine and others");
    CHECK(place_is_loopback("http://127.0.0.1:80/x"));
    CHECK(place_is_loopback("http://localhost/x"));
    CHECK(place_is_loopback("http://[::1]:5/x"));
    CHECK(!place_is_loopback("http://127.0.0.1.example.com/"));
    CHECK(!place_is_loopback("http://localhost.example.com/"));
    CHECK(!place_is_loopback("http://localhost@example.com/"));
    CHECK(!place_is_loopback("http://example.com/"));
    case_end("");
    case_begin("a command for the shell");
    char r[] = "-r", pattern[] = "gs://b/*", quote[] = "it's", empty[] = "";
    char *args[] = {r, pattern, quote, empty, NULL};
    char *text = place_command(args);
    CHECK(text && !strcmp(text, "-r 'gs://b/*' 'it'\\''s' ''"));
    free(text);
    case_end("");
}

/* ---- parts: two runs at one file, and what is safe when ------------------------------------ */

static char folder[64], out_path[96], part_path[96];
static void (*meanwhile)(void); /* what another run does */

/* The C library's, with something happening between open and lock. */
int flock(int fd, int operation)
{
    if (meanwhile)
        meanwhile();
    return (int)syscall(SYS_flock, fd, operation);
}

static void make_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && !fclose(f));
}

static bool file_is(const char *path, const char *text)
{
    char got[64] = "";
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(got, 1, sizeof got - 1, f) : 0;
    if (f)
        fclose(f);
    return f && n == strlen(text) && !strcmp(got, text);
}

static void other_finishes(void)
{
    CHECK(!rename(part_path, out_path));
}

static void other_finishes_and_third_begins(void)
{
    other_finishes();
    make_file(part_path, "the third run's");
}

/* Size of the journal each time that the part, and that the journal is made safe. */
static struct {
    const struct part *part;
    off_t at_part, at_journal;
} safe;

int fdatasync(int fd)
{
    struct stat st;
    if (safe.part && !fstat(safe.part->journal_fd, &st))
        *(fd == safe.part->journal_fd ? &safe.at_journal : &safe.at_part) = st.st_size;
    return (int)syscall(SYS_fdatasync, fd);
}

static void check_order(struct part *p)
{
    struct stat before;
    case_begin("the journal hears of a range when its bytes are safe, and is made safe then");
    CHECK(!fstat(p->journal_fd, &before));
    safe.part = p;
    CHECK(!part_mark(p, &(struct part_mark){1, 0x12345678}, 1));
    safe.part = NULL;
    CHECK(safe.at_part == before.st_size && safe.at_journal > before.st_size);
    case_end("");
}

static void test_parts(void)
{
    char source[] = "gs://bucket/object", version[] = "1";
    struct object o = {.source = source,
                       .path = out_path,
                       .version = version,
                       .size = 9000,
                       .total = 9000,
                       .sized = true,
                       .ranges = true};
    struct part p;
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.40s/ttt-part-XXXXXX", tmp ? tmp : "/tmp");
    CHECK(mkdtemp(folder));
    snprintf(out_path, sizeof out_path, "%s/out", folder);
    snprintf(part_path, sizeof part_path, "%s/out" PART_SUFFIX, folder);

    case_begin("another run finishes between open and lock");
    make_file(part_path, "the other run's");
    meanwhile = other_finishes;
    CHECK(part_open(&p, &o, 3000) && strstr(why(), "another ttt-fetch is writing it"));
    CHECK(file_is(out_path, "the other run's") && access(part_path, F_OK));
    case_end("");

    case_begin("and a third begins");
    make_file(part_path, "the other run's");
    meanwhile = other_finishes_and_third_begins;
    CHECK(part_open(&p, &o, 3000) && strstr(why(), "another ttt-fetch is writing it"));
    CHECK(file_is(out_path, "the other run's") && file_is(part_path, "the third run's"));
    case_end("");

    case_begin("another run holds the lock");
    meanwhile = NULL;
    int fd = open(part_path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB));
    CHECK(part_open(&p, &o, 3000) && strstr(why(), "another ttt-fetch is writing it"));
    CHECK(file_is(part_path, "the third run's"));
    close(fd);
    CHECK(!part_open(&p, &o, 3000) && p.journal.ranges == 3);
    case_end("");

    check_order(&p);
    part_remove(&p);
    CHECK(!unlink(out_path) && !rmdir(folder));
}

int main(void)
{
    test_wildcard();
    test_names();
    test_head();
    test_journal();
    test_places();
    test_parts();
    return check_finish();
}
